//! `routes`: whose table, where to, and whether each next hop leads somewhere.

use std::collections::{BTreeMap, HashMap, HashSet};

use ipnet::Ipv4Net;
use tidegate_fastpath::types::{NetId, VipId, VrfId};

use super::{At, Known, Lookup, Report, is_subnet_address, text};
use crate::{
    compile::routes::{ALWAYS, Attached, Static, Target, WhyNot, select},
    config::{
        Cause, Id, PublicNetwork, Route, RouteTarget, TableKey, Vpc,
        raw::{RawConfig, RawRoute, range as r},
    },
};

const SECTION: &str = "routes";

/// The tables that routes are in and lead to. Subnets come from the document itself, so that a route can be checked where
/// its network has other problems.
pub(super) struct Tables<'a> {
    public: &'a Known<PublicNetwork>,
    vpcs: &'a Known<Vpc>,
    /// What each table is attached to; `None` where a subnet cannot be read, so that nothing is known of next hops.
    attached: HashMap<TableKey, Option<Vec<Attached>>>,
    /// The public addresses in each table, as routes.
    vips: HashMap<TableKey, Vec<Static>>,
}

/// The routes of one table, each with its place in the document.
#[derive(Default)]
struct Routes {
    passed: Vec<(usize, Route)>,
    /// Destinations of those that did not pass (`None` where it cannot be read): they might lead to a next hop.
    broken: Vec<Option<Ipv4Net>>,
}

impl<'a> Tables<'a> {
    pub(super) fn new(raw: &RawConfig, public: &'a Known<PublicNetwork>, vpcs: &'a Known<Vpc>) -> Tables<'a> {
        let mut attached: HashMap<TableKey, Option<Vec<Attached>>> = HashMap::new();
        for network in &raw.vpc_networks {
            let Some(vpc) = network.vpc.as_deref().and_then(Id::new) else { continue };
            let subnets = attached.entry(TableKey::Vpc(vpc)).or_insert_with(|| Some(Vec::new()));
            attach(subnets, network.cidr.as_deref(), network.gateway.as_deref());
        }
        for network in &raw.public_networks {
            let Some(id) = network.id.as_deref().and_then(Id::new) else { continue };
            let subnets = attached.entry(TableKey::Public(id)).or_insert_with(|| Some(Vec::new()));
            attach(subnets, network.cidr.as_deref(), network.address.as_deref());
        }
        let mut vips: HashMap<TableKey, Vec<Static>> = HashMap::new();
        for vip in &raw.vips {
            let table = vip.public_network.as_deref().and_then(Id::new).map(TableKey::Public);
            let address = vip.address.as_deref().and_then(|ip| text::address(ip).ok());
            let (Some(table), Some(address)) = (table, address) else { continue };
            let target = Target::Vip(VipId::default());
            vips.entry(table).or_default().push(Static {
                destination: address.into(),
                priority: ALWAYS,
                target,
            });
        }
        Tables { public, vpcs, attached, vips }
    }

    pub(super) fn check(&self, raw: &[RawRoute], report: &mut Report) -> Vec<Route> {
        let mut by_table: BTreeMap<TableKey, Routes> = BTreeMap::new();
        let mut all = Vec::new();
        let mut ids: HashMap<&str, usize> = HashMap::new();
        for (i, raw) in raw.iter().enumerate() {
            let at = place(i, raw.destination.as_deref());
            if let Some(id) = raw.id.as_deref() {
                report.read(at, "id", Some(id), text::id);
                if let Some(first) = ids.insert(id, i) {
                    let what = format!("is the id of {SECTION}[{first}] already");
                    report.add(at, "id", id, what, "choose another id");
                }
            }
            let table = table(at, raw, self, report);
            let destination = report.read(at, "destination", raw.destination.as_deref(), text::destination);
            let target = target(at, raw, self, report);
            let priority = u8::try_from(raw.priority.unwrap_or(r::PRIORITY_DEFAULT)).ok();
            let Some(table) = table else { continue };
            let routes = by_table.entry(table.clone()).or_default();
            if let (Some(destination), Some(target), Some(priority)) = (destination, target, priority) {
                let id = raw.id.as_deref().and_then(Id::new).unwrap_or_else(|| Id::of_place(i));
                let route = Route { id, table, destination, priority, target };
                all.push(route.clone());
                routes.passed.push((i, route));
            } else {
                routes.broken.push(destination);
            }
        }
        for (table, routes) in &by_table {
            duplicates(&routes.passed, report);
            let vips = self.vips.get(table).map_or(&[][..], |vips| vips);
            match self.attached.get(table) {
                Some(Some(attached)) => next_hops(attached, vips, routes, report),
                Some(None) => {}
                None => next_hops(&[], vips, routes, report),
            }
        }
        all
    }

    fn vpc(&self, at: At<'_>, key: &str, id: Option<&str>, report: &mut Report) -> Option<TableKey> {
        let known = self.vpcs.refer(at, key, id, "vpc_routers", report).map(|vpc| vpc.id.clone());
        known.or_else(|| broken_id(self.vpcs, id)).map(TableKey::Vpc)
    }

    fn public(&self, at: At<'_>, key: &str, id: Option<&str>, report: &mut Report) -> Option<TableKey> {
        let known = self.public.refer(at, key, id, "public_networks", report).map(|net| net.id.clone());
        known.or_else(|| broken_id(self.public, id)).map(TableKey::Public)
    }
}

