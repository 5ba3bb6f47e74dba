//! Block records: 64 ports of a VIP that are leased to one VM, and the list of those that are free.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use crossbeam::queue::ArrayQueue;

use super::VmKey;
use crate::{
    table::nat::{BLOCK_PORTS, Space},
    types::VipId,
};

/// Ports per word of [`Record::inner`].
const LANES: usize = 4;
const INNER_WORDS: usize = BLOCK_PORTS as usize / LANES;
/// One in each of the four 16-bit lanes.
const ONES: u64 = 0x0001_0001_0001_0001;
/// All bits but the highest of each lane.
const LOW_BITS: u64 = 0x7fff_7fff_7fff_7fff;

/// Place of a record in the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockId(pub(super) u32);

impl BlockId {
    /// As it is stored: 0 is none.
    pub(super) fn to_link(id: Option<BlockId>) -> u32 {
        id.map_or(0, |id| id.0 + 1)
    }

    pub(super) fn from_link(link: u32) -> Option<BlockId> {
        link.checked_sub(1).map(BlockId)
    }
}

/// Which ports a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) vip: VipId,
    pub(super) space: Space,
    pub(super) block: u16,
}

impl Place {
    pub(super) fn first_port(self) -> u16 {
        self.block * BLOCK_PORTS
    }

    /// VIP in the lower half, block above it, then the space plus one: never 0.
    fn to_word(self) -> u32 {
        u32::from(self.vip.0) | u32::from(self.block) << 16 | (self.space as u32 + 1) << 28
    }

    fn from_word(word: u32) -> Option<Place> {
        let space = *Space::ALL.get((word >> 28).checked_sub(1)? as usize)?;
        Some(Place { vip: VipId(word as u16), space, block: (word >> 16) as u16 & 0xfff })
    }
}

/// One block. Seven cache lines. See the table in the module's documentation for who writes it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Record {
    /// [`VmKey`]; 0 for a free record.
    owner: AtomicU64,
    /// [`Place`]; 0 for none.
    place: AtomicU32,
    /// The VM's next block of the space, as [`BlockId::to_link`].
    next: AtomicU32,
    /// Ports that somebody holds, a bit each.
    used: AtomicU64,
    /// The port inside for each port, four in a word; right only where `used` says so.
    inner: [AtomicU64; INNER_WORDS],
    /// Sessions on each port.
    references: [AtomicU32; BLOCK_PORTS as usize],
}

impl Default for Record {
    fn default() -> Record {
        Record {
            owner: AtomicU64::new(0),
            place: AtomicU32::new(0),
            next: AtomicU32::new(0),
            used: AtomicU64::new(0),
            inner: std::array::from_fn(|_| AtomicU64::new(0)),
            references: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }
}

impl Record {
    pub(super) fn owner(&self) -> Option<VmKey> {
        VmKey::from_word(self.owner.load(Acquire))
    }

    pub(super) fn place(&self) -> Option<Place> {
        Place::from_word(self.place.load(Acquire))
    }

    pub(super) fn next(&self) -> Option<BlockId> {
        BlockId::from_link(self.next.load(Relaxed))
    }

    pub(super) fn set_next(&self, next: Option<BlockId>) {
        self.next.store(BlockId::to_link(next), Relaxed);
    }

    /// Makes a record from the free list somebody's, before it is leased.
    pub(super) fn assign(&self, owner: VmKey, place: Place) {
        self.owner.store(owner.0, Release);
        self.place.store(place.to_word(), Release);
    }

    /// Makes it nobody's, before it goes to the free list.
    pub(super) fn clear(&self) {
        self.place.store(0, Release);
        self.owner.store(0, Release);
        self.used.store(0, Release);
        self.set_next(None);
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Acquire)
    }

    pub(super) fn uses(&self, slot: u16) -> bool {
        self.used() & bit(slot) != 0
    }

    /// The port inside of a port in use.
    pub(super) fn inner(&self, slot: u16) -> u16 {
        let (word, shift) = lane(slot);
        (self.inner[word].load(Relaxed) >> shift) as u16
    }

    pub(super) fn references(&self, slot: u16) -> u32 {
        self.references[usize::from(slot % BLOCK_PORTS)].load(Relaxed)
    }

    /// Takes a free port for `inner`, with one reference.
    pub(super) fn open(&self, slot: u16, inner: u16) {
        let (word, shift) = lane(slot);
        let others = self.inner[word].load(Relaxed) & !(0xffff << shift);
        self.inner[word].store(others | u64::from(inner) << shift, Relaxed);
        self.references[usize::from(slot % BLOCK_PORTS)].store(1, Relaxed);
        self.used.store(self.used.load(Relaxed) | bit(slot), Release);
    }

    /// One more session on a port in use.
    pub(super) fn hold(&self, slot: u16) {
        let references = &self.references[usize::from(slot % BLOCK_PORTS)];
        references.store(references.load(Relaxed).saturating_add(1), Relaxed);
    }

