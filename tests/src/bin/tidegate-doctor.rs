//! `make doctor`: says what this machine has and lacks for building, testing and running the gateway, and what to do
//! about it. Exits with 0 when nothing is missing that the tests need.

use std::{fs, process::Command, process::ExitCode};

/// How much it matters.
#[derive(Clone, Copy, PartialEq)]
enum Need {
    /// Nothing works without.
    Must,
    /// Works without, slower or with less.
    Nice,
}

struct Finding {
    what: &'static str,
    need: Need,
    /// What is there, or why not and what to do.
    found: Result<String, &'static str>,
}

fn main() -> ExitCode {
    let findings = [
        check("DPDK 22.11 or later", Need::Must, dpdk(), "make deps"),
        check("clang of rustc's LLVM", Need::Nice, clang(), "make deps; without it DPDK's C is not inlined"),
        check(
            "CPU with AVX2 and AES",
            Need::Must,
            cpu(),
            "the build targets x86-64-v3; change .cargo/config.toml",
        ),
        check("two CPUs", Need::Nice, cpus(), "a worker keeps one busy"),
        check("root", Need::Must, root(), "namespaces and TAPs need it: sudo"),
        check(
            "network namespaces",
            Need::Must,
            namespaces(),
            "run on a kernel, or in a container, that allows them",
        ),
        check(
            "TAP devices",
            Need::Must,
            exists("/dev/net/tun"),
            "modprobe tun, or give the container /dev/net/tun",
        ),
        check("hugepages", Need::Nice, hugepages(), "sysctl vm.nr_hugepages=512; tests run without"),
        check("iproute2", Need::Must, says("ip", "-V"), "make deps"),
        check("ping", Need::Must, says("ping", "-V"), "make deps"),
        check("iperf3", Need::Must, says("iperf3", "--version"), "make deps"),
        check("tcpdump", Need::Must, says("tcpdump", "--version"), "make deps"),
        check("cargo-deny", Need::Nice, says("cargo-deny", "--version"), "make deps; `make check` needs it"),
        check("codespell", Need::Nice, says("codespell", "--version"), "make deps; `make check` needs it"),
    ];
    let mut healthy = true;
    for Finding { what, need, found } in findings {
        let (mark, text) = match (found, need) {
            (Ok(text), _) => ("ok     ", text),
            (Err(way_out), Need::Nice) => ("without", way_out.to_owned()),
            (Err(way_out), Need::Must) => {
                healthy = false;
                ("MISSING", way_out.to_owned())
            }
        };
        println!("{mark}  {what:24} {text}");
    }
    if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check(what: &'static str, need: Need, found: Option<String>, way_out: &'static str) -> Finding {
    Finding { what, need, found: found.ok_or(way_out) }
}

/// The first line that a program says of itself.
fn says(program: &str, option: &str) -> Option<String> {
    let out = Command::new(program).arg(option).output().ok()?;
    let text = if out.stdout.is_empty() { out.stderr } else { out.stdout };
    Some(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
}

fn succeeds(program: &str, options: &[&str]) -> bool {
    Command::new(program).args(options).output().is_ok_and(|out| out.status.success())
}

fn dpdk() -> Option<String> {
    succeeds("pkg-config", &["--atleast-version=22.11", "libdpdk"]).then_some(())?;
    let out = Command::new("pkg-config").args(["--modversion", "libdpdk"]).output().ok()?;
    Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

fn clang() -> Option<String> {
    let out = Command::new("rustc").arg("-vV").output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let major =
        text.lines().find_map(|line| line.strip_prefix("LLVM version: "))?.split('.').next()?.to_owned();
    says(&format!("clang-{major}"), "--version")
}

fn cpu() -> Option<String> {
    if cfg!(not(target_arch = "x86_64")) {
        return Some(std::env::consts::ARCH.to_owned());
    }
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let flags = text.lines().find(|line| line.starts_with("flags"))?;
    let has = |flag: &str| flags.split_whitespace().any(|f| f == flag);
    let name = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    (has("avx2") && has("aes")).then(|| name.trim_start_matches([' ', '\t', ':']).to_owned())
}

fn cpus() -> Option<String> {
    let n = std::thread::available_parallelism().ok()?.get();
    (n >= 2).then(|| n.to_string())
}

fn root() -> Option<String> {
    nix::unistd::geteuid().is_root().then(|| "yes".to_owned())
}

fn namespaces() -> Option<String> {
    let name = format!("tgdoctor-{}", std::process::id());
    let made = succeeds("ip", &["netns", "add", &name]);
    let gone = succeeds("ip", &["netns", "del", &name]);
    (made && gone).then(|| "yes".to_owned())
}

fn exists(path: &str) -> Option<String> {
    fs::exists(path).ok()?.then(|| path.to_owned())
}

fn hugepages() -> Option<String> {
    let free = fs::read_to_string("/proc/meminfo").ok()?;
    let line = free.lines().find_map(|line| line.strip_prefix("HugePages_Free:"))?.trim().to_owned();
    (line != "0").then(|| format!("{line} free"))
}
