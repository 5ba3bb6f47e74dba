//! No cache line is written by two workers on the established path.

use std::{collections::HashSet, fs, ops::Range, path::Path};

use proptest::prelude::*;
use tidegate_tests::gateway::{Gateway, HOST1, HOST2, SITE, Station};

const LINE: usize = 64;

const SERVICES: &str = "
vips:
  - { id: shared, public_network: public, address: 203.0.113.93 }
  - { id: whole, public_network: public, address: 203.0.113.94 }
  - { id: limited, public_network: public, address: 203.0.113.95 }
snats:
  - { id: out, vpc: red, vips: [shared] }
eips:
  - { id: one, vip: whole, vpc: red, address: 10.1.1.8 }
port_forwards:
  - { id: dns, vip: shared, protocol: udp, ports: 5353, vpc: red, address: 10.1.2.9, target_ports: 53 }
  - { id: slow, vip: limited, protocol: udp, ports: 5353, vpc: red, address: 10.1.2.9, target_ports: 54 }
load_balancers:
  - id: lb
    vip: shared
    listeners:
      - { id: web, protocol: tcp, port: 80, backends: [{ vpc: red, address: 10.1.2.9, port: 8080 }] }
qos:
  - { id: q, vip: limited, inbound: 10Gbit/s, outbound: 10Gbit/s }
";

/// A packet of an established flow, and who sends it.
type Flow<'a> = (&'a Station, String);

struct Stations {
    a: Station,
    b: Station,
    c: Station,
    up: Station,
}

/// Connections of every service, and between networks, each in both directions.
fn establish<'a>(gw: &mut Gateway, of: &'a Stations, count: u16) -> Vec<Flow<'a>> {
    let Stations { a, b, c, up } = of;
    let mut flows = Vec::new();
    for n in 1..=count {
        let out = format!("udp 10.1.1.7:{n} > 8.8.8.8:53");
        let words = gw.from(a, &out).words();
        let public = words[0].rsplit_once("203.0.113.93:").unwrap().1.split(' ').next().unwrap().to_owned();
        let connections = [
            ((a, out), (up, format!("udp 8.8.8.8:53 > 203.0.113.93:{public}"))),
            (
                (c, format!("tcp 10.1.1.8:{n} > 8.8.4.4:443 A")),
                (up, format!("tcp 8.8.4.4:443 > 203.0.113.94:{n} A")),
            ),
            (
                (up, format!("udp 9.9.9.9:{n} > 203.0.113.93:5353")),
                (b, format!("udp 10.1.2.9:53 > 9.9.9.9:{n}")),
            ),
            (
                (up, format!("udp 9.9.9.9:{n} > 203.0.113.95:5353")),
                (b, format!("udp 10.1.2.9:54 > 9.9.9.9:{n}")),
            ),
            (
                (up, format!("tcp 7.7.7.7:{n} > 203.0.113.93:80 S")),
                (b, format!("tcp 10.1.2.9:8080 > 7.7.7.7:{n} SA")),
            ),
            ((a, format!("udp 10.1.1.7:{n} > 10.1.2.9:7")), (b, format!("udp 10.1.2.9:7 > 10.1.1.7:{n}"))),
        ];
        for (there, back) in connections {
            for (who, packet) in [there, back] {
                gw.from(who, &packet).ignore();
                // Of an open connection from now on.
                let packet = packet.replace(" SA", " A").replace(" S", " A");
                gw.from(who, &packet).ignore();
                flows.push((who, packet));
            }
        }
    }
    flows
}

/// The lines of the flow table's memory that differ.
fn changed(before: &[u8], after: &[u8]) -> HashSet<usize> {
    assert_eq!(before.len(), after.len());
    let pairs = before.chunks(LINE).zip(after.chunks(LINE));
    pairs.enumerate().filter(|(_, (before, after))| before != after).map(|(line, _)| line).collect()
}

