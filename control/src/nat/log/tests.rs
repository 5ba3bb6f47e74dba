//! The log from its event to the file and to a collector, read back by a decoder that is not ours.

use std::{
    fs,
    io::Read,
    net::{Ipv4Addr, UdpSocket},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use netflow_parser::{
    NetflowPacket, NetflowParser,
    variable_versions::{
        field_value::FieldValue,
        ipfix::{FlowSetBody, IPFix},
    },
};
use nix::{libc::O_NONBLOCK, sys::stat::Mode, unistd::mkfifo};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use tidegate_fastpath::{
    flow::session::Service,
    nat::Block,
    stage::translation::Connection,
    table::nat::{Inside, Space},
    types::NetId,
};

use super::{
    ipfix::{Exporter, MESSAGE_MAX, TEMPLATES_EVERY_S},
    line::line,
    writer::BATCHES_MAX,
    *,
};
use crate::config::Ipfix;

const VM: Inside = Inside { vrf: VrfId(3), address: Ipv4Addr::new(10, 1, 1, 7) };
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 93);

fn block(space: Space) -> Block {
    Block { inside: VM, vip: VipId(1), address: VIP, space, first_port: 1024 }
}

fn session(inside_port: u16) -> Connection {
    Connection {
        inside: VM,
        inside_port,
        net: NetId(7),
        public: NetId(2),
        address: VIP,
        port: 1030,
        remote: Ipv4Addr::new(198, 51, 100, 1),
        remote_port: 443,
        protocol: 6,
        service: Service::Snat,
    }
}

fn entry(at_ms: u64, what: NatChange) -> Entry {
    Entry { at_ms, vpc: Id::new("red"), vip: Id::new("shared"), what }
}

/// 2026-03-01 12:00:00.250 UTC.
const NOON_MS: u64 = 1_772_366_400_250;
const NOON_S: u32 = (NOON_MS / 1_000) as u32;

/// What another implementation reads: the message, and its data records in words.
fn read(collector: &mut NetflowParser, bytes: &[u8]) -> (IPFix, Vec<String>) {
    let result = collector.parse_bytes(bytes);
    assert!(result.error.is_none(), "{:?}", result.error);
    let [NetflowPacket::IPFix(message)] = &result.packets[..] else { panic!("{:?}", result.packets) };
    let mut records = Vec::new();
    for set in &message.flowsets {
        match &set.body {
            FlowSetBody::Data(data) => {
                assert!(data.padding.is_empty());
                let words = |value: &FieldValue| words(&serde_json::to_value(value).unwrap());
                let record = |fields: &Vec<(_, FieldValue)>| {
                    fields.iter().map(|(_, value)| words(value)).collect::<Vec<_>>().join(" ")
                };
                records.extend(data.fields.iter().map(record));
            }
            FlowSetBody::Template(_) | FlowSetBody::Templates(_) => {}
            other => panic!("{other:?}"),
        }
    }
    (message.clone(), records)
}

