//! `tidegate-bench instructions`.

use std::{collections::BTreeMap, env, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tidegate_bench::{
    build,
    instructions::{self, Baseline, Conditions},
    report,
};

use super::run::{Name, On};

/// What is counted where nothing is named.
const MAIN: [Name; 4] = [Name::Ip4, Name::Session, Name::VxlanVxlan, Name::VxlanSnat];

#[derive(Debug, Args)]
pub(super) struct Instructions {
    /// What to count; without it the main scenarios.
    scenarios: Vec<Name>,
    /// Flows (directions), sent in random order.
    #[arg(long, default_value_t = 1000)]
    flows: u32,
    /// Bytes of a tenant's frame with FCS, without tunnel headers: 64 to 9000.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(64..=9000))]
    frame: u16,
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
    /// Writes the counts as JSON to this file, or to standard output (`-`).
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Instructions {
    pub(super) fn run(&self) -> Result<()> {
        let counted = self.count()?;
        match &self.json {
            Some(to) => report::write_json(&counted, to)?,
            None => counted.iter().for_each(|(scenario, count)| println!("{scenario:<14} {count:>8.1}")),
        }
        let Some(path) = &self.baseline else { return Ok(()) };
        if !self.update {
            eprintln!("{}", Baseline::read(path)?.judge(&self.conditions()?, &counted)?);
            return Ok(());
        }
        let margin_percent = Baseline::read(path).map_or(MARGIN_PERCENT, |before| before.margin_percent);
        let rounded = counted.into_iter().map(|(scenario, count)| (scenario, count.round())).collect();
        Baseline { margin_percent, conditions: self.conditions()?, instructions: rounded }.write(path)
    }

    fn count(&self) -> Result<BTreeMap<String, f64>> {
        let program = env::current_exe().context("the path of this program")?;
        let scenarios = if self.scenarios.is_empty() { &MAIN[..] } else { &self.scenarios };
        let count = |scenario: &Name| {
            let name = scenario.to_string();
            let count = instructions::per_packet(&program, &self.args(&name)?, self.packets);
            Ok((name.clone(), count.context(name)?))
        };
        scenarios.iter().map(count).collect()
    }

    /// The command line of the program that is run under callgrind.
    fn args(&self, scenario: &str) -> Result<Vec<String>> {
        let Conditions { buffers, flows, frame_bytes, burst, .. } = self.conditions()?;
        let options = [
            ("--on", buffers),
            ("--flows", flows.to_string()),
            ("--frame", frame_bytes.to_string()),
            ("--burst", burst.to_string()),
            ("--rounds", "1".to_owned()),
        ];
        let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        Ok(["run".to_owned(), scenario.to_owned()].into_iter().chain(options).collect())
    }

    fn conditions(&self) -> Result<Conditions> {
        ensure!(cfg!(feature = "dpdk") || self.on == On::Mem, "this build has no DPDK; give --on mem");
        Ok(Conditions {
            buffers: self.on.to_string(),
            lto: build::LTO,
            flows: self.flows,
            frame_bytes: self.frame,
            burst: self.burst,
        })
    }
}

/// Of a new baseline. The compiler's choices move a scenario by less when something else changes.
const MARGIN_PERCENT: f64 = 3.0;
