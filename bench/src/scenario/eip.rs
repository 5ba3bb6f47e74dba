//! VXLAN → EIP → IP: VMs with a public address of their own send to the world.

use std::net::Ipv4Addr;

use anyhow::Result;
use tidegate_fastpath::{
    table::nat::{Exit, Inside},
    types::PortId,
};

use super::{
    Load, Scenario,
    vpc::{self, Side, Vpc},
    world,
};
use crate::{gateway::Gateway, oracle};

/// The scenario and its parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Eip {
    pub(super) load: Load,
    pub(super) vpc: Vpc,
}

/// The public address of the `n`th VM, in 198.18.0.0/15.
pub(super) const fn public(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xc612_0000 + n)
}

impl Scenario for Eip {
    fn load(&self) -> &Load {
        &self.load
    }

    fn services(&self) -> Vec<&'static str> {
        vec!["eip"]
    }

    fn check_flows(&self, flows: u32) -> Result<()> {
        self.vpc.check_flows(flows)
    }

    fn gateway(&self) -> Result<Gateway> {
        let (mut builder, vrf, world) = self.vpc.alone_before_world(&self.load)?;
        let eip = |n| {
            let address = vpc::vm(Side::Senders, n).ip;
            (address, world.vip(&mut builder, public(n), Some(Inside { vrf, address }), Vec::new()))
        };
        let mut eips: Vec<_> = (0..self.vpc.senders).map(eip).collect();
        eips.sort_by_key(|(address, _)| *address);
        builder.exit(vrf, Exit { eips: eips.into(), ..Exit::default() });
        Ok(builder.build())
    }

    fn arriving(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        self.vpc.in_tunnel(flow, &self.vpc.sent_outside(flow, frame_bytes))
    }

    fn check(&self, flow: u32, frame_bytes: usize, port: PortId, frame: &[u8]) -> Result<()> {
        let sent = self.vpc.sent_outside(flow, frame_bytes);
        let right = (public(flow % self.vpc.senders), oracle::udp_ports(&sent)?.0);
        world::check_left(&sent, &|address, port| (address, port) == right, port, frame)
    }
}
