//! Throughput and cost of the packet path.

fn main() {}
