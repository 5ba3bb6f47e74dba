//! Which routes of a table are in force, and why the others are not: longest prefix, then connected before static, then
//! the lowest priority value, then the order of the document. A next hop that is not on-link is resolved by the other
//! routes of the same table, never by the default route, and never outside the table.

use std::{fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;
use tidegate_fastpath::types::{NetId, VrfId};

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
    /// Lower wins; `None` where no priority applies (connected and local routes, which beat all).
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
}

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

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RouteKind::Local => "local",
            RouteKind::Connected => "connected",
            RouteKind::Static => "static",
            RouteKind::Blackhole => "blackhole",
            RouteKind::Leak => "leak",
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
