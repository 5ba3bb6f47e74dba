//! Cycles to nanoseconds, without a division per call.

use dpdk_sys::{cycles, eal::Eal};

use crate::types::Nanos;

/// Fraction bits of the factor: it stays below 2^64 for counters faster than 15.3 kHz.
const SHIFT: u32 = 48;

/// Time since a moment that whoever starts the engine names, from a counter that runs evenly and is the same on all cores (invariant TSC).
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: u64,
    /// The time at `start`.
    origin: Nanos,
    /// Nanoseconds per cycle, times 2^[`SHIFT`].
    factor: u64,
}

impl Clock {
    /// Starts at zero now.
    pub(super) fn start(eal: &Eal) -> Clock {
        Clock::new(cycles::now(), cycles::hz(eal))
    }

    fn new(start: u64, hz: u64) -> Clock {
        let factor = (1_000_000_000u128 << SHIFT) / u128::from(hz.max(1));
        Clock { start, origin: Nanos(0), factor: u64::try_from(factor).unwrap_or(u64::MAX) }
    }

    /// The same clock, by which it is `now` now.
    pub(super) fn set(self, now: Nanos) -> Clock {
        Clock { start: cycles::now(), origin: now, ..self }
    }

    /// The time; one multiplication.
    #[inline(always)]
    pub(super) fn now(&self) -> Nanos {
        self.at(cycles::now())
    }

    #[inline(always)]
    fn at(&self, counter: u64) -> Nanos {
        let cycles = u128::from(counter.saturating_sub(self.start));
        Nanos(self.origin.0.wrapping_add(((cycles * u128::from(self.factor)) >> SHIFT) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_is_right_to_the_microsecond_at_any_rate() {
        let year_s = 365 * 86_400u64;
        for hz in [25_000_000, 999_999_999, 2_000_000_000, 2_399_998_000, 5_000_000_000] {
            let clock = Clock::new(1000, hz);
            let Nanos(ns) = clock.at(1000 + year_s * hz);
            assert!(ns.abs_diff(year_s * 1_000_000_000) < 1_000_000, "{hz}: {ns}");
            assert_eq!(clock.at(999), Nanos(0));
        }
    }
}
