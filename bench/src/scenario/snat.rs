//! SNAT: VMs of a VPC, in VXLAN or not, send to the world behind a pool of public addresses.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::Result;
use tidegate_fastpath::{
    nat::NatLimits,
    table::nat::{Exit, FIRST_PORT, Snat as Pool},
    types::PortId,
};

use super::{Load, Scenario, vpc::Vpc, world};
use crate::gateway::Gateway;

/// VIPs of the pool: 40 × 63 × 1024 ports.
pub(super) const VIPS: u8 = 40;
/// The last octet of the first one.
const FIRST_VIP: u8 = 100;
/// The pool as others write it: addresses and ports.
pub(super) const RANGE: &str = "203.0.113.100-203.0.113.139:1024-65535";
/// Ports of one VM, in blocks.
const BLOCKS_PER_VM: u16 = 1_000;

/// The scenario and its parameters; each flow is a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snat {
    pub(super) load: Load,
    pub(super) vpc: Vpc,
    /// Whether the VMs are in VXLAN, or on a port.
    pub(super) in_tunnel: bool,
}

/// The `n`th address of the pool.
pub(super) const fn vip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, FIRST_VIP + n)
}

fn is_of_pool(address: Ipv4Addr, port: u16) -> bool {
    let [a, b, c, d] = address.octets();
    [a, b, c] == [203, 0, 113] && (FIRST_VIP..FIRST_VIP + VIPS).contains(&d) && port >= FIRST_PORT
}

impl Scenario for Snat {
    fn load(&self) -> &Load {
        &self.load
    }

    fn services(&self) -> Vec<&'static str> {
        vec!["snat"]
    }

    fn vpcs(&self) -> u32 {
        self.vpc.vpcs
    }

    fn entries_per_flow(&self) -> usize {
        2
    }

    fn nat(&self) -> NatLimits {
        let blocks = self.load.flows as usize / 32 + self.vpc.senders as usize;
        NatLimits { vms: self.vpc.senders as usize, blocks, vrfs: 16 + self.vpc.vpcs as usize }
    }

    fn check_flows(&self, flows: u32) -> Result<()> {
        self.vpc.check_flows(flows)
    }

    fn gateway(&self) -> Result<Gateway> {
        let (mut builder, vpcs, world) = self.vpc.before_world(&self.load, self.in_tunnel)?;
        let vips = (0..VIPS).map(|n| world.vip(&mut builder, vip(n), None, Vec::new())).collect();
        let pool = Arc::new(Pool { vips, blocks_per_vm: BLOCKS_PER_VM, hairpin: false });
        for vpc in vpcs {
            builder.exit(vpc, Exit { rest: Some(Arc::clone(&pool)), ..Exit::default() });
        }
        Ok(builder.build())
    }

    fn arriving(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        let sent = self.vpc.sent_outside(flow, frame_bytes);
        if self.in_tunnel { self.vpc.in_tunnel(flow, &sent) } else { sent }
    }

    fn check(&self, flow: u32, frame_bytes: usize, port: PortId, frame: &[u8]) -> Result<()> {
        world::check_left(&self.vpc.sent_outside(flow, frame_bytes), &is_of_pool, port, frame)
    }
}
