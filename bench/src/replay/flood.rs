//! A flood beside established flows, of new ones, of malformed frames or of fragments: bursts of both in turn, so that each
//! kind has a cost and a loss of its own.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use anyhow::{Result, ensure};

use super::station::{self, Feed, Station};
use crate::{
    measurement::{Label, Length, Outcome, Phase, Sample, Subject},
    pool::Pool,
    scenario::{Name, Parameters, Scenario},
    site::Site,
    traffic::Traffic,
};

/// What arrives beside established flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// The first packets of other flows.
    New {
        /// How many of them there is room for beside the established ones.
        room: u32,
    },
    /// Frames that must be dropped.
    Malformed,
    /// Datagrams of the established flows, in two fragments each.
    Fragments,
}

impl Others {
    /// The established flows, and these.
    const fn phases(self) -> [Phase; 2] {
        match self {
            Others::New { .. } => [Phase::InFlood, Phase::Flood],
            Others::Malformed => [Phase::AmidMalformed, Phase::Malformed],
            Others::Fragments => [Phase::AmidFragments, Phase::Fragments],
        }
    }
}

/// How large the flood is, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Frames of one round.
    pub frames: u32,
    /// What they are.
    pub others: Others,
}

/// Datagrams in fragments that are checked before anything is measured. The gateway remembers the ports of twice as many at once, and of 20,000 more
/// per second; with full NAT each datagram twice, before and behind the first translation.
const CHECKED_PAIRS: usize = 500;

/// Both kinds of packets; each is a subject of its own, the established ones first. Their rounds belong together.
///
/// # Errors
/// Parameters of the scenario that do not fit, no memory, or a scenario that remembers nothing.
pub fn subjects<P: Pool + 'static>(
    name: Name,
    parameters: &Parameters,
    size: Size,
    pool: P,
    burst: usize,
) -> Result<[Box<dyn Subject>; 2]> {
    let flood = Rc::new(RefCell::new(Flood::new(name, parameters, size, pool, burst)?));
    let labels = flood.borrow().labels.clone();
    let of = |(label, is_first)| Kind { label, is_first, flood: Rc::clone(&flood) };
    let [established, others] = labels;
    Ok([(established, true), (others, false)].map(|kind| Box::new(of(kind)) as Box<dyn Subject>))
}

struct Flood<P: Pool> {
    labels: [Label; 2],
    scenario: Arc<dyn Scenario>,
    /// Established, the flood.
    feeds: [Feed; 2],
    site: Site,
    station: Station<P>,
    burst: usize,
    /// What the flood of the last round took.
    of_others: Sample,
    /// Received and sent, by kind.
    counts: [(u64, u64); 2],
}

impl<P: Pool> Flood<P> {
    fn new(name: Name, parameters: &Parameters, size: Size, pool: P, burst: usize) -> Result<Flood<P>> {
        let established = parameters.flows;
        let Size { frames, others } = size;
        // Room in tables, and the frames of both kinds. A datagram in fragments is remembered for a while.
        let sized = |flows| name.with(&Parameters { flows, ..*parameters });
        let room = match others {
            Others::New { room } => room,
            Others::Malformed => 0,
            Others::Fragments => frames.div_ceil(2),
        };
        let (sizes, scenario) = (sized(established + room), sized(established));
        let is_new = matches!(others, Others::New { .. });
        ensure!(
            scenario.load().tracked || !is_new,
            "{name}: nothing is remembered, so no packet is the first"
        );
        let flood = match others {
            Others::New { .. } => Traffic::of_flows(&*scenario, established..established + frames)?,
            Others::Malformed => Traffic::malformed(&*scenario, frames)?,
            Others::Fragments => Traffic::fragments(&*scenario, frames)?,
        };
        let feeds = [Feed::in_order(Traffic::of_flows(&*scenario, 0..established)?), Feed::each(flood)];
        let buffers = pool.name();
        let (site, station, hugepages) = station::alone(&sizes, pool)?;
        let phases = others.phases();
        let label = Label { phase: phases[0], hugepages, ..Label::new(&*scenario, buffers, burst) };
        let labels = [label.clone(), Label { phase: phases[1], flows: frames, ..label }];
        let (of_others, counts) = (Sample::default(), [(0, 0); 2]);
        Ok(Flood { labels, scenario, feeds, site, station, burst, of_others, counts })
    }

    /// Forgets everything, then learns the established flows and checks them.
    fn begin(&mut self) -> Result<()> {
        self.station.forget(&self.site)?;
        let mut ignored = Sample::default();
        for _ in 0..2 * self.feeds[0].turn().div_ceil(self.burst) {
            let what = (&*self.scenario, &self.site);
            self.station.checked_pass(&mut self.feeds[0], self.burst, what, &mut ignored)?;
        }
        Ok(())
    }

    /// Checks the flood, as far as it is known what must come of it.
    fn check_others(&mut self) -> Result<()> {
        if self.labels[1].phase == Phase::Fragments {
            let mut feed = self.feeds[1].each_once();
            for _ in 0..CHECKED_PAIRS.min(feed.turn() / 2) {
                self.station.checked_pair(&mut feed, (&*self.scenario, &self.site))?;
            }
        }
        Ok(())
    }

