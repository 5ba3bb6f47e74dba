//! IP → load balancer → VXLAN: the world sends to one port of one public address, and a listener spreads the connections over VMs
//! by a consistent hash, so that who gets which does not depend on the order in which they come.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::{Result, ensure};
use tidegate_fastpath::{
    flow::{FlowKey, session::Idle},
    nat::NatLimits,
    table::{
        balance::{
            Access, Backend, BackendUsage, Listener, ListenerUsage, Member, Pick, flow_hash, maglev,
            maglev_place,
        },
        nat::{Inside, Slice},
    },
    types::{NetId, PortId, VrfId},
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

const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);
/// The public port.
const PORT: u16 = 80;
/// Where the VMs listen.
const INNER_PORT: u16 = 8080;

/// The scenario and its parameters; each flow is a session.
#[derive(Clone, Debug)]
pub(super) struct LbIn {
    load: Load,
    /// Its senders are the backends.
    vpc: Vpc,
    /// The backends in the order of their addresses.
    backends: Vec<Host>,
    table: Arc<[u16]>,
}

impl LbIn {
    pub(super) fn new(load: Load, vpc: Vpc) -> LbIn {
        let mut backends: Vec<Host> = (0..vpc.senders).map(|n| vpc::vm(Side::Senders, n)).collect();
        backends.sort_unstable_by_key(|host| host.ip);
        let member =
            |(index, host): (u16, &Host)| Member { index, address: host.ip, port: INNER_PORT, weight: 1 };
        let table = maglev(&(0u16..).zip(&backends).map(member).collect::<Vec<_>>());
        LbIn { load, vpc, backends, table }
    }

    fn ports(flow: u32) -> (u16, u16) {
        (40_000 + (flow % 1000) as u16, PORT)
    }

    /// The backend of a flow.
    fn vm(&self, flow: u32) -> Result<Host> {
        let (from, to) = LbIn::ports(flow);
        let key = FlowKey::new(NetId::NONE, world_address(flow), PUBLIC, protocol::UDP, from, to, false);
        let index = maglev_place(&self.table, flow_hash(&key));
        let vm = index.and_then(|index| self.backends.get(usize::from(index)));
        vm.copied().ok_or_else(|| anyhow::anyhow!("there is no backend"))
    }

    fn listener(&self, vrf: VrfId) -> Listener {
        let usage: Arc<ListenerUsage> = Arc::default();
        let backend = |host: &Host| Backend {
            to: Inside { vrf, address: host.ip },
            to_first: INNER_PORT,
            max_connections: u32::MAX,
            up: true,
            takes: true,
            keeps: true,
            slot: 0,
            usage: Arc::new(BackendUsage::of(&usage)),
        };
        Listener {
            slice: Slice { protocol: protocol::UDP, first: PORT, last: PORT },
            vrf,
            access: Access::Everybody,
            max_connections: u32::MAX,
            idle: Idle::DEFAULT,
            backends: self.backends.iter().map(backend).collect(),
            pick: Pick::Consistent(Arc::clone(&self.table)),
            persistence: None,
            usage,
        }
    }
}

impl Scenario for LbIn {
    fn load(&self) -> &Load {
        &self.load
    }

    fn services(&self) -> Vec<&'static str> {
        vec!["load-balancer"]
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
        ensure!(self.backends.len() <= Listener::BACKENDS_MAX, "a listener has not so many backends");
        let (mut builder, vrf, world) = self.vpc.before_world(&self.load, true)?;
        world.listener(&mut builder, PUBLIC, self.listener(vrf));
        Ok(builder.build())
    }

    fn port(&self) -> PortId {
        PortId(1)
    }

    fn arriving(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        let source = Host { ip: world_address(flow), mac: UPSTREAM.mac };
        Datagram { source, gateway: OUR_MAC, destination: PUBLIC, ports: LbIn::ports(flow) }
            .frame(frame_bytes)
    }

    fn check(&self, flow: u32, frame_bytes: usize, port: PortId, frame: &[u8]) -> Result<()> {
        ensure!(port == PortId(0), "sent on port {port}");
        let vm = self.vm(flow)?;
        let expected = Expected {
            sent: &self.arriving(flow, frame_bytes),
            source: vpc::gateway_mac(Side::Senders),
            destination: vm.mac,
            replaced: Replaced::Destination(vm.ip, INNER_PORT),
        };
        oracle::check_tunnel(&vpc::tunnel_to(vm, Side::Senders), &expected, frame)
    }
}
