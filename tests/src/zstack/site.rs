//! Where router agents of a test put their documents: beside those of an operator.

use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tidegate_control::{
    config::{self, Id},
    show::{Filter, Table},
    zstack::{
        Change, Documents, Memory, PublicNetwork, Router, Settings,
        server::{Agent, Commit, Limits, Sink},
    },
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};

/// The documents of all agents and what they keep.
#[derive(Debug)]
pub struct Site {
    /// What the operator wrote.
    operator: Value,
    documents: watch::Sender<Documents>,
    memory: watch::Sender<BTreeMap<Id, String>>,
    /// A permit for each commit; a test may take them away.
    pub gate: Semaphore,
    /// What the gateway shows, by table: a list of rows as JSON. Nothing where a test has put nothing.
    pub shown: Mutex<BTreeMap<&'static str, String>>,
}

impl Site {
    /// A site that an operator prepared.
    ///
    /// # Panics
    /// Where the text is no YAML.
    pub fn new(operator: &str) -> Arc<Site> {
        let operator = serde_saphyr::from_str(operator).expect("YAML");
        let (documents, memory) = (watch::Sender::new(Documents::new()), watch::Sender::new(BTreeMap::new()));
        Arc::new(Site {
            operator,
            documents,
            memory,
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            shown: Mutex::default(),
        })
    }

    /// The whole configuration as it is now.
    pub fn text(&self) -> String {
        self.with(&self.documents.borrow())
    }

    /// All documents as they are now.
    pub fn all(&self) -> Documents {
        self.documents.borrow().clone()
    }

    /// Waits until the documents are so.
    pub async fn wait(&self, so: impl FnMut(&Documents) -> bool) {
        let mut watch = self.documents.subscribe();
        watch.wait_for(so).await.expect("the site is there");
    }

    /// What an agent would find after a restart.
    ///
    /// # Panics
    /// Where that cannot be read.
    pub fn memory(&self, agent: &Id) -> Memory {
        let kept = self.memory.borrow().get(agent).cloned();
        kept.map_or_else(Memory::default, |kept| serde_json::from_str(&kept).expect("what was kept"))
    }

    fn with(&self, documents: &Documents) -> String {
        let mut all = self.operator.clone();
        for ((kind, _), body) in documents {
            let Some(sections) = all.as_object_mut() else { continue };
            let list = sections.entry(kind.section()).or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(body.clone());
            }
        }
        all.to_string()
    }

    async fn take(&self, commit: Commit) -> Result<(), String> {
        self.gate.acquire().await.map_err(|error| error.to_string())?.forget();
        let mut documents = self.all();
        for change in commit.changes {
            match change {
                Change::Put { kind, id, body } => _ = documents.insert((kind, id), body),
                Change::Delete { kind, id } => _ = documents.remove(&(kind, id)),
            }
        }
        config::parse(&self.with(&documents)).map_err(|problems| problems.to_string())?;
        let kept = serde_json::to_string(&commit.memory).map_err(|error| error.to_string())?;
        self.memory.send_modify(|all| _ = all.insert(commit.agent, kept));
        self.documents.send_replace(documents);
        Ok(())
    }
}

impl Sink for Site {
    fn commit(&self, commit: Commit) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(self.take(commit))
    }

    fn documents(&self, agent: &Id) -> Documents {
        let prefix = format!("{agent}.");
        let own = self.documents.borrow();
        own.iter()
            .filter(|((_, id), _)| id.starts_with(&prefix))
            .map(|(key, body)| (key.clone(), body.clone()))
            .collect()
    }

    fn show(
        &self,
        table: Table,
        _: Filter,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        let shown = self.shown.lock().expect("no panic").get(table.name()).cloned();
        Box::pin(async move { Ok(shown.unwrap_or_else(|| "[]".to_owned())) })
    }
}

/// The agent `r1` of VPC router `red`, with a NIC for management and one on the public network `public`.
///
/// # Panics
/// Never.
pub fn settings(quiet: Duration) -> Settings {
    let id = |text: &str| Id::new(text).expect("an id");
    let nics = json!([
        { "mac": "00:00:5e:00:53:00", "ip": "192.0.2.10", "netmask": "255.255.255.192", "category": "System" },
        { "mac": "00:00:5e:00:53:01", "ip": "203.0.113.10", "netmask": "255.255.255.0", "gateway": "203.0.113.1",
          "category": "Public", "isDefaultRoute": true },
    ]);
    Settings {
        id: id("r1"),
        vpc: id("red"),
        pool: Some(id("pool")),
        ports: BTreeMap::new(),
        public_networks: vec![PublicNetwork {
            id: id("public"),
            cidr: "203.0.113.0/24".parse().expect("a CIDR"),
            gateway: Some([203, 0, 113, 1].into()),
        }],
        nics: serde_json::from_value(nics).expect("NICs"),
        version: "5.2.0.0".into(),
        certificates: "/var/lib/tidegate/zstack".into(),
        has_zsnp: true,
        quiet,
    }
}

/// Starts the agent `r1` of VPC router `red`, with what it kept from before. Its documents are put in order first, as the daemon does.
///
/// # Panics
/// Where it finds no port.
pub async fn agent(
    site: &Arc<Site>,
    quiet: Duration,
    limits: Limits,
) -> (SocketAddr, Arc<Agent>, JoinHandle<()>) {
    let settings = settings(quiet);
    let router = Router::new(settings.clone(), site.memory(&settings.id));
    let sink: Arc<dyn Sink> = Arc::clone(site) as _;
    let agent = Arc::new(Agent::new(router, sink, limits));
    agent.put_in_order().await.expect("what was there before is legal");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let serving = Arc::clone(&agent);
    let task = tokio::spawn(async move { serving.serve(listener).await.expect("it serves") });
    (address, agent, task)
}
