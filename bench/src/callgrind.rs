//! Instructions per packet, in all and by function.
//!
//! The bench runs itself under valgrind twice, with N and with 2N packets. The difference over N has neither start-up nor
//! verification nor first packets in it, and only the poll of the worker is counted at all. What moves a little between
//! runs: the flow hash has a random key, so now and then two flows share a bucket and a tag.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// The function of which callgrind counts, callees included, as its pattern for names.
pub const COUNTED: &str = "*counted_poll*";

/// What a packet takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Instructions of each function without those that it calls; what is inlined is its caller's. The largest first.
    pub functions: Vec<(String, f64)>,
}

impl Profile {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.functions.iter().map(|(_, instructions)| instructions).sum()
    }

    fn of(once: &Counts, twice: &Counts, packets: u64) -> Profile {
        let more = |(name, after): (&String, &u64)| {
            let before = once.get(name).copied().unwrap_or_default();
            (name.clone(), (*after as f64 - before as f64) / packets as f64)
        };
        let mut functions: Vec<_> = twice.iter().map(more).filter(|(_, n)| *n != 0.0).collect();
        functions.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        Profile { functions }
    }
}

/// Counts one scenario: `program`, this bench, is called with `args`, to which the number of packets is added.
///
/// # Errors
/// No valgrind, or the program fails under it.
pub fn per_packet(program: &Path, args: &[String], packets: u64) -> Result<Profile> {
    let dir = tempfile::tempdir().context("a directory for callgrind's files")?;
    let files = [dir.path().join("once"), dir.path().join("twice")];
    // Both at a time, each on a CPU of its own where there are two.
    let once = start(program, args, packets, &files[0])?;
    let twice = start(program, args, 2 * packets, &files[1])?;
    let (once, twice) = (end(once, &files[0]), end(twice, &files[1]));
    let profile = Profile::of(&once?, &twice?, packets);
    ensure!(profile.total() > 0.0, "twice the packets took no more instructions");
    Ok(profile)
}

fn start(program: &Path, args: &[String], packets: u64, file: &Path) -> Result<Child> {
    let started = Command::new("valgrind")
        .args(["--tool=callgrind", "-q", "--collect-atstart=no", &format!("--toggle-collect={COUNTED}")])
        .args(["--compress-strings=no", &format!("--callgrind-out-file={}", file.display())])
        .arg(program)
        .args(args)
        .args(["--packets", &packets.to_string()])
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

fn end(child: Child, file: &Path) -> Result<Counts> {
    let output = child.wait_with_output().context("valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "under valgrind: {}: {}", output.status, said.trim());
    let counts = counts(&fs::read_to_string(file).context("callgrind's file")?);
    ensure!(!counts.is_empty(), "callgrind counted nothing; is {COUNTED} inlined? {}", said.trim());
    Ok(counts)
}

/// Instructions by function.
type Counts = BTreeMap<String, u64>;

/// What a file of callgrind says of each function itself: behind `fn=` are lines of a place and a count; the line behind `calls=` is
/// what the called one took.
fn counts(file: &str) -> Counts {
    let mut counts = Counts::new();
    let (mut function, mut is_of_callee) = (String::new(), false);
    for line in file.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = short(name);
        } else if line.starts_with("calls=") {
            is_of_callee = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let count = line.split(' ').nth(1).and_then(|count| count.parse::<u64>().ok());
            match count {
                Some(count) if !is_of_callee && count > 0 => {
                    *counts.entry(function.clone()).or_default() += count
                }
                _ => {}
            }
            is_of_callee = false;
        }
    }
    counts
}

/// A function's name without the crates and types that it is of; `'2` and so on are one function called by another.
fn short(name: &str) -> String {
    let name = name.split('\'').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: &str = "version: 1\nevents: Ir\nfn=poll\n1 30\ncalls=1 2\n1 70\n+1 5\nfn=<a::B<C>>::send\n2 70\ntotals: 105\n";
    const TWICE: &str =
        "fn=poll\n1 30\ncalls=1 2\n1 170\n+1 5\nfn=<a::B<C>>::send\n2 160\n* 10\ntotals: 205\n";

    #[test]
    fn a_function_has_its_own_instructions_and_not_those_of_what_it_calls() {
        let wanted = [("poll".to_owned(), 35), ("send".to_owned(), 70)];
        assert_eq!(counts(ONCE), Counts::from(wanted));
        assert!(counts("version: 1\nevents: Ir\ntotals: 0\n").is_empty());
    }

    #[test]
    fn a_packet_takes_the_difference() {
        let profile = Profile::of(&counts(ONCE), &counts(TWICE), 10);
        assert_eq!(profile.functions, [("send".to_owned(), 10.0)]);
        assert_eq!(profile.total(), 10.0);
    }
}
