//! The gateway among kernel hosts in network namespaces. `make test-lab` runs all of it and fails without root; plain
//! `cargo test` leaves these tests out, with a word about it, where there is no root or no gateway binary.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

mod balance;
mod balance_load;
mod churn;
mod crash;
mod desired;
mod direct;
mod east_west;
mod fault;
mod health;
mod http;
mod itself;
mod jumbo;
mod kill;
mod lifecycle;
mod local;
mod nat;
mod nat_path;
mod neighbour;
mod path_mtu;
mod pcap;
mod prometheus;
mod public;
mod qos;
mod reload;
mod rest;
mod three_ways;
mod workers;
mod zsnp;
mod zsnp_ends;
mod zsnp_kill;
mod zsnp_local;
mod zstack;

use serde_json::Value;
use tidegate_tests::lab::{Lab, Site, gateway, site};

/// A lab, or `None` where there can be none and nobody asked for one.
fn lab() -> Option<Lab> {
    match Lab::new() {
        Ok(lab) => Some(lab),
        Err(why) => skip(&why),
    }
}

/// The site with its usual configuration.
fn site() -> Option<Site> {
    site_with(|_| ())
}

/// The site with a configuration that differs from the usual one.
fn site_with(change: impl FnOnce(&mut Value)) -> Option<Site> {
    let lab = lab()?;
    if let Err(why) = gateway::binary() {
        return skip(&why);
    }
    let mut config = site::config();
    change(&mut config);
    Some(Site::new(lab, &config).unwrap())
}

/// Says why a test is left out; panics where `make test-lab` asked for it.
fn skip<T>(why: &anyhow::Error) -> Option<T> {
    assert!(std::env::var_os("TIDEGATE").is_none(), "{why}");
    eprintln!("skipped: {why}");
    None
}
