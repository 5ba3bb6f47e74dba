//! `tidegate-agent`: the host end of ZSNP. See `tidegate-agent help` or `docs/agent.md`.

use std::process::ExitCode;

use clap::Parser;
use tidegate_agent::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
