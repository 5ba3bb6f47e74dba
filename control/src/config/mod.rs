//! The configuration as it is meant: checked types only. [`parse`] turns a document into a [`Config`] or into the list of
//! everything that is wrong with it.
//!
//! text → `tree` (any YAML or JSON) → `shape` (keys and types, by the schema of [`raw`]) → [`raw::RawConfig`] (exactly
//! the file) → `check` (what it means) → [`Config`]. No step stops at the first problem, and none panics on any input.
//! Nothing here reads anything but the one file, and nothing here keeps state: the same text gives the same answer.

pub mod api;
pub mod balance;
mod check;
pub mod http;
pub mod manual;
pub mod nat;
pub mod problem;
pub mod qos;
pub mod raw;
mod section;
mod shape;
mod tree;
pub mod zsnp;
pub mod zstack;

use std::{
    collections::HashSet,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::Ipv4Net;
use serde_json::Value;
use tidegate_fastpath::{
    table::nat::Quotas,
    types::{MacAddr, Mtu, Vid, Vni},
};

pub(crate) use self::check::{is_subnet_address, values};
pub use self::{
    api::{Api, ApiLimits, ApiTls, Role},
    balance::{Backend, BackendKey, Listener, LoadBalancer},
    check::VXLAN_OVERHEAD,
    nat::{Eip, Nic, PortForward, Snat, Vip},
    problem::{Cause, Problem, Problems},
    qos::Qos,
    section::{Member, Section},
    shape::schema,
    zsnp::Zsnp,
    zstack::ZstackAgent,
};
use self::{
    problem::Found,
    raw::{RawConfig, RawGateway},
};

/// The name of an object, unique within its kind: 1 to 64 letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Arc<str>);

impl Id {
    /// Longest id, in characters.
    pub const LEN_MAX: usize = 64;

    /// `None` if `text` is no id.
    pub fn new(text: &str) -> Option<Id> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = (1..=Id::LEN_MAX).contains(&text.len()) && !text.starts_with(['-', '.']);
        (fits && text.chars().all(legal)).then(|| Id(text.into()))
    }

    /// A name that nobody can write, for what has none at `index` of a list; sorts as that does, before all others.
    fn of_place(index: usize) -> Id {
        Id(format!(".{index:08}").into())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A document that holds: every reference leads somewhere, nothing overlaps that must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This host.
    pub gateway: Gateway,
    /// VXLAN underlays.
    pub pools: Section<VxlanPool>,
    /// Public networks.
    pub public_networks: Section<PublicNetwork>,
    /// VPC routers.
    pub vpcs: Section<Vpc>,
    /// Subnets of VPCs.
    pub networks: Section<VpcNetwork>,
    /// Routes; of two equal ones that of the lower id is in force.
    pub routes: Section<Route>,
    /// NICs of VMs.
    pub nics: Section<Nic>,
    /// Public addresses.
    pub vips: Section<Vip>,
    /// Many VMs behind VIPs.
    pub snats: Section<Snat>,
    /// One VM per VIP.
    pub eips: Section<Eip>,
    /// Ports of VIPs to ports of VMs.
    pub port_forwards: Section<PortForward>,
    /// Listeners on VIPs.
    pub load_balancers: Section<LoadBalancer>,
    /// Rate limits.
    pub qos: Section<Qos>,
    /// What `https` listeners show.
    pub certificates: Section<http::Certificate>,
}

/// A logical core as DPDK numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LcoreId(pub u16);

impl fmt::Display for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether memory comes from hugepages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hugepages {
    /// Where the kernel has some.
    Auto,
    /// Refuse to start without.
    Required,
    /// Never.
    Off,
}

/// What a worker does when nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Polls on.
    Busy,
    /// Sleeps for microseconds.
    Adaptive,
}

