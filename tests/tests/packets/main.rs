//! Packets in, packets out, counters: the gateway as an operator configures it, in this process. See `docs/testing.md`.
//!
//! Addresses carry meaning: VMs 10.<vpc>.<subnet>.<vm>, hosts 172.31.<host>.1, the world RFC 5737.

mod arp;
mod change;
mod drops;
mod icmp;
mod link;
mod route;
mod vxlan;

use tidegate_tests::gateway::TestGateway;

/// Two VPCs with the same addresses, a VLAN, a public network.
const CONFIG: &str = r#"
gateway:
  workers: [1]
  ports:
    - { id: underlay, device: mem0, mtu: 1600, addresses: [172.31.0.1/16] }
    - { id: public, device: mem1 }
    - { id: lan, device: mem2 }
  limits: { flows: 4096, neighbours: 256, networks: 64 }
vxlan_pools:
  - { id: pool, vni_range: 100-2500, vtep_cidr: 172.31.0.0/16, udp_port: 8472, remote_vteps: [172.31.1.1, 172.31.2.1] }
public_networks:
  - { id: world, port: public, cidr: 203.0.113.0/24, gateway: 203.0.113.1, address: 203.0.113.2 }
vpc_routers:
  - { id: vpc-1 }
  - { id: vpc-2 }
vpc_networks:
  - { id: net-11, vpc: vpc-1, cidr: 10.1.1.0/24, gateway: 10.1.1.1, vxlan: { pool: pool, vni: 101 }, mtu: 1500 }
  - { id: net-12, vpc: vpc-1, cidr: 10.1.2.0/24, gateway: 10.1.2.1, vxlan: { pool: pool, vni: 102 }, mtu: 1400 }
  - { id: net-13, vpc: vpc-1, cidr: 10.1.3.0/24, gateway: 10.1.3.1, vlan: { port: lan, id: 100 } }
  - { id: net-21, vpc: vpc-2, cidr: 10.1.1.0/24, gateway: 10.1.1.1, vxlan: { pool: pool, vni: 201 } }
  - { id: net-22, vpc: vpc-2, cidr: 10.1.2.0/24, gateway: 10.1.2.1, vxlan: { pool: pool, vni: 202 } }
routes:
  - { vpc: vpc-1, destination: 10.99.0.0/16, blackhole: true }
  - { vpc: vpc-1, destination: 10.98.0.0/16, next_hop: 10.1.2.8 }
  - { vpc: vpc-1, destination: 198.51.100.0/24, via_public: world }
  - { public_network: world, destination: 10.1.1.0/24, via_vpc: vpc-1 }
"#;

/// The gateway of [`CONFIG`] with hosts `host1`, `host2`, VMs `a` 10.1.1.7, `b` 10.1.2.8, `c` 10.1.3.9 (VLAN) of vpc-1, `x`
/// 10.1.1.7 and `y` 10.1.2.8 of vpc-2, and `router` 203.0.113.1.
fn gateway() -> TestGateway {
    gateway_of(CONFIG)
}

fn gateway_of(config: &str) -> TestGateway {
    let mut gw = TestGateway::new(config);
    gw.neighbour("host1", "172.31.1.1", "02:ac:1f:00:01:01").neighbour(
        "host2",
        "172.31.2.1",
        "02:ac:1f:00:02:01",
    );
    gw.vm("a", 101, "10.1.1.7", "02:00:00:01:01:07", "host1").vm(
        "b",
        102,
        "10.1.2.8",
        "02:00:00:01:02:08",
        "host2",
    );
    gw.neighbour("c", "10.1.3.9", "02:00:00:01:03:09");
    gw.vm("x", 201, "10.1.1.7", "02:00:00:02:01:07", "host1").vm(
        "y",
        202,
        "10.1.2.8",
        "02:00:00:02:02:08",
        "host2",
    );
    gw.neighbour("router", "203.0.113.1", "02:00:00:00:03:01");
    // Tunnel ends and next hops that were asked for before they were there are asked again.
    drop(gw.wait_ms(5000).texts());
    gw.forget();
    gw
}

/// [`CONFIG`] with one piece of text replaced by another.
fn config_with(old: &str, new: &str) -> String {
    assert!(CONFIG.contains(old), "`{old}` is not in the configuration");
    CONFIG.replacen(old, new, 1)
}

/// Exchanges a packet between `a` and `b`, so that everybody is known, and forgets what counters moved.
fn warm(gw: &mut TestGateway) {
    gw.from("a", "udp 10.1.1.7:1 > 10.1.2.8:1").to("b", "udp 10.1.1.7:1 > 10.1.2.8:1");
    gw.from("b", "udp 10.1.2.8:1 > 10.1.1.7:1").to("a", "udp 10.1.2.8:1 > 10.1.1.7:1");
    gw.forget();
}
