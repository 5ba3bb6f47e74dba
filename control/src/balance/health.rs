//! Which backends are up, as far as somebody probes them.

use std::collections::{HashMap, HashSet};

use tidegate_fastpath::types::Nanos;

use crate::config::{BackendKey, Config};

/// What a prober found out about a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose backend, and which.
    pub backend: BackendKey,
    /// Whether it answers, after thresholds and damping.
    pub up: bool,
    /// Why, for operators.
    pub reason: String,
}

/// The state of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether it gets new connections.
    pub up: bool,
    /// Why, as the last report said.
    pub reason: String,
    /// Since when it is as it is, up or down.
    pub since: Nanos,
}

/// The states of all backends that were reported. One that was not counts as up.
#[derive(Clone, Debug, Default)]
pub struct Healths(HashMap<BackendKey, Health>);

impl Healths {
    /// Takes reports; returns whether a backend went up or down by them.
    pub fn report(&mut self, reports: impl IntoIterator<Item = Report>, now: Nanos) -> bool {
        let mut changed = false;
        for Report { backend, up, reason } in reports {
            match self.0.get_mut(&backend) {
                Some(health) if health.up == up => health.reason = reason,
                before => {
                    changed |= before.is_some() || !up;
                    self.0.insert(backend, Health { up, reason, since: now });
                }
            }
        }
        changed
    }

    /// The state of a backend; `None` for one that nobody reported.
    pub fn of(&self, backend: &BackendKey) -> Option<&Health> {
        self.0.get(backend)
    }

    /// Those that are down.
    pub fn down(&self) -> HashSet<BackendKey> {
        self.0.iter().filter(|(_, health)| !health.up).map(|(key, _)| key.clone()).collect()
    }

    /// Forgets backends that `config` does not have, or does not check.
    pub fn keep(&mut self, config: &Config) {
        if self.0.is_empty() {
            return;
        }
        let checked = config.listeners().filter(|listener| listener.health_check.is_some());
        let keys = checked.flat_map(|listener| listener.backends.iter().map(|backend| listener.key(backend)));
        let keys: HashSet<BackendKey> = keys.collect();
        self.0.retain(|key, _| keys.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::{Id, nat::Vm};

    fn key(last: u8) -> BackendKey {
        let id = |text| Id::new(text).unwrap();
        let vm = Vm { vpc: id("red"), address: Ipv4Addr::new(10, 1, 1, last) };
        BackendKey { listener: id("web"), vm, port: 80 }
    }

    fn report(last: u8, up: bool, reason: &str) -> Report {
        Report { backend: key(last), up, reason: reason.to_owned() }
    }

    #[test]
    fn only_going_up_or_down_is_a_change() {
        let mut healths = Healths::default();
        assert!(!healths.report([report(1, true, "connected")], Nanos(1)), "it counted as up before");
        assert!(healths.report([report(1, false, "refused")], Nanos(2)));
        assert!(!healths.report([report(1, false, "timeout")], Nanos(3)));
        let health = Health { up: false, reason: "timeout".into(), since: Nanos(2) };
        assert_eq!(healths.of(&key(1)), Some(&health), "the reason of now, since when it is down");
        assert!(healths.report([report(2, false, "refused"), report(1, false, "timeout")], Nanos(4)));
        assert_eq!(healths.down(), [key(1), key(2)].into());
        assert!(healths.report([report(1, true, "connected")], Nanos(5)));
        assert_eq!(healths.down(), [key(2)].into());
        assert_eq!(healths.of(&key(3)), None);
    }
}
