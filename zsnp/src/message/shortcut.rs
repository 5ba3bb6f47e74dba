//! SHORTCUT: which packets, and where they go.

use std::net::Ipv4Addr;

use super::place::{read_triple, triple};
use crate::{
    receiver::Refusal,
    tlv::Value,
    types::{Mac, Vni},
};

/// Which packets a shortcut is for: all to one address, from one network, that were sent to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Match {
    /// The network they come from.
    pub vni: Vni,
    /// The gateway's MAC there: their destination MAC.
    pub gateway_mac: Mac,
    /// Their destination.
    pub destination: Ipv4Addr,
}

/// Where such packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Action {
    /// The destination's network.
    pub vni: Vni,
    /// Its MAC.
    pub mac: Mac,
    /// The tunnel end of its host.
    pub vtep: Ipv4Addr,
}

/// One direction of traffic past the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortcut {
    /// For these packets,
    pub matches: Match,
    /// do this,
    pub action: Action,
    /// for so many seconds, unless it is renewed; never 0.
    pub lifetime_s: u32,
    /// Longer IP packets go to the gateway, in bytes.
    pub mtu: u16,
}

impl Match {
    pub(super) fn octets(self) -> Vec<u8> {
        triple(self.vni, self.gateway_mac, self.destination)
    }

    pub(super) fn read(value: &mut Value<'_>) -> Result<Match, Refusal> {
        read_triple(value).map(|(vni, gateway_mac, destination)| Match { vni, gateway_mac, destination })
    }
}

impl Action {
    pub(super) fn octets(self) -> Vec<u8> {
        triple(self.vni, self.mac, self.vtep)
    }

    pub(super) fn read(value: &mut Value<'_>) -> Result<Action, Refusal> {
        read_triple(value).map(|(vni, mac, vtep)| Action { vni, mac, vtep })
    }
}
