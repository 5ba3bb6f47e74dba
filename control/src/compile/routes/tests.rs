use super::*;

/// The table "10.1.1.0/24 on network 1 (ours .1), 10.1.2.0/24 on network 2 (ours .1, down where `down` says so)" with
/// these routes, as text: the destination and its hop or the reason.
fn chosen(routes: &[(&str, u8, &str)], down: bool, unreachable: &[(u16, &str)]) -> Vec<String> {
    let subnet = |net: u16, up| Attached {
        net: NetId(net),
        prefix: format!("10.1.{net}.0/24").parse().unwrap(),
        addresses: vec![Ipv4Addr::new(10, 1, net as u8, 1)],
        up,
    };
    let static_routes: Vec<Static> = routes
        .iter()
        .map(|(destination, priority, target)| Static {
            destination: destination.parse().unwrap(),
            priority: *priority,
            target: match *target {
                "blackhole" => Target::Blackhole,
                "leak" => Target::Vrf(VrfId(9)),
                ip => Target::NextHop(ip.parse().unwrap()),
            },
        })
        .collect();
    let unreachable = unreachable.iter().map(|(net, ip)| (NetId(*net), ip.parse().unwrap())).collect();
    let selected = select(VrfId(3), &[subnet(1, true), subnet(2, !down)], &static_routes, &unreachable);
    assert_eq!(selected.statuses.len(), 4 + static_routes.len(), "every route is listed");
    assert!(selected.entries.is_sorted_by(|a, b| a.0 < b.0), "each prefix is entered once");
    let hops: HashMap<Ipv4Net, Hop> = selected.entries.iter().copied().collect();
    let shown = selected.statuses[4..].iter().map(|status| match status.why_not {
        Some(why) => why.to_string(),
        None => match hops[&status.destination] {
            Hop::Via(net, ip) => format!("{net}:{ip}"),
            hop => format!("{hop:?}"),
        },
    });
    shown.collect()
}

#[test]
fn a_subnet_is_connected_its_ends_are_broadcast_and_our_address_is_local() {
    let subnet = |prefix: &str, ours: &str| Attached {
        net: NetId(5),
        prefix: prefix.parse().unwrap(),
        addresses: vec![ours.parse().unwrap()],
        up: true,
    };
    for (prefix, ours, expected) in [
        (
            "10.0.0.0/30",
            "10.0.0.1",
            vec![
                ("10.0.0.0/30", Hop::Connected(NetId(5))),
                ("10.0.0.0/32", Hop::Broadcast),
                ("10.0.0.1/32", Hop::Local(NetId(5))),
                ("10.0.0.3/32", Hop::Broadcast),
            ],
        ),
        (
            "10.0.0.0/31",
            "10.0.0.0",
            vec![("10.0.0.0/31", Hop::Connected(NetId(5))), ("10.0.0.0/32", Hop::Local(NetId(5)))],
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|(p, hop)| (p.parse().unwrap(), hop)).collect();
        assert_eq!(select(VrfId(0), &[subnet(prefix, ours)], &[], &HashSet::new()).entries, expected);
    }
}

#[test]
fn of_equal_destinations_connected_then_the_lowest_priority_then_the_first_wins() {
    let routes = [
        ("10.1.1.0/24", 1, "10.1.2.9"),
        ("10.1.1.1/32", 1, "blackhole"),
        ("10.1.1.255/32", 1, "blackhole"),
        ("10.9.0.0/16", 200, "10.1.2.8"),
        ("10.9.0.0/16", 100, "10.1.2.9"),
        ("10.9.0.0/16", 100, "blackhole"),
        ("10.9.1.0/24", 254, "leak"),
    ];
    assert_eq!(
        chosen(&routes, false, &[]),
        [
            "shadowed by the connected route",
            "shadowed by the local route",
            "a subnet address of 10.1.1.0/24",
            "shadowed by a static route of priority 100",
            "2:10.1.2.9",
            "shadowed by a static route of priority 100",
            "Leak(VrfId(9))",
        ]
    );
}

