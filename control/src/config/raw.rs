//! The file as it is written. Every type here is exactly one object of the document, every field one key; the doc
//! comment is what `docs/config.md` says about it. Addresses and the like are kept as text, so that a wrong one is
//! reported by the check beside all others. Nothing past `check` sees these types.

mod api;
mod balance;
mod http;
mod log;
mod nat;
mod qos;
mod zsnp;
mod zstack;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    api::{RawApi, RawApiCertificate, RawApiLimits, RawApiTls},
    balance::{
        RawAccess, RawBackend, RawBackendGroup, RawHealthCheck, RawListener, RawLoadBalancer, RawPersistence,
    },
    http::{RawCertificate, RawCookie, RawHttp, RawHttpRule, RawRedirect, RawTls},
    log::{RawIpfix, RawNatLog},
    nat::{RawEip, RawNic, RawPortForward, RawQuotas, RawSnat, RawVip},
    qos::{RawColour, RawQos},
    zsnp::RawZsnp,
    zstack::{RawZstack, RawZstackAgent, RawZstackInterface},
};

/// Ranges and defaults of numeric keys: the one place where they stand. The schema, the manual and the check read them.
pub(crate) mod range {
    use tidegate_fastpath::table::nat::{BLOCK_PORTS, FIRST_PORT};

