//! SNAT: ports of a shared address, by VM, by remote, until none is left.

use super::*;

#[test]
fn packets_leave_with_the_public_address_and_answers_come_back() {
    let (mut gw, a, _, up) = nat();
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53 ttl=64 len=20");
    assert!(port >= 1024);
    gw.moved(["flow_miss", "flow_learn", "session_open"]);
    for _ in 0..2 {
        gw.from(&up, &format!("udp 8.8.8.8:53 > 203.0.113.93:{port} ttl=60 len=40"))
            .to(&a, "udp 8.8.8.8:53 > 10.1.1.7:4000 ttl=59 len=40");
        gw.from(&a, "udp 10.1.1.7:4000 > 8.8.8.8:53 ttl=64 len=20")
            .to(&up, &format!("udp 203.0.113.93:{port} > 8.8.8.8:53 ttl=63 len=20"));
    }
    // The answer's entry was there and decided its way once.
    gw.moved(["flow_redecide", "flow_hit 3"]);
}

#[test]
fn tcp_udp_and_ping_are_translated_with_right_checksums() {
    let (mut gw, a, _, up) = nat();
    let port = out(&mut gw, &a, "tcp 10.1.1.7:4000 > 8.8.8.8:443 S mss=1460 ttl=64 df");
    gw.from(&up, &format!("tcp 8.8.8.8:443 > 203.0.113.93:{port} SA mss=1460 ttl=60"))
        .to(&a, "tcp 8.8.8.8:443 > 10.1.1.7:4000 SA mss=1410 ttl=59");
    gw.from(&a, "tcp 10.1.1.7:4000 > 8.8.8.8:443 A ttl=64 len=100")
        .to(&up, &format!("tcp 203.0.113.93:{port} > 8.8.8.8:443 A ttl=63 len=100"));
    let id = out(&mut gw, &a, "icmp echo 10.1.1.7 > 8.8.8.8 id=9 seq=3 len=56");
    gw.from(&up, &format!("icmp echo-reply 8.8.8.8 > 203.0.113.93 id={id} seq=3 len=56"))
        .to(&a, "icmp echo-reply 8.8.8.8 > 10.1.1.7 id=9 seq=3 len=56");
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53 nosum len=7");
    gw.from(&up, &format!("udp 8.8.8.8:53 > 203.0.113.93:{port} nosum len=7"))
        .to(&a, "udp 8.8.8.8:53 > 10.1.1.7:4000 nosum len=7");
}

#[test]
fn one_inside_port_is_one_public_port_towards_everybody() {
    let (mut gw, a, _, up) = nat();
    let first = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53");
    for remote in ["8.8.8.8:54", "9.9.9.9:53", "198.18.0.1:1"] {
        assert_eq!(out(&mut gw, &a, &format!("udp 10.1.1.7:4000 > {remote}")), first);
    }
    let other = out(&mut gw, &a, "udp 10.1.1.7:4001 > 8.8.8.8:53");
    assert_ne!(other, first);
    assert_eq!(other / 64, first / 64, "ports of one VM are of one block");
    // And everybody reaches it there: endpoint-independent filtering.
    gw.from(&up, &format!("udp 192.88.99.1:7 > 203.0.113.93:{first}"))
        .to(&a, "udp 192.88.99.1:7 > 10.1.1.7:4000");
    gw.from(&up, "udp 192.88.99.1:7 > 203.0.113.93:1").nothing();
    gw.from(&up, &format!("tcp 192.88.99.1:7 > 203.0.113.93:{first} S")).nothing();
}

#[test]
fn vms_of_one_address_do_not_share_ports() {
    let (mut gw, a, b, _) = nat();
    let one = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53");
    let two = out(&mut gw, &b, "udp 10.1.2.9:4000 > 8.8.8.8:53");
    assert_ne!(one / 64, two / 64);
}

#[test]
fn a_vm_without_translation_does_not_leave() {
    let (mut gw, ..) = nat_with(
        "
vips:
  - { id: shared, public_network: public, address: 203.0.113.93 }
snats:
  - { id: out, network: red-1, vips: [shared] }
",
    );
    let b = gw.vm("red-2", "10.1.2.9", HOST2);
    gw.take_moved();
    let sent = "udp 10.1.2.9:1 > 8.8.8.8:2";
    gw.from(&b, sent).to(&b, &format!("icmp no-net 10.1.2.1 > 10.1.2.9 tos=192 | {sent}"));
    gw.moved(["flow_miss", "not_translated", "icmp_error"]);
}

