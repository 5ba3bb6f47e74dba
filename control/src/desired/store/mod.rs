//! The store: the present generation, those before it, and the files that they outlive a loss of power in.

mod disk;
mod journal;
#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::disk::{Directory, Disk};
use self::journal::Keep;
use super::{
    document::{self, Document, Documents},
    settle::settle,
    transaction::{Basis, Change, Plan, Refused},
};
use crate::config::raw::RawGateway;

/// Generations that one can go back to.
pub const HISTORY: u64 = 64;

/// By what way a generation came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The configuration file.
    File,
    /// A tool on the control socket.
    Socket,
    /// The REST API over TCP.
    Api,
    /// A router agent, which a ZStack manager drives.
    Agent,
    /// The generation before was not confirmed in time.
    Fallback,
}

impl Source {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Source::File => "file",
            Source::Socket => "socket",
            Source::Api => "api",
            Source::Agent => "agent",
            Source::Fallback => "fallback",
        }
    }
}

/// What a generation says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// Its number; rises by one or more.
    pub generation: u64,
    /// When it was stored, in milliseconds since 1970.
    pub when_ms: u64,
    /// Who wanted it.
    pub who: String,
    /// By what way it came.
    pub source: Source,
    /// Their address, where they came over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// Objects that are new.
    pub added: usize,
    /// Objects that became others.
    pub changed: usize,
    /// Objects that went.
    pub removed: usize,
    /// Over the objects of the configuration file that was applied last.
    #[serde(default)]
    pub file_sum: String,
    /// It falls back at this time, in milliseconds since 1970, unless it is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by_ms: Option<u64>,
}

/// Who wants something, and by what way they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// A name for people: a user, `token NAME`, `certificate NAME`, `zstack agent NAME`.
    pub name: String,
    /// By what way.
    pub source: Source,
    /// Their address, where they come over TCP.
    pub from: Option<IpAddr>,
}

impl Who {
    /// Somebody of this host.
    pub fn new(name: impl Into<String>, source: Source) -> Who {
        Who { name: name.into(), source, from: None }
    }
}

/// Who wants something, and when.
#[derive(Clone, Debug)]
pub struct By {
    /// Who.
    pub who: Who,
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// It falls back unless it is confirmed within so many milliseconds.
    pub confirm_within_ms: Option<u64>,
}

/// How a store was opened; each is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// What was kept is in force; the file has not changed since it was applied.
    Restored,
    /// The file is in force: it is new, or has changed.
    File,
}

/// Whoever writes holds it; the store itself is free meanwhile.
type SharedDisk = Arc<Mutex<Box<dyn Disk>>>;

/// A generation on its way to the disk.
#[derive(Debug)]
pub struct Writing {
    plan: Arc<Plan>,
    /// `None` where nothing changes.
    head: Option<Head>,
    /// `None` where the file keeps itself.
    disk: Option<SharedDisk>,
}

/// A look for files that nobody needs, and a copy of all objects where it is time for one.
#[derive(Debug)]
pub struct Tidying {
    head: Head,
    documents: Arc<Documents>,
    whole: u64,
    limits: Keep,
    disk: SharedDisk,
}

/// A generation of the history.
#[derive(Debug)]
pub struct Past {
    generation: u64,
    /// What one goes back from.
    present: Basis,
    disk: SharedDisk,
}

impl Past {
    /// What there was when one looked, to plan from.
    pub fn present(&self) -> &Basis {
        &self.present
    }

    /// Its documents. Reads the files of all generations since.
    ///
    /// # Errors
    /// [`Refused::Unkept`] where files cannot be read.
    pub fn documents(&self) -> Result<Documents, Refused> {
        let Basis { generation: present, documents, .. } = &self.present;
        journal::back(&**hold(&self.disk), documents, *present, self.generation).map_err(Refused::Unkept)
    }

    /// What it changed. Reads its file.
    ///
    /// # Errors
    /// As [`Past::documents`].
    pub fn changes(&self) -> Result<Vec<Change>, Refused> {
        journal::changes(&**hold(&self.disk), self.generation).map_err(Refused::Unkept)
    }
}

impl Writing {
    /// Writes it. Takes the time that the disk takes.
    ///
    /// # Errors
    /// [`Refused::Unkept`]; nothing was written.
    pub fn write(&self) -> Result<(), Refused> {
        let (Some(head), Some(disk)) = (&self.head, &self.disk) else { return Ok(()) };
        let Plan { generation, documents, changes, .. } = &*self.plan;
        journal::add(&mut **hold(disk), head, *generation, documents, changes).map_err(Refused::Unkept)
    }
}

impl Tidying {
    /// Does it; the newest copy.
    pub fn tidy(&self) -> u64 {
        journal::tidy(&mut **hold(&self.disk), &self.head, &self.documents, self.whole, self.limits)
    }
}

