//! Full NAT: a backend sees the gateway's address in its network in place of the client's, so that its answers come back here
//! whatever its own routes say.
//!
//! A packet is translated twice, each time by a pair of entries like any other translated connection's, with one more step
//! inside the gateway between them:
//!
//! ```text
//!  client:c > vip:v ──[FullNat]──► client:c > backend:b ──[Masked]──► gateway:m > backend:b     on the backend's network
//!  vip:v > client:c ◄─[FullNat]─── backend:b > client:c ◄─[Masked]─── backend:b > gateway:m
//! ```
//! Both pairs are opened and ended together, under the lock of the backend, whose the leased port `m` is. Programs in the
//! namespace use ports of the same address: the configuration leaves those above to them (`Vip::held`).

use std::{net::Ipv4Addr, sync::Arc};

use arrayvec::ArrayVec;

use super::{
    Engine, Packet, Round, Stop,
    nat::{TURNS_MAX, Way, translated},
    session,
};
use crate::{
    buffer::Buffer,
    channel::NatChange,
    flow::{
        FlowKey, NotLearned, Program,
        session::{Service, Translation},
    },
    io::Io,
    nat::{Block, Lease, Mapping, Vm},
    reason::DropReason,
    stage::{
        route::{self, Leads},
        translation::{self, Connection},
    },
    table::{
        Tables,
        nat::{Exit, Snat, Space},
        neighbour::NeighbourId,
    },
    types::{Nanos, NetId},
    wire::translate::Side,
};

/// How many ports are tried that a connection of before still has.
const LEASE_TRIES: usize = 16;

impl<B: Buffer> Engine<B> {
    /// Opens a connection whose packets are translated by `program` first, which goes on inside the gateway.
    pub(super) fn open_full_nat(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
        program: Program,
    ) -> Result<Program, Stop> {
        session::check_opens(packet)?;
        let (tables, now) = (round.tables, round.now);
        let nat = Arc::clone(&self.nat);
        let mut vm = nat.vm(translation::Connection::of(&packet.key, &program).owner())?;
        let (lease, inner) = self.open_masked(round, &mut vm, packet, &program)?;
        let opened = self.open_listened(round, &mut vm, packet, program);
        if opened.is_err() {
            // Where this fails too, they are alone and go when they are idle, the port with them.
            if self.forget_pair(&inner).is_ok() {
                self.give_back(tables, &mut vm, lease.mapping, now);
            }
        }
        opened.map(|()| program)
    }

    /// Leases a port and stores both entries behind the gateway's address; returns the key that packets to the backend have.
    fn open_masked(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        vm: &mut Vm<'_>,
        packet: &Packet,
        listened: &Program,
    ) -> Result<(Lease, FlowKey), Stop> {
        let (tables, now, key) = (round.tables, round.now, &packet.key);
        let Program { egress, translation: to, inside: vrf, .. } = *listened;
        let exit = tables.vrf(vrf).and_then(|vrf| vrf.exit.as_deref());
        let pool = exit.and_then(|exit| exit.mask(egress)).ok_or(DropReason::RouteUnusable)?;
        for vip in pool.vips.iter().filter_map(|id| tables.vip(*id)) {
            vip.leases.provide();
        }
        let inner = reversed(&key.answer(egress, to), egress);
        let lease = self.lease_masked(round, vm, pool, &inner, packet.hash.0)?;
        let Mapping { address, port, .. } = lease.mapping;
        let there = Translation::new(Service::Masked, Side::Source, address, port).with_idle(to.idle());
        let home = Translation::new(Service::Masked, Side::Destination, key.source(), key.source_port());
        let back = inner.answer(egress, there);
        let undecided = |translation| session::undecided(egress, translation, vrf);
        let first = session::store(&mut self.flows, &back, undecided(home.with_idle(to.idle())), now.tick());
        let stored =
            first.and_then(|()| session::store(&mut self.flows, &inner, undecided(there), now.tick()));
        if let Err(not) = stored {
            let _ = self.flows.forget(&back);
            self.give_back(tables, vm, lease.mapping, now);
            return Err(match not {
                NotLearned::Full => DropReason::SessionTableFull.into(),
                NotLearned::Busy => Stop::Wait(None),
            });
        }
        self.log(tables, now, NatChange::Opened(Connection::of(&inner, &undecided(there))));
        Ok((lease, inner))
    }

