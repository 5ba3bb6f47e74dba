//! The life of one HAProxy: when it is started, told to read its configuration again, started again after its death, ended.
//! Pure: what happened and the time go in, what to do comes out.

use tidegate_fastpath::types::Nanos;

/// The first pause before a new start.
const PAUSE_FIRST: Nanos = Nanos::from_ms(200);
/// The longest one.
const PAUSE_MAX: Nanos = Nanos::from_ms(30_000);
/// One that has run for so long starts again after the first pause.
const STEADY: Nanos = Nanos::from_ms(60_000);

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start it with the configuration that is wanted.
    Start,
    /// Have it read the configuration that is wanted.
    Reload,
}

/// What is known of one HAProxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Since when it runs.
    running: Option<Nanos>,
    /// The configuration that it runs with differs from the one that is wanted.
    stale: bool,
    /// When it is tried again, after a death or a failure.
    wait: Option<Nanos>,
    /// Deaths and failures in a row.
    failures: u32,
    /// How often it died.
    deaths: u64,
}

impl Life {
    /// One that runs with another configuration than is wanted: left by an earlier gateway.
    pub fn taken_over(now: Nanos) -> Life {
        Life { running: Some(now), stale: true, ..Life::default() }
    }

    /// Another configuration is wanted. A failure with the former one says nothing about it.
    pub fn change(&mut self) {
        (self.stale, self.wait) = (true, None);
    }

    /// What to do now.
    pub fn due(&self, now: Nanos) -> Option<Action> {
        if self.wait.is_some_and(|until| now < until) {
            return None;
        }
        match self.running {
            None => Some(Action::Start),
            Some(_) if self.stale => Some(Action::Reload),
            Some(_) => None,
        }
    }

    /// An action succeeded.
    pub fn done(&mut self, now: Nanos, action: Action) {
        (self.stale, self.wait) = (false, None);
        if action == Action::Start {
            self.running = Some(now);
        } else {
            self.failures = 0;
        }
    }

    /// An action failed; it is tried again later. What ran before goes on.
    pub fn failed(&mut self, now: Nanos) {
        self.back_off(now);
    }

    /// It is gone.
    pub fn died(&mut self, now: Nanos) {
        let Some(since) = self.running.take() else { return };
        self.deaths += 1;
        if now.0 - since.0 >= STEADY.0 {
            self.failures = 0;
        }
        self.back_off(now);
    }

    fn back_off(&mut self, now: Nanos) {
        let pause = (PAUSE_FIRST.0 << self.failures.min(16)).min(PAUSE_MAX.0);
        self.failures = self.failures.saturating_add(1);
        self.wait = Some(Nanos(now.0 + pause));
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// How often it died.
    pub fn deaths(&self) -> u64 {
        self.deaths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Nanos {
        Nanos::from_ms(ms)
    }

    #[test]
    fn it_starts_reloads_and_starts_again() {
        let mut life = Life::default();
        assert_eq!(life.due(ms(0)), Some(Action::Start));
        life.done(ms(0), Action::Start);
        assert_eq!(life.due(ms(1)), None);
        life.change();
        assert_eq!(life.due(ms(2)), Some(Action::Reload));
        life.done(ms(2), Action::Reload);
        assert_eq!(life.due(ms(3)), None);
        life.died(ms(100_000));
        assert_eq!((life.due(ms(100_199)), life.due(ms(100_200))), (None, Some(Action::Start)));
        assert_eq!((life.deaths(), life.is_running()), (1, false));
    }

    #[test]
    fn one_that_dies_at_once_is_started_ever_more_slowly() {
        let (mut life, mut now, mut pauses) = (Life::default(), 0, Vec::new());
        for _ in 0..10 {
            life.done(ms(now), Action::Start);
            life.died(ms(now + 1));
            let next = (now..).find(|at| life.due(ms(*at)).is_some()).unwrap();
            pauses.push(next - now - 1);
            now = next;
        }
        assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
        life.done(ms(now), Action::Start);
        life.died(ms(now + 60_000));
        assert_eq!(life.due(ms(now + 60_200)), Some(Action::Start), "it had run for a minute");
    }

    #[test]
    fn a_configuration_that_fails_waits_and_a_new_one_does_not() {
        let mut life = Life::taken_over(ms(0));
        assert_eq!(life.due(ms(0)), Some(Action::Reload));
        life.failed(ms(0));
        assert_eq!((life.due(ms(1)), life.is_running()), (None, true), "the old one goes on");
        life.change();
        assert_eq!(life.due(ms(1)), Some(Action::Reload));
    }
}
