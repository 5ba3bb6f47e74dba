//! Packet tables: gateway text, packet in, packet out, counters; in process, without DPDK and root. The tests run with one
//! worker here and with two in `packets_two_workers`.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

const WORKERS: usize = 1;

#[path = "suite/mod.rs"]
mod suite;