    pub(crate) const LCORE_MAX: u64 = 1023;
    pub(crate) const WORKERS_DEFAULT: [u64; 1] = [1];
    pub(crate) const MTU_MIN: u64 = tidegate_fastpath::types::Mtu::MIN as u64;
    pub(crate) const MTU_MAX: u64 = tidegate_fastpath::types::Mtu::MAX as u64;
    pub(crate) const PORT_MTU_DEFAULT: u64 = 1500;
    pub(crate) const QUEUES_MAX: u64 = 64;
    pub(crate) const VXLAN_UDP_PORT: u64 = 4789;
    pub(crate) const PRIORITY_MIN: u64 = 1;
    pub(crate) const PRIORITY_MAX: u64 = 254;
    pub(crate) const PRIORITY_DEFAULT: u64 = 128;
    pub(crate) const FLOWS_MIN: u64 = 1 << 10;
    pub(crate) const FLOWS_MAX: u64 = 1 << 28;
    pub(crate) const FLOWS_DEFAULT: u64 = 1 << 20;
    pub(crate) const NEIGHBOURS_MIN: u64 = 64;
    pub(crate) const NEIGHBOURS_MAX: u64 = 1 << 23;
    pub(crate) const NEIGHBOURS_DEFAULT: u64 = 1 << 16;
    pub(crate) const NETWORKS_MIN: u64 = 16;
    pub(crate) const NETWORKS_MAX: u64 = 65_000;
    pub(crate) const NETWORKS_DEFAULT: u64 = 4096;
    pub(crate) const RING_MIN: u64 = 64;
    pub(crate) const RING_MAX: u64 = 1 << 14;
    pub(crate) const RING_DEFAULT: u64 = 1024;
    pub(crate) const RATE_MAX: u64 = 1_000_000;
    pub(crate) const ICMP_ERRORS_DEFAULT: u64 = 1000;
    pub(crate) const PUNTS_DEFAULT: u64 = 10_000;
    pub(crate) const HELD_MAX: u64 = 1 << 14;
    pub(crate) const HELD_DEFAULT: u64 = 512;
    pub(crate) const FLOW_IDLE_DEFAULT: u64 = 60;
    pub(crate) const DAY_S: u64 = 86_400;
    pub(crate) const NEIGHBOUR_REACHABLE_DEFAULT: u64 = 30;
    pub(crate) const NEIGHBOUR_RETRY_MIN: u64 = 50;
    pub(crate) const NEIGHBOUR_RETRY_MAX: u64 = 60_000;
    pub(crate) const NEIGHBOUR_RETRY_DEFAULT: u64 = 1000;
    pub(crate) const NEIGHBOUR_PROBES_MAX: u64 = 20;
    pub(crate) const NEIGHBOUR_PROBES_DEFAULT: u64 = 3;
    pub(crate) const STATE_DEFAULT: &str = "/var/lib/tidegate";
    pub(crate) const CONTROL_SOCKET_DEFAULT: &str = "/run/tidegate/control.sock";
    pub(crate) const FLOW_TRACKING_DEFAULT: bool = true;
    pub(crate) const VIPS_MAX: u64 = crate::desired::VIPS_MAX as u64;
    pub(crate) const PORTS_PER_VM_MIN: u64 = BLOCK_PORTS as u64;
    pub(crate) const PORTS_PER_VM_MAX: u64 = 65_536 - FIRST_PORT as u64;
    pub(crate) const PORTS_PER_VM_DEFAULT: u64 = 2048;
    pub(crate) const QUOTA_MAX: u64 = 1_000_000_000;
    pub(crate) const EVERYBODY: &str = "0.0.0.0/0";
    pub(crate) const NAT_VMS_MIN: u64 = 64;
    pub(crate) const NAT_VMS_MAX: u64 = 1 << 22;
    pub(crate) const NAT_VMS_DEFAULT: u64 = 1 << 16;
    pub(crate) const NAT_BLOCKS_MIN: u64 = 64;
    pub(crate) const NAT_BLOCKS_MAX: u64 = 1 << 24;
    pub(crate) const NAT_BLOCKS_DEFAULT: u64 = 1 << 16;
    pub(crate) const NAT_TCP_ESTABLISHED_DEFAULT: u64 = 7440;
    pub(crate) const NAT_TCP_TRANSITORY_DEFAULT: u64 = 240;
    pub(crate) const NAT_UDP_DEFAULT: u64 = 300;
    pub(crate) const NAT_ICMP_DEFAULT: u64 = 60;
    pub(crate) const NAT_OTHER_DEFAULT: u64 = 600;
    pub(crate) const BACKENDS_MAX: u64 = 1000;
    pub(crate) const WEIGHT_MAX: u64 = 256;
    pub(crate) const WEIGHT_DEFAULT: u64 = 100;
    pub(crate) const CONNECTIONS_MAX: u64 = 10_000_000;
    pub(crate) const CONNECTIONS_DEFAULT: u64 = 200_000;
    pub(crate) const SLOW_START_MAX: u64 = 3600;
    pub(crate) const PERSISTENCE_DEFAULT: u64 = 60;
    pub(crate) const ACCESS_MAX: u64 = 5000;
    pub(crate) const HEALTH_S_MAX: u64 = 3600;
    pub(crate) const HEALTH_INTERVAL_DEFAULT: u64 = 5;
    pub(crate) const HEALTH_TIMEOUT_DEFAULT: u64 = 2;
    pub(crate) const HEALTH_COUNT_MAX: u64 = 100;
    pub(crate) const HEALTH_DATAGRAM_MAX: u64 = 512;
    pub(crate) const COOKIE_DEFAULT: &str = "tidegate";
    pub(crate) const COOKIE_IDLE_DEFAULT: u64 = 60;
    pub(crate) const HEALTHY_DEFAULT: u64 = 2;
    pub(crate) const UNHEALTHY_DEFAULT: u64 = 6;
    pub(crate) const HEALTH_EXPECT_DEFAULT: [&str; 2] = ["2xx", "3xx"];
    pub(crate) const QOS_MAX: u64 = crate::desired::QOS_MAX as u64;
    pub(crate) const PPS_MAX: u64 = 1_000_000_000;
    pub(crate) const ZSTACK_VERSION_DEFAULT: &str = "5.2.0.0";
    pub(crate) const ZSTACK_QUIET_DEFAULT: u64 = 60;
    pub(crate) const ZSNP_PROTOCOL_DEFAULT: u64 = tidegate_zsnp::PROTOCOL as u64;
    pub(crate) const ZSNP_PROTOCOL_MIN: u64 = 143;
    pub(crate) const ZSNP_PROTOCOL_MAX: u64 = 254;
    pub(crate) const ZSNP_THRESHOLD_DEFAULT: u64 = 8;
    pub(crate) const ZSNP_LIFETIME_MIN: u64 = 3;
    pub(crate) const ZSNP_LIFETIME_MAX: u64 = 3600;
    pub(crate) const ZSNP_LIFETIME_DEFAULT: u64 = 30;
    pub(crate) const ZSNP_HOLD_OFF_DEFAULT: u64 = 600;
    pub(crate) const ZSNP_PAIRS_MAX: u64 = 1 << 20;
    pub(crate) const ZSNP_PAIRS_DEFAULT: u64 = 65_536;
    pub(crate) const ZSNP_PAIRS_PER_VPC_DEFAULT: u64 = 16_384;
    pub(crate) const ZSNP_PAIRS_PER_VM_DEFAULT: u64 = 256;
    pub(crate) const ZSNP_LOCATES_DEFAULT: u64 = 1000;
    pub(crate) const API_CONNECTIONS_MAX: u64 = 100_000;
    pub(crate) const API_CONNECTIONS_DEFAULT: u64 = 512;
    pub(crate) const API_PER_CLIENT_DEFAULT: u64 = 64;
    pub(crate) const API_REQUESTS_DEFAULT: u64 = 100;
    pub(crate) const API_BODY_MIN: u64 = 1024;
    pub(crate) const API_BODY_MAX: u64 = 1 << 30;
    pub(crate) const API_BODY_DEFAULT: u64 = 32 << 20;
    pub(crate) const API_TIMEOUT_DEFAULT: u64 = 30;
    pub(crate) const API_WATCHERS_DEFAULT: u64 = 32;
    pub(crate) const OBSERVATION_DOMAIN_MAX: u64 = u32::MAX as u64;
    pub(crate) const OBSERVATION_DOMAIN_DEFAULT: u64 = 1;
}
use range as r;

