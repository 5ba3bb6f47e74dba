//! Rate limits. 8 kbit/s are 1000 bytes a second; a burst of 16 KiB is sixteen packets of 1000 bytes.

mod colour;

use tidegate_control::show::Table;

use super::nat::{SERVICES, nat_on, services};
use super::*;

/// 972 bytes of data are an IP packet of 1000.
const OUT: &str = "udp 10.1.1.7:4000 > 8.8.8.8:53 ttl=64 len=972";

fn site_of(qos: &str) -> String {
    format!("{}qos:\n{qos}", services(SERVICES))
}

fn limited(qos: &str) -> (Gateway, Station, Station, Station) {
    nat_on(&site_of(qos))
}

/// Packets that pass a limit of one packet per second at once: 64, less what several workers have left of leases.
const AT_ONCE: usize = if crate::WORKERS == 1 { 64 } else { 63 };

/// Sends a packet so often; returns how many were let through.
fn passed(gw: &mut Gateway, from: &Station, packet: &str, times: usize) -> usize {
    (0..times).map(|_| gw.from(from, packet).words().len()).sum()
}

/// `show qos`, without the level: passed packets and bytes, dropped packets and bytes.
fn counted(gw: &mut Gateway) -> Vec<String> {
    let row = |line: String| {
        let words: Vec<&str> = line.split(' ').collect();
        let counts = &words[words.len() - 4..];
        format!("{} {} {}", words[0], words[1], counts.join(" "))
    };
    gw.shown(Table::Qos, &[]).into_iter().map(row).collect()
}

#[test]
fn what_is_above_the_rate_of_a_vip_is_dropped_and_counted() {
    let (mut gw, a, _, up) =
        limited("  - { id: all, vip: shared, outbound: 8kbit/s, inbound: 80kbit/s, burst: 16KiB }\n");
    assert_eq!(passed(&mut gw, &a, OUT, 20), 16);
    gw.take_moved();
    gw.from(&a, OUT).nothing();
    gw.moved(["flow_hit", "policed"]);
    // A second is worth a packet, whoever polls.
    gw.pass(1_000).ignore();
    assert_eq!(passed(&mut gw, &a, OUT, 3), 1);
    gw.pass(60_000).ignore();
    assert_eq!(passed(&mut gw, &a, OUT, 20), 16, "no more than a burst, however long the pause");
    assert_eq!(counted(&mut gw), ["all inbound 0 0 0 0", "all outbound 33 33000 11 11000"]);
    // The other direction has a bucket of its own.
    let ssh = "tcp 9.9.9.9:5 > 203.0.113.93:2222 S ttl=64";
    assert_eq!(passed(&mut gw, &up, ssh, 10), 10);
    assert_eq!(counted(&mut gw)[0], "all inbound 10 400 0 0");
}

#[test]
fn a_port_passes_its_own_limit_and_that_of_its_vip() {
    let both = "
  - { id: all, vip: shared, inbound: 8kbit/s, burst: 32KiB }
  - { id: ssh, vip: shared, port: 2222, protocol: tcp, inbound: 8kbit/s, burst: 16KiB }\n";
    let (one, other) = (
        "tcp 9.9.9.9:5 > 203.0.113.93:2222 A ttl=64 len=960",
        "tcp 9.9.9.9:5 > 203.0.113.93:2223 A ttl=64 len=960",
    );
    let open = |gw: &mut Gateway, up: &Station| {
        for port in [2222, 2223] {
            gw.from(up, &format!("tcp 9.9.9.9:5 > 203.0.113.93:{port} S ttl=64")).ignore();
        }
    };
    let (mut gw, _, _, up) = limited(both);
    open(&mut gw, &up);
    assert_eq!(passed(&mut gw, &up, one, 20), 16);
    assert_eq!(passed(&mut gw, &up, other, 40), 16, "what the port took is taken of the VIP");
    assert_eq!(passed(&mut gw, &up, one, 1), 0);
    assert_eq!(counted(&mut gw), ["all inbound 34 32080 24 24000", "ssh inbound 17 16040 5 5000"]);

    let (mut gw, _, _, up) = limited(&both.replace("port: 2222", "independent: true, port: 2222"));
    open(&mut gw, &up);
    assert_eq!(passed(&mut gw, &up, one, 20), 16);
    assert_eq!(passed(&mut gw, &up, other, 40), 32, "the port is not the VIP's business");
}

