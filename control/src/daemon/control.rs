//! The control loop: rings, neighbours, local delivery, signals, commands. Everything here runs on the control thread, on
//! one tokio runtime that is made anew when the watchdog starts it again.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, interval, sleep},
};
use tracing::{error, info};

use super::{
    change,
    health::Health,
    place::Place,
    port::{self, Ports},
    reload::{self, Publish, Published, ReloadError},
    rest, server,
    shared::{Command, Shared},
    worker::Workers,
    zsnp,
    zstack::Agents,
};
use crate::{
    desired::{Source, Who},
    haproxy::{self, Proxies},
    local::{self, Delivery, LocalEvent},
    log::Watch,
    nat::log::NatLogger,
    rest::Server,
};

/// Between two looks at the rings while nothing happens.
const IDLE: Duration = Duration::from_millis(1);
/// Between two looks at links, devices, workers and counters.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Packets taken from namespaces in one round.
const RECEIVE_MAX: usize = 256;

/// Why the control loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// SIGTERM or SIGINT.
    Asked,
    /// A worker is gone.
    WorkerLost,
}

/// What the loop works on; outlives a fault in it.
pub(super) struct Control<'a, P> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) agents: &'a Agents,
    pub(super) ports: &'a P,
    pub(super) workers: &'a Workers,
    pub(super) place: &'a Place,
    pub(super) file: &'a Path,
    pub(super) inbox: mpsc::Receiver<Command>,
    pub(super) fresh: bool,
}

/// What lives as long as one run of the loop.
struct Run {
    delivery: Delivery,
    health: Health,
    proxies: Proxies,
    servers: Vec<JoinHandle<()>>,
    rest: Server,
    watch: Watch,
    nat_log: NatLogger,
    every_second: Interval,
    hangup: Signal,
}

/// What woke the loop.
enum Wake {
    End,
    Hangup,
    Command(Command),
    Second,
    Rings,
}

