//! One router agent, as pure logic: commands and time in, replies and changes of documents out. No socket, no file, no clock.
//!
//! | what | rule |
//! |---|---|
//! | identity | `/ping` answers the uuid of the last `/init` since start: a manager that meets a restarted agent sends everything again |
//! | what a restart knows | NICs, which no reconnect sends again, and all services, each *provisional* until it is pushed again |
//! | what was not pushed again | goes when the router was quiet for [`Settings::quiet`] after a push that followed the last `/init`. A push that failed ends the wait: the manager has given up, and will begin anew |
//! | commands that fail | change nothing |

mod balance;
mod document;
mod push;
mod redirect;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod zebra;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use self::{
    document::{Derived, derive},
    push::push,
    state::State,
};
use super::{
    Change, Documents, Endpoint, Service, Serving, Settings, Transport,
    body::{self, Init, InitReply, Nic, PingReply},
    difference,
};

pub(super) use self::push::check_nic;

/// What the stock router's system says of itself; managers refuse some services to older ones.
const VYOS_VERSION: &str = "1.2";
const KERNEL_VERSION: &str = "5.4.80";
const IPSEC_VERSION: &str = "5.9.4";

/// What a restart has to know: everything that was pushed. Written as one object, a mapping by key for each service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory(Arc<State>);

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Memory, D::Error> {
        State::deserialize(deserializer).map(|state| Memory(Arc::new(state)))
    }
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The body of the reply.
    pub reply: Value,
    /// What changes. Where they are refused, go on with a copy of the router from before, and [`Router::push_failed`].
    pub changes: Vec<Change>,
}

/// Whether what was pushed has a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "status", content = "reason")]
pub enum Status {
    /// It has one; whether that is in force is the store's to say.
    Written,
    /// Not yet, and why.
    Waiting(String),
}

/// An object that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its service.
    pub service: Service,
    /// How the manager calls it.
    pub key: String,
    /// Whether it comes from before a restart and was not pushed again yet.
    pub provisional: bool,
    /// What became of it.
    #[serde(flatten)]
    pub status: Status,
}

/// What was pushed, as far as it has figures.
pub(in crate::zstack) struct Pushed<'a> {
    /// By the ids of their documents.
    pub(in crate::zstack) vips: Vec<(String, &'a body::Vip)>,
    pub(in crate::zstack) listeners: Vec<&'a body::Listener>,
    /// Whether hosts shall learn direct paths.
    pub(in crate::zstack) distributed_routing: bool,
}

/// When what is provisional goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Quiet {
    /// Whether there was an `/init` since start.
    known: bool,
    /// The last push after the last `/init`, unless one failed.
    last_push: Option<Duration>,
}

/// One router. A copy is cheap.
#[derive(Clone, Debug)]
pub struct Router {
    settings: Arc<Settings>,
    state: Arc<State>,
    derived: Arc<Derived>,
    uuid: String,
    quiet: Quiet,
}

impl Router {
    /// A router as it is after a start, with what it knows from before. Documents that are there already are compared with
    /// [`Router::documents`] by whoever keeps them.
    pub fn new(settings: Settings, memory: Memory) -> Router {
        let mut state = Arc::unwrap_or_clone(memory.0);
        state.doubt();
        for nic in &settings.nics {
            let mac = text::mac_or_none(&nic.mac);
            if !mac.is_empty() && !state.removed.contains(&mac) {
                state.nics.entry(mac.clone()).or_insert_with(|| Nic { mac, ..nic.clone() });
            }
        }
        let derived = Arc::new(derive(&state, &settings));
        Router {
            settings: Arc::new(settings),
            state: Arc::new(state),
            derived,
            uuid: String::new(),
            quiet: Quiet::default(),
        }
    }

    /// Carries a command out. `now` is a time that only grows.
    pub fn handle(&mut self, endpoint: Endpoint, body: &Value, now: Duration) -> Answer {
        match self.carry_out(endpoint, body) {
            Ok(answer) => {
                if endpoint.is_push() && self.quiet.known {
                    self.quiet.last_push = Some(now);
                }
                answer
            }
            Err(error) => {
                if endpoint.is_push() {
                    self.quiet.last_push = None;
                }
                Answer { reply: body::failure(&error), changes: Vec::new() }
            }
        }
    }

