//! The shared part of the flow table: buckets, records, and how an entry is found, added and removed.
//!
//! A packet costs two cache lines: the bucket (tags and record indices) and the record (key, program, counters). A key has two
//! buckets, its home and an alternate. Entries go home unless that is full, never move, and the home counts its entries that
//! are away, so that a lookup looks at the alternate only where that helps.
//!
//! # Sizes
//! A bucket has 8 slots, and there is a bucket for every 3 flows of the capacity, rounded up to a power of two: load is between
//! 3/16 and 3/8 when the table is full. At 3/8, 1.2 % of the homes are full, and 0.014 % of the keys find both buckets full
//! (they are [`NotLearned::Full`]; at 1/2 it were 5 % and 0.26 %). Bytes per flow: record 64, bucket 21 to 43, pool of free
//! records 4.5; the limit is 128.
//!
//! # Threads
//! Lookups wait for nobody. Changes hold the try-lock of the key's home (and of the alternate if they change that too); who
//! does not get it gives up and does without. So a key has one entry at most: whoever adds one holds the home's lock.
//!
//! | Word | Written by | Order |
//! |---|---|---|
//! | `Bucket::lock` | any worker | compare-exchange acquire, store release |
//! | `Bucket::tags` | holder of its lock | release: after the index when added, before it when removed; read acquire |
//! | `Bucket::records` | holder of its lock | release, after the record's words; read acquire |
//! | `Bucket::away` | holder of its lock | release, before an entry is added to the alternate, after one is removed |
//! | `Record::key`, `decision`, `way` | who took the record from the free ones, before it is visible | relaxed |
//! | `Record::packets`, `bytes`, `seen` | the same, then the worker that receives the flow: load and store | relaxed |
//! | `Grace::drawn` | any worker that unlinked records, once per burst | fetch-add acquire-release, then a fence |
//! | `Grace::seen` | the reader whose slot it is | release; after going online a fence too |
//! | `FlowTable::in_use` | the worker whose slot it is: load and store | relaxed |
//! | header of the region | who makes the region, before any other thread sees it; control counts starts | relaxed, its first word last |
//! | labels of the region | control | relaxed |
//!
//! A record's words need no order of their own: they are written while no thread can find the record, made visible by the index
//! (release), and written again only after every reader passed a quiescent state (`reclaim.rs`).

use std::sync::Arc;

use crossbeam::utils::CachePadded;

use super::{
    FlowHash, FlowId, FlowKey, FlowTableError, NotLearned, Recovery,
    bucket::{Bucket, Locked},
    free::{FreeCache, Pool, Shares},
    hash::KeyedHasher,
    memory::FlowMemory,
    reader::FlowReader,
    reclaim::Grace,
    record::Record,
    region::{Region, Sizes},
    session::Session,
    sync::{AtomicU64, Ordering},
    worker::FlowWorker,
};

/// Flows of the capacity for which there is a bucket of 8.
const FLOWS_PER_BUCKET: usize = 3;

/// The table that all workers share. Lock-free; reached through [`FlowWorker`] and [`FlowReader`].
#[derive(Debug)]
pub struct FlowTable {
    region: Region,
    hasher: KeyedHasher,
    /// Number of buckets minus 1.
    mask: usize,
    shares: Shares,
    pub(super) pool: Pool,
    /// A slot for each worker, then one for control.
    pub(super) grace: Grace,
    /// Per worker: entries it added minus entries it removed, modulo 2^64.
    in_use: Box<[CachePadded<AtomicU64>]>,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) id: FlowId,
    slot: usize,
    /// In the alternate bucket.
    away: bool,
}

/// An empty slot for a key whose home's lock is held.
#[derive(Debug)]
pub(super) enum Vacancy<'a> {
    Home(usize),
    Away(Locked<'a>, usize),
}

impl FlowTable {
    /// The most flows (directions) one table takes: 2^28.
    pub const MAX_CAPACITY: usize = 1 << 28;

