//! The health checks of a configuration: which targets its listeners need, and what a target's state says about which
//! backends.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc, time::Duration};

use tidegate_fastpath::types::{Nanos, NetId};

use super::{
    Check, Codes, HealthEvent, Http, Kind, Method, Monitor, Outcome, Probe, ProbeId, State, Status, Target,
    Udp,
};
use crate::{
    balance::Report,
    config::{
        BackendKey, Config, Listener, TableKey, VpcNetwork,
        balance::{self, HealthCheck},
        nat::Vm,
    },
    desired::{Desired, NetKey},
};

/// Which backends are checked how, and where each stands.
#[derive(Debug)]
pub struct Checks {
    monitor: Monitor,
    /// Whose state a target's is.
    backends: HashMap<Target, Vec<BackendKey>>,
}

impl Checks {
    /// Nothing yet; at most `flying_max` checks are under way at a time.
    pub fn new(flying_max: usize) -> Checks {
        Checks { monitor: Monitor::new(flying_max), backends: HashMap::new() }
    }

    /// Checks the backends of `config`; gives what is known of them. Who stays is not disturbed.
    pub fn configure(&mut self, now: Nanos, config: &Config) -> Vec<Report> {
        self.backends = targets(config);
        self.monitor.configure(now, self.backends.keys().cloned());
        self.backends.keys().flat_map(|target| self.reports(target)).collect()
    }

    /// The next check to make now; ask until there is none.
    pub fn start(&mut self, now: Nanos) -> Option<Probe> {
        self.monitor.start(now)
    }

    /// What became of a check. `is_there` says whether a neighbour answers ARP. Gives what is known now of the backends.
    pub fn outcome(
        &mut self,
        now: Nanos,
        id: ProbeId,
        outcome: Outcome,
        is_there: impl FnOnce(&Target) -> bool,
    ) -> Vec<Report> {
        let Some(target) = self.monitor.target(id).cloned() else { return Vec::new() };
        self.monitor.outcome(now, id, outcome.judged(|| is_there(&target)));
        self.reports(&target)
    }

    /// How many backends (their addresses and ports) are in each state, in the order of [`State::ALL`].
    pub fn states(&self) -> [u64; State::ALL.len()] {
        let of = |state| self.monitor.all().filter(|(_, status)| status.state == state).count() as u64;
        State::ALL.map(of)
    }

    /// How often something happened since the start.
    pub fn count(&self, event: HealthEvent) -> u64 {
        self.monitor.count(event)
    }

    fn reports(&self, target: &Target) -> Vec<Report> {
        let Some(status) = self.monitor.status(target) else { return Vec::new() };
        let backends = self.backends.get(target).into_iter().flatten();
        let report = |backend: &BackendKey| Report {
            backend: backend.clone(),
            up: status.state.is_usable(),
            reason: reason(status, &target.check),
        };
        backends.map(report).collect()
    }
}

/// The state in words: what the last checks said, and how far it is to a change.
fn reason(status: &Status, check: &Check) -> String {
    if let Some(why) = &status.hindered {
        return format!("not checked: {why}");
    }
    let failure = status.reason.as_ref().map_or_else(String::new, ToString::to_string);
    match status.state {
        State::Unknown if status.failed == 0 => "not checked yet".to_owned(),
        State::Unknown | State::Up if status.failed > 0 => {
            format!("{failure} ({} of {} failures)", status.failed, check.unhealthy)
        }
        State::Unknown | State::Up => "passed".to_owned(),
        State::Down if status.passed > 0 => {
            format!("{failure} ({} of {} successes)", status.passed, status.needed(check))
        }
        State::Down => failure,
    }
}

/// Every target of a configuration, and whose state it is.
fn targets(config: &Config) -> HashMap<Target, Vec<BackendKey>> {
    let mut targets: HashMap<Target, Vec<BackendKey>> = HashMap::new();
    // A proxy checks its backends itself.
    for listener in config.listeners().filter(|listener| !listener.protocol.is_proxied()) {
        let Some(health) = &listener.health_check else { continue };
        let check = Arc::new(check(health));
        for (target, backend) in of_listener(config, listener, health, &check) {
            targets.entry(target).or_default().push(backend);
        }
    }
    targets
}

fn of_listener<'a>(
    config: &'a Config,
    listener: &'a Listener,
    health: &'a HealthCheck,
    check: &'a Arc<Check>,
) -> impl Iterator<Item = (Target, BackendKey)> + 'a {
    listener.backends.iter().filter_map(move |backend| {
        let network = network_of(config, &backend.vm)?;
        let target = Target {
            vpc: backend.vm.vpc.clone(),
            source: network.gateway,
            address: backend.vm.address,
            port: health.port.unwrap_or(backend.port),
            check: Arc::clone(check),
        };
        Some((target, listener.key(backend)))
    })
}

/// The network that a VM is on; one of its VPC where it is behind a route.
pub fn network_of<'a>(config: &'a Config, vm: &'a Vm) -> Option<&'a VpcNetwork> {
    let of_vpc = || config.networks.of(&vm.vpc);
    of_vpc().find(|network| network.cidr.contains(&vm.address)).or_else(|| of_vpc().next())
}

/// The network whose neighbour a target is; `None` for one behind a route.
pub fn link_of(desired: &Desired, target: &Target) -> Option<(NetId, Ipv4Addr)> {
    let on_link = |network: &&VpcNetwork| network.cidr.contains(&target.address);
    let network = desired.config().networks.of(&target.vpc).find(on_link)?;
    Some((desired.net(&NetKey::Vpc(network.id.clone()))?, target.address))
}

