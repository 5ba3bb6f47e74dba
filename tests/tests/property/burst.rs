//! A burst worked in passes does what its packets do one by one.

use std::{cell::Cell, collections::HashMap, ops::Range, sync::Arc};

use proptest::{prelude::*, test_runner::TestRunner};
use tidegate_control::{
    compile::PortFact,
    config,
    gateway::{Gateway as Control, Sum},
};
use tidegate_fastpath::{
    buffer::Buffer,
    counter::{Counters, NetCounters, Volume},
    io::{BURST, Burst, Io, mem::MemBuffer, mem::MemIo},
    pipeline::{Engine, Round},
    reason::{DropReason, Event, PuntReason},
    types::{Nanos, PortId},
};
use tidegate_tests::{
    gateway::{Gateway, HOST1, HOST2, HOST3, SITE, Station},
    golden, packet,
};

use crate::packets;

/// An engine of its own with its control side.
struct Side {
    control: Control,
    engine: Engine<MemBuffer>,
    counters: Arc<Counters>,
    io: MemIo,
    now: Nanos,
}

impl Side {
    fn new(site: &str) -> Side {
        let config = config::parse(site).unwrap();
        let ports: HashMap<_, _> = config
            .gateway
            .ports
            .iter()
            .map(|port| (port.id.clone(), PortFact { mac: port.mac.unwrap(), up: true }))
            .collect();
        let io = MemIo::new(ports.len());
        let now = Nanos::from_ms(1_000);
        let (control, mut parts) = Control::new(config, ports, now, 1).unwrap();
        let part = parts.remove(0);
        let counters = part.counters.clone();
        let mut engine = Engine::new(
            part.id,
            part.neighbours,
            part.flows,
            part.nat,
            part.counters,
            part.rings,
            part.settings,
        );
        let tables = control.compiled().tables.clone();
        let mut side_io = io;
        engine.finish(&mut Round { tables: &tables, io: &mut side_io, now });
        Side { control, engine, counters, io: side_io, now }
    }

    /// Frames that arrive together on one port, as one burst or one by one; returns what is sent, by port.
    fn work(&mut self, port: PortId, frames: &[Vec<u8>], one_by_one: bool) -> Vec<Vec<Vec<u8>>> {
        self.now = Nanos(self.now.0 + 6_000_000);
        let tables = self.control.compiled().tables.clone();
        for frame in frames {
            self.io.push(port, frame);
        }
        let mut burst = Burst::new();
        assert_eq!(self.io.rx(port.index(), &mut burst), port);
        let mut round = Round { tables: &tables, io: &mut self.io, now: self.now };
        if one_by_one {
            for buffer in burst.drain(..) {
                self.counters.rx(port, buffer.bytes().len());
                self.engine.process_one(&mut round, port, buffer);
            }
        } else {
            self.engine.process(&mut round, port, &mut burst);
        }
        self.engine.retry(&mut round);
        self.engine.inject(&mut round);
        self.engine.finish(&mut round);
        self.control.poll(self.now);
        while self.control.take_punted().is_some() {}
        assert!(self.counters.books().balance());
        let sent = (0..tables.ports.len() as u16).map(|port| {
            let mut frames: Vec<_> = self.io.sent(PortId(port)).into_iter().map(golden::normal).collect();
            frames.sort_by_key(|frame| !is_arp(frame));
            frames
        });
        sent.collect()
    }

    /// Packets and bytes of each network, both ways, and of each flow.
    fn volumes(&self) -> Vec<[u64; 4]> {
        let volume = |v: &Volume| [v.packets.get(), v.bytes.get()];
        let both = |net: &NetCounters| {
            let ([a, b], [c, d]) = (volume(&net.ingress), volume(&net.egress));
            [a, b, c, d]
        };
        self.counters.nets.iter().map(both).collect()
    }

    /// What passed and what was dropped, of each bucket.
    fn limited(&self) -> Vec<[Sum; 2]> {
        self.control.limits().map(|limit| [limit.passed(), limit.dropped()]).collect()
    }

