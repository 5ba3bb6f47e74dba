//! What the packet path learns: one entry per flow (one direction), found with one lookup.
//!
//! The table is shared by all workers and lock-free: any worker looks up any flow without waiting. See `table.rs` for the
//! layout and for who writes which atomic word with which ordering.

mod attach;
mod bucket;
mod expire;
mod free;
mod hash;
mod lanes;
mod lookup;
mod memory;
mod preamble;
mod public;
mod reader;
mod reclaim;
mod record;
#[cfg(not(loom))]
mod region;
#[cfg(loom)]
#[path = "region_loom.rs"]
mod region;
pub mod session;
mod sync;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::net::Ipv4Addr;

use thiserror::Error;

pub use self::{
    attach::Recovery,
    lookup::{Hit, Lookup},
    memory::{FileFor, FlowMemory, Labelled},
    preamble::NotKept,
    public::{Ended, PublicEnd},
    reader::{FlowReader, FlowWalk},
    table::FlowTable,
    worker::FlowWorker,
};

use self::session::{TcpSeen, Translation};
use crate::{
    policer::Policers,
    table::neighbour::NeighbourId,
    types::{NetId, Tick, VrfId},
};

/// The packets of one flow: network of ingress, addresses, protocol and ports. An ICMP query or answer (echo,
/// timestamp) has its identifier as `source_port` and 0 or 1 as `destination_port`; other ICMP, other protocols and fragments after the first have both 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Source and destination as on the wire, the first byte lowest.
    addresses: u64,
    /// source port << 48 | destination port << 32 | network << 16 | protocol << 8 | fragment
    rest: u64,
}

impl FlowKey {
    /// Packs a key; `fragment` is set for packets whose ports are unknown because they are not the first fragment.
    #[inline(always)]
    pub fn new(
        net: NetId,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        source_port: u16,
        destination_port: u16,
        fragment: bool,
    ) -> FlowKey {
        FlowKey {
            addresses: u64::from(u32::from_le_bytes(destination.octets())) << 32
                | u64::from(u32::from_le_bytes(source.octets())),
            rest: u64::from(source_port) << 48
                | u64::from(destination_port) << 32
                | u64::from(net.0) << 16
                | u64::from(protocol) << 8
                | u64::from(fragment),
        }
    }

    /// Packs the key of a whole packet with ports; `addresses` is source and destination as on the
    /// wire, the first byte lowest; `ports` is source << 16 | destination.
    #[inline(always)]
    pub const fn of_whole(net: NetId, addresses: u64, protocol: u8, ports: u32) -> FlowKey {
        FlowKey { addresses, rest: (ports as u64) << 32 | (net.0 as u64) << 16 | (protocol as u64) << 8 }
    }

    /// The network of ingress.
    pub const fn net(&self) -> NetId {
        NetId((self.rest >> 16) as u16)
    }

    /// Source address.
    pub const fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets((self.addresses as u32).to_le_bytes())
    }

    /// Destination address.
    pub const fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(((self.addresses >> 32) as u32).to_le_bytes())
    }

    /// IP protocol number.
    pub const fn protocol(&self) -> u8 {
        (self.rest >> 8) as u8
    }

    /// Source port, or ICMP echo identifier.
    pub const fn source_port(&self) -> u16 {
        (self.rest >> 48) as u16
    }

    /// Destination port.
    pub const fn destination_port(&self) -> u16 {
        (self.rest >> 32) as u16
    }

    /// Whether the key is of fragments after the first.
    pub const fn is_fragment(&self) -> bool {
        self.rest & 1 != 0
    }

    /// The same packets from another network.
    pub const fn from_net(&self, net: NetId) -> FlowKey {
        FlowKey { addresses: self.addresses, rest: self.rest & !(0xffff << 16) | (net.0 as u64) << 16 }
    }

    /// The two words as they are stored.
    pub const fn to_words(self) -> [u64; 2] {
        [self.addresses, self.rest]
    }

    /// The inverse of [`FlowKey::to_words`].
    pub const fn from_words([addresses, rest]: [u64; 2]) -> FlowKey {
        FlowKey { addresses, rest }
    }
}

