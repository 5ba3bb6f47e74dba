//! What control publishes for address translation: who owns a public address (VIP), and by which addresses the packets of
//! a VPC leave. Nothing here depends on the order in which objects were configured: [`Vip::owner`] is the one function
//! that says who owns a port, and what another service holds is never leased to SNAT.

mod leases;
mod meter;

use std::{net::Ipv4Addr, sync::Arc};

use ipnet::Ipv4Net;

pub use self::{
    leases::Leases,
    meter::{Amount, Meter, Traffic},
};
use super::balance::Listener;
use crate::{
    policer::Policers,
    types::{NetId, VipId, VrfId},
    wire::translate::Side,
};

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
    /// Listeners of load balancers, sorted by slice; they overlap neither each other nor forwards.
    pub listeners: Box<[Arc<Listener>]>,
    /// Slices that SNAT must not lease: those of every other service. Sorted, not overlapping.
    pub held: Box<[Slice]>,
    /// What SNAT leased; shared by all generations of the VIP.
    pub leases: Arc<Leases>,
    /// Its rate limits.
    pub limits: VipLimits,
    /// What passed it; shared by all generations of the VIP.
    pub meter: Arc<Meter>,
}

/// Rate limits of a VIP and of its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipLimits {
    /// Of ports, sorted; they do not overlap.
    pub ports: Box<[(Slice, BothWays)]>,
    /// Of all else.
    pub rest: BothWays,
}

/// Rate limits of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BothWays {
    /// Of packets from the VIP.
    pub outbound: Policers,
    /// Of packets to the VIP.
    pub inbound: Policers,
}

impl VipLimits {
    /// Those of packets whose source, or destination, is `port` of the VIP. Cost: a binary search.
    pub fn policers(&self, side: Side, protocol: u8, port: u16) -> Policers {
        let at = self.ports.partition_point(|(slice, _)| (slice.protocol, slice.last) < (protocol, port));
        let limits = match self.ports.get(at) {
            Some((slice, limits)) if slice.contains(protocol, port) => limits,
            _ => &self.rest,
        };
        match side {
            Side::Source => limits.outbound,
            Side::Destination => limits.inbound,
        }
    }
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
    /// A listener of a load balancer.
    Listener(&'a Listener),
    /// SNAT, leased or not.
    Snat,
    /// Another service: programs in the namespace of the VPC.
    Other,
}

impl Vip {
    /// Who owns `port` of `protocol`. Protocols without ports have port 0. Cost: three binary searches.
    pub fn owner(&self, protocol: u8, port: u16) -> Owner<'_> {
        if let Some(inside) = self.eip {
            return Owner::Eip(inside);
        }
        let at = self.forwards.partition_point(|f| (f.slice.protocol, f.slice.last) < (protocol, port));
        match self.forwards.get(at) {
            Some(forward) if forward.slice.contains(protocol, port) => Owner::Forward(forward),
            _ => match self.listener(protocol, port) {
                Some(listener) => Owner::Listener(listener),
                None if self.holds(protocol, port) => Owner::Other,
                None => Owner::Snat,
            },
        }
    }

    /// The listener that has `port` of `protocol`.
    pub fn listener(&self, protocol: u8, port: u16) -> Option<&Listener> {
        let before = |listener: &Listener| (listener.slice.protocol, listener.slice.last) < (protocol, port);
        let at = self.listeners.partition_point(|listener| before(listener));
        self.listeners.get(at).map(|listener| &**listener).filter(|l| l.slice.contains(protocol, port))
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
    /// VMs that a service leads to by ports (a port forward, a listener), each with the IP protocol. Sorted.
    pub served: Box<[(Ipv4Addr, u8)]>,
    /// The gateway's own address in networks with backends that must see it in place of their clients' (full NAT), as a pool
    /// of one address. Sorted by network.
    pub masks: Box<[(NetId, Arc<Snat>)]>,
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

    /// By what backends in a network see clients of listeners with full NAT.
    pub fn mask(&self, net: NetId) -> Option<&Snat> {
        let at = self.masks.binary_search_by_key(&net, |(id, _)| *id).ok()?;
        Some(&self.masks[at].1)
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
    use crate::table::balance;

    fn listener(slice: Slice) -> Arc<Listener> {
        Arc::new(Listener {
            slice,
            vrf: VrfId(1),
            access: balance::Access::Everybody,
            max_connections: 1,
            idle: crate::flow::session::Idle::DEFAULT,
            backends: [].into(),
            pick: balance::Pick::Least([].into()),
            full_nat: false,
            persistence: None,
            usage: Arc::default(),
        })
    }

    fn vip(eip: Option<Inside>) -> Vip {
        let slice = |protocol, first, last| Slice { protocol, first, last };
        let to = Inside { vrf: VrfId(1), address: Ipv4Addr::new(192, 168, 20, 5) };
        let forward = |slice, to_first| Forward { slice, to, to_first, allowed: Ipv4Net::default() };
        Vip {
            net: NetId(1),
            address: Ipv4Addr::new(203, 0, 113, 93),
            eip,
            forwards: [forward(slice(6, 2222, 2224), 23), forward(slice(17, 53, 53), 5353)].into(),
            listeners: [listener(slice(6, 443, 444))].into(),
            held: [slice(6, 80, 80), slice(6, 2222, 2224), slice(17, 53, 53)].into(),
            leases: Arc::default(),
            limits: VipLimits::default(),
            meter: Arc::default(),
        }
    }

    #[test]
    fn each_port_has_one_owner() {
        let shared = vip(None);
        let name = |protocol, port| match shared.owner(protocol, port) {
            Owner::Eip(_) => "eip".into(),
            Owner::Forward(forward) => format!("forward {}", forward.target_port(port)),
            Owner::Listener(listener) => format!("listener {}", listener.slice.first),
            Owner::Snat => "snat".into(),
            Owner::Other => "other".into(),
        };
        let cases = [
            (6, 79, "snat"),
            (6, 80, "other"),
            (6, 443, "listener 443"),
            (6, 444, "listener 443"),
            (6, 445, "snat"),
            (17, 443, "snat"),
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
