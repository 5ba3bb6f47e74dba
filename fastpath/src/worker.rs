//! The poll loop, written once: receive, process, retry, inject, send, and nothing else. No system call, lock or allocation;
//! only an idle worker that is told to may sleep.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    channel::Rings,
    counter::{BURST_CLASSES, Counters},
    flow::FlowWorker,
    io::{Burst, Io},
    nat::Nat,
    pipeline::{Engine, Round, Settings},
    table::{Tables, neighbour::NeighbourTable, publish::Reader},
    types::WorkerId,
};

/// What a worker does while nothing arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Polls on: lowest latency, one core always busy.
    #[default]
    Spin,
    /// Sleeps for short times after many empty rounds: for laboratories and shared machines.
    Sleep,
}

/// Empty rounds before an idle worker sleeps.
const EMPTY_ROUNDS: u32 = 256;
/// How long it sleeps.
const SLEEP: Duration = Duration::from_micros(50);

/// Everything a worker is made of, but its ports.
#[derive(Debug)]
pub struct Parts {
    /// Which worker.
    pub id: WorkerId,
    /// The published configuration.
    pub tables: Reader<Tables>,
    /// The neighbours.
    pub neighbours: Arc<NeighbourTable>,
    /// Its hold on the flow table.
    pub flows: FlowWorker,
    /// Port translation.
    pub nat: Arc<Nat>,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// Its rings to control.
    pub rings: Rings,
    /// What it is allowed to do.
    pub settings: Settings,
}

/// A worker: one engine and its ports. Wherever it is, it has its cache lines for itself.
#[derive(Debug)]
#[repr(align(128))]
pub struct Worker<I: Io> {
    tables: Reader<Tables>,
    engine: Engine<I::Buffer>,
    counters: Arc<Counters>,
    burst: Burst<I::Buffer>,
    io: I,
}

impl<I: Io> Worker<I> {
    /// A worker that has not yet polled.
    pub fn new(parts: Parts, io: I) -> Worker<I> {
        let Parts { id, tables, neighbours, flows, nat, counters, rings, settings } = parts;
        let engine = Engine::new(id, neighbours, flows, nat, counters.clone(), rings, settings);
        Worker { tables, engine, counters, burst: Burst::new(), io }
    }

    /// Its ports, for tests and tools that feed them.
    pub fn io(&mut self) -> &mut I {
        &mut self.io
    }

    /// One round over all queues. Returns how many frames came in, injected ones included.
    #[inline]
    pub fn poll(&mut self) -> usize {
        let before = self.io.cycles();
        let now = self.io.now();
        let tables = self.tables.load();
        let mut round = Round { tables, io: &mut self.io, now };
        let mut frames = 0;
        for queue in 0..round.io.queues() {
            let port = round.io.rx(queue, &mut self.burst);
            let received = self.burst.len();
            self.counters.poll.bursts[burst_class(received)].add(1);
            if received > 0 {
                frames += received;
                self.engine.process(&mut round, port, &mut self.burst);
            }
        }
        self.engine.retry(&mut round);
        frames += self.engine.inject(&mut round);
        self.engine.finish(&mut round);
        let spent = self.io.cycles().wrapping_sub(before);
        let poll = &self.counters.poll;
        if frames > 0 {
            poll.busy_cycles.add(spent)
        } else {
            poll.idle_cycles.add(spent)
        }
        frames
    }

    /// Polls until `stop`, then drops what waits and returns the ports.
    pub fn run(mut self, stop: &AtomicBool, idle: Idle) -> I {
        let mut empty = 0u32;
        while !stop.load(Relaxed) {
            if self.poll() > 0 {
                empty = 0;
                continue;
            }
            empty = empty.saturating_add(1);
            if idle == Idle::Sleep && empty > EMPTY_ROUNDS {
                self.counters.poll.sleeps.add(1);
                std::thread::sleep(SLEEP);
            } else {
                std::hint::spin_loop();
            }
        }
        self.engine.stop();
        self.io
    }
}

/// 0, 1, 2-3, 4-7, 8-15, 16-31, 32.
const fn burst_class(frames: usize) -> usize {
    let class = (usize::BITS - frames.leading_zeros()) as usize;
    if class < BURST_CLASSES { class } else { BURST_CLASSES - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_sizes_fall_into_their_classes() {
        let sizes = [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32];
        assert_eq!(sizes.map(burst_class), [0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]);
    }
}
