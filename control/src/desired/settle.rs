//! Which documents are in force. A pure function of the host's section and the documents: whatever the order in which they
//! came, and whatever was there before, the same documents give the same answer.
//!
//! An object that names one that is not in force waits (`pending`); what does not go together with others, or cannot be
//! right, has `failed`. Of two that do not go together the one with the lower kind and id is in force. What is left passes the
//! check of the file as it stands.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use tidegate_fastpath::policer::Policers;

use super::{
    document::{Body, Document, Documents, Key, Kind},
    names,
    scope::Scope,
};
use crate::{
    config::{
        self, Cause, Config, Problem, Problems,
        raw::{RawConfig, RawGateway},
        values,
    },
    shared_map::SharedMap,
};

/// Whether an object is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub enum Status {
    /// It is.
    Active,
    /// All but some of its parts are; which, and why.
    Partly(String),
    /// Something that it names is not: which.
    Pending(String),
    /// It cannot be, beside what else there is: why.
    Failed(String),
}

impl Status {
    /// The words of states.
    pub const NAMES: [&'static str; 3] = ["active", "pending", "failed"];

    /// The word for it: what is partly in force is active.
    pub const fn name(&self) -> &'static str {
        match self {
            Status::Active | Status::Partly(_) => "active",
            Status::Pending(_) => "pending",
            Status::Failed(_) => "failed",
        }
    }

    /// Why it is not, or not all of it.
    pub fn reason(&self) -> &str {
        match self {
            Status::Active => "",
            Status::Partly(why) | Status::Pending(why) | Status::Failed(why) => why,
        }
    }
}

/// What is in force of a set of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What is compiled.
    pub config: Arc<Config>,
    /// Every object that is not simply active.
    pub statuses: SharedMap<Key, Status>,
    /// Limits that there was no room in; the objects that were left out for it have failed.
    pub overfull: Vec<Problem>,
}

impl Settled {
    /// The status of an object that there is.
    pub fn status(&self, key: &Key) -> &Status {
        self.statuses.get(key).unwrap_or(&Status::Active)
    }

    /// The same but for `keys`, which are as in `other`.
    fn with(&self, other: &Settled, keys: &BTreeSet<Key>) -> Settled {
        let mut config = Config::clone(&self.config);
        let mut statuses = self.statuses.clone();
        for key in keys {
            key.take_over(&mut config, &other.config);
            match other.statuses.get(key) {
                Some(status) if self.statuses.get(key) == Some(status) => {}
                Some(status) => _ = statuses.insert(key.clone(), status.clone()),
                None => _ = statuses.remove(key),
            }
        }
        Settled { config: Arc::new(config), statuses, overfull: Vec::new() }
    }

    /// Whether the limits of this host are above all that there could be of documents.
    fn has_room_for(&self, documents: &Documents) -> bool {
        let gateway = &self.config.gateway;
        let ports = gateway.ports.iter().filter(|port| port.subnet.is_some()).count() as u64;
        let networks = ports + documents.count(Kind::PublicNetwork) + documents.count(Kind::VpcNetwork);
        networks <= gateway.limits.networks.into()
            && documents.ties().limited() <= usize::from(Policers::CHAINS_MAX)
    }
}

/// Finds what is in force. Cost: one reading and one check of everything, and one more for each round in which something
/// failed.
///
/// # Errors
/// What is wrong with the host's section itself.
pub fn settle(host: &RawGateway, documents: &Documents) -> Result<Settled, Problems> {
    let all: Vec<&Document> = documents.iter().map(|document| &**document).collect();
    judge(host, &all)
}

/// Finds what is in force, given what was in force of the documents before, on the same host: the same as [`settle`] finds.
/// Cost: that of the objects which the change concerns.
///
/// # Errors
/// As [`settle`].
pub(super) fn resettle(
    host: &RawGateway,
    (was, before): (&Documents, &Settled),
    now: &Documents,
) -> Result<Settled, Problems> {
    if now.since(was).len() > now.len() / 2 {
        return settle(host, now);
    }
    let mut scope = Scope::of_change(was, now);
    loop {
        let most_of_it = scope.members().len() > now.len() / 2;
        // Who goes where there is no room for all is no question of what is near.
        if most_of_it || !before.overfull.is_empty() || !before.has_room_for(now) {
            return settle(host, now);
        }
        let settled = before.with(&judge(host, &scope.documents())?, scope.members());
        let others = scope.members().iter().filter(|key| settled.status(key) != before.status(key));
        let others: Vec<Key> = others.cloned().collect();
        if !scope.widen(&others) {
            return Ok(settled);
        }
    }
}

