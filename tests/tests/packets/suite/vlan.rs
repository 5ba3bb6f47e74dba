//! VLANs (802.1Q), plain ports, public networks; and that VPCs do not meet.

use super::*;

#[test]
fn networks_of_every_kind_reach_each_other() {
    let (mut gw, a, _) = red();
    let c = gw.vm("red-3", "10.1.3.7", HOST1);
    let d = gw.vm("red-4", "10.1.4.7", HOST1);
    gw.from(&a, "udp 10.1.1.7:1 > 10.1.3.7:2 ttl=64 len=9")
        .to(&c, "udp 10.1.1.7:1 > 10.1.3.7:2 ttl=63 len=9");
    gw.from(&c, "udp 10.1.3.7:2 > 10.1.4.7:3 ttl=64").to(&d, "udp 10.1.3.7:2 > 10.1.4.7:3 ttl=63");
    gw.from(&d, "udp 10.1.4.7:3 > 10.1.1.7:1 ttl=64").to(&a, "udp 10.1.4.7:3 > 10.1.1.7:1 ttl=63");
    gw.moved(["flow_miss 3", "flow_learn 3"]);
}

#[test]
fn the_priority_of_a_tag_means_nothing_and_vlan_0_is_untagged() {
    let (mut gw, a, _) = red();
    let c = gw.vm("red-3", "10.1.3.7", HOST1);
    let d = gw.vm("red-4", "10.1.4.7", HOST1);
    let udp = "udp 10.1.3.7:2 > 10.1.1.7:3 ttl=64";
    gw.rx("lan", &c.sends(udp).replace("vlan 103", "vlan 103 pcp=5"))
        .to(&a, "udp 10.1.3.7:2 > 10.1.1.7:3 ttl=63");
    let udp = "udp 10.1.4.7:2 > 10.1.1.7:3 ttl=64";
    gw.rx("plain", &d.sends(&format!("vlan 0 pcp=7 | {udp}"))).to(&a, "udp 10.1.4.7:2 > 10.1.1.7:3 ttl=63");
    gw.moved(["flow_miss 2", "flow_learn 2"]);
}

#[test]
fn a_vlan_without_network_is_nobodys() {
    let (mut gw, ..) = red();
    let c = gw.vm("red-3", "10.1.3.7", HOST1);
    let d = gw.vm("red-4", "10.1.4.7", HOST1);
    let udp = "udp 10.1.3.7:2 > 10.1.1.7:3";
    gw.rx("lan", &c.sends(udp).replace("vlan 103", "vlan 104")).nothing();
    gw.rx("lan", &c.sends(udp).replace("vlan 103 | ", "")).nothing();
    gw.rx("plain", &d.sends(&format!("vlan 103 | {udp}"))).nothing();
    gw.moved(["unknown_vlan 3"]);
}

#[test]
fn a_tagged_frame_inside_vxlan_is_refused() {
    let (mut gw, a, _) = red();
    gw.from(&a, "vlan 5 | udp 10.1.1.7:4000 > 10.1.2.9:53").nothing();
    gw.moved(["vxlan_inner_vlan"]);
}

#[test]
fn a_vpc_reaches_the_world_by_the_upstream_router_and_is_reached() {
    let (mut gw, a, _) = red();
    let upstream = gw.vm("public", "203.0.113.1", HOST1);
    gw.from(&a, "tcp 10.1.1.7:40000 > 198.51.100.5:443 S ttl=64 mss=1410")
        .to(&upstream, "tcp 10.1.1.7:40000 > 198.51.100.5:443 S ttl=63 mss=1410");
    gw.from(&upstream, "tcp 198.51.100.5:443 > 10.1.1.7:40000 SA ttl=64 mss=1400")
        .to(&a, "tcp 198.51.100.5:443 > 10.1.1.7:40000 SA ttl=63 mss=1400");
    gw.moved(["flow_miss 2", "flow_learn 2"]);
    // What no route lets out stays in, with an answer; what no route lets in stays out.
    gw.from(&a, "udp 10.1.1.7:1 > 192.88.0.1:2")
        .to(&a, "icmp no-net 10.1.1.1 > 10.1.1.7 tos=192 | udp 10.1.1.7:1 > 192.88.0.1:2");
    gw.moved(["flow_miss", "no_route", "icmp_error"]);
    gw.from(&upstream, "udp 198.51.100.5:1 > 10.1.2.9:2").to(&upstream, "udp 198.51.100.5:1 > 10.1.2.9:2");
    gw.moved(["flow_miss", "flow_learn"]);
}

