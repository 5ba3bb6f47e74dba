//! A bucket: eight slots of 16-bit tag and record index in one cache line, changed only under its try-lock.

use super::{
    FlowId,
    hash::Tag,
    lanes::lanes_equal,
    sync::{AtomicU32, AtomicU64, Ordering},
};

/// Slots of a bucket.
pub(super) const SLOTS: usize = 8;

/// One cache line. All zeroes is an empty bucket.
#[repr(C)]
#[cfg_attr(not(loom), repr(align(64)))]
#[derive(Debug)]
pub(super) struct Bucket {
    /// Slot `s` is lane `s % 4` of word `s / 4`; 0 is an empty slot.
    tags: [AtomicU64; 2],
    /// Record of the slot; 0 is none.
    records: [AtomicU32; SLOTS],
    /// 1 while a worker changes the bucket.
    lock: AtomicU32,
    /// Entries whose home is here and who live in their alternate bucket.
    away: AtomicU32,
    spare: AtomicU64,
}

/// Slots whose tag matched: bit `2 * s` for slot `s`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots(u32);

impl Iterator for Slots {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit / 2)
    }
}

impl Bucket {
    /// Slots that have this tag. Acquire: who sees a tag sees the record index that was stored before it.
    #[inline(always)]
    pub(super) fn matching(&self, tag: Tag) -> Slots {
        self.holding(tag.get())
    }

    #[inline(always)]
    fn holding(&self, tag: u16) -> Slots {
        Slots(lanes_equal([&self.tags[0], &self.tags[1]].map(|word| word.load(Ordering::Acquire)), tag))
    }

    /// The record of a slot. Acquire: who sees the index sees the record's words.
    #[inline(always)]
    pub(super) fn record(&self, slot: usize) -> Option<FlowId> {
        match self.records[slot % SLOTS].load(Ordering::Acquire) {
            0 => None,
            index => Some(FlowId(index)),
        }
    }

    /// Whether some entry of this home lives in its alternate bucket.
    #[inline(always)]
    pub(super) fn has_away(&self) -> bool {
        self.away.load(Ordering::Acquire) != 0
    }

    /// The tag of a slot, 0 for none.
    pub(super) fn tag(&self, slot: usize) -> u16 {
        (self.tags[slot / 4 % 2].load(Ordering::Acquire) >> (slot % 4 * 16)) as u16
    }

    /// Empties it, whoever has the lock: for a table that nobody else has.
    pub(super) fn reset(&self) {
        self.tags.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.records.iter().for_each(|record| record.store(0, Ordering::Relaxed));
        self.unlock_after_crash();
    }

    /// Takes the lock from who is gone, and counts nobody as away: for a table that nobody else has.
    pub(super) fn unlock_after_crash(&self) {
        self.away.store(0, Ordering::Relaxed);
        self.lock.store(0, Ordering::Relaxed);
    }

    /// The right to change the bucket, or `None` at once if another worker has it.
    pub(super) fn try_lock(&self) -> Option<Locked<'_>> {
        self.lock.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).ok().map(|_| Locked(self))
    }
}

/// The right to change a bucket, given back on drop.
#[derive(Debug)]
pub(super) struct Locked<'a>(pub(super) &'a Bucket);

impl Locked<'_> {
    /// A slot without entry.
    pub(super) fn empty_slot(&self) -> Option<usize> {
        self.0.holding(0).next()
    }

    /// Makes a record visible in an empty slot: index first, tag last.
    pub(super) fn insert(&self, slot: usize, tag: Tag, id: FlowId) {
        self.0.records[slot].store(id.0, Ordering::Release);
        self.set_tag(slot, tag.get());
    }

    /// Puts another record of the same key into a slot.
    pub(super) fn replace(&self, slot: usize, id: FlowId) {
        self.0.records[slot].store(id.0, Ordering::Release);
    }

    /// Empties a slot: tag first, index last.
    pub(super) fn remove(&self, slot: usize) {
        self.set_tag(slot, 0);
        self.0.records[slot].store(0, Ordering::Release);
    }

    /// Counts entries of this home that live in their alternate bucket.
    pub(super) fn add_away(&self, change: i32) {
        // Only changed under the lock, so load and store need not be one step.
        let away = self.0.away.load(Ordering::Relaxed);
        self.0.away.store(away.wrapping_add_signed(change), Ordering::Release);
    }

    fn set_tag(&self, slot: usize, tag: u16) {
        let word = &self.0.tags[slot / 4 % 2];
        let shift = slot % 4 * 16;
        let others = word.load(Ordering::Relaxed) & !(0xffff << shift);
        word.store(others | u64::from(tag) << shift, Ordering::Release);
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0.lock.store(0, Ordering::Release);
    }
}

#[cfg(loom)]
impl Default for Bucket {
    fn default() -> Bucket {
        Bucket {
            tags: std::array::from_fn(|_| AtomicU64::new(0)),
            records: std::array::from_fn(|_| AtomicU32::new(0)),
            lock: AtomicU32::new(0),
            away: AtomicU32::new(0),
            spare: AtomicU64::new(0),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::FlowHash;

    fn empty() -> Bucket {
        Bucket {
            tags: Default::default(),
            records: Default::default(),
            lock: AtomicU32::new(0),
            away: AtomicU32::new(0),
            spare: AtomicU64::new(0),
        }
    }

    fn tag(raw: u16) -> Tag {
        FlowHash(u64::from(raw) << 48).tag()
    }

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    }

    #[test]
    fn a_lock_is_held_once_and_given_back() {
        let bucket = empty();
        let locked = bucket.try_lock().unwrap();
        assert!(bucket.try_lock().is_none());
        drop(locked);
        assert!(bucket.try_lock().is_some());
    }

    proptest! {
        #[test]
        fn matching_slots_are_those_with_the_tag(
            // Few values, so that equal ones, neighbours and the borders of the sign bit come often.
            tags in prop::array::uniform8(prop::sample::select(vec![0u16, 1, 2, 0x7fff, 0x8000, 0x8001, 0xffff])),
            wanted in prop::sample::select(vec![1u16, 2, 0x7fff, 0x8000, 0x8001, 0xffff]),
        ) {
            let bucket = empty();
            let locked = bucket.try_lock().unwrap();
            for (slot, &raw) in tags.iter().enumerate().filter(|(_, raw)| **raw != 0) {
                locked.insert(slot, tag(raw), FlowId(slot as u32 + 1));
            }
            let expected: Vec<usize> = (0..SLOTS).filter(|&s| tags[s] == wanted).collect();
            let mut found: Vec<usize> = bucket.matching(tag(wanted)).collect();
            found.sort_unstable();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(locked.empty_slot().is_some(), tags.contains(&0));
            for slot in found {
                prop_assert_eq!(bucket.record(slot), Some(FlowId(slot as u32 + 1)));
                locked.remove(slot);
            }
            prop_assert!(bucket.matching(tag(wanted)).next().is_none());
        }
    }
}
