//! HTTP listeners: packets for their ports go into the namespace of the VPC, and what a program there answers leaves by the VIP.

use super::{nat::services, *};

/// `red` has an HTTP listener on port 80 of an address that it shares with its SNAT and a port forward; a VM of `blue` has an
/// EIP.
const SERVICES: &str = "
vips:
  - { id: shared, public_network: public, address: 203.0.113.93 }
  - { id: blue, public_network: public, address: 203.0.113.94 }
snats:
  - { id: red, vpc: red, vips: [shared] }
eips:
  - { id: blue, vip: blue, vpc: blue, address: 10.1.1.9 }
port_forwards:
  - { id: ssh, vip: shared, protocol: tcp, ports: 22, vpc: red, address: 10.1.1.7 }
load_balancers:
  - id: lb
    vip: shared
    listeners:
      - { id: web, protocol: http, port: 80, backends: [{ vpc: red, address: 10.1.1.7 }] }
";

fn start() -> (Gateway, Station, Station) {
    let mut gw = Gateway::start(&services(SERVICES), crate::WORKERS);
    let vm = gw.vm("red-1", "10.1.1.7", HOST1);
    let up = gw.vm("public", "203.0.113.1", HOST1);
    gw.take_moved();
    (gw, vm, up)
}

#[test]
fn clients_reach_the_namespace_and_are_answered_from_the_vip() {
    let (mut gw, _, up) = start();
    for segment in ["S", "A"] {
        let packet = format!("tcp 9.9.9.9:5000 > 203.0.113.93:80 {segment}");
        gw.from(&up, &packet).nothing();
        gw.delivers("red", &packet);
    }
    gw.moved(["flow_miss 2", "punt_local 2"]);
    let answer = "tcp 203.0.113.93:80 > 9.9.9.9:5000 SA ttl=64";
    gw.inject("red", answer).to(&up, answer);
    let seen = gw.traffic("shared");
    assert_eq!((seen.inbound.packets, seen.inbound.bytes, seen.outbound.packets), (2, 80, 1));
    // An ICMP error about the answer: the kernel there has the connection.
    let error = "icmp frag-needed 9.9.9.1 > 203.0.113.93 mtu=1300 | tcp 203.0.113.93:80 > 9.9.9.9:5000 A";
    gw.from(&up, error).nothing();
    gw.delivers("red", error);
}

#[test]
fn other_ports_of_the_vip_are_others() {
    let (mut gw, vm, up) = start();
    gw.from(&up, "tcp 9.9.9.9:5000 > 203.0.113.93:22 S ttl=64")
        .to(&vm, "tcp 9.9.9.9:5000 > 10.1.1.7:22 S ttl=63");
    gw.take_moved();
    gw.from(&up, "tcp 9.9.9.9:5000 > 203.0.113.93:81 S").nothing();
    gw.moved(["flow_miss", "no_service"]);
    gw.from(&up, "udp 9.9.9.9:5000 > 203.0.113.93:80").nothing();
    gw.moved(["flow_miss", "no_service"]);
    let error = "icmp no-port 9.9.9.9 > 203.0.113.93 | udp 203.0.113.93:80 > 9.9.9.9:5000";
    gw.from(&up, error).nothing();
    gw.moved(["flow_miss", "no_session"]);
    assert_eq!(gw.delivered_to().count(), 0);
}

#[test]
fn a_vm_of_the_vpc_is_served_with_its_own_address() {
    let (mut gw, vm, _) = start();
    let packet = "tcp 10.1.1.7:4000 > 203.0.113.93:80 S";
    gw.from(&vm, packet).nothing();
    gw.delivers("red", packet);
    gw.moved(["flow_miss", "punt_local"]);
    let answer = "tcp 203.0.113.93:80 > 10.1.1.7:4000 SA ttl=64";
    gw.inject("red", answer).to(&vm, answer);
    // What it sends elsewhere is translated as ever, and answered to it.
    let to_backend = "tcp 10.1.1.1:33000 > 10.1.1.7:80 S ttl=64";
    gw.inject("red", to_backend).to(&vm, to_backend);
}

#[test]
fn a_vm_of_another_vpc_is_served_as_its_public_address() {
    let (mut gw, ..) = start();
    let blue = gw.vm("blue-1", "10.1.1.9", HOST3);
    gw.take_moved();
    gw.from(&blue, "tcp 10.1.1.9:4000 > 203.0.113.93:80 S").nothing();
    assert_eq!(gw.delivered_to().collect::<Vec<_>>(), ["red"]);
    gw.delivers("red", "tcp 203.0.113.94:4000 > 203.0.113.93:80 S ttl=63");
    gw.inject("red", "tcp 203.0.113.93:80 > 203.0.113.94:4000 SA ttl=64")
        .to(&blue, "tcp 203.0.113.93:80 > 10.1.1.9:4000 SA ttl=64");
}
