//! What the gateway shows: one typed row per line of a table, the same for people (`tidegate show`) and programs
//! (`--json`, `GET /v1/show/TABLE`). Field names are the interface; they are not changed, only added to.
//!
//! Collecting reads counters and the control side; no worker notices.

mod collect;
pub mod print;
mod row;

use std::str::FromStr;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    collect::{Collection, Device, Rows, Source, collect},
    row::{
        BackendRow, BindingRow, BooksRow, ColourCounts, DropRow, FlowRow, HttpRow, ListenerRow, MappingRow,
        NeighborRow, NetworkRow, PoolRow, PortRow, QosRow, RouteRow, SessionRow, ShortcutRow, StatusRow,
        UserRow, VipRow, VpcRow, VtepRow, WorkerRow,
    },
};

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Version, generation, uptime, how full the tables are
    Status,
    /// Ports with their links and counters
    Ports,
    /// Workers: load, rings, and their books
    Workers,
    /// VPC routers
    Vpcs,
    /// Networks of every kind
    Networks,
    /// Public addresses, and who owns which slice of each
    Vips,
    /// Rate limits: how full each bucket is, what passed and what was dropped
    Qos,
    /// Configured routes, whether they are in force, and if not, why
    Routes,
    /// Who has an address, and behind which VTEP
    Neighbors,
    /// Our tunnel ends and the remote ones
    Vteps,
    /// Traffic between networks that hosts may carry past the gateway: what does, what does not, and why
    Shortcuts,
    /// Flow entries
    Flows,
    /// Dropped packets by network and reason
    Drops,
    /// Translated connections
    #[value(skip)]
    #[serde(rename = "nat/sessions")]
    NatSessions,
    /// Port blocks of VMs
    #[value(skip)]
    #[serde(rename = "nat/bindings")]
    NatBindings,
    /// How full the addresses of SNAT are
    #[value(skip)]
    #[serde(rename = "nat/pools")]
    NatPools,
    /// Listeners of load balancers
    #[value(skip)]
    #[serde(rename = "lb/listeners")]
    LbListeners,
    /// Their backends
    #[value(skip)]
    #[serde(rename = "lb/backends")]
    LbBackends,
    /// Listeners that proxies serve, and their backends
    #[value(skip)]
    #[serde(rename = "lb/http")]
    LbHttp,
}

impl Table {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Status => "status",
            Table::Ports => "ports",
            Table::Workers => "workers",
            Table::Vpcs => "vpcs",
            Table::Networks => "networks",
            Table::Vips => "vips",
            Table::Qos => "qos",
            Table::Routes => "routes",
            Table::Neighbors => "neighbors",
            Table::Vteps => "vteps",
            Table::Shortcuts => "shortcuts",
            Table::Flows => "flows",
            Table::Drops => "drops",
            Table::NatSessions => "nat/sessions",
            Table::NatBindings => "nat/bindings",
            Table::NatPools => "nat/pools",
            Table::LbListeners => "lb/listeners",
            Table::LbBackends => "lb/backends",
            Table::LbHttp => "lb/http",
        }
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Table> {
        let nat = [Table::NatSessions, Table::NatBindings, Table::NatPools];
        let lb = [Table::LbListeners, Table::LbBackends, Table::LbHttp];
        Table::value_variants().iter().copied().chain(nat).chain(lb)
    }

    /// The keys of [`Filter`] that only some tables have.
    const fn own_keys(self) -> &'static [&'static str] {
        match self {
            Table::NatSessions => &["inside", "public", "remote", "protocol", "state"],
            Table::NatBindings => &["inside", "public", "protocol"],
            Table::NatPools => &["public", "protocol"],
            Table::LbListeners | Table::LbBackends | Table::LbHttp => &["listener"],
            _ => &[],
        }
    }

    /// How many rows are shown unless more are asked for; `None` for all of them.
    const fn rows_default(self) -> Option<usize> {
        match self {
            Table::Flows | Table::Shortcuts | Table::NatSessions | Table::NatBindings => Some(ROWS_DEFAULT),
            _ => None,
        }
    }
}

impl FromStr for Table {
    type Err = String;

    fn from_str(text: &str) -> Result<Table, String> {
        let names = || Table::all().map(Table::name).collect::<Vec<_>>().join(", ");
        Table::all()
            .find(|table| table.name() == text)
            .ok_or_else(|| format!("there is no table `{text}`; ask for one of {}", names()))
    }
}

/// Which rows of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Rows of this VPC router only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
    /// Rows of this network only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// At most so many rows; tables that grow with traffic have a limit of [`ROWS_DEFAULT`] without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// NAT: inside addresses (an address or a subnet) and perhaps their port: `10.1.1.7:4000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<String>,
    /// NAT: public addresses or a VIP by name, and perhaps the port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
    /// NAT: remote addresses and perhaps their port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// NAT: `tcp`, `udp`, `icmp` or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// NAT: a TCP state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Load balancers: a listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
}

impl Filter {
    /// Adds `key=value`, as it is given to `show nat`.
    ///
    /// # Errors
    /// A sentence: no such key, or no `=`.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| format!("the filter `{text}` is not KEY=VALUE"))?;
        let field = match key {
            "vpc" => &mut self.vpc,
            "inside" => &mut self.inside,
            "public" => &mut self.public,
            "remote" => &mut self.remote,
            "protocol" => &mut self.protocol,
            "state" => &mut self.state,
            "listener" => &mut self.listener,
            _ => {
                return Err(format!(
                    "there is no filter `{key}`; use vpc, inside, public, remote, protocol, state or listener"
                ));
            }
        };
        *field = Some(value.to_owned());
        Ok(())
    }

    /// Refuses keys that a table does not have.
    fn fits(&self, table: Table) -> Result<(), String> {
        let given = [
            ("inside", &self.inside),
            ("public", &self.public),
            ("remote", &self.remote),
            ("protocol", &self.protocol),
            ("state", &self.state),
            ("listener", &self.listener),
        ];
        let extra = given.iter().find(|(key, value)| value.is_some() && !table.own_keys().contains(key));
        extra.map_or(Ok(()), |(key, _)| Err(format!("the table {} has no filter `{key}`", table.name())))
    }
}

/// How many rows of tables that grow with traffic are shown unless more are asked for.
pub const ROWS_DEFAULT: usize = 100;
