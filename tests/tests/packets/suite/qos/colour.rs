//! Colours and what they make of the DSCP. Bursts are half a packet more than they say, so that what several workers have left of
//! leases does not count. AF11, AF12 and AF13 with ECT(0) are TOS 42, 50 and 58.

use super::*;

const AF1: &str = "green: af11, yellow: af12, red: af13";
const SSH: &str = "tcp 9.9.9.9:5 > 203.0.113.93:2222 A ttl=64 tos=2 len=960";

/// The TOS that a packet came out with, so often in a row; 256 for one that was dropped. Of the innermost header, and every
/// checksum is right.
fn tos(gw: &mut Gateway, from: &Station, packet: &str, times: usize) -> Vec<(u16, usize)> {
    let each: Vec<u16> = (0..times)
        .map(|_| {
            let words = gw.from(from, packet).words();
            let Some(frame) = words.first() else { return 256 };
            assert!(!frame.contains("badsum") && !frame.contains("badl4sum"), "{frame}");
            let inner = frame.rsplit('|').next().unwrap();
            let outer = frame.split('|').find(|layer| layer.trim().starts_with("vxlan"));
            // The pipe model: outside is no DSCP of the tenant's, and its ECN.
            let (inner, outer) = (tos_of(inner), outer.map(tos_of));
            assert!(outer.is_none_or(|outer| outer == inner & 0b11), "{frame}");
            inner
        })
        .collect();
    each.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

fn tos_of(layer: &str) -> u16 {
    layer.split(' ').find_map(|word| word.strip_prefix("tos=")).map_or(0, |tos| tos.parse().unwrap())
}

/// Mode and packets by colour of each row of `show qos`.
fn colours(gw: &mut Gateway) -> Vec<String> {
    let rows = gw.shown(Table::Qos, &[]);
    let row = |line: &String| {
        let words: Vec<&str> = line.split(' ').collect();
        let at = words.len() - 7;
        let mode = words.iter().find(|word| ["policer", "srtcm", "trtcm"].contains(*word)).unwrap();
        format!("{} {} {mode} {}", words[0], words[1], words[at..at + 3].join("/"))
    };
    rows.iter().map(row).collect()
}

fn open_ssh(gw: &mut Gateway, up: &Station) {
    gw.from(up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 S ttl=64").ignore();
}

#[test]
fn srtcm_marks_by_two_bursts_in_both_directions() {
    let (mut gw, a, _, up) = limited(&format!(
        "  - {{ id: all, vip: shared, inbound: 8kbit/s, outbound: 8kbit/s, burst: 17.5kB, colour: {{ mode: srtcm, excess_burst: 20.5kB, {AF1} }} }}\n"
    ));
    let out = OUT.replace("ttl", "tos=2 ttl");
    assert_eq!(tos(&mut gw, &a, &out, 40), [(42, 17), (50, 20), (58, 3)]);
    // 30 s are 30 packets: 17 fill the burst, 13 flow over.
    gw.pass(30_000).ignore();
    assert_eq!(tos(&mut gw, &a, &out, 40), [(42, 17), (50, 13), (58, 10)]);
    // A SYN of 40 bytes goes before.
    open_ssh(&mut gw, &up);
    assert_eq!(tos(&mut gw, &up, SSH, 40), [(42, 17), (50, 20), (58, 3)]);
    assert_eq!(colours(&mut gw), ["all inbound srtcm 18/20/3", "all outbound srtcm 34/33/13"]);
    assert_eq!(counted(&mut gw), ["all inbound 41 40040 0 0", "all outbound 80 80000 0 0"]);
}

#[test]
fn trtcm_marks_by_two_rates_and_drops_above_the_peak() {
    let (mut gw, a, _, _) = limited(
        "  - { id: all, vip: shared, outbound: 8kbit/s, burst: 17.5kB, \
         colour: { mode: trtcm, outbound_peak: 24kbit/s, peak_burst: 20.5kB, yellow: cs1 } }\n",
    );
    let out = OUT.replace("ttl", "tos=185 ttl");
    assert_eq!(tos(&mut gw, &a, &out, 40), [(185, 17), (33, 3), (256, 20)]);
    // Three packets a second, of which one is green.
    for _ in 0..3 {
        gw.pass(1_000).ignore();
        assert_eq!(tos(&mut gw, &a, &out, 5), [(185, 1), (33, 2), (256, 2)]);
    }
    assert_eq!(colours(&mut gw), ["all outbound trtcm 20/9/26"]);
    assert_eq!(counted(&mut gw), ["all outbound 29 29000 26 26000"]);
    gw.take_moved();
    gw.from(&a, &out).nothing();
    gw.moved(["flow_hit", "policed"]);
}

#[test]
fn a_packet_gets_no_better_than_it_came_where_colours_are_read() {
    let (mut gw, a, _, _) = limited(
        "  - { id: all, vip: shared, outbound: 8kbit/s, burst: 17.5kB, \
         colour: { mode: srtcm, aware: true, excess_burst: 18.5kB, green: precedence, yellow: precedence, red: precedence } }\n",
    );
    // AF43 is red, AF42 yellow, AF41 and best effort green; best effort has no precedence to change.
    let of = |tos: u8| OUT.replace("ttl", &format!("tos={tos} ttl"));
    assert_eq!(tos(&mut gw, &a, &of(38 << 2), 5), [(38 << 2, 5)]);
    assert_eq!(tos(&mut gw, &a, &of(36 << 2), 8), [(36 << 2, 8)]);
    assert_eq!(tos(&mut gw, &a, &of(34 << 2), 30), [(34 << 2, 17), (36 << 2, 10), (38 << 2, 3)]);
    assert_eq!(tos(&mut gw, &a, OUT, 2), [(0, 2)]);
    assert_eq!(colours(&mut gw), ["all outbound srtcm 17/18/10"]);
}

#[test]
fn the_worse_colour_of_port_and_vip_says_what_is_done() {
    let colour = |marks: &str| format!("colour: {{ mode: srtcm, excess_burst: 20.5kB, {marks} }}");
    let (mut gw, _, _, up) = limited(&format!(
        "
  - {{ id: vip, vip: shared, inbound: 8kbit/s, burst: 20.5kB, {} }}
  - {{ id: ssh, vip: shared, port: 2222, inbound: 8kbit/s, burst: 18.5kB, {} }}\n",
        colour("green: 1, yellow: 2, red: drop"),
        colour("green: 3, yellow: 4, red: 5"),
    ));
    open_ssh(&mut gw, &up);
    let [own_green, own_yellow, own_red] = [3, 4, 5].map(|dscp| dscp << 2 | 2);
    // The port alone is yellow, then both are; at the end the port is red, and the VIP drops what is red there.
    let runs = [(own_green, 18), (own_yellow, 20), (own_red, 2), (256, 2)];
    assert_eq!(tos(&mut gw, &up, SSH, 42), runs);
    assert_eq!(colours(&mut gw), ["ssh inbound srtcm 19/20/2", "vip inbound srtcm 21/20/2"]);
}

#[test]
fn a_plain_limit_beside_colours_drops_before_anybody_is_charged() {
    let (mut gw, _, _, up) = limited(&format!(
        "
  - {{ id: vip, vip: shared, inbound: 8kbit/s, burst: 20.5kB }}
  - {{ id: ssh, vip: shared, port: 2222, inbound: 8kbit/s, burst: 17.5kB, colour: {{ mode: srtcm, {AF1} }} }}\n"
    ));
    open_ssh(&mut gw, &up);
    assert_eq!(tos(&mut gw, &up, SSH, 25), [(42, 17), (50, 3), (256, 5)]);
    assert_eq!(colours(&mut gw), ["ssh inbound srtcm 18/3/0", "vip inbound policer -/-/-"]);
    assert_eq!(counted(&mut gw)[0], "ssh inbound 21 20040 0 0");
}

#[test]
fn fragments_carry_the_mark_of_the_packet_that_was_cut() {
    let (mut gw, _, b, up) = limited(&format!(
        "  - {{ id: all, vip: shared, inbound: 8kbit/s, burst: 17.5kB, colour: {{ mode: srtcm, {AF1} }} }}\n"
    ));
    open_ssh(&mut gw, &up);
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 A ttl=64 ipid=7 tos=2 len=1460")
        .to(&b.outer("tos=2"), "tcp 9.9.9.9:5 > 10.1.2.9:22 A tos=42 mf ipid=7 len=1404")
        .to(&b.outer("tos=2"), "ip 9.9.9.9 > 10.1.2.9 proto=6 tos=42 ipid=7 off=1424 len=56");
    assert_eq!(colours(&mut gw), ["all inbound srtcm 2/0/0"]);
}

#[test]
fn inside_the_gateway_the_second_limit_reads_the_mark_of_the_first() {
    let (mut gw, a, _, _) = limited(
        "
  - { id: out, vip: shared, outbound: 8kbit/s, colour: { mode: srtcm, green: af12 } }
  - { id: in, vip: whole, inbound: 8kbit/s, colour: { mode: srtcm, aware: true, yellow: af22 } }\n",
    );
    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    gw.from(&a, "udp 10.1.1.7:4000 > 203.0.113.94:9 tos=1 len=72").to(&c.outer("tos=1"), "udp tos=81 len=72");
    assert_eq!(colours(&mut gw), ["in inbound srtcm 0/1/0", "out outbound srtcm 1/0/0"]);
}

#[test]
fn a_nic_marks_where_nothing_is_translated_and_flows_are_not_tracked() {
    let nics = "
nics: [{ id: nic, network: blue-1, address: 10.1.1.7 }]
qos: [{ id: q, nic: nic, outbound: 8kbit/s, burst: 17.5kB, colour: { mode: srtcm, yellow: af12 } }]\n";
    let text = site_with("{ id: blue }", "{ id: blue, flow_tracking: false }") + nics;
    let mut gw = Gateway::start(&text, crate::WORKERS);
    let (a, _) = (gw.vm("blue-1", "10.1.1.7", HOST2), gw.vm("blue-2", "10.1.2.9", HOST3));
    let east = "udp 10.1.1.7:1 > 10.1.2.9:2 tos=2 len=972";
    assert_eq!(tos(&mut gw, &a, east, 40), [(2, 17), (50, 17), (256, 6)]);
}

#[test]
fn colours_come_and_go_with_a_reload_and_no_flow_is_decided_again() {
    let plain = "  - { id: all, vip: shared, outbound: 8kbit/s, burst: 17.5kB }\n";
    let marked = plain.replace(" }\n", ", colour: { mode: srtcm, yellow: af12 } }\n");
    let (mut gw, a, _, _) = limited(plain);
    assert_eq!(tos(&mut gw, &a, OUT, 20), [(0, 17), (256, 3)]);
    gw.reload(&site_of(&marked)).ignore();
    gw.take_moved();
    assert_eq!(tos(&mut gw, &a, OUT, 36), [(0, 17), (48, 17), (256, 2)]);
    gw.moved(["flow_hit 36", "policed 2"]);
    gw.reload(&site_of(plain)).ignore();
    assert_eq!(tos(&mut gw, &a, OUT, 18), [(0, 17), (256, 1)]);
}
