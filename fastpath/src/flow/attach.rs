//! What an earlier process left in the memory of a table, and what of it goes on.
//!
//! A process that is killed stops between two of its instructions, each of its threads at some place of its own. What counts
//! is what a lookup would have found then: a record whose index and tag are in a bucket of its key. The tag is stored after the index
//! and the index after the record's words (both release), and they go in the opposite order, so there is no record that is
//! half written and found; and a key has one entry at most. Records that no bucket names (free, being filled, retired) are nobody's,
//! whatever is in them.
//!
//! Everything else is made anew: locks, counts of entries that are away, free records, numbers in use. What goes on are sessions of
//! which both entries are there and that the configuration still allows; other entries are a cache, which fills again. An
//! entry that goes on has no generation and no next hop, so its next packet decides its way anew.
//!
//! A slot that could not be so (a record of another bucket, of no flow, or named twice) means that something else wrote
//! here; then nothing is believed. The tag and the place of the bucket are up to 42 bits of a keyed hash of the record's key.

use arrayvec::ArrayVec;

use super::{
    FlowHash, FlowId, FlowKey, FlowTable,
    bucket::{Bucket, SLOTS},
    session::Session,
};
use crate::{prefetch, wire::translate::Side};

/// Entries worked at once, so that no step waits for memory.
const BATCH: usize = 64;

/// What became of the entries of an earlier process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Sessions that go on, two entries each.
    pub sessions: usize,
    /// Sessions that the configuration does not allow any more.
    pub refused: usize,
    /// Entries of sessions that were being opened or ended.
    pub halves: usize,
    /// Entries that no session needs.
    pub cached: usize,
    /// The memory was damaged: nothing goes on.
    pub damaged: bool,
}

/// Something that could not be so.
struct Damaged;

/// What is in a slot.
enum Slot {
    Empty,
    Entry(FlowId),
}

/// A set of records.
struct Set {
    words: Vec<u64>,
    len: usize,
}

impl Set {
    fn new(records: usize) -> Set {
        Set { words: vec![0; records.div_ceil(64)], len: 0 }
    }

    fn has(&self, id: FlowId) -> bool {
        self.words[id.0 as usize / 64] & 1 << (id.0 % 64) != 0
    }

    /// False when it was in already.
    fn insert(&mut self, id: FlowId) -> bool {
        let new = !self.has(id);
        self.words[id.0 as usize / 64] |= 1 << (id.0 % 64);
        self.len += usize::from(new);
        new
    }

    fn iter(&self) -> impl Iterator<Item = FlowId> + '_ {
        let ids = (0..self.words.len() as u32 * 64).map(FlowId);
        ids.filter(|id| self.has(*id))
    }
}

impl FlowTable {
    /// Puts the memory in order. Only the sessions for which `goes_on` says so are left; those are told once, in no order.
    /// Returns the free records too. The caller is the only one who has the table.
    pub(super) fn recover(&self, goes_on: impl FnMut(&Session) -> bool) -> (Vec<FlowId>, Recovery) {
        self.buckets().iter().for_each(Bucket::unlock_after_crash);
        let (keep, recovery) = match self.linked() {
            Ok(linked) => self.sort_out(&linked, goes_on),
            Err(Damaged) => {
                self.region().wipe();
                (Set::new(self.records().len()), Recovery { damaged: true, ..Recovery::default() })
            }
        };
        let free = (1..self.records().len() as u32).map(FlowId).filter(|id| !keep.has(*id));
        let free: Vec<FlowId> = free.inspect(|id| self.record(*id).clear()).collect();
        (free, recovery)
    }

    /// Which entries go on; takes the others out.
    fn sort_out(&self, linked: &Set, mut goes_on: impl FnMut(&Session) -> bool) -> (Set, Recovery) {
        let mut recovery = Recovery::default();
        let mut keep = Set::new(self.records().len());
        let mut ids = linked.iter();
        loop {
            let batch: ArrayVec<FlowId, BATCH> = ids.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            self.look_ahead(&batch);
            for inward in batch {
                let Some((session, outward)) = self.session_of(inward) else { continue };
                if goes_on(&session) {
                    recovery.sessions += 1;
                    keep.insert(inward);
                    keep.insert(outward);
                } else {
                    recovery.refused += 1;
                }
            }
        }
        let mut sessions = 0;
        for id in linked.iter() {
            let record = self.record(id);
            sessions += usize::from(record.translation().is_session());
            if keep.has(id) {
                record.decide_again();
            } else {
                self.take_out(&record.key());
            }
        }
        recovery.halves = sessions.saturating_sub(2 * (recovery.sessions + recovery.refused));
        recovery.cached = linked.len - sessions;
        (keep, recovery)
    }

