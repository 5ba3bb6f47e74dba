//! No sequence of messages installs a shortcut that the policy forbids, and none outlives its lifetime: whatever hosts say, what they were
//! told and not told to forget is allowed, leads to the right place, and is no older than its lifetime.

use std::{collections::HashMap, net::Ipv4Addr};

use proptest::{collection::vec, prelude::*};
use tidegate_fastpath::types::{Nanos, NetId};
use tidegate_zsnp::{
    Action, Capabilities, Hit, Match, Message, RefusedWhy, Scope, Station, Status, Transaction,
    WithdrawReason,
};

use super::town::{NETS, OURS, Town, got, host, mac_of, matches, net_of, settings, vm, vni};
use crate::zsnp::{Machine, Order, Phase, Sighting, Site, machine::Said};

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Seen {
        host: u8,
        source: u8,
        to: (u8, u8),
    },
    /// A host claims a VM, in answer to one of the last questions.
    Here {
        host: u8,
        at: u8,
        to: (u8, u8),
        question: usize,
    },
    Ack {
        host: u8,
        status: u8,
        question: usize,
    },
    Renew {
        host: u8,
        source: u8,
        to: (u8, u8),
        packets: u64,
    },
    Unreachable {
        question: usize,
    },
    Other {
        host: u8,
        which: u8,
    },
    Forbid {
        source: u8,
        to: (u8, u8),
        is: bool,
    },
    Switch(bool),
    Move {
        to: (u8, u8),
        host: u8,
    },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (hosts, nets) = (1u8..4, 1u8..=NETS as u8);
    let to = (nets.clone(), 2u8..4);
    let question = 0usize..3;
    prop_oneof![
        4 => (hosts.clone(), nets.clone(), to.clone()).prop_map(|(host, source, to)| Step::Seen { host, source, to }),
        4 => (hosts.clone(), hosts.clone(), to.clone(), question.clone())
            .prop_map(|(host, at, to, question)| Step::Here { host, at, to, question }),
        4 => (hosts.clone(), 0u8..5, question.clone())
            .prop_map(|(host, status, question)| Step::Ack { host, status, question }),
        2 => (hosts.clone(), nets.clone(), to.clone(), any::<u64>())
            .prop_map(|(host, source, to, packets)| Step::Renew { host, source, to, packets }),
        1 => question.prop_map(|question| Step::Unreachable { question }),
        1 => (hosts.clone(), 0u8..4).prop_map(|(host, which)| Step::Other { host, which }),
        1 => (nets, to.clone(), any::<bool>()).prop_map(|(source, to, is)| Step::Forbid { source, to, is }),
        1 => prop::bool::weighted(0.7).prop_map(Step::Switch),
        2 => (to, hosts).prop_map(|(to, host)| Step::Move { to, host }),
        3 => prop_oneof![0u64..1_000, 0u64..40_000].prop_map(Step::Pass),
    ]
}

/// What a host was told.
#[derive(Clone, Copy, Debug)]
struct Rule {
    action: Action,
    until: Nanos,
}

struct World {
    town: Town,
    machine: Machine,
    now: Nanos,
    rules: HashMap<(Ipv4Addr, Match), Rule>,
    /// The last questions, with whom a SHORTCUT was for.
    asked: Vec<(Transaction, Option<(Ipv4Addr, Match)>)>,
}

impl World {
    fn new() -> World {
        let mut town = Town::new();
        for net in 1..=NETS as u8 {
            (2..4).for_each(|number| _ = town.places.insert(vm(net, number), host(number)));
        }
        let machine = Machine::new(Some(&settings()), 7);
        World { town, machine, now: Nanos(0), rules: HashMap::new(), asked: Vec::new() }
    }

    fn question(&self, back: usize) -> (Transaction, Option<(Ipv4Addr, Match)>) {
        let at = self.asked.len().checked_sub(1 + back);
        at.map_or((Transaction(1), None), |at| self.asked[at])
    }

