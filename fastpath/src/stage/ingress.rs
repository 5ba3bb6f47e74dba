//! Which network does a frame come from, and what is in it? Takes Ethernet, VLAN and tunnel headers off and checks
//! everything that a later stage relies on, once.

use std::net::Ipv4Addr;

use crate::{
    buffer::Buffer,
    flow::FlowKey,
    reason::DropReason,
    table::{Net, Tables, Vtep},
    types::{MacAddr, NetId, PortId, VtepId},
    wire::{
        arp::{self, Arp},
        checksum,
        ethernet::{self, Ethernet, ethertype},
        icmp,
        ipv4::{self, BadIpv4, Ipv4, protocol},
        udp,
        vxlan::{self, BadVxlan},
    },
};

/// Where a packet came from; the place whose policy applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The network.
    pub net: NetId,
    /// Source MAC of its frame.
    pub mac: MacAddr,
    /// The remote VTEP it came through; unspecified without tunnel.
    pub vtep: Ipv4Addr,
}

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// An IPv4 packet; the buffer now begins with its header and ends with its last byte.
    Ip(Ipv4),
    /// An ARP packet; the buffer begins with it.
    Arp(Arp),
    /// A reverse-ARP announcement of a VM that moved.
    Announcement,
}

/// A frame that passed: where it is from and what it holds.
pub type Arrival = (Origin, Content);

/// A frame that did not, and the network it is counted against.
pub type Refused = (NetId, DropReason);

impl From<BadIpv4> for DropReason {
    fn from(bad: BadIpv4) -> DropReason {
        match bad {
            BadIpv4::Version => DropReason::IpVersion,
            BadIpv4::HeaderLength => DropReason::IpHeaderLength,
            BadIpv4::Truncated => DropReason::IpTruncated,
            BadIpv4::Checksum => DropReason::IpChecksum,
            BadIpv4::Options => DropReason::IpOptions,
            BadIpv4::SourceRoute => DropReason::IpSourceRoute,
        }
    }
}

/// Judges a frame from `port`.
///
/// # Errors
/// [`Refused`]: the network as far as it is known, and the reason.
#[inline(always)]
pub fn receive<B: Buffer>(tables: &Tables, port: PortId, packet: &mut B) -> Result<Arrival, Refused> {
    let (origin, content) = outer(tables, port, packet)?;
    if let Content::Ip(ip) = content
        && ip.protocol == protocol::UDP
        && let Some(id) = tunnel_end(tables, origin.net, ip.destination, udp_destination(packet, &ip))
    {
        return inner(tables, origin.net, id, &ip, packet);
    }
    Ok((origin, content))
}

/// The frame as it is on the port.
#[inline(always)]
fn outer<B: Buffer>(tables: &Tables, port: PortId, packet: &mut B) -> Result<Arrival, Refused> {
    if packet.is_segmented() {
        return Err((NetId::NONE, DropReason::MultiSegment));
    }
    let frame = ethernet::parse(packet.bytes()).ok_or((NetId::NONE, DropReason::RuntFrame))?;
    let id = network_of(tables, port, frame.vlan);
    let net = tables.net(id).ok_or((NetId::NONE, DropReason::UnknownVlan))?;
    let origin = Origin { net: id, mac: frame.source, vtep: Ipv4Addr::UNSPECIFIED };
    payload(net, &frame, packet).map(|content| (origin, content)).map_err(|reason| (id, reason))
}

/// The network of a port's untagged (0) or tagged frames.
#[inline(always)]
fn network_of(tables: &Tables, port: PortId, vlan: u16) -> NetId {
    let Some(port) = tables.ports.get(port.index()) else { return NetId::NONE };
    match &port.vlans {
        _ if vlan == 0 => port.untagged,
        Some(vlans) => vlans.get(usize::from(vlan)).copied().unwrap_or(NetId::NONE),
        None => NetId::NONE,
    }
}

/// Which of our tunnel ends, if any, a packet from the underlay network `net` is for. One address per pool, and mostly one
/// pool; pools that share an address differ in the UDP port.
#[inline(always)]
fn tunnel_end(tables: &Tables, net: NetId, destination: Ipv4Addr, udp_port: u16) -> Option<VtepId> {
    let is_it = |v: &Vtep| v.address == destination && v.udp_port == udp_port && v.underlay == net;
    tables.vteps.iter().position(is_it).map(|at| VtepId(at as u16))
}

