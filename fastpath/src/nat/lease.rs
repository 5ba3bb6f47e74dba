//! Which port a new mapping gets: a free one of the VM's blocks, else one of a new block.

use super::{
    Block, Lease, Mapping,
    block::{BlockId, Place, Record},
    vm::{Vips, Vm, vip_of},
};
use crate::{
    table::nat::{BLOCKS, FIRST_PORT, Snat, Space, Vip},
    types::VipId,
};

/// Why [`Vm::lease`] gives no port; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPort {
    /// The VM has `blocks_per_vm` blocks and no port of them is free, or twice as many with those that sessions of removed
    /// VIPs still use.
    VmBlocks,
    /// No VIP of the pool has a block left with a port that no other service holds.
    Vips,
    /// [`NatLimits::blocks`](super::NatLimits::blocks) are leased.
    BlockRecords,
}

/// Why [`Vm::adopt`] refuses a mapping; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdopted {
    /// The VIP is gone or has another address; or a port below [`FIRST_PORT`].
    Vip,
    /// Another service holds the port.
    Held,
    /// The block is another VM's.
    Taken,
    /// [`NatLimits::blocks`](super::NatLimits::blocks) are leased.
    BlockRecords,
}

/// What a walk along the VM's blocks found.
struct Walk {
    /// Blocks that new sessions may use.
    usable: usize,
    /// All of them.
    blocks: usize,
}

impl<'a> Vm<'a> {
    /// A new mapping of a port inside, held once. `seed` is a random number (RFC 6056): it chooses among the free ports of
    /// the VM's oldest block that has one, else among the free blocks of a VIP and their ports. The VIP is the one that the
    /// VM has blocks of, else one by the hash of the inside address, so that a VM keeps one public address (RFC 4787
    /// REQ-2); only where that has no block left, the next one of the pool.
    ///
    /// Ask [`Vm::mapping`] first: this leases another port for the same port inside.
    ///
    /// # Errors
    /// [`NoPort`].
    pub fn lease(
        &mut self,
        vips: &Vips,
        snat: &Snat,
        space: Space,
        inner_port: u16,
        seed: u64,
    ) -> Result<Lease, NoPort> {
        let mut walk = Walk { usable: 0, blocks: 0 };
        for (id, record) in self.chain(space) {
            walk.blocks += 1;
            let Some((place, vip)) = self.usable(vips, snat, id, record) else { continue };
            walk.usable += 1;
            let free = !record.used() & !vip.held_in(space, place.block);
            if let Some((slot, mapping)) = choose(free, seed).and_then(|s| Some((s, place.mapping(vip, s)?)))
            {
                record.open(slot, inner_port);
                return Ok(Lease { mapping, block: None });
            }
        }
        let most = usize::from(snat.blocks_per_vm);
        if walk.usable >= most || walk.blocks >= 2 * most {
            return Err(NoPort::VmBlocks);
        }
        let (id, record) = self.nat.blocks.take().ok_or(NoPort::BlockRecords)?;
        let Some(mapping) = self.lease_block(vips, snat, space, seed, id, record) else {
            self.nat.blocks.give(id, record);
            return Err(NoPort::Vips);
        };
        let (place, slot) = mapping.parts();
        record.open(slot, inner_port);
        self.link(space, id);
        Ok(Lease { mapping, block: Some(self.block(place, mapping)) })
    }

    /// Leases a free block for a record and chooses a port of it.
    fn lease_block(
        &self,
        vips: &Vips,
        snat: &Snat,
        space: Space,
        seed: u64,
        id: BlockId,
        record: &Record,
    ) -> Option<Mapping> {
        let start = (((seed >> 32) * BLOCKS as u64) >> 32) as u16;
        for vip_id in self.pool(vips, snat) {
            let Some(vip) = vip_of(vips, vip_id).filter(|vip| snat.may_lease(vip_id, vip)) else { continue };
            for block in vip.leases.free(space, start) {
                let place = Place { vip: vip_id, space, block };
                let slot = choose(!vip.held_in(space, block), seed);
                let Some(mapping) = slot.and_then(|slot| place.mapping(vip, slot)) else { continue };
                // One that sessions of the VM still use by an earlier VIP of this id.
                if self.chain(space).any(|(_, other)| other.place() == Some(place)) {
                    continue;
                }
                // Before the lease, so that who sees that sees whose it is.
                record.assign(self.key, place);
                if vip.leases.take(space, block, id.0) {
                    return Some(mapping);
                }
            }
        }
        None
    }