    fn counted(&self) -> Vec<(String, u64)> {
        let drops = DropReason::ALL
            .iter()
            .map(|r| (r.to_string(), self.counters.nets.iter().map(|net| net.drops[r.index()].get()).sum()));
        let punts = PuntReason::ALL.iter().map(|r| (r.to_string(), self.counters.punts[r.index()].get()));
        let events = Event::ALL.iter().map(|e| (e.to_string(), self.counters.events[e.index()].get()));
        drops.chain(punts).chain(events).collect()
    }
}

/// Services whose translations follow from the configuration alone, so that both sides do the same.
const SERVICES: &str = "
vips:
  - { id: shared, public_network: public, address: 203.0.113.93 }
  - { id: whole, public_network: public, address: 203.0.113.94 }
eips:
  - { id: one, vip: whole, vpc: red, address: 10.1.1.7 }
port_forwards:
  - { id: web, vip: shared, protocol: tcp, ports: 1-3, vpc: red, address: 10.1.2.9, target_ports: 11-13 }
  - { id: dns, vip: shared, protocol: udp, ports: 1-3, vpc: red, address: 10.1.2.9, target_ports: 11-13 }
";

/// Listeners with turns, counts of connections, clients that come back, and bounds that are met.
const LISTENERS: &str = "
load_balancers:
  - id: lb
    vip: shared
    listeners:
      - { id: web, protocol: tcp, ports: 1-2, persistence: { timeout_s: 5 }, max_connections: 40, backends: [
          { vpc: red, address: 10.1.1.7, port: 21, max_connections: 9 }, { vpc: red, address: 10.1.2.9, port: 21 },
          { vpc: red, address: 10.1.3.7, port: 21, max_connections: 5 } ] }
      - { id: dns, protocol: udp, ports: 1-2, algorithm: leastconn, idle_timeout_s: 1, max_connections: 7, backends: [
          { vpc: red, address: 10.1.1.7, port: 21 }, { vpc: red, address: 10.1.4.7, port: 21, max_connections: 2 } ] }
";

/// [`SERVICES`] with listeners in place of the port forwards.
fn balanced() -> String {
    let (before, _) = SERVICES.split_once("port_forwards:").unwrap();
    format!("{SITE}{before}{LISTENERS}")
}

/// Who sends, and to whom answers must be known.
fn stations(site: &str) -> Vec<Station> {
    let gw = Gateway::alone(site, 1);
    [
        ("red-1", "10.1.1.7", HOST1),
        ("red-2", "10.1.2.9", HOST2),
        ("red-2", "10.1.2.254", HOST2),
        ("red-3", "10.1.3.7", HOST1),
        ("red-4", "10.1.4.7", HOST1),
        ("blue-1", "10.1.1.7", HOST3),
        ("public", "203.0.113.1", HOST1),
        ("underlay", HOST1, HOST1),
        ("underlay", HOST2, HOST2),
        ("underlay", HOST3, HOST3),
    ]
    .map(|(net, ip, host)| gw.stranger(net, ip, Some(host)))
    .into()
}

/// ARP ends in the first pass, so it comes before the other frames of a burst, and control hears of it before it is asked to
/// resolve a neighbour for one of those; see `pipeline.rs`. Both sides get and give it first.
fn is_arp(frame: &[u8]) -> bool {
    packet::describe(frame).contains("| arp")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_burst_is_worked_as_its_packets_would_be(
        bursts in prop::collection::vec(
            (0usize..10, prop::collection::vec((inside(), packets::damage()), 1..BURST)),
            1..5,
        ),
    ) {
        let stations = stations(SITE);
        let (mut together, mut single) = known(SITE, &stations);
        for (who, inner) in &bursts {
            let who = &stations[*who];
            let mut frames: Vec<Vec<u8>> = inner
                .iter()
                .map(|(text, damage)| packets::damaged(packet::frame(&who.sends(text)).unwrap(), damage))
                .collect();
            frames.sort_by_key(|frame| !is_arp(frame));
            let (a, b) = (together.work(who.port, &frames, false), single.work(who.port, &frames, true));
            prop_assert_eq!(a, b);
            prop_assert_eq!(together.counted(), single.counted());
        }
    }
}

