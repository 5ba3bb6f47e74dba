//! Logs: structured, from control only, and bounded where traffic can cause them.
//!
//! What a packet can trigger is never logged when it happens. It is counted, and [`Watch`] says at most every
//! [`Watch::INTERVAL`] what has been added since it last spoke.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use tracing::warn;
use tracing_subscriber::EnvFilter;

use crate::{
    gateway::{Gateway, RingEvent},
    neighbour::NeighbourEvent,
};

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Starts logging to standard error. `TIDEGATE_LOG` sets what is logged (`info` without it), in the syntax of
/// `tracing_subscriber::EnvFilter`.
pub fn init(format: Format) {
    let filter = EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::stderr().is_terminal();
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first logger.
    let _ = match format {
        Format::Text => logger.with_ansi(colour).with_target(false).try_init(),
        Format::Json => logger.json().try_init(),
    };
}

/// Neighbour events that an operator should hear of.
const NEIGHBOUR: [NeighbourEvent; 8] = [
    NeighbourEvent::Conflict,
    NeighbourEvent::UnresolvedLimit,
    NeighbourEvent::NetLimit,
    NeighbourEvent::TableFull,
    NeighbourEvent::VtepLimit,
    NeighbourEvent::VtepUnreachable,
    NeighbourEvent::BadVtep,
    NeighbourEvent::Deferred,
];
/// Ring events that an operator should hear of.
const RING: [RingEvent; 2] = [RingEvent::PuntFull, RingEvent::InjectFull];

/// Turns counters that should not rise into a line now and then.
#[derive(Debug, Default)]
pub struct Watch {
    seen: [u64; NEIGHBOUR.len() + RING.len()],
    spoke: Option<Instant>,
}

impl Watch {
    /// At most one round of lines in this time.
    pub const INTERVAL: Duration = Duration::from_secs(10);

    /// Looks at the counters.
    pub fn look(&mut self, gateway: &Gateway, now: Instant) {
        for (phrase, added) in self.news(counts(gateway), now) {
            warn!(count = added, "{phrase}");
        }
    }

    /// What was added since the last news, if it is time for some.
    fn news(
        &mut self,
        counts: impl Iterator<Item = (&'static str, u64)>,
        now: Instant,
    ) -> Vec<(&'static str, u64)> {
        if self.spoke.is_some_and(|at| now.duration_since(at) < Watch::INTERVAL) {
            return Vec::new();
        }
        let added = |(seen, (phrase, count)): (&mut u64, (&'static str, u64))| {
            let added = count.saturating_sub(std::mem::replace(seen, count));
            (added > 0).then_some((phrase, added))
        };
        let news: Vec<_> = self.seen.iter_mut().zip(counts).filter_map(added).collect();
        if !news.is_empty() {
            self.spoke = Some(now);
        }
        news
    }
}

fn counts(gateway: &Gateway) -> impl Iterator<Item = (&'static str, u64)> {
    let neighbour = NEIGHBOUR.iter().map(|e| (e.phrase(), gateway.machine().count(*e)));
    neighbour.chain(RING.iter().map(|e| (e.phrase(), gateway.ring_count(*e))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_come_at_most_once_an_interval_and_miss_nothing() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        let mut look =
            |count, after| watch.news([("full", count)].into_iter(), start + Duration::from_secs(after));
        assert_eq!(look(0, 0), []);
        assert_eq!(look(3, 1), [("full", 3)]);
        assert_eq!(look(9, 2), []);
        assert_eq!(look(10, 12), [("full", 7)]);
        assert_eq!(look(10, 30), []);
    }
}
