//! Both ends of ZSNP, and between them a network that loses, doubles, delays and reorders, hosts that lie, and people who forge.

mod host;
mod town;
mod words;

use std::net::Ipv4Addr;

use tidegate_agent::core::Input;
use tidegate_control::zsnp::{Machine, Order, Said, Sighting, Site};
use tidegate_fastpath::types::{Nanos, NetId};
use tidegate_zsnp::{
    Capabilities, Hit, Keyring, Match, Message, Receiver, RefusedWhy, Sender, SenderId, Station, Status,
    Transaction, Vni, VpcTag,
};

use self::{
    host::Host,
    town::{COUNT, GATEWAY, LIFETIME_S, Town, gateway_mac, mac_of, net_of, settings, vm, vni, vtep},
};

const S: u64 = 1_000_000_000;
/// No message is on the way for longer.
const TRANSIT_NS: u64 = 2 * S;
/// How long a shortcut outlives a silent gateway, in the half of all scripts where it may.
const GRACE_NS: u64 = 100 * S;
/// Messages that can be played again.
const RECORDED_MAX: usize = 64;
/// Messages on the way; more are lost.
const FLYING_MAX: usize = 256;

/// How a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Overlay(Vni),
    Underlay,
}

/// A message on its way.
#[derive(Clone, Debug)]
struct Letter {
    sent_ns: u64,
    from: Ipv4Addr,
    to: Ipv4Addr,
    way: Way,
    payload: Vec<u8>,
}

/// What a script has led to; for the test that the corpus is worth something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Shortcuts installed.
    pub installed: u64,
    /// Taken away by WITHDRAW.
    pub withdrawn: u64,
    /// Ended by themselves.
    pub expired: u64,
    /// Left because their host was silent.
    pub unreachable: u64,
    /// Prolonged by hosts.
    pub prolonged: u64,
    /// WITHDRAW(moved) of hosts.
    pub moved: u64,
    /// WITHDRAWs that were said again.
    pub again: u64,
    /// Messages refused.
    pub refused: u64,
}

impl Reached {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Reached) -> Reached {
        Reached {
            installed: self.installed + other.installed,
            withdrawn: self.withdrawn + other.withdrawn,
            expired: self.expired + other.expired,
            unreachable: self.unreachable + other.unreachable,
            prolonged: self.prolonged + other.prolonged,
            moved: self.moved + other.moved,
            again: self.again + other.again,
            refused: self.refused + other.refused,
        }
    }
}

struct World {
    now: u64,
    town: Town,
    machine: Machine,
    gateway: Sender,
    ears: Receiver,
    lives: u64,
    /// Nothing reaches the gateway.
    silent: bool,
    hosts: Vec<Host>,
    flying: Vec<Letter>,
    recorded: Vec<Letter>,
    /// The last questions of the gateway.
    asked: Vec<Transaction>,
    keys: Keyring,
    foreign: Keyring,
    reached: Reached,
}

/// The script, byte by byte; 0 behind its end.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// One of 1 to `max`.
    fn one_of(&mut self, max: u8) -> u8 {
        self.byte() % max + 1
    }

    fn vm(&mut self) -> Ipv4Addr {
        let byte = self.byte();
        vm(byte % COUNT + 1, 2 + byte / 16 % 2)
    }
}

/// A script of what happens in a town; the first byte says whether hosts may prolong shortcuts. What a host has was allowed when the
/// gateway said so, it was not taken back since, and it ends in time; once the switch is off and messages arrive, nothing is left.
///
/// # Panics
/// When it is not so.
pub fn shortcuts(input: &[u8]) {
    shortcuts_reached(input);
}

/// The same, and what it led to.
///
/// # Panics
/// See [`shortcuts`].
pub fn shortcuts_reached(input: &[u8]) -> Reached {
    let mut script = Script(input);
    let grace_ns = if script.byte() & 1 == 1 { GRACE_NS } else { 0 };
    let mut world = World::new(grace_ns);
    while !script.0.is_empty() {
        world.step(&mut script);
        world.settle();
    }
    world.end();
    world.reached()
}