#[test]
fn vips_share_a_bucket() {
    let (mut gw, a, _, up) =
        limited("  - { id: both, vips: [shared, whole], outbound: 8kbit/s, burst: 16KiB }\n");
    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    assert_eq!(passed(&mut gw, &a, OUT, 10), 10);
    assert_eq!(passed(&mut gw, &c, "udp 10.1.1.8:7 > 8.8.8.8:53 len=972", 10), 6);
    // What comes in is not limited.
    assert_eq!(passed(&mut gw, &up, "udp 9.9.9.9:1 > 203.0.113.94:2 len=972", 30), 30);
}

#[test]
fn a_nic_is_limited_inside_and_outside() {
    let nics = "nics:\n  - { id: nic-a, network: red-1, address: 10.1.1.7 }\n  - { id: nic-b, network: red-2, address: 10.1.2.9 }\n";
    let qos = "  - { id: a, nic: nic-a, outbound: 8kbit/s, burst: 16KiB }\n  - { id: b, nic: nic-b, inbound: 8kbit/s, burst: 32KiB }\n";
    let (mut gw, a, b, up) = nat_on(&format!("{}{nics}", site_of(qos)));
    assert_eq!(passed(&mut gw, &a, OUT, 4), 4);
    let east = "udp 10.1.1.7:4000 > 10.1.2.9:9 ttl=64 len=972";
    assert_eq!(passed(&mut gw, &a, east, 20), 12, "what goes out and what goes across is of one NIC");
    assert_eq!(passed(&mut gw, &b, "udp 10.1.2.9:9 > 10.1.1.7:4000 ttl=64 len=972", 30), 30);
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 S ttl=64").ignore();
    let ssh = "tcp 9.9.9.9:5 > 203.0.113.93:2222 A ttl=64 len=960";
    assert_eq!(passed(&mut gw, &up, ssh, 40), 20, "12 came from the other VM");
    assert_eq!(counted(&mut gw), ["a outbound 16 16000 8 8000", "b inbound 33 32040 20 20000"]);
    gw.take_moved();
    gw.from(&a, east).nothing();
    gw.moved(["flow_hit", "policed"]);
}

#[test]
fn a_nic_is_limited_where_flows_are_not_tracked() {
    let nics = "
nics: [{ id: nic, network: blue-1, address: 10.1.1.7 }]
qos: [{ id: q, nic: nic, outbound_pps: 1 }]\n";
    let text = site_with("{ id: blue }", "{ id: blue, flow_tracking: false }") + nics;
    let mut gw = Gateway::start(&text, crate::WORKERS);
    let (a, _) = (gw.vm("blue-1", "10.1.1.7", HOST2), gw.vm("blue-2", "10.1.2.9", HOST3));
    assert_eq!(passed(&mut gw, &a, "udp 10.1.1.7:1 > 10.1.2.9:2", 70), AT_ONCE);
    let (passed, dropped) = (AT_ONCE * 28, (70 - AT_ONCE) * 28);
    assert_eq!(counted(&mut gw), [format!("q outbound {AT_ONCE} {passed} {} {dropped}", 70 - AT_ONCE)]);
}

