//! The ports of SNAT: which public port stands for which endpoint inside, for as long as sessions use it.
//!
//! Ports are leased in *blocks*: 64 consecutive ports of one space (TCP, UDP, ICMP query ids) of one VIP, to one VM. A VM
//! has a chain of blocks per space, so that logs say who had a block rather than who had a port, and one VM takes no more
//! of a pool than [`Snat::blocks_per_vm`](crate::table::nat::Snat::blocks_per_vm). The mapping of an endpoint is
//! independent of the remote (RFC 4787 REQ-1, RFC 5382 REQ-1, RFC 5508 REQ-1) as long as the VM has a port left; after
//! that the caller uses leased ports again towards other remotes ([`Vm::leased`]).
//!
//! This module knows no packets, no I/O and no clock. It does not know sessions either: the caller holds a mapping once per
//! session ([`Vm::lease`], [`Vm::hold`]) and releases it as often. When nobody holds a port it is free; with its last port
//! a block is given back at once.
//!
//! Port blocks that fell free: another VM gets one of them by a pseudo-random choice among all free blocks of the VIP, so
//! there is no quarantine of its own. A port becomes free only when its last session has been idle for its timeout, which
//! is the time that RFC 4787 REQ-5 and RFC 5382 REQ-5 ask for; port numbers are hard to guess (RFC 6056) as long as the
//! caller's seeds are.
//!
//! # What can be refused
//! | limit | where | answer |
//! |---|---|---|
//! | [`NatLimits::vms`], [`NatLimits::vrfs`] | [`Nat::vm`] | [`NoVm::Full`] |
//! | another worker has the VM | [`Nat::vm`] | [`NoVm::Busy`] |
//! | `Snat::blocks_per_vm` | [`Vm::lease`] | [`NoPort::VmBlocks`] |
//! | ports of all VIPs of the pool | [`Vm::lease`] | [`NoPort::Vips`] |
//! | [`NatLimits::blocks`] | [`Vm::lease`] | [`NoPort::BlockRecords`] |
//! | [`Quotas`](crate::table::nat::Quotas) | [`Vm::admit`] | [`OverQuota`] |
//!
//! # Who writes what
//! A VM belongs to a *shard* of 56 by a keyed hash. All state of a VM, its chains and its block records are written only
//! under the try-lock of its shard, which [`Vm`] is. All words are atomics, so that others may look without the lock; what
//! they see is a hint.
//!
//! | word | written by | ordering | read without lock by |
//! |---|---|---|---|
//! | `Shard::lock` | any worker | acquire, release | - |
//! | `Shard::tags`, `Entry::*` | who has the shard | relaxed, ordered by the lock | control |
//! | `Record::owner`, `place` | who took the record from the free list, before it is leased; who returns it | release | `Nat::owner`, control |
//! | `Record::used` | who has the owner's shard | release, after `inner` | `Nat::owner`, control |
//! | `Record::inner`, `references`, `next` | who has the owner's shard | relaxed, ordered by the lock | `Nat::owner`, control |
//! | [`Leases`](crate::table::nat::Leases) | the worker that leases or gives back: an atomic bit decides | acquire, release | anybody |
//! | free list of records | any worker | lock-free queue | - |
//! | VPC usage, number of VMs | any worker, with each session or VM | atomic add, compare-exchange | control |
//!
//! Nobody waits: a lock is tried 64 times (a few microseconds), then the answer is `Busy`. A worker has one [`Vm`] at a
//! time; a second one in the same shard would be `Busy` for as long as it keeps the first.
//!
//! # Configuration changes
//! The VIPs come in with each call. A block whose VIP left the pool or the configuration, or whose `Leases` were replaced,
//! gives no mapping any more; its references are released as ever. A port that another service holds now gives no mapping
//! and is not leased. While control publishes, a worker with the older tables may lease for one more burst by them; the new
//! generation makes every session be decided again.
//!
//! # Cost and memory
//! | what | cache lines | |
//! |---|---|---|
//! | [`Nat::vm`] | 2 | tags with lock, entry |
//! | [`Vm::mapping`] | 3 per block of the VM | 16 words compared, four ports each |
//! | [`Vm::lease`] in an own block | 1 per full block before it, 4 | |
//! | [`Vm::lease`] of a new block | 5, and 3 per used-up VIP before it | at most 17 bitmap words per VIP |
//! | [`Vm::hold`], [`Vm::release`] | 3 | |
//! | [`Nat::owner`] | 3 | |
//!
//! 163 bytes per VM (64 of the entry, 2.5 entries per VM so that no shard is full before the table is, and their part of the
//! lock line), 464 bytes per block record (448 and its place in the free list; 7.3 bytes per port), 64 bytes per VPC. All of it
//! is allocated and touched at start, nothing later.

