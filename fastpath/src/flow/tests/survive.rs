//! What the next process finds.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::{
    flow::{
        FileFor, FlowMemory, FlowTable, Labelled, NotKept, Recovery,
        preamble::Preamble,
        session::{Service, Session},
    },
    policer::Policers,
    wire::translate::Side,
};

const FOR: FileFor = FileFor { capacity: 3000, workers: 2, boot: 7, hugepages: false };
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const VPC: NetId = NetId(5);
const PUBLIC: NetId = NetId(2);

/// The two entries of session `n`, inward first, with programs of some generation.
fn session(n: u16, generation: u32) -> Session {
    let vm = Ipv4Addr::from_bits(0x0a01_0000 | u32::from(n));
    let out = FlowKey::new(VPC, vm, Ipv4Addr::new(9, 9, 9, 9), 6, 1000, 443, false);
    let there = Translation::new(Service::Snat, Side::Source, VIP, 1024 + n);
    let home = Translation::new(Service::Snat, Side::Destination, vm, 1000);
    let program = |egress, translation| Program {
        generation,
        egress,
        next: NeighbourId::from_u32(generation),
        from_vtep: Ipv4Addr::from_bits(n.into()),
        translation,
        inside: VrfId(n),
        policers: Policers::from_bits(n),
    };
    Session {
        inward: (out.answer(PUBLIC, there), program(VPC, home)),
        outward: (out, program(PUBLIC, there)),
    }
}

/// The session of an attached entry's VM.
fn number(session: &Session) -> u16 {
    session.inward.1.inside.0
}