/// A key whose service is not built yet: any value but `null` and the empty list is refused.
pub type Unbuilt = serde_json::Value;

/// The whole document.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawConfig {
    /// This host: workers, ports, limits. A reload changes `addresses`, `gateway` and `mtu` of ports, the
    /// times of neighbours, `nat_log` and `zsnp` (but for its protocol); all else needs a restart.
    #[schemars(required)]
    pub gateway: Option<RawGateway>,
    /// VXLAN underlays: a VNI range and the tunnel end that serves it.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub vxlan_pools: Vec<RawVxlanPool>,
    /// Where outside addresses live, each with a routing table of its own.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub public_networks: Vec<RawPublicNetwork>,
    /// VPC routers: one routing table each.
    #[serde(default)]
    #[schemars(length(max = 32000))]
    pub vpc_routers: Vec<RawVpcRouter>,
    /// The subnets of VPCs.
    #[serde(default)]
    #[schemars(length(max = r::NETWORKS_MAX))]
    pub vpc_networks: Vec<RawVpcNetwork>,
    /// Static, blackhole and leaking routes.
    #[serde(default)]
    pub routes: Vec<RawRoute>,
    /// NICs of VMs that services name; optional, because a service may name an address instead.
    #[serde(default)]
    pub nics: Vec<RawNic>,
    /// Public addresses, a pool that services share.
    #[serde(default)]
    #[schemars(length(max = r::VIPS_MAX))]
    pub vips: Vec<RawVip>,
    /// Many VMs behind one VIP or a pool of them.
    #[serde(default)]
    pub snats: Vec<RawSnat>,
    /// One VIP for one VM.
    #[serde(default)]
    pub eips: Vec<RawEip>,
    /// Ports of a VIP to ports of a VM.
    #[serde(default)]
    pub port_forwards: Vec<RawPortForward>,
    /// Listeners on VIPs, each with VMs that answer.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    pub load_balancers: Vec<RawLoadBalancer>,
    /// Rate limits of VIPs, their ports, and NICs.
    #[serde(default)]
    #[schemars(length(max = r::QOS_MAX))]
    pub qos: Vec<RawQos>,
    /// What `https` listeners show.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    pub certificates: Vec<RawCertificate>,
    /// Stateful rules by CIDR or group.
    #[schemars(extend("x-unbuilt" = "security groups"))]
    pub security_groups: Option<Unbuilt>,
}