    /// The VIPs of a pool in the order in which this VM tries them. The first one may come twice.
    fn pool<'s>(&self, vips: &Vips, snat: &'s Snat) -> impl Iterator<Item = VipId> + use<'s> {
        let of_head = |space: &Space| {
            let (id, record) = self.chain(*space).next()?;
            self.usable(vips, snat, id, record).map(|(place, _)| place.vip)
        };
        let now = Space::ALL.iter().find_map(of_head);
        // Fixed, so that a restarted gateway and every other one chooses the same.
        let hash = (self.key.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        let count = snat.vips.len();
        now.into_iter().chain((0..count).map(move |n| snat.vips[(hash + n) % count]))
    }

    /// After a restart: holds a mapping that a surviving session uses, and leases its block if the VM does not have it yet
    /// (the block is returned then). The first one to adopt a port says for which port inside it stands; others that share it
    /// only hold it. No bound of blocks applies. Sessions are counted apart ([`Vm::readmit`]). The caller has asked whether the
    /// session [may go on](crate::stage::translation::is_legal).
    ///
    /// # Errors
    /// [`NotAdopted`]: the session cannot go on.
    pub fn adopt(
        &mut self,
        vips: &Vips,
        mapping: Mapping,
        inner_port: u16,
    ) -> Result<Option<Block>, NotAdopted> {
        let (place, slot) = mapping.parts();
        let vip = vip_of(vips, mapping.vip).filter(|vip| vip.address == mapping.address);
        let vip = vip.ok_or(NotAdopted::Vip)?;
        if mapping.port < FIRST_PORT {
            return Err(NotAdopted::Vip);
        }
        if vip.holds(mapping.space.protocol(), mapping.port) {
            return Err(NotAdopted::Held);
        }
        let ours = self.chain(place.space).find(|(_, record)| record.place() == Some(place));
        let (record, block) = match ours {
            // Ours in chain, and leased: now or by this.
            Some((id, record)) if self.takes(vip, place, id) => (record, None),
            Some(_) => return Err(NotAdopted::Taken),
            None => (self.adopt_block(vip, place)?, Some(self.block(place, mapping))),
        };
        match record.uses(slot) {
            true => record.hold(slot),
            false => record.open(slot, inner_port),
        }
        Ok(block)
    }

    /// Leases just this block.
    fn adopt_block(&mut self, vip: &Vip, place: Place) -> Result<&'a Record, NotAdopted> {
        let (id, record) = self.nat.blocks.take().ok_or(NotAdopted::BlockRecords)?;
        record.assign(self.key, place);
        if !vip.leases.take(place.space, place.block, id.0) {
            self.nat.blocks.give(id, record);
            return Err(NotAdopted::Taken);
        }
        self.link(place.space, id);
        Ok(record)
    }

    /// Whether a block of the VM is leased to it, now at the latest.
    fn takes(&self, vip: &Vip, Place { space, block, .. }: Place, id: BlockId) -> bool {
        vip.leases.holder(space, block) == Some(id.0) || vip.leases.take(space, block, id.0)
    }

    /// Puts a block at the end of its chain.
    fn link(&mut self, space: Space, id: BlockId) {
        match self.chain(space).last() {
            Some((_, last)) => last.set_next(Some(id)),
            None => self.entry.set_head(space, Some(id)),
        }
        self.entry.count_block(1);
    }
}

/// One of the free ports of a block: the first from a place by `seed` on.
fn choose(free: u64, seed: u64) -> Option<u16> {
    let turn = (seed % 64) as u32;
    let slot = (free.rotate_right(turn).trailing_zeros() + turn) % 64;
    (free != 0).then_some(slot as u16)
}
