//! Rounds over all subjects in turn, so that what the machine does to one it does to all; and what comes of them.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{cycles, latency::Latency, scenario::Scenario, traffic::Popularity};

/// Which packets of a flow are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Those of established flows.
    Established,
    /// The first one.
    New,
    /// Those of established flows while as many new ones arrive.
    InFlood,
    /// The first one, while as many packets of established flows arrive.
    Flood,
    /// Those of established flows while as many malformed frames arrive.
    AmidMalformed,
    /// Frames that must be dropped, while as many packets of established flows arrive.
    Malformed,
    /// Those of established flows while as many fragments arrive.
    AmidFragments,
    /// Fragments, while as many packets of established flows arrive.
    Fragments,
    /// Those of established flows while configurations are published.
    Churn,
    /// Not even looked at: what the port and the bench itself take.
    Control,
}

/// What was measured, in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The scenario.
    pub scenario: String,
    /// Who works the packets: `tidegate`, or a peer.
    #[serde(default = "ourselves")]
    pub engine: String,
    /// What packets are in: `mem` or `mbuf`; `skb` of the kernel.
    pub buffers: String,
    /// `tracked`: packets use flow entries. `stateless`: each is decided anew.
    pub path: String,
    /// Flows, in random order.
    pub flows: u32,
    /// Which packets.
    pub phase: Phase,
    /// How often each comes.
    pub popularity: String,
    /// The size of all tenants' frames, or `imix`, or `pcap`.
    pub frames: String,
    /// Bytes of a tenant's frame, FCS included, tunnel headers not; the mean where they differ.
    pub frame_bytes: usize,
    /// Routes, where the scenario has a number of them.
    pub routes: Option<u32>,
    /// VPCs that share the VMs; neighbouring packets are of different ones.
    #[serde(default = "one")]
    pub vpcs: u32,
    /// Frames that the worker gets at a time.
    pub burst: usize,
    /// Workers.
    pub workers: usize,
    /// What is switched on beside forwarding.
    pub services: Vec<String>,
    /// Whether flow table and mbufs are in reserved hugepages.
    pub hugepages: bool,
}

const fn one() -> u32 {
    1
}

fn ourselves() -> String {
    "tidegate".to_owned()
}

impl fmt::Display for Label {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Label { engine, scenario, flows, frames, buffers, .. } = self;
        write!(to, "{engine}, {scenario} with {flows} flows, frames of {frames} bytes, on {buffers}")
    }
}

impl Label {
    /// Whether it is a measurement of this gateway.
    pub fn is_ours(&self) -> bool {
        self.engine == ourselves()
    }

    /// Whether packets come from a generator: another process, or `net_pcap`.
    pub fn has_generator(&self) -> bool {
        self.is_ours() && (self.buffers.ends_with("from testpmd") || self.buffers.ends_with("net_pcap"))
    }

    /// Whether packets come by a device, so that its driver is in the work.
    pub fn has_driver(&self) -> bool {
        self.buffers.contains("net_")
    }

    /// For a scenario on one worker, without hugepages.
    pub fn new(scenario: &dyn Scenario, buffers: &str, burst: usize) -> Label {
        let load = scenario.load();
        Label {
            scenario: load.scenario.to_string(),
            engine: ourselves(),
            buffers: buffers.to_owned(),
            path: if load.tracked { "tracked" } else { "stateless" }.to_owned(),
            flows: load.flows,
            phase: Phase::Established,
            popularity: if load.popularity == Popularity::Zipf { "zipf" } else { "uniform" }.to_owned(),
            frames: load.frames.to_string(),
            frame_bytes: load.frames.mean(),
            routes: scenario.routes(),
            vpcs: scenario.vpcs(),
            burst,
            workers: 1,
            services: scenario.services().into_iter().map(str::to_owned).collect(),
            hugepages: false,
        }
    }
}

