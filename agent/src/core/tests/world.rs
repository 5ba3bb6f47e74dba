//! What is around the core: a kernel, a gateway, other hosts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
};

use tidegate_zsnp::{
    Action, Capabilities, Keyring, Mac, Match, Message, Receiver, Sender, SenderId, Shortcut, Station,
    Status, Transaction, Vni, VpcTag,
};

use crate::{
    bpf::{Count, Pair, Rule},
    core::{Agent, Input, Limits, Output, Settings, Uplink, View},
};

pub(super) const S: u64 = 1_000_000_000;
pub(super) const HERE: Ipv4Addr = Ipv4Addr::new(10, 172, 11, 11);
pub(super) const FAR: Ipv4Addr = Ipv4Addr::new(10, 172, 11, 12);
pub(super) const OTHER: Ipv4Addr = Ipv4Addr::new(10, 172, 11, 13);
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 172, 11, 91);
pub(super) const WEB_PORT: u32 = 4;
pub(super) const SHORTCUTS_MAX: u32 = 8;
pub(super) const WEB: Station =
    Station { address: Ipv4Addr::new(192, 168, 20, 154), mac: Mac([2, 0, 0, 0, 0, 1]), vni: vni(222) };
pub(super) const APP: Station =
    Station { address: Ipv4Addr::new(192, 168, 21, 10), mac: Mac([2, 0, 0, 0, 0, 2]), vni: vni(223) };

pub(super) const fn vni(raw: u32) -> Vni {
    match Vni::new(raw) {
        Ok(vni) => vni,
        Err(_) => panic!(),
    }
}

/// From web's network to app.
pub(super) fn grant(lifetime_s: u32) -> Shortcut {
    Shortcut {
        matches: Match { vni: WEB.vni, gateway_mac: Mac([2, 0, 0, 0, 0, 0x91]), destination: APP.address },
        action: Action { vni: APP.vni, mac: APP.mac, vtep: FAR },
        lifetime_s,
        mtu: 1450,
    }
}

pub(super) struct World {
    pub(super) agent: Agent,
    pub(super) now: u64,
    pub(super) kernel: BTreeMap<Pair, Rule>,
    pub(super) gateway_answers: bool,
    /// Hosts that answer PROBEs.
    pub(super) alive: BTreeSet<Ipv4Addr>,
    counts: HashMap<u32, Count>,
    keys: Keyring,
    gateway: Sender,
    stranger: Sender,
    ears: Receiver,
    said: Vec<(Ipv4Addr, Message)>,
    lives: u64,
}

impl World {
    pub(super) const START: u64 = 1_000 * S;

    pub(super) fn new() -> World {
        World::with(Limits { shortcuts_max: SHORTCUTS_MAX, per_vpc_max: 100, per_vm_max: 100 })
    }

    pub(super) fn with(limits: Limits) -> World {
        let keys = Keyring::parse(&format!("7 {}", "ab".repeat(32))).unwrap();
        let settings = Settings { keys: keys.clone(), limits, grace_ns: 3600 * S };
        let mut world = World {
            agent: Agent::new(settings, Sender::new(SenderId(1), 1)),
            now: World::START,
            kernel: BTreeMap::new(),
            gateway_answers: true,
            alive: [FAR, OTHER].into(),
            counts: HashMap::new(),
            keys,
            gateway: Sender::new(SenderId(2), 1),
            stranger: Sender::new(SenderId(3), 1),
            ears: Receiver::new(16),
            said: Vec::new(),
            lives: 1,
        };
        let uplink = Uplink { vtep: HERE, mtu: 1450 };
        let networks = [(WEB.vni, uplink)].into();
        world.input(Input::View(View { networks, vms: [((WEB.vni, WEB.mac), WEB_PORT)].into() }));
        world
    }

    /// One whose gateway is known and trusted.
    pub(super) fn trusted() -> World {
        let mut world = World::new();
        world.trust();
        world
    }

    pub(super) fn trust(&mut self) {
        self.offer(grant(1));
        self.pass(3 * S);
        assert!(self.kernel.is_empty());
        self.said.clear();
    }

    /// The agent dies and another one starts; the kernel forgets.
    pub(super) fn restart(&mut self) {
        let fresh = World::new();
        self.agent = fresh.agent;
        self.kernel.clear();
        self.lives += 1;
        self.agent.sender = Sender::new(SenderId(1), self.lives);
        self.gateway_answers = true;
    }

