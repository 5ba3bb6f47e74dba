//! [`LbIn`] with full NAT: to a backend each client is a port of the gateway's address in its network.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::Result;
use tidegate_fastpath::{
    table::{
        balance::Listener,
        nat::{BLOCKS, Exit, FIRST_PORT, Leases, Slice, Snat, Vip},
    },
    types::VrfId,
    wire::ipv4::protocol,
};

use super::{
    inward::{PUBLIC, Service},
    lb_in::LbIn,
    packet::Host,
    vpc::{self, Side, Vpc},
    world::World,
};
use crate::{gateway::Builder, oracle::Replaced};

/// From here on ports of the address are for programs of the gateway.
const PROGRAM_PORTS: u16 = 32_768;
/// Most backends: the ports below are dealt out in 480 blocks, and each backend needs one at least.
const BACKENDS_MAX: u32 = 250;

/// The listener.
#[derive(Clone, Debug)]
pub(super) struct FullNat(LbIn);

impl FullNat {
    /// With the senders of a VPC as backends, which [`FullNat::fewer`] gave.
    pub(super) fn new(vpc: Vpc) -> FullNat {
        FullNat(LbIn::new(vpc))
    }

    /// The VPC with no more VMs than there are ports for.
    pub(super) fn fewer(vpc: Vpc) -> Vpc {
        Vpc { senders: vpc.senders.min(BACKENDS_MAX), ..vpc }
    }
}

fn is_masked(address: Ipv4Addr, port: u16) -> bool {
    address == vpc::address(Side::Senders) && (FIRST_PORT..PROGRAM_PORTS).contains(&port)
}

impl Service for FullNat {
    const NAME: &'static str = "load-balancer with full NAT";
    const INNER_PORT: u16 = LbIn::INNER_PORT;
    const ENTRIES: usize = 4;

    fn port(&self, flow: u32) -> u16 {
        self.0.port(flow)
    }

    fn vm(&self, flow: u32) -> Result<Host> {
        self.0.vm(flow)
    }

    fn replaced(&self, vm: Host) -> Replaced<'_> {
        Replaced::Both(&is_masked, vm.ip, Self::INNER_PORT)
    }

    fn provide(&self, world: &World, builder: &mut Builder, vpc: VrfId) -> Result<()> {
        let net = builder.net_of(vpc)?;
        let programs = Slice { protocol: protocol::UDP, first: PROGRAM_PORTS, last: u16::MAX };
        let mask = builder.own_address(Vip {
            net,
            address: vpc::address(Side::Senders),
            eip: None,
            forwards: [].into(),
            listeners: [].into(),
            held: [programs].into(),
            leases: Arc::new(Leases::on_demand()),
            limits: Default::default(),
            meter: Arc::default(),
        });
        let pool = Snat { vips: [mask].into(), blocks_per_vm: BLOCKS as u16, hairpin: false };
        builder.exit(vpc, Exit { masks: [(net, Arc::new(pool))].into(), ..Exit::default() });
        world.listener(builder, PUBLIC, Listener { full_nat: true, ..self.0.listener(vpc) });
        Ok(())
    }
}
