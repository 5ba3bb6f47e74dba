//! `tidegate-bench table`.

use anyhow::Result;
use clap::Args;
use tidegate_bench::{
    measurement::{Subject, measure},
    replay::flood::{Others, Size},
    report,
    scenario::{Name, Parameters},
    traffic::{Popularity, Traffic},
};

use super::{
    instructions,
    options::{Measuring, On, Places, Source, Subjects},
};
use crate::hugepages::Reserved;

/// Scenario, flows, routes: the rows that have a target, and the services without one.
const MAIN: [(Name, u32, u32); 19] = [
    (Name::Ip4, 10_000, 1),
    (Name::Ip4, 1_000_000, 1_000_000),
    (Name::VxlanVxlan, 10_000, 1),
    (Name::VxlanIp, 10_000, 1),
    (Name::Snat, 10_000, 1),
    (Name::Snat, 100_000, 1),
    (Name::Snat, 1_000_000, 1),
    (Name::VxlanSnat, 10_000, 1),
    (Name::VxlanSnat, 100_000, 1),
    (Name::VxlanSnat, 1_000_000, 1),
    (Name::Session, 10_000, 1),
    (Name::Session, 1_000_000, 1),
    (Name::Eip, 10_000, 1),
    (Name::PfIn, 10_000, 1),
    (Name::LbIn, 10_000, 1),
    (Name::LbIn, 1_000_000, 1),
    (Name::VxlanSnatQos, 10_000, 1),
    (Name::VxlanSnatColour, 10_000, 1),
    (Name::LbInFullNat, 10_000, 1),
];
/// Scenarios in which neighbouring packets are of different VPCs, and how often each flow comes.
const SPREAD: [(Name, Popularity); 4] = [
    (Name::VxlanVxlan, Popularity::Uniform),
    (Name::VxlanVxlan, Popularity::Zipf),
    (Name::VxlanSnat, Popularity::Uniform),
    (Name::VxlanSnat, Popularity::Zipf),
];
const SPREAD_FLOWS: u32 = 10_000;
const VPCS: u32 = 1_000;

/// Enough for all flow tables.
const HUGEPAGES_MIB: u32 = 1024;
/// What is sent through no engine.
const CONTROL: (Name, u32) = (Name::Ip4, 10_000);
/// Scenarios and flows of which the first packets are measured.
const NEW: [(Name, u32); 2] = [(Name::Snat, 100_000), (Name::VxlanSnat, 100_000)];
/// How large the flood beside 10,000 established flows is, and how much of it there is room for.
const FLOOD: Size = Size { frames: 200_000, others: Others::New { room: 100_000 } };
const FLOODED: (Name, u32) = (Name::VxlanSnat, 10_000);

/// Of the scenarios that peers are measured with.
#[cfg(feature = "peers")]
const PEERS_FLOWS: u32 = 10_000;

const FRAME_LEN: usize = 64;
const BURST: usize = 32;

#[derive(Debug, Args)]
pub(super) struct Table {
    /// Where packets are.
    #[arg(long, default_value = On::DEFAULT)]
    on: On,
    /// Leaves the counting of instructions out.
    #[arg(long)]
    no_instructions: bool,
    /// Measures in turn with these also dpdk-testpmd, OVS-DPDK and the Linux kernel (root), for the scenarios that they know; and
    /// the gateway fed by a process of its own.
    #[cfg(feature = "peers")]
    #[arg(long)]
    peers: bool,
    #[command(flatten)]
    measuring: Measuring,
}

impl Table {
    pub(super) fn run(&self) -> Result<()> {
        // Without root there are none, and the table says so.
        let _hugepages = match self.measuring.hugepages {
            None if self.on != On::Mem => {
                Reserved::new(HUGEPAGES_MIB + self.peers_mib()).or_else(|_| Reserved::new(HUGEPAGES_MIB)).ok()
            }
            _ => None,
        };
        let (_asked_for, machine) = self.measuring.begin()?;
        let places = Places::new(&[self.on], FRAME_LEN, &self.measuring)?;
        let mut subjects = self.subjects(&places)?;
        let mut rows = measure(&mut subjects, self.measuring.rounds as usize, self.measuring.length())?;
        drop(subjects);
        if !self.no_instructions {
            instructions::fill_once(&mut rows)?;
        }
        self.measuring.show(machine, rows, report::main_table)
    }

    /// Of hugepages for peers.
    fn peers_mib(&self) -> u32 {
        #[cfg(feature = "peers")]
        if self.peers {
            return super::peers::HUGEPAGES_MIB;
        }
        0
    }

    fn subjects(&self, places: &Places) -> Result<Vec<Box<dyn Subject>>> {
        let of = |flows| Parameters { flows, ..Parameters::default() };
        let mut subjects = Vec::new();
        let mut add = |name: Name, parameters: Parameters, source: fn(Traffic) -> Source| {
            let scenario = name.with(&parameters);
            let source = source(Traffic::new(&*scenario)?);
            let some = Subjects { scenario: &scenario, source: &source, burst: BURST };
            subjects.extend(places.at(self.on, some)?);
            anyhow::Ok(())
        };
        add(CONTROL.0, of(CONTROL.1), Source::Control)?;
        for (name, flows, routes) in MAIN {
            add(name, Parameters { routes, ..of(flows) }, Source::Established)?;
        }
        for (name, popularity) in SPREAD {
            add(name, Parameters { vpcs: VPCS, popularity, ..of(SPREAD_FLOWS) }, Source::Established)?;
        }
        for (name, flows) in NEW {
            add(name, of(flows), Source::New)?;
        }
        let (name, flows) = FLOODED;
        let source = Source::Flood(name, of(flows), FLOOD);
        let some = Subjects { scenario: &name.with(&of(flows)), source: &source, burst: BURST };
        subjects.extend(places.at(self.on, some)?);
        #[cfg(feature = "peers")]
        if self.peers {
            subjects.extend(super::peers::fed(&of(PEERS_FLOWS), places, &self.measuring)?);
            for name in super::peers::MAIN {
                subjects.extend(super::peers::peers(name, &of(PEERS_FLOWS), &self.measuring)?);
            }
        }
        Ok(subjects)
    }
}