mod block;
mod lease;
mod quota;
mod shard;
#[cfg(test)]
mod tests;
mod usage;
mod vm;

use std::{
    hash::{BuildHasher, RandomState as OsKeyed},
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use self::{
    block::{BlockId, Blocks, Place},
    quota::VpcUsage,
    shard::{SHARD_VMS, Shard},
};
pub use self::{
    lease::{NoPort, NotAdopted},
    quota::OverQuota,
    usage::{BlockView, NatUsage, VipUsage, VmView},
    vm::Vm,
};
use crate::{
    table::nat::{BLOCK_PORTS, Inside, Space, Vip},
    types::{VipId, VrfId},
};

/// How much there is of each; fixed at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatLimits {
    /// VMs that have sessions or ports at one time.
    pub vms: usize,
    /// Port blocks leased at one time; at most 2^31.
    pub blocks: usize,
    /// Routing tables: `VrfId`s are below this.
    pub vrfs: usize,
}

/// The state of port translation, shared by all workers and control.
#[derive(Debug)]
pub struct Nat {
    limits: NatLimits,
    /// Keyed at random: tenants, who choose their addresses, cannot aim at one shard.
    hasher: ahash::RandomState,
    shards: Box<[Shard]>,
    blocks: Blocks,
    vpcs: Box<[VpcUsage]>,
    /// Entries in use.
    vms: AtomicUsize,
}

/// A public port (or ICMP query id) that stands for an endpoint inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The public address, by id.
    pub vip: VipId,
    /// The public address.
    pub address: Ipv4Addr,
    /// Whose port.
    pub space: Space,
    /// The public port.
    pub port: u16,
}

/// What [`Vm::lease`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The mapping, held once.
    pub mapping: Mapping,
    /// The block, if it was leased just now: an event for the log.
    pub block: Option<Block>,
}

/// A port block and its VM: what the log says when it is leased and when it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The VM.
    pub inside: Inside,
    /// The public address, by id.
    pub vip: VipId,
    /// The public address.
    pub address: Ipv4Addr,
    /// Whose ports.
    pub space: Space,
    /// The first of [`BLOCK_PORTS`] ports.
    pub first_port: u16,
}

/// Why there is no [`Vm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoVm {
    /// Another worker has it, or a VM of the same shard. Passes by itself.
    Busy,
    /// There are [`NatLimits::vms`] already, or its routing table is not below [`NatLimits::vrfs`].
    Full,
}

/// An inside address as one word, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct VmKey(u64);

impl VmKey {
    const PRESENT: u64 = 1 << 63;

    fn of(inside: Inside) -> VmKey {
        VmKey(VmKey::PRESENT | u64::from(inside.vrf.0) << 32 | u64::from(u32::from(inside.address)))
    }

    /// From a stored word; `None` for 0.
    fn from_word(word: u64) -> Option<VmKey> {
        (word & VmKey::PRESENT != 0).then_some(VmKey(word))
    }

    fn inside(self) -> Inside {
        Inside { vrf: VrfId((self.0 >> 32) as u16), address: Ipv4Addr::from_bits(self.0 as u32) }
    }
}

