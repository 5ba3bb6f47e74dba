//! The short way: common packets ([`Express`]) of flows that are known, or need none, to next hops that are known. Nearly all
//! packets take it, with the same result in every byte and counter; what it does not take, it leaves untouched to the general
//! way (docs/adr/0012-short-way.md).
//!
//! A burst is worked in four passes, so that no pass waits for memory. Each is a function of its own and no part of the
//! poll loop: what lives during a pass fits the registers.

use std::net::Ipv4Addr;

use super::{Engine, Round};
use crate::{
    buffer::Buffer,
    flow::FlowId,
    io::{BURST, Burst, Io},
    reason::{DropReason, Event},
    stage::{
        express::{self, Door, Express},
        policing, route,
    },
    table::{Tables, Vrf, lane::Decided, neighbour::NeighbourId},
    types::{NetId, PortId},
    wire::{ipv4, translate},
};

/// What the passes know of the packets of a burst, in their order.
pub(super) type Packets = [Express; BURST];

/// What became of a packet on the short way.
enum Taken {
    /// To be sent on this port.
    Sent(PortId),
    /// Dropped.
    Dropped(DropReason),
    /// Nothing: it takes the general way.
    Not,
}

impl<B: Buffer> Engine<B> {
    /// Reads frames; asks for the buckets of their flows, or where their routes begin.
    #[inline(never)]
    pub(super) fn recognise(&self, tables: &Tables, port: PortId, burst: &[B], packets: &mut Packets) {
        let door = Door::of(tables, port);
        for (buffer, packet) in burst.iter().zip(packets) {
            if buffer.is_segmented() || door.recognise(buffer.bytes(), packet).is_none() {
                continue;
            }
            packet.hash = self.flows.hash(&packet.key);
            if packet.decided == Decided::ByEntry {
                self.flows.prefetch(packet.hash);
            } else if packet.decided == Decided::ByFarRoute {
                self.ask_for_route(tables, packet);
            }
        }
    }

    /// Compares tags; asks for records, or for where routes end.
    #[inline(never)]
    pub(super) fn probe_all(&self, tables: &Tables, packets: &mut [Express]) {
        for packet in packets {
            if packet.decided == Decided::ByEntry {
                packet.candidate = self.flows.probe(packet.hash).unwrap_or(FlowId::NONE);
            } else if packet.decided == Decided::ByFarRoute {
                self.ask_for_hop(tables, packet);
            }
        }
    }

    /// Says of each packet where it goes: by the entry of its flow, or by a decision of its own. Asks for next hops.
    #[inline(never)]
    pub(super) fn direct(&self, tables: &Tables, packets: &mut [Express]) {
        let mut last = None;
        for packet in packets {
            if packet.decided == Decided::ByEntry {
                self.direct_by_entry(packet);
            } else {
                self.direct_by_route(tables, packet, &mut last);
            }
        }
    }

    /// Sends what has a direction, and gives everything else to the general way.
    #[inline(never)]
    pub(super) fn send_all(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        port: PortId,
        burst: &mut Burst<B>,
        packets: &[Express],
    ) {
        let mut hits = 0;
        for (mut buffer, packet) in burst.drain(..).zip(packets) {
            match self.express(round, &mut buffer, packet) {
                Taken::Sent(port) => {
                    hits += u64::from(packet.decided == Decided::ByEntry);
                    self.outbox.send(round.io, &self.counters, port, buffer);
                }
                Taken::Dropped(reason) => self.counters.dropped(packet.key.net(), reason),
                Taken::Not => self.process_one(round, port, buffer),
            }
        }
        self.counters.events[Event::FlowHit.index()].add(hits);
    }

    #[inline(always)]
    fn express(&self, round: &Round<impl Io<Buffer = B>>, buffer: &mut B, packet: &Express) -> Taken {
        self.take(round, buffer, packet).unwrap_or(Taken::Not)
    }

