//! What control publishes of load balancers: listeners, who of their backends gets a new connection, and what workers count.
//!
//! A listener is asked only for the first packet of a connection. From then on the connection is a translated session like
//! that of a port forward, and its packets touch nothing of this.
//!
//! | word | written by | read by |
//! |---|---|---|
//! | [`Tickets`] | a worker, once per new connection of a listener that takes turns | workers |
//! | [`Usage`] | a worker, when a connection opens, ends or is refused | workers, control |
//! | [`Sticky`] | a worker, once per new connection of a listener with persistence | workers |

mod maglev;
mod schedule;
mod sticky;
mod usage;

use std::{net::Ipv4Addr, sync::Arc};

pub use self::{
    maglev::{MAGLEV_SLOTS, Member, maglev, maglev_place},
    schedule::{SCHEDULE_MAX, schedule},
    sticky::Sticky,
    usage::{BackendUsage, ListenerUsage, Refused, Tickets, Usage},
};
use super::nat::{Inside, Slice};
use crate::{
    flow::{
        FlowKey,
        session::{Idle, Service},
    },
    types::{NetId, VrfId},
};

/// A slice of a VIP whose connections go to one of several VMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Which ports.
    pub slice: Slice,
    /// The routing table of all backends.
    pub vrf: VrfId,
    /// Who may use it.
    pub access: Access,
    /// Connections at a time.
    pub max_connections: u32,
    /// When a connection without packets ends.
    pub idle: Idle,
    /// Sorted by address and port; at most [`Listener::BACKENDS_MAX`].
    pub backends: Box<[Backend]>,
    /// Who gets a new connection.
    pub pick: Pick,
    /// Whether backends see an address of the gateway in place of the client's.
    pub full_nat: bool,
    /// Where returning clients go, and seconds for which that is remembered.
    pub persistence: Option<(u32, Arc<Sticky>)>,
    /// Shared by all generations of the listener.
    pub usage: Arc<ListenerUsage>,
}

/// A VM that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The VM.
    pub to: Inside,
    /// Its port for the first one of the slice; the others follow.
    pub to_first: u16,
    /// Connections at a time; `u32::MAX` for any number.
    pub max_connections: u32,
    /// Whether it answers, as far as anybody knows.
    pub up: bool,
    /// Whether it gets new connections.
    pub takes: bool,
    /// Whether its connections go on.
    pub keeps: bool,
    /// What [`Sticky`] knows it by; below [`Sticky::SLOTS`].
    pub slot: u16,
    /// Shared by all generations of the backend.
    pub usage: Arc<BackendUsage>,
}

/// Who gets a new connection. Numbers are indices of backends that take them; where there is none, nobody does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Each ticket the next place of a [`schedule`].
    Turns(Arc<[u16]>),
    /// Who has the fewest connections for its weight; each with its weight, above 0.
    Least(Arc<[(u16, u16)]>),
    /// By the client's address: a [`maglev`] table.
    Source(Arc<[u16]>),
    /// By addresses and ports: a [`maglev`] table.
    Consistent(Arc<[u16]>),
}

impl Pick {
    /// Whether nobody gets a connection.
    pub fn is_empty(&self) -> bool {
        match self {
            Pick::Turns(all) | Pick::Source(all) | Pick::Consistent(all) => all.is_empty(),
            Pick::Least(all) => all.is_empty(),
        }
    }
}

/// Who may use a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    #[default]
    Everybody,
    /// Only addresses of these ranges, first and last; sorted, apart.
    Allow(Box<[(u32, u32)]>),
    /// All addresses but those.
    Deny(Box<[(u32, u32)]>),
}

impl Access {
    /// Whether `source` may use it. Cost: a binary search.
    pub fn allows(&self, source: Ipv4Addr) -> bool {
        let listed = |ranges: &[(u32, u32)]| {
            let at = ranges.partition_point(|(_, last)| *last < source.to_bits());
            ranges.get(at).is_some_and(|(first, _)| *first <= source.to_bits())
        };
        match self {
            Access::Everybody => true,
            Access::Allow(ranges) => listed(ranges),
            Access::Deny(ranges) => !listed(ranges),
        }
    }
}

impl Listener {
    /// Most backends of one listener.
    pub const BACKENDS_MAX: usize = 1000;

    /// What its connections are translated for.
    pub const fn service(&self) -> Service {
        if self.full_nat { Service::FullNat } else { Service::Balanced }
    }

    /// The backend that a connection to `port` has, which goes to `inside` and its `inside_port`.
    pub fn backend(&self, port: u16, inside: Inside, inside_port: u16) -> Option<&Backend> {
        let to_first = inside_port.wrapping_sub(port.wrapping_sub(self.slice.first));
        let key = (inside.address, to_first);
        let at = self.backends.binary_search_by_key(&key, |backend| (backend.to.address, backend.to_first));
        at.ok().map(|at| &self.backends[at]).filter(|backend| backend.to.vrf == inside.vrf)
    }

    /// Whether every connection that went on by `was` goes on by this one.
    pub fn keeps(&self, was: &Listener) -> bool {
        let kept = |old: &Backend| {
            let now = self.backend(was.slice.first, old.to, old.to_first);
            !old.keeps || now.is_some_and(|now| now.keeps)
        };
        let same = (self.slice, self.vrf, self.full_nat, &self.access)
            == (was.slice, was.vrf, was.full_nat, &was.access);
        std::ptr::eq(self, was) || same && was.backends.iter().all(kept)
    }
}

