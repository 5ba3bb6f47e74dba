//! One direction of traffic: from a network on a host to an address.

use std::net::Ipv4Addr;

use tidegate_fastpath::types::{Nanos, NetId, VrfId};
use tidegate_zsnp::{RefusedWhy, Shortcut, Transaction, VpcTag};

use crate::compile::Forbidden;

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairKey {
    /// The tunnel end of the host where packets enter.
    pub host: Ipv4Addr,
    /// The network they come from.
    pub source: NetId,
    /// Where they go.
    pub destination: Ipv4Addr,
}

/// What is known of it.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The routing table.
    pub vrf: VrfId,
    /// The VM whose packets began it; unspecified where a host's RENEW did.
    pub vm: Ipv4Addr,
    /// Since when it is in its phase.
    pub since: Nanos,
    /// Why it is in no further one.
    pub why: Option<Why>,
    /// Packets that went direct, of all its shortcuts.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
    pub(super) state: State,
    /// When something must happen.
    pub(super) due: Nanos,
    /// What the host said last of the present shortcut.
    pub(super) counted: (u64, u64),
}

/// Where a pair is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Packets go by the gateway.
    Idle,
    /// So they do, and nobody is asked for a while.
    Held,
    /// The destination's host is asked whether it has an agent.
    Locating,
    /// The source's host is told.
    Offering,
    /// Packets go direct.
    Active,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Phase; 5] = [Phase::Idle, Phase::Held, Phase::Locating, Phase::Offering, Phase::Active];

    /// Its name.
    pub const fn label(self) -> &'static str {
        match self {
            Phase::Idle => "idle",
            Phase::Held => "held",
            Phase::Locating => "locating",
            Phase::Offering => "offering",
            Phase::Active => "active",
        }
    }
}

/// A phase and what belongs to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Idle,
    Held,
    Locating(Asked),
    Offering(Asked, Offer),
    /// Until then, unless it is renewed.
    Active(Offer, Nanos),
}

/// A question that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) transaction: Transaction,
    pub(super) tries: u32,
}

/// A shortcut that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) shortcut: Shortcut,
    /// The destination's network.
    pub(super) egress: NetId,
    pub(super) vpc: VpcTag,
    /// Our tunnel end.
    pub(super) via: Ipv4Addr,
    /// When it was offered last for its own sake, not as an answer.
    pub(super) at: Nanos,
}

/// Why packets still go by the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// They must.
    Forbidden(Forbidden),
    /// The destination's place is not known.
    Unresolved,
    /// The destination's host said nothing, or the VM did instead.
    NoAgentThere,
    /// The source's host said nothing, or the VM did instead.
    NoAgentHere,
    /// The source's host refused.
    Refused(RefusedWhy),
    /// It has no room.
    TableFull,
    /// Too many are asked at once.
    LocateLimit,
    /// The source's host has yet to forget what it was told before.
    Withdrawing,
    /// The destination has moved.
    Moved,
    /// Nobody renewed the shortcut: it was not used.
    Unused,
}

impl Why {
    /// In words.
    pub const fn phrase(self) -> &'static str {
        match self {
            Why::Forbidden(why) => why.phrase(),
            Why::Unresolved => "the destination answers no ARP",
            Why::NoAgentThere => "no agent on the destination's host",
            Why::NoAgentHere => "no agent on the source's host",
            Why::Refused(RefusedWhy::UnknownVni) => "the host has not the source network",
            Why::Refused(RefusedWhy::Unreachable) => "the host cannot reach the destination's",
            Why::Refused(RefusedWhy::Unsupported) => "the host cannot do it",
            Why::Refused(RefusedWhy::Policy) => "the host's operator does not want it",
            Why::Refused(RefusedWhy::NotFresh) => "the host has not heard a fresh HELLO",
            Why::TableFull => "the host's table is full",
            Why::LocateLimit => "too many LOCATEs at once",
            Why::Withdrawing => "the host has not acknowledged a WITHDRAW",
            Why::Moved => "the destination moved",
            Why::Unused => "not used any more",
        }
    }
}

impl Pair {
    /// Where it is on its way.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Idle => Phase::Idle,
            State::Held => Phase::Held,
            State::Locating(_) => Phase::Locating,
            State::Offering(..) => Phase::Offering,
            State::Active(..) => Phase::Active,
        }
    }

    /// The tunnel end that packets go to directly.
    pub fn remote(&self) -> Option<Ipv4Addr> {
        match self.state {
            State::Active(offer, _) => Some(offer.shortcut.action.vtep),
            _ => None,
        }
    }

    /// The question that is open.
    pub(super) fn asked(&self) -> Option<Transaction> {
        match self.state {
            State::Locating(asked) | State::Offering(asked, _) => Some(asked.transaction),
            State::Idle | State::Held | State::Active(..) => None,
        }
    }

    /// What a host has of us, or may have.
    pub(super) fn offer(&self) -> Option<Offer> {
        match self.state {
            State::Offering(_, offer) | State::Active(offer, _) => Some(offer),
            State::Idle | State::Held | State::Locating(_) => None,
        }
    }
}
