//! The session log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::r;

/// Who had which public address and port, and when. At least one of `file` and `ipfix`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawNatLog {
    /// Also a record for the begin and the end of each session, not only for the port blocks that VMs get.
    #[schemars(extend("default" = false))]
    pub sessions: Option<bool>,
    /// JSON lines are added to this file; SIGHUP and `tidegate reload` open it anew.
    #[schemars(extend("format" = "path"))]
    pub file: Option<String>,
    /// IPFIX messages are sent to a collector.
    pub ipfix: Option<RawIpfix>,
}

/// An IPFIX collector (RFC 7011, over UDP).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawIpfix {
    /// Its address and UDP port.
    #[schemars(required, extend("format" = "address:port"))]
    pub collector: Option<String>,
    /// The address of this host to send from; the kernel chooses one without it.
    pub source: Option<String>,
    /// Observation domain id, by which the collector tells gateways apart.
    #[schemars(range(min = 0, max = r::OBSERVATION_DOMAIN_MAX), extend("default" = r::OBSERVATION_DOMAIN_DEFAULT))]
    pub observation_domain: Option<u64>,
}
