//! The rows of every table.

mod balance;
mod http;
mod nat;
mod qos;
mod shortcut;
mod vip;

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

pub use self::{
    balance::{BackendRow, ListenerRow},
    http::HttpRow,
    nat::{BindingRow, MappingRow, PoolRow, SessionRow, UserRow},
    qos::{ColourCounts, QosRow},
    shortcut::ShortcutRow,
    vip::VipRow,
};
use super::print::{Columns, age, percent, yes};
use crate::nat::protocol_name;

/// The gateway as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRow {
    /// Of the program.
    pub version: String,
    /// Publications since the start.
    pub generation: u64,
    /// Whether every worker uses this generation.
    pub live: bool,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Flow entries in use.
    pub flows: usize,
    /// How many fit.
    pub flows_max: usize,
    /// Neighbour entries in use.
    pub neighbors: usize,
    /// How many fit.
    pub neighbors_max: usize,
    /// Network namespaces for local delivery.
    pub namespaces: Vec<String>,
    /// How often the control thread was started again after a fault.
    pub control_restarts: u64,
}

impl Columns for StatusRow {
    const HEAD: &'static [&'static str] =
        &["version", "generation", "live", "uptime", "flows", "neighbors", "namespaces", "restarts"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.version.clone(),
            self.generation.to_string(),
            yes(self.live),
            age(self.uptime_s * 1_000),
            format!("{} of {}", self.flows, self.flows_max),
            format!("{} of {}", self.neighbors, self.neighbors_max),
            self.namespaces.len().to_string(),
            self.control_restarts.to_string(),
        ]
    }
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRow {
    /// As configured.
    pub id: String,
    /// The DPDK device.
    pub device: String,
    /// Its driver.
    pub driver: String,
    /// Whether its link is up.
    pub up: bool,
    /// Its MAC.
    pub mac: String,
    /// Largest IP packet.
    pub mtu: u16,
    /// The gateway's own addresses on it, with prefix length.
    pub addresses: Vec<String>,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Frames that workers received.
    pub rx_packets: u64,
    /// Their bytes, without FCS.
    pub rx_bytes: u64,
    /// Frames the driver took.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// What the device counted itself, by name: missed, errors, no buffer.
    pub device_counters: BTreeMap<String, u64>,
}

impl Columns for PortRow {
    const HEAD: &'static [&'static str] = &[
        "port",
        "device",
        "link",
        "mac",
        "mtu",
        "addresses",
        "queues",
        "rx packets",
        "rx bytes",
        "tx packets",
        "tx bytes",
        "device drops",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.device.clone(),
            if self.up { "up" } else { "down" }.to_owned(),
            self.mac.clone(),
            self.mtu.to_string(),
            self.addresses.join(" "),
            format!("{}/{}", self.rx_queues, self.tx_queues),
            self.rx_packets.to_string(),
            self.rx_bytes.to_string(),
            self.tx_packets.to_string(),
            self.tx_bytes.to_string(),
            self.device_counters.values().sum::<u64>().to_string(),
        ]
    }
}

/// `rx + originated = tx + drops + punts + held`, or a packet vanished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BooksRow {
    /// Frames received.
    pub rx: u64,
    /// Frames that did not come from a port.
    pub originated: u64,
    /// Frames sent.
    pub tx: u64,
    /// Packets dropped.
    pub drops: u64,
    /// Packets handed to control.
    pub punts: u64,
    /// Packets that wait for a neighbour, for a move to be followed, or for the first fragment of their datagram.
    pub held: u64,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Counted from 0.
    pub id: u16,
    /// Where it runs.
    pub lcore: u16,
    /// Cycles in rounds that received something.
    pub busy_cycles: u64,
    /// Cycles in rounds that received nothing.
    pub idle_cycles: u64,
    /// Times it slept because nothing came.
    pub sleeps: u64,
    /// Received packets that were done on the short way: common ones, of established flows or without flow entries.
    pub short_way: u64,
    /// Received packets that took the general way.
    pub general_way: u64,
    /// Where every packet went.
    pub books: BooksRow,
    /// Receive bursts of 0, 1, 2-3, 4-7, 8-15, 16-31, 32 frames.
    pub bursts: Vec<u64>,
    /// What happened beside the exits, by name.
    pub events: BTreeMap<String, u64>,
    /// Packets handed to control, by reason.
    pub punts: BTreeMap<String, u64>,
    /// Notices, punts and injected frames that wait in its rings.
    pub rings: [usize; 3],
}

