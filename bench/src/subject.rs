//! One thing to be measured: a worker with its scenario, its traffic and its buffers.
//!
//! The worker polls a port that hands it one prepared burst and takes back what it sends. *Work* is the time from there to
//! the end of the poll: engine, counters, sending to the port, housekeeping of the flow table. Copying the frames into
//! fresh buffers before, and freeing them after, is in *total* only.

use std::{mem, sync::Arc};

use anyhow::{Context, Result, ensure};
use tidegate_fastpath::{
    buffer::Buffer,
    channel::Rings,
    counter::Counters,
    flow::{FlowReader, FlowTable},
    io::{Burst, Io},
    nat::Nat,
    pipeline::Settings,
    table::Tables,
    table::publish::{self, Writer},
    types::{Nanos, PortId, WorkerId},
    worker::{Parts, Worker},
};

use crate::{
    cycles,
    measurement::{Label, Length, Sample, Subject},
    pool::Pool,
    scenario::{Load, Scenario},
    traffic::Traffic,
};

/// Time between two frames: 10 million per second, so that housekeeping that is paced by time does its share.
const FRAME_NS: u64 = 100;
/// Fewer flows than this do not tell what a first packet costs.
const FIRST_MIN: usize = 10_000;
/// Frames of the second pass that are checked; the first pass checks all.
const CHECKED_AGAIN: usize = 100_000;
/// The smallest flow table.
const FLOWS_MIN: usize = 1 << 16;

/// The worker's port.
#[derive(Debug)]
struct ReplayIo<P: Pool> {
    pool: P,
    port: PortId,
    arriving: Burst<P::Buffer>,
    sent: Burst<P::Buffer>,
    sent_on: PortId,
    received_at: u64,
    now: Nanos,
}

impl<P: Pool> Io for ReplayIo<P> {
    type Buffer = P::Buffer;

    fn queues(&self) -> usize {
        1
    }

    #[inline(always)]
    fn rx(&mut self, _queue: usize, burst: &mut Burst<P::Buffer>) -> PortId {
        mem::swap(&mut self.arriving, burst);
        self.received_at = cycles::now();
        self.port
    }

    #[inline(always)]
    fn tx(&mut self, port: PortId, burst: &mut Burst<P::Buffer>) {
        // What does not fit stays in `burst`, counts as refused and fails the check that everything was sent.
        if self.sent.is_empty() {
            mem::swap(&mut self.sent, burst);
            self.sent_on = port;
        }
    }

    fn alloc(&mut self) -> Option<P::Buffer> {
        self.pool.alloc()
    }

    fn now(&mut self) -> Nanos {
        self.now
    }

    #[inline(always)]
    fn cycles(&self) -> u64 {
        cycles::now()
    }
}

/// A worker that replays a scenario's traffic.
pub struct Replay<P: Pool> {
    label: Label,
    scenario: Arc<dyn Scenario>,
    traffic: Traffic,
    worker: Worker<ReplayIo<P>>,
    counters: Arc<Counters>,
    burst: usize,
    at: usize,
    received: u64,
    sent: u64,
    /// Cycles of work of each flow's first packet, on average.
    first_cycles: Option<f64>,
    /// The worker reads what it publishes.
    _tables: Writer<Tables>,
    _flows: FlowReader,
}

impl<P: Pool> Replay<P> {
    /// A worker for `scenario` that gets `burst` frames at a time.
    ///
    /// # Errors
    /// Parameters of the scenario that do not fit, or no memory.
    pub fn new(scenario: Arc<dyn Scenario>, traffic: Traffic, pool: P, burst: usize) -> Result<Replay<P>> {
        let gateway = scenario.gateway()?;
        let ports = gateway.tables.ports.len();
        let counters = Arc::new(Counters::new(ports, gateway.tables.nets.len()));
        let Load { tracked, flows: directions, frame_bytes } = scenario.load();
        let capacity = if tracked { scenario.entries().max(FLOWS_MIN) } else { 1 };
        let (mut flows, reader) = FlowTable::new(capacity, 1)?;
        let label = Label {
            scenario: scenario.name(),
            buffers: P::NAME,
            path: if tracked { "tracked" } else { "stateless" },
            flows: directions,
            frame_bytes,
            burst,
            workers: 1,
            services: Vec::new(),
            hugepages: reader.hugepages() && (pool.hugepages() || P::NAME == "mem"),
        };
        let (writer, tables) = publish::new(gateway.tables);
        let parts = Parts {
            id: WorkerId(0),
            tables,
            neighbours: gateway.neighbours,
            flows: flows.pop().context("a flow table has a hold for its worker")?,
            nat: Nat::new(scenario.nat()),
            counters: Arc::clone(&counters),
            rings: Rings::new(64),
            settings: Settings::default(),
        };
        let port = scenario.port();
        let io = ReplayIo {
            pool,
            port,
            arriving: Burst::new(),
            sent: Burst::new(),
            sent_on: port,
            received_at: 0,
            now: Nanos(0),
        };
        let worker = Worker::new(parts, io);
        let (at, received, sent, first_cycles) = (0, 0, 0, None);
        let (_tables, _flows) = (writer, reader);
        Ok(Replay {
            label,
            scenario,
            traffic,
            worker,
            counters,
            burst,
            at,
            received,
            sent,
            first_cycles,
            _tables,
            _flows,
        })
    }

