//! What control publishes for address translation: who owns a public address (VIP), and by which addresses the packets of
//! a VPC leave. Nothing here depends on the order in which objects were configured: [`Vip::owner`] is the one function
//! that says who owns a port, and what another service holds is never leased to SNAT.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use ipnet::Ipv4Net;

use crate::types::{NetId, VipId, VrfId};

/// An address inside a VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inside {
    /// The VPC's routing table.
    pub vrf: VrfId,
    /// The address there.
    pub address: Ipv4Addr,
}

/// A public address.
#[derive(Clone, Debug)]
pub struct Vip {
    /// The public network it is on.
    pub net: NetId,
    /// The address.
    pub address: Ipv4Addr,
    /// The VM that has the whole address (one-to-one); nothing else uses it then.
    pub eip: Option<Inside>,
    /// Port forwards, sorted by slice; they do not overlap.
    pub forwards: Box<[Forward]>,
    /// Slices that SNAT must not lease: those of every other service. Sorted, not overlapping.
    pub held: Box<[Slice]>,
    /// What SNAT leased; shared by all generations of the VIP.
    pub leases: Arc<Leases>,
}

/// Ports of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slice {
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
    /// First port.
    pub first: u16,
    /// Last port, included.
    pub last: u16,
}

impl Slice {
    /// Whether `port` of `protocol` is in it.
    pub const fn contains(&self, protocol: u8, port: u16) -> bool {
        self.protocol == protocol && self.first <= port && port <= self.last
    }
}

/// A port forward: a slice of a VIP to as many ports of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// What is forwarded.
    pub slice: Slice,
    /// To whom.
    pub to: Inside,
    /// To which port the first one goes; the others follow.
    pub to_first: u16,
    /// Who may use it; 0.0.0.0/0 for everybody.
    pub allowed: Ipv4Net,
}

impl Forward {
    /// The VM's port for a port of the slice.
    pub const fn target_port(&self, port: u16) -> u16 {
        self.to_first.wrapping_add(port.wrapping_sub(self.slice.first))
    }
}

/// Who owns a port of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// The VM with the whole address.
    Eip(Inside),
    /// A port forward.
    Forward(&'a Forward),
    /// SNAT, leased or not.
    Snat,
    /// Another service.
    Other,
}

impl Vip {
    /// Who owns `port` of `protocol`. Protocols without ports have port 0. Cost: two binary searches.
    pub fn owner(&self, protocol: u8, port: u16) -> Owner<'_> {
        if let Some(inside) = self.eip {
            return Owner::Eip(inside);
        }
        let at = self.forwards.partition_point(|f| (f.slice.protocol, f.slice.last) < (protocol, port));
        match self.forwards.get(at) {
            Some(forward) if forward.slice.contains(protocol, port) => Owner::Forward(forward),
            _ if self.holds(protocol, port) => Owner::Other,
            _ => Owner::Snat,
        }
    }

    /// Whether another service than SNAT holds `port` of `protocol`.
    pub fn holds(&self, protocol: u8, port: u16) -> bool {
        let at = self.held.partition_point(|slice| (slice.protocol, slice.last) < (protocol, port));
        self.held.get(at).is_some_and(|slice| slice.contains(protocol, port))
    }

    /// The ports of a block that other services hold, as a bitmap; `block` is below [`BLOCKS`]. Cost: a binary search.
    pub fn held_in(&self, space: Space, block: u16) -> u64 {
        let (protocol, first) = (space.protocol(), block * BLOCK_PORTS);
        let last = first + (BLOCK_PORTS - 1);
        let at = self.held.partition_point(|slice| (slice.protocol, slice.last) < (protocol, first));
        let here = self.held[at..].iter().take_while(|s| s.protocol == protocol && s.first <= last);
        here.fold(0, |held, slice| {
            let (from, to) = (slice.first.max(first) - first, slice.last.min(last) - first);
            held | u64::MAX >> (63 - (to - from)) << from
        })
    }
}

/// Which pool of addresses many inside addresses share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snat {
    /// Tried in this order, rotated by the inside address; all on one public network.
    pub vips: Box<[VipId]>,
    /// Most port blocks that one VM gets per protocol; then its public ports are used again towards other remotes.
    pub blocks_per_vm: u16,
    /// It serves packets to its VIP itself ([`Exit::hairpin`]), so that may be a VM's own address too: towards itself, nobody
    /// but that VM uses it, and it gives way.
    pub hairpin: bool,
}