impl<P: Ports> Control<'_, P> {
    /// Runs until a signal asks for the end.
    ///
    /// # Errors
    /// When the loop cannot start.
    pub(super) fn run(&mut self) -> Result<Ending> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the control thread")?;
        let ending = runtime.block_on(self.work());
        runtime.shutdown_timeout(Duration::from_secs(1));
        ending
    }

    async fn work(&mut self) -> Result<Ending> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut run = self.begin()?;
        let ending = loop {
            let busy = self.poll(&mut run);
            let wake = tokio::select! {
                biased;
                _ = terminate.recv() => Wake::End,
                _ = interrupt.recv() => Wake::End,
                _ = run.hangup.recv() => Wake::Hangup,
                Some(command) = self.inbox.recv() => Wake::Command(command),
                _ = run.every_second.tick() => Wake::Second,
                () = pause(busy) => Wake::Rings,
                () = run.delivery.readable(), if !busy => Wake::Rings,
            };
            match wake {
                Wake::End => break Ending::Asked,
                Wake::Hangup => {
                    let (shared, file) = (Arc::clone(self.shared), self.file.to_owned());
                    tokio::spawn(async move {
                        change::reload(&shared, &file, Who::new("SIGHUP", Source::File)).await
                    });
                }
                Wake::Command(Command::OpenLog) => self.open_log(&mut run),
                Wake::Command(Command::Publish(plan, reply)) => {
                    drop(reply.send(self.publish(&mut run, plan).await));
                }
                Wake::Second => {
                    if !self.workers.all_run() {
                        error!("a worker ended; the gateway stops");
                        break Ending::WorkerLost;
                    }
                    self.housekeeping(&mut run);
                }
                Wake::Rings => drop(run.delivery.step().await),
            }
        };
        info!("stopping");
        self.shared.gateway().stop_zsnp(self.shared.now());
        run.servers.iter().for_each(JoinHandle::abort);
        drop(run.rest);
        // While the namespaces are there.
        drop(run.proxies);
        run.delivery.close();
        run.nat_log.close();
        Ok(ending)
    }

    fn begin(&mut self) -> Result<Run> {
        let mut servers = server::start(self.shared, self.place)?;
        servers.extend(self.agents.start()?);
        let rest = rest::start(self.shared, self.agents, self.place, self.file)?;
        let mut every_second = interval(HOUSEKEEPING);
        every_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Only the first run is fresh: what it made is taken over after a fault.
        let fresh = std::mem::take(&mut self.fresh);
        if !fresh {
            self.catch_up();
        }
        let proxies =
            Proxies::start(&self.place.socket, fresh).context("cannot start the thread of the proxies")?;
        let delivery = Delivery::new(self.place.socket.clone(), fresh);
        let hangup = signal(SignalKind::hangup())?;
        let nat_log = NatLogger::new(Arc::clone(&self.shared.nat_log));
        let mut run = Run {
            delivery,
            health: Health::new(),
            proxies,
            servers,
            rest,
            watch: Watch::default(),
            nat_log,
            every_second,
            hangup,
        };
        self.want_namespaces(&mut run);
        self.check_backends(&mut run);
        self.want_proxies(&run);
        self.open_log(&mut run);
        zsnp::begin(&mut self.shared.gateway());
        Ok(run)
    }

    /// Puts into force what was kept when a fault came between.
    fn catch_up(&self) {
        let kept = Arc::clone(&self.shared.store().basis().settled.config);
        let mut gateway = self.shared.gateway();
        if *gateway.desired().config() != *kept
            && let Err(why) = gateway.apply(kept, self.shared.now())
        {
            error!("what was kept last is not in force: {why}");
        }
    }

    /// One round: rings, neighbours, packets to and from namespaces. Returns whether there was anything to do.
    fn poll(&self, run: &mut Run) -> bool {
        let mut gateway = self.shared.gateway();
        let mut done = gateway.poll(self.shared.now());
        while let Some(punted) = gateway.take_punted() {
            run.delivery.deliver(punted.vrf, &punted.packet);
        }
        done += run.delivery.receive(&mut gateway, RECEIVE_MAX);
        done += run.health.poll(&mut gateway, self.shared.now());
        done += run.nat_log.take(&mut gateway, self.shared.now());
        done > 0
    }

    async fn publish(&self, run: &mut Run, what: Box<Publish>) -> Result<Published, ReloadError> {
        let result = reload::publish(self.shared, self.ports, what).await;
        if let Ok(Published::Installed(reloaded, _)) = &result {
            self.shared.generations.send_replace(reloaded.generation);
            self.want_namespaces(run);
            self.check_backends(run);
            self.want_proxies(run);
            self.open_log(run);
            zsnp::begin(&mut self.shared.gateway());
        }
        result
    }

    fn open_log(&self, run: &mut Run) {
        run.nat_log.open(self.shared.gateway().desired().config().gateway.nat_log.clone());
    }

    fn want_namespaces(&self, run: &mut Run) {
        let gateway = self.shared.gateway();
        run.delivery.want(local::wanted(gateway.desired(), gateway.compiled()));
    }

    fn want_proxies(&self, run: &Run) {
        run.proxies.want(haproxy::instances(self.shared.gateway().desired().config()));
    }

    fn check_backends(&self, run: &mut Run) {
        run.health.configure(&mut self.shared.gateway(), self.shared.now());
    }

    fn housekeeping(&self, run: &mut Run) {
        // The watchdog takes these up and starts the control side again.
        assert!(!self.shared.is_damaged(), "a request failed while it used the control side");
        assert!(!run.servers.iter().any(JoinHandle::is_finished), "a server of the control side ended");
        assert!(run.rest.is_alive(), "the thread of the API ended");
        assert!(run.proxies.is_alive(), "the thread of the proxies ended");
        self.ports.log();
        self.shared.settle();
        if self.shared.store().unconfirmed(change::now_ms()).is_some_and(|(_, left)| left == 0) {
            tokio::spawn(change::fall_back(Arc::clone(self.shared)));
        }
        let config = self.shared.gateway().desired().config().clone();
        let facts = port::facts(self.ports, &config);
        {
            let mut gateway = self.shared.gateway();
            gateway.set_ports(facts, self.shared.now());
            let seen = run.proxies.seen();
            let reports = haproxy::reports(gateway.desired().config(), &seen);
            gateway.set_health(reports, self.shared.now());
            run.watch.look(&gateway, Instant::now());
        }
        let mut seen = self.shared.seen();
        seen.devices = port::devices(self.ports, &config);
        seen.buffers = self.ports.buffers();
        seen.namespaces = run.delivery.names().map(str::to_owned).collect();
        seen.namespaces.sort_unstable();
        seen.proxies = run.proxies.seen();
        seen.agents = self.agents.counts();
        (seen.health, seen.backends) = (run.health.counts(), run.health.states());
        for event in LocalEvent::ALL {
            seen.local[event.index()] = run.delivery.count(*event);
        }
    }
}

/// Lets other tasks run; sleeps where there was nothing to do.
async fn pause(busy: bool) {
    if busy { tokio::task::yield_now().await } else { sleep(IDLE).await }
}
