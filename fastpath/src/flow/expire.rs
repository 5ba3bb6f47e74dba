//! Which records a worker looks at for expiry, and when: each worker has a share of the record array and goes through it
//! about once per [`ROUND`], a bounded number at a time.

use super::FlowId;
use crate::types::Nanos;

/// The most records looked at in one go.
pub(super) const LOOKS_MAX: usize = 32;
/// In how many nanoseconds a worker goes once through its share, if it is asked often enough.
const ROUND: u64 = 1_000_000_000;
/// Neighbouring records that go to the same worker: four pages of 4 KiB, so that the CPU's own prefetch works.
const RUN: usize = 256;

/// One worker's place in its share of the records.
#[derive(Debug)]
pub(super) struct Sweep {
    worker: usize,
    workers: usize,
    /// All records of the table.
    records: usize,
    /// Places of the share, some of them beyond the last record.
    share: usize,
    /// The next place of the share, below `share`.
    next: usize,
    /// Up to when looks have been paid for.
    paid: Nanos,
}

impl Sweep {
    pub(super) fn new(worker: usize, workers: usize, records: usize) -> Sweep {
        let share = records.div_ceil(RUN * workers) * RUN;
        Sweep { worker, workers, records, share, next: 0, paid: Nanos(0) }
    }

    /// How many records are due at `now`, at most [`LOOKS_MAX`]. What was missed in a pause is not made up for.
    pub(super) fn due(&mut self, now: Nanos) -> usize {
        let elapsed = now.0.saturating_sub(self.paid.0).min(ROUND);
        let looks = elapsed * self.share as u64 / ROUND;
        if looks > LOOKS_MAX as u64 || elapsed == ROUND {
            self.paid = now;
            return LOOKS_MAX.min(looks as usize);
        }
        self.paid.0 += looks * ROUND / self.share as u64;
        looks as usize
    }

    /// The next place's record, if there is one at it.
    pub(super) fn advance(&mut self) -> Option<FlowId> {
        let id = self.at(self.next);
        self.next = self.wrapped(self.next + 1);
        id
    }

    /// The next `count` records, without moving on.
    pub(super) fn upcoming(&self, count: usize) -> impl Iterator<Item = FlowId> + '_ {
        (self.next..self.next + count).filter_map(|place| self.at(self.wrapped(place)))
    }

    /// A place that may be beyond the last one, by less than [`LOOKS_MAX`], which no share is below. A division would cost more
    /// than all else here.
    fn wrapped(&self, place: usize) -> usize {
        if place >= self.share { place - self.share } else { place }
    }

    fn at(&self, place: usize) -> Option<FlowId> {
        let record = (place / RUN * self.workers + self.worker) * RUN + place % RUN;
        (record != 0 && record < self.records).then_some(FlowId(record as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_workers_are_all_records_once() {
        for (workers, records) in [(1, 2), (1, 256), (2, 257), (3, 2000), (7, 100)] {
            let mut seen = vec![0; records];
            for worker in 0..workers {
                let mut sweep = Sweep::new(worker, workers, records);
                for _ in 0..sweep.share {
                    if let Some(FlowId(record)) = sweep.advance() {
                        seen[record as usize] += 1;
                    }
                }
            }
            assert_eq!(seen[0], 0, "record 0 is nobody's");
            assert!(seen[1..].iter().all(|&times| times == 1), "{workers} {records}");
        }
    }

    #[test]
    fn a_share_is_swept_about_once_per_second_in_bounded_steps() {
        for (records, step_ns) in [(2, 1000), (1000, 1000), (100_000, 10_000), (100_000, 333_333)] {
            let mut sweep = Sweep::new(0, 1, records);
            let start = 5_000_000_000;
            sweep.paid = Nanos(start);
            let looks: usize = (1..=10 * ROUND / step_ns)
                .map(|step| {
                    let due = sweep.due(Nanos(start + step * step_ns));
                    assert!(due <= LOOKS_MAX);
                    due
                })
                .sum();
            let possible = (10 * ROUND / step_ns) as usize * LOOKS_MAX;
            let wanted = (10 * sweep.share).min(possible);
            assert!(looks.abs_diff(wanted) <= wanted / 100 + 1, "{records} {step_ns}: {looks} of {wanted}");
        }
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_causes_no_looks() {
        let mut sweep = Sweep::new(0, 1, 100_000);
        sweep.due(Nanos(5_000_000_000));
        assert_eq!(sweep.due(Nanos(5_000_000_000)), 0);
        assert_eq!(sweep.due(Nanos(4_000_000_000)), 0);
    }
}