    /// An empty table for `capacity` flows (directions), for `workers` workers, in hugepages where the kernel has some.
    /// Returns one hold per worker and one for control.
    ///
    /// # Errors
    /// [`FlowTableError`]: the capacity is above [`FlowTable::MAX_CAPACITY`], or there is not so much memory.
    #[expect(clippy::new_ret_no_self, reason = "the table is only reached through its holds")]
    pub fn new(capacity: usize, workers: usize) -> Result<(Vec<FlowWorker>, FlowReader), FlowTableError> {
        Ok(FlowTable::made_in(FlowMemory::private(capacity, workers)?))
    }

    /// A table in memory that may hold entries of an earlier process: sessions go on if they are complete and `goes_on` says
    /// so, everything else goes. Cost: less than a microsecond per flow of the capacity.
    pub fn attach(
        memory: FlowMemory,
        goes_on: impl FnMut(&Session) -> bool,
    ) -> (Vec<FlowWorker>, FlowReader, Recovery) {
        let kept = memory.kept;
        let table = FlowTable::in_memory(memory);
        let (free, recovery) =
            if kept { table.recover(goes_on) } else { (table.all_records().collect(), Recovery::default()) };
        let (workers, reader) = table.hold(free, 2 * recovery.sessions);
        (workers, reader, recovery)
    }

    #[cfg(test)]
    pub(super) fn with_key(
        capacity: usize,
        workers: usize,
        key: super::hash::HashKey,
    ) -> Result<(Vec<FlowWorker>, FlowReader), FlowTableError> {
        Ok(FlowTable::made_in(FlowMemory::with_key(capacity, workers, key)?))
    }

    fn made_in(memory: FlowMemory) -> (Vec<FlowWorker>, FlowReader) {
        let table = FlowTable::in_memory(memory);
        let free = table.all_records().collect();
        table.hold(free, 0)
    }

    /// What a table of so many flows and workers consists of.
    pub(super) fn sizes(capacity: usize, workers: usize, labels: usize) -> (Shares, Sizes) {
        let shares = Shares::new(capacity, workers);
        let buckets = capacity.div_ceil(FLOWS_PER_BUCKET).next_power_of_two().max(2);
        (shares, Sizes { labels, buckets, records: shares.records() })
    }

    fn in_memory(memory: FlowMemory) -> FlowTable {
        let FlowMemory { region, key, shares, .. } = memory;
        FlowTable {
            hasher: KeyedHasher::new(key),
            mask: region.sizes().buckets - 1,
            region,
            shares,
            pool: Pool::new(shares),
            grace: Grace::new(shares.workers + 1),
            in_use: (0..shares.workers).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
        }
    }

    fn all_records(&self) -> impl Iterator<Item = FlowId> + use<> {
        (1..self.shares.records() as u32).map(FlowId)
    }

    /// The holds on a table with `entries`, of which all other records are `free`.
    fn hold(self, free: Vec<FlowId>, entries: usize) -> (Vec<FlowWorker>, FlowReader) {
        let caches = self.pool.deal(self.shares, free);
        if let Some(first) = self.in_use.first() {
            first.store(entries as u64, Ordering::Relaxed);
        }
        let (table, workers) = (Arc::new(self), caches.len());
        let hold = |(worker, free): (usize, FreeCache)| FlowWorker::new(Arc::clone(&table), worker, free);
        let holds = caches.into_iter().enumerate().map(hold).collect();
        (holds, FlowReader::new(table, workers))
    }

    #[inline(always)]
    pub(super) fn hash(&self, key: &FlowKey) -> FlowHash {
        self.hasher.hash(key)
    }

    #[inline(always)]
    pub(super) fn home(&self, hash: FlowHash) -> &Bucket {
        self.region.bucket(hash.home(self.mask))
    }

    #[inline(always)]
    pub(super) fn alternate(&self, hash: FlowHash) -> &Bucket {
        self.region.bucket(hash.alternate(self.mask))
    }

    #[inline(always)]
    pub(super) fn record(&self, id: FlowId) -> &Record {
        &self.region.records()[id.0 as usize]
    }

    pub(super) fn buckets(&self) -> &[Bucket] {
        self.region.buckets()
    }

    pub(super) fn records(&self) -> &[Record] {
        self.region.records()
    }

    pub(super) const fn region(&self) -> &Region {
        &self.region
    }

    pub(super) const fn hasher(&self) -> &KeyedHasher {
        &self.hasher
    }

