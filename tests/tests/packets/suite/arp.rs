//! ARP (RFC 826, RFC 5227): what the gateway answers and what it announces.

use super::*;

const A: &str = "02:01:0a:01:01:07";

#[test]
fn a_request_for_our_address_is_answered_where_it_came_from() {
    let (mut gw, a, _) = red();
    let c = gw.vm("red-3", "10.1.3.7", HOST1);
    let d = gw.vm("red-4", "10.1.4.7", HOST1);
    let upstream = gw.vm("public", "203.0.113.1", HOST1);
    let host = gw.stranger("underlay", HOST1, None);
    for (who, us) in [
        (&a, "10.1.1.1"),
        (&c, "10.1.3.1"),
        (&d, "10.1.4.1"),
        (&upstream, "203.0.113.2"),
        (&host, "172.31.0.1"),
    ] {
        let ask = format!("arp ask {us} from {} {}", who.ip, who.mac);
        let tell = format!("arp tell {us} {} to {} {}", who.us, who.ip, who.mac);
        gw.from(who, &ask).to(who, &tell);
        let frame =
            tidegate_tests::packet::frame(&who.sends_to(tidegate_fastpath::types::MacAddr::BROADCAST, &ask));
        gw.arrive(who.port, &[frame.unwrap()]).to(who, &tell);
        gw.moved(["arp_reply 2"]);
    }
}

#[test]
fn a_request_without_address_is_answered_without_address() {
    let (mut gw, a, _) = red();
    gw.from(&a, &format!("arp ask 10.1.1.1 from 0.0.0.0 {A}"))
        .to(&a, &format!("arp tell 10.1.1.1 {} to 0.0.0.0 {A}", a.us));
    gw.moved(["arp_reply"]);
}

#[test]
fn what_hosts_ask_each_other_is_not_ours() {
    let (mut gw, a, _) = red();
    gw.from(&a, &format!("arp ask 10.1.1.8 from 10.1.1.7 {A}")).nothing();
    gw.from(&a, &format!("arp ask 10.1.2.1 from 10.1.1.7 {A}")).nothing(); // ours, but of another network
    gw.from(&a, &format!("arp tell 10.1.1.7 {A} to 10.1.1.8 02:01:0a:01:01:08")).nothing();
    gw.moved(["arp_not_ours 3"]);
}

#[test]
fn malformed_arp_is_dropped() {
    let (mut gw, a, _) = red();
    for wrong in [
        "hex 000108000604000102010a010107",                             // cut short
        "hex 0006080006040001020100000007000000000000000000000000000a", // not Ethernet
        "hex 0001080006040009020100000007000000000000000000000000000a", // neither request nor reply
    ] {
        gw.from(&a.typed("0806"), wrong).nothing();
        gw.moved(["arp_malformed"]);
    }
}

#[test]
fn our_addresses_are_announced_at_start_to_every_vtep_and_port() {
    let mut gw = Gateway::fresh(SITE, crate::WORKERS);
    let sent = gw.pass(10_000).words();
    let mac = |net: &str| gw.net(net).mac.to_string();
    let announced = |start: &str, ip: &str, mac: &str| {
        let arp = format!("> ff:ff:ff:ff:ff:ff | arp ask {ip} from {ip} {mac}");
        sent.iter()
            .filter(|words| words.contains(start) && words.replace("vlan 103 | ", "").ends_with(&arp))
            .count()
    };
    // Twice each (RFC 5227 §2.3), but to a VTEP only once its own MAC is known.
    for (net, vxlan, ip) in [
        ("red-1", "vxlan 201 172.31.0.1 > 172.31.1.1 ", "10.1.1.1"),
        ("red-1", "vxlan 201 172.31.0.1 > 172.31.2.1 ", "10.1.1.1"),
        ("red-2", "vxlan 202 172.31.0.1 > 172.31.1.1 ", "10.1.2.1"),
        ("blue-1", "vxlan 201 172.31.0.1 > 172.31.3.1 ", "10.1.1.1"),
    ] {
        assert_eq!(announced(vxlan, ip, &mac(net)), 1, "{vxlan}: {sent:#?}");
    }
    assert_eq!(announced("vlan 103", "10.1.3.1", "02:00:00:00:00:02"), 2);
    assert_eq!(announced("eth", "10.1.4.1", "02:00:00:00:00:04"), 2);
    assert_eq!(announced("eth", "203.0.113.2", "02:00:00:00:00:03"), 2);
    assert_eq!(announced("eth", "172.31.0.1", "02:00:00:00:00:01"), 2);
}

#[test]
fn somebody_with_our_address_is_contradicted() {
    let (mut gw, _, _) = red();
    let thief = gw.stranger("red-4", "10.1.4.1", None);
    let ours = "arp ask 10.1.4.1 from 10.1.4.1 02:00:00:00:00:04";
    // An announcement asks for our address, so it is answered; then we say again whose it is, once per 10 s.
    gw.from(&thief, &thief.gratuitous())
        .to(&thief, &format!("arp tell 10.1.4.1 02:00:00:00:00:04 to 10.1.4.1 {}", thief.mac))
        .to_all(&thief, ours);
    gw.from(&thief, &format!("arp ask 10.1.4.7 from 10.1.4.1 {}", thief.mac)).nothing();
    gw.pass(11_000).nothing();
    gw.from(&thief, &format!("arp ask 10.1.4.7 from 10.1.4.1 {}", thief.mac)).to_all(&thief, ours);
    gw.moved(["arp_reply", "arp_not_ours 2"]);
    // And nobody is led to the thief.
    let d = gw.vm("red-4", "10.1.4.7", HOST1);
    gw.from(&d, "icmp echo 10.1.4.7 > 10.1.4.1 id=1").to(&d, "icmp echo-reply 10.1.4.1 > 10.1.4.7 id=1");
}

#[test]
fn a_request_through_an_unknown_vtep_is_answered_the_way_it_came() {
    let (mut gw, ..) = red();
    let new = gw.stranger("red-1", "10.1.1.60", Some("172.31.60.1"));
    let host = gw.stranger("underlay", "172.31.60.1", None);
    let ask = format!("arp ask 10.1.1.1 from 10.1.1.60 {}", new.mac);
    let tell = format!("arp tell 10.1.1.1 {} to 10.1.1.60 {}", new.us, new.mac);
    gw.control_runs = false;
    gw.from(&new, &ask).to(&new, &tell);
    // A host behind a router: the answer goes to the router that sent it, even if that is not ours.
    let far = gw.stranger("red-1", "10.1.1.60", Some("198.51.100.60")).through("172.31.0.254");
    gw.from(&far, &ask).to(&far, &tell);
    gw.control_runs = true;
    gw.run().ignore();
    gw.moved(["arp_reply 2"]);
    gw.from(&new, &ask).to(&new, &tell);
    gw.from(&host, &host.tells("172.31.0.1")).nothing();
    gw.moved(["punt_arp", "arp_reply"]);
    // From now on it belongs to those who are asked.
    let missing = gw.stranger("red-1", "10.1.1.61", Some("172.31.60.1"));
    let a = gw.vm("red-2", "10.1.2.7", HOST1);
    let ask = format!("arp ask 10.1.1.61 from 10.1.1.1 {}", missing.us);
    gw.from(&a, "udp 10.1.2.7:1 > 10.1.1.61:2")
        .to_all(&missing.at(HOST1), &ask)
        .to_all(&missing.at(HOST2), &ask)
        .to_all(&missing.at("198.51.100.60").through("172.31.255.254"), &ask)
        .to_all(&missing, &ask);
}
