//! The sections about public addresses and the services that use them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::range as r;

/// Bounds of a VPC's translated sessions: those of SNAT and of port forwards. What is left out is not bounded.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawQuotas {
    /// Sessions of the VPC at a time.
    #[schemars(range(min = 1, max = r::QUOTA_MAX))]
    pub sessions: Option<u64>,
    /// New sessions of the VPC per second.
    #[schemars(range(min = 1, max = r::QUOTA_MAX))]
    pub new_sessions_per_second: Option<u64>,
    /// Sessions of each of its VMs at a time.
    #[schemars(range(min = 1, max = r::QUOTA_MAX))]
    pub vm_sessions: Option<u64>,
    /// New sessions of each of its VMs per second.
    #[schemars(range(min = 1, max = r::QUOTA_MAX))]
    pub vm_new_sessions_per_second: Option<u64>,
}

/// A NIC of a VM. Services that name it follow it when its address changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawNic {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// The VPC network it is on.
    #[schemars(required, extend("format" = "id"))]
    pub network: Option<String>,
    /// Its address in that network.
    #[schemars(required, extend("format" = "address"))]
    pub address: Option<String>,
    /// Its MAC: checked, and not used. A NIC is reached by what ARP says.
    #[schemars(extend("format" = "MAC"))]
    pub mac: Option<String>,
}

/// A public address (VIP). It belongs to the VPC whose services use it, and to no other.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawVip {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// The public network it is on.
    #[schemars(required, extend("format" = "id"))]
    pub public_network: Option<String>,
    /// The address: in the network's CIDR, and neither the upstream gateway's nor the gateway's own.
    #[schemars(required, extend("format" = "address"))]
    pub address: Option<String>,
}

/// Source NAT: the VMs of a VPC, or of one of its networks, behind one VIP or a pool of them. It has exactly one of `vpc`
/// and `network`; SNAT of a network goes before SNAT of its VPC.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawSnat {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// The VPC router whose VMs it serves.
    #[schemars(extend("format" = "id"))]
    pub vpc: Option<String>,
    /// The VPC network whose VMs it serves.
    #[schemars(extend("format" = "id"))]
    pub network: Option<String>,
    /// The VIPs, all on one public network. Each VM keeps to one of them as long as it has ports.
    #[schemars(required, length(min = 1, max = 64), extend("x-item" = "id"))]
    pub vips: Option<Vec<String>>,
    /// Public ports that one VM gets, each for TCP, UDP and ICMP; then its ports are used again towards other remotes.
    /// Rounded up to a multiple of 64.
    #[schemars(range(min = r::PORTS_PER_VM_MIN, max = r::PORTS_PER_VM_MAX), extend("default" = r::PORTS_PER_VM_DEFAULT))]
    pub ports_per_vm: Option<u64>,
}

/// An elastic IP: one VIP for one VM, all protocols and ports, both ways. It has either `nic`, or `vpc` and `address`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawEip {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// The VIP; no other service may use it.
    #[schemars(required, extend("format" = "id"))]
    pub vip: Option<String>,
    /// The VM, by its NIC.
    #[schemars(extend("format" = "id"))]
    pub nic: Option<String>,
    /// The VM's VPC router.
    #[schemars(extend("format" = "id"))]
    pub vpc: Option<String>,
    /// The VM's address in `vpc`.
    #[schemars(extend("format" = "address"))]
    pub address: Option<String>,
}

/// A port forward: ports of a VIP to as many ports of a VM. It has either `nic`, or `vpc` and `address`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawPortForward {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// The VIP.
    #[schemars(required, extend("format" = "id"))]
    pub vip: Option<String>,
    /// Whose ports.
    #[schemars(required, extend("enum" = ["tcp", "udp"]))]
    pub protocol: Option<String>,
    /// Ports of the VIP: one as in 2222, or the first and the last as in 2222-2224. No two port forwards of a VIP and
    /// protocol share one.
    #[schemars(required, extend("format" = "ports"))]
    pub ports: Option<String>,
    /// The VM, by its NIC.
    #[schemars(extend("format" = "id"))]
    pub nic: Option<String>,
    /// The VM's VPC router.
    #[schemars(extend("format" = "id"))]
    pub vpc: Option<String>,
    /// The VM's address in `vpc`.
    #[schemars(extend("format" = "address"))]
    pub address: Option<String>,
    /// Ports of the VM, as many as `ports`, in the same order; the same as `ports` when left out.
    #[schemars(extend("format" = "ports"))]
    pub target_ports: Option<String>,
    /// From where it may be used. Host bits may be set and mean nothing.
    #[schemars(extend("format" = "CIDR", "default" = r::EVERYBODY))]
    pub allowed_cidr: Option<String>,
}
