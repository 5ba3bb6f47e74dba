//! VXLAN → route → VXLAN: VMs of one network of a VPC send to VMs of another.

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
pub(super) struct VxlanVxlan {
    pub(super) load: Load,
    pub(super) vpc: Vpc,
}

impl VxlanVxlan {
    fn inner(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        self.vpc.sent(flow, self.vpc.receiver(flow).ip, frame_bytes)
    }
}

impl Scenario for VxlanVxlan {
    fn load(&self) -> &Load {
        &self.load
    }

    fn check_flows(&self, flows: u32) -> Result<()> {
        self.vpc.check_flows(flows)
    }

    fn gateway(&self) -> Result<Gateway> {
        let mut builder = self.vpc.builder(self.load.tracked)?;
        self.vpc.in_tunnels(&mut builder, &[Side::Senders, Side::Receivers])?;
        Ok(builder.build())
    }

    fn arriving(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        vpc::tunnelled(self.vpc.sender(flow), flow, &self.inner(flow, frame_bytes))
    }

    fn check(&self, flow: u32, frame_bytes: usize, port: PortId, frame: &[u8]) -> Result<()> {
        ensure!(port == PortId(0), "sent on port {port}");
        let vm = self.vpc.receiver(flow);
        let expected = Expected {
            sent: &self.inner(flow, frame_bytes),
            source: vpc::gateway_mac(Side::Receivers),
            destination: vm.mac,
            replaced: Replaced::Nothing,
        };
        oracle::check_tunnel(&vpc::tunnel_to(vm, Side::Receivers), &expected, frame)
    }
}
