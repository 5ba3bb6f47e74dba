//! A compute host: the core of its agent, and as much of a kernel as that needs.

use std::{collections::BTreeMap, net::Ipv4Addr};

use tidegate_agent::{
    bpf::{Count, Pair, Rule},
    core::{Agent, Input, Limits, Output, Settings, Uplink, View},
};
use tidegate_zsnp::{Keyring, Sender, SenderId};

use super::{
    town::{COUNT, Town, mac_of, net_of, vni, vtep},
    words::Words,
};

/// The interface that leads to the underlay.
const UNDERLAY: u32 = 9;
/// Most shortcuts of a host: few, so that it is full at times.
const SHORTCUTS_MAX: u32 = 4;

/// One of the hosts.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) vtep: Ipv4Addr,
    pub(super) agent: Agent,
    pub(super) words: Words,
    /// What the kernel uses.
    pub(super) kernel: BTreeMap<Pair, Rule>,
    counts: BTreeMap<u32, Count>,
    /// Its networks, bit by bit.
    networks: u8,
    number: u8,
    lives: u64,
    keys: Keyring,
    grace_ns: u64,
}

impl Host {
    pub(super) fn new(number: u8, keys: &Keyring, grace_ns: u64) -> Host {
        Host {
            vtep: vtep(number),
            agent: agent(number, 1, keys, grace_ns),
            words: Words::default(),
            kernel: BTreeMap::new(),
            counts: BTreeMap::new(),
            networks: u8::MAX,
            number,
            lives: 1,
            keys: keys.clone(),
            grace_ns,
        }
    }

    /// The agent is killed; another one starts, and the kernel has forgotten.
    pub(super) fn restart(&mut self) {
        self.lives += 1;
        self.agent = agent(self.number, self.lives, &self.keys, self.grace_ns);
        self.kernel.clear();
        self.words.forget();
    }

    /// A network of it comes or goes.
    pub(super) fn plug(&mut self, net: u8) {
        self.networks ^= 1 << net;
    }

    /// What the kernel says of the host.
    pub(super) fn view(&self, town: &Town) -> View {
        let has = |net: u8| self.networks & 1 << net != 0;
        let uplink = Uplink { vtep: self.vtep, mtu: 1450 };
        let vms = town.places.iter().filter(|(vm, host)| **host == self.number && has(net_of(**vm)));
        View {
            networks: (1..=COUNT).filter(|net| has(*net)).map(|net| (vni(net), uplink)).collect(),
            vms: vms.map(|(vm, _)| ((vni(net_of(*vm)), mac_of(*vm)), u32::from(vm.octets()[3]))).collect(),
        }
    }

    /// Something happens; gives what the agent sends.
    ///
    /// # Panics
    /// When it installs what it must not.
    pub(super) fn input(&mut self, now: u64, input: Input<'_>) -> Vec<(Ipv4Addr, Vec<u8>)> {
        let mut sent = Vec::new();
        let mut todo = vec![input];
        while let Some(input) = todo.pop() {
            let counts = &self.counts;
            self.agent.input(now, &|slot| counts.get(&slot).copied().unwrap_or_default(), input);
            while let Some(output) = self.agent.output() {
                match output {
                    Output::Install { pair, rule, fresh } => {
                        self.words.allow(self.vtep, pair, &rule, self.grace_ns);
                        if fresh {
                            self.counts.remove(&rule.slot);
                        }
                        self.kernel.insert(pair, rule);
                    }
                    Output::Remove(pair) => drop(self.kernel.remove(&pair)),
                    Output::AskRoute(vtep) => todo.push(Input::Route { vtep, out: Some(UNDERLAY) }),
                    Output::Note(_) => {}
                    Output::Send { to, payload, .. } => sent.push((to, payload)),
                }
            }
        }
        let table = self.agent.table();
        assert!(table.len() == self.kernel.len() && table.len() <= SHORTCUTS_MAX as usize);
        assert!(self.kernel.keys().all(|pair| table.get(*pair).is_some()), "table and kernel agree");
        sent
    }

    /// Packets take every shortcut that the kernel would use.
    pub(super) fn hit(&mut self, now: u64) {
        for rule in self.kernel.values().filter(|rule| now < rule.expires_ns) {
            let count = self.counts.entry(rule.slot).or_default();
            *count = Count { packets: count.packets + 3, bytes: count.bytes + 300 };
        }
    }

    /// Whether a packet would go directly.
    pub(super) fn is_direct(&self, now: u64) -> bool {
        self.kernel.values().any(|rule| now < rule.expires_ns)
    }
}

fn agent(number: u8, lives: u64, keys: &Keyring, grace_ns: u64) -> Agent {
    let limits = Limits { shortcuts_max: SHORTCUTS_MAX, per_vpc_max: SHORTCUTS_MAX, per_vm_max: 2 };
    let settings = Settings { keys: keys.clone(), limits, grace_ns };
    Agent::new(settings, Sender::new(SenderId(number.into()), lives))
}
