//! Which headers does a packet need to reach its next hop? Puts Ethernet, VLAN and VXLAN headers on.

use std::net::Ipv4Addr;

use crate::{
    buffer::Buffer,
    reason::DropReason,
    table::{
        Link, Net, Tables, Vtep,
        neighbour::{Adjacency, NeighbourTable, Reach},
    },
    types::{MacAddr, PortId, Vid, Vni},
    wire::{
        ethernet::{self, ethertype},
        ipv4, udp, vxlan,
    },
};

/// What stands between a packet and its next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// It must be dropped.
    Drop(DropReason),
    /// The underlay next hop is not resolved yet.
    Wait,
}

/// The network or tunnel end that a table names is not there.
const UNUSABLE_REASON: DropReason = DropReason::RouteUnusable;
const UNUSABLE: NotSent = NotSent::Drop(UNUSABLE_REASON);
/// Bytes of the outer IPv4, UDP and VXLAN headers.
const OUTER_LEN: usize = ipv4::HEADER_LEN + udp::HEADER_LEN + vxlan::HEADER_LEN;
/// First of the 16,384 source ports that carry entropy (RFC 7348 §5: the dynamic range 49152-65535).
const ENTROPY_BASE: u16 = 0xc000;

/// The UDP source port for a flow hash: one flow, one port.
#[inline(always)]
pub(super) const fn entropy_port(hash: u64) -> u16 {
    ENTROPY_BASE | (hash >> 32) as u16
}

/// Everything that the headers in front of a packet say; ready to be put on it, and on its fragments.
///
/// All fields are there with and without tunnel, so that they stay in registers where an `Option` would be built in memory.
#[derive(Clone, Copy, Debug)]
pub struct Encap<'a> {
    ends: Ends,
    /// The network whose port sends it: its own, or the underlay's.
    carrier: &'a Net,
    port: PortId,
    vlan: Option<Vid>,
    /// `Some` with tunnel, and then `vni` and `way` mean something.
    vtep: Option<&'a Vtep>,
    vni: u32,
    way: Way,
}

/// Finds out how an IPv4 packet reaches a neighbour on `net`. `hash` gives the outer source port, `tos` the outer ECN.
///
/// # Errors
/// [`NotSent`].
#[inline(always)]
pub fn encap<'a>(
    tables: &'a Tables,
    neighbours: &NeighbourTable,
    net: &'a Net,
    adjacency: &Adjacency,
    hash: u64,
    tos: u8,
) -> Result<Encap<'a>, NotSent> {
    let ends = Ends { destination: adjacency.mac, source: net.mac, ethertype: ethertype::IPV4 };
    match net.link {
        Link::Port { port, vlan } => {
            Ok(Encap { ends, carrier: net, port, vlan, vtep: None, vni: 0, way: Way::default() })
        }
        Link::Vxlan { .. } => {
            let (remote, next) = adjacency.tunnel.ok_or(UNUSABLE)?;
            let Reach::Resolved(next) = neighbours.reach(next) else { return Err(NotSent::Wait) };
            let way = Way {
                remote: remote.to_bits(),
                next: next.mac,
                source_port: entropy_port(hash),
                tos: vxlan::encap_tos(tos),
            };
            let Tunnel { vtep, underlay, port, vlan, vni } = Tunnel::of(tables, net)?;
            Ok(Encap { ends, carrier: underlay, port, vlan, vtep: Some(vtep), vni: vni.get(), way })
        }
    }
}

impl Encap<'_> {
    /// Puts the headers on an IPv4 packet and says which port sends it.
    ///
    /// # Errors
    /// The reason to drop the packet, which is unchanged.
    #[inline(always)]
    pub fn put_on<B: Buffer>(&self, packet: &mut B) -> Result<PortId, DropReason> {
        match self.vtep {
            None => self.ends.put_on(packet, self.vlan)?,
            Some(vtep) => {
                let outer = Outer { vtep, underlay: self.carrier, vlan: self.vlan, vni: self.vni };
                outer.put_on(packet, &self.way, Some(&self.ends))?;
            }
        }
        Ok(self.port)
    }
}

/// Puts the outer headers on an Ethernet frame of a VXLAN network, for the remote VTEP whose underlay next hop has the MAC
/// `next`, and says which port sends it.
///
/// # Errors
/// [`NotSent`]; the packet must be dropped.
pub fn encap_frame<B: Buffer>(
    tables: &Tables,
    net: &Net,
    remote: Ipv4Addr,
    next: MacAddr,
    packet: &mut B,
) -> Result<PortId, DropReason> {
    let source_port = ENTROPY_BASE | net.prefix.addr().to_bits() as u16;
    let Tunnel { vtep, underlay, port, vlan, vni } = Tunnel::of(tables, net).map_err(|_| UNUSABLE_REASON)?;
    let way = Way { remote: remote.to_bits(), next, source_port, tos: 0 };
    Outer { vtep, underlay, vlan, vni: vni.get() }.put_on(packet, &way, None)?;
    Ok(port)
}

