//! A gateway in the test's own process: configuration text in, frames in, frames and counters out, in virtual time. The
//! control core and the workers are the real ones; ports are memory ([`MemIo`]) and the TAPs of local delivery are lists.
//!
//! ```ignore
//! let mut gw = Gateway::start(SITE, 1);
//! let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
//! gw.from(&a, "udp 10.1.1.7:4000 > 10.1.2.9:53").to(&b, "udp 10.1.1.7:4000 > 10.1.2.9:53 ttl=63");
//! gw.moved(["flow_miss", "flow_learn"]); // and no other counter
//! ```
//!
//! A [`Sent`] that is dropped with frames nobody expected fails the test, and after each step the books of every worker
//! must balance. Underlay hosts and the stations that [`Gateway::vm`] made answer ARP requests by themselves, unseen.

mod balance;
mod crash;
mod ledger;
mod sent;
mod station;
mod told;
mod zsnp;

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tidegate_control::{
    compile::PortFact,
    config::{self, Config, Id, LcoreId, Problems, TableKey},
    desired::NetKey,
    gateway::{Gateway as Control, Moment, Prepared},
};
use tidegate_fastpath::{
    counter::Counters,
    flow::FlowMemory,
    io::mem::MemIo,
    reason::DropReason,
    table::{Link, Net, Tables},
    types::{MacAddr, Nanos, NetId, PortId},
    worker::{Idle, Worker},
};

use self::ledger::Ledger;
pub use self::{sent::Sent, station::Station, zsnp::Agent};
use crate::packet;

/// The site that most tests stand on.
pub const SITE: &str = include_str!("site.yaml");

/// Hosts of [`SITE`].
pub const HOST1: &str = "172.31.1.1";
/// See [`HOST1`].
pub const HOST2: &str = "172.31.2.1";
/// See [`HOST1`].
pub const HOST3: &str = "172.31.3.1";

/// Rounds after which a gateway that still has something to do has a packet going in circles.
const ROUNDS_MAX: usize = 1_000;

/// A step of the harness, so that nothing happens at one moment.
const STEP: Nanos = Nanos(1_000);

/// A gateway, the hosts around it, and what they said so far.
#[derive(Debug)]
pub struct Gateway {
    control: Control,
    workers: Vec<Worker<MemIo>>,
    now: Nanos,
    ledger: Ledger,
    /// Who answers ARP requests by themselves, by network and address.
    alive: HashMap<(NetId, Ipv4Addr), Station>,
    /// Packets for the namespaces: VPC or public network, bytes.
    delivered: Vec<(String, Vec<u8>)>,
    /// Whether control runs; a test may stop it.
    pub control_runs: bool,
}

impl Gateway {
    /// Starts a gateway with so many workers and lets its first announcements and requests pass.
    ///
    /// # Panics
    /// When the configuration is refused.
    pub fn start(config: &str, workers: usize) -> Gateway {
        let mut gw = Gateway::fresh(config, workers);
        gw.pass(3_000).ignore();
        gw.ledger.begin(gw.control.counters());
        gw
    }

    /// A gateway at the first moment of its life, among hosts that answer ARP.
    ///
    /// # Panics
    /// When the configuration is refused.
    pub fn fresh(config: &str, workers: usize) -> Gateway {
        let mut gw = Gateway::alone(config, workers);
        gw.meet_hosts();
        gw
    }

    /// A gateway at the first moment of its life, with nobody around.
    ///
    /// # Panics
    /// When the configuration is refused.
    pub fn alone(config: &str, workers: usize) -> Gateway {
        let private = |config: &Config| {
            let flows = config.gateway.limits.flows;
            FlowMemory::private(flows, workers).expect("there is memory")
        };
        Gateway::made(config, workers, Nanos::from_ms(1_000), private)
    }

    fn made(config: &str, workers: usize, now: Nanos, memory: impl FnOnce(&Config) -> FlowMemory) -> Gateway {
        let mut config = config::parse(config).unwrap_or_else(|problems| panic!("{problems}"));
        config.gateway.workers = (1..).map(LcoreId).take(workers).collect();
        let up = |(at, port): (usize, &config::Port)| {
            let mac = port.mac.unwrap_or(MacAddr::from_u64(0x0200_0000_0001 + at as u64));
            (port.id.clone(), PortFact { mac, up: true })
        };
        let ports: HashMap<Id, PortFact> = config.gateway.ports.iter().enumerate().map(up).collect();
        let queues = ports.len();
        let memory = memory(&config);
        let (control, parts) = Control::with_flows(config, ports, now, 1, memory);
        let workers = parts.into_iter().map(|part| Worker::new(part, MemIo::new(queues))).collect();
        let ledger = Ledger::default();
        let (alive, delivered) = (HashMap::new(), Vec::new());
        Gateway { control, workers, now, ledger, alive, delivered, control_runs: true }
    }

