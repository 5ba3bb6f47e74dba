//! Which public address the packets of an entry are counted for, and what an entry that ends leaves of its count.
//!
//! What passed a public address is what its entries have counted and what those that ended had counted. A packet costs nothing for that
//! beyond the counters of its entry ([ADR 0023](../../../docs/adr/0023-traffic-of-public-addresses.md)).

use std::net::Ipv4Addr;

use super::{
    FlowKey, Program,
    record::{Counts, Record},
    session::Service,
};
use crate::{table::nat::Amount, types::NetId, wire::translate::Side};

/// A public address as the packets of an entry have it: the one that they come to, or leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicEnd {
    /// The public network.
    pub net: NetId,
    /// The address.
    pub address: Ipv4Addr,
    /// Of the destination: packets come in; of the source: they go out.
    pub side: Side,
}

impl PublicEnd {
    /// That of an entry; `None` where its packets have none: not translated, or by the gateway's own address in a VPC.
    pub fn of(key: &FlowKey, program: &Program) -> Option<PublicEnd> {
        let translation = program.translation;
        if translation.is_none() || matches!(translation.service(), Service::Masked | Service::Fragment) {
            return None;
        }
        let side = translation.side();
        Some(match side {
            Side::Source => PublicEnd { net: program.egress, address: translation.address(), side },
            Side::Destination => PublicEnd { net: key.net(), address: key.destination(), side },
        })
    }
}

/// What a record had counted when it was taken back, less what the record in its place goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// For whom.
    pub end: PublicEnd,
    /// How much.
    pub amount: Amount,
}

impl Ended {
    pub(super) fn of(record: &Record, carried: Counts) -> Option<Ended> {
        if record.translation().is_none() {
            return None;
        }
        let end = PublicEnd::of(&record.key(), &record.program())?;
        let counts = record.counts();
        let packets = counts.packets.wrapping_sub(carried.packets);
        let amount = Amount { packets, bytes: counts.bytes.wrapping_sub(carried.bytes) };
        (packets > 0).then_some(Ended { end, amount })
    }
}