/// Whether that is session `n` in some generation, or after it was taken over.
fn is_session(n: u16, found: &Session) -> bool {
    let was = |(key, program): &(FlowKey, Program), (expected, of): (FlowKey, Program)| {
        let Program { generation, .. } = *program;
        let taken_over = Program { generation: 0, next: NeighbourId::NONE, ..of };
        *key == expected && (*program == of || generation == 0 && *program == taken_over)
    };
    was(&found.inward, session(n, found.inward.1.generation).inward)
        && was(&found.outward, session(n, found.outward.1.generation).outward)
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// The memory of a file, as control takes it, and why it is not kept.
fn memory(path: &Path, what: &FileFor) -> (FlowMemory, Option<NotKept>) {
    let file = open(path);
    let why = what.check(&file).err();
    if why.is_some() {
        file.set_len(0).unwrap();
        file.set_len(what.bytes()).unwrap();
    }
    let memory = FlowMemory::of_file(file, what).unwrap();
    assert_eq!(memory.is_kept(), why.is_none());
    (memory, why)
}

/// Takes a file over, and every session in it.
fn attach(path: &Path) -> (Vec<FlowWorker>, FlowReader, Recovery, BTreeSet<u16>) {
    let mut found = BTreeSet::new();
    let (workers, reader, recovery) = FlowTable::attach(memory(path, &FOR).0, |session| {
        assert!(is_session(number(session), session), "{session:?}");
        assert!(found.insert(number(session)), "a session is told once");
        true
    });
    reader.settle();
    (workers, reader, recovery, found)
}

fn put(worker: &mut FlowWorker, (key, program): &(FlowKey, Program)) -> Result<(), NotLearned> {
    let hash = worker.hash(key);
    worker.learn(key, hash, *program, Tick(9))?;
    worker.relearn(key, hash, *program, Tick(9)).map(drop)
}

/// Stores what a session has, inward first.
fn begin(worker: &mut FlowWorker, session: &Session) {
    for entry in [&session.inward, &session.outward] {
        until(worker, |worker| put(worker, entry).is_ok());
    }
}

/// Removes a session, outward first.
fn end(worker: &mut FlowWorker, session: &Session) {
    for (key, _) in [&session.outward, &session.inward] {
        until(worker, |worker| worker.forget(key).is_ok());
    }
}

fn until(worker: &mut FlowWorker, mut done: impl FnMut(&mut FlowWorker) -> bool) {
    while !done(worker) {
        worker.quiescent(Nanos::from_ms(10), &IDLE);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Begin(u16, u32),
    End(u16),
    Half(u16),
    Plain(u32),
    Quiet,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u16..60, 1u32..9).prop_map(|(n, generation)| Step::Begin(n, generation)),
        2 => (0u16..60).prop_map(Step::End),
        1 => (60u16..70).prop_map(Step::Half),
        2 => (0u32..50).prop_map(Step::Plain),
        1 => Just(Step::Quiet),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn complete_and_allowed_sessions_go_on_and_nothing_else(
        steps in prop::collection::vec((step(), 0usize..2), 0..200),
        refuse in prop::collection::btree_set(0u16..60, 0..10),
        small in any::<bool>(),
    ) {
        // A small table has entries in their alternate buckets, and little to give.
        let what = FileFor { capacity: if small { 160 } else { 3000 }, ..FOR };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flows");
        let (made, why) = memory(&path, &what);
        prop_assert_eq!(why, Some(NotKept::Absent));
        let (mut workers, reader, recovery) = FlowTable::attach(made, |_| panic!("a new table is empty"));
        prop_assert_eq!(recovery, Recovery::default());
        let (mut open, mut halves, mut plain) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (step, worker) in steps {
            let worker = &mut workers[worker];
            match step {
                Step::Begin(n, generation) => {
                    begin(worker, &session(n, generation));
                    open.insert(n);
                }
                Step::End(n) => {
                    end(worker, &session(n, 1));
                    open.remove(&n);
                }
                Step::Half(n) => {
                    let whole = session(n, 1);
                    let half = if n % 2 == 0 { whole.inward } else { whole.outward };
                    until(worker, |worker| put(worker, &half).is_ok());
                    halves.insert(n);
                }
                Step::Plain(n) => {
                    until(worker, |worker| learn(worker, n, 1, Tick(9)).is_ok());
                    plain.insert(n);
                }
                Step::Quiet => _ = worker.quiescent(Nanos::from_ms(10), &IDLE),
            }
        }
        reader.set_label(Labelled::Vrf, 65_535, reader.label_of("red"));
        drop((workers, reader));

        let (left, why) = memory(&path, &what);
        prop_assert_eq!(why, None);
        let labels: Vec<_> = left.labels(Labelled::Vrf).collect();
        prop_assert_eq!(labels, [(65_535, left.label_of("red"))]);
        prop_assert_eq!(left.labels(Labelled::Net).count(), 0);
        let mut found = BTreeSet::new();
        let (mut workers, mut reader, recovery) = FlowTable::attach(left, |session| {
            assert!(is_session(number(session), session), "{session:?}");
            assert!(found.insert(number(session)));
            !refuse.contains(&number(session))
        });
        prop_assert_eq!(&found, &open);
        let kept: Vec<u16> = open.difference(&refuse).copied().collect();
        let expected = Recovery {
            sessions: kept.len(),
            refused: open.len() - kept.len(),
            halves: halves.len(),
            cached: plain.len(),
            damaged: false,
        };
        prop_assert_eq!(recovery, expected);
        prop_assert_eq!(reader.len(), 2 * kept.len());
        workers.iter_mut().for_each(|worker| _ = worker.quiescent(Nanos::from_ms(10), &IDLE));
        for n in &kept {
            let expected = session(*n, 0);
            for (key, program) in [expected.inward, expected.outward] {
                let (_, found) = workers[0].find(&key).expect("it goes on");
                prop_assert_eq!(found, Program { next: NeighbourId::NONE, ..program });
            }
        }
        prop_assert_eq!(all(&mut reader).len(), 2 * kept.len());
        // The rest is free, to the last record.
        let mut room = 0;
        for n in 1000..5000 {
            room += usize::from(learn(&mut workers[1], n, 1, Tick(9)).is_ok());
        }
        prop_assert!(2 * kept.len() + room <= what.capacity);
        prop_assert!(2 * kept.len() + room >= what.capacity - what.capacity / 100);
    }

    #[test]
    fn whatever_is_written_into_the_file_no_session_is_made_up(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..12),
        behind_header in any::<bool>(),
    ) {
        let what = FileFor { capacity: 160, ..FOR };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flows");
        let (mut workers, reader, _) = FlowTable::attach(memory(&path, &what).0, |_| true);
        (0..40).for_each(|n| begin(&mut workers[0], &session(n, 1)));
        drop((workers, reader));
        let file = open(&path);
        let tables = FlowTable::sizes(160, 2, 1 << 17).1.bytes();
        for (at, bit) in flips {
            let at = if behind_header {
                (tables - at.index((160 + 512) * 64)) as u64 - 1
            } else {
                at.index(8 * Preamble::WORDS) as u64
            };
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
        }
        drop(file);
        let mut found = 0;
        let (mut workers, mut reader, recovery) = FlowTable::attach(memory(&path, &what).0, |_| {
            found += 1;
            true
        });
        prop_assert!(found <= 40);
        prop_assert!(!recovery.damaged || found == 0);
        prop_assert_eq!(all(&mut reader).len(), 2 * recovery.sessions);
        workers.iter_mut().for_each(|worker| _ = worker.quiescent(Nanos::from_ms(10), &IDLE));
        (0..200).for_each(|n| _ = learn(&mut workers[0], n, 1, Tick(9)));
    }
}

