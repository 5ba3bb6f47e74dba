//! Rate limits under real traffic, on two workers. What passed is read off the bucket, with the bucket's own time. Bursts of the exact
//! tests are for tenths of a second, so that a machine on which a worker does not always run loses no credit meanwhile.

use serde_json::{Value, json};
use tidegate_tests::lab::{
    Internet, Netns, Site,
    internet::SERVER,
    probe::{Stream, iperf3},
    site::{self, SHARED},
};

const MBIT: f64 = 1e6;

/// The site with services on two workers, and these rate limits.
fn site_with(qos: Value) -> Option<(Internet, Site)> {
    let lab = super::lab()?;
    if let Err(why) = tidegate_tests::lab::gateway::binary() {
        return super::skip(&why);
    }
    let mut config = site::config_with_services();
    config["gateway"]["workers"] = json!([0, 1]);
    // Senders and receivers need the same two cores.
    config["gateway"]["poll"] = json!("adaptive");
    config["port_forwards"].as_array_mut().unwrap().extend(
        ["tcp", "udp"].map(|protocol| {
            json!({"id": format!("iperf-{protocol}"), "vip": "shared", "protocol": protocol, "ports": 5201, "vpc": "vpc-1", "address": "192.168.20.154"})
        }),
    );
    config["qos"] = qos;
    let site = Site::new(lab, &config).unwrap();
    let internet = Internet::behind(&site).unwrap();
    Some((internet, site))
}

/// A reading of a bucket.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at_ns: u64,
    passed: u64,
    dropped: u64,
    packets: u64,
    level: u64,
}

fn read(site: &Site, id: &str, direction: &str) -> Reading {
    let rows = site.gateway.json("qos").unwrap();
    let rows = rows.as_array().unwrap();
    let row = rows.iter().find(|row| row["id"] == id && row["direction"] == direction).unwrap();
    let number = |key: &str| row[key].as_u64().unwrap();
    Reading {
        at_ns: number("read_at_ns"),
        passed: number("passed_bytes"),
        dropped: number("dropped_bytes"),
        packets: number("passed_packets"),
        level: number("level"),
    }
}

/// Bits per second that passed between two readings.
fn rate(from: Reading, to: Reading) -> f64 {
    (to.passed - from.passed) as f64 * 8e9 / (to.at_ns - from.at_ns) as f64
}

/// Bits per second that the bucket gave out between two readings: what passed, and what is there more than before.
fn filled(from: Reading, to: Reading) -> f64 {
    let passed = (to.passed - from.passed) as f64;
    (passed + to.level as f64 - from.level as f64) * 8e9 / (to.at_ns - from.at_ns) as f64
}

/// Runs a stream; returns it with two readings of the bucket in its middle, when the burst is used up.
fn stream(
    site: &Site,
    bucket: (&str, &str),
    (server, client, address): (&Netns, &Netns, &str),
    options: &str,
    seconds: u64,
) -> (Stream, [Reading; 2]) {
    std::thread::scope(|scope| {
        let before = read(site, bucket.0, bucket.1);
        let run =
            scope.spawn(|| iperf3(server, client, address, &format!("-t {seconds} {options}")).unwrap());
        // The first second is for the burst and slow start.
        let when = |passed_ns: u64| {
            tidegate_tests::lab::wait_for("the stream to go on", || {
                let now = read(site, bucket.0, bucket.1);
                let began = now.packets > before.packets + 100;
                (began && now.at_ns > before.at_ns + passed_ns).then_some(now)
            })
            .unwrap()
        };
        let first = when(1_500_000_000);
        let last = when(seconds * 1_000_000_000 - 500_000_000);
        (run.join().unwrap(), [first, last])
    })
}

