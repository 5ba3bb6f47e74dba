//! What the gateway shows: one typed row per line of a table, the same for people (`tidegate show`) and programs
//! (`--json`, `GET /v1/show/TABLE`). Field names are the interface; they are not changed, only added to.
//!
//! Collecting reads counters and the control side; no worker notices.

mod collect;
pub mod print;
mod row;

use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use self::{
    collect::{Device, Source, collect},
    row::{
        BooksRow, DropRow, FlowRow, NeighborRow, NetworkRow, PortRow, RouteRow, StatusRow, VipRow, VpcRow,
        VtepRow, WorkerRow,
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
    /// Configured routes, whether they are in force, and if not, why
    Routes,
    /// Who has an address, and behind which VTEP
    Neighbors,
    /// Our tunnel ends and the remote ones
    Vteps,
    /// Flow entries
    Flows,
    /// Dropped packets by network and reason
    Drops,
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
            Table::Routes => "routes",
            Table::Neighbors => "neighbors",
            Table::Vteps => "vteps",
            Table::Flows => "flows",
            Table::Drops => "drops",
        }
    }
}

impl FromStr for Table {
    type Err = String;

    fn from_str(text: &str) -> Result<Table, String> {
        let name = |t: &&Table| t.name() == text;
        let names = || Table::value_variants().iter().map(|t| t.name()).collect::<Vec<_>>().join(", ");
        Table::value_variants()
            .iter()
            .find(name)
            .copied()
            .ok_or_else(|| format!("there is no table `{text}`; ask for one of {}", names()))
    }
}

/// Which rows of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Rows of this VPC router only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
    /// Rows of this network only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// At most so many rows; flows have a limit of [`FLOWS_DEFAULT`] without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// How many flows are shown unless more are asked for.
pub const FLOWS_DEFAULT: usize = 100;
