//! What established flows need of the tables, flat: one [`Lane`] per network, derived from everything else in [`Tables`]
//! when they are compiled. A packet of the short way (`pipeline/express.rs`) reads the lane it came on and the lane it goes
//! out on, where the general way follows networks, routing tables and tunnel ends.

use std::net::Ipv4Addr;

use super::{Link, Net, Tables, Vrf, Vtep, vni::VniTable};
use crate::{
    types::{MacAddr, NetId, PortId, Vid, VrfId, VtepId},
    wire::{
        ethernet::{self, ethertype},
        ipv4, udp, vxlan,
    },
};

/// Bytes of the outer IPv4, UDP and VXLAN header and the inner Ethernet header; fewer than the least MTU.
pub const TUNNEL_LEN: usize = ipv4::HEADER_LEN + udp::HEADER_LEN + vxlan::HEADER_LEN + ethernet::HEADER_LEN;

/// Most bytes in front of an IPv4 packet: a tagged Ethernet header, outer headers, the inner Ethernet header.
pub const HEAD_MAX: usize = ethernet::TAGGED_LEN + TUNNEL_LEN;

/// The lanes of one generation of [`Tables`]; none by default, and then every packet takes the general way.
#[derive(Clone, Debug, Default)]
pub struct Lanes(Box<[Lane]>);

/// A network as established flows see it. Two cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Lane {
    /// Our MAC on it, as [`MacAddr::to_wire`] gives it.
    pub mac: u64,
    /// Its routing table.
    pub vrf: VrfId,
    /// Policy generation of that.
    pub generation: u32,
    /// Largest IP packet that needs no thought: no larger than the network takes, nor what carries its frames.
    pub len_max: u16,
    /// The port that sends its frames.
    pub port: PortId,
    /// What the headers in `head` are.
    pub shape: Shape,
    /// By what is decided where packets go that come from it.
    pub decided: Decided,
    /// Where tunnels end on it.
    pub tunnel_end: TunnelEnd,
    /// Sum of what is always the same in the outer IPv4 header, for its checksum.
    pub outer_sum: u16,
    /// The headers in front of an IPv4 packet as far as they are always the same; the rest is zero.
    pub head: [u8; HEAD_MAX],
}

/// The tunnel end on a network that is looked at first.
#[derive(Clone, Copy, Debug)]
pub struct TunnelEnd {
    /// Its address as on the wire, the first byte lowest.
    pub address: u32,
    /// Its UDP port as on the wire, the first byte lowest.
    pub udp_port: u16,
    /// What the keys of its VNIs have in common ([`VniTable::of_vtep`]).
    pub of_vnis: u32,
    /// Whether the network has others.
    pub is_one_of_several: bool,
}

impl TunnelEnd {
    /// None: who sends to address 0 and port 0 finds one without networks.
    const NONE: TunnelEnd =
        TunnelEnd { address: 0, udp_port: 0, of_vnis: VniTable::NOWHERE, is_one_of_several: false };

    fn on(tables: &Tables, net: NetId) -> TunnelEnd {
        let mut ends = tables.vteps.iter().enumerate().filter(|(_, vtep)| vtep.underlay == net);
        let Some((at, vtep)) = ends.next() else { return TunnelEnd::NONE };
        TunnelEnd {
            address: u32::from_le_bytes(vtep.address.octets()),
            udp_port: u16::from_le_bytes(vtep.udp_port.to_be_bytes()),
            of_vnis: VniTable::of_vtep(VtepId(at as u16)),
            is_one_of_several: ends.next().is_some(),
        }
    }
}

/// The headers in front of IPv4 packets of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// None that the short way can write.
    None,
    /// Ethernet.
    Plain,
    /// Ethernet with an 802.1Q tag.
    Tagged,
    /// A tunnel over an untagged underlay.
    Vxlan,
    /// A tunnel over a tagged underlay.
    VxlanTagged,
}

/// By what is decided where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// By the entry of its flow.
    ByEntry,
    /// By a routing table that is small enough to be in the caches always.
    ByRoute,
    /// By a larger one, of which lines must be asked for ahead.
    ByFarRoute,
}

/// Bytes of a routing table that is in the caches always.
const NEAR_BYTES: usize = 32 << 10;

impl Decided {
    fn of(vrf: &Vrf) -> Decided {
        match vrf.tracked {
            true => Decided::ByEntry,
            false if vrf.fib.bytes() <= NEAR_BYTES => Decided::ByRoute,
            false => Decided::ByFarRoute,
        }
    }
}

