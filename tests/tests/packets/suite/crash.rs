//! The gateway is killed and started again on what it left.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{nat::out, *};

const SERVICES: &str = "
vips:
  - { id: shared, public_network: public, address: 203.0.113.93 }
snats:
  - { id: out, vpc: red, vips: [shared] }
port_forwards:
  - { id: ssh, vip: shared, protocol: tcp, ports: 2222-2224, vpc: red, address: 10.1.2.9, target_ports: 22-24 }
";

struct Site {
    gw: Gateway,
    a: Station,
    b: Station,
    up: Station,
    file: PathBuf,
    _dir: TempDir,
}

fn config() -> String {
    let times = "nat_tcp_established_s: 20, nat_tcp_transitory_s: 10";
    let site = SITE.replace("  limits:", &format!("  timeouts: {{ {times} }}\n  limits:"));
    format!("{site}{SERVICES}")
}

fn start() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("flows");
    let mut gw = Gateway::start_in(&file, &config(), crate::WORKERS);
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    let up = gw.vm("public", "203.0.113.1", HOST1);
    gw.take_moved();
    Site { gw, a, b, up, file, _dir: dir }
}

/// A TCP connection of `a`, established; its public port.
fn connect(gw: &mut Gateway, a: &Station, up: &Station, port: u16) -> u16 {
    let public = out(gw, a, &format!("tcp 10.1.1.7:{port} > 8.8.8.8:443 S"));
    gw.from(up, &format!("tcp 8.8.8.8:443 > 203.0.113.93:{public} SA")).ignore();
    gw.from(a, &format!("tcp 10.1.1.7:{port} > 8.8.8.8:443 A")).ignore();
    public
}

#[test]
fn connections_go_on_both_ways_with_their_ports() {
    let Site { mut gw, a, b, up, file, _dir } = start();
    let ports: Vec<(u16, u16)> = (5000..5100).map(|port| (port, connect(&mut gw, &a, &up, port))).collect();
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2223 S").ignore();
    gw.from(&b, "tcp 10.1.2.9:23 > 9.9.9.9:5 SA").ignore();
    gw.from(&a, "udp 10.1.1.7:53 > 10.1.2.9:53").ignore();
    let (mut gw, recovery) = gw.crash(&file, &config(), 1_500);
    assert_eq!((recovery.sessions, recovery.refused, recovery.halves, recovery.damaged), (101, 0, 0, false));
    assert!(recovery.cached > 0, "plain forwarding is decided again");
    gw.pass(3_000).ignore();
    // The outside speaks first: the gateway must find the VM again, and has the packet wait for that.
    let (port, public) = ports[99];
    gw.from(&up, &format!("tcp 8.8.8.8:443 > 203.0.113.93:{public} A ttl=60")).nothing();
    gw.pass(100).to(&a, &format!("tcp 8.8.8.8:443 > 10.1.1.7:{port} A ttl=59"));
    for &(port, public) in &ports {
        let answer = format!("tcp 8.8.8.8:443 > 203.0.113.93:{public} A ttl=60");
        gw.from(&up, &answer).to(&a, &format!("tcp 8.8.8.8:443 > 10.1.1.7:{port} A ttl=59"));
        gw.from(&a, &format!("tcp 10.1.1.7:{port} > 8.8.8.8:443 A ttl=64"))
            .to(&up, &format!("tcp 203.0.113.93:{public} > 8.8.8.8:443 A ttl=63"));
    }
    gw.from(&b, "tcp 10.1.2.9:23 > 9.9.9.9:5 A ttl=64").to(&up, "tcp 203.0.113.93:2223 > 9.9.9.9:5 A ttl=63");
    let moved = gw.take_moved();
    assert!(!moved.contains_key("session_open") && !moved.contains_key("no_session"), "{moved:?}");
    // A new one gets a port that nobody has, and an old endpoint keeps its own towards others.
    let new = connect(&mut gw, &a, &up, 6000);
    assert!(ports.iter().all(|(_, public)| *public != new));
    assert_eq!(out(&mut gw, &a, "tcp 10.1.1.7:5007 > 9.9.9.9:80 S"), ports[7].1);
    // All of it ends in its time: nothing is held for ever.
    gw.pass(90_000).ignore();
    assert_eq!(gw.flows(), 0);
    let usage = gw.nat_usage();
    assert_eq!((usage.vms, usage.blocks), (0, 0));
}

