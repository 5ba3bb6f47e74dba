//! Rows of load balancers.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::show::print::{Columns, age};

/// A listener of a load balancer. Numbers are null for one that a proxy serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerRow {
    /// As configured.
    pub id: String,
    /// Its load balancer.
    pub balancer: String,
    /// The VPC router of its backends.
    pub vpc: String,
    /// The VIP.
    pub vip: String,
    /// `tcp`, `udp`, `http` or `https`.
    pub protocol: String,
    /// Ports of the VIP.
    pub ports: String,
    /// Who gets a new connection.
    pub algorithm: String,
    /// Backends configured.
    pub backends: usize,
    /// Those that get new connections.
    pub backends_taking: Option<usize>,
    /// Open connections, those of removed backends included.
    pub connections: Option<u32>,
    /// Most of them.
    pub max_connections: u32,
    /// Connections that were opened.
    pub opened: Option<u64>,
    /// New connections refused because the client is not allowed.
    pub denied: Option<u64>,
    /// New connections refused because the listener, or each of its backends, had as many as it may.
    pub full: Option<u64>,
    /// New connections refused because no backend takes any.
    pub no_backend: Option<u64>,
    /// Bytes (IP total length) from clients.
    pub bytes_in: Option<u64>,
    /// Bytes to clients.
    pub bytes_out: Option<u64>,
}

impl Columns for ListenerRow {
    const HEAD: &'static [&'static str] = &[
        "listener",
        "balancer",
        "vpc",
        "vip",
        "protocol",
        "ports",
        "algorithm",
        "backends",
        "connections",
        "opened",
        "denied",
        "full",
        "no backend",
        "bytes in",
        "bytes out",
    ];

    fn cells(&self) -> Vec<String> {
        let taking = self.backends_taking.map(|taking| format!("{taking} of {}", self.backends));
        vec![
            self.id.clone(),
            self.balancer.clone(),
            self.vpc.clone(),
            self.vip.clone(),
            self.protocol.clone(),
            self.ports.clone(),
            self.algorithm.clone(),
            taking.unwrap_or_else(|| self.backends.to_string()),
            text(self.connections),
            text(self.opened),
            text(self.denied),
            text(self.full),
            text(self.no_backend),
            text(self.bytes_in),
            text(self.bytes_out),
        ]
    }
}

/// A backend of a listener. Numbers are null where a proxy serves the listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRow {
    /// The listener.
    pub listener: String,
    /// The VPC router.
    pub vpc: String,
    /// The VM.
    pub address: Ipv4Addr,
    /// Its port for the listener's first one.
    pub port: u16,
    /// Its group.
    pub group: Option<String>,
    /// `up`, `down`, `unchecked` (nobody has said yet: counts as up), `draining` (with connections) or `drained`.
    pub state: String,
    /// Why it is up or down, as its check says.
    pub reason: Option<String>,
    /// For how many seconds it has been up or down.
    pub for_s: Option<u64>,
    /// Its weight, as configured.
    pub weight: u16,
    /// For how many seconds more one that drains keeps its connections; null for ever.
    pub drain_left_s: Option<u64>,
    /// Whether it gets new connections.
    pub taking: Option<bool>,
    /// Open connections.
    pub connections: Option<u32>,
    /// Most of them; null for any number.
    pub max_connections: Option<u32>,
    /// Connections that were opened.
    pub opened: Option<u64>,
    /// Resets by which it answered a SYN; clients met another backend instead, where there was one.
    pub refused: Option<u64>,
    /// Bytes (IP total length) from clients.
    pub bytes_in: Option<u64>,
    /// Bytes to clients.
    pub bytes_out: Option<u64>,
}

impl Columns for BackendRow {
    const HEAD: &'static [&'static str] = &[
        "listener",
        "vpc",
        "backend",
        "group",
        "state",
        "for",
        "weight",
        "connections",
        "opened",
        "refused",
        "bytes in",
        "bytes out",
        "reason",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.listener.clone(),
            self.vpc.clone(),
            format!("{}:{}", self.address, self.port),
            text(self.group.as_ref()),
            match self.drain_left_s {
                Some(left) => format!("{} ({} left)", self.state, age(left * 1_000)),
                None => self.state.clone(),
            },
            text(self.for_s.map(|s| age(s * 1_000))),
            self.weight.to_string(),
            text(self.connections),
            text(self.opened),
            text(self.refused),
            text(self.bytes_in),
            text(self.bytes_out),
            text(self.reason.as_ref()),
        ]
    }
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