/// How long a round is.
#[derive(Clone, Copy, Debug)]
pub enum Length {
    /// Cycles, by the counter.
    Cycles(u64),
    /// Packets, for counting instructions.
    Packets(u64),
}

impl Length {
    /// Whether time does not matter.
    pub fn counts_packets(self) -> bool {
        matches!(self, Length::Packets(_))
    }

    /// Whether a round of `cycles` and `packets` so far is over.
    pub fn is_over(self, cycles: u64, packets: u64) -> bool {
        match self {
            Length::Cycles(limit) => cycles >= limit,
            Length::Packets(limit) => packets >= limit,
        }
    }
}

/// A burst that takes longer was interrupted by the kernel or the hypervisor, which is not the cost of a packet.
const INTERRUPTED_CYCLES: u64 = 100_000;

/// What one round saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Packets counted.
    pub packets: u64,
    /// Bursts left out because the core was taken away during them.
    pub interrupted: u64,
    work: u64,
    total: u64,
}

impl Sample {
    /// Adds a burst: its packets, cycles of work, cycles in total.
    pub fn add(&mut self, packets: u64, work: u64, total: u64) {
        self.packets += packets;
        self.work += work;
        self.total += total;
    }

    /// The same, but leaves an interrupted burst out.
    pub fn add_if_whole(&mut self, packets: u64, work: u64, total: u64) {
        if work < INTERRUPTED_CYCLES {
            self.add(packets, work, total);
        } else {
            self.interrupted += 1;
        }
    }

    /// Adds what another one saw.
    pub fn join(&mut self, other: &Sample) {
        self.add(other.packets, other.work, other.total);
        self.interrupted += other.interrupted;
    }

    /// Cycles in total per packet.
    pub fn total_per_packet(&self) -> f64 {
        self.total as f64 / self.packets as f64
    }

    /// Cycles of work per packet.
    pub fn work_per_packet(&self) -> f64 {
        self.work as f64 / self.packets as f64
    }
}

/// Something that can be measured.
pub trait Subject {
    /// What it is.
    fn label(&self) -> &Label;

    /// Checks what it makes of every packet; also brings it to its steady state.
    ///
    /// # Errors
    /// The first packet that is wrong.
    fn verify(&mut self) -> Result<()>;

    /// Works for a while.
    ///
    /// # Errors
    /// Buffers were lost.
    fn round(&mut self, length: Length) -> Result<Sample>;

    /// Works at `load_percent` of the rate that takes `cycles` per packet. `None` for what cannot be paced.
    ///
    /// # Errors
    /// Buffers were lost.
    fn paced(&mut self, _cycles: f64, _load_percent: f64, _length: Length) -> Result<Option<Latency>> {
        Ok(None)
    }

    /// What came of it all.
    ///
    /// # Errors
    /// Not every packet was sent that must be, or the worker's books do not balance.
    fn finish(&mut self) -> Result<Outcome>;
}

/// What a subject knows at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Frames handed to the worker, checks and all rounds.
    pub received: u64,
    /// Frames emitted.
    pub sent: u64,
    /// Cycles of work of the first packet of a flow, on average; `None` where nothing is learned, or too little for a
    /// figure. Taken while every packet is checked, so with colder caches than the rest.
    pub first_cycles: Option<f64>,
    /// Memory of a connection: see [`Site::bytes_per_connection`](crate::site::Site::bytes_per_connection).
    pub bytes_per_connection: Option<f64>,
    /// Flow entries in use at the end.
    pub entries: Option<usize>,
    /// Packets dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Million packets per second of each of several workers.
    #[serde(default)]
    pub mpps_each: Vec<f64>,
}

