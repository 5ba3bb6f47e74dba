//! How many sessions a VM and its VPC have, and how many new ones per second.

use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, Release},
};

use crate::types::Tick;

/// Why a new session is refused. Nothing was counted then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverQuota {
    /// The VM has as many as it may.
    VmSessions,
    /// The VM begins too many per second.
    VmRate,
    /// The VPC has as many as it may.
    VpcSessions,
    /// The VPC begins too many per second.
    VpcRate,
}

/// A number of sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions(AtomicU32);

impl Sessions {
    pub(super) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// One more, unless there are `most`.
    pub(super) fn begin(&self, most: u32) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |now| (now < most).then_some(now + 1)).is_ok()
    }

    /// One less; false when there was none.
    pub(super) fn end(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |now| now.checked_sub(1)).is_ok()
    }
}

/// A second in ns: how far new sessions may run ahead of their rate, so that a burst of one second's worth passes.
const SECOND_NS: u64 = 1_000_000_000;
/// How far the clocks of workers may be apart: workers get the time at the start of their burst.
const SKEW_TICKS: u32 = 1 << 16;

/// A rate limit in one word (generic cell rate algorithm, ITU-T I.371): the [`Tick`] of the last event in the upper half,
/// and by how many ns events ran ahead of their rate at that time in the lower one. All zeroes is a fresh one.
#[derive(Debug, Default)]
pub(super) struct Bucket(AtomicU64);

impl Bucket {
    pub(super) fn reset(&self) {
        self.0.store(0, Release);
    }

    /// Counts an event if `rate` events per second, and so many at once, allow it. `u32::MAX` is no limit.
    pub(super) fn take(&self, rate: u32, now: Tick) -> bool {
        rate == u32::MAX
            || self.0.fetch_update(Relaxed, Relaxed, |state| Bucket::after_event(state, rate, now)).is_ok()
    }

    /// Whether [`Bucket::take`] would allow an event.
    pub(super) fn allows(&self, rate: u32, now: Tick) -> bool {
        rate == u32::MAX || Bucket::after_event(self.0.load(Relaxed), rate, now).is_some()
    }

    /// The state after one more event, `None` where that is too many.
    fn after_event(state: u64, rate: u32, now: Tick) -> Option<u64> {
        let (last, ahead_ns) = (Tick((state >> 32) as u32), state & 0xffff_ffff);
        let passed = now.0.wrapping_sub(last.0);
        // A worker that is behind adds no time, and does not turn it back. Anything else lies ahead, also after weeks.
        let (at, passed) = if passed > u32::MAX - SKEW_TICKS { (last, 0) } else { (now, passed) };
        let interval_ns = SECOND_NS.div_ceil(u64::from(rate).max(1));
        let ahead_ns = ahead_ns.saturating_sub(u64::from(passed) << 20) + interval_ns;
        let most_ns = (interval_ns * u64::from(rate)).min(u64::from(u32::MAX));
        (ahead_ns <= most_ns).then_some(u64::from(at.0) << 32 | ahead_ns)
    }
}

/// What a VPC uses; a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct VpcUsage {
    pub(super) sessions: Sessions,
    pub(super) rate: Bucket,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(bucket: &Bucket, rate: u32, ticks: std::ops::Range<u32>, each: usize) -> usize {
        ticks.map(|tick| (0..each).filter(|_| bucket.take(rate, Tick(tick))).count()).sum()
    }

    #[test]
    fn a_second_s_worth_passes_at_once_then_the_rate_holds() {
        for rate in [1, 3, 7, 100, 953, 954, 100_000] {
            let bucket = Bucket::default();
            let start = 5_000_000;
            assert_eq!(passed(&bucket, rate, start..start + 1, 300_000), rate as usize, "{rate}");
            // Ten seconds, with more attempts than are allowed.
            let tried = passed(&bucket, rate, start + 1..start + 1 + Tick::ticks_of_s(10), 200);
            let expected = 10.0 * f64::from(rate);
            assert!((tried as f64 - expected).abs() <= 1.0 + expected / 500.0, "{rate}: {tried}");
        }
        assert_eq!(passed(&Bucket::default(), 0, 0..5_000, 2), 0);
        assert_eq!(passed(&Bucket::default(), u32::MAX, 0..1, 100_000), 100_000);
    }

    #[test]
    fn time_that_goes_back_or_far_ahead_gives_and_takes_nothing() {
        let bucket = Bucket::default();
        assert_eq!(passed(&bucket, 10, 1000..1001, 20), 10);
        assert_eq!(passed(&bucket, 10, 0..1000, 5), 0, "a worker that is behind");
        for ahead in [1000 + Tick::ticks_of_s(2), 1 << 31, u32::MAX - 1000, 500] {
            assert_eq!(passed(&bucket, 10, ahead..ahead + 1, 20), 10, "{ahead}");
        }
    }

    #[test]
    fn sessions_stop_at_the_bound_and_at_0() {
        let sessions = Sessions::default();
        assert!(!sessions.end());
        assert!(sessions.begin(2) && sessions.begin(2) && !sessions.begin(2));
        assert!(!sessions.begin(1), "a bound that was lowered");
        assert!(sessions.end() && sessions.end() && !sessions.end());
    }
}
