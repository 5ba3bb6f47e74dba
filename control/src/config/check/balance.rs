//! `load_balancers`: each listener by itself, and its backends. Whether it gets along with other services of its VIP is
//! [`share`](super::share).

use std::collections::{HashMap, HashSet};

use tidegate_fastpath::table::nat::{Slice, Space};

use super::{
    At, Known, Report, http,
    share::{Claim, Party, Shares},
    text,
    vip::{Check, Named},
};
use crate::{
    config::{
        Backend, Cause, Id, Listener, LoadBalancer, Nic, Vip,
        balance::{Access, Algorithm, AllDown, DeadSessions, HealthCheck, ListenerProtocol, Mode, Probe},
        http::Certificate,
        nat::{PortRange, Share, Vm},
        raw::{
            RawAccess, RawBackend, RawBackendGroup, RawHealthCheck, RawListener, RawLoadBalancer, range as r,
        },
    },
    desired::FULL_NAT_NETWORKS_MAX,
};

/// What load balancers refer to.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) nics: &'a Known<Nic>,
    pub(super) vips: &'a Known<Vip>,
    pub(super) certificates: &'a Known<Certificate>,
}

/// What listeners share while they are checked.
struct Seen<'a> {
    named: Names<'a>,
    shares: &'a mut Shares,
    /// Listeners by name, over all load balancers.
    names: HashMap<String, Party>,
}

/// Whose listener it is.
#[derive(Clone, Copy)]
struct Of<'a> {
    section: &'a str,
    balancer: Option<&'a Id>,
    vip: Option<&'a str>,
}

