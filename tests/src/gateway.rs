//! A whole gateway in this process, without DPDK and root: the control side and workers on ports in memory, driven by a
//! test that holds the clock. VMs and hosts around it answer ARP by themselves, so that a test shows only the packets it
//! is about.
//!
//! ```text
//! gw.from("a", "icmp echo 10.1.1.7 > 10.1.2.8 ttl=64").to("b", "icmp echo 10.1.1.7 > 10.1.2.8 ttl=63");
//! gw.moved(["flow_miss", "flow_learn"]);
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv4Addr,
    sync::atomic::AtomicBool,
    time::Duration,
};

use tidegate_control::{
    compile::PortFact,
    config::{self, Config, Id, Problems, TableKey},
    gateway::{Gateway, Punted},
};
use tidegate_fastpath::{
    counter::Books,
    io::mem::MemIo,
    reason::{DropReason, Event, PuntReason},
    table::{Link, Net},
    types::{MacAddr, Nanos, NetId, PortId},
    worker::{Idle, Worker},
};

use crate::packet::{check, describe, frame};

/// Rounds after which a gateway that still has something to do has a packet going in circles.
const ROUNDS_MAX: usize = 1000;

/// An Ethernet header for packets that have none.
const NOBODY: &str = "eth 02:00:00:00:00:00 > 02:00:00:00:00:00 | ";

/// The gateway and what is around it.
#[derive(Debug)]
pub struct TestGateway {
    control: Gateway,
    workers: Vec<Worker<MemIo>>,
    now: Nanos,
    /// Which worker receives the next frame.
    turn: usize,
    neighbours: Vec<Neighbour>,
    sent: Vec<(PortId, Vec<u8>)>,
    punted: Vec<Punted>,
    counted: BTreeMap<String, u64>,
}

/// Somebody who answers ARP: a VM, a compute host or a router.
#[derive(Clone, Debug)]
struct Neighbour {
    name: String,
    ip: Ipv4Addr,
    mac: MacAddr,
    net: NetId,
    /// The name of the host whose tunnel end it is behind.
    host: Option<String>,
}

impl TestGateway {
    /// A gateway of a configuration in YAML. Ports have the MACs 02:00:00:00:00:01, :02, ... unless it says otherwise.
    ///
    /// # Panics
    /// With everything that is wrong with the configuration.
    pub fn new(yaml: &str) -> TestGateway {
        let config = parsed(yaml).unwrap_or_else(|wrong| panic!("{wrong}"));
        let fact = |(i, port): (usize, &config::Port)| {
            let mac = port.mac.unwrap_or(MacAddr::from_u64(0x0200_0000_0001 + i as u64));
            (port.id.clone(), PortFact { mac, up: true })
        };
        let ports = config.gateway.ports.iter().enumerate().map(fact).collect::<HashMap<Id, PortFact>>();
        let io = || MemIo::new(ports.len());
        let now = Nanos::from_ms(1000);
        let (control, parts) =
            Gateway::new(config, ports.clone(), now, 1).unwrap_or_else(|why| panic!("{why}"));
        let workers = parts.into_iter().map(|parts| Worker::new(parts, io())).collect();
        let (neighbours, sent, punted, counted) = Default::default();
        let mut made = TestGateway { control, workers, now, turn: 0, neighbours, sent, punted, counted };
        made.settle();
        // What it announces at start is in nobody's way.
        made.sent.clear();
        made.counted = made.counters();
        made
    }

    /// Somebody on the network of a port or VLAN: `router`, 203.0.113.1, 02:00:00:00:03:01.
    ///
    /// # Panics
    /// When no network of the gateway has this address.
    pub fn neighbour(&mut self, name: &str, ip: &str, mac: &str) -> &mut TestGateway {
        self.add(name, ip, mac, None, |net| matches!(net.link, Link::Port { .. }))
    }

