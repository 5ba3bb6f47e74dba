//! Generations in files. `change-N` says what generation N changed, both ways; `whole-N` is all of it. Reading begins with the
//! newest whole and goes on with the changes after it; going back undoes changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Head,
    disk::{Disk, content, keep, sweep},
};
use crate::desired::{
    document::{Document, Documents, Key, Kind},
    transaction::Change,
};

const CHANGE: &str = "change-";
const WHOLE: &str = "whole-";

/// A copy of all objects is only written after so many changes that it is not most of what is written.
const DOCUMENTS_PER_CHANGE: u64 = 64;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// Generations that one can go back to.
    pub(super) generations: u64,
    /// A whole after so many changes.
    pub(super) whole_every: u64,
}

/// One document that became another one.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    kind: Kind,
    id: String,
    before: Option<Box<RawValue>>,
    after: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ChangeFile {
    head: Head,
    /// The generation that it changed.
    base: u64,
    /// Over all documents afterwards.
    sum: String,
    changes: Vec<Written>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WholeFile {
    head: Head,
    sum: String,
    documents: BTreeMap<Kind, BTreeMap<String, Box<RawValue>>>,
}

/// What was found in the files.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) documents: Documents,
    /// `None` where nothing was ever kept, or nothing of it can be read.
    pub(super) head: Option<Head>,
    /// All generations that can be gone back to, oldest first.
    pub(super) heads: Vec<Head>,
    /// What cannot be read, and what cannot be reached because of that.
    pub(super) damaged: Vec<String>,
    /// The highest number that was ever used.
    pub(super) last: u64,
    /// The newest whole.
    pub(super) whole: u64,
}

/// Reads what was kept.
///
/// # Errors
/// A sentence, when the directory cannot be read.
pub(super) fn read(disk: &mut dyn Disk) -> Result<Found, String> {
    let names = disk.list().map_err(|error| error.to_string())?;
    sweep(disk, &names);
    let mut found = Found::default();
    let wholes = numbers(&names, WHOLE);
    let changes = numbers(&names, CHANGE);
    found.last = wholes.iter().chain(&changes).copied().max().unwrap_or_default();
    for number in wholes.iter().rev() {
        match whole(disk, *number) {
            Ok((head, documents)) => {
                (found.head, found.documents, found.whole) = (Some(head), documents, *number);
                break;
            }
            Err(why) => found.damaged.push(why),
        }
    }
    for number in changes {
        let now = found.head.as_ref().map_or(0, |head| head.generation);
        let change = match change(disk, number) {
            Ok(change) => change,
            Err(why) => {
                found.damaged.push(why);
                continue;
            }
        };
        if number <= found.whole {
            found.heads.push(change.head);
            continue;
        }
        let next = (change.base == now).then(|| redo(&found.documents, &change)).flatten();
        match next {
            Some(documents) => {
                found.documents = documents;
                found.heads.push(change.head.clone());
                found.head = Some(change.head);
            }
            None => found.damaged.push(format!("{CHANGE}{number} does not follow generation {now}")),
        }
    }
    Ok(found)
}

/// Adds a generation. Wholes and the removal of old files do not decide whether it is kept.
///
/// # Errors
/// A sentence; then nothing was added.
pub(super) fn add(
    disk: &mut dyn Disk,
    head: &Head,
    base: u64,
    documents: &Documents,
    changes: &[Change],
) -> Result<(), String> {
    let changes = changes.iter().map(|change| Written {
        kind: change.key.kind,
        id: change.key.id.to_string(),
        before: change.before.as_deref().and_then(raw),
        after: change.after.as_deref().and_then(raw),
    });
    let file = ChangeFile { head: head.clone(), base, sum: documents.sum(), changes: changes.collect() };
    write(disk, &format!("{CHANGE}{}", head.generation), &file)
}

/// Writes a whole where it is time, and removes what nobody goes back to. Returns the newest whole.
pub(super) fn tidy(disk: &mut dyn Disk, head: &Head, documents: &Documents, whole: u64, limits: Keep) -> u64 {
    let now = head.generation;
    let mut newest = whole;
    if now - whole >= limits.whole_every.max(documents.len() as u64 / DOCUMENTS_PER_CHANGE) {
        let mut all: BTreeMap<Kind, BTreeMap<String, Box<RawValue>>> = BTreeMap::new();
        for document in documents.iter() {
            if let Some(body) = raw(document) {
                all.entry(document.key.kind).or_default().insert(document.key.id.to_string(), body);
            }
        }
        let file = WholeFile { head: head.clone(), sum: documents.sum(), documents: all };
        match write(disk, &format!("{WHOLE}{now}"), &file) {
            Ok(()) => newest = now,
            Err(why) => tracing::warn!("a copy of all objects cannot be kept, so old changes stay: {why}"),
        }
    }
    let Ok(names) = disk.list() else { return newest };
    // Two wholes, so that one may be damaged, and all changes after the older one.
    let wholes: Vec<u64> = numbers(&names, WHOLE).into_iter().collect();
    let kept = wholes.len().checked_sub(2).map_or(0, |at| wholes[at]);
    let oldest = kept.min(now.saturating_sub(limits.generations + 1));
    let old = numbers(&names, CHANGE).into_iter().filter(|number| *number <= oldest);
    let old = old.map(|number| format!("{CHANGE}{number}"));
    let copies = wholes.iter().filter(|number| **number < kept).map(|number| format!("{WHOLE}{number}"));
    old.chain(copies).for_each(|name| _ = disk.remove(&name));
    newest
}

