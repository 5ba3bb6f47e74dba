//! ICMP errors about translated packets, and what is not translated.

use super::*;

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
