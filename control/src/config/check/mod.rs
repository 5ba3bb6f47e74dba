//! What a document means: [`RawConfig`] to [`Config`], with everything that is wrong. One file per kind of object. What is
//! missing or of the wrong type was reported by [`shape`](super::shape) and is passed over here.

mod api;
mod balance;
mod gateway;
mod http;
mod log;
mod network;
mod pool;
mod public;
mod qos;
mod route;
mod share;
mod text;
pub(crate) mod values;
mod vip;
mod zsnp;
mod zstack;

use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;
use tidegate_fastpath::{
    table::nat::Quotas,
    types::{Mtu, Vid},
};

use super::{
    Config, Id, Member, Section, Vpc,
    problem::{Cause, Found, Problem, Problems, shown},
    raw::{RawConfig, RawQuotas, RawVpcRouter, range},
};

pub use self::network::VXLAN_OVERHEAD;

/// Checks a document whose shape was walked.
pub(super) fn check(raw: &RawConfig, found: Found, replaced: HashSet<String>) -> Result<Config, Problems> {
    let mut report = Report { found, replaced, cause: Cause::Itself };
    let mut links = Links::default();
    let gateway = raw.gateway.as_ref().map(|raw| gateway::check(raw, &mut links, &mut report));
    let (gateway, ports) = gateway.unwrap_or_default();
    let pools = pool::check(&raw.vxlan_pools, &ports, &mut report);
    let public_networks = public::check(&raw.public_networks, &ports, &mut links, &mut report);
    let has_zsnp = raw.gateway.as_ref().is_some_and(|gateway| gateway.zsnp.is_some());
    let vpcs = routers(&raw.vpc_routers, has_zsnp, &mut report);
    let networks = network::Check { vpcs: &vpcs, pools: &pools, ports: &ports, links: &mut links, has_zsnp };
    let networks = networks.check(&raw.vpc_networks, &mut report);
    let routes = route::Tables::new(raw, &public_networks, &vpcs).check(&raw.routes, &mut report);
    let services = vip::Check::new(&public_networks, &vpcs, &networks).check(raw, &mut report);
    let qos = qos::check(&raw.qos, &services, &mut report);
    if let Some(gateway) = &gateway {
        let subnets = ports.items().filter(|port| port.subnet.is_some()).count();
        count(
            gateway.limits.networks,
            subnets + raw.public_networks.len() + raw.vpc_networks.len(),
            &mut report,
        );
    }

    match gateway {
        Some(gateway) if report.found.is_empty() => Ok(Config {
            gateway: super::Gateway { ports: ports.into_items(), ..gateway },
            pools: pools.into_section(),
            public_networks: public_networks.into_section(),
            vpcs: vpcs.into_section(),
            networks: networks.into_section(),
            routes: routes.into_iter().collect(),
            nics: services.nics.into_section(),
            vips: services.vips.into_section(),
            snats: services.snats.into_section(),
            eips: services.eips.into_section(),
            port_forwards: services.port_forwards.into_section(),
            certificates: services.certificates.into_section(),
            load_balancers: services.load_balancers.into_section(),
            qos: qos.into_section(),
        }),
        _ => Err(report.found.into_problems()),
    }
}

fn count(limit: u16, networks: usize, report: &mut Report) {
    // Number 0 is no network.
    if networks > usize::from(limit) {
        report.found.push(Problem {
            path: "gateway.limits.networks".into(),
            id: None,
            value: Some(limit.to_string()),
            what: format!(
                "is less than the {networks} networks of this document (ports with addresses included)"
            ),
            way_out: format!("raise it to {networks} or more, at most {}", range::NETWORKS_MAX),
            cause: Cause::Clash,
        });
    }
}

fn routers(raw: &[RawVpcRouter], has_zsnp: bool, report: &mut Report) -> Known<Vpc> {
    Known::collect(
        "vpc_routers",
        raw,
        |raw| raw.id.as_deref(),
        report,
        |at, id, raw, report| {
            network::check_zsnp(at, raw.distributed_routing, has_zsnp, report);
            let distributed_routing = raw.distributed_routing.unwrap_or_default();
            if let Some(default) = &raw.security_default {
                for (key, policy) in [("ingress", &default.ingress), ("egress", &default.egress)] {
                    if let Some(policy) = policy.as_deref().filter(|policy| *policy != "allow") {
                        let key = format!("security_default.{key}");
                        report.unbuilt(at, &key, policy, "security groups", "give allow or remove the key");
                    }
                }
            }
            let flow_tracking = raw.flow_tracking.unwrap_or(range::FLOW_TRACKING_DEFAULT);
            let quotas = raw.quotas.as_ref().map(quotas).unwrap_or_default();
            Some(Vpc { id: id?, account: raw.account.clone(), flow_tracking, distributed_routing, quotas })
        },
    )
}