/// This host; the only part that a cloud manager does not own.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawGateway {
    /// The lcores that poll, one worker each.
    #[schemars(length(min = 1, max = 128), inner(range(min = 0, max = r::LCORE_MAX)), extend("default" = r::WORKERS_DEFAULT))]
    pub workers: Option<Vec<u64>>,
    /// The lcore of the control thread; not one of `workers`. Without it the kernel places the thread on any core but
    /// theirs.
    #[schemars(range(min = 0, max = r::LCORE_MAX))]
    pub control_lcore: Option<u64>,
    /// `required` refuses to start without hugepages, `auto` goes on without them, `off` uses none.
    #[schemars(extend("enum" = ["auto", "required", "off"], "default" = "auto"))]
    pub hugepages: Option<String>,
    /// `busy` polls without pause; `adaptive` sleeps for microseconds when nothing comes, which costs latency and saves
    /// power.
    #[schemars(extend("enum" = ["busy", "adaptive"], "default" = "busy"))]
    pub poll: Option<String>,
    /// The ports, physical or virtual.
    #[schemars(length(min = 1, max = 32), required)]
    pub ports: Option<Vec<RawPort>>,
    /// Where Prometheus reads; without it no metrics are served.
    pub metrics: Option<RawMetrics>,
    /// Who had which public address and port, and when; without it nothing is logged.
    pub nat_log: Option<RawNatLog>,
    /// The REST API over TCP; without it, it is served on the control socket only.
    pub api: Option<RawApi>,
    /// Router agents that a ZStack manager drives.
    pub zstack: Option<RawZstack>,
    /// The protocol by which hosts learn direct paths (docs/zsnp.md); without it no VPC router can have `distributed_routing`.
    pub zsnp: Option<RawZsnp>,
    /// Directory of what outlives the process: desired state with its history. No two gateways share one.
    #[schemars(extend("format" = "path", "default" = r::STATE_DEFAULT))]
    pub state: Option<String>,
    /// The file of translated connections, from which a gateway that was killed goes on.
    pub flow_state: Option<RawFlowState>,
    /// Unix socket of `tidegate show`, `tidegate reload` and the other tools.
    #[schemars(extend("format" = "path", "default" = r::CONTROL_SOCKET_DEFAULT))]
    pub control_socket: Option<String>,
    /// Sizes of tables and rates.
    pub limits: Option<RawLimits>,
    /// Times of ageing.
    pub timeouts: Option<RawTimeouts>,
}

/// A port.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawPort {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// The DPDK device: a PCI address (`0000:3b:00.0`) or a virtual device with its arguments
    /// (`net_tap0,iface=tg-underlay`).
    #[schemars(required)]
    pub device: Option<String>,
    /// Largest IP packet on the wire, in bytes, without the Ethernet header. An underlay port needs 50 more than its
    /// overlay networks.
    #[schemars(range(min = r::MTU_MIN, max = r::MTU_MAX), extend("default" = r::PORT_MTU_DEFAULT))]
    pub mtu: Option<u64>,
    /// The port's MAC instead of the device's own.
    #[schemars(extend("format" = "MAC"))]
    pub mac: Option<String>,
    /// The gateway's own untagged addresses here, with prefix length, all of one subnet. An underlay port has its VTEP
    /// address here.
    #[schemars(length(max = 64), extend("x-item" = "address/length"))]
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Underlay next hop for VTEPs that are not in the subnet of `addresses`.
    #[schemars(extend("format" = "address"))]
    pub gateway: Option<String>,
    /// Receive queues; one per worker when left out, as far as the device has them.
    #[schemars(range(min = 1, max = r::QUEUES_MAX))]
    pub queues: Option<u64>,
}

/// The file of translated connections.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawFlowState {
    /// A directory on a tmpfs or hugetlbfs. Without it: the hugetlbfs of 2 MiB pages where it has room and `hugepages` is not
    /// `off`, else `/dev/shm`.
    #[schemars(extend("format" = "path"))]
    pub directory: Option<String>,
    /// Whether the connections go on after a stop (SIGTERM) and start, too; the file then stays until the next start, or the
    /// end of the machine.
    #[schemars(extend("default" = false))]
    pub keep_on_stop: Option<bool>,
}