    /// Every record that is found by its key; slots that are half filled are emptied, and entries that are away counted.
    fn linked(&self) -> Result<Set, Damaged> {
        let mut linked = Set::new(self.records().len());
        for buckets in self.buckets().chunks(BATCH / SLOTS) {
            let named = buckets.iter().flat_map(|bucket| (0..SLOTS).filter_map(|slot| bucket.record(slot)));
            named.filter_map(|id| self.records().get(id.0 as usize)).for_each(prefetch::read);
            for (bucket, slot) in buckets.iter().flat_map(|bucket| (0..SLOTS).map(move |slot| (bucket, slot)))
            {
                match self.look(bucket, slot)? {
                    Slot::Empty => bucket.try_lock().ok_or(Damaged)?.remove(slot),
                    Slot::Entry(id) if linked.insert(id) => {}
                    Slot::Entry(_) => return Err(Damaged),
                }
            }
        }
        if linked.len <= self.shares().capacity { Ok(linked) } else { Err(Damaged) }
    }

    fn look(&self, bucket: &Bucket, slot: usize) -> Result<Slot, Damaged> {
        let (tag, Some(id)) = (bucket.tag(slot), bucket.record(slot)) else { return Ok(Slot::Empty) };
        if tag == 0 {
            return Ok(Slot::Empty);
        }
        let record = self.records().get(id.0 as usize).ok_or(Damaged)?;
        let hash = self.hash(&record.key());
        let home = std::ptr::eq(self.home(hash), bucket);
        let away = !home && std::ptr::eq(self.alternate(hash), bucket);
        if record.last_seen().is_none() || hash.tag().get() != tag || !(home || away) {
            return Err(Damaged);
        }
        // One key has one entry: the other places where a lookup would come by have other keys.
        let key = record.key();
        let same = |of: &Bucket| {
            let ids = of.matching(hash.tag()).filter_map(|slot| of.record(slot)).filter(|other| *other != id);
            ids.filter_map(|other| self.records().get(other.0 as usize)).any(|other| other.is_of(&key))
        };
        if same(bucket) || away && same(self.home(hash)) {
            return Err(Damaged);
        }
        if away {
            self.home(hash).try_lock().ok_or(Damaged)?.add_away(1);
        }
        Ok(Slot::Entry(id))
    }

    /// Asks for what [`FlowTable::session_of`] will read: first the buckets, then the records.
    fn look_ahead(&self, batch: &[FlowId]) {
        let other = |id: &FlowId| {
            let record = self.record(*id);
            let (key, translation) = (record.key(), record.translation());
            let inward = translation.is_session() && translation.side() == Side::Destination;
            inward.then(|| self.hash(&key.answer(record.program().egress, translation)))
        };
        let others: ArrayVec<FlowHash, BATCH> = batch.iter().filter_map(other).collect();
        others.iter().for_each(|hash| prefetch::read(self.home(*hash)));
        for hash in others {
            let home = self.home(hash);
            let named = home.matching(hash.tag()).filter_map(|slot| home.record(slot));
            named.for_each(|id| prefetch::read(self.record(id)));
        }
    }

    /// The session of which a record is the inward entry, with the other entry's record, if both are there.
    fn session_of(&self, inward: FlowId) -> Option<(Session, FlowId)> {
        let record = self.record(inward);
        let (key, program) = (record.key(), record.program());
        if !program.translation.is_session() || program.translation.side() == Side::Source {
            return None;
        }
        let other = key.answer(program.egress, program.translation);
        let place = self.find(&other, self.hash(&other))?;
        let back = self.record(place.id).program();
        let pair = back.translation.is_session()
            && back.translation.side() == Side::Source
            && other.answer(key.net(), back.translation) == key;
        let session = Session { inward: (key, program), outward: (other, back) };
        pair.then_some((session, place.id))
    }

    fn take_out(&self, key: &FlowKey) {
        let hash = self.hash(key);
        let taken =
            self.lock(key, hash).ok().and_then(|(home, place)| Some(self.remove(&home, place?, hash)));
        debug_assert_eq!(taken, Some(true), "nobody else has the table");
    }
}
