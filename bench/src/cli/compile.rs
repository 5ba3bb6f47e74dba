//! `tidegate-bench compile`.

use anyhow::Result;
use clap::Args;
use tidegate_bench::compile;

#[derive(Debug, Args)]
pub(super) struct Compile {
    /// VPC routers.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    vpcs: u16,
    /// VXLAN networks of each.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..))]
    networks: u8,
    /// The median of so many is shown.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
}

impl Compile {
    pub(super) fn run(&self) -> Result<()> {
        let size = compile::Size { vpcs: self.vpcs, networks: self.networks };
        println!("{}", compile::table(size, self.rounds)?);
        Ok(())
    }
}
