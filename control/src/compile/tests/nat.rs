//! Public addresses and who uses them, as workers see it.

use std::collections::BTreeMap;

use tidegate_fastpath::{
    table::nat::{Inside, Leave, Owner, Quotas, Space, Vip},
    types::VipId,
};

use super::{super::routes::RouteView, *};

const SERVICES: &str = "\
nics:
  - { id: n1, network: a, address: 10.1.1.5 }
  - { id: n2, network: c, address: 10.1.1.5 }
vips:
  - { id: v3, public_network: inet, address: 203.0.113.95 }
  - { id: v2, public_network: inet, address: 203.0.113.94 }
  - { id: v1, public_network: inet, address: 203.0.113.93 }
  - { id: v9, public_network: inet, address: 203.0.113.9 }
snats:
  - { id: s1, vpc: vpc-1, vips: [v1] }
  - { id: s2, network: b, vips: [v1], ports_per_vm: 64 }
eips:
  - { id: e1, vip: v2, nic: n1 }
port_forwards:
  - { id: p2, vip: v1, protocol: tcp, ports: 2223-2224, vpc: vpc-1, address: 10.1.2.7, target_ports: 23-24 }
  - { id: p1, vip: v1, protocol: tcp, ports: 2222, nic: n1, target_ports: 23, allowed_cidr: 198.51.100.0/24 }
  - { id: p3, vip: v3, protocol: udp, ports: 53, nic: n2 }
";

fn text() -> String {
    yaml(TWO, "") + SERVICES
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn vip<'a>(desired: &Desired, compiled: &'a Compiled, name: &str) -> &'a Arc<Vip> {
    compiled.tables.vips[desired.vip(&id(name)).unwrap().index()].as_ref().unwrap()
}

#[test]
fn each_slice_has_the_owner_that_the_document_names() {
    let desired = desired(&text(), None);
    let compiled = compile(&desired, &facts(), None);
    let [one, two] = ["vpc-1", "vpc-2"].map(|vpc| vrf(&desired, vpc));
    let shared = vip(&desired, &compiled, "v1");
    let cases =
        [(1, 7, None), (6, 80, None), (6, 2222, Some(("10.1.1.5", 23))), (6, 2224, Some(("10.1.2.7", 24)))];
    for (protocol, port, expected) in cases {
        let found = match shared.owner(protocol, port) {
            Owner::Forward(f) => Some((f.to, f.target_port(port))),
            Owner::Snat => None,
            other => panic!("{protocol} {port}: {other:?}"),
        };
        let expected = expected.map(|(address, port)| (Inside { vrf: one, address: ip(address) }, port));
        assert_eq!(found, expected, "{protocol} {port}");
        assert_eq!(shared.holds(protocol, port), expected.is_some(), "SNAT takes only the rest");
    }
    let allowed: Vec<String> = shared.forwards.iter().map(|f| f.allowed.to_string()).collect();
    assert_eq!(allowed, ["198.51.100.0/24", "0.0.0.0/0"], "sorted by port");
    let vm = |vrf| Inside { vrf, address: ip("10.1.1.5") };
    assert_eq!(vip(&desired, &compiled, "v2").owner(47, 0), Owner::Eip(vm(one)));
    assert!(matches!(vip(&desired, &compiled, "v3").owner(17, 53), Owner::Forward(f) if f.to == vm(two)));
}

#[test]
fn a_vm_leaves_by_its_eip_then_its_network_then_its_vpc() {
    let desired = desired(&text(), None);
    let compiled = compile(&desired, &facts(), None);
    let tables = &compiled.tables;
    let [a, b, c] = ["a", "b", "c"].map(|net| desired.net(&NetKey::Vpc(id(net))).unwrap());
    let out = ip("198.51.100.1");
    let exit = |vpc| tables.vrf(vrf(&desired, vpc)).unwrap().exit.as_ref().unwrap();
    let leave = |vpc, net, source, to| match exit(vpc).leave(net, ip(source), to) {
        Some(Leave::Eip(vip)) => format!("as {}", desired.vip_key(vip).unwrap()),
        Some(Leave::Snat(snat)) => {
            let vips: Vec<String> =
                snat.vips.iter().map(|v| desired.vip_key(*v).unwrap().to_string()).collect();
            format!("behind {} with {}", vips.join(" "), snat.blocks_per_vm)
        }
        None => "as it is".to_owned(),
    };
    assert_eq!(leave("vpc-1", a, "10.1.1.5", out), "as v2");
    assert_eq!(leave("vpc-1", a, "10.1.1.6", out), "behind v1 with 32");
    assert_eq!(leave("vpc-1", b, "10.1.2.6", out), "behind v1 with 1");
    assert_eq!(leave("vpc-2", c, "10.1.1.5", out), "as it is");
    assert_eq!(leave("vpc-2", c, "10.1.1.5", ip("203.0.113.95")), "behind v3 with 32", "hairpin");
    let serves = |vpc, vm, protocol| exit(vpc).serves(ip(vm), protocol);
    assert!(serves("vpc-2", "10.1.1.5", 17) && !serves("vpc-2", "10.1.1.5", 6));
    assert!(!serves("vpc-2", "10.1.1.6", 17) && !serves("vpc-1", "10.1.1.6", 17), "no service leads there");
}