    /// What the worker makes of the next frame.
    #[cfg(test)]
    pub(crate) fn emitted(&mut self) -> Result<Vec<u8>> {
        self.prepare(1)?;
        counted_poll(&mut self.worker);
        let sent = self.worker.io().sent.first().map(|frame| frame.bytes().to_vec());
        self.collect();
        sent.context("nothing was sent")
    }

    /// Copies the next `n` frames into fresh buffers.
    fn prepare(&mut self, n: usize) -> Result<()> {
        let io = self.worker.io();
        for n in 0..n {
            let frame = self.traffic.frame(self.at + n);
            let mut buffer = io.pool.alloc().context("the pool is empty: the worker keeps buffers")?;
            buffer.append(frame.len()).context("the frame is longer than a buffer")?.copy_from_slice(frame);
            io.arriving.push(buffer);
        }
        io.now = Nanos(io.now.0 + n as u64 * FRAME_NS);
        self.received += n as u64;
        self.at = (self.at + n) % self.traffic.len();
        Ok(())
    }

    /// Frees what was sent.
    fn collect(&mut self) {
        let io = self.worker.io();
        self.sent += io.sent.len() as u64;
        io.pool.free(&mut io.sent);
    }

    /// Sends `frames` frames through and compares each with what must come out. Returns cycles of work per packet.
    fn check_pass(&mut self, frames: usize) -> Result<f64> {
        let (mut left, mut sample) = (frames, Sample::default());
        while left > 0 {
            let (first, n) = (self.at, self.burst.min(left));
            self.prepare(n)?;
            counted_poll(&mut self.worker);
            let done = cycles::now();
            let io = self.worker.io();
            sample.add_if_whole(n as u64, done - io.received_at, 0);
            ensure!(io.sent.len() == n, "{n} frames received, {} sent", io.sent.len());
            for (at, frame) in io.sent.iter().enumerate() {
                let flow = self.traffic.flow(first + at);
                let checked = self.scenario.check(flow, io.sent_on, frame.bytes());
                checked.with_context(|| format!("flow {flow}: {:02x?}", frame.bytes()))?;
            }
            self.collect();
            left -= n;
        }
        Ok(sample.work_per_packet())
    }
}

/// What is measured. A function of its own with a name of its own, so that callgrind counts the instructions below it
/// ([`COUNTED`](crate::instructions::COUNTED)).
#[inline(never)]
fn counted_poll<P: Pool>(worker: &mut Worker<ReplayIo<P>>) {
    worker.poll();
}

impl<P: Pool> Subject for Replay<P> {
    fn label(&self) -> &Label {
        &self.label
    }

    fn verify(&mut self) -> Result<()> {
        // All flows once, which learns them, and again as established ones; at least some bursts.
        let all = self.traffic.len().max(4 * self.burst);
        let first_cycles = self.check_pass(all)?;
        let enough = self.scenario.load().tracked && self.traffic.len() >= FIRST_MIN;
        self.first_cycles = enough.then_some(first_cycles);
        self.check_pass(all.min(CHECKED_AGAIN))?;
        Ok(())
    }

    fn first_cycles(&self) -> Option<f64> {
        self.first_cycles
    }

    fn round(&mut self, length: Length) -> Result<Sample> {
        let mut sample = Sample::default();
        let begin = cycles::now();
        let mut end = begin;
        let (before, n) = (self.received, self.burst);
        while !length.is_over(end - begin, self.received - before) {
            let from = end;
            self.prepare(n)?;
            counted_poll(&mut self.worker);
            let done = cycles::now();
            let spent = done - self.worker.io().received_at;
            self.collect();
            end = cycles::now();
            if length.counts_packets() {
                sample.add(n as u64, spent, end - from);
            } else {
                sample.add_if_whole(n as u64, spent, end - from);
            }
        }
        Ok(sample)
    }

    fn finish(&mut self) -> Result<(u64, u64)> {
        ensure!(self.received == self.sent, "{} frames received, {} sent", self.received, self.sent);
        let books = self.counters.books();
        ensure!(books.balance() && books.rx == self.received, "the books do not balance: {books:?}");
        Ok((self.received, self.sent))
    }
}