    #[inline(always)]
    fn take(&self, round: &Round<impl Io<Buffer = B>>, buffer: &mut B, packet: &Express) -> Option<Taken> {
        let lane = round.tables.lanes.get(packet.egress)?;
        if packet.len > lane.len_max {
            return None;
        }
        let bytes = express::put_head(lane, &self.neighbours, buffer, packet)?;
        // Nothing above changes the packet, nothing below lets it take the other way.
        if packet.decided == Decided::ByEntry {
            let hit = self.flows.hit(packet.candidate);
            hit.touch_open(packet.len, round.now.tick(), packet.tcp);
            if !hit.policers().is_none() && !self.passes(round.tables, round.now, packet, hit, bytes) {
                return Some(self.policed(packet));
            }
            let translation = hit.translation();
            if !translation.is_none()
                && !translate::translate_common(bytes, packet.key.protocol(), translation.rewrite())
            {
                return Some(Taken::Dropped(DropReason::TransportTruncated));
            }
        }
        ipv4::decrement_ttl(bytes);
        if let Some(net) = self.counters.nets.get(packet.key.net().index()) {
            net.ingress.add(packet.len.into());
        }
        if let Some(net) = self.counters.nets.get(packet.egress.index()) {
            net.egress.add(packet.len.into());
        }
        Some(Taken::Sent(lane.port))
    }

    /// A packet that a rate limit refused; it is counted as far as it came.
    #[cold]
    #[inline(never)]
    fn policed(&self, packet: &Express) -> Taken {
        self.counters.event(Event::FlowHit);
        if let Some(net) = self.counters.nets.get(packet.key.net().index()) {
            net.ingress.add(packet.len.into());
        }
        Taken::Dropped(DropReason::Policed)
    }

    /// By the entry of its flow, if the candidate is that and up to date.
    #[inline(always)]
    fn direct_by_entry(&self, packet: &mut Express) {
        let hit = self.flows.hit(packet.candidate);
        let (generation, next) = hit.decision();
        let (egress, from_vtep) = hit.way();
        let current = generation == packet.generation && from_vtep == packet.vtep;
        if hit.is_of(&packet.key) && current {
            (packet.egress, packet.next) = (egress, next);
            self.neighbours.prefetch(next);
        }
    }

    /// As the decision for a packet without flow entry says, where that is to forward it. `last` is where the last one of the
    /// burst went: most of them go by few next hops.
    #[inline(always)]
    fn direct_by_route(
        &self,
        tables: &Tables,
        packet: &mut Express,
        last: &mut Option<(NetId, Ipv4Addr, NeighbourId)>,
    ) {
        if packet.vtep != 0 && !self.is_at_home(packet) {
            return;
        }
        let Some(vrf) = vrf_of(tables, packet) else { return };
        let Some((net, ip)) = route::next_hop(tables, vrf, &packet.key) else { return };
        if policing::between(tables, vrf, net, &packet.key) {
            return;
        }
        let next = match *last {
            Some((last_net, last_ip, next)) if (last_net, last_ip) == (net, ip) => next,
            _ => match self.neighbours.lookup(net, ip) {
                Some(next) => next,
                None => return,
            },
        };
        *last = Some((net, ip, next));
        (packet.egress, packet.next) = (net, next);
    }

    /// Whether it came through a tunnel end that may send, and its sender is not known behind another one; whether it is the
    /// same sender, the general way asks.
    #[inline(never)]
    fn is_at_home(&self, packet: &Express) -> bool {
        let vtep = Ipv4Addr::from_bits(packet.vtep);
        let known = route::place_of(&self.neighbours, packet.key.net(), packet.key.source());
        ipv4::may_send(vtep) && known.is_none_or(|(_, known)| known == vtep)
    }

    /// Asks for what the decision of a packet without flow begins with.
    #[inline(never)]
    fn ask_for_route(&self, tables: &Tables, packet: &Express) {
        if let Some(vrf) = vrf_of(tables, packet) {
            vrf.fib.prefetch(packet.key.destination());
        }
        if packet.vtep != 0 {
            self.neighbours.prefetch_lookup(packet.key.net(), packet.key.source());
        }
    }

    /// Asks for what it goes on with.
    #[inline(never)]
    fn ask_for_hop(&self, tables: &Tables, packet: &Express) {
        if let Some(vrf) = vrf_of(tables, packet) {
            vrf.fib.prefetch_next(packet.key.destination());
        }
    }
}

/// The routing table that decides about a packet without flow entry.
#[inline(always)]
fn vrf_of<'t>(tables: &'t Tables, packet: &Express) -> Option<&'t Vrf> {
    tables.vrf(tables.lanes.get(packet.key.net())?.vrf)
}
