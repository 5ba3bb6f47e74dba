//! The section about load balancers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{RawHttp, range as r};

/// A load balancer: listeners on one VIP, each with backends. All backends are of one VPC router.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawLoadBalancer {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// The VIP. Its other ports stay with other services.
    #[schemars(required, extend("format" = "id"))]
    pub vip: Option<String>,
    /// What it listens on.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub listeners: Vec<RawListener>,
}

/// Ports of the VIP and who answers there. It has exactly one of `port` and `ports`, and one or more backends, in `backends` or
/// in `groups`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawListener {
    /// Its name, unique among the listeners of all load balancers.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// What is spoken there. `http` and `https` are terminated by a proxy, `tcp` and `udp` are forwarded by the workers.
    #[schemars(required, extend("enum" = ["tcp", "udp", "http", "https"]))]
    pub protocol: Option<String>,
    /// The port of the VIP.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u64>,
    /// Ports of the VIP, the first and the last as in 8000-8010; only for `tcp` and `udp`.
    #[schemars(extend("format" = "ports"))]
    pub ports: Option<String>,
    /// Who gets a new connection: `roundrobin` each backend in turn, `weightroundrobin` as often as its weight says,
    /// `leastconn` the one with the fewest connections for its weight, `source` one chosen by the client's address, `consistent`
    /// one chosen by addresses and ports.
    #[schemars(extend("enum" = ["roundrobin", "weightroundrobin", "leastconn", "source", "consistent"], "default" = "roundrobin"))]
    pub algorithm: Option<String>,
    /// `dnat` keeps the client's address, `full_nat` puts that of the gateway in the backend's network in its place; only for `tcp`
    /// and `udp`.
    #[schemars(extend("enum" = ["dnat", "full_nat"], "default" = "dnat"))]
    pub mode: Option<String>,
    /// Whether a client comes back to the backend that it had.
    pub persistence: Option<RawPersistence>,
    /// Connections at a time.
    #[schemars(range(min = 1, max = r::CONNECTIONS_MAX), extend("default" = r::CONNECTIONS_DEFAULT))]
    pub max_connections: Option<u64>,
    /// Seconds without a packet after which a connection ends, of TCP once it is established; without it those of
    /// `gateway.timeouts`.
    #[schemars(range(min = 1, max = r::DAY_S))]
    pub idle_timeout_s: Option<u64>,
    /// From where it may be used; without it from everywhere.
    pub access: Option<RawAccess>,
    /// What new connections get when no backend is up: `refuse` answers with a TCP reset or ICMP port unreachable, `open` goes on
    /// as if all were up.
    #[schemars(extend("enum" = ["refuse", "open"], "default" = "refuse"))]
    pub all_down: Option<String>,
    /// What becomes of the connections of a backend that goes down: `keep` leaves them, `reset` ends them.
    #[schemars(extend("enum" = ["keep", "reset"], "default" = "keep"))]
    pub dead_sessions: Option<String>,
    /// Seconds in which a backend that is new, or came up again, grows to its whole weight; 0 for at once. Not for
    /// `source` and `consistent`, whose clients would move.
    #[schemars(range(min = 0, max = r::SLOW_START_MAX), extend("default" = 0))]
    pub slow_start_s: Option<u64>,
    /// How backends are probed; without it all count as up.
    pub health_check: Option<RawHealthCheck>,
    /// Of `http` and `https`: what the proxy does.
    pub http: Option<RawHttp>,
    /// Who answers.
    #[serde(default)]
    #[schemars(length(max = r::BACKENDS_MAX))]
    pub backends: Vec<RawBackend>,
    /// More backends, by groups.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub groups: Vec<RawBackendGroup>,
}

/// Where returning clients go.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawPersistence {
    /// What a client is known by: its address.
    #[schemars(extend("enum" = ["source"], "default" = "source"))]
    pub kind: Option<String>,
    /// Seconds after its last new connection in which a client comes back to its backend.
    #[schemars(range(min = 1, max = r::DAY_S), extend("default" = r::PERSISTENCE_DEFAULT))]
    pub timeout_s: Option<u64>,
}

