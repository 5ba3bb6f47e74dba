//! The state machine: idle → locating → offering → active → idle, for each [`Pair`].
//!
//! | phase | leaves by |
//! |---|---|
//! | idle | a [`Sighting`] that the policy allows, within the bounds: LOCATE, locating |
//! | locating | HERE: SHORTCUT, offering; 3 tries (200 ms, doubling) without answer, or ICMP protocol unreachable: held |
//! | offering | ACK: active; 3 tries without answer, a refusal, ICMP protocol unreachable: held |
//! | held | about 10 minutes: idle |
//! | active | 30 s without RENEW: idle; policy, move, switch: WITHDRAW, idle |
//!
//! WITHDRAW is said until its host acknowledges it (`withdrawals.rs`).
//!
//! No message that offers a path is sent without asking the policy first ([`Machine::shortcut`]).

mod answer;
mod bounds;
mod end;
mod recheck;
mod withdrawals;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::Ipv4Addr,
};

use tidegate_fastpath::{
    limit::RateLimit,
    types::{Nanos, NetId, VrfId},
};
use tidegate_zsnp::{Action, Match, Message, Shortcut, Station, Transaction, VpcTag};

use self::{bounds::Bounds, withdrawals::Withdrawals};
use super::{
    Settings, Sighting, ZsnpEvent,
    pair::{Asked, Offer, Pair, PairKey, Phase, State, Why},
    peer::{Peer, Peers, Share},
    site::{Place, Site},
};
use crate::compile::Forbidden;

/// How often a question is asked.
const TRIES_MAX: u32 = 3;
/// Until it is asked again; doubles.
const RETRY: Nanos = Nanos::from_ms(200);
/// An idle pair is remembered for so long, so that it can be shown why it is idle.
const IDLE_KEPT: Nanos = Nanos::from_ms(600_000);
/// An active pair whose packets still come by the gateway is offered again after so long: perhaps its host has forgotten.
const OFFER_AGAIN: Nanos = Nanos::from_ms(10_000);
/// What a host has counts as in force for so much longer than it may.
const MARGIN: Nanos = Nanos::from_ms(1_000);
/// Between two looks at an active pair: nobody says of each neighbour that it is elsewhere now.
const LOOK: Nanos = Nanos::from_ms(1_000);
/// Between two looks for hosts to forget.
const PEERS_LOOK: Nanos = Nanos::from_ms(10_000);
/// A host without room is asked again after so long.
const TABLE_FULL_HELD: Nanos = Nanos::from_ms(30_000);

/// Something to send, or to ask the neighbour machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// To a VM's address, from our address on its network.
    Overlay {
        /// Its network.
        net: NetId,
        /// Its address.
        address: Ipv4Addr,
        /// What.
        said: Said,
    },
    /// To a host.
    Underlay {
        /// Our tunnel end.
        from: Ipv4Addr,
        /// The host's.
        to: Ipv4Addr,
        /// What.
        said: Said,
    },
    /// Who has this address?
    Resolve(NetId, Ipv4Addr),
}

/// A message without what its sender adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// About which VPC.
    pub vpc: VpcTag,
    /// The question.
    pub transaction: Transaction,
    /// What.
    pub message: Message,
}

/// All pairs.
#[derive(Debug)]
pub struct Machine {
    lifetime_s: u32,
    /// The longest that was ever configured: hosts may still have such.
    longest_s: u32,
    hold_off: Nanos,
    pairs: HashMap<PairKey, Pair>,
    bounds: Bounds,
    /// When something must happen to which pair.
    timers: BTreeSet<(Nanos, PairKey)>,
    /// Open questions.
    asking: HashMap<Transaction, PairKey>,
    withdrawals: Withdrawals,
    by_destination: HashMap<Ipv4Addr, Vec<PairKey>>,
    in_phase: HashMap<Phase, usize>,
    peers: Peers,
    peers_looked: Nanos,
    shares: HashMap<VrfId, Share>,
    locates: RateLimit,
    counts: [u64; ZsnpEvent::COUNT],
    orders: VecDeque<Order>,
    /// Of transactions and jitter (splitmix64).
    random: u64,
}

