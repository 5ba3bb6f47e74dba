//! What a machine needs to run a gateway, and what to do where it is missing.

use std::{fs, process::ExitCode, thread};

use comfy_table::{Table, presets};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// The gateway runs, with less.
    Lacking,
    /// The gateway does not run.
    Missing,
}

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    verdict: Verdict,
    seen: String,
    /// What to do; empty where all is well.
    way_out: &'static str,
}

/// Prints all findings; fails if something is missing without which the gateway does not run.
pub(super) fn run() -> ExitCode {
    let findings = [permission(), dpdk(), hugepages(), tun(), namespaces(), lcores()];
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for f in &findings {
        let verdict = match f.verdict {
            Verdict::Good => "ok",
            Verdict::Lacking => "lacking",
            Verdict::Missing => "MISSING",
        };
        table.add_row([verdict, f.what, &f.seen, f.way_out]);
    }
    println!("{}", table.trim_fmt());
    let missing = findings.iter().any(|f| f.verdict == Verdict::Missing);
    if missing { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn permission() -> Finding {
    let root = geteuid().is_root();
    Finding {
        what: "permission",
        verdict: if root { Verdict::Good } else { Verdict::Missing },
        seen: format!("user id {}", geteuid()),
        way_out: if root { "" } else { "run as root, as deploy/tidegate.service does" },
    }
}

#[cfg(feature = "dpdk")]
fn dpdk() -> Finding {
    let seen = "linked into this program".to_owned();
    Finding { what: "DPDK", verdict: Verdict::Good, seen, way_out: "" }
}

#[cfg(not(feature = "dpdk"))]
fn dpdk() -> Finding {
    let seen = "this program was built without it".to_owned();
    Finding { what: "DPDK", verdict: Verdict::Missing, seen, way_out: "build with the feature `dpdk`" }
}

fn hugepages() -> Finding {
    let read = |name: &str| {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':').map(str::trim).map(String::from));
        line.unwrap_or_else(|| "unknown".to_owned())
    };
    let (total, free, size) = (read("HugePages_Total"), read("HugePages_Free"), read("Hugepagesize"));
    let some = free.parse::<u64>().is_ok_and(|n| n > 0);
    Finding {
        what: "hugepages",
        verdict: if some { Verdict::Good } else { Verdict::Lacking },
        seen: format!("{free} of {total} free, {size} each"),
        way_out: if some { "" } else { "sysctl vm.nr_hugepages=1024; without them, throughput is lower" },
    }
}

fn tun() -> Finding {
    let open = fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    let (verdict, way_out) = match open {
        Ok(_) => (Verdict::Good, ""),
        Err(_) => {
            (Verdict::Lacking, "modprobe tun; without it there is no local delivery and no net_tap port")
        }
    };
    let seen = open.map_or_else(|error| error.to_string(), |_| "/dev/net/tun opens".to_owned());
    Finding { what: "TAP devices", verdict, seen, way_out }
}

fn namespaces() -> Finding {
    // In a thread of its own, whose namespace goes when it ends: a container's kernel may have them and yet not give any.
    let made = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join().unwrap_or(Err(Errno::EAGAIN));
    let (verdict, way_out) = match made {
        Ok(()) => (Verdict::Good, ""),
        Err(_) => (
            Verdict::Lacking,
            "run as root, on a kernel or in a container that allows them; without them there is no local delivery",
        ),
    };
    let seen = made
        .map_or_else(|error| format!("none can be made: {}", error.desc()), |()| "can be made".to_owned());
    Finding { what: "network namespaces", verdict, seen, way_out }
}

fn lcores() -> Finding {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    let enough = ids.len() > 1;
    Finding {
        what: "lcores",
        verdict: if enough { Verdict::Good } else { Verdict::Lacking },
        seen: format!("this process may use {}", ids.len()),
        way_out: if enough { "" } else { "give it two or more: one polls, the others serve control" },
    }
}
