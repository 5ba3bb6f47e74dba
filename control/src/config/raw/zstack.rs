//! The section about router agents that a ZStack manager drives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::range as r;

/// Router agents that a ZStack manager drives; docs/zstack.md.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawZstack {
    /// One agent for each VPC router.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub agents: Vec<RawZstackAgent>,
}

/// A router agent: what the manager takes for a router VM.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawZstackAgent {
    /// Its name, up to 16 letters, digits, `_` and `-`. Ids of its objects begin with it and a dot.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// The VPC router that it drives; no two agents share one.
    #[schemars(required, extend("format" = "id"))]
    pub vpc: Option<String>,
    /// Its address on the management network, and the TCP port, 7272 at the manager. Whoever reaches it configures the router:
    /// there is no password.
    #[schemars(required, extend("format" = "address:port"))]
    pub listen: Option<String>,
    /// The pool of its VXLAN networks.
    #[schemars(extend("format" = "id"))]
    pub vxlan_pool: Option<String>,
    /// The public networks that it may use.
    #[serde(default)]
    #[schemars(length(max = 64), extend("x-item" = "id"))]
    pub public_networks: Vec<String>,
    /// Ports of its VLAN and untagged networks.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub interfaces: Vec<RawZstackInterface>,
    /// A JSON file with `managementNic` and `additionalNics`, as the manager gives it to a router VM at boot: the NICs that the router
    /// has from the start.
    #[schemars(extend("format" = "path"))]
    pub bootstrap: Option<String>,
    /// What it says its version is: four dotted numbers, not lower than the manager's own.
    #[schemars(extend("default" = r::ZSTACK_VERSION_DEFAULT))]
    pub version: Option<String>,
    /// Seconds without a push, after pushes that followed `/init`, after which restored objects that were not pushed again go.
    #[schemars(range(min = 1, max = r::DAY_S), extend("default" = r::ZSTACK_QUIET_DEFAULT))]
    pub quiet_s: Option<u64>,
}

/// An interface of hosts, as the manager calls it, and our port in the same link.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawZstackInterface {
    /// `physicalInterface` of the manager.
    #[schemars(required)]
    pub name: Option<String>,
    /// The port.
    #[schemars(required, extend("format" = "id"))]
    pub port: Option<String>,
}