fn hold(disk: &SharedDisk) -> MutexGuard<'_, Box<dyn Disk>> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Desired state, and where it is kept.
#[derive(Debug)]
pub struct Store {
    /// Why nothing can be kept, where nothing can.
    disk: Result<SharedDisk, String>,
    limits: Keep,
    basis: Basis,
    /// Oldest first; the last one is the present one.
    heads: Vec<Head>,
    last: u64,
    whole: u64,
    damaged: Vec<String>,
}

impl Store {
    /// Takes up what was kept on `disk`, or `file` where that has changed since it was last applied. A disk that does not work
    /// does not keep a gateway from forwarding: the file is then in force, and [`Store::trouble`] says so.
    ///
    /// # Errors
    /// What is wrong with `host`, or with the file's objects.
    pub fn open(
        disk: Result<Box<dyn Disk>, String>,
        host: &RawGateway,
        file: Vec<Document>,
        by: &By,
    ) -> Result<(Store, Opened), Refused> {
        let limits = Keep { generations: HISTORY, whole_every: HISTORY / 2 };
        Store::with_limits(disk, host, file, by, limits)
    }

    fn with_limits(
        mut disk: Result<Box<dyn Disk>, String>,
        host: &RawGateway,
        file: Vec<Document>,
        by: &By,
        limits: Keep,
    ) -> Result<(Store, Opened), Refused> {
        let found = match &mut disk {
            Ok(open) => journal::read(&mut **open),
            Err(_) => Ok(journal::Found::default()),
        };
        let found = found.unwrap_or_else(|why| {
            disk = Err(why);
            journal::Found::default()
        });
        let settled = settle(host, &found.documents)?;
        let generation = found.head.as_ref().map_or(0, |head| head.generation);
        let basis = Basis {
            host: Arc::new(host.clone()),
            generation,
            documents: Arc::new(found.documents),
            settled: Arc::new(settled),
        };
        let mut heads = found.heads;
        if let Some(head) = found.head.filter(|head| heads.last() != Some(head)) {
            heads.push(head);
        }
        let (last, whole, damaged) = (found.last, found.whole, found.damaged);
        let disk = disk.map(|disk| Arc::new(Mutex::new(disk)));
        let mut store = Store { disk, limits, basis, heads, last, whole, damaged };
        let sum = document::sum(&file);
        if store.heads.last().is_some_and(|head| head.file_sum == sum) {
            return Ok((store, Opened::Restored));
        }
        let plan = store.basis.plan_file(host, file)?;
        // Who changed the file and started the gateway knows what they want.
        store.heads.iter_mut().for_each(|head| head.confirm_by_ms = None);
        if let Err(why) = store.commit(&plan, by, Some(sum.clone())) {
            // The host's own file is in force all the same.
            store.disk = Err(why.to_string());
            store.install(&plan, head(&plan, store.last + 1, by, sum));
        }
        Ok((store, Opened::File))
    }

    /// The present generation, to plan from.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }

    /// The generations that there were, oldest first; the last one is the present one.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// Why nothing can be kept; `None` where all is well.
    pub fn trouble(&self) -> Option<&str> {
        self.disk.as_ref().err().map(String::as_str)
    }

    /// Files that could not be used when the store was opened.
    pub fn damaged(&self) -> &[String] {
        &self.damaged
    }

    /// The generation that waits to be confirmed, and for how many milliseconds more.
    pub fn unconfirmed(&self, now_ms: u64) -> Option<(u64, u64)> {
        let head = self.heads.last()?;
        Some((head.generation, head.confirm_by_ms?.saturating_sub(now_ms)))
    }

    /// Keeps a plan and makes it the present generation; returns its number. Where nothing changes, that is the present one.
    /// `file_sum` is given with the objects of the configuration file.
    ///
    /// # Errors
    /// As [`Store::begin`] and [`Writing::write`]; nothing has changed.
    pub fn commit(&mut self, plan: &Plan, by: &By, file_sum: Option<String>) -> Result<u64, Refused> {
        let writing = self.begin(&Arc::new(plan.clone()), by, file_sum)?;
        writing.write()?;
        let generation = self.finish(writing)?;
        if let Some(tidying) = self.tidying() {
            self.whole = tidying.tidy();
        }
        Ok(generation)
    }

    /// The first step of keeping a plan: what has to be written, by whatever thread, before [`Store::finish`].
    ///
    /// # Errors
    /// [`Refused::Stale`] where another one came between, [`Refused::Unconfirmed`], [`Refused::Unkept`].
    pub fn begin(&self, plan: &Arc<Plan>, by: &By, file_sum: Option<String>) -> Result<Writing, Refused> {
        self.follows(plan)?;
        if let Some((generation, ms)) =
            self.unconfirmed(by.now_ms).filter(|_| by.who.source != Source::Fallback)
        {
            return Err(Refused::Unconfirmed { generation, seconds: ms.div_ceil(1000) });
        }
        let from_file = file_sum.is_some();
        let before = self.heads.last().map(|head| head.file_sum.clone());
        let sum = file_sum.or_else(|| before.clone()).unwrap_or_default();
        let plan = Arc::clone(plan);
        if plan.changes.is_empty() && before.as_ref() == Some(&sum) {
            return Ok(Writing { plan, head: None, disk: None });
        }
        let disk = match &self.disk {
            Ok(disk) => Some(Arc::clone(disk)),
            // The file keeps itself.
            Err(_) if from_file => None,
            Err(why) => return Err(Refused::Unkept(why.clone())),
        };
        Ok(Writing { head: Some(head(&plan, self.last + 1, by, sum)), plan, disk })
    }