fn quotas(raw: &RawQuotas) -> Quotas {
    let bound = |raw| gateway::number(raw, u32::MAX.into());
    Quotas {
        sessions: bound(raw.sessions),
        new_per_s: bound(raw.new_sessions_per_second),
        vm_sessions: bound(raw.vm_sessions),
        vm_new_per_s: bound(raw.vm_new_sessions_per_second),
    }
}

/// What was found so far.
struct Report {
    found: Found,
    replaced: HashSet<String>,
    /// Of what is found next.
    cause: Cause,
}

/// Where a check is.
#[derive(Clone, Copy)]
struct At<'a> {
    section: &'a str,
    /// `None` for a section that is one object.
    index: Option<usize>,
    id: Option<&'a str>,
}

impl At<'_> {
    fn path(&self, key: &str) -> String {
        let At { section, index, .. } = self;
        match (index, key.is_empty()) {
            (Some(i), true) => format!("{section}[{i}]"),
            (Some(i), false) => format!("{section}[{i}].{key}"),
            (None, true) => (*section).to_owned(),
            (None, false) => format!("{section}.{key}"),
        }
    }

    /// Its place and name, for the problem of another object.
    fn party(&self) -> String {
        match self.id {
            Some(id) => format!("{} ({})", self.path(""), shown(id)),
            None => self.path(""),
        }
    }
}

impl Report {
    fn add(
        &mut self,
        at: At<'_>,
        key: &str,
        value: impl Display,
        what: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.push(at, key, Some(shown(&value.to_string())), what.into(), way_out.into());
    }

    /// As [`Report::add`], where it is another object that this one does not go together with.
    fn clash(
        &mut self,
        at: At<'_>,
        key: &str,
        value: impl Display,
        what: impl Into<String>,
        way_out: impl Into<String>,
    ) {
        self.because(Cause::Clash, |report| report.add(at, key, value, what, way_out));
    }

    /// What `look` finds has this cause.
    fn because<T>(&mut self, cause: Cause, look: impl FnOnce(&mut Report) -> T) -> T {
        let before = std::mem::replace(&mut self.cause, cause);
        let seen = look(self);
        self.cause = before;
        seen
    }

    /// A problem without a value.
    fn lacks(&mut self, at: At<'_>, key: &str, what: impl Into<String>, way_out: impl Into<String>) {
        self.push(at, key, None, what.into(), way_out.into());
    }

    fn unbuilt(&mut self, at: At<'_>, key: &str, value: &str, service: &str, way_out: &str) {
        self.add(
            at,
            key,
            value,
            format!("asks for {service}, which this version does not have yet"),
            way_out,
        );
    }

    fn push(&mut self, at: At<'_>, key: &str, value: Option<String>, what: String, way_out: String) {
        let path = at.path(key);
        if self.is_replaced(&path) {
            return;
        }
        let cause = self.cause;
        self.found.push(Problem { path, id: at.id.map(shown), value, what, way_out, cause });
    }

    /// Whether the shape replaced the value at `path` or one around it.
    fn is_replaced(&self, path: &str) -> bool {
        let ends = path.match_indices(['.', '[']).map(|(end, _)| end).chain([path.len()]);
        !self.replaced.is_empty() && ends.into_iter().any(|end| self.replaced.contains(&path[..end]))
    }

    /// The value that `read` makes of a text; its complaint is reported.
    fn read<T>(&mut self, at: At<'_>, key: &str, text: Option<&str>, read: text::Read<T>) -> Option<T> {
        let text = text?;
        match read(text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.add(at, key, text, wrong.what, wrong.way_out);
                None
            }
        }
    }

    /// As [`Report::read`], for each item of a list.
    fn read_all<T>(
        &mut self,
        at: At<'_>,
        key: &str,
        texts: &[String],
        read: text::Read<T>,
    ) -> Vec<Option<T>> {
        let each = texts.iter().enumerate();
        each.map(|(i, text)| self.read(at, &format!("{key}[{i}]"), Some(text), read)).collect()
    }

    /// An MTU that the shape has bounded.
    fn mtu(&mut self, raw: u64) -> Option<Mtu> {
        Mtu::new(u32::try_from(raw).ok()?).ok()
    }

    /// Refuses `ip` where it is no host address of `subnet`.
    fn host(&mut self, at: At<'_>, key: &str, subnet: Ipv4Net, ip: Ipv4Addr) -> bool {
        let what = if !subnet.contains(&ip) {
            format!("is outside {subnet}")
        } else if is_subnet_address(subnet, ip) {
            format!("is the network or broadcast address of {subnet}")
        } else {
            return true;
        };
        self.add(at, key, ip, what, format!("give a host address of {subnet}"));
        false
    }
}