    /// A VM in a VXLAN network, on a host that was named before.
    ///
    /// # Panics
    /// When no network has this VNI.
    pub fn vm(&mut self, name: &str, vni: u32, ip: &str, mac: &str, host: &str) -> &mut TestGateway {
        let is = |net: &Net| matches!(net.link, Link::Vxlan { vni: v, .. } if v.get() == vni);
        self.add(name, ip, mac, Some(host), is)
    }

    fn add(
        &mut self,
        name: &str,
        ip: &str,
        mac: &str,
        host: Option<&str>,
        is: impl Fn(&Net) -> bool,
    ) -> &mut TestGateway {
        let ip: Ipv4Addr = ip.parse().unwrap_or_else(|_| panic!("{ip} is no address"));
        let mac: MacAddr = mac.parse().unwrap_or_else(|why| panic!("{why}"));
        let nets = self.control.compiled().tables.nets.iter().enumerate();
        let mut nets = nets.filter_map(|(i, net)| Some((i, net.as_deref()?)));
        let found = nets.find(|(_, net)| net.prefix.contains(&ip) && is(net));
        let net = NetId(found.unwrap_or_else(|| panic!("no network for {name} {ip}")).0 as u16);
        self.neighbours.retain(|n| n.name != name);
        self.neighbours.push(Neighbour { name: name.into(), ip, mac, net, host: host.map(Into::into) });
        self
    }

