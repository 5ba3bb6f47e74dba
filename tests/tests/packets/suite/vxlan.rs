//! VXLAN (RFC 7348): what comes off, what goes on.

use std::collections::HashSet;

use super::*;

const THERE: &str = "udp 10.1.1.7:4000 > 10.1.2.9:53 ttl=64 len=20";
const ARRIVED: &str = "udp 10.1.1.7:4000 > 10.1.2.9:53 ttl=63 len=20";

#[test]
fn a_packet_goes_from_subnet_to_subnet_and_its_answer_back() {
    let (mut gw, a, b) = red();
    gw.from(&a, THERE).to(&b, ARRIVED);
    gw.moved(["flow_miss", "flow_learn"]);
    gw.from(&b, "udp 10.1.2.9:53 > 10.1.1.7:4000 ttl=64").to(&a, "udp 10.1.2.9:53 > 10.1.1.7:4000 ttl=63");
    gw.moved(["flow_miss", "flow_learn"]);
    gw.from(&a, THERE).to(&b, ARRIVED);
    gw.moved(["flow_hit"]);
}

/// The outer source port of the one frame that is sent.
fn source_port(gw: &mut Gateway, from: &Station, packet: &str) -> u16 {
    let words = gw.from(from, packet).words();
    let [frame] = &words[..] else { panic!("one frame, not {words:?}") };
    let port = frame.split("sport=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    port.parse().unwrap()
}

#[test]
fn the_source_port_is_one_per_flow_and_spread_over_the_dynamic_range() {
    let (mut gw, a, _) = red();
    let packet = |flow: u16| format!("udp 10.1.1.7:{} > 10.1.2.9:53", 4000 + flow);
    let first: Vec<u16> = (0..64).map(|flow| source_port(&mut gw, &a, &packet(flow))).collect();
    let again: Vec<u16> = (0..64).map(|flow| source_port(&mut gw, &a, &packet(flow))).collect();
    assert_eq!(first, again);
    assert!(first.iter().all(|port| (49152..=65535).contains(port)), "{first:?}");
    let different: HashSet<u16> = first.into_iter().collect();
    assert!(different.len() > 56, "64 flows share {} ports", different.len());
}

#[test]
fn the_outer_udp_checksum_may_be_there_and_must_then_be_right() {
    let (mut gw, a, b) = red();
    gw.from(&a.outer("sum"), THERE).to(&b, ARRIVED);
    gw.moved(["flow_miss", "flow_learn"]);
    let mut frame = tidegate_tests::packet::frame(&a.outer("sum").sends(THERE)).unwrap();
    frame[14 + 20 + 6] ^= 1;
    gw.rx_bytes("underlay", &frame).nothing();
    gw.moved(["vxlan_checksum"]);
}

#[test]
fn reserved_bits_mean_nothing_and_the_i_flag_everything() {
    let (mut gw, a, b) = red();
    gw.from(&a.outer("flags=255 reserved=255"), THERE).to(&b, ARRIVED);
    gw.moved(["flow_miss", "flow_learn"]);
    gw.from(&a.outer("flags=247"), THERE).nothing();
    gw.moved(["vxlan_flags"]);
}

#[test]
fn a_vni_is_known_in_its_pool_only() {
    let (mut gw, a, _) = red();
    gw.rx("underlay", &a.sends(THERE).replace("vxlan 201", "vxlan 203")).nothing();
    gw.moved(["unknown_vni"]);
    gw.rx("underlay", &a.sends(THERE).replace("dport=8472", "dport=4789").replace("vxlan 201", "vxlan 202"))
        .nothing();
    gw.moved(["unknown_vni"]);
}

#[test]
fn pools_that_share_an_address_differ_in_the_udp_port() {
    let (mut gw, a, b) = red();
    // VNI 201 is a network of `red` on 8472 and a network of `blue` on 4789; so are the addresses.
    let blue = gw.vm("blue-1", "10.1.1.7", HOST3);
    let blue_b = gw.vm("blue-2", "10.1.2.9", HOST2);
    gw.from(&a, THERE).to(&b, ARRIVED);
    gw.from(&blue, THERE).to(&blue_b, ARRIVED);
    gw.moved(["flow_miss 2", "flow_learn 2"]);
}

#[test]
fn pools_have_tunnel_ends_of_their_own_on_several_ports() {
    let config = site_with("device: mem1, mac: \"02:00:00:00:00:02\" }", {
        "device: mem1, mtu: 1550, mac: \"02:00:00:00:00:02\", addresses: [172.30.0.1/16] }"
    });
    let config = config.replace(
        "- { id: other, vni_range: 200-2500, vtep_cidr: 172.31.0.0/16, udp_port: 4789, remote_vteps: [172.31.2.1, 172.31.3.1] }",
        "- { id: other, vni_range: 200-2500, vtep_cidr: 172.30.0.0/16, udp_port: 8472, remote_vteps: [172.30.2.1] }",
    );
    let mut gw = Gateway::start(&config, crate::WORKERS);
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    let (blue, blue_b) =
        (gw.vm("blue-1", "10.1.1.7", "172.30.2.1"), gw.vm("blue-2", "10.1.2.9", "172.30.2.1"));
    gw.from(&a, THERE).to(&b, ARRIVED);
    gw.from(&blue, THERE).to(&blue_b, ARRIVED);
    assert_ne!(a.port, blue.port);
    // The other pool's tunnel end is an address of the gateway, but not on this port's network.
    let strayed = blue.sends(THERE).replace("02:00:00:00:00:02 | vxlan", "02:00:00:00:00:01 | vxlan");
    gw.take_moved();
    gw.rx("underlay", &strayed).nothing();
    gw.moved(["punt_local"]);
}

#[test]
fn ecn_is_combined_on_decap_and_copied_on_encap() {
    // RFC 6040 figure 4: columns are the outer codepoints Not-ECT, ECT(1), ECT(0), CE; None is a drop.
    let table: [(u8, [Option<u8>; 4]); 4] = [
        (0, [Some(0), Some(0), Some(0), None]),
        (1, [Some(1), Some(1), Some(1), Some(3)]),
        (2, [Some(2), Some(1), Some(2), Some(3)]),
        (3, [Some(3), Some(3), Some(3), Some(3)]),
    ];
    let (mut gw, a, b) = red();
    for (inner, row) in table {
        for (outer, expected) in (0..4u8).zip(row) {
            // DSCP 46 inside and 10 outside: the inner one stays inside, the outer one ends here (RFC 2983, pipe).
            let (outer_tos, inner_tos) = (10 << 2 | outer, 46 << 2 | inner);
            let a = a.outer(&format!("tos={outer_tos}"));
            let sent = gw.from(&a, &format!("udp 10.1.1.7:4000 > 10.1.2.9:53 ttl=64 tos={inner_tos}"));
            match expected {
                None => sent.nothing(),
                Some(ecn) => {
                    let outer = if ecn == 0 { String::new() } else { format!("tos={ecn}") };
                    let inner = format!("udp 10.1.1.7:4000 > 10.1.2.9:53 ttl=63 tos={}", 46 << 2 | ecn);
                    sent.to(&b.outer(&outer), &inner).nothing();
                }
            }
        }
    }
    gw.moved(["flow_miss", "flow_learn", "flow_hit 14", "ecn_not_capable"]);
}

#[test]
fn a_remote_vtep_off_the_link_is_reached_by_the_ports_gateway() {
    let config =
        site_with("remote_vteps: [172.31.1.1, 172.31.2.1]", "remote_vteps: [172.31.1.1, 10.200.7.1]");
    let mut gw = Gateway::start(&config, crate::WORKERS);
    let router = gw.stranger("underlay", "172.31.255.254", None);
    gw.wake(&router);
    gw.pass(5_000).ignore();
    gw.take_moved();
    let a = gw.vm("red-1", "10.1.1.7", HOST1);
    let far = gw.stranger("red-2", "10.1.2.9", Some("10.200.7.1")).through("172.31.255.254");
    gw.from(&far, &far.gratuitous()).nothing();
    gw.from(&a, THERE).to(&far, ARRIVED);
    gw.moved(["punt_arp", "flow_miss", "flow_learn"]);
}

#[test]
fn a_jumbo_underlay_carries_jumbo_overlays() {
    let config = site_with("device: mem0, mtu: 1550", "device: mem0, mtu: 9100");
    let mut gw = Gateway::start(&config.replace("mtu: 1450", "mtu: 9000"), crate::WORKERS);
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    gw.from(&a, "udp 10.1.1.7:4000 > 10.1.2.9:53 df ttl=64 len=8972")
        .to(&b, "udp 10.1.1.7:4000 > 10.1.2.9:53 df ttl=63 len=8972");
    gw.from(&a, "udp 10.1.1.7:4000 > 10.1.2.9:53 df ttl=64 len=8973")
        .to(&a, "icmp frag-needed 10.1.1.1 > 10.1.1.7 mtu=9000 tos=192 | udp 10.1.1.7:4000 > 10.1.2.9:53 df ttl=64 len=520");
    gw.moved(["flow_miss", "flow_learn", "flow_hit", "needs_fragmentation", "icmp_error"]);
}

#[test]
fn an_overlay_of_1450_fits_an_underlay_of_1500() {
    let config = site_with("device: mem0, mtu: 1550", "device: mem0, mtu: 1500");
    let mut gw = Gateway::start(&config, crate::WORKERS);
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    let frames = gw.from(&a, "udp 10.1.1.7:4000 > 10.1.2.9:53 df ttl=64 len=1422").frames();
    assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [14 + 1500]);
    gw.moved(["flow_miss", "flow_learn"]);
    gw.from(&b, "udp 10.1.2.9:53 > 10.1.1.7:4000 df len=1423").to(
        &b,
        "icmp frag-needed 10.1.2.1 > 10.1.2.9 mtu=1450 tos=192 | udp 10.1.2.9:53 > 10.1.1.7:4000 df len=520",
    );
}