impl Check<'_> {
    pub(super) fn load_balancers(
        &self,
        raw: &[RawLoadBalancer],
        named: Names<'_>,
        shares: &mut Shares,
        report: &mut Report,
    ) -> Known<LoadBalancer> {
        let mut seen = Seen { named, shares, names: HashMap::new() };
        let mut masked: HashSet<Id> = HashSet::new();
        Known::collect(
            "load_balancers",
            raw,
            |raw| raw.id.as_deref(),
            report,
            |at, id, raw, report| {
                named.vips.refer(at, "vip", raw.vip.as_deref(), "vips", report);
                let section = at.path("listeners");
                let of = Of { section: &section, balancer: id.as_ref(), vip: raw.vip.as_deref() };
                let listeners = raw.listeners.iter().enumerate().map(|(i, raw)| {
                    let at = At { section: &section, index: Some(i), id: raw.id.as_deref() };
                    self.listener(at, of, raw, &mut seen, report)
                });
                let listeners: Vec<Option<Listener>> = listeners.collect();
                self.masked(at, listeners.iter().flatten(), &mut masked, report);
                Some(LoadBalancer {
                    id: id?,
                    vip: Id::new(raw.vip.as_deref()?)?,
                    listeners: listeners.into_iter().collect::<Option<_>>()?,
                })
            },
        )
    }

    /// Full NAT needs a number for our address in each network, and there are so many.
    fn masked<'l>(
        &self,
        at: At<'_>,
        listeners: impl Iterator<Item = &'l Listener>,
        masked: &mut HashSet<Id>,
        report: &mut Report,
    ) {
        let before = masked.len();
        for listener in listeners.filter(|listener| listener.mode == Mode::FullNat) {
            let networks = self.by_vpc.get(&listener.vpc).map_or(&[][..], |networks| networks);
            let of = |address| networks.iter().find(move |network| network.cidr.contains(address));
            let each = listener.backends.iter().filter_map(|backend| of(&backend.vm.address));
            masked.extend(each.map(|network| network.id.clone()));
        }
        let max = usize::from(FULL_NAT_NETWORKS_MAX);
        if before <= max && masked.len() > max {
            let what = format!("asks for full NAT in more than {max} networks of this gateway");
            report.lacks(at, "listeners", what, "use dnat where backends route by the gateway");
        }
    }

    fn listener(
        &self,
        at: At<'_>,
        of: Of<'_>,
        raw: &RawListener,
        seen: &mut Seen<'_>,
        report: &mut Report,
    ) -> Option<Listener> {
        let id = report.read(at, "id", at.id, text::id);
        named_once(at, of, seen, report);
        let protocol = raw.protocol.as_deref().map(protocol);
        let ports = ports(at, raw, report);
        let slice = protocol.zip(ports).map(|(protocol, ports)| slice(protocol, ports));
        let backends = self.backends(at, raw, ports, seen.named.nics, report);
        let vpc = one_vpc(at, &backends, report);
        if let (Some(vip), Some(slice)) = (of.vip, slice) {
            let claim =
                Claim::new(of.section.to_owned(), at, String::new(), vip, Share::Slice(slice), vpc.clone());
            let key = if raw.port.is_some() { "port" } else { "ports" };
            seen.shares.claim(claim.with_ports_at(key));
        }
        let known = seen.named.certificates;
        let http = protocol.map(|protocol| http::http(at, raw, protocol, &backends, known, report));
        let access = access(at, raw.access.as_ref(), report);
        let health_check = match &raw.health_check {
            Some(raw) => health_check(at, raw, report),
            None => Some(None),
        };
        if let Some(protocol) = protocol {
            not_together(at, raw, protocol, ports, report);
        }
        Some(Listener {
            id: id?,
            balancer: of.balancer?.clone(),
            vip: Id::new(of.vip?)?,
            vpc: vpc?,
            protocol: protocol?,
            slice: slice?,
            algorithm: algorithm(raw),
            mode: if raw.mode.as_deref() == Some("full_nat") { Mode::FullNat } else { Mode::Dnat },
            persistence_s: raw.persistence.as_ref().map(|raw| seconds(raw.timeout_s, r::PERSISTENCE_DEFAULT)),
            max_connections: seconds(raw.max_connections, r::CONNECTIONS_DEFAULT),
            idle_timeout_s: raw.idle_timeout_s.map(|s| seconds(Some(s), 1)),
            access: access?,
            all_down: if raw.all_down.as_deref() == Some("open") { AllDown::Open } else { AllDown::Refuse },
            dead_sessions: match raw.dead_sessions.as_deref() {
                Some("reset") => DeadSessions::Reset,
                _ => DeadSessions::Keep,
            },
            slow_start_s: seconds(raw.slow_start_s, 0),
            health_check: health_check?,
            http: Box::new(http??),
            backends: backends.into_iter().collect::<Option<_>>()?,
        })
    }

    /// Those of the listener itself, then those of its groups.
    fn backends(
        &self,
        at: At<'_>,
        raw: &RawListener,
        ports: Option<PortRange>,
        nics: &Known<Nic>,
        report: &mut Report,
    ) -> Vec<Option<Backend>> {
        let mut all: Vec<(String, Option<Id>, &RawBackend)> = Vec::new();
        let section = at.path("backends");
        all.extend(raw.backends.iter().enumerate().map(|(i, raw)| (format!("{section}[{i}]"), None, raw)));
        let groups = at.path("groups");
        let known = Known::collect(
            &groups,
            &raw.groups,
            |raw: &RawBackendGroup| raw.id.as_deref(),
            report,
            |_, id, _, _| id,
        );
        for (i, (raw, id)) in raw.groups.iter().zip(&known.items).enumerate() {
            let each = raw.backends.iter().enumerate();
            all.extend(each.map(|(j, raw)| (format!("{groups}[{i}].backends[{j}]"), id.clone(), raw)));
        }
        if all.is_empty() {
            report.lacks(at, "backends", "is without backends", "give one or more, or remove the listener");
        }
        let mut taken: HashMap<(Vm, u16), String> = HashMap::new();
        let each = all.into_iter().map(|(path, group, raw)| {
            let here = At { section: &path, index: None, id: at.id };
            let backend = self.backend(here, group, raw, ports, nics, report)?;
            let whose = (backend.vm.clone(), backend.port);
            if let Some(first) = taken.get(&whose) {
                let value = format!("{}:{}", backend.vm.address, backend.port);
                report.clash(here, "", value, format!("is {first} already"), "remove one of them");
            } else {
                taken.insert(whose, path.clone());
            }
            Some(backend)
        });
        each.collect()
    }

    fn backend(
        &self,
        at: At<'_>,
        group: Option<Id>,
        raw: &RawBackend,
        ports: Option<PortRange>,
        nics: &Known<Nic>,
        report: &mut Report,
    ) -> Option<Backend> {
        let by = Named { nic: &raw.nic, vpc: &raw.vpc, address: &raw.address };
        let vm = self.vm(at, by, nics, report);
        let ports = ports?;
        let port = raw.port.map_or(Some(ports.first), |port| u16::try_from(port).ok())?;
        if port.checked_add(ports.span()).is_none() {
            let what =
                format!("leaves no room for the {} ports of the listener", u32::from(ports.span()) + 1);
            report.add(at, "port", port, what, "give a lower one");
            return None;
        }
        Some(Backend {
            group,
            vm: vm?,
            port,
            weight: u16::try_from(raw.weight.unwrap_or(r::WEIGHT_DEFAULT)).ok()?,
            max_connections: raw.max_connections.map_or(u32::MAX, |max| seconds(Some(max), 1)),
            drain: raw.drain.unwrap_or(false),
            drain_deadline_s: raw.drain_deadline_s.map(|s| seconds(Some(s), 1)),
        })
    }
}

