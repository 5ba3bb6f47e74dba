//! How many sessions a VM and a VPC may have, and how fast.

use super::*;

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
