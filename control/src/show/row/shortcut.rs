//! Rows of shortcuts.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::show::print::{Columns, age};

/// Traffic from one network on one host to one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortcutRow {
    /// The VPC router.
    pub vpc: String,
    /// The network that packets come from.
    pub network: String,
    /// The tunnel end of the host that they come from.
    pub host: Ipv4Addr,
    /// Where they go.
    pub destination: Ipv4Addr,
    /// `idle` and `held`: by the gateway; `locating`, `offering`: hosts are asked; `active`: direct.
    pub state: String,
    /// Why not direct; null where nothing stands in the way.
    pub why: Option<String>,
    /// Milliseconds in this state.
    pub since_ms: u64,
    /// The tunnel end that they go to directly; null while they do not.
    pub to: Option<Ipv4Addr>,
    /// Packets that went direct, as the host says.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
    /// Round trip of the direct path in µs, as the host measures it.
    pub rtt_us: Option<u32>,
    /// Probes that are lost on it, per thousand.
    pub loss_permille: Option<u16>,
}

impl Columns for ShortcutRow {
    const HEAD: &'static [&'static str] = &[
        "vpc",
        "network",
        "host",
        "destination",
        "state",
        "since",
        "to",
        "packets",
        "bytes",
        "rtt",
        "loss",
        "why",
    ];

    fn cells(&self) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            self.vpc.clone(),
            self.network.clone(),
            self.host.to_string(),
            self.destination.to_string(),
            self.state.clone(),
            age(self.since_ms),
            or_dash(self.to.map(|to| to.to_string())),
            self.packets.to_string(),
            self.bytes.to_string(),
            or_dash(self.rtt_us.map(|us| format!("{us}us"))),
            or_dash(self.loss_permille.map(|lost| format!("{}.{}%", lost / 10, lost % 10))),
            or_dash(self.why.clone()),
        ]
    }
}
