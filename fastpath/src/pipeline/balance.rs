//! The first packet of a connection to a listener: who of its backends gets it? And what is counted when it ends.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::{Engine, Packet, Round, Stop, nat::translated};
use crate::{
    buffer::Buffer,
    flow::{
        FlowKey, Program,
        session::{Service, TcpSeen, TcpState, Translation},
    },
    io::Io,
    reason::DropReason,
    stage::translation::{self, Connection},
    table::{
        Tables,
        balance::{Backend, BackendUsage, Listener, Pick, Refused, flow_hash, maglev_place, source_hash},
        neighbour::NeighbourId,
    },
    types::Nanos,
    wire::{ipv4::protocol, translate::Side},
};

/// Tickets of connections whose first packet waits (for ARP, for a lock): it comes again, or another one of the same
/// connection, and gets the same turn. So turns are exact however often a packet must wait.
pub(super) type Kept = ArrayVec<Turn, KEPT_MAX>;

/// The turn of a connection whose first packet waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    key: FlowKey,
    /// Where the numbers of its listener are; never followed.
    listener: usize,
    ticket: u32,
}

/// Most tickets that are kept. With more, a new connection gets the turn of the oldest one of its listener, which gets another
/// one when it comes again: no turn is lost but that of a listener which has none among so many of others.
const KEPT_MAX: usize = 256;

impl<B: Buffer> Engine<B> {
    /// The first packet of a connection to a listener.
    pub(super) fn balanced(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
        listener: &Listener,
    ) -> Result<Program, Stop> {
        if !listener.access.allows(packet.key.source()) {
            listener.usage.refuse(Refused::Denied);
            return Err(DropReason::ListenerDenied.into());
        }
        if !may_open(packet, listener) {
            return Err(DropReason::StraySegment.into());
        }
        if listener.pick.is_empty() {
            listener.usage.refuse(Refused::NoBackend);
            return Err(DropReason::NoBackend.into());
        }
        if !listener.usage.reserve(listener.max_connections) {
            listener.usage.refuse(Refused::Full);
            return Err(DropReason::ListenerFull.into());
        }
        let Some(backend) = self.choose(listener, packet, round.now) else {
            listener.usage.give_back();
            listener.usage.refuse(Refused::Full);
            return Err(DropReason::BackendsFull.into());
        };
        let opened = self.open_balanced(round, packet, listener, backend);
        match &opened {
            Ok(_) => {
                backend.usage.opened();
                self.kept.retain(|turn| turn.key != packet.key);
                if let Some((_, sticky)) = &listener.persistence {
                    sticky.remember(packet.key.source(), backend.slot, round.now);
                }
            }
            Err(_) => {
                backend.usage.give_back();
                listener.usage.give_back();
            }
        }
        opened
    }

    fn open_balanced(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
        listener: &Listener,
        backend: &Backend,
    ) -> Result<Program, Stop> {
        let mut way = self.way_in(round.tables, backend.to)?;
        let port = backend.target_port(listener.slice, packet.key.destination_port());
        let service = listener.service();
        let translation = Translation::new(service, Side::Destination, backend.to.address, port);
        if service == Service::FullNat {
            way.next = NeighbourId::NONE;
        }
        let program =
            translated(round.tables, packet, way, translation.with_idle(listener.idle), backend.to.vrf);
        match service {
            Service::FullNat => self.open_full_nat(round, packet, program),
            _ => self.open_inward(round, packet, program, None),
        }
    }

