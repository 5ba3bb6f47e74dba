//! Packets that go on inside the gateway: to another address of ours after translation (hairpin), and ICMP errors about
//! translated packets, which are translated as their subject was.

use std::net::Ipv4Addr;

use super::{Engine, Packet, Round, full_nat::is_mask, meter, nat::TURNS_MAX};
use crate::{
    buffer::Buffer,
    flow::{FlowKey, Program, PublicEnd, session::Service},
    io::Io,
    reason::{DropReason, Event},
    stage::{
        icmp_error,
        ingress::{self, Origin},
        route::{self, Leads},
        translation,
    },
    table::{
        Tables,
        fib::Hop,
        nat::{Amount, Inside, Leave, Owner},
    },
    types::{MacAddr, Nanos, NetId, VrfId},
    wire::{
        ipv4::{self, protocol},
        translate::{Rewrite, Side},
    },
};

impl<B: Buffer> Engine<B> {
    /// Translates a packet and sends it on its way again from where it is then.
    #[cold]
    #[inline(never)]
    pub(super) fn turn(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        mut buffer: B,
        packet: &Packet,
        program: &Program,
        deadline: Option<Nanos>,
    ) {
        let net = packet.origin.net;
        if packet.turned >= TURNS_MAX {
            return self.counters.dropped(net, DropReason::RouteUnusable);
        }
        let passes = self.police(round.tables, round.now, program, &mut buffer, packet);
        if let Err(reason) = passes.and_then(|()| self.translate(program, &mut buffer, packet)) {
            return self.counters.dropped(net, reason);
        }
        let service = program.translation.service();
        let within = matches!(
            (service, program.translation.side()),
            (Service::FullNat | Service::Masked, Side::Destination)
        );
        if !packet.own && !within {
            ipv4::decrement_ttl(buffer.bytes_mut());
        }
        let vrf = match program.translation.side() {
            Side::Source => round.tables.net(program.egress).map(|net| net.vrf),
            Side::Destination => Some(program.inside),
        };
        let Some(vrf) = vrf else { return self.counters.dropped(net, DropReason::RouteUnusable) };
        let mut origin = Origin { net: program.egress, mac: MacAddr::default(), vtep: Ipv4Addr::UNSPECIFIED };
        match service {
            // It is where it was: its sender must not seem to have moved.
            Service::Masked => origin = packet.origin,
            _ if within => {}
            _ => self.counters.event(Event::Hairpin),
        }
        let packet =
            Packet { masked: within && service == Service::FullNat, tracked: true, origin, ..*packet };
        self.again(round, buffer, &packet, vrf, deadline);
    }

    /// Looks a translated packet up in `vrf`, as if it had come from its origin.
    fn again(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        mut buffer: B,
        packet: &Packet,
        vrf: VrfId,
        deadline: Option<Nanos>,
    ) {
        let net = packet.origin.net;
        let (ip, key, tcp, related) = match ipv4::split(buffer.bytes()) {
            Ok((ip, segment)) => (
                ip,
                ingress::flow_key(net, &ip, segment),
                ingress::tcp_seen(&ip, segment),
                ingress::is_related(&ip, segment),
            ),
            Err(bad) => return self.counters.dropped(net, bad.into()),
        };
        let hash = self.flows.hash(&key);
        let turned = packet.turned + 1;
        let mut next = Packet { vrf, ip, key, hash, tcp, related, turned, candidate: None, ..*packet };
        self.probe(&mut next);
        match self.way(round, &mut buffer, &next) {
            Ok(port) => self.outbox.send(round.io, &self.counters, port, buffer),
            Err(stop) => self.leave(round, buffer, &next, stop, deadline),
        }
    }

    /// An ICMP error about a translated packet (RFC 5508 REQ-4, REQ-5): to the VM that sent the packet, or out to the remote.
    #[cold]
    #[inline(never)]
    pub(super) fn related(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        mut buffer: B,
        packet: &Packet,
        side: Side,
        deadline: Option<Nanos>,
    ) {
        let net = packet.origin.net;
        if packet.turned >= TURNS_MAX {
            return self.counters.dropped(net, DropReason::RouteUnusable);
        }
        let answers = icmp_error::answers(net, buffer.bytes(), &packet.ip);
        if side == Side::Source && self.is_of_vpc(round.tables, packet, answers.as_ref()) {
            let next = Packet { tracked: false, related: false, candidate: None, ..*packet };
            return match self.way(round, &mut buffer, &next) {
                Ok(port) => self.outbox.send(round.io, &self.counters, port, buffer),
                Err(stop) => self.leave(round, buffer, &next, stop, deadline),
            };
        }
        let exit = round.tables.vrf(packet.vrf).and_then(|vrf| vrf.exit.as_deref());
        let to_us = exit.is_some_and(|exit| is_mask(round.tables, exit, net, packet.ip.destination()));
        let Some(answers) = answers else {
            return match to_us {
                true => self.local(round, buffer, packet, net),
                false => self.counters.dropped(net, DropReason::IcmpMalformed),
            };
        };
        let subject = match side {
            Side::Source => self.subject_inside(round.tables, packet, &answers),
            Side::Destination => self.subject_outside(round.tables, &answers),
        };
        let Some(Subject { rewrite, net: from, vrf }) = subject else {
            // About what programs in the namespace sent.
            if to_us {
                return self.local(round, buffer, packet, net);
            }
            if let Some(net) = of_program(round.tables, &answers).filter(|_| side == Side::Destination) {
                return self.local(round, buffer, packet, net);
            }
            return self.counters.dropped(net, DropReason::NoSession);
        };
        if !icmp_error::apply(buffer.bytes_mut(), &packet.ip, rewrite) {
            return self.counters.dropped(net, DropReason::IcmpMalformed);
        }
        self.counters.event(Event::IcmpErrorTranslated);
        let address = if side == Side::Source { rewrite.address } else { packet.ip.destination() };
        let end = PublicEnd { net: from, address, side };
        meter::count(round.tables, &end, Amount::packet(packet.ip.total_len()));
        let origin = Origin { net: from, mac: MacAddr::default(), vtep: Ipv4Addr::UNSPECIFIED };
        self.again(round, buffer, &Packet { tracked: false, origin, ..*packet }, vrf, deadline);
    }

