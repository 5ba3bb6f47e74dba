//! Health checks within the control loop: due ones go to the thread that makes them, their outcomes to the gateway.

use tidegate_fastpath::types::Nanos;
use tracing::{error, warn};

use crate::{
    balance::Report,
    gateway::Gateway,
    health::{Checks, Gone, HealthEvent, Job, Prober, State, Target, checks},
    local,
};

/// Most checks under way at a time. Each holds a file descriptor.
const FLYING_MAX: usize = 2_048;
/// Outcomes taken in one round.
const TAKE_MAX: usize = 256;
/// Reports go to the gateway this much apart, so that many backends that die together are one change.
const GATHER: Nanos = Nanos::from_ms(20);

/// The checks and who makes them.
#[derive(Debug)]
pub(super) struct Health {
    checks: Checks,
    /// `None` where it could not start; tried again with the next configuration.
    prober: Option<Prober>,
    reports: Vec<Report>,
    reported: Nanos,
}

impl Health {
    /// Nothing yet.
    pub(super) fn new() -> Health {
        Health { checks: Checks::new(FLYING_MAX), prober: None, reports: Vec::new(), reported: Nanos(0) }
    }

    /// Checks the backends of the configuration in force.
    pub(super) fn configure(&mut self, gateway: &mut Gateway, now: Nanos) {
        // What is gathered may be of backends that are gone; all that stay are reported here.
        self.reports = self.checks.configure(now, gateway.desired().config());
        gateway.set_health(self.reports.drain(..), now);
    }

    /// Takes outcomes and starts what is due. Returns how much there was to do.
    pub(super) fn poll(&mut self, gateway: &mut Gateway, now: Nanos) -> usize {
        let mut done = 0;
        while done < TAKE_MAX
            && let Some(prober) = &mut self.prober
        {
            match prober.outcome() {
                Ok(Some((id, outcome))) => {
                    done += 1;
                    let is_there = |target: &Target| is_there(gateway, target, now);
                    self.reports.extend(self.checks.outcome(now, id, outcome, is_there));
                }
                Ok(None) => break,
                Err(Gone) => {
                    error!("{Gone}; it starts again");
                    self.prober = None;
                }
            }
        }
        if !self.reports.is_empty() && now.0 - self.reported.0 >= GATHER.0 {
            self.reported = now;
            gateway.set_health(self.reports.drain(..), now);
        }
        done + self.start(now)
    }

    fn start(&mut self, now: Nanos) -> usize {
        let mut started = 0;
        while let Some(probe) = self.checks.start(now) {
            started += 1;
            if self.prober.is_none() {
                self.prober = Prober::start().inspect_err(|e| warn!("no health checks: {e}")).ok();
            }
            let namespace = local::netns::path(&local::namespace_name(&checks::table_of(&probe.target)));
            if let Some(prober) = &self.prober {
                // One that is not taken is given up by the monitor in a while.
                prober.probe(Job { probe, namespace });
            }
        }
        started
    }

    /// How many backends are in each state.
    pub(super) fn states(&self) -> [u64; State::ALL.len()] {
        self.checks.states()
    }

    /// By [`HealthEvent::index`].
    pub(super) fn counts(&self) -> [u64; HealthEvent::COUNT] {
        let mut counts = [0; HealthEvent::COUNT];
        for event in HealthEvent::ALL {
            counts[event.index()] = self.checks.count(*event);
        }
        counts
    }
}

/// Whether a target answers ARP; one behind a route is not asked.
fn is_there(gateway: &mut Gateway, target: &Target, now: Nanos) -> bool {
    checks::link_of(gateway.desired(), target).is_none_or(|neighbour| gateway.answers_arp(neighbour, now))
}
