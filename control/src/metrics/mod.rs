//! What Prometheus reads. Every metric is declared once in [`catalog`]; the registry, `docs/metrics.md` and the checks of
//! dashboards and alert rules all grow from it.
//!
//! A scrape reads counters that workers write anyway; it never touches a worker. The registry is built anew for each scrape
//! from those counters, so there is no second copy to keep in step.

mod balance;
pub mod catalog;
mod http;
pub mod reasons;
pub(crate) mod sheet;
mod vip;
mod zsnp;

use std::collections::{BTreeSet, HashMap};

use tidegate_fastpath::{
    counter::{BURST_CLASSES, Counters},
    policer::Colour,
    reason::{DropReason, Event, PuntReason},
    table::nat::Space,
    types::{Nanos, NetId, PortId},
};

use self::sheet::Sheet;
use crate::{
    config::{Id, TableKey},
    desired::NetKey,
    desired::{Kind, Status},
    gateway::{Gateway, RingEvent},
    haproxy,
    health::{HealthEvent, State},
    local::LocalEvent,
    nat::{Census, LogEvent, Pool, pools, protocol_name},
    neighbour::{NeighbourEvent, Phase},
    rest::{ApiSample, CLASSES, Limit},
    zstack::server::AgentEvent,
};

/// What a port's driver says of itself; the packet path cannot know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortSample {
    /// Whether the link is up.
    pub up: bool,
    /// Frames lost because no descriptor was free.
    pub rx_missed: u64,
    /// Frames received with errors.
    pub rx_errors: u64,
    /// Frames lost because no packet buffer was free.
    pub rx_no_buffer: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
}

/// What the daemon knows beside the [`Gateway`].
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// By port.
    pub ports: Vec<(PortId, PortSample)>,
    /// Packet buffers free and in total.
    pub buffers: (u32, u32),
    /// Whether every worker uses the present generation.
    pub live: bool,
    /// The time, as workers count it.
    pub now: Nanos,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Starts of the control thread after a fault.
    pub control_restarts: u64,
    /// Ports of VIPs.
    pub census: Census,
    /// What the session log counted, by [`LogEvent::index`].
    pub nat_log: [u64; LogEvent::COUNT],
    /// What the REST API counted.
    pub api: ApiSample,
    /// What local delivery counted, by [`LocalEvent::index`].
    pub local: [u64; LocalEvent::COUNT],
    /// What health checks counted, by [`HealthEvent::index`].
    pub health: [u64; HealthEvent::COUNT],
    /// How many backends that are checked are in each state, in the order of [`State::ALL`].
    pub backends: [u64; State::ALL.len()],
    /// What is seen of the proxies of HTTP listeners.
    pub proxies: Vec<haproxy::Seen>,
    /// What router agents counted, by [`AgentEvent::index`].
    pub agents: Vec<(Id, [u64; AgentEvent::COUNT])>,
    /// How many objects of each kind are in each state, in the order of [`Status::NAMES`].
    pub objects: Vec<(Kind, [u64; 3])>,
}

