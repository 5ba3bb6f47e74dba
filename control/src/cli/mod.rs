//! The command line. What a command does is in the module of its noun; here is what can be said.

mod client;
mod doctor;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use self::client::Client;
use crate::{
    config::{self, Problems},
    daemon, log,
    show::{Filter, Table, print},
};

/// A fast-path gateway for virtual private clouds
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true)]
pub struct Cli {
    /// Control socket of the gateway to talk to
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/tidegate/control.sock")]
    socket: PathBuf,
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway in the foreground, until SIGTERM or SIGINT
    ///
    /// SIGHUP reads the configuration again. The log goes to standard error; TIDEGATE_LOG sets how much (info).
    Run(RunArgs),
    /// Check a configuration file: print all problems and exit with 1 if there are any
    Check {
        /// The file
        file: PathBuf,
    },
    /// Have the running gateway read its configuration again
    ///
    /// Prints the generation that is live on all workers, or every problem; then nothing has changed and the exit code is 1.
    Reload,
    /// Show what the running gateway does
    Show(ShowArgs),
    /// Say what this machine lacks to run a gateway
    Doctor,
    /// Print the version
    Version,
}

/// How to run.
#[derive(Debug, Args)]
struct RunArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Remove what an earlier run left behind instead of taking it over
    #[arg(long)]
    fresh: bool,
    /// How to write the log
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: log::Format,
}

/// What to show.
#[derive(Debug, Args)]
struct ShowArgs {
    /// The table
    #[arg(value_enum)]
    table: Table,
    /// Only of this VPC router
    #[arg(value_name = "VPC")]
    of: Option<String>,
    /// Only of this VPC router
    #[arg(long, value_name = "VPC", conflicts_with = "of")]
    vpc: Option<String>,
    /// Only of this network
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// At most so many rows (flows: 100 unless said)
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Does what was said; errors are on standard error.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Run(args) => {
            log::init(args.log_format);
            daemon::run(&daemon::Options { config: args.config, fresh: args.fresh })
        }
        Command::Check { file } => check(&file),
        Command::Reload => reload(&cli.socket),
        Command::Show(args) => show(&cli.socket, args),
        Command::Doctor => return doctor::run(),
        Command::Version => {
            println!("tidegate {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    match config::parse(&text) {
        Ok(config) => {
            let (vpcs, networks, routes) = (config.vpcs.len(), config.networks.len(), config.routes.len());
            let (vips, services) = (config.vips.len(), config.services().count());
            println!(
                "{} holds: {vpcs} VPC routers, {networks} networks, {routes} routes, {vips} VIPs, {services} services on them",
                file.display()
            );
            Ok(())
        }
        Err(Problems(problems)) => {
            problems.iter().for_each(|problem| println!("{problem}"));
            bail!("{}: {} to solve", file.display(), count(problems.len()))
        }
    }
}

fn count(problems: usize) -> String {
    if problems == 1 { "1 problem".to_owned() } else { format!("{problems} problems") }
}

fn reload(socket: &Path) -> Result<()> {
    let answer = Client::new(socket).post("/v1/reload")?;
    let reloaded: serde_json::Value = serde_json::from_str(&answer)?;
    let generation = &reloaded["generation"];
    if reloaded["live"] == true {
        println!("generation {generation} is live on all workers");
        return Ok(());
    }
    bail!("generation {generation} is published, but not all workers use it yet; see `tidegate show workers`")
}

fn show(socket: &Path, args: ShowArgs) -> Result<()> {
    let filter = Filter { vpc: args.of.or(args.vpc), network: args.network, limit: args.limit };
    let rows = Client::new(socket).show(args.table, &filter)?;
    if args.json {
        println!("{rows}");
    } else {
        let table = print::table(args.table, &rows);
        println!("{}", table.context("the gateway is of another version; use its own `tidegate`")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_manual_is_up_to_date() {
        let options = clap_markdown::MarkdownOptions::new().title("Commands".to_owned()).show_footer(false);
        let page = clap_markdown::help_markdown_custom::<Cli>(&options);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
        if std::env::var_os("GOLDEN_UPDATE").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(file == page, "docs/cli.md: run make docs-update");
    }
}
