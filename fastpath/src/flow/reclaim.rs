//! When a retired record may be used again: after every thread that reads the table has passed a quiescent state, a moment at
//! which it holds no record id (the scheme of DPDK's rte_rcu_qsbr).
//!
//! A writer unlinks records, then draws a token. A reader that later reads a token at least as high, at its quiescent state,
//! can no longer find those records, and its earlier reads are over. A thread that does not read is offline and holds nobody up.

use std::collections::VecDeque;

use crossbeam::utils::CachePadded;

use super::{
    FlowId,
    record::Counts,
    sync::{AtomicU64, Ordering, fence},
};

/// The token of a thread that does not read: higher than every drawn one.
const OFFLINE: u64 = u64::MAX;

/// The number of unlinkings that a reader must have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(u64);

/// The tokens of all readers, each on its own cache line.
#[derive(Debug)]
pub(super) struct Grace {
    /// The last token drawn.
    drawn: CachePadded<AtomicU64>,
    /// What each reader has seen; written by that reader only.
    seen: Box<[CachePadded<AtomicU64>]>,
}

impl Grace {
    /// For `readers` threads, all offline.
    pub(super) fn new(readers: usize) -> Grace {
        let offline = |_| CachePadded::new(AtomicU64::new(OFFLINE));
        Grace { drawn: CachePadded::new(AtomicU64::new(0)), seen: (0..readers).map(offline).collect() }
    }

    /// From now on `reader` reads.
    pub(super) fn online(&self, reader: usize) {
        // Release: who sees this and not the offline before it must see that our reads before that are over.
        self.seen[reader].store(self.drawn.load(Ordering::Acquire), Ordering::Release);
        // Either a writer that looks at the readers after its `draw` sees us, or we see what it unlinked before.
        fence(Ordering::SeqCst);
    }

    /// `reader` holds no record id now and goes on reading.
    pub(super) fn quiescent(&self, reader: usize) {
        // Acquire: what was unlinked before the token was drawn is not found any more. Release: our reads are over.
        self.seen[reader].store(self.drawn.load(Ordering::Acquire), Ordering::Release);
    }

    /// `reader` holds no record id and does not read until it is online again.
    pub(super) fn offline(&self, reader: usize) {
        self.seen[reader].store(OFFLINE, Ordering::Release);
    }

    /// A token for everything that the calling thread has unlinked so far.
    pub(super) fn draw(&self) -> Token {
        let token = Token(self.drawn.fetch_add(1, Ordering::AcqRel) + 1);
        fence(Ordering::SeqCst);
        token
    }

    /// The highest token that all readers have seen. Cost: one load per reader.
    pub(super) fn passed(&self) -> Token {
        Token(self.seen.iter().map(|seen| seen.load(Ordering::Acquire)).min().unwrap_or(OFFLINE))
    }
}

/// Records that one worker unlinked and that others may still be reading. Bounded: while it is full, its worker unlinks
/// nothing more (expiry waits, programs are not replaced). Never grows after start.
#[derive(Debug)]
pub(super) struct Retired {
    /// In the order of their tokens; the last [`Retired::untold`] have none yet.
    waiting: VecDeque<Waiting>,
    untold: usize,
}

#[derive(Debug)]
struct Waiting {
    id: FlowId,
    waits_for: Token,
    /// What the record that took its place goes on counting from.
    carried: Counts,
}

impl Retired {
    /// Records that may wait. At one replaced record per packet this is 32 bursts, more than a reader that runs ever takes.
    const MAX: usize = 1024;

    pub(super) fn new() -> Retired {
        Retired { waiting: VecDeque::with_capacity(Retired::MAX), untold: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= Retired::MAX
    }

    /// Takes a record that was just unlinked, and what the record in its place goes on counting from. The caller has asked
    /// [`Retired::is_full`] before it unlinked it.
    pub(super) fn push(&mut self, id: FlowId, carried: Counts) {
        debug_assert!(!self.is_full(), "room was checked before unlinking");
        self.waiting.push_back(Waiting { id, waits_for: Token(OFFLINE), carried });
        self.untold += 1;
    }

    /// Draws one token for all that were pushed since the last time.
    pub(super) fn draw(&mut self, grace: &Grace) {
        if self.untold > 0 {
            let token = grace.draw();
            let told = self.waiting.len() - self.untold;
            self.waiting.range_mut(told..).for_each(|record| record.waits_for = token);
            self.untold = 0;
        }
    }

    #[cfg(all(test, loom))]
    pub(super) fn iter(&self) -> impl Iterator<Item = FlowId> + '_ {
        self.waiting.iter().map(|record| record.id)
    }

    /// A record that nobody can be reading, or counting on, any more; and what was carried on.
    pub(super) fn pop(&mut self, passed: Token) -> Option<(FlowId, Counts)> {
        if self.waiting.len() == self.untold {
            return None;
        }
        let done = self.waiting.pop_front_if(|record| record.waits_for <= passed);
        done.map(|record| (record.id, record.carried))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_token_passes_when_every_online_reader_was_quiescent_after_it() {
        let grace = Grace::new(3);
        grace.online(0);
        grace.online(1);
        let token = grace.draw();
        assert!(grace.passed() < token);
        grace.quiescent(0);
        assert!(grace.passed() < token, "reader 1 may still hold a record");
        grace.quiescent(1);
        assert!(grace.passed() >= token, "reader 2 is offline and holds nobody up");
    }

    #[test]
    fn a_reader_that_goes_offline_holds_nobody_up() {
        let grace = Grace::new(2);
        grace.online(0);
        let token = grace.draw();
        assert!(grace.passed() < token);
        grace.offline(0);
        assert!(grace.passed() >= token);
    }

    #[test]
    fn retired_records_come_back_in_order_and_not_before_their_token() {
        let grace = Grace::new(2);
        let mut retired = Retired::new();
        grace.online(0);
        grace.online(1);
        let pop = |retired: &mut Retired, grace: &Grace| retired.pop(grace.passed()).map(|(id, _)| id);
        retired.push(FlowId(1), Counts::default());
        assert_eq!(pop(&mut retired, &grace), None, "no token was drawn");
        retired.draw(&grace);
        grace.quiescent(0);
        retired.push(FlowId(2), Counts::default());
        grace.quiescent(1);
        assert_eq!(pop(&mut retired, &grace), Some(FlowId(1)));
        assert_eq!(pop(&mut retired, &grace), None);
        retired.draw(&grace);
        assert_eq!(pop(&mut retired, &grace), None);
        grace.offline(1);
        grace.quiescent(0);
        assert_eq!(pop(&mut retired, &grace), Some(FlowId(2)));
        assert_eq!(retired.len(), 0);
    }
}