#[test]
fn an_address_change_of_our_tunnel_end_is_followed() {
    let (mut gw, a, b) = red();
    gw.from(&a, THERE).to(&b, ARRIVED);
    gw.reload(&site_with("172.31.0.1/16", "172.31.0.99/16")).ignore();
    gw.pass(3_000).ignore();
    let (a2, b2) =
        (gw.stranger("red-1", "10.1.1.7", Some(HOST1)), gw.stranger("red-2", "10.1.2.9", Some(HOST2)));
    gw.take_moved();
    gw.from(&a2, THERE).to(&b2, ARRIVED);
    assert!(b2.gets(ARRIVED).contains("172.31.0.99 > 172.31.2.1"));
    assert!(!gw.take_moved().contains_key("neighbour_unresolved"));
    // The old address is nobody's now; what still comes to it is underlay traffic like any other.
    gw.rx("underlay", &a.sends(THERE)).ignore();
    assert_eq!(gw.take_moved().get("flow_hit"), None, "the old tunnel end must not decap");
}

#[test]
fn a_tunnel_end_with_an_address_that_no_host_may_have_is_not_heard() {
    let (mut gw, a, b) = red();
    for host in ["0.31.2.1", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"] {
        gw.from(&a.at(host), "udp 10.1.1.7:4000 > 10.1.2.9:53").nothing();
        gw.moved(["martian_source"]);
        gw.from(&a.at(host), &a.gratuitous()).nothing();
        gw.moved(["martian_source"]);
    }
    gw.from(&b, "udp 10.1.2.9:53 > 10.1.1.7:4000").to(&a, "udp 10.1.2.9:53 > 10.1.1.7:4000");
}
