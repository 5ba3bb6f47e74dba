//! What a reload cannot change: what was sized or opened at start.

use std::fmt::Debug;

use crate::config::{Config, Gateway, Port, Problem, Timeouts};

/// Every difference between two configurations that needs a restart, as problems of the new one.
pub fn restart_problems(old: &Config, new: &Config) -> Vec<Problem> {
    let (old, new) = (&old.gateway, &new.gateway);
    let mut found = Vec::new();
    let mut fixed = |path: &str, was: &dyn Debug, is: &dyn Debug| {
        let (was, is) = (format!("{was:?}"), format!("{is:?}"));
        if was != is {
            found.push(problem(path, is, &was));
        }
    };
    fixed("gateway.workers", &old.workers, &new.workers);
    fixed("gateway.control_lcore", &old.control_lcore, &new.control_lcore);
    fixed("gateway.hugepages", &old.hugepages, &new.hugepages);
    fixed("gateway.poll", &old.poll, &new.poll);
    fixed("gateway.metrics", &old.metrics, &new.metrics);
    fixed("gateway.state", &old.state, &new.state);
    fixed("gateway.control_socket", &old.control_socket, &new.control_socket);
    fixed("gateway.limits", &old.limits, &new.limits);
    fixed("gateway.timeouts.flow_idle_s", &old.timeouts.flow_idle_s, &new.timeouts.flow_idle_s);
    for ((key, was), (_, is)) in nat_timeouts(&old.timeouts).iter().zip(&nat_timeouts(&new.timeouts)) {
        fixed(&format!("gateway.timeouts.{key}"), was, is);
    }
    fixed("gateway.ports", &port_ids(old), &port_ids(new));
    for (i, port) in new.ports.iter().enumerate() {
        let Some(before) = old.ports.iter().find(|p| p.id == port.id) else { continue };
        let path = |key: &str| format!("gateway.ports[{i}].{key}");
        let opened = |p: &Port| (p.device.clone(), p.queues, p.mac);
        let ((device, queues, mac), is) = (opened(before), opened(port));
        fixed(&path("device"), &device, &is.0);
        fixed(&path("queues"), &queues, &is.1);
        fixed(&path("mac"), &mac, &is.2);
    }
    found
}

fn nat_timeouts(of: &Timeouts) -> [(&'static str, u32); 5] {
    [
        ("nat_tcp_established_s", of.nat_tcp_established_s),
        ("nat_tcp_transitory_s", of.nat_tcp_transitory_s),
        ("nat_udp_s", of.nat_udp_s),
        ("nat_icmp_s", of.nat_icmp_s),
        ("nat_other_s", of.nat_other_s),
    ]
}

fn port_ids(gateway: &Gateway) -> Vec<&str> {
    gateway.ports.iter().map(|p| p.id.as_str()).collect()
}

fn problem(path: &str, is: String, was: &str) -> Problem {
    Problem {
        path: path.to_owned(),
        id: None,
        value: Some(is),
        what: format!("differs from {was}, with which the gateway was started"),
        way_out: "put the old value back, or restart the gateway".to_owned(),
    }
}
