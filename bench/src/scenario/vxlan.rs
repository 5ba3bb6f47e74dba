//! VXLAN → route → VXLAN or IP: VMs of a VXLAN network send to another network of their VPC, in VXLAN or not.

use anyhow::{Result, ensure};
use tidegate_fastpath::types::PortId;

use super::{
    Load, Scenario,
    vpc::{self, Side, Vpc},
};
use crate::{
    gateway::Gateway,
    oracle::{self, Expected, Replaced},
};

/// The scenario and its parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vxlan {
    pub(super) load: Load,
    pub(super) vpc: Vpc,
    /// Whether the receivers are in VXLAN, or on a port.
    pub(super) to_tunnel: bool,
}

impl Scenario for Vxlan {
    fn load(&self) -> &Load {
        &self.load
    }

    fn vpcs(&self) -> u32 {
        self.vpc.vpcs
    }

    fn check_flows(&self, flows: u32) -> Result<()> {
        self.vpc.check_flows(flows)
    }

    fn gateway(&self) -> Result<Gateway> {
        let mut builder = self.vpc.builder(self.load.tracked)?;
        if self.to_tunnel {
            self.vpc.in_tunnels(&mut builder, &[Side::Senders, Side::Receivers])?;
        } else {
            let vpcs = self.vpc.in_tunnels(&mut builder, &[Side::Senders])?;
            self.vpc.on_port(&mut builder, vpcs[0], Side::Receivers)?;
        }
        Ok(builder.build())
    }

    fn arriving(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        self.vpc.in_tunnel(flow, &self.vpc.sent_inside(flow, frame_bytes))
    }

    fn check(&self, flow: u32, frame_bytes: usize, port: PortId, frame: &[u8]) -> Result<()> {
        ensure!(port == PortId(u16::from(!self.to_tunnel)), "sent on port {port}");
        let vm = self.vpc.receiver(flow);
        let expected = Expected {
            sent: &self.vpc.sent_inside(flow, frame_bytes),
            source: vpc::gateway_mac(Side::Receivers),
            destination: vm.mac,
            replaced: Replaced::Nothing,
        };
        if self.to_tunnel {
            oracle::check_tunnel(&vpc::tunnel_to(vm, Side::Receivers, self.vpc.vpc(flow)), &expected, frame)
        } else {
            oracle::check_routed(&expected, frame)
        }
    }
}
