//! Is a frame as nearly all are, and what headers does it get then? The two ends of the short way
//! (`pipeline/express.rs`): everything here accepts less than `stage/ingress.rs` and `stage/link.rs`, and does the same with it.

use std::net::Ipv4Addr;

use crate::{
    buffer::Buffer,
    flow::{FlowHash, FlowId, FlowKey, session::TcpSeen},
    stage::{ingress, link},
    table::{
        Tables,
        fib::Place as RoutePlace,
        lane::{Decided, Lane, TUNNEL_LEN},
        neighbour::{Adjacencies, NeighbourId, NeighbourTable},
        vni::VniTable,
    },
    types::{NetId, PortId},
    wire::{
        self, ethernet,
        ipv4::{self, Common, protocol},
        tcp, udp, vxlan,
    },
};

/// A common packet: IPv4 without options, whole, no ICMP, no segment that opens or ends a connection, not at the end of its
/// time to live; on Ethernet, tagged or not, or in a tunnel that ends here. And where it goes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Express {
    /// Its flow.
    pub key: FlowKey,
    /// The hash of that, where its entry decides.
    pub hash: FlowHash,
    /// Where the record of its flow may be.
    pub candidate: FlowId,
    /// The remote tunnel end it came through, as a number; 0 for none.
    pub vtep: u32,
    /// The generation that a decision for it must be of.
    pub generation: u32,
    /// The next hop, where there is `egress`.
    pub next: NeighbourId,
    /// How far the lookup in a far routing table has come.
    pub place: RoutePlace,
    /// The network it goes out to; [`NetId::NONE`] for the general way.
    pub egress: NetId,
    /// That of its key again, beside the former: both are compared at once ([`Express::between`]).
    from: NetId,
    /// Bytes in front of the IPv4 header.
    pub start: u16,
    /// Bytes of the IPv4 packet; 0 for a frame that takes the general way.
    pub len: u16,
    /// ACK, or nothing.
    pub tcp: TcpSeen,
    /// By what is decided where it goes; of a frame that takes the general way by an entry, which it has not.
    pub decided: Decided,
}

impl Express {
    /// A frame that takes the general way.
    pub const NOT: Express = Express {
        key: FlowKey::of_whole(NetId::NONE, 0, 0, 0),
        hash: FlowHash(0),
        candidate: FlowId::NONE,
        vtep: 0,
        generation: 0,
        next: NeighbourId::from_u32(0),
        place: RoutePlace::NONE,
        egress: NetId::NONE,
        from: NetId::NONE,
        start: 0,
        len: 0,
        tcp: TcpSeen::NOTHING,
        decided: Decided::ByEntry,
    };

    /// The networks it comes from and goes to, as one number.
    #[inline(always)]
    pub fn between(&self) -> u32 {
        u32::from(self.from.0) << 16 | u32::from(self.egress.0)
    }
}

/// Where in a frame without tag things are.
const IP_AT: usize = ethernet::HEADER_LEN;
const SEGMENT_AT: usize = IP_AT + ipv4::HEADER_LEN;
const VXLAN_AT: usize = SEGMENT_AT + udp::HEADER_LEN;
const INNER_AT: usize = VXLAN_AT + vxlan::HEADER_LEN;
const INNER_IP_AT: usize = INNER_AT + ethernet::HEADER_LEN;
/// The least that is read of a packet: what all have that are no shorter than their headers.
const FRONT_LEN: usize = ipv4::HEADER_LEN + udp::HEADER_LEN;
/// In front of the IPv4 header on Ethernet, and in a tunnel.
const PLAIN_LEN: usize = IP_AT + FRONT_LEN;
const TUNNELLED_LEN: usize = INNER_IP_AT + FRONT_LEN;
/// ECN of a packet that met congestion, or may have: the general way hands it on to the inner one.
const MARKED: u8 = 0b01;

/// What is the same for all frames of a burst, or often is.
#[derive(Clone, Copy, Debug)]
pub struct Door<'t> {
    tables: &'t Tables,
    port: PortId,
    /// Of frames without tag.
    outside: Place<'t>,
    /// Where the last frame in a tunnel was, and the key of its VNI ([`VniTable::lookup_of`]).
    inside: Place<'t>,
    vni: u32,
}

/// The network on which something is found.
#[derive(Clone, Copy, Debug)]
struct Place<'t> {
    net: NetId,
    lane: &'t Lane,
}

