//! The frames that are replayed, and in which order: one per flow (and size), in random order, in one piece of memory.

use std::{collections::HashMap, fmt, ops::Range, str::FromStr, sync::Arc};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Serialize;

use crate::{fragment, scenario::Scenario};

/// The order of the flows is that of every run and machine.
const SEED: u64 = 0x7469_6465_6761_7465;
/// So much of a frame belongs to its flow; what comes behind is kept once for all frames that have the same there.
const HEAD_MAX: usize = 128;
/// Packets of one turn over Zipf-distributed flows: at least so many, at most four million.
const ZIPF_MIN: usize = 1 << 17;
const ZIPF_MAX: usize = 1 << 22;

/// The simple Internet mix: 7 of 64 bytes, 4 of 570, 1 of 1518.
const IMIX: [u16; 12] = [64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 64, 570];

/// Sizes of a tenant's frames: bytes with FCS, without tunnel headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSize {
    /// All the same.
    Fixed(u16),
    /// 64, 570 and 1518 bytes as 7:4:1.
    Imix,
}

impl FrameSize {
    const MIN: u16 = 64;
    const MAX: u16 = 9000;

    /// The size of the `n`th frame.
    fn of(self, n: usize) -> usize {
        match self {
            FrameSize::Fixed(bytes) => bytes.into(),
            FrameSize::Imix => IMIX[n % IMIX.len()].into(),
        }
    }

    /// How many frames it takes until every size came as often as it must.
    fn period(self) -> usize {
        match self {
            FrameSize::Fixed(_) => 1,
            FrameSize::Imix => IMIX.len(),
        }
    }

    /// The mean, rounded.
    pub fn mean(self) -> usize {
        let sum: usize = (0..self.period()).map(|n| self.of(n)).sum();
        (sum + self.period() / 2) / self.period()
    }

    /// The largest.
    pub fn largest(self) -> usize {
        (0..self.period()).map(|n| self.of(n)).max().unwrap_or_default()
    }
}

impl fmt::Display for FrameSize {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameSize::Fixed(bytes) => write!(to, "{bytes}"),
            FrameSize::Imix => to.write_str("imix"),
        }
    }
}

impl FromStr for FrameSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<FrameSize> {
        if text == "imix" {
            return Ok(FrameSize::Imix);
        }
        let wanted = || format!("give {} to {} bytes, or imix", FrameSize::MIN, FrameSize::MAX);
        let bytes = text.parse().with_context(wanted)?;
        ensure!((FrameSize::MIN..=FrameSize::MAX).contains(&bytes), "{}", wanted());
        Ok(FrameSize::Fixed(bytes))
    }
}

/// How often each flow comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Popularity {
    /// All equally often.
    Uniform,
    /// The `n`th most frequent one `1/n` as often as the first: few are large, most are small.
    Zipf,
}

/// Frames and their order. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Traffic {
    frames: Arc<Frames>,
}

#[derive(Debug, Default)]
struct Frames {
    /// Back to back.
    heads: Vec<u8>,
    tails: Vec<Vec<u8>>,
    templates: Vec<Template>,
    /// Templates in the order in which they come; `None` for one after the other.
    order: Option<Vec<u32>>,
}

#[derive(Clone, Copy, Debug)]
struct Template {
    head: usize,
    head_len: u16,
    frame_bytes: u16,
    tail: u32,
    flow: u32,
}

/// A frame that is replayed.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    head: &'a [u8],
    tail: &'a [u8],
    /// The flow that it is of.
    pub flow: u32,
    /// The size of the tenant's frame that it is or has inside.
    pub frame_bytes: usize,
}

impl Frame<'_> {
    /// Bytes, without FCS.
    #[inline]
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies it.
    ///
    /// # Panics
    /// If `to` is not as long as the frame.
    #[inline]
    pub fn copy_to(&self, to: &mut [u8]) {
        let (head, tail) = to.split_at_mut(self.head.len());
        head.copy_from_slice(self.head);
        tail.copy_from_slice(self.tail);
    }

    /// As one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        [self.head, self.tail].concat()
    }
}

impl Traffic {
    /// The frames of all flows of a scenario.
    ///
    /// # Errors
    /// Too many flows for the scenario's other parameters.
    pub fn new(scenario: &dyn Scenario) -> Result<Traffic> {
        Traffic::of_flows(scenario, 0..scenario.load().flows)
    }

