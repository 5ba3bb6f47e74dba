//! `tidegate-bench table`.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use tidegate_bench::{
    measurement::measure,
    report,
    scenario::{Name, Parameters, Scenario},
    traffic::Traffic,
};

use super::{
    instructions,
    options::{Measuring, On, Places, Source},
};
use crate::hugepages::Reserved;

/// Scenario, flows, routes: the rows that have a target, and the services without one.
const MAIN: [(Name, u32, u32); 14] = [
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
];

/// Enough for all flow tables.
const HUGEPAGES_MIB: u32 = 1024;
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
    #[command(flatten)]
    measuring: Measuring,
}

impl Table {
    pub(super) fn run(&self) -> Result<()> {
        // Without root there are none, and the table says so.
        let _hugepages = match self.measuring.hugepages {
            None if self.on == On::Dpdk => Reserved::new(HUGEPAGES_MIB).ok(),
            _ => None,
        };
        let (_asked_for, machine) = self.measuring.begin()?;
        let places = Places::new(&[self.on], FRAME_LEN, self.measuring.cpu)?;
        let scenarios = MAIN.iter().map(|(name, flows, routes)| {
            name.with(&Parameters { flows: *flows, routes: *routes, ..Parameters::default() })
        });
        let subject = |scenario: Arc<dyn Scenario>| {
            let source = Source::Scenario(Traffic::new(&*scenario)?);
            places.replay(self.on, &scenario, &source, BURST)
        };
        let mut subjects = scenarios.map(subject).collect::<Result<Vec<_>>>()?;
        let mut rows = measure(&mut subjects, self.measuring.rounds as usize, self.measuring.length())?;
        drop(subjects);
        if !self.no_instructions {
            instructions::fill_once(&mut rows)?;
        }
        self.measuring.show(machine, rows, report::main_table)
    }
}