/// Whether `ip` is the network or broadcast address of `subnet`; point-to-point subnets have none (RFC 3021).
pub(crate) fn is_subnet_address(subnet: Ipv4Net, ip: Ipv4Addr) -> bool {
    subnet.prefix_len() < 31 && (ip == subnet.network() || ip == subnet.broadcast())
}

/// The objects of one section, also those that did not pass.
struct Known<T> {
    index: HashMap<String, usize>,
    items: Vec<Option<T>>,
}

impl<T> Default for Known<T> {
    fn default() -> Known<T> {
        Known { index: HashMap::new(), items: Vec::new() }
    }
}

/// What a reference leads to.
enum Lookup<'a, T> {
    Object(&'a T),
    /// It is there and did not pass; what depends on it cannot be checked.
    Broken,
    Missing,
}

impl<T> Known<T> {
    /// Checks each object of a section, and that ids are ids and unique.
    fn collect<R>(
        section: &str,
        raw: &[R],
        id_of: impl Fn(&R) -> Option<&str>,
        report: &mut Report,
        mut check: impl FnMut(At<'_>, Option<Id>, &R, &mut Report) -> Option<T>,
    ) -> Known<T> {
        let mut known = Known::default();
        for (i, raw) in raw.iter().enumerate() {
            let at = At { section, index: Some(i), id: id_of(raw) };
            let id = report.read(at, "id", at.id, text::id);
            if let Some(id) = at.id {
                match known.index.get(id) {
                    Some(first) => {
                        let what = format!("is the id of {section}[{first}] already");
                        report.add(at, "id", id, what, "choose another id");
                    }
                    None => _ = known.index.insert(id.to_owned(), i),
                }
            }
            known.items.push(check(at, id, raw, report));
        }
        known
    }

    fn find(&self, id: &str) -> Lookup<'_, T> {
        match self.index.get(id).map(|i| &self.items[*i]) {
            Some(Some(object)) => Lookup::Object(object),
            Some(None) => Lookup::Broken,
            None => Lookup::Missing,
        }
    }

    /// Follows a reference; a missing object is reported, a broken one was.
    fn refer(
        &self,
        at: At<'_>,
        key: &str,
        id: Option<&str>,
        section: &str,
        report: &mut Report,
    ) -> Option<&T> {
        let id = id?;
        match self.find(id) {
            Lookup::Object(object) => Some(object),
            Lookup::Broken => None,
            Lookup::Missing => {
                let way_out = format!("add it to {section} or name one that is there");
                report.because(Cause::Missing, |report| {
                    report.add(at, key, id, format!("is no id in {section}"), way_out);
                });
                None
            }
        }
    }

    /// Those that passed.
    fn items(&self) -> impl Iterator<Item = &T> {
        self.items.iter().flatten()
    }

    /// Whether all passed.
    fn all_passed(&self) -> bool {
        self.items.iter().all(Option::is_some)
    }

    fn into_items(self) -> Vec<T> {
        self.items.into_iter().flatten().collect()
    }
}

impl<T: Member> Known<T> {
    fn into_section(self) -> Section<T> {
        self.items.into_iter().flatten().collect()
    }
}

/// Who has the frames of a port and tag.
#[derive(Default)]
struct Links(HashMap<(Id, Option<Vid>), String>);

impl Links {
    /// Takes a link for the object at `at`; reports who has it already.
    fn claim(&mut self, port: &Id, vlan: Option<Vid>, at: At<'_>, key: &str, report: &mut Report) {
        let owner = at.party();
        let link = (port.clone(), vlan);
        let Some(first) = self.0.get(&link) else {
            self.0.insert(link, owner);
            return;
        };
        let (value, what) = match vlan {
            Some(vlan) => (format!("VLAN {vlan} of port {port}"), format!("belongs to {first} already")),
            None => (format!("port {port} untagged"), format!("belongs to {first} already")),
        };
        report.clash(at, key, value, what, "use another VLAN or port for one of them");
    }
}
