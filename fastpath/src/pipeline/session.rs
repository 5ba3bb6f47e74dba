//! Translated connections of this worker: opened with both their entries, ended together, under the lock of their VM.

use std::{net::Ipv4Addr, sync::Arc};

use super::{
    Engine, Packet, Round, Stop, balance,
    nat::{Way, translated},
};
use crate::{
    buffer::Buffer,
    channel::{NatChange, Notice},
    flow::{
        FlowKey, FlowWorker, NotLearned, Program,
        session::{Service, TcpSeen, Translation},
    },
    io::Io,
    nat::{Block, Lease, Mapping, NoVm, OverQuota, Vm},
    policer::Policers,
    reason::{DropReason, Event},
    stage::translation::Connection,
    table::{
        Tables,
        nat::{Inside, Snat, Space},
        neighbour::NeighbourId,
    },
    types::{Nanos, NetId, Tick, VipId, VrfId},
    wire::translate::Side,
};

/// How many ports of its own a VM's new session tries towards a remote when it gets no new one.
const REUSE_TRIES: usize = 64;

/// What stands for the inside towards a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Public {
    address: Ipv4Addr,
    /// 0 for protocols without ports.
    port: u16,
    /// The leased port, and whether it is held for this session already.
    lease: Option<(Mapping, bool)>,
    /// The block of that port, if it was leased just now.
    block: Option<Block>,
}

impl Public {
    fn of(mapping: Mapping, held: bool) -> Public {
        Public { address: mapping.address, port: mapping.port, lease: Some((mapping, held)), block: None }
    }
}

/// What became of a public port for a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Free,
    /// By this very inside port.
    Ours,
    Another,
}

impl<B: Buffer> Engine<B> {
    /// Opens a session from inside behind a pool, whose packets go out by `way`.
    pub(super) fn open_outward(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
        snat: &Snat,
        public: NetId,
        way: Way,
    ) -> Result<Program, Stop> {
        check_opens(packet)?;
        self.check_places(round, snat)?;
        let (tables, key, now) = (round.tables, &packet.key, round.now);
        let inside = Inside { vrf: packet.vrf, address: key.source() };
        let nat = Arc::clone(&self.nat);
        let mut vm = nat.vm(inside)?;
        let search = Search { tables, flows: &self.flows, key, public, vrf: packet.vrf };
        let (public_end, taken) = match Space::of(key.protocol()) {
            Some(space) => search.port(&mut vm, snat, space, packet.hash.0)?,
            None => search.address(snat)?,
        };
        if let Some(block) = public_end.block {
            self.log(tables, now, NatChange::Leased(block));
        }
        let there = Translation::new(Service::Snat, Side::Source, public_end.address, public_end.port);
        let program = translated(tables, packet, way, there, packet.vrf);
        if taken == Taken::Ours {
            return Ok(program);
        }
        let back = key.answer(public, there);
        let home = Translation::new(Service::Snat, Side::Destination, key.source(), key.source_port());
        let pair = [(back, undecided(packet.origin.net, home, packet.vrf)), (*key, program)];
        self.open(tables, &mut vm, pair, public_end.lease, now)?;
        Ok(program)
    }

    /// Whether the VIPs of a pool can lease ports. Those of hairpin alone get places from control when the first packet wants
    /// a port, and it waits for that.
    fn check_places(&mut self, round: &Round<impl Io<Buffer = B>>, snat: &Snat) -> Result<(), Stop> {
        if !snat.hairpin {
            return Ok(());
        }
        let lacks = |id: &&VipId| round.tables.vip(**id).is_some_and(|vip| !vip.leases.is_provided());
        match snat.vips.iter().find(lacks) {
            Some(&vip) => {
                self.notice(round.now, Notice::Ports { vip });
                Err(Stop::Wait(None))
            }
            None => Ok(()),
        }
    }

    /// Opens the session of a listener whose backends see the gateway, for a packet that goes on by `program`.
    pub(super) fn open_listened(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        vm: &mut Vm<'_>,
        packet: &Packet,
        program: Program,
    ) -> Result<(), Stop> {
        let pair = [(packet.key, program), outward(packet, &program)];
        self.open(round.tables, vm, pair, None, round.now)
    }

    /// Opens a session from outside, whose packets go in by `program`. With a VIP and space, its port must be leased to the
    /// VM.
    pub(super) fn open_inward(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
        program: Program,
        leased: Option<(VipId, Space)>,
    ) -> Result<Program, Stop> {
        check_opens(packet)?;
        let (tables, key) = (round.tables, &packet.key);
        let (home, vrf) = (program.translation, program.inside);
        let nat = Arc::clone(&self.nat);
        let mut vm = nat.vm(Inside { vrf, address: home.address() })?;
        let lease = match leased {
            None => None,
            Some((vip, space)) => {
                let (address, port) = (key.destination(), key.destination_port());
                let mapping = Mapping { vip, address, space, port };
                let leased = vm.inner_port(&tables.vips, mapping) == Some(home.port());
                Some((leased.then_some(mapping).ok_or(DropReason::NoService)?, false))
            }
        };
        self.open(tables, &mut vm, [(*key, program), outward(packet, &program)], lease, round.now)?;
        Ok(program)
    }

