//! From network to network.

use tidegate_fastpath::reason::DropReason;

use super::{config_with, gateway, gateway_of, warm};

#[test]
fn the_first_packet_is_decided_and_the_second_applied() {
    let mut gw = gateway();
    warm(&mut gw);
    gw.from("a", "tcp 10.1.1.7:40000 > 10.1.2.8:443 A len=10 ttl=64")
        .to("b", "tcp 10.1.1.7:40000 > 10.1.2.8:443 A len=10 ttl=63");
    gw.moved(["flow_miss", "flow_learn"]);
    gw.from("a", "tcp 10.1.1.7:40000 > 10.1.2.8:443 A len=10 ttl=64")
        .to("b", "tcp 10.1.1.7:40000 > 10.1.2.8:443 A len=10 ttl=63");
    gw.moved(["flow_hit"]);
    gw.stop();
}

#[test]
fn a_vpc_without_flow_tracking_keeps_no_entries() {
    let mut gw = gateway_of(&config_with("{ id: vpc-1 }", "{ id: vpc-1, flow_tracking: false }"));
    warm(&mut gw);
    for _ in 0..2 {
        gw.from("a", "udp 10.1.1.7:4000 > 10.1.2.8:53").to("b", "udp 10.1.1.7:4000 > 10.1.2.8:53 ttl=63");
        gw.moved([]);
    }
}

#[test]
fn every_network_of_a_vpc_reaches_every_other() {
    let mut gw = gateway();
    for (from, source) in [("a", "10.1.1.7"), ("b", "10.1.2.8"), ("c", "10.1.3.9")] {
        for (to, destination) in [("a", "10.1.1.7"), ("b", "10.1.2.8"), ("c", "10.1.3.9")] {
            if from != to {
                let packet = format!("udp {source}:4000 > {destination}:53 len=4");
                gw.from(from, &format!("{packet} ttl=64")).to(to, &format!("{packet} ttl=63"));
            }
        }
    }
    gw.stop();
}

#[test]
fn equal_addresses_of_two_vpcs_stay_apart() {
    let mut gw = gateway();
    let packet = "udp 10.1.1.7:4000 > 10.1.2.8:53";
    for _ in 0..2 {
        gw.from("a", packet).to("b", packet);
        gw.from("x", packet).to("y", packet);
    }
    // Only vpc-1 has a VLAN and routes outside.
    gw.from("x", "udp 10.1.1.7:4000 > 10.1.3.9:53")
        .to("x", "icmp no-net 10.1.1.1 > 10.1.1.7 | udp 10.1.1.7:4000 > 10.1.3.9:53");
    gw.stop();
}

#[test]
fn a_blackhole_is_silent_and_no_route_is_not() {
    let mut gw = gateway();
    warm(&mut gw);
    gw.from("a", "udp 10.1.1.7:4000 > 10.99.0.1:53").dropped(DropReason::Blackhole);
    gw.moved(["flow_miss", "blackhole"]);
    gw.from("a", "udp 10.1.1.7:4000 > 192.0.2.1:53")
        .to("a", "icmp no-net 10.1.1.1 > 10.1.1.7 | udp 10.1.1.7:4000 > 192.0.2.1:53");
    gw.moved(["flow_miss", "no_route", "icmp_error", "originated"]);
}

#[test]
fn a_static_route_leads_to_its_next_hop() {
    let mut gw = gateway();
    gw.from("a", "udp 10.1.1.7:4000 > 10.98.0.1:53 ttl=64")
        .to("b", "udp 10.1.1.7:4000 > 10.98.0.1:53 ttl=63");
}

#[test]
fn a_vpc_leaves_to_the_world_and_the_world_comes_back_only_where_routes_say_so() {
    let mut gw = gateway();
    gw.from("a", "udp 10.1.1.7:4000 > 198.51.100.9:53 ttl=64")
        .to("router", "udp 10.1.1.7:4000 > 198.51.100.9:53 ttl=63");
    gw.from("router", "udp 198.51.100.9:53 > 10.1.1.7:4000 ttl=60")
        .to("a", "udp 198.51.100.9:53 > 10.1.1.7:4000 ttl=59");
    // No way from the public network to this subnet but its own default route, back where it came from.
    gw.from("router", "udp 198.51.100.9:53 > 10.1.2.8:4000 ttl=60")
        .to("router", "udp 198.51.100.9:53 > 10.1.2.8:4000 ttl=59");
}

#[test]
fn the_first_packet_waits_for_its_neighbour_and_is_not_lost() {
    let mut gw = gateway();
    let before = gw.counters()["originated"];
    gw.from("a", "udp 10.1.1.7:1 > 10.1.3.9:1").to("c", "udp 10.1.1.7:1 > 10.1.3.9:1");
    assert_eq!((gw.books().held, gw.counters()["originated"]), (0, before + 1), "one ARP request");
}

#[test]
fn a_neighbour_that_does_not_answer_is_unreachable() {
    let mut gw = gateway();
    warm(&mut gw);
    let before = gw.counters()["neighbour_unresolved"];
    gw.from("a", "udp 10.1.1.7:4000 > 10.1.2.77:53").only_arp();
    assert_eq!(gw.books().held, 1);
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.extend(gw.wait_ms(500).texts().into_iter().filter(|text| !text.contains("| arp ask")));
    }
    assert!(answers.len() == 1 && answers[0].contains("icmp no-host 10.1.1.1 > 10.1.1.7"), "{answers:?}");
    assert_eq!(gw.counters()["neighbour_unresolved"], before + 1);
    gw.stop();
}

#[test]
fn syns_carry_an_mss_that_fits_both_networks() {
    let mut gw = gateway();
    warm(&mut gw);
    gw.from("a", "tcp 10.1.1.7:4000 > 10.1.2.8:80 S mss=1460")
        .to("b", "tcp 10.1.1.7:4000 > 10.1.2.8:80 S mss=1360");
    gw.moved(["flow_miss", "flow_learn", "mss_clamped"]);
    gw.from("b", "tcp 10.1.2.8:80 > 10.1.1.7:4000 SA mss=1460")
        .to("a", "tcp 10.1.2.8:80 > 10.1.1.7:4000 SA mss=1360");
    gw.from("a", "tcp 10.1.1.7:4001 > 10.1.2.8:80 S mss=536")
        .to("b", "tcp 10.1.1.7:4001 > 10.1.2.8:80 S mss=536");
}

#[test]
fn what_is_too_large_is_cut_or_refused() {
    let mut gw = gateway();
    warm(&mut gw);
    gw.from("a", "udp 10.1.1.7:4000 > 10.1.2.8:53 df len=1373")
        .to("a", "icmp frag-needed 10.1.1.1 > 10.1.1.7 mtu=1400 | udp 10.1.1.7:4000 > 10.1.2.8:53 df ttl=64");
    gw.from("a", "udp 10.1.1.7:4000 > 10.1.2.8:53 df len=1372")
        .to("b", "udp 10.1.1.7:4000 > 10.1.2.8:53 df len=1372");
    gw.from("a", "udp 10.1.1.7:4000 > 10.1.2.8:53 ipid=7 len=1472").all([
        ("b", "udp 10.1.1.7:4000 > 10.1.2.8:53 ipid=7 mf ttl=63 len=1368"),
        ("b", "ip 10.1.1.7 > 10.1.2.8 proto=17 ipid=7 off=1376 ttl=63 len=104"),
    ]);
    gw.stop();
}