fn keyring(byte: &str) -> Keyring {
    Keyring::parse(&format!("7 {}", byte.repeat(32))).unwrap_or_else(|why| panic!("{why}"))
}

impl World {
    fn new(grace_ns: u64) -> World {
        let keys = keyring("ab");
        let hosts = (1..=COUNT).map(|number| Host::new(number, &keys, grace_ns)).collect();
        let mut world = World {
            now: 1000 * S,
            town: Town::new(),
            machine: Machine::new(Some(&settings()), 1),
            gateway: Sender::new(SenderId(100), 1),
            ears: Receiver::new(16),
            lives: 1,
            silent: false,
            hosts,
            flying: Vec::new(),
            recorded: Vec::new(),
            asked: Vec::new(),
            foreign: keyring("cd"),
            keys,
            reached: Reached::default(),
        };
        world.look();
        world
    }

    fn time(&self) -> Nanos {
        Nanos(self.now)
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let time = self.time();
        match script.byte() % 16 {
            0 => {
                let (host, net, destination) = (script.one_of(COUNT), script.one_of(COUNT), script.vm());
                let (host, source) = (vtep(host), NetId(net.into()));
                self.machine.seen(time, &self.town, Sighting { host, source, vm: vm(net, 2), destination });
            }
            1 => self.deliver_all(),
            2 => self.with_letter(script, |world, letter| world.deliver(&letter)),
            3 => self.with_letter(script, |_, _| ()),
            4 => self.with_letter(script, |world, letter| world.flying.extend([letter.clone(), letter])),
            5 => self.pass(u64::from(script.byte()) * 20_000_000),
            6 => {
                for _ in 0..script.byte() {
                    self.deliver_all();
                    self.pass(S / 2);
                }
            }
            7 => {
                self.town.on = script.byte() & 1 == 1;
                self.machine.changed(time, &self.town);
            }
            8 => {
                let (net, destination) = (NetId(script.one_of(COUNT).into()), script.vm());
                let key = (net, destination);
                if !self.town.forbidden.remove(&key) {
                    self.town.forbidden.insert(key);
                }
                self.machine.changed(time, &self.town);
            }
            9 => {
                let (vm, host) = (script.vm(), script.one_of(COUNT));
                self.town.places.insert(vm, host);
                self.look();
                self.machine.touched(time, &self.town, NetId(net_of(vm).into()), vm);
            }
            10 => {
                let at = script.one_of(COUNT);
                let now = self.now;
                self.hosts[usize::from(at) - 1].hit(now);
            }
            11 => {
                if let Some(letter) = pick(&self.recorded, script.byte()).cloned() {
                    self.flying.push(Letter { sent_ns: self.now, ..letter });
                }
            }
            12 => self.forge(script),
            13 => self.restart(script.byte()),
            14 => self.lie(script),
            _ => {
                let (at, net) = (script.one_of(COUNT), script.one_of(COUNT));
                self.hosts[usize::from(at) - 1].plug(net);
                self.look();
            }
        }
    }

    /// Takes a letter off its way.
    fn with_letter(&mut self, script: &mut Script<'_>, what: impl Fn(&mut World, Letter)) {
        let at = usize::from(script.byte());
        if !self.flying.is_empty() {
            let letter = self.flying.remove(at % self.flying.len());
            what(self, letter);
        }
    }

    /// Each agent sees what its host is now.
    fn look(&mut self) {
        for at in 0..self.hosts.len() {
            let view = self.hosts[at].view(&self.town);
            self.tell(at, Input::View(view));
        }
    }

    fn tell(&mut self, at: usize, input: Input<'_>) {
        let (host, now) = (&mut self.hosts[at], self.now);
        let from = host.vtep;
        for (to, payload) in host.input(now, input) {
            self.send(Letter { sent_ns: now, from, to, way: Way::Underlay, payload });
        }
    }

