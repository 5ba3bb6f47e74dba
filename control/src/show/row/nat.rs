//! Rows of address translation.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::show::print::{Columns, age, percent};

/// A translated connection, both directions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The VPC router of the inside.
    pub vpc: String,
    /// The VM's address.
    pub inside: Ipv4Addr,
    /// Its port or query identifier; 0 for protocols without.
    pub inside_port: u16,
    /// The VIP, as configured; null where it is gone.
    pub vip: Option<String>,
    /// Its address.
    pub public: Ipv4Addr,
    /// The port or query identifier there.
    pub public_port: u16,
    /// The other end.
    pub remote: Ipv4Addr,
    /// Its port; 0 for protocols without.
    pub remote_port: u16,
    /// `tcp`, `udp`, `icmp` or the number.
    pub protocol: String,
    /// `snat` or `port_forward`.
    pub service: String,
    /// Of TCP: `opening`, `established`, `half-closed`, `closing` or `reset`.
    pub state: Option<String>,
    /// Packets from the VM.
    pub packets_out: u64,
    /// Bytes of them, of IP total length.
    pub bytes_out: u64,
    /// Packets to the VM.
    pub packets_in: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Seconds since the last packet of either direction.
    pub idle_s: u64,
}

impl Columns for SessionRow {
    const HEAD: &'static [&'static str] = &[
        "vpc",
        "inside",
        "public",
        "remote",
        "protocol",
        "service",
        "state",
        "packets out",
        "bytes out",
        "packets in",
        "bytes in",
        "idle",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.vpc.clone(),
            format!("{}:{}", self.inside, self.inside_port),
            format!("{}:{}", self.public, self.public_port),
            format!("{}:{}", self.remote, self.remote_port),
            self.protocol.clone(),
            self.service.clone(),
            self.state.clone().unwrap_or_else(|| "-".to_owned()),
            self.packets_out.to_string(),
            self.bytes_out.to_string(),
            self.packets_in.to_string(),
            self.bytes_in.to_string(),
            age(self.idle_s * 1_000),
        ]
    }
}

/// A port block of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingRow {
    /// The VPC router.
    pub vpc: String,
    /// The VM's address.
    pub inside: Ipv4Addr,
    /// The VIP, as configured; null where it is gone.
    pub vip: Option<String>,
    /// Its address.
    pub public: Option<Ipv4Addr>,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// First port of the block.
    pub first_port: u16,
    /// Last port of the block.
    pub last_port: u16,
    /// How many of them sessions use.
    pub used: u32,
    /// Sessions on them.
    pub sessions: u64,
    /// Which port inside each port in use stands for.
    pub mappings: Vec<MappingRow>,
}

/// A public port and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingRow {
    /// The VM's port or query identifier.
    pub inside_port: u16,
    /// The public one.
    pub public_port: u16,
}

impl Columns for BindingRow {
    const HEAD: &'static [&'static str] =
        &["vpc", "inside", "vip", "public", "protocol", "ports", "used", "sessions"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.vpc.clone(),
            self.inside.to_string(),
            self.vip.clone().unwrap_or_else(|| "(gone)".to_owned()),
            self.public.map(|address| address.to_string()).unwrap_or_default(),
            self.protocol.clone(),
            format!("{}-{}", self.first_port, self.last_port),
            self.used.to_string(),
            self.sessions.to_string(),
        ]
    }
}

/// How full a VIP of SNAT is, of one protocol. The four numbers add up to the ports from 1024 on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRow {
    /// The VIP, as configured.
    pub vip: String,
    /// Its address.
    pub public: Ipv4Addr,
    /// Its public network.
    pub network: String,
    /// The VPC router that it belongs to.
    pub vpc: String,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// Ports that sessions use.
    pub used: u32,
    /// Free ports in blocks of VMs, which only those VMs get.
    pub leased: u32,
    /// Ports that any VM may get.
    pub free: u32,
    /// Ports of other services.
    pub held: u32,
    /// Who uses most; at most five.
    pub largest: Vec<UserRow>,
}

/// A VM and how many ports it uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// The VPC router.
    pub vpc: String,
    /// The VM's address.
    pub inside: Ipv4Addr,
    /// Its ports.
    pub ports: u32,
}

impl Columns for PoolRow {
    const HEAD: &'static [&'static str] =
        &["vip", "public", "vpc", "protocol", "used", "leased", "free", "held", "taken", "largest users"];

    fn cells(&self) -> Vec<String> {
        let taken = self.used + self.leased;
        let largest = self.largest.iter().map(|user| format!("{} {}", user.inside, user.ports));
        vec![
            self.vip.clone(),
            self.public.to_string(),
            self.vpc.clone(),
            self.protocol.clone(),
            self.used.to_string(),
            self.leased.to_string(),
            self.free.to_string(),
            self.held.to_string(),
            percent(taken.into(), (taken + self.free).into()),
            largest.collect::<Vec<_>>().join(", "),
        ]
    }
}
