//! What managers pushed to router agents.

use anyhow::{Context, Result};
use clap::Args;

use super::{client::Client, desired::grid};
use crate::{rest::PushedRow, zstack::Status};

/// What to show.
#[derive(Debug, Args)]
pub(super) struct AgentsArgs {
    /// Only objects that were restored and not pushed again yet
    #[arg(long)]
    provisional: bool,
    /// Only objects that wait for something
    #[arg(long)]
    waiting: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) fn agents(client: &Client, args: &AgentsArgs) -> Result<()> {
    let answer = client.get("/v1/agents")?;
    if args.json {
        println!("{answer}");
        return Ok(());
    }
    let rows: Vec<PushedRow> =
        serde_json::from_str(&answer).context("the gateway is of another version; use its own `tidegate`")?;
    let wanted = |row: &PushedRow| {
        let waits = matches!(row.object.status, Status::Waiting(_));
        (row.object.provisional || !args.provisional) && (waits || !args.waiting)
    };
    let cells = |row: PushedRow| {
        let (state, why) = match row.object.status {
            Status::Written if row.object.provisional => ("provisional", String::new()),
            Status::Written => ("written", String::new()),
            Status::Waiting(why) => ("waiting", why),
        };
        let service = serde_json::to_value(row.object.service).unwrap_or_default();
        let service = service.as_str().unwrap_or_default().to_owned();
        vec![row.agent, row.vpc, service, row.object.key, state.to_owned(), why]
    };
    let rows = rows.into_iter().filter(wanted).map(cells);
    println!("{}", grid(&["AGENT", "VPC", "SERVICE", "KEY", "STATE", "REASON"], rows));
    Ok(())
}
