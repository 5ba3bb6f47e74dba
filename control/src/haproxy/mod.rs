//! HTTP and HTTPS listeners: HAProxy in the namespace of the VPC router.
//!
//! Packets for the listener's port of a VIP go into the namespace, where the kernel ends the connection and HAProxy, one
//! process per VPC router, asks a backend from the gateway's address in its network. What it answers leaves by the VIP.
//!
//! | part | does |
//! |---|---|
//! | [`render`] | a configuration as HAProxy's text: pure |
//! | [`life`] | when to start, reload, start again: pure, with a virtual clock |
//! | [`process`] | processes, files and signals, on a thread of its own ([`Proxies`]) |
//! | [`stats`] | what HAProxy counts |
//!
//! A reload keeps the sockets that listen and ends the old process when its connections have ended, so none is dropped. A
//! gateway that dies leaves its proxies running; the next one takes them over. One that ends takes them with it.

pub mod life;
mod process;
pub mod quote;
pub mod render;
pub mod stats;
#[cfg(test)]
mod tests;
mod thread;

use std::collections::HashMap;

use self::stats::{Kind, Line};
pub use self::{
    render::{Instance, PemFile, instances},
    thread::{Proxies, Seen},
};
use crate::{balance::Report, config::Config};

/// What the proxies say about the backends that they check.
pub fn reports(config: &Config, proxies: &[Seen]) -> Vec<Report> {
    let mut reports = Vec::new();
    let checked = config.listeners().filter(|l| l.protocol.is_proxied() && l.health_check.is_some());
    for listener in checked {
        let lines = proxies.iter().filter(|seen| seen.vpc == listener.vpc).flat_map(|seen| &seen.lines);
        let of_listener =
            |line: &&Line| line.kind() == Kind::Server && line.listener() == listener.id.as_str();
        let lines: HashMap<&str, &Line> =
            lines.filter(of_listener).map(|line| (line.server.as_str(), line)).collect();
        for backend in &listener.backends {
            let name = render::server_name(backend);
            let Some(line) = lines.get(name.as_str()) else { continue };
            reports.push(Report { backend: listener.key(backend), up: line.is_up(), reason: line.reason() });
        }
    }
    reports
}
