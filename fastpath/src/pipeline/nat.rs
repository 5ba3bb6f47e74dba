//! The first packet of a flow that is translated: whose address, and which one instead?
//!
//! Out of a VPC: its routes say [`Decision::Out`](crate::stage::route::Decision), [`Exit`](crate::table::nat::Exit) says by
//! which addresses, and the public network's routes say where to. Into a VPC: the public network's routes lead to a VIP, and
//! [`Vip::owner`] says whose the port is. A flow that is known keeps its translation as long as the configuration still
//! allows it, whatever else is decided anew.

use std::net::Ipv4Addr;

use super::{Engine, Packet, Round, Stop, fragment};
use crate::{
    buffer::Buffer,
    flow::{
        FlowKey, Program,
        session::{Service, Translation},
    },
    io::Io,
    policer::Policers,
    reason::DropReason,
    stage::{
        policing,
        route::{self, Leads},
        translation,
    },
    table::{
        Tables, Vrf,
        fib::Hop,
        nat::{Exit, Forward, Inside, Leave, Owner, Snat, Space, Vip},
        neighbour::NeighbourId,
    },
    types::{NetId, VipId, VrfId},
    wire::{ipv4::protocol, translate::Side},
};

/// Where translated packets go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) egress: NetId,
    pub(super) next: NeighbourId,
}

impl<B: Buffer> Engine<B> {
    /// A packet leaves its VPC.
    #[cold]
    #[inline(never)]
    pub(super) fn leave_vpc(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
    ) -> Result<Program, Stop> {
        let (tables, key) = (round.tables, &packet.key);
        if packet.turned >= TURNS_MAX {
            return Err(DropReason::RouteUnusable.into());
        }
        if packet.related {
            return Err(Stop::Related(Side::Source));
        }
        let known = self.known(round, packet)?;
        // Answers of a forward leave by the forward, whatever the VM has besides.
        if let Some(Program { translation, egress, .. }) =
            known.filter(|k| k.translation.service().is_published())
        {
            let way = self.way_out(tables, egress, key.destination())?;
            return Ok(translated(tables, packet, way, translation, packet.vrf));
        }
        let exit =
            tables.vrf(packet.vrf).and_then(|vrf| vrf.exit.as_deref()).ok_or(DropReason::NotTranslated)?;
        if let Some(net) = served_here(tables, exit, key) {
            return Err(Stop::Local(net));
        }
        let leave = exit.leave(packet.origin.net, key.source(), key.destination());
        if key.is_fragment() {
            match (self.as_first_fragment(round, packet), leave) {
                (Err(Stop::NoPorts), Some(Leave::Eip(_))) if !fragment::may_answer(tables, packet) => {}
                (done, _) => return done,
            }
        }
        let leave = leave.ok_or(DropReason::NotTranslated)?;
        match leave {
            Leave::Eip(id) => {
                let vip = tables.vip(id).ok_or(DropReason::NotTranslated)?;
                let way = self.way_out(tables, vip.net, key.destination())?;
                let translation =
                    Translation::new(Service::Eip, Side::Source, vip.address, key.source_port());
                self.gives_way(vip, key, translation)?;
                Ok(translated(tables, packet, way, translation, packet.vrf))
            }
            Leave::Snat(snat) => {
                let public = public_net(tables, snat).ok_or(DropReason::NotTranslated)?;
                let way = self.way_out(tables, public, key.destination())?;
                match known {
                    Some(known) => Ok(translated(tables, packet, way, known.translation, packet.vrf)),
                    None => self.open_outward(round, packet, snat, public, way),
                }
            }
        }
    }

    /// The program of a packet that answers a port forward, or the way out of an error about one, where a configured route
    /// leads elsewhere: such routes are for what the VPC sends by itself. Its own networks and blackholes come first, so that
    /// nobody outside leads astray what goes between VMs by a source address that is inside. Cost where it is none: two
    /// lookups, in VPCs with services.
    #[inline(always)]
    pub(super) fn answer_of_forward(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
    ) -> Result<Option<Program>, Stop> {
        // Packets of a VPC with services are always tracked; the others pay no more than this question. An error that went on
        // inside the gateway is not tracked: it is translated, or was found to be about no forward.
        if !packet.tracked {
            return Ok(None);
        }
        match round.tables.vrf(packet.vrf) {
            Some(vrf) if vrf.exit.is_some() => self.answered_forward(round, packet, vrf),
            _ => Ok(None),
        }
    }