/// This host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Where workers run; not empty, no duplicates.
    pub workers: Vec<LcoreId>,
    /// Where the control thread runs; not one of `workers`.
    pub control_lcore: Option<LcoreId>,
    /// Kind of memory.
    pub hugepages: Hugepages,
    /// What idle workers do.
    pub poll: Poll,
    /// Ports; not empty.
    pub ports: Vec<Port>,
    /// Where `/metrics` is served; `None` for nowhere.
    pub metrics: Option<SocketAddr>,
    /// Who had which public address and port; `None` for no log.
    pub nat_log: Option<NatLog>,
    /// The REST API over TCP.
    pub api: Option<Api>,
    /// Router agents that a ZStack manager drives.
    pub zstack: Vec<ZstackAgent>,
    /// How direct paths are taught; `None` for none.
    pub zsnp: Option<Zsnp>,
    /// Directory of what outlives the process.
    pub state: PathBuf,
    /// The file of the flow table.
    pub flow_state: FlowState,
    /// Unix socket of the tools.
    pub control_socket: PathBuf,
    /// Sizes and rates.
    pub limits: Limits,
    /// Times of ageing.
    pub timeouts: Timeouts,
}

/// The session log: where it goes. Not both of `file` and `ipfix` are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatLog {
    /// Sessions too, not only port blocks.
    pub sessions: bool,
    /// JSON lines are added to it.
    pub file: Option<PathBuf>,
    /// A collector.
    pub ipfix: Option<Ipfix>,
}

/// An IPFIX collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipfix {
    /// Its address and UDP port.
    pub collector: SocketAddr,
    /// The address to send from, of the same family.
    pub source: Option<IpAddr>,
    /// RFC 7011 §3.1.
    pub observation_domain: u32,
}

/// The file of the flow table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowState {
    /// Where it is; `None` for where it is fastest.
    pub directory: Option<PathBuf>,
    /// Whether it stays after a stop.
    pub keep_on_stop: bool,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub id: Id,
    /// The DPDK device with its arguments.
    pub device: String,
    /// Largest IP packet on the wire.
    pub mtu: Mtu,
    /// Instead of the device's own.
    pub mac: Option<MacAddr>,
    /// Receive queues; `None` for one per worker.
    pub queues: Option<u16>,
    /// The gateway's own untagged subnet here.
    pub subnet: Option<PortSubnet>,
}

/// The gateway's own addresses on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSubnet {
    /// The subnet, host bits clear.
    pub prefix: Ipv4Net,
    /// Our addresses in it, in the order of the document; not empty.
    pub addresses: Vec<Ipv4Addr>,
    /// Next hop for everything else; in the subnet and not ours.
    pub gateway: Option<Ipv4Addr>,
}

/// Sizes and rates; see `docs/config.md` for ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Flow entries, one per direction.
    pub flows: usize,
    /// Neighbour entries.
    pub neighbours: usize,
    /// Highest [`NetId`](tidegate_fastpath::types::NetId).
    pub networks: u16,
    /// Places per ring.
    pub ring: usize,
    /// Packets that a worker holds for neighbours.
    pub held_packets: usize,
    /// Per worker.
    pub icmp_errors_per_second: u32,
    /// Per worker and punt reason.
    pub punts_per_second: u32,
    /// VMs with translated sessions.
    pub nat_vms: usize,
    /// Leased port blocks, of all VIPs.
    pub nat_blocks: usize,
}

/// Times of ageing; see `docs/config.md` for ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A flow entry without packets goes after this.
    pub flow_idle_s: u32,
    /// A neighbour is probed after this.
    pub neighbour_reachable_s: u32,
    /// Between two requests.
    pub neighbour_retry_ms: u32,
    /// Requests without answer.
    pub neighbour_probes: u32,
    /// An established TCP session without packets goes after this.
    pub nat_tcp_established_s: u32,
    /// A TCP session that opens or closes.
    pub nat_tcp_transitory_s: u32,
    /// A UDP mapping.
    pub nat_udp_s: u32,
    /// An ICMP query.
    pub nat_icmp_s: u32,
    /// Any other protocol.
    pub nat_other_s: u32,
}

