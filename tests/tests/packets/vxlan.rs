//! The tunnel itself.

use tidegate_fastpath::reason::DropReason;

use super::{gateway, gateway_of, warm};

const OUTER: &str = "eth 02:ac:1f:00:01:01 > 02:00:00:00:00:01";

/// A packet from `a` to `b` with these words on the outer header.
fn tunnelled(gw: &tidegate_tests::gateway::TestGateway, outer: &str, inner: &str) -> String {
    let mac = gw.mac_towards("a");
    format!("{OUTER} | vxlan 101 172.31.1.1 > 172.31.0.1 {outer} | eth 02:00:00:01:01:07 > {mac} | {inner}")
}

#[test]
fn the_outer_header_is_ours() {
    let mut gw = gateway();
    warm(&mut gw);
    let texts = gw.from("a", "udp 10.1.1.7:4000 > 10.1.2.8:53 tos=184 ttl=9").texts();
    assert_eq!(texts.len(), 1);
    let outer = texts[0].split('|').nth(1).unwrap();
    assert!(outer.contains(" ttl=64 df ") && !outer.contains("tos=") && !outer.contains("sum"), "{outer}");
    assert!(texts[0].contains("tos=184"), "{}", texts[0]);
}

#[test]
fn one_flow_keeps_one_source_port_and_flows_spread() {
    let mut gw = gateway();
    warm(&mut gw);
    let mut port_of = |sport: u16| {
        let text = gw.from("a", &format!("udp 10.1.1.7:{sport} > 10.1.2.8:53")).texts().remove(0);
        let port = text.split("sport=").nth(1).unwrap().split(' ').next().unwrap();
        port.parse::<u16>().unwrap()
    };
    assert_eq!(port_of(4000), port_of(4000));
    let ports: std::collections::HashSet<_> = (4000..4064).map(&mut port_of).collect();
    assert!(ports.len() > 32 && ports.iter().all(|p| *p >= 49152), "{ports:?}");
}

#[test]
fn reserved_bits_and_both_checksums_are_accepted() {
    let mut gw = gateway();
    warm(&mut gw);
    for outer in ["", "reserved=255", "flags=255", "sum", "ttl=1", "sport=1"] {
        let text = tunnelled(&gw, outer, "udp 10.1.1.7:1 > 10.1.2.8:1 ttl=64");
        gw.frame_from("a", &text).to("b", "udp 10.1.1.7:1 > 10.1.2.8:1 ttl=63");
    }
}

#[test]
fn what_is_no_vxlan_of_ours_is_dropped_by_name() {
    let mut gw = gateway();
    warm(&mut gw);
    for (outer, reason) in [
        ("flags=0", DropReason::VxlanFlags),
        ("mf", DropReason::VxlanFragment),
        ("tos=3", DropReason::EcnNotCapable),
    ] {
        let text = tunnelled(&gw, outer, "udp 10.1.1.7:1 > 10.1.2.8:1");
        gw.frame_from("a", &text).dropped(reason);
    }
    let unknown = tunnelled(&gw, "", "udp 10.1.1.7:1 > 10.1.2.8:1").replace("vxlan 101", "vxlan 999");
    gw.frame_from("a", &unknown).dropped(DropReason::UnknownVni);
    let tagged = tunnelled(&gw, "", "vlan 5 | udp 10.1.1.7:1 > 10.1.2.8:1");
    gw.frame_from("a", &tagged).dropped(DropReason::VxlanInnerVlan);
}

#[test]
fn congestion_on_the_underlay_reaches_the_vm() {
    let mut gw = gateway();
    warm(&mut gw);
    // RFC 6040: ECT(0) inside, CE outside: CE inside; and out again with CE on both.
    let text = tunnelled(&gw, "tos=3", "udp 10.1.1.7:1 > 10.1.2.8:1 tos=2");
    let texts = gw.frame_from("a", &text).texts();
    assert!(texts[0].matches("tos=3").count() == 2, "{texts:?}");
}

#[test]
fn an_unconfigured_vtep_is_learned_from_arp() {
    let mut gw = gateway_of(&super::config_with(", 172.31.2.1]", "]"));
    gw.broadcast("b", "arp ask 10.1.2.1 from 10.1.2.8 02:00:00:01:02:08").texts();
    gw.from("a", "udp 10.1.1.7:1 > 10.1.2.8:1").to("b", "udp 10.1.1.7:1 > 10.1.2.8:1");
}

#[test]
fn several_pools_may_use_the_same_vni_on_their_own_tunnel_ends() {
    let config = super::config_with(
        "public_networks:",
        "  - { id: pool-2, vni_range: 100-200, vtep_cidr: 172.30.0.0/16, remote_vteps: [172.30.1.1] }\npublic_networks:",
    )
    .replacen("    - { id: lan,", "    - { id: under2, device: mem3, mtu: 1600, addresses: [172.30.0.1/16] }\n    - { id: lan,", 1)
    .replacen("routes:", "  - { id: net-14, vpc: vpc-1, cidr: 10.1.4.0/24, gateway: 10.1.4.1, vxlan: { pool: pool-2, vni: 101 } }\nroutes:", 1);
    let mut gw = gateway_of(&config);
    gw.neighbour("host3", "172.30.1.1", "02:ac:1e:00:01:01").vm(
        "d",
        101,
        "10.1.4.5",
        "02:00:00:01:04:05",
        "host3",
    );
    // A tunnel end that did not answer at start is asked again, now and then.
    drop(gw.wait_ms(60_000).texts());
    gw.from("a", "udp 10.1.1.7:1 > 10.1.4.5:1").to("d", "udp 10.1.1.7:1 > 10.1.4.5:1");
    gw.from("d", "udp 10.1.4.5:1 > 10.1.1.7:1").to("a", "udp 10.1.4.5:1 > 10.1.1.7:1");
}
