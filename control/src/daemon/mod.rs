//! The daemon: ports, workers and the control thread, from start to end.
//!
//! The thread that calls [`run`] is the control thread. It starts the ports and one thread per worker, and then runs the
//! control loop ([`control`]) under a watchdog ([`supervise`]): a fault there starts it again while workers forward on.
//! SIGTERM and SIGINT end it: workers finish their bursts, and namespaces, TAPs, sockets and DPDK's files go.

mod change;
mod control;
#[cfg(feature = "dpdk")]
mod dpdk;
mod flow_file;
mod health;
mod place;
mod port;
mod reload;
mod rest;
mod server;
mod shared;
mod supervise;
mod worker;
mod zsnp;
mod zstack;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::time::{ClockId, clock_gettime};
use tidegate_fastpath::{flow::Recovery, io::Io, types::Nanos, worker::Idle};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

pub use self::reload::ReloadError;
use self::{
    control::{Control, Ending},
    flow_file::FlowFile,
    place::Place,
    port::Ports,
    shared::Shared,
    worker::Workers,
    zstack::Agents,
};
use crate::{
    config::{self, Config, Poll, Problems, raw::RawConfig},
    desired::{self, Directory, Disk, Opened, Source, Store, Who},
    gateway::Gateway,
    rest::How,
};

/// How the daemon is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// Remove what an earlier run left instead of taking it over.
    pub fresh: bool,
}

/// Reads and checks a configuration file: as it is written, and what it means.
///
/// # Errors
/// When it cannot be read, or [`Problems`] with everything that is wrong with it.
pub fn read_config(file: &Path) -> Result<(RawConfig, Config)> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    config::parse_file(&text).map_err(|problems: Problems| problems.into())
}

/// Runs the gateway until SIGTERM or SIGINT.
///
/// # Errors
/// Why it did not start, or a worker that ended: one sentence that says what to do.
#[cfg(feature = "dpdk")]
pub fn run(options: &Options) -> Result<()> {
    let (raw, config) = read_config(&options.config)
        .with_context(|| format!("{} does not hold", options.config.display()))?;
    let place = Place::take(&config)?;
    let store = restore(&config, raw)?;
    let config = Config::clone(&store.basis().settled.config);
    let (ports, ios) = dpdk::start(&config)?;
    Daemon { options, config, store, place, ports: &ports }.run(ios, dpdk::WORK)
}

/// Runs the gateway until SIGTERM or SIGINT.
///
/// # Errors
/// Always: this program was built without DPDK.
#[cfg(not(feature = "dpdk"))]
pub fn run(options: &Options) -> Result<()> {
    read_config(&options.config)?;
    bail!("this program was built without DPDK and has no ports; build it with the feature `dpdk`")
}

/// Everything that a run consists of, before it begins.
struct Daemon<'a, P> {
    options: &'a Options,
    config: Config,
    store: Store,
    place: Place,
    ports: &'a P,
}

impl<P: Ports> Daemon<'_, P> {
    /// Starts the workers, runs control, stops the workers.
    fn run<I, G>(mut self, ios: Vec<I>, work: worker::Work<I, G>) -> Result<()>
    where
        I: Io + Send + 'static,
        I::Buffer: Send,
        G: 'static,
    {
        let settings = self.config.gateway.clone();
        let idle = match settings.poll {
            Poll::Busy => Idle::Spin,
            Poll::Adaptive => Idle::Sleep,
        };
        let facts = port::facts(self.ports, &self.config);
        let agents = zstack::prepare(&self.config)?;
        let (file, memory) = FlowFile::take(&settings, self.options.fresh)?;
        let (gateway, parts) = Gateway::with_flows(self.config, facts, machine_time(), seed(), memory);
        tell(&gateway.recovery(), &file);
        let workers = Workers::start(parts, ios, work, &settings.workers, idle).inspect_err(|_| {
            if gateway.recovery().sessions == 0 {
                file.remove()
            }
        })?;
        worker::keep_off(&settings.workers, settings.control_lcore);
        let (commands, inbox) = mpsc::channel(16);
        let shared = Arc::new(Shared::new(gateway, self.store, commands));
        info!(workers = settings.workers.len(), ports = settings.ports.len(), "the gateway forwards");

        let agents = Agents::new(agents, std::mem::take(&mut self.place.agents), &shared);
        let mut control = Control {
            shared: &shared,
            agents: &agents,
            ports: self.ports,
            workers: &workers,
            place: &self.place,
            file: &self.options.config,
            inbox,
            fresh: self.options.fresh,
        };
        let ending = supervise::supervise(|| control.run(), |fault| shared.recover(fault));
        let stopped = workers.stop();
        // A worker that failed is a crash: the connections go on with the next start.
        if let Ok(Ending::Asked) = ending {
            shared.end(&file);
        }
        drop(self.place);
        match ending? {
            Ending::Asked => stopped,
            Ending::WorkerLost => stopped.and_then(|()| bail!("a worker ended; see the log above")),
        }
        .inspect(|()| info!("stopped"))
        .inspect_err(|error| warn!("{error:#}"))
    }
}

/// Takes up desired state from where it was kept, or from the file where that has changed.
fn restore(config: &Config, mut raw: RawConfig) -> Result<Store> {
    let host = raw.gateway.take().unwrap_or_default();
    let objects = desired::documents(raw)?;
    let disk = Directory::open(config.gateway.state.clone()).map(|disk| Box::new(disk) as Box<dyn Disk>);
    let by = change::by(Who::new("start", Source::File), How::default());
    let (store, opened) = Store::open(disk, &host, objects, &by)?;
    store.damaged().iter().for_each(|file| warn!("desired state: {file}"));
    if let Some(why) = store.trouble() {
        error!("gateway.state: {why}; the file is in force, and other changes are refused");
    }
    let basis = store.basis();
    let (generation, objects) = (basis.generation, basis.documents.len());
    match opened {
        Opened::Restored => info!(generation, objects, "desired state is restored"),
        Opened::File => info!(generation, objects, "desired state is the file's"),
    }
    for (key, status) in basis.settled.statuses.iter().take(100) {
        info!("{key} is {}: {}", status.name(), status.reason());
    }
    Ok(store)
}

/// Says what became of the connections of an earlier gateway.
fn tell(recovery: &Recovery, file: &FlowFile) {
    let Recovery { sessions, refused, halves, damaged, .. } = *recovery;
    if damaged {
        warn!(
            file = file.name(),
            "the flow table was damaged and begins empty: the connections of the gateway before are forgotten"
        );
    } else if sessions + refused + halves > 0 {
        info!(
            file = file.name(),
            refused,
            incomplete = halves,
            "{sessions} connections of the gateway before go on"
        );
    }
}

/// The time that control and workers count by: since the machine started, so that it goes on from one run to the next.
fn machine_time() -> Nanos {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    Nanos(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// Differs between gateways and runs.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}
