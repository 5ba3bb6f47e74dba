//! Port forwards, and addresses that one VM has to itself.

use super::*;

#[test]
fn a_vm_with_its_own_address_uses_it_both_ways_for_everything() {
    let (mut gw, _, _, up) = nat();
    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    for (out, back) in [
        ("udp 10.1.1.8:7 > 8.8.8.8:53", "udp 203.0.113.94:7 > 8.8.8.8:53"),
        ("tcp 10.1.1.8:7 > 8.8.8.8:53 S", "tcp 203.0.113.94:7 > 8.8.8.8:53 S"),
        ("icmp echo 10.1.1.8 > 8.8.8.8 id=7", "icmp echo 203.0.113.94 > 8.8.8.8 id=7"),
        ("ip 10.1.1.8 > 8.8.8.8 proto=47 len=30", "ip 203.0.113.94 > 8.8.8.8 proto=47 len=30"),
        (
            "ip 10.1.1.8 > 8.8.8.8 proto=17 off=1480 len=30",
            "ip 203.0.113.94 > 8.8.8.8 proto=17 off=1480 len=30",
        ),
    ] {
        gw.from(&c, &format!("{out} ttl=64")).to(&up, &format!("{back} ttl=63"));
    }
    for (from, to) in [
        ("udp 9.9.9.9:1 > 203.0.113.94:2", "udp 9.9.9.9:1 > 10.1.1.8:2"),
        ("icmp echo 9.9.9.9 > 203.0.113.94 id=1", "icmp echo 9.9.9.9 > 10.1.1.8 id=1"),
        ("ip 9.9.9.9 > 203.0.113.94 proto=50 len=8", "ip 9.9.9.9 > 10.1.1.8 proto=50 len=8"),
    ] {
        gw.from(&up, &format!("{from} ttl=64")).to(&c, &format!("{to} ttl=63"));
    }
}

#[test]
fn forwarded_ports_reach_their_vm_and_only_they() {
    let (mut gw, _, b, up) = nat();
    for (port, inside) in [(2222, 22), (2223, 23), (2224, 24)] {
        gw.from(&up, &format!("tcp 9.9.9.9:5 > 203.0.113.93:{port} S ttl=64"))
            .to(&b, &format!("tcp 9.9.9.9:5 > 10.1.2.9:{inside} S ttl=63"));
        gw.from(&b, &format!("tcp 10.1.2.9:{inside} > 9.9.9.9:5 SA ttl=64"))
            .to(&up, &format!("tcp 203.0.113.93:{port} > 9.9.9.9:5 SA ttl=63"));
    }
    gw.take_moved();
    for port in [2221, 2225] {
        gw.from(&up, &format!("tcp 9.9.9.9:5 > 203.0.113.93:{port} S")).nothing();
    }
    gw.from(&up, "udp 9.9.9.9:5 > 203.0.113.93:2222").nothing();
    gw.moved(["flow_miss 3", "no_service 3"]);
    gw.from(&up, "udp 9.9.9.9:5 > 203.0.113.93:5353").nothing();
    gw.moved(["flow_miss", "forward_denied"]);
    gw.from(&up, "udp 198.51.100.7:5 > 203.0.113.93:5353").to(&b, "udp 198.51.100.7:5 > 10.1.2.9:53");
}

#[test]
fn a_public_address_is_found_by_arp_and_answers_ping() {
    let (mut gw, _, _, up) = nat();
    let us = up.us;
    for vip in ["203.0.113.93", "203.0.113.94"] {
        gw.from(&up, &format!("arp ask {vip} from 203.0.113.1 {}", up.mac))
            .to(&up, &format!("arp tell {vip} {us} to 203.0.113.1 {}", up.mac));
    }
    gw.take_moved();
    gw.from(&up, "icmp echo 9.9.9.9 > 203.0.113.93 id=4 seq=1 len=8")
        .to(&up, "icmp echo-reply 203.0.113.93 > 9.9.9.9 id=4 seq=1 len=8");
    gw.moved(["flow_miss", "echo_reply"]);
}

#[test]
fn a_forward_needs_no_other_service_of_its_vpc() {
    let (mut gw, _, b, up) = nat_with(
        "
vips:
  - { id: shared, public_network: public, address: 203.0.113.93 }
port_forwards:
  - { id: ssh, vip: shared, protocol: tcp, ports: 2222, vpc: red, address: 10.1.2.9, target_ports: 22 }
",
    );
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 S").to(&b, "tcp 9.9.9.9:5 > 10.1.2.9:22 S");
    gw.from(&b, "tcp 10.1.2.9:22 > 9.9.9.9:5 SA ttl=64")
        .to(&up, "tcp 203.0.113.93:2222 > 9.9.9.9:5 SA ttl=63");
    // Nothing else leaves.
    gw.take_moved();
    let sent = "tcp 10.1.2.9:22 > 9.9.9.9:6 S";
    gw.from(&b, sent).to(&b, &format!("icmp no-net 10.1.2.1 > 10.1.2.9 tos=192 | {sent}"));
    gw.moved(["flow_miss", "not_translated", "icmp_error"]);
}

