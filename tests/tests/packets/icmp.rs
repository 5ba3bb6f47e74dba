//! What the gateway says for itself.

use tidegate_fastpath::reason::DropReason;

use super::{gateway, warm};

#[test]
fn it_answers_echo_on_every_address_of_the_vpc() {
    let mut gw = gateway();
    warm(&mut gw);
    gw.from("a", "icmp echo 10.1.1.7 > 10.1.1.1 id=7 seq=1 len=56")
        .to("a", "icmp echo-reply 10.1.1.1 > 10.1.1.7 id=7 seq=1 len=56 ttl=64");
    gw.from("a", "icmp echo 10.1.1.7 > 10.1.2.1 id=7 seq=2")
        .to("a", "icmp echo-reply 10.1.2.1 > 10.1.1.7 id=7 seq=2 ttl=64");
    gw.from("host1", "icmp echo 172.31.1.1 > 172.31.0.1 id=7 seq=3")
        .to("host1", "icmp echo-reply 172.31.0.1 > 172.31.1.1 id=7 seq=3 ttl=64");
    gw.from("router", "icmp echo 203.0.113.1 > 203.0.113.2 id=7 seq=4")
        .to("router", "icmp echo-reply 203.0.113.2 > 203.0.113.1 id=7 seq=4 ttl=64");
    gw.stop();
}

#[test]
fn a_vm_cannot_reach_the_underlay_address() {
    let mut gw = gateway();
    warm(&mut gw);
    gw.from("a", "icmp echo 10.1.1.7 > 172.31.0.1")
        .to("a", "icmp no-net 10.1.1.1 > 10.1.1.7 | icmp echo 10.1.1.7 > 172.31.0.1");
}

#[test]
fn ttl_runs_out_at_the_gateway() {
    let mut gw = gateway();
    warm(&mut gw);
    gw.from("a", "udp 10.1.1.7:4000 > 10.1.2.8:33434 ttl=1")
        .to("a", "icmp ttl-exceeded 10.1.1.1 > 10.1.1.7 ttl=64 | udp 10.1.1.7:4000 > 10.1.2.8:33434 ttl=1");
    gw.from("b", "udp 10.1.2.8:4000 > 10.1.1.7:33434 ttl=1")
        .to("b", "icmp ttl-exceeded 10.1.2.1 > 10.1.2.8 | udp 10.1.2.8:4000 > 10.1.1.7:33434 ttl=1");
}

#[test]
fn errors_cause_no_errors() {
    let mut gw = gateway();
    warm(&mut gw);
    let quoted = "| udp 10.1.2.8:4000 > 10.1.1.7:33434";
    gw.from("a", &format!("icmp no-port 10.1.1.7 > 10.1.2.8 ttl=1 {quoted}"))
        .dropped(DropReason::TtlExceeded);
    gw.moved(["flow_miss", "flow_learn", "ttl_exceeded", "icmp_error_forbidden"]);
    // A later fragment causes none either.
    gw.from("a", "ip 10.1.1.7 > 192.0.2.1 proto=17 off=1480 len=8").dropped(DropReason::NoRoute);
}

#[test]
fn other_packets_for_the_gateway_go_to_the_namespace() {
    let mut gw = gateway();
    warm(&mut gw);
    gw.from("a", "tcp 10.1.1.7:4000 > 10.1.1.1:179 S").local("tcp 10.1.1.7:4000 > 10.1.1.1:179 S ttl=64");
    gw.moved(["flow_miss", "punt_local"]);
    gw.from("a", "icmp no-port 10.1.1.7 > 10.1.1.1 | udp 10.1.1.1:53 > 10.1.1.7:4000")
        .local("icmp no-port 10.1.1.7 > 10.1.1.1 | udp 10.1.1.1:53 > 10.1.1.7:4000");
}

#[test]
fn what_the_namespace_sends_is_routed_with_its_ttl() {
    let mut gw = gateway();
    warm(&mut gw);
    gw.from_namespace("vpc-1", "tcp 10.1.1.1:179 > 10.1.2.8:4000 SA ttl=64")
        .to("b", "tcp 10.1.1.1:179 > 10.1.2.8:4000 SA ttl=64");
}

#[test]
fn errors_are_limited() {
    let mut gw = gateway();
    warm(&mut gw);
    let mut answers = 0;
    for _ in 0..2000 {
        answers += gw.from("a", "udp 10.1.1.7:4000 > 192.0.2.1:53").texts().len();
    }
    assert!(answers < 200, "{answers} errors without a pause");
    assert_eq!(gw.counters()["icmp_error_limited"], 2000 - answers as u64);
}
