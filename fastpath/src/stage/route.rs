//! Where does a packet go? Answers with a [`Program`] that every packet of the flow can use, or with the reason why not.
//! Everything here depends on nothing but the flow key and the tables, so it is paid once per flow.

use std::net::Ipv4Addr;

use crate::{
    flow::{FlowKey, Program, session::Translation},
    policer::Policers,
    reason::DropReason,
    stage::{ingress::Origin, policing},
    table::{
        Tables,
        fib::Hop,
        neighbour::{NeighbourTable, Reach},
    },
    types::{MacAddr, NetId, VipId, VrfId},
    wire::ipv4,
};

/// Between how many routing tables a packet may be handed on (VPC to public network and back is two).
const LEAKS_MAX: usize = 2;

/// The decision for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Forward it so.
    Forward(Program),
    /// It is for an address of ours on this network.
    Local(NetId),
    /// Control must make an entry for this next hop first.
    Unknown {
        /// The network of the next hop.
        net: NetId,
        /// The next hop.
        ip: Ipv4Addr,
    },
    /// Out of the VPC: translate it first.
    Out,
    /// For a public address of ours: whose is it?
    Vip(VipId),
}

/// Decides for the packets of `key`, which entered at `origin` and are looked up in `vrf`.
///
/// # Errors
/// The reason to drop them.
#[inline(always)]
pub fn decide(
    tables: &Tables,
    neighbours: &NeighbourTable,
    vrf: VrfId,
    key: &FlowKey,
    origin: &Origin,
) -> Result<Decision, DropReason> {
    if !ipv4::may_send(key.source()) {
        return Err(DropReason::MartianSource);
    }
    check_destination(key.destination())?;
    let (egress, ip) = match resolve(tables, vrf, key.destination())? {
        Leads::To(net, ip) => (net, ip),
        Leads::Here(net) => return Ok(Decision::Local(net)),
        Leads::Out => return Ok(Decision::Out),
        Leads::Vip(vip) => return Ok(Decision::Vip(vip)),
    };
    if key.source().is_link_local() || key.destination().is_link_local() {
        return Err(DropReason::LinkLocal);
    }
    let generation = tables.vrf(vrf).map_or(0, |vrf| vrf.generation);
    Ok(match neighbours.lookup(egress, ip) {
        Some(next) => {
            let program = Program {
                generation,
                egress,
                next,
                from_vtep: origin.vtep,
                translation: Translation::NONE,
                inside: vrf,
                policers: Policers::NONE,
            };
            Decision::Forward(Program { policers: policing::policers(tables, key, &program), ..program })
        }
        None => Decision::Unknown { net: egress, ip },
    })
}

/// Where a route leads in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// To this next hop on this network.
    To(NetId, Ipv4Addr),
    /// To ourselves.
    Here(NetId),
    /// Out of the VPC, translated.
    Out,
    /// To a public address of ours.
    Vip(VipId),
}

/// Looks a destination up, through leaks between routing tables.
///
/// # Errors
/// The reason why there is no way.
#[inline]
pub fn resolve(tables: &Tables, mut vrf: VrfId, destination: Ipv4Addr) -> Result<Leads, DropReason> {
    for _ in 0..=LEAKS_MAX {
        let table = tables.vrf(vrf).ok_or(DropReason::RouteUnusable)?;
        match table.fib.lookup(destination) {
            Hop::Connected(net) => return Ok(Leads::To(net, destination)),
            Hop::Via(net, ip) => return Ok(Leads::To(net, ip)),
            Hop::Local(net) => return Ok(Leads::Here(net)),
            Hop::Leak(other) => vrf = other,
            Hop::Exit => return Ok(Leads::Out),
            Hop::Vip(vip) => return Ok(Leads::Vip(vip)),
            Hop::NoRoute => return Err(DropReason::NoRoute),
            Hop::Blackhole => return Err(DropReason::Blackhole),
            Hop::Broadcast => return Err(DropReason::Broadcast),
        }
    }
    Err(DropReason::RouteUnusable)
}

/// Whether [`decide`] asks nothing but the routing table about packets between these addresses.
#[inline(always)]
pub fn is_ordinary(key: &FlowKey) -> bool {
    ipv4::is_ordinary(key.source()) && ipv4::is_ordinary(key.destination())
}

/// As [`decide`] for an ordinary packet whose destination has this hop, as far as the next one: network and address. `None` where
/// it would not forward it.
#[inline(always)]
pub fn next_hop(tables: &Tables, hop: Hop, destination: Ipv4Addr) -> Option<(NetId, Ipv4Addr)> {
    match hop {
        Hop::Connected(net) => Some((net, destination)),
        Hop::Via(net, ip) => Some((net, ip)),
        Hop::Leak(other) => match resolve(tables, other, destination) {
            Ok(Leads::To(net, ip)) => Some((net, ip)),
            _ => None,
        },
        _ => None,
    }
}

/// RFC 1812 §5.3.7 and §5.3.4: addresses that are never forwarded to.
#[inline(always)]
fn check_destination(destination: Ipv4Addr) -> Result<(), DropReason> {
    match destination.octets()[0] {
        224..240 => Err(DropReason::Multicast),
        0 | 127 => Err(DropReason::MartianDestination),
        240.. if destination.is_broadcast() => Err(DropReason::Broadcast),
        240.. => Err(DropReason::MartianDestination),
        _ => Ok(()),
    }
}

/// Whether a VM whose packets come through `origin` is known behind another VTEP: it moved, and control must hear of it.
#[inline]
pub fn has_moved(neighbours: &NeighbourTable, key: &FlowKey, origin: &Origin) -> bool {
    !origin.vtep.is_unspecified()
        && place_of(neighbours, origin.net, key.source())
            .is_some_and(|(mac, vtep)| mac == origin.mac && vtep != origin.vtep)
}

/// The MAC of a VM and the VTEP behind which it is known to be.
#[inline]
pub fn place_of(neighbours: &NeighbourTable, net: NetId, ip: Ipv4Addr) -> Option<(MacAddr, Ipv4Addr)> {
    match neighbours.reach(neighbours.lookup(net, ip)?) {
        Reach::Resolved(known) => known.tunnel.map(|(vtep, _)| (known.mac, vtep)),
        _ => None,
    }
}
