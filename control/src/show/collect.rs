//! From the control side to rows.

mod balance;
mod flow;
mod http;
mod nat;
mod qos;
mod shortcut;
mod vip;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::Ipv4Addr,
    time::Duration,
};

use serde::Serialize;
use tidegate_fastpath::{
    channel::Rings,
    counter::{Counter, Counters, NetCounters},
    flow::FlowWalk,
    reason::{DropReason, Event, PuntReason},
    table::{Link, Net},
    types::{Nanos, NetId, VrfId},
};

use super::{
    BooksRow, DropRow, Filter, NeighborRow, NetworkRow, PortRow, RouteRow, StatusRow, Table, VpcRow, VtepRow,
    WorkerRow,
};
use crate::{
    balance::Volumes,
    compile::routes::{RouteStatus, Target},
    config::{Id, TableKey},
    desired::NetKey,
    gateway::Gateway,
    haproxy::Seen,
    metrics::PortSample,
    neighbour::RemoteVtep,
};

/// What a device says of itself, beside what workers count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Its driver.
    pub driver: String,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// What it counted.
    pub sample: PortSample,
}

/// Everything that rows are made of.
#[derive(Debug)]
pub struct Source<'a> {
    /// The control side.
    pub gateway: &'a mut Gateway,
    /// Devices by port id.
    pub devices: &'a HashMap<Id, Device>,
    /// Namespaces that are served.
    pub namespaces: &'a [String],
    /// What is seen of the proxies of HTTP listeners.
    pub proxies: &'a [Seen],
    /// Starts of the control thread after a fault.
    pub control_restarts: u64,
    /// The time.
    pub now: Nanos,
    /// How long the gateway has run.
    pub uptime: Duration,
}

/// Places for entries that one step looks at: a millisecond at most.
const STEP: usize = 1_024;

/// The rows of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// A JSON list.
    pub json: String,
    /// Whether there were more than the limit.
    pub cut: bool,
}

/// The rows of a table, in one go.
///
/// # Errors
/// A sentence, when the filter names what does not exist.
pub fn collect(mut from: Source<'_>, table: Table, filter: &Filter) -> Result<Rows, String> {
    let mut collection = Collection::new(from.gateway, table, filter)?;
    while collection.step(&mut from) {}
    Ok(collection.finish())
}

/// A table that is being collected. Tables that grow with traffic take many steps, so that control has time for other
/// things in between; their rows are of several moments.
pub struct Collection {
    scope: Scope,
    walk: Walk,
    output: Output,
}

/// How far a collection is.
enum Walk {
    /// One step.
    Whole(Table),
    Balance(Table, Option<String>, Volumes),
    Vips(Volumes),
    Flows(FlowWalk),
    Sessions(nat::Wanted, FlowWalk),
    Bindings(nat::Wanted, usize),
    Pools(nat::Wanted, nat::PoolWalk),
}

impl Collection {
    /// One that has not begun.
    ///
    /// # Errors
    /// A sentence, when the filter names what does not exist.
    pub fn new(gateway: &Gateway, table: Table, filter: &Filter) -> Result<Collection, String> {
        filter.fits(table)?;
        let scope = Scope::new(gateway, filter)?;
        let wanted = || nat::Wanted::new(gateway, filter, &scope);
        let walk = match table {
            Table::Flows => Walk::Flows(FlowWalk::default()),
            Table::NatSessions => Walk::Sessions(wanted()?, FlowWalk::default()),
            Table::NatBindings => Walk::Bindings(wanted()?, 0),
            Table::NatPools => Walk::Pools(wanted()?, nat::PoolWalk::default()),
            Table::LbListeners | Table::LbBackends | Table::LbHttp => {
                Walk::Balance(table, filter.listener.clone(), Volumes::new(gateway))
            }
            Table::Vips => Walk::Vips(Volumes::new(gateway)),
            table => Walk::Whole(table),
        };
        let output = Output::new(filter.limit.or(table.rows_default()).unwrap_or(usize::MAX));
        Ok(Collection { scope, walk, output })
    }

