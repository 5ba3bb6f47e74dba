//! `tidegate-bench shortcuts`.

use anyhow::Result;
use clap::Args;
use tidegate_bench::shortcuts;

#[derive(Debug, Args)]
pub(super) struct Shortcuts {
    /// Flows between networks of a VPC router; several numbers are measured in turn.
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    flows: Vec<u32>,
    /// The median of so many looks is shown.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

impl Shortcuts {
    pub(super) fn run(&self) -> Result<()> {
        println!("{}", shortcuts::table(&self.flows, self.rounds)?);
        Ok(())
    }
}