/// Both sides, with all stations known to them.
fn known(site: &str, stations: &[Station]) -> (Side, Side) {
    let (mut together, mut single) = (Side::new(site), Side::new(site));
    for who in stations.iter().rev() {
        let known = [packet::frame(&who.sends(&who.gratuitous())).unwrap()];
        together.work(who.port, &known, false);
        single.work(who.port, &known, true);
    }
    (together, single)
}

/// The addresses of [`stations`] from which others of them can be reached.
const FROM: [(usize, &str); 7] = [
    (0, "10.1.1.7"),
    (1, "10.1.2.9"),
    (3, "10.1.3.7"),
    (4, "10.1.4.7"),
    (5, "10.1.1.7"),
    (6, "198.51.100.5"),
    (6, "203.0.113.1"),
];
const TO: [&str; 7] =
    ["10.1.1.7", "10.1.2.9", "10.1.3.7", "10.1.4.7", "203.0.113.93", "203.0.113.94", "198.51.100.5"];

/// Hairpins take ports, which both sides choose for themselves.
fn is_decided_alike(&(from, to, ..): &(usize, usize, u16, bool, &str, usize, &str)) -> bool {
    FROM[from].0 == 6 || !TO[to].starts_with("203")
}

/// Packets of few flows, so that most of a burst are of flows that earlier ones made.
fn of_few_flows() -> impl Strategy<Value = (usize, String)> {
    let segment = prop_oneof![
        6 => Just("A"), 2 => Just("PA"), 2 => Just("S"), 1 => Just("SA"), 1 => Just("FA"), 1 => Just("R"), 1 => Just(""),
    ];
    let len = prop_oneof![6 => 0usize..40, 2 => 1390usize..1480, 1 => 1480usize..1530];
    let words = prop_oneof![
        8 => Just(""), 1 => Just(" df"), 1 => Just(" ttl=1"), 1 => Just(" ttl=2"), 1 => Just(" mf"), 1 => Just(" off=8"),
        1 => Just(" opt=94040000"), 1 => Just(" badsum"), 1 => Just(" tos=184"), 1 => Just(" tos=3"),
    ];
    let all = (0..FROM.len(), 0..TO.len(), 1u16..3, any::<bool>(), segment, len, words);
    all.prop_filter("decided alike", is_decided_alike).prop_map(
        |(from, to, port, udp, segment, len, words)| {
            let ends = format!("{}:{port} > {}:{port}", FROM[from].1, TO[to]);
            let text = match udp {
                true => format!("udp {ends} len={len}{words}"),
                false => format!("tcp {ends} {segment} len={len}{words}"),
            };
            (from, text)
        },
    )
}

#[test]
fn packets_of_known_flows_are_worked_alike() {
    let (hits, _) = worked_alike(&format!("{SITE}{SERVICES}"), 64, 2..8);
    assert!(hits > 1_000, "only {hits} packets were of known flows");
}

/// Rate limits of VIPs, of ports and of VMs, so low that bursts run into them.
const LIMITS: &str = "
nics:
  - { id: a, network: red-1, address: 10.1.1.7 }
  - { id: b, network: red-2, address: 10.1.2.9 }
qos:
  - { id: shared, vip: shared, inbound: 8kbit/s, outbound: 100kbit/s, burst: 16KiB }
  - { id: port, vip: shared, port: 1, inbound: 400kbit/s, burst: 17KiB, count: l2 }
  - { id: alone, vip: shared, port: 2, protocol: udp, independent: true, inbound_pps: 9 }
  - { id: whole, vip: whole, inbound: 80kbit/s, outbound: 8kbit/s, burst: 16KiB }
  - { id: a, nic: a, outbound: 8kbit/s, inbound: 8kbit/s, burst: 16KiB }
  - { id: b, nic: b, outbound: 8kbit/s, inbound_pps: 20, burst: 16KiB }
";

/// The same, marked by colour.
const COLOURS: &str = "
nics:
  - { id: a, network: red-1, address: 10.1.1.7 }