    /// Whom the configuration names is there and answers: the hosts of VTEPs, routers that routes lead to. A next hop on a
    /// VXLAN is behind the last VTEP of its pool.
    fn meet_hosts(&mut self) {
        let named: Vec<_> = self.control.machine().neighbours(self.now).filter(|n| n.pinned).collect();
        let vteps: Vec<_> = self.control.machine().remote_vteps(self.now).collect();
        let tables = self.tables();
        for known in named {
            let host = vteps.iter().filter(|v| v.net == known.net && v.configured).map(|v| v.address).max();
            let who = Station::new(&tables, known.net, known.ip, host);
            self.alive.insert((known.net, known.ip), who);
        }
    }

    // ---- who is around -----------------------------------------------------------------------------------------------

    /// A station on a network, behind the VTEP `host` where the network is a VXLAN, that has announced itself and answers
    /// ARP requests.
    pub fn vm(&mut self, net: &str, ip: &str, host: &str) -> Station {
        let vm = self.stranger(net, ip, Some(host));
        self.wake(&vm);
        let moved = self.ledger.read(self.control.counters());
        self.from(&vm, &vm.gratuitous()).ignore();
        self.ledger.forget(self.control.counters(), &moved);
        vm
    }

    /// From now on this station answers ARP requests by itself.
    pub fn wake(&mut self, who: &Station) {
        self.alive.insert((who.id, who.ip), who.clone());
    }

    /// From now on this station answers nothing.
    pub fn silence(&mut self, who: &Station) {
        self.alive.remove(&(who.id, who.ip));
    }

    /// A station that the gateway has not heard of, and that answers nothing.
    ///
    /// # Panics
    /// When there is no such network.
    pub fn stranger(&self, net: &str, ip: &str, host: Option<&str>) -> Station {
        let id = self.net_id(net);
        let tables = self.tables();
        let ip = ip.parse().expect("an address");
        let host = host.map(|host| host.parse().expect("an address"));
        Station::new(&tables, id, ip, host.filter(|_| self.is_vxlan(net)))
    }

    fn is_vxlan(&self, net: &str) -> bool {
        matches!(self.net(net).link, Link::Vxlan { .. })
    }

    // ---- frames ------------------------------------------------------------------------------------------------------