/// Where Prometheus reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawMetrics {
    /// Address and TCP port of `/metrics`.
    #[schemars(required, extend("format" = "address:port"))]
    pub listen: Option<String>,
    /// Must be `true` where `listen` is not a loopback address: the page has no access control.
    #[schemars(extend("default" = false))]
    pub allow_remote: Option<bool>,
}

/// Sizes and rates.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawLimits {
    /// Flow entries, one per direction of a connection; memory is taken at start.
    #[schemars(range(min = r::FLOWS_MIN, max = r::FLOWS_MAX), extend("default" = r::FLOWS_DEFAULT))]
    pub flows: Option<u64>,
    /// Neighbour entries.
    #[schemars(range(min = r::NEIGHBOURS_MIN, max = r::NEIGHBOURS_MAX), extend("default" = r::NEIGHBOURS_DEFAULT))]
    pub neighbours: Option<u64>,
    /// VPC networks, public networks and ports with addresses together.
    #[schemars(range(min = r::NETWORKS_MIN, max = r::NETWORKS_MAX), extend("default" = r::NETWORKS_DEFAULT))]
    pub networks: Option<u64>,
    /// Places in each ring between a worker and the control thread; 16 times as many in the one of `nat_log`.
    #[schemars(range(min = r::RING_MIN, max = r::RING_MAX), extend("default" = r::RING_DEFAULT))]
    pub ring: Option<u64>,
    /// Packets that each worker keeps while neighbours are resolved; a quarter as many more of VMs that moved, and of fragments whose first one has not come.
    #[schemars(range(min = 0, max = r::HELD_MAX), extend("default" = r::HELD_DEFAULT))]
    pub held_packets: Option<u64>,
    /// ICMP errors that each worker sends per second (RFC 1812 §4.3.2.8).
    #[schemars(range(min = 0, max = r::RATE_MAX), extend("default" = r::ICMP_ERRORS_DEFAULT))]
    pub icmp_errors_per_second: Option<u64>,
    /// Packets of each punt reason that each worker hands to the control thread per second.
    #[schemars(range(min = 1, max = r::RATE_MAX), extend("default" = r::PUNTS_DEFAULT))]
    pub punts_per_second: Option<u64>,
    /// VMs with translated sessions at a time; memory is taken at start.
    #[schemars(range(min = r::NAT_VMS_MIN, max = r::NAT_VMS_MAX), extend("default" = r::NAT_VMS_DEFAULT))]
    pub nat_vms: Option<u64>,
    /// Blocks of 64 ports that VMs have of all VIPs at a time; memory is taken at start.
    #[schemars(range(min = r::NAT_BLOCKS_MIN, max = r::NAT_BLOCKS_MAX), extend("default" = r::NAT_BLOCKS_DEFAULT))]
    pub nat_blocks: Option<u64>,
}

/// Times of ageing.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawTimeouts {
    /// Seconds without a packet after which a flow entry goes.
    #[schemars(range(min = 1, max = r::DAY_S), extend("default" = r::FLOW_IDLE_DEFAULT))]
    pub flow_idle_s: Option<u64>,
    /// Seconds after which a neighbour is asked again whether it is there.
    #[schemars(range(min = 1, max = r::DAY_S), extend("default" = r::NEIGHBOUR_REACHABLE_DEFAULT))]
    pub neighbour_reachable_s: Option<u64>,
    /// Milliseconds between two ARP requests for one neighbour.
    #[schemars(range(min = r::NEIGHBOUR_RETRY_MIN, max = r::NEIGHBOUR_RETRY_MAX), extend("default" = r::NEIGHBOUR_RETRY_DEFAULT))]
    pub neighbour_retry_ms: Option<u64>,
    /// ARP requests without an answer after which a neighbour counts as unreachable.
    #[schemars(range(min = 1, max = r::NEIGHBOUR_PROBES_MAX), extend("default" = r::NEIGHBOUR_PROBES_DEFAULT))]
    pub neighbour_probes: Option<u64>,
    /// Seconds without a packet after which an established TCP session goes. RFC 5382 REQ-5 asks for 7440 or more.
    #[schemars(range(min = 1, max = r::DAY_S), extend("default" = r::NAT_TCP_ESTABLISHED_DEFAULT))]
    pub nat_tcp_established_s: Option<u64>,
    /// Seconds without a packet after which a TCP session that opens or closes goes. RFC 5382 REQ-5 asks for 240 or more.
    #[schemars(range(min = 1, max = r::DAY_S), extend("default" = r::NAT_TCP_TRANSITORY_DEFAULT))]
    pub nat_tcp_transitory_s: Option<u64>,
    /// Seconds without a packet after which a UDP mapping goes. RFC 4787 REQ-5 asks for 120 or more and recommends 300.
    #[schemars(range(min = 1, max = r::DAY_S), extend("default" = r::NAT_UDP_DEFAULT))]
    pub nat_udp_s: Option<u64>,
    /// Seconds without a packet after which an ICMP query goes. RFC 5508 REQ-2 asks for 60 or more.
    #[schemars(range(min = 1, max = r::DAY_S), extend("default" = r::NAT_ICMP_DEFAULT))]
    pub nat_icmp_s: Option<u64>,
    /// Seconds without a packet after which a session of another protocol (GRE, ESP and so on) goes.
    #[schemars(range(min = 1, max = r::DAY_S), extend("default" = r::NAT_OTHER_DEFAULT))]
    pub nat_other_s: Option<u64>,
}