    /// Collects on. Returns whether there is more.
    pub fn step(&mut self, from: &mut Source<'_>) -> bool {
        let Collection { scope, walk, output } = self;
        match walk {
            Walk::Whole(table) => {
                whole(from, *table, scope, output);
                false
            }
            Walk::Balance(table, only, volumes) => {
                if *table != Table::LbHttp && volumes.step(from.gateway) {
                    return true;
                }
                match table {
                    Table::LbListeners => output.list(balance::listeners(from, scope, only.as_deref())),
                    Table::LbHttp => output.list(http::http(from, scope, only.as_deref())),
                    _ => output.list(balance::backends(from, scope, only.as_deref())),
                }
                false
            }
            Walk::Vips(volumes) => {
                if volumes.step(from.gateway) {
                    return true;
                }
                output.list(vip::vips(from, scope));
                false
            }
            Walk::Flows(walk) => flow::flows(from, scope, walk, output),
            Walk::Sessions(wanted, walk) => nat::sessions(from, wanted, walk, output),
            Walk::Bindings(wanted, next) => nat::bindings(from, wanted, next, output),
            Walk::Pools(wanted, walk) => nat::vips(from, wanted, walk, output),
        }
    }

    /// What was collected.
    pub fn finish(self) -> Rows {
        Rows { json: self.output.json + "]", cut: self.output.cut }
    }
}

/// A table that is collected in one step.
fn whole(from: &mut Source<'_>, table: Table, scope: &Scope, output: &mut Output) {
    match table {
        Table::Status => output.list(status(from)),
        Table::Ports => output.list(ports(from)),
        Table::Workers => output.list(workers(from)),
        Table::Vpcs => output.list(vpcs(from, scope)),
        Table::Networks => output.list(networks(from, scope)),
        Table::Qos => output.list(qos::qos(from, scope)),
        Table::Routes => output.list(routes(from, scope)),
        Table::Neighbors => output.list(neighbors(from, scope)),
        Table::Vteps => output.list(vteps(from)),
        Table::Shortcuts => output.list(shortcut::shortcuts(from, scope)),
        Table::Drops => output.list(drops(from, scope)),
        Table::Vips
        | Table::Flows
        | Table::NatSessions
        | Table::NatBindings
        | Table::NatPools
        | Table::LbListeners
        | Table::LbBackends
        | Table::LbHttp => {
            unreachable!("collected elsewhere")
        }
    }
}

/// Rows as they are written.
struct Output {
    json: String,
    room: usize,
    cut: bool,
}

impl Output {
    /// At most so many.
    fn new(limit: usize) -> Output {
        Output { json: "[".to_owned(), room: limit, cut: false }
    }

    /// One more row. Returns whether it was taken.
    fn push(&mut self, row: &impl Serialize) -> bool {
        let Some(room) = self.room.checked_sub(1) else {
            self.cut = true;
            return false;
        };
        self.room = room;
        if self.json.len() > 1 {
            self.json.push(',');
        }
        // Rows are plain structs with text keys, which serialize.
        self.json += &serde_json::to_string(row).unwrap_or_default();
        true
    }

    fn list<T: Serialize>(&mut self, rows: Vec<T>) {
        rows.iter().all(|row| self.push(row));
    }
}

/// Ticks in milliseconds.
fn ms(ticks: u32) -> u64 {
    (u64::from(ticks) << 20) / 1_000_000
}

/// The networks and tables that a filter lets through.
struct Scope {
    table: Option<VrfId>,
    net: Option<NetId>,
}

impl Scope {
    fn new(gateway: &Gateway, filter: &Filter) -> Result<Scope, String> {
        let desired = gateway.desired();
        let table = |name: &String| {
            let found = desired.vrfs().find(|(_, key)| key.to_string() == *name);
            found.map(|(vrf, _)| vrf).ok_or_else(|| {
                let known: Vec<_> = desired.vrfs().map(|(_, key)| key.to_string()).collect();
                format!("there is no VPC `{name}`; known are {}", known.join(", "))
            })
        };
        let net = |name: &String| {
            let found = desired.nets().find(|(_, key)| key.id().as_str() == name);
            found
                .map(|(net, _)| net)
                .ok_or_else(|| format!("there is no network `{name}`; see `show networks`"))
        };
        Ok(Scope {
            table: filter.vpc.as_ref().map(table).transpose()?,
            net: filter.network.as_ref().map(net).transpose()?,
        })
    }

    fn has_table(&self, vrf: VrfId) -> bool {
        self.table.is_none_or(|t| t == vrf)
    }

    fn has_net(&self, gateway: &Gateway, net: NetId) -> bool {
        let vrf = gateway.compiled().tables.net(net).map(|n| n.vrf);
        self.net.is_none_or(|n| n == net) && (self.table.is_none() || vrf == self.table)
    }
}

/// The name of a network.
fn net_name(gateway: &Gateway, net: NetId) -> String {
    gateway.desired().net_key(net).map_or_else(|| format!("({net})"), |key| key.id().to_string())
}