    #[cold]
    #[inline(never)]
    fn answered_forward(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
        vrf: &Vrf,
    ) -> Result<Option<Program>, Stop> {
        let to = packet.key.destination();
        if !matches!(vrf.fib.lookup(to), Hop::Via(..) | Hop::Leak(_)) {
            return Ok(None);
        }
        if packet.related {
            return Err(Stop::Related(Side::Source));
        }
        if packet.key.is_fragment() {
            // It goes where its first one goes, be that by the route.
            let by_ports = fragment::may_answer(round.tables, packet);
            return by_ports.then(|| self.as_first_fragment(round, packet)).transpose();
        }
        let known = self.flows.find(&packet.key).map(|(_, program)| program);
        let answers = |known: &Program| {
            let Program { translation, .. } = known;
            translation.is_session()
                && translation.service().is_published()
                && translation.side() == Side::Source
                && translation::is_legal(round.tables, &packet.key, known)
        };
        match known.filter(answers) {
            Some(Program { translation, egress, .. }) => {
                let way = self.way_out(round.tables, egress, to)?;
                Ok(Some(translated(round.tables, packet, way, translation, packet.vrf)))
            }
            None => Ok(None),
        }
    }

    /// Whether a VM may go out to its own address: not where another one has the port towards this one (hairpin), or answers
    /// would be that one's.
    fn gives_way(&self, vip: &Vip, key: &FlowKey, there: Translation) -> Result<(), DropReason> {
        if key.destination() != vip.address {
            return Ok(());
        }
        match self.flows.find(&key.answer(vip.net, there)) {
            Some((_, program)) if program.translation.is_session() => Err(Space::of(key.protocol())
                .map_or(DropReason::AddressAmbiguous, |_| DropReason::PortsExhausted)),
            _ => Ok(()),
        }
    }

    /// A packet comes in for a public address of ours.
    #[cold]
    #[inline(never)]
    pub(super) fn enter_vpc(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
        id: VipId,
    ) -> Result<Program, Stop> {
        let (tables, key) = (round.tables, &packet.key);
        let vip = tables.vip(id).ok_or(DropReason::RouteUnusable)?;
        if packet.related {
            return Err(Stop::Related(Side::Destination));
        }
        if let Some(Program { translation, inside, .. }) = self.known(round, packet)? {
            let mut way = self.way_in(tables, Inside { vrf: inside, address: translation.address() })?;
            if translation.service() == Service::FullNat {
                way.next = NeighbourId::NONE;
            }
            return Ok(translated(tables, packet, way, translation, inside));
        }
        // Where one VM has all of it, ports only matter to who came from within (hairpin).
        if key.is_fragment() && (vip.eip.is_none() || packet.turned > 0) {
            return self.as_first_fragment(round, packet);
        }
        match vip.owner(key.protocol(), public_port(packet)) {
            Owner::Eip(inside) => {
                let way = self.way_in(tables, inside)?;
                let translation =
                    Translation::new(Service::Eip, Side::Destination, inside.address, public_port(packet));
                Ok(translated(tables, packet, way, translation, inside.vrf))
            }
            Owner::Forward(forward) => self.forwarded(round, packet, forward),
            Owner::Listener(listener) => self.balanced(round, packet, listener),
            Owner::Snat => self.unsolicited(round, packet, id, vip),
            Owner::Other => Err(Stop::Local(vip.net)),
        }
    }

    /// The first packet of a connection to a port forward.
    fn forwarded(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
        forward: &Forward,
    ) -> Result<Program, Stop> {
        if !forward.allowed.contains(&packet.key.source()) {
            return Err(DropReason::ForwardDenied.into());
        }
        let way = self.way_in(round.tables, forward.to)?;
        let port = forward.target_port(packet.key.destination_port());
        let translation = Translation::new(Service::Forward, Side::Destination, forward.to.address, port);
        let program = translated(round.tables, packet, way, translation, forward.to.vrf);
        self.open_inward(round, packet, program, None)
    }

    /// A packet from a new remote to a port that SNAT may have leased: it goes to the VM that has it (endpoint-independent
    /// filtering: RFC 4787 REQ-8, RFC 5382 REQ-3). Pings are answered by the gateway.
    fn unsolicited(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
        id: VipId,
        vip: &Vip,
    ) -> Result<Program, Stop> {
        let (tables, key) = (round.tables, &packet.key);
        if key.protocol() == protocol::ICMP {
            return Err(Stop::Ping(vip.net));
        }
        let none = Stop::Drop(DropReason::NoService);
        let (space, port) = (Space::of(key.protocol()).ok_or(none)?, key.destination_port());
        let (inside, inner_port) = self.nat.owner(id, vip, space, port).ok_or(none)?;
        if key.protocol() == protocol::TCP && !packet.tcp.opens() {
            return Err(DropReason::NoSession.into());
        }
        let way = self.way_in(tables, inside)?;
        let exit = tables.vrf(inside.vrf).and_then(|vrf| vrf.exit.as_deref()).ok_or(none)?;
        let leave = exit.leave(way.egress, inside.address, vip.address);
        if !matches!(leave, Some(Leave::Snat(snat)) if snat.vips.contains(&id)) {
            return Err(none);
        }
        let translation = Translation::new(Service::Snat, Side::Destination, inside.address, inner_port);
        let program = translated(tables, packet, way, translation, inside.vrf);
        self.open_inward(round, packet, program, Some((id, space)))
    }

