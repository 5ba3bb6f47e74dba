//! The ports of a running gateway.

use std::collections::HashMap;

use anyhow::{Context, Result};
use tidegate_fastpath::{
    io::dpdk::{
        self, Dpdk, DpdkIo, EalOptions, Hugepages as Pages, Lcore, LogLevel, PortSpec, check_lcores,
        drain_log,
    },
    types::{MacAddr, Mtu, PortId},
};
use tracing::{debug, error, info, warn};

use super::{machine_time, port::Ports, worker::Work};
use crate::{
    compile::PortFact,
    config::{Config, Hugepages, Id, Port},
    metrics::PortSample,
    show::Device,
};

/// DPDK's ports, by the names of the configuration.
#[derive(Debug)]
pub(super) struct DpdkPorts {
    dpdk: Dpdk,
    ids: HashMap<Id, PortId>,
}

/// Starts DPDK and all ports. Port numbers follow the order of the configuration, as those of
/// [`Desired`](crate::desired::Desired) do for a first configuration.
///
/// # Errors
/// What is missing and what to do.
pub(super) fn start(config: &Config) -> Result<(DpdkPorts, Vec<DpdkIo>)> {
    let gateway = &config.gateway;
    let lcores: Vec<u16> = gateway.workers.iter().chain(&gateway.control_lcore).map(|l| l.0).collect();
    check_lcores(&lcores).context("gateway.workers")?;
    let options = EalOptions {
        hugepages: match gateway.hugepages {
            Hugepages::Auto => Pages::Auto,
            Hugepages::Required => Pages::Required,
            Hugepages::Off => Pages::Off,
        },
        file_prefix: format!("tidegate-{}", std::process::id()),
        ..EalOptions::default()
    };
    let ids: HashMap<Id, PortId> =
        (0u16..).zip(&gateway.ports).map(|(n, p)| (p.id.clone(), PortId(n))).collect();
    let specs: Vec<PortSpec> = gateway.ports.iter().map(|port| spec(port, ids[&port.id])).collect();
    let (dpdk, mut ios) = Dpdk::start(&options, &specs, gateway.workers.len())?;
    Dpdk::set_time(&mut ios, machine_time());
    info!(hugepages = dpdk.has_hugepages(), "ports are up");
    Ok((DpdkPorts { dpdk, ids }, ios))
}

/// What workers do with DPDK's ports.
pub(super) const WORK: Work<DpdkIo, Lcore> =
    Work { register: |io| io.register_thread().map_err(|error| error.to_string()), run: dpdk::work };

fn spec(port: &Port, id: PortId) -> PortSpec {
    PortSpec {
        id,
        name: port.id.to_string(),
        device: port.device.clone(),
        mtu: port.mtu,
        queues: port.queues,
    }
}

impl DpdkPorts {
    /// Whether a port's link is up. The link of a virtual device says nothing: that of a net_tap whose TAP was moved into
    /// another namespace looks down and works. A PCI address, and only that, has a colon in its name.
    fn is_up(&self, port: &Port, id: PortId) -> bool {
        let name = port.device.split(',').next().unwrap_or_default();
        !name.contains(':') || self.dpdk.link_is_up(id).unwrap_or_default()
    }
}

impl Ports for DpdkPorts {
    fn fact(&self, port: &Port) -> Option<PortFact> {
        let id = *self.ids.get(&port.id)?;
        let own = self.dpdk.mac(id).inspect_err(|error| warn!("{error}")).ok()?;
        // The device of net_tap is the kernel's end of a cable: its MAC is taken, ours must be another.
        let is_tap = self.dpdk.facts(id).is_some_and(|facts| facts.driver == "net_tap");
        let ours = if is_tap { MacAddr::from_u64(own.to_u64() ^ 1) } else { own };
        Some(PortFact { mac: port.mac.unwrap_or(ours), up: self.is_up(port, id) })
    }

    fn device(&self, port: &Port) -> Device {
        let Some(id) = self.ids.get(&port.id).copied() else { return Device::default() };
        let facts = self.dpdk.facts(id);
        let counted = self.dpdk.stats(id).ok();
        let counted = counted.map(|s| PortSample {
            up: self.is_up(port, id),
            rx_missed: s.imissed,
            rx_errors: s.ierrors,
            rx_no_buffer: s.rx_nombuf,
            tx_errors: s.oerrors,
        });
        Device {
            driver: facts.map(|f| f.driver.to_owned()).unwrap_or_default(),
            rx_queues: facts.map_or(0, |f| f.rx_queues),
            tx_queues: facts.map_or(0, |f| f.tx_queues),
            sample: counted.unwrap_or_default(),
        }
    }

    fn set_mtu(&self, port: &Port, mtu: Mtu) -> Result<(), String> {
        let id = self.ids.get(&port.id).copied().ok_or_else(|| format!("there is no port {}", port.id))?;
        self.dpdk.set_mtu(id, mtu).map_err(|error| error.to_string())
    }

    fn buffers(&self) -> (u32, u32) {
        self.dpdk.buffers()
    }

    fn log(&self) {
        for line in drain_log() {
            match line.level {
                LogLevel::Critical | LogLevel::Error => {
                    error!(target: "dpdk", "{}", line.text);
                }
                LogLevel::Warning => warn!(target: "dpdk", "{}", line.text),
                LogLevel::Notice | LogLevel::Info => info!(target: "dpdk", "{}", line.text),
                LogLevel::Debug => debug!(target: "dpdk", "{}", line.text),
            }
        }
    }
}
