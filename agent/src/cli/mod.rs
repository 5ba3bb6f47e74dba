//! The command line of `tidegate-agent`.

mod show;
mod words;

use std::{ffi::OsString, io::IsTerminal, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::{
    bpf::Attach,
    core::Limits,
    daemon::{self, Options},
    host::{Inventory, Netlink},
};

/// The host end of ZSNP: east-west traffic goes host to host
#[derive(Debug, Parser)]
#[command(name = "tidegate-agent", version)]
struct Cli {
    /// Status socket of the agent
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/tidegate-agent/agent.sock")]
    socket: PathBuf,
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent in the foreground, until SIGTERM or SIGINT
    ///
    /// SIGHUP reads the key file again. The log goes to standard error; TIDEGATE_LOG sets how much (info).
    Run(RunArgs),
    /// Show what a running agent does
    Show {
        /// What of it
        what: What,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Options of `run`.
#[derive(Debug, Args)]
struct RunArgs {
    /// The keys that gateways and agents share: a number and 32 bytes or more in hexadecimal per line, mode 0600
    #[arg(long, value_name = "PATH", default_value = "/etc/tidegate/zsnp.keys")]
    key_file: PathBuf,
    /// Interface with the tunnel end's address, where VXLAN devices name neither
    #[arg(long, value_name = "NAME")]
    underlay: Option<String>,
    /// Print what would be attached where, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// How programs are attached
    #[arg(long, value_enum, default_value_t)]
    attach: Attach,
    /// Most shortcuts of this host; each takes 16 bytes per CPU and 150 more when it is in use
    #[arg(long, value_name = "N", default_value_t = 131_072, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    shortcuts_max: u32,
    /// Most shortcuts of one VPC
    #[arg(long, value_name = "N", default_value_t = 131_072)]
    per_vpc_max: u32,
    /// Most shortcuts to one VM
    #[arg(long, value_name = "N", default_value_t = 1024)]
    per_vm_max: u32,
    /// How long shortcuts in use outlive a gateway that is silent, while their host answers
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// IP protocol number of ZSNP
    #[arg(long, value_name = "N", default_value_t = tidegate_zsnp::PROTOCOL)]
    protocol: u8,
    /// Directory for the agent's id
    #[arg(long, value_name = "PATH", default_value = "/var/lib/tidegate-agent")]
    state: PathBuf,
    /// Loopback address for Prometheus, at /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9473")]
    metrics: SocketAddr,
    /// Serve no metrics
    #[arg(long)]
    no_metrics: bool,
    /// Loopback address for the local API of a ZStack host (`/`, `/conn`, `/enable`, `/disable`; usually 127.0.0.1:7274); any
    /// user of this host can switch shortcuts by it
    #[arg(long, value_name = "ADDRESS")]
    local_api: Option<SocketAddr>,
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Pairs that go directly: state, since when, round trip and loss, packets and bytes
    Shortcuts,
    /// Ways to other hosts, as PROBEs find them
    Paths,
    /// Devices, and the program on each or why there is none
    Devices,
    /// Counters
    Counters,
}

/// Runs what the words of a command line say, the program's name first.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match words::settle(words) {
        Ok(words) => Cli::parse_from(words),
        Err(why) => {
            eprintln!("tidegate: {why}");
            return ExitCode::FAILURE;
        }
    };
    let filter = EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process keeps the first logger.
    let _ = logger.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init();
    match runtime().and_then(|runtime| runtime.block_on(command(cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("tidegate-agent: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn command(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Run(args) if args.dry_run => dry_run(args.underlay).await,
        Command::Run(args) => daemon::run(options(args, cli.socket)).await,
        Command::Show { what, json } => show::show(&daemon::ask(&cli.socket).await?, what, json),
    }
}

fn options(args: RunArgs, socket: PathBuf) -> Options {
    let RunArgs { shortcuts_max, per_vpc_max, per_vm_max, .. } = args;
    Options {
        key_file: args.key_file,
        underlay: args.underlay,
        protocol: args.protocol,
        attach: args.attach,
        limits: Limits { shortcuts_max, per_vpc_max, per_vm_max },
        grace: args.grace,
        state: args.state,
        socket,
        metrics: (!args.no_metrics).then_some(args.metrics),
        local_api: args.local_api,
    }
}

async fn dry_run(underlay: Option<String>) -> Result<()> {
    let mut host = Inventory::new(underlay);
    for fact in Netlink::open()?.dump().await? {
        host.apply(fact);
    }
    show::devices(&daemon::planned(&host));
    println!("Nothing was attached.");
    Ok(())
}