qos:
  - { id: shared, vip: shared, inbound: 8kbit/s, outbound: 100kbit/s, burst: 16KiB, colour: { mode: srtcm, yellow: af12 } }
  - { id: port, vip: shared, port: 1, inbound: 400kbit/s, burst: 17KiB, count: l2, colour: { mode: trtcm, inbound_peak: 1Mbit/s, green: af11, red: precedence } }
  - { id: whole, vip: whole, inbound: 80kbit/s, outbound: 8kbit/s, burst: 16KiB, colour: { mode: srtcm, aware: true, green: ef, red: 1 } }
  - { id: a, nic: a, outbound: 8kbit/s, inbound: 8kbit/s, burst: 16KiB, colour: { mode: srtcm, yellow: drop } }
";

#[test]
fn packets_with_rate_limits_are_worked_alike() {
    let (hits, policed) = worked_alike(&format!("{SITE}{SERVICES}{LIMITS}"), 16, 24..32);
    assert!(hits > 1_000, "only {hits} packets were of known flows");
    assert!(policed > 200, "only {policed} packets were above a rate");
}

#[test]
fn packets_with_colours_are_worked_alike() {
    let (hits, policed) = worked_alike(&format!("{SITE}{SERVICES}{COLOURS}"), 8, 24..32);
    assert!(hits > 500, "only {hits} packets were of known flows");
    assert!(policed > 50, "only {policed} packets were dropped for their colour");
}

#[test]
fn packets_to_listeners_are_worked_alike() {
    let (hits, _) = worked_alike(&balanced(), 64, 4..12);
    assert!(hits > 1_000, "only {hits} packets were of known flows");
}

#[test]
fn packets_without_flow_entries_are_worked_alike() {
    let (hits, _) = worked_alike(&untracked(), 64, 2..8);
    assert!(hits > 0, "the other routing tables have flow entries");
}

/// With a routing table of which lines are asked for ahead.
#[test]
fn packets_of_a_large_routing_table_are_worked_alike() {
    let route = |n: u32| {
        format!("  - {{ vpc: red, destination: 172.{}.{}.0/24, blackhole: true }}\n", n >> 8, n & 255)
    };
    let routes: String = (16 << 8..21 << 8).map(route).collect();
    worked_alike(&format!("{}{routes}", untracked()), 24, 2..8);
}

/// One VPC without flow entries.
fn untracked() -> String {
    SITE.replace("{ id: red }", "{ id: red, flow_tracking: false }")
}

/// Packets of few flows through a site, as bursts and one by one; returns how many were of known flows, and how
/// many were dropped because of a rate limit.
fn worked_alike(site: &str, cases: u32, bursts: Range<usize>) -> (u64, u64) {
    let stations = stations(site);
    let packet = (of_few_flows(), packets::damage());
    let bursts = prop::collection::vec(prop::collection::vec(packet, 8..48), bursts);
    let (hits, policed) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig { cases, ..ProptestConfig::default() });
    let done = runner.run(&bursts, |bursts| {
        let (mut together, mut single) = known(site, &stations);
        for burst in &bursts {
            for (at, who) in stations.iter().enumerate() {
                let frames: Vec<Vec<u8>> = burst
                    .iter()
                    .filter(|((from, _), _)| FROM[*from].0 == at)
                    .take(BURST)
                    .map(|((_, text), damage)| {
                        packets::damaged(packet::frame(&who.sends(text)).unwrap(), damage)
                    })
                    .collect();
                let (a, b) = (together.work(who.port, &frames, false), single.work(who.port, &frames, true));
                prop_assert_eq!(a, b);
                prop_assert_eq!(together.counted(), single.counted());
                prop_assert_eq!(together.volumes(), single.volumes());
                prop_assert_eq!(together.limited(), single.limited());
            }
        }
        let (poll, received) = (&together.counters.poll, together.counters.books().rx);
        prop_assert_eq!(poll.short_way.get() + poll.general_way.get(), received);
        hits.set(hits.get() + together.counters.events[Event::FlowHit.index()].get());
        policed
            .set(policed.get() + together.limited().iter().map(|[_, dropped]| dropped.packets).sum::<u64>());
        Ok(())
    });
    done.unwrap();
    (hits.get(), policed.get())
}

fn inside() -> impl Strategy<Value = String> {
    prop_oneof![8 => packets::ipv4(packets::address()), 1 => packets::arp()]
}