#[test]
fn routes_lead_to_vips_and_out_of_vpcs() {
    let text = text();
    let desired = desired(&text, None);
    let compiled = compile(&desired, &facts(), None);
    let lookup = |vrf, to: &str| compiled.tables.vrf(vrf).unwrap().fib.lookup(ip(to));
    let inet = desired.vrf(&TableKey::Public(id("inet"))).unwrap();
    let v1 = desired.vip(&id("v1")).unwrap();
    assert_eq!(lookup(inet, "203.0.113.93"), Hop::Vip(v1));
    assert!(matches!(lookup(inet, "203.0.113.2"), Hop::Local(_)), "our own address stays ours");
    assert!(matches!(lookup(inet, "203.0.113.77"), Hop::Connected(_)));
    let out = |vpc| ["198.51.100.1", "203.0.113.93", "203.0.113.95"].map(|to| lookup(vrf(&desired, vpc), to));
    assert_eq!(out("vpc-1"), [Hop::Exit; 3], "SNAT: everything");
    assert_eq!(out("vpc-2"), [Hop::Exit; 3], "port forwards only: their answers");
    let shown = |vrf| {
        let views = compiled.routes(vrf).iter().map(|route| route.view(&desired));
        let services = views.filter(|view| matches!(view.kind, RouteKind::Exit | RouteKind::Vip));
        let words = |v: RouteView| {
            format!("{} {} {} {:?} {}", v.destination, v.kind, v.target, v.priority, v.in_force)
        };
        services.map(words).collect::<Vec<_>>()
    };
    assert_eq!(
        shown(vrf(&desired, "vpc-1")),
        [
            "203.0.113.93/32 exit v1 None true",
            "203.0.113.94/32 exit v2 None true",
            "0.0.0.0/0 exit exit Some(255) true",
        ]
    );
    assert_eq!(shown(inet)[0], "203.0.113.93/32 vip v1 None true");
}

#[test]
fn a_configured_default_route_wins_and_a_vip_cannot_be_shadowed() {
    let routes = [
        "  - { vpc: vpc-1, destination: 0.0.0.0/0, next_hop: 10.1.2.9, priority: 254 }\n",
        "  - { vpc: vpc-1, destination: 203.0.113.93/32, next_hop: 10.1.2.9, priority: 1 }\n",
    ];
    let desired = desired(&(yaml(TWO, &routes.concat()) + SERVICES), None);
    let compiled = compile(&desired, &facts(), None);
    let fib = &compiled.tables.vrf(vrf(&desired, "vpc-1")).unwrap().fib;
    assert!(matches!(fib.lookup(ip("198.51.100.1")), Hop::Via(..)));
    assert_eq!(fib.lookup(ip("203.0.113.93")), Hop::Exit);
    let why: Vec<String> =
        compiled.routes(vrf(&desired, "vpc-1")).iter().filter_map(|r| Some(r.why_not?.to_string())).collect();
    assert_eq!(why, ["shadowed by the exit route", "shadowed by a static route of priority 254"]);
}

