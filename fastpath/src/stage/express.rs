//! Is a frame as nearly all are, and what headers does it get then? The two ends of the short way
//! (`pipeline/express.rs`): everything here accepts less than `stage/ingress.rs` and `stage/link.rs`, and does the same with it.

use std::net::Ipv4Addr;

use crate::{
    buffer::Buffer,
    flow::{FlowHash, FlowId, FlowKey, session::TcpSeen},
    stage::{ingress, link},
    table::{
        Tables,
        lane::{Lane, Shape, TUNNEL_LEN},
        neighbour::{NeighbourId, NeighbourTable},
    },
    types::{NetId, PortId, VtepId},
    wire::{
        self, ethernet,
        ipv4::{self, Common, protocol},
        tcp, udp, vxlan,
    },
};

/// A common packet: IPv4 without options, whole, no ICMP, no segment that opens or ends a connection, not at the end of its
/// time to live; on Ethernet, tagged or not, or in a tunnel that ends here.
#[derive(Clone, Copy, Debug)]
pub struct Express {
    /// Its flow.
    pub key: FlowKey,
    /// The hash of that.
    pub hash: FlowHash,
    /// Where the record of its flow may be.
    pub candidate: Option<FlowId>,
    /// The remote tunnel end it came through, as a number; 0 for none.
    pub vtep: u32,
    /// The generation that a decision for it must be of.
    pub generation: u32,
    /// Whether it uses a flow entry.
    pub tracked: bool,
    /// Bytes in front of the IPv4 header.
    pub start: u16,
    /// Bytes of the IPv4 packet; 0 for a frame that takes the general way.
    pub len: u16,
    /// DSCP and ECN.
    pub tos: u8,
    /// ACK, or nothing.
    pub tcp: TcpSeen,
}

impl Express {
    /// A frame that takes the general way.
    pub const NOT: Express = Express {
        key: FlowKey::of_whole(NetId::NONE, 0, 0, 0),
        hash: FlowHash(0),
        candidate: None,
        vtep: 0,
        generation: 0,
        tracked: false,
        start: 0,
        len: 0,
        tos: 0,
        tcp: TcpSeen::NOTHING,
    };
}

/// Where in a frame without tag things are.
const IP_AT: usize = ethernet::HEADER_LEN;
const SEGMENT_AT: usize = IP_AT + ipv4::HEADER_LEN;
const VXLAN_AT: usize = SEGMENT_AT + udp::HEADER_LEN;
const INNER_AT: usize = VXLAN_AT + vxlan::HEADER_LEN;
const INNER_IP_AT: usize = INNER_AT + ethernet::HEADER_LEN;
const INNER_SEGMENT_AT: usize = INNER_IP_AT + ipv4::HEADER_LEN;
/// What is looked at of a segment, but for the flags of TCP.
const PORTS_LEN: usize = 4;

/// What is the same for all frames of a burst.
#[derive(Clone, Copy, Debug)]
pub struct Door<'t> {
    tables: &'t Tables,
    port: PortId,
    /// Of frames without tag.
    net: NetId,
    lane: Option<&'t Lane>,
    /// The tunnel end that most tunnels from there lead to: address, UDP port.
    vtep: Option<(u32, u16, VtepId)>,
}