    /// A port that nobody uses towards this end of the backend. Free ones are in use where the address was gone for a while and
    /// connections of before have not met their end.
    fn lease_masked(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        vm: &mut Vm<'_>,
        pool: &Snat,
        inner: &FlowKey,
        seed: u64,
    ) -> Result<Lease, DropReason> {
        let vips = &round.tables.vips;
        let space = Space::of(inner.protocol()).ok_or(DropReason::NoService)?;
        let mut taken: ArrayVec<Mapping, LEASE_TRIES> = ArrayVec::new();
        let mut found = Err(DropReason::PortsExhausted);
        while let Ok(lease) = vm.lease(vips, pool, space, inner.source_port(), seed) {
            if let Some(block) = lease.block {
                self.log(round.tables, round.now, NatChange::Leased(block));
            }
            let Mapping { address, port, .. } = lease.mapping;
            let there = Translation::new(Service::Masked, Side::Source, address, port);
            if self.flows.find(&inner.answer(inner.net(), there)).is_none() {
                found = Ok(lease);
                break;
            }
            if taken.try_push(lease.mapping).is_err() {
                self.give_back(round.tables, vm, lease.mapping, round.now);
                break;
            }
        }
        for mapping in taken {
            self.give_back(round.tables, vm, mapping, round.now);
        }
        found
    }

    /// What a program of full NAT does with a packet: one that was translated for a listener just now, or that comes to the
    /// gateway's address in a network of such backends. `None` for all other packets. Cost where a VPC has none: two loads.
    #[inline(always)]
    pub(super) fn masked(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
    ) -> Result<Option<Program>, Stop> {
        match round.tables.vrf(packet.vrf).and_then(|vrf| vrf.exit.as_deref()) {
            Some(exit) if !exit.masks.is_empty() => self.masked_there(round, packet, exit),
            _ => Ok(None),
        }
    }

    #[cold]
    #[inline(never)]
    fn masked_there(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
        exit: &Exit,
    ) -> Result<Option<Program>, Stop> {
        let (tables, key) = (round.tables, &packet.key);
        let to_us = is_mask(tables, exit, packet.origin.net, key.destination());
        if packet.related {
            // About a packet that a backend got, or one that it sent and the gateway could not pass on.
            let inside =
                || matches!(route::resolve(tables, packet.vrf, key.destination()), Ok(Leads::To(..)));
            return match () {
                () if packet.turned >= TURNS_MAX => Ok(None),
                () if to_us => Err(Stop::Related(Side::Destination)),
                () if inside() => Err(Stop::Related(Side::Source)),
                () => Ok(None),
            };
        }
        let answers = to_us && packet.tracked && exit.serves(key.source(), key.protocol());
        if !packet.masked && !answers {
            return Ok(None);
        }
        if key.is_fragment() {
            return self.as_first_fragment(round, packet).map(Some);
        }
        match self.known(round, packet)?.filter(|known| known.translation.service() == Service::Masked) {
            Some(known) => self.masked_by(tables, packet, &known).map(Some),
            None if packet.masked => {
                self.end_listened(tables, packet, round.now);
                Err(DropReason::NoSession.into())
            }
            None => {
                if packet.ip.is_fragment() {
                    self.note_fragment(round, packet);
                }
                Ok(None)
            }
        }
    }

    /// The program of a known flow.
    fn masked_by(&self, tables: &Tables, packet: &Packet, known: &Program) -> Result<Program, Stop> {
        let egress = packet.origin.net;
        let way = match known.translation.side() {
            Side::Destination => Way { egress, next: NeighbourId::NONE },
            Side::Source => {
                let inside = Connection::of(&packet.key, known).owner();
                self.way_in(tables, inside)?
            }
        };
        if way.egress != egress {
            return Err(DropReason::RouteUnusable.into());
        }
        Ok(translated(tables, packet, way, known.translation, packet.vrf))
    }

