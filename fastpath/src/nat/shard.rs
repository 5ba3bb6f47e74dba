//! A shard: 56 VMs behind one try-lock. Their tags and the lock are one cache line, each VM is another one.

use std::{
    hint,
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::{
    VmKey,
    block::BlockId,
    quota::{Bucket, Sessions},
};
use crate::table::nat::Space;

/// Tags per word.
const LANES: usize = 8;
const TAG_WORDS: usize = 7;
/// VMs of a shard.
pub(super) const SHARD_VMS: usize = LANES * TAG_WORDS;
/// How often a lock is tried before the answer is "busy".
const TRIES: usize = 64;
/// One in each of the eight 8-bit lanes.
const ONES: u64 = 0x0101_0101_0101_0101;
/// All bits but the highest of each lane.
const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// What is known of a VM. See the table in the module's documentation for who writes it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Entry {
    /// [`VmKey`]; 0 for none.
    key: AtomicU64,
    /// Sessions admitted and not ended.
    pub(super) sessions: Sessions,
    /// New sessions per second.
    pub(super) rate: Bucket,
    /// First block by space, as [`BlockId::to_link`]; oldest first.
    heads: [AtomicU32; Space::ALL.len()],
    /// Blocks of all spaces.
    blocks: AtomicU32,
}

impl Entry {
    pub(super) fn key(&self) -> Option<VmKey> {
        VmKey::from_word(self.key.load(Relaxed))
    }

    pub(super) fn head(&self, space: Space) -> Option<BlockId> {
        BlockId::from_link(self.heads[space as usize].load(Relaxed))
    }

    pub(super) fn set_head(&self, space: Space, head: Option<BlockId>) {
        self.heads[space as usize].store(BlockId::to_link(head), Relaxed);
    }

    pub(super) fn blocks(&self) -> u32 {
        self.blocks.load(Relaxed)
    }

    /// Counts a block that came or went.
    pub(super) fn count_block(&self, change: i32) {
        self.blocks.store(self.blocks().saturating_add_signed(change), Relaxed);
    }

    /// Nothing would be lost without it.
    pub(super) fn is_idle(&self) -> bool {
        self.sessions.get() == 0 && self.blocks() == 0
    }
}

/// VMs that share a lock.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Shard {
    /// Eight bits of each VM's hash; 0 for an empty slot.
    tags: [AtomicU64; TAG_WORDS],
    /// 1 while somebody has the shard.
    lock: AtomicU32,
    entries: [Entry; SHARD_VMS],
}

impl Default for Shard {
    fn default() -> Shard {
        Shard {
            tags: Default::default(),
            lock: AtomicU32::new(0),
            entries: std::array::from_fn(|_| Entry::default()),
        }
    }
}

impl Shard {
    /// The right to change the shard's VMs; `None` if another worker keeps it for longer than [`TRIES`] looks.
    pub(super) fn try_lock(&self) -> Option<Locked<'_>> {
        for _ in 0..TRIES {
            if self.lock.load(Relaxed) == 0 && self.lock.compare_exchange_weak(0, 1, Acquire, Relaxed).is_ok()
            {
                return Some(Locked(self));
            }
            hint::spin_loop();
        }
        None
    }

    /// All places for VMs, for readers without lock.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Slots with this tag.
    fn tagged(&self, tag: u8) -> impl Iterator<Item = usize> + '_ {
        let lanes = u64::from(tag) * ONES;
        self.tags.iter().enumerate().flat_map(move |(at, word)| {
            let equal = zero_lanes(word.load(Relaxed) ^ lanes);
            crate::table::nat::ones(equal).map(move |bit| at * LANES + usize::from(bit) / 8)
        })
    }
}

/// Bit 0 of each lane of `word` that is 0, nothing else.
const fn zero_lanes(word: u64) -> u64 {
    !(((word & LOW_BITS) + LOW_BITS) | word | LOW_BITS) >> 7
}

/// The right to change the VMs of a shard, given back on drop.
#[derive(Debug)]
pub(super) struct Locked<'a>(&'a Shard);

impl<'a> Locked<'a> {
    pub(super) fn entry(&self, slot: usize) -> &'a Entry {
        &self.0.entries[slot % SHARD_VMS]
    }

    pub(super) fn find(&self, tag: u8, key: VmKey) -> Option<usize> {
        self.0.tagged(tag).find(|slot| self.entry(*slot).key() == Some(key))
    }

    /// A fresh entry; `None` in a full shard.
    pub(super) fn insert(&self, tag: u8, key: VmKey) -> Option<usize> {
        let slot = self.0.tagged(0).next()?;
        let entry = self.entry(slot);
        entry.rate.reset();
        entry.key.store(key.0, Relaxed);
        self.set_tag(slot, tag);
        Some(slot)
    }

    /// Forgets a VM that [`Entry::is_idle`].
    pub(super) fn remove(&self, slot: usize) {
        self.entry(slot).key.store(0, Relaxed);
        self.set_tag(slot, 0);
    }

    fn set_tag(&self, slot: usize, tag: u8) {
        let word = &self.0.tags[slot / LANES % TAG_WORDS];
        let shift = slot % LANES * 8;
        let others = word.load(Relaxed) & !(0xff << shift);
        word.store(others | u64::from(tag) << shift, Relaxed);
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.0.lock.store(0, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_lock_are_one_cache_line_and_so_is_a_vm() {
        assert_eq!((size_of::<Shard>(), size_of::<Entry>()), (64 * (1 + SHARD_VMS), 64));
    }

    #[test]
    fn a_shard_takes_56_vms_with_any_tags_and_finds_each() {
        let shard = Shard::default();
        let locked = shard.try_lock().unwrap();
        assert!(shard.try_lock().is_none());
        let key = |n: usize| VmKey(VmKey::PRESENT | n as u64);
        let tag = |n: usize| [1, 0x7f, 0x80, 0x81, 0xff][n % 5];
        for n in 0..SHARD_VMS {
            assert_eq!(locked.find(tag(n), key(n)), None);
            assert!(locked.insert(tag(n), key(n)).is_some());
        }
        assert_eq!(locked.insert(7, key(99)), None);
        for n in 0..SHARD_VMS {
            let slot = locked.find(tag(n), key(n)).unwrap();
            locked.remove(slot);
            assert_eq!(locked.find(tag(n), key(n)), None);
            assert_eq!(locked.insert(3, key(100 + n)), Some(slot));
        }
        drop(locked);
        assert!(shard.try_lock().is_some());
    }
}
