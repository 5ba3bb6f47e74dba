//! Listeners as workers see them: who of their backends gets new connections, and whose connections go on. Numbers that workers
//! count stay with a listener and a backend from one result to the next; a backend that is removed keeps its own until its last
//! connection has ended.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ipnet::Ipv4Net;
use tidegate_fastpath::{
    flow::session::Idle,
    table::balance::{
        Access, Backend, BackendUsage, Departed, Listener, ListenerUsage, Member, Pick, Sticky, maglev,
        schedule,
    },
    table::nat::Inside,
    types::VrfId,
};

use super::Facts;
use crate::{
    config::{
        self, BackendKey, Id, TableKey,
        balance::{Algorithm, AllDown, DeadSessions, Mode},
        nat::Vm,
    },
    desired::{Desired, NetKey},
};

/// What a listener is recognised by, whatever it is called: where it begins on which VIP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    vip: config::Vip,
    protocol: u8,
    first: u16,
}

/// What a backend is recognised by in its listener.
type Seat = (Vm, u16);

/// A listener and what stays with it.
#[derive(Clone, Debug)]
struct Kept {
    listener: Arc<Listener>,
    /// What each backend counts, and the number that it is remembered by.
    seats: HashMap<Seat, (Arc<BackendUsage>, u16)>,
    /// The number of the next new backend.
    next_slot: u16,
    /// What the listener's pick was made of.
    made_of: (Algorithm, Vec<Member>),
}

impl Kept {
    fn counts_with(&self, usage: &Arc<BackendUsage>) -> bool {
        self.seats.values().any(|(own, _)| Arc::ptr_eq(own, usage))
    }

    /// What a backend counts with which the same ports go to the same ports of the VM, in a listener that begins at `first`.
    fn usage_at(&self, first: u16, seat: &Seat) -> Option<&Arc<BackendUsage>> {
        let port = seat.1.wrapping_sub(first.wrapping_sub(self.listener.slice.first));
        self.seats.get(&(seat.0.clone(), port)).map(|(usage, _)| usage)
    }
}

/// A backend that is gone, with connections.
#[derive(Clone, Debug)]
struct Gone {
    place: Place,
    seat: Seat,
    departed: Departed,
}

/// All listeners of a result.
#[derive(Clone, Debug, Default)]
pub struct Balanced {
    kept: HashMap<Place, Kept>,
    gone: Vec<Gone>,
    by_name: HashMap<Id, Arc<Listener>>,
}

impl Balanced {
    /// The listener of this name, as workers see it; `None` for one that a proxy serves.
    pub fn listener(&self, id: &Id) -> Option<&Arc<Listener>> {
        self.by_name.get(id)
    }

    /// Those that workers serve.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.by_name.values()
    }

    /// Connections that backends still have which the configuration has no more.
    pub fn departed_connections(&self) -> u32 {
        let moved = |gone: &&Gone| self.kept.values().any(|kept| kept.counts_with(&gone.departed.usage));
        let gone = self.gone.iter().filter(|gone| !moved(gone));
        gone.map(|gone| gone.departed.usage.usage.live()).sum()
    }

    /// For workers.
    pub(super) fn departed(&self) -> Arc<[Departed]> {
        self.gone.iter().map(|gone| gone.departed.clone()).collect()
    }
}

/// Builds all listeners; those that are as before are taken from `previous`. Cost: one pass over all backends, and the tables of
/// listeners whose backends changed.
pub(super) fn build(desired: &Desired, facts: &Facts, previous: &Balanced) -> Balanced {
    let vips: HashMap<&Id, &config::Vip> = desired.config().vips.iter().map(|vip| (&vip.id, vip)).collect();
    let mut balanced = Balanced::default();
    for wanted in desired.config().listeners().filter(|listener| !listener.protocol.is_proxied()) {
        let Some(vip) = vips.get(&wanted.vip) else { continue };
        let slice = wanted.slice;
        let place = Place { vip: (*vip).clone(), protocol: slice.protocol, first: slice.first };
        let Some(vrf) = desired.vrf(&TableKey::Vpc(wanted.vpc.clone())) else { continue };
        let kept = Builder { wanted, facts, place: &place, vrf, previous }.build();
        balanced.by_name.insert(wanted.id.clone(), Arc::clone(&kept.listener));
        balanced.kept.insert(place, kept);
    }
    balanced.gone = gone(desired, &balanced, previous);
    balanced
}

