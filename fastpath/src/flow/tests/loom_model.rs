//! All interleavings (with a bounded number of preemptions) of the few steps that matter, under the C11 memory model:
//! `make test-loom`.

use loom::{cell::UnsafeCell, sync::Arc, thread};

use super::*;
use crate::flow::{
    FlowTable,
    hash::HashKey,
    reclaim::Grace,
    sync::{AtomicU32, Ordering},
};

/// Longer than [`IDLE`], so that the sweep of the next quiescent state removes what nobody touched.
const LATE: Nanos = Nanos(3_600_000_000_000);

/// Two workers of a table that is so small that worker 0 sweeps all of it, and a freed record is the next one to be taken.
fn table() -> (FlowWorker, FlowWorker, FlowReader) {
    let (mut workers, reader) = FlowTable::with_key(2, 2, HashKey([1, 2, 3, 4])).unwrap();
    let second = workers.pop().unwrap();
    (workers.pop().unwrap(), second, reader)
}

fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 10_000;
    builder.preemption_bound = builder.preemption_bound.or(Some(6));
    builder.check(check);
}

/// Removes what is idle, waits no longer than it must, and uses the record again for flow 2.
fn expire_and_reuse(worker: &mut FlowWorker) {
    worker.quiescent(LATE, &IDLE);
    worker.quiescent(LATE, &IDLE);
    _ = learn(worker, 2, 1, LATE.tick());
}

/// What a worker does with a packet of flow `n`: it may find the flow or not, but never another one's program, and what it
/// holds stays as it is until its next quiescent state.
fn use_flow(worker: &FlowWorker, n: u32) {
    let key = key(n);
    let hash = worker.hash(&key);
    if let Some((id, found)) = worker.get(&key, hash, worker.probe(hash)) {
        assert!(is_program_of(n, found), "{found:?}");
        thread::yield_now();
        assert_eq!(worker.get(&key, hash, Some(id)), Some((id, found)), "a held record was used again");
    }
}

#[test]
fn two_workers_that_learn_one_flow_make_one_entry() {
    model(|| {
        let (mut a, mut b, mut reader) = table();
        let other = thread::spawn(move || {
            let learned = learn(&mut b, 1, 2, Tick(0));
            (b, learned)
        });
        let mine = learn(&mut a, 1, 1, Tick(0));
        let (b, theirs) = other.join().unwrap();
        let views = all(&mut reader);
        assert_eq!((views.len(), reader.len()), (1, 1));
        let stored = get(&a, 1).unwrap().0;
        assert_eq!(get(&b, 1).unwrap().0, stored);
        for learned in [mine, theirs] {
            assert!([Ok(stored), Err(NotLearned::Busy)].contains(&learned), "{learned:?}");
        }
        assert!(mine.is_ok() || theirs.is_ok());
    });
}

#[test]
fn two_workers_that_learn_two_flows_of_one_bucket_keep_both() {
    model(|| {
        let (mut a, mut b, mut reader) = table();
        let of_one_home = (1..).filter(|&n| a.hash(&key(n)).0 & 1 == 0);
        let flows: Vec<u32> = of_one_home.take(2).collect();
        let theirs = flows[1];
        let other = thread::spawn(move || learn(&mut b, theirs, 2, Tick(0)).is_ok());
        let mine = learn(&mut a, flows[0], 1, Tick(0)).is_ok();
        let learned = [mine, other.join().unwrap()];
        assert!(learned.contains(&true));
        assert_eq!(flows.iter().map(|&n| get(&a, n).is_some()).collect::<Vec<_>>(), learned);
        assert_eq!(all(&mut reader).len(), reader.len());
    });
}

#[test]
fn a_lookup_never_meets_a_record_that_was_used_again() {
    model(|| {
        let (mut a, mut b, _reader) = table();
        learn(&mut a, 1, 1, Tick(0)).unwrap();
        let other = thread::spawn(move || {
            // Comes online while the other one may be reclaiming.
            b.quiescent(Nanos(0), &IDLE);
            use_flow(&b, 1);
            b.quiescent(Nanos(0), &IDLE);
            use_flow(&b, 1);
            use_flow(&b, 2);
        });
        expire_and_reuse(&mut a);
        other.join().unwrap();
    });
}

#[test]
fn a_record_is_not_used_again_before_the_worker_that_reads_is_quiescent() {
    model(|| {
        let (mut a, mut b, _reader) = table();
        learn(&mut a, 1, 1, Tick(0)).unwrap();
        b.quiescent(Nanos(0), &IDLE);
        let other = thread::spawn(move || {
            use_flow(&b, 1);
            b.offline();
            b.quiescent(Nanos(0), &IDLE);
            use_flow(&b, 1);
        });
        expire_and_reuse(&mut a);
        other.join().unwrap();
    });
}

#[test]
fn a_replaced_program_is_seen_old_or_new_and_the_flow_never_missing() {
    model(|| {
        let (mut a, mut b, _reader) = table();
        learn(&mut a, 1, 1, Tick(0)).unwrap();
        let other = thread::spawn(move || {
            b.quiescent(Nanos(0), &IDLE);
            let (_, found) = get(&b, 1).expect("the flow is there all the time");
            assert!(is_program_of(1, found));
        });
        relearn(&mut a, 1, 2, Tick(0)).unwrap();
        a.quiescent(Nanos(0), &IDLE);
        a.quiescent(Nanos(0), &IDLE);
        _ = relearn(&mut a, 1, 3, Tick(0));
        other.join().unwrap();
    });
}

