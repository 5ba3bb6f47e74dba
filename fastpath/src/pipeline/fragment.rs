//! Fragments of translated flows. Only the first fragment of a datagram has ports. It goes by its flow entry and leaves a
//! note, a short-lived entry of its own: which ports this datagram (RFC 791: addresses, protocol, identification) has. The
//! others read the note; those that come before it wait for it, within bounds of number and time.

use std::net::Ipv4Addr;

use super::{Engine, Packet, Round, Stop, session};
use crate::{
    buffer::Buffer,
    flow::{
        FlowKey, Program,
        session::{Service, Translation},
    },
    io::Io,
    reason::Event,
    table::neighbour::NeighbourId,
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
pub(super) const fn has_ports(program: &Program, packet: &Packet) -> bool {
    program.translation.is_session() || packet.turned > 0
}

/// The key of the note about a packet's datagram: of fragments, with the identification in place of the ports.
fn datagram(packet: &Packet) -> FlowKey {
    let key = &packet.key;
    FlowKey::new(key.net(), key.source(), key.destination(), key.protocol(), packet.ip.id(), 1, true)
}
