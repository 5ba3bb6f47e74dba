//! Transactions: what somebody wants changed, all of it or nothing; and what comes of it before anything is changed.

use std::{collections::BTreeSet, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::{
    document::{Body, Document, Documents, Key, Kind, documents},
    settle::{Settled, Status, resettle, settle, wrong},
};
use crate::config::{self, Cause, Config, Problem, Problems, raw::RawGateway};

/// One step of a transaction; steps are taken in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Step {
    /// Writes an object, new or in place of the one of its id.
    Put {
        /// Its kind.
        kind: Kind,
        /// All of it, with its id.
        body: Value,
        /// The etag it must have now; "" where it must not be there. Without it nothing is asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        etag: Option<String>,
    },
    /// Changes parts of an object, by RFC 7396: `null` takes a key away, a mapping goes into the one that is there, anything
    /// else replaces it.
    Patch {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// What changes.
        patch: Value,
        /// As of `Put`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        etag: Option<String>,
    },
    /// Takes an object away.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// As of `Put`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        etag: Option<String>,
    },
    /// Writes all objects of a file, and leaves others as they are.
    Merge {
        /// The file: sections with lists.
        file: Value,
    },
    /// Writes all objects of a file, and takes all others away.
    Replace {
        /// The file: sections with lists.
        file: Value,
    },
}

/// What somebody wants changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// What to do.
    pub steps: Vec<Step>,
    /// Refused unless this is the present generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<u64>,
    /// Refused where anything that it writes would not be active.
    #[serde(default)]
    pub strict: bool,
}

/// Why a transaction changes nothing.
#[derive(Debug, Error)]
pub enum Refused {
    /// What is wrong with what it writes.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// Somebody was faster.
    #[error("the generation is {present} and not {expected}; look at what changed and try again")]
    Stale {
        /// What was expected.
        expected: u64,
        /// What it is.
        present: u64,
    },
    /// Somebody was faster, with this object.
    #[error("{key} has changed: its etag is {present:?} and not {expected:?}; read it again and try again")]
    Changed {
        /// The object.
        key: Key,
        /// What was expected.
        expected: String,
        /// What it is; "" where it is not there.
        present: String,
    },
    /// There is no such object.
    #[error("there is no {kind}/{id}")]
    Missing {
        /// Its kind.
        kind: Kind,
        /// As it was written.
        id: String,
    },
    /// A generation waits to be confirmed.
    #[error(
        "generation {generation} waits to be confirmed for {seconds} s more; confirm it (tidegate confirm), or wait until it falls back"
    )]
    Unconfirmed {
        /// Which.
        generation: u64,
        /// How long until it falls back.
        seconds: u64,
    },
    /// There is no such generation.
    #[error("generation {0} is not in the history")]
    NoGeneration(u64),
    /// It cannot be kept.
    #[error("cannot keep it: {0}")]
    Unkept(String),
}

/// One object that becomes another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub key: Key,
    /// `None` where it is new.
    pub before: Option<Arc<Document>>,
    /// `None` where it goes.
    pub after: Option<Arc<Document>>,
}

/// What a transaction begins from.
#[derive(Clone, Debug)]
pub struct Basis {
    /// This host.
    pub host: Arc<RawGateway>,
    /// The present generation.
    pub generation: u64,
    /// Its documents.
    pub documents: Arc<Documents>,
    /// What is in force of them.
    pub settled: Arc<Settled>,
}

/// A transaction that holds, with all that it brings; nothing has changed yet.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it begins from; it can only be put into force after that.
    pub generation: u64,
    /// This host, as it will be.
    pub host: Arc<RawGateway>,
    /// All documents, as they will be.
    pub documents: Arc<Documents>,
    /// What will be in force.
    pub settled: Arc<Settled>,
    /// What changes, by key.
    pub changes: Vec<Change>,
    /// What whoever sent it should know: objects that are not, or no more, in force.
    pub warnings: Vec<String>,
}

impl Basis {
    /// The state before anything was stored: this host without objects.
    ///
    /// # Errors
    /// What is wrong with the host's section.
    pub fn empty(host: RawGateway) -> Result<Basis, Problems> {
        let settled = settle(&host, &Documents::default())?;
        Ok(Basis {
            host: Arc::new(host),
            generation: 0,
            documents: Arc::default(),
            settled: Arc::new(settled),
        })
    }

    /// How many objects of each kind are active, pending and failed, in that order.
    pub fn counts(&self) -> Vec<(Kind, [u64; 3])> {
        let mut counts = Kind::ALL.iter().map(|kind| [self.documents.count(*kind), 0, 0]).collect::<Vec<_>>();
        for (key, status) in self.settled.statuses.iter() {
            let at = Status::NAMES.iter().position(|name| *name == status.name()).unwrap_or_default();
            counts[key.kind as usize][0] -= 1;
            counts[key.kind as usize][at] += 1;
        }
        Kind::ALL.iter().copied().zip(counts).collect()
    }

