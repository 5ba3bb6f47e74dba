//! The tables, a file per question.

use tidegate_tests::gateway::{Gateway, HOST1, HOST2, HOST3, SITE, Station};

mod arp;
mod balance;
mod balance_count;
mod balance_time;
mod change;
mod churn;
mod crash;
mod drop;
mod flow;
mod fragment;
mod full_nat;
mod hairpin;
mod http;
mod icmp;
mod local;
mod meter;
mod nat;
mod nat_view;
mod qos;
mod refusal;
mod resolve;
mod route;
mod vlan;
mod vxlan;
mod zsnp;

/// [`SITE`] with as many workers as this run has.
fn site() -> Gateway {
    Gateway::start(SITE, crate::WORKERS)
}

/// [`SITE`] and two VMs of `red` in different networks, behind different hosts.
fn red() -> (Gateway, Station, Station) {
    let mut gw = site();
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    (gw, a, b)
}

/// [`SITE`] changed.
fn site_with(from: &str, to: &str) -> String {
    assert!(SITE.contains(from), "the site has no `{from}`");
    SITE.replace(from, to)
}
