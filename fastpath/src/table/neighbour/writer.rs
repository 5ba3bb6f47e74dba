//! The side of the neighbour table that control holds: every store into it, in the order that the parent module promises.

use std::{net::Ipv4Addr, sync::Arc};

use super::{
    Adjacency, Link, NeighbourId, NeighbourTable, NeighboursFull, PROBES_MAX, Relaxed, Release, Slot, key,
};
use crate::types::{MacAddr, NetId};

/// The side that control holds; the only writer.
#[derive(Debug)]
pub struct NeighbourWriter {
    table: Arc<NeighbourTable>,
    len: usize,
}

impl NeighbourWriter {
    pub(super) fn new(table: Arc<NeighbourTable>) -> NeighbourWriter {
        NeighbourWriter { table, len: 0 }
    }

    /// The reading side.
    pub fn table(&self) -> &Arc<NeighbourTable> {
        &self.table
    }

    /// Makes an entry, [`Reach::Incomplete`](super::Reach::Incomplete); returns the one that is there if there is one.
    ///
    /// # Errors
    /// [`NeighboursFull`] when all places are in use.
    pub fn insert(&mut self, net: NetId, ip: Ipv4Addr) -> Result<NeighbourId, NeighboursFull> {
        if let Some(id) = self.table.lookup(net, ip) {
            return Ok(id);
        }
        let table = &self.table;
        let full = NeighboursFull(table.capacity);
        if self.len == table.capacity {
            return Err(full);
        }
        let key = key(net, ip);
        let home = table.home(key);
        let is_free = |distance: &usize| table.slots[table.place(home, *distance)].key.load(Relaxed) == 0;
        let distance = (0..PROBES_MAX.min(table.slots.len())).find(is_free).ok_or(full)?;
        let place = table.place(home, distance);
        let slot = &table.slots[place];
        let incarnation = Link(slot.link.load(Relaxed)).incarnation();
        slot.tunnel.store(0, Release);
        slot.link.store(Link::new(incarnation, Link::INCOMPLETE, MacAddr::default()).0, Release);
        slot.key.store(key, Release);
        let span = &table.slots[home].span;
        span.store(span.load(Relaxed).max(distance as u64), Release);
        self.len += 1;
        Ok(NeighbourId::new(place, incarnation))
    }

    /// Says how to reach it; workers see it with the next packet. The id of a removed entry changes nothing, here and in
    /// the functions below.
    pub fn resolve(&mut self, id: NeighbourId, adjacency: Adjacency) {
        if let Some(slot) = self.live(id) {
            slot.tunnel.store(pack(adjacency.tunnel), Release);
            slot.link.store(Link::new(id.incarnation(), Link::RESOLVED, adjacency.mac).0, Release);
        }
    }

    /// Back to [`Reach::Incomplete`](super::Reach::Incomplete).
    pub fn reset(&mut self, id: NeighbourId) {
        self.set_state(id, Link::INCOMPLETE);
    }

    /// To [`Reach::Failed`](super::Reach::Failed).
    pub fn fail(&mut self, id: NeighbourId) {
        self.set_state(id, Link::FAILED);
    }

    /// Removes the entry; its id becomes [`Reach::Gone`](super::Reach::Gone).
    pub fn remove(&mut self, id: NeighbourId) {
        let Some(slot) = self.live(id) else { return };
        let home = self.table.home(slot.key.load(Relaxed));
        slot.key.store(0, Release);
        // Never 255, so that no entry is `NeighbourId::NONE`.
        let next = (id.incarnation() + 1) % 255;
        slot.link.store(Link::new(next, Link::FREE, MacAddr::default()).0, Release);
        self.shorten_span(home);
        self.len -= 1;
    }

    /// Entries in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The limit.
    pub fn capacity(&self) -> usize {
        self.table.capacity
    }

    fn live(&self, id: NeighbourId) -> Option<&Slot> {
        let slot = self.table.slots.get(id.place())?;
        let link = Link(slot.link.load(Relaxed));
        (link.incarnation() == id.incarnation() && link.state() != Link::FREE).then_some(slot)
    }

    fn set_state(&mut self, id: NeighbourId, state: u64) {
        if let Some(slot) = self.live(id) {
            slot.link.store(Link::new(id.incarnation(), state, MacAddr::default()).0, Release);
        }
    }

    /// Sets the span of a place to the farthest entry that is left.
    fn shorten_span(&mut self, home: usize) {
        let table = &self.table;
        let is_of_home = |distance: &u64| {
            let key = table.slots[table.place(home, *distance as usize)].key.load(Relaxed);
            key != 0 && table.home(key) == home
        };
        let span = &table.slots[home].span;
        let farthest = (0..=span.load(Relaxed)).rev().find(is_of_home);
        span.store(farthest.unwrap_or(0), Release);
    }
}