/// A value without the decoder's tags around it.
fn words(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(inner) => inner.values().map(words).collect::<Vec<_>>().join("/"),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn a_collector_reads_every_kind_of_record() {
    let (mut exporter, mut collector) = (Exporter::new(42), NetflowParser::default());
    for (at_ms, what) in (NOON_MS..).zip([
        NatChange::Leased(block(Space::Tcp)),
        NatChange::Opened(session(40_000)),
        NatChange::Ended(session(40_000)),
        NatChange::GivenBack(block(Space::Udp)),
    ]) {
        assert_eq!(exporter.push(&entry(at_ms, what), NOON_S), None);
    }
    let message = exporter.take(NOON_S + 1).unwrap();
    let (read, records) = read(&mut collector, &message.bytes);
    let header = &read.header;
    assert_eq!(usize::from(header.length), message.bytes.len());
    assert_eq!((header.export_time, header.sequence_number), (NOON_S + 1, 0));
    assert_eq!(header.observation_domain_id, 42);
    assert_eq!(
        records,
        [
            "1772366400/250000000 PortBlockAllocation 3 10.1.1.7 203.0.113.93 Tcp 1024 1087 red",
            "1772366400/251000000 Nat44SessionCreate 3 10.1.1.7 203.0.113.93 Tcp 40000 1030 198.51.100.1 443 red",
            "1772366400/252000000 Nat44SessionDelete 3 10.1.1.7 203.0.113.93 Tcp 40000 1030 198.51.100.1 443 red",
            "1772366400/253000000 PortBlockDeAllocation 3 10.1.1.7 203.0.113.93 Udp 1024 1087 red",
        ]
    );
    assert_eq!(message.records, 4);
    assert_eq!(exporter.take(NOON_S), None);
}

#[test]
fn templates_come_again_for_a_collector_that_was_started_later() {
    let mut exporter = Exporter::new(1);
    let mut message = |at_s: u32| {
        assert_eq!(exporter.push(&entry(NOON_MS, NatChange::Leased(block(Space::Icmp))), at_s), None);
        exporter.take(at_s).unwrap().bytes
    };
    let first = message(NOON_S);
    let (second, last) = (message(NOON_S + TEMPLATES_EVERY_S - 1), message(NOON_S + TEMPLATES_EVERY_S));
    assert!(second.len() < first.len() && last.len() == first.len());
    let mut collector = NetflowParser::default();
    let (header, records) = read(&mut collector, &last);
    assert_eq!((records.len(), header.header.sequence_number), (1, 2));
    assert_eq!(read(&mut collector, &second).1.len(), 1);
}

proptest! {
    /// However records follow each other, messages are no longer than they may be, and a collector has them all in order.
    #[test]
    fn no_record_is_lost_between_messages(
        kinds in prop::collection::vec((0u8..4, any::<u16>(), prop::option::of("[a-z]{1,64}")), 1..200),
    ) {
        let (mut exporter, mut collector) = (Exporter::new(1), NetflowParser::default());
        let mut messages = Vec::new();
        for (kind, port, vpc) in &kinds {
            let what = match kind {
                0 => NatChange::Leased(block(Space::Tcp)),
                1 => NatChange::GivenBack(block(Space::Tcp)),
                2 => NatChange::Opened(session(*port)),
                _ => NatChange::Ended(session(*port)),
            };
            let entry = Entry { vpc: vpc.as_deref().and_then(Id::new), ..entry(NOON_MS, what) };
            messages.extend(exporter.push(&entry, NOON_S));
        }
        messages.extend(exporter.take(NOON_S));
        let mut records = Vec::new();
        for message in messages {
            prop_assert!(message.bytes.len() <= MESSAGE_MAX);
            let (read, more) = read(&mut collector, &message.bytes);
            prop_assert_eq!(read.header.sequence_number as usize, records.len());
            prop_assert_eq!(message.records as usize, more.len());
            records.extend(more);
        }
        prop_assert_eq!(records.len(), kinds.len());
        for (record, (kind, port, vpc)) in records.iter().zip(&kinds) {
            let name = ["PortBlockAllocation", "PortBlockDeAllocation", "Nat44SessionCreate", "Nat44SessionDelete"];
            let words: Vec<_> = record.split(' ').collect();
            prop_assert_eq!(words[1], name[usize::from(*kind)]);
            prop_assert!(*kind < 2 || words[6] == port.to_string());
            prop_assert_eq!(*words.last().unwrap(), vpc.as_deref().unwrap_or("-"));
        }
    }
}

#[test]
fn a_line_says_who_had_what_when() {
    assert_eq!(
        line(&entry(NOON_MS, NatChange::Leased(block(Space::Tcp)))),
        concat!(
            r#"{"time":"2026-03-01T12:00:00.250Z","event":"block_leased","vpc":"red","vip":"shared","public":"203.0.113.93","#,
            r#""first_port":1024,"last_port":1087,"protocol":"tcp","inside":"10.1.1.7"}"#,
            "\n"
        )
    );
    let gone = Entry { vpc: None, vip: None, ..entry(NOON_MS, NatChange::Ended(session(40_000))) };
    assert_eq!(
        line(&gone),
        concat!(
            r#"{"time":"2026-03-01T12:00:00.250Z","event":"session_ended","vpc":null,"vip":null,"public":"203.0.113.93","#,
            r#""public_port":1030,"protocol":"tcp","inside":"10.1.1.7","inside_port":40000,"remote":"198.51.100.1","#,
            r#""remote_port":443,"service":"snat"}"#,
            "\n"
        )
    );
}

/// A writer, and what it counts.
fn writer(file: Option<&Path>, collector: Option<&UdpSocket>) -> (Writer, Arc<LogCounts>) {
    let counts = Arc::<LogCounts>::default();
    (Writer::start(to(file, collector), Arc::clone(&counts)).unwrap(), counts)
}

fn to(file: Option<&Path>, collector: Option<&UdpSocket>) -> NatLog {
    let ipfix = collector.map(|socket| Ipfix {
        collector: socket.local_addr().unwrap(),
        source: Some(Ipv4Addr::LOCALHOST.into()),
        observation_domain: 1,
    });
    NatLog { sessions: true, file: file.map(Path::to_owned), ipfix }
}

fn of(counts: &LogCounts, event: LogEvent) -> u64 {
    counts.all()[event.index()]
}

fn batch(records: usize) -> Vec<Entry> {
    vec![entry(NOON_MS, NatChange::Opened(session(40_000))); records]
}

#[test]
fn records_go_to_the_file_and_to_the_collector() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("nat.log");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (writer, counts) = writer(Some(&path), Some(&socket));
    writer.write(batch(100));
    writer.finish();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 100);
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0o040);
    let (mut collector, mut records) = (NetflowParser::default(), 0);
    while records < 100 {
        let mut datagram = [0; 2_048];
        let length = socket.recv(&mut datagram).expect("100 records");
        records += read(&mut collector, &datagram[..length]).1.len();
    }
    assert_eq!((of(&counts, LogEvent::Line), of(&counts, LogEvent::Ipfix)), (100, 100));
}

