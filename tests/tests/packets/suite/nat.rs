//! Address translation: SNAT, one-to-one addresses, port forwards, ICMP errors, fragments, TCP state.

use super::*;

/// Services of `red`: SNAT and port forwards on .93, VM 10.1.1.8 with .94 to itself.
pub(super) const SERVICES: &str = "
vips:
  - { id: shared, public_network: public, address: 203.0.113.93 }
  - { id: whole, public_network: public, address: 203.0.113.94 }
snats:
  - { id: out, vpc: red, vips: [shared] }
eips:
  - { id: one, vip: whole, vpc: red, address: 10.1.1.8 }
port_forwards:
  - { id: ssh, vip: shared, protocol: tcp, ports: 2222-2224, vpc: red, address: 10.1.2.9, target_ports: 22-24 }
  - { id: near, vip: shared, protocol: udp, ports: 5353, vpc: red, address: 10.1.2.9, target_ports: 53, allowed_cidr: 198.51.100.0/24 }
";

pub(super) fn services(with: &str) -> String {
    format!("{SITE}{with}")
}

/// A gateway with [`SERVICES`], VM 10.1.1.7 behind SNAT, VM 10.1.2.9 behind forwards, the router upstream.
pub(super) fn nat() -> (Gateway, Station, Station, Station) {
    nat_with(SERVICES)
}

pub(super) fn nat_with(services_text: &str) -> (Gateway, Station, Station, Station) {
    nat_on(&services(services_text))
}

/// The same on a whole document.
pub(super) fn nat_on(config: &str) -> (Gateway, Station, Station, Station) {
    let mut gw = Gateway::start(config, crate::WORKERS);
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    let up = gw.vm("public", "203.0.113.1", HOST1);
    gw.take_moved();
    (gw, a, b, up)
}