#[test]
fn a_gateway_may_crash_again_and_again() {
    let Site { mut gw, a, up, file, _dir, .. } = start();
    let mut ports = Vec::new();
    for round in 0..3 {
        ports.extend(
            (0..20).map(|n| (5000 + 20 * round + n, connect(&mut gw, &a, &up, 5000 + 20 * round + n))),
        );
        let recovery;
        (gw, recovery) = gw.crash(&file, &config(), 10);
        assert_eq!(recovery.sessions, ports.len());
        gw.trust_file();
        gw.pass(3_000).ignore();
    }
    for (port, public) in ports {
        gw.from(&a, &format!("tcp 10.1.1.7:{port} > 8.8.8.8:443 A"))
            .to(&up, &format!("tcp 203.0.113.93:{public} > 8.8.8.8:443 A"));
    }
}

#[test]
fn what_the_new_configuration_does_not_allow_ends() {
    let Site { mut gw, a, b, up, file, _dir } = start();
    let public = connect(&mut gw, &a, &up, 5000);
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2223 S").ignore();
    gw.from(&b, "tcp 10.1.2.9:23 > 9.9.9.9:5 SA").ignore();
    // The forward is gone; networks stand in another order, and there are new ones before them.
    let mut changed = config().replace("ports: 2222-2224", "ports: 3222-3224");
    changed = changed.replace(
        "vpc_networks:\n",
        "vpc_networks:\n  - { id: aaa, vpc: red, cidr: 10.99.0.0/24, gateway: 10.99.0.1, vxlan: { pool: pool, vni: 400 } }\n",
    );
    let (mut gw, recovery) = gw.crash(&file, &changed, 10);
    assert_eq!((recovery.sessions, recovery.refused), (1, 1));
    gw.pass(3_000).ignore();
    gw.from(&up, &format!("tcp 8.8.8.8:443 > 203.0.113.93:{public} A")).nothing();
    gw.pass(100).to(&a, "tcp 8.8.8.8:443 > 10.1.1.7:5000 A");
    gw.take_moved();
    gw.from(&up, "tcp 9.9.9.9:5 > 203.0.113.93:2223 A").nothing();
    gw.moved(["flow_miss", "no_service"]);
}

#[test]
fn other_limits_begin_empty() {
    let Site { mut gw, a, up, file, _dir, .. } = start();
    let public = connect(&mut gw, &a, &up, 5000);
    let other = format!("{}\n", config().replacen("flows: ", "flows: 1", 1));
    assert_ne!(other.trim(), config().trim());
    let (mut gw, recovery) = gw.crash(&file, &other, 10);
    assert_eq!(recovery.sessions, 0);
    gw.pass(3_000).ignore();
    gw.take_moved();
    gw.from(&up, &format!("tcp 8.8.8.8:443 > 203.0.113.93:{public} A")).nothing();
    gw.moved(["flow_miss", "no_service"]);
}

#[test]
fn a_connection_to_an_address_of_the_same_vpc_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("flows");
    let config = format!(
        "{SITE}
vips: [{{ id: whole, public_network: public, address: 203.0.113.94 }}]
eips: [{{ id: one, vip: whole, vpc: red, address: 10.1.1.8 }}]
"
    );
    let mut gw = Gateway::start_in(&file, &config, crate::WORKERS);
    let (a, c) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-1", "10.1.1.8", HOST1));
    gw.from(&a, "tcp 10.1.1.7:5000 > 203.0.113.94:443 S").nothing();
    let words = gw.pass(10).words();
    let port = words[0].rsplit_once("203.0.113.94:").unwrap().1.split(' ').next().unwrap().to_owned();
    let (mut gw, recovery) = gw.crash(&file, &config, 10);
    assert_eq!((recovery.sessions, recovery.refused, recovery.halves), (1, 0, 0));
    gw.pass(3_000).ignore();
    // Each of both has to be found again.
    gw.from(&a, "tcp 10.1.1.7:5000 > 203.0.113.94:443 A").nothing();
    gw.pass(100).to(&c, &format!("tcp 203.0.113.94:{port} > 10.1.1.8:443 A"));
    gw.from(&c, &format!("tcp 10.1.1.8:443 > 203.0.113.94:{port} A")).nothing();
    gw.pass(100).to(&a, "tcp 203.0.113.94:443 > 10.1.1.7:5000 A");
    assert_eq!(gw.nat_usage().blocks, 1);
}