/// The name of a routing table.
fn table_name(gateway: &Gateway, vrf: VrfId) -> String {
    gateway.desired().vrf_key(vrf).map_or_else(|| format!("({vrf})"), TableKey::to_string)
}

fn status(from: &mut Source<'_>) -> Vec<StatusRow> {
    let (flows, flows_max) = from.gateway.flow_fill();
    vec![StatusRow {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generation: from.gateway.generation(),
        live: from.gateway.is_live(),
        uptime_s: from.uptime.as_secs(),
        flows,
        flows_max,
        neighbors: from.gateway.machine().len(),
        neighbors_max: from.gateway.machine().capacity(),
        namespaces: from.namespaces.to_vec(),
        control_restarts: from.control_restarts,
    }]
}

fn ports(from: &mut Source<'_>) -> Vec<PortRow> {
    let gateway = &from.gateway;
    let configured = &gateway.desired().config().gateway.ports;
    let row = |port: &crate::config::Port| {
        let id = gateway.desired().port(&port.id)?;
        let fact = gateway.facts().ports.get(&id);
        let sum = |volume: fn(&Counters, usize) -> Option<u64>| {
            gateway.counters().iter().filter_map(|c| volume(c, id.index())).sum()
        };
        let device = from.devices.get(&port.id).cloned().unwrap_or_default();
        let addresses = port
            .subnet
            .iter()
            .flat_map(|s| s.addresses.iter().map(move |a| format!("{a}/{}", s.prefix.prefix_len())));
        Some(PortRow {
            id: port.id.to_string(),
            device: port.device.clone(),
            driver: device.driver,
            up: fact.is_some_and(|f| f.up),
            mac: fact.map(|f| f.mac.to_string()).unwrap_or_default(),
            mtu: port.mtu.get(),
            addresses: addresses.collect(),
            rx_queues: device.rx_queues,
            tx_queues: device.tx_queues,
            rx_packets: sum(|c, i| c.ports.get(i).map(|p| p.rx.packets.get())),
            rx_bytes: sum(|c, i| c.ports.get(i).map(|p| p.rx.bytes.get())),
            tx_packets: sum(|c, i| c.ports.get(i).map(|p| p.tx.packets.get())),
            tx_bytes: sum(|c, i| c.ports.get(i).map(|p| p.tx.bytes.get())),
            device_counters: [
                ("rx_missed", device.sample.rx_missed),
                ("rx_errors", device.sample.rx_errors),
                ("rx_no_buffer", device.sample.rx_no_buffer),
                ("tx_errors", device.sample.tx_errors),
            ]
            .map(|(name, n)| (name.to_owned(), n))
            .into(),
        })
    };
    configured.iter().filter_map(row).collect()
}

fn workers(from: &mut Source<'_>) -> Vec<WorkerRow> {
    let lcores = &from.gateway.desired().config().gateway.workers;
    let parts = from.gateway.counters().iter().zip(from.gateway.rings()).zip(lcores);
    (0u16..).zip(parts).map(|(id, ((counters, rings), lcore))| worker(id, lcore.0, counters, rings)).collect()
}

fn worker(id: u16, lcore: u16, counters: &Counters, rings: &Rings) -> WorkerRow {
    let books = counters.books();
    let event = |e: &Event| (e.label().to_owned(), counters.events[e.index()].get());
    let punt = |r: &PuntReason| (r.label().to_owned(), counters.punts[r.index()].get());
    WorkerRow {
        id,
        lcore,
        busy_cycles: counters.poll.busy_cycles.get(),
        idle_cycles: counters.poll.idle_cycles.get(),
        sleeps: counters.poll.sleeps.get(),
        short_way: counters.poll.short_way.get(),
        general_way: counters.poll.general_way.get(),
        books: BooksRow {
            rx: books.rx,
            originated: books.originated,
            tx: books.tx,
            drops: books.drops,
            punts: books.punts,
            held: books.held,
        },
        bursts: counters.poll.bursts.iter().map(Counter::get).collect(),
        events: Event::ALL.iter().map(event).collect(),
        punts: PuntReason::ALL.iter().map(punt).collect(),
        rings: [rings.notices.len(), rings.punts.len(), rings.injects.len()],
    }
}

