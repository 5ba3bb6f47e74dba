//! How long packets wait and take at a rate below what a worker can do.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Frames that wait for a worker at most, as in the ring of a network card; what comes then is lost.
pub const RING: u64 = 1024;

/// Latencies at one rate, in microseconds: from the time a frame was due to arrive until the end of the poll that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Percent of what the worker moved in the measurement before.
    pub load_percent: f64,
    /// Million packets per second that were offered.
    pub mpps: f64,
    /// Half of the packets took no longer.
    pub p50_us: f64,
    /// 90 % of them.
    pub p90_us: f64,
    /// 99 % of them.
    pub p99_us: f64,
    /// 99.9 % of them.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Packets.
    pub packets: u64,
    /// Packets that found [`RING`] others waiting.
    pub lost: u64,
}

/// Arrivals at a fixed rate, and how long each took.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Cycles between two arrivals.
    gap: f64,
    /// When the first frame was due.
    start: u64,
    /// Frames that arrived, lost ones included.
    arrived: u64,
    /// Of which frames wait: the first of each row of them, and how many.
    waiting: VecDeque<(u64, u64)>,
    lost: u64,
    /// In cycles.
    taken: Histogram<u64>,
}

impl Pace {
    /// # Errors
    /// None that can be seen: the histogram's bounds are right.
    pub(crate) fn new(start: u64, gap: f64) -> Result<Pace> {
        let taken = Histogram::new(3).context("a histogram")?;
        Ok(Pace { gap, start, arrived: 0, waiting: VecDeque::new(), lost: 0, taken })
    }

    /// How many frames wait at `now`, at most [`RING`]; what finds so many waiting is lost.
    pub(crate) fn due(&mut self, now: u64) -> u64 {
        let arrived = (now.saturating_sub(self.start) as f64 / self.gap) as u64 + 1;
        let new = arrived.saturating_sub(self.arrived);
        let waiting: u64 = self.waiting.iter().map(|(_, n)| n).sum();
        let taken_in = new.min(RING - waiting);
        if taken_in > 0 {
            self.waiting.push_back((self.arrived, taken_in));
        }
        self.lost += new - taken_in;
        self.arrived += new;
        waiting + taken_in
    }

    /// The `n` frames that waited longest were sent at `now`.
    pub(crate) fn done(&mut self, n: u64, now: u64) -> Result<()> {
        let mut left = n;
        while left > 0
            && let Some((first, count)) = self.waiting.pop_front()
        {
            let some = left.min(count);
            for at in first..first + some {
                let due = self.start + (at as f64 * self.gap) as u64;
                self.taken.record(now.saturating_sub(due).max(1)).context("a histogram")?;
            }
            if some < count {
                self.waiting.push_front((first + some, count - some));
            }
            left -= some;
        }
        Ok(())
    }

    /// In words, where the counter runs at `hz`.
    pub(crate) fn latency(&self, load_percent: f64, hz: f64) -> Latency {
        let us = |cycles: u64| cycles as f64 / hz * Duration::from_secs(1).as_micros() as f64;
        let at = |quantile: f64| us(self.taken.value_at_quantile(quantile));
        Latency {
            load_percent,
            mpps: hz / self.gap / 1e6,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(self.taken.max()),
            packets: self.taken.len(),
            lost: self.lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_waits_from_when_it_was_due() {
        let mut pace = Pace::new(1_000, 100.0).unwrap();
        assert_eq!(pace.due(1_000), 1);
        pace.done(1, 1_050).unwrap();
        assert_eq!((pace.due(1_099), pace.due(1_100), pace.due(1_299)), (0, 1, 2));
        pace.done(2, 1_300).unwrap();
        let latency = pace.latency(50.0, 1e6);
        assert_eq!((latency.packets, latency.lost, latency.max_us), (3, 0, 200.0));
        assert_eq!((latency.p50_us, latency.mpps), (100.0, 0.01));
    }

    #[test]
    fn what_finds_the_ring_full_is_lost_and_the_others_wait_on() {
        let mut pace = Pace::new(0, 1.0).unwrap();
        assert_eq!(pace.due(2 * RING - 1), RING);
        pace.done(10, 2 * RING).unwrap();
        assert_eq!(pace.due(2 * RING + 4), RING - 10 + 5);
        let latency = pace.latency(1.0, 1e6);
        assert_eq!((latency.packets, latency.lost), (10, RING));
        // The histogram keeps three digits.
        let longest = latency.max_us / (2.0 * RING as f64);
        assert!((1.0..1.001).contains(&longest), "{latency:?}");
        pace.done(RING - 10, 2 * RING + 4).unwrap();
        pace.done(5, 2 * RING + 4).unwrap();
        assert_eq!((pace.due(2 * RING + 4), pace.latency(1.0, 1e6).packets), (0, RING + 5));
    }
}