#[test]
fn arp_answers_for_vips_and_errors_come_from_the_networks_own_address() {
    let with = desired(&text(), None);
    let compiled = compile(&with, &facts(), None);
    let inet = compiled.tables.net(with.net(&NetKey::Public(id("inet"))).unwrap()).unwrap();
    assert_eq!(inet.address, Some(ip("203.0.113.2")));
    let ours = ["203.0.113.2", "203.0.113.9", "203.0.113.93", "203.0.113.94", "203.0.113.95"].map(ip);
    assert_eq!(inet.addresses[..], ours);
    let namespaces = crate::local::wanted(&with, &compiled);
    let public = namespaces.iter().find(|n| n.name == "tgpub-inet").unwrap();
    assert_eq!(public.addresses, [ip("203.0.113.2")], "programs of the gateway do not get what is for VIPs");

    let without = desired(&text().replace(", address: 203.0.113.2 }]", " }]"), None);
    let compiled = compile(&without, &facts(), None);
    let inet = compiled.tables.net(without.net(&NetKey::Public(id("inet"))).unwrap()).unwrap();
    assert_eq!(inet.address, Some(ip("203.0.113.9")), "the lowest VIP");
    assert!(crate::local::wanted(&without, &compiled).iter().all(|n| n.name != "tgpub-inet"));
}

#[test]
fn a_vpc_that_translates_is_tracked_and_has_its_quotas() {
    let bounded = "{ id: vpc-2, flow_tracking: false, quotas: { sessions: 9 } }";
    let table = |services: &str| {
        let desired = desired(&(yaml(TWO, "").replace("{ id: vpc-2 }", bounded) + services), None);
        let table = compile(&desired, &facts(), None).tables.vrf(vrf(&desired, "vpc-2")).unwrap().clone();
        (table.tracked, table.quotas, table.exit.is_some())
    };
    let quotas = Quotas { sessions: 9, ..Quotas::default() };
    assert_eq!(table(SERVICES), (true, quotas, true));
    assert_eq!(table(""), (false, quotas, false));
}

#[test]
fn numbers_and_leases_stay_with_their_vip() {
    let first = desired(&text(), None);
    let old = compile(&first, &facts(), None);
    assert!(vip(&first, &old, "v1").leases.take(Space::Tcp, 100, 1));
    let after = |from: &str, to: &str| {
        assert!(text().contains(from), "{from}");
        let next = desired(&text().replace(from, to), Some(&first));
        let new = compile(&next, &facts(), Some(&old));
        let kept = Arc::ptr_eq(&vip(&next, &new, "v1").leases, &vip(&first, &old, "v1").leases);
        (next.vip(&id("v1")) == first.vip(&id("v1")), kept)
    };
    assert_eq!(
        after("  - { id: v3", "  - { id: v0, public_network: inet, address: 203.0.113.90 }\n  - { id: v3"),
        (true, true)
    );
    assert_eq!(after("ports: 2222,", "ports: 2221,"), (true, true), "another service on it");
    assert_eq!(after("203.0.113.93 }", "203.0.113.99 }"), (true, false), "it moved");
    let gone = desired(&yaml(TWO, ""), Some(&first));
    let without = compile(&gone, &facts(), Some(&old));
    let back = desired(&text(), Some(&gone));
    let again = compile(&back, &facts(), Some(&without));
    assert_ne!(back.vip(&id("v1")), first.vip(&id("v1")), "a freed number waits");
    assert_eq!(vip(&back, &again, "v1").leases.used(Space::Tcp), 0);
}

#[test]
fn places_for_leases_are_set_aside_where_snat_needs_them_and_stay() {
    let first = desired(&text(), None);
    let old = compile(&first, &facts(), None);
    let provided =
        |desired, compiled| ["v1", "v2", "v3"].map(|name| vip(desired, compiled, name).leases.is_provided());
    assert_eq!(provided(&first, &old), [true, false, false], "SNAT and forwards, an EIP, forwards");
    let no_snat = SERVICES.lines().filter(|line| !line.contains("vips: [v1]")).collect::<Vec<_>>().join("\n");
    let next = desired(&(yaml(TWO, "") + &no_snat.replace("snats:\n", "")), Some(&first));
    let new = compile(&next, &facts(), Some(&old));
    assert_eq!(provided(&next, &new), [true, false, false], "sessions may still have ports");
    let fresh = compile(&next, &facts(), None);
    assert_eq!(provided(&next, &fresh), [false; 3]);
    // The same leases, which workers know already, when SNAT comes.
    let later = desired(&text(), Some(&next));
    let compiled = compile(&later, &facts(), Some(&fresh));
    assert!(Arc::ptr_eq(&vip(&later, &compiled, "v1").leases, &vip(&next, &fresh, "v1").leases));
    assert_eq!(provided(&later, &compiled), [true, false, false]);
}

