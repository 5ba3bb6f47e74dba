//! Bodies about public addresses and the services on them.

use serde::{Deserialize, Serialize};

/// A public address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Vip {
    /// The address; empty of an IPv6 VIP.
    pub ip: String,
    /// Dotted.
    pub netmask: String,
    /// Upstream router.
    pub gateway: String,
    /// The IPv6 address.
    pub ip6: String,
    /// Of `ip6`.
    pub prefix_length: i64,
    /// The NIC that has it.
    pub owner_ethernet_mac: String,
    /// Its name at the manager.
    pub vip_uuid: String,
    /// Whether it is the router's own address.
    pub is_system: bool,
}

/// `/createvip`, `/removevip`. `syncVip` and `nicIps` matter to the stock agent alone: our addresses are in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Vips {
    /// The addresses.
    pub vips: Vec<Vip>,
}

/// A rate limit of a VIP, or of a port of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VipQos {
    /// Address of the VIP.
    pub vip: String,
    /// Its name at the manager.
    pub vip_uuid: String,
    /// The NIC.
    pub public_nic: String,
    /// 0 for the whole VIP.
    pub port: i64,
    /// Bit/s to the VIP; 0 leaves the direction alone.
    pub inbound_bandwidth: i64,
    /// Bit/s from the VIP; 0 leaves the direction alone.
    pub outbound_bandwidth: i64,
    /// VIPs with the same one share one limit.
    pub shared_qos_uuid: String,
}

/// `/setvipqos`, `/deletevipqos`, `/syncvipqos`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VipQosSettings {
    /// The limits.
    pub vip_qos_settings: Vec<VipQos>,
}

/// SNAT of one private network towards one public one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Snat {
    /// The NIC by which packets leave.
    pub public_nic_mac: String,
    /// What becomes their source.
    pub public_ip: String,
    /// The NIC of the private network.
    pub private_nic_mac: String,
    /// The router's address there.
    pub private_nic_ip: String,
    /// The same.
    pub private_gateway_ip: String,
    /// Dotted, of the private network.
    pub snat_netmask: String,
    /// Whether it is on.
    pub state: bool,
}

/// `/syncsnat`: the key is `enable`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncSnats {
    /// All of them.
    pub snats: Vec<Snat>,
    /// Whether SNAT is on at all.
    pub enable: bool,
}

/// `/setsnatservicestate`: the key is `enabled`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SnatServiceState {
    /// Which.
    pub snats: Vec<Snat>,
    /// Whether these are on.
    pub enabled: bool,
}

/// `/removesnat`: the key is `natInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RemovedSnats {
    /// Which.
    pub nat_info: Vec<Snat>,
}

/// `/setsnat`, the old form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OneSnat {
    /// Which.
    pub snat: Snat,
}

/// A port forward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortForward {
    /// Its name.
    pub uuid: String,
    /// Address of the VIP.
    pub vip_ip: String,
    /// First port of the VIP.
    pub vip_port_start: i64,
    /// Last port of the VIP.
    pub vip_port_end: i64,
    /// The VM.
    pub private_ip: String,
    /// First port of the VM.
    pub private_port_start: i64,
    /// Last port of the VM.
    pub private_port_end: i64,
    /// `TCP` or `UDP`.
    pub protocol_type: String,
    /// The NIC of the VIP.
    pub public_mac: String,
    /// The NIC of the VM's network.
    pub private_mac: String,
    /// Who may use it; empty for everybody.
    pub allowed_cidr: String,
}

/// `/createportforwarding`, `/revokeportforwarding`, `/syncportforwarding`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortForwards {
    /// Of `/syncportforwarding` all of them.
    pub rules: Vec<PortForward>,
}

/// A whole VIP for one VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Eip {
    /// Address of the VIP.
    pub vip_ip: String,
    /// The VM.
    pub guest_ip: String,
    /// The NIC of the VIP.
    pub public_mac: String,
    /// The NIC of the VM's network.
    pub private_mac: String,
    /// Whether clients shall look like the router to the VM.
    pub snat_inbound_traffic: bool,
}

/// `/createeip`, `/removeeip`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OneEip {
    /// Which.
    pub eip: Eip,
}

/// `/synceip`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Eips {
    /// All of them.
    pub eips: Vec<Eip>,
}