fn pack(tunnel: Option<(Ipv4Addr, NeighbourId)>) -> u64 {
    tunnel.map_or(0, |(vtep, next)| u64::from(u32::from(vtep)) << 32 | u64::from(next.0))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::{
        super::{
            Reach, new, seeded,
            tests::{NET, adjacency, ip},
        },
        *,
    };

    #[test]
    fn an_entry_goes_through_its_states() {
        let (mut writer, table) = new(4);
        assert_eq!(table.lookup(NET, ip(1)), None);
        let id = writer.insert(NET, ip(1)).unwrap();
        assert_eq!((table.lookup(NET, ip(1)), table.reach(id)), (Some(id), Reach::Incomplete));
        let plain = Adjacency { mac: MacAddr::BROADCAST, tunnel: None };
        for adjacency in [adjacency(1, 1), plain] {
            writer.resolve(id, adjacency);
            assert_eq!(table.reach(id), Reach::Resolved(adjacency));
        }
        writer.fail(id);
        assert_eq!(table.reach(id), Reach::Failed);
        writer.reset(id);
        assert_eq!(table.reach(id), Reach::Incomplete);
        assert_eq!((writer.insert(NET, ip(1)), writer.len()), (Ok(id), 1), "already there");
        writer.remove(id);
        assert_eq!((table.lookup(NET, ip(1)), table.reach(id), writer.len()), (None, Reach::Gone, 0));
    }

    #[test]
    fn a_used_place_has_another_id_and_the_old_one_changes_nothing() {
        let (mut writer, table) = new(1);
        let old = writer.insert(NET, ip(1)).unwrap();
        writer.remove(old);
        let new = writer.insert(NET, ip(1)).unwrap();
        assert!(old.place() == new.place() && old != new);
        writer.resolve(old, adjacency(1, 1));
        writer.fail(old);
        writer.remove(old);
        assert_eq!((table.reach(old), table.reach(new), writer.len()), (Reach::Gone, Reach::Incomplete, 1));
    }

    #[test]
    fn every_address_of_every_network_is_a_key_of_its_own() {
        let (mut writer, table) = new(8);
        let keys = [NetId::NONE, NetId(1), NetId(u16::MAX)].map(|net| (net, Ipv4Addr::UNSPECIFIED));
        assert!(keys.iter().all(|(net, ip)| table.lookup(*net, *ip).is_none()));
        let ids = keys.map(|(net, ip)| writer.insert(net, ip).unwrap());
        assert_eq!(keys.map(|(net, ip)| table.lookup(net, ip).unwrap()), ids);
        assert!(writer.len() == 3 && table.reach(NeighbourId::from_u32(u32::MAX)) == Reach::Gone);
    }

    #[test]
    fn a_full_table_refuses_and_a_removed_entry_makes_room() {
        let (mut writer, _table) = new(3);
        let ids = [1, 2, 3].map(|n| writer.insert(NET, ip(n)).unwrap());
        assert_eq!(writer.insert(NET, ip(4)), Err(NeighboursFull(3)));
        assert_eq!(writer.insert(NET, ip(2)), Ok(ids[1]));
        writer.remove(ids[1]);
        assert!(writer.insert(NET, ip(4)).is_ok() && writer.insert(NET, ip(2)).is_err());
        assert_eq!(new(0).0.insert(NET, ip(1)), Err(NeighboursFull(0)));
    }

    #[test]
    fn turnover_does_not_lengthen_lookups() {
        const CAPACITY: u32 = 2_048;
        let (mut writer, table) = seeded(CAPACITY as usize, [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345]);
        let longest = || table.slots.iter().map(|slot| slot.span.load(Relaxed)).max().unwrap_or(0);
        for n in 0..CAPACITY {
            writer.insert(NET, ip(n)).unwrap();
        }
        let filled = longest();
        for n in 0..100 * CAPACITY {
            writer.remove(table.lookup(NET, ip(n)).unwrap());
            writer.insert(NET, ip(n + CAPACITY)).unwrap();
        }
        assert!(filled < 64 && longest() < 64, "{filled}, then {} slots", longest());
        for n in 100 * CAPACITY..101 * CAPACITY {
            writer.remove(table.lookup(NET, ip(n)).unwrap());
        }
        assert_eq!((writer.len(), longest()), (0, 0));
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_map(
            steps in prop::collection::vec((0u32..40, 0u32..5, any::<u8>()), 1..300),
            seeds in any::<[u64; 2]>(),
        ) {
            let (mut writer, table) = seeded(24, seeds);
            let mut known: HashMap<u32, (NeighbourId, Reach)> = HashMap::new();
            let mut gone = Vec::new();
            for (n, step, version) in steps {
                let adjacency = adjacency(n, version.into());
                let is_full = known.len() == 24;
                match (known.get_mut(&n), step) {
                    (None, _) if is_full => prop_assert!(writer.insert(NET, ip(n)).is_err()),
                    (None, _) => {
                        let id = writer.insert(NET, ip(n)).unwrap();
                        prop_assert!(known.insert(n, (id, Reach::Incomplete)).is_none());
                    }
                    (Some((id, reach)), 0) => (writer.fail(*id), *reach = Reach::Failed).0,
                    (Some((id, reach)), 1) => (writer.reset(*id), *reach = Reach::Incomplete).0,
                    (Some((id, reach)), 2) => {
                        writer.resolve(*id, adjacency);
                        *reach = Reach::Resolved(adjacency);
                    }
                    (Some((id, _)), _) => {
                        writer.remove(*id);
                        gone.push(*id);
                        known.remove(&n);
                    }
                }
                prop_assert_eq!(writer.len(), known.len());
                for n in 0..40 {
                    prop_assert_eq!(table.lookup(NET, ip(n)), known.get(&n).map(|(id, _)| *id));
                }
                prop_assert!(known.values().all(|(id, reach)| table.reach(*id) == *reach));
                prop_assert!(gone.iter().all(|id| table.reach(*id) == Reach::Gone));
            }
        }
    }
}
