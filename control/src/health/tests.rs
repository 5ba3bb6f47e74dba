//! In virtual time, with a world that answers as it is told.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc, time::Duration};

use proptest::prelude::*;
use tidegate_fastpath::types::Nanos;

use super::*;
use crate::health::backend::{FLAPS_MAX, STEADY};

const S: u64 = 1_000_000_000;

fn check(interval_s: u64, healthy: u32, unhealthy: u32) -> Arc<Check> {
    let (interval, timeout) = (Duration::from_secs(interval_s), Duration::from_secs(2));
    Arc::new(Check { kind: Kind::Tcp, interval, timeout, healthy, unhealthy })
}

fn target(host: u8, check: &Arc<Check>) -> Target {
    Target {
        vpc: crate::config::Id::new("vpc-1").unwrap(),
        source: Ipv4Addr::new(10, 1, 0, 1),
        address: Ipv4Addr::new(10, 1, 0, host),
        port: 80,
        check: Arc::clone(check),
    }
}

fn failed() -> Outcome {
    Outcome::Failed(Failure::Refused)
}

/// Feeds `outcomes` (`+` passed, `-` failed, `?` not tried), one per interval, and writes the state after each: `u`, `d`,
/// `.` for unknown.
fn states(check: &Check, status: &mut Status, now: &mut u64, outcomes: &str) -> String {
    let each = outcomes.chars().map(|outcome| {
        let outcome = match outcome {
            '+' => Outcome::Passed,
            '-' => failed(),
            _ => Outcome::NotTried("no namespace".to_owned()),
        };
        status.count(Nanos(*now), check, outcome);
        *now += check.interval.as_nanos() as u64;
        match status.state {
            State::Unknown => '.',
            State::Up => 'u',
            State::Down => 'd',
        }
    });
    each.collect()
}

#[test]
fn thresholds_decide() {
    let cases = [
        ("+++", "uuu", "one success is enough at first"),
        ("--+", "..u", "a slow start is forgiven"),
        ("---+++", "..dddu", "down after 3 failures, up after 3 successes"),
        ("+--+--+---", "uuuuuuuuud", "only failures in a row count"),
        ("---++-++", "..dddddd", "only successes in a row count"),
        ("+--??-", "uuuuud", "what was not tried neither counts nor starts over"),
        ("????", "....", "what was not tried says nothing"),
    ];
    for (outcomes, expected, why) in cases {
        let (check, mut now) = (check(5, 3, 3), 0);
        let mut status = Status::new(Nanos(now));
        assert_eq!(states(&check, &mut status, &mut now, outcomes), expected, "{why}");
    }
}

#[test]
fn flapping_is_damped_and_forgiven() {
    let check = check(1, 1, 1);
    let (mut status, mut now) = (Status::new(Nanos(0)), 0);
    assert_eq!(states(&check, &mut status, &mut now, "+-+"), "udd", "2 successes now");
    assert_eq!(states(&check, &mut status, &mut now, "+-+++"), "uddd".to_owned() + "d", "4 now");
    assert_eq!(states(&check, &mut status, &mut now, "+-+++++++"), "udddddddd", "8 now");
    assert_eq!(status.needed(&check), 8);
    let steady = "+".repeat(STEADY as usize + 1);
    assert!(states(&check, &mut status, &mut now, &steady).ends_with('u'));
    assert_eq!(states(&check, &mut status, &mut now, "-+"), "du", "it was up long enough");
}

#[test]
fn new_targets_are_spread_over_their_interval() {
    let check = check(10, 2, 2);
    let mut monitor = Monitor::new(100);
    monitor.configure(Nanos(0), (1..=10).map(|host| target(host, &check)));
    for second in 0..10 {
        let now = Nanos(second * S);
        let probe = monitor.start(now).expect("one per second");
        assert_eq!(probe.target.address.octets()[3], second as u8 + 1);
        assert_eq!(monitor.start(now), None);
        monitor.outcome(now, probe.id, Outcome::Passed);
    }
    assert_eq!(monitor.start(Nanos(10 * S)).unwrap().target.address.octets()[3], 1, "and around again");
}

#[test]
fn a_changed_check_keeps_the_state_and_a_removed_target_is_forgotten() {
    let (old, new) = (check(10, 2, 1), check(5, 2, 1));
    let mut monitor = Monitor::new(100);
    monitor.configure(Nanos(0), [target(1, &old)]);
    let probe = monitor.start(Nanos(0)).unwrap();
    monitor.outcome(Nanos(1), probe.id, failed());
    assert!(monitor.take_changed() && !monitor.take_changed());

    monitor.configure(Nanos(2), [target(1, &new), target(2, &new)]);
    let status = monitor.status(&target(1, &new)).unwrap();
    assert_eq!(
        (status.state, status.since, status.reason.clone()),
        (State::Down, Nanos(1), Some(Failure::Refused))
    );
    assert_eq!(monitor.status(&target(1, &old)), None);
    assert_eq!(monitor.status(&target(2, &new)).unwrap().state, State::Unknown);

    let flying = monitor.start(Nanos(2)).unwrap();
    monitor.configure(Nanos(3), []);
    monitor.outcome(Nanos(4), flying.id, failed());
    assert_eq!((monitor.flying(), monitor.all().count(), monitor.start(Nanos(100 * S))), (0, 0, None));
    assert!(!monitor.take_changed());
}

