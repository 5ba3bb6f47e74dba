//! The part written for mbufs alone: the same checks in the same order as `stage::ingress` and `stage::link`, without the
//! `Buffer` trait and without what is not needed to pass a plain frame.

use std::net::Ipv4Addr;

use dpdk_sys::mbuf::Mbuf;
use tidegate_fastpath::{
    table::{
        Link,
        neighbour::{Adjacency, Reach},
    },
    types::{NetId, PortId, VtepId},
    wire::{
        ethernet::{self, ethertype},
        ipv4::{self, Ipv4, protocol},
        udp, vxlan,
    },
};

use super::Gear;

/// Bytes of the headers that are put on: Ethernet, IPv4, UDP, VXLAN, Ethernet.
const HEADERS_LEN: usize = 2 * ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN + vxlan::HEADER_LEN;

#[inline(always)]
pub(super) fn pass(gear: &Gear, packet: &mut Mbuf) -> Option<PortId> {
    let (ip, start, tos, hash) = decap(gear, packet)?;
    packet.crop(start, usize::from(ip.total_len()));
    if tos != ip.tos() {
        ipv4::set_tos(packet.bytes_mut(), tos);
    }
    let next = gear.neighbours.lookup(gear.egress, ip.destination())?;
    let Reach::Resolved(adjacency) = gear.neighbours.reach(next) else { return None };
    ipv4::decrement_ttl(packet.bytes_mut());
    encap(gear, packet, &adjacency, hash, tos)
}

/// The inner header, what stands in front of it, its TOS after decap, and a number for the source port.
#[inline(always)]
fn decap(gear: &Gear, packet: &Mbuf) -> Option<(Ipv4, usize, u8, u64)> {
    if packet.is_segmented() {
        return None;
    }
    let bytes = packet.bytes();
    let frame = ethernet::parse(bytes)?;
    let port = gear.tables.ports.get(gear.port.index())?;
    if frame.vlan != 0 {
        return None;
    }
    let id = port.untagged;
    let (outer, segment) = ip_in(gear, id, bytes)?;
    let (_, to) = if outer.is_later_fragment() { (0, 0) } else { udp::ports(segment) };
    let ours = |v: &tidegate_fastpath::table::Vtep| {
        v.address == outer.destination() && v.udp_port == to && v.underlay == id
    };
    let vtep = VtepId(gear.tables.vteps.iter().position(ours)? as u16);
    let from = outer.source();
    if outer.protocol() != protocol::UDP || outer.is_fragment() || from.is_multicast() || from.is_broadcast()
    {
        return None;
    }
    let head = udp::parse(segment).filter(|head| head.checksum == 0 && !from.is_unspecified())?;
    let datagram = &segment[..usize::from(head.len)];
    let vni = vxlan::parse(&datagram[udp::HEADER_LEN..]).ok()?;
    let id = gear.tables.vnis.lookup(vtep, vni);
    let (ip, segment) = ip_in(gear, id, &datagram[udp::HEADER_LEN + vxlan::HEADER_LEN..])?;
    let tos = vxlan::decap_tos(outer.tos(), ip.tos())?;
    let before = usize::from(outer.header_len()) + udp::HEADER_LEN + vxlan::HEADER_LEN;
    let ports = udp::ports(segment);
    let hash = u64::from(ip.source().to_bits()) << 32 ^ u64::from(ports.0) << 16 ^ u64::from(ports.1);
    let mtu = gear.tables.net(gear.egress)?.mtu;
    let may_go = ip.ttl() > 1 && ip.total_len() <= mtu.get();
    may_go.then_some((ip, frame.len + before + ethernet::HEADER_LEN, tos, hash))
}

/// The IPv4 packet in a frame to our MAC on a network.
#[inline(always)]
fn ip_in<'a>(gear: &Gear, id: NetId, bytes: &'a [u8]) -> Option<(Ipv4, &'a [u8])> {
    let net = gear.tables.net(id)?;
    let frame = ethernet::parse(bytes)?;
    if frame.source.is_group() || frame.destination != net.mac || frame.ethertype != ethertype::IPV4 {
        return None;
    }
    ipv4::split(&bytes[frame.len..]).ok()
}

#[inline(always)]
fn encap(gear: &Gear, packet: &mut Mbuf, adjacency: &Adjacency, hash: u64, tos: u8) -> Option<PortId> {
    let net = gear.tables.net(gear.egress)?;
    let Link::Vxlan { vtep, vni } = net.link else { return None };
    let vtep = gear.tables.vteps.get(vtep.index())?;
    let underlay = gear.tables.net(vtep.underlay)?;
    let Link::Port { port, vlan: None } = underlay.link else { return None };
    let (remote, next) = adjacency.tunnel?;
    let Reach::Resolved(next) = gear.neighbours.reach(next) else { return None };
    let total_len = packet.bytes().len() + HEADERS_LEN - ethernet::HEADER_LEN;
    if total_len > usize::from(underlay.mtu.get()) {
        return None;
    }
    let frame = packet.prepend(HEADERS_LEN)?.first_chunk_mut::<HEADERS_LEN>()?;
    ethernet::emit(frame, next.mac, underlay.mac, None, ethertype::IPV4);
    let header = ipv4::NewHeader {
        tos: vxlan::encap_tos(tos),
        total_len: total_len as u16,
        id: 0,
        fragment: ipv4::DF,
        ttl: 64,
        protocol: protocol::UDP,
        source: vtep.address,
        destination: Ipv4Addr::from_bits(remote.to_bits()),
    };
    header.emit(&mut frame[14..]);
    let source_port = 0xc000 | (hash >> 32) as u16;
    let udp_len = (total_len - ipv4::HEADER_LEN) as u16;
    vxlan::emit(&mut frame[34..], source_port, vtep.udp_port, udp_len, vni.get());
    ethernet::emit(&mut frame[50..], adjacency.mac, net.mac, None, ethertype::IPV4);
    Some(port)
}
