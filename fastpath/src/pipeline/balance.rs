//! The first packet of a connection to a listener: who of its backends gets it? And what is counted when it ends.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::{Engine, Packet, Round, Stop, nat::translated};
use crate::{
    buffer::Buffer,
    flow::{
        FlowKey, Program,
        session::{Service, TcpState, Translation},
    },
    io::Io,
    reason::DropReason,
    stage::translation::{self, Connection},
    table::{
        Tables,
        balance::{Backend, BackendUsage, Listener, Pick, Refused, flow_hash, maglev_place, source_hash},
    },
    types::Nanos,
    wire::{ipv4::protocol, translate::Side},
};

/// Tickets of connections whose first packet waits (for ARP, for a lock): it comes again, or another one of the same
/// connection, and gets the same turn. So turns are exact however often a packet must wait.
pub(super) type Kept = ArrayVec<(FlowKey, u32), KEPT_MAX>;

/// Most tickets that are kept; with more the oldest is lost, and its turn with it.
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
                self.kept.retain(|(key, _)| *key != packet.key);
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
        let way = self.way_in(round.tables, backend.to)?;
        let port = backend.target_port(listener.slice, packet.key.destination_port());
        let translation = Translation::new(Service::Balanced, Side::Destination, backend.to.address, port);
        let program =
            translated(round.tables, packet, way, translation.with_idle(listener.idle), backend.to.vrf);
        self.open_inward(round, packet, program, None)
    }

    /// The backend of a new connection, with a connection reserved there. `None` where all have as many as they may.
    fn choose<'l>(&mut self, listener: &'l Listener, packet: &Packet, now: Nanos) -> Option<&'l Backend> {
        let reserved = |backend: &&Backend| backend.usage.reserve(backend.max_connections);
        if let Some((timeout_s, sticky)) = &listener.persistence {
            let slot = sticky.recall(packet.key.source(), now, *timeout_s);
            let known = slot.and_then(|slot| listener.backends.iter().find(|backend| backend.slot == slot));
            if let Some(backend) = known.filter(|backend| backend.takes).filter(reserved) {
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
        // Who has no room passes it on to the next one that takes connections.
        let (before, from) = listener.backends.split_at_checked(first)?;
        let takers = from.iter().chain(before).enumerate();
        takers.filter(|(at, backend)| *at == 0 || backend.takes).map(|(_, backend)| backend).find(reserved)
    }

    /// The turn of a connection: that of its packet which waited, or the next one.
    fn ticket(&mut self, listener: &Listener, key: &FlowKey) -> u32 {
        if let Some((_, ticket)) = self.kept.iter().find(|(kept, _)| kept == key) {
            return *ticket;
        }
        let ticket = listener.usage.tickets.take();
        if self.kept.is_full() {
            self.kept.remove(0);
        }
        self.kept.push((*key, ticket));
        ticket
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
        && matches!(
            (known.translation.service(), known.translation.side()),
            (Service::Balanced, Side::Destination)
        )
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
    let vip = tables.vip(translation::vip_at(tables, connection.public, connection.address)?)?;
    let listener = vip.listener(connection.protocol, connection.port)?;
    listener.backend(connection.port, connection.inside, connection.inside_port)
}

/// Where a connection is counted.
pub(super) fn usage_of<'t>(tables: &'t Tables, connection: &Connection) -> Option<&'t Arc<BackendUsage>> {
    if let Some(backend) = backend_of(tables, connection) {
        return Some(&backend.usage);
    }
    let Connection { public, address, inside, protocol, port, inside_port, .. } = *connection;
    let mut gone = tables.departed.iter().filter(|gone| (gone.net, gone.address) == (public, address));
    gone.find(|gone| gone.to == inside && gone.had(protocol, port, inside_port)).map(|gone| &gone.usage)
}
