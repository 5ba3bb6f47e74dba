//! A VM, locked: its mappings and its sessions. Leasing is in `lease.rs`.

use std::{net::Ipv4Addr, sync::Arc};

use super::{
    Block, Mapping, Nat, OverQuota, VmKey,
    block::{BlockId, Place, Record},
    quota::VpcUsage,
    shard::{Entry, Locked},
};
use crate::{
    prefetch,
    table::nat::{BLOCK_PORTS, Inside, Quotas, Snat, Space, Vip, ones},
    types::{Tick, VipId},
};

/// The state of one inside address, which nobody else changes until this is dropped. Made by [`Nat::vm`].
///
/// `vips` is always [`Tables::vips`](crate::table::Tables::vips) of the tables in force.
#[derive(Debug)]
pub struct Vm<'a> {
    pub(super) nat: &'a Nat,
    pub(super) entry: &'a Entry,
    pub(super) key: VmKey,
    vpc: &'a VpcUsage,
    slot: usize,
    /// Unlocks after everything else.
    locked: Locked<'a>,
}

/// The VIPs in force.
pub(super) type Vips = [Option<Arc<Vip>>];

/// The VIP of this id.
pub(super) fn vip_of(vips: &Vips, id: VipId) -> Option<&Vip> {
    vips.get(id.index())?.as_deref()
}

