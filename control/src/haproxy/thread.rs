//! The thread that keeps the HAProxies as they are wanted. Control says what is wanted and reads what is seen; it waits for
//! neither.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tidegate_fastpath::types::Nanos;
use tracing::{info, warn};

use super::{
    life::{Action, Life},
    process::{self, Process},
    render::{Instance, Place, render, short},
    stats::{self, Line},
};
use crate::{
    config::{Id, TableKey},
    local,
};

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(250);
/// Between two looks at what they count.
const COUNT: Duration = Duration::from_secs(1);
/// Largest certificate file, in bytes.
const PEM_MAX: u64 = 1 << 20;
/// Where each gateway keeps the files of its proxies.
const BASE: &str = "/run/tidegate/haproxy";
/// The configuration in force, within the folder of a proxy.
const CONFIG: &str = "haproxy.cfg";
/// Which process it is.
const NOTE: &str = "process";
/// What it said.
const LOG: &str = "log";

/// What is seen of one HAProxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The VPC router.
    pub vpc: Id,
    /// Whether it runs.
    pub running: bool,
    /// How often it died.
    pub deaths: u64,
    /// Why it does not run as it is wanted; `None` when it does.
    pub problem: Option<String>,
    /// What it counts.
    pub lines: Vec<Line>,
}

enum Command {
    Want(Vec<Instance>),
    /// `leave` what runs, for the next run of the control thread.
    End {
        leave: bool,
    },
}

/// All HAProxies of a gateway. They end with this, unless that is because of a panic.
#[derive(Debug)]
pub struct Proxies {
    commands: Sender<Command>,
    seen: Arc<Mutex<Vec<Seen>>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxies {
    /// None yet. `owner` (the control socket) tells this gateway's proxies from another's. What an earlier run left is taken
    /// over when it is wanted, and ends where it is not, or with `fresh`.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn start(owner: &Path, fresh: bool) -> io::Result<Proxies> {
        let (commands, inbox) = channel();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let keeper = Keeper {
            base: Path::new(BASE).join(short(&owner.display().to_string())),
            kept: BTreeMap::new(),
            seen: Arc::clone(&seen),
            start: Instant::now(),
            counted: None,
        };
        let work = move || keeper.run(inbox, fresh);
        let thread = thread::Builder::new().name("haproxy".to_owned()).spawn(work)?;
        Ok(Proxies { commands, seen, thread: Some(thread) })
    }

    /// Says which proxies should run. Files of certificates are read anew.
    pub fn want(&self, instances: Vec<Instance>) {
        // Where the thread is gone, `is_alive` says so.
        let _ = self.commands.send(Command::Want(instances));
    }

