//! Rate limits (QoS): token buckets that hold over all workers, and which of them a packet must pass.
//!
//! ```text
//! flow entry ─ Policers ─► chain ─► bucket of a VIP's port ─► bucket of the VIP        (public side)
//!                    └───► network and address ─► bucket of the NIC                    (inside)
//! ```
//! A flow entry holds a number; rates are in the tables, so they change without touching a flow. All buckets of a packet let
//! it pass, or none is charged. `supply.rs` is what workers share, `bucket.rs` what each does by itself, `colour.rs` marking instead of
//! dropping.

mod bucket;
mod colour;
mod supply;
#[cfg(all(test, not(loom)))]
mod tests;

use std::{net::Ipv4Addr, sync::Arc};

use arrayvec::ArrayVec;

pub use self::{
    bucket::{Bucket, Count, Limits, Rate, Slot, Verdict, pass},
    colour::{Above, Action, Colour, Colouring, Dscp},
};
use crate::wire::translate::Side;

/// Which buckets the packets of a flow pass: a chain of the public side, and whether NICs are limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Policers(u16);

impl Policers {
    /// No bucket.
    pub const NONE: Policers = Policers(0);
    /// Highest number of a chain.
    pub const CHAINS_MAX: u16 = 0x7fff;
    const NICS: u16 = 0x8000;

    /// Of a chain of 1 to [`Policers::CHAINS_MAX`]; 0 is none.
    pub const fn of_chain(chain: u16) -> Policers {
        Policers(chain & Policers::CHAINS_MAX)
    }

    /// The same, and those of NICs.
    pub const fn and_nics(self) -> Policers {
        Policers(self.0 | Policers::NICS)
    }

    /// Whether packets pass no bucket.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether a NIC is limited, which is found by its address.
    #[inline(always)]
    pub const fn has_nics(self) -> bool {
        self.0 & Policers::NICS != 0
    }

    /// The number of the chain.
    const fn chain(self) -> usize {
        (self.0 & Policers::CHAINS_MAX) as usize
    }

    /// As it is stored.
    #[inline(always)]
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// The inverse of [`Policers::to_bits`].
    #[inline(always)]
    pub const fn from_bits(bits: u16) -> Policers {
        Policers(bits)
    }
}

/// Most buckets of one packet: two of the public side, or two NICs, or one NIC with the former.
pub const BUCKETS_MAX: usize = 4;

/// The number of a bucket: index into [`Policing::buckets`].
pub type BucketId = u16;

/// Buckets that packets pass one after the other, in each direction; the narrowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Of packets out of the gateway by the public side.
    pub outbound: ArrayVec<BucketId, 2>,
    /// Of packets in by it.
    pub inbound: ArrayVec<BucketId, 2>,
}

impl Chain {
    /// Of packets whose address on this side is the public one.
    #[inline(always)]
    fn of(&self, side: Side) -> &[BucketId] {
        match side {
            Side::Source => &self.outbound,
            Side::Destination => &self.inbound,
        }
    }
}

/// All buckets of a generation of the tables.
#[derive(Clone, Debug, Default)]
pub struct Policing {
    /// By [`BucketId`].
    pub buckets: Arc<[Option<Bucket>]>,
    /// By the number in [`Policers`].
    pub chains: Arc<[Chain]>,
}

impl Policing {
    /// Whether nothing is limited.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// A bucket.
    #[inline(always)]
    pub fn bucket(&self, id: BucketId) -> Option<&Bucket> {
        self.buckets.get(usize::from(id))?.as_ref()
    }

    /// Takes a packet through the bucket of `policers` where that is one, and worker `worker` has the credit. False where nothing
    /// was done, and [`pass`] must say. The public address of its packets is on this side.
    #[inline(always)]
    pub fn pass_at_once(&self, policers: Policers, side: Side, worker: usize, ip_len: u16) -> bool {
        let Some(chain) = self.chains.get(policers.chain()) else { return false };
        match (chain.of(side), policers.has_nics()) {
            ([id], false) => self.bucket(*id).is_some_and(|bucket| bucket.pay(worker, ip_len)),
            _ => false,
        }
    }

    /// The buckets of a chain, for packets whose address on this side is the public one.
    #[inline(always)]
    pub fn chain(&self, policers: Policers, side: Side) -> impl Iterator<Item = &Bucket> {
        let chain = self.chains.get(policers.chain());
        chain.map(|chain| chain.of(side)).unwrap_or_default().iter().filter_map(|id| self.bucket(*id))
    }
}

/// The limits of a NIC, by its address in a routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitedNic {
    /// Its address.
    pub address: Ipv4Addr,
    /// Of packets that it sends.
    pub outbound: Option<BucketId>,
    /// Of packets that it gets.
    pub inbound: Option<BucketId>,
}
