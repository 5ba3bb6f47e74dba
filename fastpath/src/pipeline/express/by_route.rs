//! Packets without flow entry: each is decided by the routing table of its network, as `stage/route.rs` says. What one lookup
//! found out serves those behind it, as most of a burst come from one network and go by few next hops.

use std::net::Ipv4Addr;

use crate::{
    buffer::Buffer,
    pipeline::Engine,
    stage::{express::Express, policing, route},
    table::{
        Tables, Vrf,
        fib::{Hop, HopId},
        lane::Decided,
        neighbour::NeighbourId,
    },
    types::NetId,
    wire::ipv4,
};

/// The routing table of the packet before.
pub(super) struct LastTable<'t> {
    from: NetId,
    vrf: Option<&'t Vrf>,
}

impl<'t> LastTable<'t> {
    /// Before the first packet.
    pub(super) const NONE: Self = LastTable { from: NetId::NONE, vrf: None };

    /// The one that decides about a packet.
    #[inline(always)]
    pub(super) fn of(&mut self, tables: &'t Tables, packet: &Express) -> Option<&'t Vrf> {
        let from = packet.key.net();
        if from != self.from {
            let vrf = tables.lanes.get(from).and_then(|lane| tables.vrf(lane.vrf));
            (self.from, self.vrf) = (from, vrf);
        }
        self.vrf
    }
}

/// Where routes by a next hop lead, as far as packets of this burst went there: a few places, by the number of the hop.
pub(super) struct KnownHops([KnownHop; KnownHops::PLACES]);

#[derive(Clone, Copy)]
struct KnownHop {
    /// Its number in the table of this network; no packet comes from none.
    id: HopId,
    from: NetId,
    egress: NetId,
    next: NeighbourId,
}

impl KnownHops {
    const PLACES: usize = 16;
    /// Before the first packet.
    pub(super) const NONE: Self = KnownHops([KnownHop::NONE; Self::PLACES]);

    #[inline(always)]
    fn get(&self, from: NetId, id: HopId) -> Option<(NetId, NeighbourId)> {
        let known = &self.0[id.0 as usize % Self::PLACES];
        (known.id == id && known.from == from).then_some((known.egress, known.next))
    }

    fn put(&mut self, known: KnownHop) {
        self.0[known.id.0 as usize % Self::PLACES] = known;
    }
}

impl KnownHop {
    const NONE: Self =
        KnownHop { id: HopId(0), from: NetId::NONE, egress: NetId::NONE, next: NeighbourId::from_u32(0) };
}

impl<B: Buffer> Engine<B> {
    /// Begins the lookup of a packet in a large routing table.
    #[inline(never)]
    pub(super) fn begin_route(&self, tables: &Tables, packet: &mut Express) {
        let mut none = LastTable::NONE;
        if let Some(vrf) = none.of(tables, packet) {
            packet.place = vrf.fib.begin(packet.key.destination());
        }
        if packet.vtep != 0 {
            self.neighbours.prefetch_lookup(packet.key.net(), packet.key.source());
        }
    }

    /// As the decision for a packet without flow entry says, where that is to forward it.
    #[inline(always)]
    pub(super) fn direct_by_route(
        &self,
        tables: &Tables,
        vrf: Option<&Vrf>,
        known: &mut KnownHops,
        packet: &mut Express,
    ) {
        let Some(vrf) = vrf else { return };
        if packet.vtep != 0 && !self.is_at_home(packet) || !route::is_ordinary(&packet.key) {
            return;
        }
        let (from, destination) = (packet.key.net(), packet.key.destination());
        let hop = match packet.decided {
            Decided::ByFarRoute => vrf.fib.end(packet.place, destination),
            _ => vrf.fib.lookup_id(destination),
        };
        let (egress, next) = match known.get(from, hop) {
            Some(way) => way,
            None => match self.find_way(tables, vrf, (from, hop), destination, known) {
                Some(way) => way,
                None => return,
            },
        };
        if !policing::between(tables, vrf, egress, &packet.key) {
            (packet.egress, packet.next) = (egress, next);
        }
    }

    /// Network and next hop; remembered where all packets with this hop go there.
    #[inline(never)]
    fn find_way(
        &self,
        tables: &Tables,
        vrf: &Vrf,
        (from, id): (NetId, HopId),
        destination: Ipv4Addr,
        known: &mut KnownHops,
    ) -> Option<(NetId, NeighbourId)> {
        let hop = vrf.fib.hop(id);
        let (net, ip) = route::next_hop(tables, hop, destination)?;
        let next = self.neighbours.lookup(net, ip)?;
        if matches!(hop, Hop::Via(..)) {
            known.put(KnownHop { id, from, egress: net, next });
        }
        Some((net, next))
    }

    /// Whether it came through a tunnel end that may send, and its sender is not known behind another one; whether it is the
    /// same sender, the general way asks.
    #[inline(never)]
    fn is_at_home(&self, packet: &Express) -> bool {
        let vtep = Ipv4Addr::from_bits(packet.vtep);
        let known = route::place_of(&self.neighbours, packet.key.net(), packet.key.source());
        ipv4::may_send(vtep) && known.is_none_or(|(_, known)| known == vtep)
    }
}
