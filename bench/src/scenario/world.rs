//! A public network with its upstream router, behind which the world is.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::{Result, ensure};
use ipnet::Ipv4Net;
use tidegate_fastpath::{
    table::{
        balance::Listener,
        fib::Hop,
        nat::{Forward, Inside, Leases, Vip},
    },
    types::{MacAddr, NetId, PortId, VipId, VrfId},
};

use super::packet::Host;
use crate::{
    gateway::Builder,
    oracle::{self, Expected, Replaced},
};

/// Our MAC there.
pub(super) const OUR_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);
/// The router to the world.
pub(super) const UPSTREAM: Host =
    Host { ip: Ipv4Addr::new(203, 0, 113, 1), mac: MacAddr::new([2, 0, 0, 0, 113, 1]) };

/// The network.
#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    vrf: VrfId,
    net: NetId,
}

/// Checks a frame that left to the world: what a VM sent, its source replaced.
///
/// # Errors
/// The first field that is wrong.
pub(super) fn check_left(
    sent: &[u8],
    is_right: &dyn Fn(Ipv4Addr, u16) -> bool,
    port: PortId,
    frame: &[u8],
) -> Result<()> {
    ensure!(port == PortId(1), "sent on port {port}");
    let (source, destination, replaced) = (OUR_MAC, UPSTREAM.mac, Replaced::Source(is_right));
    oracle::check_routed(&Expected { sent, source, destination, replaced }, frame)
}

impl World {
    /// The network, on the next port.
    pub(super) fn new(builder: &mut Builder) -> Result<World> {
        let vrf = builder.vrf();
        let prefix = Ipv4Net::new(Ipv4Addr::new(203, 0, 113, 0), 24)?;
        let net = builder.plain(vrf, OUR_MAC, prefix, Ipv4Addr::new(203, 0, 113, 2));
        builder.route(vrf, Ipv4Net::default(), Hop::Via(net, UPSTREAM.ip));
        builder.neighbour(net, UPSTREAM.ip, UPSTREAM.mac, None)?;
        Ok(World { vrf, net })
    }

    /// A public address: of one VM, of port forwards sorted by slice, or of SNAT.
    pub(super) fn vip(
        &self,
        builder: &mut Builder,
        address: Ipv4Addr,
        eip: Option<Inside>,
        forwards: Vec<Forward>,
    ) -> VipId {
        let leases = Leases::on_demand();
        if eip.is_none() && forwards.is_empty() {
            // What is left is for SNAT.
            leases.provide();
        }
        self.put(builder, address, eip, forwards, None, leases)
    }

    /// A public address with a listener.
    pub(super) fn listener(&self, builder: &mut Builder, address: Ipv4Addr, listener: Listener) -> VipId {
        self.put(builder, address, None, Vec::new(), Some(Arc::new(listener)), Leases::on_demand())
    }

    fn put(
        &self,
        builder: &mut Builder,
        address: Ipv4Addr,
        eip: Option<Inside>,
        forwards: Vec<Forward>,
        listener: Option<Arc<Listener>>,
        leases: Leases,
    ) -> VipId {
        let slices = forwards.iter().map(|forward| forward.slice);
        let held = slices.chain(listener.iter().map(|listener| listener.slice)).collect();
        let (forwards, leases) = (forwards.into_boxed_slice(), Arc::new(leases));
        let limits = Default::default();
        let listeners = listener.into_iter().collect();
        let (net, meter) = (self.net, Arc::default());
        builder.vip(self.vrf, Vip { net, address, eip, forwards, listeners, held, leases, limits, meter })
    }
}
