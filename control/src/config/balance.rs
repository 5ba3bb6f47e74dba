//! Load balancers: listeners on VIPs and the VMs that answer.

use std::fmt;

use ipnet::Ipv4Net;
use tidegate_fastpath::table::nat::Slice;

use super::{Config, Id, VpcNetwork, http::Http, nat::Vm};

/// Listeners on one VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Its name.
    pub id: Id,
    /// The VIP.
    pub vip: Id,
    /// Its listeners.
    pub listeners: Vec<Listener>,
}

/// Ports of a VIP and who answers there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, unique among the listeners of all load balancers.
    pub id: Id,
    /// The load balancer.
    pub balancer: Id,
    /// The load balancer's VIP.
    pub vip: Id,
    /// The VPC router of all its backends.
    pub vpc: Id,
    /// What is spoken there.
    pub protocol: ListenerProtocol,
    /// Which ports of the VIP.
    pub slice: Slice,
    /// Who gets a new connection.
    pub algorithm: Algorithm,
    /// Whose address backends see.
    pub mode: Mode,
    /// Seconds in which a client comes back to its backend; `None` for no persistence.
    pub persistence_s: Option<u32>,
    /// Connections at a time.
    pub max_connections: u32,
    /// Seconds without a packet after which a connection ends; `None` for those of the gateway.
    pub idle_timeout_s: Option<u32>,
    /// Who may use it.
    pub access: Access,
    /// What new connections get when no backend is up.
    pub all_down: AllDown,
    /// What becomes of the connections of a backend that goes down.
    pub dead_sessions: DeadSessions,
    /// Seconds in which a backend grows to its whole weight; 0 for at once.
    pub slow_start_s: u32,
    /// How backends are probed; `None` where all count as up.
    pub health_check: Option<HealthCheck>,
    /// What its proxy does; nothing for a listener without one.
    pub http: Box<Http>,
    /// All of them, groups included, in the order of the document; not empty, no two with one VM and port.
    pub backends: Vec<Backend>,
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// TCP, forwarded.
    Tcp,
    /// UDP, forwarded.
    Udp,
    /// HTTP, terminated by a proxy.
    Http,
    /// HTTP over TLS, terminated by a proxy.
    Https,
}

impl ListenerProtocol {
    /// Whether a proxy terminates its connections.
    pub const fn is_proxied(self) -> bool {
        matches!(self, ListenerProtocol::Http | ListenerProtocol::Https)
    }

    /// As it is written.
    pub const fn label(self) -> &'static str {
        match self {
            ListenerProtocol::Tcp => "tcp",
            ListenerProtocol::Udp => "udp",
            ListenerProtocol::Http => "http",
            ListenerProtocol::Https => "https",
        }
    }
}

/// Who gets a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Each backend in turn.
    RoundRobin,
    /// Each as often as its weight says.
    WeightRoundRobin,
    /// The one with the fewest connections for its weight.
    LeastConnections,
    /// By the client's address.
    Source,
    /// By addresses and ports.
    Consistent,
}

impl Algorithm {
    /// As it is written.
    pub const fn label(self) -> &'static str {
        match self {
            Algorithm::RoundRobin => "roundrobin",
            Algorithm::WeightRoundRobin => "weightroundrobin",
            Algorithm::LeastConnections => "leastconn",
            Algorithm::Source => "source",
            Algorithm::Consistent => "consistent",
        }
    }
}

/// Whose address backends see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The client's.
    Dnat,
    /// The gateway's in the backend's network.
    FullNat,
}

/// Who may use a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    #[default]
    Everybody,
    /// Only these.
    Allow(Vec<Ipv4Net>),
    /// Everybody but these.
    Deny(Vec<Ipv4Net>),
}

/// What new connections get when no backend is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllDown {
    /// A TCP reset, or ICMP port unreachable.
    Refuse,
    /// A backend, as if all were up.
    Open,
}

/// What becomes of the connections of a backend that goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadSessions {
    /// They stay.
    Keep,
    /// They end.
    Reset,
}

/// How backends are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// With what.
    pub probe: Probe,
    /// Seconds from one probe to the next, from 1 on.
    pub interval_s: u32,
    /// Seconds after which a probe has failed, from 1 on.
    pub timeout_s: u32,
    /// Successes in a row before a backend is up.
    pub healthy: u32,
    /// Failures in a row before it is down.
    pub unhealthy: u32,
    /// The port; `None` for the backend's own.
    pub port: Option<u16>,
}

/// A probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A TCP connection.
    Tcp,
    /// A datagram; an ICMP error is a failure.
    Udp {
        /// What it holds; may be empty.
        send: String,
        /// How the answer must begin; `None` where none is needed.
        answer: Option<String>,
    },
    /// A request over HTTP/1.1.
    Http {
        /// `HEAD` or `GET`.
        method: &'static str,
        /// From the slash on; visible ASCII.
        path: String,
        /// The `Host` header, visible ASCII; `None` for the backend's address.
        host: Option<String>,
        /// Status codes of success, each range with both ends.
        expect: Vec<(u16, u16)>,
    },
}

/// A VM that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its group; `None` for one of the listener itself.
    pub group: Option<Id>,
    /// The VM.
    pub vm: Vm,
    /// Its port for the listener's first one; the others follow.
    pub port: u16,
    /// Its part of new connections; 0 for none.
    pub weight: u16,
    /// Connections at a time; `u32::MAX` for any number.
    pub max_connections: u32,
    /// Whether it gets no new connections.
    pub drain: bool,
    /// Seconds of draining after which its connections end; `None` for never.
    pub drain_deadline_s: Option<u32>,
}

/// What a backend is known by: one VM and port of one listener. It stays the same when weights and the like change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendKey {
    /// The listener.
    pub listener: Id,
    /// The VM.
    pub vm: Vm,
    /// Its port for the listener's first one.
    pub port: u16,
}

impl fmt::Display for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} of listener {}", self.vm.address, self.port, self.listener)
    }
}

impl Config {
    /// The networks with backends of listeners with full NAT, by name: our address there stands for the clients.
    pub fn masked_networks<'a>(&'a self) -> Vec<&'a VpcNetwork> {
        let full = self.listeners().filter(|l| l.mode == Mode::FullNat && !l.protocol.is_proxied());
        let of = |vm: &'a Vm| self.networks.of(&vm.vpc).find(|network| network.cidr.contains(&vm.address));
        let mut networks: Vec<_> =
            full.flat_map(|l| &l.backends).filter_map(|backend| of(&backend.vm)).collect();
        networks.sort_unstable_by_key(|network| &network.id);
        networks.dedup_by_key(|network| &network.id);
        networks
    }
}

impl Listener {
    /// What one of its backends is known by.
    pub fn key(&self, backend: &Backend) -> BackendKey {
        BackendKey { listener: self.id.clone(), vm: backend.vm.clone(), port: backend.port }
    }
}