    /// Stores both entries, inward first, within the quotas.
    fn open(
        &mut self,
        tables: &Tables,
        vm: &mut Vm<'_>,
        pair: [(FlowKey, Program); 2],
        lease: Option<(Mapping, bool)>,
        now: Nanos,
    ) -> Result<(), Stop> {
        let held = match lease {
            Some((mapping, false)) if !vm.hold(&tables.vips, mapping) => {
                return Err(DropReason::NoService.into());
            }
            lease => lease.map(|(mapping, _)| mapping),
        };
        let opened = self.store_both(tables, vm, &pair, now.tick());
        match (opened, held) {
            (Ok(()), _) => {
                self.counters.event(Event::SessionOpen);
                let [(key, program), _] = &pair;
                self.log(tables, now, NatChange::Opened(Connection::of(key, program)));
            }
            (Err(_), Some(mapping)) => {
                if let Some(block) = vm.release(&tables.vips, mapping) {
                    self.log(tables, now, NatChange::GivenBack(block));
                }
            }
            (Err(_), None) => {}
        }
        opened
    }

    fn store_both(
        &mut self,
        tables: &Tables,
        vm: &mut Vm<'_>,
        pair: &[(FlowKey, Program); 2],
        now: Tick,
    ) -> Result<(), Stop> {
        let quotas = tables.vrf(vm.inside().vrf).map(|vrf| vrf.quotas).unwrap_or_default();
        vm.admit(&quotas, now).map_err(DropReason::from)?;
        let mut stored = Ok(());
        for (key, program) in pair {
            stored = stored.and_then(|()| store(&mut self.flows, key, *program, now));
        }
        stored.map_err(|not| {
            // Where this fails too, the entry is alone and goes when it is idle.
            let _ = self.flows.forget(&pair[0].0);
            vm.end();
            match not {
                NotLearned::Full => DropReason::SessionTableFull.into(),
                NotLearned::Busy => Stop::Wait(None),
            }
        })
    }

    /// Ends a session, found by the key of either direction.
    ///
    /// # Errors
    /// Another worker is at it; later.
    pub(super) fn end(
        &mut self,
        tables: &Tables,
        key: &FlowKey,
        program: &Program,
        now: Nanos,
    ) -> Result<(), NotLearned> {
        let connection = Connection::of(key, program);
        let other = key.answer(program.egress, program.translation);
        let (outward, inward) = match program.translation.side() {
            Side::Source => (key, &other),
            Side::Destination => (&other, key),
        };
        let nat = Arc::clone(&self.nat);
        let mut vm = nat.vm(connection.owner()).map_err(|_| NotLearned::Busy)?;
        let balanced = connection.service.is_balanced();
        if connection.service == Service::FullNat {
            self.end_masked(tables, &mut vm, outward, now)?;
        }
        let bytes = if balanced { [inward, outward].map(|key| self.bytes(key)) } else { [0; 2] };
        // Outward first: as long as the inward entry is there, nobody else gets the port.
        self.forget(outward, inward)?;
        if self.flows.forget(inward)? {
            if connection.service != Service::Masked {
                vm.end();
                self.counters.event(Event::SessionEnd);
            }
            self.log(tables, now, NatChange::Ended(connection));
            if let Some(usage) = balance::usage_of(tables, &connection).filter(|_| balanced) {
                usage.ended(bytes[0], bytes[1]);
            }
            self.release(tables, &mut vm, &connection, now);
        }
        Ok(())
    }

    /// Bytes of the packets of an entry.
    fn bytes(&self, key: &FlowKey) -> u64 {
        self.flows.find(key).map_or(0, |(id, _)| self.flows.bytes(id))
    }

