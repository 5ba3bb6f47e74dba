//! The short way: common packets ([`Express`]) of flows that are known, or need none, to next hops that are known. Nearly all
//! packets take it, with the same result in every byte and counter; what it does not take, it leaves untouched to the general
//! way (docs/adr/0012-short-way.md).
//!
//! A burst is worked in four passes, so that no pass waits for memory. Each is a function of its own and no part of the
//! poll loop: what lives during a pass fits the registers.

mod by_route;

use self::by_route::{KnownHops, LastTable};
use super::{Engine, Round};
use crate::{
    buffer::Buffer,
    flow::{FlowId, Lookup},
    io::{BURST, Burst, Io},
    reason::{DropReason, Event},
    stage::express::{Door, Express, Heads},
    table::{
        Tables,
        lane::{Decided, Lane, Shape, TUNNEL_LEN},
        neighbour::Adjacencies,
    },
    types::{Nanos, NetId, PortId},
    wire::{ethernet, ipv4, translate},
};

/// What the passes know of the packets of a burst, in their order.
pub(super) type Packets = [Express; BURST];

/// The packets at the front of a burst that came from one network and go to one other, and were got ready for its port.
struct Run {
    /// How many.
    len: usize,
    /// The port that sends them.
    port: PortId,
    /// Bytes of their frames.
    bytes: u64,
    end: End,
}

/// What ended a run.
enum End {
    /// The next packet is of another run, or there is none.
    Over,
    /// The next packet is dropped, and counted.
    Dropped(DropReason),
    /// The next packet takes the general way.
    General,
}

impl Run {
    /// No packet, and the next one takes the general way.
    const GENERAL: Run = Run { len: 0, port: PortId(0), bytes: 0, end: End::General };
}

impl<B: Buffer> Engine<B> {
    /// Reads frames; asks for the buckets of their flows, or where their routes begin.
    #[inline(never)]
    pub(super) fn recognise(&self, tables: &Tables, port: PortId, burst: &[B], packets: &mut Packets) {
        let (mut door, flows) = (Door::of(tables, port), self.flows.lookup());
        // By reference, so that both are walked by pointer: the place of a packet would be computed from its number.
        for (buffer, packet) in burst.iter().zip(packets.iter_mut().by_ref()) {
            if buffer.is_segmented() {
                continue;
            }
            let Some(key) = door.recognise(buffer.bytes(), packet) else { continue };
            if packet.decided == Decided::ByEntry {
                packet.hash = flows.hash(&key);
                flows.prefetch(packet.hash);
            } else if packet.decided == Decided::ByFarRoute {
                self.begin_route(tables, packet);
            }
        }
    }

    /// Compares tags; asks for records, or for where routes end.
    #[inline(never)]
    pub(super) fn probe_all(&self, tables: &Tables, packets: &mut [Express]) {
        let (flows, mut last) = (self.flows.lookup(), LastTable::NONE);
        for packet in packets {
            if packet.decided == Decided::ByEntry {
                packet.candidate = flows.probe(packet.hash).unwrap_or(FlowId::NONE);
            } else if packet.decided == Decided::ByFarRoute
                && let Some(vrf) = last.of(tables, packet)
            {
                packet.place = vrf.fib.go_on(packet.place, packet.key.destination());
            }
        }
    }

    /// Says of each packet where it goes: by the entry of its flow, or by a decision of its own. Asks for next hops.
    #[inline(never)]
    pub(super) fn direct(&self, tables: &Tables, packets: &mut [Express]) {
        let (flows, known) = (self.flows.lookup(), self.neighbours.adjacencies());
        let (mut last, mut hops) = (LastTable::NONE, KnownHops::NONE);
        for packet in packets {
            match packet.decided {
                Decided::ByEntry => direct_by_entry(&flows, known, packet),
                _ => self.direct_by_route(tables, last.of(tables, packet), &mut hops, packet),
            }
        }
    }

    /// Sends what has a direction, and gives everything else to the general way.
    pub(super) fn send_all(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        port: PortId,
        burst: &mut Burst<B>,
        packets: &[Express],
    ) {
        let run = self.run(round.tables, round.now, burst, packets);
        if run.len == burst.len() {
            self.outbox.send_burst(round.io, &self.counters, run.port, burst, run.bytes);
        } else {
            self.send_in_runs(round, port, burst, packets, run);
        }
    }

    /// The same where not all of a burst is one run; `run` is the first.
    #[inline(never)]
    fn send_in_runs(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        port: PortId,
        burst: &mut Burst<B>,
        mut packets: &[Express],
        mut run: Run,
    ) {
        let mut frames = burst.take().into_iter();
        loop {
            let sent = frames.by_ref().take(run.len);
            self.outbox.send_some(round.io, &self.counters, run.port, sent);
            packets = packets.get(run.len..).unwrap_or_default();
            if !matches!(run.end, End::Over) {
                let (Some(frame), Some((packet, rest))) = (frames.next(), packets.split_first()) else {
                    return;
                };
                packets = rest;
                match run.end {
                    End::Dropped(reason) => self.counters.dropped(packet.key.net(), reason),
                    _ => {
                        self.counters.poll.general_way.add(1);
                        self.process_one(round, port, frame);
                    }
                }
            }
            if packets.is_empty() {
                return;
            }
            run = self.run(round.tables, round.now, frames.as_mut_slice(), packets);
        }
    }

