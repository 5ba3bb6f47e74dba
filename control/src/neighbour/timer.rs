//! What is due when: requests, probes, failures, removals.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use tidegate_fastpath::types::Nanos;

use super::{
    Key, Machine, NeighbourEvent, arp,
    entry::{Entry, State},
    limit::{DEFER, HOLD_DOWN},
};

/// Deadlines of entries, earliest first. An entry whose deadline moves later keeps its place and is put back when that
/// comes; so a confirmed neighbour costs nothing here.
#[derive(Debug)]
pub(super) struct Timers {
    queue: BinaryHeap<Reverse<(Nanos, Key)>>,
    random: u64,
}

impl Timers {
    pub(super) fn new(seed: u64) -> Timers {
        Timers { queue: BinaryHeap::new(), random: seed | 1 }
    }

    /// `mean` times a factor between 0.5 and 1.5 (RFC 4861 §6.3.2), so that neighbours learned together are not probed
    /// together.
    fn jitter(&mut self, mean: Nanos) -> u64 {
        // xorshift64: spreads timers, guards nothing.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        mean.0 / 2 + self.random % mean.0.max(1)
    }
}

impl Machine {
    /// Sets when `key` is looked at next.
    pub(super) fn schedule(&mut self, key: Key, deadline: Nanos) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.deadline = deadline;
        if entry.queued.is_none_or(|queued| queued > deadline) {
            entry.queued = Some(deadline);
            self.timers.queue.push(Reverse((deadline, key)));
        }
    }

    /// Has a neighbour asked at the next tick whether it is still there, where nothing of the kind is under way.
    pub fn doubt(&mut self, now: Nanos, key: Key) {
        if self.entries.get(&key).is_some_and(|entry| matches!(entry.state, State::Reachable)) {
            self.schedule(key, now);
        }
    }

    /// The earliest moment at which [`Machine::tick`] may have something to do for an entry.
    pub fn next_deadline(&self) -> Option<Nanos> {
        self.timers.queue.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn run_timers(&mut self, now: Nanos) {
        while let Some(&Reverse((at, key))) = self.timers.queue.peek()
            && at <= now
        {
            self.timers.queue.pop();
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.queued != Some(at) {
                continue; // an earlier place in the queue has replaced this one
            }
            entry.queued = None;
            let deadline = entry.deadline;
            if deadline > now {
                self.schedule(key, deadline);
            } else {
                self.run(now, key);
            }
        }
    }

    /// An entry's deadline has come.
    fn run(&mut self, now: Nanos, key: Key) {
        let Some(entry) = self.entries.get(&key) else { return };
        let attempts = self.timing.attempts;
        match entry.state {
            State::Incomplete { asked } if asked < attempts => self.ask(now, key, asked),
            State::Reachable => self.probe(now, key, 0),
            State::Probing { asked } if asked < attempts => self.probe(now, key, asked),
            State::Incomplete { .. } | State::Probing { .. } => self.fail(now, key),
            State::Failed if self.pins.contains_key(&key) => self.restart(now, key),
            State::Failed => self.remove(key),
        }
    }

    /// Sends the next broadcast request, or puts it off.
    pub(super) fn ask(&mut self, now: Nanos, key: Key, asked: u8) {
        if !self.pace(now, key) {
            return;
        }
        self.broadcast_request(key);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.state = State::Incomplete { asked: asked + 1 };
        }
        self.schedule(key, Nanos(now.0 + self.timing.retransmit.0));
    }

    /// Sends the next probe, or puts it off. The last one is broadcast: the neighbour may have moved in silence.
    fn probe(&mut self, now: Nanos, key: Key, asked: u8) {
        if !self.pace(now, key) {
            return;
        }
        if asked + 1 == self.timing.attempts {
            self.broadcast_request(key);
        } else {
            self.unicast_request(key);
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.state = State::Probing { asked: asked + 1 };
        }
        self.schedule(key, Nanos(now.0 + self.timing.retransmit.0));
    }

    /// Whether the frame budget allows a request now; if not, `key` is looked at again a little later.
    fn pace(&mut self, now: Nanos, key: Key) -> bool {
        let ready = self.budget.ready(now);
        if !ready {
            self.bump(NeighbourEvent::Deferred, 1);
            self.schedule(key, Nanos(now.0 + DEFER.0));
        }
        ready
    }

    fn broadcast_request(&mut self, key: Key) {
        let Some(attached) = self.nets.get(&key.0) else { return };
        let frame = arp::request(&attached.attachment.net, key.1, None);
        let sent = self.send(key.0, None, frame);
        self.budget.spend(sent);
        self.bump(NeighbourEvent::Request, sent);
    }

    fn unicast_request(&mut self, key: Key) {
        let Some(mac) = self.entries.get(&key).and_then(|e| e.mac) else { return };
        let Some(attached) = self.nets.get(&key.0) else { return };
        let frame = arp::request(&attached.attachment.net, key.1, Some(mac));
        let vtep = self.stations.get(&(key.0, mac)).map(|s| s.vtep);
        let sent = self.send(key.0, vtep, frame);
        self.budget.spend(sent);
        self.bump(NeighbourEvent::Probe, sent);
    }

    fn fail(&mut self, now: Nanos, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let (was_unresolved, is_mute) = (entry.is_unresolved(), entry.is_mute());
        let mac = entry.mac.take();
        entry.state = State::Failed;
        entry.silent = true;
        entry.written = None;
        self.table.fail(entry.id);
        if let Some(net) = self.nets.get_mut(&key.0) {
            net.unresolved += usize::from(!was_unresolved);
            while net.failed.front().is_some_and(|ip| !is_failed(&self.entries, (key.0, *ip))) {
                net.failed.pop_front();
            }
            net.failed.push_back(key.1);
        }
        if let Some(mac) = mac {
            self.leave_station(key, mac);
        }
        self.silence_changed = true;
        self.bump(NeighbourEvent::Failed, 1);
        self.schedule(key, Nanos(now.0 + HOLD_DOWN.0));
        if is_mute && self.pins.contains_key(&key) {
            self.forget_learned_vteps(now, &[key].into());
        }
    }

    /// Forgets what was known and asks again.
    pub(super) fn restart(&mut self, now: Nanos, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let was_unresolved = entry.is_unresolved();
        let mac = entry.mac.take();
        entry.state = State::Incomplete { asked: 0 };
        entry.written = None;
        self.table.reset(entry.id);
        if let Some(net) = self.nets.get_mut(&key.0) {
            net.unresolved += usize::from(!was_unresolved);
        }
        if let Some(mac) = mac {
            self.leave_station(key, mac);
        }
        self.ask(now, key, 0);
    }

    /// An answer came: good for about the reachable time, or for `fixed` where the answer proves less.
    pub(super) fn confirm(&mut self, now: Nanos, key: Key, fixed: Option<Nanos>) {
        let good_for = fixed.map_or_else(|| self.timers.jitter(self.timing.reachable), |n| n.0);
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.is_unresolved()
            && let Some(net) = self.nets.get_mut(&key.0)
        {
            net.unresolved -= 1;
        }
        entry.state = State::Reachable;
        self.silence_changed |= std::mem::take(&mut entry.silent);
        if fixed.is_none() {
            entry.confirmed = Some(now);
        }
        self.schedule(key, Nanos(now.0 + good_for));
    }
}

fn is_failed(entries: &HashMap<Key, Entry>, key: Key) -> bool {
    entries.get(&key).is_some_and(|e| e.state == State::Failed)
}
