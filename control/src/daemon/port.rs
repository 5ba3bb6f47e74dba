//! Ports as the daemon uses them; DPDK's, or in tests none.

use std::collections::HashMap;

use tidegate_fastpath::types::Mtu;

use crate::{
    compile::PortFact,
    config::{Config, Id, Port},
    show::Device,
};

/// The running ports.
pub(super) trait Ports {
    /// MAC and link of a port; `None` where the device does not answer.
    fn fact(&self, port: &Port) -> Option<PortFact>;

    /// What the device says of itself.
    fn device(&self, port: &Port) -> Device;

    /// Changes the largest IP packet of a port.
    ///
    /// # Errors
    /// A sentence.
    fn set_mtu(&self, port: &Port, mtu: Mtu) -> Result<(), String>;

    /// Packet buffers free and in total.
    fn buffers(&self) -> (u32, u32);

    /// Hands what the driver library has to say to the log.
    fn log(&self) {}
}

/// The facts of all configured ports that answer.
pub(super) fn facts(ports: &impl Ports, config: &Config) -> HashMap<Id, PortFact> {
    let known = config.gateway.ports.iter().filter_map(|p| Some((p.id.clone(), ports.fact(p)?)));
    known.collect()
}

/// What all devices say of themselves.
pub(super) fn devices(ports: &impl Ports, config: &Config) -> HashMap<Id, Device> {
    config.gateway.ports.iter().map(|p| (p.id.clone(), ports.device(p))).collect()
}