/// A VXLAN underlay.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawVxlanPool {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// The VNIs that networks of this pool may use, first and last; 1 to 16777215.
    #[schemars(required, extend("format" = "first-last"))]
    pub vni_range: Option<String>,
    /// Which port address is our VTEP: the first of `gateway.ports[].addresses` that lies in here.
    #[schemars(required, extend("format" = "CIDR"))]
    pub vtep_cidr: Option<String>,
    /// UDP port of VXLAN, both ways. Linux and ZStack hosts use 8472.
    #[schemars(range(min = 1, max = 65535), extend("default" = r::VXLAN_UDP_PORT))]
    pub udp_port: Option<u64>,
    /// VTEPs that are known from the start; others are learned.
    #[schemars(length(max = 4096), extend("x-item" = "address"))]
    #[serde(default)]
    pub remote_vteps: Vec<String>,
}

/// A public network.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawPublicNetwork {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// The port it is on.
    #[schemars(required, extend("format" = "id"))]
    pub port: Option<String>,
    /// Its 802.1Q tag; untagged when left out.
    #[schemars(range(min = 1, max = 4094))]
    pub vlan: Option<u64>,
    /// Its addresses.
    #[schemars(required, extend("format" = "CIDR"))]
    pub cidr: Option<String>,
    /// The upstream next hop; its default route. Without it only the CIDR itself is reached.
    #[schemars(extend("format" = "address"))]
    pub gateway: Option<String>,
    /// The gateway's own address there; source of its ICMP errors and ARP requests.
    #[schemars(extend("format" = "address"))]
    pub address: Option<String>,
    /// Largest IP packet, in bytes; the port's when left out.
    #[schemars(range(min = r::MTU_MIN, max = r::MTU_MAX))]
    pub mtu: Option<u64>,
}

/// A VPC router.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawVpcRouter {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// Whose it is; shown, never interpreted.
    pub account: Option<String>,
    /// Whether its packets use flow entries, or are decided one by one. With SNAT, an EIP or a port forward they always use
    /// them.
    #[schemars(extend("default" = r::FLOW_TRACKING_DEFAULT))]
    pub flow_tracking: Option<bool>,
    /// Whether hosts may be taught direct paths between its networks (ZSNP), past the gateway. Needs `gateway.zsnp`. Takes effect at
    /// once, both ways. Its packets then use flow entries.
    #[schemars(extend("default" = false))]
    pub distributed_routing: Option<bool>,
    /// What happens to traffic that no security group names. Only `allow` until security groups are built.
    pub security_default: Option<RawSecurityDefault>,
    /// Bounds of its translated sessions.
    pub quotas: Option<RawQuotas>,
}

/// Default policy per direction, seen from the VM.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawSecurityDefault {
    /// Traffic to VMs.
    #[schemars(extend("enum" = ["allow", "deny"], "default" = "allow"))]
    pub ingress: Option<String>,
    /// Traffic from VMs.
    #[schemars(extend("enum" = ["allow", "deny"], "default" = "allow"))]
    pub egress: Option<String>,
}