    pub(super) fn pair(&self) -> Pair {
        Pair { vni: WEB.vni, address: APP.address }
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        let counts = &self.counts;
        self.agent.input(self.now, &|slot| counts.get(&slot).copied().unwrap_or_default(), input);
        self.react();
    }

    /// Does what the agent says, as a kernel, a gateway and hosts do.
    fn react(&mut self) {
        while let Some(output) = self.agent.output() {
            match output {
                Output::Install { pair, rule, fresh } => {
                    if fresh {
                        self.counts.remove(&rule.slot);
                    }
                    self.kernel.insert(pair, rule);
                }
                Output::Remove(pair) => drop(self.kernel.remove(&pair)),
                Output::AskRoute(vtep) => self.input(Input::Route { vtep, out: Some(9) }),
                Output::Note(_) => {}
                Output::Send { to, payload, .. } => self.hear(to, &payload),
            }
        }
    }

    fn hear(&mut self, to: Ipv4Addr, payload: &[u8]) {
        let it = self.ears.open(&self.keys, payload).unwrap();
        self.said.push((to, it.message.clone()));
        let answer = match it.message {
            Message::Probe { sent, .. } if self.alive.contains(&to) => Message::ProbeReply { sent },
            Message::Hello { .. } if to == GATEWAY && self.gateway_answers => {
                Message::Hello { capabilities: Capabilities(0), counters: None, paths: Vec::new() }
            }
            _ => return,
        };
        let sender = if to == GATEWAY { &mut self.gateway } else { &mut self.stranger };
        let payload = sender.seal(&self.keys, it.header.vpc, it.header.transaction, &answer).unwrap();
        self.input(Input::Underlay { from: to, to: HERE, payload: &payload });
    }

    /// What was said of this kind since the last question.
    pub(super) fn said(&mut self, kind: &str) -> Vec<(Ipv4Addr, Message)> {
        std::mem::take(&mut self.said).into_iter().filter(|(_, m)| m.kind().label() == kind).collect()
    }

    pub(super) fn acks(&mut self) -> Vec<Status> {
        let said = self.said("ack").into_iter();
        said.filter_map(|(_, m)| if let Message::Ack(status) = m { Some(status) } else { None }).collect()
    }

    pub(super) fn sealed(&mut self, message: &Message) -> Vec<u8> {
        let keys = self.keys.clone();
        self.sealed_with(&keys, message)
    }

    pub(super) fn sealed_with(&mut self, keys: &Keyring, message: &Message) -> Vec<u8> {
        self.gateway.seal(keys, VpcTag(5), Transaction::random(), message).unwrap()
    }

    pub(super) fn overlay_bytes(&mut self, payload: &[u8]) {
        self.input(Input::Overlay { vni: WEB.vni, from: GATEWAY, payload });
    }

    pub(super) fn overlay(&mut self, message: Message) {
        let payload = self.sealed(&message);
        self.overlay_bytes(&payload);
    }

    /// The gateway grants a shortcut, and again when it is asked to.
    pub(super) fn offer(&mut self, shortcut: Shortcut) {
        self.said.clear();
        self.offer_quietly(shortcut);
    }

    pub(super) fn offer_quietly(&mut self, shortcut: Shortcut) {
        self.overlay(Message::Shortcut(shortcut));
    }

    /// Another agent says something; it has the key, too.
    pub(super) fn underlay_from_stranger(&mut self, from: Ipv4Addr, message: &Message) {
        self.said.clear();
        let payload = self.stranger.seal(&self.keys, VpcTag(5), Transaction::random(), message).unwrap();
        self.input(Input::Underlay { from, to: HERE, payload: &payload });
    }

    /// A VM is no longer here.
    pub(super) fn leave(&mut self, vm: Station) {
        self.said.clear();
        let mut view = self.agent.view.clone();
        view.vms.remove(&(vm.vni, vm.mac));
        self.input(Input::View(view));
    }

    /// Packets take each shortcut that the kernel would use.
    pub(super) fn hit(&mut self, packets: u64) {
        for rule in self.kernel.values().filter(|rule| rule.expires_ns > self.now) {
            let count = self.counts.entry(rule.slot).or_default();
            *count = Count { packets: count.packets + packets, bytes: count.bytes + 100 * packets };
        }
    }

    /// Time passes; the agent is woken when it wants to be.
    pub(super) fn pass(&mut self, ns: u64) {
        let end = self.now + ns;
        while let Some(wake) = self.agent.wakes_ns().filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            self.input(Input::Tick);
        }
        self.now = end;
        self.input(Input::Tick);
    }
}