    /// The frames of some flows of a scenario, which may be others than it has by itself.
    ///
    /// # Errors
    /// More flows than the scenario's other parameters allow.
    pub fn of_flows(scenario: &dyn Scenario, flows: Range<u32>) -> Result<Traffic> {
        scenario.check_flows(flows.end)?;
        let load = scenario.load();
        let mut flows: Vec<u32> = flows.collect();
        let mut random = fastrand::Rng::with_seed(SEED);
        random.shuffle(&mut flows);
        let copies = load.frames.period().div_ceil(flows.len().max(1));
        let mut made = Maker::default();
        for (n, flow) in (0..copies).flat_map(|_| &flows).enumerate() {
            let frame_bytes = load.frames.of(n);
            made.add(&scenario.arriving(*flow, frame_bytes), *flow, frame_bytes);
        }
        let order = match load.popularity {
            Popularity::Uniform => None,
            Popularity::Zipf => Some(zipf(made.frames.templates.len(), &mut random)),
        };
        Ok(made.with(order))
    }

    /// Frames that must be dropped: those of a scenario's first flows, each damaged in one of several ways.
    ///
    /// # Errors
    /// As [`Traffic::new`].
    pub fn malformed(scenario: &dyn Scenario, frames: u32) -> Result<Traffic> {
        let size = scenario.load().frames;
        let flows = scenario.load().flows.max(1);
        scenario.check_flows(flows)?;
        let mut made = Maker::default();
        for n in 0..frames {
            let mut frame = scenario.arriving(n % flows, size.of(n as usize));
            damage(&mut frame, n);
            made.add(&frame, n % flows, size.of(n as usize));
        }
        Ok(made.with(None))
    }

    /// Datagrams of a scenario's first flows in two fragments each, in order.
    ///
    /// # Errors
    /// As [`Traffic::new`]; so many datagrams of a flow that their identifications do not tell them apart, or frames too
    /// short.
    pub fn fragments(scenario: &dyn Scenario, fragments: u32) -> Result<Traffic> {
        let size = scenario.load().frames;
        let flows = scenario.load().flows.max(1);
        scenario.check_flows(flows)?;
        let mut made = Maker::default();
        for n in 0..fragments.div_ceil(2) {
            let (flow, frame_bytes) = (n % flows, size.of(n as usize));
            let id = u16::try_from(n / flows).context("so many fragments need more flows")?;
            for piece in fragment::cut(&scenario.arriving(flow, frame_bytes), id)? {
                made.add(&piece, flow, frame_bytes);
            }
        }
        Ok(made.with(None))
    }

