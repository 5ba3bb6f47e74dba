//! Routing tables: what each is made of, what is chosen for it, and which generation it gets.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
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
    ByNumber, Compiled, Facts,
    change::changed,
    nat::{Part, Services},
    nets::{Attachment, Machine, attach},
    put,
    qos::Limited,
    routes::{Attached, RouteStatus, Static, Target, select},
    shortcut,
    touched::Touched,
    trimmed,
};
use crate::{
    config::{RouteTarget, TableKey},
    desired::Desired,
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
    /// The tables that it leaks into, once each.
    pub(super) leaks: Box<[VrfId]>,
    /// The on-link next hops of its routes, once each, reachable or not.
    pub(super) next_hops: Box<[(NetId, Ipv4Addr)]>,
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

/// Makes the tables that were touched, with the networks in them; takes the others from `previous`. By number.
pub(super) fn build(
    desired: &Desired,
    facts: &Facts,
    services: &Services,
    limited: &Limited<'_>,
    touched: &Touched,
    previous: &Compiled,
) -> (ByNumber<Built>, ByNumber<Net>) {
    let (mut tables, mut nets) = (previous.built.clone(), previous.tables.nets.clone());
    let was = |table| previous.made_of.as_ref()?.desired.vrf(table);
    for vrf in touched.tables.iter().filter_map(was) {
        let gone = tables.get_mut(vrf.index()).and_then(Option::take);
        for (net, _) in gone.iter().flat_map(|gone| &gone.made_of.nets) {
            nets[net.index()] = None;
        }
    }
    let machine = Machine::new(desired, facts);
    let mut unreachable: HashMap<NetId, Vec<Ipv4Addr>> = HashMap::new();
    for (net, ip) in &facts.unreachable {
        unreachable.entry(*net).or_default().push(*ip);
    }
    let maker = Maker { desired, machine, unreachable, services, limited, previous };
    for key in &touched.tables {
        let Some(vrf) = desired.vrf(key) else { continue };
        let built = maker.table(vrf, key);
        for (net, attached) in &built.made_of.nets {
            put(&mut nets, net.index(), Arc::clone(attached));
        }
        put(&mut tables, vrf.index(), built);
    }
    (trimmed(tables), trimmed(nets))
}

/// Makes one table after the other.
struct Maker<'a> {
    desired: &'a Desired,
    machine: Machine<'a>,
    unreachable: HashMap<NetId, Vec<Ipv4Addr>>,
    services: &'a Services,
    limited: &'a Limited<'a>,
    previous: &'a Compiled,
}

impl Maker<'_> {
    /// A table; that of before where its parts are the same.
    fn table(&self, vrf: VrfId, key: &TableKey) -> Arc<Built> {
        let made_of = self.parts(vrf, key);
        let before = self.previous.built.get(vrf.index()).and_then(Option::as_ref);
        if let Some(before) = before.filter(|before| before.made_of == made_of) {
            return Arc::clone(before);
        }
        let selected = select(vrf, &made_of.attached, &made_of.static_routes, &made_of.unreachable);
        let leaks = selected.entries.iter().filter_map(|(_, hop)| match *hop {
            Hop::Leak(vrf) => Some(vrf),
            _ => None,
        });
        let leaks: BTreeSet<VrfId> = leaks.collect();
        let mut seen = HashSet::new();
        let next_hops = selected.statuses.iter().filter_map(|route| route.next_hop);
        let next_hops = next_hops.filter(|next_hop| seen.insert(*next_hop)).collect();
        let leaks = leaks.into_iter().collect();
        let (entries, statuses) = (selected.entries.into(), selected.statuses.into());
        Arc::new(Built { made_of, entries, statuses, leaks, next_hops })
    }

    fn parts(&self, vrf: VrfId, key: &TableKey) -> Parts {
        let nat = self.services.part(self.desired, vrf, key);
        let vpc = match key {
            TableKey::Vpc(id) => self.desired.config().vpcs.get(id),
            TableKey::Public(_) | TableKey::Underlay => None,
        };
        let limited = self.limited.nics.get(&vrf).cloned().unwrap_or_default();
        let tracked = match key {
            // What is translated needs an entry, and what is limited finds its buckets by it.
            TableKey::Vpc(id) => {
                let config = self.desired.config();
                vpc.is_some_and(|vpc| vpc.flow_tracking)
                    // What hosts may be taught is seen in entries, too.
                    || config.networks.of(id).any(|network| shortcut::is_on(config, network))
                    || nat.exit.is_some()
                    || !limited.is_empty()
            }
            TableKey::Public(_) => true,
            // Nothing but our own packets is routed there.
            TableKey::Underlay => false,
        };
        // Packets to a VIP are for whoever uses it, not for us.
        let vips: HashSet<(NetId, Ipv4Addr)> =
            nat.vips.iter().map(|owned| (owned.vip.net, owned.vip.address)).collect();
        let attachments = attach(&self.machine, key, &self.previous.tables.nets);
        let subnet = |attachment: &Attachment| {
            let Attachment { id, net, up } = attachment;
            let ours = net.addresses.iter().copied().filter(|ip| !vips.contains(&(*id, *ip)));
            Attached { net: *id, prefix: net.prefix, addresses: ours.collect(), up: *up }
        };
        let attached = attachments.iter().map(subnet).collect();
        let silent = attachments.iter().flat_map(|attachment| {
            let silent = self.unreachable.get(&attachment.id).into_iter().flatten();
            silent.map(|ip| (attachment.id, *ip))
        });
        let unreachable = silent.collect();
        let static_routes = static_routes(self.desired, key).chain(nat.routes()).collect();
        let nets = attachments.into_iter().map(|attachment| (attachment.id, attachment.net)).collect();
        let quotas = vpc.map(|vpc| vpc.quotas).unwrap_or_default();
        Parts { key: key.clone(), tracked, quotas, nat, limited, nets, attached, static_routes, unreachable }
    }
}

/// The configured routes of a table by id, then the default routes of gateways.
fn static_routes<'a>(desired: &'a Desired, table: &'a TableKey) -> impl Iterator<Item = Static> + 'a {
    let config = desired.config();
    let routes = config.routes.of(table).filter_map(|route| {
        let target = match &route.target {
            RouteTarget::NextHop(ip) => Target::NextHop(*ip),
            RouteTarget::Blackhole => Target::Blackhole,
            RouteTarget::Leak(table) => Target::Vrf(desired.vrf(table)?),
        };
        Some(Static { destination: route.destination, priority: route.priority, target })
    });
    let gateways: Vec<Ipv4Addr> = match table {
        TableKey::Underlay => {
            let subnets = config.gateway.ports.iter().filter_map(|port| port.subnet.as_ref());
            subnets.filter_map(|subnet| subnet.gateway).collect()
        }
        TableKey::Public(id) => {
            config.public_networks.get(id).and_then(|net| net.gateway).into_iter().collect()
        }
        TableKey::Vpc(_) => Vec::new(),
    };
    routes.chain(gateways.into_iter().map(default_route))
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
