//! What all workers of a limit share: one word, the moment up to which its rate has been given out (the virtual time of the
//! generic cell rate algorithm, ITU-T I.371). Workers do not touch it for each packet; they take a *lease*, a piece of time
//! that is worth many packets, and spend that by themselves.
//!
//! ```text
//!              given out                 may be given out now
//!   ──────────────────────────────┼──────────────────────────────┤
//!                                due                        now + limit
//! ```
//! A lease moves `due` ahead, never beyond `now + limit`, and never begins before `now`: time that nobody used is lost. So
//! from a moment `t1` to a moment `t2` no more is given out than `t2 - t1 + limit`. Workers may spend in that time what they had
//! left of earlier leases, at most a lease each. `limit` is the burst less that, so no more *passes* than `rate * time +
//! burst`, in any stretch of time and whatever the workers do (docs/adr/0014-credit-leases.md).

use crate::{counter::Counter, types::Nanos};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Credit is time, in nanoseconds with so many fraction bits: at 400 Gbit/s a byte is 0.02 ns, which is right to 3 parts in a
/// million; at 8 kbit/s the largest packet is 2^61.
pub(super) const FRACTION_BITS: u32 = 24;

/// Longest lease. What two workers may have left of theirs is 0.02 % of a second's worth.
const LEASE_MAX_NS: u64 = 100_000;

const NANOS_PER_S: u64 = 1_000_000_000;

/// Of a burst, all leases together are at most one part in so many.
const LEASED_PART: u64 = 4;

/// The supply of one limit.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Supply {
    /// How far `due` may be ahead of the clock.
    limit_ns: u64,
    /// What a worker takes at once, where it needs no more.
    lease_ns: u64,
    due: Line,
}

/// A cache line of its own: readers of what never changes do not wait for who writes this.
#[derive(Debug)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Supply {
    /// A full supply of `rate` per second (above 0) with `burst` in the same unit, for so many workers.
    pub(super) fn new(rate: u64, burst: u64, workers: usize) -> Supply {
        let burst_ns = in_ns(rate, burst);
        let workers = workers.max(1) as u64;
        let lease_ns = (burst_ns / (LEASED_PART * workers)).min(LEASE_MAX_NS);
        // What is left of a lease may be a nanosecond more than a lease: it is taken in whole ones.
        let limit_ns = burst_ns.saturating_sub(workers * (lease_ns + 1));
        Supply { limit_ns, lease_ns, due: Line(AtomicU64::new(0)) }
    }

    /// The same of bits, where a worker that is alone takes what a packet needs and no more: all of the burst is in the supply, and
    /// it is exact where a byte is worth whole nanoseconds. Where it is not, a part of one may be left of what is taken.
    pub(super) fn without_idle_lease(rate: u64, burst: u64, workers: usize) -> Supply {
        if workers > 1 {
            return Supply::new(rate, burst, workers);
        }
        let left_ns = u64::from(!(8 * NANOS_PER_S).is_multiple_of(rate.max(1)));
        let limit_ns = in_ns(rate, burst).saturating_sub(left_ns);
        Supply { limit_ns, lease_ns: 0, due: Line(AtomicU64::new(0)) }
    }

    /// Gives away the time that nobody used up to now, which is lost otherwise; nanoseconds.
    pub(super) fn overflow(&self, now: Nanos) -> u64 {
        // Most of the time there is none, and nothing is written.
        if self.due.0.load(Relaxed) >= now.0 {
            return 0;
        }
        // Whoever moves it gets the time in between, so nobody gets it twice.
        now.0.saturating_sub(self.due.0.fetch_max(now.0, Relaxed))
    }

    /// The most that a worker has left between two packets, as credit.
    pub(super) const fn left_max(&self) -> u64 {
        (self.lease_ns + 1) << FRACTION_BITS
    }

    /// What could be taken now.
    pub(super) fn available_ns(&self, now: Nanos) -> u64 {
        self.limit_ns.saturating_sub(self.due.0.load(Relaxed).saturating_sub(now.0))
    }

    /// Takes a lease: no less than `least_ns`, and as much as a lease has where there is so much. 0 where there is less.
    pub(super) fn take(&self, now: Nanos, least_ns: u64) -> u64 {
        let want_ns = self.lease_ns.max(least_ns);
        let mut due = self.due.0.load(Relaxed);
        loop {
            let begin = due.max(now.0);
            let available = self.limit_ns.saturating_sub(begin - now.0);
            if available < least_ns {
                return 0;
            }
            let taken = want_ns.min(available);
            match self.due.0.compare_exchange_weak(due, begin + taken, Relaxed, Relaxed) {
                Ok(_) => return taken,
                // Another worker took some: what it left is looked at.
                Err(other) => due = other,
            }
        }
    }
}

/// A second bucket that fills with what the first one has no room for ([`Supply::overflow`]). It knows no time: what is in it is a
/// number.
#[derive(Debug)]
pub(super) struct Excess {
    /// Its size and lease; its `due` is not used.
    bounds: Supply,
    spare_ns: Line,
}