/// All metrics in the Prometheus text format.
pub fn render(gateway: &Gateway, sample: &Sample) -> String {
    let mut sheet = Sheet::default();
    let networks = Networks::of(gateway);
    sheet.set(&catalog::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
    sheet.set(&catalog::GENERATION, &[], gateway.generation());
    sheet.set(&catalog::GENERATION_LIVE, &[], u64::from(sample.live));
    for (kind, counts) in &sample.objects {
        for (state, count) in Status::NAMES.iter().zip(counts) {
            sheet.set(&catalog::OBJECTS, &[kind.section(), state], *count);
        }
    }
    sheet.set(&catalog::UPTIME, &[], sample.uptime_s);
    sheet.set(&catalog::CONTROL_RESTARTS, &[], sample.control_restarts);
    for event in LogEvent::ALL {
        sheet.set(&catalog::NAT_LOG_EVENTS, &[event.label()], sample.nat_log[event.index()]);
    }
    api(&mut sheet, &sample.api);
    for event in LocalEvent::ALL {
        sheet.set(&catalog::LOCAL_EVENTS, &[event.label()], sample.local[event.index()]);
    }
    for event in HealthEvent::ALL {
        sheet.set(&catalog::HEALTH_EVENTS, &[event.label()], sample.health[event.index()]);
    }
    for (state, count) in State::ALL.into_iter().zip(sample.backends) {
        sheet.set(&catalog::HEALTH_BACKENDS, &[state.name()], count);
    }
    for (agent, counts) in &sample.agents {
        for event in AgentEvent::ALL {
            sheet.set(&catalog::ZSTACK_EVENTS, &[agent.as_str(), event.label()], counts[event.index()]);
        }
    }
    http::http(&mut sheet, &sample.proxies);
    zsnp::zsnp(&mut sheet, gateway);
    devices(&mut sheet, gateway, sample);
    for (worker, counters) in gateway.counters().iter().enumerate() {
        let worker = worker.to_string();
        ports(&mut sheet, gateway, &worker, counters);
        nets(&mut sheet, &networks, &worker, counters);
        events(&mut sheet, &worker, counters);
        poll(&mut sheet, &worker, counters);
    }
    rings(&mut sheet, gateway);
    tables(&mut sheet, gateway);
    nat(&mut sheet, gateway, &sample.census);
    vip::vips(&mut sheet, gateway);
    balance::listeners(&mut sheet, gateway);
    qos(&mut sheet, gateway, sample.now);
    sheet.encode()
}

/// Rate limits.
fn qos(sheet: &mut Sheet, gateway: &Gateway, now: Nanos) {
    for view in gateway.limits() {
        let labels = [view.qos.id.as_str(), view.direction];
        if let Some(rate) = view.bucket.limits().bits {
            sheet.set(&catalog::QOS_RATE, &labels, rate.per_s);
        }
        sheet.set(&catalog::QOS_LEVEL, &labels, view.bucket.level(now));
        let (passed, dropped) = (view.passed(), view.dropped());
        sheet.set(&catalog::QOS_PASSED_PACKETS, &labels, passed.packets);
        sheet.set(&catalog::QOS_PASSED_BYTES, &labels, passed.bytes);
        sheet.set(&catalog::QOS_DROPPED_PACKETS, &labels, dropped.packets);
        sheet.set(&catalog::QOS_DROPPED_BYTES, &labels, dropped.bytes);
        let measured = view.bucket.limits().colouring.map_or(&[][..], |_| &Colour::ALL);
        for colour in measured {
            let (labels, sum) = ([labels[0], labels[1], colour.name()], view.of_colour(*colour));
            sheet.set(&catalog::QOS_COLOUR_PACKETS, &labels, sum.packets);
            sheet.set(&catalog::QOS_COLOUR_BYTES, &labels, sum.bytes);
        }
    }
}

/// Drivers and packet buffers.
fn api(sheet: &mut Sheet, api: &ApiSample) {
    sheet.set(&catalog::API_CONNECTIONS, &[], api.connections);
    sheet.set(&catalog::API_WATCHERS, &[], api.watchers);
    for (class, count) in CLASSES.iter().zip(api.answers) {
        sheet.set(&catalog::API_REQUESTS, &[class], count);
    }
    for limit in Limit::ALL {
        sheet.set(&catalog::API_REFUSED, &[limit.label()], api.limits[limit.index()]);
    }
    sheet.set(&catalog::API_AUDIT_LOST, &[], api.audit_lost);
}

fn devices(sheet: &mut Sheet, gateway: &Gateway, sample: &Sample) {
    let (free, total) = sample.buffers;
    sheet.set(&catalog::BUFFERS_FREE, &[], free.into());
    sheet.set(&catalog::BUFFERS, &[], total.into());
    for (id, port) in &sample.ports {
        let name = port_name(gateway, *id);
        sheet.set(&catalog::PORT_UP, &[&name], u64::from(port.up));
        sheet.set(&catalog::PORT_RX_MISSED, &[&name], port.rx_missed);
        sheet.set(&catalog::PORT_RX_ERRORS, &[&name], port.rx_errors);
        sheet.set(&catalog::PORT_RX_NO_BUFFER, &[&name], port.rx_no_buffer);
        sheet.set(&catalog::PORT_TX_ERRORS, &[&name], port.tx_errors);
    }
}

fn port_name(gateway: &Gateway, id: PortId) -> String {
    gateway.desired().port_key(id).map_or_else(|| id.to_string(), ToString::to_string)
}

fn ports(sheet: &mut Sheet, gateway: &Gateway, worker: &str, counters: &Counters) {
    for (at, port) in counters.ports.iter().enumerate() {
        let name = port_name(gateway, PortId(at as u16));
        let labels = [name.as_str(), worker];
        sheet.set(&catalog::PORT_RX_PACKETS, &labels, port.rx.packets.get());
        sheet.set(&catalog::PORT_RX_BYTES, &labels, port.rx.bytes.get());
        sheet.set(&catalog::PORT_TX_PACKETS, &labels, port.tx.packets.get());
        sheet.set(&catalog::PORT_TX_BYTES, &labels, port.tx.bytes.get());
    }
}

/// Series of networks that carried or dropped nothing are left out, so that ten thousand idle networks cost nothing.
fn nets(sheet: &mut Sheet, networks: &Networks, worker: &str, counters: &Counters) {
    for (at, net) in counters.nets.iter().enumerate() {
        let (vpc, network) = networks.labels(NetId(at as u16));
        let mut set = |metric, value| {
            if value > 0 {
                sheet.set(metric, &[vpc, network, worker], value);
            }
        };
        set(&catalog::NET_INGRESS_PACKETS, net.ingress.packets.get());
        set(&catalog::NET_INGRESS_BYTES, net.ingress.bytes.get());
        set(&catalog::NET_EGRESS_PACKETS, net.egress.packets.get());
        set(&catalog::NET_EGRESS_BYTES, net.egress.bytes.get());
        for reason in DropReason::ALL {
            let drops = net.drops[reason.index()].get();
            if drops > 0 {
                sheet.set(&catalog::DROPS, &[vpc, network, reason.label(), worker], drops);
            }
        }
    }
}

fn events(sheet: &mut Sheet, worker: &str, counters: &Counters) {
    for reason in PuntReason::ALL {
        sheet.set(&catalog::PUNTS, &[reason.label(), worker], counters.punts[reason.index()].get());
    }
    for event in Event::ALL {
        sheet.set(&catalog::EVENTS, &[event.label(), worker], counters.events[event.index()].get());
    }
    sheet.set(&catalog::HELD, &[worker], counters.held.get());
}

fn poll(sheet: &mut Sheet, worker: &str, counters: &Counters) {
    let poll = &counters.poll;
    sheet.set(&catalog::CYCLES, &["busy", worker], poll.busy_cycles.get());
    sheet.set(&catalog::CYCLES, &["idle", worker], poll.idle_cycles.get());
    sheet.set(&catalog::SLEEPS, &[worker], poll.sleeps.get());
    sheet.set(&catalog::WAYS, &["short", worker], poll.short_way.get());
    sheet.set(&catalog::WAYS, &["general", worker], poll.general_way.get());
    const SIZES: [&str; BURST_CLASSES] = ["0", "1", "2-3", "4-7", "8-15", "16-31", "32"];
    for (size, bursts) in SIZES.iter().zip(&poll.bursts) {
        sheet.set(&catalog::BURSTS, &[size, worker], bursts.get());
    }
}

fn rings(sheet: &mut Sheet, gateway: &Gateway) {
    for (worker, rings) in gateway.rings().iter().enumerate() {
        let worker = worker.to_string();
        sheet.set(&catalog::RING_FILL, &["notices", &worker], rings.notices.len() as u64);
        sheet.set(&catalog::RING_FILL, &["punts", &worker], rings.punts.len() as u64);
        sheet.set(&catalog::RING_FILL, &["nat_log", &worker], rings.nat_log.len() as u64);
        sheet.set(&catalog::RING_FILL, &["injects", &worker], rings.injects.len() as u64);
    }
    for event in RingEvent::ALL {
        sheet.set(&catalog::RING_EVENTS, &[event.label()], gateway.ring_count(*event));
    }
}

fn tables(sheet: &mut Sheet, gateway: &Gateway) {
    let (flows, flow_capacity) = gateway.flow_fill();
    sheet.set(&catalog::FLOWS, &[], flows as u64);
    sheet.set(&catalog::FLOWS_MAX, &[], flow_capacity as u64);
    let machine = gateway.machine();
    for phase in Phase::ALL {
        sheet.set(&catalog::NEIGHBOURS, &[phase.label()], machine.in_phase(phase) as u64);
    }
    sheet.set(&catalog::NEIGHBOURS_MAX, &[], machine.capacity() as u64);
    for event in NeighbourEvent::ALL {
        sheet.set(&catalog::NEIGHBOUR_EVENTS, &[event.label()], machine.count(*event));
    }
    for (vrf, key) in gateway.desired().vrfs() {
        let routes = gateway.compiled().routes(vrf);
        let in_force = routes.iter().filter(|route| route.in_force()).count();
        let table = key.to_string();
        sheet.set(&catalog::ROUTES, &[&table, "in_force"], in_force as u64);
        sheet.set(&catalog::ROUTES, &[&table, "not_in_force"], (routes.len() - in_force) as u64);
    }
}

/// Address translation: per VPC and VIP, never per VM.
fn nat(sheet: &mut Sheet, gateway: &Gateway, census: &Census) {
    let (desired, usage) = (gateway.desired(), gateway.nat().usage());
    sheet.set(&catalog::NAT_VMS, &[], usage.vms as u64);
    sheet.set(&catalog::NAT_VMS_MAX, &[], usage.vms_max as u64);
    sheet.set(&catalog::NAT_BLOCKS, &[], usage.blocks as u64);
    sheet.set(&catalog::NAT_BLOCKS_MAX, &[], usage.blocks_max as u64);
    let vpcs: BTreeSet<&Id> = desired.config().services().map(|service| service.vpc()).collect();
    for vpc in vpcs {
        if let Some(vrf) = desired.vrf(&TableKey::Vpc(vpc.clone())) {
            sheet.set(&catalog::NAT_SESSIONS, &[vpc.as_str()], gateway.nat().vpc_sessions(vrf).into());
        }
    }
    for Pool { vip, vpc } in pools(desired.config()) {
        let Some(id) = desired.vip(&vip.id) else { continue };
        let Some(table) = gateway.compiled().tables.vip(id) else { continue };
        for space in Space::ALL {
            let ports = census.usage(id, table, space);
            let protocol = protocol_name(space.protocol());
            for (state, ports) in
                [("used", ports.used), ("leased", ports.leased), ("free", ports.free), ("held", ports.held)]
            {
                let labels = [vpc.as_str(), vip.id.as_str(), &protocol, state];
                sheet.set(&catalog::NAT_PORTS, &labels, ports.into());
            }
        }
    }
}

/// The labels of networks: (VPC, network); the VPC is empty for ports and public networks.
struct Networks(HashMap<NetId, (String, String)>);

impl Networks {
    fn of(gateway: &Gateway) -> Networks {
        let desired = gateway.desired();
        let vpcs: HashMap<_, _> =
            desired.config().networks.iter().map(|net| (&net.id, net.vpc.to_string())).collect();
        let labels = desired.nets().map(|(id, key)| {
            let vpc = match key {
                NetKey::Vpc(net) => vpcs.get(net).cloned().unwrap_or_default(),
                NetKey::Port(_) | NetKey::Public(_) => String::new(),
            };
            (id, (vpc, key.to_string()))
        });
        Networks(labels.collect())
    }

    /// A network that was removed keeps its counters under its number.
    fn labels(&self, id: NetId) -> (&str, &str) {
        match self.0.get(&id) {
            Some((vpc, network)) => (vpc, network),
            None => ("", ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::{config, desired::NetKey};

    fn gateway() -> Gateway {
        gateway_of(include_str!("../../../docs/examples/minimal.yaml"))
    }

    fn gateway_of(text: &str) -> Gateway {
        let config = config::parse(text).unwrap();
        let (gateway, _workers) = Gateway::new(config, HashMap::new(), Nanos(0), 1).unwrap();
        gateway
    }

    #[test]
    fn a_drop_shows_with_its_network_and_reason_and_silence_shows_nothing() {
        let gateway = gateway();
        let (id, key) = gateway.desired().nets().find(|(_, key)| matches!(key, NetKey::Vpc(_))).unwrap();
        assert!(!render(&gateway, &Sample::default()).contains("tidegate_drops_total"));
        gateway.counters()[0].dropped(id, DropReason::NoRoute);
        let text = render(&gateway, &Sample::default());
        let line = text.lines().find(|line| line.starts_with("tidegate_drops_total")).unwrap();
        for part in [format!("network=\"{key}\""), "reason=\"no_route\"".into(), "worker=\"0\"".into()] {
            assert!(line.contains(&part), "{line} lacks {part}");
        }
        assert!(line.ends_with(" 1") && !line.contains("vpc=\"\""), "{line}");
    }

    #[test]
    fn what_is_always_there_is_there() {
        let text = render(&gateway(), &Sample { live: true, ..Sample::default() });
        for metric in catalog::ALL {
            let rare = metric.name.contains("_network_")
                || ["tidegate_nat_sessions", "tidegate_nat_ports"].contains(&metric.name)
                || metric.name.starts_with("tidegate_drops")
                || metric.name.starts_with("tidegate_lb_")
                || metric.name.starts_with("tidegate_http_")
                || metric.name == "tidegate_objects"
                || metric.name.starts_with("tidegate_qos")
                || metric.name.starts_with("tidegate_vip_")
                || metric.name.starts_with("tidegate_zsnp_traffic")
                || metric.name.starts_with("tidegate_zstack")
                || (metric.name.starts_with("tidegate_port_") && !metric.labels.contains(&"worker"));
            let there = text.contains(&format!("# TYPE {} ", metric.name));
            assert_eq!(there, !rare, "{}", metric.name);
        }
        assert!(text.contains("tidegate_config_generation_live 1\n"));
    }

    #[test]
    fn a_vip_of_snat_shows_before_anybody_uses_it_and_an_eip_shows_no_ports() {
        let gateway = gateway_of(include_str!("../../../docs/examples/nat.yaml"));
        let mut sample = Sample::default();
        while sample.census.step(&gateway) {}
        let text = render(&gateway, &sample);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("tidegate_nat_") && !line.contains("_log_"))
            .collect();
        // `shared` also has 80, 443 and 2201-2210/tcp; those below 1024 are not for SNAT anyway.
        for line in [
            r#"tidegate_nat_ports{protocol="tcp",state="free",vip="shared",vpc="vpc-1"} 64502"#,
            r#"tidegate_nat_ports{protocol="tcp",state="held",vip="shared",vpc="vpc-1"} 10"#,
            r#"tidegate_nat_ports{protocol="udp",state="free",vip="pool-b",vpc="vpc-1"} 64512"#,
            r#"tidegate_nat_sessions{vpc="vpc-2"} 0"#,
            "tidegate_nat_vms_max 16384",
            "tidegate_nat_blocks_max 131072",
        ] {
            assert!(lines.contains(&line), "{line} is not in {lines:#?}");
        }
        // Four VIPs of SNAT, three protocols, four states; two VPCs; four numbers of the whole.
        assert_eq!(lines.len(), 4 * 3 * 4 + 2 + 4);
        assert!(!lines.iter().any(|line| line.contains(r#"vip="mail""#) || line.contains(r#"vip="spare""#)));
        // What passes an address is counted whoever uses it, or nobody.
        for line in [
            r#"tidegate_vip_packets_total{direction="in",vip="mail"} 0"#,
            r#"tidegate_vip_bytes_total{direction="out",vip="spare"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }

    #[test]
    fn listeners_show_before_anybody_uses_them() {
        let text = render(&gateway_of(include_str!("../../../docs/examples/lb.yaml")), &Sample::default());
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("tidegate_lb_")).collect();
        for line in [
            r#"tidegate_lb_listener_connections{listener="web",vpc="vpc-1"} 0"#,
            r#"tidegate_lb_refused_total{listener="dns",reason="denied",vpc="vpc-1"} 0"#,
            r#"tidegate_lb_backend_taking{backend="10.1.1.13:8080",listener="web",vpc="vpc-1"} 0"#,
            r#"tidegate_lb_backend_up{backend="10.1.1.13:8080",listener="web",vpc="vpc-1"} 1"#,
        ] {
            assert!(lines.contains(&line), "{line} is not in {lines:#?}");
        }
        // Two listeners with five series each, five backends with seven.
        assert_eq!(lines.len(), 2 * 5 + 5 * 7);
    }

    /// Prometheus' own tool reads the page, where it is installed.
    #[test]
    fn promtool_has_no_complaint() {
        let tool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn();
        let Ok(mut tool) = tool else { return eprintln!("skipped: promtool is not installed") };
        let page = render(&gateway(), &Sample::default());
        tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        assert!(tool.wait().unwrap().success());
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus/tidegate.rules.yml");
        assert!(Command::new("promtool").args(["check", "rules", rules]).status().unwrap().success());
    }
}
