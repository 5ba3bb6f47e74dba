//! IP → port forward → VXLAN: the world sends to ports of one public address, each of which is forwarded to a VM.

use anyhow::Result;
use ipnet::Ipv4Net;
use tidegate_fastpath::{
    table::nat::{Forward, Inside, Slice},
    types::VrfId,
    wire::ipv4::protocol,
};

use super::{
    inward::{PUBLIC, Service},
    packet::Host,
    vpc::{self, Side},
    world::World,
};
use crate::gateway::Builder;

/// The public port of the first VM.
pub(super) const FIRST_PORT: u16 = 2000;

/// Forwards to so many VMs.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortForward {
    pub(super) vms: u32,
}

impl Service for PortForward {
    const NAME: &'static str = "port-forward";
    const INNER_PORT: u16 = 53;

    fn port(&self, flow: u32) -> u16 {
        FIRST_PORT + (flow % self.vms) as u16
    }

    fn vm(&self, flow: u32) -> Result<Host> {
        Ok(vpc::vm(Side::Senders, flow % self.vms))
    }

    fn provide(&self, world: &World, builder: &mut Builder, vrf: VrfId) -> Result<()> {
        let forward = |n| {
            let port = self.port(n);
            Ok(Forward {
                slice: Slice { protocol: protocol::UDP, first: port, last: port },
                to: Inside { vrf, address: self.vm(n)?.ip },
                to_first: Self::INNER_PORT,
                allowed: Ipv4Net::default(),
            })
        };
        world.vip(builder, PUBLIC, None, (0..self.vms).map(forward).collect::<Result<_>>()?);
        Ok(())
    }
}
