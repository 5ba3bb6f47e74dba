//! Which routes of a table are in force, and why the others are not: longest prefix, then connected and VIPs before
//! static, then the lowest priority value, then the order of the document. A next hop that is not on-link is resolved by the other
//! routes of the same table, never by the default route, and never outside the table.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;
use tidegate_fastpath::{
    table::fib::Hop,
    types::{NetId, VipId, VrfId},
};

use self::resolve::Resolver;
use crate::{config::is_subnet_address, desired::Desired};

mod resolve;

/// A configured route and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStatus {
    /// The table it is in.
    pub vrf: VrfId,
    /// Where packets go to.
    pub destination: Ipv4Net,
    /// What made it.
    pub kind: RouteKind,
    /// Where it leads, as configured.
    pub target: Target,
    /// Lower wins; `None` where no priority applies (routes of kind local, connected and VIP, which beat all).
    pub priority: Option<u8>,
    /// The on-link next hop that the target was resolved to, whether it answers or not.
    pub next_hop: Option<(NetId, Ipv4Addr)>,
    /// Why it is not in force; `None` where it is.
    pub why_not: Option<WhyNot>,
}

impl RouteStatus {
    /// Whether packets follow it.
    pub fn in_force(&self) -> bool {
        self.why_not.is_none()
    }
}

/// What made a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// One of our own addresses.
    Local,
    /// A subnet we are on.
    Connected,
    /// By a next hop.
    Static,
    /// Drops in silence.
    Blackhole,
    /// Into another table.
    Leak,
    /// A public address of ours, for whoever uses it.
    Vip,
    /// Out to public networks, translated.
    Exit,
}

/// The priority of routes that no configured route may shadow.
pub const ALWAYS: u8 = 0;

/// Where a route leads, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// This network's link, or our own address on it.
    Net(NetId),
    /// This address.
    NextHop(Ipv4Addr),
    /// Nowhere.
    Blackhole,
    /// Another table.
    Vrf(VrfId),
    /// Whoever uses this public address.
    Vip(VipId),
    /// Out, translated; of a VPC's route to one of its own public addresses, that address.
    Exit(Option<VipId>),
}

/// Why a configured route is not in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhyNot {
    /// A better route of the same destination is.
    Shadowed {
        /// What made that one.
        by: RouteKind,
        /// Its priority, if it has one.
        priority: Option<u8>,
    },
    /// The destination is the network or broadcast address of a connected subnet.
    SubnetAddress(Ipv4Net),
    /// The next hop, after resolution, does not answer.
    Unreachable(NetId, Ipv4Addr),
    /// No route of this table leads to the next hop.
    OffLink(Ipv4Addr),
    /// The next hop leads back to this route.
    Loop(Ipv4Addr),
    /// The next hop is our own address.
    Own(Ipv4Addr),
    /// The route to the next hop drops or leaves the table.
    DeadEnd(Ipv4Addr),
    /// The link of the network is down.
    NetworkDown(NetId),
}

/// A route as tools show it: names instead of numbers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RouteView {
    /// The VPC router or public network; `underlay` for the gateway's own.
    pub table: String,
    /// Where packets go to.
    pub destination: String,
    /// What made it.
    pub kind: RouteKind,
    /// Where it leads, as configured.
    pub target: String,
    /// Lower wins; none for connected and local routes.
    pub priority: Option<u8>,
    /// The network of the on-link next hop.
    pub network: Option<String>,
    /// The on-link next hop.
    pub next_hop: Option<Ipv4Addr>,
    /// Whether packets follow it.
    pub in_force: bool,
    /// Why not, in words.
    pub reason: Option<String>,
}

impl RouteStatus {
    /// With the names that `desired` has for it.
    pub fn view(&self, desired: &Desired) -> RouteView {
        let net = |id| desired.net_key(id).map_or_else(|| format!("network {id}"), ToString::to_string);
        let vrf = |id| desired.vrf_key(id).map_or_else(|| format!("table {id}"), ToString::to_string);
        let vip = |id| desired.vip_key(id).map_or_else(|| format!("VIP {id}"), ToString::to_string);
        RouteView {
            table: vrf(self.vrf),
            destination: self.destination.to_string(),
            kind: self.kind,
            target: match self.target {
                Target::Net(id) => net(id),
                Target::NextHop(ip) => ip.to_string(),
                Target::Blackhole => "blackhole".into(),
                Target::Vrf(id) => vrf(id),
                Target::Vip(id) | Target::Exit(Some(id)) => vip(id),
                Target::Exit(None) => "exit".into(),
            },
            priority: self.priority,
            network: self.next_hop.map(|(id, _)| net(id)),
            next_hop: self.next_hop.map(|(_, ip)| ip),
            in_force: self.in_force(),
            reason: self.why_not.map(|why| match why {
                WhyNot::NetworkDown(id) => format!("network {} is down", net(id)),
                why => why.to_string(),
            }),
        }
    }
}

/// A subnet that a table is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its network.
    pub net: NetId,
    /// Host bits clear.
    pub prefix: Ipv4Net,
    /// Ours in it.
    pub addresses: Vec<Ipv4Addr>,
    /// Whether its link is up.
    pub up: bool,
}

/// A route of a table that is configured, or that follows from other objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Static {
    /// Host bits clear.
    pub destination: Ipv4Net,
    /// Lower wins; [`ALWAYS`] for those that no configured route may shadow.
    pub priority: u8,
    /// Never [`Target::Net`].
    pub target: Target,
}

impl Static {
    fn kind(&self) -> RouteKind {
        match self.target {
            Target::Net(_) => RouteKind::Connected,
            Target::NextHop(_) => RouteKind::Static,
            Target::Blackhole => RouteKind::Blackhole,
            Target::Vrf(_) => RouteKind::Leak,
            Target::Vip(_) => RouteKind::Vip,
            Target::Exit(_) => RouteKind::Exit,
        }
    }
}

