//! `tidegate-bench services`.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::Args;
use tidegate_bench::{document, scenario::Name, services};

use super::{instructions, options::On};

#[derive(Debug, Args)]
pub(super) struct Services {
    /// Where packets are.
    #[arg(long, default_value = "mem")]
    on: On,
    /// This program built with the feature `uncounted`: then also what counters cost.
    #[arg(long, value_name = "PROGRAM")]
    uncounted: Option<PathBuf>,
    /// Writes the table as JSON, too: to this file, or to standard output in place of the table (`-`).
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Services {
    pub(super) fn run(&self) -> Result<()> {
        self.on.check()?;
        if let Some(program) = &self.uncounted {
            services::check_program(program)?;
        }
        let counts = self.count(&env::current_exe()?, &services::scenarios())?;
        let uncounted = self.uncounted.as_deref().map(|program| self.count(program, &services::COUNTED));
        let ladders = services::ladders(&counts, uncounted.transpose()?.as_ref())?;
        document::tell(&services::table(&ladders), &ladders, self.json.as_deref())
    }

    fn count(&self, program: &Path, scenarios: &[Name]) -> Result<BTreeMap<Name, f64>> {
        let count = |name: &Name| Ok((*name, instructions::usual(program, *name, self.on)?));
        scenarios.iter().map(count).collect()
    }
}