#[test]
fn a_file_that_was_renamed_is_begun_anew() {
    let place = tempfile::tempdir().unwrap();
    let (path, old) = (place.path().join("nat.log"), place.path().join("nat.log.1"));
    let (writer, counts) = writer(Some(&path), None);
    writer.write(batch(3));
    while of(&counts, LogEvent::Line) < 3 {
        std::thread::yield_now();
    }
    fs::rename(&path, &old).unwrap();
    writer.open(to(Some(&path), None));
    writer.write(batch(2));
    writer.finish();
    let lines = |path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((lines(&old), lines(&path)), (3, 2));
}

#[test]
fn what_cannot_be_written_is_counted() {
    let place = tempfile::tempdir().unwrap();
    let (writer, counts) = writer(Some(&place.path().join("not/there/nat.log")), None);
    writer.write(batch(7));
    writer.finish();
    assert_eq!(of(&counts, LogEvent::FileError), 7);
    assert_eq!(of(&counts, LogEvent::Line), 0);
}

/// Opening a named pipe waits for who reads it, as a dead disk would.
#[test]
fn a_writer_that_stands_still_holds_up_nobody_and_what_it_misses_is_counted() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("pipe");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let (writer, counts) = writer(Some(&path), None);
    for _ in 0..BATCHES_MAX + 11 {
        writer.write(batch(2));
    }
    // One batch may be in the writer's hands.
    let lost = of(&counts, LogEvent::Lost);
    assert!([20, 22].contains(&lost), "{lost}");
    let mut pipe = fs::File::options().read(true).custom_flags(O_NONBLOCK).open(&path).unwrap();
    writer.finish();
    assert_eq!(of(&counts, LogEvent::Line) + lost, 2 * (BATCHES_MAX as u64 + 11));
    let mut text = String::new();
    let _ = pipe.read_to_string(&mut text);
    assert_eq!(text.lines().count() as u64, of(&counts, LogEvent::Line));
}
