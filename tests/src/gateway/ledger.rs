//! Which counters moved: drops, punts and events of all workers together, by name.

use std::{collections::HashMap, sync::Arc};

use tidegate_fastpath::{
    counter::Counters,
    reason::{DropReason, Event, PuntReason},
};

/// What was counted up to the last look.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    seen: HashMap<String, u64>,
    /// Made by the harness itself, not to be reported.
    own: HashMap<String, u64>,
}

impl Ledger {
    /// Everything so far is not reported.
    pub(super) fn begin(&mut self, counters: &[Arc<Counters>]) {
        self.moved(counters);
    }

    /// The harness moves this counter once.
    pub(super) fn expect(&mut self, name: &str) {
        *self.own.entry(name.into()).or_default() += 1;
    }

    /// What moved since the last look; looks.
    pub(super) fn moved(&mut self, counters: &[Arc<Counters>]) -> HashMap<String, u64> {
        let moved = self.read(counters);
        self.seen = totals(counters);
        self.own.clear();
        moved
    }

    /// What moved since the last look, without looking.
    pub(super) fn read(&self, counters: &[Arc<Counters>]) -> HashMap<String, u64> {
        let mut moved = HashMap::new();
        for (name, n) in totals(counters) {
            if name == Event::Originated.label() {
                continue; // the books have it
            }
            let known = self.seen.get(&name).unwrap_or(&0) + self.own.get(&name).unwrap_or(&0);
            assert!(n >= known, "{name} moved by less than the harness made it");
            if n > known {
                moved.insert(name, n - known);
            }
        }
        moved
    }

    /// Goes back to what had moved at an earlier [`Ledger::read`]; what moved since was the harness's own.
    pub(super) fn forget(&mut self, counters: &[Arc<Counters>], earlier: &HashMap<String, u64>) {
        self.own.clear();
        self.seen = totals(counters);
        for (name, n) in earlier {
            if let Some(seen) = self.seen.get_mut(name) {
                *seen -= n;
            }
        }
    }
}

/// Every counter that is not 0, by label; punts with `punt_` in front.
pub(super) fn totals(counters: &[Arc<Counters>]) -> HashMap<String, u64> {
    let mut totals: HashMap<String, u64> = HashMap::new();
    let mut add = |name: String, n: u64| {
        if n > 0 {
            *totals.entry(name).or_default() += n;
        }
    };
    for counters in counters {
        for reason in DropReason::ALL {
            let drops = counters.nets.iter().map(|net| net.drops[reason.index()].get()).sum();
            add(format!("{reason}"), drops);
        }
        for reason in PuntReason::ALL {
            add(format!("punt_{reason}"), counters.punts[reason.index()].get());
        }
        for event in Event::ALL {
            add(event.to_string(), counters.events[event.index()].get());
        }
    }
    totals
}

/// # Panics
/// When the two differ; `expected` has names, with a number where it is not 1.
pub(super) fn compare(expected: &[&str], moved: &HashMap<String, u64>) {
    let mut want: Vec<(String, u64)> = expected
        .iter()
        .map(|text| match text.split_once(' ') {
            Some((name, n)) => (name.to_owned(), n.parse().expect("a number")),
            None => ((*text).to_owned(), 1),
        })
        .collect();
    want.sort();
    let mut have: Vec<(String, u64)> = moved.iter().map(|(name, n)| (name.clone(), *n)).collect();
    have.sort();
    assert_eq!(have, want, "counters that moved (left) differ from those expected (right)");
}