impl Backend {
    /// The VM's port for a port of the listener's `slice`.
    pub const fn target_port(&self, slice: Slice, port: u16) -> u16 {
        self.to_first.wrapping_add(port.wrapping_sub(slice.first))
    }
}

/// Numbers of connections of one backend that the configuration has no more: whoever ends one of them finds here where to
/// count that.
#[derive(Clone, Debug)]
pub struct Departed {
    /// The public network of the VIP.
    pub net: NetId,
    /// The VIP.
    pub address: Ipv4Addr,
    /// What the listener had.
    pub slice: Slice,
    /// The VM.
    pub to: Inside,
    /// Its port for the first one of the slice.
    pub to_first: u16,
    /// The numbers.
    pub usage: Arc<BackendUsage>,
}

impl Departed {
    /// Whether a connection to `port` of the VIP, which goes to `inside_port` of the VM, was its.
    pub fn had(&self, protocol: u8, port: u16, inside_port: u16) -> bool {
        self.slice.contains(protocol, port)
            && self.to_first.wrapping_add(port.wrapping_sub(self.slice.first)) == inside_port
    }
}

/// A hash of a client's address that is the same on every gateway.
pub fn source_hash(source: Ipv4Addr) -> u64 {
    mix(source.to_bits().into())
}

/// A hash of a flow's addresses, ports and protocol that is the same on every gateway.
pub fn flow_hash(key: &FlowKey) -> u64 {
    let addresses = u64::from(key.source().to_bits()) << 32 | u64::from(key.destination().to_bits());
    let ports = u64::from(key.source_port()) << 24 | u64::from(key.destination_port()) << 8;
    mix(mix(addresses) ^ (ports | u64::from(key.protocol())))
}

/// The finalizer of SplitMix64: every bit of the result depends on every bit of `word`.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(last: u8, to_first: u16) -> Backend {
        let to = Inside { vrf: VrfId(1), address: Ipv4Addr::new(10, 0, 0, last) };
        let usage = Arc::default();
        Backend { to, to_first, max_connections: 9, up: true, takes: true, keeps: true, slot: 0, usage }
    }

    fn listener(backends: &[Backend]) -> Listener {
        Listener {
            slice: Slice { protocol: 6, first: 80, last: 81 },
            vrf: VrfId(1),
            access: Access::Everybody,
            max_connections: 9,
            idle: Idle::DEFAULT,
            backends: backends.into(),
            pick: Pick::Turns([0].into()),
            full_nat: false,
            persistence: None,
            usage: Arc::default(),
        }
    }

    #[test]
    fn a_connection_has_the_backend_of_its_address_and_port() {
        let listener = listener(&[backend(1, 8080), backend(1, 9090), backend(2, 8080)]);
        let of = |port, last, inside_port| {
            let inside = Inside { vrf: VrfId(1), address: Ipv4Addr::new(10, 0, 0, last) };
            let backend = listener.backend(port, inside, inside_port)?;
            assert_eq!(backend.target_port(listener.slice, port), inside_port);
            Some((backend.to.address.octets()[3], backend.to_first))
        };
        assert_eq!(of(80, 1, 8080), Some((1, 8080)));
        assert_eq!(of(81, 1, 8081), Some((1, 8080)));
        assert_eq!(of(81, 1, 9091), Some((1, 9090)));
        assert_eq!(of(80, 2, 8080), Some((2, 8080)));
        assert_eq!((of(80, 1, 8081), of(80, 3, 8080)), (None, None));
        let elsewhere = Inside { vrf: VrfId(2), address: Ipv4Addr::new(10, 0, 0, 1) };
        assert_eq!(listener.backend(80, elsewhere, 8080), None);
    }

    #[test]
    fn what_ends_no_connection_keeps_them() {
        let was = listener(&[backend(1, 80), backend(2, 80)]);
        let change = |change: fn(&mut Listener)| {
            let mut now = was.clone();
            change(&mut now);
            now.keeps(&was)
        };
        assert!(change(|_| {}));
        assert!(change(|l| l.backends[0].takes = false));
        assert!(change(|l| l.max_connections = 1));
        assert!(change(|l| l.backends = [&l.backends[..], &[backend(3, 80)]].concat().into()));
        assert!(!change(|l| l.backends[0].keeps = false));
        assert!(!change(|l| l.backends = [backend(1, 80)].into()));
        assert!(!change(|l| l.backends[1].to_first = 81));
        assert!(!change(|l| l.access = Access::Allow([].into())));
        assert!(!change(|l| l.slice.last = 80));
        assert!(!change(|l| l.full_nat = true));
    }

    #[test]
    fn access_lists_name_ranges() {
        let ranges = || -> Box<[(u32, u32)]> { [(10, 19), (30, 30)].into() };
        for (source, listed) in
            [(0, false), (9, false), (10, true), (19, true), (20, false), (30, true), (31, false)]
        {
            let source = Ipv4Addr::from_bits(source);
            assert_eq!(Access::Allow(ranges()).allows(source), listed, "{source}");
            assert_eq!(Access::Deny(ranges()).allows(source), !listed, "{source}");
            assert!(Access::Everybody.allows(source));
        }
    }
}
