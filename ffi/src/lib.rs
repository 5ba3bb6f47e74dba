//! DPDK for Tidegate.
