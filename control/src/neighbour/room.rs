//! Places in the table: how many a network may have, and who gives way when all are taken.

use std::collections::HashSet;

use tidegate_fastpath::types::Nanos;

use super::{
    Key, Machine, NeighbourEvent,
    entry::{Entry, State},
};

/// One in so many places is taken back at once.
const SHARE_GIVING_WAY: usize = 16;

impl Machine {
    /// Room among the unresolved entries of a network; the oldest failed entry goes if need be.
    pub(super) fn make_room(&mut self, (net, _): Key) -> bool {
        while let Some(attached) = self.nets.get_mut(&net) {
            if attached.unresolved < self.limits.unresolved_per_net {
                return true;
            }
            let Some(oldest) = attached.failed.pop_front() else { return false };
            let key = (net, oldest);
            let failed = self.entries.get(&key).is_some_and(|e| e.state == State::Failed);
            if failed && !self.pins.contains_key(&key) {
                self.remove(key);
            }
        }
        false
    }

    /// An entry in the table and here, incomplete, not yet asked for. Pinned entries are not subject to the network's
    /// share.
    pub(super) fn insert(&mut self, now: Nanos, key: Key) -> bool {
        let pinned = self.pins.contains_key(&key);
        let Some(attached) = self.nets.get(&key.0) else { return false };
        if attached.entries >= self.limits.entries_per_net && !pinned {
            self.bump(NeighbourEvent::NetLimit, 1);
            return false;
        }
        let made = self.table.insert(key.0, key.1).or_else(|_| {
            self.give_way(now);
            self.table.insert(key.0, key.1)
        });
        let Ok(id) = made else {
            self.bump(NeighbourEvent::TableFull, 1);
            return false;
        };
        if let Some(attached) = self.nets.get_mut(&key.0) {
            attached.entries += 1;
            attached.unresolved += 1;
        }
        self.entries.insert(key, Entry::new(id, now));
        if pinned {
            self.await_word(now, key);
        }
        true
    }

    /// Remembers since when a pinned entry has been asked for.
    fn await_word(&mut self, now: Nanos, key: Key) {
        if self.unheard.len() >= 2 * self.capacity() {
            let entries = &self.entries;
            self.unheard.retain(|(_, key)| entries.get(key).is_some_and(Entry::is_mute));
        }
        self.unheard.push_back((now, key));
    }

    /// Takes back places of learned VTEPs that were asked for and have never answered, longest ago first. Several at once, as
    /// it goes through all networks and stations; none before it had the time in which neighbours answer.
    fn give_way(&mut self, now: Nanos) {
        let most = (self.capacity() / SHARE_GIVING_WAY).max(1);
        let mut mute = HashSet::new();
        while mute.len() < most
            && let Some(&(since, key)) = self.unheard.front()
            && since.0 + self.timing.retransmit.0 <= now.0
        {
            self.unheard.pop_front();
            if self.entries.get(&key).is_some_and(Entry::is_mute) {
                mute.insert(key);
            }
        }
        if mute.is_empty() {
            return;
        }
        self.forget_learned_vteps(now, &mute);
        for key in mute {
            if !self.pins.contains_key(&key) {
                self.remove(key);
                self.bump(NeighbourEvent::GaveWay, 1);
            }
        }
    }
}