/// What was chosen for a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// For the FIB: each prefix once, sorted.
    pub entries: Vec<(Ipv4Net, Hop)>,
    /// Every route: of each network its local and connected ones, then the configured ones in their order.
    pub statuses: Vec<RouteStatus>,
}

/// Chooses the routes of one table. `attached` subnets do not overlap. Cost: a few hash lookups per route.
pub fn select(
    vrf: VrfId,
    attached: &[Attached],
    static_routes: &[Static],
    unreachable: &HashSet<(NetId, Ipv4Addr)>,
) -> Selected {
    let mut table = Table { vrf, taken: HashMap::new(), selected: Selected::default() };
    for subnet in attached {
        table.attach(subnet);
    }
    let resolved = Resolver::new(attached, static_routes, unreachable).resolve();
    let mut by_priority: Vec<usize> = (0..static_routes.len()).collect();
    by_priority.sort_by_key(|i| static_routes[*i].priority);
    let mut statuses: Vec<Option<RouteStatus>> = vec![None; static_routes.len()];
    for i in by_priority {
        statuses[i] = Some(table.offer(&static_routes[i], resolved[i]));
    }
    table.selected.statuses.extend(statuses.into_iter().flatten());
    table.selected.entries.sort_unstable_by_key(|(prefix, _)| *prefix);
    table.selected
}

/// A table that fills from the best routes to the worst.
struct Table {
    vrf: VrfId,
    /// What each prefix went to, and why no other gets it.
    taken: HashMap<Ipv4Net, WhyNot>,
    selected: Selected,
}

impl Table {
    fn enter(&mut self, prefix: Ipv4Net, hop: Hop, others: WhyNot) {
        self.selected.entries.push((prefix, hop));
        self.taken.insert(prefix, others);
    }

    /// Our addresses, the subnet's own two addresses, the subnet.
    fn attach(&mut self, subnet: &Attached) {
        let Attached { net, prefix, .. } = *subnet;
        let status = |vrf, destination, kind, why_not| RouteStatus {
            vrf,
            destination,
            kind,
            target: Target::Net(net),
            priority: None,
            next_hop: None,
            why_not,
        };
        for address in subnet.addresses.iter().map(|ip| Ipv4Net::from(*ip)) {
            let others = WhyNot::Shadowed { by: RouteKind::Local, priority: None };
            self.enter(address, Hop::Local(net), others);
            self.selected.statuses.push(status(self.vrf, address, RouteKind::Local, None));
        }
        for ip in [prefix.network(), prefix.broadcast()] {
            if is_subnet_address(prefix, ip) {
                self.enter(ip.into(), Hop::Broadcast, WhyNot::SubnetAddress(prefix));
            }
        }
        let down = (!subnet.up).then_some(WhyNot::NetworkDown(net));
        if down.is_none() {
            let others = WhyNot::Shadowed { by: RouteKind::Connected, priority: None };
            self.enter(prefix, Hop::Connected(net), others);
        }
        self.selected.statuses.push(status(self.vrf, prefix, RouteKind::Connected, down));
    }

    /// Takes a configured route, unless it cannot be used or a better one is there.
    fn offer(&mut self, route: &Static, resolved: Resolved) -> RouteStatus {
        let Static { destination, priority, target } = *route;
        let kind = route.kind();
        let why_not = resolved.why_not.or_else(|| self.taken.get(&destination).copied());
        let hop = match (target, resolved.next_hop) {
            (Target::Blackhole, _) => Hop::Blackhole,
            (Target::Vrf(table), _) => Hop::Leak(table),
            (Target::Vip(vip), _) => Hop::Vip(vip),
            (Target::Exit(_), _) => Hop::Exit,
            (_, Some((net, ip))) => Hop::Via(net, ip),
            (_, None) => Hop::NoRoute,
        };
        let priority = (priority != ALWAYS).then_some(priority);
        if why_not.is_none() {
            self.enter(destination, hop, WhyNot::Shadowed { by: kind, priority });
        }
        RouteStatus {
            vrf: self.vrf,
            destination,
            kind,
            target,
            priority,
            next_hop: resolved.next_hop,
            why_not,
        }
    }
}

/// Where a route leads, regardless of other routes of its destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Resolved {
    next_hop: Option<(NetId, Ipv4Addr)>,
    why_not: Option<WhyNot>,
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RouteKind::Local => "local",
            RouteKind::Connected => "connected",
            RouteKind::Static => "static",
            RouteKind::Blackhole => "blackhole",
            RouteKind::Leak => "leak",
            RouteKind::Vip => "vip",
            RouteKind::Exit => "exit",
        })
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyNot::Shadowed { by, priority: None } => write!(f, "shadowed by the {by} route"),
            WhyNot::Shadowed { by, priority: Some(p) } => {
                write!(f, "shadowed by a {by} route of priority {p}")
            }
            WhyNot::SubnetAddress(subnet) => write!(f, "a subnet address of {subnet}"),
            WhyNot::Unreachable(_, ip) => write!(f, "next hop {ip} unreachable"),
            WhyNot::OffLink(ip) => write!(f, "next hop {ip} is off-link and no other route leads to it"),
            WhyNot::Loop(ip) => write!(f, "next hop {ip} leads back to this route"),
            WhyNot::Own(ip) => write!(f, "next hop {ip} is our own address"),
            WhyNot::DeadEnd(ip) => write!(f, "the route to next hop {ip} is a blackhole or leaves the table"),
            WhyNot::NetworkDown(_) => f.write_str("network down"),
        }
    }
}

#[cfg(test)]
mod tests;