    /// What a transaction would bring.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn plan(&self, transaction: &Transaction) -> Result<Plan, Refused> {
        if let Some(expected) = transaction.expect.filter(|expected| *expected != self.generation) {
            return Err(Refused::Stale { expected, present: self.generation });
        }
        let mut draft = Draft::new(self);
        transaction.steps.iter().try_for_each(|step| draft.take(step))?;
        let plan = self.arrive(&self.host, draft)?;
        if transaction.strict {
            strict(&plan)?;
        }
        Ok(plan)
    }

    /// What the objects of a whole file would bring, together with its section about the host.
    ///
    /// # Errors
    /// [`Refused::Problems`].
    pub fn plan_file(&self, host: &RawGateway, objects: Vec<Document>) -> Result<Plan, Refused> {
        let mut draft = Draft::new(self);
        draft.replace(objects);
        self.arrive(&Arc::new(host.clone()), draft)
    }

    /// What these documents would bring; they were checked when they were stored.
    ///
    /// # Errors
    /// [`Refused::Problems`].
    pub fn plan_documents(&self, wanted: &Documents) -> Result<Plan, Refused> {
        let mut draft = Draft::new(self);
        draft.become_all(wanted);
        self.arrive(&self.host, draft)
    }

    fn arrive(&self, host: &Arc<RawGateway>, draft: Draft) -> Result<Plan, Refused> {
        let documents = draft.documents;
        let changes = documents.since(&self.documents).into_iter().map(|of| Change {
            key: of.key.clone(),
            before: of.before.cloned(),
            after: of.after.cloned(),
        });
        let changes: Vec<Change> = changes.collect();
        refuse_wrong(host, &changes, &documents)?;
        let settled = if Arc::ptr_eq(host, &self.host) {
            resettle(host, (&self.documents, &self.settled), &documents)?
        } else {
            settle(host, &documents)?
        };
        let writes = changes.iter().any(|change| change.after.is_some());
        if let Some(problem) = settled.overfull.first().filter(|_| writes) {
            return Err(Problems(vec![problem.clone()]).into());
        }
        let warnings = self.warnings(&settled, &changes);
        Ok(Plan {
            generation: self.generation,
            host: Arc::clone(host),
            documents: Arc::new(documents),
            settled: Arc::new(settled),
            changes,
            warnings,
        })
    }

    /// What was written and is not in force, and what was in force and is no more.
    fn warnings(&self, settled: &Settled, changes: &[Change]) -> Vec<String> {
        let written = changes.iter().filter(|change| change.after.is_some()).map(|change| &change.key);
        let others = settled.statuses.since(&self.settled.statuses).into_iter().map(|of| of.key);
        let concerned: BTreeSet<&Key> = written.chain(others).collect();
        let lost = concerned.into_iter().filter_map(|key| Some((key, settled.statuses.get(key)?)));
        lost.map(|(key, status)| format!("{key} is {}: {}", status.name(), status.reason())).collect()
    }
}

