//! Fragments of translated datagrams: they go as their first one goes, in whatever order they come.

use super::*;

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

/// A datagram in two fragments.
struct Cut {
    first: String,
    later: String,
}

impl Cut {
    /// From one end to another, each `address:port`.
    fn new(from: &str, to: &str, id: u16, ttl: u8) -> Cut {
        let address = |end: &str| end.split(':').next().unwrap().to_owned();
        let (source, destination) = (address(from), address(to));
        Cut {
            first: format!("udp {from} > {to} mf ipid={id} ttl={ttl} len=1400"),
            later: format!("ip {source} > {destination} proto=17 ipid={id} off=1408 ttl={ttl} len=30"),
        }
    }
}

/// [`SERVICES`] with a forward of UDP to 10.1.2.9 for everybody.
fn for_everybody() -> String {
    SERVICES.replace(", allowed_cidr: 198.51.100.0/24", "")
}

/// The same, and 10.1.2.9 has .94 to itself.
fn with_own_address() -> String {
    for_everybody().replace("vpc: red, address: 10.1.1.8 }", "vpc: red, address: 10.1.2.9 }")
}

/// By a route that leads out untranslated, by one to a router of the VPC's own, by none.
const REMOTES: [&str; 3] = ["198.51.100.7", "192.0.2.5", "9.9.9.9"];

#[test]
fn fragments_of_an_answer_leave_by_the_forward_in_any_order_whatever_covers_the_remote() {
    for (services, own) in [(for_everybody(), "10.1.2.9"), (with_own_address(), "203.0.113.94")] {
        let (mut gw, _, b, up) = nat_with(&services);
        let router = gw.vm("red-2", "10.1.2.254", HOST1);
        for remote in REMOTES {
            let to = format!("{remote}:5");
            gw.from(&up, &format!("udp {to} > 203.0.113.93:5353")).to(&b, &format!("udp {to} > 10.1.2.9:53"));
            let answer = |id, ttl| match ttl {
                64 => Cut::new("10.1.2.9:53", &to, id, ttl),
                _ => Cut::new("203.0.113.93:5353", &to, id, ttl),
            };
            // The first one first.
            gw.from(&b, &answer(1, 64).first).to(&up, &answer(1, 63).first);
            gw.from(&b, &answer(1, 64).later).to(&up, &answer(1, 63).later);
            // The later one first.
            gw.from(&b, &answer(2, 64).later).nothing();
            assert_eq!(gw.held(), 1, "{remote}");
            gw.from(&b, &answer(2, 64).first).to(&up, &answer(2, 63).first);
            gw.pass(10).to(&up, &answer(2, 63).later);
            // What the VM sends there by itself keeps its own way, in between, in any order. SNAT would take a port for it.
            let (elsewhere, source) = match remote {
                "192.0.2.5" => (&router, "10.1.2.9"),
                "198.51.100.7" => (&up, "10.1.2.9"),
                _ if own == "10.1.2.9" => continue,
                _ => (&up, own),
            };
            let by_itself = |id, ttl| match ttl {
                64 => Cut::new("10.1.2.9:54", &to, id, ttl),
                _ => Cut::new(&format!("{source}:54"), &to, id, ttl),
            };
            gw.from(&b, &by_itself(3, 64).first).to(elsewhere, &by_itself(3, 63).first);
            gw.from(&b, &by_itself(3, 64).later).to(elsewhere, &by_itself(3, 63).later);
            gw.from(&b, &by_itself(4, 64).later).nothing();
            gw.from(&b, &answer(5, 64).later).nothing();
            assert_eq!(gw.held(), 2, "{remote}");
            gw.from(&b, &answer(5, 64).first).to(&up, &answer(5, 63).first);
            gw.pass(10).to(&up, &answer(5, 63).later);
            gw.from(&b, &by_itself(4, 64).first).to(elsewhere, &by_itself(4, 63).first);
            gw.pass(10).to(elsewhere, &by_itself(4, 63).later);
        }
    }
}

#[test]
fn a_fragment_that_may_be_an_answer_waits_within_bounds_and_is_dropped_by_name() {
    let (mut gw, _, b, _) = nat_with(&with_own_address());
    gw.vm("red-2", "10.1.2.254", HOST1);
    for remote in REMOTES {
        gw.take_moved();
        gw.from(&b, &Cut::new("10.1.2.9:53", remote, 7, 64).later).nothing();
        gw.pass(1_900).nothing();
        assert_eq!(gw.held(), 1, "{remote}");
        gw.pass(200).nothing();
        assert_eq!(gw.held(), 0, "{remote}");
        gw.moved(["flow_miss", "fragment_unmatched"]);
        for id in 0..200 {
            gw.from(&b, &Cut::new("10.1.2.9:53", remote, id, 64).later).nothing();
        }
        assert!(gw.take_moved()["fragment_hold_full"] > 100, "{remote}");
        gw.pass(3_000).nothing();
    }
}

