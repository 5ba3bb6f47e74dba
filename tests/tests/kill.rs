//! SIGKILL while generations are stored, 200 times: what was acknowledged is there, and what was not is absent or whole.
//!
//! The store runs in a process of its own, which says each generation once it is stored. After the kill this process opens the
//! same directory and compares what is in it with what that generation must be.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tidegate_control::{
    config::raw::RawGateway,
    desired::{Basis, By, Directory, Disk, Kind, Source, Step, Store, Transaction, Who},
};

const KILLS: u64 = 200;
/// Tells the other process where to store, and what to be.
const PLACE: &str = "TIDEGATE_TEST_STORE";

fn host() -> RawGateway {
    let ports = json!([{ "id": "under", "device": "net_null0", "addresses": ["10.0.0.1/24"] }]);
    serde_json::from_value(json!({ "ports": ports })).unwrap()
}

fn by() -> By {
    By { who: Who::new("test", Source::Socket), now_ms: 0, confirm_within_ms: None }
}

fn open(place: &Path) -> Store {
    let disk = Directory::open(place.to_owned()).map(|disk| Box::new(disk) as Box<dyn Disk>);
    let (store, _) = Store::open(disk, &host(), Vec::new(), &by()).unwrap();
    assert_eq!((store.trouble(), store.damaged().len()), (None, 0));
    store
}

/// What leads to a generation from the one before; every one differs.
fn change(generation: u64) -> Transaction {
    let router = |n: u64| json!({ "id": format!("v{n}"), "account": format!("of generation {generation}") });
    let file = || -> Value { json!({ "vpc_routers": (0..60).map(router).collect::<Vec<_>>() }) };
    let step = match generation % 8 {
        0 => Step::Replace { file: file() },
        3 => Step::Merge { file: file() },
        n => Step::Put { kind: Kind::VpcRouter, body: router(100 + n), etag: None },
    };
    Transaction { steps: vec![step], ..Transaction::default() }
}

fn follow(basis: &Basis) -> Basis {
    let plan = basis.plan(&change(basis.generation + 1)).unwrap();
    plan.basis(basis.generation + 1)
}

/// The other process.
#[test]
fn store_until_killed() {
    let Some(place) = env::var_os(PLACE).map(PathBuf::from) else { return };
    let mut store = open(&place);
    let mut out = std::io::stdout();
    loop {
        let plan = store.basis().plan(&change(store.basis().generation + 1)).unwrap();
        let generation = store.commit(&plan, &by(), None).unwrap();
        writeln!(out, "stored {generation}").unwrap();
        out.flush().unwrap();
    }
}

/// Bytes that a process has written so far (proc(5), `wchar`).
fn written(process: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{process}/io")).unwrap();
    io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}

/// Lets the other process write so many bytes, and kills it; the last generation that it said.
fn killed_after(place: &Path, bytes: u64) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "store_until_killed", "--nocapture"])
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let generation = |line: &str| line.trim().strip_prefix("stored ").and_then(|n| n.parse::<u64>().ok());
    let mut said = None;
    // From its first word on, so that the moment is one of storing and not of starting.
    while said.is_none() {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended by itself");
        // The harness of tests writes before it on the same line.
        said = line.find("stored ").and_then(|at| generation(&line[at..]));
    }
    let end = written(child.id()) + bytes;
    while written(child.id()) < end {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    // A last line that is not whole was not said.
    let whole = rest.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().rev().find_map(generation).or(said).unwrap()
}

#[test]
fn what_was_acknowledged_is_there_after_two_hundred_kills() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("state");
    let mut model = open(&place).basis().clone();
    let mut draw = 1_u64;
    let mut unsaid = 0;
    for kill in 0..KILLS {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let said = killed_after(&place, (draw >> 33) % 20_000);
        let store = open(&place);
        let stored = store.basis().generation;
        assert!(
            said == stored || said + 1 == stored,
            "kill {kill}: {said} was acknowledged, {stored} is there"
        );
        unsaid += u64::from(said < stored);
        while model.generation < stored {
            model = follow(&model);
        }
        assert_eq!(store.basis().documents, model.documents, "kill {kill}: generation {stored} is not whole");
        assert_eq!(store.basis().settled, model.settled, "kill {kill}");
    }
    println!("{} generations, {unsaid} of them stored and not acknowledged", model.generation);
}
