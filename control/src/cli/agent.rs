//! `tidegate agent`: the host agent is a program of its own, which needs no DPDK. Here it is found, and takes over.

use std::{ffi::OsString, io::ErrorKind, os::unix::process::CommandExt, path::PathBuf, process::Command};

use anyhow::{Error, anyhow};
use clap::Args;

/// Its name, beside this program or in `PATH`.
const PROGRAM: &str = "tidegate-agent";

/// What it is told.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(super) struct AgentArgs {
    /// Its command and options, such as `run`, `--dry-run` or `show shortcuts`; `help` lists them
    #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// This process becomes the agent; returns only what went wrong.
pub(super) fn become_agent(args: AgentArgs) -> Error {
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name(PROGRAM));
    let program = beside.filter(|beside| beside.exists()).unwrap_or_else(|| PathBuf::from(PROGRAM));
    let why = Command::new(&program).args(args.words).exec();
    match why.kind() {
        ErrorKind::NotFound => anyhow!(
            "the host agent is not installed: there is no `{PROGRAM}` beside this program and none in PATH; see docs/agent.md"
        ),
        _ => anyhow!("{} does not start: {why}", program.display()),
    }
}