#[test]
fn a_service_concerns_its_vpc_and_the_public_network() {
    let routes = "  - { vpc: vpc-2, destination: 198.51.100.0/24, blackhole: true }\n";
    let text = yaml(TWO, routes) + SERVICES;
    let first = desired(&text, None);
    let old = compile(&first, &facts(), None);
    let after = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let next = desired(&text.replace(from, to), Some(&first));
        let (nets, vrfs) = differs(&next, &old, &compile(&next, &facts(), Some(&old)));
        (nets.join(" "), vrfs.join(" "))
    };
    let expect = |nets: &str, vrfs: &str| (nets.to_owned(), vrfs.to_owned());
    let more = "port_forwards:\n  - { id: p4, vip: v1, protocol: tcp, ports: 99, nic: n1 }";
    assert_eq!(after("nics:", "nics:"), expect("", ""), "the same again");
    assert_eq!(
        after("port_forwards:", more),
        expect("", "inet vpc-1"),
        "one more: the other VPC is left alone"
    );
    assert_eq!(
        after("198.51.100.0/24 }\n  - { id: p3", "198.51.100.0/25 }\n  - { id: p3"),
        expect("", "inet vpc-1 vpc-2"),
        "one that changes"
    );
    assert_eq!(
        after("eips:\n  - { id: e1, vip: v2, nic: n1 }\n", ""),
        expect("", "inet vpc-1 vpc-2"),
        "one less"
    );
    assert_eq!(after("ports_per_vm: 64", "ports_per_vm: 640"), expect("", "inet vpc-1"), "how many ports");
    assert_eq!(
        after("{ id: vpc-1 }", "{ id: vpc-1, quotas: { sessions: 7 } }"),
        expect("", "inet vpc-1"),
        "a quota"
    );
    assert_eq!(after("{ id: p1, vip: v1", "{ id: p0, vip: v1"), expect("", ""), "a name");
    assert_eq!(
        after("203.0.113.9 }", "203.0.113.8 }"),
        expect("inet", "inet vpc-1 vpc-2"),
        "a VIP that moves"
    );
    let free = "  - { id: v8, public_network: inet, address: 203.0.113.8 }\nsnats:";
    assert_eq!(after("snats:", free), expect("inet", "inet"), "a VIP that nobody uses yet");
    assert_eq!(
        after("gateway: 203.0.113.1", "gateway: 203.0.113.7"),
        expect("", "inet vpc-1 vpc-2"),
        "the way out"
    );
    assert_eq!(after(routes, ""), expect("", "inet vpc-2"), "a route of a VPC, for what comes in");
}

/// Objects of every kind, many of which do not go together.
fn sections() -> impl Strategy<Value = Vec<(&'static str, Vec<String>)>> {
    let vips = prop::collection::vec((0u8..6, 0u8..2), 1..5);
    let snats = prop::collection::vec((0u8..5, prop::collection::vec(0usize..5, 1..3)), 0..4);
    let eips = prop::collection::vec((0usize..5, 0u8..2, 2u8..6), 0..3);
    let forwards = prop::collection::vec((0usize..5, 0u8..2, 1u16..12, 0u16..4, 0u8..2, 2u8..6), 0..6);
    (vips, snats, eips, forwards).prop_map(|(vips, snats, eips, forwards)| {
        let vip = |at: usize| format!("v{}", at % vips.len());
        let vips_text = vips.iter().enumerate().map(|(i, (address, public))| {
            format!("{{ id: v{i}, public_network: pub{public}, address: 203.0.{public}.{} }}", address + 10)
        });
        let snats = snats.iter().enumerate().map(|(i, (whose, pool))| {
            let whose = if *whose < 2 { format!("vpc: w{whose}") } else { format!("network: n{}", whose % 2) };
            let pool: Vec<String> = pool.iter().map(|at| vip(*at)).collect();
            format!("{{ id: s{i}, {whose}, vips: [{}] }}", pool.join(", "))
        });
        let eips = eips.iter().enumerate().map(|(i, (at, vpc, host))| {
            format!("{{ id: e{i}, vip: {}, vpc: w{vpc}, address: 10.0.0.{host} }}", vip(*at))
        });
        let forwards = forwards.iter().enumerate().map(|(i, (at, protocol, first, more, vpc, host))| {
            let (protocol, last) = (["tcp", "udp"][usize::from(*protocol)], first + more);
            let vip = vip(*at);
            format!("{{ id: p{i}, vip: {vip}, protocol: {protocol}, ports: {first}-{last}, vpc: w{vpc}, address: 10.0.0.{host} }}")
        });
        vec![
            ("public_networks", (0..2).map(|i| format!("{{ id: pub{i}, port: pub, vlan: {}, cidr: 203.0.{i}.0/24 }}", 7 + i)).collect()),
            ("vpc_routers", (0..2).map(|i| format!("{{ id: w{i} }}")).collect()),
            ("vpc_networks", (0..2).map(|i| format!("{{ id: n{i}, vpc: w{i}, cidr: 10.0.0.0/24, gateway: 10.0.0.1, vxlan: {{ pool: pool, vni: {} }} }}", i + 1)).collect()),
            ("vips", vips_text.collect()),
            ("snats", snats.collect()),
            ("eips", eips.collect()),
            ("port_forwards", forwards.collect()),
        ]
    })
}