    /// The session of a flow that was open before and still may be; ends it where it may not.
    pub(super) fn known(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
    ) -> Result<Option<Program>, Stop> {
        let Some((_, program)) = self.flows.find(&packet.key) else { return Ok(None) };
        if !program.translation.is_session() {
            return Ok(None);
        }
        let tables = round.tables;
        if translation::is_legal(tables, &packet.key, &program) && !self.begins_anew(tables, packet, &program)
        {
            return Ok(Some(program));
        }
        self.end(round.tables, &packet.key, &program, round.now).map_err(|_| Stop::Wait(None))?;
        Ok(None)
    }

    /// Out through a public network. An address of ours there, public or the gateway's own, is reached inside the gateway.
    fn way_out(&mut self, tables: &Tables, public: NetId, to: Ipv4Addr) -> Result<Way, Stop> {
        let vrf = tables.net(public).ok_or(DropReason::RouteUnusable)?.vrf;
        match route::resolve(tables, vrf, to)? {
            Leads::To(egress, ip) => self.way_to(egress, ip),
            Leads::Vip(_) | Leads::Here(_) => Ok(Way { egress: public, next: NeighbourId::NONE }),
            Leads::Out => Err(DropReason::RouteUnusable.into()),
        }
    }

    /// In to an address of a VPC, perhaps the gateway's own there.
    pub(super) fn way_in(&self, tables: &Tables, inside: Inside) -> Result<Way, Stop> {
        match route::resolve(tables, inside.vrf, inside.address)? {
            Leads::To(egress, ip) => self.way_to(egress, ip),
            Leads::Here(egress) => Ok(Way { egress, next: NeighbourId::NONE }),
            Leads::Out | Leads::Vip(_) => Err(DropReason::RouteUnusable.into()),
        }
    }

    fn way_to(&self, egress: NetId, ip: Ipv4Addr) -> Result<Way, Stop> {
        match self.neighbours.lookup(egress, ip) {
            Some(next) => Ok(Way { egress, next }),
            None => Err(Stop::Wait(Some((egress, ip)))),
        }
    }
}

/// How often a packet may go on inside the gateway: out to an address of ours, in from there, and to a backend that sees the
/// gateway's address.
pub(super) const TURNS_MAX: u8 = 3;

/// The program of a translated flow.
pub(super) fn translated(
    tables: &Tables,
    packet: &Packet,
    way: Way,
    translation: Translation,
    inside: VrfId,
) -> Program {
    let generation = tables.vrf(packet.vrf).map_or(0, |vrf| vrf.generation);
    let Way { egress, next } = way;
    let policers = Policers::NONE;
    let program =
        Program { generation, egress, next, from_vtep: packet.origin.vtep, translation, inside, policers };
    Program { policers: policing::policers(tables, &packet.key, &program), ..program }
}

/// The public network of a VIP of this VPC, where programs of the gateway serve the port that a packet is for. They see the
/// VM's own address.
fn served_here(tables: &Tables, exit: &Exit, key: &FlowKey) -> Option<NetId> {
    let at = exit.hairpin.binary_search_by_key(&key.destination(), |(address, _)| *address).ok()?;
    let vip = exit.hairpin[at].1.vips.first().and_then(|id| tables.vip(*id))?;
    let port = key.destination_port();
    (!key.is_fragment() && vip.owner(key.protocol(), port) == Owner::Other).then_some(vip.net)
}

/// The public network of a pool.
fn public_net(tables: &Tables, snat: &Snat) -> Option<NetId> {
    snat.vips.iter().find_map(|id| tables.vip(*id)).map(|vip| vip.net)
}

/// The port of a VIP that a packet is for; the identifier of an ICMP query.
fn public_port(packet: &Packet) -> u16 {
    match packet.key.protocol() {
        protocol::ICMP => packet.key.source_port(),
        _ => packet.key.destination_port(),
    }
}
