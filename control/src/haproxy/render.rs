//! A configuration as HAProxy's text. Pure: the same listeners give the same text. Names come from ids, whose characters
//! are harmless; every other text goes through [`quote`](super::quote).

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use super::quote::{format_word, word};
use crate::{
    config::{
        Config, Id, Listener,
        balance::{Access, Algorithm, Backend, DeadSessions, HealthCheck, Probe},
        http::{Certificate, Connections, Cookie, Http, ProxyProtocol, Rule, Tls, TlsVersion},
        nat::Vm,
    },
    health::checks::network_of,
};

/// Largest weight of a server.
const WEIGHT_MAX: u32 = 256;
/// Most connections of one process. Each needs two file descriptors.
const CONNECTIONS_MAX: u64 = 400_000;
/// Seconds without data after which a connection ends, where the listener does not say.
const IDLE_S: u32 = 60;

/// What one HAProxy serves: the proxied listeners of a VPC router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The VPC router.
    pub vpc: Id,
    /// Its listeners, in the order of the document.
    pub fronts: Vec<Front>,
    /// The certificates that they show.
    pub certificates: Vec<PemFile>,
}

/// A listener, and what else is to be known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// The listener.
    pub listener: Listener,
    /// The VIP.
    pub address: Ipv4Addr,
    /// From which address each VM is asked: the gateway's in its network.
    pub sources: BTreeMap<Vm, Ipv4Addr>,
}

/// A certificate and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    /// Its name.
    pub id: Id,
    /// The operator's file.
    pub file: PathBuf,
}

/// Every HAProxy that a configuration asks for.
pub fn instances(config: &Config) -> Vec<Instance> {
    let mut by_vpc: BTreeMap<&Id, Vec<Front>> = BTreeMap::new();
    for listener in config.listeners().filter(|listener| listener.protocol.is_proxied()) {
        let Some(vip) = config.vips.get(&listener.vip) else { continue };
        let source = |backend: &Backend| Some((backend.vm.clone(), network_of(config, &backend.vm)?.gateway));
        let sources = listener.backends.iter().filter_map(source).collect();
        let front = Front { listener: listener.clone(), address: vip.address, sources };
        by_vpc.entry(&listener.vpc).or_default().push(front);
    }
    let instance = |(vpc, fronts): (&Id, Vec<Front>)| {
        let shown = fronts.iter().filter_map(|front| front.http().tls.as_ref());
        let shown: HashSet<&Id> = shown.flat_map(|tls| &tls.certificates).collect();
        let used = config.certificates.iter().filter(|certificate| shown.contains(&certificate.id));
        let file = |Certificate { id, file }: &Certificate| PemFile { id: id.clone(), file: file.clone() };
        Instance { vpc: vpc.clone(), certificates: used.map(file).collect(), fronts: fronts.clone() }
    };
    by_vpc.into_iter().map(instance).collect()
}

impl Front {
    fn http(&self) -> &Http {
        &self.listener.http
    }
}

/// Where HAProxy finds what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its socket for statistics, which also passes the sockets that listen on from one process to the next.
    pub socket: PathBuf,
    /// The certificates, each with its key.
    pub certificates: BTreeMap<Id, PathBuf>,
}

/// The text for an instance.
pub fn render(instance: &Instance, place: &Place) -> String {
    let mut text = String::new();
    let out = &mut text;
    let most: u64 = instance.fronts.iter().map(|front| u64::from(front.listener.max_connections)).sum();
    line(out, "# Written by tidegate; changes are lost.");
    line(out, "global");
    line(out, "  user haproxy");
    line(out, "  group haproxy");
    line(out, "  chroot /var/lib/haproxy");
    line(out, "  nbthread 1");
    line(out, format_args!("  maxconn {}", most.min(CONNECTIONS_MAX)));
    // Fewer file descriptors than that are a warning, not an end.
    line(out, "  no strict-limits");
    // Processes of former configurations end with their connections, and after an hour with those that are left.
    line(out, "  hard-stop-after 1h");
    line(
        out,
        format_args!("  stats socket {} mode 600 level admin expose-fd listeners", path(&place.socket)),
    );
    line(out, "  tune.ssl.default-dh-param 2048");
    line(out, "  ssl-default-bind-options no-tls-tickets");
    line(out, "defaults");
    line(out, "  mode http");
    line(out, "  option redispatch");
    line(out, "  retries 3");
    line(out, "  timeout connect 5s");
    line(out, "  timeout queue 10s");
    line(out, "  timeout http-request 10s");
    for front in &instance.fronts {
        frontend(out, front, place);
        let (groups, rest) = pools(front);
        backend(out, front, front.listener.id.as_str(), &rest);
        for (group, backends) in groups {
            backend(out, front, &pool_name(front, group), &backends);
        }
    }
    text
}

