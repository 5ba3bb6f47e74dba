//! The command line. What a command does is in the module of its noun; here is what can be said.

mod agent;
mod agents;
mod client;
mod desired;
mod doctor;
mod token;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};

use self::client::{Client, To};
use crate::{
    config::{self, Problems},
    daemon, log,
    show::{Filter, Table, print},
};

/// A fast-path gateway for virtual private clouds
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    to: To,
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
    /// The host agent of distributed routing, on compute hosts
    ///
    /// A program of its own, `tidegate-agent`, which needs no DPDK: a host has it alone, and this command where both are.
    /// What it can do: `tidegate agent help`, docs/agent.md.
    Agent(agent::AgentArgs),
    /// Check a configuration file: print all problems and exit with 1 if there are any
    Check {
        /// The file
        file: PathBuf,
    },
    /// Have the running gateway read its configuration again
    ///
    /// Prints the generation that is live on all workers, or every problem; then nothing has changed and the exit code is 1.
    Reload,
    /// Put the objects of a file into force, and take all others away
    ///
    /// The file's section `gateway` is passed over: it belongs to the host's own file. An object that names one that is not
    /// there waits, and comes into force by itself.
    Apply(desired::ApplyArgs),
    /// Say what `apply` would change, and change nothing
    Diff(desired::FileArgs),
    /// Show what ZStack managers pushed to router agents, and what became of it
    Agents(agents::AgentsArgs),
    /// Show objects of desired state, whether they are active, and if not, why
    Get(desired::GetArgs),
    /// Take an object away
    ///
    /// What names it waits until it is there again.
    Delete(desired::DeleteArgs),
    /// List the generations of desired state, or what one of them changed
    History(desired::HistoryArgs),
    /// Go back to an earlier generation
    Rollback(desired::RollbackArgs),
    /// Let a generation stay that was applied with --confirm-within
    Confirm,
    /// Show what the running gateway does
    Show(ShowArgs),
    /// Make a bearer token for the REST API: print it, and add its hash to a file
    ///
    /// The file is the one of gateway.api.tokens; a gateway that runs reads it again by itself.
    Token(token::TokenArgs),
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
    /// Remove what an earlier run left behind (connections, namespaces) instead of taking it over
    #[arg(long)]
    fresh: bool,
    /// How to write the log
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: log::Format,
}

/// What to show.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct ShowArgs {
    /// The table
    #[arg(value_enum, required = true)]
    table: Option<Table>,
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
    #[command(subcommand)]
    more: Option<ShowMore>,
}

/// Tables with filters of their own.
#[derive(Debug, Subcommand)]
enum ShowMore {
    /// Show address translation: sessions, port bindings, how full the pools are
    Nat(NatArgs),
    /// Show load balancers: listeners, or their backends with state and connections
    Lb(LbArgs),
}

/// What to show of address translation.
#[derive(Debug, Args)]
struct NatArgs {
    /// The table
    #[arg(value_enum)]
    table: NatTable,
    /// Only rows with this: vpc=ID, inside=ADDRESS[:PORT], public=ADDRESS|VIP[:PORT], remote=ADDRESS[:PORT], protocol=NAME,
    /// state=NAME; may be given several times, and a subnet is an address
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// At most so many rows (sessions and bindings: 100 unless said)
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What to show of load balancers.
#[derive(Debug, Args)]
struct LbArgs {
    /// The table
    #[arg(value_enum, default_value_t = LbTable::Listeners)]
    table: LbTable,
    /// Only of this VPC router
    #[arg(long, value_name = "VPC")]
    vpc: Option<String>,
    /// Only of this listener
    #[arg(long, value_name = "LISTENER")]
    listener: Option<String>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// A table of load balancers.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LbTable {
    /// Listeners
    Listeners,
    /// Their backends
    Backends,
    /// What proxies count for listeners of http and https, and for their backends
    Http,
}

/// A table of address translation.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum NatTable {
    /// Translated connections
    Sessions,
    /// Port blocks of VMs
    Bindings,
    /// How full the addresses of SNAT are, and who uses most
    Pools,
}

