//! Hugepages for the time of a run.

use std::fs;

use anyhow::{Context, Result, ensure};
use tidegate_bench::interrupt::Undo;

const PATH: &str = "/proc/sys/vm/nr_hugepages";
const PAGE_MIB: u32 = 2;
/// Makes free memory whole.
const COMPACT: &str = "/proc/sys/vm/compact_memory";
/// How often the kernel is asked: each time it moves some more of what is in the way.
const ATTEMPTS: usize = 5;

/// Reserved hugepages; gives back on drop what it took.
#[derive(Debug)]
pub(crate) struct Reserved {
    _undo: Undo,
}

impl Reserved {
    /// Reserves `mib` MiB beside those that are reserved already.
    ///
    /// # Errors
    /// No permission, or not enough memory in one piece.
    pub(crate) fn new(mib: u32) -> Result<Reserved> {
        let before = read()?;
        // Nobody is there to be told; what stays is visible in /proc/meminfo.
        let reserved = Reserved { _undo: Undo::new(move || drop(write(before))) };
        let wanted = before + mib.div_ceil(PAGE_MIB);
        let mut got = before;
        for _ in 0..ATTEMPTS {
            write(wanted)?;
            got = read()?;
            if got >= wanted {
                break;
            }
            // In vain without permission; then it is said below.
            let _ = fs::write(COMPACT, "1");
        }
        ensure!(got >= wanted, "{wanted} hugepages were wanted, the kernel gives {got}; ask for less");
        Ok(reserved)
    }
}

fn read() -> Result<u32> {
    fs::read_to_string(PATH).context(PATH)?.trim().parse().context(PATH)
}

fn write(pages: u32) -> Result<()> {
    fs::write(PATH, pages.to_string()).context("cannot reserve hugepages; run as root")
}