/// VNIs from first to last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VniRange {
    /// The lowest.
    pub first: Vni,
    /// The highest; not below `first`.
    pub last: Vni,
}

impl VniRange {
    /// Whether `vni` is in it.
    pub fn contains(self, vni: Vni) -> bool {
        (self.first..=self.last).contains(&vni)
    }

    /// Whether some VNI is in both.
    pub fn overlaps(self, other: VniRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for VniRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A VXLAN underlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanPool {
    /// Its name.
    pub id: Id,
    /// The VNIs of its networks.
    pub vni_range: VniRange,
    /// What our VTEP address was found by.
    pub vtep_cidr: Ipv4Net,
    /// UDP port, both ways.
    pub udp_port: u16,
    /// VTEPs known from the start; sorted, none of them ours.
    pub remote_vteps: Vec<Ipv4Addr>,
    /// Our VTEP address: one of the addresses of `underlay`.
    pub vtep: Ipv4Addr,
    /// The port that has it.
    pub underlay: Id,
}

/// A public network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicNetwork {
    /// Its name.
    pub id: Id,
    /// Its port.
    pub port: Id,
    /// Its tag.
    pub vlan: Option<Vid>,
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// Upstream next hop.
    pub gateway: Option<Ipv4Addr>,
    /// Our address.
    pub address: Option<Ipv4Addr>,
    /// Largest IP packet.
    pub mtu: Mtu,
}

/// A VPC router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// Its name.
    pub id: Id,
    /// Whose it is.
    pub account: Option<String>,
    /// Whether its packets use flow entries, also where nothing is translated.
    pub flow_tracking: bool,
    /// Whether hosts may be taught direct paths between its networks.
    pub distributed_routing: bool,
    /// Bounds of its translated sessions.
    pub quotas: Quotas,
}

/// A subnet of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcNetwork {
    /// Its name.
    pub id: Id,
    /// Its VPC router.
    pub vpc: Id,
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// Our address on it.
    pub gateway: Ipv4Addr,
    /// What VMs get, first and last.
    pub ip_ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// What it is bound to.
    pub link: NetworkLink,
    /// Largest IP packet.
    pub mtu: Mtu,
    /// Whether hosts may be taught direct paths from it, where it says so itself.
    pub distributed_routing: Option<bool>,
}

/// What a VPC network is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkLink {
    /// A VNI of a pool.
    Vxlan {
        /// The pool.
        pool: Id,
        /// The VNI.
        vni: Vni,
    },
    /// Frames of a port.
    Port {
        /// The port.
        port: Id,
        /// The tag; untagged frames without.
        vlan: Option<Vid>,
    },
}

/// Whose routing table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableKey {
    /// The gateway's own addresses.
    Underlay,
    /// A public network's.
    Public(Id),
    /// A VPC router's.
    Vpc(Id),
}

impl fmt::Display for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TableKey::Underlay => f.pad("underlay"),
            TableKey::Public(id) | TableKey::Vpc(id) => id.fmt(f),
        }
    }
}

/// A configured route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name; one that nobody can write, in the order of the document, where it has none.
    pub id: Id,
    /// The table it is in; never the underlay's.
    pub table: TableKey,
    /// Where packets go to; host bits clear.
    pub destination: Ipv4Net,
    /// Lower wins.
    pub priority: u8,
    /// Where it leads.
    pub target: RouteTarget,
}

/// Where a configured route leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RouteTarget {
    /// By this address.
    NextHop(Ipv4Addr),
    /// Nowhere.
    Blackhole,
    /// Into another table.
    Leak(TableKey),
}

/// Reads a document.
///
/// # Errors
/// [`Problems`] with everything that is wrong with it; the configuration in force is not concerned.
pub fn parse(text: &str) -> Result<Config, Problems> {
    parse_file(text).map(|(_, config)| config)
}