impl Machine {
    /// Without pairs. `seed` varies transactions and jitter.
    pub fn new(settings: Option<&Settings>, seed: u64) -> Machine {
        let mut machine = Machine {
            lifetime_s: 1,
            longest_s: 1,
            hold_off: Nanos(0),
            pairs: HashMap::new(),
            bounds: Bounds::default(),
            timers: BTreeSet::new(),
            asking: HashMap::new(),
            withdrawals: Withdrawals::default(),
            by_destination: HashMap::new(),
            in_phase: HashMap::new(),
            peers: Peers::default(),
            peers_looked: Nanos(0),
            shares: HashMap::new(),
            locates: RateLimit::new(0, 1),
            counts: [0; ZsnpEvent::COUNT],
            orders: VecDeque::new(),
            random: seed,
        };
        machine.configure(settings);
        machine
    }

    /// Takes bounds and times over.
    pub fn configure(&mut self, settings: Option<&Settings>) {
        let Some(settings) = settings else { return };
        self.lifetime_s = settings.lifetime_s;
        self.longest_s = self.longest_s.max(settings.lifetime_s);
        self.hold_off = Nanos::from_ms(u64::from(settings.hold_off_s) * 1000);
        self.bounds.set(settings);
        self.locates = RateLimit::new(settings.locates_per_second, (settings.locates_per_second / 10).max(1));
    }

    // ---- what happens ------------------------------------------------------------------------------------------------

    /// A flow passed the threshold.
    pub fn seen(&mut self, now: Nanos, site: &impl Site, sighting: Sighting) {
        let Sighting { host, source, vm, destination } = sighting;
        let key = PairKey { host, source, destination };
        match self.pairs.get(&key).map(|pair| pair.state) {
            None => {
                let Some(wire) = site.wire(source) else { return };
                if self.insert(now, key, wire.vrf, vm) {
                    self.begin(now, site, key);
                }
            }
            Some(State::Idle) => self.begin(now, site, key),
            // The host may have forgotten what it was told.
            Some(State::Active(offer, _)) if now.0 >= offer.at.0 + OFFER_AGAIN.0 => {
                self.offer(now, site, key)
            }
            Some(State::Held | State::Locating(_) | State::Offering(..) | State::Active(..)) => {}
        }
    }

