//! Goldens: captures in, captures and counters out; see `docs/testing.md`. `make golden-update` writes the expected side
//! anew.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use tidegate_fastpath::io::pcap::{self, Frame};
use tidegate_tests::{
    gateway::Gateway,
    golden::{self, Golden},
    packet::describe,
};

/// By port: what it sent.
type Sent = BTreeMap<String, Vec<Frame>>;

#[test]
fn every_golden_holds_with_one_worker() {
    for golden in goldens() {
        let name = golden.name();
        let (sent, counters) = run(&golden, 1);
        let expected = golden.expected();
        assert_eq!(text(&sent), text(&expected), "{name}: what it sent (left), expected (right)");
        assert_eq!(sent, expected, "{name}: the same headers, but other bytes or times");
        assert_eq!(counters, read(&golden.path("expect.counters")), "{name}: counters");
    }
}

#[test]
fn every_golden_holds_with_two_workers() {
    for golden in goldens() {
        let (sent, counters) = run(&golden, 2);
        assert_eq!(
            text(&sent),
            text(&golden.expected()),
            "{}: what it sent (left), expected (right)",
            golden.name()
        );
        assert_eq!(counters, read(&golden.path("expect.counters")), "{}: counters", golden.name());
    }
}

#[test]
fn captures_say_what_their_texts_say() {
    for golden in goldens() {
        for (port, frames) in golden.written() {
            let capture = pcap::frames(&golden.path(&format!("send.{port}.pcap"))).unwrap();
            assert_eq!(capture, frames, "{}: send.{port}.pcap is not send.txt", golden.name());
        }
        let expected = text(&golden.expected());
        assert_eq!(
            expected,
            read(&golden.path("expect.txt")),
            "{}: expect.txt is not the captures",
            golden.name()
        );
    }
}

fn goldens() -> Vec<Golden> {
    static UPDATE: Once = Once::new();
    let all = golden::all();
    assert!(!all.is_empty());
    if env::var_os("GOLDEN_UPDATE").is_some() {
        UPDATE.call_once(|| all.iter().for_each(update));
    }
    all
}

/// Plays what all ports receive in the order of its time, and returns what they send and what was counted.
fn run(golden: &Golden, workers: usize) -> (Sent, String) {
    let mut gw = Gateway::alone(golden.config(), workers);
    // What it announces at start is in nobody's way.
    gw.run().ignore();
    let before = gw.counters();
    let mut sent = Sent::new();
    let mut keep = |at: Duration, frames: Vec<(String, Vec<u8>)>| {
        for (port, bytes) in frames {
            sent.entry(port).or_default().push(Frame { at, bytes: golden::normal(bytes) });
        }
    };
    for (port, frame) in golden.received() {
        keep(frame.at, gw.pass_until(frame.at).by_port());
        keep(frame.at, gw.rx_bytes(&port, &frame.bytes).by_port());
    }
    let mut counters = String::new();
    for (name, n) in gw.counters() {
        let by = n - before.get(&name).unwrap_or(&0);
        if by > 0 {
            counters += &format!("{name} {by}\n");
        }
    }
    (sent, counters)
}

fn update(golden: &Golden) {
    for (port, frames) in golden.written() {
        pcap::write(&golden.path(&format!("send.{port}.pcap")), &frames).unwrap();
    }
    let (sent, counters) = run(golden, 1);
    for port in golden.ports() {
        let path = golden.path(&format!("expect.{port}.pcap"));
        match sent.get(port) {
            Some(frames) => pcap::write(&path, frames).unwrap(),
            None => fs::remove_file(path).unwrap_or_default(),
        }
    }
    fs::write(golden.path("expect.txt"), text(&sent)).unwrap();
    fs::write(golden.path("expect.counters"), counters).unwrap();
}

/// A line for each frame.
fn text(sent: &Sent) -> String {
    let line = |port: &str, frame: &Frame| format!("{port}: {}\n", describe(&frame.bytes));
    sent.iter().flat_map(|(port, frames)| frames.iter().map(move |frame| line(port, frame))).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(PathBuf::from(path)).unwrap_or_default()
}
