mod nat;

use std::fmt::Write;

use proptest::prelude::*;
use tidegate_fastpath::table::fib::Hop;

use super::{routes::RouteKind, *};
use crate::config::{Id, TableKey, parse};

/// A VPC with its networks: id, the first three numbers of the subnet, VNI.
type VpcText<'a> = (&'a str, &'a [(&'a str, &'a str, u32)]);

fn yaml(vpcs: &[VpcText<'_>], routes: &str) -> String {
    let mut text = "\
gateway:
  limits: { networks: 20000 }
  ports:
    - { id: under, device: a, mtu: 1600, addresses: [172.31.0.2/24, 172.31.0.1/24], gateway: 172.31.0.254 }
    - { id: pub, device: b }
vxlan_pools: [{ id: pool, vni_range: 1-16777215, vtep_cidr: 172.31.0.0/24, udp_port: 8472 }]
public_networks: [{ id: inet, port: pub, vlan: 7, cidr: 203.0.113.0/24, gateway: 203.0.113.1, address: 203.0.113.2 }]
vpc_routers:
"
    .to_owned();
    for (vpc, _) in vpcs {
        let _ = writeln!(text, "  - {{ id: {vpc} }}");
    }
    text += "vpc_networks:\n";
    for (vpc, (id, subnet, vni)) in vpcs.iter().flat_map(|(vpc, nets)| nets.iter().map(move |net| (vpc, net)))
    {
        let _ = writeln!(
            text,
            "  - {{ id: {id}, vpc: {vpc}, cidr: {subnet}.0/24, gateway: {subnet}.1, vxlan: {{ pool: pool, vni: {vni} }} }}"
        );
    }
    text + "routes:\n" + routes
}

fn desired(text: &str, previous: Option<&Desired>) -> Desired {
    let config = parse(text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    previous.map_or_else(|| Desired::new(config.clone()), |previous| previous.next(config.clone()))
}

fn facts() -> Facts {
    let port = |n: u64| PortFact { mac: MacAddr::from_u64(0x0200_0000_0000 + n), up: true };
    Facts {
        ports: HashMap::from([(PortId(0), port(1)), (PortId(1), port(2))]),
        unreachable: HashSet::new(),
        ..Facts::default()
    }
}

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn vrf(desired: &Desired, vpc: &str) -> VrfId {
    desired.vrf(&TableKey::Vpc(id(vpc))).unwrap()
}

const TWO: &[VpcText<'static>] =
    &[("vpc-1", &[("a", "10.1.1", 1), ("b", "10.1.2", 2)]), ("vpc-2", &[("c", "10.1.1", 3)])];
const OUT: &str = "  - { vpc: vpc-1, destination: 0.0.0.0/0, via_public: inet }\n";

#[test]
fn workers_get_what_the_document_says() {
    let desired = desired(&yaml(TWO, OUT), None);
    let compiled = compile(&desired, &facts(), None);
    let tables = &compiled.tables;
    let a = desired.net(&NetKey::Vpc(id("a"))).unwrap();
    let under = desired.net(&NetKey::Port(id("under"))).unwrap();
    let inet = desired.net(&NetKey::Public(id("inet"))).unwrap();

    let vteps: Vec<Vtep> =
        vec![Vtep { address: Ipv4Addr::new(172, 31, 0, 2), udp_port: 8472, underlay: under }];
    assert_eq!((&tables.vteps, tables.vnis.lookup(VtepId(0), 1)), (&vteps, a));
    let net = tables.net(a).unwrap();
    assert_eq!(
        (net.mtu.get(), net.address, net.mac.octets()[0]),
        (1550, Some(Ipv4Addr::new(10, 1, 1, 1)), 0x02)
    );
    let net = tables.net(under).unwrap();
    let ours = [Ipv4Addr::new(172, 31, 0, 1), Ipv4Addr::new(172, 31, 0, 2)];
    assert_eq!((&net.addresses[..], net.address, net.mac.octets()[5]), (&ours[..], Some(ours[1]), 1));
    assert_eq!((tables.ports[0].untagged, tables.ports[1].untagged), (under, NetId::NONE));
    let vlans = tables.ports[1].vlans.as_deref().unwrap();
    assert_eq!((vlans.len(), vlans[7], vlans[8]), (4096, inet, NetId::NONE));
    assert!(tables.net(NetId::NONE).is_none());

    let out = Ipv4Addr::new(198, 51, 100, 1);
    let public = desired.vrf(&TableKey::Public(id("inet"))).unwrap();
    assert_eq!(tables.vrf(vrf(&desired, "vpc-1")).unwrap().fib.lookup(out), Hop::Leak(public));
    assert_eq!(tables.vrf(vrf(&desired, "vpc-2")).unwrap().fib.lookup(out), Hop::NoRoute);
    assert_eq!(tables.vrf(public).unwrap().fib.lookup(out), Hop::Via(inet, Ipv4Addr::new(203, 0, 113, 1)));
    let default = compiled.routes(crate::desired::UNDERLAY).last().unwrap().view(&desired);
    assert_eq!(
        (default.table.as_str(), default.target.as_str(), default.in_force),
        ("underlay", "172.31.0.254", true)
    );
    assert_eq!(default.network.as_deref(), Some("under"));
    let next_hops: Vec<_> = compiled.next_hops().collect();
    assert_eq!(next_hops, [(under, Ipv4Addr::new(172, 31, 0, 254)), (inet, Ipv4Addr::new(203, 0, 113, 1))]);
}

#[test]
fn without_facts_every_network_is_down_and_nothing_is_lost() {
    let desired = desired(&yaml(TWO, OUT), None);
    let compiled = compile(&desired, &Facts::default(), None);
    let routes = compiled.routes(vrf(&desired, "vpc-1"));
    let shown: Vec<(bool, Option<String>)> =
        routes.iter().map(|route| (route.in_force(), route.view(&desired).reason)).collect();
    let down = |net: &str| (false, Some(format!("network {net} is down")));
    assert_eq!(shown, [(true, None), down("a"), (true, None), down("b"), (true, None)]);
}

/// Which of the tables' `Arc`s and generations differ between two results.
fn differs(desired: &Desired, old: &Compiled, new: &Compiled) -> (Vec<String>, Vec<String>) {
    let nets = desired.nets().filter(|(net, _)| {
        let of = |c: &Compiled| c.tables.nets.get(net.index()).cloned().flatten();
        !matches!((of(old), of(new)), (Some(a), Some(b)) if Arc::ptr_eq(&a, &b))
    });
    let vrfs = desired.vrfs().filter(|(vrf, _)| {
        let of = |c: &Compiled| c.tables.vrfs.get(vrf.index()).cloned().flatten();
        match (of(old), of(new)) {
            (Some(a), Some(b)) => {
                assert_eq!(
                    Arc::ptr_eq(&a, &b),
                    a.generation == b.generation,
                    "a new table has a new generation"
                );
                !Arc::ptr_eq(&a, &b)
            }
            _ => true,
        }
    });
    (nets.map(|(_, key)| key.to_string()).collect(), vrfs.map(|(_, key)| key.to_string()).collect())
}

#[test]
fn only_what_a_change_concerns_gets_a_new_generation() {
    let text = yaml(TWO, OUT);
    let first = desired(&text, None);
    let old = compile(&first, &facts(), None);
    let after = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let next = desired(&text.replace(from, to), Some(&first));
        let (nets, vrfs) = differs(&next, &old, &compile(&next, &facts(), Some(&old)));
        (nets.join(" "), vrfs.join(" "))
    };
    let expect = |nets: &str, vrfs: &str| (nets.to_owned(), vrfs.to_owned());
    assert_eq!(after("vpc_routers", "vpc_routers"), expect("", ""), "the same again");
    assert_eq!(after("10.1.2.1,", "10.1.2.9,"), expect("b", "vpc-1"), "an address");
    assert_eq!(after("vni: 3 }", "vni: 3 }, mtu: 1400"), expect("c", "vpc-2"), "an MTU");
    assert_eq!(
        after("{ id: vpc-2 }", "{ id: vpc-2, flow_tracking: false }"),
        expect("", "vpc-2"),
        "tracking"
    );
    assert_eq!(
        after("address: 203.0.113.2", "address: 203.0.113.9"),
        expect("inet", "inet vpc-1"),
        "a leak's target"
    );
    assert_eq!(after("gateway: 203.0.113.1", "gateway: 203.0.113.7"), expect("", "inet vpc-1"), "its routes");
    assert_eq!(after("{ id: vpc-2 }", "{ id: vpc-2, account: me }"), expect("", ""), "a name");
    assert_eq!(after(OUT, ""), expect("", "vpc-1"), "a route");
    assert_eq!(
        after("address: 203", "mtu: 1400, address: 203"),
        expect("inet", "inet vpc-1"),
        "a port network"
    );
}

#[test]
fn a_number_that_is_used_again_has_a_generation_of_its_own() {
    let small =
        |net: &str| yaml(&[("vpc-1", &[(net, "10.1.1", 1)])], "").replace("networks: 20000", "networks: 16");
    let mut desired = desired(&small("n0"), None);
    let mut compiled = compile(&desired, &facts(), None);
    let mut seen: HashMap<NetId, HashSet<u32>> = HashMap::new();
    for i in 1..40 {
        desired = self::desired(&small(&format!("n{i}")), Some(&desired));
        compiled = compile(&desired, &facts(), Some(&compiled));
        let net = desired.net(&NetKey::Vpc(id(&format!("n{i}")))).unwrap();
        let generation = compiled.tables.vrf(vrf(&desired, "vpc-1")).unwrap().generation;
        assert!(seen.entry(net).or_default().insert(generation), "{net} {generation}");
        assert!(net.0 <= 16 && compiled.tables.nets.iter().flatten().count() == 3);
    }
}

#[test]
fn facts_change_routes_and_only_them() {
    let routes = "  - { vpc: vpc-1, destination: 10.9.0.0/16, next_hop: 10.1.2.9 }\n";
    let desired = desired(&yaml(TWO, routes), None);
    let old = compile(&desired, &facts(), None);
    let b = desired.net(&NetKey::Vpc(id("b"))).unwrap();
    let mut silent = facts();
    silent.unreachable.insert((b, Ipv4Addr::new(10, 1, 2, 9)));
    let new = compile(&desired, &silent, Some(&old));
    assert_eq!(differs(&desired, &old, &new), (vec![], vec!["vpc-1".to_owned()]));
    let lookup =
        |c: &Compiled| c.tables.vrf(vrf(&desired, "vpc-1")).unwrap().fib.lookup(Ipv4Addr::new(10, 9, 0, 1));
    assert_eq!((lookup(&old), lookup(&new)), (Hop::Via(b, Ipv4Addr::new(10, 1, 2, 9)), Hop::NoRoute));
    assert!(new.next_hops().any(|hop| hop == (b, Ipv4Addr::new(10, 1, 2, 9))), "it is still asked for");
    let mut down = facts();
    down.ports.insert(PortId(0), PortFact { up: false, ..facts().ports[&PortId(0)] });
    let (nets, vrfs) = differs(&desired, &old, &compile(&desired, &down, Some(&old)));
    assert_eq!((nets, vrfs.join(" ")), (vec![], "underlay vpc-1 vpc-2".to_owned()));
}

#[test]
fn macs_are_local_unicast_and_the_same_on_every_machine() {
    let mac = mac_of(&id("vpc-1-1"));
    assert_eq!(mac.to_string(), "02:54:47:9d:31:d2", "stable by definition: this value may never change");
    assert_ne!(mac, mac_of(&id("vpc-1-2")));
}

/// Random VPCs with the same addresses, random routes between what is there.
fn environment() -> impl Strategy<Value = String> {
    let nets = prop::collection::vec(prop::collection::btree_set(0u8..6, 0..4), 1..5);
    let routes = prop::collection::vec((0u8..5, 0u8..9, 0u8..6, 2u8..5, 0u8..5, 1u8..4), 0..12);
    (nets, routes).prop_map(|(nets, routes)| {
        let mut text = yaml(&[], "");
        let (mut vpcs, mut networks, mut lines) = (String::new(), String::new(), String::new());
        let mut vni = 0;
        for (v, subnets) in nets.iter().enumerate() {
            let _ = writeln!(vpcs, "  - {{ id: v{v} }}");
            for n in subnets {
                vni += 1;
                let _ = writeln!(networks, "  - {{ id: n{vni}, vpc: v{v}, cidr: 10.{n}.0.0/16, gateway: 10.{n}.0.1, vxlan: {{ pool: pool, vni: {vni} }} }}");
            }
        }
        for (v, destination, via, host, kind, priority) in routes {
            let (v, destination) = (usize::from(v) % nets.len(), format!("10.{destination}.{host}.0/24"));
            let target = match kind {
                0 => "blackhole: true".to_owned(),
                1 => "via_public: inet".to_owned(),
                2 => {
                    let _ = writeln!(lines, "  - {{ public_network: inet, destination: {destination}, via_vpc: v{v}, priority: {priority} }}");
                    continue;
                }
                _ => format!("next_hop: 10.{via}.{host}.9"),
            };
            let _ = writeln!(lines, "  - {{ vpc: v{v}, destination: {destination}, {target}, priority: {priority} }}");
        }
        text = text.replace("vpc_routers:\n", &format!("vpc_routers:\n{vpcs}"));
        text = text.replace("vpc_networks:\n", &format!("vpc_networks:\n{networks}"));
        text + &lines
    })
}

/// Whose network it is, by the document.
fn owner(desired: &Desired, net: NetId) -> Option<TableKey> {
    match desired.net_key(net)? {
        NetKey::Port(_) => Some(TableKey::Underlay),
        NetKey::Public(id) => Some(TableKey::Public(id.clone())),
        NetKey::Vpc(id) => {
            let network = desired.config().networks.iter().find(|network| network.id == *id)?;
            Some(TableKey::Vpc(network.vpc.clone()))
        }
    }
}

/// Drops the routes that the check refuses, one problem after the other.
fn repaired(mut text: String) -> Desired {
    loop {
        let problems = match parse(&text) {
            Ok(config) => return Desired::new(config),
            Err(problems) => problems,
        };
        let first = &problems.0[0];
        let index: usize = first
            .path
            .strip_prefix("routes[")
            .and_then(|rest| rest.split(']').next())
            .and_then(|index| index.parse().ok())
            .unwrap_or_else(|| panic!("only routes may be wrong: {first}\n{text}"));
        let (head, routes) = text.split_once("routes:\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let kept: Vec<&str> =
            routes.lines().enumerate().filter(|(i, _)| *i != index).map(|(_, l)| l).collect();
        text = format!("{head}routes:\n{}\n", kept.join("\n"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nothing_crosses_vpcs(text in environment(), silent in prop::collection::vec((0u16..20, 0u8..6, 2u8..5), 0..6)) {
        let desired = repaired(text);
        let mut facts = facts();
        facts.unreachable.extend(silent.iter().map(|(net, a, b)| (NetId(*net), Ipv4Addr::new(10, *a, *b, 9))));
        let compiled = compile(&desired, &facts, None);
        for (vrf, key) in desired.vrfs() {
            let built = compiled.built[vrf.index()].as_ref().unwrap();
            for (prefix, hop) in built.entries.iter() {
                let inside = |net: NetId| {
                    owner(&desired, net).as_ref() == Some(key) && compiled.tables.net(net).unwrap().vrf == vrf
                };
                let legal = match *hop {
                    Hop::Local(net) | Hop::Connected(net) => inside(net),
                    Hop::Via(net, ip) => inside(net) && compiled.tables.net(net).unwrap().prefix.contains(&ip),
                    Hop::Blackhole | Hop::Broadcast => true,
                    Hop::Leak(to) => match (key, desired.vrf_key(to).unwrap()) {
                        (TableKey::Vpc(_), TableKey::Public(_)) | (TableKey::Public(_), TableKey::Vpc(_)) => {
                            desired.config().routes.iter().any(|r| r.table == *key && r.destination == *prefix)
                        }
                        _ => false,
                    },
                    // This environment has no services; `nat` has.
                    Hop::Exit | Hop::Vip(_) | Hop::NoRoute => false,
                };
                prop_assert!(legal, "{key}: {prefix} {hop:?}");
            }
            // Every configured route is listed once, and those in force are what the FIB has.
            let configured = desired.config().routes.iter().filter(|route| route.table == *key).count();
            let listed = compiled.routes(vrf);
            let static_routes = listed.iter().filter(|r| !matches!(r.kind, RouteKind::Local | RouteKind::Connected)).count();
            let gateways = usize::from(!matches!(key, TableKey::Vpc(_)));
            prop_assert_eq!(static_routes, configured + gateways);
            let in_force = listed.iter().filter(|route| route.in_force()).count();
            let broadcasts = built.entries.iter().filter(|(_, hop)| *hop == Hop::Broadcast).count();
            prop_assert_eq!(in_force + broadcasts, built.entries.len());
        }
    }

    #[test]
    fn compiling_on_the_last_result_gives_the_same_tables_as_compiling_afresh(one in environment(), two in environment()) {
        let first = repaired(one);
        let old = compile(&first, &facts(), None);
        let second = first.next(repaired(two).config().clone());
        let (fresh, reused) = (compile(&second, &facts(), None), compile(&second, &facts(), Some(&old)));
        prop_assert_eq!(&fresh.tables.nets, &reused.tables.nets);
        prop_assert_eq!(&fresh.routes, &reused.routes);
        prop_assert_eq!(&fresh.vnis, &reused.vnis);
        for (vrf, _) in second.vrfs() {
            let (a, b) = (fresh.tables.vrf(vrf).unwrap(), reused.tables.vrf(vrf).unwrap());
            for destination in [0x0a00_0001u32, 0x0a01_0209, 0x0a02_0309, 0x0a05_ffff, 0xc633_6401, 0xcb00_7102] {
                let destination = Ipv4Addr::from(destination);
                prop_assert_eq!(a.fib.lookup(destination), b.fib.lookup(destination));
            }
        }
    }
}