impl Snat {
    /// Whether ports of a VIP may be leased to who is behind this pool.
    pub fn may_lease(&self, id: VipId, vip: &Vip) -> bool {
        self.vips.contains(&id) && (self.hairpin || vip.eip.is_none())
    }
}

/// How packets of a VPC leave to public networks, where its routes lead out ([`Hop::Exit`](super::fib::Hop::Exit)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// VMs with an address of their own, sorted by inside address.
    pub eips: Box<[(Ipv4Addr, VipId)]>,
    /// SNAT of single networks, sorted by network.
    pub by_net: Box<[(NetId, Arc<Snat>)]>,
    /// SNAT of the rest of the VPC.
    pub rest: Option<Arc<Snat>>,
    /// By what a VM that no EIP or SNAT serves reaches a VIP of its own VPC (hairpin): from that VIP itself. Sorted by the
    /// VIP's address.
    pub hairpin: Box<[(Ipv4Addr, Arc<Snat>)]>,
    /// VMs that a service leads to by ports (a port forward), each with the IP protocol. Sorted.
    pub served: Box<[(Ipv4Addr, u8)]>,
}

/// How a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave<'a> {
    /// As this whole address.
    Eip(VipId),
    /// Behind shared addresses.
    Snat(&'a Snat),
}

impl Exit {
    /// How packets of `source`, which came from `net`, leave for `destination`; `None` where nothing translates them.
    pub fn leave(&self, net: NetId, source: Ipv4Addr, destination: Ipv4Addr) -> Option<Leave<'_>> {
        if let Ok(at) = self.eips.binary_search_by_key(&source, |(address, _)| *address) {
            return Some(Leave::Eip(self.eips[at].1));
        }
        let of_net = self.by_net.binary_search_by_key(&net, |(id, _)| *id).ok().map(|at| &self.by_net[at].1);
        let hairpin = || {
            let at = self.hairpin.binary_search_by_key(&destination, |(address, _)| *address).ok()?;
            Some(&self.hairpin[at].1)
        };
        of_net.or(self.rest.as_ref()).or_else(hairpin).map(|snat| Leave::Snat(snat))
    }

    /// Whether a service leads to ports of this VM and protocol: what it sends may be an answer, and only its ports say so.
    pub fn serves(&self, vm: Ipv4Addr, protocol: u8) -> bool {
        self.served.binary_search(&(vm, protocol)).is_ok()
    }
}

/// Bounds of a VPC and of each of its VMs; `u32::MAX` for none. A session is a translated connection (SNAT, port forward).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Sessions of the VPC.
    pub sessions: u32,
    /// New sessions of the VPC per second.
    pub new_per_s: u32,
    /// Sessions of one VM.
    pub vm_sessions: u32,
    /// New sessions of one VM per second.
    pub vm_new_per_s: u32,
}

impl Default for Quotas {
    fn default() -> Quotas {
        Quotas { sessions: u32::MAX, new_per_s: u32::MAX, vm_sessions: u32::MAX, vm_new_per_s: u32::MAX }
    }
}

/// What workers tell the session log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logged {
    /// Nothing.
    #[default]
    Nothing,
    /// Port blocks: who has which ports of a VIP.
    Blocks,
    /// These, and every session.
    Sessions,
}

/// Ports in a block.
pub const BLOCK_PORTS: u16 = 64;
/// Blocks of a VIP per protocol, including those below [`FIRST_PORT`].
pub const BLOCKS: usize = 65_536 / BLOCK_PORTS as usize;
/// The lowest port that SNAT leases (RFC 4787 REQ-3: not a well-known port for one that was not).
pub const FIRST_PORT: u16 = 1024;

/// The port spaces of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// TCP ports.
    Tcp,
    /// UDP ports.
    Udp,
    /// ICMP query identifiers.
    Icmp,
}

impl Space {
    /// All of them.
    pub const ALL: [Space; 3] = [Space::Tcp, Space::Udp, Space::Icmp];

    /// The space of an IP protocol; `None` where there are no ports.
    pub const fn of(protocol: u8) -> Option<Space> {
        match protocol {
            1 => Some(Space::Icmp),
            6 => Some(Space::Tcp),
            17 => Some(Space::Udp),
            _ => None,
        }
    }

    /// The IP protocol number.
    pub const fn protocol(self) -> u8 {
        match self {
            Space::Icmp => 1,
            Space::Tcp => 6,
            Space::Udp => 17,
        }
    }
}

