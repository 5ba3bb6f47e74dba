//! The goldens against the gateway binary, on `net_pcap` ports: capture in, capture out.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_fastpath::io::pcap;
use tidegate_tests::{
    gateway::Gateway as InProcess,
    golden::{self, Golden},
    lab::{Gateway, Lab, gateway::binary, wait_for},
    packet::describe,
};

#[test]
fn every_golden_holds_on_pcap_ports() {
    let Some(lab) = super::lab() else { return };
    if let Err(why) = binary() {
        return super::skip(&why).unwrap_or_default();
    }
    for golden in golden::all() {
        play(&lab, &golden);
    }
}

fn play(lab: &Lab, golden: &Golden) {
    let name = golden.name();
    let dir = tempfile::tempdir().unwrap();
    let output = |port: &str| dir.path().join(format!("{port}.pcap"));
    let mut config: Value = serde_saphyr::from_str(golden.config()).unwrap();
    config["gateway"]["control_socket"] = "{dir}/control.sock".into();
    config["gateway"]["state"] = "{dir}/state".into();
    for (i, port) in golden.ports().iter().enumerate() {
        let mut input = golden.path(&format!("send.{port}.pcap"));
        if !input.exists() {
            input = dir.path().join(format!("nothing.{port}.pcap"));
            pcap::write(&input, &[]).unwrap();
        }
        let device = format!("net_pcap{i},rx_pcap={},tx_pcap={}", input.display(), output(port).display());
        config["gateway"]["ports"][i]["device"] = device.into();
    }
    let mut gateway = Gateway::start(lab, &config.to_string()).unwrap();
    let frames = golden.received().len() as u64;
    wait_for("the gateway to take every frame", || {
        let workers = gateway.json("workers").ok()?;
        let books = &workers[0]["books"];
        (books["rx"] == frames && books["held"] == 0).then_some(())
    })
    .unwrap_or_else(|why| panic!("{name}: {why:#}: {}", gateway.show("workers").unwrap_or_default()));
    let drops = drops(&gateway);
    gateway.stop().unwrap();

    let sent = golden
        .ports()
        .iter()
        .map(|port| (port.clone(), texts(pcap::frames(&output(port)).unwrap_or_default())));
    let expected = golden.expected();
    let expected = golden
        .ports()
        .iter()
        .map(|port| (port.clone(), texts(expected.get(port).cloned().unwrap_or_default())));
    assert_eq!(
        sent.collect::<BTreeMap<_, _>>(),
        expected.collect(),
        "{name}: what it sent (left), expected (right)"
    );
    assert_eq!(drops, expected_drops(golden), "{name}: drops");
}

/// What was sent, in words and sorted: packets that waited for a neighbour come later than others. Without ARP, which here
/// depends on when control hears what the capture holds all at once; the goldens in process compare it.
fn texts(frames: Vec<pcap::Frame>) -> Vec<String> {
    let mut texts: Vec<_> = frames.into_iter().map(|frame| describe(&golden::normal(frame.bytes))).collect();
    texts.retain(|text| !text.contains("| arp "));
    texts.sort();
    texts
}

/// Drops by reason, but those of its own announcements, which were sent to tunnel ends not yet known.
fn drops(gateway: &Gateway) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for row in gateway.json("drops").unwrap().as_array().unwrap() {
        *sums.entry(row["reason"].as_str().unwrap().to_owned()).or_default() +=
            row["packets"].as_u64().unwrap();
    }
    sums.retain(|reason, n| *n != 0 && reason != "neighbour_unresolved");
    sums
}

fn expected_drops(golden: &Golden) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(golden.path("expect.counters")).unwrap();
    let counts = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, n)| (name.to_owned(), n.parse().unwrap()));
    counts.filter(|(name, _)| InProcess::is_drop(name)).collect()
}