impl Nat {
    /// Everything there will ever be, free.
    pub fn new(limits: NatLimits) -> Arc<Nat> {
        let os = OsKeyed::new();
        let [a, b, c, d] = [0u64, 1, 2, 3].map(|n| os.hash_one(n));
        // A shard then has 22 VMs on average when the table is full; one of 10^9 shards has more than it takes.
        let shards = (limits.vms * 5).div_ceil(2 * SHARD_VMS).max(1);
        Arc::new(Nat {
            limits,
            hasher: ahash::RandomState::with_seeds(a, b, c, d),
            shards: (0..shards).map(|_| Shard::default()).collect(),
            blocks: Blocks::new(limits.blocks),
            vpcs: (0..limits.vrfs).map(|_| VpcUsage::default()).collect(),
            vms: AtomicUsize::new(0),
        })
    }

    /// The VM of an inside address, to change or read it. Others find it (and the rest of its shard) busy until it is
    /// dropped. A VM without sessions and blocks is forgotten then.
    ///
    /// # Errors
    /// [`NoVm`]; nothing was changed.
    pub fn vm(&self, inside: Inside) -> Result<Vm<'_>, NoVm> {
        let vpc = self.vpcs.get(inside.vrf.index()).ok_or(NoVm::Full)?;
        let key = VmKey::of(inside);
        let (shard, tag) = self.home(key);
        let locked = shard.try_lock().ok_or(NoVm::Busy)?;
        let slot = match locked.find(tag, key) {
            Some(slot) => slot,
            None => self.enter(|| locked.insert(tag, key)).ok_or(NoVm::Full)?,
        };
        Ok(Vm::new(self, locked, slot, key, vpc))
    }

    /// As [`Nat::vm`], but `None` for a VM that has no session and no block.
    ///
    /// # Errors
    /// [`NoVm::Busy`].
    pub fn find(&self, inside: Inside) -> Result<Option<Vm<'_>>, NoVm> {
        let Some(vpc) = self.vpcs.get(inside.vrf.index()) else { return Ok(None) };
        let key = VmKey::of(inside);
        let (shard, tag) = self.home(key);
        let locked = shard.try_lock().ok_or(NoVm::Busy)?;
        let slot = locked.find(tag, key);
        Ok(slot.map(|slot| Vm::new(self, locked, slot, key, vpc)))
    }

    /// Whose port that is, for packets that come without a session (endpoint-independent filtering): the VM and its port.
    /// Read without a lock, so only a hint: lock the VM and ask [`Vm::inner_port`]. Cost: 3 cache lines.
    pub fn owner(&self, id: VipId, vip: &Vip, space: Space, port: u16) -> Option<(Inside, u16)> {
        let place = Place { vip: id, space, block: port / BLOCK_PORTS };
        let record = self.blocks.get(BlockId(vip.leases.holder(space, place.block)?))?;
        let inside = record.owner()?.inside();
        let slot = port % BLOCK_PORTS;
        let used = record.place() == Some(place) && record.uses(slot);
        used.then(|| (inside, record.inner(slot)))
    }

    /// The shard of a VM and its tag there.
    fn home(&self, key: VmKey) -> (&Shard, u8) {
        let hash = self.hasher.hash_one(key.0);
        let shard = (u128::from(hash) * self.shards.len() as u128) >> 64;
        // The lowest bits, which say least about the shard.
        (&self.shards[shard as usize], (hash as u8).max(1))
    }

    /// Counts a VM that `insert` finds room for.
    fn enter(&self, insert: impl FnOnce() -> Option<usize>) -> Option<usize> {
        let below = |vms| (vms < self.limits.vms).then_some(vms + 1);
        self.vms.fetch_update(Relaxed, Relaxed, below).ok()?;
        let slot = insert();
        if slot.is_none() {
            self.leave();
        }
        slot
    }

    /// Uncounts a VM.
    fn leave(&self) {
        self.vms.fetch_sub(1, Relaxed);
    }
}