/// Adds a subnet, with a provisional number.
fn attach(subnets: &mut Option<Vec<Attached>>, cidr: Option<&str>, ours: Option<&str>) {
    let cidr = cidr.and_then(|cidr| text::subnet(cidr).ok());
    match (subnets.as_mut(), cidr) {
        (Some(subnets), Some(prefix)) => {
            let net = NetId(u16::try_from(subnets.len() + 1).unwrap_or(u16::MAX));
            let addresses = ours.and_then(|ip| text::address(ip).ok()).into_iter().collect();
            subnets.push(Attached { net, prefix, addresses, up: true });
        }
        _ => *subnets = None,
    }
}

fn place(index: usize, destination: Option<&str>) -> At<'_> {
    At { section: SECTION, index: Some(index), id: destination }
}

fn table(at: At<'_>, raw: &RawRoute, tables: &Tables<'_>, report: &mut Report) -> Option<TableKey> {
    match (raw.vpc.as_deref(), raw.public_network.as_deref()) {
        (vpc @ Some(_), None) => tables.vpc(at, "vpc", vpc, report),
        (None, public @ Some(_)) => tables.public(at, "public_network", public, report),
        (None, None) => {
            report.lacks(at, "", "belongs to no table", "give `vpc` or `public_network`");
            None
        }
        (Some(_), Some(_)) => {
            report.lacks(at, "", "belongs to two tables", "keep one of `vpc` and `public_network`");
            None
        }
    }
}

fn target(at: At<'_>, raw: &RawRoute, tables: &Tables<'_>, report: &mut Report) -> Option<RouteTarget> {
    let blackhole = raw.blackhole == Some(true);
    let choices = "`next_hop`, `blackhole: true`, `via_public` and `via_vpc`";
    match (raw.next_hop.as_deref(), blackhole, raw.via_public.as_deref(), raw.via_vpc.as_deref()) {
        (next_hop @ Some(_), false, None, None) => {
            report.read(at, "next_hop", next_hop, text::address).map(RouteTarget::NextHop)
        }
        (None, true, None, None) => Some(RouteTarget::Blackhole),
        (None, false, public @ Some(id), None) => {
            let table = tables.public(at, "via_public", public, report);
            if raw.vpc.is_none() && raw.public_network.is_some() {
                let way_out = "give a `next_hop`, or lead into a VPC with `via_vpc`";
                report.add(at, "via_public", id, "is for routes of a VPC", way_out);
            }
            table.map(RouteTarget::Leak)
        }
        (None, false, None, vpc @ Some(id)) => {
            let table = tables.vpc(at, "via_vpc", vpc, report);
            if raw.vpc.is_some() {
                let way_out = "nothing goes from one VPC to another; remove the route";
                report.add(at, "via_vpc", id, "is for routes of a public network", way_out);
            }
            table.map(RouteTarget::Leak)
        }
        (None, false, None, None) => {
            report.lacks(at, "", "leads nowhere", format!("give exactly one of {choices}"));
            None
        }
        _ => {
            report.lacks(at, "", "has more than one target", format!("keep exactly one of {choices}"));
            None
        }
    }
}

