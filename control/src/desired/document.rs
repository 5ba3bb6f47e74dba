//! Documents: the objects of the configuration file, one by one, each with its kind and id.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    claims::Claims,
    ties::{Tie, Ties},
};
use crate::{
    config::{
        Cause, Config, Id, Problem, Problems,
        raw::{
            RawCertificate, RawConfig, RawEip, RawLoadBalancer, RawNic, RawPortForward, RawPublicNetwork,
            RawQos, RawRoute, RawSnat, RawVip, RawVpcNetwork, RawVpcRouter, RawVxlanPool,
        },
    },
    shared_map::{Difference, SharedMap},
};

/// The kinds: their sections in the file, their bodies, and their sections once they are checked.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $section:ident: $raw:ident => $checked:ident,)*) => {
        /// A kind of object, called as its section in the file. The order is such that an object only names objects of kinds
        /// before its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)*];

            /// Its section in the file.
            pub const fn section(self) -> &'static str {
                match self { $(Kind::$kind => stringify!($section),)* }
            }
        }

        /// What an object says.
        #[derive(Clone, Debug)]
        pub(super) enum Body { $($kind($raw),)* }

        impl Body {
            /// The body of a document. `None` for one of another version of the vocabulary.
            pub(super) fn of(document: &Document) -> Option<Body> {
                match document.key.kind {
                    $(Kind::$kind => serde_json::from_str(&document.text).ok().map(Body::$kind),)*
                }
            }

            /// Adds it to its section.
            pub(super) fn add_to(self, raw: &mut RawConfig) {
                match self { $(Body::$kind(body) => raw.$section.push(body),)* }
            }
        }

        impl Key {
            /// Makes an object of `config` what it is in `other`, where it may be missing.
            pub(super) fn take_over(&self, config: &mut Config, other: &Config) {
                match self.kind {
                    $(Kind::$kind => config.$checked.take_over(&self.id, &other.$checked),)*
                }
            }
        }

        /// All objects of `raw` with their sections, in the order of the file.
        fn bodies(raw: RawConfig) -> impl Iterator<Item = (Kind, Result<Value, serde_json::Error>)> {
            let all = std::iter::empty();
            $(let all = all.chain(raw.$section.into_iter().map(|body| (Kind::$kind, written(body))));)*
            all
        }
    };
}

kinds! {
    /// A VXLAN underlay.
    VxlanPool = vxlan_pools: RawVxlanPool => pools,
    /// A public network.
    PublicNetwork = public_networks: RawPublicNetwork => public_networks,
    /// A certificate.
    Certificate = certificates: RawCertificate => certificates,
    /// A VPC router.
    VpcRouter = vpc_routers: RawVpcRouter => vpcs,
    /// A subnet of a VPC.
    VpcNetwork = vpc_networks: RawVpcNetwork => networks,
    /// A NIC of a VM.
    Nic = nics: RawNic => nics,
    /// A public address.
    Vip = vips: RawVip => vips,
    /// A route.
    Route = routes: RawRoute => routes,
    /// Many VMs behind VIPs.
    Snat = snats: RawSnat => snats,
    /// One VM behind a VIP.
    Eip = eips: RawEip => eips,
    /// Ports of a VIP to ports of a VM.
    PortForward = port_forwards: RawPortForward => port_forwards,
    /// Listeners on a VIP.
    LoadBalancer = load_balancers: RawLoadBalancer => load_balancers,
    /// A rate limit.
    Qos = qos: RawQos => qos,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = Kind::ALL.len();

    /// The kind of a section.
    pub fn of_section(section: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.section() == section)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.section())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        let all = || Kind::ALL.iter().map(|kind| kind.section()).collect::<Vec<_>>().join(", ");
        Kind::of_section(text).ok_or_else(|| format!("there is no kind `{text}`; give one of {}", all()))
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.section())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Kind {
    fn schema_name() -> Cow<'static, str> {
        "Kind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let sections: Vec<_> = Kind::ALL.iter().map(|kind| kind.section()).collect();
        json_schema!({ "type": "string", "enum": sections, "description": "A section of the file." })
    }
}

/// What no two objects share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its name, unique in its kind.
    pub id: Id,
}

impl Key {
    /// The key of an id as it is written; `None` if that is no id.
    pub fn new(kind: Kind, id: &str) -> Option<Key> {
        Some(Key { kind, id: Id::new(id)? })
    }
}

impl fmt::Display for Key {
    /// `nics/web-1`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its kind and id.
    pub key: Key,
    /// Its body as JSON, always written the same way: keys in the order of the manual, nothing that says nothing.
    pub text: Box<str>,
    /// SHA-256 of kind and body.
    hash: [u8; 32],
}

impl Document {
    /// A document whose body is written as [`documents`] writes it.
    pub(super) fn new(key: Key, text: Box<str>) -> Document {
        let hash = Sha256::new().chain_update(key.kind.section()).chain_update(b"/").chain_update(&*text);
        Document { key, hash: hash.finalize().into(), text }
    }

    /// Changes whenever the body does.
    pub fn etag(&self) -> String {
        hex(&self.hash[..8])
    }

    /// The body.
    pub fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// What it adds to the sum of its set.
    fn weight(&self) -> u128 {
        u128::from_be_bytes(std::array::from_fn(|i| self.hash[i]))
    }
}

