//! One worker's hold on the flow table: lookup in three steps per burst, learning, and its part of the housekeeping.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::{
    FlowHash, FlowId, FlowKey, FlowTimeouts, NotLearned, Program,
    expire::{LOOKS_MAX, Sweep},
    free::FreeCache,
    lookup::Lookup,
    public::{Ended, PublicEnd},
    reclaim::Retired,
    record::Counts,
    session::TcpSeen,
    table::FlowTable,
};
use crate::{
    prefetch,
    types::{Nanos, Tick},
};

/// The most retired records that one burst's housekeeping takes back.
const RECLAIMS_MAX: usize = 128;

/// One worker's hold on the table: its free records, its retired records, its share of the expiry sweep.
///
/// Offline (it holds up nobody's reclamation) until its first [`FlowWorker::quiescent`] or [`FlowWorker::learn`], after
/// [`FlowWorker::offline`], and after drop.
#[derive(Debug)]
pub struct FlowWorker {
    table: Arc<FlowTable>,
    worker: usize,
    online: bool,
    free: FreeCache,
    retired: Retired,
    sweep: Sweep,
    /// When [`FreeCache::give_up`] was last thought of.
    shared_at: Tick,
    /// Keys of sessions that may be over.
    due: ArrayVec<FlowKey, LOOKS_MAX>,
    /// What the records that were taken back last had counted. Never longer than [`RECLAIMS_MAX`].
    ended: Vec<Ended>,
}

impl FlowWorker {
    pub(super) fn new(table: Arc<FlowTable>, worker: usize, free: FreeCache) -> FlowWorker {
        let sweep = Sweep::new(worker, table.shares().workers, table.shares().records());
        let retired = Retired::new();
        FlowWorker {
            table,
            worker,
            online: false,
            free,
            retired,
            sweep,
            shared_at: Tick(0),
            due: ArrayVec::new(),
            ended: Vec::with_capacity(RECLAIMS_MAX),
        }
    }

