//! What a reload cannot change: what was sized or opened at start.

use std::fmt::Display;

use crate::config::{Cause, Config, Gateway, Hugepages, Limits, Poll, Port, Problem, Timeouts};

/// Every difference between two configurations that needs a restart, as problems of the new one.
pub fn restart_problems(old: &Config, new: &Config) -> Vec<Problem> {
    let (old, new) = (&old.gateway, &new.gateway);
    let mut found = Vec::new();
    let mut fixed = |path: &str, was: String, is: String| {
        if was != is {
            found.push(problem(format!("gateway.{path}"), is, &was));
        }
    };
    for ((key, was), (_, is)) in values(old).into_iter().zip(values(new)) {
        fixed(key, was, is);
    }
    for ((key, was), (_, is)) in times(&old.timeouts).into_iter().zip(times(&new.timeouts)) {
        fixed(&format!("timeouts.{key}"), was.to_string(), is.to_string());
    }
    for ((key, was), (_, is)) in sizes(&old.limits).into_iter().zip(sizes(&new.limits)) {
        fixed(&format!("limits.{key}"), was.to_string(), is.to_string());
    }
    for (i, port) in new.ports.iter().enumerate() {
        let Some(before) = old.ports.iter().find(|p| p.id == port.id) else { continue };
        for ((key, was), (_, is)) in opened(before).into_iter().zip(opened(port)) {
            fixed(&format!("ports[{i}].{key}"), was, is);
        }
    }
    found
}

/// What a gateway is started with, as an operator would write it.
fn values(gateway: &Gateway) -> [(&'static str, String); 12] {
    let hugepages = match gateway.hugepages {
        Hugepages::Auto => "auto",
        Hugepages::Required => "required",
        Hugepages::Off => "off",
    };
    let directory = gateway.flow_state.directory.as_ref().map(|directory| directory.display());
    let poll = match gateway.poll {
        Poll::Busy => "busy",
        Poll::Adaptive => "adaptive",
    };
    [
        ("workers", list(&gateway.workers)),
        ("control_lcore", or(gateway.control_lcore, "none")),
        ("hugepages", hugepages.to_owned()),
        ("poll", poll.to_owned()),
        ("metrics", or(gateway.metrics, "none")),
        ("api", or(gateway.api.as_ref(), "none")),
        ("state", gateway.state.display().to_string()),
        ("flow_state.directory", or(directory, "the fastest")),
        ("control_socket", gateway.control_socket.display().to_string()),
        ("zstack.agents", or(Some(list(&gateway.zstack)).filter(|agents| !agents.is_empty()), "none")),
        ("zsnp.protocol", or(gateway.zsnp.as_ref().map(|zsnp| zsnp.protocol), "none")),
        ("ports", list(gateway.ports.iter().map(|port| &port.id))),
    ]
}

/// When entries of workers go.
fn times(of: &Timeouts) -> [(&'static str, u32); 6] {
    [
        ("flow_idle_s", of.flow_idle_s),
        ("nat_tcp_established_s", of.nat_tcp_established_s),
        ("nat_tcp_transitory_s", of.nat_tcp_transitory_s),
        ("nat_udp_s", of.nat_udp_s),
        ("nat_icmp_s", of.nat_icmp_s),
        ("nat_other_s", of.nat_other_s),
    ]
}

/// What memory was set aside for.
fn sizes(limits: &Limits) -> [(&'static str, u64); 9] {
    let Limits {
        flows,
        neighbours,
        networks,
        ring,
        held_packets,
        icmp_errors_per_second,
        punts_per_second,
        nat_vms,
        nat_blocks,
    } = *limits;
    [
        ("flows", flows as u64),
        ("neighbours", neighbours as u64),
        ("networks", networks.into()),
        ("ring", ring as u64),
        ("held_packets", held_packets as u64),
        ("icmp_errors_per_second", icmp_errors_per_second.into()),
        ("punts_per_second", punts_per_second.into()),
        ("nat_vms", nat_vms as u64),
        ("nat_blocks", nat_blocks as u64),
    ]
}

/// What a port is opened with.
fn opened(port: &Port) -> [(&'static str, String); 3] {
    [
        ("device", port.device.clone()),
        ("queues", or(port.queues, "one per worker")),
        ("mac", or(port.mac, "the device's own")),
    ]
}

fn or(value: Option<impl Display>, nothing: &str) -> String {
    value.map_or_else(|| nothing.to_owned(), |value| value.to_string())
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn problem(path: String, is: String, was: &str) -> Problem {
    Problem {
        path,
        id: None,
        value: Some(is),
        what: format!("differs from {was}, with which the gateway was started"),
        way_out: "put the old value back, or restart the gateway".to_owned(),
        cause: Cause::Itself,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const GATEWAY: &str = "
gateway:
  workers: [1, 2]
  control_lcore: 3
  metrics: { listen: 127.0.0.1:9100 }
  limits: { flows: 1024 }
  ports:
    - { id: wan, device: net_null0, queues: 2 }
";

    #[test]
    fn what_needs_a_restart_is_said_in_plain_words() {
        let old = config::parse(GATEWAY).unwrap();
        for (from, to, expected) in [
            ("[1, 2]", "[1]", "gateway.workers: 1 differs from 1, 2"),
            ("  control_lcore: 3\n", "", "gateway.control_lcore: none differs from 3"),
            ("  metrics:", "  poll: adaptive\n  metrics:", "gateway.poll: adaptive differs from busy"),
            (
                "127.0.0.1:9100",
                "127.0.0.1:9101",
                "gateway.metrics: 127.0.0.1:9101 differs from 127.0.0.1:9100",
            ),
            ("1024", "2048", "gateway.limits.flows: 2048 differs from 1024"),
            ("id: wan", "id: lan", "gateway.ports: lan differs from wan"),
            (", queues: 2", "", "gateway.ports[0].queues: one per worker differs from 2"),
            ("net_null0", "net_null1", "gateway.ports[0].device: net_null1 differs from net_null0"),
        ] {
            assert!(GATEWAY.contains(from), "{from}");
            let new = config::parse(&GATEWAY.replace(from, to)).unwrap_or_else(|why| panic!("{why}"));
            let said: Vec<_> = restart_problems(&old, &new).iter().map(Problem::to_string).collect();
            let end = ", with which the gateway was started; put the old value back, or restart the gateway";
            assert_eq!(said, [format!("{expected}{end}")]);
        }
        assert_eq!(restart_problems(&old, &old), []);
    }
}