#[test]
fn next_hops_are_resolved_by_other_routes_but_not_by_the_default_route() {
    let routes = [
        ("0.0.0.0/0", 128, "10.1.1.9"),
        ("10.7.0.0/16", 128, "10.8.0.1"),
        ("10.8.0.0/16", 128, "10.9.0.1"),
        ("10.9.0.0/16", 128, "10.1.2.9"),
        ("10.9.0.0/24", 128, "10.1.1.7"),
        ("10.6.0.0/16", 128, "10.66.0.1"),
    ];
    let off_link = "next hop 10.66.0.1 is off-link and no other route leads to it";
    let expected = ["1:10.1.1.9", "1:10.1.1.7", "1:10.1.1.7", "2:10.1.2.9", "1:10.1.1.7", off_link];
    assert_eq!(chosen(&routes, false, &[]), expected);
}

#[test]
fn a_less_preferred_route_takes_over_and_gives_back() {
    let routes = [
        ("10.9.0.0/16", 100, "10.1.2.9"),
        ("10.9.0.0/16", 200, "10.1.1.9"),
        ("10.8.0.0/16", 128, "10.9.0.1"),
        ("10.1.2.0/24", 128, "10.1.1.8"),
    ];
    let usual = chosen(&routes, false, &[]);
    assert_eq!(
        usual,
        [
            "2:10.1.2.9",
            "shadowed by a static route of priority 100",
            "2:10.1.2.9",
            "shadowed by the connected route"
        ]
    );
    let silent = chosen(&routes, false, &[(2, "10.1.2.9")]);
    assert_eq!(
        silent,
        ["next hop 10.1.2.9 unreachable", "1:10.1.1.9", "1:10.1.1.9", "shadowed by the connected route"]
    );
    let down = chosen(&routes, true, &[]);
    assert_eq!(down, ["network down", "1:10.1.1.9", "1:10.1.1.9", "1:10.1.1.8"]);
    assert_eq!(chosen(&routes, false, &[(1, "10.1.2.9")]), usual, "another network's address");
}

#[test]
fn next_hops_that_lead_nowhere() {
    let routes = [
        ("10.5.0.0/16", 128, "10.6.0.1"),
        ("10.6.0.0/16", 128, "10.5.0.1"),
        ("10.7.0.0/16", 128, "10.7.0.1"),
        ("10.8.0.0/16", 128, "10.1.1.1"),
        ("10.9.0.0/16", 128, "blackhole"),
        ("10.10.0.0/16", 128, "10.9.0.1"),
        ("10.11.0.0/16", 128, "10.10.0.1"),
        ("10.12.0.0/16", 128, "10.8.0.1"),
    ];
    assert_eq!(
        chosen(&routes, false, &[]),
        [
            "next hop 10.6.0.1 leads back to this route",
            "next hop 10.5.0.1 leads back to this route",
            "next hop 10.7.0.1 leads back to this route",
            "next hop 10.1.1.1 is our own address",
            "Blackhole",
            "the route to next hop 10.9.0.1 is a blackhole or leaves the table",
            "the route to next hop 10.10.0.1 is a blackhole or leaves the table",
            "next hop 10.8.0.1 is off-link and no other route leads to it",
        ]
    );
}

#[test]
fn a_chain_of_a_hundred_thousand_next_hops_does_not_end_the_stack() {
    // 11.0.0.0/32 by 11.0.0.1, that by 11.0.0.2, and so on; the last is on-link.
    let len = 100_000u32;
    let base = u32::from(Ipv4Addr::new(11, 0, 0, 0));
    let address = |i: u32| if i == len { Ipv4Addr::new(10, 1, 1, 9) } else { Ipv4Addr::from(base + i) };
    let static_routes: Vec<Static> = (0..len)
        .map(|i| Static {
            destination: address(i).into(),
            priority: 128,
            target: Target::NextHop(address(i + 1)),
        })
        .collect();
    let attached =
        Attached { net: NetId(1), prefix: "10.1.1.0/24".parse().unwrap(), addresses: vec![], up: true };
    let selected = select(VrfId(0), &[attached], &static_routes, &HashSet::new());
    assert!(selected.statuses[1..].iter().all(|s| s.next_hop == Some((NetId(1), address(len)))));
}
