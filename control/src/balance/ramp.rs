//! What becomes of backends with time: slow start, and deadlines of draining. Asked before each compile, and told when the next
//! step is due.

use std::collections::{HashMap, HashSet};

use tidegate_fastpath::types::Nanos;

use crate::config::{BackendKey, Config};

/// Steps in which a backend grows to its whole weight.
const STEPS: u64 = 10;
const SECOND: u64 = 1_000_000_000;

/// A backend that grows.
#[derive(Clone, Copy, Debug)]
struct Growth {
    since: Nanos,
    whole_ns: u64,
}

impl Growth {
    /// Steps done, from 1 on.
    fn steps(self, now: Nanos) -> u64 {
        let passed = now.0.saturating_sub(self.since.0);
        (1 + passed * STEPS / self.whole_ns.max(1)).min(STEPS)
    }

    /// When the next step is due.
    fn next(self, now: Nanos) -> Nanos {
        Nanos(self.since.0 + (self.whole_ns * self.steps(now)).div_ceil(STEPS))
    }
}

/// Backends that grow or drain.
#[derive(Clone, Debug, Default)]
pub struct Ramps {
    /// Those of listeners with slow start that take connections; `None` before the first configuration.
    taking: Option<HashSet<BackendKey>>,
    growing: HashMap<BackendKey, Growth>,
    /// When those that drain lose their connections.
    deadlines: HashMap<BackendKey, Nanos>,
    due: Option<Nanos>,
}

impl Ramps {
    /// Follows the configuration and who is `down`. Backends of the first configuration have their whole weight at once: that a
    /// gateway starts says nothing about them.
    pub fn follow(&mut self, config: &Config, down: &HashSet<BackendKey>, now: Nanos) {
        let mut taking = HashSet::new();
        let mut deadlines = HashMap::new();
        for listener in config.listeners() {
            for backend in &listener.backends {
                let key = listener.key(backend);
                if let Some(seconds) = backend.drain_deadline_s.filter(|_| backend.drain) {
                    let since_now = Nanos(now.0 + u64::from(seconds) * SECOND);
                    // A deadline may be moved to an earlier time, never put off by a reload.
                    let deadline = self.deadlines.get(&key).map_or(since_now, |old| (*old).min(since_now));
                    deadlines.insert(key, deadline);
                } else if listener.slow_start_s > 0
                    && backend.weight > 0
                    && !backend.drain
                    && !down.contains(&key)
                {
                    let is_new = self.taking.as_ref().is_some_and(|before| !before.contains(&key));
                    let whole_ns = u64::from(listener.slow_start_s) * SECOND;
                    if is_new {
                        self.growing.insert(key.clone(), Growth { since: now, whole_ns });
                    } else if let Some(growth) = self.growing.get_mut(&key) {
                        growth.whole_ns = whole_ns;
                    }
                    taking.insert(key);
                }
            }
        }
        self.growing.retain(|key, growth| taking.contains(key) && growth.steps(now) < STEPS);
        self.deadlines = deadlines;
        let steps = self.growing.values().map(|growth| growth.next(now));
        let ends = self.deadlines.values().copied().filter(|deadline| *deadline > now);
        self.due = steps.chain(ends).min();
        self.taking = Some(taking);
    }

    /// Whether [`Ramps::follow`] and a compile would change something.
    pub fn is_due(&self, now: Nanos) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Backends below their whole weight, in percent of it.
    pub fn growing(&self, now: Nanos) -> HashMap<BackendKey, u16> {
        let each = self.growing.iter();
        each.map(|(key, growth)| (key.clone(), (growth.steps(now) * 100 / STEPS) as u16)).collect()
    }

    /// Backends that have drained for as long as they may.
    pub fn expired(&self, now: Nanos) -> HashSet<BackendKey> {
        let over = self.deadlines.iter().filter(|(_, deadline)| **deadline <= now);
        over.map(|(key, _)| key.clone()).collect()
    }