    /// Removes the entry of `key` if it is the other direction of `of`.
    fn forget(&mut self, key: &FlowKey, of: &FlowKey) -> Result<(), NotLearned> {
        match self.flows.find(key) {
            Some((_, program)) if key.answer(of.net(), program.translation) == *of => {
                self.flows.forget(key).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Ends the sessions that the sweep found without packets, where the other direction agrees.
    pub(super) fn end_due(&mut self, tables: &Tables, now: Nanos) -> usize {
        let due = self.flows.take_due();
        let mut ended = 0;
        for key in &due {
            let Some((id, program)) = self.flows.find(key) else { continue };
            if !program.translation.is_session() {
                continue;
            }
            // It goes with the connection that it is for.
            if program.translation.service() == Service::Masked
                && self.is_listened(&Connection::of(key, &program))
            {
                continue;
            }
            let (last, seen) = self.flows.seen(id);
            let other = key.answer(program.egress, program.translation);
            let other = self.flows.find(&other).map(|(id, _)| self.flows.seen(id));
            let age = |of: Tick| now.tick().age_since(of);
            let (idle, other_seen) = match other {
                Some((other_last, other_seen)) => (age(last).min(age(other_last)), other_seen),
                None => (age(last), TcpSeen::default()),
            };
            let limit =
                self.settings.timeouts.of_session(key.protocol(), program.translation, seen, other_seen);
            // Who is asked later is asked again in the next round.
            if idle > limit && self.end(tables, key, &program, now).is_ok() {
                ended += 1;
            }
        }
        ended
    }
}

/// Whether a packet may open a session: not a reset, nor one that ends here (RFC 1812 §5.3.1).
pub(super) fn check_opens(packet: &Packet) -> Result<(), DropReason> {
    match packet {
        _ if packet.is_spent() => Err(DropReason::TtlExceeded),
        _ if packet.tcp.has_rst() => Err(DropReason::NoSession),
        _ => Ok(()),
    }
}

/// The entry of the answers to packets from outside.
fn outward(packet: &Packet, program: &Program) -> (FlowKey, Program) {
    let (key, home) = (&packet.key, program.translation);
    let there = Translation::new(home.service(), Side::Source, key.destination(), key.destination_port());
    let back = undecided(packet.origin.net, there.with_idle(home.idle()), program.inside);
    (key.answer(program.egress, home), back)
}

/// A program that the first packet of its direction decides.
pub(super) fn undecided(egress: NetId, translation: Translation, inside: VrfId) -> Program {
    let next = NeighbourId::NONE;
    let (from_vtep, policers) = (Ipv4Addr::UNSPECIFIED, Policers::NONE);
    Program { generation: 0, egress, next, from_vtep, translation, inside, policers }
}

/// Stores an entry, whatever its key had before.
pub(super) fn store(
    flows: &mut FlowWorker,
    key: &FlowKey,
    program: Program,
    now: Tick,
) -> Result<(), NotLearned> {
    let hash = flows.hash(key);
    flows.learn(key, hash, program, now)?;
    let same = flows.find(key).is_some_and(|(_, stored)| stored.translation == program.translation);
    if same { Ok(()) } else { flows.relearn(key, hash, program, now).map(|_| ()) }
}

/// The search for a public port for a new session.
struct Search<'a> {
    tables: &'a Tables,
    flows: &'a FlowWorker,
    key: &'a FlowKey,
    public: NetId,
    vrf: VrfId,
}

impl Search<'_> {
    /// The port that the inside port has already (RFC 4787 REQ-1); else a new one; else one that the VM has and that is not
    /// used towards this remote.
    fn port(
        &self,
        vm: &mut Vm<'_>,
        snat: &Snat,
        space: Space,
        seed: u64,
    ) -> Result<(Public, Taken), DropReason> {
        let vips = &self.tables.vips;
        match vm.mapping(vips, snat, space, self.key.source_port()) {
            Some(mapping) => match self.taken(Public::of(mapping, false)) {
                (_, Taken::Another) => {}
                found => return Ok(found),
            },
            None => {
                if let Ok(Lease { mapping, block }) =
                    vm.lease(vips, snat, space, self.key.source_port(), seed)
                {
                    return Ok((Public { block, ..Public::of(mapping, true) }, Taken::Free));
                }
            }
        }
        let own = vm.leased(vips, snat, space, seed).take(REUSE_TRIES);
        let mut found = own.map(|mapping| self.taken(Public::of(mapping, false)));
        found.find(|(_, taken)| *taken != Taken::Another).ok_or(DropReason::PortsExhausted)
    }

    /// An address that no other VM uses with this remote, for a protocol without ports.
    fn address(&self, snat: &Snat) -> Result<(Public, Taken), DropReason> {
        let addresses = snat.vips.iter().filter_map(|id| self.tables.vip(*id)).map(|vip| vip.address);
        let mut found =
            addresses.map(|address| self.taken(Public { address, port: 0, lease: None, block: None }));
        found.find(|(_, taken)| *taken != Taken::Another).ok_or(DropReason::AddressAmbiguous)
    }

    /// Who uses a public end towards the remote.
    fn taken(&self, end: Public) -> (Public, Taken) {
        let there = Translation::new(Service::Snat, Side::Source, end.address, end.port);
        let taken = match self.flows.find(&self.key.answer(self.public, there)) {
            None => Taken::Free,
            Some((_, program)) => {
                let home = program.translation;
                let ours = (program.inside, home.address(), home.port())
                    == (self.vrf, self.key.source(), self.key.source_port());
                if ours { Taken::Ours } else { Taken::Another }
            }
        };
        (end, taken)
    }
}

impl From<NoVm> for Stop {
    fn from(not: NoVm) -> Stop {
        match not {
            NoVm::Busy => Stop::Wait(None),
            NoVm::Full => DropReason::VmsFull.into(),
        }
    }
}

impl From<OverQuota> for DropReason {
    fn from(over: OverQuota) -> DropReason {
        match over {
            OverQuota::VmSessions => DropReason::VmSessions,
            OverQuota::VmRate => DropReason::VmSessionRate,
            OverQuota::VpcSessions => DropReason::VpcSessions,
            OverQuota::VpcRate => DropReason::VpcSessionRate,
        }
    }
}
