//! HTTP for one router agent, on its management address: plain HTTP/1, no authentication, as the manager expects it. Whoever reaches the
//! address may configure the router; keep it on a network that tenants do not reach.
//!
//! A command that takes long, a client that sends slowly and a manager that does not take its callbacks hold up neither `/ping` nor
//! the control thread: everything has a limit, and commands are worked on beside it, one after the other.

mod callback;
mod event;
mod figures;
mod http;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{Mutex as Turn, Semaphore},
    task::{JoinSet, spawn_blocking},
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{info, warn};

pub use self::event::AgentEvent;
use self::{callback::Callback, event::Counts};
use super::{
    Change, Documents, Endpoint, Memory, Object, Router,
    body::{self, BadBody},
    difference,
};
use crate::{
    clients::Clients,
    config::Id,
    show::{Filter, Table},
};

/// Between two looks whether what was restored has to go.
const TICK: Duration = Duration::from_secs(1);
/// After an accept that failed, for want of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; more are closed at once.
    pub connections: usize,
    /// Of these from one address.
    pub connections_per_client: usize,
    /// How long a client may take for its request, and for reading the answer.
    pub request: Duration,
    /// Largest body, in bytes.
    pub body: usize,
    /// Bytes of bodies that are read at a time.
    pub bodies: usize,
    /// Commands that run or wait for their turn. The manager sends at most 100 at a time.
    pub commands: usize,
    /// Callbacks that are tried again; others have one try.
    pub callbacks: usize,
    /// Tries of one callback.
    pub callback_tries: u32,
    /// Between two tries.
    pub callback_pause: Duration,
    /// Time for one try.
    pub callback_timeout: Duration,
}

impl Default for Limits {
    /// Tries and pauses are those of the stock agent.
    fn default() -> Limits {
        Limits {
            connections: 1024,
            connections_per_client: 256,
            request: Duration::from_secs(10),
            body: 16 << 20,
            bodies: 64 << 20,
            commands: 128,
            callbacks: 1024,
            callback_tries: 60,
            callback_pause: Duration::from_secs(1),
            callback_timeout: Duration::from_secs(5),
        }
    }
}

/// What comes into force together, or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Whose it is.
    pub agent: Id,
    /// Documents; empty where nothing but `memory` changes.
    pub changes: Vec<Change>,
    /// PEM by file, all of them: they are there before the documents name them, and others of the agent go afterwards.
    pub certificates: BTreeMap<PathBuf, String>,
    /// What the agent has to know after a restart.
    pub memory: Memory,
}

/// Where changes come into force.
pub trait Sink: Send + Sync + 'static {
    /// Puts all of it into force and keeps it.
    ///
    /// # Errors
    /// Why nothing has changed, in words for the manager's operator.
    fn commit(&self, commit: Commit) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;

    /// The documents of an agent that are there now.
    fn documents(&self, agent: &Id) -> Documents;

    /// The rows of a table, as `tidegate show --json` has them.
    ///
    /// # Errors
    /// What is wrong with the filter.
    fn show(
        &self,
        table: Table,
        filter: Filter,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>>;
}

/// A router agent that serves.
pub struct Agent {
    router: Mutex<Router>,
    /// Commands that change something run one after the other.
    turn: Turn<()>,
    sink: Arc<dyn Sink>,
    limits: Limits,
    start: Instant,
    /// Commands under way, and those that never wait for others.
    commands: Arc<Semaphore>,
    prompt: Arc<Semaphore>,
    callbacks: Arc<Semaphore>,
    /// KiB of bodies.
    bodies: Arc<Semaphore>,
    /// The last page of metrics, and when it was made. One is made at a time.
    page: Turn<Option<(Instant, String)>>,
    counts: Counts,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("router", &self.router().settings().id).finish_non_exhaustive()
    }
}

impl Agent {
    /// An agent of `router`, whose changes go to `sink`.
    pub fn new(router: Router, sink: Arc<dyn Sink>, limits: Limits) -> Agent {
        let permits = |count| Arc::new(Semaphore::new(count));
        Agent {
            router: Mutex::new(router),
            turn: Turn::new(()),
            sink,
            limits,
            start: Instant::now(),
            commands: permits(limits.commands),
            prompt: permits(limits.commands),
            callbacks: permits(limits.callbacks),
            bodies: permits(limits.bodies.div_ceil(1024)),
            page: Turn::default(),
            counts: Counts::default(),
        }
    }

    /// Its name, and the VPC router that it drives.
    pub fn whose(&self) -> (Id, Id) {
        let router = self.router();
        (router.settings().id.clone(), router.settings().vpc.clone())
    }

    /// What it counted since the start of the process, by [`AgentEvent::index`].
    pub fn counts(&self) -> [u64; AgentEvent::COUNT] {
        self.counts.read()
    }

    /// Everything that was pushed and what became of it.
    pub fn objects(&self) -> Vec<Object> {
        self.router().objects()
    }

