//! Fragments of flows that are translated by their ports, and of those that may be: what a VM sends that a service leads to.
//! Only the first fragment of a datagram has ports. It goes by its flow entry and leaves a note, a short-lived entry of its
//! own: which ports this datagram (RFC 791: addresses, protocol, identification) has. The others read the note; those that
//! come before it wait for it, within bounds of number and time.

use std::net::Ipv4Addr;

use super::{Engine, Packet, Round, Stop, session};
use crate::{
    buffer::Buffer,
    flow::{
        FlowKey, Program,
        session::{Service, Translation},
    },
    io::Io,
    policer::Policers,
    reason::Event,
    table::{Tables, fib::Hop, neighbour::NeighbourId},
    types::NetId,
    wire::translate::Side,
};

impl<B: Buffer> Engine<B> {
    /// Leaves a note of the ports of a datagram whose first fragment this is.
    #[cold]
    #[inline(never)]
    pub(super) fn note_fragment(&mut self, round: &Round<impl Io<Buffer = B>>, packet: &Packet) {
        if packet.ip.is_later_fragment() {
            return;
        }
        let key = &packet.key;
        let ports = u32::from(key.source_port()) << 16 | u32::from(key.destination_port());
        let note = Program {
            generation: 0,
            egress: NetId::NONE,
            next: NeighbourId::NONE,
            from_vtep: Ipv4Addr::UNSPECIFIED,
            translation: Translation::new(Service::Fragment, Side::Source, Ipv4Addr::from_bits(ports), 0),
            inside: packet.vrf,
            policers: Policers::NONE,
        };
        let noted = self.limits.fragments.take(round.now)
            && session::store(&mut self.flows, &datagram(packet), note, round.now.tick()).is_ok();
        self.counters.event(if noted { Event::FragmentNoted } else { Event::FragmentNotNoted });
    }

    /// What is done with a fragment that has no ports: what was done with its first one.
    pub(super) fn as_first_fragment(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
    ) -> Result<Program, Stop> {
        let note = self.flows.find(&datagram(packet)).map(|(_, note)| note.translation);
        let Some(note) = note.filter(|note| note.service() == Service::Fragment) else {
            return Err(Stop::NoPorts);
        };
        let ports = note.address().to_bits();
        let Packet { key, .. } = packet;
        let (from, to) = ((ports >> 16) as u16, ports as u16);
        let key = FlowKey::new(key.net(), key.source(), key.destination(), key.protocol(), from, to, false);
        let hash = self.flows.hash(&key);
        self.decide(round, &Packet { key, hash, candidate: None, ..*packet }).map(|decided| decided.program)
    }
}

/// Whether what is done with fragments depends on the ports of their datagram.
#[cold]
#[inline(never)]
pub(super) fn goes_by_ports(tables: &Tables, program: &Program, packet: &Packet) -> bool {
    program.translation.is_session() || packet.turned > 0 || may_answer(tables, packet)
}

/// Whether a packet, by all but its ports, may answer what a service led to its VM: that leaves by the service, whatever
/// route or address of its own the VM has there.
pub(super) fn may_answer(tables: &Tables, packet: &Packet) -> bool {
    let Packet { key, vrf, .. } = packet;
    tables.vrf(*vrf).is_some_and(|vrf| {
        vrf.exit.as_ref().is_some_and(|exit| exit.serves(key.source(), key.protocol()))
            && matches!(vrf.fib.lookup(key.destination()), Hop::Via(..) | Hop::Leak(_) | Hop::Exit)
    })
}

/// The key of the note about a packet's datagram: of fragments, with the identification in place of the ports.
fn datagram(packet: &Packet) -> FlowKey {
    let key = &packet.key;
    FlowKey::new(key.net(), key.source(), key.destination(), key.protocol(), packet.ip.id(), 1, true)
}