#[test]
fn a_forward_to_a_vm_with_an_address_of_its_own_answers_from_the_forward() {
    let (mut gw, _, b, up) = nat_with(
        &SERVICES
            .replace(", allowed_cidr: 198.51.100.0/24", "")
            .replace("vpc: red, address: 10.1.1.8 }", "vpc: red, address: 10.1.2.9 }"),
    );
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2222 S").to(&b, "tcp 9.9.9.9:5 > 10.1.2.9:22 S");
    gw.from(&b, "tcp 10.1.2.9:22 > 9.9.9.9:5 SA ttl=64")
        .to(&up, "tcp 203.0.113.93:2222 > 9.9.9.9:5 SA ttl=63");
    gw.from(&b, "icmp no-port 10.1.2.9 > 9.9.9.9 ttl=64 | tcp 9.9.9.9:5 > 10.1.2.9:22 S ttl=63")
        .to(&up, "icmp no-port 203.0.113.93 > 9.9.9.9 ttl=63 | tcp 9.9.9.9:5 > 203.0.113.93:2222 S ttl=63");
    gw.from(&b, "tcp 10.1.2.9:22 > 9.9.9.9:6 S").to(&up, "tcp 203.0.113.94:22 > 9.9.9.9:6 S");
    // A datagram of each in fragments.
    gw.from(&up, "udp 9.9.9.9:5 > 203.0.113.93:5353").to(&b, "udp 9.9.9.9:5 > 10.1.2.9:53");
    for (ports, id, public) in [("53 > 9.9.9.9:5", 7, 93), ("54 > 8.8.8.8:5", 8, 94)] {
        let remote = ports.split(' ').nth(2).unwrap().split(':').next().unwrap();
        gw.from(&b, &format!("udp 10.1.2.9:{ports} mf ipid={id} len=1400")).ignore();
        gw.from(&b, &format!("ip 10.1.2.9 > {remote} proto=17 ipid={id} off=1408 len=30"))
            .to(&up, &format!("ip 203.0.113.{public} > {remote} proto=17 ipid={id} off=1408 len=30"));
    }
}

#[test]
fn answers_of_a_forward_leave_by_it_where_a_route_leads_elsewhere() {
    let (mut gw, a, b, up) = nat_with(&SERVICES.replace(", allowed_cidr: 198.51.100.0/24", ""));
    let router = gw.vm("red-2", "10.1.2.254", HOST1);
    // `via_public`, and a router of the VPC's own.
    for (remote, elsewhere) in [("198.51.100.7", &up), ("192.0.2.5", &router)] {
        gw.from(&up, &format!("tcp {remote}:5 > 203.0.113.93:2222 S"))
            .to(&b, &format!("tcp {remote}:5 > 10.1.2.9:22 S"));
        for _ in 0..2 {
            gw.from(&b, &format!("tcp 10.1.2.9:22 > {remote}:5 SA ttl=64"))
                .to(&up, &format!("tcp 203.0.113.93:2222 > {remote}:5 SA ttl=63"));
        }
        gw.from(&up, &format!("udp {remote}:5 > 203.0.113.93:5353"))
            .to(&b, &format!("udp {remote}:5 > 10.1.2.9:53"));
        gw.from(&b, &format!("udp 10.1.2.9:53 > {remote}:5 mf ipid=7 ttl=64 len=1400"))
            .to(&up, &format!("udp 203.0.113.93:5353 > {remote}:5 mf ipid=7 ttl=63 len=1400"));
        gw.from(&b, &format!("ip 10.1.2.9 > {remote} proto=17 ipid=7 off=1408 ttl=64 len=30"))
            .to(&up, &format!("ip 203.0.113.93 > {remote} proto=17 ipid=7 off=1408 ttl=63 len=30"));
        // Errors about what came by the forward, of the VM and of a router on the way; and about anything else.
        let about = format!("tcp {remote}:5 > 10.1.2.9:22 S");
        for from in ["10.1.2.9", "10.1.2.254"] {
            let by = if from == "10.1.2.9" { &b } else { &router };
            gw.from(by, &format!("icmp no-port {from} > {remote} ttl=64 | {about} ttl=63")).to(
                &up,
                &format!("icmp no-port 203.0.113.93 > {remote} ttl=63 | tcp {remote}:5 > 203.0.113.93:2222 S ttl=63"),
            );
        }
        let own = format!("icmp no-port 10.1.2.9 > {remote} ttl=T | udp {remote}:9 > 10.1.2.9:9 ttl=63");
        gw.from(&b, &own.replace('T', "64")).to(elsewhere, &own.replace('T', "63"));
        // What the VPC sends by itself goes as the route says.
        for own in ["tcp 10.1.2.9:22 > {}:6 S", "tcp 10.1.2.9:23 > {}:5 S"] {
            let own = own.replace("{}", remote);
            gw.from(&b, &format!("{own} ttl=64")).to(elsewhere, &format!("{own} ttl=63"));
        }
    }
    // A blackhole is one, and an address of the VPC's own is there, whoever says to be it.
    gw.from(&up, "tcp 192.0.2.129:5 > 203.0.113.93:2222 S").to(&b, "tcp 192.0.2.129:5 > 10.1.2.9:22 S");
    gw.take_moved();
    gw.from(&b, "tcp 10.1.2.9:22 > 192.0.2.129:5 SA").ignore();
    assert_eq!(gw.take_moved().get("blackhole"), Some(&1));
    gw.from(&up, "tcp 10.1.1.7:5 > 203.0.113.93:2222 S").to(&b, "tcp 10.1.1.7:5 > 10.1.2.9:22 S");
    gw.from(&b, "tcp 10.1.2.9:22 > 10.1.1.7:5 SA").to(&a, "tcp 10.1.2.9:22 > 10.1.1.7:5 SA");
}
