//! Desired state and facts to the tables that workers read. Pure: the same input gives the same tables. What did not
//! change is taken over from the previous result, so that one change among many networks costs little.

mod balance;
mod change;
mod nat;
mod nets;
mod qos;
pub mod routes;
mod shortcut;
mod touched;
mod vrfs;

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};

use tidegate_fastpath::{
    policer::{Bucket, BucketId},
    table::{Link, Net, Port, Tables, Vtep, lane::Lanes, nat::Logged, vni::VniTable},
    types::{MacAddr, NetId, PortId, Vid, Vni, VrfId, VtepId},
};

pub use self::{
    balance::Balanced,
    nat::PROGRAM_PORTS,
    nets::mac_of,
    qos::bucket_ids,
    routes::RouteView,
    shortcut::{Forbidden, Leg, Shortcuts},
};
use self::{nat::Used, routes::RouteStatus, touched::Touched, vrfs::Built};
use crate::{
    config::{BackendKey, Id},
    desired::{Desired, NetKey},
};

/// What the machine says and no configuration knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// By port; a port that is missing counts as down.
    pub ports: HashMap<PortId, PortFact>,
    /// Next hops that do not answer. Routes by them are not in force; whoever keeps this set goes on asking for
    /// [`Compiled::next_hops`], or they never come back.
    pub unreachable: HashSet<(NetId, Ipv4Addr)>,
    /// Backends of listeners that are down.
    pub down: HashSet<BackendKey>,
    /// Those that have not grown to their whole weight, in percent of it.
    pub growing: HashMap<BackendKey, u16>,
    /// Those that have drained for as long as they may: their connections end.
    pub expired: HashSet<BackendKey>,
}

/// A port as the machine has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFact {
    /// Its MAC.
    pub mac: MacAddr,
    /// Whether its link is up.
    pub up: bool,
}

/// Tables, and what they were made of.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// For the workers.
    pub tables: Tables,
    /// Every configured route, by [`VrfId`]; empty for a table that is gone.
    pub routes: Vec<Arc<[RouteStatus]>>,
    /// What each table was made of, by [`VrfId`].
    built: Vec<Option<Arc<Built>>>,
    /// What the VNI table was made of.
    vnis: Vec<VniEntry>,
    /// Which VPCs use which VIPs.
    used: Used,
    /// Listeners, and what stays with them.
    pub balanced: Balanced,
    /// From which networks hosts may be taught direct paths.
    pub shortcuts: Shortcuts,
    /// Whose the buckets are.
    limited: HashMap<Id, [BucketId; 2]>,
    /// What the next result is compared with; `None` for nothing.
    made_of: Option<MadeOf>,
}

/// What a result was made of.
#[derive(Clone, Debug)]
struct MadeOf {
    desired: Desired,
    facts: Facts,
}

/// What workers tell the session log.
fn logged(desired: &Desired) -> Logged {
    match &desired.config().gateway.nat_log {
        None => Logged::Nothing,
        Some(log) if log.sessions => Logged::Sessions,
        Some(_) => Logged::Blocks,
    }
}

/// Which network a VNI is on a tunnel end.
type VniEntry = ((VtepId, Vni), NetId);

impl Compiled {
    /// The routes of one table.
    pub fn routes(&self, vrf: VrfId) -> &[RouteStatus] {
        self.routes.get(vrf.index()).map_or(&[], |routes| routes)
    }

    /// A bucket, if it is of this object.
    fn limit(&self, qos: &Id, bucket: BucketId) -> Option<&Bucket> {
        let ids = self.limited.get(qos)?;
        self.tables.policing.bucket(bucket).filter(|_| ids.contains(&bucket))
    }

    /// The on-link next hops that configured routes lead to, reachable or not.
    pub fn next_hops(&self) -> impl Iterator<Item = (NetId, Ipv4Addr)> {
        self.built.iter().flatten().flat_map(|built| built.next_hops.iter().copied())
    }
}