impl Shape {
    /// Whether it is a tunnel.
    #[inline(always)]
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Shape::Vxlan | Shape::VxlanTagged)
    }
}

impl Lanes {
    /// The lanes of `tables`. Cost: 128 bytes per network number.
    pub fn of(tables: &Tables) -> Lanes {
        let lane = |(id, net): (usize, &Option<_>)| match net.as_deref() {
            Some(net) => Lane::of(tables, NetId(id as u16), net),
            None => Lane::NONE,
        };
        Lanes(tables.nets.iter().enumerate().map(lane).collect())
    }

    /// The lane of a network.
    #[inline(always)]
    pub fn get(&self, net: NetId) -> Option<&Lane> {
        self.0.get(net.index())
    }
}

impl Lane {
    /// The generation of a network without routing table: no decision is of it, as it takes so many of them to get there.
    const NEVER: u32 = u32::MAX;

    /// Of no network.
    pub const NONE: Lane = Lane {
        mac: 0,
        vrf: VrfId(0),
        generation: Lane::NEVER,
        len_max: 0,
        port: PortId(0),
        shape: Shape::None,
        decided: Decided::ByEntry,
        tunnel_end: TunnelEnd::NONE,
        outer_sum: 0,
        head: [0; HEAD_MAX],
    };

    fn of(tables: &Tables, id: NetId, net: &Net) -> Lane {
        let vrf = tables.vrf(net.vrf);
        let lane = Lane {
            mac: net.mac.to_wire(),
            vrf: net.vrf,
            generation: vrf.map_or(Lane::NEVER, |vrf| vrf.generation),
            len_max: net.mtu.get(),
            tunnel_end: TunnelEnd::on(tables, id),
            decided: vrf.map_or(Decided::ByEntry, Decided::of),
            ..Lane::NONE
        };
        match net.link {
            Link::Port { port, vlan } => lane.on_port(net, port, vlan),
            Link::Vxlan { vni, .. } => match tunnel(tables, net) {
                Some((vtep, underlay, port, vlan)) => {
                    lane.in_tunnel(vtep, vni.get()).on_port(underlay, port, vlan)
                }
                None => lane,
            },
        }
    }

    /// The outermost header, in front of what is there.
    fn on_port(mut self, carrier: &Net, port: PortId, vlan: Option<Vid>) -> Lane {
        let unknown = MacAddr::from_u64(0);
        let (len, inner) = (ethernet::header_len(vlan), self.head);
        self.head[len..].copy_from_slice(&inner[..HEAD_MAX - len]);
        ethernet::emit(&mut self.head, unknown, carrier.mac, vlan, ethertype::IPV4);
        self.shape = match (self.shape, vlan) {
            (Shape::None, None) => Shape::Plain,
            (Shape::None, Some(_)) => Shape::Tagged,
            (_, None) => Shape::Vxlan,
            (_, Some(_)) => Shape::VxlanTagged,
        };
        let carried = carrier.mtu.get() - if self.shape.is_tunnel() { TUNNEL_LEN as u16 } else { 0 };
        Lane { port, len_max: self.len_max.min(carried), ..self }
    }

    fn in_tunnel(mut self, vtep: &Vtep, vni: u32) -> Lane {
        vxlan::outer_header(0, 0, vtep.address, Ipv4Addr::UNSPECIFIED).emit(&mut self.head);
        self.outer_sum = !ipv4::checksum_of(&self.head);
        vxlan::emit(&mut self.head[ipv4::HEADER_LEN..], 0, vtep.udp_port, 0, vni);
        let frame = &mut self.head[TUNNEL_LEN - ethernet::HEADER_LEN..];
        ethernet::emit(frame, MacAddr::from_u64(0), MacAddr::from_wire(self.mac), None, ethertype::IPV4);
        Lane { shape: Shape::Vxlan, ..self }
    }
}

/// What carries the frames of a VXLAN network.
fn tunnel<'t>(tables: &'t Tables, net: &Net) -> Option<(&'t Vtep, &'t Net, PortId, Option<Vid>)> {
    let vtep = tables.vtep_of(net)?;
    let underlay = tables.net(vtep.underlay)?;
    let Link::Port { port, vlan } = underlay.link else { return None };
    Some((vtep, underlay, port, vlan))
}