fn line(out: &mut String, text: impl std::fmt::Display) {
    // Writing to a string succeeds.
    let _ = writeln!(out, "{text}");
}

fn path(path: &Path) -> String {
    word(&path.display().to_string()).into_owned()
}

/// The name of the backend of a group. No id has a colon.
fn pool_name(front: &Front, group: &Id) -> String {
    format!("{}:{group}", front.listener.id)
}

/// Backends by the groups that rules name, and all others.
fn pools(front: &Front) -> (BTreeMap<&Id, Vec<&Backend>>, Vec<&Backend>) {
    let named: HashSet<&Id> = front.http().rules.iter().map(|rule| &rule.group).collect();
    let mut groups: BTreeMap<&Id, Vec<&Backend>> = BTreeMap::new();
    let mut rest = Vec::new();
    for backend in &front.listener.backends {
        match backend.group.as_ref().filter(|group| named.contains(group)) {
            Some(group) => groups.entry(group).or_default().push(backend),
            None => rest.push(backend),
        }
    }
    (groups, rest)
}

fn frontend(out: &mut String, front: &Front, place: &Place) {
    let Front { listener, address, .. } = front;
    let http = front.http();
    line(out, format_args!("frontend {}", listener.id));
    let tls = http.tls.as_ref().map_or_else(String::new, |tls| bind_tls(tls, place));
    line(out, format_args!("  bind {address}:{}{tls}", listener.slice.first));
    line(out, format_args!("  maxconn {}", listener.max_connections));
    line(out, format_args!("  timeout client {}s", listener.idle_timeout_s.unwrap_or(IDLE_S)));
    access(out, &listener.access);
    line(out, format_args!("  {}", connections(http.connections)));
    line(out, "  option forwardfor");
    let scheme = if http.tls.is_some() { "https" } else { "http" };
    line(out, format_args!("  http-request set-header X-Forwarded-Proto {scheme}"));
    if let Some(redirect) = http.redirect {
        let port = if redirect.port == 443 { String::new() } else { format!(":{}", redirect.port) };
        let to = format!("'https://%[req.hdr(host),field(1,:)]{port}%[pathq]'");
        line(out, format_args!("  http-request redirect code {} location {to}", redirect.code));
    }
    if !http.compression.is_empty() {
        let kinds: Vec<_> = http.compression.iter().map(|kind| kind.label()).collect();
        line(out, format_args!("  compression algo {}", kinds.join(" ")));
        line(
            out,
            "  compression type text/html text/plain text/css text/javascript application/javascript application/json",
        );
    }
    for rule in &http.rules {
        line(out, format_args!("  use_backend {} if{}", pool_name(front, &rule.group), condition(rule)));
    }
    line(out, format_args!("  default_backend {}", listener.id));
}

fn bind_tls(tls: &Tls, place: &Place) -> String {
    let mut text = " ssl".to_owned();
    for id in &tls.certificates {
        if let Some(file) = place.certificates.get(id) {
            text += &format!(" crt {}", path(file));
        }
    }
    let version = |version| match version {
        TlsVersion::V1_0 => "TLSv1.0",
        TlsVersion::V1_1 => "TLSv1.1",
        TlsVersion::V1_2 => "TLSv1.2",
        TlsVersion::V1_3 => "TLSv1.3",
    };
    text += &format!(" ssl-min-ver {} ssl-max-ver {}", version(tls.lowest), version(tls.highest));
    text + if tls.h2 { " alpn h2,http/1.1" } else { " alpn http/1.1" }
}

/// Who may connect. A line holds few words, so each CIDR has one.
fn access(out: &mut String, access: &Access) {
    let (cidrs, refused) = match access {
        Access::Everybody => return,
        Access::Allow(cidrs) => (cidrs, "!listed"),
        Access::Deny(cidrs) => (cidrs, "listed"),
    };
    for cidr in cidrs {
        line(out, format_args!("  acl listed src {cidr}"));
    }
    line(out, format_args!("  tcp-request connection reject if {refused}"));
}

const fn connections(connections: Connections) -> &'static str {
    match connections {
        Connections::ServerClose => "option http-server-close",
        Connections::KeepAlive => "option http-keep-alive",
        Connections::Close => "option httpclose",
    }
}

fn condition(rule: &Rule) -> String {
    let host = rule.host.as_ref().map(|host| {
        let (how, text) = match host.strip_prefix('*') {
            Some(domain) => ("end", domain),
            None => ("str", host.as_str()),
        };
        format!(" {{ req.hdr(host),field(1,:),lower -m {how} -- {} }}", word(text))
    });
    let path = rule.path.as_ref().map(|path| format!(" {{ path_beg -i -- {} }}", word(path)));
    format!("{}{}", host.unwrap_or_default(), path.unwrap_or_default())
}

