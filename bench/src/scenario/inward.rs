//! IP → a service of a public address → VXLAN: the world sends to the address, each flow from one of its own, and the service
//! sends on to VMs. What is the same for all such services.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use tidegate_fastpath::{
    nat::NatLimits,
    types::{PortId, VrfId},
};

use super::{
    Load, Scenario,
    packet::{Datagram, Host, world_address},
    vpc::{self, Side, Vpc},
    world::{OUR_MAC, UPSTREAM, World},
};
use crate::{
    gateway::{Builder, Gateway},
    oracle::{self, Expected, Replaced},
};

/// The public address.
pub(super) const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);

/// What differs between services.
pub(super) trait Service: Send + Sync {
    /// As in reports.
    const NAME: &'static str;
    /// Where the VMs listen.
    const INNER_PORT: u16;
    /// Entries that a connection needs.
    const ENTRIES: usize = 2;

    /// The public port that a flow goes to.
    fn port(&self, flow: u32) -> u16;

    /// The VM that a flow reaches.
    ///
    /// # Errors
    /// There is none.
    fn vm(&self, flow: u32) -> Result<Host>;

    /// What a packet to that VM has in place of what it had.
    fn replaced(&self, vm: Host) -> Replaced<'_> {
        Replaced::Destination(vm.ip, Self::INNER_PORT)
    }

    /// Gives the public address the service, for VMs of a VPC.
    ///
    /// # Errors
    /// More VMs than the service takes.
    fn provide(&self, world: &World, builder: &mut Builder, vpc: VrfId) -> Result<()>;
}

/// The scenario of a service; each flow is a session.
#[derive(Clone, Debug)]
pub(super) struct Inward<S> {
    pub(super) load: Load,
    /// Its senders are the VMs that are reached.
    pub(super) vpc: Vpc,
    pub(super) service: S,
}

/// The ports of a flow from the world to a public port.
pub(super) const fn ports(flow: u32, to: u16) -> (u16, u16) {
    (40_000 + (flow % 1000) as u16, to)
}

impl<S: Service> Scenario for Inward<S> {
    fn load(&self) -> &Load {
        &self.load
    }

    fn services(&self) -> Vec<&'static str> {
        vec![S::NAME]
    }

    fn entries_per_flow(&self) -> usize {
        S::ENTRIES
    }

    fn nat(&self) -> NatLimits {
        let blocks = self.load.flows as usize / 32 + self.vpc.senders as usize;
        NatLimits { vms: self.vpc.senders as usize, blocks, vrfs: 16 }
    }

    fn check_flows(&self, flows: u32) -> Result<()> {
        self.vpc.check_flows(flows)
    }

    fn gateway(&self) -> Result<Gateway> {
        let (mut builder, vpc, world) = self.vpc.alone_before_world(&self.load)?;
        self.service.provide(&world, &mut builder, vpc)?;
        Ok(builder.build())
    }

    fn port(&self) -> PortId {
        PortId(1)
    }

    fn arriving(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        let source = Host { ip: world_address(flow), mac: UPSTREAM.mac };
        let ports = ports(flow, self.service.port(flow));
        Datagram { source, gateway: OUR_MAC, destination: PUBLIC, ports }.frame(frame_bytes)
    }

    fn check(&self, flow: u32, frame_bytes: usize, port: PortId, frame: &[u8]) -> Result<()> {
        ensure!(port == PortId(0), "sent on port {port}");
        let vm = self.service.vm(flow)?;
        let expected = Expected {
            sent: &self.arriving(flow, frame_bytes),
            source: vpc::gateway_mac(Side::Senders),
            destination: vm.mac,
            replaced: self.service.replaced(vm),
        };
        oracle::check_tunnel(&vpc::tunnel_to(vm, Side::Senders, 0), &expected, frame)
    }
}
