//! What comes from the networks of one VPC never gets into those of another, whatever both are configured to be.

use proptest::prelude::*;
use tidegate_tests::{
    fuzz,
    gateway::{Gateway, Station},
    packet,
};

use crate::packets;

/// One subnet: which of the overlapping prefixes, and on what.
#[derive(Clone, Copy, Debug)]
struct Subnet {
    prefix: u8,
    on: On,
}

#[derive(Clone, Copy, Debug)]
enum On {
    Pool,
    OtherPool,
    Vlan,
}

fn subnets() -> impl Strategy<Value = Vec<Subnet>> {
    let on = prop::sample::select(vec![On::Pool, On::OtherPool, On::Vlan]);
    let subnet = (1u8..5, on).prop_map(|(prefix, on)| Subnet { prefix, on });
    prop::collection::vec(subnet, 1..4).prop_map(|mut subnets| {
        subnets.sort_by_key(|subnet| subnet.prefix);
        subnets.dedup_by_key(|subnet| subnet.prefix);
        subnets
    })
}

const HEAD: &str = r#"
gateway:
  workers: [1]
  ports:
    - { id: underlay, device: mem0, mtu: 1600, mac: "02:00:00:00:00:01", addresses: [172.31.0.1/16] }
    - { id: lan, device: mem1, mac: "02:00:00:00:00:02" }
    - { id: wan, device: mem2, mac: "02:00:00:00:00:03" }
  limits: { flows: 1024, neighbours: 512, networks: 32, ring: 256 }
vxlan_pools:
  - { id: pool, vni_range: 1-200, vtep_cidr: 172.31.0.0/16, udp_port: 8472, remote_vteps: [172.31.1.1, 172.31.2.1] }
  - { id: other, vni_range: 1-200, vtep_cidr: 172.31.0.0/16, udp_port: 4789, remote_vteps: [172.31.1.1] }
public_networks:
  - { id: public, port: wan, cidr: 203.0.113.0/24, gateway: 203.0.113.1, address: 203.0.113.2 }
vpc_routers:
  - { id: a, flow_tracking: TRACKED }
  - { id: b }
vpc_networks:
"#;

/// `first` is what the numbers of a VPC begin with, so that no VNI or VLAN is used twice.
fn networks(vpc: &str, first: u8, subnets: &[Subnet]) -> String {
    let network = |s: &Subnet| {
        let n = first + s.prefix;
        let on = match s.on {
            On::Pool => format!("vxlan: {{ pool: pool, vni: {n} }}, mtu: 1500"),
            On::OtherPool => format!("vxlan: {{ pool: other, vni: {n} }}, mtu: 1500"),
            On::Vlan => format!("vlan: {{ port: lan, id: {n} }}"),
        };
        let p = s.prefix;
        format!("  - {{ id: {vpc}-{p}, vpc: {vpc}, cidr: 10.1.{p}.0/24, gateway: 10.1.{p}.1, {on} }}\n")
    };
    subnets.iter().map(network).collect()
}

/// Routes of `a`, some of which cannot be in force; `b` is reached from outside.
const ROUTES: [&str; 5] = [
    "  - { vpc: a, destination: 0.0.0.0/0, via_public: public }\n",
    "  - { vpc: a, destination: 10.1.0.0/16, via_public: public }\n",
    "  - { vpc: a, destination: 10.1.2.0/23, blackhole: true }\n",
    "  - { public_network: public, destination: 10.1.1.0/24, via_vpc: a }\n",
    "  - { vpc: b, destination: 0.0.0.0/0, via_public: public }\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_gets_from_one_vpc_into_another(
        (a, b) in (subnets(), subnets()),
        routes in prop::sample::subsequence(ROUTES.to_vec(), 0..=ROUTES.len()),
        tracked in any::<bool>(),
        workers in 1usize..3,
        sent in prop::collection::vec((any::<usize>(), inside(), packets::damage(), any::<bool>()), 1..60),
    ) {
        let head = HEAD.replace("TRACKED", &tracked.to_string());
        let routes = if routes.is_empty() { String::new() } else { format!("routes:\n{}", routes.concat()) };
        let config = format!("{head}{}{}{routes}", networks("a", 100, &a), networks("b", 150, &b));
        let mut gw = Gateway::start(&config, workers);
        let mut vms = |vpc: &str, subnets: &[Subnet]| -> Vec<Station> {
            let net = |s: &Subnet| (format!("{vpc}-{}", s.prefix), s.prefix);
            subnets
                .iter()
                .map(net)
                .flat_map(|(net, p)| [gw.vm(&net, &format!("10.1.{p}.7"), "172.31.1.1"), gw.vm(&net, &format!("10.1.{p}.9"), "172.31.1.1")])
                .collect()
        };
        // Everybody in `b` is known, so that a packet that got there would be sent at once.
        let (from, _) = (vms("a", &a), vms("b", &b));
        let tables = gw.tables();
        let foreign = gw.net(&format!("b-{}", b[0].prefix)).vrf;
        for (who, text, damage, pass) in &sent {
            let who = &from[who % from.len()];
            // Damage behind the headers that say which network it is from.
            let headers = packet::frame(&who.sends("hex 00").replace("| hex", "type=0800 | hex")).unwrap_or_default().len();
            let whole = packet::frame(&who.sends(text)).unwrap();
            let damage: Vec<(usize, u8)> = damage.iter().map(|(at, b)| (at + headers.max(64), *b)).collect();
            let damage = if whole.len() > 200 { damage } else { Vec::new() };
            let frames = gw.arrive(who.port, &[packets::damaged(whole, &damage)]).by_port();
            let more = if *pass { gw.pass(6).by_port() } else { Vec::new() };
            for (port, bytes) in frames.into_iter().chain(more) {
                let net = fuzz::check(&tables, gw.port(&port), &bytes);
                prop_assert_ne!(net.vrf, foreign, "{} got out as {}", text, packet::describe(&bytes));
            }
            prop_assert!(gw.delivered_to().all(|table| table != "b"));
        }
    }
}

fn inside() -> impl Strategy<Value = String> {
    prop_oneof![8 => packets::ipv4(packets::address()), 1 => packets::arp()]
}
