//! A rate limit that needs no timer: one number per limit (the generic cell rate algorithm, ITU-T I.371).

use crate::types::Nanos;

/// Lets `rate` events per second pass, and up to `burst` at once.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    interval_ns: u64,
    slack_ns: u64,
    /// When the next event would be due if they came evenly; it may run ahead of the clock by `slack_ns`.
    due_ns: u64,
}

impl RateLimit {
    /// `rate` is per second; 0 lets nothing pass. `burst` is at least 1.
    pub const fn new(rate: u32, burst: u32) -> RateLimit {
        if rate == 0 {
            return RateLimit { interval_ns: 0, slack_ns: 0, due_ns: u64::MAX };
        }
        let interval_ns = 1_000_000_000 / rate as u64;
        let slack = if burst > 1 { burst as u64 - 1 } else { 0 };
        RateLimit { interval_ns, slack_ns: interval_ns.saturating_mul(slack), due_ns: 0 }
    }

    /// Whether one more event may pass now.
    #[inline]
    pub fn take(&mut self, now: Nanos) -> bool {
        let due = self.due_ns.max(now.0);
        if due > now.0.saturating_add(self.slack_ns) {
            return false;
        }
        self.due_ns = due + self.interval_ns;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let mut limit = RateLimit::new(100, 10);
        let start = Nanos::from_ms(1_000);
        assert_eq!((0..50).filter(|_| limit.take(start)).count(), 10);
        let within = |limit: &mut RateLimit, from_ms: u64, to_ms: u64| {
            (from_ms..to_ms).filter(|&ms| limit.take(Nanos::from_ms(ms))).count()
        };
        assert_eq!(within(&mut limit, 1_001, 2_001), 100);
        let mut young = RateLimit::new(100, 10);
        assert_eq!((0..50).filter(|_| young.take(Nanos(7))).count(), 10, "at the start of time, too");
        assert!(!(0..5).any(|_| RateLimit::new(0, 10).take(Nanos::from_ms(99))));
    }
}