/// What is in force of documents that name and meet no others, by key.
fn judge(host: &RawGateway, documents: &[&Document]) -> Result<Settled, Problems> {
    let mut out: BTreeMap<Key, Status> = BTreeMap::new();
    let mut overfull: Vec<Problem> = Vec::new();
    let mut shed = 1;
    loop {
        let Round { raw, mut statuses, lists } = Round::new(host, documents, &out);
        let problems = match config::check_all(&raw) {
            Ok(config) => {
                statuses.extend(out);
                let statuses = statuses.into_iter().collect();
                return Ok(Settled { config: Arc::new(config), statuses, overfull });
            }
            Err(problems) => problems,
        };
        let before = out.len();
        let mut limits = Vec::new();
        for problem in problems.0 {
            match place(&problem.path)
                .and_then(|(kind, index)| Some(lists[kind as usize].get(index?)?.clone()))
            {
                Some(key) => {
                    let why = reason(&problem, &lists);
                    out.entry(key).or_insert(match problem.cause {
                        Cause::Missing => Status::Pending(why),
                        Cause::Clash | Cause::Itself => Status::Failed(why),
                    });
                }
                None => limits.push(problem),
            }
        }
        if out.len() > before {
            continue;
        }
        // A limit names no object: the last ones go, twice as many each time.
        for problem in &limits {
            let Some(kind) = limited(&problem.path) else { continue };
            for key in lists[kind as usize].iter().rev().take(shed) {
                out.insert(key.clone(), Status::Failed(problem.to_string()));
            }
            if overfull.iter().all(|known| known.path != problem.path) {
                overfull.push(problem.clone());
            }
        }
        shed *= 2;
        if out.len() == before {
            return Err(Problems(limits));
        }
    }
}

/// The objects that a limit is about.
fn limited(path: &str) -> Option<Kind> {
    if path == "gateway.limits.networks" { Some(Kind::VpcNetwork) } else { Kind::of_section(path) }
}

/// What one round checks.
struct Round {
    raw: RawConfig,
    /// Of those that wait, and of those that are there in part.
    statuses: BTreeMap<Key, Status>,
    /// By kind, which object is at which place of its list.
    lists: [Vec<Key>; Kind::COUNT],
}

impl Round {
    fn new(host: &RawGateway, documents: &[&Document], out: &BTreeMap<Key, Status>) -> Round {
        let mut round = Round {
            raw: RawConfig { gateway: Some(host.clone()), ..RawConfig::default() },
            statuses: BTreeMap::new(),
            lists: std::array::from_fn(|_| Vec::new()),
        };
        let mut there = There::new(host);
        for document in documents {
            let key = &document.key;
            let word = match out.get(key) {
                Some(status) => status.name(),
                None => round.take(document, &there),
            };
            if word != "active" {
                there.absent[key.kind as usize].insert(key.id.as_str(), word);
            } else if let Some(Body::VpcNetwork(net)) =
                (key.kind == Kind::VpcNetwork).then(|| Body::of(document)).flatten()
            {
                there.attach(net.vpc, net.cidr.as_deref());
            }
            there.present[key.kind as usize].insert(key.id.as_str());
        }
        round
    }

