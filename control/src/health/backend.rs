//! Is one backend up? Counts outcomes against thresholds, and damps flapping.
//!
//! A backend that goes down within [`STEADY`] intervals of having come up needs twice as many successes in a row to come up
//! the next time, at most 2^[`FLAPS_MAX`] times as many; one that was up for longer starts over.

use tidegate_fastpath::types::Nanos;

use super::{Check, Failure, HealthEvent, Outcome};

/// A backend that was up for so many intervals did not flap.
pub const STEADY: u32 = 60;
/// How often the number of successes doubles at most.
pub const FLAPS_MAX: u32 = 4;

/// What is known of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It works.
    Up,
    /// It does not.
    Down,
}

impl State {
    /// All of them.
    pub const ALL: [State; 3] = [State::Unknown, State::Up, State::Down];

    /// Whether it gets new connections.
    pub const fn is_usable(self) -> bool {
        !matches!(self, State::Down)
    }

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Up => "up",
            State::Down => "down",
        }
    }
}

/// The state of a backend, and how it came to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether it is up.
    pub state: State,
    /// Since when.
    pub since: Nanos,
    /// The failure that made it go down, or the last one since it is up; `None` when there was none.
    pub reason: Option<Failure>,
    /// Successes in a row.
    pub passed: u32,
    /// Failures in a row.
    pub failed: u32,
    /// How often in a row it went down soon after coming up.
    pub flaps: u32,
    /// Why the last check could not be made.
    pub hindered: Option<String>,
}

impl Status {
    /// A backend of which nothing is known.
    pub fn new(now: Nanos) -> Status {
        Status { since: now, ..Status::default() }
    }

    /// The same after its check has changed: what it is stays, what was counted does not.
    pub fn carried(&self) -> Status {
        Status { passed: 0, failed: 0, ..self.clone() }
    }

    /// Successes in a row that it takes to come up.
    pub fn needed(&self, check: &Check) -> u32 {
        match self.state {
            State::Unknown => 1,
            State::Up | State::Down => check.healthy.max(1) << self.flaps.min(FLAPS_MAX),
        }
    }

    /// Counts an outcome ([`Outcome::Silent`] is a success). Returns what has changed, if the state has.
    pub fn count(&mut self, now: Nanos, check: &Check, outcome: Outcome) -> Option<HealthEvent> {
        match outcome {
            Outcome::NotTried(why) => {
                self.hindered = Some(why);
                None
            }
            Outcome::Passed | Outcome::Silent => {
                self.hindered = None;
                (self.passed, self.failed) = (self.passed.saturating_add(1), 0);
                let comes = self.state != State::Up && self.passed >= self.needed(check);
                comes.then(|| self.become_up(now))
            }
            Outcome::Failed(failure) => {
                self.hindered = None;
                (self.passed, self.failed) = (0, self.failed.saturating_add(1));
                self.reason = Some(failure);
                let goes = self.state != State::Down && self.failed >= check.unhealthy.max(1);
                goes.then(|| self.become_down(now, check))
            }
        }
    }

    fn become_up(&mut self, now: Nanos) -> HealthEvent {
        (self.state, self.since, self.reason) = (State::Up, now, None);
        HealthEvent::Up
    }

    fn become_down(&mut self, now: Nanos, check: &Check) -> HealthEvent {
        let was_up = self.state == State::Up;
        let steady = check.interval.saturating_mul(STEADY).as_nanos();
        let soon = u128::from(now.0.saturating_sub(self.since.0)) < steady;
        self.flaps = if was_up && soon { (self.flaps + 1).min(FLAPS_MAX) } else { 0 };
        (self.state, self.since) = (State::Down, now);
        if self.flaps > 0 { HealthEvent::Flap } else { HealthEvent::Down }
    }
}
