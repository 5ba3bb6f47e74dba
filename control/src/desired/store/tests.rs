//! Power goes at every step and every byte of writing; disks damage files. What is restored is the old generation or the new
//! one, whole.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::desired::{
    Kind, Step, Transaction,
    tests::{host, site},
};

/// What was done to a directory, in order.
#[derive(Clone, Debug)]
enum Done {
    Write(String, Vec<u8>),
    Sync,
    Rename(String, String),
    Remove(String),
}

type Files = BTreeMap<String, Vec<u8>>;

/// Files, what was done to them, and the step at which the disk is full.
type State = (Files, Vec<Done>, Option<usize>);

/// A directory in memory that remembers.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<State>>);

impl Memory {
    fn of(files: Files) -> Memory {
        Memory(Arc::new(Mutex::new((files, Vec::new(), None))))
    }

    fn files(&self) -> Files {
        self.0.lock().unwrap().0.clone()
    }

    fn take_done(&self) -> Vec<Done> {
        std::mem::take(&mut self.0.lock().unwrap().1)
    }

    /// Fails at the step after `steps` more.
    fn fail_after(&self, steps: Option<usize>) {
        self.0.lock().unwrap().2 = steps;
    }

    fn act(&self, done: Done) -> std::io::Result<()> {
        let (files, all, fail) = &mut *self.0.lock().unwrap();
        if let Some(left) = fail {
            if *left == 0 {
                if let Done::Write(name, bytes) = &done {
                    files.insert(name.clone(), bytes[..bytes.len() / 2].to_vec());
                }
                return Err(std::io::Error::from_raw_os_error(28));
            }
            *left -= 1;
        }
        play(files, &done);
        all.push(done);
        Ok(())
    }
}

fn play(files: &mut Files, done: &Done) {
    match done {
        Done::Write(name, bytes) => _ = files.insert(name.clone(), bytes.clone()),
        Done::Sync => {}
        Done::Rename(from, to) => {
            let bytes = files.remove(from).unwrap();
            files.insert(to.clone(), bytes);
        }
        Done::Remove(name) => _ = files.remove(name),
    }
}

impl Disk for Memory {
    fn list(&self) -> std::io::Result<Vec<String>> {
        Ok(self.files().into_keys().collect())
    }

    fn read(&self, name: &str) -> std::io::Result<Vec<u8>> {
        self.files().remove(name).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.act(Done::Write(name.into(), bytes.into()))
    }

    fn sync(&mut self, _: &str) -> std::io::Result<()> {
        self.act(Done::Sync)
    }

    fn rename(&mut self, from: &str, to: &str) -> std::io::Result<()> {
        self.act(Done::Rename(from.into(), to.into()))
    }

    fn remove(&mut self, name: &str) -> std::io::Result<()> {
        self.act(Done::Remove(name.into()))
    }

    fn sync_names(&mut self) -> std::io::Result<()> {
        self.act(Done::Sync)
    }
}

const LIMITS: Keep = Keep { generations: 4, whole_every: 3 };

fn by(source: Source) -> By {
    By { who: Who::new("root", source), now_ms: 1_000, confirm_within_ms: None }
}

fn file() -> Vec<Document> {
    crate::desired::objects(site(), &host()).unwrap()
}

fn open(disk: &Memory) -> Store {
    open_with(disk, file()).0
}

fn open_with(disk: &Memory, file: Vec<Document>) -> (Store, Opened) {
    Store::with_limits(Ok(Box::new(disk.clone())), &host(), file, &by(Source::File), LIMITS).unwrap()
}

/// A transaction that makes every generation another one.
fn change(n: usize) -> Transaction {
    let router = |id: usize| json!({ "id": format!("r{id}"), "account": format!("number {n}") });
    let put = |id| Step::Put { kind: Kind::VpcRouter, body: router(id), etag: None };
    let mut steps = vec![put(n), put(0)];
    if n > 2 {
        steps.push(Step::Delete { kind: Kind::VpcRouter, id: format!("r{}", n - 2), etag: None });
    }
    Transaction { steps, ..Transaction::default() }
}

fn commit(store: &mut Store, n: usize) -> Result<u64, Refused> {
    let plan = store.basis().plan(&change(n)).unwrap();
    store.commit(&plan, &by(Source::Socket), None)
}

fn sum(store: &Store) -> String {
    store.basis().documents.sum()
}

#[test]
fn what_was_stored_is_restored_and_rolled_back() {
    let disk = Memory::default();
    let mut store = open(&disk);
    let mut sums = vec![sum(&store)];
    for n in 1..=9 {
        assert_eq!(commit(&mut store, n).unwrap(), n as u64 + 1);
        sums.push(sum(&store));
        let again = open_with(&disk, file());
        assert_eq!((sum(&again.0), again.1), (sum(&store), Opened::Restored));
        assert_eq!(again.0.basis().settled, store.basis().settled);
        assert_eq!(again.0.basis().generation, n as u64 + 1);
    }
    for back in [10, 9, 8, 7, 6] {
        let documents = open(&disk).past(back).unwrap().documents().unwrap();
        assert_eq!(documents.sum(), sums[back as usize - 1], "generation {back}");
    }
    assert!(matches!(store.past(2), Err(Refused::NoGeneration(2))));
    let plan = store.basis().plan_documents(&store.past(7).unwrap().documents().unwrap()).unwrap();
    assert_eq!(store.commit(&plan, &by(Source::Socket), None).unwrap(), 11);
    assert_eq!(sum(&store), sums[6]);
    assert!(disk.files().len() < 12, "{:?}", disk.files().keys());
}

