//! What a report says about the machine and the program: without it no figure can be judged.

use std::{fs, thread};

use serde::{Deserialize, Serialize};

use crate::{build, cycles};

/// The machine, as `/proc` tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model name of the CPU.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Whether it is a virtual machine.
    pub virtual_machine: bool,
    /// Cycles per second of the time stamp counter.
    pub tsc_hz: u64,
    /// KiB of memory.
    pub memory_kib: u64,
    /// Reserved hugepages, and how many of them are free.
    pub hugepages: Hugepages,
    /// Release of the kernel.
    pub kernel: String,
    /// Processes that wanted to run, on average over the last minute: above 0, somebody else was at work.
    pub load: f64,
}

/// Hugepages of the default size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hugepages {
    /// KiB of one.
    pub size_kib: u64,
    /// Reserved.
    pub total: u64,
    /// Of these not in use before the run.
    pub free: u64,
}

/// The program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Git revision, `-dirty` with changes.
    pub revision: String,
    /// The compiler.
    pub rustc: String,
    /// CPU and features it was compiled for.
    pub compiled_for: String,
    /// Whether DPDK's C functions are inlined.
    pub lto: bool,
    /// Whether it is an optimised build.
    pub optimised: bool,
}

impl Machine {
    /// This machine, now.
    pub fn here() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (cpuinfo, meminfo) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let load = read("/proc/loadavg");
        Machine {
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            virtual_machine: field(&cpuinfo, "flags").is_some_and(|flags| has_word(flags, "hypervisor")),
            tsc_hz: cycles::hz() as u64,
            memory_kib: number(&meminfo, "MemTotal"),
            hugepages: Hugepages {
                size_kib: number(&meminfo, "Hugepagesize"),
                total: number(&meminfo, "HugePages_Total"),
                free: number(&meminfo, "HugePages_Free"),
            },
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
        }
    }
}

impl Program {
    /// This program.
    pub fn this() -> Program {
        Program {
            revision: build::REVISION.to_owned(),
            rustc: build::RUSTC.to_owned(),
            compiled_for: build::CPU.to_owned(),
            lto: build::LTO,
            optimised: build::OPTIMISED,
        }
    }
}

/// The value of the first line `name: value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (of, value) = line.split_once(':')?;
        (of.trim() == name).then(|| value.trim())
    })
}

fn number(text: &str, name: &str) -> u64 {
    let value = field(text, name).unwrap_or_default();
    value.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn has_word(words: &str, word: &str) -> bool {
    words.split(' ').any(|of| of == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_whatever_is_around_them() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu hypervisor\nHugepagesize:       2048 kB\n";
        assert_eq!(field(text, "model name"), Some("Some CPU @ 2 GHz"));
        assert_eq!(number(text, "Hugepagesize"), 2048);
        assert_eq!(number(text, "MemTotal"), 0);
        assert!(
            has_word(field(text, "flags").unwrap(), "hypervisor") && !has_word("hypervisor2", "hypervisor")
        );
    }

    #[test]
    fn this_machine_has_a_cpu_and_a_kernel() {
        let here = Machine::here();
        assert!(
            here.cpus > 0 && here.tsc_hz > 0 && here.memory_kib > 0 && !here.kernel.is_empty(),
            "{here:?}"
        );
    }
}
