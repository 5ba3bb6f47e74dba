//! A flood of new flows beside established ones: bursts of both in turn, so that each kind has a cost and a loss of its own.

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

/// How large the flood is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// New flows of one round.
    pub flows: u32,
    /// How many of them there is room for beside the established ones.
    pub room: u32,
}

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
    let of = |label: Label| Kind { label, flood: Rc::clone(&flood) };
    let [established, new] = labels.map(of);
    Ok([Box::new(established), Box::new(new)])
}

struct Flood<P: Pool> {
    labels: [Label; 2],
    scenario: Arc<dyn Scenario>,
    /// Established, new.
    feeds: [Feed; 2],
    site: Site,
    station: Station<P>,
    burst: usize,
    /// What the new flows of the last round took.
    of_new: Sample,
    /// Received and sent, by kind.
    counts: [(u64, u64); 2],
}

impl<P: Pool> Flood<P> {
    fn new(name: Name, parameters: &Parameters, size: Size, pool: P, burst: usize) -> Result<Flood<P>> {
        let established = parameters.flows;
        // Room in tables, and the frames of both kinds.
        let sized = |flows| name.with(&Parameters { flows, ..*parameters });
        let (sizes, scenario) = (sized(established + size.room), sized(established));
        ensure!(scenario.load().tracked, "{name}: nothing is remembered, so no packet is the first");
        let feeds = [
            Feed::in_order(Traffic::of_flows(&*scenario, 0..established)?),
            Feed::each(Traffic::of_flows(&*scenario, established..established + size.flows)?),
        ];
        let (site, station, hugepages) = station::alone(&sizes, pool)?;
        let label = Label { phase: Phase::InFlood, hugepages, ..Label::new(&*scenario, P::NAME, burst) };
        let labels = [label.clone(), Label { phase: Phase::Flood, flows: size.flows, ..label }];
        let (of_new, counts) = (Sample::default(), [(0, 0); 2]);
        Ok(Flood { labels, scenario, feeds, site, station, burst, of_new, counts })
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

    /// All new flows once, and as many packets of established ones.
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
        self.of_new = samples[1];
        Ok(samples[0])
    }
}

/// One kind of packets of a flood.
struct Kind<P: Pool> {
    label: Label,
    flood: Rc<RefCell<Flood<P>>>,
}

impl<P: Pool> Subject for Kind<P> {
    fn label(&self) -> &Label {
        &self.label
    }

    fn verify(&mut self) -> Result<()> {
        if self.label.phase == Phase::InFlood { self.flood.borrow_mut().begin() } else { Ok(()) }
    }

    /// The established ones do the round, whatever its length; the new ones tell what that took for them.
    fn round(&mut self, length: Length) -> Result<Sample> {
        let mut flood = self.flood.borrow_mut();
        if self.label.phase == Phase::InFlood {
            flood.round(length.counts_packets())
        } else {
            Ok(flood.of_new)
        }
    }

    fn finish(&mut self) -> Result<Outcome> {
        let flood = self.flood.borrow();
        let books = flood.site.books();
        ensure!(books.balance(), "the books do not balance: {books:?}");
        let is_new = self.label.phase == Phase::Flood;
        let (received, sent) = flood.counts[usize::from(is_new)];
        let (bytes, drops) = (flood.site.bytes_per_connection(), flood.site.drops());
        Ok(Outcome {
            received,
            sent,
            bytes_per_connection: bytes.filter(|_| is_new),
            entries: is_new.then(|| flood.site.entries()),
            drops: if is_new { drops } else { Default::default() },
            ..Outcome::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measurement::{Row, measure},
        pool::MemPool,
    };

    fn rows(room: u32) -> Vec<Row> {
        let parameters = Parameters { flows: 500, ..Parameters::default() };
        let size = Size { flows: 70_000, room };
        let subjects = subjects(Name::Snat, &parameters, size, MemPool::default(), 32).unwrap();
        measure(&mut Vec::from(subjects), 2, Length::Packets(1)).unwrap()
    }

    #[test]
    fn a_flood_that_fits_is_forwarded_and_one_that_does_not_leaves_the_others_alone() {
        for (room, fits) in [(70_000, true), (40_000, false)] {
            let [established, new] = rows(room).try_into().unwrap();
            let counts = |row: &Row| (row.outcome.received, row.outcome.sent);
            assert_eq!(counts(&established), (140_000, 140_000), "{established:?}");
            let (received, sent) = counts(&new);
            assert_eq!((received, sent == received), (140_000, fits), "{new:?}");
            assert_eq!(new.outcome.drops.contains_key("session_table_full"), !fits, "{new:?}");
        }
    }
}
