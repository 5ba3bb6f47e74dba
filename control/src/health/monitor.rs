//! Which check is due when. Every target is asked once per interval; the first checks of many new targets are spread over
//! theirs. A bounded number is under way at a time; what waits for a place goes in the order in which it was due.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tidegate_fastpath::types::Nanos;

use super::{Check, Failure, HealthEvent, Outcome, Status, Target};

/// A check whose outcome does not come this long after its time is given up: whoever made it is gone.
const LOST: Duration = Duration::from_secs(5);
/// A check that begins so long after it was due is late.
const LATE: Nanos = Nanos(1_000_000_000);

/// Names one check of one target. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId {
    watched: u64,
    round: u64,
}

/// A check to make now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its name, for the outcome.
    pub id: ProbeId,
    /// Whom it asks.
    pub target: Arc<Target>,
}

/// A target and where it stands.
#[derive(Debug)]
struct Watched {
    target: Arc<Target>,
    status: Status,
    /// Counts checks.
    round: u64,
    /// When the next check is due; while one is under way, when that is given up.
    at: Nanos,
    /// When the check under way was due.
    flying: Option<Nanos>,
}

/// All targets. One thread owns it; it does no I/O and asks no clock. Costs O(log n) per check.
#[derive(Debug)]
pub struct Monitor {
    targets: HashMap<Arc<Target>, u64>,
    watched: HashMap<u64, Watched>,
    /// Who is due, earliest first.
    due: BTreeSet<(Nanos, u64)>,
    /// Whose check is under way, and when it is given up.
    flying: BTreeSet<(Nanos, u64)>,
    flying_max: usize,
    next: u64,
    changed: bool,
    counts: [u64; HealthEvent::COUNT],
}

impl Monitor {
    /// Nothing yet; at most `flying_max` checks are under way at a time.
    pub fn new(flying_max: usize) -> Monitor {
        Monitor {
            targets: HashMap::new(),
            watched: HashMap::new(),
            due: BTreeSet::new(),
            flying: BTreeSet::new(),
            flying_max: flying_max.max(1),
            next: 0,
            changed: false,
            counts: [0; HealthEvent::COUNT],
        }
    }

    /// Makes these the targets. Who stays is not disturbed; who only changes how it is checked keeps its state.
    pub fn configure(&mut self, now: Nanos, targets: impl IntoIterator<Item = Target>) {
        let wanted: HashSet<Target> = targets.into_iter().collect();
        let mut gone = HashMap::new();
        let leaving: Vec<_> = self.targets.extract_if(|target, _| !wanted.contains(&**target)).collect();
        for (target, id) in leaving {
            if let Some(watched) = self.watched.remove(&id) {
                self.due.remove(&(watched.at, id));
                self.flying.remove(&(watched.at, id));
                gone.insert(place(&target), watched.status);
            }
        }
        let mut new: Vec<Target> = wanted.into_iter().filter(|t| !self.targets.contains_key(t)).collect();
        // So that the same targets are asked in the same order in every run.
        new.sort_unstable_by_key(place);
        let count = new.len() as u128;
        for (i, target) in new.into_iter().enumerate() {
            let status = gone.get(&place(&target)).map_or_else(|| Status::new(now), Status::carried);
            let spread = target.check.interval.as_nanos() * i as u128 / count;
            self.add(target, status, Nanos(now.0 + spread as u64));
        }
    }

    fn add(&mut self, target: Target, status: Status, at: Nanos) {
        let id = self.next;
        self.next += 1;
        let target = Arc::new(target);
        self.targets.insert(Arc::clone(&target), id);
        self.watched.insert(id, Watched { target, status, round: 0, at, flying: None });
        self.due.insert((at, id));
    }