/// Blocks below this one are never leased: their ports are below [`FIRST_PORT`].
const FIRST_BLOCK: u16 = FIRST_PORT / BLOCK_PORTS;
/// Blocks that may be leased.
const LEASABLE: usize = BLOCKS - FIRST_BLOCK as usize;
/// Words of a space's bitmap.
const BITMAP_WORDS: usize = BLOCKS / 64;

/// Which port blocks of a VIP are leased, and to whom. A worker leases with one atomic operation and finds a free block
/// by reading at most 17 words, one where there is none; 12.4 KiB per VIP.
///
/// A VIP that is removed and comes back gets new `Leases`: nobody gives blocks back to a VIP that is not there.
#[derive(Debug)]
pub struct Leases {
    /// A bit per space and block: set first, cleared last. It decides who gets a block.
    taken: Box<[AtomicU64]>,
    /// By space and block the holder plus one, 0 for none. Written by who set the bit.
    holders: Box<[AtomicU32]>,
    /// Leased blocks by space. Never more than bits are set: counted after a bit is set and before it is cleared.
    used: [AtomicU32; Space::ALL.len()],
}

impl Default for Leases {
    fn default() -> Leases {
        Leases {
            taken: (0..Space::ALL.len() * BITMAP_WORDS).map(|_| AtomicU64::new(0)).collect(),
            holders: (0..Space::ALL.len() * BLOCKS).map(|_| AtomicU32::new(0)).collect(),
            used: Default::default(),
        }
    }
}

impl Leases {
    /// The word of a block of ports. `block` is below [`BLOCKS`].
    fn word(&self, space: Space, block: u16) -> &AtomicU32 {
        &self.holders[space as usize * BLOCKS + usize::from(block) % BLOCKS]
    }

    /// The bitmap word of a block, and its bit there.
    fn bit(&self, space: Space, block: u16) -> (&AtomicU64, u64) {
        let word = usize::from(block) % BLOCKS / 64;
        (&self.taken[space as usize * BITMAP_WORDS + word], 1 << (block % 64))
    }

    /// Who has the block: the number that [`Leases::take`] stored.
    pub fn holder(&self, space: Space, block: u16) -> Option<u32> {
        self.word(space, block).load(Ordering::Acquire).checked_sub(1)
    }

    /// Leases a free block to `holder` (below `u32::MAX`). False when somebody has it.
    pub fn take(&self, space: Space, block: u16, holder: u32) -> bool {
        let (word, bit) = self.bit(space, block);
        if word.fetch_or(bit, Ordering::AcqRel) & bit != 0 {
            return false;
        }
        self.used[space as usize].fetch_add(1, Ordering::Relaxed);
        self.word(space, block).store(holder + 1, Ordering::Release);
        true
    }

    /// Ends the lease of `holder`; nothing happens where it has none.
    pub fn give_back(&self, space: Space, block: u16, holder: u32) {
        let word = self.word(space, block);
        if word.compare_exchange(holder + 1, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            let (word, bit) = self.bit(space, block);
            self.used[space as usize].fetch_sub(1, Ordering::Relaxed);
            word.fetch_and(!bit, Ordering::Release);
        }
    }

    /// Blocks that may be leased and are not, from block `start` on and around once. One that another worker takes
    /// meanwhile may still come.
    pub fn free(&self, space: Space, start: u16) -> impl Iterator<Item = u16> + '_ {
        let (first, below) = (usize::from(start) % BLOCKS / 64, (1u64 << (start % 64)) - 1);
        let steps = if self.used(space) == LEASABLE { 0 } else { BITMAP_WORDS + 1 };
        (0..steps).flat_map(move |step| {
            let at = (first + step) % BITMAP_WORDS;
            let mut free = !self.taken[space as usize * BITMAP_WORDS + at].load(Ordering::Relaxed);
            if at == 0 {
                free &= !((1 << FIRST_BLOCK) - 1);
            }
            match step {
                0 => free &= !below,
                BITMAP_WORDS => free &= below,
                _ => {}
            }
            ones(free).map(move |bit| (at * 64) as u16 + bit)
        })
    }

    /// Blocks of a space that are leased. Cost: one word.
    pub fn used(&self, space: Space) -> usize {
        self.used[space as usize].load(Ordering::Relaxed) as usize
    }
}