/// What was decided for a flow; later packets only apply it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Policy generation of the VRF at the time of the decision.
    pub generation: u32,
    /// The network it goes out to.
    pub egress: NetId,
    /// The next hop.
    pub next: NeighbourId,
    /// The VTEP that the flow's packets come from (unspecified without tunnel); another one means that the VM moved.
    pub from_vtep: Ipv4Addr,
    /// What of its packets is replaced.
    pub translation: Translation,
    /// The routing table of the inside of a translation.
    pub inside: VrfId,
    /// Which rate limits its packets pass.
    pub policers: Policers,
}

/// A keyed hash of a [`FlowKey`]; nobody outside can aim at one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash(pub u64);

/// A place in the record array that may hold the wanted flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId(pub u32);

impl FlowId {
    /// No place. There is a record at it, which belongs to no flow.
    pub const NONE: FlowId = FlowId(0);
}

/// Why no entry was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLearned {
    /// No free record, or both buckets of the key are full (1 key in 7,000 in a full table of the highest load). For a
    /// replacement: this worker's reserve is used up until other workers have been quiescent.
    Full,
    /// Another worker is changing the bucket right now; or, for a replacement, so many replaced records wait for a worker
    /// that has not been quiescent that this one replaces no more. Passes by itself; the next packet tries again.
    Busy,
}

/// One entry as control sees it.
#[derive(Clone, Copy, Debug)]
pub struct FlowView {
    /// Whose packets.
    pub key: FlowKey,
    /// What is done with them.
    pub program: Program,
    /// Packets that used the entry.
    pub packets: u64,
    /// Bytes (IP total length) of them.
    pub bytes: u64,
    /// When the last one came.
    pub last_seen: Tick,
    /// TCP flags of this direction.
    pub seen: TcpSeen,
}

/// Idle time after which entries go, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowTimeouts {
    /// Entries that may come back at any time: plain forwarding, one-to-one addresses.
    pub idle: u32,
    /// TCP sessions with data (RFC 5382 REQ-5: at least 2 h 4 min).
    pub tcp_established: u32,
    /// TCP sessions that open, close or were reset (RFC 5382 REQ-5: at least 4 min).
    pub tcp_transitory: u32,
    /// UDP sessions (RFC 4787 REQ-5: at least 2 min, 5 min recommended).
    pub udp: u32,
    /// ICMP queries (RFC 5508 REQ-2: at least 60 s).
    pub icmp: u32,
    /// Sessions of other protocols.
    pub other: u32,
    /// TCP sessions of listeners that open, where `tcp_transitory` is not less. They count for the bounds of a listener, and a flood of SYNs
    /// must not have them for long; each SYN that is sent again begins the time anew.
    pub balanced_opening: u32,
    /// TCP sessions of listeners that both sides have closed, or one has reset, where `tcp_transitory` is not less.
    pub balanced_closing: u32,
    /// The ports of a fragmented datagram.
    pub fragment: u32,
}

impl FlowTimeouts {
    /// What the RFCs recommend, with `idle_s` seconds for plain forwarding.
    pub const fn recommended(idle_s: u32) -> FlowTimeouts {
        FlowTimeouts {
            idle: Tick::ticks_of_s(idle_s),
            tcp_established: Tick::ticks_of_s(7_440),
            tcp_transitory: Tick::ticks_of_s(240),
            udp: Tick::ticks_of_s(300),
            icmp: Tick::ticks_of_s(60),
            other: Tick::ticks_of_s(600),
            balanced_opening: Tick::ticks_of_s(60),
            balanced_closing: Tick::ticks_of_s(10),
            fragment: Tick::ticks_of_s(15),
        }
    }
}

/// Why there is no flow table.
#[derive(Debug, Error)]
pub enum FlowTableError {
    /// More than [`FlowTable::MAX_CAPACITY`].
    #[error("{capacity} flows are too many; give {max} or fewer", max = FlowTable::MAX_CAPACITY)]
    TooLarge {
        /// What was asked for.
        capacity: usize,
    },
    /// The kernel refused the memory.
    #[error(
        "no memory for a flow table of {capacity} flows ({bytes} bytes); give fewer flows or more memory"
    )]
    NoMemory {
        /// What was asked for.
        capacity: usize,
        /// The size of the region.
        bytes: usize,
        /// What the kernel said.
        source: std::io::Error,
    },
}