#[test]
fn a_tagged_public_network_stands_beside_an_untagged_one() {
    let config = site_with(
        "\nvpc_routers:",
        "  - { id: second, port: wan, vlan: 100, cidr: 198.18.0.0/24, gateway: 198.18.0.1, address: 198.18.0.2 }\n\nvpc_routers:",
    );
    let config = config + "  - { vpc: blue, destination: 0.0.0.0/0, via_public: second }\n";
    let config = config + "  - { public_network: second, destination: 10.1.1.0/24, via_vpc: blue }\n";
    let mut gw = Gateway::start(&config, crate::WORKERS);
    let first = gw.vm("public", "203.0.113.1", HOST1);
    let second = gw.vm("second", "198.18.0.1", HOST1);
    let (red, blue) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("blue-1", "10.1.1.7", HOST3));
    let (out, back) = ("udp 10.1.1.7:1 > 198.51.100.5:2", "udp 198.51.100.5:2 > 10.1.1.7:1");
    gw.from(&red, out).to(&first, out);
    gw.from(&blue, out).to(&second, out);
    gw.from(&first, back).to(&red, back);
    gw.from(&second, back).to(&blue, back);
    gw.moved(["flow_miss 4", "flow_learn 4"]);
}

#[test]
fn vpcs_with_the_same_addresses_do_not_meet() {
    let (mut gw, red_a, red_b) = red();
    let blue_a = gw.vm("blue-1", "10.1.1.7", HOST2);
    let blue_c = gw.vm("blue-3", "10.1.3.7", HOST2);
    let red_c = gw.vm("red-3", "10.1.3.7", HOST1);
    let packet = "icmp echo 10.1.1.7 > 10.1.3.7 id=1 seq=1 ttl=64";
    let arrived = "icmp echo 10.1.1.7 > 10.1.3.7 id=1 seq=1 ttl=63";
    gw.from(&red_a, packet).to(&red_c, arrived);
    gw.from(&blue_a, packet).to(&blue_c, arrived);
    gw.moved(["flow_miss 2", "flow_learn 2"]);
    // Who is known in `red` is not known in `blue`: the gateway asks blue's hosts only.
    let missing = gw.stranger("blue-2", "10.1.2.9", Some(HOST2));
    let ask = &format!("arp ask 10.1.2.9 from 10.1.2.1 {}", missing.us);
    gw.from(&blue_a, "udp 10.1.1.7:1 > 10.1.2.9:2").to_all(&missing, ask).to_all(&missing.at(HOST3), ask);
    // What only `red` has does not exist for `blue`.
    gw.from(&blue_a, "udp 10.1.1.7:1 > 10.1.4.7:2")
        .to(&blue_a, "icmp no-net 10.1.1.1 > 10.1.1.7 tos=192 | udp 10.1.1.7:1 > 10.1.4.7:2");
    gw.from(&red_a, "udp 10.1.1.7:1 > 10.1.2.9:2").to(&red_b, "udp 10.1.1.7:1 > 10.1.2.9:2");
}

#[test]
fn the_gateways_own_underlay_is_no_way_into_a_vpc() {
    let (mut gw, ..) = red();
    let (host, router) =
        (gw.stranger("underlay", HOST1, None), gw.stranger("underlay", "172.31.255.254", None));
    gw.from(&host, "udp 172.31.1.1:1 > 10.1.1.7:2").to(&router, "udp 172.31.1.1:1 > 10.1.1.7:2");
    gw.moved([]);
}

#[test]
fn a_vm_reaches_no_address_of_the_underlay() {
    let (mut gw, a, _) = red();
    for us in ["172.31.0.1", HOST1] {
        let packet = format!("icmp echo 10.1.1.7 > {us} id=1");
        gw.from(&a, &packet).to(&a, &format!("icmp no-net 10.1.1.1 > 10.1.1.7 tos=192 | {packet}"));
    }
}
