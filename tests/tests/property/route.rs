//! Configuration, compile, publication and lookup together choose the route that a plain reading of the rules chooses.

use std::{collections::HashSet, net::Ipv4Addr};

use proptest::prelude::*;
use tidegate_tests::gateway::{Gateway, HOST1, HOST2, SITE};

#[derive(Clone, Copy, Debug)]
struct Route {
    address: u32,
    len: u8,
    priority: u8,
    /// The last byte of the next hop in 10.1.2.0/24; `None` for a blackhole.
    hop: Option<u8>,
}

/// Destinations of few bits, so that prefixes cover each other often.
fn destination() -> impl Strategy<Value = u32> {
    (0u32..4, 0u32..4, prop_oneof![Just(0u32), Just(1), Just(255)])
        .prop_map(|(a, b, c)| u32::from(Ipv4Addr::new(60 + a as u8, (b << 6) as u8, 0, c as u8)))
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    let len =
        prop_oneof![Just(0u8), Just(6), Just(7), Just(8), Just(10), Just(16), Just(24), Just(31), Just(32)];
    let hop = prop_oneof![1 => Just(None), 4 => (250u8..254).prop_map(Some)];
    let priority = prop_oneof![Just(1u8), Just(128), Just(254)];
    let route = (destination(), len, priority, hop).prop_map(|(address, len, priority, hop)| Route {
        address,
        len,
        priority,
        hop,
    });
    // The same destination with the same priority twice is refused; that is tested elsewhere.
    prop::collection::vec(route, 0..24).prop_map(|mut routes| {
        let mut seen = HashSet::new();
        routes.retain(|route| seen.insert((route.address & mask(route.len), route.len, route.priority)));
        routes
    })
}

fn mask(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

fn covers(route: &Route, address: u32) -> bool {
    route.address & mask(route.len) == address & mask(route.len)
}

/// The longest prefix, then the lowest priority value, then the first of the document.
fn chosen(routes: &[Route], address: u32) -> Option<&Route> {
    let covering = routes.iter().enumerate().filter(|(_, route)| covers(route, address));
    let best = covering.min_by_key(|(at, route)| (std::cmp::Reverse(route.len), route.priority, *at));
    best.map(|(_, route)| route)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn packets_take_the_route_that_the_rules_choose(
        first in routes(),
        second in routes(),
        destinations in prop::collection::vec(destination(), 1..24),
        tracked in any::<bool>(),
    ) {
        let config = |routes: &[Route]| {
            let mut text = SITE.replace("- { id: red }", &format!("- {{ id: red, flow_tracking: {tracked} }}"));
            for route in routes {
                let to = match route.hop {
                    Some(hop) => format!("next_hop: 10.1.2.{hop}"),
                    None => "blackhole: true".to_owned(),
                };
                let (address, len, priority) = (Ipv4Addr::from(route.address), route.len, route.priority);
                text += &format!("  - {{ vpc: red, destination: {address}/{len}, {to}, priority: {priority} }}\n");
            }
            text
        };
        let mut gw = Gateway::start(&config(&first), 1);
        let a = gw.vm("red-1", "10.1.1.7", HOST1);
        let hops: Vec<_> = (250..254).map(|hop| gw.vm("red-2", &format!("10.1.2.{hop}"), HOST2)).collect();
        for routes in [&first, &second, &first] {
            gw.reload(&config(routes)).ignore();
            gw.pass(50).ignore();
            for address in &destinations {
                let packet = format!("udp 10.1.1.7:1 > {}:2", Ipv4Addr::from(*address));
                let sent = gw.from(&a, &packet);
                match chosen(routes, *address) {
                    None => sent.to(&a, &format!("icmp no-net 10.1.1.1 > 10.1.1.7 tos=192 | {packet}")).nothing(),
                    Some(Route { hop: None, .. }) => sent.nothing(),
                    Some(Route { hop: Some(hop), .. }) => sent.to(&hops[usize::from(hop - 250)], &packet).nothing(),
                }
            }
        }
    }
}
