//! What entries with a public address leave of their count when they end: all of it, once.

use super::*;
use crate::{
    flow::{Ended, FlowTable, PublicEnd, session::Service},
    table::nat::Amount,
    wire::translate::Side,
};

/// A VM's packets to the world, as this address of its own.
fn eip(address: [u8; 4], generation: u32) -> Program {
    let translation = Translation::new(Service::Eip, Side::Source, address.into(), 1);
    Program { generation, egress: NetId(9), translation, ..program(1, 1) }
}

fn worker() -> (FlowWorker, FlowReader) {
    let (workers, reader) = FlowTable::new(16, 1).unwrap();
    let [mut worker]: [FlowWorker; 1] = workers.try_into().unwrap();
    worker.quiescent(Nanos(0), &IDLE);
    (worker, reader)
}

fn count(worker: &FlowWorker, id: FlowId, packets: u64) {
    (0..packets).for_each(|_| worker.touch(id, 100, Tick(0), TcpSeen::NOTHING));
}

/// What is left after a round or two.
fn ended(worker: &mut FlowWorker) -> Vec<([u8; 4], u64, u64)> {
    let mut all = Vec::new();
    for _ in 0..2 {
        worker.quiescent(Nanos(0), &IDLE);
        all.extend(worker.take_ended().map(|Ended { end, amount: Amount { packets, bytes } }| {
            assert_eq!((end.net, end.side), (NetId(9), Side::Source));
            (end.address.octets(), packets, bytes)
        }));
    }
    all
}

const A: [u8; 4] = [203, 0, 113, 1];
const B: [u8; 4] = [203, 0, 113, 2];

#[test]
fn an_entry_leaves_its_count_once_and_a_plain_one_nothing() {
    let (mut worker, mut reader) = worker();
    let (one, hash) = (key(1), worker.hash(&key(1)));
    let id = worker.learn(&one, hash, eip(A, 1), Tick(0)).unwrap();
    count(&worker, id, 3);
    let plain = learn(&mut worker, 2, 1, Tick(0)).unwrap();
    count(&worker, plain, 5);
    assert_eq!(ended(&mut worker), []);
    assert_eq!((worker.forget(&one), worker.forget(&key(2))), (Ok(true), Ok(true)));
    // Whoever had found it before may count on it still.
    count(&worker, id, 1);
    assert_eq!(ended(&mut worker), [(A, 4, 400)]);
    assert_eq!(ended(&mut worker), []);
    assert!(all(&mut reader).is_empty());
}

#[test]
fn a_new_decision_carries_the_count_on_and_what_came_late_is_not_lost() {
    let (mut worker, mut reader) = worker();
    let (one, hash) = (key(1), worker.hash(&key(1)));
    let old = worker.learn(&one, hash, eip(A, 1), Tick(0)).unwrap();
    count(&worker, old, 3);
    let new = worker.relearn(&one, hash, eip(A, 2), Tick(0)).unwrap();
    count(&worker, old, 2);
    count(&worker, new, 1);
    assert_eq!(ended(&mut worker), [(A, 2, 200)], "3 are carried on");
    assert_eq!(all(&mut reader).values().map(|view| view.packets).collect::<Vec<_>>(), [4]);
    worker.forget(&one).unwrap();
    assert_eq!(ended(&mut worker), [(A, 4, 400)]);
}

#[test]
fn another_address_begins_at_nothing() {
    let (mut worker, mut reader) = worker();
    let (one, hash) = (key(1), worker.hash(&key(1)));
    let old = worker.learn(&one, hash, eip(A, 1), Tick(0)).unwrap();
    count(&worker, old, 3);
    let new = worker.relearn(&one, hash, eip(B, 2), Tick(0)).unwrap();
    assert_eq!(ended(&mut worker), [(A, 3, 300)]);
    count(&worker, new, 1);
    assert_eq!(all(&mut reader).values().map(|view| view.packets).collect::<Vec<_>>(), [1]);
    worker.forget(&one).unwrap();
    assert_eq!(ended(&mut worker), [(B, 1, 100)]);
}

#[test]
fn the_address_is_what_packets_come_to_or_leave_by() {
    let (vm, remote) = (Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(9, 9, 9, 9));
    let key = FlowKey::new(NetId(4), remote, A.into(), 6, 50_000, 80, false);
    let of = |service, side, address: Ipv4Addr| {
        let translation = Translation::new(service, side, address, 80);
        PublicEnd::of(&key, &Program { translation, ..program(9, 1) })
            .map(|end| (end.net, end.address.octets()))
    };
    for service in [Service::Eip, Service::Snat, Service::Forward, Service::Balanced, Service::FullNat] {
        assert_eq!(of(service, Side::Destination, vm), Some((NetId(4), A)));
        assert_eq!(of(service, Side::Source, B.into()), Some((NetId(9), B)));
    }
    for service in [Service::Masked, Service::Fragment] {
        assert_eq!(of(service, Side::Source, vm), None);
    }
    assert_eq!(PublicEnd::of(&key, &program(9, 1)), None);
}
