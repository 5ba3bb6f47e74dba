//! Established flows while another thread publishes configurations, as control does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tidegate_fastpath::table::{Tables, publish::Writer};

use super::{Replay, replayed};
use crate::{
    measurement::{Label, Length, Outcome, Phase, Sample, Subject},
    pool::Pool,
    scenario::Scenario,
    traffic::Traffic,
};

/// A replay, and somebody who publishes.
pub struct Churn<P: Pool> {
    replay: Replay<P>,
    /// Between two publications.
    gap: Duration,
    published: u64,
}

impl<P: Pool> Churn<P> {
    /// With so many publications per second.
    ///
    /// # Errors
    /// As [`Replay::new`].
    pub fn new(
        scenario: Arc<dyn Scenario>,
        traffic: Traffic,
        pool: P,
        burst: usize,
        per_s: u32,
    ) -> Result<Churn<P>> {
        let mut replay = Replay::new(scenario, traffic, pool, burst)?;
        replay.label.phase = Phase::Churn;
        Ok(Churn { replay, gap: Duration::from_secs(1) / per_s.max(1), published: 0 })
    }
}

impl<P: Pool> Subject for Churn<P> {
    fn label(&self) -> &Label {
        self.replay.label()
    }

    fn verify(&mut self) -> Result<()> {
        self.replay.verify()
    }

    fn round(&mut self, length: Length) -> Result<Sample> {
        let Replay { site, station, feed, label, .. } = &mut self.replay;
        let (stop, gap) = (AtomicBool::new(false), self.gap);
        let (sample, published) = thread::scope(|scope| {
            let publisher = scope.spawn(|| publish(site.tables(), gap, &stop));
            let sample = replayed(station, feed, label.burst, length);
            stop.store(true, Relaxed);
            (sample, publisher.join())
        });
        self.published += published.unwrap_or_default();
        sample
    }

    fn finish(&mut self) -> Result<Outcome> {
        ensure!(self.published > 0, "nothing was published");
        self.replay.finish()
    }
}

/// Publishes the same configuration under new generations until `stop`, at least once; returns how often. All lists of the
/// tables are new each time; what they point to stays, as with a change that concerns other networks.
fn publish(tables: &mut Writer<Tables>, gap: Duration, stop: &AtomicBool) -> u64 {
    let (start, mut published) = (Instant::now(), 0);
    loop {
        let mut next = Tables::clone(&tables.current());
        next.generation += 1;
        tables.publish(next);
        published += 1;
        while start.elapsed() < gap.saturating_mul(published) && !stop.load(Relaxed) {
            thread::yield_now();
        }
        tables.reap();
        if stop.load(Relaxed) {
            return published.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        measurement::measure,
        pool::MemPool,
        scenario::{Name, Parameters},
    };

    #[test]
    fn nothing_is_lost_while_configurations_are_published() {
        let scenario = Name::VxlanSnat.with(&Parameters { flows: 100, ..Parameters::default() });
        let traffic = Traffic::new(&*scenario).unwrap();
        let churn = Churn::new(scenario, traffic, MemPool::default(), 32, 100_000).unwrap();
        let rows = measure(&mut [Box::new(churn)], 2, Length::Packets(3200)).unwrap();
        assert_eq!(rows[0].label.phase, Phase::Churn);
        assert_eq!(rows[0].outcome.received, rows[0].outcome.sent);
    }
}
