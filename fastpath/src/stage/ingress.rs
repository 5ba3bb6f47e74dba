//! Which network does a frame come from, and what is in it? Takes Ethernet, VLAN and tunnel headers off and checks
//! everything that a later stage relies on, once.

use std::net::Ipv4Addr;

use crate::{
    buffer::Buffer,
    flow::{FlowKey, session::TcpSeen},
    reason::DropReason,
    table::{Net, Tables, Vtep},
    types::{MacAddr, NetId, PortId, VtepId},
    wire::{
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

impl Origin {
    /// Of a frame whose network is not known.
    const UNKNOWN: Origin =
        Origin { net: NetId::NONE, mac: MacAddr::from_u64(0), vtep: Ipv4Addr::UNSPECIFIED };
}

/// What came in and is no IPv4 packet to be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// An ARP packet; the buffer begins with it. Nothing of it was checked.
    Arp {
        /// Source MAC of the frame on the port, the outer one of a tunnel.
        from: MacAddr,
    },
    /// A reverse-ARP announcement of a VM that moved.
    Announcement,
    /// A frame to be dropped, with the network it is counted against as far as it is known.
    Refused(DropReason),
}

impl From<DropReason> for Other {
    fn from(reason: DropReason) -> Other {
        Other::Refused(reason)
    }
}

impl From<BadIpv4> for Other {
    fn from(bad: BadIpv4) -> Other {
        Other::Refused(bad.into())
    }
}

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

/// An IPv4 packet that came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'t> {
    /// Where it came from.
    pub origin: Origin,
    /// That network.
    pub net: &'t Net,
    /// Its header.
    pub ip: Ipv4,
    /// Its flow.
    pub key: FlowKey,
    /// Its TCP flags.
    pub tcp: TcpSeen,
    /// An ICMP error, which is about packets of another flow.
    pub related: bool,
}

/// An IPv4 packet that was found in a frame.
struct Found<'t> {
    arrival: Arrival<'t>,
    /// Bytes in front of it.
    start: usize,
    /// Its TOS after decap; differs from the header's where the outer header has a mark (RFC 6040).
    tos: u8,
}

/// Something else that was found.
struct Aside {
    origin: Origin,
    what: Other,
    /// Bytes in front of it.
    start: usize,
}

/// Judges a frame from `port`: reads all its headers first, then takes them off at once. The buffer then begins with the
/// IPv4 header and ends with the packet's last byte.
///
/// # Errors
/// What is no IPv4 packet to be forwarded, and where it came from as far as that is known.
#[inline(always)]
pub fn receive<'t, B: Buffer>(
    tables: &'t Tables,
    port: PortId,
    packet: &mut B,
) -> Result<Arrival<'t>, (Origin, Other)> {
    if packet.is_segmented() {
        return Err((Origin::UNKNOWN, DropReason::MultiSegment.into()));
    }
    match outer(tables, port, packet.bytes()) {
        Ok(Found { mut arrival, start, tos }) => {
            packet.crop(start, usize::from(arrival.ip.total_len()));
            if tos != arrival.ip.tos() {
                ipv4::set_tos(packet.bytes_mut(), tos);
                arrival.ip = arrival.ip.with_tos(tos);
            }
            Ok(arrival)
        }
        Err(Aside { origin, what, start }) => {
            packet.strip(start);
            Err((origin, what))
        }
    }
}