impl Columns for WorkerRow {
    const HEAD: &'static [&'static str] = &[
        "worker",
        "lcore",
        "busy",
        "short way",
        "rx",
        "originated",
        "tx",
        "drops",
        "punts",
        "held",
        "rings",
    ];

    fn cells(&self) -> Vec<String> {
        let books = &self.books;
        vec![
            self.id.to_string(),
            self.lcore.to_string(),
            percent(self.busy_cycles, self.busy_cycles + self.idle_cycles),
            percent(self.short_way, self.short_way + self.general_way),
            books.rx.to_string(),
            books.originated.to_string(),
            books.tx.to_string(),
            books.drops.to_string(),
            books.punts.to_string(),
            books.held.to_string(),
            self.rings.map(|n| n.to_string()).join("/"),
        ]
    }
}

/// A VPC router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcRow {
    /// As configured.
    pub id: String,
    /// Whose it is.
    pub account: Option<String>,
    /// Its networks.
    pub networks: usize,
    /// Its routes.
    pub routes: usize,
    /// Those in force.
    pub routes_in_force: usize,
    /// Neighbours in its networks.
    pub neighbors: usize,
    /// Whether its packets use flow entries; always where services translate.
    pub tracked: bool,
    /// Its namespace, where there is one.
    pub namespace: Option<String>,
}

impl Columns for VpcRow {
    const HEAD: &'static [&'static str] =
        &["vpc", "account", "networks", "routes in force", "neighbors", "flows tracked", "namespace"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.account.clone().unwrap_or_default(),
            self.networks.to_string(),
            format!("{} of {}", self.routes_in_force, self.routes),
            self.neighbors.to_string(),
            yes(self.tracked),
            self.namespace.clone().unwrap_or_default(),
        ]
    }
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRow {
    /// As configured; the port's id for the gateway's own addresses.
    pub id: String,
    /// `vpc`, `public` or `underlay`.
    pub kind: String,
    /// Its routing table: the VPC router, the public network, or `underlay`.
    pub table: String,
    /// Its addresses.
    pub prefix: String,
    /// Ours on it, public addresses (VIPs) aside.
    pub addresses: Vec<Ipv4Addr>,
    /// Our MAC on it.
    pub mac: String,
    /// Largest IP packet.
    pub mtu: u16,
    /// How frames get there, in words.
    pub link: String,
    /// Neighbours known in it.
    pub neighbors: usize,
    /// Packets from it into the gateway.
    pub ingress_packets: u64,
    /// Bytes of them, of IP total length.
    pub ingress_bytes: u64,
    /// Packets from the gateway into it.
    pub egress_packets: u64,
    /// Bytes of them.
    pub egress_bytes: u64,
    /// Packets that came from it and were dropped.
    pub drops: u64,
}

impl Columns for NetworkRow {
    const HEAD: &'static [&'static str] = &[
        "network",
        "table",
        "prefix",
        "addresses",
        "mtu",
        "link",
        "neighbors",
        "in packets",
        "out packets",
        "drops",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.table.clone(),
            self.prefix.clone(),
            self.addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(" "),
            self.mtu.to_string(),
            self.link.clone(),
            self.neighbors.to_string(),
            self.ingress_packets.to_string(),
            self.egress_packets.to_string(),
            self.drops.to_string(),
        ]
    }
}

/// A configured route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    /// Its routing table: the VPC router, the public network, or `underlay`.
    pub table: String,
    /// Where packets go to.
    pub destination: String,
    /// `connected`, `local`, `static`, `blackhole`, `leak`, `vip` or `exit`.
    pub kind: String,
    /// Where it leads, in words.
    pub target: String,
    /// Lower wins; null where none applies.
    pub priority: Option<u8>,
    /// The on-link next hop that the target was resolved to.
    pub next_hop: Option<Ipv4Addr>,
    /// The network of that next hop.
    pub network: Option<String>,
    /// Whether packets follow it.
    pub in_force: bool,
    /// Why not.
    pub why_not: Option<String>,
}