#[test]
fn the_file_counts_when_it_has_changed() {
    let disk = Memory::default();
    let mut store = open(&disk);
    commit(&mut store, 1).unwrap();
    drop(store);
    let (store, opened) = open_with(&disk, file());
    assert_eq!((opened, store.basis().generation), (Opened::Restored, 2));
    let edited = file()[1..].to_vec();
    let (store, opened) = open_with(&disk, edited.clone());
    assert_eq!((opened, store.basis().generation), (Opened::File, 3));
    assert_eq!(store.basis().documents.len(), edited.len());
    assert_eq!(open_with(&disk, edited).1, Opened::Restored);
}

#[test]
fn a_disk_that_is_full_changes_nothing_and_says_so() {
    let disk = Memory::default();
    let mut store = open(&disk);
    commit(&mut store, 1).unwrap();
    let before = (sum(&store), store.basis().generation);
    for steps in 0..4 {
        disk.fail_after(Some(steps));
        let why = commit(&mut store, 2).unwrap_err().to_string();
        assert!(why.starts_with("cannot keep it: change-3: No space left on device"), "{why}");
        assert_eq!((sum(&store), store.basis().generation), before);
        disk.fail_after(None);
    }
    commit(&mut store, 2).unwrap();
    assert_eq!(sum(&open(&disk)), sum(&store));
    let nowhere = Store::open(Err("/x: not there".into()), &host(), file(), &by(Source::File));
    let (mut nowhere, _) = nowhere.unwrap();
    assert_eq!(nowhere.basis().documents.len(), file().len(), "it forwards all the same");
    assert!(commit(&mut nowhere, 1).unwrap_err().to_string().contains("/x: not there"));
}

#[test]
fn power_may_go_at_every_byte() {
    let disk = Memory::default();
    let mut store = open(&disk);
    for n in 1..=4 {
        let before = (disk.files(), sum(&store));
        disk.take_done();
        commit(&mut store, n).unwrap();
        let after = sum(&store);
        let steps = disk.take_done();
        let mut files = before.0.clone();
        let mut seen = Vec::new();
        for step in &steps {
            if let Done::Write(name, bytes) = step {
                for cut in 0..=bytes.len() {
                    let mut torn = files.clone();
                    torn.insert(name.clone(), bytes[..cut].to_vec());
                    seen.push(torn);
                }
                for bit in (0..bytes.len() * 8).step_by(211) {
                    let mut wrong = bytes.clone();
                    wrong[bit / 8] ^= 1 << (bit % 8);
                    let mut torn = files.clone();
                    torn.insert(name.clone(), wrong);
                    seen.push(torn);
                }
            }
            play(&mut files, step);
            seen.push(files.clone());
        }
        for files in seen {
            let restored = Memory::of(files);
            let found = journal::read(&mut restored.clone()).unwrap();
            let found = found.documents.sum();
            assert!(found == before.1 || found == after, "generation {n}: neither the old nor the new one");
        }
        assert_eq!(sum(&open(&Memory::of(files))), after);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any one file of those at rest is damaged: every generation that is found is one that there was, and the newest where only an
    /// older copy is hurt; a store goes on from there.
    #[test]
    fn a_damaged_file_costs_no_more_than_what_it_held(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), cut: bool, bit in 0..8_u32) {
        let disk = Memory::default();
        let mut store = open(&disk);
        let mut sums = vec![Documents::default().sum(), sum(&store)];
        for n in 1..=7 {
            commit(&mut store, n).unwrap();
            sums.push(sum(&store));
        }
        let mut files = disk.files();
        let name = which.get(&files.keys().cloned().collect::<Vec<_>>()).clone();
        let bytes = files.get_mut(&name).unwrap();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1_u8 << bit }
        let hurt = Memory::of(files);
        let found = journal::read(&mut hurt.clone()).unwrap();
        let generation = found.head.as_ref().map_or(0, |head| head.generation);
        prop_assert_eq!(&found.documents.sum(), &sums[generation as usize]);
        // Wholes of generations 3 and 6, and what came after.
        let expected = match name.as_str() {
            "change-7" => 6,
            "change-8" => 7,
            _ => 8,
        };
        prop_assert_eq!((generation, found.damaged.is_empty()), (expected, name == "whole-3"), "{}", name);
        let mut store = open(&hurt);
        prop_assert_eq!(store.basis().generation, generation);
        commit(&mut store, 1).unwrap();
        prop_assert_eq!(sum(&open(&hurt)), sum(&store));
    }
}

#[test]
fn what_is_not_confirmed_falls_back() {
    let disk = Memory::default();
    let mut store = open(&disk);
    let before = sum(&store);
    let within = |ms| By { confirm_within_ms: Some(ms), ..by(Source::Socket) };
    let plan = store.basis().plan(&change(1)).unwrap();
    store.commit(&plan, &within(60_000), None).unwrap();
    let why = commit(&mut store, 2).unwrap_err().to_string();
    assert!(why.contains("generation 2 waits to be confirmed for 60 s more"), "{why}");
    assert!(store.fall_back(60_999).unwrap().is_none());
    // Over a restart, too.
    let mut store = open(&disk);
    assert_eq!(store.unconfirmed(31_000), Some((2, 30_000)));
    let plan = store.fall_back(61_000).unwrap().unwrap();
    assert_eq!(store.commit(&plan, &by(Source::Fallback), None).unwrap(), 3);
    assert_eq!((sum(&store), store.unconfirmed(0)), (before, None));

    let plan = store.basis().plan(&change(1)).unwrap();
    store.commit(&plan, &within(60_000), None).unwrap();
    assert_eq!(store.confirm().unwrap(), Some(4));
    assert_eq!(store.confirm().unwrap(), None);
    assert!(open(&disk).fall_back(u64::MAX).unwrap().is_none());
}