#[test]
fn an_entry_where_it_cannot_be_is_damage_and_nothing_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows");
    let (mut workers, reader, ..) = attach(&path);
    (0..100).for_each(|n| begin(&mut workers[0], &session(n, 1)));
    drop((workers, reader));
    let (workers, reader, recovery, found) = attach(&path);
    assert_eq!((recovery.sessions, found.len()), (100, 100));
    // The key of one record becomes another's.
    let at = FOR.bytes() - 4096;
    let file = open(&path);
    let records = FlowTable::sizes(FOR.capacity, FOR.workers, 1 << 17).1;
    let first = (records.bytes() - records.records * 64) as u64;
    let mut words = [0; 64];
    let used = (first..at).step_by(64).find(|at| {
        file.read_exact_at(&mut words, *at).unwrap();
        words[52] == 1
    });
    file.write_all_at(&[words[0] ^ 1], used.unwrap()).unwrap();
    drop((workers, reader));
    let (_workers, mut reader, recovery, found) = attach(&path);
    assert_eq!((recovery, found.len()), (Recovery { damaged: true, ..Recovery::default() }, 0));
    assert!(all(&mut reader).is_empty() && reader.is_empty());
    drop(reader);
    assert_eq!(attach(&path).2, Recovery::default(), "it begins anew");
}

#[test]
fn a_file_that_does_not_fit_is_begun_anew_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows");
    let why = |what: &FileFor| what.check(&open(&path));
    assert_eq!(why(&FOR), Err(NotKept::Absent));
    drop(attach(&path));
    assert_eq!(why(&FOR), Ok(()));
    assert_eq!(why(&FileFor { capacity: 2999, ..FOR }), Err(NotKept::Limits));
    assert_eq!(why(&FileFor { workers: 3, ..FOR }), Err(NotKept::Limits));
    assert_eq!(why(&FileFor { boot: 8, ..FOR }), Err(NotKept::Boot));
    open(&path).set_len(FOR.bytes() - 4096).unwrap();
    assert_eq!(why(&FOR), Err(NotKept::Damaged), "torn off");
    open(&path).set_len(20).unwrap();
    assert_eq!(why(&FOR), Err(NotKept::Damaged), "hardly anything left");
    drop(attach(&path));
    open(&path).write_all_at(b"#!/bin/sh", 0).unwrap();
    assert_eq!(why(&FOR), Err(NotKept::Damaged), "something else");
    drop(attach(&path));
    open(&path).write_all_at(&9u64.to_ne_bytes(), 8).unwrap();
    assert_eq!(why(&FOR), Err(NotKept::Layout { found: 9 }));
}

