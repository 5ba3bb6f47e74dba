//! Instructions per packet, counted by callgrind: the same on any machine and under any load, so the gate of CI.
//!
//! The bench runs itself under valgrind twice, with N and with 2N packets. The difference over N has neither start-up nor
//! verification nor first packets in it, and only the poll of the worker is counted at all. What moves a little between
//! runs: the flow hash has a random key, so now and then two flows share a bucket and a tag.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The function of which callgrind counts, callees included, as its pattern for names.
pub const COUNTED: &str = "*counted_poll*";

/// Counts one scenario: `program`, this bench, is called with `args`, to which the number of packets is added.
///
/// # Errors
/// No valgrind, or the program fails under it.
pub fn per_packet(program: &Path, args: &[String], packets: u64) -> Result<f64> {
    let dir = tempfile::tempdir().context("a directory for callgrind's files")?;
    let files = [dir.path().join("once"), dir.path().join("twice")];
    // Both at a time, each on a CPU of its own where there are two.
    let once = start(program, args, packets, &files[0])?;
    let twice = start(program, args, 2 * packets, &files[1])?;
    let (once, twice) = (end(once, &files[0]), end(twice, &files[1]));
    let (once, twice) = (once?, twice?);
    let more = twice.checked_sub(once).context("twice the packets took fewer instructions")?;
    Ok(more as f64 / packets as f64)
}

fn start(program: &Path, args: &[String], packets: u64, file: &Path) -> Result<Child> {
    let started = Command::new("valgrind")
        .args(["--tool=callgrind", "-q", "--collect-atstart=no", &format!("--toggle-collect={COUNTED}")])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(args)
        .args(["--packets", &packets.to_string(), "--json", "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    started.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            anyhow::anyhow!("valgrind is missing; `make deps` installs it (Debian: apt-get install valgrind)")
        }
        _ => anyhow::Error::new(error).context("valgrind"),
    })
}

fn end(child: Child, file: &Path) -> Result<u64> {
    let output = child.wait_with_output().context("valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "under valgrind: {}: {}", output.status, said.trim());
    total(&fs::read_to_string(file).context("callgrind's file")?)
        .with_context(|| format!("callgrind counted nothing; is {COUNTED} inlined? {}", said.trim()))
}

/// The sum in a file of callgrind.
fn total(file: &str) -> Option<u64> {
    let line = file.lines().rev().find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok().filter(|total| *total > 0)
}

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

    #[test]
    fn the_sum_is_read_from_the_foot_of_the_file() {
        let file = "version: 1\nevents: Ir\nsummary: 7\nfn=(1) main\n1 3\ntotals: 65000\n";
        assert_eq!(total(file), Some(65_000));
        assert_eq!(total("totals: 0\n"), None);
        assert_eq!(total("events: Ir\n"), None);
    }

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