    /// The backend of a new connection, with a connection reserved there. `None` where all have as many as they may.
    fn choose<'l>(&mut self, listener: &'l Listener, packet: &Packet, now: Nanos) -> Option<&'l Backend> {
        let reserved = |backend: &&Backend| backend.usage.reserve(backend.max_connections);
        if let Some((timeout_s, sticky)) = &listener.persistence {
            let slot = sticky.recall(packet.key.source(), now, *timeout_s);
            let known = slot.and_then(|slot| listener.backends.iter().find(|backend| backend.slot == slot));
            let answers = |backend: &&Backend| backend.takes && !backend.usage.refuses(now);
            if let Some(backend) = known.filter(answers).filter(reserved) {
                return Some(backend);
            }
        }
        let first = match &listener.pick {
            Pick::Turns(turns) => {
                let ticket = self.ticket(listener, &packet.key);
                turns.get(ticket as usize % turns.len().max(1)).copied()
            }
            Pick::Least(weights) => least(listener, weights),
            Pick::Source(table) => maglev_place(table, source_hash(packet.key.source())),
            Pick::Consistent(table) => maglev_place(table, flow_hash(&packet.key)),
        };
        let first = usize::from(first?);
        // Who has no room, or refused one just now, passes it on to the next one that takes connections.
        let (before, from) = listener.backends.split_at_checked(first)?;
        let takers = from.iter().chain(before).enumerate();
        let mut takers = takers.filter(|(at, backend)| *at == 0 || backend.takes).map(|(_, backend)| backend);
        let mut answering = takers.clone().filter(|backend| !backend.usage.refuses(now));
        answering.find(reserved).or_else(|| takers.find(reserved))
    }

    /// The turn of a connection: that of its packet which waited, or the next one.
    fn ticket(&mut self, listener: &Listener, key: &FlowKey) -> u32 {
        if let Some(turn) = self.kept.iter().find(|turn| turn.key == *key) {
            return turn.ticket;
        }
        let of = Arc::as_ptr(&listener.usage).addr();
        let full = self.kept.is_full();
        let oldest = self.kept.iter().position(|turn| turn.listener == of).filter(|_| full);
        let ticket = match oldest {
            Some(at) => self.kept.remove(at).ticket,
            None => listener.usage.tickets.take(),
        };
        if self.kept.is_full() {
            self.kept.remove(0);
        }
        self.kept.push(Turn { key: *key, listener: of, ticket });
        ticket
    }

    /// A backend's first segment may be a reset: nobody listens there any more, and no probe has noticed yet. Where another
    /// backend takes connections the reset is held back: the client sends its SYN again (RFC 6298: after a second), and that
    /// begins a new connection, for another backend. Of a range of ports a single one may be closed; those refuse as ever.
    pub(super) fn hold_refusal(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
    ) -> Result<(), Stop> {
        if !packet.tcp.has_rst() {
            return Ok(());
        }
        let Some((id, program)) = self.flows.find(&packet.key) else { return Ok(()) };
        let Program { translation, egress, .. } = program;
        let outward = !translation.is_none() && translation.side() == Side::Source;
        if !outward || !translation.service().is_balanced() || self.flows.seen(id).1 != TcpSeen::NOTHING {
            return Ok(());
        }
        let sent = self.flows.find(&packet.key.answer(egress, translation));
        if !sent.is_some_and(|(id, _)| self.flows.seen(id).1.opens()) {
            return Ok(());
        }
        let connection = Connection::of(&packet.key, &program);
        let Some((listener, backend)) = place_of(round.tables, &connection) else { return Ok(()) };
        if listener.slice.first != listener.slice.last {
            return Ok(());
        }
        backend.usage.refused(round.now);
        if !listener.backends.iter().any(|other| other.takes && !other.usage.refuses(round.now)) {
            return Ok(());
        }
        self.end(round.tables, &packet.key, &program, round.now).map_err(|_| Stop::Wait(None))?;
        Err(DropReason::BackendRefused.into())
    }

    /// Whether a packet that has the session `known` begins another connection, which is for another backend perhaps: a SYN where
    /// the old connection is over, or where the backend is down.
    pub(super) fn begins_anew(&self, tables: &Tables, packet: &Packet, known: &Program) -> bool {
        if !may_begin(packet, known) {
            return false;
        }
        let seen = |key: &FlowKey| self.flows.find(key).map(|(id, _)| self.flows.seen(id).1);
        let answers = seen(&packet.key.answer(known.egress, known.translation)).unwrap_or_default();
        let own = seen(&packet.key).unwrap_or_default();
        let over = matches!(TcpState::of(own, answers), TcpState::Closing | TcpState::Reset);
        over || !backend_of(tables, &Connection::of(&packet.key, known)).is_some_and(|backend| backend.up)
    }
}

/// Whether a packet that has a session may begin another one to a listener all the same: a SYN.
#[inline(always)]
pub(super) const fn may_begin(packet: &Packet, known: &Program) -> bool {
    packet.tcp.opens()
        && !known.translation.is_none()
        && known.translation.service().is_balanced()
        && matches!(known.translation.side(), Side::Destination)
}

/// Whether a packet may begin a connection: of TCP a SYN. With a hash that is the same on every gateway another one may have
/// begun it, and the backend is the same.
fn may_open(packet: &Packet, listener: &Listener) -> bool {
    let tcp = packet.key.protocol() == protocol::TCP;
    !tcp || packet.tcp.opens() || packet.tcp.has_rst() || matches!(listener.pick, Pick::Consistent(_))
}

/// Who has the fewest connections for its weight; of equal ones each in turn.
fn least(listener: &Listener, weights: &[(u16, u16)]) -> Option<u16> {
    let turn = listener.usage.usage.opened() as usize % weights.len().max(1);
    let (before, from) = weights.split_at_checked(turn)?;
    let load =
        |index: u16| listener.backends.get(usize::from(index)).map_or(u32::MAX, |b| b.usage.usage.live());
    let each = from.iter().chain(before).map(|(index, weight)| (*index, load(*index), *weight));
    each.reduce(|best, other| {
        let [ours, theirs] = [best, other].map(|(_, live, weight)| (u64::from(live), u64::from(weight)));
        // live / weight, without a division.
        if theirs.0 * ours.1 < ours.0 * theirs.1 { other } else { best }
    })
    .map(|(index, ..)| index)
}

/// The backend that a connection has, if the configuration has it still.
fn backend_of<'t>(tables: &'t Tables, connection: &Connection) -> Option<&'t Backend> {
    place_of(tables, connection).map(|(_, backend)| backend)
}

/// The same with its listener.
fn place_of<'t>(tables: &'t Tables, connection: &Connection) -> Option<(&'t Listener, &'t Backend)> {
    let vip = tables.vip(translation::vip_at(tables, connection.public, connection.address)?)?;
    let listener = vip.listener(connection.protocol, connection.port)?;
    let backend = listener.backend(connection.port, connection.inside, connection.inside_port)?;
    Some((listener, backend))
}

/// Where a connection of a listener is counted. Cost: binary searches, of the VIP, the listener and the backend.
pub fn usage_of<'t>(tables: &'t Tables, connection: &Connection) -> Option<&'t Arc<BackendUsage>> {
    if let Some(backend) = backend_of(tables, connection) {
        return Some(&backend.usage);
    }
    let Connection { public, address, inside, protocol, port, inside_port, .. } = *connection;
    let mut gone = tables.departed.iter().filter(|gone| (gone.net, gone.address) == (public, address));
    gone.find(|gone| gone.to == inside && gone.had(protocol, port, inside_port)).map(|gone| &gone.usage)
}