    /// Adds an object if all that it names is there; the word for what it is.
    fn take(&mut self, document: &Document, there: &There<'_>) -> &'static str {
        let key = &document.key;
        let Some(mut body) = Body::of(document) else {
            let why = "cannot be read: it is of another version; write it again".to_owned();
            self.statuses.insert(key.clone(), Status::Failed(why));
            return "failed";
        };
        match names::resolve(&mut body, there) {
            Ok(None) => {}
            Ok(Some(without)) => _ = self.statuses.insert(key.clone(), Status::Partly(without)),
            Err(why) => {
                self.statuses.insert(key.clone(), Status::Pending(why));
                return "pending";
            }
        }
        body.add_to(&mut self.raw);
        self.lists[key.kind as usize].push(key.clone());
        "active"
    }
}

/// What objects may name.
pub(super) struct There<'a> {
    ports: HashSet<&'a str>,
    present: [HashSet<&'a str>; Kind::COUNT],
    /// Those of them that are not in force, and the word for what they are.
    absent: [HashMap<&'a str, &'static str>; Kind::COUNT],
    /// The networks in force, by VPC.
    subnets: HashMap<String, Vec<Ipv4Net>>,
}

impl<'a> There<'a> {
    fn new(host: &'a RawGateway) -> There<'a> {
        There {
            ports: host.ports.iter().flatten().filter_map(|port| port.id.as_deref()).collect(),
            present: std::array::from_fn(|_| HashSet::new()),
            absent: std::array::from_fn(|_| HashMap::new()),
            subnets: HashMap::new(),
        }
    }

    fn attach(&mut self, vpc: Option<String>, cidr: Option<&str>) {
        if let (Some(vpc), Some(cidr)) = (vpc, cidr.and_then(values::subnet)) {
            self.subnets.entry(vpc).or_default().push(cidr);
        }
    }

    /// Follows a reference; nothing is named by `None`.
    ///
    /// # Errors
    /// Why nothing is there.
    pub(super) fn refer(&self, field: &str, kind: Kind, id: Option<&str>) -> Result<(), String> {
        let Some(id) = id else { return Ok(()) };
        match self.absent[kind as usize].get(id) {
            Some(word) => Err(format!("{field}: {kind}/{id} is {word}")),
            None if self.present[kind as usize].contains(id) => Ok(()),
            None => Err(format!("{field}: there is no {kind}/{id}")),
        }
    }

    /// Follows a reference to a port of the host.
    pub(super) fn port(&self, field: &str, id: Option<&str>) -> Result<(), String> {
        match id {
            Some(id) if !self.ports.contains(id) => Err(format!("{field}: there is no gateway.ports/{id}")),
            _ => Ok(()),
        }
    }

    /// Whether some network in force of a VPC has an address.
    pub(super) fn address(&self, field: &str, vpc: Option<&str>, ip: Option<&str>) -> Result<(), String> {
        let (Some(vpc), Some(ip)) = (vpc, ip.and_then(values::address)) else { return Ok(()) };
        let subnets = self.subnets.get(vpc).map_or(&[][..], |subnets| subnets);
        if subnets.iter().any(|subnet| subnet.contains(&ip)) {
            return Ok(());
        }
        Err(format!("{field}: no network of {}/{vpc} has {ip}", Kind::VpcRouter))
    }
}

/// `nics[7].address` is of the eighth NIC.
fn place(path: &str) -> Option<(Kind, Option<usize>)> {
    let end = path.find(['[', '.']).unwrap_or(path.len());
    let kind = Kind::of_section(&path[..end])?;
    let index = path[end..].strip_prefix('[').and_then(|rest| rest.split(']').next()?.parse().ok());
    Some((kind, index))
}

/// A problem as the reason of a status: without the name of the object, and with the names of others instead of their places.
fn reason(problem: &Problem, lists: &[Vec<Key>; Kind::COUNT]) -> String {
    let field = problem.path.split_once('.').map_or("", |(_, field)| field);
    let mut text = String::new();
    if !field.is_empty() {
        text = format!("{field}: ");
    }
    if let Some(value) = &problem.value {
        text += &format!("{value} ");
    }
    // A field of an object may be called as a section is (`vips[1]`).
    text + &named(&format!("{}; {}", problem.what, problem.way_out), lists)
}

/// Writes `nics/web` for `nics[3] (web)` and `nics[3]`.
fn named(text: &str, lists: &[Vec<Key>; Kind::COUNT]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    'next: while !rest.is_empty() {
        for kind in Kind::ALL {
            let Some(after) = rest.strip_prefix(kind.section()).and_then(|rest| rest.strip_prefix('['))
            else {
                continue;
            };
            let Some((index, after)) = after.split_once(']') else { continue };
            let key = index.parse().ok().and_then(|index: usize| lists[*kind as usize].get(index));
            let Some(key) = key else { continue };
            out += &key.to_string();
            rest = after.strip_prefix(&format!(" ({})", key.id)).unwrap_or(after);
            continue 'next;
        }
        let len = rest.chars().next().map_or(1, char::len_utf8);
        out += &rest[..len];
        rest = &rest[len..];
    }
    out
}

/// What is wrong with documents by themselves, whatever else there is, each with its object.
pub(super) fn wrong(host: &RawGateway, documents: &[&Document]) -> Vec<(Key, Problem)> {
    let mut raw = RawConfig { gateway: Some(host.clone()), ..RawConfig::default() };
    let mut lists: [Vec<Key>; Kind::COUNT] = std::array::from_fn(|_| Vec::new());
    for document in documents {
        if let Some(body) = Body::of(document) {
            lists[document.key.kind as usize].push(document.key.clone());
            body.add_to(&mut raw);
        }
    }
    let Err(Problems(problems)) = config::check_all(&raw) else { return Vec::new() };
    let own = problems.into_iter().filter(|problem| problem.cause == Cause::Itself);
    own.filter_map(|problem| {
        let (kind, index) = place(&problem.path)?;
        let key = lists[kind as usize].get(index?)?.clone();
        let field = problem.path.split_once('.').map_or(String::new(), |(_, field)| format!(".{field}"));
        let (path, what) = (format!("{key}{field}"), named(&problem.what, &lists));
        Some((key, Problem { path, what, id: None, ..problem }))
    })
    .collect()
}
