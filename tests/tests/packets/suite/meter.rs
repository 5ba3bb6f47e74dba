//! What is counted of public addresses: each packet that passes one, once, whatever becomes of its flow.

use tidegate_fastpath::table::nat::{Amount, Traffic};

use super::{
    balance,
    nat::{SERVICES, nat, nat_on, out, services},
    *,
};

/// A document whose flows are over after 20 s.
fn short_lived(config: &str) -> String {
    let short =
        "timeouts: { flow_idle_s: 10, nat_udp_s: 10, nat_tcp_established_s: 10, nat_tcp_transitory_s: 10 }";
    config.replacen("  limits:", &format!("  {short}\n  limits:"), 1)
}

/// Such a document with these services.
fn of(with: &str) -> String {
    short_lived(&services(with))
}

/// [`nat`] with flows of that kind.
fn short_lived_nat(with: &str) -> (Gateway, Station, Station, Station) {
    nat_on(&of(with))
}

fn traffic(inbound: (u64, u64), outbound: (u64, u64)) -> Traffic {
    let amount = |(packets, bytes)| Amount { packets, bytes };
    Traffic { inbound: amount(inbound), outbound: amount(outbound) }
}

const NONE: Amount = Amount { packets: 0, bytes: 0 };
const NOTHING: Traffic = Traffic { inbound: NONE, outbound: NONE };

#[test]
fn each_service_counts_both_directions_from_the_first_packet_on() {
    let (mut gw, a, b, up) = nat();
    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    assert_eq!((gw.traffic("shared"), gw.traffic("whole")), (NOTHING, NOTHING), "counted from the start");
    // An EIP.
    gw.from(&c, "udp 10.1.1.8:4000 > 8.8.8.8:53 len=72").to(&up, "udp 203.0.113.94:4000 > 8.8.8.8:53 len=72");
    gw.from(&up, "udp 8.8.8.8:53 > 203.0.113.94:4000 len=172")
        .to(&c, "udp 8.8.8.8:53 > 10.1.1.8:4000 len=172");
    assert_eq!(gw.traffic("whole"), traffic((1, 200), (1, 100)));
    assert_eq!(gw.traffic("shared"), NOTHING);
    // SNAT.
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53 len=72");
    for _ in 0..2 {
        gw.from(&up, &format!("udp 8.8.8.8:53 > 203.0.113.93:{port} len=172")).ignore();
    }
    assert_eq!(gw.traffic("shared"), traffic((2, 400), (1, 100)));
    // A port forward.
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 S").to(&b, "tcp 9.9.9.9:5 > 10.1.2.9:22 S");
    gw.from(&b, "tcp 10.1.2.9:22 > 9.9.9.9:5 SA").to(&up, "tcp 203.0.113.93:2222 > 9.9.9.9:5 SA");
    assert_eq!(gw.traffic("shared"), traffic((3, 440), (2, 140)));
    assert_eq!(gw.traffic("whole"), traffic((1, 200), (1, 100)));
}

#[test]
fn what_has_no_entry_is_counted_too() {
    let (mut gw, a, _, up) = nat();
    // The gateway answers pings of an address that no VM has to itself.
    gw.from(&up, "icmp echo 9.9.9.9 > 203.0.113.93 id=1 seq=1").ignore();
    let pinged = gw.traffic("shared");
    assert_eq!((pinged.inbound.packets, pinged.inbound), (1, pinged.outbound));
    // An ICMP error about a translated packet.
    let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53");
    let error = "icmp ttl-exceeded 192.0.2.1 > 203.0.113.93";
    gw.from(&up, &format!("{error} | udp 203.0.113.93:{port} > 8.8.8.8:53")).ignore();
    let erred = gw.traffic("shared");
    assert_eq!((erred.inbound.packets, erred.outbound.packets), (2, 2));
    // What meets no service is dropped, and passes nothing.
    gw.from(&up, "udp 9.9.9.9:1 > 203.0.113.93:9").nothing();
    assert_eq!(gw.traffic("shared"), erred);
}

#[test]
fn a_full_flow_table_loses_no_count() {
    let config = of(SERVICES).replace("flows: 4096", "flows: 1024");
    let mut gw = Gateway::start(&config, crate::WORKERS);
    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    let _up = gw.vm("public", "203.0.113.1", HOST1);
    let packets: Vec<String> =
        (1..=1200).map(|port| format!("udp 10.1.1.8:{port} > 8.8.8.8:53 len=72")).collect();
    for burst in packets.chunks(25) {
        gw.burst(&c, &burst.iter().map(String::as_str).collect::<Vec<_>>()).ignore();
    }
    assert!(gw.take_moved().contains_key("flow_full"));
    assert_eq!(gw.traffic("whole"), traffic((0, 0), (1200, 120_000)));
    gw.pass(25_000).ignore();
    assert_eq!((gw.flows(), gw.traffic("whole")), (0, traffic((0, 0), (1200, 120_000))));
}

