//! Which port blocks of a VIP are leased, and to whom.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use super::{BLOCK_PORTS, BLOCKS, FIRST_PORT, Space, ones};

/// Blocks below this one are never leased: their ports are below [`FIRST_PORT`].
const FIRST_BLOCK: u16 = FIRST_PORT / BLOCK_PORTS;
/// Blocks that may be leased.
const LEASABLE: usize = BLOCKS - FIRST_BLOCK as usize;
/// Words of a space's bitmap.
const BITMAP_WORDS: usize = BLOCKS / 64;
const SPACES: usize = Space::ALL.len();

/// Which port blocks of a VIP are leased, and to whom. A worker leases with one atomic operation and finds a free block
/// by reading at most 17 words, one where there is none.
///
/// Places for leases take 12.4 KiB per VIP, so a VIP has them only where SNAT needs them: at once, or from when a VM first
/// wants a port of it ([`Leases::on_demand`]). Without places nothing is leased and nothing is free.
///
/// A VIP that is removed and comes back gets new `Leases`: nobody gives blocks back to a VIP that is not there.
#[derive(Debug)]
pub struct Leases(OnceLock<Box<Places>>);

#[derive(Debug)]
struct Places {
    /// A bit per space and block: set first, cleared last. It decides who gets a block.
    taken: [[AtomicU64; BITMAP_WORDS]; SPACES],
    /// By space and block the holder plus one, 0 for none. Written by who set the bit.
    holders: [[AtomicU32; BLOCKS]; SPACES],
    /// Leased blocks by space. Never more than bits are set: counted after a bit is set and before it is cleared.
    used: [AtomicU32; SPACES],
}

impl Default for Leases {
    /// With places.
    fn default() -> Leases {
        let leases = Leases::on_demand();
        leases.provide();
        leases
    }
}

impl Leases {
    /// Without places, until somebody [provides](Leases::provide) them.
    pub const fn on_demand() -> Leases {
        Leases(OnceLock::new())
    }

    /// Makes places, where there are none yet; for all generations of the VIP, in force at once. Allocates: for control.
    pub fn provide(&self) {
        self.0.get_or_init(|| {
            Box::new(Places {
                taken: [const { [const { AtomicU64::new(0) }; BITMAP_WORDS] }; SPACES],
                holders: [const { [const { AtomicU32::new(0) }; BLOCKS] }; SPACES],
                used: [const { AtomicU32::new(0) }; SPACES],
            })
        });
    }

    /// Whether there are places.
    pub fn is_provided(&self) -> bool {
        self.0.get().is_some()
    }

    /// Who has the block: the number that [`Leases::take`] stored. `block` is below [`BLOCKS`].
    pub fn holder(&self, space: Space, block: u16) -> Option<u32> {
        self.0.get()?.word(space, block).load(Ordering::Acquire).checked_sub(1)
    }

    /// Leases a free block to `holder` (below `u32::MAX`). False when somebody has it.
    pub fn take(&self, space: Space, block: u16, holder: u32) -> bool {
        let Some(places) = self.0.get() else { return false };
        let (word, bit) = places.bit(space, block);
        if word.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
            return false;
        }
        places.used[space as usize].fetch_add(1, Ordering::Relaxed);
        places.word(space, block).store(holder + 1, Ordering::Release);
        true
    }

    /// Ends the lease of `holder`; nothing happens where it has none.
    pub fn give_back(&self, space: Space, block: u16, holder: u32) {
        let Some(places) = self.0.get() else { return };
        let word = places.word(space, block);
        if word.compare_exchange(holder + 1, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            let (word, bit) = places.bit(space, block);
            places.used[space as usize].fetch_sub(1, Ordering::Relaxed);
            word.fetch_and(!bit, Ordering::Release);
        }
    }

    /// Blocks that may be leased and are not, from block `start` on and around once. One that another worker takes
    /// meanwhile may still come.
    pub fn free(&self, space: Space, start: u16) -> impl Iterator<Item = u16> + '_ {
        self.0.get().into_iter().flat_map(move |places| places.free(space, start))
    }

    /// Blocks of a space that are leased. Cost: one word.
    pub fn used(&self, space: Space) -> usize {
        self.0.get().map_or(0, |places| places.used(space))
    }
}