/// Sends a packet of each flow; returns the lines of the flow table's memory that were written.
fn send(gw: &mut Gateway, file: &Path, flows: &[&Flow<'_>]) -> HashSet<usize> {
    let before = fs::read(file).unwrap();
    for (who, packet) in flows {
        let sent = gw.from(who, packet).frames();
        assert_eq!(sent.len(), 1, "{packet}");
    }
    changed(&before, &fs::read(file).unwrap())
}

fn lines_of<T>(what: &[T]) -> Range<usize> {
    let Range { start, end } = what.as_ptr_range();
    start as usize / LINE..(end as usize).div_ceil(LINE)
}

/// Where a worker counts, and has its credit of rate limits.
fn counting(gw: &Gateway, worker: usize) -> Vec<Range<usize>> {
    let (of, tables) = (&*gw.worker_counters()[worker], gw.tables());
    let buckets = tables.policing.buckets.iter().flatten();
    let slots = buckets.map(|bucket| lines_of(std::slice::from_ref(&bucket.slots()[worker])));
    let counters = [lines_of(std::slice::from_ref(of)), lines_of(&of.ports), lines_of(&of.nets)];
    slots.chain(counters).collect()
}

/// What a worker has counted: packets in and out of ports and networks, drops, events; packets that passed rate limits.
fn counted(gw: &Gateway, worker: usize) -> Vec<u64> {
    let (of, tables) = (&*gw.worker_counters()[worker], gw.tables());
    let limits =
        tables.policing.buckets.iter().flatten().map(|bucket| bucket.slots()[worker].passed.packets.get());
    let ports = of.ports.iter().flat_map(|port| [&port.rx, &port.tx]);
    let nets = of.nets.iter().flat_map(|net| [&net.ingress, &net.egress]);
    let volumes = ports.chain(nets).flat_map(|volume| [volume.packets.get(), volume.bytes.get()]);
    let drops = of.nets.iter().flat_map(|net| net.drops.iter().map(|drop| drop.get()));
    volumes.chain(drops).chain(of.events.iter().map(|event| event.get())).chain(limits).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Each worker writes one line of the flow table per flow that it has, and counts where no other does.
    #[test]
    fn workers_write_lines_of_their_own(
        workers in 2usize..5,
        count in 4u16..12,
        picks in prop::collection::vec((any::<prop::sample::Index>(), 1usize..30), 1..12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("flows");
        let mut gw = Gateway::start_in(&file, &format!("{SITE}{SERVICES}"), workers);
        let stations = Stations {
            a: gw.vm("red-1", "10.1.1.7", HOST1),
            b: gw.vm("red-2", "10.1.2.9", HOST2),
            c: gw.vm("red-1", "10.1.1.8", HOST2),
            up: gw.vm("public", "203.0.113.1", HOST1),
        };
        let flows = establish(&mut gw, &stations, count);
        gw.take_moved();
        let mut by_worker: Vec<Vec<&Flow<'_>>> = vec![Vec::new(); workers];
        for flow in &flows {
            by_worker[gw.worker_of(flow.0, &flow.1)].push(flow);
        }
        prop_assert!(by_worker.iter().filter(|flows| !flows.is_empty()).count() > 1, "{by_worker:?}");
        let mut written: Vec<HashSet<usize>> = vec![HashSet::new(); workers];
        for (pick, many) in picks {
            let worker = pick.index(workers);
            let some: Vec<&Flow<'_>> =
                (0..by_worker[worker].len().min(many)).map(|n| by_worker[worker][n]).collect();
            let before: Vec<_> = (0..workers).map(|at| counted(&gw, at)).collect();
            let lines = send(&mut gw, &file, &some);
            prop_assert_eq!(lines.len(), some.len(), "a record per flow, and nothing else");
            written[worker].extend(lines);
            for (at, before) in before.into_iter().enumerate() {
                prop_assert_eq!(counted(&gw, at) != before, at == worker && !some.is_empty(), "worker {}", at);
            }
        }
        for (at, flows) in by_worker.iter().enumerate() {
            written[at].extend(send(&mut gw, &file, flows));
            prop_assert_eq!(written[at].len(), flows.len(), "worker {}", at);
        }
        let all: HashSet<usize> = written.iter().flatten().copied().collect();
        prop_assert_eq!(all.len(), flows.len(), "a line was written by two workers");
        let moved = gw.take_moved();
        prop_assert_eq!(moved.keys().collect::<Vec<_>>(), ["flow_hit"], "all of it was established");
        let limited = |at: usize| gw.tables().policing.buckets.iter().flatten().any(|of| of.slots()[at].passed.packets.get() > 0);
        prop_assert!((0..workers).any(limited), "nothing was limited");
        let mut counting: Vec<_> = (0..workers).flat_map(|at| counting(&gw, at)).collect();
        counting.sort_unstable_by_key(|lines| lines.start);
        for pair in counting.windows(2) {
            prop_assert!(pair[0].end <= pair[1].start, "{counting:x?}");
        }
    }
}