fn vpcs(from: &mut Source<'_>, scope: &Scope) -> Vec<VpcRow> {
    let gateway = &from.gateway;
    let tables = &gateway.compiled().tables;
    let mut neighbors: HashMap<VrfId, usize> = HashMap::new();
    for neighbour in gateway.machine().neighbours(from.now) {
        if let Some(net) = tables.net(neighbour.net) {
            *neighbors.entry(net.vrf).or_default() += 1;
        }
    }
    let row = |vpc: &crate::config::Vpc| {
        let vrf = gateway.desired().vrf(&TableKey::Vpc(vpc.id.clone()))?;
        let routes = gateway.compiled().routes(vrf);
        let namespace = format!("tg-{}", vpc.id);
        scope.has_table(vrf).then(|| VpcRow {
            id: vpc.id.to_string(),
            account: vpc.account.clone(),
            networks: tables.nets.iter().flatten().filter(|n| n.vrf == vrf).count(),
            routes: routes.len(),
            routes_in_force: routes.iter().filter(|r| r.in_force()).count(),
            neighbors: neighbors.get(&vrf).copied().unwrap_or_default(),
            tracked: tables.vrf(vrf).map_or(vpc.flow_tracking, |table| table.tracked),
            namespace: from.namespaces.contains(&namespace).then_some(namespace),
        })
    };
    gateway.desired().config().vpcs.iter().filter_map(row).collect()
}

fn networks(from: &mut Source<'_>, scope: &Scope) -> Vec<NetworkRow> {
    let gateway = &from.gateway;
    let mut neighbors: HashMap<NetId, usize> = HashMap::new();
    for neighbour in gateway.machine().neighbours(from.now) {
        *neighbors.entry(neighbour.net).or_default() += 1;
    }
    let vips = gateway.desired().vips().filter_map(|id| gateway.compiled().tables.vip(id));
    let vips: HashSet<(NetId, Ipv4Addr)> = vips.map(|vip| (vip.net, vip.address)).collect();
    let row = |(id, key): (NetId, &NetKey)| {
        let net = gateway.compiled().tables.net(id)?;
        let sum = |volume: fn(&NetCounters) -> u64| -> u64 {
            gateway.counters().iter().filter_map(|c| c.nets.get(id.index())).map(volume).sum()
        };
        Some(NetworkRow {
            id: key.id().to_string(),
            kind: match key {
                NetKey::Port(_) => "underlay",
                NetKey::Public(_) => "public",
                NetKey::Vpc(_) => "vpc",
            }
            .to_owned(),
            table: table_name(gateway, net.vrf),
            prefix: net.prefix.to_string(),
            addresses: net.addresses.iter().copied().filter(|ip| !vips.contains(&(id, *ip))).collect(),
            mac: net.mac.to_string(),
            mtu: net.mtu.get(),
            link: link(gateway, net),
            neighbors: neighbors.get(&id).copied().unwrap_or_default(),
            ingress_packets: sum(|c| c.ingress.packets.get()),
            ingress_bytes: sum(|c| c.ingress.bytes.get()),
            egress_packets: sum(|c| c.egress.packets.get()),
            egress_bytes: sum(|c| c.egress.bytes.get()),
            drops: sum(|c| c.drops.iter().map(Counter::get).sum()),
        })
    };
    let wanted = gateway.desired().nets().filter(|(id, _)| scope.has_net(gateway, *id));
    wanted.filter_map(row).collect()
}

fn link(gateway: &Gateway, net: &Net) -> String {
    match net.link {
        Link::Port { port, vlan } => {
            let port = gateway.desired().port_key(port).map(Id::to_string).unwrap_or_default();
            vlan.map_or_else(|| format!("port {port}"), |vlan| format!("port {port} vlan {vlan}"))
        }
        Link::Vxlan { vtep, vni } => {
            let vtep = gateway.compiled().tables.vteps.get(vtep.index());
            let vtep = vtep.map(|v| format!("{}:{}", v.address, v.udp_port)).unwrap_or_default();
            format!("vxlan {vni} on {vtep}")
        }
    }
}

fn routes(from: &mut Source<'_>, scope: &Scope) -> Vec<RouteRow> {
    let gateway = &from.gateway;
    let vip = |id| gateway.desired().vip_key(id).map_or_else(|| format!("({id})"), Id::to_string);
    let row = |status: &RouteStatus| RouteRow {
        table: table_name(gateway, status.vrf),
        destination: status.destination.to_string(),
        kind: status.kind.to_string(),
        target: match status.target {
            Target::Net(net) => net_name(gateway, net),
            Target::NextHop(ip) => format!("via {ip}"),
            Target::Blackhole => "blackhole".to_owned(),
            Target::Vrf(vrf) => format!("table {}", table_name(gateway, vrf)),
            Target::Vip(id) => format!("services of {}", vip(id)),
            Target::Exit(None) => "out, translated".to_owned(),
            Target::Exit(Some(id)) => format!("out, translated, and back to {}", vip(id)),
        },
        priority: status.priority,
        next_hop: status.next_hop.map(|(_, ip)| ip),
        network: status.next_hop.map(|(net, _)| net_name(gateway, net)),
        in_force: status.in_force(),
        why_not: status.why_not.map(|why| why.to_string()),
    };
    let tables = gateway.desired().vrfs().filter(|(vrf, _)| scope.has_table(*vrf));
    tables.flat_map(|(vrf, _)| gateway.compiled().routes(vrf)).map(row).collect()
}