    fn send(&mut self, letter: Letter) {
        if self.recorded.len() == RECORDED_MAX {
            self.recorded.remove(0);
        }
        self.recorded.push(letter.clone());
        if self.flying.len() < FLYING_MAX {
            self.flying.push(letter);
        }
    }

    /// The gateway's orders become letters; each is looked at before.
    fn settle(&mut self) {
        while let Some(order) = self.machine.take_order() {
            let (to, way, said) = match order {
                Order::Resolve(..) => continue,
                Order::Overlay { net, address, said } => {
                    let Some(host) = self.town.places.get(&address) else { continue };
                    let Some(wire) = self.town.wire(net) else { continue };
                    (vtep(*host), Way::Overlay(wire.vni), said)
                }
                Order::Underlay { to, said, .. } => (to, Way::Underlay, said),
            };
            self.post(to, way, &said);
        }
    }

    fn post(&mut self, to: Ipv4Addr, way: Way, said: &Said) {
        let Said { vpc, transaction, message } = said;
        let sealed = self.gateway.seal(&self.keys, *vpc, *transaction, message);
        let payload = sealed.unwrap_or_else(|why| panic!("{why}"));
        if let Message::Shortcut(shortcut) = message {
            let source = self.town.network(GATEWAY, shortcut.matches.vni, shortcut.matches.gateway_mac);
            let to_vm = shortcut.matches.destination;
            let leg = source.map(|source| self.town.judge(source, to_vm));
            assert!(matches!(leg, Some(Ok(_))), "{shortcut:?} is offered, and is {leg:?}");
            let place = self.town.place(NetId(net_of(to_vm).into()), to_vm);
            let action = shortcut.action;
            assert_eq!(
                place.map(|place| (place.vtep, place.mac)),
                Some((action.vtep, action.mac)),
                "leads where the VM is"
            );
            assert!(shortcut.lifetime_s <= LIFETIME_S);
            let order = (self.lives, sequence(&payload));
            if let Some(host) = self.hosts.iter_mut().find(|host| host.vtep == to) {
                host.words.said(self.now, order, *shortcut);
            }
        }
        self.asked.push(*transaction);
        self.send(Letter { sent_ns: self.now, from: GATEWAY, to, way, payload });
    }

    /// Everything arrives, and so does what is said about it.
    fn deliver_all(&mut self) {
        for _ in 0..32 {
            for letter in std::mem::take(&mut self.flying) {
                self.deliver(&letter);
            }
            self.settle();
            if self.flying.is_empty() {
                break;
            }
        }
    }

    fn deliver(&mut self, letter: &Letter) {
        if letter.to == GATEWAY {
            if self.silent {
                return;
            }
            if let Ok(got) = self.ears.open(&self.keys, &letter.payload) {
                self.machine.heard(Nanos(self.now), &self.town, letter.from, GATEWAY, &got);
            }
            return;
        }
        let Some(at) = self.hosts.iter().position(|host| host.vtep == letter.to) else { return };
        let (from, payload) = (letter.from, &letter.payload[..]);
        let input = match letter.way {
            Way::Overlay(vni) => Input::Overlay { vni, from, payload },
            Way::Underlay => Input::Underlay { from, to: letter.to, payload },
        };
        let it = Receiver::new(1).open(&self.keys, payload).ok();
        let it = it.filter(|it| it.header.sender == self.gateway.id());
        let refused = |world: &World| world.hosts[at].agent.refusals().total();
        let before = refused(self);
        it.iter().for_each(|it| self.hosts[at].words.granted(it));
        self.tell(at, input);
        if refused(self) == before {
            it.iter().for_each(|it| self.hosts[at].words.withdrawn(it));
        }
    }