#[test]
fn flows_that_end_are_counted_once() {
    let (mut gw, a, _, up) = short_lived_nat(SERVICES);
    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    for round in 1..=3 {
        let port = out(&mut gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53 len=72");
        gw.from(&up, &format!("udp 8.8.8.8:53 > 203.0.113.93:{port} len=72")).ignore();
        gw.from(&c, "udp 10.1.1.8:4000 > 8.8.8.8:53 len=72").ignore();
        let (both, one) = ((round, 100 * round), (0, 0));
        assert_eq!(gw.traffic("shared"), traffic(both, both));
        assert_eq!(gw.traffic("whole"), traffic(one, both));
        gw.pass(25_000).ignore();
        assert_eq!(gw.flows(), 0, "all are over");
        assert_eq!(gw.traffic("shared"), traffic(both, both));
        assert_eq!(gw.traffic("whole"), traffic(one, both));
    }
}

#[test]
fn reloads_change_nothing_unless_the_address_goes() {
    let (mut gw, a, _, up) = short_lived_nat(SERVICES);
    let talk = |gw: &mut Gateway| {
        let port = out(gw, &a, "udp 10.1.1.7:4000 > 8.8.8.8:53 len=72");
        gw.from(&up, &format!("udp 8.8.8.8:53 > 203.0.113.93:{port} len=72")).ignore();
    };
    talk(&mut gw);
    let more = "\nqos:\n  - { id: slow, vip: shared, outbound: 100Mbit/s }\n";
    for (round, text) in (2..).zip([format!("{SERVICES}{more}"), SERVICES.to_owned()]) {
        gw.reload(&of(&text)).ignore();
        talk(&mut gw);
        assert_eq!(gw.traffic("shared"), traffic((round, 100 * round), (round, 100 * round)));
    }
    // An address that is configured anew begins anew, with what of its connections is still there.
    let gone = SERVICES.replace("203.0.113.93", "203.0.113.99");
    gw.reload(&of(&gone)).ignore();
    assert_eq!(gw.traffic("shared"), NOTHING);
    gw.pass(25_000).ignore();
    gw.reload(&of(SERVICES)).ignore();
    assert_eq!(gw.traffic("shared"), NOTHING);
    talk(&mut gw);
    assert_eq!(gw.traffic("shared"), traffic((1, 100), (1, 100)));
}

#[test]
fn a_flow_that_gets_another_address_is_counted_for_each_as_long_as_it_had_it() {
    let two = SERVICES.replacen(
        "snats:",
        "  - { id: other, public_network: public, address: 203.0.113.95 }\nsnats:",
        1,
    );
    let (mut gw, _, _, up) = short_lived_nat(&two);
    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    let send = |gw: &mut Gateway, as_vip: &str| {
        gw.from(&c, "udp 10.1.1.8:4000 > 8.8.8.8:53 len=72")
            .to(&up, &format!("udp {as_vip}:4000 > 8.8.8.8:53 len=72"));
    };
    send(&mut gw, "203.0.113.94");
    send(&mut gw, "203.0.113.94");
    gw.reload(&of(&two.replace("id: one, vip: whole", "id: one, vip: other"))).ignore();
    send(&mut gw, "203.0.113.95");
    for _ in 0..2 {
        assert_eq!(gw.traffic("whole"), traffic((0, 0), (2, 200)));
        assert_eq!(gw.traffic("other"), traffic((0, 0), (1, 100)));
        gw.pass(25_000).ignore();
    }
}

#[test]
fn listeners_count_for_their_address() {
    for mode in ["", ", mode: full_nat"] {
        let mut site = balance::start(&short_lived(&balance::config(mode, "")));
        for port in 5000..5003 {
            // A SYN, its answer and an acknowledgement of 40 bytes each.
            site.establish(port);
        }
        assert_eq!(site.gw.traffic("shared"), traffic((6, 240), (3, 120)), "{mode}");
        site.gw.pass(25_000).ignore();
        assert_eq!(site.gw.traffic("shared"), traffic((6, 240), (3, 120)), "{mode}");
    }
}

#[test]
fn a_vm_that_reaches_its_own_vpc_passes_both_addresses() {
    let (mut gw, a, _, _) = nat();
    gw.from(&a, "tcp 10.1.1.7:5000 > 203.0.113.93:2222 S").ignore();
    gw.pass(10).ignore();
    assert_eq!(gw.traffic("shared"), traffic((1, 40), (1, 40)), "out by it and in by it");
}