impl Columns for RouteRow {
    const HEAD: &'static [&'static str] =
        &["table", "destination", "kind", "target", "priority", "next hop", "in force", "why not"];

    fn cells(&self) -> Vec<String> {
        let hop = match (self.next_hop, &self.network) {
            (Some(ip), Some(network)) => format!("{ip} on {network}"),
            (Some(ip), None) => ip.to_string(),
            (None, _) => String::new(),
        };
        vec![
            self.table.clone(),
            self.destination.clone(),
            self.kind.clone(),
            self.target.clone(),
            self.priority.map(|p| p.to_string()).unwrap_or_default(),
            hop,
            yes(self.in_force),
            self.why_not.clone().unwrap_or_default(),
        ]
    }
}

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborRow {
    /// Its network.
    pub network: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its MAC, once known.
    pub mac: Option<String>,
    /// The remote VTEP behind which it is.
    pub vtep: Option<Ipv4Addr>,
    /// `incomplete`, `reachable`, `probing` or `failed`.
    pub state: String,
    /// Milliseconds since it was confirmed.
    pub confirmed_ms: Option<u64>,
    /// Kept resolved whether used or not.
    pub pinned: bool,
}

impl Columns for NeighborRow {
    const HEAD: &'static [&'static str] =
        &["network", "address", "mac", "vtep", "state", "confirmed", "kept"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.network.clone(),
            self.address.to_string(),
            self.mac.clone().unwrap_or_default(),
            self.vtep.map(|v| v.to_string()).unwrap_or_default(),
            self.state.clone(),
            self.confirmed_ms.map(age).unwrap_or_default(),
            yes(self.pinned),
        ]
    }
}

/// A tunnel end, ours or a remote one as seen from one of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VtepRow {
    /// Ours.
    pub local: Ipv4Addr,
    /// UDP port, both ways.
    pub udp_port: u16,
    /// The remote one; null in the row of our own.
    pub remote: Option<Ipv4Addr>,
    /// Whether the configuration names it.
    pub configured: bool,
    /// Networks of ours that use it (ours), or in which it was heard (remote).
    pub networks: usize,
    /// Milliseconds since it was last heard.
    pub heard_ms: Option<u64>,
    /// The underlay next hop towards it.
    pub next_hop: Option<Ipv4Addr>,
    /// State of that neighbour.
    pub state: Option<String>,
}

impl Columns for VtepRow {
    const HEAD: &'static [&'static str] =
        &["local", "udp port", "remote", "configured", "networks", "heard", "next hop", "state"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.local.to_string(),
            self.udp_port.to_string(),
            self.remote.map_or_else(|| "(ours)".to_owned(), |v| v.to_string()),
            yes(self.configured),
            self.networks.to_string(),
            self.heard_ms.map(age).unwrap_or_default(),
            self.next_hop.map(|v| v.to_string()).unwrap_or_default(),
            self.state.clone().unwrap_or_default(),
        ]
    }
}

/// A flow entry, one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    /// Network of ingress.
    pub network: String,
    /// Source address.
    pub source: Ipv4Addr,
    /// Source port, or ICMP echo identifier.
    pub source_port: u16,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Destination port.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Network of egress.
    pub egress: String,
    /// MAC of the next hop, as far as it is known now.
    pub mac: Option<String>,
    /// VTEP of the next hop.
    pub vtep: Option<Ipv4Addr>,
    /// Packets that used the entry.
    pub packets: u64,
    /// Bytes of them, of IP total length.
    pub bytes: u64,
    /// Milliseconds since the last one.
    pub idle_ms: u64,
}

impl Columns for FlowRow {
    const HEAD: &'static [&'static str] =
        &["from", "source", "destination", "protocol", "to", "next mac", "vtep", "packets", "bytes", "idle"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.network.clone(),
            format!("{}:{}", self.source, self.source_port),
            format!("{}:{}", self.destination, self.destination_port),
            protocol_name(self.protocol),
            self.egress.clone(),
            self.mac.clone().unwrap_or_default(),
            self.vtep.map(|v| v.to_string()).unwrap_or_default(),
            self.packets.to_string(),
            self.bytes.to_string(),
            age(self.idle_ms),
        ]
    }
}

/// Packets of one network dropped for one reason; only rows that are not zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRow {
    /// The network they came from; null where that was not known.
    pub network: Option<String>,
    /// The reason's name, as in metrics.
    pub reason: String,
    /// The reason in words.
    pub phrase: String,
    /// How many.
    pub packets: u64,
}

impl Columns for DropRow {
    const HEAD: &'static [&'static str] = &["network", "reason", "packets", "meaning"];

    fn cells(&self) -> Vec<String> {
        let network = self.network.clone().unwrap_or_else(|| "(none)".to_owned());
        vec![network, self.reason.clone(), self.packets.to_string(), self.phrase.clone()]
    }
}
