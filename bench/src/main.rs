//! `tidegate-bench`: what a packet costs. See `docs/performance.md`.

mod cli;
mod hugepages;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    cli::run(&cli::Cli::parse())
}
