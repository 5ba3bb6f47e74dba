//! ARP, both ways.

use tidegate_fastpath::reason::DropReason;

use super::{gateway, warm};

#[test]
fn requests_for_our_addresses_are_answered_where_we_own_them() {
    let mut gw = gateway();
    warm(&mut gw);
    let mac = gw.mac_towards("a");
    gw.broadcast("a", "arp ask 10.1.1.1 from 10.1.1.7 02:00:00:01:01:07")
        .to("a", &format!("arp tell 10.1.1.1 {mac} to 10.1.1.7 02:00:00:01:01:07"));
    gw.broadcast("a", "arp ask 10.1.2.1 from 10.1.1.7 02:00:00:01:01:07").dropped(DropReason::ArpNotOurs);
    gw.broadcast("a", "arp ask 10.1.1.8 from 10.1.1.7 02:00:00:01:01:07").dropped(DropReason::ArpNotOurs);
    // The same on a VLAN and on the underlay.
    let mac = gw.mac_towards("c");
    gw.broadcast("c", "arp ask 10.1.3.1 from 10.1.3.9 02:00:00:01:03:09")
        .to("c", &format!("arp tell 10.1.3.1 {mac} to 10.1.3.9 02:00:00:01:03:09"));
    let mac = gw.mac_towards("host1");
    gw.broadcast("host1", "arp ask 172.31.0.1 from 172.31.1.1 02:ac:1f:00:01:01")
        .to("host1", &format!("arp tell 172.31.0.1 {mac} to 172.31.1.1 02:ac:1f:00:01:01"));
    gw.stop();
}

#[test]
fn requests_of_the_gateway_go_to_every_known_vtep() {
    let mut gw = gateway();
    warm(&mut gw);
    let asked = gw.from("a", "udp 10.1.1.7:4000 > 10.1.2.77:53").texts();
    let to = |vtep: &str| {
        asked
            .iter()
            .filter(|t| {
                t.contains(&format!("vxlan 102 172.31.0.1 > {vtep}")) && t.contains("arp ask 10.1.2.77")
            })
            .count()
    };
    assert_eq!((to("172.31.1.1"), to("172.31.2.1"), asked.len()), (1, 1, 2), "{asked:?}");
}

#[test]
fn a_vm_that_speaks_from_another_host_is_followed_at_once() {
    let mut gw = gateway();
    warm(&mut gw);
    gw.vm("b", 102, "10.1.2.8", "02:00:00:01:02:08", "host1");
    gw.from("b", "udp 10.1.2.8:1 > 10.1.1.7:1").to("a", "udp 10.1.2.8:1 > 10.1.1.7:1");
    gw.from("a", "udp 10.1.1.7:1 > 10.1.2.8:1").to("b", "udp 10.1.1.7:1 > 10.1.2.8:1");
    assert_eq!(gw.counters()["moved"], 1);
}

#[test]
fn an_announcement_is_followed_at_once() {
    let mut gw = gateway();
    warm(&mut gw);
    gw.vm("b", 102, "10.1.2.8", "02:00:00:01:02:99", "host1");
    gw.broadcast("b", "arp ask 10.1.2.8 from 10.1.2.8 02:00:00:01:02:99").nothing();
    gw.from("a", "udp 10.1.1.7:1 > 10.1.2.8:1").to("b", "udp 10.1.1.7:1 > 10.1.2.8:1");
}

#[test]
fn a_silent_neighbour_is_probed_before_it_is_given_up() {
    let mut gw = gateway();
    warm(&mut gw);
    let before = gw.counters()["neighbour_unresolved"];
    // Traffic keeps the entry in use; `b` answers the probes.
    for _ in 0..120 {
        gw.wait_ms(1000).nothing();
        gw.from("a", "udp 10.1.1.7:1 > 10.1.2.8:1").to("b", "udp 10.1.1.7:1 > 10.1.2.8:1");
    }
    let counters = gw.counters();
    assert_eq!((counters["flow_hit"], counters["neighbour_unresolved"]), (120, before));
    gw.stop();
}
