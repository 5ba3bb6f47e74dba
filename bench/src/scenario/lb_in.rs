//! IP → load balancer → VXLAN: the world sends to one port of one public address, and a listener spreads the connections over VMs
//! by a consistent hash, so that who gets which does not depend on the order in which they come.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tidegate_fastpath::{
    flow::{FlowKey, session::Idle},
    table::{
        balance::{
            Access, Backend, BackendUsage, Listener, ListenerUsage, Member, Pick, flow_hash, maglev,
            maglev_place,
        },
        nat::{Inside, Slice},
    },
    types::{NetId, VrfId},
    wire::ipv4::protocol,
};

use super::{
    inward::{PUBLIC, Service, ports},
    packet::{Host, world_address},
    vpc::{Side, Vpc},
    world::World,
};
use crate::gateway::Builder;

/// The listener; who gets which flow is known before.
#[derive(Clone, Debug)]
pub(super) struct LbIn {
    /// In the order of their addresses.
    backends: Vec<Host>,
    table: Arc<[u16]>,
}

impl LbIn {
    /// The public port.
    pub(super) const PORT: u16 = 80;

    /// With the senders of a VPC as backends.
    pub(super) fn new(vpc: Vpc) -> LbIn {
        let mut backends: Vec<Host> = vpc.vms(Side::Senders).collect();
        backends.sort_unstable_by_key(|host| host.ip);
        let member = |(index, host): (u16, &Host)| Member {
            index,
            address: host.ip,
            port: Self::INNER_PORT,
            weight: 1,
        };
        let table = maglev(&(0u16..).zip(&backends).map(member).collect::<Vec<_>>());
        LbIn { backends, table }
    }

    /// For backends of a VPC.
    pub(super) fn listener(&self, vrf: VrfId) -> Listener {
        let usage: Arc<ListenerUsage> = Arc::default();
        let backend = |host: &Host| Backend {
            to: Inside { vrf, address: host.ip },
            to_first: Self::INNER_PORT,
            max_connections: u32::MAX,
            up: true,
            takes: true,
            keeps: true,
            slot: 0,
            usage: Arc::new(BackendUsage::of(&usage)),
        };
        Listener {
            slice: Slice { protocol: protocol::UDP, first: Self::PORT, last: Self::PORT },
            vrf,
            access: Access::Everybody,
            max_connections: u32::MAX,
            idle: Idle::DEFAULT,
            backends: self.backends.iter().map(backend).collect(),
            pick: Pick::Consistent(Arc::clone(&self.table)),
            full_nat: false,
            persistence: None,
            usage,
        }
    }
}

impl Service for LbIn {
    const NAME: &'static str = "load-balancer";
    const INNER_PORT: u16 = 8080;

    fn port(&self, _flow: u32) -> u16 {
        Self::PORT
    }

    fn vm(&self, flow: u32) -> Result<Host> {
        let (from, to) = ports(flow, Self::PORT);
        let key = FlowKey::new(NetId::NONE, world_address(flow), PUBLIC, protocol::UDP, from, to, false);
        let index = maglev_place(&self.table, flow_hash(&key));
        let vm = index.and_then(|index| self.backends.get(usize::from(index)));
        vm.copied().context("there is no backend")
    }

    fn provide(&self, world: &World, builder: &mut Builder, vpc: VrfId) -> Result<()> {
        ensure!(self.backends.len() <= Listener::BACKENDS_MAX, "a listener has not so many backends");
        world.listener(builder, PUBLIC, self.listener(vpc));
        Ok(())
    }
}
