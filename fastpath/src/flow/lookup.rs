//! The lookup of established flows, as the passes over a burst make it: hash, bucket, tag, record. Where buckets and records
//! are is looked up once per pass, not once per packet.

use super::{
    FlowHash, FlowId, FlowKey, Program,
    hash::KeyedHasher,
    record::Record,
    region::Buckets,
    session::{TcpSeen, Translation},
    table::FlowTable,
};
use crate::{
    policer::Policers,
    prefetch,
    table::neighbour::NeighbourId,
    types::{NetId, Tick},
};

/// A flow table, to look flows up in it. What it finds stays readable until its worker's next
/// [`FlowWorker::quiescent`](super::FlowWorker::quiescent).
#[derive(Clone, Debug)]
pub struct Lookup<'a> {
    hasher: KeyedHasher,
    buckets: Buckets<'a>,
    records: &'a [Record],
}

/// A record that may be the entry of a packet, from [`Lookup::hit`].
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a>(&'a Record);

impl<'a> Lookup<'a> {
    #[inline(always)]
    pub(super) fn of(table: &'a FlowTable) -> Lookup<'a> {
        let region = table.region();
        Lookup { hasher: table.hasher().clone(), buckets: region.by_hash(), records: region.records() }
    }

    /// The hash of a key, with the table's random key.
    #[inline(always)]
    pub fn hash(&self, key: &FlowKey) -> FlowHash {
        self.hasher.hash(key)
    }

    /// Asks the CPU for the bucket.
    #[inline(always)]
    pub fn prefetch(&self, hash: FlowHash) {
        prefetch::read(self.buckets.bucket(hash.home(usize::MAX)));
    }

    /// Compares tags; asks the CPU for the record of the first match. `None` means that there is no such flow.
    #[inline(always)]
    pub fn probe(&self, hash: FlowHash) -> Option<FlowId> {
        let home = self.buckets.bucket(hash.home(usize::MAX));
        match home.matching(hash.tag()).next() {
            Some(slot) => {
                // None while it is being removed: then it is no packet's.
                let id = home.record(slot).unwrap_or(FlowId::NONE);
                self.ask_for(id);
                Some(id)
            }
            None if home.has_away() => self.probe_alternate(hash),
            None => None,
        }
    }

    #[cold]
    fn probe_alternate(&self, hash: FlowHash) -> Option<FlowId> {
        let alternate = self.buckets.bucket(hash.alternate(usize::MAX));
        let candidate = alternate.matching(hash.tag()).find_map(|slot| alternate.record(slot))?;
        self.ask_for(candidate);
        Some(candidate)
    }

    #[inline(always)]
    fn ask_for(&self, id: FlowId) {
        prefetch::nth(self.records, id.0 as usize);
    }

    /// The record of a candidate of [`Lookup::probe`], to use it and count on it with one look; of none ([`FlowId::NONE`]) one
    /// that is no packet's.
    #[inline(always)]
    pub fn hit(&self, candidate: FlowId) -> Option<Hit<'a>> {
        self.records.get(candidate.0 as usize).map(Hit)
    }
}

impl Hit<'_> {
    /// All that is done with the flow's packets.
    pub fn program(&self) -> Program {
        self.0.program()
    }

    /// Whether it is the entry of this key.
    #[inline(always)]
    pub fn is_of(&self, key: &FlowKey) -> bool {
        self.0.is_of(key)
    }

    /// Generation and next hop of its program.
    #[inline(always)]
    pub fn decision(&self) -> (u32, NeighbourId) {
        self.0.decision()
    }

    /// Network of egress of its program, and the VTEP of origin as a number.
    #[inline(always)]
    pub fn way(&self) -> (NetId, u32) {
        self.0.way()
    }

    /// What of its packets is replaced.
    #[inline(always)]
    pub fn translation(&self) -> Translation {
        self.0.translation()
    }

    /// Counts a packet, as [`FlowWorker::touch`](super::FlowWorker::touch); one that is not TCP, or neither opens nor ends a
    /// connection. Returns the rate limits of the flow, which are in the same word.
    #[inline(always)]
    pub fn touch_open(&self, bytes: u16, now: Tick, segment: TcpSeen) -> Policers {
        self.0.touch_open(bytes, now, segment)
    }
}
