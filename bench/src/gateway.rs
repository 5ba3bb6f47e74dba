//! A gateway as control would have compiled it: tables and neighbours, without control.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use tidegate_fastpath::{
    table::{
        Link, Net, Port, Tables, Vrf, Vtep,
        fib::{Fib, Hop},
        nat::{Exit, Quotas, Vip},
        neighbour::{self, Adjacency, NeighbourId, NeighbourTable, NeighbourWriter},
        vni::VniTable,
    },
    types::{MacAddr, Mtu, NetId, PortId, VipId, Vni, VrfId, VtepId},
};

/// What a worker reads.
#[derive(Debug)]
pub struct Gateway {
    /// The compiled configuration.
    pub tables: Tables,
    /// The neighbours; nobody changes them any more.
    pub neighbours: Arc<NeighbourTable>,
}

/// Builds a [`Gateway`] step by step.
#[derive(Debug)]
pub struct Builder {
    tables: Tables,
    vnis: Vec<((VtepId, Vni), NetId)>,
    /// By VRF.
    routes: Vec<Vec<(Ipv4Net, Hop)>>,
    exits: Vec<(VrfId, Arc<Exit>)>,
    neighbours: NeighbourWriter,
    tracked: bool,
    mtu: Mtu,
}

impl Builder {
    /// A gateway without anything; `tracked` says whether its VRFs use flow entries, `neighbours` how many there will be.
    ///
    /// # Errors
    /// An MTU that is none.
    pub fn new(tracked: bool, mtu: u32, neighbours: usize) -> Result<Builder> {
        let tables = Tables { nets: vec![None], ..Tables::default() };
        let (neighbours, _) = neighbour::new(neighbours);
        let (vnis, routes, exits) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Builder { tables, vnis, routes, exits, neighbours, tracked, mtu: Mtu::new(mtu)? })
    }

    /// A routing table without routes.
    pub fn vrf(&mut self) -> VrfId {
        self.routes.push(Vec::new());
        VrfId(self.routes.len() as u16 - 1)
    }

    /// A plain network on a port of its own.
    pub fn plain(&mut self, vrf: VrfId, mac: MacAddr, prefix: Ipv4Net, address: Ipv4Addr) -> NetId {
        let port = PortId(self.tables.ports.len() as u16);
        let net = self.net(vrf, mac, prefix, address, Link::Port { port, vlan: None });
        self.tables.ports.push(Port { untagged: net, vlans: None });
        net
    }

    /// A tunnel end of ours.
    pub fn vtep(&mut self, underlay: NetId, address: Ipv4Addr, udp_port: u16) -> VtepId {
        self.tables.vteps.push(Vtep { address, udp_port, underlay });
        VtepId(self.tables.vteps.len() as u16 - 1)
    }

    /// A VXLAN network.
    pub fn vxlan(
        &mut self,
        vrf: VrfId,
        mac: MacAddr,
        prefix: Ipv4Net,
        address: Ipv4Addr,
        (vtep, vni): (VtepId, Vni),
    ) -> NetId {
        let net = self.net(vrf, mac, prefix, address, Link::Vxlan { vtep, vni });
        self.vnis.push(((vtep, vni), net));
        net
    }

    /// A route.
    pub fn route(&mut self, vrf: VrfId, prefix: Ipv4Net, hop: Hop) {
        self.routes[vrf.index()].push((prefix, hop));
    }

    /// A resolved neighbour.
    ///
    /// # Errors
    /// More neighbours than announced.
    pub fn neighbour(
        &mut self,
        net: NetId,
        ip: Ipv4Addr,
        mac: MacAddr,
        tunnel: Option<(Ipv4Addr, NeighbourId)>,
    ) -> Result<NeighbourId> {
        let id = self.neighbours.insert(net, ip)?;
        self.neighbours.resolve(id, Adjacency { mac, tunnel });
        Ok(id)
    }

    /// A public address, and its route in the table of its network.
    pub fn vip(&mut self, vrf: VrfId, vip: Vip) -> VipId {
        let address = vip.address;
        let id = self.own_address(vip);
        self.route(vrf, address.into(), Hop::Vip(id));
        id
    }

    /// An address whose ports stand for others, without route: one that a network of ours has anyway.
    pub fn own_address(&mut self, vip: Vip) -> VipId {
        let id = VipId(self.tables.vips.len() as u16);
        self.tables.vips.push(Some(Arc::new(vip)));
        id
    }

    /// The first network of a VRF.
    ///
    /// # Errors
    /// It has none.
    pub fn net_of(&self, vrf: VrfId) -> Result<NetId> {
        let of_vrf = |net: &Option<Arc<Net>>| net.as_ref().is_some_and(|net| net.vrf == vrf);
        let at = self.tables.nets.iter().position(of_vrf).context("a routing table without network")?;
        Ok(NetId(at as u16))
    }

    /// How packets of a VPC leave; everything that no other route takes does.
    pub fn exit(&mut self, vpc: VrfId, exit: Exit) {
        self.route(vpc, Ipv4Net::default(), Hop::Exit);
        self.exits.push((vpc, Arc::new(exit)));
    }

    /// The gateway.
    pub fn build(mut self) -> Gateway {
        let exit_of = |vrf: usize| {
            self.exits.iter().find(|(of, _)| of.index() == vrf).map(|(_, exit)| Arc::clone(exit))
        };
        let vrf = |(number, routes): (usize, Vec<_>)| Vrf {
            generation: 1,
            tracked: self.tracked,
            fib: Fib::build(routes).into(),
            exit: exit_of(number),
            quotas: Quotas::default(),
            limited: Arc::default(),
        };
        let routes = self.routes.into_iter().enumerate();
        self.tables.vrfs = routes.map(|routes| Some(Arc::new(vrf(routes)))).collect();
        self.tables.vnis = VniTable::build(self.vnis);
        Gateway { tables: self.tables.with_lanes(), neighbours: Arc::clone(self.neighbours.table()) }
    }

    /// A network with its connected route and the routes of its own address, as control compiles them.
    fn net(&mut self, vrf: VrfId, mac: MacAddr, prefix: Ipv4Net, address: Ipv4Addr, link: Link) -> NetId {
        let id = NetId(self.tables.nets.len() as u16);
        let addresses = Box::new([address]);
        let net = Net { vrf, mac, mtu: self.mtu, prefix, addresses, address: Some(address), link };
        self.tables.nets.push(Some(Arc::new(net)));
        self.route(vrf, prefix, Hop::Connected(id));
        self.route(vrf, address.into(), Hop::Local(id));
        self.route(vrf, prefix.network().into(), Hop::Broadcast);
        self.route(vrf, prefix.broadcast().into(), Hop::Broadcast);
        id
    }
}
