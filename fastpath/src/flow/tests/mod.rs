//! Tests of the whole table.

#[cfg(not(loom))]
mod ended;
#[cfg(not(loom))]
mod limit;
#[cfg(loom)]
mod loom_model;
#[cfg(not(loom))]
mod oracle;
#[cfg(not(loom))]
mod stress;
#[cfg(not(loom))]
mod survive;

use std::{collections::BTreeMap, net::Ipv4Addr};

#[cfg(not(loom))]
use super::session::TcpSeen;
use super::{
    FlowId, FlowKey, FlowReader, FlowTimeouts, FlowView, FlowWorker, NotLearned, Program,
    session::Translation,
};
use crate::{
    policer::Policers,
    table::neighbour::NeighbourId,
    types::{Nanos, NetId, Tick, VrfId},
};

/// A key and a program that follow from a number, so that a wrong pairing shows.
fn key(n: u32) -> FlowKey {
    let source = Ipv4Addr::from_bits(0x0a00_0000 | n);
    FlowKey::new(NetId(1), source, Ipv4Addr::new(192, 0, 2, 1), 17, (n >> 8) as u16, n as u16, false)
}

fn program(n: u32, generation: u32) -> Program {
    Program {
        generation,
        egress: NetId(n as u16),
        next: NeighbourId::from_u32(n ^ generation),
        from_vtep: Ipv4Addr::from_bits(!n),
        translation: Translation::NONE,
        inside: VrfId(n as u16),
        policers: Policers::from_bits(n.rotate_left(7) as u16),
    }
}

/// The three steps of a lookup.
fn get(worker: &FlowWorker, n: u32) -> Option<(FlowId, Program)> {
    let key = key(n);
    let hash = worker.hash(&key);
    worker.prefetch(hash);
    worker.get(&key, hash, worker.probe(hash))
}

fn learn(worker: &mut FlowWorker, n: u32, generation: u32, now: Tick) -> Result<FlowId, NotLearned> {
    let key = key(n);
    worker.learn(&key, worker.hash(&key), program(n, generation), now)
}

fn relearn(worker: &mut FlowWorker, n: u32, generation: u32, now: Tick) -> Result<FlowId, NotLearned> {
    let key = key(n);
    worker.relearn(&key, worker.hash(&key), program(n, generation), now)
}

/// What was learned for flow `n`, whatever its generation.
fn is_program_of(n: u32, found: Program) -> bool {
    found == program(n, found.generation)
}

/// Everything that control sees; panics where a key is seen twice.
fn all(reader: &mut FlowReader) -> BTreeMap<[u64; 2], FlowView> {
    let mut views = BTreeMap::new();
    reader.for_each(|view| {
        assert!(views.insert(view.key.to_words(), view).is_none(), "{:?} is there twice", view.key);
        true
    });
    views
}

/// Idle time in the tests.
const IDLE: FlowTimeouts = FlowTimeouts::recommended(10);

/// A second of housekeeping, in steps as small as a large table needs. Returns how many entries expired.
#[cfg(not(loom))]
fn second(workers: &mut [FlowWorker], now: &mut Nanos, steps: u64) -> usize {
    let mut expired = 0;
    for _ in 0..steps {
        now.0 += 1_000_000_000 / steps;
        expired += workers.iter_mut().map(|worker| worker.quiescent(*now, &IDLE)).sum::<usize>();
    }
    expired
}