    /// Its lookup, for a pass over a burst.
    #[inline(always)]
    pub fn lookup(&self) -> Lookup<'_> {
        Lookup::of(&self.table)
    }

    /// The hash of a key, with the table's random key.
    #[inline(always)]
    pub fn hash(&self, key: &FlowKey) -> FlowHash {
        self.table.hash(key)
    }

    /// Asks the CPU for the bucket.
    #[inline(always)]
    pub fn prefetch(&self, hash: FlowHash) {
        prefetch::read(self.table.home(hash));
    }

    /// Compares tags; asks the CPU for the record of the first match. `None` means that there is no such flow.
    #[inline(always)]
    pub fn probe(&self, hash: FlowHash) -> Option<FlowId> {
        self.lookup().probe(hash)
    }

    /// The entry of `key`: compares the candidate of [`FlowWorker::probe`] first, then (rare) other equal tags.
    /// What it returns stays readable until this worker's next [`FlowWorker::quiescent`].
    #[inline(always)]
    pub fn get(&self, key: &FlowKey, hash: FlowHash, candidate: Option<FlowId>) -> Option<(FlowId, Program)> {
        let id = candidate?;
        debug_assert!(self.online, "call quiescent before the first burst");
        let record = self.table.record(id);
        if record.is_of(key) {
            return Some((id, record.program()));
        }
        // Only the id comes back from there, so that the program above stays in registers.
        let id = self.get_other(key, hash)?;
        Some((id, self.table.record(id).program()))
    }

    /// The entry of any key, in one go.
    pub fn find(&self, key: &FlowKey) -> Option<(FlowId, Program)> {
        let hash = self.hash(key);
        self.get(key, hash, self.probe(hash))
    }

    /// When the last packet of an entry came, and what TCP flags it has seen.
    pub fn seen(&self, id: FlowId) -> (Tick, TcpSeen) {
        let record = self.table.record(id);
        (record.last_seen().unwrap_or_default(), record.tcp())
    }

    /// Bytes (IP total length) of the packets of an entry.
    pub fn bytes(&self, id: FlowId) -> u64 {
        self.table.record(id).counts().bytes
    }

    #[cold]
    fn get_other(&self, key: &FlowKey, hash: FlowHash) -> Option<FlowId> {
        self.table.find(key, hash).map(|place| place.id)
    }

    /// Counts a packet on an entry: packets, bytes, last seen (written only when the tick changed).
    #[inline(always)]
    pub fn touch(&self, id: FlowId, bytes: usize, now: Tick, segment: TcpSeen) {
        self.table.record(id).touch(bytes, now, segment);
    }

    /// Stores an entry. If another worker stored one for the key meanwhile, returns that one's id.
    ///
    /// # Errors
    /// [`NotLearned`]: the caller goes on without an entry.
    pub fn learn(
        &mut self,
        key: &FlowKey,
        hash: FlowHash,
        program: Program,
        now: Tick,
    ) -> Result<FlowId, NotLearned> {
        self.come_online();
        let table = &*self.table;
        let (home, entry) = table.lock(key, hash)?;
        if let Some(place) = entry {
            return Ok(place.id);
        }
        let vacancy = table.vacancy(&home, hash)?;
        let id = self.free.take_for_new(&table.pool, self.retired.len()).ok_or(NotLearned::Full)?;
        table.record(id).fill(key, &program, Counts::default(), now);
        table.add(&home, vacancy, hash, id);
        table.count_in_use(self.worker, 1);
        Ok(id)
    }

    /// Replaces the program of an entry, keeping its counters unless it is now of another public address: a new record takes its
    /// place in the bucket. Works in a full table too. What another worker counts on the old record during the call is lost to the
    /// flow, and not to its public address. Where the key has no entry (any more), this is [`FlowWorker::learn`].
    ///
    /// # Errors
    /// [`NotLearned`]: the old entry stays; the caller goes on without.
    pub fn relearn(
        &mut self,
        key: &FlowKey,
        hash: FlowHash,
        program: Program,
        now: Tick,
    ) -> Result<FlowId, NotLearned> {
        self.come_online();
        let table = &*self.table;
        let (home, entry) = table.lock(key, hash)?;
        let Some(old) = entry else {
            drop(home);
            return self.learn(key, hash, program, now);
        };
        let old_record = table.record(old.id);
        let old_program = old_record.program();
        if old_program == program {
            return Ok(old.id);
        }
        if self.retired.is_full() {
            return Err(NotLearned::Busy);
        }
        let id = self.free.take_for_replacement(&table.pool).ok_or(NotLearned::Full)?;
        let same_end = PublicEnd::of(key, &old_program) == PublicEnd::of(key, &program);
        let counts = old_record.counts();
        let carried = if same_end { counts } else { counts.emptied() };
        table.record(id).fill(key, &program, carried, now);
        if let Err(busy) = table.replace(&home, old, hash, id) {
            table.record(id).clear();
            self.free.give(&table.pool, id);
            return Err(busy);
        }
        self.retired.push(old.id, carried);
        Ok(id)
    }

    /// Removes the entry of a key. False when there is none.
    ///
    /// # Errors
    /// [`NotLearned::Busy`]: not now.
    pub fn forget(&mut self, key: &FlowKey) -> Result<bool, NotLearned> {
        if self.retired.is_full() {
            return Err(NotLearned::Busy);
        }
        let hash = self.hash(key);
        let home = self.table.home(hash).try_lock().ok_or(NotLearned::Busy)?;
        let Some(place) = self.table.find(key, hash) else { return Ok(false) };
        if !self.table.remove(&home, place, hash) {
            return Err(NotLearned::Busy);
        }
        drop(home);
        self.retired.push(place.id, Counts::default());
        self.table.count_in_use(self.worker, -1);
        Ok(true)
    }

    /// Sessions (by the key of either direction) that [`FlowWorker::quiescent`] found without packets for so long that they
    /// may be over. Whoever ends sessions asks the other direction and then calls [`FlowWorker::forget`] for both.
    pub fn take_due(&mut self) -> ArrayVec<FlowKey, LOOKS_MAX> {
        std::mem::take(&mut self.due)
    }

    /// What the records that the last [`FlowWorker::quiescent`] took back had counted for public addresses; the caller adds it up.
    /// Nobody could count on them any more, so that every packet is either here, once, or on an entry.
    pub fn take_ended(&mut self) -> impl Iterator<Item = Ended> + '_ {
        self.ended.drain(..)
    }

    /// Once per burst, while no id is held: lets retired records be used again, and looks at a bounded number of this
    /// worker's records for expiry, paced by time. Returns how many expired.
    ///
    /// Cost without anything to do: two loads and a store of shared lines, and some arithmetic.
    pub fn quiescent(&mut self, now: Nanos, timeouts: &FlowTimeouts) -> usize {
        self.retired.draw(&self.table.grace);
        if self.online {
            self.table.grace.quiescent(self.worker);
        } else {
            self.come_online();
        }
        self.reclaim();
        if now.tick() != self.shared_at {
            self.shared_at = now.tick();
            self.free.give_up(&self.table.pool, self.retired.len());
        }
        self.expire(now, timeouts)
    }

    /// Before the worker waits for something or ends: it holds no id and looks nothing up until its next
    /// [`FlowWorker::quiescent`], so nobody waits for it.
    pub fn offline(&mut self) {
        self.retired.draw(&self.table.grace);
        self.table.grace.offline(self.worker);
        self.online = false;
    }

    /// Its records that belong to no flow, free and retired.
    #[cfg(all(test, loom))]
    pub(super) fn idle_records(&self) -> Vec<FlowId> {
        self.free.iter().chain(self.retired.iter()).collect()
    }

    fn come_online(&mut self) {
        if !self.online {
            self.table.grace.online(self.worker);
            self.online = true;
        }
    }

    fn reclaim(&mut self) {
        if self.retired.len() == 0 {
            return;
        }
        let passed = self.table.grace.passed();
        self.ended.clear();
        for _ in 0..RECLAIMS_MAX {
            let Some((id, carried)) = self.retired.pop(passed) else { return };
            let record = self.table.record(id);
            self.ended.extend(Ended::of(record, carried));
            record.clear();
            self.free.give(&self.table.pool, id);
        }
    }

    /// Looks at the records that are due. Three steps, so that no step waits for memory: find idle ones (their lines were
    /// asked for in the last call), ask for their buckets, remove them.
    fn expire(&mut self, now: Nanos, timeouts: &FlowTimeouts) -> usize {
        let due = self.sweep.due(now);
        if due == 0 {
            return 0;
        }
        let tick = now.tick();
        self.due.clear();
        let mut idle = ArrayVec::<(FlowId, FlowKey, FlowHash), LOOKS_MAX>::new();
        for _ in 0..due {
            let Some(id) = self.sweep.advance() else { continue };
            if self.is_idle(id, tick, timeouts) {
                let record = self.table.record(id);
                let (key, session) = (record.key(), record.translation().is_session());
                let hash = self.table.hash(&key);
                self.prefetch(hash);
                if session {
                    self.due.push(key);
                } else {
                    idle.push((id, key, hash));
                }
            }
        }
        for id in self.sweep.upcoming(LOOKS_MAX) {
            prefetch::read(self.table.record(id));
        }
        idle.iter().filter(|(id, key, hash)| self.expire_one(*id, key, *hash, tick, timeouts)).count()
    }

    fn is_idle(&self, id: FlowId, tick: Tick, timeouts: &FlowTimeouts) -> bool {
        let record = self.table.record(id);
        let limit = || timeouts.of_entry(record.key().protocol(), record.translation(), record.tcp());
        record.last_seen().is_some_and(|seen| tick.age_since(seen) > limit())
    }

    /// Removes a record that looked idle, if it is still the entry of that key and still idle. What cannot be done now is
    /// done in the next round.
    fn expire_one(
        &mut self,
        id: FlowId,
        key: &FlowKey,
        hash: FlowHash,
        tick: Tick,
        timeouts: &FlowTimeouts,
    ) -> bool {
        if self.retired.is_full() {
            return false;
        }
        let Ok((home, entry)) = self.table.lock(key, hash) else { return false };
        let Some(place) = entry.filter(|place| place.id == id) else { return false };
        if !self.is_idle(id, tick, timeouts) || !self.table.remove(&home, place, hash) {
            return false;
        }
        drop(home);
        self.retired.push(id, Counts::default());
        self.table.count_in_use(self.worker, -1);
        true
    }
}

impl Drop for FlowWorker {
    /// Its free and retired records go with it: workers end when the gateway does.
    fn drop(&mut self) {
        self.offline();
    }
}