impl<'t> Door<'t> {
    /// Of a port.
    #[inline(always)]
    pub fn of(tables: &'t Tables, port: PortId) -> Door<'t> {
        let net = ingress::network_of(tables, port, 0);
        let ours = tables.vteps.iter().position(|vtep| vtep.underlay == net);
        let vtep = ours.map(|at| {
            let vtep = &tables.vteps[at];
            (vtep.address.to_bits(), vtep.udp_port, VtepId(at as u16))
        });
        Door { tables, port, net, lane: tables.lanes.get(net), vtep }
    }

    /// Reads a frame; all but `hash` and `candidate`. `None` for a frame that takes the general way.
    #[inline(always)]
    pub fn recognise(&self, frame: &[u8]) -> Option<Express> {
        let link = frame.first_chunk::<{ ethernet::HEADER_LEN }>()?;
        match ethernet::ethertype_of(link) {
            ethernet::ethertype::IPV4 => self.untagged(link, frame),
            ethernet::ethertype::VLAN => self.tagged(link, frame),
            _ => None,
        }
    }

    #[inline(always)]
    fn untagged(&self, link: &[u8; ethernet::HEADER_LEN], frame: &[u8]) -> Option<Express> {
        let lane = self.lane?;
        if !ethernet::is_between(link, lane.mac) {
            return None;
        }
        if let Some((address, udp_port, vtep)) = self.vtep
            && let Some(front) = frame.first_chunk::<{ INNER_SEGMENT_AT + PORTS_LEN }>()
            && wire::be32(front, IP_AT + 16) == address
            && wire::be16(front, SEGMENT_AT + 2) == udp_port
            && front[IP_AT + 9] == protocol::UDP
        {
            return self.tunnelled(vtep, front, frame, 0);
        }
        self.plain(lane, self.net, frame, 0)
    }

    /// As without tag, behind it.
    #[inline(never)]
    fn tagged(&self, link: &[u8; ethernet::HEADER_LEN], frame: &[u8]) -> Option<Express> {
        const TAG_LEN: usize = ethernet::TAGGED_LEN - ethernet::HEADER_LEN;
        let net = ingress::network_of(self.tables, self.port, ethernet::vlan_of_ipv4(frame)?);
        let lane = self.tables.lanes.get(net)?;
        if !ethernet::is_between(link, lane.mac) {
            return None;
        }
        self.plain(lane, net, frame.get(TAG_LEN..)?, TAG_LEN)
    }

    /// A packet on Ethernet; `frame` begins `tag_len` bytes behind the beginning of the buffer.
    #[inline(always)]
    fn plain(&self, lane: &Lane, net: NetId, frame: &[u8], tag_len: usize) -> Option<Express> {
        let front = frame.first_chunk::<{ SEGMENT_AT + PORTS_LEN }>()?;
        let ip = Common::read(front[IP_AT..].first_chunk()?, frame.len() - IP_AT)?;
        let ports = wire::be32(front, SEGMENT_AT);
        // Of several tunnel ends on a network, or behind a tag.
        if ip.protocol == protocol::UDP
            && let Some(vtep) = ingress::tunnel_end(self.tables, net, ip.destination(), ports as u16)
        {
            return self.tunnelled(vtep, frame.first_chunk()?, frame, tag_len);
        }
        Flow { net, vtep: 0, start: IP_AT + tag_len }.express(lane, &ip, ports, &frame[IP_AT..])
    }

    /// A packet in a tunnel that ends here.
    #[inline(always)]
    fn tunnelled(
        &self,
        vtep: VtepId,
        front: &[u8; INNER_SEGMENT_AT + PORTS_LEN],
        frame: &[u8],
        tag_len: usize,
    ) -> Option<Express> {
        let outer = Common::read(front[IP_AT..].first_chunk()?, frame.len() - IP_AT)?;
        let udp_len = usize::from(wire::be16(front, SEGMENT_AT + 4));
        let fits =
            udp_len + ipv4::HEADER_LEN <= usize::from(outer.total_len) && udp_len >= INNER_IP_AT - SEGMENT_AT;
        // A mark that may have to be handed on, and a checksum that must be verified, are for the general way.
        let checked = wire::be16(front, SEGMENT_AT + 6) != 0;
        if !fits || checked || outer.tos & 1 != 0 || !ipv4::may_send(outer.source()) {
            return None;
        }
        let vni = vxlan::parse(&front[VXLAN_AT..]).ok()?;
        let net = self.tables.vnis.lookup(vtep, vni);
        let lane = self.tables.lanes.get(net)?;
        let link = front[INNER_AT..].first_chunk()?;
        if !ethernet::is_between(link, lane.mac) || ethernet::ethertype_of(link) != ethernet::ethertype::IPV4
        {
            return None;
        }
        let room = udp_len - (INNER_IP_AT - SEGMENT_AT);
        let ip = Common::read(front[INNER_IP_AT..].first_chunk()?, room)?;
        let ports = wire::be32(front, INNER_SEGMENT_AT);
        Flow { net, vtep: outer.source().to_bits(), start: INNER_IP_AT + tag_len }.express(
            lane,
            &ip,
            ports,
            &frame[INNER_IP_AT..],
        )
    }
}

/// Where a packet was found.
struct Flow {
    net: NetId,
    vtep: u32,
    start: usize,
}

impl Flow {
    /// `packet` begins with its IPv4 header and has no less than `ip.total_len` bytes.
    #[inline(always)]
    fn express(self, lane: &Lane, ip: &Common, ports: u32, packet: &[u8]) -> Option<Express> {
        let (least, tcp) = match ip.protocol {
            protocol::UDP => (udp::HEADER_LEN, TcpSeen::NOTHING),
            protocol::TCP => {
                let flags = *packet.get(ipv4::HEADER_LEN + 13)?;
                if !tcp::is_of_open_connection(flags) {
                    return None;
                }
                (tcp::HEADER_LEN, TcpSeen::of_flags(flags))
            }
            _ => return None,
        };
        let whole = usize::from(ip.total_len) >= ipv4::HEADER_LEN + least;
        if !lane.is_routed || !whole || ip.ttl <= 1 {
            return None;
        }
        Some(Express {
            key: FlowKey::of_whole(self.net, ip.addresses, ip.protocol, ports),
            vtep: self.vtep,
            generation: lane.generation,
            tracked: lane.tracked,
            start: self.start as u16,
            len: ip.total_len,
            tos: ip.tos,
            tcp,
            ..Express::NOT
        })
    }
}

/// What of the headers in front of a packet is not the same for all packets of its network.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The neighbour's MAC, as a number.
    neighbour: u64,
    /// With tunnel: the MAC of the underlay's next hop, and the remote tunnel end.
    next: u64,
    remote: u32,
}