/// Who may use a listener.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawAccess {
    /// `allow`: only those of `cidrs`; `deny`: everybody but those.
    #[schemars(required, extend("enum" = ["allow", "deny"]))]
    pub policy: Option<String>,
    /// Addresses of clients. Host bits may be set and mean nothing.
    #[schemars(required, length(min = 1, max = r::ACCESS_MAX), extend("x-item" = "CIDR"))]
    pub cidrs: Option<Vec<String>>,
}

/// How backends are probed, from the gateway's address in their network.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawHealthCheck {
    /// `tcp` connects, `http` asks for `path`, `udp` sends a datagram and takes an ICMP error for a failure, `none` does nothing.
    #[schemars(required, extend("enum" = ["tcp", "http", "udp", "none"]))]
    pub kind: Option<String>,
    /// Seconds from one probe to the next.
    #[schemars(range(min = 1, max = r::HEALTH_S_MAX), extend("default" = r::HEALTH_INTERVAL_DEFAULT))]
    pub interval_s: Option<u64>,
    /// Seconds after which a probe has failed.
    #[schemars(range(min = 1, max = r::HEALTH_S_MAX), extend("default" = r::HEALTH_TIMEOUT_DEFAULT))]
    pub timeout_s: Option<u64>,
    /// Probes in a row that must succeed before a backend that was down is up.
    #[schemars(range(min = 1, max = r::HEALTH_COUNT_MAX), extend("default" = r::HEALTHY_DEFAULT))]
    pub healthy: Option<u64>,
    /// Probes in a row that must fail before a backend is down.
    #[schemars(range(min = 1, max = r::HEALTH_COUNT_MAX), extend("default" = r::UNHEALTHY_DEFAULT))]
    pub unhealthy: Option<u64>,
    /// The port to probe; the backend's own (the first one of a range) without it.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u64>,
    /// Of `udp`: what the datagram holds; nothing when left out.
    #[schemars(length(max = r::HEALTH_DATAGRAM_MAX))]
    pub send: Option<String>,
    /// Of `udp`: how the answer must begin. Without it silence is a success, as long as the backend answers ARP.
    #[schemars(length(min = 1, max = r::HEALTH_DATAGRAM_MAX))]
    pub answer: Option<String>,
    /// Of `http`: the request's method.
    #[schemars(extend("enum" = ["HEAD", "GET"], "default" = "HEAD"))]
    pub method: Option<String>,
    /// Of `http`: what is asked for.
    #[schemars(extend("default" = "/"))]
    pub path: Option<String>,
    /// Of `http`: the `Host` header; the backend's address without it.
    pub host: Option<String>,
    /// Of `http`: the status codes of success, each as 204, 200-299 or 2xx.
    #[schemars(length(min = 1, max = 32), extend("x-item" = "status codes", "default" = r::HEALTH_EXPECT_DEFAULT))]
    pub expect: Option<Vec<String>>,
}

/// A VM that answers. It has either `nic`, or `vpc` and `address`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawBackend {
    /// The VM, by its NIC.
    #[schemars(extend("format" = "id"))]
    pub nic: Option<String>,
    /// The VM's VPC router.
    #[schemars(extend("format" = "id"))]
    pub vpc: Option<String>,
    /// The VM's address in `vpc`.
    #[schemars(extend("format" = "address"))]
    pub address: Option<String>,
    /// Its port for the first one of the listener, the others follow; the listener's own when left out.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u64>,
    /// Its part of new connections, beside the weights of the others; 0 for none. `roundrobin` only asks whether it is 0.
    #[schemars(range(min = 0, max = r::WEIGHT_MAX), extend("default" = r::WEIGHT_DEFAULT))]
    pub weight: Option<u64>,
    /// Connections at a time; others go to other backends.
    #[schemars(range(min = 1, max = r::CONNECTIONS_MAX))]
    pub max_connections: Option<u64>,
    /// `true` gives it no new connections and leaves it those that it has.
    #[schemars(extend("default" = false))]
    pub drain: Option<bool>,
    /// Seconds after which a backend that drains loses the connections that it still has; never when left out.
    #[schemars(range(min = 1, max = r::DAY_S))]
    pub drain_deadline_s: Option<u64>,
}

/// Backends under one name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawBackendGroup {
    /// Its name, unique in the listener.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// Who answers.
    #[serde(default)]
    #[schemars(length(max = r::BACKENDS_MAX))]
    pub backends: Vec<RawBackend>,
}
