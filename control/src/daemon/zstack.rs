//! Router agents of the gateway: their addresses, what they keep on disk, and how their changes become generations. Everything that an
//! agent wants is a transaction like any other.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    future::Future,
    io::{self, Write as _},
    net::TcpListener,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Weak},
};

use anyhow::{Context, Result};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Duration, sleep},
};
use tracing::{error, info, warn};

use super::{change, shared::Shared};
use crate::{
    config::{Config, Id, ZstackAgent},
    desired::{Key, Kind, Source, Step, Transaction, Who},
    rest::{How, PushedRow},
    show::{Filter, Table},
    zstack::{
        Change, Documents, Memory, PublicNetwork, Router, Settings, bootstrap,
        server::{Agent, AgentEvent, Commit, Limits, Sink},
    },
};

/// Where agents keep what they know, below `gateway.state`.
const DIRECTORY: &str = "zstack";
/// Between two tries to put documents in order.
const PAUSE: Duration = Duration::from_secs(5);

/// The agents and their addresses. They outlive a fault of the control loop.
#[derive(Clone, Debug, Default)]
pub(super) struct Agents(Arc<[(Arc<Agent>, TcpListener)]>);

/// An agent before it serves.
pub(super) struct Prepared {
    router: Router,
    files: Files,
}