/// The frame as it is on the port.
#[inline(always)]
fn outer<'t>(tables: &'t Tables, port: PortId, bytes: &[u8]) -> Result<Found<'t>, Aside> {
    let refuse = |reason| Aside { origin: Origin::UNKNOWN, what: Other::Refused(reason), start: 0 };
    let frame = ethernet::parse(bytes).ok_or(refuse(DropReason::RuntFrame))?;
    let id = network_of(tables, port, frame.vlan);
    let net = tables.net(id).ok_or(refuse(DropReason::UnknownVlan))?;
    let origin = Origin { net: id, mac: frame.source, vtep: Ipv4Addr::UNSPECIFIED };
    let start = frame.len;
    let (ip, segment) = payload(net, frame, bytes).map_err(|what| Aside { origin, what, start })?;
    if ip.protocol() == protocol::UDP
        && let Some(vtep) = tunnel_end(tables, id, ip.destination(), udp_destination(&ip, segment))
    {
        let start = start + usize::from(ip.header_len()) + TUNNEL_HEADERS_LEN;
        return inner(tables, &origin, vtep, &ip, segment, start);
    }
    let (key, tcp) = (flow_key(id, &ip, segment), tcp_seen(&ip, segment));
    let related = is_related(&ip, segment);
    Ok(Found { arrival: Arrival { origin, net, ip, key, tcp, related }, start, tos: ip.tos() })
}

/// The network of a port's untagged (0) or tagged frames.
#[inline(always)]
pub(super) fn network_of(tables: &Tables, port: PortId, vlan: u16) -> NetId {
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
pub(super) fn tunnel_end(
    tables: &Tables,
    net: NetId,
    destination: Ipv4Addr,
    udp_port: u16,
) -> Option<VtepId> {
    let is_it = |v: &Vtep| v.address == destination && v.udp_port == udp_port && v.underlay == net;
    tables.vteps.iter().position(is_it).map(|at| VtepId(at as u16))
}

/// The frame inside a VXLAN packet, which begins at `start`. `underlay` is where the outer packet is counted until the VNI
/// is known.
#[inline(always)]
fn inner<'t>(
    tables: &'t Tables,
    underlay: &Origin,
    vtep: VtepId,
    outer: &Ipv4,
    segment: &[u8],
    start: usize,
) -> Result<Found<'t>, Aside> {
    let refuse = |reason| Aside { origin: *underlay, what: Other::Refused(reason), start };
    let (vni, bytes) = tunnel_headers(outer, segment).map_err(refuse)?;
    let id = tables.vnis.lookup(vtep, vni);
    let net = tables.net(id).ok_or(refuse(DropReason::UnknownVni))?;

    let unknown = Origin { net: id, ..*underlay };
    let refuse = |reason| Aside { origin: unknown, what: Other::Refused(reason), start };
    let frame = ethernet::parse(bytes).ok_or(refuse(DropReason::RuntFrame))?;
    if frame.len != ethernet::HEADER_LEN {
        return Err(refuse(DropReason::VxlanInnerVlan));
    }
    let origin = Origin { net: id, mac: frame.source, vtep: outer.source() };
    let start = start + ethernet::HEADER_LEN;
    let aside = |what| Aside { origin, what, start };
    let (ip, segment) = payload(net, frame, bytes).map_err(|what| match what {
        Other::Arp { .. } => aside(Other::Arp { from: underlay.mac }),
        what => aside(what),
    })?;
    let tos = vxlan::decap_tos(outer.tos(), ip.tos());
    let tos = tos.ok_or(aside(Other::Refused(DropReason::EcnNotCapable)))?;
    let (key, tcp) = (flow_key(id, &ip, segment), tcp_seen(&ip, segment));
    let related = is_related(&ip, segment);
    Ok(Found { arrival: Arrival { origin, net, ip, key, tcp, related }, start, tos })
}

/// UDP and VXLAN header.
const TUNNEL_HEADERS_LEN: usize = udp::HEADER_LEN + vxlan::HEADER_LEN;

/// Checks outer IPv4, UDP and VXLAN header; `segment` begins with the UDP header. Returns the VNI and the inner frame,
/// without what follows the UDP datagram.
#[inline(always)]
fn tunnel_headers<'a>(outer: &Ipv4, segment: &'a [u8]) -> Result<(u32, &'a [u8]), DropReason> {
    if outer.is_fragment() {
        return Err(DropReason::VxlanFragment);
    }
    // It may be learned as a tunnel end and sent to.
    if !ipv4::may_send(outer.source()) {
        return Err(DropReason::MartianSource);
    }
    let head = udp::parse(segment).ok_or(DropReason::VxlanTruncated)?;
    let datagram = &segment[..usize::from(head.len)];
    if head.checksum != 0 && !udp_checksum_is_right(outer, datagram) {
        return Err(DropReason::VxlanChecksum);
    }
    let vni = vxlan::parse(&datagram[udp::HEADER_LEN..]).map_err(|bad| match bad {
        BadVxlan::Truncated => DropReason::VxlanTruncated,
        BadVxlan::Flags => DropReason::VxlanFlags,
    })?;
    Ok((vni, &datagram[TUNNEL_HEADERS_LEN..]))
}