impl<'a> Vm<'a> {
    pub(super) fn new(
        nat: &'a Nat,
        locked: Locked<'a>,
        slot: usize,
        key: VmKey,
        vpc: &'a VpcUsage,
    ) -> Vm<'a> {
        Vm { nat, entry: locked.entry(slot), key, vpc, slot, locked }
    }

    /// Whose state it is.
    pub fn inside(&self) -> Inside {
        self.key.inside()
    }

    /// Sessions admitted and not ended.
    pub fn sessions(&self) -> u32 {
        self.entry.sessions.get()
    }

    /// Port blocks of all spaces.
    pub fn blocks(&self) -> u32 {
        self.entry.blocks()
    }

    /// The public port that stands for a port inside towards every remote (RFC 4787 REQ-1); `None` until one is leased, and
    /// where the one there is must not be used: its VIP is not in the pool (any more), or another service holds the port.
    /// Nothing is held by asking. Cost: 3 cache lines per block of the VM.
    pub fn mapping(&self, vips: &Vips, snat: &Snat, space: Space, inner_port: u16) -> Option<Mapping> {
        self.chain(space).find_map(|(id, record)| {
            let mut slots = record.slots_of(inner_port).peekable();
            slots.peek()?;
            let (place, vip) = self.usable(vips, snat, id, record)?;
            slots.find_map(|slot| place.mapping(vip, slot))
        })
    }

    /// All public ports of the VM in a space that may be used, in an order rotated by `seed`. For a VM that has no port left:
    /// look for one that has no session with the wanted remote, then [`Vm::hold`] it. It stays the mapping of the port it was
    /// leased for, towards new remotes and for filtering. May be 64 per block; bound how many you look at.
    pub fn leased<'v>(
        &'v self,
        vips: &'v Vips,
        snat: &'v Snat,
        space: Space,
        seed: u64,
    ) -> impl Iterator<Item = Mapping> + 'v {
        let chain = self.chain(space);
        let blocks = chain.clone().count();
        let (skip, turn) = ((seed >> 32) as usize % blocks.max(1), (seed % 64) as u32);
        chain.cycle().skip(skip).take(blocks).flat_map(move |(id, record)| {
            let usable = self.usable(vips, snat, id, record);
            usable.into_iter().flat_map(move |(place, vip)| {
                let slots = ones(record.used().rotate_right(turn));
                slots.filter_map(move |bit| place.mapping(vip, (bit + turn as u16) % BLOCK_PORTS))
            })
        })
    }

    /// The port inside that a public port of this VM stands for; `None` when it is not leased to this VM now. Says for sure
    /// what [`Nat::owner`] hints. Cost: 3 cache lines.
    pub fn inner_port(&self, vips: &Vips, mapping: Mapping) -> Option<u16> {
        let (_, record, slot) = self.leased_slot(vips, mapping)?;
        Some(record.inner(slot))
    }

    /// One more session on a port that is in use. False, and nothing changed, when it is not this VM's, or nobody holds it.
    #[must_use]
    pub fn hold(&mut self, vips: &Vips, mapping: Mapping) -> bool {
        let slot = self.held_slot(vips, mapping);
        slot.inspect(|(_, record, slot)| record.hold(*slot)).is_some()
    }

    /// One session less on a port. With the last one the port is free; with the last port its block is given back, which is
    /// returned for the log. Nothing happens with a port that this VM does not hold.
    pub fn release(&mut self, vips: &Vips, mapping: Mapping) -> Option<Block> {
        let (id, record, slot) = self.held_slot(vips, mapping)?;
        if !record.release(slot) {
            return None;
        }
        let place = record.place()?;
        self.unlink(place.space, id);
        if let Some(vip) = vip_of(vips, place.vip) {
            vip.leases.give_back(place.space, place.block, id.0);
        }
        self.nat.blocks.give(id, record);
        Some(self.block(place, mapping))
    }

    /// As [`Vm::release`], for a port of `vip`, or of a VIP that is gone.
    pub fn release_port(
        &mut self,
        vips: &Vips,
        vip: Option<VipId>,
        space: Space,
        port: u16,
    ) -> Option<Block> {
        let (block, slot) = (port / BLOCK_PORTS, port % BLOCK_PORTS);
        let gone = || {
            let mut places = self.chain(space).filter(|(_, record)| record.uses(slot));
            places.find_map(|(_, record)| {
                record.place().filter(|place| place.block == block && vip_of(vips, place.vip).is_none())
            })
        };
        // One that was removed and is back has another number.
        let here = |vip: &VipId| {
            let mapping = Mapping { vip: *vip, address: Ipv4Addr::UNSPECIFIED, space, port };
            self.held_slot(vips, mapping).is_some()
        };
        let vip = vip.filter(here).or_else(|| gone().map(|place| place.vip))?;
        let address = vip_of(vips, vip).map_or(Ipv4Addr::UNSPECIFIED, |vip| vip.address);
        self.release(vips, Mapping { vip, address, space, port })
    }

    /// Counts a new session of the VM and of its VPC.
    ///
    /// # Errors
    /// [`OverQuota`]; nothing was counted.
    pub fn admit(&mut self, quotas: &Quotas, now: Tick) -> Result<(), OverQuota> {
        let Vm { entry, vpc, .. } = self;
        if entry.sessions.get() >= quotas.vm_sessions {
            return Err(OverQuota::VmSessions);
        }
        if !entry.rate.allows(quotas.vm_new_per_s, now) {
            return Err(OverQuota::VmRate);
        }
        if !vpc.sessions.begin(quotas.sessions) {
            return Err(OverQuota::VpcSessions);
        }
        if !vpc.rate.take(quotas.new_per_s, now) {
            vpc.sessions.end();
            return Err(OverQuota::VpcRate);
        }
        // Nobody else counts for this VM, so both have room still.
        entry.sessions.begin(quotas.vm_sessions);
        entry.rate.take(quotas.vm_new_per_s, now);
        Ok(())
    }

    /// Counts a session that survived a restart: no quota refuses it.
    pub fn readmit(&mut self) {
        self.entry.sessions.begin(u32::MAX);
        self.vpc.sessions.begin(u32::MAX);
    }

    /// Uncounts a session. Nothing happens when the VM has none.
    pub fn end(&mut self) {
        if self.entry.sessions.end() {
            self.vpc.sessions.end();
        }
    }

    /// The VM's blocks of a space, oldest first. The next one is asked for while one is worked on.
    pub(super) fn chain(
        &self,
        space: Space,
    ) -> impl Iterator<Item = (BlockId, &'a Record)> + Clone + use<'a> {
        let nat = self.nat;
        let with_record = move |id: BlockId| nat.blocks.get(id).map(|record| (id, record));
        std::iter::successors(self.entry.head(space).and_then(with_record), move |(_, record)| {
            let next = record.next().and_then(with_record);
            next.inspect(|(_, record)| prefetch::read(*record))
        })
    }

    /// The VIP of one of the VM's blocks, if new sessions may use it.
    pub(super) fn usable<'v>(
        &self,
        vips: &'v Vips,
        snat: &Snat,
        id: BlockId,
        record: &Record,
    ) -> Option<(Place, &'v Vip)> {
        let place = record.place()?;
        let vip = vip_of(vips, place.vip)?;
        let leased = vip.leases.holder(place.space, place.block) == Some(id.0);
        (snat.may_lease(place.vip, vip) && leased).then_some((place, vip))
    }

    /// A port that is leased to this VM and in use.
    fn leased_slot(&self, vips: &Vips, mapping: Mapping) -> Option<(BlockId, &'a Record, u16)> {
        let (place, slot) = mapping.parts();
        let vip = vip_of(vips, mapping.vip)?;
        let id = BlockId(vip.leases.holder(place.space, place.block)?);
        let record = self.nat.blocks.get(id)?;
        let ours = record.owner() == Some(self.key) && record.place() == Some(place);
        (ours && record.uses(slot)).then_some((id, record, slot))
    }

    /// A port of this VM that is in use, leased or with its VIP gone. A VM never has two blocks of one place.
    fn held_slot(&self, vips: &Vips, mapping: Mapping) -> Option<(BlockId, &'a Record, u16)> {
        let (place, slot) = mapping.parts();
        let in_chain = || {
            let found = self.chain(place.space).find(|(_, record)| record.place() == Some(place));
            found.filter(|(_, record)| record.uses(slot)).map(|(id, record)| (id, record, slot))
        };
        self.leased_slot(vips, mapping).or_else(in_chain)
    }

    /// Takes a block out of its chain.
    fn unlink(&mut self, space: Space, id: BlockId) {
        let next = self.nat.blocks.get(id).and_then(Record::next);
        match self.chain(space).find(|(_, before)| before.next() == Some(id)) {
            Some((_, before)) => before.set_next(next),
            None => self.entry.set_head(space, next),
        }
        self.entry.count_block(-1);
    }

    /// The event of a block of this VM.
    pub(super) fn block(&self, place: Place, mapping: Mapping) -> Block {
        Block {
            inside: self.inside(),
            vip: place.vip,
            address: mapping.address,
            space: place.space,
            first_port: place.first_port(),
        }
    }
}

impl Drop for Vm<'_> {
    fn drop(&mut self) {
        if self.entry.is_idle() {
            self.locked.remove(self.slot);
            self.nat.leave();
        }
    }
}

impl Place {
    /// A port of the block as a mapping, unless another service holds it.
    pub(super) fn mapping(self, vip: &Vip, slot: u16) -> Option<Mapping> {
        let Place { vip: id, space, .. } = self;
        let port = self.first_port() + slot;
        let mapping = Mapping { vip: id, address: vip.address, space, port };
        (!vip.holds(space.protocol(), port)).then_some(mapping)
    }
}

impl Mapping {
    /// Which block, and which port of it.
    pub(super) const fn parts(self) -> (Place, u16) {
        let place = Place { vip: self.vip, space: self.space, block: self.port / BLOCK_PORTS };
        (place, self.port % BLOCK_PORTS)
    }
}