    /// Time passes; whoever wants to be woken is.
    fn pass(&mut self, ns: u64) {
        let end = self.now + ns;
        self.settle();
        loop {
            let wakes = self.hosts.iter().filter_map(|host| host.agent.wakes_ns()).min();
            let next = wakes.unwrap_or(end).clamp(self.now + S / 20, self.now + S / 5).min(end);
            self.now = next;
            for at in 0..self.hosts.len() {
                self.tell(at, Input::Tick);
            }
            self.machine.tick(self.time(), &self.town);
            self.settle();
            let now = self.now;
            self.flying.retain(|letter| now <= letter.sent_ns + TRANSIT_NS);
            if self.now >= end {
                return;
            }
        }
    }

    /// Somebody without the key, or who changes what he has heard.
    fn forge(&mut self, script: &mut Script<'_>) {
        let (how, at, bit) = (script.byte(), script.byte(), usize::from(script.byte()));
        let Some(mut letter) = pick(&self.recorded, at).cloned() else { return };
        letter.sent_ns = self.now;
        match how % 3 {
            0 => {
                let at = bit * 8 % (letter.payload.len() * 8);
                letter.payload[at / 8] ^= 1 << (bit % 8);
            }
            1 => letter.payload.truncate(bit),
            _ => {
                let Ok(it) = Receiver::new(1).open(&self.keys, &letter.payload) else { return };
                let mut forger = Sender::new(it.header.sender, it.header.epoch + 1);
                let sealed = forger.seal(&self.foreign, it.header.vpc, it.header.transaction, &it.message);
                letter.payload = sealed.unwrap_or_else(|why| panic!("{why}"));
            }
        }
        self.deliver(&letter);
    }

    /// An agent or the gateway is killed and starts again; or the gateway hears nothing, or hears again.
    fn restart(&mut self, who: u8) {
        let at = usize::from(who % (COUNT + 2));
        if at > self.hosts.len() {
            self.silent = !self.silent;
        } else if at < self.hosts.len() {
            self.add_up(at);
            self.hosts[at].restart();
            self.look();
        } else {
            self.lives += 1;
            self.reached.again += self.machine.counted(tidegate_control::zsnp::ZsnpEvent::WithdrawAgain);
            self.machine = Machine::new(Some(&settings()), self.lives);
            self.gateway = Sender::new(SenderId(100), self.lives);
            self.ears = Receiver::new(16);
        }
    }

    /// Somebody who has the key tells the gateway what is not so, in the name of a host or of none.
    fn lie(&mut self, script: &mut Script<'_>) {
        let (from, kind, to) = (script.one_of(COUNT + 1), script.byte(), script.vm());
        let transaction = pick(&self.asked, script.byte()).copied().unwrap_or(Transaction(1));
        let (net, at) = (script.one_of(COUNT), script.one_of(COUNT + 1));
        let station = Station { address: to, mac: mac_of(to), vni: vni(net_of(to)) };
        let matches = Match { vni: vni(net), gateway_mac: gateway_mac(net), destination: to };
        let message = match kind % 8 {
            0 => {
                let capabilities = Capabilities::DESTINATION;
                Message::Here { station, vtep: vtep(at), mtu: 1450, capabilities }
            }
            1 => Message::Ack(Status::Installed),
            2 => Message::Ack(Status::Removed),
            3 => Message::Ack(Status::TableFull),
            4 => Message::Ack(Status::Refused(RefusedWhy::NotFresh)),
            5 => Message::Renew(vec![Hit { matches, packets: at.into(), bytes: 1 }]),
            6 => return self.machine.unreachable(self.time(), transaction),
            _ => {
                let capabilities = Capabilities(0);
                Message::Hello { capabilities, counters: None, paths: Vec::new() }
            }
        };
        let mut liar = Sender::new(SenderId(u64::from(from) + 200), self.now);
        let sealed = liar.seal(&self.keys, VpcTag(0), transaction, &message);
        let payload = sealed.unwrap_or_else(|why| panic!("{why}"));
        let way = Way::Underlay;
        self.deliver(&Letter { sent_ns: self.now, from: vtep(from), to: GATEWAY, way, payload });
    }

