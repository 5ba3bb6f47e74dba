//! The distributed-routing protocol.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::r;

/// How the gateway speaks ZSNP with the agents of hosts.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawZsnp {
    /// The file of the keys that agents have, too: a line per key, its number and 32 bytes or more in hexadecimal; the first one signs. It
    /// must be private. A reload reads it anew.
    #[schemars(required, extend("format" = "path"))]
    pub keys: Option<String>,
    /// The IPv4 protocol number. Packets of it that do not come from the underlay are dropped.
    #[schemars(range(min = r::ZSNP_PROTOCOL_MIN, max = r::ZSNP_PROTOCOL_MAX), extend("default" = r::ZSNP_PROTOCOL_DEFAULT))]
    pub protocol: Option<u64>,
    /// Packets per second from one host and network to one address from which on a direct path is worth its trouble.
    #[schemars(range(min = 1, max = r::RATE_MAX), extend("default" = r::ZSNP_THRESHOLD_DEFAULT))]
    pub threshold_packets_per_second: Option<u64>,
    /// Seconds for which a host may use a direct path without asking again.
    #[schemars(range(min = r::ZSNP_LIFETIME_MIN, max = r::ZSNP_LIFETIME_MAX), extend("default" = r::ZSNP_LIFETIME_DEFAULT))]
    pub lifetime_s: Option<u64>,
    /// Seconds, give or take a tenth, until a host without an agent is asked again.
    #[schemars(range(min = 1, max = r::DAY_S), extend("default" = r::ZSNP_HOLD_OFF_DEFAULT))]
    pub hold_off_s: Option<u64>,
    /// Pairs (host, network, destination) that are known at a time; the oldest idle one makes room.
    #[schemars(range(min = 1, max = r::ZSNP_PAIRS_MAX), extend("default" = r::ZSNP_PAIRS_DEFAULT))]
    pub pairs: Option<u64>,
    /// Of these, most of one VPC router.
    #[schemars(range(min = 1, max = r::ZSNP_PAIRS_MAX), extend("default" = r::ZSNP_PAIRS_PER_VPC_DEFAULT))]
    pub pairs_per_vpc: Option<u64>,
    /// Of these, most that one VM's packets begin.
    #[schemars(range(min = 1, max = r::ZSNP_PAIRS_MAX), extend("default" = r::ZSNP_PAIRS_PER_VM_DEFAULT))]
    pub pairs_per_vm: Option<u64>,
    /// LOCATE messages per second.
    #[schemars(range(min = 1, max = r::RATE_MAX), extend("default" = r::ZSNP_LOCATES_DEFAULT))]
    pub locates_per_second: Option<u64>,
    /// Whether direct paths end when the gateway is stopped (SIGTERM). If not, they go on as long as hosts allow.
    #[schemars(extend("default" = false))]
    pub withdraw_on_stop: Option<bool>,
}
