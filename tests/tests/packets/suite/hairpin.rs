//! VMs that reach the public addresses of their own VPC.

use super::{
    nat::{nat, nat_on, nat_with, services},
    *,
};

/// Nothing of `red` has SNAT: VM 10.1.1.8 has .94 to itself, 10.1.2.9 is behind forwards of .93.
const NO_SNAT: &str = "
vips:
  - { id: shared, public_network: public, address: 203.0.113.93 }
  - { id: whole, public_network: public, address: 203.0.113.94 }
eips:
  - { id: one, vip: whole, vpc: red, address: 10.1.1.8 }
port_forwards:
  - { id: ssh, vip: shared, protocol: tcp, ports: 2222, vpc: red, address: 10.1.2.9, target_ports: 22 }
  - { id: dns, vip: shared, protocol: udp, ports: 5353, vpc: red, address: 10.1.2.9, target_ports: 53 }
";

/// Sends a packet that arrives as one that begins so; returns the public port or identifier that it came with. The first one
/// to an EIP or a forward's address waits a moment for its ports.
fn hairpin(gw: &mut Gateway, from: &Station, packet: &str, vip: &str, arrives: &str) -> u16 {
    let mut words = gw.from(from, packet).words();
    if words.is_empty() {
        words = gw.pass(10).words();
    }
    let [frame] = &words[..] else { panic!("{packet}: {words:?}") };
    assert!(frame.contains(arrives), "{packet}: {frame}");
    let mark = if packet.starts_with("icmp") { " id=".to_owned() } else { format!("{vip}:") };
    let rest = frame.rsplit_once(&mark).unwrap_or_else(|| panic!("{mark} is not in {frame}")).1;
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

#[test]
fn vms_without_an_address_reach_every_address_of_their_vpc() {
    let short =
        "timeouts: { nat_tcp_established_s: 20, nat_tcp_transitory_s: 10, nat_icmp_s: 10, nat_udp_s: 10 }";
    let (mut gw, a, b, _) = nat_on(&services(NO_SNAT).replace("  limits:", &format!("  {short}\n  limits:")));
    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    // From the network of the VM that is reached and from another one; from the target of a forward itself.
    for (who, ip) in [(&a, "10.1.1.7"), (&b, "10.1.2.9")] {
        let (own, shared) = ("203.0.113.94", "203.0.113.93");
        let sent = format!("tcp {ip}:5000 > {own}:443 S");
        let port = hairpin(&mut gw, who, &sent, own, " > 10.1.1.8:443 S");
        assert!(port >= 1024);
        for _ in 0..2 {
            gw.from(&c, &format!("tcp 10.1.1.8:443 > {own}:{port} SA ttl=64"))
                .to(who, &format!("tcp {own}:443 > {ip}:5000 SA ttl=62"));
            gw.from(who, &format!("tcp {ip}:5000 > {own}:443 A ttl=64"))
                .to(&c, &format!("tcp {own}:{port} > 10.1.1.8:443 A ttl=62"));
        }
        let error = "icmp no-port";
        gw.from(&c, &format!("{error} 10.1.1.8 > {own} | tcp {own}:{port} > 10.1.1.8:443 S"))
            .to(who, &format!("{error} {own} > {ip} | tcp {ip}:5000 > {own}:443 S"));
        gw.from(who, &format!("{error} {ip} > {own} | tcp {own}:443 > {ip}:5000 SA"))
            .to(&c, &format!("{error} {own} > 10.1.1.8 | tcp 10.1.1.8:443 > {own}:{port} SA"));
        // Where one VM has the port, the other one cannot have its answers.
        gw.take_moved();
        gw.from(&c, &format!("tcp 10.1.1.8:{port} > {own}:443 S")).ignore();
        gw.moved(["flow_miss", "ports_exhausted", "icmp_error"]);

        let sent = format!("icmp echo {ip} > {own} id=9 seq=1");
        let id = hairpin(&mut gw, who, &sent, own, &format!("icmp echo {own} > 10.1.1.8 "));
        gw.from(&c, &format!("icmp echo-reply 10.1.1.8 > {own} id={id} seq=1"))
            .to(who, &format!("icmp echo-reply {own} > {ip} id=9 seq=1"));

        let sent = format!("tcp {ip}:5000 > {shared}:2222 S");
        let port = hairpin(&mut gw, who, &sent, shared, " > 10.1.2.9:22 S");
        gw.from(&b, &format!("tcp 10.1.2.9:22 > {shared}:{port} SA ttl=64"))
            .to(who, &format!("tcp {shared}:2222 > {ip}:5000 SA ttl=62"));
    }
    // The VM with the address, as ever: it keeps its ports.
    gw.from(&c, "udp 10.1.1.8:1 > 203.0.113.94:2").to(&c, "udp 203.0.113.94:1 > 10.1.1.8:2");
    gw.from(&c, "udp 10.1.1.8:1 > 203.0.113.93:5353").to(&b, "udp 203.0.113.94:1 > 10.1.2.9:53");
    // Nobody else leaves.
    gw.take_moved();
    gw.from(&a, "udp 10.1.1.7:1 > 8.8.8.8:2").ignore();
    gw.moved(["flow_miss", "not_translated", "icmp_error"]);
    // And all of it ends.
    gw.pass(90_000).ignore();
    assert_eq!((gw.nat_usage().vms, gw.nat_usage().blocks), (0, 0));
}

#[test]
fn the_first_packet_to_an_eip_waits_until_control_has_set_ports_aside() {
    let (mut gw, a, _, up) = nat_with(NO_SNAT);
    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    gw.take_moved();
    gw.control_runs = false;
    let sent = |port| format!("udp 10.1.1.7:{port} > 203.0.113.94:53 len=9");
    gw.from(&a, &sent(1)).nothing();
    gw.from(&a, &sent(2)).nothing();
    assert_eq!(gw.held(), 2);
    gw.control_runs = true;
    let words = gw.pass(10).words();
    assert!(words.len() == 2 && words.iter().all(|frame| frame.contains(" > 10.1.1.8:53 ")), "{words:?}");
    gw.moved(["flow_miss 2", "session_open 2", "hairpin 2", "flow_learn 4"]);
    // The next ones do not.
    let frame = gw.from(&a, &sent(3)).words().remove(0);
    assert!(frame.contains(" > 10.1.1.8:53 "), "{frame}");
    // What comes from outside meets none of these ports, and the VM keeps its own.
    gw.from(&c, "udp 10.1.1.8:1024 > 8.8.8.8:2").to(&up, "udp 203.0.113.94:1024 > 8.8.8.8:2");
}

#[test]
fn datagrams_in_fragments_go_to_an_address_of_the_same_vpc_and_back() {
    let (mut gw, a, _, _) = nat_with(NO_SNAT);
    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    let own = "203.0.113.94";
    let sent = format!("udp 10.1.1.7:4000 > {own}:53 mf ipid=7 len=1400");
    let port = hairpin(&mut gw, &a, &sent, own, " > 10.1.1.8:53 ");
    gw.from(&a, &format!("ip 10.1.1.7 > {own} proto=17 ipid=7 off=1408 len=30"))
        .to(&c, &format!("ip {own} > 10.1.1.8 proto=17 ipid=7 off=1408 len=30"));
    gw.from(&c, &format!("udp 10.1.1.8:53 > {own}:{port} mf ipid=8 len=1400"))
        .to(&a, &format!("udp {own}:53 > 10.1.1.7:4000 mf ipid=8 len=1400"));
    gw.from(&c, &format!("ip 10.1.1.8 > {own} proto=17 ipid=8 off=1408 len=30"))
        .to(&a, &format!("ip {own} > 10.1.1.7 proto=17 ipid=8 off=1408 len=30"));
    // The same VM to itself, meanwhile.
    gw.from(&c, &format!("udp 10.1.1.8:1 > {own}:2 mf ipid=9 len=1400"))
        .to(&c, &format!("udp {own}:1 > 10.1.1.8:2 mf ipid=9 len=1400"));
    gw.from(&c, &format!("ip 10.1.1.8 > {own} proto=17 ipid=9 off=1408 len=30"))
        .to(&c, &format!("ip {own} > 10.1.1.8 proto=17 ipid=9 off=1408 len=30"));
    // One that comes before its first.
    gw.from(&c, &format!("ip 10.1.1.8 > {own} proto=17 ipid=10 off=1408 len=30")).nothing();
    gw.from(&c, &format!("udp 10.1.1.8:53 > {own}:{port} mf ipid=10 len=1400"))
        .to(&a, &format!("udp {own}:53 > 10.1.1.7:4000 mf ipid=10 len=1400"));
    gw.pass(10).to(&a, &format!("ip {own} > 10.1.1.7 proto=17 ipid=10 off=1408 len=30"));
}

#[test]
fn vms_reach_addresses_of_their_own_vpc_themselves_included() {
    let (mut gw, a, b, _) = nat();
    // A forward, from another VM and from the target itself: the answer must come back through the gateway.
    for (who, ip) in [(&a, "10.1.1.7"), (&b, "10.1.2.9")] {
        let words = gw.from(who, &format!("tcp {ip}:5000 > 203.0.113.93:2222 S ttl=64")).words();
        let [frame] = &words[..] else { panic!("{words:?}") };
        assert!(frame.contains(" > 10.1.2.9:22 "), "{frame}");
        let port = frame.rsplit_once("203.0.113.93:").unwrap().1.split(' ').next().unwrap();
        gw.from(&b, &format!("tcp 10.1.2.9:22 > 203.0.113.93:{port} SA ttl=64"))
            .to(who, &format!("tcp 203.0.113.93:2222 > {ip}:5000 SA ttl=62"));
    }
    // An address of its own.
    let c = gw.vm("red-1", "10.1.1.8", HOST1);
    let words = gw.from(&a, "udp 10.1.1.7:5000 > 203.0.113.94:9").words();
    assert!(words[0].contains(" > 10.1.1.8:9 "), "{words:?}");
    gw.from(&c, "udp 10.1.1.8:1 > 203.0.113.94:2").to(&c, "udp 203.0.113.94:1 > 10.1.1.8:2 ttl=62");
    // Ping of the shared address.
    gw.from(&a, "icmp echo 10.1.1.7 > 203.0.113.93 id=3 seq=1")
        .to(&a, "icmp echo-reply 203.0.113.93 > 10.1.1.7 id=3 seq=1");
}
