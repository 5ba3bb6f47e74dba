//! VXLAN → route → IP: VMs of a VXLAN network send to hosts of a plain network of their VPC.

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
pub(super) struct VxlanIp {
    pub(super) load: Load,
    pub(super) vpc: Vpc,
}

impl VxlanIp {
    fn inner(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        self.vpc.sent(flow, self.vpc.receiver(flow).ip, frame_bytes)
    }
}

impl Scenario for VxlanIp {
    fn load(&self) -> &Load {
        &self.load
    }

    fn check_flows(&self, flows: u32) -> Result<()> {
        self.vpc.check_flows(flows)
    }

    fn gateway(&self) -> Result<Gateway> {
        let mut builder = self.vpc.builder(self.load.tracked)?;
        let vpc = self.vpc.in_tunnels(&mut builder, &[Side::Senders])?;
        self.vpc.on_port(&mut builder, vpc, Side::Receivers)?;
        Ok(builder.build())
    }

    fn arriving(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        vpc::tunnelled(self.vpc.sender(flow), flow, &self.inner(flow, frame_bytes))
    }

    fn check(&self, flow: u32, frame_bytes: usize, port: PortId, frame: &[u8]) -> Result<()> {
        ensure!(port == PortId(1), "sent on port {port}");
        let expected = Expected {
            sent: &self.inner(flow, frame_bytes),
            source: vpc::gateway_mac(Side::Receivers),
            destination: self.vpc.receiver(flow).mac,
            replaced: Replaced::Nothing,
        };
        oracle::check_routed(&expected, frame)
    }
}