    /// The switch is off and messages arrive: after a lifetime every packet takes the gateway.
    fn end(&mut self) {
        self.silent = false;
        self.town.on = false;
        self.machine.changed(self.time(), &self.town);
        self.settle();
        // Who has prolonged by itself says RENEW within a third of a lifetime, and hears no.
        for _ in 0..2 * LIFETIME_S {
            self.deliver_all();
            self.pass(S);
        }
        for host in &self.hosts {
            assert!(!host.is_direct(self.now), "{} still goes directly: {:?}", host.vtep, host.kernel);
        }
    }

    fn add_up(&mut self, at: usize) {
        let (totals, reached) = (self.hosts[at].agent.totals(), &mut self.reached);
        reached.installed += totals.installed;
        reached.withdrawn += totals.withdrawn;
        reached.expired += totals.expired;
        reached.unreachable += totals.unreachable;
        reached.prolonged += totals.prolonged;
        reached.moved += totals.moved;
        reached.refused += self.hosts[at].agent.refusals().total();
    }

    fn reached(mut self) -> Reached {
        (0..self.hosts.len()).for_each(|at| self.add_up(at));
        self.reached.again += self.machine.counted(tidegate_control::zsnp::ZsnpEvent::WithdrawAgain);
        self.reached
    }
}

/// The one that a byte names, the newest first.
fn pick<T>(all: &[T], byte: u8) -> Option<&T> {
    let back = usize::from(byte) % all.len().max(1);
    all.iter().nth_back(back)
}

/// Of a message that we have sealed ourselves.
fn sequence(payload: &[u8]) -> u64 {
    payload.get(32..40).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// What a fuzzer begins with: scripts of a good life and of its ends.
pub fn seeds() -> Vec<Vec<u8>> {
    /// VM 2 of network 1 on host 1 talks to VM 2 of network 2 on host 2, and both ends agree.
    const ESTABLISHED: [u8; 12] = [0, 0, 0, 1, 1, 5, 20, 1, 5, 50, 1, 1];
    let after = |steps: &[u8]| [&[0][..], &ESTABLISHED, steps].concat();
    let prolonging = |steps: &[u8]| [&[1][..], &ESTABLISHED, steps].concat();
    vec![
        // It is used and renewed, and ends when it is not.
        after(&[10, 0, 6, 22, 10, 0, 6, 22, 6, 80]),
        // Switched off: the WITHDRAW is lost, and said again.
        after(&[7, 0, 3, 0, 5, 15, 1]),
        // A SHORTCUT on its way is overtaken by a WITHDRAW.
        after(&[6, 25, 0, 0, 0, 1, 7, 0, 2, 1, 2, 0]),
        // The VM moves; its old host says so.
        after(&[9, 1, 2, 5, 50, 1, 5, 50, 1]),
        // The gateway is silent, packets go on; it comes back without memory.
        prolonging(&[
            10, 0, 6, 22, 13, 4, 10, 0, 6, 22, 10, 0, 6, 22, 10, 0, 6, 22, 13, 3, 13, 4, 10, 0, 6, 22,
        ]),
        // Forged, cut, flipped, played again; a liar.
        after(&[
            12, 0, 0, 9, 12, 1, 0, 40, 12, 2, 0, 0, 11, 3, 1, 14, 0, 0, 1, 0, 1, 2, 14, 1, 5, 1, 0, 0, 1,
        ]),
        // The other host is silent; agents are killed; a network is unplugged.
        after(&[
            10, 0, 5, 60, 10, 0, 5, 60, 5, 60, 5, 60, 5, 60, 13, 0, 1, 13, 1, 1, 15, 0, 0, 1, 15, 0, 0, 1,
        ]),
    ]
}
