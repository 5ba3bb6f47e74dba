//! The errors of a router (RFC 792, RFC 1812 §4.3.2): what they say, how often, and about what they are silent.

use super::*;

#[test]
fn a_packet_whose_ttl_ends_comes_back_as_an_error() {
    let (mut gw, a, _) = red();
    for ttl in [1, 0] {
        let packet = format!("udp 10.1.1.7:4000 > 10.1.2.9:53 ttl={ttl} len=20");
        gw.from(&a, &packet)
            .to(&a, &format!("icmp ttl-exceeded 10.1.1.1 > 10.1.1.7 ttl=64 tos=192 | {packet}"));
    }
    gw.moved(["flow_miss", "flow_learn", "flow_hit", "ttl_exceeded 2", "icmp_error 2"]);
}

#[test]
fn an_error_quotes_no_more_than_fits_576_bytes() {
    let (mut gw, a, _) = red();
    let frames = gw.from(&a, "udp 10.1.1.7:4000 > 10.1.2.9:53 ttl=1 len=1400").frames();
    let [frame] = &frames[..] else { panic!("{} frames", frames.len()) };
    assert_eq!(frame.len(), 14 + 20 + 8 + 8 + 14 + 576);
    let quoted = &frame[14 + 20 + 8 + 8 + 14 + 20 + 8..];
    let sent = tidegate_tests::packet::frame("udp 10.1.1.7:4000 > 10.1.2.9:53 ttl=1 len=1400").unwrap();
    assert_eq!(quoted, &sent[..quoted.len()], "the quote is the packet as it came");
}

#[test]
fn a_packet_too_big_with_df_set_comes_back_with_the_mtu() {
    let (mut gw, a, _) = red();
    let c = gw.vm("red-3", "10.1.3.7", HOST1);
    gw.from(&c, "udp 10.1.3.7:1 > 10.1.1.7:2 df ttl=64 len=1422")
        .to(&a, "udp 10.1.3.7:1 > 10.1.1.7:2 df ttl=63 len=1422");
    gw.from(&c, "udp 10.1.3.7:1 > 10.1.1.7:2 df ttl=64 len=1423").to(
        &c,
        "icmp frag-needed 10.1.3.1 > 10.1.3.7 mtu=1450 tos=192 | udp 10.1.3.7:1 > 10.1.1.7:2 df ttl=64 len=520",
    );
    gw.moved(["flow_miss", "flow_learn", "flow_hit", "needs_fragmentation", "icmp_error"]);
}

#[test]
fn an_error_to_a_sender_in_the_world_comes_from_the_public_address() {
    let (mut gw, ..) = red();
    let upstream = gw.vm("public", "203.0.113.1", HOST1);
    gw.from(&upstream, "udp 198.51.100.5:1 > 10.1.1.7:2 ttl=1").to(
        &upstream,
        "icmp ttl-exceeded 203.0.113.2 > 198.51.100.5 tos=192 | udp 198.51.100.5:1 > 10.1.1.7:2 ttl=1",
    );
    gw.moved(["flow_miss", "flow_learn", "ttl_exceeded", "icmp_error"]);
}

#[test]
fn where_we_own_no_address_there_is_no_error() {
    let mut gw = Gateway::start(&site_with(", address: 203.0.113.2", ""), crate::WORKERS);
    gw.vm("red-1", "10.1.1.7", HOST1);
    let upstream = gw.vm("public", "203.0.113.1", HOST1);
    gw.from(&upstream, "udp 198.51.100.5:1 > 10.1.1.7:2 ttl=1").nothing();
    gw.moved(["flow_miss", "flow_learn", "ttl_exceeded", "icmp_error_forbidden"]);
}

#[test]
fn no_error_about_an_error_or_a_later_fragment() {
    let (mut gw, a, _) = red();
    let quoted = "udp 10.1.2.9:1 > 10.1.1.7:2";
    for about in [
        format!("icmp ttl-exceeded 10.1.1.7 > 10.1.2.9 ttl=1 | {quoted}"),
        format!("icmp no-port 10.1.1.7 > 10.1.2.9 ttl=1 | {quoted}"),
        "ip 10.1.1.7 > 10.1.2.9 proto=1 ttl=1 len=0".to_owned(),
        "ip 10.1.1.7 > 10.1.2.9 proto=17 off=800 ttl=1 len=30".to_owned(),
    ] {
        gw.from(&a, &about).nothing();
        let moved = gw.take_moved();
        assert_eq!(
            (moved.get("ttl_exceeded"), moved.get("icmp_error_forbidden")),
            (Some(&1), Some(&1)),
            "{about}"
        );
    }
    // About questions, answers and first fragments there are.
    for about in [
        "icmp echo 10.1.1.7 > 10.1.2.9 id=1 ttl=1",
        "icmp echo-reply 10.1.1.7 > 10.1.2.9 id=1 ttl=1",
        "udp 10.1.1.7:1 > 10.1.2.9:2 mf ttl=1 len=64",
    ] {
        gw.from(&a, about).to(&a, &format!("icmp ttl-exceeded 10.1.1.1 > 10.1.1.7 tos=192 | {about}"));
    }
}

#[test]
fn errors_are_limited_per_second() {
    let config = site_with("ring: 256", "ring: 256, icmp_errors_per_second: 10");
    let mut gw = Gateway::start(&config, 1);
    let a = gw.vm("red-1", "10.1.1.7", HOST1);
    gw.vm("red-2", "10.1.2.9", HOST2);
    let errors = |gw: &mut Gateway, n: usize| {
        let sent: usize =
            (0..n).map(|_| gw.from(&a, "udp 10.1.1.7:1 > 10.1.2.9:2 ttl=1").frames().len()).sum();
        let moved = gw.take_moved();
        assert_eq!(moved["ttl_exceeded"], n as u64);
        let limited = moved.get("icmp_error_limited").copied().unwrap_or_default();
        assert_eq!(sent as u64 + limited, n as u64);
        sent
    };
    assert_eq!(errors(&mut gw, 80), 50, "a burst of 50");
    gw.pass(1_000).ignore();
    assert_eq!(errors(&mut gw, 80), 10, "then 10 a second");
}

#[test]
fn the_way_back_of_an_error_may_itself_have_to_wait() {
    let (mut gw, _, _) = red();
    let quiet = gw.stranger("red-1", "10.1.1.50", Some(HOST2));
    let packet = "udp 10.1.1.50:1 > 10.9.9.9:2";
    let ask = &format!("arp ask 10.1.1.50 from 10.1.1.1 {}", quiet.us);
    gw.from(&quiet, packet).to_all(&quiet.at(HOST1), ask).to_all(&quiet, ask);
    gw.from(&quiet, &quiet.tells("10.1.1.1")).nothing();
    gw.pass(10).to(&quiet, &format!("icmp no-net 10.1.1.1 > 10.1.1.50 tos=192 | {packet}"));
    gw.moved(["flow_miss", "no_route", "icmp_error", "punt_arp"]);
}