/// Backends of before that are no more, and have connections.
fn gone(desired: &Desired, now: &Balanced, previous: &Balanced) -> Vec<Gone> {
    let is_there =
        |place: &Place, seat: &Seat| now.kept.get(place).is_some_and(|k| k.seats.contains_key(seat));
    let left = previous.kept.iter().flat_map(|(place, kept)| {
        let seats = kept.seats.iter().filter(|(seat, _)| !is_there(place, seat));
        seats.filter_map(|(seat, (usage, _))| {
            let net = desired.net(&NetKey::Public(place.vip.public_network.clone()))?;
            let to = Inside { vrf: kept.listener.vrf, address: seat.0.address };
            let (slice, address, usage) = (kept.listener.slice, place.vip.address, Arc::clone(usage));
            let departed = Departed { net, address, slice, to, to_first: seat.1, usage };
            Some(Gone { place: place.clone(), seat: seat.clone(), departed })
        })
    });
    let still = previous.gone.iter().filter(|gone| !is_there(&gone.place, &gone.seat)).cloned();
    left.chain(still).filter(|gone| gone.departed.usage.usage.live() > 0).collect()
}

/// One listener.
struct Builder<'a> {
    wanted: &'a config::Listener,
    facts: &'a Facts,
    place: &'a Place,
    vrf: VrfId,
    previous: &'a Balanced,
}

impl Builder<'_> {
    fn build(&self) -> Kept {
        let before = self.previous.kept.get(self.place);
        let gone = || self.previous.gone.iter().filter(|gone| gone.place == *self.place);
        let moved = self.moved().filter(|_| before.is_none());
        let usage = match before.or(moved) {
            Some(before) => Arc::clone(&before.listener.usage),
            None => gone().next().map_or_else(Arc::default, |gone| Arc::clone(&gone.departed.usage.listener)),
        };
        let mut next_slot = before.map_or(0, |before| before.next_slot);
        let mut seats: HashMap<Seat, (Arc<BackendUsage>, u16)> = HashMap::new();
        let known = |seat: &Seat| before.and_then(|before| before.seats.get(seat)).cloned();
        for backend in &self.wanted.backends {
            let seat = (backend.vm.clone(), backend.port);
            if let Some(known) = known(&seat) {
                seats.insert(seat, known);
            }
        }
        let mut taken: HashSet<u16> = seats.values().map(|(_, slot)| *slot).collect();
        for backend in &self.wanted.backends {
            let seat = (backend.vm.clone(), backend.port);
            if seats.contains_key(&seat) {
                continue;
            }
            while !taken.insert(next_slot) {
                next_slot = (next_slot + 1) % Sticky::SLOTS;
            }
            let back = gone().find(|gone| gone.seat == seat).map(|gone| Arc::clone(&gone.departed.usage));
            let elsewhere =
                || moved.and_then(|moved| moved.usage_at(self.place.first, &seat)).map(Arc::clone);
            let usage = back.or_else(elsewhere).unwrap_or_else(|| Arc::new(BackendUsage::of(&usage)));
            seats.insert(seat, (usage, next_slot));
            next_slot = (next_slot + 1) % Sticky::SLOTS;
        }
        let (listener, made_of) = self.listener(usage, &seats, before);
        let same = before.filter(|before| *before.listener == listener);
        let listener = same.map_or_else(|| Arc::new(listener), |before| Arc::clone(&before.listener));
        Kept { listener, seats, next_slot, made_of }
    }

    /// The listener that had some of the ports before and began elsewhere: its connections go on, and go on being counted.
    /// Two listeners that were one count together.
    fn moved(&self) -> Option<&Kept> {
        let Place { vip, protocol, .. } = self.place;
        let slice = self.wanted.slice;
        let had = |(place, kept): &(&Place, &Kept)| {
            let was = kept.listener.slice;
            (&place.vip, &place.protocol) == (vip, protocol)
                && was.first <= slice.last
                && slice.first <= was.last
        };
        self.previous.kept.iter().filter(had).min_by_key(|(place, _)| place.first).map(|(_, kept)| kept)
    }

    fn listener(
        &self,
        usage: Arc<ListenerUsage>,
        seats: &HashMap<Seat, (Arc<BackendUsage>, u16)>,
        before: Option<&Kept>,
    ) -> (Listener, (Algorithm, Vec<Member>)) {
        let (wanted, grows) = (self.wanted, self.grows());
        let mut backends: Vec<(Backend, u16)> =
            wanted.backends.iter().filter_map(|backend| self.backend(backend, grows, seats)).collect();
        backends.sort_unstable_by_key(|(backend, _)| (backend.to.address, backend.to_first));
        if wanted.all_down == AllDown::Open && !backends.iter().any(|(backend, _)| backend.takes) {
            for (backend, weight) in &mut backends {
                backend.takes = *weight > 0;
            }
        }
        let takers = (0u16..).zip(&backends).filter(|(_, (backend, _))| backend.takes);
        let member = |(index, (backend, weight)): (u16, &(Backend, u16))| Member {
            index,
            address: backend.to.address,
            port: backend.to_first,
            weight: *weight,
        };
        let made_of = (wanted.algorithm, takers.map(member).collect::<Vec<_>>());
        let pick = match before.filter(|before| before.made_of == made_of) {
            Some(before) => before.listener.pick.clone(),
            None => pick(made_of.0, &made_of.1),
        };
        let before = before.map(|before| &*before.listener);
        let persistence = wanted.persistence_s.map(|seconds| {
            let sticky = before.and_then(|before| before.persistence.as_ref());
            (seconds, sticky.map_or_else(Arc::default, |(_, sticky)| Arc::clone(sticky)))
        });
        let listener = Listener {
            slice: wanted.slice,
            vrf: self.vrf,
            access: access(&wanted.access),
            max_connections: wanted.max_connections,
            full_nat: wanted.mode == Mode::FullNat,
            idle: wanted.idle_timeout_s.map_or(Idle::DEFAULT, Idle::of_s),
            pick,
            persistence,
            usage,
            backends: backends.into_iter().map(|(backend, _)| backend).collect(),
        };
        (listener, made_of)
    }

    /// Whether one of its backends grows. All weights are in hundredths then.
    fn grows(&self) -> bool {
        let grows = |backend: &config::Backend| self.facts.growing.contains_key(&self.wanted.key(backend));
        !self.facts.growing.is_empty() && self.wanted.backends.iter().any(grows)
    }

    /// A backend, and its weight for new connections as if it were up.
    fn backend(
        &self,
        backend: &config::Backend,
        grows: bool,
        seats: &HashMap<Seat, (Arc<BackendUsage>, u16)>,
    ) -> Option<(Backend, u16)> {
        let key: BackendKey = self.wanted.key(backend);
        let (usage, slot) = seats.get(&(backend.vm.clone(), backend.port))?;
        let up = !self.facts.down.contains(&key);
        let weight = match (backend.drain, self.wanted.algorithm) {
            (true, _) => 0,
            (_, Algorithm::RoundRobin) => backend.weight.min(1),
            _ => backend.weight,
        };
        let backend = Backend {
            to: Inside { vrf: self.vrf, address: backend.vm.address },
            to_first: backend.port,
            max_connections: backend.max_connections,
            up,
            takes: up && weight > 0,
            keeps: !self.facts.expired.contains(&key)
                && (up || self.wanted.dead_sessions == DeadSessions::Keep),
            slot: *slot,
            usage: Arc::clone(usage),
        };
        let percent = if grows { self.facts.growing.get(&key).copied().unwrap_or(WHOLE) } else { 1 };
        Some((backend, weight.saturating_mul(percent)))
    }
}

