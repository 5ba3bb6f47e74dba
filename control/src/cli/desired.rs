//! Desired state: what is wanted, what came of it, and how it was before.

use std::{
    io::Read as _,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::{ContentArrangement, Table as Grid, presets};
use serde::Serialize;
use serde_json::Value;

use super::client::Client;
use crate::{
    desired::{Head, Key, Kind},
    rest::{Applying, How, Outcome, Page, Row, Shown},
};

/// Rows of a page.
const PAGE: &str = "10000";

/// Which file, and how.
#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// The file, YAML or JSON; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Leave objects alone that the file does not have
    #[arg(long)]
    merge: bool,
    /// Refuse the file if anything that it changes would not be active
    #[arg(long)]
    strict: bool,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// What to apply.
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Fall back by itself unless `tidegate confirm` comes in this time, as in 60s or 5m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    confirm_within: Option<Duration>,
}

/// What to get.
#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// A section of the file, as in nics; all of them when left out
    kind: Option<Kind>,
    /// Only this object
    id: Option<String>,
    /// Only objects in this state
    #[arg(long, value_parser = ["active", "pending", "failed"])]
    state: Option<String>,
    /// JSON instead of a table: with bodies and etags
    #[arg(long)]
    json: bool,
}

/// What to delete.
#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// A section of the file, as in nics
    kind: Kind,
    /// Its id
    id: String,
}

/// Which generations.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Only what this one changed
    generation: Option<u64>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// Where to go back to.
#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The generation
    generation: u64,
    /// Say what it would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Fall back by itself unless `tidegate confirm` comes in this time, as in 60s or 5m
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    confirm_within: Option<Duration>,
}

pub(super) fn apply(client: &Client, args: &ApplyArgs) -> Result<()> {
    let confirm_within_s = args.confirm_within.map(seconds);
    tell(&send(client, &args.file, Applying { confirm_within_s, ..applying(&args.file) })?, args.file.json)
}

pub(super) fn diff(client: &Client, args: &FileArgs) -> Result<()> {
    tell(&send(client, args, Applying { dry_run: true, ..applying(args) })?, args.json)
}

fn applying(args: &FileArgs) -> Applying {
    Applying { merge: args.merge, strict: args.strict, ..Applying::default() }
}

/// Whole seconds, one at least.
fn seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}

fn send(client: &Client, args: &FileArgs, applying: Applying) -> Result<String> {
    let mut text = String::new();
    if args.file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        text = std::fs::read_to_string(&args.file)
            .with_context(|| format!("cannot read {}", args.file.display()))?;
    }
    client.send(&format!("/v1/apply?{}", query(applying)?), text)
}

fn query(how: impl Serialize) -> Result<String> {
    serde_urlencoded::to_string(how).context("these options")
}

pub(super) fn get(client: &Client, args: &GetArgs) -> Result<()> {
    let mut rows = match (args.kind, &args.id) {
        (Some(kind), Some(id)) => vec![one(client, kind, id)?],
        (Some(kind), None) => list(client, &format!("/v1/{kind}"), args.state.as_deref())?,
        (None, _) if args.json => {
            let of = |kind: &Kind| list(client, &format!("/v1/{kind}"), args.state.as_deref());
            Kind::ALL.iter().map(of).collect::<Result<Vec<_>>>()?.concat()
        }
        (None, _) => list(client, "/v1/status", args.state.as_deref())?,
    };
    rows.retain(|row| args.state.as_deref().is_none_or(|state| state == row.state));
    if args.json {
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(());
    }
    if let ([row], Some(_)) = (&rows[..], &args.id) {
        println!("{}", serde_json::to_string_pretty(&row.body)?);
        let why = if row.reason.is_empty() { String::new() } else { format!(": {}", row.reason) };
        println!("{}{why}", row.state);
        return Ok(());
    }
    let cells = |row: Row| vec![row.kind, row.id, row.state, row.etag, row.reason];
    println!("{}", grid(&["KIND", "ID", "STATE", "ETAG", "REASON"], rows.into_iter().map(cells)));
    Ok(())
}

/// One object with its state.
fn one(client: &Client, kind: Kind, id: &str) -> Result<Row> {
    let key = key(kind, id)?;
    let row: Row = read(&client.get(&format!("/v1/status/{key}"))?)?;
    let body = read(&client.get(&format!("/v1/{key}"))?)?;
    Ok(Row { body: Some(body), ..row })
}

/// A list, page by page.
fn list(client: &Client, path: &str, state: Option<&str>) -> Result<Vec<Row>> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let which = [("limit", Some(PAGE)), ("state", state), ("after", after.as_deref())];
        let page: Page = read(&client.get(&format!("{path}?{}", query(which)?))?)?;
        rows.extend(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(rows);
        }
    }
}

