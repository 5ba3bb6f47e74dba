//! Bodies about load balancers and certificates.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// A VM that answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendServer {
    /// Its address.
    pub ip: String,
    /// Its part of new connections; absent for 100.
    pub weight: Option<i64>,
}

/// VMs under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerGroup {
    /// For people.
    pub name: String,
    /// Its name; not always a uuid.
    pub server_group_uuid: String,
    /// Whether it serves what no redirect rule names.
    pub is_default: bool,
    /// The VMs.
    pub backend_servers: Vec<BackendServer>,
}

/// Which requests go to which group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RedirectRule {
    /// Its name.
    pub redirect_rule_uuid: String,
    /// An access list of HAProxy.
    pub redirect_rule: String,
    /// The group.
    pub server_group_uuid: String,
}

/// A listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listener {
    /// The load balancer that it belongs to.
    pub lb_uuid: String,
    /// Its name.
    pub listener_uuid: String,
    /// Address of the VIP.
    pub vip: String,
    /// The same of IPv6.
    pub vip6: String,
    /// The NIC.
    pub public_nic: String,
    /// Port of the VIP.
    pub load_balancer_port: i64,
    /// Port of the VMs.
    pub instance_port: i64,
    /// `tcp`, `udp`, `http` or `https`.
    pub mode: String,
    /// Addresses of all VMs; none ends the listener.
    pub nic_ips: Vec<String>,
    /// Each `key::value`.
    pub parameters: Vec<String>,
    /// The certificate.
    pub certificate_uuid: String,
    /// TLS versions, by the name of a policy.
    pub security_policy_type: String,
    /// VMs by groups.
    pub server_groups: Vec<ServerGroup>,
    /// First match wins.
    pub redirect_rules: Vec<RedirectRule>,
}

/// `/lb/refresh`, `/lb/delete`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listeners {
    /// Some of them: those that are absent stay.
    pub lbs: Vec<Listener>,
}

/// `/lb/log/level`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogLevel {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
}

/// `/certificate/create`, `/certificate/delete`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Certificate {
    /// Its name.
    pub uuid: String,
    /// PEM: chain and key.
    pub certificate: String,
}

impl fmt::Debug for Certificate {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("uuid", &self.uuid).finish_non_exhaustive()
    }
}

/// `/certificates/create`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Certificates {
    /// PEM by name.
    pub certs: BTreeMap<String, String>,
}

impl fmt::Debug for Certificates {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.certs.keys()).finish()
    }
}
