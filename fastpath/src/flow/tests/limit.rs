//! What happens at the limits.

use super::*;
use crate::flow::FlowTable;

/// Fills a table with flows 0.. until it is full. Returns those that are in.
fn fill(worker: &mut FlowWorker, capacity: u32, now: Tick) -> Vec<u32> {
    let learned: Vec<u32> = (0..2 * capacity).filter(|&n| learn(worker, n, 1, now).is_ok()).collect();
    assert_eq!(learned.len(), capacity as usize);
    learned
}

#[test]
fn a_full_table_keeps_its_flows_refuses_new_ones_and_has_room_after_expiry() {
    const CAPACITY: u32 = 10_000;
    let (mut workers, mut reader) = FlowTable::new(CAPACITY as usize, 2).unwrap();
    let mut now = Nanos(0);
    second(&mut workers, &mut now, 10);
    let learned = fill(&mut workers[0], CAPACITY, now.tick());
    assert_eq!((reader.len(), reader.capacity()), (CAPACITY as usize, CAPACITY as usize));

    // New ones are refused by every worker, and by that nothing is lost.
    for worker in &mut workers {
        assert_eq!(learn(worker, 1 << 23, 1, now.tick()), Err(NotLearned::Full));
    }
    for _ in 0..20 {
        assert_eq!(second(&mut workers, &mut now, 1000), 0);
        for &n in &learned {
            let (id, found) = get(&workers[1], n).expect("an established flow stays");
            assert_eq!(found, program(n, 1));
            workers[1].touch(id, 100, now.tick(), TcpSeen::default());
        }
    }
    assert!(all(&mut reader).values().all(|view| (view.packets, view.bytes) == (20, 2000)));

    // Those that fall silent go, and the others have their room.
    let (silent, busy) = learned.split_at(4000);
    let mut expired = 0;
    for _ in 0..12 {
        for &n in busy {
            let (id, _) = get(&workers[0], n).unwrap();
            workers[0].touch(id, 100, now.tick(), TcpSeen::default());
        }
        expired += second(&mut workers, &mut now, 1000);
    }
    assert_eq!(expired, silent.len());
    assert_eq!(reader.len(), busy.len());
    assert!(silent.iter().all(|&n| get(&workers[1], n).is_none()));
    let mut fresh = 0;
    for n in (1 << 22..1 << 23).take(5000) {
        match learn(&mut workers[1], n, 2, now.tick()) {
            Ok(_) => fresh += 1,
            // Worker 0 has the last ones, until it sees that the pool is empty.
            Err(_) => {
                now.0 += 1 << 20;
                workers.iter_mut().for_each(|worker| _ = worker.quiescent(now, &IDLE));
            }
        }
    }
    assert_eq!(fresh, silent.len(), "worker 1 gets what expired on both");
    assert_eq!(all(&mut reader).len(), CAPACITY as usize);
}

#[test]
fn programs_are_replaced_in_a_full_table() {
    const CAPACITY: u32 = 1000;
    let (mut workers, mut reader) = FlowTable::new(CAPACITY as usize, 1).unwrap();
    let mut now = Nanos(0);
    second(&mut workers, &mut now, 10);
    let worker = &mut workers[0];
    let learned = fill(worker, CAPACITY, now.tick());
    for burst in learned.chunks(32) {
        for &n in burst {
            let (id, _) = get(worker, n).unwrap();
            worker.touch(id, 60, now.tick(), TcpSeen::default());
            let new = relearn(worker, n, 2, now.tick()).expect("the reserve lasts for a burst");
            assert_ne!(new, id);
            assert_eq!(get(worker, n), Some((new, program(n, 2))));
        }
        worker.quiescent(now, &IDLE);
    }
    assert_eq!(reader.len(), CAPACITY as usize);
    let views = all(&mut reader);
    assert_eq!(views.len(), CAPACITY as usize);
    assert!(views.values().all(|view| view.program.generation == 2 && view.packets == 1));
    assert_eq!(learn(worker, 1 << 23, 2, now.tick()), Err(NotLearned::Full));
}

#[test]
fn a_reader_that_is_not_quiescent_stops_replacement_and_loses_nothing() {
    let (mut workers, _reader) = FlowTable::new(5000, 2).unwrap();
    let mut now = Nanos(0);
    second(&mut workers, &mut now, 10);
    learn(&mut workers[0], 7, 0, now.tick()).unwrap();
    let (held, held_program) = get(&workers[1], 7).unwrap();
    let mut generation = 0;
    let refused = loop {
        if let Err(refused) = relearn(&mut workers[0], 7, generation + 1, now.tick()) {
            break refused;
        }
        generation += 1;
        workers[0].quiescent(now, &IDLE);
        assert!(generation < 5000, "worker 1 still reads the first record");
    };
    assert_eq!(refused, NotLearned::Busy);
    // What worker 1 holds was not given to another flow.
    for n in 100..1100 {
        learn(&mut workers[0], n, 1, now.tick()).unwrap();
        assert_ne!(get(&workers[0], n).unwrap().0, held);
    }
    assert_eq!(workers[1].get(&key(7), workers[1].hash(&key(7)), Some(held)), Some((held, held_program)));
    assert_eq!(get(&workers[0], 7).unwrap().1, program(7, generation));
    // After its quiescent state all goes on.
    workers[1].quiescent(now, &IDLE);
    workers[0].quiescent(now, &IDLE);
    relearn(&mut workers[0], 7, generation + 1, now.tick()).unwrap();
}

#[test]
fn workers_that_never_started_or_are_gone_hold_nobody_up() {
    let (mut workers, _reader) = FlowTable::new(100, 3).unwrap();
    let mut now = Nanos(0);
    let mut gone = workers.pop().unwrap();
    gone.quiescent(now, &IDLE);
    drop(gone);
    learn(&mut workers[0], 1, 0, now.tick()).unwrap();
    let mut generation = 0;
    while generation < 5000 {
        generation += 1;
        relearn(&mut workers[0], 1, generation, now.tick()).unwrap();
        now.0 += 1;
        workers[0].quiescent(now, &IDLE);
    }
}

#[test]
fn nearly_all_keys_find_a_slot_at_the_highest_load() {
    // 3/8: the capacity is three times a power of two.
    const CAPACITY: u32 = 3 << 14;
    let (mut workers, _reader) =
        FlowTable::with_key(CAPACITY as usize, 1, crate::flow::hash::HashKey([1, 2, 3, 4])).unwrap();
    let refused = (0..CAPACITY).filter(|&n| learn(&mut workers[0], n, 1, Tick(0)).is_err()).count();
    assert!(refused <= 8, "{refused} of {CAPACITY}");
}

#[test]
fn a_flow_costs_at_most_128_bytes() {
    for capacity in [100_000, 3 << 17, (3 << 17) + 1, 1_000_000] {
        let (_workers, reader) = FlowTable::new(capacity, 2).unwrap();
        assert!(reader.bytes_per_flow() <= 128, "{capacity}: {}", reader.bytes_per_flow());
    }
}

#[test]
fn too_large_a_table_is_an_error() {
    let error = FlowTable::new(FlowTable::MAX_CAPACITY + 1, 1).unwrap_err();
    assert_eq!(error.to_string(), "268435457 flows are too many; give 268435456 or fewer");
}

#[test]
fn a_table_for_no_flows_refuses_all() {
    let (mut workers, reader) = FlowTable::new(0, 1).unwrap();
    assert_eq!(learn(&mut workers[0], 1, 1, Tick(0)), Err(NotLearned::Full));
    assert!(reader.is_empty());
}
