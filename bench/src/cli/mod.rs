//! The command line.

#[cfg(feature = "control")]
mod compile;
#[cfg(feature = "control")]
mod desired;
mod instructions;
mod options;
#[cfg(feature = "peers")]
mod peers;
mod results;
mod run;
mod services;
#[cfg(feature = "control")]
mod shortcuts;
mod table;
mod write;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Cycles and instructions per packet of the gateway's packet path, without network cards.
#[derive(Debug, Parser)]
#[command(name = "tidegate-bench", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures the main scenarios and shows them beside their targets.
    Table(table::Table),
    /// Measures scenarios. Several values of an option are measured in turn, round by round.
    Run(Box<run::Run>),
    /// Measures scenarios beside others in one run: dpdk-testpmd as the floor, OVS-DPDK and the Linux kernel (root).
    #[cfg(feature = "peers")]
    Peers(peers::Peers),
    /// Writes the frames of a scenario to a capture file, to give them to something else.
    Write(write::Write),
    /// Counts instructions per packet with callgrind, exact on any machine.
    Instructions(instructions::Instructions),
    /// Counts what one more service costs: instructions per packet of scenarios that have one more each.
    Services(services::Services),
    /// Shows what changed between two documents beyond the noise: ranges of rounds that do not meet.
    Compare(results::Compare),
    /// Draws a document.
    Plot(results::Plot),
    /// Measures what control needs for a configuration: all of it, and one changed address.
    #[cfg(feature = "control")]
    Compile(compile::Compile),
    /// Measures what control needs for many objects of desired state, and for one changed object.
    #[cfg(feature = "control")]
    Desired(desired::Desired),
    /// Measures what control needs to find the flows that are worth a shortcut.
    #[cfg(feature = "control")]
    Shortcuts(shortcuts::Shortcuts),
}

/// Does what the command line says.
pub(crate) fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Table(table) => table.run(),
        Command::Run(run) => run.run(),
        #[cfg(feature = "peers")]
        Command::Peers(peers) => peers.run(),
        Command::Write(write) => write.run(),
        Command::Instructions(instructions) => instructions.run(),
        Command::Services(services) => services.run(),
        Command::Compare(compare) => compare.run(),
        Command::Plot(plot) => plot.run(),
        #[cfg(feature = "control")]
        Command::Compile(compile) => compile.run(),
        #[cfg(feature = "control")]
        Command::Desired(desired) => desired.run(),
        #[cfg(feature = "control")]
        Command::Shortcuts(shortcuts) => shortcuts.run(),
    }
}