fn document(sections: &[(&str, Vec<String>)]) -> String {
    let mut text = "\
gateway: { ports: [{ id: under, device: a, addresses: [172.31.0.1/24] }, { id: pub, device: b }] }
vxlan_pools: [{ id: pool, vni_range: 1-99, vtep_cidr: 172.31.0.0/24 }]
"
    .to_owned();
    for (section, objects) in sections {
        let _ = writeln!(text, "{section}: [{}]", objects.join(", "));
    }
    text
}

/// What workers are told, with names where numbers follow the order of the document. VIPs have the same numbers.
fn told(config: crate::config::Config) -> BTreeMap<String, String> {
    let desired = Desired::new(config);
    let compiled = compile(&desired, &facts(), None);
    let inside = |inside: Inside| format!("{}/{}", desired.vrf_key(inside.vrf).unwrap(), inside.address);
    let mut told = BTreeMap::new();
    for (number, vip) in
        compiled.tables.vips.iter().enumerate().filter_map(|(i, vip)| Some((i, vip.as_ref()?)))
    {
        let name = desired.vip_key(VipId(number as u16)).unwrap();
        let net = desired.net_key(vip.net).unwrap();
        let forwards: Vec<_> =
            vip.forwards.iter().map(|f| (f.slice, inside(f.to), f.to_first, f.allowed)).collect();
        let eip = vip.eip.map(inside);
        told.insert(
            format!("vip {number} {name}"),
            format!("{net} {} {eip:?} {forwards:?} {:?}", vip.address, vip.held),
        );
    }
    for (vrf, key) in desired.vrfs() {
        let table = compiled.tables.vrf(vrf).unwrap();
        let exit = table.exit.as_ref().map(|exit| {
            let mut by_net: Vec<_> =
                exit.by_net.iter().map(|(net, s)| (desired.net_key(*net).unwrap(), s)).collect();
            by_net.sort_by_key(|(net, _)| *net);
            format!("{:?} {by_net:?} {:?} {:?} {:?}", exit.eips, exit.rest, exit.hairpin, exit.served)
        });
        let mut routes: Vec<String> =
            compiled.routes(vrf).iter().map(|r| format!("{:?}", r.view(&desired))).collect();
        routes.sort();
        told.insert(format!("table {key}"), format!("{} {exit:?} {routes:#?}", table.tracked));
    }
    told
}

/// Two documents with the same objects, each section in an order of its own.
fn permuted() -> impl Strategy<Value = (String, String)> {
    sections().prop_flat_map(|sections| {
        let first = document(&sections);
        let shuffled: Vec<_> =
            sections.into_iter().map(|(name, objects)| (Just(name), Just(objects).prop_shuffle())).collect();
        (Just(first), shuffled.prop_map(|sections| document(&sections)))
    })
}

