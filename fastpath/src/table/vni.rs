//! (VTEP, VNI) to network: open addressing, immutable once built.
//!
//! A slot is eight bytes and at most half of the slots are used, so a lookup touches one cache line, seldom two. VNIs are
//! chosen by the operator, not by senders, so the hash needs no key; and the longest probe is known when the table is
//! built, which bounds what a frame with an unknown VNI costs.

use crate::types::{NetId, Vni, VtepId};

/// Which network a VXLAN frame belongs to. Control builds it, workers read it; 16 to 32 bytes per entry.
#[derive(Clone, Debug, Default)]
pub struct VniTable {
    /// A power of two of them, or none.
    slots: Box<[Slot]>,
    /// 32 minus the logarithm of their number.
    shift: u32,
    /// The most slots that lie between a key and where its probe begins.
    span: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// See [`key`]; 0 is never a key, as no network has VNI 0.
    key: u32,
    net: NetId,
}

/// VTEP << 24 | VNI; `None` for what no table holds. [`VTEPS_MAX`](super::VTEPS_MAX) is below 256.
#[inline]
fn key(vtep: VtepId, vni: u32) -> Option<u32> {
    (vtep.0 < 256 && vni <= Vni::MAX).then_some(u32::from(vtep.0) << 24 | vni)
}

impl VniTable {
    /// Of a tunnel end that is none: no key begins so, as there are fewer than 255 of them.
    pub const NOWHERE: u32 = u32::MAX << 24;

    /// Builds from pairs in any order; pairs are unique, control has checked.
    pub fn build(entries: impl IntoIterator<Item = ((VtepId, Vni), NetId)>) -> VniTable {
        let entries: Vec<_> = entries
            .into_iter()
            .filter_map(|((vtep, vni), net)| Some(Slot { key: key(vtep, vni.get())?, net }))
            .collect();
        if entries.is_empty() {
            return VniTable::default();
        }
        let len = (2 * entries.len()).next_power_of_two();
        let mut table = VniTable {
            slots: vec![Slot::default(); len].into_boxed_slice(),
            shift: 32 - len.trailing_zeros(),
            span: 0,
        };
        for entry in entries {
            let home = table.home(entry.key);
            // At most half of the slots are used, so there is a free one.
            let is_free = |distance: &usize| table.slots[(home + distance) & (len - 1)].key == 0;
            let distance = (0..len).find(is_free).unwrap_or(0);
            table.slots[(home + distance) & (len - 1)] = entry;
            table.span = table.span.max(distance);
        }
        table
    }

    /// The network; [`NetId::NONE`] where there is none. `vni` is the raw 24-bit field.
    #[inline(always)]
    pub fn lookup(&self, vtep: VtepId, vni: u32) -> NetId {
        key(vtep, vni).map_or(NetId::NONE, |key| self.find(key))
    }

    /// As [`VniTable::lookup`]; `key` is what [`VniTable::of_vtep`] says, and the 24 bits of the VNI.
    #[inline(always)]
    pub fn lookup_of(&self, key: u32) -> NetId {
        self.find(key)
    }

    /// What the keys of a tunnel end have in common.
    pub fn of_vtep(vtep: VtepId) -> u32 {
        key(vtep, 0).unwrap_or(VniTable::NOWHERE)
    }

    #[inline(always)]
    fn find(&self, key: u32) -> NetId {
        let mut at = self.home(key);
        for _ in 0..=self.span {
            match self.slots.get(at & self.slots.len().wrapping_sub(1)) {
                Some(slot) if slot.key == key => return slot.net,
                Some(slot) if slot.key != 0 => at += 1,
                _ => break,
            }
        }
        NetId::NONE
    }

    /// Where the probe for a key begins: the upper bits of a product (Knuth, TAOCP 3, §6.4).
    #[inline]
    fn home(&self, key: u32) -> usize {
        (key.wrapping_mul(0x9e37_79b1)).wrapping_shr(self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn table(entries: &HashMap<(u16, u32), u16>) -> VniTable {
        let checked = |(&(vtep, vni), &net)| ((VtepId(vtep), Vni::new(vni).unwrap()), NetId(net));
        VniTable::build(entries.iter().map(checked))
    }

    #[test]
    fn an_empty_table_knows_no_network() {
        for vni in [0, 1, Vni::MAX, u32::MAX] {
            assert_eq!(VniTable::default().lookup(VtepId(0), vni), NetId::NONE);
            assert_eq!(table(&HashMap::new()).lookup(VtepId(0), vni), NetId::NONE);
        }
    }

    #[test]
    fn what_is_no_vni_is_no_network() {
        let table = table(&HashMap::from([((0, 1), 1), ((1, 1), 2)]));
        assert_eq!(table.lookup(VtepId(0), 0), NetId::NONE);
        assert_eq!(table.lookup(VtepId(1), 0), NetId::NONE);
        assert_eq!(table.lookup(VtepId(0), 1 << 24 | 1), NetId::NONE, "would be VTEP 1, VNI 1");
        assert_eq!(table.lookup(VtepId(256), 1), NetId::NONE, "would be VTEP 0, VNI 1");
    }

    #[test]
    fn ranges_of_vnis_on_several_vteps_keep_probes_short() {
        let entries: HashMap<_, _> =
            (0..8).flat_map(|vtep| (200..2_500).map(move |vni| ((vtep, vni), vni as u16))).collect();
        let table = table(&entries);
        assert!(table.span <= 16, "{} slots", table.span);
        assert!(entries.iter().all(|(&(vtep, vni), &net)| table.lookup(VtepId(vtep), vni) == NetId(net)));
    }

    proptest! {
        #[test]
        fn lookups_agree_with_a_map(
            entries in prop::collection::hash_map((0u16..64, 1..=Vni::MAX), any::<u16>(), 0..200),
            near in prop::collection::hash_map((0u16..3, 1u32..100), any::<u16>(), 0..200),
            others in prop::collection::vec((0u16..66, 0u32..120), 100),
        ) {
            let entries: HashMap<_, _> = entries.into_iter().chain(near).collect();
            let table = table(&entries);
            for (vtep, vni) in entries.keys().copied().chain(others) {
                let expected = NetId(entries.get(&(vtep, vni)).copied().unwrap_or(0));
                prop_assert_eq!(table.lookup(VtepId(vtep), vni), expected);
            }
        }
    }
}