    /// Whether an error from inside goes untranslated: by a configured route, where only errors about port forwards leave by a
    /// public address, as the answers of these do; and to a VM, where only those change that are about packets of a client
    /// whom the VM must not see.
    fn is_of_vpc(&self, tables: &Tables, packet: &Packet, answers: Option<&FlowKey>) -> bool {
        let to = packet.key.destination();
        let leads = tables.vrf(packet.vrf).map(|vrf| vrf.fib.lookup(to));
        let about = answers.and_then(|answers| self.outward(tables, packet, answers));
        let is = |of: fn(Service) -> bool| about.is_some_and(|program| of(program.translation.service()));
        match leads {
            Some(Hop::Via(..) | Hop::Leak(_)) => {
                !is(|service| service.is_published() || service == Service::Masked)
            }
            Some(Hop::Connected(_)) => !is(|service| service == Service::Masked),
            _ => false,
        }
    }

    /// The entry of packets that go out translated: from the network of `packet`, from that of the VM that sends them, or
    /// from that of the VM that they go to.
    fn outward(&self, tables: &Tables, packet: &Packet, answers: &FlowKey) -> Option<Program> {
        let of = |address| of_address(tables, packet, address);
        [packet.origin.net, of(answers.source()), of(answers.destination())].into_iter().find_map(|net| {
            let (_, program) = self.flows.find(&answers.from_net(net))?;
            let out = !program.translation.is_none() && program.translation.side() == Side::Source;
            out.then_some(program)
        })
    }

    /// Of an error from inside: how the VM's packets to the remote are translated. The error may come from another network
    /// than they do.
    fn subject_inside(&self, tables: &Tables, packet: &Packet, answers: &FlowKey) -> Option<Subject> {
        let home = of_address(tables, packet, answers.source());
        let known = self.outward(tables, packet, answers);
        let known = known.map(|program| (program.translation.rewrite(), program.egress));
        let (rewrite, public) = known.or_else(|| {
            let exit = tables.vrf(packet.vrf)?.exit.as_deref()?;
            let Leave::Eip(id) = exit.leave(home, answers.source(), answers.destination())? else {
                return None;
            };
            let vip = tables.vip(id)?;
            let port = answers.source_port();
            Some((Rewrite { side: Side::Source, address: vip.address, port }, vip.net))
        })?;
        Some(Subject { rewrite, net: public, vrf: tables.net(public)?.vrf })
    }

    /// Of an error from outside: how the remote's packets to the VM are translated.
    fn subject_outside(&self, tables: &Tables, answers: &FlowKey) -> Option<Subject> {
        let known = self.flows.find(answers).and_then(|(_, program)| {
            let inward = !program.translation.is_none() && program.translation.side() == Side::Destination;
            inward.then_some((program.translation.rewrite(), program.inside))
        });
        let (rewrite, vrf) = known.or_else(|| {
            let vip = tables.vip(translation::vip_at(tables, answers.net(), answers.destination())?)?;
            let Inside { vrf, address } = vip.eip?;
            let port = match answers.protocol() {
                protocol::ICMP => answers.source_port(),
                _ => answers.destination_port(),
            };
            Some((Rewrite { side: Side::Destination, address, port }, vrf))
        })?;
        Some(Subject { rewrite, net: answers.net(), vrf })
    }
}

/// The network of a VM, or that of the packet for an address that is none's.
fn of_address(tables: &Tables, packet: &Packet, address: Ipv4Addr) -> NetId {
    match route::resolve(tables, packet.vrf, address) {
        Ok(Leads::To(net, _)) => net,
        _ => packet.origin.net,
    }
}

/// The public network on which programs of the gateway sent the packet that an ICMP error is about.
fn of_program(tables: &Tables, answers: &FlowKey) -> Option<NetId> {
    let vip = tables.vip(translation::vip_at(tables, answers.net(), answers.destination())?)?;
    (vip.owner(answers.protocol(), answers.destination_port()) == Owner::Other).then_some(vip.net)
}

/// How the packets that answer the subject of an ICMP error are translated, and where the error goes on after that.
struct Subject {
    rewrite: Rewrite,
    net: NetId,
    vrf: VrfId,
}