/// Does what was said; errors are on standard error.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Run(args) => {
            log::init(args.log_format);
            daemon::run(&daemon::Options { config: args.config, fresh: args.fresh })
        }
        Command::Agent(_) if !cli.to.is_local() => {
            Err(anyhow::anyhow!("an agent is asked on its own host: give its options behind its command"))
        }
        Command::Agent(args) => Err(agent::become_agent(args)),
        Command::Check { file } => check(&file),
        Command::Token(args) => token::token(&args),
        Command::Doctor => return doctor::run(),
        Command::Version => {
            println!("tidegate {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        asks => cli.to.client().and_then(|client| ask(&client, asks)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// What a running gateway is asked.
fn ask(client: &Client, command: Command) -> Result<()> {
    match command {
        Command::Reload => reload(client),
        Command::Apply(args) => desired::apply(client, &args),
        Command::Diff(args) => desired::diff(client, &args),
        Command::Agents(args) => agents::agents(client, &args),
        Command::Get(args) => desired::get(client, &args),
        Command::Delete(args) => desired::delete(client, &args),
        Command::History(args) => desired::history(client, &args),
        Command::Rollback(args) => desired::rollback(client, &args),
        Command::Confirm => desired::confirm(client),
        Command::Show(args) => show(client, args),
        Command::Run(_)
        | Command::Agent(_)
        | Command::Check { .. }
        | Command::Token(_)
        | Command::Doctor
        | Command::Version => Ok(()),
    }
}

/// An error with its causes, each said once: some say their cause themselves.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).reduce(join).unwrap_or_default()
}

fn join(said: String, cause: String) -> String {
    if said.contains(&cause) { said } else { format!("{said}: {cause}") }
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

fn reload(client: &Client) -> Result<()> {
    let answer = client.post("/v1/reload")?;
    let reloaded: serde_json::Value = serde_json::from_str(&answer)?;
    let generation = &reloaded["generation"];
    if reloaded["live"] == true {
        println!("generation {generation} is live on all workers");
        return Ok(());
    }
    bail!("generation {generation} is published, but not all workers use it yet; see `tidegate show workers`")
}

fn show(client: &Client, args: ShowArgs) -> Result<()> {
    let (table, filter, json) = match (args.more, args.table) {
        (Some(ShowMore::Lb(lb)), _) => {
            let filter = Filter { vpc: lb.vpc, listener: lb.listener, ..Filter::default() };
            let table = match lb.table {
                LbTable::Listeners => Table::LbListeners,
                LbTable::Backends => Table::LbBackends,
                LbTable::Http => Table::LbHttp,
            };
            (table, filter, lb.json)
        }
        (Some(ShowMore::Nat(nat)), _) => {
            let mut filter = Filter { limit: nat.limit, ..Filter::default() };
            nat.filter.iter().try_for_each(|text| filter.add(text)).map_err(anyhow::Error::msg)?;
            let table = match nat.table {
                NatTable::Sessions => Table::NatSessions,
                NatTable::Bindings => Table::NatBindings,
                NatTable::Pools => Table::NatPools,
            };
            (table, filter, nat.json)
        }
        (None, Some(table)) => {
            let (vpc, network, limit) = (args.of.or(args.vpc), args.network, args.limit);
            (table, Filter { vpc, network, limit, ..Filter::default() }, args.json)
        }
        (None, None) => bail!("say which table; see `tidegate show --help`"),
    };
    let rows = client.show(table, &filter)?;
    if json {
        println!("{}", rows.json);
    } else {
        let table = print::table(table, &rows.json);
        println!("{}", table.context("the gateway is of another version; use its own `tidegate`")?);
    }
    if rows.cut {
        eprintln!("tidegate: there are more rows; give --limit for more, or a filter");
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
    fn an_error_says_each_of_its_causes_once() {
        let device = || anyhow::anyhow!("no such device").context("`x` is missing: no such device");
        assert_eq!(sentence(&device()), "`x` is missing: no such device");
        assert_eq!(sentence(&device().context("port a")), "port a: `x` is missing: no such device");
    }

    #[test]
    fn tables_of_address_translation_are_behind_a_word_of_their_own() {
        let show = |words: &str| match Cli::try_parse_from(words.split_whitespace()).map(|cli| cli.command) {
            Ok(Command::Show(args)) => Some((args.table, args.of, args.more.is_some())),
            _ => None,
        };
        let nat =
            "tidegate show nat sessions --filter vpc=red --filter inside=10.1.1.7:4000 --limit 7 --json";
        assert_eq!(show(nat), Some((None, None, true)));
        let flows = Some((Some(Table::Flows), Some("red".to_owned()), false));
        assert_eq!(show("tidegate show flows red"), flows);
        for wrong in
            ["tidegate show", "tidegate show nat", "tidegate show nat flows", "tidegate show sessions"]
        {
            assert_eq!(show(wrong), None, "{wrong}");
        }
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