    /// A station sends a packet: what is inside its Ethernet frame, as text.
    pub fn from(&mut self, who: &Station, packet: &str) -> Sent<'_> {
        self.burst(who, &[packet])
    }

    /// A station sends packets that arrive together.
    pub fn burst(&mut self, who: &Station, packets: &[&str]) -> Sent<'_> {
        let frames: Vec<Vec<u8>> = packets.iter().map(|packet| frame(&who.sends(packet))).collect();
        self.arrive(who.port, &frames)
    }

    /// A frame as it is on the port.
    pub fn rx(&mut self, port: &str, text: &str) -> Sent<'_> {
        self.rx_bytes(port, &frame(text))
    }

    /// Bytes as they are on the port.
    pub fn rx_bytes(&mut self, port: &str, bytes: &[u8]) -> Sent<'_> {
        self.arrive(self.port(port), &[bytes.to_vec()])
    }

    /// Frames of a port that arrive together.
    pub fn arrive(&mut self, port: PortId, frames: &[Vec<u8>]) -> Sent<'_> {
        for bytes in frames {
            let at = self.queue_of(bytes);
            self.workers[at].io().push(port, bytes);
        }
        self.run()
    }

    /// Which worker gets what a station sends: a packet as for [`Gateway::from`].
    pub fn worker_of(&self, who: &Station, packet: &str) -> usize {
        self.queue_of(&frame(&who.sends(packet)))
    }

    /// What each worker counts.
    pub fn worker_counters(&self) -> &[Arc<Counters>] {
        self.control.counters()
    }

    /// Lets workers and control do what there is to do, without time passing.
    pub fn run(&mut self) -> Sent<'_> {
        let sent = self.settle();
        Sent::new(self, sent)
    }

    /// Lets time pass until so long after the start of the engine.
    pub fn pass_until(&mut self, at: Duration) -> Sent<'_> {
        self.pass(at.saturating_sub(Duration::from_nanos(self.now.0)).as_millis() as u64)
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: u64) -> Sent<'_> {
        let end = Nanos(self.now.0 + ms * 1_000_000);
        let mut sent = Vec::new();
        while self.now < end {
            let step = if end.0 - self.now.0 > 20_000_000 { Nanos::from_ms(10) } else { Nanos::from_ms(1) };
            self.now = Nanos((self.now.0 + step.0).min(end.0));
            sent.extend(self.settle());
        }
        Sent::new(self, sent)
    }

    /// Runs workers and control until nothing moves; returns what was sent and somebody should expect.
    fn settle(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let mut seen = Vec::new();
        let ports = (0..self.tables().ports.len() as u16).map(PortId);
        for _ in 0..ROUNDS_MAX {
            self.now = Nanos(self.now.0 + STEP.0);
            let mut busy = false;
            let mut sent = Vec::new();
            for worker in &mut self.workers {
                worker.io().set_now(self.now);
                busy |= worker.poll() > 0;
                sent.extend(
                    ports
                        .clone()
                        .flat_map(|port| worker.io().sent(port).into_iter().map(move |frame| (port, frame))),
                );
            }
            self.balance();
            if self.control_runs {
                self.control.poll(self.now);
                self.deliver();
                busy |= self.control.rings().iter().any(|ring| !ring.injects.is_empty());
            }
            for (port, frame) in sent {
                match self.answer(&frame) {
                    Some(answer) => {
                        self.ledger.expect("punt_arp");
                        let at = self.queue_of(&answer);
                        self.workers[at].io().push(port, &answer);
                        busy = true;
                    }
                    None if self.is_for_alive(&frame) => {}
                    None => seen.push((port, frame)),
                }
            }
            if !busy {
                return seen;
            }
        }
        panic!("still busy after {ROUNDS_MAX} rounds: {:?}", self.counters());
    }

    /// The answer of a station that answers by itself, if the frame asks it at the right place.
    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        self.alive.values().find_map(|who| who.answer(frame))
    }

    /// A copy of a request to a place where the station that it asks is not.
    fn is_for_alive(&self, frame: &[u8]) -> bool {
        self.alive.values().any(|who| who.is_asked(frame))
    }

    /// Which worker gets a frame: by the outer addresses and ports, as RSS would.
    fn queue_of(&self, frame: &[u8]) -> usize {
        let sum: usize = frame.iter().skip(26).take(12).map(|b| usize::from(*b)).sum();
        sum % self.workers.len()
    }

    fn deliver(&mut self) {
        while let Some(punted) = self.control.take_punted() {
            let name = self.control.desired().vrf_key(punted.vrf).map(TableKey::to_string);
            self.delivered.push((name.unwrap_or_default(), punted.packet));
        }
    }

    // ---- local delivery ----------------------------------------------------------------------------------------------

    /// The oldest packet that went into a namespace.
    ///
    /// # Panics
    /// When there is none, or it is another one.
    pub fn delivers(&mut self, table: &str, expected: &str) -> &mut Gateway {
        assert!(!self.delivered.is_empty(), "nothing was delivered; expected for {table}: {expected}");
        let (name, bytes) = self.delivered.remove(0);
        assert_eq!(name, table, "delivered to another namespace");
        packet::check(&format!("eth {ZERO} > {ZERO} | {expected}"), &[&ZERO_ETHERNET[..], &bytes].concat())
            .unwrap_or_else(|wrong| panic!("{wrong}"));
        self
    }

    /// Into whose namespaces packets went that no [`Gateway::delivers`] has taken.
    pub fn delivered_to(&self) -> impl Iterator<Item = &str> {
        self.delivered.iter().map(|(name, _)| name.as_str())
    }

    /// A program in the namespace of a VPC sends a packet.
    pub fn inject(&mut self, vpc: &str, packet: &str) -> Sent<'_> {
        let key = TableKey::Vpc(Id::new(vpc).expect("an id"));
        let vrf = self.control.desired().vrf(&key).expect("a VPC");
        assert!(self.control.inject(vrf, &frame(packet)), "the ring is full");
        self.run()
    }

    // ---- what is known -----------------------------------------------------------------------------------------------

    /// Replaces the configuration.
    pub fn reload(&mut self, config: &str) -> Sent<'_> {
        self.try_reload(config).unwrap_or_else(|problems| panic!("{problems}"));
        self.run()
    }

    /// Replaces the configuration without running; says what is wrong with it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn try_reload(&mut self, config: &str) -> Result<u64, Problems> {
        let mut config = config::parse(config)?;
        config.gateway.workers.clone_from(&self.control.desired().config().gateway.workers);
        self.control.apply(config, self.now)
    }

    /// Puts what is in force of desired state into force.
    ///
    /// # Panics
    /// When it would need a restart.
    pub fn configure(&mut self, config: &Config) -> Sent<'_> {
        let mut config = config.clone();
        config.gateway.workers.clone_from(&self.control.desired().config().gateway.workers);
        self.control.apply(config, self.now).unwrap_or_else(|problems| panic!("{problems}"));
        self.run()
    }

    /// What the gateway is now, to prepare a configuration from on another thread.
    pub fn moment(&self) -> Moment {
        self.control.moment()
    }

    /// Puts a prepared configuration into force.
    ///
    /// # Errors
    /// Gives it back where something else changed since.
    pub fn install(&mut self, prepared: Prepared) -> Result<Sent<'_>, Box<Prepared>> {
        self.control.install(prepared, self.now)?;
        Ok(self.run())
    }

    /// Whether all workers use what was published last.
    pub fn is_live(&mut self) -> bool {
        self.control.is_live()
    }

    /// Tells that a port lost its link, or has it again.
    pub fn link(&mut self, port: &str, up: bool) -> Sent<'_> {
        let ports = &self.control.desired().config().gateway.ports;
        let fact = |port: &config::Port| {
            let number = self.control.desired().port(&port.id)?;
            Some((port.id.clone(), *self.control.facts().ports.get(&number)?))
        };
        let mut facts: HashMap<Id, PortFact> = ports.iter().filter_map(fact).collect();
        facts.get_mut(&Id::new(port).expect("an id")).expect("a port").up = up;
        self.control.set_ports(facts, self.now);
        self.run()
    }

    /// The published tables.
    pub fn tables(&self) -> Arc<Tables> {
        Arc::new(self.control.compiled().tables.clone())
    }

    /// A network, by the id of the network or port.
    pub fn net(&self, name: &str) -> Net {
        self.tables().net(self.net_id(name)).expect("a live network").clone()
    }

    /// The number of a network.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn net_id(&self, name: &str) -> NetId {
        let id = Id::new(name).expect("an id");
        let keys = [NetKey::Vpc(id.clone()), NetKey::Public(id.clone()), NetKey::Port(id)];
        let found = keys.iter().find_map(|key| self.control.desired().net(key));
        found.unwrap_or_else(|| panic!("no network is called {name}"))
    }

    /// The number of a port.
    pub fn port(&self, name: &str) -> PortId {
        self.control.desired().port(&Id::new(name).expect("an id")).expect("a port")
    }

    /// The id of a port.
    pub fn port_name(&self, port: PortId) -> String {
        self.control.desired().port_key(port).map(Id::to_string).unwrap_or_default()
    }

    /// How many packets wait for a neighbour, over all workers.
    pub fn held(&self) -> u64 {
        self.control.counters().iter().map(|counters| counters.held.get()).sum()
    }

    /// One worker's ports, to break them.
    pub fn io(&mut self, worker: usize) -> &mut MemIo {
        self.workers[worker].io()
    }

    /// Flow entries in use.
    pub fn flows(&self) -> usize {
        self.control.flow_fill().0
    }

    /// The time.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// The workers stop: what waits is dropped. Returns which counters moved, as [`Gateway::take_moved`].
    pub fn stop(mut self) -> HashMap<String, u64> {
        self.end();
        self.take_moved()
    }

    fn end(&mut self) {
        for worker in self.workers.drain(..) {
            let io = worker.run(&AtomicBool::new(true), Idle::Spin);
            assert_eq!(io.outstanding(), 0, "buffers that did not come back");
        }
        self.balance();
    }

    /// All counters that are not 0.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        ledger::totals(self.control.counters()).into_iter().collect()
    }

    /// Whether a counter of [`Gateway::counters`] is that of a drop reason.
    pub fn is_drop(label: &str) -> bool {
        DropReason::ALL.iter().any(|reason| reason.label() == label)
    }

    /// Fails unless exactly these counters moved since the last call, each by one or by the number behind its name.
    ///
    /// # Panics
    /// When they differ.
    pub fn moved<const N: usize>(&mut self, expected: [&str; N]) -> &mut Gateway {
        let moved = self.ledger.moved(self.control.counters());
        ledger::compare(&expected, &moved);
        self
    }

    /// Which counters moved since the last call, and by how much.
    pub fn take_moved(&mut self) -> HashMap<String, u64> {
        self.ledger.moved(self.control.counters())
    }

    fn balance(&self) {
        for (worker, counters) in self.control.counters().iter().enumerate() {
            let books = counters.books();
            assert!(books.balance(), "worker {worker}: a packet vanished or was counted twice: {books:?}");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

const ZERO: &str = "00:00:00:00:00:00";
const ZERO_ETHERNET: [u8; 14] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];

/// # Panics
/// When the text is no packet: the test is wrong.
fn frame(text: &str) -> Vec<u8> {
    packet::frame(text).unwrap_or_else(|why| panic!("{why:#}"))
}