impl<'t> Place<'t> {
    #[inline(always)]
    fn on(tables: &'t Tables, net: NetId) -> Place<'t> {
        Place { net, lane: tables.lanes.get(net).unwrap_or(&Lane::NONE) }
    }
}

impl<'t> Door<'t> {
    /// Of a port.
    #[inline(always)]
    pub fn of(tables: &'t Tables, port: PortId) -> Door<'t> {
        let outside = Place::on(tables, ingress::network_of(tables, port, 0));
        // VNI 0 is of no network.
        Door { tables, port, outside, inside: Place { net: NetId::NONE, lane: &Lane::NONE }, vni: 0 }
    }

    /// Reads a frame into a fresh [`Express::NOT`]; all but `hash`, `candidate` and where it goes. Returns its flow; `None` for a
    /// frame that takes the general way.
    #[inline(always)]
    pub fn recognise(&mut self, frame: &[u8], into: &mut Express) -> Option<FlowKey> {
        let front = frame.first_chunk::<PLAIN_LEN>()?;
        if !ethernet::is_ipv4(front) {
            self.tagged(front, frame, into)?;
            return Some(into.key);
        }
        let at = self.outside;
        if ethernet::is_between(front, at.lane.mac) { self.behind_link(at, 0, frame, into) } else { None }
    }

    /// As without tag, behind it.
    #[inline(never)]
    fn tagged(&mut self, front: &[u8; PLAIN_LEN], frame: &[u8], into: &mut Express) -> Option<()> {
        const TAG_LEN: usize = ethernet::TAGGED_LEN - ethernet::HEADER_LEN;
        let net = ingress::network_of(self.tables, self.port, ethernet::vlan_of_ipv4(front)?);
        let (at, behind) = (Place::on(self.tables, net), frame.get(TAG_LEN..)?);
        if ethernet::is_between(front, at.lane.mac) {
            self.behind_link(at, TAG_LEN, behind, into).map(drop)
        } else {
            None
        }
    }

    /// What is on a network; `frame` as if it had no tag, of which there are `tag_len` bytes.
    #[inline(always)]
    fn behind_link(
        &mut self,
        at: Place<'t>,
        tag_len: usize,
        frame: &[u8],
        into: &mut Express,
    ) -> Option<FlowKey> {
        let end = &at.lane.tunnel_end;
        if let Some(front) = frame.first_chunk::<TUNNELLED_LEN>()
            && wire::le32(front, IP_AT + 16) == end.address
            && wire::le16(front, SEGMENT_AT + 2) == end.udp_port
            && front[IP_AT + 9] == protocol::UDP
        {
            return self.tunnelled(end.of_vnis, tag_len, front, frame, into);
        }
        let front = frame.first_chunk::<PLAIN_LEN>()?;
        if end.is_one_of_several && front[IP_AT + 9] == protocol::UDP {
            self.perhaps_tunnelled(at.net, tag_len, frame, into)?;
            return Some(into.key);
        }
        plain::<IP_AT, PLAIN_LEN>(at, tag_len, 0, front, frame, frame.len(), into)
    }

    /// UDP on a network with several tunnel ends.
    #[inline(never)]
    fn perhaps_tunnelled(
        &mut self,
        net: NetId,
        tag_len: usize,
        frame: &[u8],
        into: &mut Express,
    ) -> Option<()> {
        let front = frame.first_chunk::<PLAIN_LEN>()?;
        let to = (wire::be32(front, IP_AT + 16), wire::be16(front, SEGMENT_AT + 2));
        match ingress::tunnel_end(self.tables, net, Ipv4Addr::from_bits(to.0), to.1) {
            Some(vtep) => {
                let of_vnis = VniTable::of_vtep(vtep);
                self.tunnelled(of_vnis, tag_len, frame.first_chunk()?, frame, into).map(drop)
            }
            None => {
                let at = Place::on(self.tables, net);
                plain::<IP_AT, PLAIN_LEN>(at, tag_len, 0, front, frame, frame.len(), into).map(drop)
            }
        }
    }

    /// A packet in a tunnel that ends here. Whether the other end's address is one that may send is left to who decides:
    /// entries are only of those.
    #[inline(always)]
    fn tunnelled(
        &mut self,
        of_vnis: u32,
        tag_len: usize,
        front: &[u8; TUNNELLED_LEN],
        frame: &[u8],
        into: &mut Express,
    ) -> Option<FlowKey> {
        let outer = Common::read::<MARKED>(front[IP_AT..].first_chunk()?)?;
        let udp_len = usize::from(wire::be16(front, SEGMENT_AT + 4));
        // A checksum would have to be verified.
        let checked = wire::be16(front, SEGMENT_AT + 6) != 0;
        let ends = [SEGMENT_AT + udp_len, IP_AT + usize::from(outer.total_len), frame.len()];
        if !ends.is_sorted() || checked {
            return None;
        }
        let vni = of_vnis | vxlan::parse(&front[VXLAN_AT..]).ok()?;
        if vni != self.vni {
            self.vni = vni;
            self.inside = Place::on(self.tables, self.tables.vnis.lookup_of(vni));
        }
        let (at, link) = (self.inside, &front[INNER_AT..]);
        if !ethernet::is_between(link, at.lane.mac) || !ethernet::is_ipv4(link) {
            return None;
        }
        let vtep = outer.source().to_bits();
        plain::<INNER_IP_AT, TUNNELLED_LEN>(at, tag_len, vtep, front, frame, ends[0], into)
    }
}

/// Reads the packet that begins `AT` bytes from the beginning of `frame`, and ends `end` bytes from there or before.
#[inline(always)]
fn plain<const AT: usize, const LEN: usize>(
    place: Place<'_>,
    tag_len: usize,
    vtep: u32,
    front: &[u8; LEN],
    frame: &[u8],
    end: usize,
    into: &mut Express,
) -> Option<FlowKey> {
    let ip = Common::read::<0>(front[AT..].first_chunk()?)?;
    let len = usize::from(ip.total_len);
    if AT + len > end || len < FRONT_LEN || ip.ttl <= 1 {
        return None;
    }
    if ip.protocol == protocol::TCP {
        let flags = *frame.get(AT + ipv4::HEADER_LEN + 13)?;
        if !tcp::is_of_open_connection(flags) || len < ipv4::HEADER_LEN + tcp::HEADER_LEN {
            return None;
        }
        into.tcp = TcpSeen::of_flags(flags);
    } else if ip.protocol != protocol::UDP {
        return None;
    }
    let ports = wire::be32(front, AT + ipv4::HEADER_LEN);
    let key = FlowKey::of_whole(place.net, ip.addresses, ip.protocol, ports);
    into.key = key;
    into.from = place.net;
    into.vtep = vtep;
    into.generation = place.lane.generation;
    into.decided = place.lane.decided;
    into.start = (AT + tag_len) as u16;
    into.len = ip.total_len;
    Some(key)
}

/// Replaces the headers in front of packets by those of one lane, `HEAD` bytes long.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'t, const HEAD: usize, const IS_TUNNEL: bool> {
    lane: &'t Lane,
    known: Adjacencies<'t>,
    /// Without tunnel: the last next hop (none has a number that large at the beginning) and its MAC. Most packets of a burst go
    /// by few of them.
    last: u64,
    mac: u64,
}

impl<'t, const HEAD: usize, const IS_TUNNEL: bool> Heads<'t, HEAD, IS_TUNNEL> {
    /// Of a lane of that shape.
    #[inline(always)]
    pub fn of(lane: &'t Lane, neighbours: &'t NeighbourTable) -> Self {
        Heads { lane, known: neighbours.adjacencies(), last: u64::MAX, mac: 0 }
    }