    pub(super) const fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Bytes of region and pool.
    pub(super) fn bytes(&self) -> usize {
        self.region.sizes().bytes() + self.shares.pool_bytes()
    }

    pub(super) const fn hugepages(&self) -> bool {
        self.region.hugepages()
    }

    /// The entry of a key. Without the home's lock: as it is at some moment of the call; with it: as it stays.
    pub(super) fn find(&self, key: &FlowKey, hash: FlowHash) -> Option<Place> {
        let home = self.home(hash);
        let at_home = self.find_in(home, key, hash);
        if at_home.is_none() && home.has_away() {
            return self.find_in(self.alternate(hash), key, hash).map(|(slot, id)| Place {
                id,
                slot,
                away: true,
            });
        }
        at_home.map(|(slot, id)| Place { id, slot, away: false })
    }

    fn find_in(&self, bucket: &Bucket, key: &FlowKey, hash: FlowHash) -> Option<(usize, FlowId)> {
        let candidates = bucket.matching(hash.tag());
        candidates
            .filter_map(|slot| bucket.record(slot).map(|id| (slot, id)))
            .find(|(_, id)| self.record(*id).is_of(key))
    }

    /// The home of a key, locked, and its entry, which stays as it is until the lock is let go.
    ///
    /// # Errors
    /// [`NotLearned::Busy`]: another worker has the lock.
    pub(super) fn lock(
        &self,
        key: &FlowKey,
        hash: FlowHash,
    ) -> Result<(Locked<'_>, Option<Place>), NotLearned> {
        let home = self.home(hash).try_lock().ok_or(NotLearned::Busy)?;
        Ok((home, self.find(key, hash)))
    }

    /// An empty slot for a key without entry.
    pub(super) fn vacancy(&self, home: &Locked<'_>, hash: FlowHash) -> Result<Vacancy<'_>, NotLearned> {
        if let Some(slot) = home.empty_slot() {
            return Ok(Vacancy::Home(slot));
        }
        let alternate = self.alternate(hash).try_lock().ok_or(NotLearned::Busy)?;
        let slot = alternate.empty_slot().ok_or(NotLearned::Full)?;
        Ok(Vacancy::Away(alternate, slot))
    }

    /// Makes a filled record the entry of its key, which has none.
    pub(super) fn add(&self, home: &Locked<'_>, vacancy: Vacancy<'_>, hash: FlowHash, id: FlowId) {
        match vacancy {
            Vacancy::Home(slot) => home.insert(slot, hash.tag(), id),
            Vacancy::Away(alternate, slot) => {
                // First, so that who looks for the entry does not stop at the home.
                home.add_away(1);
                alternate.insert(slot, hash.tag(), id);
            }
        }
    }

    /// Makes a filled record the entry of its key in place of the one at `place`.
    pub(super) fn replace(
        &self,
        home: &Locked<'_>,
        place: Place,
        hash: FlowHash,
        id: FlowId,
    ) -> Result<(), NotLearned> {
        if place.away {
            self.alternate(hash).try_lock().ok_or(NotLearned::Busy)?.replace(place.slot, id);
        } else {
            home.replace(place.slot, id);
        }
        Ok(())
    }

    /// Takes an entry out. `false`: another worker is changing its alternate bucket, nothing was done.
    pub(super) fn remove(&self, home: &Locked<'_>, place: Place, hash: FlowHash) -> bool {
        if !place.away {
            home.remove(place.slot);
            return true;
        }
        let Some(alternate) = self.alternate(hash).try_lock() else { return false };
        alternate.remove(place.slot);
        home.add_away(-1);
        true
    }

    /// Counts entries that `worker` added (1) or removed (-1).
    pub(super) fn count_in_use(&self, worker: usize, change: i64) {
        let mine = &self.in_use[worker];
        mine.store(mine.load(Ordering::Relaxed).wrapping_add_signed(change), Ordering::Relaxed);
    }

    /// Entries of all workers, about.
    pub(super) fn in_use(&self) -> usize {
        let sum = self.in_use.iter().fold(0u64, |sum, of| sum.wrapping_add(of.load(Ordering::Relaxed)));
        // Read one after the other, so the sum of moments may be a little below zero.
        (sum as i64).max(0) as usize
    }
}
