//! Routing tables: what each is made of, what is chosen for it, and which generation it gets.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};

use ipnet::Ipv4Net;
use tidegate_fastpath::{
    policer::LimitedNic,
    table::{
        Net, Vrf,
        fib::{Fib, Hop},
        nat::Quotas,
    },
    types::{NetId, VrfId},
};

use super::{
    Facts, by_number,
    change::changed,
    nat::{Part, Services},
    nets::Attachment,
    qos::Limited,
    routes::{Attached, RouteStatus, Static, Target, select},
};
use crate::{
    config::{Id, RouteTarget, TableKey, Vpc},
    desired::{Desired, UNDERLAY},
};

/// The priority of default routes that follow from other objects (`gateway` of a port or public network, SNAT, EIP): any
/// configured route wins.
pub(super) const GATEWAY_PRIORITY: u8 = 255;

/// A routing table and what it was made of.
#[derive(Clone, Debug)]
pub(super) struct Built {
    pub(super) made_of: Parts,
    /// For the FIB; each prefix once, sorted.
    pub(super) entries: Arc<[(Ipv4Net, Hop)]>,
    pub(super) statuses: Arc<[RouteStatus]>,
}

/// What decides about a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) key: TableKey,
    pub(super) tracked: bool,
    pub(super) quotas: Quotas,
    pub(super) nat: Part,
    pub(super) limited: Arc<[LimitedNic]>,
    pub(super) nets: Vec<(NetId, Arc<Net>)>,
    attached: Vec<Attached>,
    static_routes: Vec<Static>,
    unreachable: HashSet<(NetId, Ipv4Addr)>,
}

/// Chooses the routes of every table whose parts changed; takes the others from `previous`.
pub(super) fn build(
    desired: &Desired,
    facts: &Facts,
    nets: &[Attachment],
    services: &Services,
    limited: &Limited<'_>,
    previous: &[Option<Arc<Built>>],
) -> Vec<Option<Arc<Built>>> {
    by_number(parts(desired, facts, nets, services, limited).into_iter().map(|(vrf, made_of)| {
        let before = previous.get(vrf.index()).and_then(Option::as_ref);
        let built = match before.filter(|before| before.made_of == made_of) {
            Some(before) => Arc::clone(before),
            None => {
                let selected = select(vrf, &made_of.attached, &made_of.static_routes, &made_of.unreachable);
                let (entries, statuses) = (selected.entries.into(), selected.statuses.into());
                Arc::new(Built { made_of, entries, statuses })
            }
        };
        (vrf.index(), built)
    }))
}

fn parts(
    desired: &Desired,
    facts: &Facts,
    nets: &[Attachment],
    services: &Services,
    limited: &Limited<'_>,
) -> HashMap<VrfId, Parts> {
    let vpcs: HashMap<&Id, &Vpc> = desired.config().vpcs.iter().map(|vpc| (&vpc.id, vpc)).collect();
    let empty = |(vrf, key): (VrfId, &TableKey)| {
        let nat = services.parts.get(&vrf).cloned().unwrap_or_default();
        let vpc = match key {
            TableKey::Vpc(id) => vpcs.get(id),
            TableKey::Public(_) | TableKey::Underlay => None,
        };
        let limited = limited.nics.get(&vrf).cloned().unwrap_or_default();
        let tracked = match key {
            // What is translated needs an entry, and what is limited finds its buckets by it.
            TableKey::Vpc(_) => {
                // What hosts may be taught is seen in entries, too.
                vpc.is_some_and(|vpc| vpc.flow_tracking || vpc.distributed_routing)
                    || nat.exit.is_some()
                    || !limited.is_empty()
            }
            TableKey::Public(_) => true,
            // Nothing but our own packets is routed there.
            TableKey::Underlay => false,
        };
        let parts = Parts {
            key: key.clone(),
            tracked,
            quotas: vpc.map(|vpc| vpc.quotas).unwrap_or_default(),
            nat,
            limited,
            nets: Vec::new(),
            attached: Vec::new(),
            static_routes: Vec::new(),
            unreachable: HashSet::new(),
        };
        (vrf, parts)
    };
    let mut parts: HashMap<VrfId, Parts> = desired.vrfs().map(empty).collect();
    let vips = services.addresses();
    let mut vrf_of: HashMap<NetId, VrfId> = HashMap::new();
    for Attachment { id, net, up } in nets {
        let Some(parts) = parts.get_mut(&net.vrf) else { continue };
        vrf_of.insert(*id, net.vrf);
        parts.nets.push((*id, Arc::clone(net)));
        // Packets to a VIP are for whoever uses it, not for us.
        let ours = net.addresses.iter().copied().filter(|ip| !vips.contains(&(*id, *ip)));
        let addresses = ours.collect();
        parts.attached.push(Attached { net: *id, prefix: net.prefix, addresses, up: *up });
    }
    for (vrf, route) in static_routes(desired) {
        if let Some(parts) = parts.get_mut(&vrf) {
            parts.static_routes.push(route);
        }
    }
    for parts in parts.values_mut() {
        parts.static_routes.extend(parts.nat.routes());
    }
    for next_hop in &facts.unreachable {
        if let Some(parts) = vrf_of.get(&next_hop.0).and_then(|vrf| parts.get_mut(vrf)) {
            parts.unreachable.insert(*next_hop);
        }
    }
    parts
}