    /// A packet from somebody, from the IP header on, as [`crate::packet`] writes it, to the gateway's MAC.
    ///
    /// # Panics
    /// When the text cannot be read, or nobody has this name.
    pub fn from(&mut self, name: &str, packet: &str) -> Outcome<'_> {
        let whole = self.wrap(name, packet, Direction::In);
        self.frame_from(name, &whole)
    }

    /// A frame on the port where somebody is, whatever it is.
    ///
    /// # Panics
    /// As [`TestGateway::from`].
    pub fn frame_from(&mut self, name: &str, text: &str) -> Outcome<'_> {
        let bytes = frame(text).unwrap_or_else(|why| panic!("{why:#}"));
        let port = self.port_of(&self.who(name));
        self.bytes_on(port, &bytes)
    }

    /// Any bytes on a port.
    ///
    /// # Panics
    /// When there is no such port.
    pub fn bytes_on(&mut self, port: PortId, bytes: &[u8]) -> Outcome<'_> {
        self.sent.clear();
        self.punted.clear();
        self.turn = (self.turn + 1) % self.workers.len();
        self.workers[self.turn].io().push(port, bytes);
        self.settle_held();
        Outcome { gateway: self }
    }

    /// As [`TestGateway::from`], to the broadcast address.
    ///
    /// # Panics
    /// As [`TestGateway::from`].
    pub fn broadcast(&mut self, name: &str, packet: &str) -> Outcome<'_> {
        let us = format!("> {} | arp", self.mac_towards(name));
        let whole = self.wrap(name, packet, Direction::In).replace(&us, "> ff:ff:ff:ff:ff:ff | arp");
        let us = us.replace("| arp", "| vlan");
        self.frame_from(name, &whole.replace(&us, "> ff:ff:ff:ff:ff:ff | vlan"))
    }

    /// An IPv4 packet from the namespace of a VPC.
    ///
    /// # Panics
    /// When there is no such VPC, or the packet cannot be read.
    pub fn from_namespace(&mut self, vpc: &str, packet: &str) -> Outcome<'_> {
        self.sent.clear();
        self.punted.clear();
        let around = format!("{NOBODY}{packet}");
        let bytes = frame(&around).unwrap_or_else(|why| panic!("{why:#}"));
        let desired = self.control.desired();
        let found = desired.vrfs().find(|(_, key)| matches!(key, TableKey::Vpc(id) if id.as_str() == vpc));
        let (vrf, _) = found.unwrap_or_else(|| panic!("no VPC {vpc}"));
        assert!(self.control.inject(vrf, &bytes[14..]), "no room in the rings");
        self.settle_held();
        Outcome { gateway: self }
    }

    /// Our MAC on the network of somebody.
    ///
    /// # Panics
    /// When nobody has this name.
    pub fn mac_towards(&self, name: &str) -> MacAddr {
        self.net(self.who(name).net).mac
    }

    /// Lets time pass, in steps of 10 ms.
    pub fn wait_ms(&mut self, ms: u64) -> Outcome<'_> {
        self.sent.clear();
        self.punted.clear();
        for _ in 0..ms.div_ceil(10) {
            self.step();
        }
        Outcome { gateway: self }
    }

    fn step(&mut self) {
        self.now = Nanos(self.now.0 + 10_000_000);
        self.settle();
    }

    /// Settles, and lets as much time pass as a packet needs whose neighbour has answered.
    fn settle_held(&mut self) {
        self.settle();
        for _ in 0..2 {
            if self.books().held > 0 {
                self.step();
            }
        }
    }

    /// Changes the configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn apply(&mut self, yaml: &str) -> Result<Outcome<'_>, Problems> {
        self.sent.clear();
        self.control.apply(parsed(yaml)?, self.now)?;
        self.settle();
        Ok(Outcome { gateway: self })
    }

    /// Lets time pass until `at` after the start of the engine.
    pub fn wait_until(&mut self, at: Duration) -> Outcome<'_> {
        let now = Duration::from_nanos(self.now.0);
        self.wait_ms(at.saturating_sub(now).as_millis().try_into().unwrap_or(u64::MAX))
    }

    /// Asserts which counters moved since the last call, or since the start, and that no other did: `"flow_miss"`, or
    /// `"flow_miss 2"` where it moved by more than one. Frames and bytes of ports are not named here.
    ///
    /// # Panics
    /// When others moved.
    pub fn moved<const N: usize>(&mut self, expected: [&str; N]) {
        let named = |(name, n): (String, u64)| if n == 1 { name } else { format!("{name} {n}") };
        let mut moved: Vec<_> = self.moves().into_iter().map(named).collect();
        self.forget();
        let mut expected = expected.map(str::to_owned).to_vec();
        moved.sort();
        expected.sort();
        assert_eq!(moved, expected, "counters that moved (left) and that should have (right)");
    }

    /// By how much counters moved since the last [`TestGateway::moved`], or since the start.
    pub fn moves(&self) -> BTreeMap<String, u64> {
        let change = |(name, n): (String, u64)| {
            let by = n - self.counted.get(&name).unwrap_or(&0);
            (by != 0).then_some((name, by))
        };
        self.counters().into_iter().filter_map(change).collect()
    }

    /// Whether a counter is that of a drop reason.
    pub fn is_drop(label: &str) -> bool {
        DropReason::ALL.iter().any(|reason| reason.label() == label)
    }

    /// Takes the counters as they are now for the next [`TestGateway::moved`].
    pub fn forget(&mut self) {
        self.counted = self.counters();
    }

    /// Drops, punts and events of all workers, by label.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        let mut add = |label: &str, n: u64| *sums.entry(label.to_owned()).or_default() += n;
        for counters in self.control.counters() {
            for reason in DropReason::ALL {
                counters.nets.iter().for_each(|net| add(reason.label(), net.drops[reason.index()].get()));
            }
            PuntReason::ALL.iter().for_each(|r| add(&format!("punt_{r}"), counters.punts[r.index()].get()));
            Event::ALL.iter().for_each(|e| add(e.label(), counters.events[e.index()].get()));
        }
        sums
    }

    /// The books of all workers together.
    pub fn books(&self) -> Books {
        self.control.counters().iter().fold(Books::default(), |sum, counters| sum + counters.books())
    }

    /// Ends the workers and asserts that every buffer has come back.
    ///
    /// # Panics
    /// When one has not.
    pub fn stop(self) {
        for worker in self.workers {
            let io = worker.run(&AtomicBool::new(true), Idle::Spin);
            assert_eq!(io.outstanding(), 0, "buffers that did not come back");
        }
    }

    /// The control side.
    pub fn control(&mut self) -> &mut Gateway {
        &mut self.control
    }

    /// Polls workers and control until nothing is left to do. ARP requests for those around are answered.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut done = self.control.poll(self.now);
            while let Some(punted) = self.control.take_punted() {
                self.punted.push(punted);
            }
            for worker in &mut self.workers {
                worker.io().set_now(self.now);
                done += worker.poll();
            }
            done += self.collect();
            if done == 0 {
                assert!(self.books().balance(), "a packet vanished: {:?}", self.books());
                return;
            }
        }
        panic!("still busy after {ROUNDS_MAX} rounds: {:?}", self.counters());
    }

    /// Takes what was sent and answers what asks for somebody. Returns how many frames there were.
    fn collect(&mut self) -> usize {
        let ports = self.control.compiled().tables.ports.len();
        let mut frames = Vec::new();
        for worker in &mut self.workers {
            for port in (0..ports).map(|p| PortId(p as u16)) {
                frames.extend(worker.io().sent(port).into_iter().map(|bytes| (port, bytes)));
            }
        }
        let count = frames.len();
        for (port, bytes) in frames {
            match self.arp_answer(port, &describe(&bytes)) {
                Some(answer) => self.workers[self.turn].io().push(port, &answer),
                None => self.sent.push((port, bytes)),
            }
        }
        count
    }

    fn arp_answer(&self, port: PortId, text: &str) -> Option<Vec<u8>> {
        let asked = text.rsplit("| arp ask ").next().filter(|rest| *rest != text)?;
        let mut words = asked.split(' ');
        let target: Ipv4Addr = words.next()?.parse().ok()?;
        let (asker, asker_mac) = (words.nth(1)?, words.next()?);
        let vni = text.split_once("| vxlan ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        let is = |n: &&Neighbour| n.ip == target && self.port_of(n) == port && self.vni_of(n) == vni;
        let who = self.neighbours.iter().find(is)?;
        let answer = format!("arp tell {target} {} to {asker} {asker_mac}", who.mac);
        frame(&self.wrap(&who.name, &answer, Direction::In)).ok()
    }

    fn who(&self, name: &str) -> Neighbour {
        let found = self.neighbours.iter().find(|n| n.name == name);
        found.unwrap_or_else(|| panic!("nobody is called {name}")).clone()
    }

    fn net(&self, id: NetId) -> &Net {
        self.control.compiled().tables.net(id).unwrap_or_else(|| panic!("network {id} is gone"))
    }

    fn vni_of(&self, who: &Neighbour) -> Option<u32> {
        match self.net(who.net).link {
            Link::Vxlan { vni, .. } => Some(vni.get()),
            Link::Port { .. } => None,
        }
    }

    /// The port on which frames of somebody come and go.
    fn port_of(&self, who: &Neighbour) -> PortId {
        match self.net(who.net).link {
            Link::Port { port, .. } => port,
            Link::Vxlan { vtep, .. } => {
                let underlay = self.control.compiled().tables.vteps[vtep.index()].underlay;
                match self.net(underlay).link {
                    Link::Port { port, .. } => port,
                    Link::Vxlan { .. } => panic!("an underlay is no overlay"),
                }
            }
        }
    }

    /// The whole frame around a packet of somebody, or to somebody.
    fn wrap(&self, name: &str, packet: &str, direction: Direction) -> String {
        let who = self.who(name);
        let net = self.net(who.net);
        let inner = format!("eth {} | ", direction.order(who.mac, net.mac));
        match net.link {
            Link::Port { vlan: None, .. } => format!("{inner}{packet}"),
            Link::Port { vlan: Some(vid), .. } => format!("{inner}vlan {vid} | {packet}"),
            Link::Vxlan { vtep, vni } => {
                let vtep = &self.control.compiled().tables.vteps[vtep.index()];
                let host = self.who(who.host.as_deref().unwrap_or_else(|| panic!("{name} is on no host")));
                let outer = direction.order(host.mac, self.net(vtep.underlay).mac);
                let ends = direction.order(host.ip, vtep.address);
                format!("eth {outer} | vxlan {vni} {ends} dport={} | {inner}{packet}", vtep.udp_port)
            }
        }
    }
}