    /// A VM answered ICMP protocol unreachable to what was said in this transaction.
    pub fn unreachable(&mut self, now: Nanos, transaction: Transaction) {
        let Some(key) = self.asking.get(&transaction).copied() else {
            return self.count(ZsnpEvent::Stray);
        };
        self.count(ZsnpEvent::Unreachable);
        self.no_agent(now, key);
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Nanos, site: &impl Site) {
        while let Some((at, key)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, key));
            self.due(now, site, key);
        }
        self.withdraw_again(now);
        if now.0 >= self.peers_looked.0 + PEERS_LOOK.0 {
            self.peers_looked = now;
            self.peers.forget(now);
        }
    }

    fn due(&mut self, now: Nanos, site: &impl Site, key: PairKey) {
        match self.pairs.get(&key).map(|pair| pair.state) {
            None => {}
            Some(State::Idle) => self.remove(key),
            Some(State::Held) => self.rest(now, key, None),
            Some(State::Locating(asked) | State::Offering(asked, _)) if asked.tries >= TRIES_MAX => {
                self.count(ZsnpEvent::Silent);
                self.no_agent(now, key);
            }
            Some(State::Locating(asked)) => self.locate(now, site, key, asked),
            Some(State::Offering(asked, _)) => self.tell(now, site, key, asked),
            Some(State::Active(offer, until)) if now < until => {
                self.watch(key, State::Active(offer, until), now);
                self.recheck(now, site, key);
            }
            Some(State::Active(..)) => {
                self.count(ZsnpEvent::Expired);
                self.rest(now, key, Some(Why::Unused));
            }
        }
    }

    /// The next order.
    pub fn take_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    // ---- the way to a shortcut ---------------------------------------------------------------------------------------

    /// Asks the destination's host, if that makes sense now.
    fn begin(&mut self, now: Nanos, site: &impl Site, key: PairKey) {
        let leg = match site.judge(key.source, key.destination) {
            Ok(leg) => leg,
            Err(why) => return self.rest(now, key, Some(Why::Forbidden(why))),
        };
        if self.is_withdrawing(site, key) {
            return self.rest(now, key, Some(Why::Withdrawing));
        }
        if site.place(leg.egress, key.destination).is_none() {
            self.orders.push_back(Order::Resolve(leg.egress, key.destination));
            return self.rest(now, key, Some(Why::Unresolved));
        }
        let asked = Asked { transaction: self.transaction(), tries: 0 };
        self.locate(now, site, key, asked);
    }

    /// Sends a LOCATE, the first or another one.
    fn locate(&mut self, now: Nanos, site: &impl Site, key: PairKey, asked: Asked) {
        if !self.locates.take(now) {
            self.count(ZsnpEvent::LocateLimit);
            return self.rest(now, key, Some(Why::LocateLimit));
        }
        let told = site.judge(key.source, key.destination).map_err(Why::Forbidden).and_then(|leg| {
            let place = site.place(leg.egress, key.destination).ok_or(Why::Unresolved)?;
            let wire = site.wire(leg.egress).ok_or(Why::Forbidden(Forbidden::Gone))?;
            Ok((leg.egress, wire, place.mac))
        });
        let (egress, wire, mac) = match told {
            Ok(told) => told,
            Err(why) => return self.rest(now, key, Some(why)),
        };
        let message = Message::Locate(Station { address: key.destination, mac, vni: wire.vni });
        let said = Said { vpc: wire.vpc, transaction: asked.transaction, message };
        self.orders.push_back(Order::Overlay { net: egress, address: key.destination, said });
        self.count(ZsnpEvent::Locate);
        let asked = Asked { tries: asked.tries + 1, ..asked };
        self.go(key, State::Locating(asked), Some(retry(now, asked)), now);
    }

    /// Offers a shortcut: the first try.
    fn offer(&mut self, now: Nanos, site: &impl Site, key: PairKey) {
        let asked = Asked { transaction: self.transaction(), tries: 0 };
        self.tell(now, site, key, asked);
    }

    /// Sends a SHORTCUT, the first or another one.
    fn tell(&mut self, now: Nanos, site: &impl Site, key: PairKey, asked: Asked) {
        let offer = match self.shortcut(now, site, key) {
            Ok(offer) => offer,
            Err(why) => return self.end(now, key, why),
        };
        if self.withdrawals.waits_for(key.host, offer.vpc) {
            return self.rest(now, key, Some(Why::Withdrawing));
        }
        self.withdrawals.overtaken(key.host, offer.shortcut.matches);
        let Some(vm) = self.pairs.get(&key).map(|pair| pair.vm) else { return };
        let message = Message::Shortcut(offer.shortcut);
        let said = Said { vpc: offer.vpc, transaction: asked.transaction, message };
        let order = if self.peers.knows(now, key.host) || vm.is_unspecified() {
            Order::Underlay { from: offer.via, to: key.host, said }
        } else {
            Order::Overlay { net: key.source, address: vm, said }
        };
        self.orders.push_back(order);
        self.count(ZsnpEvent::Shortcut);
        let asked = Asked { tries: asked.tries + 1, ..asked };
        self.go(key, State::Offering(asked, offer), Some(retry(now, asked)), now);
    }

    /// What the policy allows to offer for a pair now.
    fn shortcut(&self, now: Nanos, site: &impl Site, key: PairKey) -> Result<Offer, Why> {
        let leg = site.judge(key.source, key.destination).map_err(Why::Forbidden)?;
        let wires = site.wire(key.source).zip(site.wire(leg.egress));
        let (source, egress) = wires.ok_or(Why::Forbidden(Forbidden::Gone))?;
        let Place { mac, vtep } = site.place(leg.egress, key.destination).ok_or(Why::Unresolved)?;
        let shortcut = Shortcut {
            matches: Match { vni: source.vni, gateway_mac: source.mac, destination: key.destination },
            action: Action { vni: egress.vni, mac, vtep },
            lifetime_s: self.lifetime_s,
            mtu: source.mtu.min(egress.mtu),
        };
        Ok(Offer { shortcut, egress: leg.egress, vpc: source.vpc, via: source.vtep, at: now })
    }

    /// Whether the host has yet to forget what it was told of this VPC before.
    fn is_withdrawing(&self, site: &impl Site, key: PairKey) -> bool {
        site.wire(key.source).is_some_and(|wire| self.withdrawals.waits_for(key.host, wire.vpc))
    }

    /// The host has installed it.
    fn activate(&mut self, now: Nanos, key: PairKey, offer: Offer) {
        // A host may have heard it a little later than we said it.
        let until = Nanos(now.0 + u64::from(self.lifetime_s) * 1_000_000_000 + MARGIN.0);
        self.watch(key, State::Active(offer, until), now);
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.why = None;
        }
    }

    /// An active pair is looked at again after a while, and at its end.
    fn watch(&mut self, key: PairKey, state: State, now: Nanos) {
        let until = if let State::Active(_, until) = state { until } else { now };
        self.go(key, state, Some(Nanos(until.0.min(now.0 + LOOK.0))), now);
    }

    // ---- pairs -------------------------------------------------------------------------------------------------------

    /// Makes a pair, if the bounds allow it.
    fn insert(&mut self, now: Nanos, key: PairKey, vrf: VrfId, vm: Ipv4Addr) -> bool {
        if let Err(event) = self.bounds.allow(vrf, vm) {
            self.count(event);
            return false;
        }
        if self.bounds.is_full(self.pairs.len()) {
            let idle = |key: &PairKey| {
                matches!(self.pairs.get(key), Some(Pair { state: State::Idle | State::Held, .. }))
            };
            let Some(oldest) = self.bounds.oldest_idle(idle) else {
                self.count(ZsnpEvent::PairsFull);
                return false;
            };
            self.count(ZsnpEvent::Evicted);
            self.remove(oldest);
        }
        self.bounds.add(vrf, vm);
        let (why, due) = (None, Nanos(u64::MAX));
        let pair =
            Pair { vrf, vm, since: now, why, packets: 0, bytes: 0, state: State::Idle, due, counted: (0, 0) };
        *self.in_phase.entry(Phase::Idle).or_default() += 1;
        self.pairs.insert(key, pair);
        self.by_destination.entry(key.destination).or_default().push(key);
        true
    }

    fn remove(&mut self, key: PairKey) {
        let Some(pair) = self.pairs.remove(&key) else { return };
        self.timers.remove(&(pair.due, key));
        if let Some(transaction) = pair.asked() {
            self.asking.remove(&transaction);
        }
        *self.in_phase.entry(pair.phase()).or_default() -= 1;
        self.bounds.remove(pair.vrf, pair.vm);
        if let Some(keys) = self.by_destination.get_mut(&key.destination) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_destination.remove(&key.destination);
            }
        }
    }

    /// Puts a pair into a state, with all that follows from it.
    fn go(&mut self, key: PairKey, state: State, due: Option<Nanos>, now: Nanos) {
        let Some(pair) = self.pairs.get_mut(&key) else { return };
        let (before, asked) = (pair.phase(), pair.asked());
        self.timers.remove(&(pair.due, key));
        pair.state = state;
        pair.due = due.unwrap_or(Nanos(u64::MAX));
        let (phase, asks) = (pair.phase(), pair.asked());
        if before != phase {
            pair.since = now;
        }
        if let Some(due) = due {
            self.timers.insert((due, key));
        }
        if asked != asks {
            asked.map(|transaction| self.asking.remove(&transaction));
            asks.map(|transaction| self.asking.insert(transaction, key));
        }
        if before != phase {
            *self.in_phase.entry(before).or_default() -= 1;
            *self.in_phase.entry(phase).or_default() += 1;
        }
        if matches!(phase, Phase::Idle | Phase::Held) {
            self.bounds.idle(key);
        }
    }

    fn transaction(&mut self) -> Transaction {
        Transaction(self.next_random())
    }

    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    // ---- for reading -------------------------------------------------------------------------------------------------

    /// Adds to what went by the gateway.
    pub(super) fn saw_by_gateway(&mut self, vrf: VrfId, packets: u64, bytes: u64) {
        let share = self.shares.entry(vrf).or_default();
        share.gateway_packets += packets;
        share.gateway_bytes += bytes;
    }

    pub(super) fn count(&mut self, event: ZsnpEvent) {
        self.counts[event.index()] += 1;
    }

    /// How often something happened.
    pub fn counted(&self, event: ZsnpEvent) -> u64 {
        self.counts[event.index()]
    }

    /// All pairs.
    pub fn pairs(&self) -> impl Iterator<Item = (&PairKey, &Pair)> {
        self.pairs.iter()
    }

    /// How many are in a phase.
    pub fn in_phase(&self, phase: Phase) -> usize {
        self.in_phase.get(&phase).copied().unwrap_or_default()
    }

    /// Hosts with an agent, by tunnel end.
    pub fn peers(&self) -> &HashMap<Ipv4Addr, Peer> {
        self.peers.all()
    }

    /// How much went direct, by routing table.
    pub fn shares(&self) -> &HashMap<VrfId, Share> {
        &self.shares
    }
}

/// When a question is asked again.
fn retry(now: Nanos, asked: Asked) -> Nanos {
    Nanos(now.0 + retry_after(asked.tries).0)
}

/// How long the answer to this try is waited for.
fn retry_after(tries: u32) -> Nanos {
    Nanos(RETRY.0 << tries.saturating_sub(1).min(8))
}
