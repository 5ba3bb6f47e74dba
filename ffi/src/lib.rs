//! DPDK for Tidegate: one safe file per noun of DPDK. It knows nothing of gateways.
//!
//! Ownership replaces DPDK's rules of order. A [`Port`](port::Port) stops, closes and removes its device when it and the
//! last of its queues are dropped; it keeps its [`Mempool`](mempool::Mempool) alive, and that the [`Eal`](eal::Eal),
//! whose end is `rte_eal_cleanup`. An [`Mbuf`](mbuf::Mbuf) is freed when dropped, and pools that still miss an mbuf at the
//! end are left to the end of the process, so that no mbuf ever dangles.
//!
//! What DPDK prints goes into a bounded buffer ([`log`]), and errors quote it, because `errno` alone seldom tells.

pub mod cycles;
pub mod eal;
pub mod error;
pub mod lcore;
pub mod log;
pub mod mbuf;
pub mod mempool;
pub mod port;

mod sys;

pub use error::Error;
