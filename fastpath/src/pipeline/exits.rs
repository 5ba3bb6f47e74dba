//! The ways out of the packet's way that are not tx: refuse, deliver to ourselves, hold, cut.

use arrayvec::ArrayVec;

use super::{Engine, Packet, Round, meter};
use crate::{
    buffer::Buffer,
    flow::{Program, PublicEnd},
    io::Io,
    reason::{DropReason, Event, PuntReason},
    stage::{fragment, icmp, local, reset},
    table::nat::Amount,
    types::{Mtu, NetId},
    wire::translate::Side,
};

/// Most fragments that one packet is cut into: 64 KiB over the smallest MTU.
const FRAGMENTS_MAX: usize = 128;

impl<B: Buffer> Engine<B> {
    /// Drops a packet, and tells its sender where that is allowed and within the rate.
    #[cold]
    #[inline(never)]
    pub(super) fn refuse(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        mut buffer: B,
        packet: &Packet,
        reason: DropReason,
        mtu: Option<Mtu>,
    ) {
        self.counters.dropped(packet.origin.net, reason);
        if reset::is_told(reason, &packet.ip) {
            return self.reset(round, buffer, packet);
        }
        let Some(error) = icmp::error_for(reason, mtu).filter(|_| !packet.own) else { return };
        let us = round.tables.net(packet.origin.net).and_then(|net| net.address);
        let Some(us) = us.filter(|_| icmp::is_allowed(&packet.ip, &buffer)) else {
            self.counters.event(Event::IcmpErrorForbidden);
            return;
        };
        if !self.limits.icmp_errors.take(round.now) {
            self.counters.event(Event::IcmpErrorLimited);
            return;
        }
        self.next_id = self.next_id.wrapping_add(1);
        if icmp::become_error(&mut buffer, &packet.ip, error, us, self.next_id) {
            self.counters.event(Event::IcmpError);
            self.counters.event(Event::Originated);
            self.send_own(round, buffer, packet.origin.net, packet.vrf);
        }
    }

    /// Tells the sender of a TCP segment that there is no connection, within the rate.
    #[cold]
    #[inline(never)]
    fn reset(&mut self, round: &mut Round<impl Io<Buffer = B>>, mut buffer: B, packet: &Packet) {
        self.next_id = self.next_id.wrapping_add(1);
        let allowed = !packet.own && icmp::is_allowed(&packet.ip, &buffer);
        if allowed
            && self.limits.resets.take(round.now)
            && reset::become_reset(&mut buffer, &packet.ip, self.next_id)
        {
            self.counters.event(Event::TcpReset);
            self.counters.event(Event::Originated);
            self.send_own(round, buffer, packet.origin.net, packet.vrf);
        } else {
            self.counters.event(Event::TcpResetNotSent);
        }
    }

    /// A packet for one of our addresses on `net`.
    #[cold]
    #[inline(never)]
    pub(super) fn local(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        mut buffer: B,
        packet: &Packet,
        net: NetId,
    ) {
        match local::answer(&packet.ip, &mut buffer) {
            Ok(local::Answer::EchoReply) => {
                self.counters.event(Event::EchoReply);
                self.send_own(round, buffer, packet.origin.net, packet.vrf);
            }
            Ok(local::Answer::Punt) => {
                let vrf = round.tables.net(net).map_or(packet.vrf, |net| net.vrf);
                // From anywhere but the underlay it was dropped before its route was looked up.
                let is_zsnp = Some(packet.ip.protocol()) == self.settings.zsnp_protocol;
                let (limit, reason) = match is_zsnp {
                    true => (&mut self.limits.zsnp, PuntReason::Zsnp),
                    false => (&mut self.limits.local, PuntReason::Local),
                };
                if !limit.take(round.now) {
                    self.counters.dropped(packet.origin.net, DropReason::PuntLimited);
                } else if self.rings.punts.push(vrf, buffer.bytes()) {
                    self.counters.punt(reason);
                } else {
                    self.counters.dropped(packet.origin.net, DropReason::PuntFull);
                }
            }
            Err(reason) => self.counters.dropped(packet.origin.net, reason),
        }
    }

    /// ICMP for a public address of ours that is of no VM: echo requests are answered, all else has no service there.
    #[cold]
    #[inline(never)]
    pub(super) fn ping(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        mut buffer: B,
        packet: &Packet,
        net: NetId,
    ) {
        match local::answer(&packet.ip, &mut buffer) {
            Ok(local::Answer::EchoReply) => {
                self.counters.event(Event::EchoReply);
                for side in [Side::Destination, Side::Source] {
                    let end = PublicEnd { net, address: packet.ip.destination(), side };
                    meter::count(round.tables, &end, Amount::packet(packet.ip.total_len()));
                }
                self.send_own(round, buffer, net, packet.vrf);
            }
            Ok(local::Answer::Punt) => self.counters.dropped(packet.origin.net, DropReason::NoService),
            Err(reason) => self.counters.dropped(packet.origin.net, reason),
        }
    }

    /// Sends a packet in fragments, the first one first.
    #[cold]
    #[inline(never)]
    pub(super) fn send_cut(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        mut buffer: B,
        packet: &Packet,
        program: &Program,
    ) {
        let tables = round.tables;
        let net = packet.origin.net;
        let Ok((egress, encap)) = self.plan(tables, program, packet) else {
            return self.counters.dropped(net, DropReason::RouteUnusable);
        };
        let passes = self.police(tables, round.now, program, &mut buffer, packet);
        if let Err(reason) = passes.and_then(|()| self.translate(program, &mut buffer, packet)) {
            return self.counters.dropped(net, reason);
        }
        let mut pieces: ArrayVec<B, FRAGMENTS_MAX> = ArrayVec::new();
        let cut = fragment::cut(
            &mut buffer,
            &packet.ip,
            egress.mtu,
            || round.io.alloc(),
            |piece| pieces.push(piece),
        );
        if let Err(reason) = cut {
            return self.counters.dropped(net, reason);
        }
        self.counters.event(Event::Fragmented);
        self.counters.events[Event::Originated.index()].add(pieces.len() as u64);
        for mut piece in std::iter::once(buffer).chain(pieces) {
            let whole = Packet { ip: packet.ip.with_total_len(piece.bytes().len() as u16), ..*packet };
            self.hop(egress, program.egress, &mut piece, &whole);
            match encap.put_on(&mut piece) {
                Ok(port) => self.outbox.send(round.io, &self.counters, port, piece),
                Err(reason) => self.counters.dropped(net, reason),
            }
        }
    }
}
