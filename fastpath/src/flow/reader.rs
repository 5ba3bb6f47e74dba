//! Control's hold on the flow table, for `show flows` and metrics.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::{
    FlowKey, FlowView,
    bucket::SLOTS,
    memory::{self, Labelled},
    record::Record,
    sync::Ordering,
    table::FlowTable,
};
use crate::prefetch;

/// Buckets read between two quiescent states: few, so that reclamation does not wait for control.
const BUCKETS_AT_ONCE: usize = 8;

/// The entries of so many buckets.
type Views = ArrayVec<FlowView, { BUCKETS_AT_ONCE * SLOTS }>;

/// How far a walk over the table is; the default is its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowWalk {
    bucket: usize,
}

/// Control's hold on the table, for reading.
#[derive(Debug)]
pub struct FlowReader {
    table: Arc<FlowTable>,
    /// Its slot among the readers.
    slot: usize,
}

impl FlowReader {
    pub(super) const fn new(table: Arc<FlowTable>, slot: usize) -> FlowReader {
        FlowReader { table, slot }
    }

    /// Shows every live entry to `see`, until it returns false. Never stops a worker; an entry that changes meanwhile is
    /// shown as it was or left out. However long `see` takes, it holds up no reclamation.
    pub fn for_each(&mut self, mut see: impl FnMut(FlowView) -> bool) {
        let mut walk = FlowWalk::default();
        while let Some(views) = self.next_views(&mut walk) {
            if !views.into_iter().all(&mut see) {
                return;
            }
        }
    }

    /// The label of a name; see [`FlowMemory::label_of`](super::FlowMemory::label_of).
    pub fn label_of(&self, name: &str) -> u64 {
        memory::label_of(self.table.hasher(), name)
    }

    /// Says whose a number is, for the process that takes the table over; 0 for nobody's. Before workers see the number.
    /// Nothing happens where the table is not in a file.
    pub fn set_label(&self, of: Labelled, number: u16, label: u64) {
        if let Some(word) = memory::label_at(self.table.region(), of, number) {
            word.store(label, Ordering::Relaxed);
        }
    }

    /// Says that this process goes well: the table is not what ends processes.
    pub fn settle(&self) {
        memory::settle(self.table.region());
    }

    /// One step of a walk: as [`FlowReader::for_each`], over at least `entries` places for entries. Returns false when the
    /// walk is over.
    pub fn step(&mut self, walk: &mut FlowWalk, entries: usize, mut see: impl FnMut(FlowView)) -> bool {
        for _ in 0..entries.div_ceil(BUCKETS_AT_ONCE * SLOTS) {
            match self.next_views(walk) {
                Some(views) => views.into_iter().for_each(&mut see),
                None => return false,
            }
        }
        true
    }

    /// The entry of a key.
    pub fn find(&mut self, key: &FlowKey) -> Option<FlowView> {
        self.table.grace.online(self.slot);
        let found =
            self.table.find(key, self.table.hash(key)).map(|place| self.table.record(place.id).view());
        self.table.grace.offline(self.slot);
        found
    }

    /// The entries of the next few buckets; `None` after the last one.
    fn next_views(&mut self, walk: &mut FlowWalk) -> Option<Views> {
        let rest = self.table.buckets().get(walk.bucket..)?;
        let buckets = rest.chunks(BUCKETS_AT_ONCE).next()?;
        walk.bucket += buckets.len();
        self.table.grace.online(self.slot);
        let records: ArrayVec<&Record, { BUCKETS_AT_ONCE * SLOTS }> = buckets
            .iter()
            .flat_map(|bucket| (0..SLOTS).filter_map(|slot| bucket.record(slot)))
            .map(|id| self.table.record(id))
            .inspect(|record| prefetch::read(*record))
            .collect();
        let views = records.iter().map(|record| record.view()).collect();
        self.table.grace.offline(self.slot);
        Some(views)
    }

    /// Entries in use, about.
    pub fn len(&self) -> usize {
        self.table.in_use()
    }

    /// Whether no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The limit.
    pub fn capacity(&self) -> usize {
        self.table.shares().capacity
    }

    /// Memory per flow of the capacity, index and free list included, rounded up.
    pub fn bytes_per_flow(&self) -> usize {
        self.table.bytes().div_ceil(self.capacity().max(1))
    }

    /// Whether the table is in reserved 2 MiB pages; if not, a million flows cost some 15 to 30 % more per packet.
    pub fn hugepages(&self) -> bool {
        self.table.hugepages()
    }
}
