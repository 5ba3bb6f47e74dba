//! Others with the same packets, in turn with ours: `dpdk-testpmd`, which only moves frames and is the floor, Open vSwitch on
//! DPDK, and the forwarding of the Linux kernel. Each is a subject like ours.

pub mod fed;
pub mod linux;
pub mod ovs;
pub mod testpmd;

use crate::{
    measurement::Label,
    scenario::{Name, Parameters},
};

/// The label of a peer: that of the scenario, by another engine.
fn label(name: Name, parameters: &Parameters, engine: &str, buffers: &str, burst: usize) -> Label {
    Label { engine: engine.to_owned(), ..Label::new(&*name.with(parameters), buffers, burst) }
}
