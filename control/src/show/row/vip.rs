//! Rows of public addresses.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::show::print::Columns;

/// A slice of a public address (VIP) and who owns it; a VIP that nobody uses has one row without an owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipRow {
    /// The VIP, as configured.
    pub id: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its public network.
    pub network: String,
    /// `up` or `down`, as the link of its public network.
    pub state: String,
    /// Packets to the VIP, whoever owns the slice.
    pub packets_in: u64,
    /// Bytes (IP total length) of them.
    pub bytes_in: u64,
    /// Packets from the VIP.
    pub packets_out: u64,
    /// Bytes of them.
    pub bytes_out: u64,
    /// The VPC router that the VIP belongs to.
    pub vpc: Option<String>,
    /// What this row is about: `all`, ports as in `tcp 2222-2224`, or the `rest` that no other service has.
    pub slice: Option<String>,
    /// `eip`, `port_forward` or `snat`.
    pub service: Option<String>,
    /// The service that owns the slice, as configured.
    pub owner: Option<String>,
    /// Where packets go to, or come from, in words.
    pub to: Option<String>,
    /// From where it may be used; null for everywhere.
    pub allowed: Option<String>,
}

impl Columns for VipRow {
    const HEAD: &'static [&'static str] = &[
        "vip",
        "address",
        "network",
        "state",
        "bytes in",
        "bytes out",
        "vpc",
        "slice",
        "service",
        "owner",
        "to",
        "allowed",
    ];

    fn cells(&self) -> Vec<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![
            self.id.clone(),
            self.address.to_string(),
            self.network.clone(),
            self.state.clone(),
            self.bytes_in.to_string(),
            self.bytes_out.to_string(),
            text(&self.vpc),
            self.slice.clone().unwrap_or_else(|| "(free)".to_owned()),
            text(&self.service),
            text(&self.owner),
            text(&self.to),
            text(&self.allowed),
        ]
    }
}