    /// The next check to make now; ask until there is none.
    pub fn start(&mut self, now: Nanos) -> Option<Probe> {
        self.give_up(now);
        if self.flying.len() >= self.flying_max {
            return None;
        }
        let &(at, id) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, id));
        let watched = self.watched.get_mut(&id)?;
        if now.0 - at.0 > LATE.0 {
            self.counts[HealthEvent::Late.index()] += 1;
        }
        watched.round += 1;
        watched.flying = Some(at);
        watched.at = after(now, watched.target.check.timeout + LOST);
        self.flying.insert((watched.at, id));
        let id = ProbeId { watched: id, round: watched.round };
        Some(Probe { id, target: Arc::clone(&watched.target) })
    }

    /// Checks whose outcome never came.
    fn give_up(&mut self, now: Nanos) {
        while let Some(&(at, id)) = self.flying.first()
            && at <= now
        {
            let Some(round) = self.watched.get(&id).map(|watched| watched.round) else {
                self.flying.remove(&(at, id));
                continue;
            };
            let lost = Outcome::NotTried("the outcome of the check was lost".to_owned());
            self.outcome(now, ProbeId { watched: id, round }, lost);
        }
    }

    /// Whom a check asks, if its outcome still counts.
    pub fn target(&self, id: ProbeId) -> Option<&Target> {
        let watched = self.watched.get(&id.watched)?;
        (watched.flying.is_some() && watched.round == id.round).then(|| &*watched.target)
    }

    /// What became of a check. One whose target is gone, or which was given up, says nothing.
    pub fn outcome(&mut self, now: Nanos, id: ProbeId, outcome: Outcome) {
        let Some(watched) = self.watched.get_mut(&id.watched) else { return };
        let Some(due) = watched.flying.filter(|_| watched.round == id.round) else { return };
        self.flying.remove(&(watched.at, id.watched));
        let Check { interval, .. } = *watched.target.check;
        (watched.flying, watched.at) = (None, next_due(due, interval, now));
        self.due.insert((watched.at, id.watched));
        let event = match outcome {
            Outcome::Passed | Outcome::Silent => HealthEvent::Passed,
            Outcome::Failed(_) => HealthEvent::Failed,
            Outcome::NotTried(_) => HealthEvent::NotTried,
        };
        self.counts[event.index()] += 1;
        let usable = watched.status.state.is_usable();
        if let Some(event) = watched.status.count(now, &watched.target.check, outcome) {
            self.counts[event.index()] += 1;
            if event == HealthEvent::Flap {
                self.counts[HealthEvent::Down.index()] += 1;
            }
            self.changed |= watched.status.state.is_usable() != usable;
            tell(&watched.target, &watched.status);
        }
    }

    /// Whether a backend became usable or stopped being it since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is known of a target.
    pub fn status(&self, target: &Target) -> Option<&Status> {
        self.watched.get(self.targets.get(target)?).map(|watched| &watched.status)
    }

    /// All targets.
    pub fn all(&self) -> impl Iterator<Item = (&Target, &Status)> {
        self.watched.values().map(|watched| (&*watched.target, &watched.status))
    }

    /// How many checks are under way.
    pub fn flying(&self) -> usize {
        self.flying.len()
    }

    /// How often something happened since the start.
    pub fn count(&self, event: HealthEvent) -> u64 {
        self.counts[event.index()]
    }
}

/// Where a target is, however it is checked.
fn place(target: &Target) -> (crate::config::Id, std::net::Ipv4Addr, u16) {
    (target.vpc.clone(), target.address, target.port)
}

fn after(now: Nanos, wait: Duration) -> Nanos {
    Nanos(now.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
}

/// An interval after the check was due, so that the rhythm stays; at once where that has passed, without making up for
/// what was missed.
fn next_due(due: Nanos, interval: Duration, now: Nanos) -> Nanos {
    after(due, interval).max(now)
}

fn tell(target: &Target, status: &Status) {
    let Target { vpc, address, port, .. } = target;
    match &status.reason {
        Some(reason) => tracing::warn!(%vpc, "backend {address}:{port} is {}: {reason}", status.state.name()),
        None => tracing::info!(%vpc, "backend {address}:{port} is {}", status.state.name()),
    }
}

impl Outcome {
    /// What silence means: nothing is wrong where `answers_arp` or that is not known.
    #[must_use]
    pub fn judged(self, answers_arp: impl FnOnce() -> bool) -> Outcome {
        match self {
            Outcome::Silent if !answers_arp() => Outcome::Failed(Failure::Unreachable),
            other => other,
        }
    }
}