    /// When a backend that drains loses its connections.
    pub fn deadline(&self, backend: &BackendKey) -> Option<Nanos> {
        self.deadlines.get(backend).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn config(listener: &str, second: &str) -> Config {
        let text = format!(
            "
gateway: {{ ports: [{{ id: p, device: net_tap0 }}] }}
public_networks: [{{ id: out, port: p, cidr: 203.0.113.0/24 }}]
vpc_routers: [{{ id: red }}]
vpc_networks: [{{ id: a, vpc: red, cidr: 10.1.1.0/24, gateway: 10.1.1.1, vlan: {{ port: p, id: 7 }} }}]
vips: [{{ id: v, public_network: out, address: 203.0.113.93 }}]
load_balancers:
  - id: lb
    vip: v
    listeners:
      - id: web
        protocol: tcp
        port: 80
        {listener}
        backends: [{{ vpc: red, address: 10.1.1.5 }}{second}]
"
        );
        parse(&text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn at(second: u64) -> Nanos {
        Nanos(second * SECOND)
    }

    fn key(config: &Config, at: usize) -> BackendKey {
        let listener = config.listeners().next().unwrap();
        listener.key(&listener.backends[at])
    }

    #[test]
    fn a_backend_that_is_new_or_came_up_again_grows_in_steps() {
        let mut ramps = Ramps::default();
        let nobody = HashSet::new();
        let one = config("slow_start_s: 20", "");
        ramps.follow(&one, &nobody, at(100));
        assert!(ramps.growing(at(100)).is_empty() && !ramps.is_due(at(1000)), "the first configuration");
        let two = config("slow_start_s: 20", ", { vpc: red, address: 10.1.1.6 }");
        ramps.follow(&two, &nobody, at(100));
        let new = key(&two, 1);
        let percent = |ramps: &Ramps, second| ramps.growing(at(second)).get(&new).copied();
        assert_eq!((percent(&ramps, 100), ramps.growing(at(100)).len()), (Some(10), 1));
        assert!(!ramps.is_due(at(101)) && ramps.is_due(at(102)));
        for (second, expected) in [(102, Some(20)), (110, Some(60)), (119, Some(100))] {
            assert_eq!(percent(&ramps, second), expected);
        }
        ramps.follow(&two, &nobody, at(119));
        assert_eq!((percent(&ramps, 119), ramps.is_due(at(500))), (None, false));
        // Down, and up again.
        ramps.follow(&two, &[new.clone()].into(), at(200));
        assert!(ramps.growing(at(200)).is_empty());
        ramps.follow(&two, &nobody, at(300));
        assert_eq!(percent(&ramps, 304), Some(30));
    }

    #[test]
    fn a_deadline_counts_from_the_beginning_of_the_drain() {
        let mut ramps = Ramps::default();
        let draining = |seconds: u32| {
            config(
                "",
                &format!(", {{ vpc: red, address: 10.1.1.6, drain: true, drain_deadline_s: {seconds} }}"),
            )
        };
        let (nobody, config) = (HashSet::new(), draining(60));
        ramps.follow(&config, &nobody, at(100));
        ramps.follow(&config, &nobody, at(130));
        let key = key(&config, 1);
        assert_eq!(
            (ramps.deadline(&key), ramps.is_due(at(159)), ramps.is_due(at(160))),
            (Some(at(160)), false, true)
        );
        assert!(ramps.expired(at(159)).is_empty());
        assert_eq!(ramps.expired(at(160)), [key.clone()].into());
        ramps.follow(&config, &nobody, at(160));
        assert!(!ramps.is_due(at(500)) && ramps.expired(at(500)).contains(&key));
        ramps.follow(&draining(10), &nobody, at(130));
        assert_eq!(ramps.deadline(&key), Some(at(140)));
        ramps.follow(&super::tests::config("", ", { vpc: red, address: 10.1.1.6 }"), &nobody, at(131));
        assert!(ramps.expired(at(500)).is_empty());
    }
}