fn neighbors(from: &mut Source<'_>, scope: &Scope) -> Vec<NeighborRow> {
    let gateway = &from.gateway;
    let mut found: Vec<_> =
        gateway.machine().neighbours(from.now).filter(|n| scope.has_net(gateway, n.net)).collect();
    found.sort_unstable_by_key(|n| (n.net, n.ip));
    let row = |n: crate::neighbour::NeighbourView| NeighborRow {
        network: net_name(gateway, n.net),
        address: n.ip,
        mac: n.mac.map(|mac| mac.to_string()),
        vtep: n.vtep,
        state: n.phase.label().to_owned(),
        confirmed_ms: n.confirmed_ago.map(|ns| ns / 1_000_000),
        pinned: n.pinned,
    };
    found.into_iter().map(row).collect()
}

fn vteps(from: &mut Source<'_>) -> Vec<VtepRow> {
    let gateway = &from.gateway;
    let tables = &gateway.compiled().tables;
    let mut rows = Vec::new();
    let mut remotes: BTreeMap<(u16, Ipv4Addr), Vec<RemoteVtep>> = BTreeMap::new();
    let mut networks: HashMap<u16, usize> = HashMap::new();
    let end = |net: NetId| match tables.net(net)?.link {
        Link::Vxlan { vtep, .. } => Some(vtep.0),
        Link::Port { .. } => None,
    };
    for remote in gateway.machine().remote_vteps(from.now) {
        if let Some(vtep) = end(remote.net) {
            remotes.entry((vtep, remote.address)).or_default().push(remote);
        }
    }
    for net in tables.nets.iter().flatten() {
        if let Link::Vxlan { vtep, .. } = net.link {
            *networks.entry(vtep.0).or_default() += 1;
        }
    }
    for (number, vtep) in (0u16..).zip(&tables.vteps) {
        if vtep.address.is_unspecified() {
            continue; // a number that nobody has any more
        }
        let ours = VtepRow {
            local: vtep.address,
            udp_port: vtep.udp_port,
            remote: None,
            configured: true,
            networks: networks.get(&number).copied().unwrap_or_default(),
            heard_ms: None,
            next_hop: None,
            state: None,
        };
        let of_this = remotes.range((number, Ipv4Addr::UNSPECIFIED)..=(number, Ipv4Addr::BROADCAST));
        let remote = of_this.map(|((_, address), seen)| VtepRow {
            remote: Some(*address),
            configured: seen.iter().any(|r| r.configured),
            networks: seen.iter().filter(|r| r.heard_ago.is_some()).count(),
            heard_ms: seen.iter().filter_map(|r| r.heard_ago).min().map(|ns| ns / 1_000_000),
            next_hop: seen.iter().find_map(|r| r.next_hop),
            state: seen.iter().find_map(|r| r.underlay).map(|phase| phase.label().to_owned()),
            ..ours.clone()
        });
        let remote: Vec<_> = remote.collect();
        rows.push(ours);
        rows.extend(remote);
    }
    rows
}

fn drops(from: &mut Source<'_>, scope: &Scope) -> Vec<DropRow> {
    let gateway = &from.gateway;
    let unfiltered = scope.net.is_none() && scope.table.is_none();
    let nets = gateway.counters().first().map_or(0, |c| c.nets.len());
    let mut rows = Vec::new();
    for net in (0..nets).map(|i| NetId(i as u16)) {
        let wanted = if net == NetId::NONE { unfiltered } else { unfiltered || scope.has_net(gateway, net) };
        for reason in DropReason::ALL.iter().filter(|_| wanted) {
            let of = |c: &Counters| c.nets.get(net.index()).map_or(0, |n| n.drops[reason.index()].get());
            let packets: u64 = gateway.counters().iter().map(|c| of(c)).sum();
            if packets > 0 {
                rows.push(DropRow {
                    network: (net != NetId::NONE).then(|| net_name(gateway, net)),
                    reason: reason.label().to_owned(),
                    phrase: reason.phrase().to_owned(),
                    packets,
                });
            }
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.packets));
    rows
}
