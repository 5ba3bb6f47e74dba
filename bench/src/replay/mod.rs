//! A worker that replays traffic.
//!
//! It polls a port that hands it one prepared burst and takes back what it sends. *Work* is the time from there to
//! the end of the poll: engine, counters, sending to the port, housekeeping of the flow table. Copying the frames into
//! fresh buffers before, and freeing them after, is in *total* only.

mod port;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tidegate_fastpath::{buffer::Buffer, worker::Worker};

use self::port::ReplayIo;
use crate::{
    capture::Capture,
    cycles,
    measurement::{Label, Length, Outcome, Sample, Subject},
    pool::Pool,
    scenario::Scenario,
    site::Site,
    traffic::Traffic,
};

/// Fewer flows than this do not tell what a first packet costs.
const FIRST_MIN: usize = 10_000;
/// Frames of the second pass that are checked; the first pass checks all.
const CHECKED_AGAIN: usize = 32_768;

/// Which frames come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Each different one once.
    Each,
    /// As the traffic says.
    InOrder,
}

/// A worker that replays traffic through a scenario's gateway.
pub struct Replay<P: Pool> {
    label: Label,
    scenario: Arc<dyn Scenario>,
    /// Whether the traffic is the scenario's, so that what must come out is known.
    is_known: bool,
    traffic: Traffic,
    worker: Worker<ReplayIo<P>>,
    site: Site,
    burst: usize,
    at: usize,
    received: u64,
    sent: u64,
    /// Cycles of work of each flow's first packet, on average.
    first_cycles: Option<f64>,
}

impl<P: Pool> Replay<P> {
    /// A worker for `scenario` that gets `burst` of its frames at a time.
    ///
    /// # Errors
    /// Parameters of the scenario that do not fit, or no memory.
    pub fn new(scenario: Arc<dyn Scenario>, traffic: Traffic, pool: P, burst: usize) -> Result<Replay<P>> {
        let label = Label::new(&*scenario, P::NAME, burst);
        Replay::with(scenario, traffic, label, pool, true)
    }

    /// A worker for `scenario` that gets the frames of a capture; what comes out is counted, not checked.
    ///
    /// # Errors
    /// As [`Replay::new`].
    pub fn of_capture(
        scenario: Arc<dyn Scenario>,
        capture: &Capture,
        pool: P,
        burst: usize,
    ) -> Result<Replay<P>> {
        let label = Label {
            flows: capture.flows,
            popularity: "pcap".to_owned(),
            frames: "pcap".to_owned(),
            frame_bytes: capture.frame_bytes,
            ..Label::new(&*scenario, P::NAME, burst)
        };
        Replay::with(scenario, capture.traffic.clone(), label, pool, false)
    }

    fn with(
        scenario: Arc<dyn Scenario>,
        traffic: Traffic,
        mut label: Label,
        pool: P,
        is_known: bool,
    ) -> Result<Replay<P>> {
        let (site, parts) = Site::new(&*scenario, 0, 1)?;
        label.hugepages = site.hugepages() && (pool.hugepages() || P::NAME == "mem");
        let burst = label.burst;
        let parts = parts.into_iter().next().context("a site has parts for its worker")?;
        let worker = Worker::new(parts, ReplayIo::new(pool, scenario.port()));
        Ok(Replay {
            label,
            scenario,
            is_known,
            traffic,
            worker,
            site,
            burst,
            at: 0,
            received: 0,
            sent: 0,
            first_cycles: None,
        })
    }

    /// What the worker makes of the next frame.
    #[cfg(test)]
    pub(crate) fn emitted(&mut self) -> Result<Vec<u8>> {
        self.prepare(1, Pass::Each)?;
        counted_poll(&mut self.worker);
        let sent = self.worker.io().sent().next().map(|(_, frame)| frame.bytes().to_vec());
        self.sent += self.worker.io().collect();
        sent.context("nothing was sent")
    }