#[test]
fn a_table_that_ends_processes_is_taken_over_three_times() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flows");
    for _ in 0..3 {
        drop(FlowTable::attach(memory(&path, &FOR).0, |_| true));
    }
    assert_eq!(FOR.check(&open(&path)), Err(NotKept::Unsettled(3)));
    let (_, reader, ..) = attach(&path);
    reader.settle();
    assert_eq!(FOR.check(&open(&path)), Ok(()));
}

/// Names the file for [`child`].
const FILE: &str = "TIDEGATE_TEST_FLOWS";
/// Sessions of the child.
const SESSIONS: u16 = 1200;
/// What labels say of a session; without one it is closed.
const OPEN: u64 = 1;
const CHANGING: u64 = 2;

/// Not a test of its own: what [`killed_at_any_moment_no_open_session_is_lost`] kills.
#[test]
fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let (workers, reader, _, found) = attach(path.as_ref());
    for n in 0..SESSIONS {
        reader.set_label(Labelled::Vrf, n, if found.contains(&n) { OPEN } else { 0 });
    }
    let (reader, found) = (&reader, &found);
    thread::scope(|scope| {
        for (at, mut worker) in workers.into_iter().enumerate() {
            scope.spawn(move || {
                // The buckets are shared, the sessions are not.
                let mut open: Vec<bool> = (0..SESSIONS).map(|n| found.contains(&n)).collect();
                let mut random = 0x9e37_79b9_7f4a_7c15 ^ u64::from(std::process::id()) << 8 ^ at as u64;
                loop {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let n = (random >> 20) as u16 % (SESSIONS / 2) * 2 + at as u16;
                    let generation = (random >> 40) as u32 % 100 + 1;
                    let is_open = &mut open[usize::from(n)];
                    if *is_open && generation < 30 {
                        reader.set_label(Labelled::Vrf, n, CHANGING);
                        end(&mut worker, &session(n, 1));
                        reader.set_label(Labelled::Vrf, n, 0);
                        *is_open = false;
                    } else if *is_open {
                        // Decided again: it must not be lost by that.
                        begin(&mut worker, &session(n, generation));
                    } else {
                        reader.set_label(Labelled::Vrf, n, CHANGING);
                        begin(&mut worker, &session(n, generation));
                        reader.set_label(Labelled::Vrf, n, OPEN);
                        *is_open = true;
                    }
                    worker.quiescent(Nanos::from_ms(10), &IDLE);
                }
            });
        }
        let mut out = std::io::stdout();
        writeln!(out, "\nready").unwrap();
        out.flush().unwrap();
    });
}

#[test]
fn killed_at_any_moment_no_open_session_is_lost() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = dir.path().join("flows");
    let mut most = 0;
    for round in 0..25u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "flow::tests::survive::child", "--nocapture"])
            .env(FILE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        assert!(said.lines().any(|line| line.unwrap() == "ready"), "the child did not start");
        // Not for waiting: so that the kill falls anywhere.
        thread::sleep(Duration::from_micros(500 + round * 1237 % 10_000));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "the child ended by itself");

        let (left, why) = memory(&path, &FOR);
        assert_eq!(why, None);
        let mut labels = vec![0; usize::from(SESSIONS)];
        left.labels(Labelled::Vrf).for_each(|(n, label)| labels[usize::from(n)] = label);
        let mut found = BTreeSet::new();
        let (_workers, reader, recovery) = FlowTable::attach(left, |session| {
            assert!(is_session(number(session), session), "{session:?}");
            assert!(found.insert(number(session)));
            true
        });
        reader.settle();
        assert!(!recovery.damaged && recovery.halves <= 2 && recovery.cached == 0, "{recovery:?}");
        assert!(labels.iter().filter(|label| **label == CHANGING).count() <= 2);
        for (n, label) in (0..SESSIONS).zip(labels) {
            let expected = match label {
                OPEN => true,
                CHANGING => continue,
                _ => false,
            };
            assert_eq!(found.contains(&n), expected, "session {n} of round {round}");
        }
        most = most.max(recovery.sessions);
    }
    assert!(most > 100, "the child opened at most {most} sessions");
}