/// Towards the gateway or from it.
#[derive(Clone, Copy)]
enum Direction {
    In,
    Out,
}

impl Direction {
    fn order(self, them: impl std::fmt::Display, us: impl std::fmt::Display) -> String {
        match self {
            Direction::In => format!("{them} > {us}"),
            Direction::Out => format!("{us} > {them}"),
        }
    }
}

/// What the gateway did with what just came.
#[derive(Debug)]
#[must_use = "say what is expected"]
pub struct Outcome<'a> {
    gateway: &'a mut TestGateway,
}

impl Outcome<'_> {
    /// Exactly one frame went out, to somebody; from the IP header on it is this.
    ///
    /// # Panics
    /// When it was otherwise.
    pub fn to(self, name: &str, packet: &str) {
        self.all([(name, packet)]);
    }

    /// Exactly these went out, in this order.
    ///
    /// # Panics
    /// When it was otherwise.
    pub fn all<const N: usize>(self, expected: [(&str, &str); N]) {
        let gateway = self.gateway;
        let texts: Vec<_> = gateway.sent.iter().map(|(_, bytes)| describe(bytes)).collect();
        assert_eq!(texts.len(), N, "frames sent:\n  {}\ncounters: {:?}", texts.join("\n  "), gateway.moves());
        for ((name, packet), (port, bytes)) in expected.iter().zip(&gateway.sent) {
            let whole = gateway.wrap(name, packet, Direction::Out);
            check(&whole, bytes).unwrap_or_else(|wrong| panic!("to {name}\n{wrong}"));
            assert_eq!(*port, gateway.port_of(&gateway.who(name)), "on the wrong port");
        }
    }

    /// Nothing went out, and the packet was dropped for this reason.
    ///
    /// # Panics
    /// When it was otherwise.
    pub fn dropped(self, reason: DropReason) {
        let gateway = self.gateway;
        let texts: Vec<_> = gateway.sent.iter().map(|(_, bytes)| describe(bytes)).collect();
        assert!(texts.is_empty(), "frames sent:\n  {}", texts.join("\n  "));
        let moves = gateway.moves();
        assert!(moves.contains_key(reason.label()), "not dropped as {reason}: {moves:?}");
    }

    /// Nothing went out.
    ///
    /// # Panics
    /// When something did.
    pub fn nothing(self) {
        self.all([]);
    }

    /// Nothing went out but ARP requests.
    ///
    /// # Panics
    /// When something else did, or nothing.
    pub fn only_arp(self) {
        let texts = self.texts();
        assert!(!texts.is_empty() && texts.iter().all(|text| text.contains("| arp ask ")), "{texts:?}");
    }

    /// The packet was handed to the namespace of a routing table, unchanged but for what `packet` says.
    ///
    /// # Panics
    /// When it was not.
    pub fn local(self, packet: &str) {
        let punted = &self.gateway.punted;
        assert_eq!(punted.len(), 1, "packets for the gateway itself");
        let mut whole = frame(&format!("{NOBODY}ip 0.0.0.0 > 0.0.0.0")).unwrap_or_default()[..14].to_vec();
        whole.extend(&punted[0].packet);
        check(&format!("{NOBODY}{packet}"), &whole).unwrap_or_else(|wrong| panic!("{wrong}"));
    }

    /// The frames that went out, with the id of the port.
    pub fn frames(self) -> Vec<(String, Vec<u8>)> {
        let desired = self.gateway.control.desired();
        let id = |port: PortId| desired.port_key(port).map(|id| id.as_str().to_owned()).unwrap_or_default();
        self.gateway.sent.iter().map(|(port, bytes)| (id(*port), bytes.clone())).collect()
    }

    /// The frames that went out, as text, for what the methods above cannot say.
    pub fn texts(self) -> Vec<String> {
        self.gateway.sent.iter().map(|(_, bytes)| describe(bytes)).collect()
    }
}

fn parsed(yaml: &str) -> Result<Config, Problems> {
    config::parse(yaml)
}