    /// The last step of keeping a plan: what was written is the present generation; its number.
    ///
    /// # Errors
    /// [`Refused::Stale`] where another one came between.
    pub fn finish(&mut self, Writing { plan, head, .. }: Writing) -> Result<u64, Refused> {
        self.follows(&plan)?;
        match head {
            Some(head) => self.install(&plan, head),
            None => self.basis = plan.basis(plan.generation),
        }
        Ok(self.basis.generation)
    }

    fn follows(&self, plan: &Plan) -> Result<(), Refused> {
        let present = self.basis.generation;
        if plan.generation == present {
            return Ok(());
        }
        Err(Refused::Stale { expected: plan.generation, present })
    }

    /// What should be done after a change, by whatever thread; its result goes to [`Store::tidied`].
    pub fn tidying(&self) -> Option<Tidying> {
        // A copy says no more who waits to be confirmed.
        let head = self.heads.last().filter(|head| head.confirm_by_ms.is_none())?.clone();
        let disk = Arc::clone(self.disk.as_ref().ok()?);
        let documents = Arc::clone(&self.basis.documents);
        Some(Tidying { head, documents, whole: self.whole, limits: self.limits, disk })
    }

    /// The newest copy of all objects.
    pub fn tidied(&mut self, whole: u64) {
        self.whole = self.whole.max(whole);
    }

    fn install(&mut self, plan: &Plan, head: Head) {
        self.last = head.generation;
        self.basis = plan.basis(head.generation);
        self.heads.push(head);
        let most = usize::try_from(self.limits.generations).unwrap_or(usize::MAX).saturating_add(1);
        self.heads.drain(..self.heads.len().saturating_sub(most));
    }

    /// A generation before, to be read from files by whatever thread; the store is free meanwhile.
    ///
    /// # Errors
    /// [`Refused::NoGeneration`], or [`Refused::Unkept`] where nothing is kept.
    pub fn past(&self, generation: u64) -> Result<Past, Refused> {
        if self.heads.iter().all(|head| head.generation != generation) {
            return Err(Refused::NoGeneration(generation));
        }
        let disk = Arc::clone(self.disk.as_ref().map_err(|why| Refused::Unkept(why.clone()))?);
        Ok(Past { generation, present: self.basis.clone(), disk })
    }

    /// Lets the present generation stay; returns its number, `None` where none waits for that.
    ///
    /// # Errors
    /// [`Refused::Unkept`]; it still falls back then.
    pub fn confirm(&mut self) -> Result<Option<u64>, Refused> {
        let Some(head) = self.heads.last_mut().filter(|head| head.confirm_by_ms.is_some()) else {
            return Ok(None);
        };
        let confirmed = Head { confirm_by_ms: None, ..head.clone() };
        let disk = self.disk.as_ref().map_err(|why| Refused::Unkept(why.clone()))?;
        journal::rewrite(&mut **hold(disk), &confirmed).map_err(Refused::Unkept)?;
        *head = confirmed;
        Ok(Some(head.generation))
    }

    /// Back to before the generation that was not confirmed in time, as a plan; `None` where none is due.
    ///
    /// # Errors
    /// [`Refused::Unkept`] where files cannot be read, or what is wrong by now.
    pub fn fall_back(&self, now_ms: u64) -> Result<Option<Plan>, Refused> {
        let Some((generation, 0)) = self.unconfirmed(now_ms) else { return Ok(None) };
        let disk = self.disk.as_ref().map_err(|why| Refused::Unkept(why.clone()))?;
        let before = journal::undo(&**hold(disk), &self.basis.documents, generation);
        let (before, _) = before.map_err(Refused::Unkept)?;
        self.basis.plan_documents(&before).map(Some)
    }
}

fn head(plan: &Plan, generation: u64, by: &By, file_sum: String) -> Head {
    let count = |of: fn(&Change) -> bool| plan.changes.iter().filter(|change| of(change)).count();
    Head {
        generation,
        when_ms: by.now_ms,
        who: by.who.name.clone(),
        source: by.who.source,
        from: by.who.from,
        added: count(|change| change.before.is_none()),
        changed: count(|change| change.before.is_some() && change.after.is_some()),
        removed: count(|change| change.after.is_none()),
        file_sum,
        confirm_by_ms: by.confirm_within_ms.map(|within| by.now_ms.saturating_add(within)),
    }
}
