//! What control reads. Nothing here takes a lock: each row is right for a moment, the rows together may be of several.

use std::{collections::HashMap, sync::atomic::Ordering::Relaxed};

use super::{
    Nat, VmKey,
    block::{BlockId, Place, Record},
};
use crate::{
    table::nat::{BLOCK_PORTS, BLOCKS, FIRST_PORT, Inside, Space, Vip, ones},
    types::{VipId, VrfId},
};

/// What is used of each limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatUsage {
    /// VMs with sessions or ports.
    pub vms: usize,
    /// As many as there may be.
    pub vms_max: usize,
    /// Block records in use.
    pub blocks: usize,
    /// As many as there may be.
    pub blocks_max: usize,
}

/// A VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmView {
    /// Who.
    pub inside: Inside,
    /// Its sessions.
    pub sessions: u32,
    /// Its port blocks.
    pub blocks: u32,
}

/// A leased block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockView {
    /// Whose.
    pub inside: Inside,
    /// Of which public address.
    pub vip: VipId,
    /// Which ports.
    pub space: Space,
    /// The first of [`BLOCK_PORTS`] ports.
    pub first_port: u16,
    /// Ports in use, a bit each, the lowest bit for the first.
    pub used: u64,
    /// The port inside for each port; right only where `used` says so.
    inner: [u16; BLOCK_PORTS as usize],
    /// Sessions on them.
    pub sessions: u64,
}

impl BlockView {
    /// The ports in use: the one inside, and the public one that stands for it.
    pub fn mappings(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        ones(self.used).map(|slot| (self.inner[usize::from(slot)], self.first_port + slot))
    }
}

/// What SNAT uses of one space of a VIP, in ports. They add up to the ports from [`FIRST_PORT`] on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VipUsage {
    /// Sessions use them.
    pub used: u32,
    /// Free, in blocks of VMs that have them.
    pub leased: u32,
    /// Free for any VM.
    pub free: u32,
    /// Other services hold them, and SNAT does not use them.
    pub held: u32,
}

impl Nat {
    /// What is used of each limit. Cost: a few words.
    pub fn usage(&self) -> NatUsage {
        NatUsage {
            vms: self.vms.load(Relaxed),
            vms_max: self.limits.vms,
            blocks: self.limits.blocks - self.blocks.free(),
            blocks_max: self.limits.blocks,
        }
    }

    /// All VMs. Cost: a cache line per place for a VM, of which there are 2.5 times `vms_max`.
    pub fn vms(&self) -> impl Iterator<Item = VmView> + '_ {
        self.shards.iter().flat_map(|shard| shard.entries()).filter_map(|entry| {
            let key = entry.key()?;
            let view =
                VmView { inside: key.inside(), sessions: entry.sessions.get(), blocks: entry.blocks() };
            (entry.key() == Some(key)).then_some(view)
        })
    }

    /// All blocks in use. Cost: 1 cache line per record, 6 more per record in use.
    pub fn blocks(&self) -> impl Iterator<Item = BlockView> + '_ {
        self.blocks.records().iter().filter_map(Record::view)
    }

    /// The blocks in use among `count` records from `first` on, of [`NatUsage::blocks_max`] in all.
    pub fn blocks_among(&self, first: usize, count: usize) -> impl Iterator<Item = BlockView> + '_ {
        self.blocks.records().iter().skip(first).take(count).filter_map(Record::view)
    }

    /// The VMs that use most ports, with how many, at most `count`; the largest first. Allocates.
    pub fn largest(&self, count: usize) -> Vec<(Inside, u32)> {
        let mut ports: HashMap<Inside, u32> = HashMap::new();
        for block in self.blocks() {
            *ports.entry(block.inside).or_default() += block.used.count_ones();
        }
        let mut vms: Vec<_> = ports.into_iter().collect();
        vms.sort_unstable_by_key(|(inside, ports)| (u32::MAX - ports, inside.vrf, inside.address));
        vms.truncate(count);
        vms
    }

    /// How full a VIP is. Cost: a binary search per block, a cache line per leased one.
    pub fn vip_usage(&self, id: VipId, vip: &Vip, space: Space) -> VipUsage {
        let first = FIRST_PORT / BLOCK_PORTS;
        (first..BLOCKS as u16).fold(VipUsage::default(), |mut usage, block| {
            let place = Place { vip: id, space, block };
            let holder = vip.leases.holder(space, block).and_then(|id| self.blocks.get(BlockId(id)));
            let of_vm = holder.filter(|record| record.place() == Some(place));
            let used = of_vm.map_or(0, Record::used);
            let held = vip.held_in(space, block) & !used;
            let rest = !(used | held);
            usage.used += used.count_ones();
            usage.held += held.count_ones();
            match of_vm {
                Some(_) => usage.leased += rest.count_ones(),
                None => usage.free += rest.count_ones(),
            }
            usage
        })
    }

    /// Sessions of a VPC.
    pub fn vpc_sessions(&self, vrf: VrfId) -> u32 {
        self.vpcs.get(vrf.index()).map_or(0, |vpc| vpc.sessions.get())
    }
}

impl Record {
    /// The block, if it is somebody's and stays so while it is read.
    fn view(&self) -> Option<BlockView> {
        let identity = || -> Option<(VmKey, Place)> { Some((self.owner()?, self.place()?)) };
        let (owner, place) = identity()?;
        let used = self.used();
        let view = BlockView {
            inside: owner.inside(),
            vip: place.vip,
            space: place.space,
            first_port: place.first_port(),
            used,
            inner: std::array::from_fn(|slot| self.inner(slot as u16)),
            sessions: ones(used).map(|slot| u64::from(self.references(slot))).sum(),
        };
        (used != 0 && identity() == Some((owner, place))).then_some(view)
    }
}
