//! How long translated connections last: timeouts, removal, reload.

use super::*;

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
