//! `gateway`: workers, ports, metrics, limits.

use std::{collections::HashMap, collections::HashSet, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::{At, Known, Links, Report, api::api, log::nat_log, text, zsnp, zstack};
use crate::config::{
    FlowState, Gateway, Hugepages, LcoreId, Limits, Poll, Port, PortSubnet, Timeouts,
    raw::{RawFlowState, RawGateway, RawLimits, RawMetrics, RawPort, RawTimeouts, range as r},
};

pub(super) const AT: At<'static> = At { section: "gateway", index: None, id: None };

/// Checks the section. The gateway comes without its ports, which come beside it.
pub(super) fn check(
    raw: &RawGateway,
    links: &mut Links,
    report: &mut Report,
) -> (Option<Gateway>, Known<Port>) {
    let workers = workers(raw, report);
    let control_lcore = raw.control_lcore.and_then(lcore);
    if let Some(lcore) = control_lcore.filter(|lcore| workers.contains(lcore)) {
        let way_out = "give an lcore that no worker has, or remove the key";
        report.add(AT, "control_lcore", lcore, "is an lcore of a worker, which never lets go of it", way_out);
    }
    let ports = ports(raw.ports.as_deref().unwrap_or_default(), links, report);
    let metrics = raw.metrics.as_ref().map(|raw| metrics(raw, report));
    let state = raw.state.as_deref().or(Some(r::STATE_DEFAULT));
    let state = report.read(AT, "state", state, text::path);
    let socket = raw.control_socket.as_deref().or(Some(r::CONTROL_SOCKET_DEFAULT));
    let control_socket = report.read(AT, "control_socket", socket, text::socket_path);
    let nat_log = raw.nat_log.as_ref().and_then(|raw| nat_log(raw, report));
    let api = raw.api.as_ref().and_then(|raw| api(raw, report));
    let agents = raw.zstack.as_ref().map_or(&[][..], |raw| &raw.agents);
    let zstack = zstack::agents(agents, &ports, report);
    let zsnp = raw.zsnp.as_ref().map(|raw| zsnp::zsnp(raw, report));
    let flow_state = raw.flow_state.as_ref().map(|raw| flow_state(raw, report)).unwrap_or_default();
    let gateway = || {
        Some(Gateway {
            workers,
            control_lcore,
            hugepages: match raw.hugepages.as_deref() {
                Some("required") => Hugepages::Required,
                Some("off") => Hugepages::Off,
                _ => Hugepages::Auto,
            },
            poll: if raw.poll.as_deref() == Some("adaptive") { Poll::Adaptive } else { Poll::Busy },
            ports: Vec::new(),
            metrics: metrics.flatten(),
            nat_log,
            api,
            zstack,
            zsnp: zsnp.flatten(),
            state: state?,
            flow_state,
            control_socket: control_socket?,
            limits: limits(raw.limits.as_ref().unwrap_or(&RawLimits::default())),
            timeouts: timeouts(raw.timeouts.as_ref().unwrap_or(&RawTimeouts::default())),
        })
    };
    (gateway(), ports)
}

fn lcore(raw: u64) -> Option<LcoreId> {
    u16::try_from(raw).ok().map(LcoreId)
}

fn workers(raw: &RawGateway, report: &mut Report) -> Vec<LcoreId> {
    let raw = raw.workers.as_deref().unwrap_or(&r::WORKERS_DEFAULT);
    let mut seen = HashSet::new();
    for (i, lcore) in raw.iter().enumerate() {
        if !seen.insert(lcore) {
            report.add(AT, &format!("workers[{i}]"), lcore, "is in the list twice", "name each lcore once");
        }
    }
    raw.iter().copied().filter_map(lcore).collect()
}

fn flow_state(raw: &RawFlowState, report: &mut Report) -> FlowState {
    FlowState {
        directory: raw
            .directory
            .as_deref()
            .and_then(|text| report.read(AT, "flow_state.directory", Some(text), text::path)),
        keep_on_stop: raw.keep_on_stop.unwrap_or_default(),
    }
}

fn metrics(raw: &RawMetrics, report: &mut Report) -> Option<std::net::SocketAddr> {
    let listen = report.read(AT, "metrics.listen", raw.listen.as_deref(), text::listen)?;
    if !listen.ip().is_loopback() && raw.allow_remote != Some(true) {
        let way_out = "listen on 127.0.0.1, or add `allow_remote: true`";
        report.add(AT, "metrics.listen", listen, "can be reached from outside this host", way_out);
    }
    Some(listen)
}

fn ports(raw: &[RawPort], links: &mut Links, report: &mut Report) -> Known<Port> {
    let mut devices: HashMap<&str, usize> = HashMap::new();
    for (i, port) in raw.iter().enumerate() {
        // `net_tap0,iface=a` and `net_tap0,iface=b` are the same device to DPDK.
        let Some(device) = port.device.as_deref().map(|d| d.split(',').next().unwrap_or(d)) else { continue };
        let at = At { section: "gateway.ports", index: Some(i), id: port.id.as_deref() };
        if let Some(first) = devices.insert(device, i)
            && !device.is_empty()
        {
            let what = format!("is the device of gateway.ports[{first}] already");
            report.add(at, "device", device, what, "give each port a device of its own");
        }
    }
    let mut subnets: Vec<(Ipv4Net, String)> = Vec::new();
    Known::collect(
        "gateway.ports",
        raw,
        |raw| raw.id.as_deref(),
        report,
        |at, id, raw, report| {
            let device = report.read(at, "device", raw.device.as_deref(), text::device);
            let mac = raw.mac.as_deref();
            let mac_read = report.read(at, "mac", mac, text::mac);
            let subnet = subnet(at, raw, report);
            if let Ok(Some(subnet)) = &subnet {
                disjoint(at, subnet.prefix, &mut subnets, report);
                if let Some(id) = &id {
                    links.claim(id, None, at, "addresses", report);
                }
            }
            Some(Port {
                id: id?,
                device: device?,
                mtu: report.mtu(raw.mtu.unwrap_or(r::PORT_MTU_DEFAULT))?,
                mac: if mac.is_some() { Some(mac_read?) } else { None },
                queues: raw.queues.and_then(|n| u16::try_from(n).ok()),
                subnet: subnet.ok()?,
            })
        },
    )
}

/// A port's own subnet, if it has one; `Err` where something about it was reported.
fn subnet(at: At<'_>, raw: &RawPort, report: &mut Report) -> Result<Option<PortSubnet>, ()> {
    let read = report.read_all(at, "addresses", &raw.addresses, text::address_in_subnet);
    let all_read = read.iter().all(Option::is_some);
    let gateway = report.read(at, "gateway", raw.gateway.as_deref(), text::address);
    let Some((_, prefix)) = read.iter().flatten().next().copied() else {
        if let Some(gateway) = gateway.filter(|_| all_read) {
            let way_out = "add an address of ours in its subnet to `addresses`, or remove the key";
            report.add(at, "gateway", gateway, "is on a port that has no addresses", way_out);
        }
        return if all_read && raw.gateway.is_none() { Ok(None) } else { Err(()) };
    };
    let mut addresses: Vec<Ipv4Addr> = Vec::new();
    for (i, (address, net)) in read.iter().enumerate().filter_map(|(i, read)| Some((i, (*read)?))) {
        let key = format!("addresses[{i}]");
        if net != prefix {
            let what = format!("is not in the subnet {prefix} of the port's first address");
            report.add(at, &key, format!("{address}/{}", net.prefix_len()), what, "use another port for it");
        } else if addresses.contains(&address) {
            report.add(at, &key, address, "is in the list twice", "remove it");
        } else {
            addresses.push(address);
        }
    }
    if let Some(gateway) = gateway
        && report.host(at, "gateway", prefix, gateway)
        && addresses.contains(&gateway)
    {
        report.add(at, "gateway", gateway, "is our own address", "give the address of the next router");
    }
    match (all_read, raw.gateway.is_some() == gateway.is_some()) {
        (true, true) => Ok(Some(PortSubnet { prefix, addresses, gateway })),
        _ => Err(()),
    }
}

/// All ports' subnets are in one routing table.
fn disjoint(at: At<'_>, prefix: Ipv4Net, others: &mut Vec<(Ipv4Net, String)>, report: &mut Report) {
    let overlaps = |other: &Ipv4Net| other.contains(&prefix) || prefix.contains(other);
    if let Some((other, path)) = others.iter().find(|(other, _)| overlaps(other)) {
        let what = format!("overlaps {other} of {path}");
        report.add(at, "addresses", prefix, what, "give each port a subnet of its own");
    }
    others.push((prefix, at.path("")));
}

fn limits(raw: &RawLimits) -> Limits {
    // The shape has bounded every number; the fallbacks are never used.
    let size = |raw: Option<u64>, default: u64| usize::try_from(raw.unwrap_or(default)).unwrap_or(usize::MAX);
    Limits {
        flows: size(raw.flows, r::FLOWS_DEFAULT),
        neighbours: size(raw.neighbours, r::NEIGHBOURS_DEFAULT),
        networks: u16::try_from(raw.networks.unwrap_or(r::NETWORKS_DEFAULT)).unwrap_or(u16::MAX),
        ring: size(raw.ring, r::RING_DEFAULT),
        held_packets: size(raw.held_packets, r::HELD_DEFAULT),
        icmp_errors_per_second: number(raw.icmp_errors_per_second, r::ICMP_ERRORS_DEFAULT),
        punts_per_second: number(raw.punts_per_second, r::PUNTS_DEFAULT),
        nat_vms: size(raw.nat_vms, r::NAT_VMS_DEFAULT),
        nat_blocks: size(raw.nat_blocks, r::NAT_BLOCKS_DEFAULT),
    }
}

fn timeouts(raw: &RawTimeouts) -> Timeouts {
    Timeouts {
        flow_idle_s: number(raw.flow_idle_s, r::FLOW_IDLE_DEFAULT),
        neighbour_reachable_s: number(raw.neighbour_reachable_s, r::NEIGHBOUR_REACHABLE_DEFAULT),
        neighbour_retry_ms: number(raw.neighbour_retry_ms, r::NEIGHBOUR_RETRY_DEFAULT),
        neighbour_probes: number(raw.neighbour_probes, r::NEIGHBOUR_PROBES_DEFAULT),
        nat_tcp_established_s: number(raw.nat_tcp_established_s, r::NAT_TCP_ESTABLISHED_DEFAULT),
        nat_tcp_transitory_s: number(raw.nat_tcp_transitory_s, r::NAT_TCP_TRANSITORY_DEFAULT),
        nat_udp_s: number(raw.nat_udp_s, r::NAT_UDP_DEFAULT),
        nat_icmp_s: number(raw.nat_icmp_s, r::NAT_ICMP_DEFAULT),
        nat_other_s: number(raw.nat_other_s, r::NAT_OTHER_DEFAULT),
    }
}

pub(super) fn number(raw: Option<u64>, default: u64) -> u32 {
    u32::try_from(raw.unwrap_or(default)).unwrap_or(u32::MAX)
}
