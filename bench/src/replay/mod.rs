//! Workers that replay traffic.
//!
//! A worker polls a port that hands it one prepared burst and takes back what it sends. *Work* is the time from there to
//! the end of the poll: engine, counters, sending to the port, housekeeping of the flow table. Copying the frames into
//! fresh buffers before, and freeing them after, is in *total* only.

mod churn;
mod control;
mod crew;
pub mod flood;
mod fresh;
mod port;
mod station;

use std::sync::Arc;

use anyhow::{Result, ensure};
use tidegate_fastpath::counter::COUNTING;

use self::station::{Feed, Station};
pub use self::{churn::Churn, control::Control, crew::Crew, fresh::Fresh};
use crate::{
    capture::Capture,
    cycles,
    latency::{Latency, Pace},
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

/// A worker that replays traffic of established flows through a scenario's gateway.
pub struct Replay<P: Pool> {
    label: Label,
    scenario: Arc<dyn Scenario>,
    /// Whether the traffic is the scenario's, so that what must come out is known.
    is_known: bool,
    traffic: Traffic,
    feed: Feed,
    site: Site,
    station: Station<P>,
    /// Cycles of work of each flow's first packet, on average.
    first_cycles: Option<f64>,
}

impl<P: Pool> Replay<P> {
    /// A worker for `scenario` that gets `burst` of its frames at a time.
    ///
    /// # Errors
    /// Parameters of the scenario that do not fit, or no memory.
    pub fn new(scenario: Arc<dyn Scenario>, traffic: Traffic, pool: P, burst: usize) -> Result<Replay<P>> {
        let label = Label::new(&*scenario, pool.name(), burst);
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
            ..Label::new(&*scenario, pool.name(), burst)
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
        let (site, station, hugepages) = station::alone(&scenario, pool)?;
        label.hugepages = hugepages;
        let feed = Feed::in_order(traffic.clone());
        Ok(Replay { label, scenario, is_known, traffic, feed, site, station, first_cycles: None })
    }

    /// What the worker makes of the next frame.
    #[cfg(test)]
    pub(crate) fn emitted(&mut self) -> Result<Vec<u8>> {
        self.station.emitted(&mut self.feed)
    }

    /// Sends `frames` frames through and compares each with what must come out. Returns cycles of work per packet.
    fn check(&mut self, mut feed: Feed, frames: usize) -> Result<f64> {
        let (mut left, mut sample) = (frames, Sample::default());
        while left > 0 {
            let n = self.label.burst.min(left);
            if self.is_known {
                let what = (&*self.scenario, &self.site);
                self.station.checked_pass(&mut feed, n, what, &mut sample)?;
            } else {
                self.station.pass(&mut feed, n, &mut sample, false)?;
            }
            left -= n;
        }
        Ok(sample.work_per_packet())
    }
}

impl<P: Pool> Subject for Replay<P> {
    fn label(&self) -> &Label {
        &self.label
    }

    fn verify(&mut self) -> Result<()> {
        // All frames once, which learns the flows, and again as established ones; at least some bursts.
        let some = 4 * self.label.burst;
        let each = Feed::each(self.traffic.clone());
        let first_cycles = self.check(each, self.traffic.len().max(some))?;
        let enough = self.is_known && self.scenario.load().tracked && self.traffic.len() >= FIRST_MIN;
        self.first_cycles = enough.then_some(first_cycles);
        self.check(self.feed.clone(), self.traffic.turn().clamp(some, CHECKED_AGAIN))?;
        Ok(())
    }

    fn round(&mut self, length: Length) -> Result<Sample> {
        replayed(&mut self.station, &mut self.feed, self.label.burst, length)
    }

    fn paced(&mut self, cycles: f64, load_percent: f64, length: Length) -> Result<Option<Latency>> {
        let (begin, before) = (cycles::now(), self.station.received);
        let mut pace = Pace::new(begin, cycles * 100.0 / load_percent)?;
        let mut ignored = Sample::default();
        loop {
            let now = cycles::now();
            if length.is_over(now - begin, self.station.received - before) {
                return Ok(Some(pace.latency(load_percent, cycles::hz())));
            }
            let n = pace.due(now).min(self.label.burst as u64);
            if n > 0 {
                self.station.pass(&mut self.feed, n as usize, &mut ignored, true)?;
                pace.done(n, cycles::now())?;
            }
        }
    }

    fn finish(&mut self) -> Result<Outcome> {
        finished(&self.station, &self.site, &*self.scenario, self.is_known, self.first_cycles)
    }
}

/// A round of a worker.
fn replayed<P: Pool>(
    station: &mut Station<P>,
    feed: &mut Feed,
    burst: usize,
    length: Length,
) -> Result<Sample> {
    let mut sample = Sample::default();
    let (begin, before) = (cycles::now(), station.received);
    while !length.is_over(cycles::now() - begin, station.received - before) {
        station.pass(feed, burst, &mut sample, length.counts_packets())?;
    }
    Ok(sample)
}

/// What came of it all, where nothing but a capture may lose frames.
fn finished<P: Pool>(
    station: &Station<P>,
    site: &Site,
    scenario: &dyn Scenario,
    is_known: bool,
    first_cycles: Option<f64>,
) -> Result<Outcome> {
    let (received, sent, books) = (station.received, station.sent, site.books());
    let rx = if COUNTING { received } else { 0 };
    ensure!(books.balance() && books.rx == rx, "the books do not balance: {books:?}");
    ensure!(!is_known || received == sent, "{received} frames received, {sent} sent: {:?}", site.drops());
    Ok(Outcome {
        received,
        sent,
        first_cycles,
        bytes_per_connection: if is_known { site.bytes_per_connection() } else { None },
        entries: scenario.load().tracked.then(|| site.entries()),
        drops: site.drops(),
        mpps_each: Vec::new(),
    })
}
