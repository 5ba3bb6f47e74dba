//! New flows: every round begins with an empty flow table, and each frame opens a flow.

use std::sync::Arc;

use anyhow::{Result, ensure};

use super::{
    finished,
    station::{self, Feed, Station},
};
use crate::{
    cycles,
    measurement::{Label, Length, Outcome, Phase, Sample, Subject},
    pool::Pool,
    scenario::Scenario,
    site::Site,
    traffic::Traffic,
};

/// A worker that gets the first packets of flows, and nothing else.
pub struct Fresh<P: Pool> {
    label: Label,
    scenario: Arc<dyn Scenario>,
    feed: Feed,
    site: Site,
    station: Station<P>,
}

impl<P: Pool> Fresh<P> {
    /// A worker for `scenario` that gets `burst` frames at a time.
    ///
    /// # Errors
    /// Parameters of the scenario that do not fit, no memory, or a scenario that remembers nothing.
    pub fn new(scenario: Arc<dyn Scenario>, traffic: Traffic, pool: P, burst: usize) -> Result<Fresh<P>> {
        ensure!(
            scenario.load().tracked,
            "{}: nothing is remembered, so no packet is the first",
            scenario.load().scenario
        );
        let buffers = pool.name();
        let (site, station, hugepages) = station::alone(&scenario, pool)?;
        let label = Label { phase: Phase::New, hugepages, ..Label::new(&*scenario, buffers, burst) };
        Ok(Fresh { label, scenario, feed: Feed::each(traffic), site, station })
    }

    /// Forgets all flows; then calls `pass` until each frame was sent once.
    fn anew(&mut self, mut pass: impl FnMut(&mut Fresh<P>, usize) -> Result<()>) -> Result<()> {
        self.station.forget(&self.site)?;
        let mut left = self.feed.turn();
        while left > 0 {
            let n = self.label.burst.min(left);
            pass(self, n)?;
            left -= n;
        }
        Ok(())
    }
}

impl<P: Pool> Subject for Fresh<P> {
    fn label(&self) -> &Label {
        &self.label
    }

    fn verify(&mut self) -> Result<()> {
        let mut ignored = Sample::default();
        self.anew(|this, n| {
            let what = (&*this.scenario, &this.site);
            this.station.checked_pass(&mut this.feed, n, what, &mut ignored)
        })
    }

    /// At least one pass over all flows, however short the round.
    fn round(&mut self, length: Length) -> Result<Sample> {
        let mut sample = Sample::default();
        let (begin, before) = (cycles::now(), self.station.received);
        loop {
            self.anew(|this, n| {
                let sent = this.station.pass(&mut this.feed, n, &mut sample, length.counts_packets())?;
                ensure!(sent == n as u64, "{n} new flows, {sent} were forwarded: {:?}", this.site.drops());
                Ok(())
            })?;
            if length.is_over(cycles::now() - begin, self.station.received - before) {
                return Ok(sample);
            }
        }
    }

    fn finish(&mut self) -> Result<Outcome> {
        finished(&self.station, &self.site, &*self.scenario, true, None)
    }
}