    fn says(&mut self, from: Ipv4Addr, transaction: Transaction, message: Message) {
        self.machine.heard(self.now, &self.town, from, OURS, &got(from, transaction, message));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Seen { host: at, source, to } => {
                // Whose tunnel end is in the key: VM 9 of each network is on every host.
                let sighting = Sighting {
                    host: host(at),
                    source: NetId(source.into()),
                    vm: vm(source, 100 + at),
                    destination: vm(to.0, to.1),
                };
                self.machine.seen(self.now, &self.town, sighting);
            }
            Step::Here { host: from, at, to, question } => {
                let address = vm(to.0, to.1);
                let station = Station { address, mac: mac_of(address), vni: vni(net_of(address)) };
                let capabilities = Capabilities::DESTINATION;
                let here = Message::Here { station, vtep: host(at), mtu: 1450, capabilities };
                self.says(host(from), self.question(question).0, here);
            }
            Step::Ack { host: from, status, question } => {
                let (transaction, of) = self.question(question);
                let status = match status {
                    0..2 => Status::Installed,
                    2 => Status::TableFull,
                    3 => Status::Refused(RefusedWhy::NotFresh),
                    _ => Status::Refused(RefusedWhy::Policy),
                };
                // Who refuses has nothing.
                if let Some(key) = of.filter(|(to, _)| status != Status::Installed && *to == host(from)) {
                    self.rules.remove(&key);
                }
                self.says(host(from), transaction, Message::Ack(status));
            }
            Step::Renew { host: from, source, to, packets } => {
                let matches = matches(NetId(source.into()), vm(to.0, to.1));
                let hit = Hit { matches, packets, bytes: packets };
                self.says(host(from), Transaction(3), Message::Renew(vec![hit]));
            }
            Step::Unreachable { question } => {
                let transaction = self.question(question).0;
                self.machine.unreachable(self.now, transaction);
            }
            Step::Other { host: from, which } => {
                let message = match which {
                    0 => Message::Hello {
                        capabilities: Capabilities::default(),
                        counters: None,
                        paths: Vec::new(),
                    },
                    1 => Message::ProbeReply { sent: 1 },
                    2 => Message::Renew(Vec::new()),
                    _ => Message::Withdraw { scope: Scope::Vpc, reason: WithdrawReason::Policy },
                };
                self.says(host(from), Transaction(4), message);
            }
            Step::Forbid { source, to, is } => {
                let key = (NetId(source.into()), vm(to.0, to.1));
                if is {
                    self.town.forbidden.insert(key)
                } else {
                    self.town.forbidden.remove(&key)
                };
                self.machine.changed(self.now, &self.town);
            }
            Step::Switch(on) => {
                self.town.on = on;
                self.machine.changed(self.now, &self.town);
            }
            Step::Move { to, host: at } => {
                let address = vm(to.0, to.1);
                self.town.places.insert(address, host(at));
                self.machine.touched(self.now, &self.town, net_of(address), address);
            }
            Step::Pass(ms) => {
                self.now = Nanos(self.now.0 + ms * 1_000_000);
                self.machine.tick(self.now, &self.town);
            }
        }
    }

    /// Delivers what was ordered, and looks at everything that hosts have.
    fn hold(&mut self) -> Result<(), TestCaseError> {
        while let Some(order) = self.machine.take_order() {
            let (to, said) = match order {
                Order::Resolve(..) => continue,
                // VM 100 + n is on host n.
                Order::Overlay { address, said, .. } => (host(address.octets()[3].wrapping_sub(100)), said),
                Order::Underlay { to, said, .. } => (to, said),
            };
            let Said { transaction, message, .. } = said;
            let mut of = None;
            match message {
                Message::Shortcut(told) => {
                    prop_assert!(told.lifetime_s <= settings().lifetime_s);
                    let until = Nanos(self.now.0 + u64::from(told.lifetime_s) * 1_000_000_000);
                    of = Some((to, told.matches));
                    self.rules.insert((to, told.matches), Rule { action: told.action, until });
                }
                Message::Withdraw { scope: Scope::One(one), .. } => _ = self.rules.remove(&(to, one)),
                Message::Withdraw { scope: Scope::Vpc, .. } => self.rules.retain(|(at, _), _| *at != to),
                _ => {}
            }
            self.asked.push((transaction, of));
        }
        let now = self.now;
        self.rules.retain(|_, rule| now < rule.until);
        for ((_, matches), rule) in &self.rules {
            let source = self.town.network(OURS, matches.vni, matches.gateway_mac).unwrap();
            let leg = self.town.judge(source, matches.destination);
            prop_assert!(leg.is_ok(), "{matches:?} is {leg:?}");
            let place = self.town.place(net_of(matches.destination), matches.destination).unwrap();
            prop_assert_eq!((rule.action.vtep, rule.action.mac), (place.vtep, place.mac));
        }
        Ok(())
    }

    /// The numbers that the machine keeps beside its pairs are right.
    fn adds_up(&self) -> Result<(), TestCaseError> {
        let bounds = settings();
        prop_assert!(self.machine.pairs().count() <= bounds.pairs_per_vpc);
        for phase in Phase::ALL {
            let count = self.machine.pairs().filter(|(_, pair)| pair.phase() == phase).count();
            prop_assert_eq!(self.machine.in_phase(phase), count);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_hosts_have_is_allowed_and_young(steps in vec(step(), 0..120)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.hold()?;
            world.adds_up()?;
        }
        // Nobody answers, nobody renews: a lifetime after the last try nothing is left.
        for ms in [1_000, 1_000, 1_000, 31_100] {
            world.take(Step::Pass(ms));
            world.hold()?;
        }
        world.hold()?;
        prop_assert!(world.rules.is_empty());
        prop_assert_eq!(world.machine.in_phase(Phase::Active), 0);
    }
}