/// A subnet of a VPC. It has exactly one of `vxlan`, `vlan` and `port`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawVpcNetwork {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// The VPC router it belongs to.
    #[schemars(required, extend("format" = "id"))]
    pub vpc: Option<String>,
    /// Its addresses; no other network of the VPC may share any.
    #[schemars(required, extend("format" = "CIDR"))]
    pub cidr: Option<String>,
    /// Our address on it; in the CIDR, and free to lie outside `ip_ranges`.
    #[schemars(required, extend("format" = "address"))]
    pub gateway: Option<String>,
    /// Which addresses VMs get, first and last each; the whole CIDR when left out.
    #[schemars(length(max = 64), extend("x-item" = "first-last"))]
    #[serde(default)]
    pub ip_ranges: Vec<String>,
    /// Bound to a VNI of a pool.
    pub vxlan: Option<RawVxlan>,
    /// Bound to an 802.1Q VLAN of a port.
    pub vlan: Option<RawVlan>,
    /// Bound to the untagged frames of this port.
    #[schemars(extend("format" = "id"))]
    pub port: Option<String>,
    /// Largest IP packet, in bytes. When left out, the most that its link carries: the underlay port's MTU less 50 on
    /// VXLAN, else the port's.
    #[schemars(range(min = r::MTU_MIN, max = r::MTU_MAX))]
    pub mtu: Option<u64>,
    /// Whether hosts may be taught direct paths from this network (ZSNP), past the gateway; when left out, what its VPC router says. Needs
    /// `gateway.zsnp`.
    pub distributed_routing: Option<bool>,
    /// DNS servers for VMs.
    #[schemars(extend("x-unbuilt" = "DNS forwarding and DHCP"))]
    pub dns: Option<Unbuilt>,
    /// Whether VMs get addresses by DHCP.
    #[schemars(extend("x-unbuilt" = "DNS forwarding and DHCP"))]
    pub dhcp: Option<Unbuilt>,
}

/// A binding to a VNI.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawVxlan {
    /// The pool.
    #[schemars(required, extend("format" = "id"))]
    pub pool: Option<String>,
    /// The VNI, in the pool's range and used once in it.
    #[schemars(required, range(min = 1, max = 16_777_215))]
    pub vni: Option<u64>,
}

/// A binding to a VLAN.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawVlan {
    /// The port.
    #[schemars(required, extend("format" = "id"))]
    pub port: Option<String>,
    /// The 802.1Q tag.
    #[schemars(required, range(min = 1, max = 4094))]
    pub id: Option<u64>,
}

/// A route. It has exactly one of `vpc` and `public_network`, and exactly one of `next_hop`, `blackhole`, `via_public`
/// and `via_vpc`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawRoute {
    /// Its name; one made of table, destination, priority and target when left out.
    #[schemars(extend("format" = "id"))]
    pub id: Option<String>,
    /// The VPC router whose table it is in.
    #[schemars(extend("format" = "id"))]
    pub vpc: Option<String>,
    /// The public network whose table it is in.
    #[schemars(extend("format" = "id"))]
    pub public_network: Option<String>,
    /// Where packets go to. Host bits may be set and mean nothing: `192.168.0.1/24` is `192.168.0.0/24`.
    #[schemars(required, extend("format" = "CIDR"))]
    pub destination: Option<String>,
    /// By this address: in a subnet of the same table, or reached by another of its routes (the default route does not
    /// count).
    #[schemars(extend("format" = "address"))]
    pub next_hop: Option<String>,
    /// `true` drops in silence.
    pub blackhole: Option<bool>,
    /// Out to the table of this public network; only for routes of a VPC.
    #[schemars(extend("format" = "id"))]
    pub via_public: Option<String>,
    /// In to the table of this VPC router; only for routes of a public network.
    #[schemars(extend("format" = "id"))]
    pub via_vpc: Option<String>,
    /// Of equal destinations the lowest value is in force, of equal values the lowest id. A connected subnet beats any.
    #[schemars(range(min = r::PRIORITY_MIN, max = r::PRIORITY_MAX), extend("default" = r::PRIORITY_DEFAULT))]
    pub priority: Option<u64>,
}