/// Compiles. `previous` is the last result; unchanged networks and routing tables keep their `Arc`s and generations.
///
/// Flow entries hold what was decided under a generation, so the generation of a routing table rises with everything that
/// its decisions depend on: its routes, the networks in it (addresses, MTU, MAC, link), whether it is tracked, its VIPs
/// with the services on them and its quotas, and the same of every table that it leaks into ([`change`]). Cost: the tables
/// and VIPs that were touched ([`touched`]), a look at every listener and limit, and a few nanoseconds for each network and table.
pub fn compile(desired: &Desired, facts: &Facts, previous: Option<&Compiled>) -> Compiled {
    let empty = Compiled::default();
    let previous = previous.unwrap_or(&empty);
    let generation = previous.tables.generation + 1;

    let balanced = balance::build(desired, facts, &previous.balanced);
    let touched = Touched::since(previous, desired, facts, &balanced);
    let limited = qos::build(desired, previous, generation);
    let services = nat::build(desired, &balanced, &limited, &touched, previous);
    let (built, nets) = vrfs::build(desired, facts, &services, &limited, &touched, previous);
    let vrfs = vrfs::publish(&built, &previous.built, &previous.tables.vrfs, generation);
    let (vnis, vni_table) = vnis(&nets, previous);
    Compiled {
        tables: Tables {
            generation,
            ports: ports(desired, &nets, &previous.tables.ports),
            vteps: vteps(desired),
            vnis: vni_table,
            nets,
            vrfs,
            vips: services.vips,
            departed: balanced.departed(),
            logged: logged(desired),
            policing: limited.policing,
            lanes: Lanes::default(),
        }
        .with_lanes(),
        routes: built
            .iter()
            .map(|b| b.as_ref().map_or_else(Arc::default, |b| Arc::clone(&b.statuses)))
            .collect(),
        built,
        vnis,
        used: services.used,
        balanced,
        shortcuts: shortcut::build(desired),
        limited: desired
            .config()
            .qos
            .iter()
            .filter_map(|of| Some((of.id.clone(), bucket_ids(desired, &of.id)?)))
            .collect(),
        made_of: Some(MadeOf { desired: desired.clone(), facts: facts.clone() }),
    }
}

/// A table by number.
type ByNumber<T> = Vec<Option<Arc<T>>>;

/// Writes an entry of a table by number.
fn put<T: Clone>(table: &mut Vec<Option<T>>, number: usize, entry: T) {
    if table.len() <= number {
        table.resize(number + 1, None);
    }
    table[number] = Some(entry);
}

/// Without empty entries at its end.
fn trimmed<T>(mut table: Vec<Option<T>>) -> Vec<Option<T>> {
    let len = table.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    table.truncate(len);
    table
}

/// A table by number from its entries in any order.
fn by_number<T: Clone>(entries: impl Iterator<Item = (usize, T)>) -> Vec<Option<T>> {
    let mut table = Vec::new();
    entries.for_each(|(number, entry)| put(&mut table, number, entry));
    table
}

fn ports(desired: &Desired, nets: &[Option<Arc<Net>>], previous: &[Port]) -> Vec<Port> {
    let len = desired.config().gateway.ports.iter().filter_map(|port| desired.port(&port.id));
    let len = len.map(|port| port.index() + 1).max().unwrap_or_default();
    let mut ports = vec![Port { untagged: NetId::NONE, vlans: None }; len];
    let mut tags: Vec<Vec<(Vid, NetId)>> = vec![Vec::new(); len];
    for (number, net) in (0u16..).zip(nets) {
        let Some(Link::Port { port, vlan }) = net.as_ref().map(|net| net.link) else { continue };
        match vlan {
            Some(vlan) => tags[port.index()].push((vlan, NetId(number))),
            None => ports[port.index()].untagged = NetId(number),
        }
    }
    for ((number, port), tags) in ports.iter_mut().enumerate().zip(tags).filter(|(_, tags)| !tags.is_empty())
    {
        let mut vlans = vec![NetId::NONE; 4096];
        for (vlan, net) in tags {
            vlans[usize::from(vlan.get())] = net;
        }
        let before = previous.get(number).and_then(|port| port.vlans.as_ref());
        port.vlans = match before.filter(|before| before[..] == vlans[..]) {
            Some(before) => Some(Arc::clone(before)),
            None => Some(vlans.into()),
        };
    }
    ports
}

/// Tunnel ends by number; a number without one has no address, so that nothing is received there.
fn vteps(desired: &Desired) -> Vec<Vtep> {
    let underlay = |vtep: Ipv4Addr| {
        let pool = desired.config().pools.iter().find(|pool| pool.vtep == vtep);
        pool.and_then(|pool| desired.net(&NetKey::Port(pool.underlay.clone()))).unwrap_or(NetId::NONE)
    };
    let vteps = by_number(desired.vteps().map(|(id, key)| {
        let vtep = Vtep { address: key.address, udp_port: key.udp_port, underlay: underlay(key.address) };
        (id.index(), vtep)
    }));
    let nobody = Vtep { address: Ipv4Addr::UNSPECIFIED, udp_port: 0, underlay: NetId::NONE };
    vteps.into_iter().map(|vtep| vtep.unwrap_or_else(|| nobody.clone())).collect()
}

fn vnis(nets: &[Option<Arc<Net>>], previous: &Compiled) -> (Vec<VniEntry>, VniTable) {
    let numbered = (0u16..).zip(nets).filter_map(|(number, net)| Some((NetId(number), net.as_deref()?)));
    let vnis: Vec<VniEntry> = numbered
        .filter_map(|(id, net)| match net.link {
            Link::Vxlan { vtep, vni } => Some(((vtep, vni), id)),
            Link::Port { .. } => None,
        })
        .collect();
    let table = if vnis == previous.vnis {
        previous.tables.vnis.clone()
    } else {
        VniTable::build(vnis.iter().copied())
    };
    (vnis, table)
}

#[cfg(test)]
mod tests;
