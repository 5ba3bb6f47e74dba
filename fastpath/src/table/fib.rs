//! Longest prefix match of one routing table: a multibit trie, immutable once built.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::types::{NetId, VrfId};

/// Where a route leads. What no route covers is [`Hop::NoRoute`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hop {
    /// No route.
    #[default]
    NoRoute,
    /// A blackhole route: dropped in silence.
    Blackhole,
    /// Network or broadcast address of a connected subnet.
    Broadcast,
    /// One of our own addresses, on this network.
    Local(NetId),
    /// On the link of this network: the destination itself is the next hop.
    Connected(NetId),
    /// By this next hop on this network.
    Via(NetId, Ipv4Addr),
    /// Look it up again in this routing table (between a VPC and a public network, where the operator says so).
    Leak(VrfId),
}

/// The routes of one VRF.
#[derive(Clone, Debug, Default)]
pub struct Fib {}

impl Fib {
    /// Builds from routes in any order. Of two equal prefixes the later one wins; the caller has already chosen the best.
    pub fn build(_routes: impl IntoIterator<Item = (Ipv4Net, Hop)>) -> Fib {
        todo!()
    }

    /// The hop of the longest prefix that covers `destination`.
    #[inline]
    pub fn lookup(&self, _destination: Ipv4Addr) -> Hop {
        todo!()
    }

    /// Asks the CPU for the first line that [`Fib::lookup`] will touch.
    #[inline]
    pub fn prefetch(&self, _destination: Ipv4Addr) {
        todo!()
    }
}