/// Refuses what cannot be right, what takes what another object has, and more objects of a kind than there may be.
fn refuse_wrong(host: &RawGateway, changes: &[Change], documents: &Documents) -> Result<(), Problems> {
    let written: Vec<&Document> = changes.iter().filter_map(|change| change.after.as_deref()).collect();
    if written.is_empty() {
        return Ok(());
    }
    let mut problems: Vec<Problem> = wrong(host, &written).into_iter().map(|(_, problem)| problem).collect();
    let new = written.iter().filter_map(|document| Some((&document.key, Body::of(document)?)));
    problems.extend(documents.claims().clashes(&new.collect()));
    for kind in Kind::ALL {
        let count = documents.count(*kind);
        let most = config::schema()["properties"][kind.section()]["maxItems"].as_u64();
        if let Some(most) = most.filter(|most| count > *most) {
            problems.push(Problem {
                path: kind.section().to_owned(),
                id: None,
                value: None,
                what: format!("would be {count} objects"),
                way_out: format!("at most {most} are possible"),
                cause: Cause::Clash,
            });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

fn strict(plan: &Plan) -> Result<(), Problems> {
    let problem = |key: &Key, status: &Status| Problem {
        path: key.to_string(),
        id: None,
        value: None,
        what: format!("would be {}: {}", status.name(), status.reason()),
        way_out: "correct that, or do not ask for everything to be active".into(),
        cause: Cause::Missing,
    };
    let written = plan.changes.iter().filter(|change| change.after.is_some());
    let idle = written.filter_map(|change| {
        let status = plan.settled.status(&change.key);
        (status.name() != "active").then(|| problem(&change.key, status))
    });
    let problems: Vec<Problem> = idle.collect();
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}

/// Documents in change.
struct Draft {
    host: Arc<RawGateway>,
    documents: Documents,
    /// How ids of objects begin that router agents wrote: no file and no earlier generation takes them away or changes them.
    agents: Vec<String>,
}

impl Draft {
    fn new(basis: &Basis) -> Draft {
        let agents = basis.host.zstack.iter().flat_map(|zstack| &zstack.agents);
        let agents = agents.filter_map(|agent| agent.id.as_ref()).map(|id| format!("{id}.")).collect();
        Draft { host: Arc::clone(&basis.host), documents: (*basis.documents).clone(), agents }
    }

    fn is_of_agent(&self, key: &Key) -> bool {
        self.agents.iter().any(|prefix| key.id.as_str().starts_with(prefix))
    }

    fn take(&mut self, step: &Step) -> Result<(), Refused> {
        match step {
            Step::Put { kind, body, etag } => {
                let document = self.read(*kind, body.clone())?;
                self.expect(&document.key, etag.as_deref())?;
                self.put(document);
            }
            Step::Patch { kind, id, patch, etag } => {
                let key = self.find(*kind, id)?;
                self.expect(&key, etag.as_deref())?;
                let mut body = self.documents.get(&key).map(|now| now.body()).unwrap_or_default();
                json_patch::merge(&mut body, patch);
                let document = self.read(*kind, body)?;
                if document.key != key {
                    return Err(Problems(vec![Problem {
                        path: format!("{key}.id"),
                        id: None,
                        value: Some(document.key.id.to_string()),
                        what: "is another id".into(),
                        way_out: "an id stays; write a new object and delete this one".into(),
                        cause: Cause::Itself,
                    }])
                    .into());
                }
                self.put(document);
            }
            Step::Delete { kind, id, etag } => {
                let key = self.find(*kind, id)?;
                self.expect(&key, etag.as_deref())?;
                self.set(key, None);
            }
            Step::Merge { file } => {
                objects(file.clone(), &self.host)?.into_iter().for_each(|document| self.put(document))
            }
            Step::Replace { file } => self.replace(objects(file.clone(), &self.host)?),
        }
        Ok(())
    }

    /// One object.
    fn read(&self, kind: Kind, body: Value) -> Result<Document, Problems> {
        let file = Map::from_iter([(kind.section().to_owned(), Value::Array(vec![body]))]);
        let mut all = objects(Value::Object(file), &self.host)?;
        all.pop().ok_or_else(|| {
            Problems(vec![Problem {
                path: kind.section().to_owned(),
                id: None,
                value: None,
                what: "is no object".into(),
                way_out: "give a mapping of keys".into(),
                cause: Cause::Itself,
            }])
        })
    }

    fn find(&self, kind: Kind, id: &str) -> Result<Key, Refused> {
        let key = Key::new(kind, id).filter(|key| self.documents.get(key).is_some());
        key.ok_or_else(|| Refused::Missing { kind, id: id.to_owned() })
    }

    fn expect(&self, key: &Key, etag: Option<&str>) -> Result<(), Refused> {
        let Some(expected) = etag else { return Ok(()) };
        let present = self.documents.get(key).map(|document| document.etag()).unwrap_or_default();
        if present == expected {
            return Ok(());
        }
        Err(Refused::Changed { key: key.clone(), expected: expected.to_owned(), present })
    }

    fn put(&mut self, document: Document) {
        self.set(document.key.clone(), Some(Arc::new(document)));
    }

    fn set(&mut self, key: Key, document: Option<Arc<Document>>) {
        // An object that stays as it is stays the same one in memory.
        let same = self.documents.get(&key).map(|now| &**now) == document.as_deref();
        if !same {
            self.documents.set(&key, document);
        }
    }

    fn replace(&mut self, objects: Vec<Document>) {
        let wanted: BTreeSet<Key> = objects.iter().map(|document| document.key.clone()).collect();
        let gone = self.documents.iter().map(|document| &document.key).filter(|key| !wanted.contains(key));
        let gone: Vec<Key> = gone.filter(|key| !self.is_of_agent(key)).cloned().collect();
        gone.into_iter().for_each(|key| self.set(key, None));
        for document in objects {
            if !self.is_of_agent(&document.key) {
                self.put(document);
            }
        }
    }

    fn become_all(&mut self, wanted: &Documents) {
        let gone =
            self.documents.iter().map(|document| &document.key).filter(|key| wanted.get(key).is_none());
        let gone: Vec<Key> = gone.filter(|key| !self.is_of_agent(key)).cloned().collect();
        gone.into_iter().for_each(|key| self.set(key, None));
        for document in wanted.iter() {
            if !self.is_of_agent(&document.key) {
                self.set(document.key.clone(), Some(Arc::clone(document)));
            }
        }
    }
}

/// The objects of a file; its section about the host is passed over.
///
/// # Errors
/// As [`config::read_objects`].
pub fn objects(file: Value, host: &RawGateway) -> Result<Vec<Document>, Problems> {
    documents(config::read_objects(file, host)?)
}

impl Plan {
    /// The configuration that it brings.
    pub fn config(&self) -> &Arc<Config> {
        &self.settled.config
    }

    /// What begins where this plan ends.
    pub fn basis(&self, generation: u64) -> Basis {
        Basis {
            host: Arc::clone(&self.host),
            generation,
            documents: Arc::clone(&self.documents),
            settled: Arc::clone(&self.settled),
        }
    }
}