    /// Makes the documents those that were pushed, whatever they were changed to.
    ///
    /// # Errors
    /// Why they stay as they are.
    pub async fn put_in_order(&self) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let router = self.router().clone();
        let agent = router.settings().id.clone();
        let changes = difference(&self.sink.documents(&agent), router.documents());
        let (certificates, memory) = (router.certificates().clone(), router.memory());
        self.sink.commit(Commit { agent, changes, certificates, memory }).await
    }

    /// Serves until the future is dropped; then everything that it began ends, too.
    ///
    /// # Errors
    /// Never by itself: a connection that fails is the client's concern.
    pub async fn serve(self: Arc<Agent>, listener: TcpListener) -> io::Result<()> {
        let mut tasks = JoinSet::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let clients = Clients::new(self.limits.connections, self.limits.connections_per_client);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        match clients.take(peer.ip()) {
                            Ok(place) => {
                                let agent = Arc::clone(&self);
                                tasks.spawn(async move { http::connection(agent, stream, place).await });
                            }
                            Err(_) => self.counts.one(AgentEvent::ConnectionRefused),
                        }
                    }
                    Err(error) => {
                        warn!("a connection to router agent {} failed: {error}", self.router().settings().id);
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
                _ = ticks.tick() => {
                    if self.is_due() {
                        let agent = Arc::clone(&self);
                        tasks.spawn(async move { agent.tick().await });
                    }
                }
            }
        }
    }

    fn router(&self) -> MutexGuard<'_, Router> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn is_due(&self) -> bool {
        self.router().due().is_some_and(|due| due <= self.now())
    }

    /// A command that a callback answers.
    async fn command(&self, endpoint: Endpoint, bytes: Vec<u8>, callback: Callback) {
        let reply = self.carry_out(endpoint, bytes).await;
        let patient = self.callbacks.clone().try_acquire_owned();
        let tries = if patient.is_ok() { self.limits.callback_tries } else { 1 };
        if let Err(error) = callback.deliver(&reply, tries, &self.limits).await {
            self.counts.one(AgentEvent::CallbackGivenUp);
            let agent = self.router().settings().id.clone();
            warn!(%agent, command = endpoint.path(), "the manager did not take the result: {error}");
        }
    }

    /// A command with its reply, counted.
    async fn carry_out(&self, endpoint: Endpoint, bytes: Vec<u8>) -> Value {
        let reply = self.reply(endpoint, bytes).await;
        let failed = body::is_failure(&reply);
        self.counts.one(if failed { AgentEvent::CommandFailed } else { AgentEvent::CommandDone });
        reply
    }

    /// Commands that are prompt go beside all others.
    async fn reply(&self, endpoint: Endpoint, bytes: Vec<u8>) -> Value {
        if let Endpoint::ZsnStatus | Endpoint::ZsnConnections = endpoint {
            return self.direct_paths(endpoint).await;
        }
        if endpoint.is_prompt() {
            return match body::parse(&bytes) {
                Ok(body) => self.router().handle(endpoint, &body, self.now()).reply,
                Err(error) => body::failure(&error.to_string()),
            };
        }
        let _turn = self.turn.lock().await;
        let (before, now) = (self.router().clone(), self.now());
        let mut next = before.clone();
        let worked = spawn_blocking(move || {
            let body = body::parse(&bytes)?;
            let answer = next.handle(endpoint, &body, now);
            Ok::<_, BadBody>((next, answer))
        });
        let (next, answer) = match worked.await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => return self.failed(&error.to_string()),
            Err(error) => return self.failed(&format!("{} failed: {error}", endpoint.path())),
        };
        match self.commit(&before, next, answer.changes).await {
            Ok(()) => answer.reply,
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &str) -> Value {
        self.router().push_failed();
        body::failure(error)
    }

    /// Puts what came of a command into force; the router is `next` only if that succeeds.
    async fn commit(&self, before: &Router, next: Router, changes: Vec<Change>) -> Result<(), String> {
        if !next.remembers_the_same_as(before) {
            let commit = Commit {
                agent: next.settings().id.clone(),
                changes,
                certificates: next.certificates().clone(),
                memory: next.memory(),
            };
            self.sink.commit(commit).await?;
        }
        *self.router() = next;
        Ok(())
    }

    /// What was restored and not pushed again goes.
    async fn tick(&self) {
        let _turn = self.turn.lock().await;
        let before = self.router().clone();
        let mut next = before.clone();
        let changes = next.tick(self.now());
        let withdrawn = before.len() - next.len();
        if next.remembers_the_same_as(&before) {
            *self.router() = next;
            return;
        }
        let agent = next.settings().id.clone();
        info!(%agent, objects = withdrawn, documents = changes.len(), "what the manager did not push again is withdrawn");
        match self.commit(&before, next, changes).await {
            Ok(()) => self.counts.add(AgentEvent::ObjectWithdrawn, withdrawn),
            Err(error) => warn!(%agent, "what the manager did not push again cannot be withdrawn: {error}"),
        }
    }
}
