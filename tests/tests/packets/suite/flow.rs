//! Flow entries: what is counted, when they go, and what happens when there is no room.

use super::*;

fn udp(n: u16) -> String {
    format!("udp 10.1.1.7:{n} > 10.1.2.9:53")
}

#[test]
fn a_flow_is_decided_once() {
    let (mut gw, a, b) = red();
    for _ in 0..5 {
        gw.from(&a, &udp(1)).to(&b, &udp(1));
    }
    gw.moved(["flow_miss", "flow_learn", "flow_hit 4"]);
    // The port, the protocol and the fragment bit make another flow.
    for other in [
        "udp 10.1.1.7:2 > 10.1.2.9:53",
        "tcp 10.1.1.7:1 > 10.1.2.9:53 S",
        "icmp echo 10.1.1.7 > 10.1.2.9 id=1",
    ] {
        gw.from(&a, other).to(&b, other);
    }
    gw.moved(["flow_miss 3", "flow_learn 3"]);
    assert_eq!(gw.flows(), 4);
}

#[test]
fn an_idle_flow_goes_and_a_busy_one_stays() {
    let (mut gw, a, b) = red();
    gw.from(&a, &udp(1)).to(&b, &udp(1));
    gw.from(&a, &udp(2)).to(&b, &udp(2));
    for _ in 0..4 {
        gw.pass(30_000).nothing();
        gw.from(&a, &udp(1)).to(&b, &udp(1));
    }
    let moved = gw.take_moved();
    assert_eq!((moved["flow_learn"], moved["flow_hit"], moved["flow_expire"]), (2, 4, 1), "{moved:?}");
    assert_eq!(gw.flows(), 1);
}

#[test]
fn a_full_table_keeps_established_flows() {
    let config = site_with("flows: 4096", "flows: 1024");
    let mut gw = Gateway::start(&config, crate::WORKERS);
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    for n in 1..=200 {
        gw.from(&a, &udp(n)).to(&b, &udp(n));
    }
    gw.moved(["flow_miss 200", "flow_learn 200"]);
    // A flood of new flows: all of them pass, most without an entry.
    for n in 1000..5000 {
        gw.from(&a, &udp(n)).to(&b, &udp(n));
    }
    let moved = gw.take_moved();
    assert_eq!(moved["flow_miss"], 4000);
    assert_eq!(moved["flow_learn"] + moved["flow_full"], 4000);
    assert!(moved["flow_full"] >= 3000 && gw.flows() <= 1024, "{moved:?}, {} flows", gw.flows());
    // Who was there before is still served from the table.
    for n in 1..=200 {
        gw.from(&a, &udp(n)).to(&b, &udp(n));
    }
    gw.moved(["flow_hit 200"]);
    // And a policy change still reaches them.
    gw.reload(&format!("{config}  - {{ vpc: red, destination: 198.18.0.0/16, blackhole: true }}\n")).ignore();
    for n in 1..=200 {
        gw.from(&a, &udp(n)).to(&b, &udp(n));
    }
    let moved = gw.take_moved();
    assert_eq!(
        moved.get("flow_redecide").copied().unwrap_or(0) + moved.get("flow_full").copied().unwrap_or(0),
        200,
        "{moved:?}"
    );
}

#[test]
fn packets_of_one_burst_and_one_new_flow_make_one_entry() {
    let (mut gw, a, b) = red();
    let packets = vec![udp(1); 8];
    let mut sent = gw.burst(&a, &packets.iter().map(String::as_str).collect::<Vec<_>>());
    for packet in &packets {
        sent = sent.to(&b, packet);
    }
    sent.nothing();
    assert_eq!(gw.flows(), 1);
    assert_eq!(gw.take_moved()["flow_learn"], 1);
}

#[test]
fn a_port_that_does_not_take_frames_holds_nobody_up() {
    let (mut gw, a, b) = red();
    let c = gw.vm("red-3", "10.1.3.7", HOST1);
    for worker in 0..crate::WORKERS {
        gw.io(worker).set_tx_limit(c.port, Some(0));
    }
    gw.from(&a, "udp 10.1.1.7:1 > 10.1.3.7:2").nothing();
    gw.from(&a, &udp(1)).to(&b, &udp(1));
    gw.moved(["flow_miss 2", "flow_learn 2", "tx_full"]);
}