impl Excess {
    /// Full.
    pub(super) fn new(bounds: Supply) -> Excess {
        let spare_ns = Line(AtomicU64::new(bounds.limit_ns));
        Excess { bounds, spare_ns }
    }

    pub(super) const fn bounds(&self) -> &Supply {
        &self.bounds
    }

    pub(super) fn available_ns(&self) -> u64 {
        self.spare_ns.0.load(Relaxed)
    }

    /// Puts in what there is room for.
    pub(super) fn add(&self, ns: u64) {
        if ns > 0 {
            let filled = |spare: u64| Some(spare.saturating_add(ns).min(self.bounds.limit_ns));
            let _always = self.spare_ns.0.fetch_update(Relaxed, Relaxed, filled);
        }
    }

    /// As [`Supply::take`].
    pub(super) fn take(&self, least_ns: u64) -> u64 {
        let want_ns = self.bounds.lease_ns.max(least_ns);
        let taken = |spare: u64| (spare >= least_ns).then(|| spare - want_ns.min(spare));
        self.spare_ns.0.fetch_update(Relaxed, Relaxed, taken).map_or(0, |spare| want_ns.min(spare))
    }
}

/// A burst as the time in which it fills.
fn in_ns(rate: u64, burst: u64) -> u64 {
    let ns = u128::from(burst) * u128::from(NANOS_PER_S) / u128::from(rate.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX / 2)
}

/// What is missing to `cost`, in whole nanoseconds.
pub(super) fn lacking_ns(credit: &Counter, cost: u64) -> u64 {
    cost.saturating_sub(credit.get()).div_ceil(1 << FRACTION_BITS)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_leased_and_what_may_be_is_the_burst() {
        for (rate, burst) in [(16_000, 16_384), (12_500_000, 250_000), (5_000_000_000, 1 << 20)] {
            for workers in [1, 2, 16, 128] {
                let supply = Supply::new(rate, burst, workers);
                let burst_ns = burst * 1_000_000_000 / rate;
                let leased = workers as u64 * (supply.lease_ns + 1);
                assert!(supply.limit_ns + leased <= burst_ns, "{rate} {burst} {workers}");
                assert!(supply.limit_ns >= burst_ns / 2, "{rate} {burst} {workers}");
            }
        }
    }

    #[test]
    fn time_that_nobody_used_is_lost() {
        let supply = Supply::new(1_000_000_000, 4_000, 1);
        let limit = supply.limit_ns;
        let take_all = |now| {
            let before = supply.available_ns(Nanos(now));
            while supply.take(Nanos(now), 1) > 0 {}
            before
        };
        assert_eq!((take_all(0), take_all(0)), (limit, 0));
        assert_eq!((take_all(300), take_all(300)), (300, 0));
        assert_eq!(take_all(1_000_000_000), limit);
        // A worker whose clock is behind gets nothing, and takes nothing from the others.
        assert_eq!((take_all(999_000_000), take_all(1_000_000_010)), (0, 10));
    }
}

#[cfg(all(test, loom))]
mod loom_model {
    use loom::{sync::Arc, thread};

    use super::*;

    /// However two workers take, with clocks that differ: never more than the time that went by and the limit.
    #[test]
    fn loom_two_workers_never_take_more_than_time_and_limit() {
        loom::model(|| {
            let supply = Arc::new(Supply::new(1_000_000_000, 40, 2));
            let take = |supply: &Supply, moments: [u64; 2]| -> u64 {
                moments.iter().map(|now| supply.take(Nanos(*now), 7)).sum()
            };
            let other = {
                let supply = Arc::clone(&supply);
                thread::spawn(move || take(&supply, [0, 10]))
            };
            let mine = take(&supply, [3, 10]);
            let theirs = other.join().unwrap();
            assert!(mine + theirs <= 10 + supply.limit_ns, "{mine} and {theirs} of {}", supply.limit_ns);
            assert_eq!(supply.available_ns(Nanos(10_000)), supply.limit_ns);
        });
    }

    /// However two workers let the first bucket flow over into the second: no moment is given away twice.
    #[test]
    fn loom_what_flows_over_is_given_once() {
        loom::model(|| {
            let supply = Arc::new(Supply::new(1_000_000_000, 4_000, 2));
            let excess = Arc::new(Excess::new(Supply::new(1_000_000_000, 4_000, 2)));
            let limit = excess.bounds.limit_ns;
            assert_eq!(excess.take(limit), limit);
            let work = |supply: &Supply, excess: &Excess, now: u64| -> u64 {
                excess.add(supply.overflow(Nanos(now)));
                excess.take(3)
            };
            let other = {
                let (supply, excess) = (Arc::clone(&supply), Arc::clone(&excess));
                thread::spawn(move || work(&supply, &excess, 7))
            };
            let mine = work(&supply, &excess, 10);
            let theirs = other.join().unwrap();
            assert_eq!(mine + theirs + excess.available_ns(), 10);
        });
    }
}