/// Documents by key, with what ties them together, what they take, and a sum over all of them. A copy shares all of that.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    all: SharedMap<Key, Arc<Document>>,
    counts: [u64; Kind::COUNT],
    ties: Ties,
    claims: Claims,
    sum: u128,
}

impl Documents {
    /// By kind and id.
    pub fn get(&self, key: &Key) -> Option<&Arc<Document>> {
        self.all.get(key)
    }

    /// By kind and id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Document>> {
        self.all.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many there are of a kind.
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    /// Those that are not the same in `before`, by key. Costs little where most are the same in memory.
    pub fn since<'a>(&'a self, before: &'a Documents) -> Vec<Difference<'a, Key, Arc<Document>>> {
        self.all.since(&before.all)
    }

    /// What ties them together.
    pub(super) fn ties(&self) -> &Ties {
        &self.ties
    }

    /// All that name an object.
    pub(super) fn naming(&self, key: &Key) -> Vec<Key> {
        self.ties.of(&Tie::Names(key.clone())).cloned().collect()
    }

    /// What they take.
    pub(super) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Replaces what is under `key`, or removes it; returns what was there.
    pub(super) fn set(&mut self, key: &Key, document: Option<Arc<Document>>) -> Option<Arc<Document>> {
        let before = match &document {
            Some(document) => self.all.insert(key.clone(), Arc::clone(document)),
            None => self.all.remove(key),
        };
        if let Some(before) = &before {
            self.sum = self.sum.wrapping_sub(before.weight());
            self.counts[key.kind as usize] -= 1;
            if let Some(body) = Body::of(before) {
                self.ties.remove(key, &body);
                self.claims.remove(key, &body);
            }
        }
        if let Some(document) = &document {
            self.sum = self.sum.wrapping_add(document.weight());
            self.counts[key.kind as usize] += 1;
            if let Some(body) = Body::of(document) {
                self.ties.add(key, &body);
                self.claims.add(key, &body);
            }
        }
        before
    }

    /// The same for the same documents, and hardly for others.
    pub fn sum(&self) -> String {
        hex(&self.sum.to_be_bytes())
    }
}

impl PartialEq for Documents {
    fn eq(&self, other: &Documents) -> bool {
        self.sum == other.sum && self.all == other.all
    }
}

impl Eq for Documents {}

impl FromIterator<Document> for Documents {
    fn from_iter<T: IntoIterator<Item = Document>>(all: T) -> Documents {
        let mut documents = Documents::default();
        for document in all {
            documents.set(&document.key.clone(), Some(Arc::new(document)));
        }
        documents
    }
}

/// What [`Documents::sum`] says of documents with different keys.
pub fn sum<'a>(all: impl IntoIterator<Item = &'a Document>) -> String {
    let sum = all.into_iter().fold(0_u128, |sum, document| sum.wrapping_add(document.weight()));
    hex(&sum.to_be_bytes())
}

/// The objects of a document whose keys and types were read. Routes without an id get one.
///
/// # Errors
/// [`Problems`] with ids that are none, or are given twice.
pub fn documents(raw: RawConfig) -> Result<Vec<Document>, Problems> {
    let mut seen: BTreeMap<Key, usize> = BTreeMap::new();
    let mut all = Vec::new();
    let mut problems = Vec::new();
    let mut at = (Kind::VxlanPool, 0);
    for (kind, body) in bodies(raw) {
        at = if at.0 == kind { (kind, at.1 + 1) } else { (kind, 1) };
        let index = at.1 - 1;
        let mut refuse = |id: Option<&str>, what: String, way_out: &str| {
            problems.push(Problem {
                path: format!("{kind}[{index}].id"),
                id: id.map(str::to_owned),
                value: id.map(crate::config::problem::shown),
                what,
                way_out: way_out.to_owned(),
                cause: Cause::Itself,
            });
        };
        let Ok(mut body) = body else {
            refuse(None, "is in an object that cannot be written".into(), "correct it");
            continue;
        };
        if kind == Kind::Route && body["id"].is_null() {
            body["id"] = route_id(&body).into();
        }
        let id = body["id"].as_str().unwrap_or_default();
        let Some(key) = Key::new(kind, id) else {
            let way_out = "give 1 to 64 letters, digits, `.`, `_` and `-`, the first a letter or digit";
            refuse(Some(id), "is no id".into(), way_out);
            continue;
        };
        match seen.get(&key) {
            Some(first) => {
                refuse(Some(id), format!("is the id of {kind}[{first}] already"), "choose another id");
            }
            None => {
                seen.insert(key.clone(), index);
                all.push(Document::new(key, body.to_string().into()));
            }
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(Problems(problems)) }
}

/// A body without what says nothing.
fn written(body: impl Serialize) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(body)?;
    prune(&mut value);
    Ok(value)
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(prune);
            object.retain(|_, value| !value.is_null() && !value.as_array().is_some_and(Vec::is_empty));
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// The name of a route that has none: the same for the same route.
fn route_id(body: &Value) -> String {
    let keys = [
        "vpc",
        "public_network",
        "destination",
        "priority",
        "next_hop",
        "blackhole",
        "via_public",
        "via_vpc",
    ];
    let mut hash = Sha256::new();
    for key in keys {
        hash.update(body[key].to_string());
        hash.update(b"/");
    }
    format!("route-{}", hex(&hash.finalize()[..8]))
}

/// Lower case, two digits a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
