//! A burst worked in passes does what its packets do one by one.

use std::{collections::HashMap, sync::Arc};

use proptest::prelude::*;
use tidegate_control::{compile::PortFact, config, gateway::Gateway as Control};
use tidegate_fastpath::{
    counter::Counters,
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
    fn new() -> Side {
        let config = config::parse(SITE).unwrap();
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
        let mut engine =
            Engine::new(part.neighbours, part.flows, part.nat, part.counters, part.rings, part.settings);
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

    fn counted(&self) -> Vec<(String, u64)> {
        let drops = DropReason::ALL
            .iter()
            .map(|r| (r.to_string(), self.counters.nets.iter().map(|net| net.drops[r.index()].get()).sum()));
        let punts = PuntReason::ALL.iter().map(|r| (r.to_string(), self.counters.punts[r.index()].get()));
        let events = Event::ALL.iter().map(|e| (e.to_string(), self.counters.events[e.index()].get()));
        drops.chain(punts).chain(events).collect()
    }
}

/// Who sends, and to whom answers must be known.
fn stations() -> Vec<Station> {
    let gw = Gateway::alone(SITE, 1);
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
        let stations = stations();
        let (mut together, mut single) = (Side::new(), Side::new());
        for who in stations.iter().rev() {
            let known = [packet::frame(&who.sends(&who.gratuitous())).unwrap()];
            together.work(who.port, &known, false);
            single.work(who.port, &known, true);
        }
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

fn inside() -> impl Strategy<Value = String> {
    prop_oneof![8 => packets::ipv4(packets::address()), 1 => packets::arp()]
}