/// Names of listeners are those of metrics and tools, so no two load balancers have one.
fn named_once(at: At<'_>, of: Of<'_>, seen: &mut Seen<'_>, report: &mut Report) {
    let Some(id) = at.id else { return };
    match seen.names.get(id) {
        Some(first) => {
            report.clash(at, "id", id, format!("is the id of {first} already"), "choose another id");
        }
        None => _ = seen.names.insert(id.to_owned(), Party::of(of.section.to_owned(), at)),
    }
}

fn protocol(text: &str) -> ListenerProtocol {
    match text {
        "udp" => ListenerProtocol::Udp,
        "http" => ListenerProtocol::Http,
        "https" => ListenerProtocol::Https,
        _ => ListenerProtocol::Tcp,
    }
}

fn algorithm(raw: &RawListener) -> Algorithm {
    match raw.algorithm.as_deref() {
        Some("weightroundrobin") => Algorithm::WeightRoundRobin,
        Some("leastconn") => Algorithm::LeastConnections,
        Some("source") => Algorithm::Source,
        Some("consistent") => Algorithm::Consistent,
        _ => Algorithm::RoundRobin,
    }
}

/// A number that the shape has bounded.
fn seconds(raw: Option<u64>, default: u64) -> u32 {
    u32::try_from(raw.unwrap_or(default)).unwrap_or(u32::MAX)
}

/// `port` or `ports`.
fn ports(at: At<'_>, raw: &RawListener, report: &mut Report) -> Option<PortRange> {
    match (raw.port, raw.ports.as_deref()) {
        (Some(port), None) => {
            let port = u16::try_from(port).ok()?;
            Some(PortRange { first: port, last: port })
        }
        (None, ports @ Some(_)) => report.read(at, "ports", ports, text::ports),
        (None, None) => {
            report.lacks(at, "port", "is missing", "give `port` or `ports`");
            None
        }
        (Some(_), Some(_)) => {
            report.lacks(at, "", "has a port and a range", "keep one of `port` and `ports`");
            None
        }
    }
}

fn slice(protocol: ListenerProtocol, ports: PortRange) -> Slice {
    let space = if protocol == ListenerProtocol::Udp { Space::Udp } else { Space::Tcp };
    Slice { protocol: space.protocol(), first: ports.first, last: ports.last }
}

/// The VPC of all backends that are known.
fn one_vpc(at: At<'_>, backends: &[Option<Backend>], report: &mut Report) -> Option<Id> {
    let mut known = backends.iter().flatten().map(|backend| &backend.vm.vpc);
    let first = known.next()?;
    if let Some(other) = known.find(|vpc| *vpc != first) {
        let what = format!("has backends of VPC {first} and of VPC {other}");
        report.because(Cause::Clash, |report| report.lacks(at, "backends", what, "keep those of one VPC"));
    }
    Some(first.clone())
}

