//! Hugepages for the time of a run.

use std::fs;

use anyhow::{Context, Result, ensure};

const PATH: &str = "/proc/sys/vm/nr_hugepages";
const PAGE_MIB: u32 = 2;

/// Reserved hugepages; gives back on drop what it took.
#[derive(Debug)]
pub(crate) struct Reserved {
    before: u32,
}

impl Reserved {
    /// Reserves `mib` MiB beside those that are reserved already.
    ///
    /// # Errors
    /// No permission, or not enough memory in one piece.
    pub(crate) fn new(mib: u32) -> Result<Reserved> {
        let reserved = Reserved { before: read()? };
        let wanted = reserved.before + mib.div_ceil(PAGE_MIB);
        write(wanted)?;
        let got = read()?;
        ensure!(got >= wanted, "{wanted} hugepages were wanted, the kernel gives {got}; ask for less");
        Ok(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // Nobody is there to be told; what stays is visible in /proc/meminfo.
        let _ = write(self.before);
    }
}

fn read() -> Result<u32> {
    fs::read_to_string(PATH).context(PATH)?.trim().parse().context(PATH)
}

fn write(pages: u32) -> Result<()> {
    fs::write(PATH, pages.to_string()).context("cannot reserve hugepages; run as root")
}