    /// A push did not come into force: the manager gives up, and begins anew.
    pub fn push_failed(&mut self) {
        self.quiet.last_push = None;
    }

    /// Whether nothing that has to be kept differs. `other` is a copy of this router, from before a command or after it.
    pub fn remembers_the_same_as(&self, other: &Router) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// What time brings: that which was not pushed again goes.
    pub fn tick(&mut self, now: Duration) -> Vec<Change> {
        if self.due().is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.quiet.last_push = None;
        let mut state = (*self.state).clone();
        if state.withdraw() == 0 {
            return Vec::new();
        }
        self.become_state(state)
    }

    /// When [`Router::tick`] has something to do.
    pub fn due(&self) -> Option<Duration> {
        self.quiet.last_push.map(|push| push + self.settings.quiet)
    }

    /// All documents that there are to be.
    pub fn documents(&self) -> &Documents {
        &self.derived.documents
    }

    /// PEM by file: what has to be there before the documents are.
    pub fn certificates(&self) -> &BTreeMap<PathBuf, String> {
        &self.derived.certificates
    }

    /// What has to be kept for a restart.
    pub fn memory(&self) -> Memory {
        Memory(Arc::clone(&self.state))
    }

    /// What was pushed, for whoever tells the manager how that goes.
    pub(in crate::zstack) fn pushed(&self) -> Pushed<'_> {
        let State { vips, listeners, distributed_routing, .. } = &*self.state;
        Pushed {
            vips: vips
                .iter()
                .map(|(address, vip)| (self.settings.name(&format!("vip-{address}")), vip))
                .collect(),
            listeners: listeners.values().collect(),
            distributed_routing: distributed_routing.unwrap_or_default() && self.settings.has_zsnp,
        }
    }

    /// What it is.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many objects were pushed, as the limit of a router counts them.
    #[expect(clippy::len_without_is_empty, reason = "a router is no collection")]
    pub fn len(&self) -> usize {
        self.state.len()
    }

    /// Everything that was pushed and what became of it.
    pub fn objects(&self) -> Vec<Object> {
        let mut all = Vec::new();
        self.state.each(|service, key, provisional| {
            let waiting = self.derived.waiting.get(&(service, key.to_owned()));
            let status = waiting.map_or(Status::Written, |why| Status::Waiting(why.clone()));
            all.push(Object { service, key: key.to_owned(), provisional, status });
        });
        all
    }

    fn carry_out(&mut self, endpoint: Endpoint, body: &Value) -> Result<Answer, String> {
        let reply = match endpoint {
            Endpoint::Init => self.init(body)?,
            Endpoint::Ping => self.ping(),
            Endpoint::Type => json!({ "success": true, "error": "", "isVyos": true }),
            Endpoint::Test => json!({ "success": true, "error": "", "zvrVersion": self.settings.version }),
            Endpoint::GetRoutes => json!({ "rawRoutes": zebra::routes(&self.state) }),
            Endpoint::DistributedRouting if !self.settings.has_zsnp && body["enabled"] == true => {
                return Err("hosts cannot be taught direct paths: `gateway.zsnp` is not configured".into());
            }
            _ => match endpoint.serving() {
                Serving::Nothing => nothing(endpoint),
                Serving::Refused => return Err(unserved(endpoint)),
                Serving::Empty if !asks_for_nothing(endpoint, body) => return Err(unserved(endpoint)),
                Serving::Empty => nothing(endpoint),
                Serving::Full | Serving::Kept if endpoint.is_push() => {
                    let mut state = (*self.state).clone();
                    let reply = push(&mut state, endpoint, body)?;
                    return Ok(Answer { reply, changes: self.become_state(state) });
                }
                Serving::Full | Serving::Kept => body::success(),
            },
        };
        Ok(Answer { reply, changes: Vec::new() })
    }

    fn become_state(&mut self, state: State) -> Vec<Change> {
        if state == *self.state {
            return Vec::new();
        }
        let derived = derive(&state, &self.settings);
        let changes = difference(&self.derived.documents, &derived.documents);
        self.state = Arc::new(state);
        self.derived = Arc::new(derived);
        changes
    }

    fn init(&mut self, body: &Value) -> Result<Value, String> {
        let Init { uuid } = body::read(body).map_err(|error| error.to_string())?;
        if !uuid.is_empty() {
            self.uuid = text::name("uuid", &uuid)?;
        }
        self.quiet = Quiet { known: true, last_push: None };
        written(&InitReply {
            uuid: &self.uuid,
            zvr_version: &self.settings.version,
            vyos_version: VYOS_VERSION,
            kernel_version: KERNEL_VERSION,
            ipsec_current_version: IPSEC_VERSION,
            ipsec_latest_version: IPSEC_VERSION,
        })
    }

    fn ping(&self) -> Value {
        let reply = PingReply {
            uuid: &self.uuid,
            version: &self.settings.version,
            ha_status: "NoHa",
            healthy: true,
            health_detail: "",
            service_health_list: json!({ "IPsec": {} }),
        };
        written(&reply).unwrap_or_default()
    }
}