/// Least, middle and largest of several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Least.
    pub min: f64,
    /// Middle; the lower of two middle ones.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Of some values; `None` where there are none.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let median = *values.get(values.len().checked_sub(1)? / 2)?;
        Some(Spread { min: *values.first()?, median, max: *values.last()? })
    }

    /// So many times as much.
    pub fn times(&self, factor: f64) -> Spread {
        let Spread { min, median, max } = *self;
        Spread { min: min * factor, median: median * factor, max: max * factor }
    }
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Of what.
    #[serde(flatten)]
    pub label: Label,
    /// TSC cycles per packet from "received" to "sent".
    pub work_cycles: Spread,
    /// The same and copying, allocating and freeing; the median.
    pub total_cycles: f64,
    /// Million packets per second of all workers at `total_cycles`.
    pub mpps: f64,
    /// Instructions of work per packet, where they were counted.
    pub instructions: Option<f64>,
    /// What came of it all.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long packets took at rates below this.
    #[serde(default)]
    pub latency: Vec<Latency>,
    /// Rounds behind the figures; the core was slowed down during the others.
    pub rounds: usize,
    /// Bursts left out because the core was taken away.
    pub interrupted: u64,
}

/// A round whose speed index is so much above the best one of the run is left out.
const SLOWDOWN_MAX: f64 = 1.2;
/// Fewer good rounds than this, and all are taken.
const ROUNDS_MIN: usize = 3;

/// Verifies every subject, then measures `rounds` times in turn.
///
/// # Errors
/// A packet that is not as it must be; no number is given then.
pub fn measure(subjects: &mut [Box<dyn Subject>], rounds: usize, length: Length) -> Result<Vec<Row>> {
    let mut samples: Vec<Vec<(Sample, f64)>> = vec![Vec::new(); subjects.len()];
    for subject in &mut *subjects {
        let name = subject.label().to_string();
        subject.verify().with_context(|| name)?;
    }
    for _ in 0..rounds {
        for (subject, samples) in subjects.iter_mut().zip(&mut samples) {
            let before = cycles::speed_index();
            let sample = subject.round(length)?;
            samples.push((sample, before.max(cycles::speed_index())));
        }
    }
    let indices = samples.iter().flatten().map(|(_, index)| *index);
    let best = indices.fold(f64::INFINITY, f64::min);
    let hz = cycles::hz();
    subjects
        .iter_mut()
        .zip(samples)
        .map(|(subject, samples)| row(&mut **subject, samples, best, hz))
        .collect()
}

fn row(subject: &mut dyn Subject, mut samples: Vec<(Sample, f64)>, best: f64, hz: f64) -> Result<Row> {
    let is_good = |(sample, index): &(Sample, f64)| sample.packets > 0 && *index <= best * SLOWDOWN_MAX;
    if samples.iter().filter(|s| is_good(s)).count() >= ROUNDS_MIN {
        samples.retain(is_good);
    }
    let per_packet = |cycles: fn(&Sample) -> u64| {
        let values = samples.iter().map(|(s, _)| cycles(s) as f64 / s.packets as f64);
        Spread::of(values.filter(|v| v.is_finite())).context("no packet was measured")
    };
    let (work_cycles, total) = (per_packet(|s| s.work)?, per_packet(|s| s.total)?);
    let outcome = subject.finish().with_context(|| subject.label().to_string())?;
    Ok(Row {
        label: subject.label().clone(),
        work_cycles,
        total_cycles: total.median,
        mpps: hz / total.median / 1e6 * subject.label().workers as f64,
        instructions: None,
        latency: Vec::new(),
        outcome,
        rounds: samples.len(),
        interrupted: samples.iter().map(|(s, _)| s.interrupted).sum(),
    })
}

/// Works at some percentages of what each subject was just measured to do, and adds the latencies to its row.
///
/// # Errors
/// Buffers were lost.
pub fn pace(
    subjects: &mut [Box<dyn Subject>],
    rows: &mut [Row],
    loads_percent: &[f64],
    length: Length,
) -> Result<()> {
    for load in loads_percent {
        for (subject, row) in subjects.iter_mut().zip(&mut *rows) {
            row.latency.extend(subject.paced(row.total_cycles, *load, length)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_of_the_rounds_in_order_of_size() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0]), Some(Spread { min: 1.0, median: 1.0, max: 4.0 }));
    }
}
