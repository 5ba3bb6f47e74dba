//! The control run: the same bursts with no engine between. What it takes is the bench's own, so its share in every other
//! figure; and as it is faster than all of them, the generator holds nobody up.

use anyhow::{Result, ensure};

use super::station::{Bare, Feed, Station};
use crate::{
    cycles,
    measurement::{Label, Length, Outcome, Phase, Sample, Subject},
    pool::Pool,
    scenario::Scenario,
    traffic::Traffic,
};

/// A port whose frames are sent as they came.
pub struct Control<P: Pool> {
    label: Label,
    feed: Feed,
    station: Station<P, Bare<P>>,
}

impl<P: Pool> Control<P> {
    /// With the frames of a scenario.
    ///
    /// # Errors
    /// The pool's device does not start.
    pub fn new(scenario: &dyn Scenario, traffic: Traffic, pool: P, burst: usize) -> Result<Control<P>> {
        let hugepages = pool.hugepages().unwrap_or_default();
        let services = Vec::new();
        let label =
            Label { phase: Phase::Control, services, hugepages, ..Label::new(scenario, pool.name(), burst) };
        let station = Station::bare(pool, scenario.port())?;
        Ok(Control { label, feed: Feed::in_order(traffic), station })
    }
}

impl<P: Pool> Subject for Control<P> {
    fn label(&self) -> &Label {
        &self.label
    }

    fn verify(&mut self) -> Result<()> {
        self.station.mirrored_pass(&mut self.feed, self.label.burst)
    }

    fn round(&mut self, length: Length) -> Result<Sample> {
        let mut sample = Sample::default();
        let (begin, before) = (cycles::now(), self.station.received);
        while !length.is_over(cycles::now() - begin, self.station.received - before) {
            self.station.pass(&mut self.feed, self.label.burst, &mut sample, length.counts_packets())?;
        }
        Ok(sample)
    }

    fn finish(&mut self) -> Result<Outcome> {
        let (received, sent) = (self.station.received, self.station.sent);
        ensure!(received == sent, "{received} frames received, {sent} sent");
        Ok(Outcome { received, sent, ..Outcome::default() })
    }
}