/// The documents before generation `from`, given those of it; and which generation that was.
///
/// # Errors
/// A sentence: it cannot be read.
pub(super) fn undo(disk: &dyn Disk, documents: &Documents, from: u64) -> Result<(Documents, u64), String> {
    let mut documents = documents.clone();
    let file = change(disk, from)?;
    for written in &file.changes {
        let (key, before) = written.side(&written.before).ok_or_else(|| unreadable(from))?;
        documents.set(&key, before);
    }
    Ok((documents, file.base))
}

/// The documents of generation `to`, from those of generation `from`.
///
/// # Errors
/// A sentence: a generation between cannot be read.
pub(super) fn back(disk: &dyn Disk, documents: &Documents, from: u64, to: u64) -> Result<Documents, String> {
    let (mut documents, mut now) = (documents.clone(), from);
    while now > to {
        (documents, now) = undo(disk, &documents, now)?;
    }
    if now == to { Ok(documents) } else { Err(format!("generation {to} was lost")) }
}

/// What a generation changed.
///
/// # Errors
/// A sentence: it cannot be read.
pub(super) fn changes(disk: &dyn Disk, generation: u64) -> Result<Vec<Change>, String> {
    let file = change(disk, generation)?;
    let all = file.changes.iter().map(|written| {
        let (key, before) = written.side(&written.before)?;
        let (_, after) = written.side(&written.after)?;
        Some(Change { key, before, after })
    });
    all.collect::<Option<_>>().ok_or_else(|| unreadable(generation))
}

/// Writes what a generation says of itself anew.
///
/// # Errors
/// A sentence; then it stays as it was.
pub(super) fn rewrite(disk: &mut dyn Disk, head: &Head) -> Result<(), String> {
    let file = change(disk, head.generation)?;
    write(disk, &format!("{CHANGE}{}", head.generation), &ChangeFile { head: head.clone(), ..file })
}

impl Written {
    /// The key, and one of its sides; `None` where that is of another version of the vocabulary.
    fn side(&self, body: &Option<Box<RawValue>>) -> Option<(Key, Option<Arc<Document>>)> {
        let key = Key::new(self.kind, &self.id)?;
        let document = body.as_ref().map(|body| Arc::new(Document::new(key.clone(), body.get().into())));
        Some((key, document))
    }
}

/// The documents after a change; `None` where they are not what they were.
fn redo(documents: &Documents, change: &ChangeFile) -> Option<Documents> {
    let mut documents = documents.clone();
    for written in &change.changes {
        let (key, after) = written.side(&written.after)?;
        documents.set(&key, after);
    }
    (documents.sum() == change.sum).then_some(documents)
}

fn unreadable(generation: u64) -> String {
    format!("{CHANGE}{generation} is of another version")
}

fn raw(document: &Document) -> Option<Box<RawValue>> {
    RawValue::from_string(document.text.clone().into_string()).ok()
}

fn change(disk: &dyn Disk, number: u64) -> Result<ChangeFile, String> {
    let name = format!("{CHANGE}{number}");
    let file: ChangeFile = parse(&name, &content(disk, &name)?)?;
    if file.head.generation == number { Ok(file) } else { Err(format!("{name} has another one's name")) }
}

fn whole(disk: &dyn Disk, number: u64) -> Result<(Head, Documents), String> {
    let name = format!("{WHOLE}{number}");
    let file: WholeFile = parse(&name, &content(disk, &name)?)?;
    let bodies = file.documents.into_iter().flat_map(|(kind, all)| all.into_iter().map(move |of| (kind, of)));
    let documents =
        bodies.map(|(kind, (id, body))| Some(Document::new(Key::new(kind, &id)?, body.get().into())));
    let documents: Option<Documents> = documents.collect::<Option<Vec<_>>>().map(Documents::from_iter);
    let documents = documents.filter(|documents| documents.sum() == file.sum);
    documents.map(|documents| (file.head, documents)).ok_or_else(|| format!("{name} does not add up"))
}

fn parse<T: for<'de> Deserialize<'de>>(name: &str, content: &[u8]) -> Result<T, String> {
    serde_json::from_slice(content).map_err(|error| format!("{name} cannot be read: {error}"))
}

fn write(disk: &mut dyn Disk, name: &str, file: &impl Serialize) -> Result<(), String> {
    let content = serde_json::to_vec(file).map_err(|error| format!("{name}: {error}"))?;
    keep(disk, name, &content).map_err(|error| format!("{name}: {error}"))
}

fn numbers(names: &[String], of: &str) -> BTreeSet<u64> {
    names.iter().filter_map(|name| name.strip_prefix(of)?.parse().ok()).collect()
}