/// Sends a packet to the world; returns the port or identifier of the shared address that it came out with.
pub(super) fn out(gw: &mut Gateway, from: &Station, packet: &str) -> u16 {
    let words = gw.from(from, packet).words();
    let [frame] = &words[..] else { panic!("{packet}: {words:?}") };
    let after = |mark: &str| {
        let rest = frame.rsplit_once(mark)?.1;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let port = if packet.starts_with("icmp") { after(" id=") } else { after("203.0.113.93:") };
    port.unwrap_or_else(|| panic!("no public port in {frame}"))
}

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
fn a_vm_with_its_own_address_uses_it_both_ways_for_everything() {
    let (mut gw, _, _, up) = nat();
    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    for (out, back) in [
        ("udp 10.1.1.8:7 > 8.8.8.8:53", "udp 203.0.113.94:7 > 8.8.8.8:53"),
        ("tcp 10.1.1.8:7 > 8.8.8.8:53 S", "tcp 203.0.113.94:7 > 8.8.8.8:53 S"),
        ("icmp echo 10.1.1.8 > 8.8.8.8 id=7", "icmp echo 203.0.113.94 > 8.8.8.8 id=7"),
        ("ip 10.1.1.8 > 8.8.8.8 proto=47 len=30", "ip 203.0.113.94 > 8.8.8.8 proto=47 len=30"),
        (
            "ip 10.1.1.8 > 8.8.8.8 proto=17 off=1480 len=30",
            "ip 203.0.113.94 > 8.8.8.8 proto=17 off=1480 len=30",
        ),
    ] {
        gw.from(&c, &format!("{out} ttl=64")).to(&up, &format!("{back} ttl=63"));
    }
    for (from, to) in [
        ("udp 9.9.9.9:1 > 203.0.113.94:2", "udp 9.9.9.9:1 > 10.1.1.8:2"),
        ("icmp echo 9.9.9.9 > 203.0.113.94 id=1", "icmp echo 9.9.9.9 > 10.1.1.8 id=1"),
        ("ip 9.9.9.9 > 203.0.113.94 proto=50 len=8", "ip 9.9.9.9 > 10.1.1.8 proto=50 len=8"),
    ] {
        gw.from(&up, &format!("{from} ttl=64")).to(&c, &format!("{to} ttl=63"));
    }
}

#[test]
fn forwarded_ports_reach_their_vm_and_only_they() {
    let (mut gw, _, b, up) = nat();
    for (port, inside) in [(2222, 22), (2223, 23), (2224, 24)] {
        gw.from(&up, &format!("tcp 9.9.9.9:5 > 203.0.113.93:{port} S ttl=64"))
            .to(&b, &format!("tcp 9.9.9.9:5 > 10.1.2.9:{inside} S ttl=63"));
        gw.from(&b, &format!("tcp 10.1.2.9:{inside} > 9.9.9.9:5 SA ttl=64"))
            .to(&up, &format!("tcp 203.0.113.93:{port} > 9.9.9.9:5 SA ttl=63"));
    }
    gw.take_moved();
    for port in [2221, 2225] {
        gw.from(&up, &format!("tcp 9.9.9.9:5 > 203.0.113.93:{port} S")).nothing();
    }
    gw.from(&up, "udp 9.9.9.9:5 > 203.0.113.93:2222").nothing();
    gw.moved(["flow_miss 3", "no_service 3"]);
    gw.from(&up, "udp 9.9.9.9:5 > 203.0.113.93:5353").nothing();
    gw.moved(["flow_miss", "forward_denied"]);
    gw.from(&up, "udp 198.51.100.7:5 > 203.0.113.93:5353").to(&b, "udp 198.51.100.7:5 > 10.1.2.9:53");
}

#[test]
fn a_public_address_is_found_by_arp_and_answers_ping() {
    let (mut gw, _, _, up) = nat();
    let us = up.us;
    for vip in ["203.0.113.93", "203.0.113.94"] {
        gw.from(&up, &format!("arp ask {vip} from 203.0.113.1 {}", up.mac))
            .to(&up, &format!("arp tell {vip} {us} to 203.0.113.1 {}", up.mac));
    }
    gw.take_moved();
    gw.from(&up, "icmp echo 9.9.9.9 > 203.0.113.93 id=4 seq=1 len=8")
        .to(&up, "icmp echo-reply 203.0.113.93 > 9.9.9.9 id=4 seq=1 len=8");
    gw.moved(["flow_miss", "echo_reply"]);
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
fn errors_about_translated_packets_are_translated() {
    let (mut gw, a, b, up) = nat();
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53 len=20");
    gw.from(&up, &format!("icmp ttl-exceeded 192.0.2.1 > 203.0.113.93 ttl=60 | udp 203.0.113.93:{port} > 8.8.8.8:53 ttl=1 len=20"))
        .to(&a, "icmp ttl-exceeded 192.0.2.1 > 10.1.1.7 ttl=59 | udp 10.1.1.7:4000 > 8.8.8.8:53 ttl=1 len=20");
    gw.from(&up, &format!("icmp frag-needed 192.0.2.1 > 203.0.113.93 mtu=1200 | udp 203.0.113.93:{port} > 8.8.8.8:53 df len=520"))
        .to(&a, "icmp frag-needed 192.0.2.1 > 10.1.1.7 mtu=1200 | udp 10.1.1.7:4000 > 8.8.8.8:53 df len=520");
    // From inside, about a forwarded packet.
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 S").to(&b, "tcp 9.9.9.9:5 > 10.1.2.9:22 S");
    gw.from(&b, "icmp no-port 10.1.2.9 > 9.9.9.9 ttl=64 | tcp 9.9.9.9:5 > 10.1.2.9:22 S ttl=63")
        .to(&up, "icmp no-port 203.0.113.93 > 9.9.9.9 ttl=63 | tcp 9.9.9.9:5 > 203.0.113.93:2222 S ttl=63");
    // About nothing.
    gw.take_moved();
    gw.from(&up, "icmp ttl-exceeded 192.0.2.1 > 203.0.113.93 | udp 203.0.113.93:9 > 8.8.8.8:53").nothing();
    gw.moved(["flow_miss", "no_session"]);
}

#[test]
fn our_own_errors_show_each_side_its_own_addresses() {
    let (mut gw, a, _, up) = nat();
    let sent = "udp 10.1.1.7:4000 > 8.8.8.8:53 ttl=1 len=20";
    gw.from(&a, sent).to(&a, &format!("icmp ttl-exceeded 10.1.1.1 > 10.1.1.7 tos=192 | {sent}"));
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53 ttl=64");
    let back = format!("udp 8.8.8.8:53 > 203.0.113.93:{port} ttl=1 len=9");
    gw.from(&up, &back).to(&up, &format!("icmp ttl-exceeded 203.0.113.2 > 8.8.8.8 tos=192 | {back}"));
    let big = format!("udp 8.8.8.8:53 > 203.0.113.93:{port} df ttl=64 len=1460");
    let words = gw.from(&up, &big).words();
    assert!(
        words[0].contains("icmp frag-needed 203.0.113.2 > 8.8.8.8") && words[0].contains("mtu=1450"),
        "{words:?}"
    );
}

#[test]
fn a_packet_that_ends_here_opens_nothing() {
    let (mut gw, a, b, up) = nat();
    let c = gw.vm("red-1", "10.1.1.9", HOST1);
    gw.take_moved();
    let flows = gw.flows();
    let spent = [
        (&a, "udp 10.1.1.7:4000 > 8.8.8.8:53 ttl=1", "10.1.1.1 > 10.1.1.7"),
        (&c, "icmp echo 10.1.1.9 > 8.8.8.8 id=7 ttl=1", "10.1.1.1 > 10.1.1.9"),
        (&b, "ip 10.1.2.9 > 8.8.8.8 proto=47 ttl=1 len=30", "10.1.2.1 > 10.1.2.9"),
        (&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 S ttl=1", "203.0.113.2 > 9.9.9.9"),
    ];
    for (who, sent, ends) in spent {
        gw.from(who, sent).to(who, &format!("icmp ttl-exceeded {ends} tos=192 | {sent}"));
    }
    gw.moved(["flow_miss 4", "ttl_exceeded 4", "icmp_error 4"]);
    assert_eq!((gw.flows(), gw.nat_usage().vms, gw.nat_usage().blocks), (flows, 0, 0));
    // Where its address and port are known, a new remote opens nothing with it either.
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53");
    gw.take_moved();
    gw.from(&up, &format!("udp 9.9.9.9:5 > 203.0.113.93:{port} ttl=1")).ignore();
    gw.moved(["flow_miss", "ttl_exceeded", "icmp_error"]);
}

#[test]
fn fragments_go_by_the_ports_of_the_first_in_any_order() {
    let (mut gw, a, _, up) = nat();
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53 mf ipid=7 ttl=64 len=1400");
    gw.from(&a, "ip 10.1.1.7 > 8.8.8.8 proto=17 ipid=7 off=1408 ttl=64 len=30")
        .to(&up, "ip 203.0.113.93 > 8.8.8.8 proto=17 ipid=7 off=1408 ttl=63 len=30");
    // The last one first, on the way in.
    gw.from(&up, "ip 8.8.8.8 > 203.0.113.93 proto=17 ipid=9 off=1408 ttl=64 len=30").nothing();
    assert_eq!(gw.held(), 1);
    gw.from(&up, &format!("udp 8.8.8.8:53 > 203.0.113.93:{port} mf ipid=9 ttl=64 len=1400"))
        .to(&a, "udp 8.8.8.8:53 > 10.1.1.7:4000 mf ipid=9 ttl=63 len=1400");
    gw.pass(10).to(&a, "ip 8.8.8.8 > 10.1.1.7 proto=17 ipid=9 off=1408 ttl=63 len=30");
    // One whose first never comes.
    gw.take_moved();
    gw.from(&up, "ip 8.8.8.8 > 203.0.113.93 proto=17 ipid=10 off=1408 len=30").nothing();
    gw.pass(5_000).nothing();
    assert_eq!(gw.take_moved().get("fragment_unmatched"), Some(&1));
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
fn idle_sessions_end_and_give_their_ports_back() {
    let (mut gw, a, _, up) = nat();
    let flows = gw.flows();
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53");
    assert_eq!(gw.flows(), flows + 2);
    // Packets of either direction keep both entries (RFC 4787 REQ-6).
    for _ in 0..3 {
        gw.pass(200_000).ignore();
        gw.from(&up, &format!("udp 8.8.8.8:53 > 203.0.113.93:{port}"))
            .to(&a, "udp 8.8.8.8:53 > 10.1.1.7:4000");
    }
    assert_eq!(out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53"), port);
    gw.pass(305_000).ignore();
    assert_eq!(gw.take_moved().get("session_end"), Some(&1));
    gw.from(&up, &format!("udp 8.8.8.8:53 > 203.0.113.93:{port}")).nothing();
}

#[test]
fn tcp_times_out_by_its_state() {
    let (mut gw, a, _, up) = nat();
    let open = |gw: &mut Gateway, from: u16| {
        let port = out(gw, &a, &format!("tcp 10.1.1.7:{from} > 8.8.8.8:443 S"));
        gw.from(&up, &format!("tcp 8.8.8.8:443 > 203.0.113.93:{port} SA")).ignore();
        gw.from(&a, &format!("tcp 10.1.1.7:{from} > 8.8.8.8:443 A")).ignore();
        port
    };
    let (idle, closed, reset) = (open(&mut gw, 1), open(&mut gw, 2), open(&mut gw, 3));
    let opening = out(&mut gw, &a, "tcp 10.1.1.7:4 > 8.8.8.8:443 S");
    gw.from(&a, "tcp 10.1.1.7:2 > 8.8.8.8:443 FA").ignore();
    gw.from(&up, &format!("tcp 8.8.8.8:443 > 203.0.113.93:{closed} FA")).ignore();
    gw.from(&up, &format!("tcp 8.8.8.8:443 > 203.0.113.93:{reset} R")).ignore();
    gw.pass(230_000).ignore();
    gw.take_moved();
    gw.pass(15_000).ignore();
    assert_eq!(gw.take_moved().get("session_end"), Some(&3));
    gw.from(&up, &format!("tcp 8.8.8.8:443 > 203.0.113.93:{idle} A"))
        .to(&a, "tcp 8.8.8.8:443 > 10.1.1.7:1 A");
    for gone in [closed, reset, opening] {
        gw.from(&up, &format!("tcp 8.8.8.8:443 > 203.0.113.93:{gone} A")).nothing();
    }
}

#[test]
fn what_is_removed_ends_and_what_is_added_disturbs_nobody() {
    let (mut gw, a, b, up) = nat();
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53");
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 S").to(&b, "tcp 9.9.9.9:5 > 10.1.2.9:22 S");
    let more = SERVICES.replace(
        "port_forwards:",
        "port_forwards:\n  - { id: new, vip: shared, protocol: tcp, ports: 80, vpc: red, address: 10.1.2.9 }",
    );
    gw.reload(&services(&more)).ignore();
    assert_eq!(out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53"), port);
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 A").to(&b, "tcp 9.9.9.9:5 > 10.1.2.9:22 A");
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:80 S").to(&b, "tcp 9.9.9.9:5 > 10.1.2.9:80 S");
    // The forward takes the port that SNAT leased: SNAT's session ends, and its VM gets another port.
    let takes = SERVICES.replace("port_forwards:", &format!("port_forwards:\n  - {{ id: new, vip: shared, protocol: udp, ports: {port}, vpc: red, address: 10.1.2.9 }}"));
    gw.reload(&services(&takes)).ignore();
    gw.from(&up, &format!("udp 8.8.8.8:53 > 203.0.113.93:{port}"))
        .to(&b, &format!("udp 8.8.8.8:53 > 10.1.2.9:{port}"));
    assert_ne!(out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53"), port);
    // Nothing is left.
    gw.reload(SITE).ignore();
    gw.take_moved();
    let words = gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 A").words();
    assert!(
        words.iter().all(|frame| frame.contains("arp ask 203.0.113.93")),
        "an address like any other: {words:?}"
    );
    gw.from(&a, "udp 10.1.1.7:4000 > 8.8.8.8:53").ignore();
    assert_eq!(gw.take_moved().get("session_open"), None);
}

#[test]
fn each_service_that_is_removed_ends_its_flows_both_ways_with_the_next_packet() {
    let without = |text: &str| {
        let left: Vec<&str> = SERVICES.lines().filter(|line| !line.contains(text)).collect();
        services(&left.join("\n").replace("\nsnats:\neips", "\neips").replace("\neips:\nport", "\nport"))
    };
    // By SNAT, by an address of its own, by a forward: what is sent each way, before the service goes.
    for (gone, inside, public) in [
        ("id: out,", "udp 10.1.1.7:4000 > 8.8.8.8:53", "udp 8.8.8.8:53 > 203.0.113.93:PORT"),
        ("id: one,", "udp 10.1.1.8:4000 > 8.8.8.8:53", "udp 8.8.8.8:53 > 203.0.113.94:4000"),
        ("id: ssh,", "tcp 10.1.2.9:22 > 9.9.9.9:5 A", "tcp 9.9.9.9:5 > 203.0.113.93:2222 S"),
    ] {
        for outward_first in [true, false] {
            let (mut gw, a, b, up) = nat();
            let c = gw.vm("red-1", "10.1.1.8", HOST2);
            let vm = if inside.contains("1.7") {
                &a
            } else if inside.contains("1.8") {
                &c
            } else {
                &b
            };
            let port = if gone == "id: out," { out(&mut gw, vm, inside).to_string() } else { String::new() };
            let public = public.replace("PORT", &port);
            for _ in 0..2 {
                assert_eq!(gw.from(&up, &public).words().len(), 1, "{gone} inward");
                assert_eq!(gw.from(vm, inside).words().len(), 1, "{gone} outward");
            }
            gw.reload(&without(gone)).ignore();
            // Neither way, whichever comes first; inside the VM is told or goes by what is left to it, never as before.
            for outward in [outward_first, !outward_first, outward_first] {
                let seen = if outward { gw.from(vm, inside).words() } else { gw.from(&up, &public).words() };
                let before = if outward { "> 8.8.8.8:53" } else { "> 10.1." };
                let same = |frame: &String| match gone {
                    // SNAT takes over from the address of its own.
                    "id: one," if outward => frame.contains("203.0.113.94"),
                    "id: ssh," if outward => frame.contains("203.0.113.93:2222"),
                    _ => frame.contains(before) && !frame.contains("icmp"),
                };
                assert!(!seen.iter().any(same), "{gone} {outward}: {seen:?}");
            }
        }
    }
}

#[test]
fn quotas_hold_and_say_whose_they_are() {
    let limited = SITE.replace("{ id: red }", "{ id: red, quotas: { vm_sessions: 2, sessions: 3 } }");
    let mut gw = Gateway::start(&format!("{limited}{SERVICES}"), crate::WORKERS);
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    gw.vm("public", "203.0.113.1", HOST1);
    for port in 1..=2 {
        out(&mut gw, &a, &format!("udp 10.1.1.7:{port} > 8.8.8.8:53"));
    }
    gw.take_moved();
    gw.from(&a, "udp 10.1.1.7:3 > 8.8.8.8:53")
        .to(&a, "icmp prohibited 10.1.1.1 > 10.1.1.7 tos=192 | udp 10.1.1.7:3 > 8.8.8.8:53");
    gw.moved(["flow_miss", "vm_sessions", "icmp_error"]);
    out(&mut gw, &b, "udp 10.1.2.9:1 > 8.8.8.8:53");
    gw.take_moved();
    gw.from(&b, "udp 10.1.2.9:2 > 8.8.8.8:53")
        .to(&b, "icmp prohibited 10.1.2.1 > 10.1.2.9 tos=192 | udp 10.1.2.9:2 > 8.8.8.8:53");
    gw.moved(["flow_miss", "vpc_sessions", "icmp_error"]);
    out(&mut gw, &a, "udp 10.1.1.7:1 > 8.8.8.8:53");
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

#[test]
fn new_sessions_have_a_rate_per_vm_and_per_vpc() {
    for (quota, reason) in [
        ("vm_new_sessions_per_second: 5", "vm_session_rate"),
        ("new_sessions_per_second: 5", "vpc_session_rate"),
    ] {
        let limited = SITE.replace("{ id: red }", &format!("{{ id: red, quotas: {{ {quota} }} }}"));
        let mut gw = Gateway::start(&format!("{limited}{SERVICES}"), crate::WORKERS);
        let a = gw.vm("red-1", "10.1.1.7", HOST1);
        gw.vm("public", "203.0.113.1", HOST1);
        gw.take_moved();
        for port in 1..=50 {
            gw.from(&a, &format!("udp 10.1.1.7:{port} > 8.8.8.8:53")).ignore();
        }
        let moved = gw.take_moved();
        assert!(moved["session_open"] < 50, "{moved:?}");
        assert_eq!(moved["session_open"] + moved[reason], 50, "{moved:?}");
        gw.pass(2_000).ignore();
        out(&mut gw, &a, "udp 10.1.1.7:51 > 8.8.8.8:53");
    }
}

#[test]
fn what_cannot_be_translated_is_dropped_by_name() {
    let (mut gw, a, _, up) = nat();
    gw.from(&a, "tcp 10.1.1.7:1 > 8.8.8.8:53 R").nothing();
    gw.moved(["flow_miss", "no_session"]);
    gw.from(&a, "ip 10.1.1.7 > 8.8.8.8 proto=6 len=10").nothing();
    assert_eq!(gw.take_moved().get("transport_truncated"), Some(&1));
    for id in 0..200 {
        gw.from(&up, &format!("ip 8.8.8.8 > 203.0.113.93 proto=17 ipid={id} off=1408 len=30")).nothing();
    }
    assert!(gw.take_moved()["fragment_hold_full"] > 100);
}

#[test]
fn a_forward_needs_no_other_service_of_its_vpc() {
    let (mut gw, _, b, up) = nat_with(
        "
vips:
  - { id: shared, public_network: public, address: 203.0.113.93 }
port_forwards:
  - { id: ssh, vip: shared, protocol: tcp, ports: 2222, vpc: red, address: 10.1.2.9, target_ports: 22 }
",
    );
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 S").to(&b, "tcp 9.9.9.9:5 > 10.1.2.9:22 S");
    gw.from(&b, "tcp 10.1.2.9:22 > 9.9.9.9:5 SA ttl=64")
        .to(&up, "tcp 203.0.113.93:2222 > 9.9.9.9:5 SA ttl=63");
    // Nothing else leaves.
    gw.take_moved();
    let sent = "tcp 10.1.2.9:22 > 9.9.9.9:6 S";
    gw.from(&b, sent).to(&b, &format!("icmp no-net 10.1.2.1 > 10.1.2.9 tos=192 | {sent}"));
    gw.moved(["flow_miss", "not_translated", "icmp_error"]);
}

#[test]
fn a_forward_to_a_vm_with_an_address_of_its_own_answers_from_the_forward() {
    let (mut gw, _, b, up) = nat_with(
        &SERVICES
            .replace(", allowed_cidr: 198.51.100.0/24", "")
            .replace("vpc: red, address: 10.1.1.8 }", "vpc: red, address: 10.1.2.9 }"),
    );
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 S").to(&b, "tcp 9.9.9.9:5 > 10.1.2.9:22 S");
    gw.from(&b, "tcp 10.1.2.9:22 > 9.9.9.9:5 SA ttl=64")
        .to(&up, "tcp 203.0.113.93:2222 > 9.9.9.9:5 SA ttl=63");
    gw.from(&b, "icmp no-port 10.1.2.9 > 9.9.9.9 ttl=64 | tcp 9.9.9.9:5 > 10.1.2.9:22 S ttl=63")
        .to(&up, "icmp no-port 203.0.113.93 > 9.9.9.9 ttl=63 | tcp 9.9.9.9:5 > 203.0.113.93:2222 S ttl=63");
    gw.from(&b, "tcp 10.1.2.9:22 > 9.9.9.9:6 S").to(&up, "tcp 203.0.113.94:22 > 9.9.9.9:6 S");
    // A datagram of each in fragments.
    gw.from(&up, "udp 9.9.9.9:5 > 203.0.113.93:5353").to(&b, "udp 9.9.9.9:5 > 10.1.2.9:53");
    for (ports, id, public) in [("53 > 9.9.9.9:5", 7, 93), ("54 > 8.8.8.8:5", 8, 94)] {
        let remote = ports.split(' ').nth(2).unwrap().split(':').next().unwrap();
        gw.from(&b, &format!("udp 10.1.2.9:{ports} mf ipid={id} len=1400")).ignore();
        gw.from(&b, &format!("ip 10.1.2.9 > {remote} proto=17 ipid={id} off=1408 len=30"))
            .to(&up, &format!("ip 203.0.113.{public} > {remote} proto=17 ipid={id} off=1408 len=30"));
    }
}

#[test]
fn answers_of_a_forward_leave_by_it_where_a_route_leads_elsewhere() {
    let (mut gw, a, b, up) = nat_with(&SERVICES.replace(", allowed_cidr: 198.51.100.0/24", ""));
    let router = gw.vm("red-2", "10.1.2.254", HOST1);
    // `via_public`, and a router of the VPC's own.
    for (remote, elsewhere) in [("198.51.100.7", &up), ("192.0.2.5", &router)] {
        gw.from(&up, &format!("tcp {remote}:5 > 203.0.113.93:2222 S"))
            .to(&b, &format!("tcp {remote}:5 > 10.1.2.9:22 S"));
        for _ in 0..2 {
            gw.from(&b, &format!("tcp 10.1.2.9:22 > {remote}:5 SA ttl=64"))
                .to(&up, &format!("tcp 203.0.113.93:2222 > {remote}:5 SA ttl=63"));
        }
        gw.from(&up, &format!("udp {remote}:5 > 203.0.113.93:5353"))
            .to(&b, &format!("udp {remote}:5 > 10.1.2.9:53"));
        gw.from(&b, &format!("udp 10.1.2.9:53 > {remote}:5 mf ipid=7 ttl=64 len=1400"))
            .to(&up, &format!("udp 203.0.113.93:5353 > {remote}:5 mf ipid=7 ttl=63 len=1400"));
        gw.from(&b, &format!("ip 10.1.2.9 > {remote} proto=17 ipid=7 off=1408 ttl=64 len=30"))
            .to(&up, &format!("ip 203.0.113.93 > {remote} proto=17 ipid=7 off=1408 ttl=63 len=30"));
        // Errors about what came by the forward, of the VM and of a router on the way; and about anything else.
        let about = format!("tcp {remote}:5 > 10.1.2.9:22 S");
        for from in ["10.1.2.9", "10.1.2.254"] {
            let by = if from == "10.1.2.9" { &b } else { &router };
            gw.from(by, &format!("icmp no-port {from} > {remote} ttl=64 | {about} ttl=63")).to(
                &up,
                &format!("icmp no-port 203.0.113.93 > {remote} ttl=63 | tcp {remote}:5 > 203.0.113.93:2222 S ttl=63"),
            );
        }
        let own = format!("icmp no-port 10.1.2.9 > {remote} ttl=T | udp {remote}:9 > 10.1.2.9:9 ttl=63");
        gw.from(&b, &own.replace('T', "64")).to(elsewhere, &own.replace('T', "63"));
        // What the VPC sends by itself goes as the route says.
        for own in ["tcp 10.1.2.9:22 > {}:6 S", "tcp 10.1.2.9:23 > {}:5 S"] {
            let own = own.replace("{}", remote);
            gw.from(&b, &format!("{own} ttl=64")).to(elsewhere, &format!("{own} ttl=63"));
        }
    }
    // A blackhole is one, and an address of the VPC's own is there, whoever says to be it.
    gw.from(&up, "tcp 192.0.2.129:5 > 203.0.113.93:2222 S").to(&b, "tcp 192.0.2.129:5 > 10.1.2.9:22 S");
    gw.take_moved();
    gw.from(&b, "tcp 10.1.2.9:22 > 192.0.2.129:5 SA").ignore();
    assert_eq!(gw.take_moved().get("blackhole"), Some(&1));
    gw.from(&up, "tcp 10.1.1.7:5 > 203.0.113.93:2222 S").to(&b, "tcp 10.1.1.7:5 > 10.1.2.9:22 S");
    gw.from(&b, "tcp 10.1.2.9:22 > 10.1.1.7:5 SA").to(&a, "tcp 10.1.2.9:22 > 10.1.1.7:5 SA");
}
