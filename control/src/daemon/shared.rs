//! What the parts of the control side share. They run on the control thread and, for requests, on that of the REST API. Locks are held for the
//! length of one call and never across an await, so nobody waits for longer; the gateway's is taken before the others.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tidegate_fastpath::types::Nanos;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::yield_now,
};
use tracing::error;

use super::{
    flow_file::FlowFile,
    machine_time,
    reload::{Publish, Published, ReloadError},
};
use crate::{
    balance::Volumes,
    config::Id,
    desired::Store,
    gateway::Gateway,
    haproxy,
    health::{HealthEvent, State},
    local::LocalEvent,
    metrics::{self, Sample},
    nat::{Census, log::LogCounts},
    rest::ApiCounts,
    show::{Collection, Device, Filter, Rows, Source, Table},
    zstack::server::AgentEvent,
};

/// A gateway that has lived so long is not ended by the connections that it took over.
const SETTLED: Duration = Duration::from_secs(60);

/// What servers ask of the control loop.
#[derive(Debug)]
pub(super) enum Command {
    /// Put a plan into force.
    Publish(Box<Publish>, oneshot::Sender<Result<Published, ReloadError>>),
    /// Open the file of the session log anew.
    OpenLog,
}

/// What the control loop last saw of the machine, for showing.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) devices: HashMap<Id, Device>,
    pub(super) namespaces: Vec<String>,
    pub(super) buffers: (u32, u32),
    pub(super) local: [u64; LocalEvent::COUNT],
    pub(super) health: [u64; HealthEvent::COUNT],
    pub(super) proxies: Vec<haproxy::Seen>,
    pub(super) agents: Vec<(Id, [u64; AgentEvent::COUNT])>,
    pub(super) backends: [u64; State::ALL.len()],
}

/// The control side and what is known around it.
#[derive(Debug)]
pub(super) struct Shared {
    gateway: Mutex<Gateway>,
    store: Mutex<Store>,
    /// Held by whoever makes a change, from its first look to its end.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    seen: Mutex<Seen>,
    restarts: AtomicU64,
    /// What the session log counted.
    pub(super) nat_log: Arc<LogCounts>,
    /// What the REST API counts.
    pub(super) api: Arc<ApiCounts>,
    /// The present generation of desired state, for whoever waits for the next.
    pub(super) generations: watch::Sender<u64>,
    start: Instant,
    pub(super) commands: mpsc::Sender<Command>,
}

impl Shared {
    pub(super) fn new(gateway: Gateway, store: Store, commands: mpsc::Sender<Command>) -> Shared {
        Shared {
            gateway: Mutex::new(gateway),
            store: Mutex::new(store),
            turn: Arc::default(),
            seen: Mutex::default(),
            restarts: AtomicU64::new(0),
            nat_log: Arc::default(),
            api: Arc::default(),
            generations: watch::Sender::new(0),
            start: Instant::now(),
            commands,
        }
    }

    /// The time, as workers count it (to within the milliseconds of starting up, and what their counter of cycles is off).
    pub(super) fn now(&self) -> Nanos {
        machine_time()
    }

    /// Says that the flow table is not what ends gateways, once this one has lived long enough.
    pub(super) fn settle(&self) {
        if self.start.elapsed() > SETTLED {
            self.gateway().flows().settle();
        }
    }

    /// An end that somebody asked for: the file of the flow table goes, unless it shall stay.
    pub(super) fn end(&self, file: &FlowFile) {
        let mut gateway = self.gateway();
        if gateway.desired().config().gateway.flow_state.keep_on_stop {
            gateway.flows().settle();
        } else {
            file.remove();
        }
    }

    /// The control side. After a fault it is taken as it is; [`Shared::recover`] has put it in order.
    pub(super) fn gateway(&self) -> MutexGuard<'_, Gateway> {
        self.gateway.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Desired state. Where both are held, the gateway is locked first.
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a fault hit while the control side was being changed.
    pub(super) fn is_damaged(&self) -> bool {
        self.gateway.is_poisoned()
    }

    /// Puts the control side in order after a fault.
    pub(super) fn recover(&self, fault: &str) {
        error!("the control thread failed and starts again, workers forward on: {fault}");
        self.restarts.fetch_add(1, Relaxed);
        self.gateway().recover(self.now());
        self.gateway.clear_poison();
    }

    /// The rows of a table. Other tasks run between its steps.
    pub(super) async fn show(&self, table: Table, filter: &Filter) -> Result<Rows, String> {
        let mut collection = Collection::new(&self.gateway(), table, filter)?;
        while self.collect(&mut collection) {
            yield_now().await;
        }
        Ok(collection.finish())
    }

    /// One step.
    fn collect(&self, collection: &mut Collection) -> bool {
        let (mut gateway, seen) = (self.gateway(), self.seen());
        collection.step(&mut Source {
            gateway: &mut gateway,
            devices: &seen.devices,
            namespaces: &seen.namespaces,
            proxies: &seen.proxies,
            control_restarts: self.restarts.load(Relaxed),
            uptime: self.start.elapsed(),
            now: self.now(),
        })
    }

    /// All metrics. Other tasks run while port blocks and the bytes of connections are counted.
    pub(super) async fn metrics(&self) -> String {
        let mut census = Census::default();
        while census.step(&self.gateway()) {
            yield_now().await;
        }
        let mut volumes = Volumes::new(&self.gateway());
        while volumes.step(&mut self.gateway()) {
            yield_now().await;
        }
        self.render(census)
    }

    fn render(&self, census: Census) -> String {
        let objects = self.store().basis().counts();
        let (mut gateway, seen) = (self.gateway(), self.seen());
        let port = |(id, device): (&Id, &Device)| Some((gateway.desired().port(id)?, device.sample));
        let sample = Sample {
            ports: seen.devices.iter().filter_map(port).collect(),
            buffers: seen.buffers,
            now: self.now(),
            uptime_s: self.start.elapsed().as_secs(),
            control_restarts: self.restarts.load(Relaxed),
            census,
            nat_log: self.nat_log.all(),
            api: self.api.sample(),
            local: seen.local,
            health: seen.health,
            backends: seen.backends,
            proxies: seen.proxies.clone(),
            agents: seen.agents.clone(),
            live: gateway.is_live(),
            objects,
        };
        metrics::render(&gateway, &sample)
    }
}