    /// One session less on a port in use; with the last one the port is free. Returns whether the block is empty.
    pub(super) fn release(&self, slot: u16) -> bool {
        let references = &self.references[usize::from(slot % BLOCK_PORTS)];
        let left = references.load(Relaxed).saturating_sub(1);
        references.store(left, Relaxed);
        if left == 0 {
            self.used.store(self.used.load(Relaxed) & !bit(slot), Release);
        }
        self.used.load(Relaxed) == 0
    }

    /// Ports in use that stand for the port `inner`, lowest first. Cost: 16 words, no branch until one matches.
    pub(super) fn slots_of(&self, inner: u16) -> impl Iterator<Item = u16> + '_ {
        let lanes = u64::from(inner) * ONES;
        let mut same = 0u64;
        for (at, word) in self.inner.iter().enumerate() {
            let equal = zero_lanes(word.load(Relaxed) ^ lanes);
            // Bits 0, 16, 32 and 48 to the lowest four.
            let slots = (equal | equal >> 15 | equal >> 30 | equal >> 45) % 16;
            same |= slots << (at * LANES);
        }
        crate::table::nat::ones(same & self.used())
    }
}

/// Bit 0 of each lane of `word` that is 0, nothing else.
const fn zero_lanes(word: u64) -> u64 {
    !(((word & LOW_BITS) + LOW_BITS) | word | LOW_BITS) >> 15
}

const fn bit(slot: u16) -> u64 {
    1 << (slot % BLOCK_PORTS)
}

/// The word of a slot's inner port and the shift there.
const fn lane(slot: u16) -> (usize, u32) {
    let slot = (slot % BLOCK_PORTS) as usize;
    (slot / LANES, (slot % LANES) as u32 * 16)
}

/// All records, and which are free.
#[derive(Debug)]
pub(super) struct Blocks {
    records: Box<[Record]>,
    /// First in, first out: what fell free last is used again last.
    free: ArrayQueue<BlockId>,
}

impl Blocks {
    pub(super) fn new(count: usize) -> Blocks {
        let free = ArrayQueue::new(count.max(1));
        for id in 0..count as u32 {
            _ = free.push(BlockId(id));
        }
        Blocks { records: (0..count).map(|_| Record::default()).collect(), free }
    }

    pub(super) fn get(&self, id: BlockId) -> Option<&Record> {
        self.records.get(id.0 as usize)
    }

    /// A free record, now the caller's.
    pub(super) fn take(&self) -> Option<(BlockId, &Record)> {
        let id = self.free.pop()?;
        self.get(id).map(|record| (id, record))
    }

    /// Clears a record that no chain and no lease names any more, and gives it to all.
    pub(super) fn give(&self, id: BlockId, record: &Record) {
        record.clear();
        assert!(self.free.push(id).is_ok(), "the free list has room for every record");
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_is_seven_cache_lines() {
        assert_eq!((size_of::<Record>(), align_of::<Record>()), (448, 64));
    }

    #[test]
    fn a_place_survives_its_word_and_none_is_0() {
        for space in Space::ALL {
            for (vip, block) in [(0, 0), (1, 16), (u16::MAX, 1023)] {
                let place = Place { vip: VipId(vip), space, block };
                assert_ne!(place.to_word(), 0);
                assert_eq!(Place::from_word(place.to_word()), Some(place));
            }
        }
        assert_eq!(Place::from_word(0), None);
    }

    #[test]
    fn a_port_is_free_with_its_last_session() {
        let record = Record::default();
        record.open(63, 5000);
        record.hold(63);
        assert!(!record.release(63) && record.uses(63));
        assert!(record.release(63) && !record.uses(63));
        assert!(record.release(63), "one too many changes nothing");
        assert_eq!((record.references(63), record.slots_of(5000).count()), (0, 0));
    }

    proptest! {
        #[test]
        fn slots_of_a_port_are_those_that_have_it(
            // Few values, so that equal ones, neighbours and the borders of the sign bit come often.
            inner in prop::collection::vec(
                prop::option::of(prop::sample::select(vec![0u16, 1, 2, 0x7fff, 0x8000, 0x8001, 0xffff])), 64),
            wanted in prop::sample::select(vec![0u16, 1, 2, 0x7fff, 0x8000, 0x8001, 0xffff]),
        ) {
            let record = Record::default();
            for slot in 0..BLOCK_PORTS {
                // What a port meant before must not be found.
                record.open(slot, wanted);
                record.release(slot);
                if let Some(port) = inner[usize::from(slot)] {
                    record.open(slot, port);
                    prop_assert_eq!(record.inner(slot), port);
                }
            }
            let expected: Vec<u16> = (0..BLOCK_PORTS).filter(|s| inner[usize::from(*s)] == Some(wanted)).collect();
            prop_assert_eq!(record.slots_of(wanted).collect::<Vec<_>>(), expected);
        }
    }
}