/// The frame inside a VXLAN packet. `underlay` is where the outer packet is counted until the VNI is known.
#[inline(always)]
fn inner<B: Buffer>(
    tables: &Tables,
    underlay: NetId,
    vtep: VtepId,
    outer: &Ipv4,
    packet: &mut B,
) -> Result<Arrival, Refused> {
    let (vni, header_len) = tunnel_headers(outer, packet).map_err(|reason| (underlay, reason))?;
    let id = tables.vnis.lookup(vtep, vni);
    let net = tables.net(id).ok_or((underlay, DropReason::UnknownVni))?;
    packet.strip(header_len);

    let refuse = |reason| (id, reason);
    let frame = ethernet::parse(packet.bytes()).ok_or(refuse(DropReason::RuntFrame))?;
    if frame.len != ethernet::HEADER_LEN {
        return Err(refuse(DropReason::VxlanInnerVlan));
    }
    let mut content = payload(net, &frame, packet).map_err(refuse)?;
    if let Content::Ip(ip) = &mut content {
        let tos = vxlan::decap_tos(outer.tos, ip.tos).ok_or(refuse(DropReason::EcnNotCapable))?;
        if tos != ip.tos {
            ipv4::set_tos(packet.bytes_mut(), tos);
            ip.tos = tos;
        }
    }
    Ok((Origin { net: id, mac: frame.source, vtep: outer.source }, content))
}

/// Checks outer IPv4, UDP and VXLAN header and cuts what follows the UDP datagram. Returns the VNI and how many bytes of
/// headers stand before the inner frame.
#[inline(always)]
fn tunnel_headers<B: Buffer>(outer: &Ipv4, packet: &mut B) -> Result<(u32, usize), DropReason> {
    if outer.is_fragment() {
        return Err(DropReason::VxlanFragment);
    }
    if outer.source.is_multicast() || outer.source.is_broadcast() || outer.source.is_unspecified() {
        return Err(DropReason::MartianSource);
    }
    let header_len = usize::from(outer.header_len);
    let segment = packet.bytes().get(header_len..).unwrap_or(&[]);
    let head = udp::parse(segment).ok_or(DropReason::VxlanTruncated)?;
    let datagram = &segment[..usize::from(head.len)];
    if head.checksum != 0 && !udp_checksum_is_right(outer, datagram) {
        return Err(DropReason::VxlanChecksum);
    }
    let vni = vxlan::parse(&datagram[udp::HEADER_LEN..]).map_err(|bad| match bad {
        BadVxlan::Truncated => DropReason::VxlanTruncated,
        BadVxlan::Flags => DropReason::VxlanFlags,
    })?;
    packet.truncate(header_len + usize::from(head.len));
    Ok((vni, header_len + udp::HEADER_LEN + vxlan::HEADER_LEN))
}

#[inline(never)]
fn udp_checksum_is_right(ip: &Ipv4, datagram: &[u8]) -> bool {
    let pseudo = checksum::pseudo_header(ip.source, ip.destination, ip.protocol, datagram.len() as u16);
    checksum::sum(datagram, pseudo) == 0xffff
}

/// The UDP destination port; 0 for a later fragment or a cut segment.
#[inline(always)]
fn udp_destination<B: Buffer>(packet: &B, ip: &Ipv4) -> u16 {
    let segment = packet.bytes().get(usize::from(ip.header_len)..).unwrap_or(&[]);
    if ip.is_later_fragment() { 0 } else { udp::ports(segment).1 }
}

/// What an Ethernet frame on `net` holds; the header comes off.
#[inline(always)]
fn payload<B: Buffer>(net: &Net, frame: &Ethernet, packet: &mut B) -> Result<Content, DropReason> {
    if frame.source.is_group() {
        return Err(DropReason::SourceMac);
    }
    let to_group = frame.destination.is_group();
    if frame.destination != net.mac && !to_group {
        return Err(DropReason::NotOurMac);
    }
    packet.strip(frame.len);
    match frame.ethertype {
        ethertype::IPV4 => {
            let ip = ipv4::parse(packet.bytes())?;
            if to_group {
                // RFC 1812 §5.3.4: what came as link-layer broadcast is not forwarded.
                let multicast = ip.destination.is_multicast();
                return Err(if multicast { DropReason::Multicast } else { DropReason::Broadcast });
            }
            packet.truncate(usize::from(ip.total_len));
            Ok(Content::Ip(ip))
        }
        ethertype::ARP => arp::parse(packet.bytes()).map(Content::Arp).ok_or(DropReason::ArpMalformed),
        ethertype::RARP => Ok(Content::Announcement),
        _ => Err(DropReason::UnknownEthertype),
    }
}

/// The flow that an IPv4 packet belongs to.
#[inline(always)]
pub fn flow_key(net: NetId, ip: &Ipv4, packet: &[u8]) -> FlowKey {
    let segment = packet.get(usize::from(ip.header_len)..).unwrap_or(&[]);
    let later = ip.is_later_fragment();
    let (source_port, destination_port) = match ip.protocol {
        _ if later => (0, 0),
        protocol::TCP | protocol::UDP => udp::ports(segment),
        protocol::ICMP => (icmp::echo_id(segment).unwrap_or(0), 0),
        _ => (0, 0),
    };
    FlowKey::new(net, ip.source, ip.destination, ip.protocol, source_port, destination_port, later)
}