    /// What was seen last.
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.seen).clone()
    }

    /// Whether the thread runs.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::End { leave: thread::panicking() });
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn locked(seen: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One that is wanted.
struct Kept {
    instance: Instance,
    life: Life,
    process: Option<Process>,
    /// What it runs with.
    text: Option<String>,
    problem: Option<String>,
    lines: Vec<Line>,
}

struct Keeper {
    base: PathBuf,
    kept: BTreeMap<Id, Kept>,
    seen: Arc<Mutex<Vec<Seen>>>,
    start: Instant,
    counted: Option<Instant>,
}

impl Keeper {
    fn run(mut self, inbox: Receiver<Command>, fresh: bool) {
        if fresh {
            self.sweep(&HashSet::new());
        }
        loop {
            // With nothing to look after, it sleeps until it is told something.
            let next = match self.kept.is_empty() {
                true => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => inbox.recv_timeout(LOOK),
            };
            match next {
                Ok(Command::Want(instances)) => self.want(instances),
                Ok(Command::End { leave: true }) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Command::End { leave: false }) => {
                    self.want(Vec::new());
                    let _ = fs::remove_dir(&self.base);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.look();
        }
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn folder(&self, vpc: &Id) -> PathBuf {
        self.base.join(short(vpc.as_str()))
    }

    fn want(&mut self, instances: Vec<Instance>) {
        let wanted: HashSet<Id> = instances.iter().map(|instance| instance.vpc.clone()).collect();
        for (vpc, kept) in self.kept.extract_if(.., |vpc, _| !wanted.contains(vpc)).collect::<Vec<_>>() {
            info!(%vpc, "the proxy ends");
            if let Some(process) = kept.process {
                process.end();
            }
        }
        self.sweep(&wanted);
        let now = self.now();
        for instance in instances {
            let vpc = instance.vpc.clone();
            match self.kept.get_mut(&vpc) {
                Some(kept) => {
                    kept.instance = instance;
                    kept.life.change();
                }
                None => {
                    let kept = self.take_over(instance, now);
                    self.kept.insert(vpc, kept);
                }
            }
        }
    }

    /// Ends what an earlier run left and nobody wants, and removes its files.
    fn sweep(&self, wanted: &HashSet<Id>) {
        let folders: HashSet<PathBuf> = wanted.iter().map(|vpc| self.folder(vpc)).collect();
        for entry in fs::read_dir(&self.base).into_iter().flatten().flatten() {
            let folder = entry.path();
            if folders.contains(&folder) {
                continue;
            }
            if let Some(process) = Process::noted(&folder.join(NOTE)) {
                process.end();
            }
            let _ = fs::remove_dir_all(folder);
        }
    }

    fn take_over(&self, instance: Instance, now: Nanos) -> Kept {
        let folder = self.folder(&instance.vpc);
        let process = Process::noted(&folder.join(NOTE));
        let mut kept = Kept {
            instance,
            life: Life::default(),
            process: None,
            text: None,
            problem: None,
            lines: Vec::new(),
        };
        match process {
            Some(process) if process.is_in(&namespace(&kept.instance.vpc)) => {
                info!(vpc = %kept.instance.vpc, "the proxy of an earlier run is taken over");
                kept.process = Some(process);
                kept.life = Life::taken_over(now);
                kept.text = fs::read_to_string(folder.join(CONFIG)).ok();
            }
            Some(process) => process.end(),
            None => {}
        }
        kept
    }

    /// Buries what died, starts and reloads what is due, reads what is counted.
    fn look(&mut self) {
        let now = self.now();
        let count = self.counted.is_none_or(|at| at.elapsed() >= COUNT);
        let base = self.base.clone();
        for (vpc, kept) in &mut self.kept {
            let folder = base.join(short(vpc.as_str()));
            kept.bury(now, &folder);
            if let Some(action) = kept.life.due(now) {
                match kept.act(action, &folder) {
                    Ok(()) => {
                        kept.life.done(now, action);
                        kept.problem = None;
                    }
                    Err(why) => {
                        if kept.problem.as_ref() != Some(&why) {
                            warn!(%vpc, "the proxy of HTTP listeners: {why}");
                        }
                        kept.problem = Some(why);
                        kept.life.failed(now);
                    }
                }
            }
            if count && kept.life.is_running() {
                kept.lines = stats::ask(&folder.join("stats")).unwrap_or_default();
            }
        }
        if count {
            self.counted = Some(Instant::now());
        }
        let seen = self.kept.iter().map(|(vpc, kept)| Seen {
            vpc: vpc.clone(),
            running: kept.life.is_running(),
            deaths: kept.life.deaths(),
            problem: kept.problem.clone(),
            lines: kept.lines.clone(),
        });
        *locked(&self.seen) = seen.collect();
    }
}

fn namespace(vpc: &Id) -> PathBuf {
    local::netns::path(&local::namespace_name(&TableKey::Vpc(vpc.clone())))
}

impl Kept {
    fn bury(&mut self, now: Nanos, folder: &Path) {
        let Some(process) = self.process else { return };
        let alive = process.is_alive();
        if alive && process.is_in(&namespace(&self.instance.vpc)) {
            return;
        }
        let why = if alive {
            "its namespace was replaced".to_owned()
        } else {
            process::last_words(&folder.join(LOG))
        };
        warn!(vpc = %self.instance.vpc, "the proxy of HTTP listeners died, it starts again: {why}");
        // Also what is left of its group.
        process.end();
        self.problem = Some(format!("it died: {why}"));
        (self.process, self.text, self.lines) = (None, None, Vec::new());
        self.life.died(now);
    }

    /// Starts it or has it read its configuration, whichever is due.
    fn act(&mut self, action: Action, folder: &Path) -> Result<(), String> {
        let namespace = namespace(&self.instance.vpc);
        if !namespace.exists() {
            return Err(format!("{} is not there yet", namespace.display()));
        }
        let (text, files) = self.prepare(folder)?;
        if action == Action::Reload && self.text.as_ref() == Some(&text) {
            return Ok(());
        }
        let (new, config) = (folder.join("new.cfg"), folder.join(CONFIG));
        let io = |what: &'static str| move |error: io::Error| format!("cannot {what}: {error}");
        write_private(&new, text.as_bytes()).map_err(io("write its configuration"))?;
        process::check(&new)?;
        fs::rename(&new, &config).map_err(io("write its configuration"))?;
        match self.process {
            Some(process) => process.reload().map_err(io("signal it"))?,
            None => {
                let started = Process::start(&namespace, &config, &folder.join(LOG));
                let process = started.map_err(io("start it"))?;
                process.note(&folder.join(NOTE)).map_err(io("note its process"))?;
                self.process = Some(process);
            }
        }
        self.text = Some(text);
        keep_only(&folder.join("certificates"), &files);
        Ok(())
    }

    /// Copies of the certificates, and the text that names them. A copy is named by what is in it, so that the text changes
    /// when a certificate does.
    fn prepare(&self, folder: &Path) -> Result<(String, HashSet<PathBuf>), String> {
        let certificates = folder.join("certificates");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&certificates);
        made.map_err(|error| format!("cannot make {}: {error}", certificates.display()))?;
        let mut place = Place { socket: folder.join("stats"), certificates: BTreeMap::new() };
        for pem in &self.instance.certificates {
            let cannot =
                |what: &str, error: io::Error| format!("certificate {}: cannot {what}: {error}", pem.id);
            let content =
                read_pem(&pem.file).map_err(|e| cannot(&format!("read {}", pem.file.display()), e))?;
            let copy = certificates.join(format!("{}-{}.pem", pem.id, short(&content)));
            write_private(&copy, content.as_bytes()).map_err(|e| cannot("copy it", e))?;
            place.certificates.insert(pem.id.clone(), copy);
        }
        let text = render(&self.instance, &place);
        Ok((text, place.certificates.into_values().collect()))
    }
}

fn read_pem(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(file)?.take(PEM_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a file that only its owner reads.
fn write_private(file: &Path, content: &[u8]) -> io::Result<()> {
    let _ = fs::remove_file(file);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?.write_all(content)
}

/// Removes the other files of a folder.
fn keep_only(folder: &Path, files: &HashSet<PathBuf>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| !files.contains(path)).for_each(|path| drop(fs::remove_file(path)));
}