/// Takes the addresses of all agents, so that one that is in use is found before anything else starts.
pub(super) fn listen(config: &Config) -> Result<Vec<TcpListener>> {
    let listen = |agent: &ZstackAgent| {
        let listener = TcpListener::bind(agent.listen).with_context(|| {
            format!(
                "router agent {} cannot listen on {}; is that an address of this host?",
                agent.id, agent.listen
            )
        })?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    config.gateway.zstack.iter().map(listen).collect()
}

impl Agents {
    pub(super) fn new(agents: Vec<Prepared>, listeners: Vec<TcpListener>, shared: &Arc<Shared>) -> Agents {
        let agents = agents.into_iter().zip(listeners).map(|(Prepared { router, files }, listener)| {
            let sink = Store { shared: Arc::downgrade(shared), files };
            (Arc::new(Agent::new(router, Arc::new(sink), Limits::default())), listener)
        });
        Agents(agents.collect())
    }

    /// Everything that managers pushed and what became of it.
    pub(super) fn pushed(&self) -> Vec<PushedRow> {
        let of = |(agent, _): &(Arc<Agent>, TcpListener)| {
            let (id, vpc) = agent.whose();
            let row = move |object| PushedRow { agent: id.to_string(), vpc: vpc.to_string(), object };
            agent.objects().into_iter().map(row).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// What each counted, by [`AgentEvent::index`].
    pub(super) fn counts(&self) -> Vec<(Id, [u64; AgentEvent::COUNT])> {
        self.0.iter().map(|(agent, _)| (agent.whose().0, agent.counts())).collect()
    }

    /// Serves all of them, on tasks of the present runtime.
    pub(super) fn start(&self) -> Result<Vec<JoinHandle<()>>> {
        let start = |(agent, listener): &(Arc<Agent>, TcpListener)| {
            let listener =
                tokio::net::TcpListener::from_std(listener.try_clone().context("a router agent")?)?;
            let agent = Arc::clone(agent);
            Ok(tokio::spawn(async move {
                // What a fault, or another file, left different from what the manager pushed.
                while let Err(why) = agent.put_in_order().await {
                    warn!("a router agent cannot put its objects in order: {why}");
                    sleep(PAUSE).await;
                }
                if let Err(error) = agent.serve(listener).await {
                    error!("a router agent failed: {error}");
                }
            }))
        };
        self.0.iter().map(start).collect()
    }
}

/// The agents of the configuration with what they kept.
///
/// # Errors
/// A bootstrap file that cannot be read, a directory that cannot be made, or a memory that is damaged.
pub(super) fn prepare(config: &Config) -> Result<Vec<Prepared>> {
    let prepare = |agent: &ZstackAgent| {
        let files = Files(config.gateway.state.join(DIRECTORY).join(agent.id.as_str()));
        let settings = settings(agent, config, &files)?;
        fs::create_dir_all(files.certificates())
            .with_context(|| format!("cannot make {}", files.0.display()))?;
        let router = Router::new(settings, files.memory()?);
        let objects = router.objects().len();
        info!(agent = %agent.id, listen = %agent.listen, objects, "a router agent for a ZStack manager");
        Ok(Prepared { router, files })
    };
    config.gateway.zstack.iter().map(prepare).collect()
}

fn settings(agent: &ZstackAgent, config: &Config, files: &Files) -> Result<Settings> {
    let nics = match &agent.bootstrap {
        Some(file) => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            bootstrap(&text).map_err(anyhow::Error::msg).with_context(|| file.display().to_string())?
        }
        None => Vec::new(),
    };
    let named = |id: &Id| {
        let network = config.public_networks.iter().find(|network| network.id == *id)?;
        Some(PublicNetwork { id: id.clone(), cidr: network.cidr, gateway: network.gateway })
    };
    Ok(Settings {
        id: agent.id.clone(),
        vpc: agent.vpc.clone(),
        pool: agent.vxlan_pool.clone(),
        ports: agent.interfaces.clone(),
        public_networks: agent.public_networks.iter().filter_map(named).collect(),
        nics,
        version: agent.version.clone(),
        certificates: files.certificates(),
        has_zsnp: config.gateway.zsnp.is_some(),
        quiet: agent.quiet,
    })
}

/// Files of one agent.
#[derive(Clone, Debug)]
struct Files(PathBuf);

impl Files {
    fn certificates(&self) -> PathBuf {
        self.0.join("certificates")
    }

    fn memory(&self) -> Result<Memory> {
        let file = self.0.join("pushed.json");
        match fs::read(&file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", file.display()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Memory::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    fn remember(&self, memory: &Memory) -> io::Result<()> {
        write(&self.0.join("pushed.json"), &serde_json::to_vec(memory)?)
    }

    fn write_certificates(&self, all: &BTreeMap<PathBuf, String>) -> io::Result<()> {
        for (file, pem) in all {
            if fs::read(file).ok().as_deref() != Some(pem.as_bytes()) {
                write(file, pem.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Removes files that are of no certificate any more.
    fn sweep(&self, all: &BTreeMap<PathBuf, String>) -> io::Result<()> {
        for entry in fs::read_dir(self.certificates())? {
            let file = entry?.path();
            if !all.contains_key(&file) {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }
}

/// Writes a file that is there whole or not at all, also after a loss of power. Only root reads it: keys may be in it.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Where an agent's changes go.
#[derive(Debug)]
struct Store {
    shared: Weak<Shared>,
    files: Files,
}

impl Sink for Store {
    fn commit(&self, commit: Commit) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(self.take(commit))
    }

    fn documents(&self, agent: &Id) -> Documents {
        let Some(shared) = self.shared.upgrade() else { return Documents::new() };
        let basis = shared.store().basis().clone();
        let prefix = format!("{agent}.");
        let own = basis.documents.iter().filter(|document| document.key.id.as_str().starts_with(&prefix));
        let own = own.filter_map(|document| {
            let kind = crate::zstack::Kind::of_section(document.key.kind.section())?;
            Some(((kind, document.key.id.to_string()), document.body()))
        });
        own.collect()
    }

    fn show(
        &self,
        table: Table,
        filter: Filter,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        Box::pin(async move {
            let shared = self.shared.upgrade().ok_or("the gateway is stopping")?;
            shared.show(table, &filter).await.map(|rows| rows.json)
        })
    }
}

impl Store {
    async fn take(&self, commit: Commit) -> Result<(), String> {
        let shared = self.shared.upgrade().ok_or("the gateway is stopping")?;
        let Commit { agent, changes, certificates, memory } = commit;
        let (files, written) = (self.files.clone(), certificates.clone());
        off_thread(move || files.write_certificates(&written)).await?;
        let steps: Vec<Step> = changes.into_iter().filter_map(|change| step(&shared, change)).collect();
        if !steps.is_empty() {
            let transaction = Transaction { steps, expect: None, strict: false };
            let who = Who::new(format!("zstack agent {agent}"), Source::Agent);
            let outcome = change::transact(&shared, transaction, How::default(), who).await;
            outcome.map_err(|why| why.to_string())?;
        }
        let files = self.files.clone();
        off_thread(move || {
            files.remember(&memory)?;
            files.sweep(&certificates)
        })
        .await
    }
}

/// A change as the store takes it; `None` for what is gone already.
fn step(shared: &Shared, change: Change) -> Option<Step> {
    match change {
        Change::Put { kind, body, .. } => {
            Some(Step::Put { kind: Kind::of_section(kind.section())?, body, etag: None })
        }
        Change::Delete { kind, id } => {
            let kind = Kind::of_section(kind.section())?;
            let is_there =
                Key::new(kind, &id).is_some_and(|key| shared.store().basis().documents.get(&key).is_some());
            is_there.then_some(Step::Delete { kind, id, etag: None })
        }
    }
}

async fn off_thread(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), String> {
    let done = spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| format!("gateway.state: {error}"))
}