/// Configured routes in the order of the document, then the default routes of gateways.
fn static_routes(desired: &Desired) -> impl Iterator<Item = (VrfId, Static)> {
    let config = desired.config();
    let routes = config.routes.iter().filter_map(|route| {
        let target = match &route.target {
            RouteTarget::NextHop(ip) => Target::NextHop(*ip),
            RouteTarget::Blackhole => Target::Blackhole,
            RouteTarget::Leak(table) => Target::Vrf(desired.vrf(table)?),
        };
        let route_static = Static { destination: route.destination, priority: route.priority, target };
        Some((desired.vrf(&route.table)?, route_static))
    });
    let upstream = config.public_networks.iter().filter_map(|net| {
        let vrf = desired.vrf(&TableKey::Public(net.id.clone()))?;
        Some((vrf, default_route(net.gateway?)))
    });
    let subnets = config.gateway.ports.iter().filter_map(|port| port.subnet.as_ref());
    let underlay = subnets.filter_map(|subnet| Some((UNDERLAY, default_route(subnet.gateway?))));
    routes.chain(upstream).chain(underlay)
}

fn default_route(gateway: Ipv4Addr) -> Static {
    Static { destination: Ipv4Net::default(), priority: GATEWAY_PRIORITY, target: Target::NextHop(gateway) }
}

/// Tables for workers. A table whose decisions may be different now gets `generation`; the others stay as they are.
pub(super) fn publish(
    built: &[Option<Arc<Built>>],
    before: &[Option<Arc<Built>>],
    published: &[Option<Arc<Vrf>>],
    generation: u64,
) -> Vec<Option<Arc<Vrf>>> {
    let changed = changed(built, before);
    let each = built.iter().enumerate().map(|(number, built)| {
        let built = built.as_ref()?;
        let old = published.get(number).and_then(Option::as_ref);
        if let Some(old) = old.filter(|_| !changed[number]) {
            return Some(Arc::clone(old));
        }
        let was = before.get(number).and_then(Option::as_ref);
        let fib = match (old, was.filter(|was| was.entries == built.entries)) {
            (Some(old), Some(_)) => Arc::clone(&old.fib),
            _ => Arc::new(Fib::build(built.entries.iter().copied())),
        };
        // Only compared for being equal; 2^32 publications later an entry that was never used would have expired.
        let generation = generation as u32;
        Some(Arc::new(Vrf {
            generation,
            tracked: built.made_of.tracked,
            fib,
            exit: built.made_of.nat.exit.clone(),
            quotas: built.made_of.quotas,
            limited: Arc::clone(&built.made_of.limited),
        }))
    });
    each.collect()
}