    /// Copies the next `n` frames into fresh buffers.
    fn prepare(&mut self, n: usize, pass: Pass) -> Result<()> {
        let io = self.worker.io();
        let turn = if pass == Pass::Each { self.traffic.len() } else { self.traffic.turn() };
        for _ in 0..n {
            let at = if pass == Pass::Each { self.at } else { self.traffic.at(self.at) };
            let frame = self.traffic.frame(at);
            let mut buffer = io.pool.alloc().context("the pool is empty: the worker keeps buffers")?;
            let room = buffer.append(frame.len()).context("the frame is longer than a buffer")?;
            frame.copy_to(room);
            io.arriving.push(buffer);
            self.at = if self.at + 1 == turn { 0 } else { self.at + 1 };
        }
        io.advance(n);
        self.received += n as u64;
        Ok(())
    }

    /// Sends `frames` frames through and compares each with what must come out. Returns cycles of work per packet.
    fn check_pass(&mut self, frames: usize, pass: Pass) -> Result<f64> {
        self.at = 0;
        let (mut left, mut sample) = (frames, Sample::default());
        while left > 0 {
            let (first, n) = (self.at, self.burst.min(left));
            self.prepare(n, pass)?;
            counted_poll(&mut self.worker);
            let done = cycles::now();
            sample.add_if_whole(n as u64, done - self.worker.io().received_at, 0);
            if self.is_known {
                self.check(first, n, pass)?;
            }
            self.sent += self.worker.io().collect();
            left -= n;
        }
        self.at = 0;
        Ok(sample.work_per_packet())
    }

    /// Compares what was sent with the `n` frames from `first` on.
    fn check(&mut self, first: usize, n: usize, pass: Pass) -> Result<()> {
        let (scenario, traffic) = (&*self.scenario, &self.traffic);
        let sent: Vec<_> = self.worker.io().sent().collect();
        ensure!(sent.len() == n, "{n} frames received, {} sent: {:?}", sent.len(), self.site.drops());
        for (at, (port, buffer)) in sent.into_iter().enumerate() {
            let turn = if pass == Pass::Each { traffic.len() } else { traffic.turn() };
            let at = (first + at) % turn;
            let frame = traffic.frame(if pass == Pass::Each { at } else { traffic.at(at) });
            let checked = scenario.check(frame.flow, frame.frame_bytes, port, buffer.bytes());
            checked.with_context(|| format!("flow {}: {:02x?}", frame.flow, buffer.bytes()))?;
        }
        Ok(())
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
        // All frames once, which learns the flows, and again as established ones; at least some bursts.
        let some = 4 * self.burst;
        let first_cycles = self.check_pass(self.traffic.len().max(some), Pass::Each)?;
        let enough = self.is_known && self.scenario.load().tracked && self.traffic.len() >= FIRST_MIN;
        self.first_cycles = enough.then_some(first_cycles);
        self.check_pass(self.traffic.turn().clamp(some, CHECKED_AGAIN), Pass::InOrder)?;
        Ok(())
    }

    fn round(&mut self, length: Length) -> Result<Sample> {
        let mut sample = Sample::default();
        let begin = cycles::now();
        let mut end = begin;
        let (before, n) = (self.received, self.burst);
        while !length.is_over(end - begin, self.received - before) {
            let from = end;
            self.prepare(n, Pass::InOrder)?;
            counted_poll(&mut self.worker);
            let done = cycles::now();
            let io = self.worker.io();
            let spent = done - io.received_at;
            self.sent += io.collect();
            end = cycles::now();
            if length.counts_packets() {
                sample.add(n as u64, spent, end - from);
            } else {
                sample.add_if_whole(n as u64, spent, end - from);
            }
        }
        Ok(sample)
    }

    fn finish(&mut self) -> Result<Outcome> {
        let (received, sent, books) = (self.received, self.sent, self.site.books());
        ensure!(books.balance() && books.rx == received, "the books do not balance: {books:?}");
        ensure!(!self.is_known || received == sent, "{received} frames received, {sent} sent");
        Ok(Outcome {
            received,
            sent,
            first_cycles: self.first_cycles,
            bytes_per_connection: if self.is_known { self.site.bytes_per_connection() } else { None },
            entries: self.scenario.load().tracked.then(|| self.site.entries()),
            drops: self.site.drops(),
        })
    }
}