#[test]
fn a_new_rate_holds_at_once_and_no_flow_is_decided_again() {
    let slow = "  - { id: all, vip: shared, outbound: 8kbit/s, burst: 16KiB }\n";
    let (mut gw, a, _, _) = limited(slow);
    assert_eq!(passed(&mut gw, &a, OUT, 20), 16);
    gw.reload(&site_of(&slow.replace("8kbit/s", "800kbit/s"))).ignore();
    gw.take_moved();
    assert_eq!(passed(&mut gw, &a, OUT, 20), 16, "a new bucket is full");
    gw.moved(["flow_hit 20", "policed 4"]);
    gw.pass(100).ignore();
    assert_eq!(passed(&mut gw, &a, OUT, 20), 10, "a tenth of a second at 800 kbit/s");
    assert_eq!(counted(&mut gw), ["all outbound 42 42000 18 18000"], "counters go on");
    // The same document again is no new bucket.
    gw.reload(&site_of(&slow.replace("8kbit/s", "800kbit/s"))).ignore();
    assert_eq!(passed(&mut gw, &a, OUT, 1), 0);
}

#[test]
fn a_limit_that_comes_or_goes_is_for_flows_that_are_there_too() {
    let (mut gw, a, _, _) = nat_on(&services(SERVICES));
    assert_eq!(passed(&mut gw, &a, OUT, 20), 20);
    let limit = site_of("  - { id: all, vip: shared, outbound_pps: 1 }\n");
    gw.reload(&limit).ignore();
    gw.take_moved();
    assert_eq!(passed(&mut gw, &a, OUT, 70), AT_ONCE);
    gw.moved(["flow_redecide", "flow_hit 69", &format!("policed {}", 70 - AT_ONCE)]);
    gw.reload(&services(SERVICES)).ignore();
    assert_eq!(passed(&mut gw, &a, OUT, 20), 20);
}

#[test]
fn bytes_of_the_frame_are_counted_where_that_is_asked_for() {
    let (mut gw, a, _, _) =
        limited("  - { id: all, vip: shared, outbound: 1Mbit/s, burst: 16KiB, count: l2 }\n");
    assert_eq!(passed(&mut gw, &a, OUT, 1), 1);
    assert_eq!(passed(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53 len=0", 1), 1);
    assert_eq!(counted(&mut gw), ["all outbound 2 1082 0 0"]);
}

#[test]
fn a_packet_that_waits_or_is_cut_is_charged_once() {
    let (mut gw, _, b, up) = limited("  - { id: all, vip: shared, inbound: 8kbit/s, burst: 16KiB }\n");
    let (syn, long) =
        ("tcp 9.9.9.9:5 > 203.0.113.93:2222 S ttl=64", "tcp 9.9.9.9:5 > 203.0.113.93:2222 A ttl=64 len=1460");
    gw.from(&up, syn).ignore();
    // 1500 bytes on the public side are two fragments inside, where the MTU is 1450.
    assert_eq!(passed(&mut gw, &up, long, 1), 2);
    assert_eq!(counted(&mut gw), ["all inbound 2 1540 0 0"]);
    // Nobody answers for a while: what waits is charged when it goes.
    gw.silence(&b);
    gw.pass(120_000).ignore();
    gw.from(&up, syn).ignore();
    let before = counted(&mut gw);
    gw.wake(&b);
    gw.pass(2_500).ignore();
    assert_eq!(
        (before, counted(&mut gw)),
        (vec!["all inbound 2 1540 0 0".into()], vec!["all inbound 3 1580 0 0".to_owned()])
    );
}

#[test]
fn what_goes_on_inside_the_gateway_passes_both_vips() {
    let (mut gw, a, _, _) = limited(
        "
  - { id: out, vip: shared, outbound_pps: 1, inbound_pps: 1 }
  - { id: in, vip: whole, inbound_pps: 1 }\n",
    );
    let _c = gw.vm("red-1", "10.1.1.8", HOST1);
    assert_eq!(passed(&mut gw, &a, "udp 10.1.1.7:4000 > 203.0.113.94:9 len=72", 3), 3);
    let rows = counted(&mut gw);
    assert_eq!(rows, ["in inbound 3 300 0 0", "out inbound 0 0 0 0", "out outbound 3 300 0 0"]);
}
