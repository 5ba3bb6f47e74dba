//! Instructions per packet, counted by callgrind: the same on any machine and under any load, so the gate of CI.
//!
//! How they are counted is in [`callgrind`](crate::callgrind).

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// Under which conditions was counted; numbers of different ones are not compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// What packets are in: `mem` or `dpdk`.
    pub buffers: String,
    /// Whether calls into DPDK's C are inlined at link time.
    pub lto: bool,
    /// Flows of each scenario.
    pub flows: u32,
    /// Bytes of a tenant's frame, FCS included, tunnel headers not; or `imix`.
    pub frames: String,
    /// Frames that the worker gets at a time.
    pub burst: usize,
}

/// Counts that are committed with the code, and how much more is a regression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// So many percent more than the baseline is a regression; so many fewer, and the baseline should be written anew.
    pub margin_percent: f64,
    /// How it was counted.
    pub conditions: Conditions,
    /// Instructions per packet by scenario.
    pub instructions: BTreeMap<String, f64>,
}

impl Baseline {
    /// Reads a baseline.
    ///
    /// # Errors
    /// No such file, or it is none.
    pub fn read(path: &Path) -> Result<Baseline> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text).with_context(|| path.display().to_string())
    }

    /// Compares what was counted with the baseline. Returns what a person should read when nothing is worse.
    ///
    /// # Errors
    /// A scenario takes more instructions than the margin allows, or is not in the baseline; or other conditions.
    pub fn judge(&self, conditions: &Conditions, counted: &BTreeMap<String, f64>) -> Result<String> {
        ensure!(
            *conditions == self.conditions,
            "the baseline was counted with {:?}, this with {conditions:?}",
            self.conditions
        );
        let (mut worse, mut better) = (String::new(), String::new());
        for (scenario, now) in counted {
            let Some(before) = self.instructions.get(scenario) else {
                let _ =
                    writeln!(worse, "  {scenario}: {now:.1} instructions per packet, not in the baseline");
                continue;
            };
            let percent = (now / before - 1.0) * 100.0;
            let line = format!(
                "  {scenario}: {now:.1} instructions per packet, baseline {before:.1} ({percent:+.1} %)"
            );
            if percent > self.margin_percent {
                let _ = writeln!(worse, "{line}");
            } else if percent < -self.margin_percent {
                let _ = writeln!(better, "{line}");
            }
        }
        let margin = self.margin_percent;
        if !worse.is_empty() {
            bail!(
                "more instructions than the baseline allows (margin {margin} %):\n{worse}\
                 If that is meant, write the baseline anew: make bench-instructions-update"
            );
        }
        if better.is_empty() {
            return Ok(format!("no scenario takes more than {margin} % more instructions than the baseline"));
        }
        Ok(format!(
            "fewer instructions than the baseline:\n{better}Keep it that way: make bench-instructions-update"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
        of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn baseline() -> Baseline {
        let conditions = Conditions {
            buffers: "mem".to_owned(),
            lto: false,
            flows: 1000,
            frames: "64".to_owned(),
            burst: 32,
        };
        Baseline { margin_percent: 3.0, conditions, instructions: counts(&[("a", 100.0), ("b", 1000.0)]) }
    }

    #[test]
    fn more_than_the_margin_is_a_regression_and_says_both_numbers() {
        let baseline = baseline();
        let judge = |of: &[(&str, f64)]| baseline.judge(&baseline.conditions, &counts(of));
        assert!(judge(&[("a", 102.9), ("b", 975.0)]).unwrap().contains("no scenario takes more"));
        let told = judge(&[("a", 103.1), ("b", 1000.0)]).unwrap_err().to_string();
        assert!(told.contains("103.1") && told.contains("100.0") && !told.contains("  b:"), "{told}");
        let told = judge(&[("b", 500.0)]).unwrap();
        assert!(told.contains("500.0") && told.contains("bench-instructions-update"), "{told}");
        let told = judge(&[("c", 1.0)]).unwrap_err().to_string();
        assert!(told.contains("not in the baseline"), "{told}");
    }

    #[test]
    fn counts_under_other_conditions_are_not_compared() {
        let baseline = baseline();
        let other = Conditions { lto: true, ..baseline.conditions.clone() };
        assert!(baseline.judge(&other, &counts(&[])).is_err());
    }
}