fn key(kind: Kind, id: &str) -> Result<Key> {
    Key::new(kind, id).with_context(|| format!("there is no {kind}/{id}"))
}

pub(super) fn delete(client: &Client, args: &DeleteArgs) -> Result<()> {
    tell(&client.delete(&format!("/v1/{}", key(args.kind, &args.id)?))?, false)
}

pub(super) fn history(client: &Client, args: &HistoryArgs) -> Result<()> {
    let path = args.generation.map_or_else(|| "/v1/history".to_owned(), |n| format!("/v1/history/{n}"));
    let answer = client.get(&path)?;
    if args.json {
        println!("{answer}");
        return Ok(());
    }
    if args.generation.is_some() {
        read::<Vec<Shown>>(&answer)?.iter().for_each(print_change);
        return Ok(());
    }
    let heads: Vec<Head> = read(&answer)?;
    let last = heads.last().map(|head| head.generation);
    let cells = |head: &Head| {
        let when = UNIX_EPOCH + Duration::from_millis(head.when_ms);
        let from = head.from.map(|from| format!(" {from}")).unwrap_or_default();
        vec![
            head.generation.to_string(),
            humantime::format_rfc3339_seconds(when).to_string(),
            head.who.clone(),
            format!("{}{from}", head.source.name()),
            format!("+{} ~{} -{}", head.added, head.changed, head.removed),
            match head.confirm_by_ms {
                None => "",
                Some(_) if Some(head.generation) == last => "waits to be confirmed",
                Some(_) => "was not confirmed",
            }
            .to_owned(),
        ]
    };
    let heads = heads.iter().rev().map(cells);
    println!("{}", grid(&["GENERATION", "WHEN", "WHO", "SOURCE", "OBJECTS", ""], heads));
    Ok(())
}

pub(super) fn rollback(client: &Client, args: &RollbackArgs) -> Result<()> {
    let confirm_within_s = args.confirm_within.map(seconds);
    let how = How { dry_run: args.dry_run, confirm_within_s };
    tell(&client.post(&format!("/v1/rollback/{}?{}", args.generation, query(how)?))?, false)
}

pub(super) fn confirm(client: &Client) -> Result<()> {
    let answer: Value = read(&client.post("/v1/confirm")?)?;
    println!("generation {} stays", answer["generation"]);
    Ok(())
}

/// Says what came of a change.
fn tell(answer: &str, json: bool) -> Result<()> {
    let outcome: Outcome = read(answer)?;
    if json {
        println!("{answer}");
    } else {
        outcome.changes.iter().for_each(print_change);
    }
    outcome.warnings.iter().for_each(|warning| eprintln!("tidegate: {warning}"));
    if json {
        return Ok(());
    }
    let generation = outcome.generation;
    match (outcome.dry_run, outcome.changes.is_empty(), outcome.live) {
        (_, true, _) => println!("nothing to change; generation {generation} stays"),
        (true, ..) => println!("{} to change; nothing has changed", objects(outcome.changes.len())),
        (false, _, true) => println!("generation {generation} is live on all workers"),
        (false, _, false) => bail!(
            "generation {generation} is published, but not all workers use it yet; see `tidegate show workers`"
        ),
    }
    if let Some(seconds) = outcome.confirm_within_s {
        println!("it falls back in {seconds} s unless `tidegate confirm` comes before");
    }
    Ok(())
}

fn objects(count: usize) -> String {
    if count == 1 { "1 object".to_owned() } else { format!("{count} objects") }
}

/// `+` new, `-` gone, `~` changed, with the keys that changed.
fn print_change(change: &Shown) {
    let Shown { kind, id, before, after, .. } = change;
    match (before.as_object(), after.as_object()) {
        (Some(before), Some(after)) => {
            println!("~ {kind}/{id}");
            for (key, was) in before.iter().filter(|(key, was)| after.get(*key) != Some(was)) {
                println!("    {key}: {was} -> {}", after.get(key).map_or("nothing".into(), Value::to_string));
            }
            for (key, is) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
                println!("    {key}: nothing -> {is}");
            }
        }
        (None, _) => println!("+ {kind}/{id} {after}"),
        (_, None) => println!("- {kind}/{id} {before}"),
    }
}

pub(super) fn grid(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    grid.set_header(head.to_vec());
    rows.for_each(|row| _ = grid.add_row(row));
    grid.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn read<T: serde::de::DeserializeOwned>(answer: &str) -> Result<T> {
    serde_json::from_str(answer).context("the gateway is of another version; use its own `tidegate`")
}
