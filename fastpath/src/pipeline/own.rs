//! Frames of the gateway's own: answers to ARP, and what control injects.

use std::net::Ipv4Addr;

use super::{Engine, Packet, Round, wait::Waited};
use crate::{
    buffer::Buffer,
    channel::{InjectTo, Notice},
    io::{BURST, Io},
    reason::{DropReason, Event, PuntReason},
    stage::{
        arp,
        ingress::{self, Origin},
        link,
        route::{self, Leads},
    },
    table::neighbour::Reach,
    types::{MacAddr, Mtu, Nanos, NetId, VrfId},
    wire::{self, ipv4},
};

impl<B: Buffer> Engine<B> {
    /// Sends what control injected; at most a burst. Returns how many frames.
    pub fn inject(&mut self, round: &mut Round<impl Io<Buffer = B>>) -> usize {
        if self.rings.injects.is_empty() {
            return 0;
        }
        let injects = self.rings.injects.clone();
        for sent in 0..BURST {
            let copy = |to: InjectTo, frame: &[u8]| (to, copy_of(round.io, frame));
            let Some((to, buffer)) = injects.pop(copy) else { return sent };
            self.counters.event(Event::Originated);
            match buffer {
                Some(buffer) => self.send_injected(round, to, buffer),
                None => self.counters.dropped(NetId::NONE, DropReason::NoBuffer),
            }
        }
        BURST
    }

    /// Answers and learns from an ARP packet. The answer goes back the way the frame came, to the underlay's MAC `from`, so
    /// it waits for nobody.
    #[cold]
    #[inline(never)]
    pub(super) fn arp(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        origin: &Origin,
        from: MacAddr,
        mut buffer: B,
    ) {
        let dropped = |reason| self.counters.dropped(origin.net, reason);
        let Some(net) = round.tables.net(origin.net) else { return dropped(DropReason::UnknownVlan) };
        let Some(arp) = wire::arp::parse(buffer.bytes()) else { return dropped(DropReason::ArpMalformed) };
        let (answer, notice) = arp::answer(net, origin, &arp, &mut buffer);
        if let Some(notice) = notice {
            self.notice(round.now, notice);
        }
        match answer {
            arp::Answer::NotOurs => self.counters.dropped(origin.net, DropReason::ArpNotOurs),
            arp::Answer::Taken => self.counters.punt(PuntReason::Arp),
            arp::Answer::Reply => {
                let tunnel = arp::vtep_of(origin).map(|vtep| (vtep, from));
                match link::answer_frame(round.tables, net, arp.sender_mac, tunnel, &mut buffer) {
                    Ok(port) => {
                        self.counters.event(Event::ArpReply);
                        self.outbox.send(round.io, &self.counters, port, buffer);
                    }
                    Err(reason) => self.counters.dropped(origin.net, reason),
                }
            }
        }
    }

    /// A hypervisor announces a VM that it took over.
    #[cold]
    pub(super) fn announcement(&mut self, now: Nanos, origin: &Origin) {
        let Origin { net, mac, vtep } = *origin;
        self.notice(now, Notice::Moved { net, ip: Ipv4Addr::UNSPECIFIED, mac, vtep });
        self.counters.punt(PuntReason::Arp);
    }

    /// The MAC of the underlay next hop towards a remote VTEP; asks control for it where it is not known.
    pub(super) fn underlay(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        net: NetId,
        remote: Ipv4Addr,
    ) -> Result<MacAddr, DropReason> {
        let tables = round.tables;
        let vrf = tables
            .net(net)
            .and_then(|net| tables.vtep_of(net))
            .and_then(|vtep| tables.net(vtep.underlay))
            .map(|underlay| underlay.vrf)
            .ok_or(DropReason::RouteUnusable)?;
        let Leads::To(net, ip) = route::resolve(tables, vrf, remote)? else {
            return Err(DropReason::RouteUnusable);
        };
        match self.neighbours.lookup(net, ip).map(|id| self.neighbours.reach(id)) {
            Some(Reach::Resolved(next)) => Ok(next.mac),
            Some(_) => Err(DropReason::NeighbourUnresolved),
            None => {
                self.notice(round.now, Notice::Resolve { net, ip });
                Err(DropReason::NeighbourUnresolved)
            }
        }
    }

    /// Sends a frame that control injected.
    pub(super) fn send_injected(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        to: InjectTo,
        mut buffer: B,
    ) {
        let tables = round.tables;
        let (id, sent) = match to {
            InjectTo::Route(vrf) => return self.send_own(round, buffer, NetId::NONE, vrf),
            InjectTo::Link(id) => {
                let net = tables.net(id).ok_or(DropReason::RouteUnusable);
                (id, net.and_then(|net| link::tag_frame(net, &mut buffer)))
            }
            InjectTo::Vtep(id, remote) => {
                let net = tables.net(id).ok_or(DropReason::RouteUnusable);
                let sent = net.and_then(|net| {
                    let next = self.underlay(round, id, remote)?;
                    link::encap_frame(tables, net, remote, next, &mut buffer)
                });
                (id, sent)
            }
        };
        match sent {
            Ok(port) => self.outbox.send(round.io, &self.counters, port, buffer),
            Err(reason) => self.counters.dropped(id, reason),
        }
    }

    /// Routes an IPv4 packet of the gateway's own in `vrf`; what happens to it is counted against `net`.
    pub(super) fn send_own(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        mut buffer: B,
        net: NetId,
        vrf: VrfId,
    ) {
        let (ip, key, tcp, related) = match ipv4::split(buffer.bytes()) {
            Ok((ip, segment)) => (
                ip,
                ingress::flow_key(net, &ip, segment),
                ingress::tcp_seen(&ip, segment),
                ingress::is_related(&ip, segment),
            ),
            Err(bad) => return self.counters.dropped(net, bad.into()),
        };
        buffer.truncate(usize::from(ip.total_len()));
        let packet = Packet {
            origin: Origin { net, mac: MacAddr::default(), vtep: Ipv4Addr::UNSPECIFIED },
            vrf,
            mtu: Mtu::LARGEST,
            ip,
            key,
            hash: self.flows.hash(&key),
            tcp,
            tracked: false,
            own: true,
            waited: Waited::No,
            turned: 0,
            related,
            masked: false,
            candidate: None,
        };
        self.forward(round, buffer, &packet);
    }
}

/// A frame in a buffer of its own.
fn copy_of<I: Io>(io: &mut I, frame: &[u8]) -> Option<I::Buffer> {
    let mut buffer = io.alloc()?;
    buffer.append(frame.len())?.copy_from_slice(frame);
    Some(buffer)
}
