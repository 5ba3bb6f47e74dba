//! Recorded conversations: `control/tests/zsnp/<what happens>/events`. A line is something that happens, with its time in ms; the lines
//! after it that begin with `<` are what the machine orders then. `#n` is the n-th transaction. `GOLDEN_UPDATE=1` writes the orders anew.

use std::{fmt::Write, fs, net::Ipv4Addr, path::Path};

use tidegate_fastpath::types::{Nanos, NetId};
use tidegate_zsnp::{Capabilities, Hit, Message, RefusedWhy, Scope, Station, Status, Transaction};

use super::town::{OURS, Town, got, mac_of, matches, net_of, settings, vni};
use crate::zsnp::{
    Machine, Order, Sighting,
    machine::Said,
    pair::{Pair, PairKey},
};

#[test]
fn recorded_conversations_go_as_they_went() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/zsnp");
    let mut seen = 0;
    for folder in fs::read_dir(&root).unwrap() {
        let file = folder.unwrap().path().join("events");
        let recorded = fs::read_to_string(&file).unwrap();
        let played = Play::new().play(&recorded);
        if std::env::var_os("GOLDEN_UPDATE").is_some() {
            fs::write(&file, &played).unwrap();
        }
        let now = fs::read_to_string(&file).unwrap();
        assert_eq!(now, played, "{}", file.display());
        seen += 1;
    }
    assert!(seen > 0, "{} is empty", root.display());
}

struct Play {
    town: Town,
    machine: Machine,
    /// By the order in which they were first seen.
    transactions: Vec<Transaction>,
}

impl Play {
    fn new() -> Play {
        Play { town: Town::new(), machine: Machine::new(Some(&settings()), 1), transactions: Vec::new() }
    }

    fn play(&mut self, recorded: &str) -> String {
        let mut played = String::new();
        for line in recorded.lines().filter(|line| !line.starts_with('<')) {
            writeln!(played, "{line}").unwrap();
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            let number = line.split_once('#').and_then(|(_, rest)| rest.trim().parse::<usize>().ok());
            if let [time, what, rest @ ..] = &words[..] {
                let now = Nanos::from_ms(time.parse().unwrap());
                self.machine.tick(now, &self.town);
                self.happens(now, what, rest, number);
                self.tell(&mut played);
            }
        }
        played
    }

    fn happens(&mut self, now: Nanos, what: &str, rest: &[&str], number: Option<usize>) {
        let asked = number.map_or(Transaction(77), |n| self.transactions[n - 1]);
        let ip = |at: usize| rest[at].parse::<Ipv4Addr>().unwrap();
        match what {
            "passes" => {}
            "seen" => {
                let sighting = Sighting { host: ip(0), source: net_of(ip(1)), vm: ip(1), destination: ip(2) };
                self.machine.seen(now, &self.town, sighting);
            }
            "at" => {
                self.town.places.insert(ip(0), ip(1));
                self.machine.touched(now, &self.town, net_of(ip(0)), ip(0));
            }
            "here" => {
                let address = ip(1);
                let station = Station { address, mac: mac_of(address), vni: vni(net_of(address)) };
                let capabilities = Capabilities::DESTINATION;
                self.says(now, ip(0), asked, Message::Here { station, vtep: ip(0), mtu: 1450, capabilities });
            }
            "ack" => {
                let status = match rest[1] {
                    "installed" => Status::Installed,
                    "removed" => Status::Removed,
                    "full" => Status::TableFull,
                    "stale" => Status::Refused(RefusedWhy::NotFresh),
                    _ => Status::Refused(RefusedWhy::Policy),
                };
                self.says(now, ip(0), asked, Message::Ack(status));
            }
            "renew" => {
                let source = NetId(rest[1].parse().unwrap());
                let packets = rest[3].parse().unwrap();
                let hit = Hit { matches: matches(source, ip(2)), packets, bytes: 100 * packets };
                self.says(now, ip(0), asked, Message::Renew(vec![hit]));
            }
            "hello" => {
                let capabilities = Capabilities::SOURCE;
                let hello = Message::Hello { capabilities, counters: None, paths: Vec::new() };
                self.says(now, ip(0), asked, hello);
            }
            "unreachable" => self.machine.unreachable(now, asked),
            "limit" => {
                self.town.forbidden.insert((net_of(ip(0)), ip(1)));
                self.machine.changed(now, &self.town);
            }
            "switch" => {
                self.town.on = rest[0] == "on";
                self.machine.changed(now, &self.town);
            }
            "stops" => self.machine.stop(),
            other => panic!("nobody knows how `{other}` happens"),
        }
    }

    fn says(&mut self, now: Nanos, from: Ipv4Addr, asked: Transaction, message: Message) {
        self.machine.heard(now, &self.town, from, OURS, &got(from, asked, message));
    }

    /// Writes the orders, and what became of the pairs that changed.
    fn tell(&mut self, played: &mut String) {
        while let Some(order) = self.machine.take_order() {
            let (to, said) = match order {
                Order::Resolve(net, address) => {
                    writeln!(played, "< resolve {address} on {net}").unwrap();
                    continue;
                }
                Order::Overlay { address, said, .. } => (format!("vm {address}"), said),
                Order::Underlay { to, said, .. } => (format!("host {to}"), said),
            };
            let Said { transaction, message, .. } = said;
            let known = self.transactions.iter().position(|known| *known == transaction);
            let number = known.unwrap_or_else(|| {
                self.transactions.push(transaction);
                self.transactions.len() - 1
            });
            writeln!(played, "< {to} {} #{}", words(&message), number + 1).unwrap();
        }
        let mut pairs: Vec<(&PairKey, &Pair)> = self.machine.pairs().collect();
        pairs.sort_unstable_by_key(|(key, _)| **key);
        for (key, pair) in pairs {
            let why = pair.why.map_or_else(String::new, |why| format!(": {}", why.phrase()));
            let PairKey { host, source, destination } = key;
            let state = pair.phase().label();
            writeln!(played, "<   {host} {source} > {destination} {state}, {} packets{why}", pair.packets)
                .unwrap();
        }
    }
}

fn words(message: &Message) -> String {
    match message {
        Message::Locate(station) => format!("LOCATE {}", station.address),
        Message::Shortcut(shortcut) => {
            format!(
                "SHORTCUT {} > {} by {}",
                shortcut.matches.vni, shortcut.matches.destination, shortcut.action.vtep
            )
        }
        Message::Withdraw { scope: Scope::One(one), reason } => {
            format!("WITHDRAW {} > {} ({reason:?})", one.vni, one.destination)
        }
        Message::Withdraw { scope, reason } => format!("WITHDRAW {scope:?} ({reason:?})"),
        other => other.kind().label().to_uppercase(),
    }
}
