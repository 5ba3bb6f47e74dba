//! `tidegate`: the gateway and its tools. See `tidegate help` or `docs/cli.md`.

use std::process::ExitCode;

use clap::Parser;
use tidegate_control::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
