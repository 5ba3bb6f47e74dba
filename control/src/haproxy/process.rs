//! One HAProxy as a process: started in a namespace, found again after a crash of ours, told to read its configuration
//! again, ended. Everything here may wait for the kernel or a program.

use std::{
    fs::{self, File},
    io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::{
        signal::{Signal, kill, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// The program.
const PROGRAM: &str = "haproxy";
/// How long one that was told to end may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest complaint that is kept, in bytes.
const WORDS_MAX: usize = 400;

/// A process, known by its number and when it began, so that another one of that number is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: Pid,
    began: u64,
}

impl Process {
    /// Starts one inside a namespace, in a process group of its own. What it says goes into `log`.
    pub(super) fn start(namespace: &Path, config: &Path, log: &Path) -> io::Result<Process> {
        let inside = File::open(namespace)?;
        let log = File::create(log)?;
        let mut command = Command::new(PROGRAM);
        command.args(["-W", "-db", "-f"]).arg(config).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let start = move || {
            keep_ours();
            setns(inside, CloneFlags::CLONE_NEWNET)?;
            command.spawn()
        };
        let started = thread::scope(|scope| scope.spawn(start).join());
        let child = started.map_err(|_| io::Error::other("a thread of ours panicked"))?.map_err(named)?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let (began, _) = stat(pid).ok_or_else(|| io::Error::other("it ended at once"))?;
        Ok(Process { pid, began })
    }

    /// One that an earlier run left, from what [`Process::note`] wrote.
    pub(super) fn noted(file: &Path) -> Option<Process> {
        let text = fs::read_to_string(file).ok()?;
        let (pid, began) = text.trim().split_once(' ')?;
        let process = Process { pid: Pid::from_raw(pid.parse().ok()?), began: began.parse().ok()? };
        process.is_alive().then_some(process)
    }

    /// Writes down which process it is.
    pub(super) fn note(self, file: &Path) -> io::Result<()> {
        fs::write(file, format!("{} {}\n", self.pid, self.began))
    }

    /// Whether it runs. One that was our child and has ended is buried.
    pub(super) fn is_alive(self) -> bool {
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => {
                stat(self.pid).is_some_and(|(began, state)| began == self.began && state != 'Z')
            }
            _ => false,
        }
    }

    /// Whether it runs in this namespace.
    pub(super) fn is_in(self, namespace: &Path) -> bool {
        let number = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
        let own = number(Path::new(&format!("/proc/{}/ns/net", self.pid)));
        own.is_some() && own == number(namespace)
    }

    /// Has it read its configuration again; connections live on.
    pub(super) fn reload(self) -> io::Result<()> {
        Ok(kill(self.pid, Signal::SIGUSR2)?)
    }

    /// Ends it and all its workers.
    pub(super) fn end(self) {
        if !self.is_alive() {
            return;
        }
        let _ = kill(self.pid, Signal::SIGTERM);
        let late = Instant::now() + PATIENCE;
        while self.is_alive() {
            if Instant::now() > late {
                let _ = killpg(self.pid, Signal::SIGKILL);
                let _ = waitpid(self.pid, None);
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        // Workers that outlive their master.
        let _ = killpg(self.pid, Signal::SIGKILL);
    }
}

/// Programs that are started get none of our files: DPDK opens its TAPs so that they would, and a TAP that somebody holds
/// outlives the gateway.
fn keep_ours() {
    const FIRST: i32 = 3;
    close_fds::set_fds_cloexec(FIRST, &[]);
}

/// Has HAProxy look at a configuration without using it.
///
/// # Errors
/// What it says is wrong.
pub(super) fn check(config: &Path) -> Result<(), String> {
    keep_ours();
    let mut command = Command::new(PROGRAM);
    command.args(["-c", "-f"]).arg(config).stdin(Stdio::null());
    let done = command.output().map_err(|error| named(error).to_string())?;
    if done.status.success() {
        return Ok(());
    }
    Err(complaint(&String::from_utf8_lossy(&done.stderr)))
}

/// What a log says last.
pub(super) fn last_words(log: &Path) -> String {
    complaint(&fs::read_to_string(log).unwrap_or_default())
}

/// The first alert of what HAProxy wrote, or its last line.
fn complaint(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().find(|line| line.starts_with("[ALERT]")).or_else(|| lines().next_back());
    line.unwrap_or("it said nothing").chars().take(WORDS_MAX).collect()
}

/// When a process began (clock ticks since the machine started), and its state (proc(5)).
fn stat(pid: Pid) -> Option<(u64, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

fn named(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::new(error.kind(), "haproxy is not installed; install the package haproxy")
        }
        _ => error,
    }
}