/// Puts the tag of a network without tunnel on an untagged Ethernet frame that control built, and says which port sends it.
///
/// # Errors
/// The reason to drop the packet.
pub fn tag_frame<B: Buffer>(net: &Net, packet: &mut B) -> Result<PortId, DropReason> {
    let Link::Port { port, vlan } = net.link else { return Err(UNUSABLE_REASON) };
    let frame = ethernet::parse(packet.bytes()).ok_or(DropReason::RuntFrame)?;
    packet.strip(frame.len);
    Ends { destination: frame.destination, source: frame.source, ethertype: frame.ethertype }
        .put_on(packet, vlan)?;
    Ok(port)
}

/// Makes an ARP packet the frame that answers on the way it came: to `destination` on `net`, through the remote VTEP (with
/// the underlay's MAC that its frame came from) where there is one.
///
/// # Errors
/// The reason to drop the packet.
pub fn answer_frame<B: Buffer>(
    tables: &Tables,
    net: &Net,
    destination: MacAddr,
    tunnel: Option<(Ipv4Addr, MacAddr)>,
    packet: &mut B,
) -> Result<PortId, DropReason> {
    let ends = Ends { destination, source: net.mac, ethertype: ethertype::ARP };
    match (net.link, tunnel) {
        (Link::Port { port, vlan }, _) => ends.put_on(packet, vlan).map(|()| port),
        (Link::Vxlan { .. }, Some((remote, next))) => {
            ends.put_on(packet, None)?;
            encap_frame(tables, net, remote, next, packet)
        }
        (Link::Vxlan { .. }, None) => Err(UNUSABLE_REASON),
    }
}

/// An Ethernet header to be.
#[derive(Clone, Copy, Debug)]
struct Ends {
    destination: MacAddr,
    source: MacAddr,
    ethertype: u16,
}

impl Ends {
    #[inline(always)]
    fn put_on<B: Buffer>(&self, packet: &mut B, vlan: Option<Vid>) -> Result<(), DropReason> {
        let frame = packet.prepend(ethernet::header_len(vlan)).ok_or(DropReason::NoHeadroom)?;
        ethernet::emit(frame, self.destination, self.source, vlan, self.ethertype);
        Ok(())
    }
}

/// What differs from flow to flow in the outer headers of a network.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// An address, as a number: four bytes would be moved one by one.
    remote: u32,
    next: MacAddr,
    source_port: u16,
    tos: u8,
}

/// What a VXLAN network's frames travel by.
struct Tunnel<'a> {
    vtep: &'a Vtep,
    underlay: &'a Net,
    port: PortId,
    vlan: Option<Vid>,
    vni: Vni,
}

impl<'a> Tunnel<'a> {
    #[inline(always)]
    fn of(tables: &'a Tables, net: &Net) -> Result<Tunnel<'a>, NotSent> {
        let Link::Vxlan { vtep, vni } = net.link else { return Err(UNUSABLE) };
        let vtep = tables.vteps.get(vtep.index()).ok_or(UNUSABLE)?;
        let underlay = tables.net(vtep.underlay).ok_or(UNUSABLE)?;
        let Link::Port { port, vlan } = underlay.link else { return Err(UNUSABLE) };
        Ok(Tunnel { vtep, underlay, port, vlan, vni })
    }
}

/// The outer headers of a network's frames.
#[derive(Clone, Copy, Debug)]
struct Outer<'a> {
    vtep: &'a Vtep,
    underlay: &'a Net,
    vlan: Option<Vid>,
    vni: u32,
}

impl Outer<'_> {
    /// Puts the outer headers on in one go, and the inner Ethernet header if there is none yet.
    #[inline(always)]
    fn put_on<B: Buffer>(&self, packet: &mut B, way: &Way, inner: Option<&Ends>) -> Result<(), DropReason> {
        let inner_len = if inner.is_some() { ethernet::HEADER_LEN } else { 0 };
        let total_len = packet.bytes().len() + inner_len + OUTER_LEN;
        if total_len > usize::from(self.underlay.mtu.get()) {
            return Err(DropReason::NeedsFragmentation);
        }
        let link_len = ethernet::header_len(self.vlan);
        let frame = packet.prepend(link_len + OUTER_LEN + inner_len).ok_or(DropReason::NoHeadroom)?;
        ethernet::emit(frame, way.next, self.underlay.mac, self.vlan, ethertype::IPV4);
        let outer = &mut frame[link_len..];
        let remote = Ipv4Addr::from_bits(way.remote);
        vxlan::outer_header(way.tos, total_len as u16, self.vtep.address, remote).emit(outer);
        let udp_len = (total_len - ipv4::HEADER_LEN) as u16;
        let udp = &mut outer[ipv4::HEADER_LEN..];
        vxlan::emit(udp, way.source_port, self.vtep.udp_port, udp_len, self.vni);
        if let Some(ends) = inner {
            let frame = &mut udp[udp::HEADER_LEN + vxlan::HEADER_LEN..];
            ethernet::emit(frame, ends.destination, ends.source, None, ends.ethertype);
        }
        Ok(())
    }
}
