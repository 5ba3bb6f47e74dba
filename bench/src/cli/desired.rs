//! `tidegate-bench desired`.

use anyhow::Result;
use clap::Args;
use tidegate_bench::desired;

#[derive(Debug, Args)]
pub(super) struct Desired {
    /// VPC routers.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    vpcs: u16,
    /// VXLAN networks of each.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=250))]
    networks: u8,
    /// Routes.
    #[arg(long, default_value_t = 100_000)]
    routes: u32,
    /// Port forwards.
    #[arg(long, default_value_t = 100_000)]
    forwards: u32,
}

impl Desired {
    pub(super) fn run(&self) -> Result<()> {
        let Desired { vpcs, networks, routes, forwards } = *self;
        println!("{}", desired::table(desired::Size { vpcs, networks, routes, forwards })?);
        Ok(())
    }
}