fn backend(out: &mut String, front: &Front, name: &str, backends: &[&Backend]) {
    let Front { listener, .. } = front;
    let http = front.http();
    let idle = listener.idle_timeout_s.unwrap_or(IDLE_S);
    line(out, format_args!("backend {name}"));
    match listener.algorithm {
        Algorithm::RoundRobin | Algorithm::WeightRoundRobin => line(out, "  balance roundrobin"),
        Algorithm::LeastConnections => line(out, "  balance leastconn"),
        // The check refuses the other one.
        Algorithm::Source | Algorithm::Consistent => line(out, "  balance source\n  hash-type consistent"),
    }
    line(out, format_args!("  timeout server {idle}s"));
    line(out, format_args!("  timeout tunnel {idle}s"));
    line(out, format_args!("  {}", connections(http.connections)));
    match &http.cookie {
        None => {}
        Some(Cookie::Insert { name, idle_s }) => {
            line(out, format_args!("  cookie {} insert indirect nocache maxidle {idle_s}s", word(name)));
        }
        Some(Cookie::Rewrite { name }) => line(out, format_args!("  cookie {} rewrite nocache", word(name))),
    }
    if let Some(seconds) = listener.persistence_s {
        line(out, format_args!("  stick-table type ip size 200k expire {seconds}s"));
        line(out, "  stick on src");
    }
    if let Some(check) = &listener.health_check {
        health_check(out, check);
    }
    let largest = backends.iter().map(|backend| u32::from(backend.weight)).max().unwrap_or(0);
    for backend in backends {
        server(out, front, backend, largest);
    }
}

fn health_check(out: &mut String, check: &HealthCheck) {
    line(out, format_args!("  timeout check {}s", check.timeout_s));
    if let Probe::Http { method, path, host, expect } = &check.probe {
        let host = host.as_ref().map_or_else(String::new, |host| format!(" hdr Host {}", format_word(host)));
        line(out, "  option httpchk");
        let version = if host.is_empty() { "HTTP/1.0" } else { "HTTP/1.1" };
        line(out, format_args!("  http-check send meth {method} uri {} ver {version}{host}", word(path)));
        let range = |(first, last): &(u16, u16)| format!("{first}-{last}");
        let codes: Vec<String> = expect.iter().map(range).collect();
        line(out, format_args!("  http-check expect status {}", codes.join(",")));
    }
}

/// What a backend is called within its listener.
pub(super) fn server_name(backend: &Backend) -> String {
    format!("{}:{}", backend.vm.address, backend.port)
}

fn server(out: &mut String, front: &Front, backend: &Backend, largest: u32) {
    let Front { listener, sources, .. } = front;
    let name = server_name(backend);
    let mut text = format!("  server {name} {name}");
    if let Some(source) = sources.get(&backend.vm) {
        text += &format!(" source {source}");
    }
    text += &format!(" weight {}", weight(listener.algorithm, backend, largest));
    if backend.max_connections != u32::MAX {
        text += &format!(" maxconn {}", backend.max_connections);
    }
    if let Some(check) = &listener.health_check {
        let HealthCheck { interval_s, healthy, unhealthy, .. } = check;
        text += &format!(" check inter {interval_s}s rise {healthy} fall {unhealthy}");
        if let Some(port) = check.port {
            text += &format!(" port {port}");
        }
        if listener.dead_sessions == DeadSessions::Reset {
            text += " on-marked-down shutdown-sessions";
        }
        if listener.slow_start_s > 0 {
            text += &format!(" slowstart {}s", listener.slow_start_s);
        }
    }
    let http = front.http();
    if http.cookie.is_some() {
        text += &format!(" cookie {}", cookie_value(&name));
    }
    match http.proxy_protocol {
        None => {}
        Some(ProxyProtocol::V1) => text += " send-proxy",
        Some(ProxyProtocol::V2) => text += " send-proxy-v2",
    }
    line(out, text);
}

/// A server with weight 0 gets no new clients and keeps those with its cookie.
fn weight(algorithm: Algorithm, backend: &Backend, largest: u32) -> u32 {
    let weight = u32::from(backend.weight);
    match algorithm {
        _ if backend.drain || weight == 0 => 0,
        Algorithm::RoundRobin => 1,
        _ if largest > WEIGHT_MAX => (weight * WEIGHT_MAX / largest).max(1),
        _ => weight,
    }
}

/// What a cookie says instead of a server's address.
fn cookie_value(server: &str) -> String {
    short(server)
}

/// A text as sixteen hexadecimal digits, the same in every version: FNV-1a. It tells texts apart and guards nothing.
pub(super) fn short(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}