    /// The frames of a capture in its order, each with the number of its flow.
    pub fn of_frames<'a>(frames: impl Iterator<Item = (&'a [u8], u32)>) -> Traffic {
        let mut made = Maker::default();
        frames.for_each(|(bytes, flow)| made.add(bytes, flow, bytes.len()));
        made.with(None)
    }

    /// How many different ones there are.
    pub fn len(&self) -> usize {
        self.frames.templates.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frames until the order begins anew.
    pub fn turn(&self) -> usize {
        self.frames.order.as_ref().map_or(self.len(), Vec::len)
    }

    /// One of the different ones; `at` is below [`Traffic::len`].
    #[inline]
    pub fn frame(&self, at: usize) -> Frame<'_> {
        let frames = &*self.frames;
        let Template { head, head_len, frame_bytes, tail, flow } = frames.templates[at];
        let head = &frames.heads[head..head + usize::from(head_len)];
        Frame { head, tail: &frames.tails[tail as usize], flow, frame_bytes: frame_bytes.into() }
    }

    /// Which frame comes at a place of the order; `at` is below [`Traffic::turn`].
    #[inline]
    pub fn at(&self, at: usize) -> usize {
        self.frames.order.as_ref().map_or(at, |order| order[at] as usize)
    }

    /// Bytes of the longest frame, without FCS.
    pub fn longest(&self) -> usize {
        (0..self.len()).map(|at| self.frame(at).len()).max().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
struct Maker {
    frames: Frames,
    tails: HashMap<Vec<u8>, u32>,
}

impl Maker {
    fn add(&mut self, bytes: &[u8], flow: u32, frame_bytes: usize) {
        let (head, tail) = bytes.split_at(bytes.len().min(HEAD_MAX));
        let frames = &mut self.frames;
        let tail = *self.tails.entry(tail.to_vec()).or_insert_with_key(|tail| {
            frames.tails.push(tail.clone());
            frames.tails.len() as u32 - 1
        });
        let (head_len, frame_bytes) = (head.len() as u16, frame_bytes as u16);
        frames.templates.push(Template { head: frames.heads.len(), head_len, frame_bytes, tail, flow });
        frames.heads.extend(head);
    }

    fn with(mut self, order: Option<Vec<u32>>) -> Traffic {
        self.frames.order = order;
        Traffic { frames: Arc::new(self.frames) }
    }
}

/// Damages an Ethernet frame that holds IPv4 so that no router forwards it.
fn damage(frame: &mut Vec<u8>, how: u32) {
    /// Where the IPv4 header begins.
    const IP: usize = 14;
    match how % 8 {
        0 => frame.truncate(13),
        // Another station's MAC.
        1 => frame[5] ^= 0x40,
        // An EtherType that nobody has.
        2 => frame[12..14].copy_from_slice(&[0x88, 0xb5]),
        // Version 5.
        3 => frame[IP] = 0x55,
        // A header of 16 bytes.
        4 => frame[IP] = 0x44,
        // Longer than the frame.
        5 => frame[IP + 2] = 0xff,
        // Checksum.
        6 => frame[IP + 10] ^= 0xff,
        // Ends within its header.
        _ => frame.truncate(IP + 19),
    }
}

/// Numbers below `n`, of which the `k`th comes `1/k` as often as the first.
fn zipf(n: usize, random: &mut fastrand::Rng) -> Vec<u32> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=n)
        .map(|k| {
            sum += 1.0 / k as f64;
            sum
        })
        .collect();
    let packets = (4 * n).clamp(ZIPF_MIN, ZIPF_MAX);
    let mut draw = || {
        let point = random.f64() * sum;
        sums.partition_point(|sum| *sum <= point).min(n - 1) as u32
    };
    (0..packets).map(|_| draw()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Name, Parameters};

    fn traffic(frames: &str, popularity: Popularity, flows: u32) -> Traffic {
        let parameters =
            Parameters { flows, frames: frames.parse().unwrap(), popularity, ..Parameters::default() };
        Traffic::new(&*Name::Session.with(&parameters)).unwrap()
    }

    fn sizes(traffic: &Traffic) -> [usize; 3] {
        let count = |len| (0..traffic.len()).filter(|at| traffic.frame(*at).len() + 4 == len).count();
        [64, 570, 1518].map(count)
    }

    #[test]
    fn sizes_of_the_mix_are_as_seven_to_four_to_one() {
        assert_eq!(sizes(&traffic("imix", Popularity::Uniform, 1)), [7, 4, 1]);
        assert_eq!(sizes(&traffic("imix", Popularity::Uniform, 1200)), [700, 400, 100]);
        assert_eq!((FrameSize::Imix.mean(), FrameSize::Imix.largest()), (354, 1518));
    }

    #[test]
    fn every_flow_comes_and_tails_are_kept_once() {
        let traffic = traffic("1450", Popularity::Uniform, 500);
        let mut flows: Vec<u32> = (0..traffic.turn()).map(|at| traffic.frame(traffic.at(at)).flow).collect();
        assert_ne!(flows[..3], [0, 1, 2]);
        flows.sort_unstable();
        assert_eq!(flows, (0..500).collect::<Vec<_>>());
        assert_eq!(traffic.frames.tails.len(), 1);
        let frame = traffic.frame(7);
        let mut copy = vec![0; frame.len()];
        frame.copy_to(&mut copy);
        assert_eq!(copy, frame.to_vec());
    }

    #[test]
    fn the_most_frequent_flow_comes_twice_as_often_as_the_second() {
        let traffic = traffic("64", Popularity::Zipf, 1000);
        let count = |wanted| (0..traffic.turn()).filter(|at| traffic.at(*at) == wanted).count() as f64;
        let ratio = count(0) / count(1);
        assert!((1.9..2.1).contains(&ratio), "{ratio}");
        assert!(count(999) > 0.0);
    }

    #[test]
    fn sizes_that_no_frame_has_are_refused() {
        for text in ["63", "9001", "big", "-1", "70000"] {
            assert!(text.parse::<FrameSize>().is_err(), "{text}");
        }
        assert_eq!("9000".parse::<FrameSize>().unwrap(), FrameSize::Fixed(9000));
    }
}