/// The routing table whose namespace a target is probed from.
pub fn table_of(target: &Target) -> TableKey {
    TableKey::Vpc(target.vpc.clone())
}

fn check(health: &HealthCheck) -> Check {
    let kind = match &health.probe {
        balance::Probe::Tcp => Kind::Tcp,
        balance::Probe::Udp { send, answer } => Kind::Udp(Udp {
            send: send.as_bytes().into(),
            expect: answer.as_ref().map(|answer| answer.as_bytes().into()),
        }),
        balance::Probe::Http { method, path, host, expect } => Kind::Http(Http {
            method: if *method == "GET" { Method::Get } else { Method::Head },
            path: path.clone(),
            host: host.clone(),
            expected: Codes(expect.as_slice().into()),
        }),
    };
    Check {
        kind,
        interval: Duration::from_secs(health.interval_s.into()),
        timeout: Duration::from_secs(health.timeout_s.into()),
        healthy: health.healthy,
        unhealthy: health.unhealthy,
    }
}

#[cfg(test)]
mod tests {
    use tidegate_fastpath::table::nat::Slice;

    use super::*;
    use crate::{
        config::{Id, parse},
        health::Failure,
    };

    fn id(text: &str) -> Id {
        Id::new(text).unwrap()
    }

    /// Two listeners for the same VM, of which the second checks it otherwise from `port` on.
    fn config(port: Option<u16>) -> Config {
        let mut config = parse(include_str!("../../../docs/examples/nat.yaml")).unwrap();
        let vm = Vm { vpc: id("vpc-1"), address: Ipv4Addr::new(10, 1, 1, 11) };
        let listener = |name: &str, port| {
            let check = HealthCheck {
                probe: balance::Probe::Tcp,
                interval_s: 1,
                timeout_s: 2,
                healthy: 2,
                unhealthy: 2,
                port,
            };
            let backend = balance::Backend {
                group: None,
                vm: vm.clone(),
                port: 8080,
                weight: 100,
                max_connections: u32::MAX,
                drain: false,
                drain_deadline_s: None,
            };
            balance::Listener {
                id: id(name),
                balancer: id("lb"),
                vip: id("spare"),
                vpc: id("vpc-1"),
                protocol: balance::ListenerProtocol::Tcp,
                slice: Slice { protocol: 6, first: 80, last: 80 },
                algorithm: balance::Algorithm::RoundRobin,
                mode: balance::Mode::Dnat,
                persistence_s: None,
                max_connections: 1000,
                idle_timeout_s: None,
                access: balance::Access::Everybody,
                all_down: balance::AllDown::Refuse,
                dead_sessions: balance::DeadSessions::Keep,
                slow_start_s: 0,
                health_check: Some(check),
                http: Box::default(),
                backends: vec![backend],
            }
        };
        let listeners = vec![listener("a", None), listener("b", port)];
        let balancer = balance::LoadBalancer { id: id("lb"), vip: id("spare"), listeners };
        config.load_balancers = [balancer].into_iter().collect();
        config
    }

    /// The state of each backend: its listener, whether it is up, and why.
    fn told(mut reports: Vec<Report>) -> Vec<String> {
        reports.sort_unstable_by(|a, b| a.backend.cmp(&b.backend));
        let line =
            |r: Report| format!("{} {} {}", r.backend.listener, if r.up { "up" } else { "down" }, r.reason);
        reports.into_iter().map(line).collect()
    }

    #[test]
    fn listeners_that_check_alike_share_a_check() {
        let mut checks = Checks::new(10);
        let reports = checks.configure(Nanos(0), &config(None));
        assert_eq!(told(reports), ["a up not checked yet", "b up not checked yet"]);
        let probe = checks.start(Nanos(0)).unwrap();
        assert_eq!((probe.target.source, probe.target.port), (Ipv4Addr::new(10, 1, 1, 1), 8080));
        assert_eq!(checks.start(Nanos(0)), None, "both are one");
        let refused = Outcome::Failed(Failure::Refused);
        let reports = checks.outcome(Nanos(1), probe.id, refused.clone(), |_| true);
        assert_eq!(told(reports), ["a up refused (1 of 2 failures)", "b up refused (1 of 2 failures)"]);
        let probe = checks.start(Nanos(1_000_000_000)).unwrap();
        let reports = checks.outcome(Nanos(1_000_000_001), probe.id, refused, |_| true);
        assert_eq!(told(reports), ["a down refused", "b down refused"]);
        assert_eq!(checks.states(), [0, 0, 1]);

        let reports = checks.configure(Nanos(1_000_000_002), &config(Some(9000)));
        assert_eq!(
            told(reports),
            ["a down refused", "b up not checked yet"],
            "another port is another check"
        );
    }

    #[test]
    fn a_reason_says_how_far_it_is_to_a_change() {
        let check = check(&config(None).listeners().next().unwrap().health_check.clone().unwrap());
        let mut status = Status::new(Nanos(0));
        let mut after = |outcome| {
            status.count(Nanos(0), &check, outcome);
            reason(&status, &check)
        };
        assert_eq!(after(Outcome::Passed), "passed");
        assert_eq!(after(Outcome::NotTried("no namespace".into())), "not checked: no namespace");
        assert_eq!(after(Outcome::Failed(Failure::Status(503))), "status 503 (1 of 2 failures)");
        assert_eq!(after(Outcome::Failed(Failure::Timeout)), "no answer in time");
        assert_eq!(after(Outcome::Passed), "no answer in time (1 of 4 successes)", "it flaps");
    }
}
