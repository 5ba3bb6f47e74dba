//! The short way: common packets ([`Express`]) of flows that are known, or need none, to next hops that are known. Nearly all
//! packets take it, with the same result in every byte and counter; what it does not take, it leaves untouched to the general
//! way (docs/adr/0012-short-way.md).

use std::net::Ipv4Addr;

use super::{Engine, Round};
use crate::{
    buffer::Buffer,
    flow::{Hit, Program},
    io::Io,
    reason::{DropReason, Event},
    stage::{
        express::{Door, Express, Head},
        ingress::Origin,
        route::{self, Decision, Leads},
    },
    table::{Tables, neighbour::Reach},
    types::{MacAddr, PortId},
    wire::{ipv4, translate},
};

/// What became of a packet on the short way.
pub(super) enum Taken {
    /// To be sent on this port.
    Sent(PortId),
    /// Dropped.
    Dropped(DropReason),
    /// Nothing: it takes the general way.
    Not,
}

impl<B: Buffer> Engine<B> {
    /// Reads a frame and asks for the bucket of its flow.
    #[inline(always)]
    pub(super) fn recognise(&self, tables: &Tables, door: &Door<'_>, buffer: &B) -> Express {
        if buffer.is_segmented() {
            return Express::NOT;
        }
        let Some(mut packet) = door.recognise(buffer.bytes()) else { return Express::NOT };
        packet.hash = self.flows.hash(&packet.key);
        if packet.tracked {
            self.flows.prefetch(packet.hash);
        } else {
            self.look_ahead_of_decision(tables, &packet);
        }
        packet
    }

    /// Asks for what the decision of a packet without flow begins with.
    #[inline(never)]
    fn look_ahead_of_decision(&self, tables: &Tables, packet: &Express) {
        let vrf = tables.lanes.get(packet.key.net()).and_then(|lane| tables.vrf(lane.vrf));
        if let Some(vrf) = vrf {
            vrf.fib.prefetch(packet.key.destination());
        }
        if packet.vtep != 0 {
            self.neighbours.prefetch_lookup(packet.key.net(), packet.key.source());
        }
    }

    /// Compares tags and asks for the record; or for the line where the lookup of the next hop begins.
    #[inline(always)]
    pub(super) fn probe_express(&self, tables: &Tables, packet: &mut Express) {
        if packet.tracked {
            packet.candidate = self.flows.probe(packet.hash);
        } else if packet.len != 0 {
            self.look_ahead_of_route(tables, packet);
        }
    }

    #[inline(never)]
    fn look_ahead_of_route(&self, tables: &Tables, packet: &Express) {
        let Some(lane) = tables.lanes.get(packet.key.net()) else { return };
        if let Ok(Leads::To(net, ip)) = route::resolve(tables, lane.vrf, packet.key.destination()) {
            self.neighbours.prefetch_lookup(net, ip);
        }
    }

    /// Asks for the next hop's line. Only a hint: whether the record is of this flow is seen later.
    #[inline(always)]
    pub(super) fn look_ahead(&self, packet: &Express) {
        if let Some(next) = self.flows.next_hop(packet.candidate) {
            self.neighbours.prefetch(next);
        }
    }

    /// One lookup or decision, one apply.
    #[inline(always)]
    pub(super) fn express(
        &self,
        round: &Round<impl Io<Buffer = B>>,
        buffer: &mut B,
        packet: &Express,
    ) -> Taken {
        self.take(round, buffer, packet).unwrap_or(Taken::Not)
    }

    #[inline(always)]
    fn take(&self, round: &Round<impl Io<Buffer = B>>, buffer: &mut B, packet: &Express) -> Option<Taken> {
        let (program, hit) = if packet.tracked {
            let (program, hit) = self.entry_of(packet)?;
            (program, Some(hit))
        } else {
            (self.decided(round.tables, packet)?, None)
        };
        let lane = round.tables.lanes.get(program.egress)?;
        if packet.len > lane.len_max {
            return None;
        }
        let head = Head::to(lane, &self.neighbours, program.next)?;
        let bytes = head.put_on(lane, buffer, packet)?;
        // Nothing above changes the packet, nothing below lets it take the other way.
        if let Some(hit) = hit {
            hit.touch_open(packet.len, round.now.tick(), packet.tcp);
            self.counters.event(Event::FlowHit);
        }
        if let Some(net) = self.counters.nets.get(packet.key.net().index()) {
            net.ingress.add(packet.len.into());
        }
        if !program.translation.is_none()
            && !translate::translate_common(bytes, packet.key.protocol(), program.translation.rewrite())
        {
            return Some(Taken::Dropped(DropReason::TransportTruncated));
        }
        ipv4::decrement_ttl(bytes);
        if let Some(net) = self.counters.nets.get(program.egress.index()) {
            net.egress.add(packet.len.into());
        }
        Some(Taken::Sent(lane.port))
    }

    /// The entry of its flow, if that is up to date.
    #[inline(always)]
    fn entry_of(&self, packet: &Express) -> Option<(Program, Hit<'_>)> {
        let hit = self.flows.hit(&packet.key, packet.candidate)?;
        let program = hit.program();
        let current = program.generation == packet.generation
            && program.from_vtep.to_bits() == packet.vtep
            // Rate limits are for the general way.
            && program.policers.is_none();
        current.then_some((program, hit))
    }

    /// The decision for a packet without flow entry, where it is to forward it.
    #[inline(never)]
    fn decided(&self, tables: &Tables, packet: &Express) -> Option<Program> {
        let lane = tables.lanes.get(packet.key.net())?;
        let (vtep, mac) = (Ipv4Addr::from_bits(packet.vtep), MacAddr::default());
        let origin = Origin { net: packet.key.net(), mac, vtep };
        if packet.len == 0 || self.may_have_moved(packet, &origin) {
            return None;
        }
        match route::decide(tables, &self.neighbours, lane.vrf, &packet.key, &origin) {
            Ok(Decision::Forward(program)) if program.policers.is_none() => Some(program),
            _ => None,
        }
    }

    /// Whether its sender is known behind another tunnel end; whether it is the same sender, the general way asks.
    fn may_have_moved(&self, packet: &Express, origin: &Origin) -> bool {
        if packet.vtep == 0 {
            return false;
        }
        let Some(id) = self.neighbours.lookup(origin.net, packet.key.source()) else { return false };
        match self.neighbours.reach(id) {
            Reach::Resolved(known) => known.tunnel.is_some_and(|(vtep, _)| vtep != origin.vtep),
            _ => false,
        }
    }
}