/// The bits of a word that are set, lowest first.
pub(crate) fn ones(mut word: u64) -> impl Iterator<Item = u16> + Clone {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros() as u16;
        (word != 0).then(|| {
            word &= word - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(eip: Option<Inside>) -> Vip {
        let slice = |protocol, first, last| Slice { protocol, first, last };
        let to = Inside { vrf: VrfId(1), address: Ipv4Addr::new(192, 168, 20, 5) };
        let forward = |slice, to_first| Forward { slice, to, to_first, allowed: Ipv4Net::default() };
        Vip {
            net: NetId(1),
            address: Ipv4Addr::new(203, 0, 113, 93),
            eip,
            forwards: [forward(slice(6, 2222, 2224), 23), forward(slice(17, 53, 53), 5353)].into(),
            held: [slice(6, 80, 80), slice(6, 2222, 2224), slice(17, 53, 53)].into(),
            leases: Arc::default(),
        }
    }

    #[test]
    fn each_port_has_one_owner() {
        let shared = vip(None);
        let name = |protocol, port| match shared.owner(protocol, port) {
            Owner::Eip(_) => "eip".into(),
            Owner::Forward(forward) => format!("forward {}", forward.target_port(port)),
            Owner::Snat => "snat".into(),
            Owner::Other => "other".into(),
        };
        let cases = [
            (6, 79, "snat"),
            (6, 80, "other"),
            (6, 81, "snat"),
            (6, 2221, "snat"),
            (6, 2222, "forward 23"),
            (6, 2224, "forward 25"),
            (6, 2225, "snat"),
            (17, 80, "snat"),
            (17, 53, "forward 5353"),
            (1, 53, "snat"),
            (47, 0, "snat"),
        ];
        for (protocol, port, owner) in cases {
            assert_eq!(name(protocol, port), owner, "{protocol} {port}");
        }
        let vm = Inside { vrf: VrfId(1), address: Ipv4Addr::new(192, 168, 20, 6) };
        assert_eq!(vip(Some(vm)).owner(6, 80), Owner::Eip(vm));
    }

    #[test]
    fn a_block_is_leased_once() {
        let leases = Leases::default();
        assert!(leases.take(Space::Udp, 1023, 7) && !leases.take(Space::Udp, 1023, 8));
        assert_eq!((leases.holder(Space::Udp, 1023), leases.holder(Space::Tcp, 1023)), (Some(7), None));
        leases.give_back(Space::Udp, 1023, 8);
        assert_eq!(leases.used(Space::Udp), 1);
        leases.give_back(Space::Udp, 1023, 7);
        assert_eq!(leases.used(Space::Udp), 0);
    }

    #[test]
    fn free_blocks_come_once_each_from_the_start_on() {
        let leases = Leases::default();
        for start in [0, 15, 16, 17, 63, 64, 500, 1023] {
            let free: Vec<u16> = leases.free(Space::Icmp, start).collect();
            let first = start.max(FIRST_BLOCK);
            let expected: Vec<u16> = (first..BLOCKS as u16).chain(FIRST_BLOCK..first).collect();
            assert_eq!(free, expected, "{start}");
        }
        for block in (FIRST_BLOCK..BLOCKS as u16).filter(|block| *block != 700) {
            assert!(leases.take(Space::Icmp, block, 1));
        }
        assert_eq!(leases.free(Space::Icmp, 701).collect::<Vec<_>>(), [700]);
        assert_eq!((leases.used(Space::Icmp), leases.used(Space::Tcp)), (LEASABLE - 1, 0));
        assert!(leases.take(Space::Icmp, 700, 1));
        assert_eq!(leases.free(Space::Icmp, 701).count(), 0);
        leases.give_back(Space::Icmp, 700, 1);
        assert_eq!(leases.free(Space::Icmp, 0).collect::<Vec<_>>(), [700]);
    }

    #[test]
    fn the_held_ports_of_a_block_are_those_that_are_held_one_by_one() {
        let slice = |protocol, first, last| Slice { protocol, first, last };
        let held = [
            slice(6, 0, 0),
            slice(6, 1087, 1088),
            slice(6, 1100, 1100),
            slice(6, 2000, 3000),
            slice(6, 65_535, 65_535),
            slice(17, 1024, 65_535),
        ];
        let vip = Vip { held: held.into(), ..vip(None) };
        for space in Space::ALL {
            for block in 0..BLOCKS as u16 {
                let one_by_one = (0..BLOCK_PORTS)
                    .filter(|slot| vip.holds(space.protocol(), block * BLOCK_PORTS + slot))
                    .fold(0u64, |held, slot| held | 1 << slot);
                assert_eq!(vip.held_in(space, block), one_by_one, "{space:?} {block}");
            }
        }
    }
}