impl Places {
    /// The word of a block of ports.
    fn word(&self, space: Space, block: u16) -> &AtomicU32 {
        &self.holders[space as usize][usize::from(block) % BLOCKS]
    }

    /// The bitmap word of a block, and its bit there.
    fn bit(&self, space: Space, block: u16) -> (&AtomicU64, u64) {
        let word = usize::from(block) % BLOCKS / 64;
        (&self.taken[space as usize][word], 1 << (block % 64))
    }

    fn free(&self, space: Space, start: u16) -> impl Iterator<Item = u16> + '_ {
        let (first, below) = (usize::from(start) % BLOCKS / 64, (1u64 << (start % 64)) - 1);
        let steps = if self.used(space) == LEASABLE { 0 } else { BITMAP_WORDS + 1 };
        (0..steps).flat_map(move |step| {
            let at = (first + step) % BITMAP_WORDS;
            let mut free = !self.taken[space as usize][at].load(Ordering::Relaxed);
            if at == 0 {
                free &= !((1 << FIRST_BLOCK) - 1);
            }
            match step {
                0 => free &= !below,
                BITMAP_WORDS => free &= below,
                _ => {}
            }
            ones(free).map(move |bit| (at * 64) as u16 + bit)
        })
    }

    fn used(&self, space: Space) -> usize {
        self.used[space as usize].load(Ordering::Relaxed) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_leased_once() {
        let leases = Leases::default();
        assert!(leases.take(Space::Udp, 1023, 7) && !leases.take(Space::Udp, 1023, 8));
        assert_eq!((leases.holder(Space::Udp, 1023), leases.holder(Space::Tcp, 1023)), (Some(7), None));
        leases.give_back(Space::Udp, 1023, 8);
        assert_eq!(leases.used(Space::Udp), 1);
        leases.give_back(Space::Udp, 1023, 7);
        assert_eq!(leases.used(Space::Udp), 0);
    }

    #[test]
    fn free_blocks_come_once_each_from_the_start_on() {
        let leases = Leases::default();
        for start in [0, 15, 16, 17, 63, 64, 500, 1023] {
            let free: Vec<u16> = leases.free(Space::Icmp, start).collect();
            let first = start.max(FIRST_BLOCK);
            let expected: Vec<u16> = (first..BLOCKS as u16).chain(FIRST_BLOCK..first).collect();
            assert_eq!(free, expected, "{start}");
        }
        for block in (FIRST_BLOCK..BLOCKS as u16).filter(|block| *block != 700) {
            assert!(leases.take(Space::Icmp, block, 1));
        }
        assert_eq!(leases.free(Space::Icmp, 701).collect::<Vec<_>>(), [700]);
        assert_eq!((leases.used(Space::Icmp), leases.used(Space::Tcp)), (LEASABLE - 1, 0));
        assert!(leases.take(Space::Icmp, 700, 1));
        assert_eq!(leases.free(Space::Icmp, 701).count(), 0);
        leases.give_back(Space::Icmp, 700, 1);
        assert_eq!(leases.free(Space::Icmp, 0).collect::<Vec<_>>(), [700]);
    }

    #[test]
    fn without_places_nothing_is_leased_and_nothing_is_free() {
        let leases = Leases::on_demand();
        for provided in [false, true, true] {
            assert_eq!(leases.is_provided(), provided);
            assert_eq!(leases.free(Space::Tcp, 0).count(), if provided { LEASABLE } else { 0 });
            assert_eq!(leases.take(Space::Tcp, 100, 7), provided);
            let holder = provided.then_some(7);
            assert_eq!((leases.holder(Space::Tcp, 100), leases.used(Space::Tcp)), (holder, provided.into()));
            leases.give_back(Space::Tcp, 100, 7);
            leases.provide();
        }
    }
}