#[test]
fn fragments_wait_for_nothing_where_no_service_leads_to_their_vm_and_protocol() {
    let tcp_only = with_own_address();
    let tcp_only: Vec<&str> = tcp_only.lines().filter(|line| !line.contains("id: near")).collect();
    let (mut gw, a, b, up) = nat_with(&tcp_only.join("\n"));
    let router = gw.vm("red-2", "10.1.2.254", HOST1);
    for (vm, address) in [(&a, "10.1.1.7"), (&b, "10.1.2.9")] {
        for (remote, elsewhere) in [("198.51.100.7", &up), ("192.0.2.5", &router)] {
            let [sent, seen] = [64, 63].map(|ttl| Cut::new(address, remote, 7, ttl).later);
            gw.from(vm, &sent).to(elsewhere, &seen);
        }
    }
    let [sent, seen] =
        [("10.1.2.9", 64), ("203.0.113.94", 63)].map(|(vm, ttl)| Cut::new(vm, "9.9.9.9", 7, ttl).later);
    gw.from(&b, &sent).to(&up, &seen);
    // TCP waits, but not on its way to another VM.
    gw.from(&b, &sent.replace("proto=17", "proto=6")).nothing();
    gw.from(&b, "ip 10.1.2.9 > 10.1.1.7 proto=6 ipid=7 off=1408 ttl=64 len=30")
        .to(&a, "ip 10.1.2.9 > 10.1.1.7 proto=6 ipid=7 off=1408 ttl=63 len=30");
    assert_eq!(gw.held(), 1);
}

#[test]
fn a_forward_that_comes_or_goes_changes_the_way_of_fragments_with_the_next_one() {
    let with = services(&for_everybody());
    let without: Vec<&str> = with.lines().filter(|line| !line.contains("id: near")).collect();
    let without = without.join("\n");
    let (mut gw, _, b, up) = nat_on(&without);
    let fragment = |id, ttl| Cut::new("10.1.2.9:53", "198.51.100.7:5", id, ttl);
    gw.from(&b, &fragment(1, 64).later).to(&up, &fragment(1, 63).later);
    for turn in 0..2 {
        let (before, after) = (10 * turn + 2, 10 * turn + 3);
        gw.reload(&with).ignore();
        gw.from(&up, "udp 198.51.100.7:5 > 203.0.113.93:5353").to(&b, "udp 198.51.100.7:5 > 10.1.2.9:53");
        gw.from(&b, &fragment(before, 64).later).nothing();
        let seen = Cut::new("203.0.113.93:5353", "198.51.100.7:5", before, 63);
        gw.from(&b, &fragment(before, 64).first).to(&up, &seen.first);
        gw.pass(10).to(&up, &seen.later);
        gw.reload(&without).ignore();
        gw.from(&b, &fragment(after, 64).later).to(&up, &fragment(after, 63).later);
    }
}

#[test]
fn fragments_of_an_answer_leave_by_the_listener_in_any_order_whatever_covers_the_remote() {
    let balancer = "
load_balancers:
  - id: lb
    vip: shared
    listeners:
      - { id: dns, protocol: udp, port: 5353, backends: [{ vpc: red, address: 10.1.2.9, port: 53 }] }
";
    let own = with_own_address();
    let services: Vec<&str> = own.lines().filter(|line| !line.contains("id: near")).collect();
    let (mut gw, _, b, up) = nat_with(&(services.join("\n") + balancer));
    gw.vm("red-2", "10.1.2.254", HOST1);
    for remote in REMOTES {
        let to = format!("{remote}:5");
        gw.from(&up, &format!("udp {to} > 203.0.113.93:5353")).to(&b, &format!("udp {to} > 10.1.2.9:53"));
        let [sent, seen] =
            [("10.1.2.9:53", 64), ("203.0.113.93:5353", 63)].map(|(from, ttl)| Cut::new(from, &to, 7, ttl));
        gw.from(&b, &sent.later).nothing();
        gw.from(&b, &sent.first).to(&up, &seen.first);
        gw.pass(10).to(&up, &seen.later);
    }
}
