//! Bodies about NICs, routes, DNS and DHCP.

use serde::{Deserialize, Serialize};

/// A NIC of the router, known by its MAC alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Nic {
    /// Its MAC.
    pub mac: String,
    /// The router's address on it.
    pub ip: String,
    /// Dotted.
    pub netmask: String,
    /// The next router on it; of a private NIC the router itself.
    pub gateway: String,
    /// The router's IPv6 address on it.
    pub ip6: String,
    /// Of `ip6`.
    pub prefix_length: i64,
    /// The next IPv6 router.
    pub gateway6: String,
    /// How VMs get IPv6 addresses.
    pub address_mode: String,
    /// Whether the default route leaves by it.
    pub is_default_route: bool,
    /// `Private`, `Public` or `System`.
    pub category: String,
    /// Kind of the link below.
    pub l2type: String,
    /// VXLAN id or VLAN id.
    pub vni: i64,
    /// The interface of hosts that the link is on.
    pub physical_interface: String,
    /// Largest IP packet; 0 when left out.
    pub mtu: i64,
    /// `reject` or `accept`.
    pub firewall_default_action: String,
}

/// `/configurenic`, `/removenic`, `/configurenicdefaultaction`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Nics {
    /// The NICs.
    pub nics: Vec<Nic>,
}

/// `/changeDefaultNic`. Its `snats` are not read: a `/syncsnat` follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChangeDefaultNic {
    /// By which the default route leaves.
    pub new_nic: Nic,
}

/// A static route; without `target` it drops in silence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Route {
    /// CIDR.
    pub destination: String,
    /// The next hop.
    pub target: String,
    /// Lower wins; 0 stands for the default.
    pub distance: i64,
}

/// `/syncroutes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Routes {
    /// All of them.
    pub routes: Vec<Route>,
}

/// An upstream DNS server, and a NIC on which the router answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsServer {
    /// Its address.
    pub dns_address: String,
    /// The NIC.
    pub nic_mac: String,
}

/// `/setdns`, `/removedns`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dns {
    /// Of `/setdns` all of them.
    pub dns: Vec<DnsServer>,
}

/// `/setvpcdns`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VpcDns {
    /// Upstream servers.
    pub dns: Vec<String>,
    /// NICs on which the router answers.
    pub nic_mac: Vec<String>,
}

/// What DHCP tells one VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DhcpEntry {
    /// The VM's address.
    pub ip: String,
    /// The VM's MAC.
    pub mac: String,
    /// Dotted.
    pub netmask: String,
    /// Default router.
    pub gateway: String,
    /// DNS servers.
    pub dns: Vec<String>,
    /// Host name.
    pub hostname: String,
    /// The router's NIC.
    pub vr_nic_mac: String,
    /// Domain.
    pub dns_domain: String,
    /// Whether it also gets a router and DNS servers.
    #[serde(rename = "isDefaultL3Network")]
    pub is_default: bool,
    /// MTU for the VM.
    pub mtu: i64,
}

/// A NIC on which the router serves DHCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DhcpServer {
    /// The NIC.
    pub nic_mac: String,
    /// CIDR.
    pub subnet: String,
    /// Dotted.
    pub netmask: String,
    /// Default router.
    pub gateway: String,
    /// The router's address on the NIC.
    pub dns_server: String,
    /// Domain.
    pub dns_domain: String,
    /// MTU for VMs.
    pub mtu: i64,
    /// VMs.
    pub dhcp_infos: Vec<DhcpEntry>,
}

/// `/refreshDhcpServer`, `/startDhcpServer`, `/stopDhcpServer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DhcpServers {
    /// Of `/refreshDhcpServer` all of them.
    pub dhcp_servers: Vec<DhcpServer>,
}

/// `/adddhcp`, `/removedhcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DhcpEntries {
    /// The entries.
    pub dhcp_entries: Vec<DhcpEntry>,
}
