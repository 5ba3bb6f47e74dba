//! Rate limits under real traffic, on two workers. What passed is read off the bucket, with the bucket's own time. Bursts of the exact
//! tests are for tenths of a second, so that a machine on which a worker does not always run loses no credit meanwhile.

use serde_json::{Value, json};
use tidegate_tests::lab::{
    Internet, Site,
    internet::SERVER,
    limit::Limit,
    probe::{Capture, iperf3},
    site::{self, SHARED},
};

const MBIT: f64 = 1e6;

/// Milliseconds after the beginning of a stream of 6 s between which it is measured: before, the burst and slow start.
const MIDDLE: [u64; 2] = [1_500, 5_500];

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

#[test]
fn tcp_gets_its_rate_through_a_vip_and_a_port_both_ways() {
    let Some((internet, site)) = site_with(json!([
        {"id": "vip", "vip": "shared", "inbound": "100Mbit/s", "outbound": "100Mbit/s"},
        {"id": "port", "vip": "shared", "port": 5201, "inbound": "40Mbit/s", "outbound": "30Mbit/s"},
    ])) else {
        return;
    };
    let (web, server) = (site.web.netns(), &internet.server);
    let out = (server, web, SERVER);
    let into = (web, server, SHARED);
    for (bucket, ends, options, limit) in [
        // Out by SNAT, in as its answer, in by the port forward, out as that one's answer.
        (Limit { id: "vip", direction: "outbound" }, out, "-P 8", 100.0),
        (Limit { id: "vip", direction: "inbound" }, out, "-P 8 -R", 100.0),
        (Limit { id: "port", direction: "inbound" }, into, "-P 8", 40.0),
        (Limit { id: "port", direction: "outbound" }, into, "-P 8 -R", 30.0),
    ] {
        let (tcp, [first, last]) = bucket.under_stream(&site, ends, (options, 6), MIDDLE).unwrap();
        let (goodput, rate) = (tcp.bits_per_second / MBIT / limit, first.rate_until(&last) / MBIT / limit);
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
        (Limit { id: "vip", direction: "outbound" }, (server, web, SERVER), "-u -b 10M -P 4 -l 1200", 20.0),
        (Limit { id: "port", direction: "inbound" }, (web, server, SHARED), "-u -b 6M -P 4 -l 300", 10.0),
    ] {
        let (udp, [first, last]) = bucket.under_stream(&site, ends, (options, 6), MIDDLE).unwrap();
        let part = first.filled_until(&last) / MBIT / limit;
        println!(
            "UDP {bucket:?} {limit} Mbit/s: {:.2} % at the bucket, {} of {} lost",
            part * 100.0,
            udp.lost,
            udp.datagrams
        );
        assert!((0.99..=1.01).contains(&part), "{bucket:?}: {part} of {limit} Mbit/s");
        assert!(udp.lost > 0 && bucket.read(&site).unwrap().dropped > 0);
    }
    assert!(site.drops("policed").unwrap() > 0 && site.books().unwrap().balance());
}

#[test]
fn a_reload_changes_the_rate_under_traffic() {
    // A sender that is held up for less than 0.6 s fills no bucket to the brim.
    let qos = |rate: &str| json!([{"id": "vip", "vip": "shared", "outbound": rate, "burst": "2MiB"}]);
    let Some((internet, site)) = site_with(qos("10Mbit/s")) else { return };
    let ends = (&internet.server, site.web.netns(), SERVER);
    let bucket = Limit { id: "vip", direction: "outbound" };
    let flood = || bucket.under_stream(&site, ends, ("-u -b 40M -P 2 -l 1200", 4), [1_500, 3_500]).unwrap().1;
    let [a, b] = flood();
    let mut config: Value =
        serde_json::from_str(&std::fs::read_to_string(site.gateway.dir().join("gateway.yaml")).unwrap())
            .unwrap();
    config["qos"] = qos("25Mbit/s");
    site.gateway.reload(&config.to_string()).unwrap();
    let [c, d] = flood();
    let parts = [a.filled_until(&b) / 10.0 / MBIT, c.filled_until(&d) / 25.0 / MBIT];
    assert!(parts.iter().all(|part| (0.99..=1.01).contains(part)), "{parts:?}");
}

/// AF11, AF12, AF13 and AF22 as pcap expressions.
const AF: [&str; 4] = [
    "udp and ip[1] & 0xfc = 40",
    "udp and ip[1] & 0xfc = 48",
    "udp and ip[1] & 0xfc = 56",
    "udp and ip[1] & 0xfc = 80",
];

#[test]
fn streams_arrive_with_the_dscp_of_their_colour() {
    let Some((internet, site)) = site_with(json!([
        {"id": "vip", "vip": "shared", "outbound": "8Mbit/s", "burst": "100kB",
            "colour": {"mode": "trtcm", "outbound_peak": "12Mbit/s", "peak_burst": "100kB", "green": "af11", "yellow": "af12", "red": "af13"}},
        {"id": "port", "vip": "shared", "port": 5201, "inbound": "40Mbit/s", "colour": {"mode": "srtcm", "aware": true, "yellow": "af22"}},
    ])) else {
        return;
    };
    let (web, server, dir) = (site.web.netns(), &internet.server, site.gateway.dir());
    let colours = |id: &str| {
        let rows = site.gateway.json("qos").unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap().clone();
        ["green", "yellow", "red"]
            .map(|colour| row["colours"][format!("{colour}_packets")].as_u64().unwrap() as usize)
    };
    // Out by SNAT, more than both rates: nothing is dropped, and the server sees each colour as often as it was given.
    let capture = Capture::start(server, "eth0", "udp", dir).unwrap();
    iperf3(server, web, SERVER, "-t 2 -u -b 20M -l 1200").unwrap();
    let given = colours("vip");
    let seen = capture.counts(AF).unwrap();
    println!("green, yellow, red: {given:?} given, {seen:?} seen");
    // Packets of iperf3's own connection are in the first, and tcpdump may miss some.
    let few = |given: usize| given - given / 20 - 60.min(given);
    for (given, seen) in given.into_iter().zip(seen) {
        assert!(given > 100 && (few(given)..=given).contains(&seen), "{given} given, {seen} seen");
    }
    assert_eq!(seen[3], 0);
    // In by the port forward, as AF12: yellow from the beginning, and AF22 where it arrives, through VXLAN.
    let capture = Capture::start(web, "eth0", "udp", dir).unwrap();
    let udp = iperf3(web, server, SHARED, "-t 1 -u -b 4M -l 1200 --dscp af12").unwrap();
    let seen = capture.counts(AF).unwrap();
    println!("{} sent as AF12, {seen:?} seen as AF11, AF12, AF13, AF22", udp.datagrams);
    assert!(seen[1] == 0 && seen[3] as u64 * 10 > udp.datagrams * 9, "{} sent, {seen:?} seen", udp.datagrams);
    assert!(colours("port")[1] as u64 * 10 > udp.datagrams * 9);
    assert!(site.books().unwrap().balance());
}