#[test]
fn tcp_gets_its_rate_through_a_vip_and_a_port_both_ways() {
    let Some((internet, site)) = site_with(json!([
        {"id": "vip", "vip": "shared", "inbound": "100Mbit/s", "outbound": "100Mbit/s", "burst": "2500kB"},
        {"id": "port", "vip": "shared", "port": 5201, "inbound": "40Mbit/s", "outbound": "30Mbit/s", "burst": "1MB"},
    ])) else {
        return;
    };
    let (web, server) = (site.web.netns(), &internet.server);
    let out = (server, web, SERVER);
    let into = (web, server, SHARED);
    for (bucket, ends, options, limit) in [
        // Out by SNAT, in as its answer, in by the port forward, out as that one's answer.
        (("vip", "outbound"), out, "-P 8", 100.0),
        (("vip", "inbound"), out, "-P 8 -R", 100.0),
        (("port", "inbound"), into, "-P 8", 40.0),
        (("port", "outbound"), into, "-P 8 -R", 30.0),
    ] {
        let (tcp, [first, last]) = stream(&site, bucket, ends, options, 6);
        let (goodput, rate) = (tcp.bits_per_second / MBIT / limit, rate(first, last) / MBIT / limit);
        println!(
            "TCP {bucket:?} {limit} Mbit/s: {:.1} % at the bucket, {:.1} % goodput",
            rate * 100.0,
            goodput * 100.0
        );
        assert!((0.95..=1.05).contains(&rate), "{bucket:?}: {rate} of {limit} Mbit/s at the bucket");
        // What the receivers got, headers and what was sent again aside.
        assert!(limit < 100.0 || goodput >= 0.9, "{bucket:?}: {goodput} of {limit} Mbit/s");
    }
    let workers = site.gateway.json("workers").unwrap();
    let busy = |w: &Value| w["books"]["rx"].as_u64().is_some_and(|rx| rx > 0);
    assert!(workers.as_array().unwrap().iter().all(busy), "{workers}");
    assert!(site.books().unwrap().balance());
}

#[test]
fn udp_above_the_rate_passes_at_the_rate_to_the_percent() {
    let Some((internet, site)) = site_with(json!([
        {"id": "vip", "vip": "shared", "inbound": "20Mbit/s", "outbound": "20Mbit/s", "burst": "1MiB"},
        {"id": "port", "vip": "shared", "port": 5201, "protocol": "udp", "independent": true, "inbound": "10Mbit/s", "burst": "512KiB"},
    ])) else {
        return;
    };
    let (web, server) = (site.web.netns(), &internet.server);
    for (bucket, ends, options, limit) in [
        (("vip", "outbound"), (server, web, SERVER), "-u -b 10M -P 4 -l 1200", 20.0),
        (("port", "inbound"), (web, server, SHARED), "-u -b 6M -P 4 -l 300", 10.0),
    ] {
        let (udp, [first, last]) = stream(&site, bucket, ends, options, 6);
        let part = filled(first, last) / MBIT / limit;
        println!(
            "UDP {bucket:?} {limit} Mbit/s: {:.2} % at the bucket, {} of {} lost",
            part * 100.0,
            udp.lost,
            udp.datagrams
        );
        assert!((0.99..=1.01).contains(&part), "{bucket:?}: {part} of {limit} Mbit/s");
        assert!(udp.lost > 0 && read(&site, bucket.0, bucket.1).dropped > 0);
    }
    assert!(site.drops("policed").unwrap() > 0 && site.books().unwrap().balance());
}

#[test]
fn a_reload_changes_the_rate_under_traffic() {
    let qos = |rate: &str| json!([{"id": "vip", "vip": "shared", "outbound": rate, "burst": "512KiB"}]);
    let Some((internet, site)) = site_with(qos("10Mbit/s")) else { return };
    let ends = (&internet.server, site.web.netns(), SERVER);
    let bucket = ("vip", "outbound");
    let (_, [a, b]) = stream(&site, bucket, ends, "-u -b 20M -P 2 -l 1200", 4);
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(site.gateway.dir().join("gateway.yaml")).unwrap())
            .unwrap();
    config["qos"] = qos("25Mbit/s");
    site.gateway.reload(&config.to_string()).unwrap();
    let (_, [c, d]) = stream(&site, bucket, ends, "-u -b 20M -P 2 -l 1200", 4);
    let parts = [filled(a, b) / 10.0 / MBIT, filled(c, d) / 25.0 / MBIT];
    assert!(parts.iter().all(|part| (0.99..=1.01).contains(part)), "{parts:?}");
}