#[test]
fn two_workers_that_replace_one_program_leave_one_entry() {
    model(|| {
        let (mut a, mut b, mut reader) = table();
        learn(&mut a, 1, 1, Tick(0)).unwrap();
        let other = thread::spawn(move || {
            _ = relearn(&mut b, 1, 3, Tick(0));
            b.quiescent(Nanos(0), &IDLE);
            b.quiescent(Nanos(0), &IDLE);
            b
        });
        _ = relearn(&mut a, 1, 2, Tick(0));
        a.quiescent(Nanos(0), &IDLE);
        let b = other.join().unwrap();
        assert_eq!((all(&mut reader).len(), reader.len()), (1, 1));
        // Each record is in one place.
        let mut records = [a.idle_records(), b.idle_records(), vec![get(&a, 1).unwrap().0]].concat();
        let held = records.len();
        records.sort_unstable_by_key(|id| id.0);
        records.dedup();
        assert_eq!(records.len(), held, "a record was retired twice");
        assert!(is_program_of(1, get(&b, 1).unwrap().1));
    });
}

#[test]
fn expiry_and_learning_of_one_flow_leave_one_entry_or_none() {
    model(|| {
        let (mut a, mut b, mut reader) = table();
        learn(&mut a, 1, 1, Tick(0)).unwrap();
        let other = thread::spawn(move || {
            _ = learn(&mut b, 1, 2, LATE.tick());
            b
        });
        a.quiescent(LATE, &IDLE);
        let b = other.join().unwrap();
        let views = all(&mut reader);
        assert_eq!(views.len(), reader.len());
        assert_eq!(get(&b, 1).is_some(), views.len() == 1);
    });
}

#[test]
fn control_sees_whole_entries_only() {
    model(|| {
        let (mut a, _b, mut reader) = table();
        learn(&mut a, 1, 1, Tick(0)).unwrap();
        let control = thread::spawn(move || {
            reader.for_each(|view| {
                let n = u32::from(view.key.source()) & 0xff;
                assert_eq!(view.key, key(n));
                assert!(is_program_of(n, view.program));
                true
            });
        });
        expire_and_reuse(&mut a);
        control.join().unwrap();
    });
}

#[test]
fn an_entry_away_from_its_full_home_is_found_while_another_one_goes() {
    model(|| {
        let (mut workers, _reader) = FlowTable::with_key(10, 2, HashKey([1, 2, 3, 4])).unwrap();
        let (mut b, mut a) = (workers.pop().unwrap(), workers.pop().unwrap());
        // All of one home of the table's four: eight fill it, two go to their alternate.
        let of_one_home = (1..).filter(|&n| a.hash(&key(n)).0 & 3 == 0);
        let flows: Vec<u32> = of_one_home.take(10).collect();
        for &n in &flows[..9] {
            learn(&mut a, n, 1, LATE.tick()).unwrap();
        }
        learn(&mut a, flows[9], 1, Tick(0)).unwrap();
        let (stays, goes) = (flows[8], flows[9]);
        let other = thread::spawn(move || {
            b.quiescent(Nanos(0), &IDLE);
            let (_, found) = get(&b, stays).expect("it is there all the time");
            assert!(is_program_of(stays, found));
            use_flow(&b, goes);
        });
        assert_eq!(a.quiescent(LATE, &IDLE), 1);
        a.quiescent(LATE, &IDLE);
        _ = learn(&mut a, flows[9] + 1, 1, LATE.tick());
        other.join().unwrap();
    });
}

/// What a reader finds through `link` may be written again only after the grace period.
#[derive(Debug)]
struct Linked {
    link: AtomicU32,
    /// loom reports a read and a write of it that are not ordered.
    record: UnsafeCell<()>,
}

#[expect(unsafe_code, reason = "loom's cell, whose accesses loom checks, has to be shared")]
// SAFETY: nothing is read or written through the cell; loom only notes when that would happen.
unsafe impl Sync for Linked {}

impl Linked {
    fn read(&self) {
        if self.link.load(Ordering::Acquire) != 0 {
            self.record.with(|_| ());
        }
    }
}

fn grace_model(reader: impl Fn(&Grace, &Linked) + Copy + Sync + Send + 'static) {
    model(move || {
        let grace = Arc::new(Grace::new(2));
        let linked = Arc::new(Linked { link: AtomicU32::new(1), record: UnsafeCell::new(()) });
        let other = thread::spawn({
            let (grace, linked) = (Arc::clone(&grace), Arc::clone(&linked));
            move || reader(&grace, &linked)
        });
        linked.link.store(0, Ordering::Relaxed);
        let token = grace.draw();
        for _ in 0..2 {
            if grace.passed() >= token {
                linked.record.with_mut(|_| ());
                break;
            }
            thread::yield_now();
        }
        other.join().unwrap();
    });
}

#[test]
fn what_is_read_between_quiescent_states_is_not_written() {
    grace_model(|grace, linked| {
        grace.online(0);
        linked.read();
        grace.quiescent(0);
        linked.read();
        grace.quiescent(0);
    });
}

#[test]
fn what_is_read_before_going_offline_is_not_written() {
    grace_model(|grace, linked| {
        grace.online(0);
        linked.read();
        grace.offline(0);
        grace.online(0);
        linked.read();
        grace.offline(0);
    });
}