    /// Gives a packet of a flow with this hash the headers towards its next hop and returns it, as it begins with its IPv4 header. `None`, with nothing
    /// changed, where the general way must say.
    #[inline(always)]
    pub fn put<'b, B: Buffer>(
        &mut self,
        buffer: &'b mut B,
        packet: &Express,
        hash: FlowHash,
    ) -> Option<&'b mut [u8]> {
        // The lower bound is checked when a packet is read, too; here it tells the compiler what need not be checked below.
        let Express { start, len, next, .. } = *packet;
        if len > self.lane.len_max || usize::from(len) < FRONT_LEN {
            return None;
        }
        if IS_TUNNEL {
            let (mac, tunnel) = self.known.resolved(next)?;
            let (vtep, next) = NeighbourTable::tunnel(tunnel)?;
            let next = self.known.resolved_mac(next)?;
            let (head, ip) = self.reframe(buffer, start, len)?;
            ethernet::set_destination(head, next);
            let tos = vxlan::encap_tos(ip[1]);
            self.complete(&mut head[HEAD - TUNNEL_LEN..], vtep, mac, len, (hash, tos));
            Some(ip)
        } else {
            if u64::from(next.to_u32()) != self.last {
                self.mac = self.known.resolved_mac(next)?;
                self.last = next.to_u32().into();
            }
            let (head, ip) = self.reframe(buffer, start, len)?;
            ethernet::set_destination(head, self.mac);
            Some(ip)
        }
    }

    /// The headers as far as they are always the same, and the packet.
    #[inline(always)]
    fn reframe<'b, B: Buffer>(
        &self,
        buffer: &'b mut B,
        start: u16,
        len: u16,
    ) -> Option<(&'b mut [u8; HEAD], &'b mut [u8])> {
        // What comes back is as long as it was asked for, so the second step always succeeds.
        let frame = buffer.reframe(start.into(), len.into(), HEAD)?;
        let (head, ip) = frame.split_first_chunk_mut::<HEAD>()?;
        head.copy_from_slice(&self.lane.head[..HEAD]);
        Some((head, ip))
    }

    /// What differs from packet to packet behind the outermost Ethernet header.
    #[inline(always)]
    fn complete(&self, outer: &mut [u8], vtep: u32, mac: u64, len: u16, (hash, tos): (FlowHash, u8)) {
        // No more than `Lane::len_max`, which leaves room for this.
        let total_len = len + TUNNEL_LEN as u16;
        let port = link::entropy_port(hash.0);
        ipv4::complete(outer, self.lane.outer_sum, tos, total_len, Ipv4Addr::from_bits(vtep));
        udp::complete(&mut outer[ipv4::HEADER_LEN..], port, total_len - ipv4::HEADER_LEN as u16);
        ethernet::set_destination(&mut outer[INNER_AT - IP_AT..], mac);
    }
}
