//! Where returning clients go. A set-associative memory of fixed size: who was not here for longest is forgotten first.

use std::{
    hash::{BuildHasher, RandomState as OsKeyed},
    net::Ipv4Addr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::types::Nanos;

/// Clients that compete for places: one cache line of words.
const WAYS: usize = 8;
/// Sets of clients.
const SETS: usize = 4096;
/// Bits of the time in seconds; it wraps after 12 days.
const TIME_BITS: u32 = 20;

/// A cache line.
#[repr(align(64))]
#[derive(Debug, Default)]
struct Set([AtomicU64; WAYS]);

/// Which backend each of many clients had last, and when: 256 KiB for [`Sticky::CLIENTS`] of them. Two workers that write at
/// once may lose one of two answers about the same client, nothing else.
#[derive(Debug)]
pub struct Sticky {
    /// client << 32 | slot << 20 | second; 0 for an empty place.
    sets: Box<[Set]>,
    /// Keyed at random: nobody outside can aim at one set.
    hasher: ahash::RandomState,
}

impl PartialEq for Sticky {
    /// The same memory.
    fn eq(&self, other: &Sticky) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Sticky {}

impl Default for Sticky {
    fn default() -> Sticky {
        let os = OsKeyed::new();
        let [a, b, c, d] = [0u64, 1, 2, 3].map(|n| os.hash_one(n));
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        Sticky { sets: (0..SETS).map(|_| Set::default()).collect(), hasher }
    }
}

impl Sticky {
    /// Most clients that are remembered.
    pub const CLIENTS: usize = SETS * WAYS;
    /// Backends are known by numbers below this.
    pub const SLOTS: u16 = 1 << (32 - TIME_BITS);

    /// The backend that `client` had at most `timeout_s` seconds ago. Cost: a cache line.
    pub fn recall(&self, client: Ipv4Addr, now: Nanos, timeout_s: u32) -> Option<u16> {
        let words = self.set(client).0.iter().map(|word| word.load(Relaxed));
        let word = words.into_iter().find(|word| is_of(*word, client))?;
        (age_s(word, now) <= timeout_s).then_some((word as u32 >> TIME_BITS) as u16)
    }

    /// Remembers that `client` has a backend from `now` on. Cost: a cache line.
    pub fn remember(&self, client: Ipv4Addr, slot: u16, now: Nanos) {
        let low = u32::from(slot % Sticky::SLOTS) << TIME_BITS | second(now);
        let new = u64::from(client.to_bits()) << 32 | u64::from(low);
        let set = &self.set(client).0;
        // Its own place, an empty one, or that of who was not here for longest.
        let rank = |word: u64| match word {
            _ if is_of(word, client) => u32::MAX,
            0 => u32::MAX - 1,
            _ => age_s(word, now),
        };
        if let Some(place) = set.iter().max_by_key(|word| rank(word.load(Relaxed))) {
            place.store(new, Relaxed);
        }
    }

    fn set(&self, client: Ipv4Addr) -> &Set {
        &self.sets[self.hasher.hash_one(client.to_bits()) as usize % SETS]
    }
}

fn is_of(word: u64, client: Ipv4Addr) -> bool {
    word != 0 && (word >> 32) as u32 == client.to_bits()
}

fn second(now: Nanos) -> u32 {
    (now.0 / 1_000_000_000) as u32 % (1 << TIME_BITS)
}

fn age_s(word: u64, now: Nanos) -> u32 {
    second(now).wrapping_sub(word as u32) % (1 << TIME_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Nanos {
        Nanos::from_ms(second * 1000)
    }

    #[test]
    fn a_client_is_remembered_until_its_time_is_over() {
        let sticky = Sticky::default();
        let (one, two) = (Ipv4Addr::new(9, 9, 9, 1), Ipv4Addr::new(9, 9, 9, 2));
        assert_eq!(sticky.recall(one, at(0), 60), None);
        sticky.remember(one, 4095, at(10));
        sticky.remember(two, 0, at(20));
        assert_eq!((sticky.recall(one, at(70), 60), sticky.recall(one, at(71), 60)), (Some(4095), None));
        assert_eq!(sticky.recall(two, at(71), 60), Some(0));
        sticky.remember(one, 7, at(100));
        assert_eq!(sticky.recall(one, at(160), 60), Some(7));
        // The seconds wrap.
        sticky.remember(one, 8, at((1 << 20) - 1));
        assert_eq!(sticky.recall(one, at((1 << 20) + 5), 60), Some(8));
    }

    #[test]
    fn who_was_not_here_for_longest_is_forgotten() {
        let sticky = Sticky::default();
        let first = Ipv4Addr::from_bits(0x0900_0000);
        let set: *const Set = sticky.set(first);
        let rivals = (1u32..).map(|n| Ipv4Addr::from_bits(0x0900_0000 + n));
        let rivals: Vec<_> = rivals.filter(|ip| std::ptr::eq(sticky.set(*ip), set)).take(WAYS).collect();
        sticky.remember(first, 1, at(100));
        for (n, rival) in rivals.iter().enumerate() {
            sticky.remember(*rival, 2, at(101 + n as u64));
        }
        assert_eq!(sticky.recall(first, at(110), 600), None);
        assert!(rivals.iter().all(|rival| sticky.recall(*rival, at(110), 600) == Some(2)));
    }
}