fn broken_id<T>(known: &Known<T>, id: Option<&str>) -> Option<Id> {
    let id = id?;
    matches!(known.find(id), Lookup::Broken).then(|| Id::new(id))?
}

fn duplicates(routes: &[(usize, Route)], report: &mut Report) {
    let mut seen: HashMap<(Ipv4Net, u8, &RouteTarget), usize> = HashMap::new();
    for (i, route) in routes {
        let key = (route.destination, route.priority, &route.target);
        match seen.get(&key) {
            Some(first) => {
                let destination = route.destination.to_string();
                let at = place(*i, Some(&destination));
                let what = format!("is the same route as routes[{first}]");
                report.because(Cause::Clash, |report| report.lacks(at, "", what, "remove one of them"));
            }
            None => _ = seen.insert(key, *i),
        }
    }
}

/// Next hops that would never be of use, even with every link up and every neighbour there.
fn next_hops(attached: &[Attached], vips: &[Static], routes: &Routes, report: &mut Report) {
    let subnets: HashMap<NetId, Ipv4Net> =
        attached.iter().map(|subnet| (subnet.net, subnet.prefix)).collect();
    let configured = routes.passed.iter().map(|(_, route)| provisional_static(route));
    let static_routes: Vec<Static> = vips.iter().copied().chain(configured).collect();
    let selected = select(VrfId(0), attached, &static_routes, &HashSet::new());
    let statuses = selected.statuses.iter().skip(selected.statuses.len() - routes.passed.len());
    for ((i, route), status) in routes.passed.iter().zip(statuses) {
        let destination = route.destination.to_string();
        let at = place(*i, Some(&destination));
        let RouteTarget::NextHop(next_hop) = &route.target else { continue };
        let maybe_led = || {
            routes
                .broken
                .iter()
                .any(|led| led.is_none_or(|led| led.prefix_len() > 0 && led.contains(next_hop)))
        };
        let (what, way_out) = match &status.why_not {
            Some(WhyNot::OffLink(_)) if maybe_led() => continue,
            Some(WhyNot::OffLink(_)) => (
                "is off-link and no other route leads to it (the default route does not count)",
                "give an address in a subnet of this table, or add a route to it",
            ),
            Some(WhyNot::Loop(_)) => ("leads back to this route", "give a next hop that is on-link"),
            Some(WhyNot::Own(_)) => ("is our own address", "give the address of the next router"),
            Some(WhyNot::DeadEnd(_)) => {
                ("is reached by a route that drops or leaves the table", "give a next hop that is on-link")
            }
            _ => match status.next_hop {
                Some((net, ip)) if subnets.get(&net).is_some_and(|prefix| is_subnet_address(*prefix, ip)) => {
                    ("is the network or broadcast address of a subnet", "give the address of a host")
                }
                _ => continue,
            },
        };
        let off_link = matches!(status.why_not, Some(WhyNot::OffLink(_)));
        let cause = if off_link { Cause::Missing } else { Cause::Clash };
        report.because(cause, |report| report.add(at, "next_hop", next_hop, what, way_out));
    }
}

fn provisional_static(route: &Route) -> Static {
    let target = match &route.target {
        RouteTarget::NextHop(ip) => Target::NextHop(*ip),
        RouteTarget::Blackhole => Target::Blackhole,
        RouteTarget::Leak(_) => Target::Vrf(VrfId(1)),
    };
    Static { destination: route.destination, priority: route.priority, target }
}
