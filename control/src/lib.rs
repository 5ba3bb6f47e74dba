//! The control thread and its tools.

pub mod balance;
pub mod cli;
mod clients;
pub mod compile;
pub mod config;
#[cfg_attr(not(feature = "dpdk"), expect(dead_code, reason = "without DPDK there are no ports to run on"))]
pub mod daemon;
pub mod desired;
pub mod gateway;
pub mod haproxy;
pub mod health;
pub mod local;
pub mod log;
pub mod metrics;
pub mod nat;
pub mod neighbour;
pub mod rest;
pub mod shared_map;
pub mod show;
pub mod vtep;
pub mod zsnp;
pub mod zstack;

const _: () =
    assert!(tidegate_fastpath::counter::COUNTING, "a gateway counts: build without the feature `uncounted`");