impl Head {
    /// How to reach a neighbour on the network of `lane`; `None` where the general way must say.
    #[inline(always)]
    pub fn to(lane: &Lane, neighbours: &NeighbourTable, id: NeighbourId) -> Option<Head> {
        let (neighbour, tunnel) = neighbours.resolved(id)?;
        if !lane.shape.is_tunnel() {
            return Some(Head { neighbour, next: 0, remote: 0 });
        }
        let (remote, next) = NeighbourTable::tunnel(tunnel)?;
        let (next, _) = neighbours.resolved(next)?;
        Some(Head { neighbour, next, remote })
    }

    /// Replaces the headers in front of a packet by those of `lane` and returns the packet, which begins with its IPv4
    /// header. `None`, with nothing changed, where the general way must say.
    #[inline(always)]
    pub fn put_on<'b, B: Buffer>(
        &self,
        lane: &Lane,
        buffer: &'b mut B,
        packet: &Express,
    ) -> Option<&'b mut [u8]> {
        match lane.shape {
            Shape::Vxlan => self.tunnel::<_, { ethernet::HEADER_LEN + TUNNEL_LEN }>(lane, buffer, packet),
            Shape::Plain => self.plain::<_, { ethernet::HEADER_LEN }>(lane, buffer, packet),
            Shape::Tagged => self.plain::<_, { ethernet::TAGGED_LEN }>(lane, buffer, packet),
            Shape::VxlanTagged => {
                self.tunnel::<_, { ethernet::TAGGED_LEN + TUNNEL_LEN }>(lane, buffer, packet)
            }
            Shape::None => None,
        }
    }

    #[inline(always)]
    fn plain<'b, B: Buffer, const LEN: usize>(
        &self,
        lane: &Lane,
        buffer: &'b mut B,
        packet: &Express,
    ) -> Option<&'b mut [u8]> {
        let frame = buffer.reframe(packet.start.into(), packet.len.into(), LEN)?;
        let (head, packet) = frame.split_first_chunk_mut::<LEN>()?;
        head.copy_from_slice(&lane.head[..LEN]);
        ethernet::set_destination(head, self.neighbour);
        Some(packet)
    }

    #[inline(always)]
    fn tunnel<'b, B: Buffer, const LEN: usize>(
        &self,
        lane: &Lane,
        buffer: &'b mut B,
        packet: &Express,
    ) -> Option<&'b mut [u8]> {
        let (hash, tos) = (packet.hash, vxlan::encap_tos(packet.tos));
        // No more than `Lane::len_max`, which leaves room for this.
        let total_len = packet.len + TUNNEL_LEN as u16;
        let frame = buffer.reframe(packet.start.into(), packet.len.into(), LEN)?;
        let (head, packet) = frame.split_first_chunk_mut::<LEN>()?;
        head.copy_from_slice(&lane.head[..LEN]);
        ethernet::set_destination(head, self.next);
        let outer = &mut head[LEN - TUNNEL_LEN..];
        ipv4::complete(outer, lane.outer_sum, tos, total_len, Ipv4Addr::from_bits(self.remote));
        let udp_len = total_len - ipv4::HEADER_LEN as u16;
        udp::complete(&mut outer[ipv4::HEADER_LEN..], link::entropy_port(hash.0), udp_len);
        ethernet::set_destination(&mut outer[INNER_AT - IP_AT..], self.neighbour);
        Some(packet)
    }
}