fn access(at: At<'_>, raw: Option<&RawAccess>, report: &mut Report) -> Option<Access> {
    let Some(raw) = raw else { return Some(Access::Everybody) };
    let texts = raw.cidrs.as_deref().unwrap_or_default();
    let cidrs = report.read_all(at, "access.cidrs", texts, text::allowed);
    let cidrs = cidrs.into_iter().collect::<Option<Vec<_>>>()?;
    Some(if raw.policy.as_deref() == Some("deny") { Access::Deny(cidrs) } else { Access::Allow(cidrs) })
}

/// `Some(None)` for no check.
fn health_check(at: At<'_>, raw: &RawHealthCheck, report: &mut Report) -> Option<Option<HealthCheck>> {
    let keys = [
        ("http", "method", raw.method.is_some()),
        ("http", "path", raw.path.is_some()),
        ("http", "host", raw.host.is_some()),
        ("http", "expect", raw.expect.is_some()),
        ("udp", "send", raw.send.is_some()),
        ("udp", "answer", raw.answer.is_some()),
    ];
    let kind = raw.kind.as_deref()?;
    for (_, key, _) in keys.iter().filter(|(of, _, given)| *given && *of != kind) {
        let key = format!("health_check.{key}");
        report.lacks(at, &key, format!("means nothing to a check by {kind}"), "remove it");
    }
    let probe = match kind {
        "tcp" => Probe::Tcp,
        "udp" => Probe::Udp { send: raw.send.clone().unwrap_or_default(), answer: raw.answer.clone() },
        "http" => http_probe(at, raw, report)?,
        _ => return Some(None),
    };
    Some(Some(HealthCheck {
        probe,
        interval_s: seconds(raw.interval_s, r::HEALTH_INTERVAL_DEFAULT),
        timeout_s: seconds(raw.timeout_s, r::HEALTH_TIMEOUT_DEFAULT),
        healthy: seconds(raw.healthy, r::HEALTHY_DEFAULT),
        unhealthy: seconds(raw.unhealthy, r::UNHEALTHY_DEFAULT),
        port: raw.port.and_then(|port| u16::try_from(port).ok()),
    }))
}

fn http_probe(at: At<'_>, raw: &RawHealthCheck, report: &mut Report) -> Option<Probe> {
    let path = raw.path.as_deref().or(Some("/"));
    let path = report.read(at, "health_check.path", path, text::url_path);
    let host = raw.host.as_deref();
    let host = host.map(|host| report.read(at, "health_check.host", Some(host), text::http_host));
    let texts = match &raw.expect {
        Some(expect) => expect.clone(),
        None => r::HEALTH_EXPECT_DEFAULT.map(str::to_owned).to_vec(),
    };
    let expect = report.read_all(at, "health_check.expect", &texts, text::status_codes);
    Some(Probe::Http {
        method: if raw.method.as_deref() == Some("GET") { "GET" } else { "HEAD" },
        path: path?,
        host: match host {
            Some(host) => Some(host?),
            None => None,
        },
        expect: expect.into_iter().collect::<Option<_>>()?,
    })
}

/// Keys that contradict each other.
fn not_together(
    at: At<'_>,
    raw: &RawListener,
    protocol: ListenerProtocol,
    ports: Option<PortRange>,
    report: &mut Report,
) {
    if let Some(ports) = ports.filter(|ports| protocol.is_proxied() && ports.span() > 0) {
        let what = format!("is a range, and a listener of {} has one port", protocol.label());
        report.add(at, "ports", ports, what, "give `port`, and a listener for each port");
    }
    if let Some(mode) = raw.mode.as_deref().filter(|mode| *mode == "full_nat" && protocol.is_proxied()) {
        let what = format!("means nothing to a listener of {}: backends see the gateway", protocol.label());
        report.add(at, "mode", mode, what, "remove the key");
    }
    let hashed = matches!(algorithm(raw), Algorithm::Source | Algorithm::Consistent);
    if let Some(ramp) = raw.slow_start_s.filter(|s| *s > 0 && hashed) {
        let what = format!("would move clients of algorithm {} while it lasts", algorithm(raw).label());
        report.add(at, "slow_start_s", ramp, what, "remove it, or choose another algorithm");
    }
}
