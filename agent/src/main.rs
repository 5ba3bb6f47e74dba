//! `tidegate-agent`: the host end of ZSNP. See `tidegate-agent help` or `docs/agent.md`.

use std::process::ExitCode;

use tidegate_agent::cli;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}