/// Reads a document: as it is written, and what it means.
///
/// # Errors
/// As [`parse`].
pub fn parse_file(text: &str) -> Result<(RawConfig, Config), Problems> {
    let mut found = Found::default();
    let mut document = tree::read(text, &mut found).map_err(|problem| Problems(vec![*problem]))?;
    let replaced = shape::walk(&mut document, &mut found);
    match serde_json::from_value(document) {
        Ok(raw) => check::check(&raw, found, replaced).map(|config| (raw, config)),
        // The walk leaves nothing that cannot be read; if it ever does, the document is refused.
        Err(error) => {
            found.push(Problem::of_document(
                format!("cannot be read: {error}"),
                "correct what is above first",
            ));
            Err(found.into_problems())
        }
    }
}

/// The tree of a text: YAML or JSON, whatever the keys.
///
/// # Errors
/// [`Problems`] where it cannot be read, or gives a key twice.
pub fn read_tree(text: &str) -> Result<Value, Problems> {
    let mut found = Found::default();
    let tree = tree::read(text, &mut found).map_err(|problem| Problems(vec![*problem]))?;
    if found.is_empty() { Ok(tree) } else { Err(found.into_problems()) }
}

/// The objects of a tree, by keys and types: everything but `gateway`, which is neither looked at nor kept.
///
/// # Errors
/// [`Problems`] with every key and type that is wrong. Where there is one, values that cannot be right on this `host` are named as well,
/// so that nobody is told in two steps; they are not checked otherwise.
pub fn read_objects(mut document: Value, host: &RawGateway) -> Result<RawConfig, Problems> {
    if let Value::Object(document) = &mut document {
        let port = serde_json::json!({ "id": "none", "device": "none" });
        document.insert("gateway".into(), serde_json::json!({ "ports": [port] }));
    }
    let mut found = Found::default();
    let replaced = shape::walk(&mut document, &mut found);
    let raw: RawConfig = serde_json::from_value(document).map_err(|error| {
        let what = format!("cannot be read: {error}");
        Problems(vec![Problem::of_document(what, "correct its keys and types")])
    })?;
    if found.is_empty() {
        return Ok(RawConfig { gateway: None, ..raw });
    }
    let raw = RawConfig { gateway: Some(host.clone()), ..raw };
    let of_shape = found.len();
    let Err(Problems(problems)) = check::check(&raw, found, replaced) else {
        unreachable!("what was found before is among what a check finds");
    };
    // What objects name may well be there already, and what is wrong with the host was said when it was read.
    let of_host = |path: &str| path == "gateway" || path.starts_with("gateway.");
    let is_said = |at: usize, problem: &Problem| {
        at < of_shape || problem.cause == Cause::Itself && !of_host(&problem.path)
    };
    let said = problems.into_iter().enumerate().filter(|(at, problem)| is_said(*at, problem));
    Err(Problems(said.map(|(_, problem)| problem).collect()))
}

/// What a document means whose keys and types are right.
///
/// # Errors
/// All [`Problems`], however many.
pub fn check_all(raw: &RawConfig) -> Result<Config, Problems> {
    check::check(raw, Found::all(), HashSet::new())
}

/// Reads a file.
///
/// # Errors
/// [`Problems`] as [`parse`], or with why the file cannot be read.
pub fn read(path: &Path) -> Result<Config, Problems> {
    let refused = |error: std::io::Error| {
        let what = format!("cannot be read from {}: {error}", path.display());
        Problems(vec![Problem::of_document(what, "give a file that is there and that this user may read")])
    };
    let mut file = std::fs::File::open(path).map_err(refused)?;
    let mut bytes = Vec::new();
    // One byte more than is allowed is enough to be refused.
    let limit = tree::TEXT_BYTES_MAX as u64 + 1;
    std::io::Read::read_to_end(&mut std::io::Read::take(&mut file, limit), &mut bytes).map_err(refused)?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text),
        Err(error) => {
            let what = format!("is no UTF-8 text (byte {})", error.utf8_error().valid_up_to());
            Err(Problems(vec![Problem::of_document(what, "give YAML or JSON in UTF-8")]))
        }
    }
}