/// Weights are in hundredths while a backend of the listener grows.
const WHOLE: u16 = 100;

/// Who gets new connections, of those that take them.
fn pick(algorithm: Algorithm, takers: &[Member]) -> Pick {
    let weights = || takers.iter().map(|taker| (taker.index, taker.weight));
    match algorithm {
        Algorithm::RoundRobin | Algorithm::WeightRoundRobin => {
            Pick::Turns(schedule(&weights().collect::<Vec<_>>()))
        }
        Algorithm::LeastConnections => Pick::Least(weights().collect()),
        Algorithm::Source => Pick::Source(maglev(takers)),
        Algorithm::Consistent => Pick::Consistent(maglev(takers)),
    }
}

fn access(access: &config::balance::Access) -> Access {
    use config::balance::Access as Wanted;
    match access {
        Wanted::Everybody => Access::Everybody,
        Wanted::Allow(cidrs) => Access::Allow(ranges(cidrs)),
        Wanted::Deny(cidrs) => Access::Deny(ranges(cidrs)),
    }
}

/// Ranges of addresses, sorted and apart.
fn ranges(cidrs: &[Ipv4Net]) -> Box<[(u32, u32)]> {
    let cidrs = Ipv4Net::aggregate(&cidrs.to_vec());
    let mut ranges: Vec<(u32, u32)> =
        cidrs.iter().map(|cidr| (cidr.network().to_bits(), cidr.broadcast().to_bits())).collect();
    ranges.sort_unstable();
    ranges.into()
}