#[test]
fn a_protocol_without_ports_is_one_vms_per_remote() {
    let (mut gw, a, b, up) = nat();
    gw.from(&a, "ip 10.1.1.7 > 8.8.8.8 proto=47 ttl=64 len=30")
        .to(&up, "ip 203.0.113.93 > 8.8.8.8 proto=47 ttl=63 len=30");
    gw.from(&up, "ip 8.8.8.8 > 203.0.113.93 proto=47 ttl=64 len=30")
        .to(&a, "ip 8.8.8.8 > 10.1.1.7 proto=47 ttl=63 len=30");
    gw.take_moved();
    gw.from(&b, "ip 10.1.2.9 > 8.8.8.8 proto=47 len=30")
        .to(&b, "icmp prohibited 10.1.2.1 > 10.1.2.9 tos=192 | ip 10.1.2.9 > 8.8.8.8 proto=47 len=30");
    gw.moved(["flow_miss", "address_ambiguous", "icmp_error"]);
    gw.from(&b, "ip 10.1.2.9 > 9.9.9.9 proto=47 ttl=64 len=30")
        .to(&up, "ip 203.0.113.93 > 9.9.9.9 proto=47 ttl=63 len=30");
}

#[test]
fn other_vpcs_see_nothing_of_it() {
    let (mut gw, ..) = nat();
    let blue = gw.vm("blue-1", "10.1.1.7", HOST3);
    gw.take_moved();
    gw.from(&blue, "udp 10.1.1.7:4000 > 8.8.8.8:53").ignore();
    gw.from(&blue, "tcp 10.1.1.7:4000 > 203.0.113.93:2222 S").ignore();
    assert_eq!(gw.take_moved().get("no_route"), Some(&2));
}

#[test]
fn a_vm_uses_its_ports_again_towards_other_remotes_until_none_is_left() {
    let small = SERVICES.replace("vips: [shared] }", "vips: [shared], ports_per_vm: 64 }");
    let (mut gw, a, b, up) = nat_with(&small);
    let mut ports: Vec<u16> =
        (1..=64).map(|from| out(&mut gw, &a, &format!("udp 10.1.1.7:{from} > 8.8.8.8:53"))).collect();
    gw.take_moved();
    gw.from(&a, "udp 10.1.1.7:65 > 8.8.8.8:53").ignore();
    gw.moved(["flow_miss", "ports_exhausted", "icmp_error"]);
    let again = out(&mut gw, &a, "udp 10.1.1.7:65 > 9.9.9.9:53");
    assert!(ports.contains(&again));
    gw.from(&up, &format!("udp 9.9.9.9:53 > 203.0.113.93:{again}")).to(&a, "udp 9.9.9.9:53 > 10.1.1.7:65");
    // The others are not touched.
    assert!(!ports.contains(&out(&mut gw, &b, "udp 10.1.2.9:1 > 8.8.8.8:53")));
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 64);
}

#[test]
fn new_sessions_are_dropped_by_name_when_the_flow_table_is_full_and_old_ones_go_on() {
    let config = services(SERVICES).replace("flows: 4096", "flows: 1024");
    let mut gw = Gateway::start(&config, crate::WORKERS);
    let a = gw.vm("red-1", "10.1.1.7", HOST1);
    let up = gw.vm("public", "203.0.113.1", HOST1);
    let first = out(&mut gw, &a, "udp 10.1.1.7:1 > 8.8.8.8:53");
    for port in 2..1_000 {
        gw.from(&a, &format!("udp 10.1.1.7:{port} > 8.8.8.8:53")).ignore();
    }
    let moved = gw.take_moved();
    assert!(moved["session_table_full"] > 400, "{moved:?}");
    assert_eq!(moved["session_open"] + moved["session_table_full"], 999, "{moved:?}");
    gw.from(&up, &format!("udp 8.8.8.8:53 > 203.0.113.93:{first}")).to(&a, "udp 8.8.8.8:53 > 10.1.1.7:1");
    assert_eq!(out(&mut gw, &a, "udp 10.1.1.7:1 > 8.8.8.8:53"), first);
}