    /// Gets the run at the front of some packets ready, and counts it.
    #[inline(always)]
    fn run(&self, tables: &Tables, now: Nanos, frames: &mut [B], packets: &[Express]) -> Run {
        match packets.first() {
            Some(first) if first.decided == Decided::ByEntry => {
                self.run_of::<true>(tables, first.egress, now, frames, packets)
            }
            Some(first) => self.run_of::<false>(tables, first.egress, now, frames, packets),
            None => Run::GENERAL,
        }
    }

    /// The same for packets that have an entry, or have none.
    #[inline(never)]
    fn run_of<const BY_ENTRY: bool>(
        &self,
        tables: &Tables,
        egress: NetId,
        now: Nanos,
        frames: &mut [B],
        packets: &[Express],
    ) -> Run {
        const PLAIN: usize = ethernet::HEADER_LEN;
        const TAGGED: usize = ethernet::TAGGED_LEN;
        const VXLAN: usize = PLAIN + TUNNEL_LEN;
        const VXLAN_TAGGED: usize = TAGGED + TUNNEL_LEN;
        let Some(lane) = tables.lanes.get(egress) else { return Run::GENERAL };
        match lane.shape {
            Shape::Plain => self.run_on::<PLAIN, false, BY_ENTRY>(tables, lane, now, frames, packets),
            Shape::Tagged => self.run_on::<TAGGED, false, BY_ENTRY>(tables, lane, now, frames, packets),
            Shape::Vxlan => self.run_on::<VXLAN, true, BY_ENTRY>(tables, lane, now, frames, packets),
            Shape::VxlanTagged => {
                self.run_on::<VXLAN_TAGGED, true, BY_ENTRY>(tables, lane, now, frames, packets)
            }
            Shape::None => Run::GENERAL,
        }
    }

    /// The same for one shape of headers, `HEAD` bytes long: what all packets of a run have in common is looked up once.
    #[inline(never)]
    fn run_on<const HEAD: usize, const IS_TUNNEL: bool, const BY_ENTRY: bool>(
        &self,
        tables: &Tables,
        lane: &Lane,
        now: Nanos,
        frames: &mut [B],
        packets: &[Express],
    ) -> Run {
        let Some(first) = packets.first() else { return Run::GENERAL };
        let between = first.between();
        let (flows, mut heads) = (self.flows.lookup(), Heads::<HEAD, IS_TUNNEL>::of(lane, &self.neighbours));
        let tick = now.tick();
        let (mut len, mut bytes, mut end) = (0, 0, End::Over);
        for (buffer, packet) in frames.iter_mut().zip(packets.iter().by_ref()) {
            if packet.between() != between {
                break;
            }
            let packet_len = packet.len;
            let hash = if BY_ENTRY { packet.hash } else { flows.hash(&packet.key) };
            let Some(ip) = heads.put(buffer, packet, hash) else {
                end = End::General;
                break;
            };
            // Nothing above changes a packet that takes the other way, nothing below lets it take that.
            if BY_ENTRY && let Some(hit) = flows.hit(packet.candidate) {
                let policers = hit.touch_open(packet_len, tick, packet.tcp);
                if !policers.is_none() && !self.passes(tables, now, packet, policers, hit, ip) {
                    end = End::Dropped(DropReason::Policed);
                    break;
                }
                let translation = hit.translation();
                if translation.is_none() {
                    ipv4::decrement_ttl(ip);
                } else if !translate::translate_hop(ip, packet.key.protocol(), translation.rewrite()) {
                    end = End::Dropped(DropReason::TransportTruncated);
                    break;
                }
            } else {
                ipv4::decrement_ttl(ip);
            }
            len += 1;
            bytes += u64::from(packet_len);
        }
        let dropped = match end {
            End::Dropped(_) => packets.get(len),
            _ => None,
        };
        self.count_run(first, BY_ENTRY, (len, bytes), dropped);
        Run { len, port: lane.port, bytes: bytes + (len * HEAD) as u64, end }
    }

    /// Counts a run, and the packet that ended it if it was dropped, as far as that came.
    #[inline(always)]
    fn count_run(
        &self,
        first: &Express,
        by_entry: bool,
        (len, bytes): (usize, u64),
        dropped: Option<&Express>,
    ) {
        let len = len as u64;
        let (came, came_bytes) = match dropped {
            Some(packet) => (len + 1, bytes + u64::from(packet.len)),
            None => (len, bytes),
        };
        if let Some(net) = self.counters.nets.get(first.key.net().index()) {
            net.ingress.add_all(came, came_bytes);
        }
        if let Some(net) = self.counters.nets.get(first.egress.index()) {
            net.egress.add_all(len, bytes);
        }
        self.counters.poll.short_way.add(came);
        if by_entry {
            self.counters.events[Event::FlowHit.index()].add(came);
        }
    }
}

/// By the entry of its flow, if the candidate is that and up to date.
#[inline(always)]
fn direct_by_entry(flows: &Lookup<'_>, known: Adjacencies<'_>, packet: &mut Express) {
    let Some(hit) = flows.hit(packet.candidate) else { return };
    let (generation, next) = hit.decision();
    let (egress, from_vtep) = hit.way();
    let current = generation == packet.generation && from_vtep == packet.vtep;
    if hit.is_of(&packet.key) && current {
        (packet.egress, packet.next) = (egress, next);
        known.prefetch(next);
    }
}