    /// Ends a listener's connection whose second half is gone: a SYN begins a new one.
    fn end_listened(&mut self, tables: &Tables, packet: &Packet, now: Nanos) {
        let outward = reversed(&packet.key, packet.origin.net);
        if let Some((_, program)) = self.flows.find(&outward)
            && !program.translation.is_none()
            && program.translation.service() == Service::FullNat
        {
            // Another worker is at it: then with the next packet.
            let _ = self.end(tables, &outward, &program, now);
        }
    }

    /// Ends what stands for the client of a connection, whose packets from the backend have the key `outward` within the
    /// gateway. The VM is the backend's.
    ///
    /// # Errors
    /// Another worker is at it; later.
    pub(super) fn end_masked(
        &mut self,
        tables: &Tables,
        vm: &mut Vm<'_>,
        outward: &FlowKey,
        now: Nanos,
    ) -> Result<(), NotLearned> {
        let inner = reversed(outward, outward.net());
        let Some((_, program)) = self.flows.find(&inner) else { return Ok(()) };
        if program.translation.is_none() || program.translation.service() != Service::Masked {
            return Ok(());
        }
        let connection = Connection::of(&inner, &program);
        self.forget_pair(&inner)?;
        self.log(tables, now, NatChange::Ended(connection));
        self.release(tables, vm, &connection, now);
        Ok(())
    }

    /// Removes an entry and the one of its answers; that one last, as long as it is there nobody else gets the port.
    fn forget_pair(&mut self, inner: &FlowKey) -> Result<(), NotLearned> {
        let Some((_, program)) = self.flows.find(inner) else { return Ok(()) };
        let back = inner.answer(program.egress, program.translation);
        self.flows.forget(inner)?;
        self.flows.forget(&back).map(|_| ())
    }

    /// Whether the connection goes on that a pair of entries behind the gateway's address is for.
    pub(super) fn is_listened(&self, connection: &Connection) -> bool {
        let Connection { remote, remote_port, inside, inside_port, protocol, public, .. } = *connection;
        let outward = FlowKey::new(public, remote, inside.address, protocol, remote_port, inside_port, false);
        let known = self.flows.find(&outward).map(|(_, program)| program.translation);
        known.is_some_and(|known| !known.is_none() && known.service() == Service::FullNat)
    }

    fn give_back(&self, tables: &Tables, vm: &mut Vm<'_>, mapping: Mapping, now: Nanos) {
        if let Some(block) = vm.release(&tables.vips, mapping) {
            self.log(tables, now, NatChange::GivenBack(block));
        }
    }

    /// Releases the port of a connection that ended.
    pub(super) fn release(&self, tables: &Tables, vm: &mut Vm<'_>, connection: &Connection, now: Nanos) {
        let Some(space) = Space::of(connection.protocol).filter(|_| connection.service.leases()) else {
            return;
        };
        let vip = match connection.service {
            // Also where the address of the network has changed.
            Service::Masked => translation::mask(tables, connection.inside.vrf, connection.public),
            _ => translation::shown(tables, connection),
        };
        if let Some(block) = vm.release_port(&tables.vips, vip, space, connection.port) {
            // The address stays known, also of a VIP that is gone.
            let block = Block { address: connection.address, ..block };
            self.log(tables, now, NatChange::GivenBack(block));
        }
    }
}

/// The key of packets the other way, which come from `net`.
fn reversed(key: &FlowKey, net: NetId) -> FlowKey {
    key.answer(net, Translation::NONE)
}

/// Whether an address is what backends of a network see.
pub(super) fn is_mask(tables: &Tables, exit: &Exit, net: NetId, address: Ipv4Addr) -> bool {
    let pool = exit.mask(net);
    let mut vips = pool.into_iter().flat_map(|pool| pool.vips.iter()).filter_map(|id| tables.vip(*id));
    vips.any(|vip| vip.address == address)
}
