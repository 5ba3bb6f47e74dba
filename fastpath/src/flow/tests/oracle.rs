//! The table against a plain map, under any sequence of operations.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::flow::{FlowTable, FlowWalk, hash::HashKey};

#[derive(Clone, Debug)]
enum Op {
    Learn { flow: u32, generation: u32 },
    Packet { flow: u32, bytes: u16 },
    Relearn { flow: u32, generation: u32 },
    Quiescent { pass_ms: u64 },
}

/// One operation of one of two workers.
fn op() -> impl Strategy<Value = (usize, Op)> {
    let flow = || 0u32..60;
    let kind = prop_oneof![
        4 => (flow(), 0u32..3).prop_map(|(flow, generation)| Op::Learn { flow, generation }),
        4 => (flow(), 20u16..1500).prop_map(|(flow, bytes)| Op::Packet { flow, bytes }),
        2 => (flow(), 0u32..3).prop_map(|(flow, generation)| Op::Relearn { flow, generation }),
        3 => prop_oneof![Just(0u64), 1u64..50, 1000u64..4000].prop_map(|pass_ms| Op::Quiescent { pass_ms }),
    ];
    (0usize..2, kind)
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    generation: u32,
    packets: u64,
    bytes: u64,
    last_seen: Tick,
}

struct Case {
    workers: Vec<FlowWorker>,
    reader: FlowReader,
    model: HashMap<u32, Entry>,
    now: Nanos,
    capacity: usize,
}

impl Case {
    fn run(&mut self, worker: usize, op: Op) {
        let worker = worker % self.workers.len();
        let tick = self.now.tick();
        match op {
            Op::Learn { flow, generation } => {
                let learned = learn(&mut self.workers[worker], flow, generation, tick);
                self.check_refusal(worker, flow, learned);
                if learned.is_ok() {
                    let fresh = Entry { generation, packets: 0, bytes: 0, last_seen: tick };
                    self.model.entry(flow).or_insert(fresh);
                }
            }
            Op::Packet { flow, bytes } => {
                let found = get(&self.workers[worker], flow);
                let entry = self.model.get_mut(&flow);
                assert_eq!(found.map(|(_, p)| p), entry.as_ref().map(|e| program(flow, e.generation)));
                if let (Some((id, _)), Some(entry)) = (found, entry) {
                    self.workers[worker].touch(id, usize::from(bytes), tick, TcpSeen::default());
                    entry.packets += 1;
                    entry.bytes += u64::from(bytes);
                    entry.last_seen = tick;
                }
            }
            Op::Relearn { flow, generation } => {
                if get(&self.workers[worker], flow).is_none() {
                    return;
                }
                let learned = relearn(&mut self.workers[worker], flow, generation, tick);
                let entry = self.model.get_mut(&flow).expect("found means known");
                // Refused only while its reserve waits for the other worker.
                if learned.is_ok() && entry.generation != generation {
                    *entry = Entry { generation, last_seen: tick, ..*entry };
                }
            }
            Op::Quiescent { pass_ms } => {
                self.now.0 += pass_ms * 1_000_000;
                let expired = self.workers[worker].quiescent(self.now, &IDLE);
                self.check_expired(expired);
            }
        }
        assert_eq!(self.reader.len(), self.model.len());
    }

    fn check_refusal(&self, worker: usize, flow: u32, learned: Result<FlowId, NotLearned>) {
        match learned {
            Err(NotLearned::Busy) => panic!("nobody else is at work"),
            Err(NotLearned::Full) => {
                assert!(!self.model.contains_key(&flow), "a known flow is never refused");
            }
            Ok(id) => {
                assert!(self.model.contains_key(&flow) || self.model.len() < self.capacity);
                assert_eq!(get(&self.workers[worker], flow).map(|(id, _)| id), Some(id));
            }
        }
    }

    /// Takes out of the model what went from the table: only idle ones, and as many as was said.
    fn check_expired(&mut self, expired: usize) {
        let present = all(&mut self.reader);
        let before = self.model.len();
        let tick = self.now.tick();
        self.model.retain(|&flow, entry| {
            let idle = tick.age_since(entry.last_seen) > IDLE.idle;
            let stays = present.contains_key(&key(flow).to_words());
            assert!(stays || idle, "flow {flow} went without being idle");
            stays
        });
        assert_eq!(before - self.model.len(), expired);
        assert_eq!(present.len(), self.model.len(), "nothing is there that was not learned");
        for (&flow, entry) in &self.model {
            let view = present[&key(flow).to_words()];
            assert_eq!(view.program, program(flow, entry.generation));
            assert_eq!(
                (view.packets, view.bytes, view.last_seen),
                (entry.packets, entry.bytes, entry.last_seen)
            );
        }
        self.check_other_ways_to_read(&present);
    }

    /// A walk in steps sees what a walk in one go sees, and so does a lookup.
    fn check_other_ways_to_read(&mut self, present: &BTreeMap<[u64; 2], FlowView>) {
        let (mut walk, mut seen) = (FlowWalk::default(), Vec::new());
        while self.reader.step(&mut walk, 1, |view| seen.push(view.key.to_words())) {}
        seen.sort_unstable();
        assert!(seen.iter().eq(present.keys()));
        for flow in 0..60 {
            let found = self.reader.find(&key(flow)).map(|view| (view.key, view.program));
            assert_eq!(found, present.get(&key(flow).to_words()).map(|view| (view.key, view.program)));
        }
    }

    /// After silence all is gone, and each worker alone can fill the table: no record got lost.
    fn check_nothing_is_lost(&mut self) {
        for round in 0..self.workers.len() {
            let expired: usize = (0..15).map(|_| second(&mut self.workers, &mut self.now, 10)).sum();
            self.check_expired(expired);
            assert!(self.model.is_empty(), "{:?} should have expired", self.model);
            let mut flows = 1000..;
            let tick = self.now.tick();
            let mut refused = 0;
            while self.model.len() < self.capacity && refused < 100 {
                let flow = flows.next().expect("endless");
                match learn(&mut self.workers[round], flow, 0, tick) {
                    Ok(_) => {
                        let fresh = Entry { generation: 0, packets: 0, bytes: 0, last_seen: tick };
                        self.model.insert(flow, fresh);
                    }
                    // The other worker may have free records; it gives them up within a tick of seeing the pool empty.
                    Err(_) => {
                        refused += 1;
                        self.now.0 += 1 << 20;
                        self.workers.iter_mut().for_each(|worker| _ = worker.quiescent(self.now, &IDLE));
                    }
                }
            }
            assert_eq!(self.model.len(), self.capacity);
            assert_eq!(learn(&mut self.workers[round], 999, 0, tick), Err(NotLearned::Full));
        }
    }
}

proptest! {
    #[test]
    fn the_table_is_a_map_with_a_limit(
        // So small that full tables, full buckets and alternates are common.
        capacity in prop::sample::select(vec![1usize, 2, 6, 24, 48]),
        workers in 1usize..=2,
        seed: u64,
        ops in prop::collection::vec(op(), 1..300),
    ) {
        let (workers, reader) = FlowTable::with_key(capacity, workers, HashKey([seed, 1, 2, 3])).unwrap();
        let mut case = Case { workers, reader, model: HashMap::new(), now: Nanos(0), capacity };
        case.workers.iter_mut().for_each(|worker| assert_eq!(worker.quiescent(Nanos(0), &IDLE), 0));
        for (worker, op) in ops {
            case.run(worker, op);
        }
        case.check_nothing_is_lost();
    }
}