#[test]
fn a_lost_outcome_changes_nothing_and_its_target_is_asked_again() {
    let check = check(1, 1, 1);
    let mut monitor = Monitor::new(1);
    monitor.configure(Nanos(0), [target(1, &check)]);
    let lost = monitor.start(Nanos(0)).unwrap();
    assert_eq!(monitor.start(Nanos(6 * S)), None, "it may still come");
    let again = monitor.start(Nanos(7 * S)).expect("given up after its time and five seconds");
    monitor.outcome(Nanos(7 * S), lost.id, failed());
    assert_eq!((monitor.flying(), monitor.status(&target(1, &check)).unwrap().state), (1, State::Unknown));
    monitor.outcome(Nanos(7 * S), again.id, failed());
    assert_eq!(monitor.status(&target(1, &check)).unwrap().state, State::Down);
    assert_eq!(monitor.count(HealthEvent::NotTried), 1);
}

#[test]
fn silence_is_judged_by_who_knows_the_neighbour() {
    assert_eq!(Outcome::Silent.judged(|| true), Outcome::Silent);
    assert_eq!(Outcome::Silent.judged(|| false), Outcome::Failed(Failure::Unreachable));
    assert_eq!(Outcome::Passed.judged(|| false), Outcome::Passed);
}

#[test]
fn status_codes_are_ranges() {
    let codes = Codes([(200, 299), (304, 304)].into());
    let right: Vec<u16> =
        [199, 200, 299, 300, 304].into_iter().filter(|code| codes.contains(*code)).collect();
    assert_eq!((right, codes.to_string()), (vec![200, 299, 304], "200-299,304".to_owned()));
}

/// What may happen to a backend's checks: any outcomes.
fn outcomes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0..3u8, 0..200)
}

proptest! {
    /// Between two changes of state lie as many outcomes in a row as the threshold says, and flapping is bounded.
    #[test]
    fn no_state_changes_before_its_threshold(outcomes in outcomes(), healthy in 1..5u32, unhealthy in 1..5u32) {
        let check = check(1, healthy, unhealthy);
        let mut status = Status::new(Nanos(0));
        let (mut good, mut bad) = (0, 0);
        for (i, outcome) in outcomes.into_iter().enumerate() {
            let before = status.clone();
            let needed = before.needed(&check);
            let outcome = match outcome {
                0 => { (good, bad) = (good + 1, 0); Outcome::Passed }
                1 => { (good, bad) = (0, bad + 1); failed() }
                _ => Outcome::NotTried(String::new()),
            };
            let event = status.count(Nanos(i as u64 * S), &check, outcome);
            prop_assert_eq!(event.is_some(), status.state != before.state);
            match (before.state, status.state) {
                (State::Up, State::Down) | (State::Unknown, State::Down) => prop_assert!(bad >= unhealthy),
                (State::Down, State::Up) | (State::Unknown, State::Up) => prop_assert!(good >= needed),
                (a, b) => prop_assert_eq!(a, b),
            }
            // And none comes late.
            prop_assert!(status.state == State::Down || bad < unhealthy);
            prop_assert!(status.state != State::Down || good < status.needed(&check));
            prop_assert!(status.flaps <= FLAPS_MAX);
        }
    }

    /// However many targets, however slow their answers and whatever the configuration does meanwhile: no more checks than
    /// allowed are under way, none of one target beside another, and each target is asked as often as its interval says and
    /// no more often.
    #[test]
    fn the_rhythm_is_kept(
        targets in 1..30u8,
        limit in 1..40usize,
        takes in proptest::collection::vec(0..4u64, 30),
        shrink_at in 0..60u64,
    ) {
        let check = check(5, 2, 2);
        let mut monitor = Monitor::new(limit);
        let all = |count: u8| (1..=count).map(|host| target(host, &check)).collect::<Vec<_>>();
        monitor.configure(Nanos(0), all(targets));
        let mut flying: Vec<(u64, Probe)> = Vec::new();
        let mut starts: HashMap<Target, Vec<u64>> = HashMap::new();
        for second in 0..60 {
            let now = Nanos(second * S);
            if second == shrink_at {
                monitor.configure(now, all(targets.div_ceil(2)));
            }
            for (_, probe) in flying.extract_if(.., |(end, _)| *end <= second).collect::<Vec<_>>() {
                monitor.outcome(now, probe.id, Outcome::Passed);
            }
            while let Some(probe) = monitor.start(now) {
                prop_assert!(flying.iter().all(|(_, other)| other.target != probe.target));
                starts.entry((*probe.target).clone()).or_default().push(second);
                let takes = takes[usize::from(probe.target.address.octets()[3])];
                flying.push((second + takes, probe));
                prop_assert!(monitor.flying() <= limit);
            }
        }
        let kept = all(targets.div_ceil(2));
        for (target, starts) in &starts {
            let apart = starts.windows(2).map(|pair| pair[1] - pair[0]);
            let (least, most) = (apart.clone().min().unwrap_or(5), apart.max().unwrap_or(5));
            // One that had to wait for a place goes back to its rhythm.
            prop_assert!(limit < usize::from(targets) || (least, most) == (5, 5), "{starts:?}");
            prop_assert!(limit >= usize::from(targets) || least >= 1);
            prop_assert!(!kept.contains(target) || limit < usize::from(targets) || starts.len() >= 11);
        }
    }
}
