//! `tidegate-bench instructions`.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use tidegate_bench::{
    build,
    callgrind::{self, Profile},
    document,
    instructions::{Baseline, Conditions},
    measurement::{Label, Phase, Row},
    scenario::Name,
    traffic::FrameSize,
};

use super::options::On;

#[derive(Debug, Args)]
pub(super) struct Instructions {
    /// What to count; without it all scenarios.
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Name>,
    /// Flows (directions), sent in random order.
    #[arg(long, default_value_t = 1000)]
    flows: u32,
    /// Bytes of a tenant's frame with FCS, without tunnel headers: 64 to 9000, or imix (7:4:1).
    #[arg(long, default_value_t = FrameSize::Fixed(64))]
    frame: FrameSize,
    /// Frames that the worker gets at a time: 1 to 32.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=32))]
    burst: u8,
    /// Where packets are.
    #[arg(long, default_value = "mem")]
    on: On,
    /// Packets over which is counted.
    #[arg(long, default_value_t = 32_000, value_parser = clap::value_parser!(u64).range(1..))]
    packets: u64,
    /// Fails where a scenario takes more instructions than this file allows.
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Writes what was counted to the baseline file instead.
    #[arg(long, requires = "baseline")]
    update: bool,
    /// Also by function: each without those that it calls; what is inlined is its caller's.
    #[arg(long, conflicts_with_all = ["json", "baseline"])]
    by_function: bool,
    /// Counts with so many routes (ip4, session).
    #[arg(long, conflicts_with = "baseline", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    routes: u32,
    /// Counts with so many VPCs (vxlan-vxlan, vxlan-snat).
    #[arg(long, conflicts_with = "baseline", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16000))]
    vpcs: u32,
    /// Writes the counts as JSON, too: to this file, or to standard output in place of the table (`-`).
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Instructions {
    pub(super) fn run(&self) -> Result<()> {
        let profiles = self.count()?;
        if self.by_function {
            profiles.iter().for_each(|(scenario, profile)| print!("{}", told(scenario, profile)));
            return Ok(());
        }
        let counted = profiles.into_iter().map(|(scenario, profile)| (scenario, profile.total())).collect();
        let lines =
            BTreeMap::iter(&counted).map(|(scenario, count)| format!("{scenario:<18} {count:>8.1}\n"));
        document::tell(&lines.collect::<String>(), &counted, self.json.as_deref())?;
        let Some(path) = &self.baseline else { return Ok(()) };
        if !self.update {
            eprintln!("{}", Baseline::read(path)?.judge(&self.conditions(), &counted)?);
            return Ok(());
        }
        let margin_percent = Baseline::read(path).map_or(MARGIN_PERCENT, |before| before.margin_percent);
        let rounded = counted.into_iter().map(|(scenario, count)| (scenario, count.round())).collect();
        Baseline { margin_percent, conditions: self.conditions(), instructions: rounded }.write(path)
    }

    fn count(&self) -> Result<BTreeMap<String, Profile>> {
        self.on.check()?;
        let scenarios = if self.scenarios.is_empty() { &Name::ALL[..] } else { &self.scenarios };
        let conditions = self.conditions();
        let count = |scenario: &Name| {
            let name = scenario.to_string();
            let mut args = args(&name, &conditions);
            let more = [("--routes", self.routes), ("--vpcs", self.vpcs)];
            args.extend(more.into_iter().flat_map(|(option, n)| [option.to_owned(), n.to_string()]));
            let count = callgrind::per_packet(&env::current_exe()?, &args, self.packets);
            Ok((name.clone(), count.context(name)?))
        };
        scenarios.iter().map(count).collect()
    }

    fn conditions(&self) -> Conditions {
        Conditions {
            buffers: self.on.to_string(),
            lto: build::LTO,
            flows: self.flows,
            frames: self.frame.to_string(),
            burst: self.burst.into(),
        }
    }
}

/// A line for each function that takes more than a hundredth of all.
fn told(scenario: &str, profile: &Profile) -> String {
    let total = profile.total();
    let line = |(name, n): &(String, f64)| format!("  {n:>8.1} {:>4.0} %  {name}\n", n / total * 100.0);
    let (large, small): (Vec<_>, Vec<_>) = profile.functions.iter().partition(|(_, n)| *n >= total / 100.0);
    let rest = ("all others".to_owned(), small.iter().map(|(_, n)| n).sum());
    let lines: String = large.into_iter().chain([&rest]).map(line).collect();
    format!("{scenario}: {total:.1} instructions per packet\n{lines}")
}

/// The command line of the program that is run under callgrind.
fn args(scenario: &str, conditions: &Conditions) -> Vec<String> {
    let Conditions { buffers, flows, frames, burst, .. } = conditions;
    let options = [
        ("--on", buffers.clone()),
        ("--flows", flows.to_string()),
        ("--frame", frames.clone()),
        ("--burst", burst.to_string()),
        ("--rounds", "1".to_owned()),
    ];
    let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let command = ["run", scenario, "--ordinary-pages"].map(str::to_owned);
    command.into_iter().chain(options).collect()
}

/// Packets over which is counted for a table.
const PACKETS: u64 = 32_000;
/// More flows do not change the count, only its duration.
const FLOWS_MAX: u32 = 1_000;

/// Counts for a measurement, with at most 1000 flows and routes.
pub(super) fn fill(row: &mut Row) -> Result<()> {
    row.instructions = Some(count_for(&row.label)?);
    Ok(())
}

/// The same once for all measurements of established flows of a scenario with one route; the others have no count.
pub(super) fn fill_once(rows: &mut [Row]) -> Result<()> {
    let mut counted: HashMap<String, f64> = HashMap::new();
    let is_counted = |row: &&mut Row| {
        row.label.routes.unwrap_or(1) == 1
            && row.label.phase == Phase::Established
            && row.label.is_ours()
            && !row.label.has_driver()
            && row.label.vpcs == 1
    };
    for row in rows.iter_mut().filter(is_counted) {
        let name = row.label.scenario.clone();
        let count = match counted.get(&name) {
            Some(count) => *count,
            None => count_for(&row.label)?,
        };
        counted.insert(name, count);
        row.instructions = Some(count);
    }
    Ok(())
}

/// Counts a scenario as the baseline has it, by some build of this program.
pub(super) fn usual(program: &Path, scenario: Name, on: On) -> Result<f64> {
    let conditions = Conditions {
        buffers: on.to_string(),
        lto: build::LTO,
        flows: FLOWS_MAX,
        frames: FrameSize::Fixed(64).to_string(),
        burst: 32,
    };
    let name = scenario.to_string();
    let profile = callgrind::per_packet(program, &args(&name, &conditions), PACKETS);
    profile.map(|profile| profile.total()).context(name)
}

fn count_for(label: &Label) -> Result<f64> {
    let conditions = Conditions {
        buffers: On::of(&label.buffers).to_string(),
        lto: build::LTO,
        flows: label.flows.min(FLOWS_MAX),
        frames: label.frames.clone(),
        burst: label.burst,
    };
    let mut args = args(&label.scenario, &conditions);
    let routes = label.routes.unwrap_or(1).min(FLOWS_MAX).to_string();
    let (path, popularity, vpcs) = (&label.path, &label.popularity, &label.vpcs.to_string());
    let more = ["--path", path, "--popularity", popularity, "--routes", &routes, "--vpcs", vpcs];
    args.extend(more.map(str::to_owned));
    let profile = callgrind::per_packet(&env::current_exe()?, &args, PACKETS);
    profile.map(|profile| profile.total()).with_context(|| label.scenario.clone())
}

/// Of a new baseline. The compiler's choices move a scenario by less when something else changes.
const MARGIN_PERCENT: f64 = 3.0;