#[inline(never)]
fn udp_checksum_is_right(ip: &Ipv4, datagram: &[u8]) -> bool {
    let pseudo = checksum::pseudo_header(ip.source(), ip.destination(), ip.protocol(), datagram.len() as u16);
    checksum::sum(datagram, pseudo) == 0xffff
}

/// The UDP destination port; 0 for a later fragment or a cut segment.
#[inline(always)]
fn udp_destination(ip: &Ipv4, segment: &[u8]) -> u16 {
    if ip.is_later_fragment() { 0 } else { udp::ports(segment).1 }
}

/// The IPv4 header in the Ethernet frame `bytes` on `net`, and what the header describes.
#[inline(always)]
fn payload<'a>(net: &Net, frame: Ethernet, bytes: &'a [u8]) -> Result<(Ipv4, &'a [u8]), Other> {
    if frame.source.is_group() {
        return Err(DropReason::SourceMac.into());
    }
    if frame.destination != net.mac || frame.ethertype != ethertype::IPV4 {
        return Err(not_ours_or_not_ip(net, bytes));
    }
    Ok(ipv4::split(&bytes[frame.len..])?)
}

/// What an Ethernet frame holds that is not IPv4 to our MAC.
#[cold]
fn not_ours_or_not_ip(net: &Net, bytes: &[u8]) -> Other {
    let Some(frame) = ethernet::parse(bytes) else { return DropReason::RuntFrame.into() };
    let packet = &bytes[frame.len..];
    if frame.destination != net.mac && !frame.destination.is_group() {
        return DropReason::NotOurMac.into();
    }
    match frame.ethertype {
        ethertype::IPV4 => match ipv4::parse(packet) {
            Err(bad) => bad.into(),
            // RFC 1812 §5.3.4: what came as link-layer broadcast is not forwarded.
            Ok(ip) if ip.destination().is_multicast() => DropReason::Multicast.into(),
            Ok(_) => DropReason::Broadcast.into(),
        },
        ethertype::ARP => Other::Arp { from: frame.source },
        ethertype::RARP => Other::Announcement,
        _ => DropReason::UnknownEthertype.into(),
    }
}

/// The flow that an IPv4 packet belongs to; `segment` is what follows its header.
#[inline(always)]
pub fn flow_key(net: NetId, ip: &Ipv4, segment: &[u8]) -> FlowKey {
    let later = ip.is_later_fragment();
    let (source_port, destination_port) = match ip.protocol() {
        _ if later => (0, 0),
        protocol::TCP | protocol::UDP => udp::ports(segment),
        protocol::ICMP => icmp::query(segment).map_or((0, 0), |(id, answer)| (id, u16::from(answer))),
        _ => (0, 0),
    };
    FlowKey::new(net, ip.source(), ip.destination(), ip.protocol(), source_port, destination_port, later)
}

/// The TCP flags of an IPv4 packet; none where it has none.
#[inline(always)]
pub fn tcp_seen(ip: &Ipv4, segment: &[u8]) -> TcpSeen {
    match segment.get(13) {
        Some(&flags) if ip.protocol() == protocol::TCP && !ip.is_later_fragment() => TcpSeen::of_flags(flags),
        _ => TcpSeen::default(),
    }
}

/// Whether an IPv4 packet is an ICMP error that a router hands on: it is about another flow.
#[inline(always)]
pub fn is_related(ip: &Ipv4, segment: &[u8]) -> bool {
    ip.protocol() == protocol::ICMP && !ip.is_later_fragment() && icmp::is_routed_error(segment)
}
