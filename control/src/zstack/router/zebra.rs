//! What zebra's `show ip route` would say of a router, without its three lines of head: managers read this text.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Write as _,
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;

use super::{default_nic, document::subnets, state::State, text};
use crate::zstack::body::Route;

/// Interfaces by MAC, as the stock router calls them: `eth0` is that of management, others follow by MAC. Names are ours to choose.
fn interfaces(state: &State) -> HashMap<&str, String> {
    let mut macs: Vec<_> =
        state.nics.values().map(|nic| (nic.category != "System", nic.mac.as_str())).collect();
    macs.sort_unstable();
    let first = usize::from(macs.first().is_some_and(|(data, _)| *data));
    macs.into_iter().enumerate().map(|(i, (_, mac))| (mac, format!("eth{}", i + first))).collect()
}

/// The whole text.
pub(super) fn routes(state: &State) -> String {
    let names = interfaces(state);
    let mut all: Vec<(Ipv4Net, Ipv4Addr, &str)> = Vec::new();
    for category in ["Private", "Public", "System"] {
        for subnet in subnets(state, category) {
            all.push((
                subnet.prefix,
                subnet.address,
                names.get(subnet.nic.mac.as_str()).map_or("lo", |name| name),
            ));
        }
    }
    all.sort();
    let mut text = String::new();
    if let Some(nic) = default_nic(state).filter(|nic| !nic.gateway.is_empty()) {
        let name = names.get(nic.mac.as_str()).map_or("lo", |name| name);
        _ = writeln!(text, "K>* 0.0.0.0/0 [0/0] via {}, {name}", nic.gateway);
    }
    let connected: BTreeMap<Ipv4Net, &str> = all.iter().map(|(prefix, _, name)| (*prefix, *name)).collect();
    let mut lines: Vec<(Ipv4Net, i64, String)> = Vec::new();
    for (prefix, name) in &connected {
        lines.push((*prefix, 0, format!("C>* {prefix} is directly connected, {name}")));
    }
    let mut in_force: HashSet<Ipv4Net> = HashSet::new();
    let mut static_routes: Vec<&Route> = state.routes.values().collect();
    static_routes.sort_by_key(|route| route.distance);
    for route in static_routes {
        let Ok(prefix) = text::cidr("", &route.destination) else { continue };
        let on_link = reaches(state, &route.target, &all);
        let free = !connected.contains_key(&prefix) && !in_force.contains(&prefix);
        let selected = free && (route.target.is_empty() || on_link.is_some_and(|(_, served)| served));
        if selected {
            in_force.insert(prefix);
        }
        let mark = if selected { ">*" } else { "  " };
        let distance = route.distance;
        lines.push((
            prefix,
            distance,
            match on_link {
                _ if route.target.is_empty() => {
                    format!("S{mark} {prefix} [{distance}/0] is directly connected, Null0, bh")
                }
                Some((name, _)) => format!("S{mark} {prefix} [{distance}/0] via {}, {name}", route.target),
                None => format!("S{mark} {prefix} [{distance}/0] via {} inactive", route.target),
            },
        ));
    }
    lines.sort();
    for (_, _, line) in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The interface of a next hop, and whether routes by it are served.
fn reaches<'a>(state: &State, target: &str, all: &[(Ipv4Net, Ipv4Addr, &'a str)]) -> Option<(&'a str, bool)> {
    let hop: Ipv4Addr = target.parse().ok()?;
    let (_, own, name) = all.iter().find(|(prefix, ..)| prefix.contains(&hop))?;
    let private = subnets(state, "Private").any(|subnet| subnet.prefix.contains(&hop));
    Some((name, private && *own != hop))
}