    /// All of the flood once, and as many packets of established flows.
    fn round(&mut self, all: bool) -> Result<Sample> {
        self.begin()?;
        let mut samples = [Sample::default(); 2];
        let mut left = self.feeds[1].turn();
        while left > 0 {
            let n = self.burst.min(left);
            for (kind, sample) in samples.iter_mut().enumerate() {
                let sent = self.station.pass(&mut self.feeds[kind], n, sample, all)?;
                self.counts[kind].0 += n as u64;
                self.counts[kind].1 += sent;
            }
            left -= n;
        }
        self.of_others = samples[1];
        Ok(samples[0])
    }
}

/// One kind of packets of a flood.
struct Kind<P: Pool> {
    label: Label,
    /// The established ones.
    is_first: bool,
    flood: Rc<RefCell<Flood<P>>>,
}

impl<P: Pool> Subject for Kind<P> {
    fn label(&self) -> &Label {
        &self.label
    }

    fn verify(&mut self) -> Result<()> {
        let mut flood = self.flood.borrow_mut();
        if self.is_first { flood.begin() } else { flood.check_others() }
    }

    /// The established ones do the round, whatever its length; the others tell what that took for them.
    fn round(&mut self, length: Length) -> Result<Sample> {
        let mut flood = self.flood.borrow_mut();
        if self.is_first { flood.round(length.counts_packets()) } else { Ok(flood.of_others) }
    }

    fn finish(&mut self) -> Result<Outcome> {
        let flood = self.flood.borrow();
        let books = flood.site.books();
        ensure!(books.balance(), "the books do not balance: {books:?}");
        let (received, sent) = flood.counts[usize::from(!self.is_first)];
        let entries = flood.scenario.load().tracked.then(|| flood.site.entries());
        if self.is_first {
            return Ok(Outcome { received, sent, entries, ..Outcome::default() });
        }
        let (bytes_per_connection, drops) = (flood.site.bytes_per_connection(), flood.site.drops());
        Ok(Outcome { received, sent, entries, bytes_per_connection, drops, ..Outcome::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measurement::{Row, measure},
        pool::MemPool,
    };

    fn rows(others: Others) -> Vec<Row> {
        rows_of(Name::Snat, Size { frames: 70_000, others })
    }

    fn rows_of(name: Name, size: Size) -> Vec<Row> {
        let parameters = Parameters { flows: 500, ..Parameters::default() };
        let subjects = subjects(name, &parameters, size, MemPool::default(), 32).unwrap();
        measure(&mut Vec::from(subjects), 2, Length::Packets(1)).unwrap()
    }

    #[test]
    fn a_flood_that_fits_is_forwarded_and_one_that_does_not_leaves_the_others_alone() {
        for (room, fits) in [(70_000, true), (40_000, false)] {
            let [established, new] = rows(Others::New { room }).try_into().unwrap();
            let counts = |row: &Row| (row.outcome.received, row.outcome.sent);
            assert_eq!(counts(&established), (140_000, 140_000), "{established:?}");
            let (received, sent) = counts(&new);
            assert_eq!((received, sent == received), (140_000, fits), "{new:?}");
            assert_eq!(new.outcome.drops.contains_key("session_table_full"), !fits, "{new:?}");
        }
    }

    #[test]
    fn malformed_frames_are_dropped_for_many_reasons_and_leave_the_others_alone() {
        let [established, malformed] = rows(Others::Malformed).try_into().unwrap();
        assert_eq!(established.outcome.sent, 140_000, "{established:?}");
        let Outcome { received, sent, drops, .. } = &malformed.outcome;
        assert_eq!((*received, *sent), (140_000, 0), "{malformed:?}");
        for reason in
            ["runt_frame", "not_our_mac", "ip_version", "ip_checksum", "ip_truncated", "ip_header_length"]
        {
            assert!(drops.contains_key(reason), "{reason}: {drops:?}");
        }
    }
    #[test]
    fn fragments_are_forwarded_whole_and_a_flood_of_them_leaves_the_others_alone() {
        for name in Name::ALL {
            // As many as may be remembered at once.
            let frames = if name == Name::LbInFullNat { 1_000 } else { 2_000 };
            let few = Size { frames, others: Others::Fragments };
            let [established, fragments] = rows_of(name, few).try_into().unwrap();
            let both = 2 * u64::from(frames);
            assert_eq!(established.outcome.sent, both, "{name}: {established:?}");
            let Outcome { received, sent, drops, .. } = &fragments.outcome;
            assert_eq!((*received, *sent), (both, both), "{name}: {fragments:?}");
            assert!(drops.is_empty(), "{name}: {drops:?}");
        }
        let [established, fragments] = rows(Others::Fragments).try_into().unwrap();
        assert_eq!(established.outcome.sent, 140_000, "{established:?}");
        let Outcome { received, sent, drops, .. } = &fragments.outcome;
        assert!(*received == 140_000 && sent < received, "{fragments:?}");
        let lost = ["fragment_unmatched", "fragment_hold_full"].map(|reason| drops[reason]);
        // Some still wait.
        let seen = sent + lost.iter().sum::<u64>();
        assert!((received - 256..=*received).contains(&seen), "{fragments:?}");
    }
}