fn written(reply: &impl Serialize) -> Result<Value, String> {
    serde_json::to_value(reply).map_err(|error| error.to_string())
}

/// The NIC of the default route: the one that was chosen last, or the one that came with it.
fn default_nic(state: &State) -> Option<Nic> {
    let Some(chosen) = &state.default_nic else {
        return state.nics.values().find(|nic| nic.is_default_route).cloned();
    };
    let known = state.nics.get(&chosen.mac).cloned().unwrap_or_default();
    let gateway = if chosen.gateway.is_empty() { known.gateway.clone() } else { chosen.gateway.clone() };
    Some(Nic { mac: chosen.mac.clone(), gateway, ..known })
}

impl Endpoint {
    /// Whether it is a part of what a reconnect sends again.
    fn is_push(self) -> bool {
        let kept = matches!(self.serving(), Serving::Full | Serving::Kept | Serving::Empty);
        use Endpoint as E;
        let asks = matches!(self, E::Init | E::Ping | E::GetRoutes | E::ZsnStatus | E::ZsnConnections);
        kept && !asks && self.transport() == Transport::Async
    }
}

/// What says that there is nothing.
fn nothing(endpoint: Endpoint) -> Value {
    use Endpoint as E;
    match endpoint {
        E::OspfNeighbours => json!({ "neighbors": [] }),
        E::SyncIpsec => json!({ "success": true, "error": "", "downIpsecConns": [] }),
        E::GetIpsecLog => json!({ "ipsecLog": "" }),
        E::GetFirewall => json!({ "refs": [] }),
        E::SyncHa => json!({ "haStatus": "NoHa" }),
        E::CountFlowMeter => json!({ "counters": [] }),
        E::PimRoutes => json!({ "routes": [] }),
        _ => body::success(),
    }
}

fn unserved(endpoint: Endpoint) -> String {
    format!("{} is not served: {}", endpoint.path(), endpoint.remark())
}

/// Whether a command of a service that is not built asks for no part of it.
fn asks_for_nothing(endpoint: Endpoint, body: &Value) -> bool {
    use Endpoint as E;
    let empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    match endpoint {
        E::SyncPolicyRoutes => ["ruleSets", "rules", "routes", "refs"].iter().all(|key| empty(&body[*key])),
        // The stock agent ends OSPF where either list is empty.
        E::RefreshOspf => empty(&body["areaInfos"]) || empty(&body["networkInfos"]),
        E::CreateIpsec | E::SyncIpsec | E::UpdateIpsec => empty(&body["infos"]),
        E::ApplyFirewallRules => empty(&body["refs"]),
        E::ApplyRuleSetChanges => empty(&body["refs"]) && empty(&body["newRules"]),
        E::RefreshFlowMeter => empty(&body["flowMeterInfor"]["collectors"]),
        _ => false,
    }
}
