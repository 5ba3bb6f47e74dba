//! IP → port forward → VXLAN: the world sends to ports of one public address, each of which is forwarded to a VM.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use ipnet::Ipv4Net;
use tidegate_fastpath::{
    nat::NatLimits,
    table::nat::{Forward, Inside, Slice},
    types::PortId,
    wire::ipv4::protocol,
};

use super::{
    Load, Scenario,
    packet::{Datagram, Host, world_address},
    vpc::{self, Side, Vpc},
    world::{OUR_MAC, UPSTREAM},
};
use crate::{
    gateway::Gateway,
    oracle::{self, Expected, Replaced},
};

pub(super) const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);
/// The public port of the first VM.
pub(super) const FIRST_PORT: u16 = 2000;
/// Where the VMs listen.
pub(super) const INNER_PORT: u16 = 53;

/// The scenario and its parameters; each flow is a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct PfIn {
    pub(super) load: Load,
    /// Its senders are the VMs that are reached.
    pub(super) vpc: Vpc,
}

impl PfIn {
    fn vm(&self, flow: u32) -> (u16, Host) {
        let n = flow % self.vpc.senders;
        (FIRST_PORT + n as u16, vpc::vm(Side::Senders, n))
    }
}

impl Scenario for PfIn {
    fn load(&self) -> &Load {
        &self.load
    }

    fn services(&self) -> Vec<&'static str> {
        vec!["port-forward"]
    }

    fn entries_per_flow(&self) -> usize {
        2
    }

    fn nat(&self) -> NatLimits {
        NatLimits { vms: self.vpc.senders as usize, blocks: 1, vrfs: 16 }
    }

    fn check_flows(&self, flows: u32) -> Result<()> {
        self.vpc.check_flows(flows)
    }

    fn gateway(&self) -> Result<Gateway> {
        let (mut builder, vrf, world) = self.vpc.before_world(&self.load, true)?;
        let forward = |n| {
            let (port, vm) = self.vm(n);
            Forward {
                slice: Slice { protocol: protocol::UDP, first: port, last: port },
                to: Inside { vrf, address: vm.ip },
                to_first: INNER_PORT,
                allowed: Ipv4Net::default(),
            }
        };
        world.vip(&mut builder, PUBLIC, None, (0..self.vpc.senders).map(forward).collect());
        Ok(builder.build())
    }

    fn port(&self) -> PortId {
        PortId(1)
    }

    fn arriving(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        let source = Host { ip: world_address(flow), mac: UPSTREAM.mac };
        let ports = (40_000 + (flow % 1000) as u16, self.vm(flow).0);
        Datagram { source, gateway: OUR_MAC, destination: PUBLIC, ports }.frame(frame_bytes)
    }

    fn check(&self, flow: u32, frame_bytes: usize, port: PortId, frame: &[u8]) -> Result<()> {
        ensure!(port == PortId(0), "sent on port {port}");
        let (_, vm) = self.vm(flow);
        let expected = Expected {
            sent: &self.arriving(flow, frame_bytes),
            source: vpc::gateway_mac(Side::Senders),
            destination: vm.mac,
            replaced: Replaced::Destination(vm.ip, INNER_PORT),
        };
        oracle::check_tunnel(&vpc::tunnel_to(vm, Side::Senders), &expected, frame)
    }
}