/// Takes the first object that is complained about away, until nobody complains.
fn without_problems(mut sections: Vec<(&'static str, Vec<String>)>) -> Vec<(&'static str, Vec<String>)> {
    while let Err(problems) = parse(&document(&sections)) {
        let path = &problems.0[0].path;
        let (section, rest) = path.split_once('[').unwrap_or_else(|| panic!("{problems}"));
        let index: usize = rest.split(']').next().unwrap().parse().unwrap();
        let objects = sections.iter_mut().find(|(name, _)| *name == section);
        objects.unwrap_or_else(|| panic!("{problems}")).1.remove(index);
    }
    sections
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_the_same_objects_is_accepted_or_refused_alike((one, two) in permuted()) {
        match (parse(&one), parse(&two)) {
            (Ok(one), Ok(two)) => prop_assert_eq!(told(one), told(two)),
            (Err(_), Err(_)) => {}
            (Ok(_), Err(problems)) | (Err(problems), Ok(_)) => prop_assert!(false, "{}", problems),
        }
    }

    #[test]
    fn any_order_of_the_same_objects_gives_the_same_tables(
        (one, two) in sections().prop_map(without_problems).prop_flat_map(|sections| {
            let shuffled: Vec<_> =
                sections.iter().map(|(name, objects)| (Just(*name), Just(objects.clone()).prop_shuffle())).collect();
            (Just(sections), shuffled)
        }),
    ) {
        prop_assert_eq!(told(parse(&document(&one)).unwrap()), told(parse(&document(&two)).unwrap()));
    }

    #[test]
    fn what_is_accepted_has_one_owner_for_each_port(sections in sections().prop_map(without_problems)) {
        let desired = Desired::new(parse(&document(&sections)).unwrap());
        let compiled = compile(&desired, &facts(), None);
        for vip in compiled.tables.vips.iter().flatten() {
            let apart = vip.forwards.is_sorted_by(|a, b| {
                (a.slice.protocol, a.slice.last) < (b.slice.protocol, b.slice.first)
            });
            prop_assert!(apart);
            prop_assert!(vip.eip.is_none() || vip.forwards.is_empty());
            for (protocol, port) in [6, 17].into_iter().flat_map(|protocol| (1..20).map(move |port| (protocol, port))) {
                let of = desired.config().port_forwards.iter().filter(|f| {
                    f.slice.contains(protocol, port) && vip.address == desired.config().vips.iter().find(|v| v.id == f.vip).unwrap().address
                });
                match vip.owner(protocol, port) {
                    Owner::Forward(forward) => {
                        let of: Vec<_> = of.collect();
                        prop_assert_eq!(of.len(), 1);
                        prop_assert_eq!((of[0].slice, of[0].vm.address), (forward.slice, forward.to.address));
                        prop_assert!(vip.holds(protocol, port));
                    }
                    Owner::Eip(_) | Owner::Snat => prop_assert_eq!(of.count(), 0),
                    Owner::Listener(_) | Owner::Other => prop_assert!(false),
                }
            }
        }
    }
}

#[test]
fn an_address_that_stands_for_clients_stays_with_its_namespace() {
    let lb =
        "load_balancers: [{ id: lb, vip: v1, listeners: [{ id: web, protocol: tcp, port: 80, mode: full_nat,
        backends: [{ vpc: vpc-1, address: 10.1.1.9 }] }] }]\n";
    let (plain, full) = (desired(&text(), None), desired(&(text() + lb), None));
    let compiled = compile(&full, &facts(), None);
    let namespaces = |desired: &Desired, compiled: &Compiled| {
        let all = crate::local::wanted(desired, compiled);
        all.into_iter().map(|n| (n.name, n.addresses)).collect::<Vec<_>>()
    };
    assert_eq!(namespaces(&full, &compiled), namespaces(&plain, &compile(&plain, &facts(), None)));
    let net = |name: &str| full.net(&NetKey::Vpc(id(name))).unwrap();
    let exit = compiled.tables.vrf(vrf(&full, "vpc-1")).unwrap().exit.as_ref().unwrap();
    assert!(exit.mask(net("b")).is_none(), "no backend is there");
    let [number] = exit.mask(net("a")).unwrap().vips[..] else { panic!("one address") };
    assert_eq!(full.vip_key(number), None, "it is no VIP");
    let mask = compiled.tables.vip(number).unwrap();
    assert_eq!(Some(mask.address), compiled.tables.net(net("a")).unwrap().address);
    for (protocol, port, held) in
        [(6, 1024, false), (6, 32_767, false), (6, 32_768, true), (17, 65_535, true)]
    {
        assert_eq!(mask.holds(protocol, port), held, "{protocol} {port}");
    }
    // What is leased stays over reloads.
    let next = full.next(parse(&(text() + lb)).unwrap());
    let again = compile(&next, &facts(), Some(&compiled));
    assert!(Arc::ptr_eq(&again.tables.vip(number).unwrap().leases, &mask.leases));
}
