//! Network namespaces, and commands and closures that run in them.

use std::{
    fs::{self, File},
    io::Write,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::wait_for;

/// How the names of all lab namespaces begin; the pid of the owner follows.
const PREFIX: &str = "tglab-";

/// Namespaces of this process that exist, for [`remove_all`].
static LIVE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A network namespace with `lo` up and IPv6 off. Removed on drop, with every process in it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    /// Whether it goes away with this handle.
    owned: bool,
}

impl Netns {
    /// Makes it; the name is `tglab-<pid>-<tail>`.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn new(tail: &str) -> Result<Netns> {
        let name = format!("{PREFIX}{}-{tail}", std::process::id());
        output(Command::new("ip").args(["netns", "add", &name]))?;
        live().push(name.clone());
        let netns = Netns { name, owned: true };
        // Router solicitations would be noise in every capture and counter. A kernel without IPv6 makes none.
        let _ = netns.enter(|| fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"))?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// One that somebody else made and will remove, such as the namespace of a VPC.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn existing(name: &str) -> Result<Netns> {
        ensure!(list()?.iter().any(|n| n == name), "there is no namespace {name}");
        Ok(Netns { name: name.to_owned(), owned: false })
    }

    /// As `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run here. Mounts stay those of the machine (`ip netns exec` would hide new namespaces).
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a line of words, without a shell, and returns what it wrote to standard output.
    ///
    /// # Errors
    /// With what it wrote to standard error, when it cannot start or does not exit with 0.
    pub fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let program = words.next().context("an empty command")?;
        output(self.command(program).args(words)).with_context(|| format!("in {}", self.name))
    }

    /// Runs lines of `ip` commands, all in one process; stops at the first that fails.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn ip(&self, lines: &str) -> Result<()> {
        batch("ip", &self.name, lines)
    }

    /// Runs lines of `bridge` commands.
    ///
    /// # Errors
    /// What `bridge` said.
    pub fn bridge(&self, lines: &str) -> Result<()> {
        batch("bridge", &self.name, lines)
    }

    /// Runs a closure on a thread that is in this namespace; sockets that it opens stay here.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter<T: Send>(&self, run: impl FnOnce() -> T + Send) -> Result<T> {
        let file = File::open(format!("/run/netns/{}", self.name))?;
        let there = || {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            Ok(run())
        };
        thread::scope(|s| s.spawn(there).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// The MAC of an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn mac(&self, interface: &str) -> Result<String> {
        let text = self.run(&format!("ip -o link show dev {interface}"))?;
        let mac = text.split_whitespace().skip_while(|w| *w != "link/ether").nth(1);
        mac.map(str::to_owned).ok_or_else(|| anyhow!("{interface} has no MAC: {text}"))
    }

    /// Whether an interface of that name is here.
    pub fn has(&self, interface: &str) -> bool {
        self.run(&format!("ip -o link show dev {interface}")).is_ok()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if !self.owned {
            return;
        }
        remove(&self.name);
        live().retain(|name| *name != self.name);
    }
}

/// Removes every namespace of this process; for signal handlers.
pub fn remove_all() {
    for name in live().drain(..) {
        remove(&name);
    }
}

/// Removes what processes that no longer live have left behind.
pub fn sweep() {
    for name in list().unwrap_or_default() {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
        if owner.map(Pid::from_raw).is_some_and(|pid| kill(pid, None).is_err()) {
            remove(&name);
        }
    }
}

/// The names of all namespaces of the machine.
///
/// # Errors
/// What `ip` said.
pub fn list() -> Result<Vec<String>> {
    let text = output(Command::new("ip").args(["netns", "list"]))?;
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

fn live() -> std::sync::MutexGuard<'static, Vec<String>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the processes in a namespace and removes it. What fails here has nobody to tell.
fn remove(name: &str) {
    let _ = end_processes(name);
    let _ = output(Command::new("ip").args(["netns", "del", name]));
}

/// SIGTERM, so that a gateway cleans up behind itself; SIGKILL for who does not listen.
fn end_processes(name: &str) -> Result<()> {
    let pids = || -> Result<Vec<Pid>> {
        let text = output(Command::new("ip").args(["netns", "pids", name]))?;
        Ok(text.lines().filter_map(|line| Some(Pid::from_raw(line.trim().parse().ok()?))).collect())
    };
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let there = pids()?;
        for pid in &there {
            let _ = kill(*pid, signal);
        }
        if there.is_empty() || wait_for("processes to end", || pids().ok()?.is_empty().then_some(())).is_ok()
        {
            return Ok(());
        }
    }
    bail!("processes in {name} do not end")
}

fn batch(program: &str, netns: &str, lines: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(["-n", netns, "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} cannot start"))?;
    child.stdin.take().context("a piped stdin is there")?.write_all(lines.as_bytes())?;
    let out = child.wait_with_output()?;
    ensure!(
        out.status.success(),
        "{program} -n {netns}: {}\n{lines}",
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok(())
}

/// Runs a command to its end.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let words = format!("{command:?}");
    let out = command.output().with_context(|| format!("{words} cannot start"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(out.status.success(), "{words}: {}{}", text, String::from_utf8_lossy(&out.stderr).trim());
    Ok(text)
}
