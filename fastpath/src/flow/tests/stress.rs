//! Real threads on a small table, a bounded number of rounds.

use std::thread;

use super::*;
use crate::flow::FlowTable;

const ROUNDS: u32 = 20_000;
const BURST: u32 = 16;
/// More than fit, so that the table is full, flows collide and records change hands all the time.
const FLOWS: u32 = 300;
const CAPACITY: usize = 128;

/// A worker's life: look flows up, learn or replace them, hold what was found to the end of the burst.
fn work(mut worker: FlowWorker, seed: u32) -> FlowWorker {
    let mut random = u64::from(seed) | 1;
    let mut held = Vec::new();
    for round in 0..ROUNDS {
        // Ten seconds are over in a few rounds: what is not touched at once expires.
        let now = Nanos(u64::from(round) * 2_000_000_000);
        worker.quiescent(now, &IDLE);
        for _ in 0..BURST {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let n = (random >> 33) as u32 % FLOWS;
            match get(&worker, n) {
                Some((id, found)) => {
                    assert!(is_program_of(n, found), "{n}: {found:?}");
                    worker.touch(id, 60, now.tick(), TcpSeen::default());
                    held.push((n, id, found));
                    if random >> 60 == 0 {
                        _ = relearn(&mut worker, n, round, now.tick());
                    }
                }
                None => _ = learn(&mut worker, n, round, now.tick()),
            }
        }
        for (n, id, found) in held.drain(..) {
            let key = key(n);
            let again = worker.get(&key, worker.hash(&key), Some(id));
            assert_eq!(again, Some((id, found)), "a held record was used again");
        }
    }
    worker
}

#[test]
fn workers_and_control_on_one_table() {
    let (workers, mut reader) = FlowTable::new(CAPACITY, 3).unwrap();
    let threads: Vec<_> = workers
        .into_iter()
        .zip(1..)
        .map(|(worker, seed)| thread::spawn(move || work(worker, seed)))
        .collect();
    while !threads.iter().all(thread::JoinHandle::is_finished) {
        reader.for_each(|view| {
            let n = u32::from(view.key.source()) & 0xffff;
            assert_eq!(view.key, key(n));
            assert!(is_program_of(n, view.program), "{view:?}");
            true
        });
    }
    let mut workers: Vec<FlowWorker> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();

    // Afterwards nothing is lost: what control sees is what is counted, and all of it expires and can be used again.
    let entries = all(&mut reader).len();
    assert_eq!(entries, reader.len());
    let mut now = Nanos(u64::from(ROUNDS) * 2_000_000_000);
    let expired: usize = (0..15).map(|_| second(&mut workers, &mut now, 50)).sum();
    assert_eq!((expired, reader.len()), (entries, 0));
    for worker in 0..workers.len() {
        let mut flows = 0..10_000;
        let mut learned = 0;
        while learned < CAPACITY {
            let n = flows.next().expect("each worker can fill the table");
            match learn(&mut workers[worker], n, 1, now.tick()) {
                Ok(_) => learned += 1,
                Err(_) => {
                    now.0 += 1 << 20;
                    workers.iter_mut().for_each(|worker| _ = worker.quiescent(now, &IDLE));
                }
            }
        }
        let expired: usize = (0..15).map(|_| second(&mut workers, &mut now, 50)).sum();
        assert_eq!(expired, CAPACITY);
    }
}
