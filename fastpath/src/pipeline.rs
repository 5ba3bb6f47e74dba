//! The packet's way, top to bottom. Start here.
//!
//! ```text
//!  process   a burst from a port            inject   frames that control wants sent
//!     ├── express  common packet, known flow ─► outbox
//!     │                                        │
//!  receive   ingress: which network? what?     │         retry   packets that waited
//!     ├── ARP ─► answer it, tell control       │            │
//!     │                                        │            │
//!  forward ◄───────────────────────────────────┴────────────┘
//!     ├─ program   one flow lookup; on a miss: route::decide, whose address (nat), then learn
//!     └─ apply     TTL, MTU, rate limits, translation, MSS, adjacency, encap ─► outbox
//!          └─ or one of the ways out: refuse (drop, perhaps an ICMP error), local (to us), hold (next hop unknown, sender moved)
//! ```
//!
//! Nearly all packets take the short way (`pipeline/express.rs`); what is here handles every packet, and the short way does the
//! same with those that it takes. A burst is worked in four passes, so that no pass waits for memory: *recognise* (parse, hash, ask
//! for the bucket), *probe* (compare tags, ask for the record), *direct* (where it goes; ask for the next hop), *send* by either way.
//! [`Engine::process_one`] is the general way alone; the tests compare both.
//!
//! Every packet that enters ends in `tx`, a named drop, a punt or a hold, and is counted exactly once there.

mod balance;
mod exits;
mod express;
mod first;
mod fragment;
mod full_nat;
mod log;
mod meter;
mod nat;
mod own;
mod police;
mod session;
mod settings;
mod survive;
mod turn;
mod wait;

use std::{net::Ipv4Addr, sync::Arc};

use self::{
    balance::Kept,
    express::Packets,
    settings::Limits,
    wait::{Waited, Waiting},
};
pub use self::{balance::usage_of, settings::Settings, survive::readmit};
use crate::{
    buffer::Buffer,
    channel::{Notice, Rings},
    counter::Counters,
    flow::{FlowHash, FlowId, FlowKey, FlowWorker, Program, session::TcpSeen},
    io::{BURST, Burst, Io},
    nat::Nat,
    outbox::Outbox,
    prefetch,
    reason::{DropReason, Event},
    stage::{
        express::Express,
        ingress::{self, Arrival, Origin, Other},
        link::{self, Encap, NotSent},
        mss,
    },
    table::{
        Net, Tables,
        neighbour::{NeighbourId, NeighbourTable, Reach},
    },
    types::{Mtu, Nanos, NetId, PortId, VrfId, WorkerId},
    wire::{
        ipv4::{self, Ipv4},
        translate::{self, Rewrite, Side},
    },
};

/// An IPv4 packet on its way, as far as it was parsed. The buffer that it belongs to begins with the IPv4 header.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Where it came from.
    pub origin: Origin,
    /// The routing table that it is looked up in.
    pub vrf: VrfId,
    /// Largest packet of the network that it came from.
    mtu: Mtu,
    /// Its header.
    pub ip: Ipv4,
    /// Its flow.
    key: FlowKey,
    hash: FlowHash,
    /// Its TCP flags.
    tcp: TcpSeen,
    /// Whether it uses a flow entry.
    tracked: bool,
    /// The gateway's own (an answer, an ICMP error, from the namespace): TTL stays, no ICMP errors about it.
    own: bool,
    waited: Waited,
    /// How often it went on inside the gateway after translation.
    turned: u8,
    /// An ICMP error, about packets of another flow.
    related: bool,
    /// On its way to a backend that must not see whom it is from.
    masked: bool,
    candidate: Option<FlowId>,
}

impl Packet {
    /// Whether its TTL ends here.
    #[inline(always)]
    fn is_spent(&self) -> bool {
        self.ip.ttl() <= 1 && !self.own
    }
}

/// What one round of the poll loop works with.
pub struct Round<'a, I: Io> {
    /// The published configuration.
    pub tables: &'a Tables,
    /// Ports and buffers.
    pub io: &'a mut I,
    /// The time of the round.
    pub now: Nanos,
}

/// The ways out of [`Engine::forward`] other than tx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Dropped.
    Drop(DropReason),
    /// Dropped: does not fit this network and must not be cut.
    TooBig(Mtu),
    /// For an address of ours on this network.
    Local(NetId),
    /// The next hop is not known yet; `Some` where control must be told.
    Wait(Option<(NetId, Ipv4Addr)>),
    /// Its sender moved, and control was told; whoever answers must find the new place.
    Moved,
    /// The next hop that a flow remembers was removed; decide again.
    Stale,
    /// Must be cut to go by this program.
    Cut(Program),
    /// Goes on inside the gateway after this program.
    Turn(Program),
    /// An ICMP error about a translated packet, which came from this side.
    Related(Side),
    /// A fragment without ports, of a flow that goes by them; the first one has not come yet.
    NoPorts,
    /// ICMP for a public address on this network, of no VM.
    Ping(NetId),
}

impl From<DropReason> for Stop {
    fn from(reason: DropReason) -> Stop {
        Stop::Drop(reason)
    }
}

impl From<NotSent> for Stop {
    fn from(not: NotSent) -> Stop {
        match not {
            NotSent::Drop(reason) => Stop::Drop(reason),
            NotSent::Wait => Stop::Wait(None),
        }
    }
}

/// The packet path of one worker: what it reads, what it writes, and nothing that another worker writes.
#[derive(Debug)]
pub struct Engine<B: Buffer> {
    id: WorkerId,
    neighbours: Arc<NeighbourTable>,
    flows: FlowWorker,
    nat: Arc<Nat>,
    counters: Arc<Counters>,
    rings: Rings,
    waiting: Waiting<B>,
    kept: Kept,
    outbox: Outbox<B>,
    settings: Settings,
    limits: Limits,
    /// Identification of the next packet of our own.
    next_id: u16,
}

impl<B: Buffer> Engine<B> {
    /// The engine of worker `id` around its parts.
    pub fn new(
        id: WorkerId,
        neighbours: Arc<NeighbourTable>,
        flows: FlowWorker,
        nat: Arc<Nat>,
        counters: Arc<Counters>,
        rings: Rings,
        settings: Settings,
    ) -> Engine<B> {
        Engine {
            id,
            neighbours,
            flows,
            nat,
            outbox: Outbox::new(counters.ports.len()),
            counters,
            rings,
            waiting: Waiting::new(settings.held_max),
            kept: Kept::new(),
            limits: Limits::new(&settings),
            settings,
            next_id: 0,
        }
    }

    // ---- the ways in -------------------------------------------------------------------------------------------------

    /// Works a burst of frames from `port`; leaves it empty.
    pub fn process(&mut self, round: &mut Round<impl Io<Buffer = B>>, port: PortId, burst: &mut Burst<B>) {
        self.count_rx(port, burst);
        let mut packets: Packets = [Express::NOT; BURST];
        self.recognise(round.tables, port, burst, &mut packets);
        let packets = &mut packets[..burst.len()];
        self.probe_all(round.tables, packets);
        self.direct(round.tables, packets);
        self.send_all(round, port, burst, packets);
    }

    /// Works one frame from `port`, which is counted already, the general way. The plain form that tests compare with.
    #[cold]
    #[inline(never)]
    pub fn process_one(&mut self, round: &mut Round<impl Io<Buffer = B>>, port: PortId, buffer: B) {
        if let Some((buffer, mut packet)) = self.receive(round, port, buffer) {
            self.probe(&mut packet);
            self.forward(round, buffer, &packet);
        }
    }

    /// Ends a round: everything goes to the drivers, retired flow records may be used again, some flows expire.
    pub fn finish(&mut self, round: &mut Round<impl Io<Buffer = B>>) {
        self.outbox.flush(round.io, &self.counters);
        let expired = self.flows.quiescent(round.now, &self.settings.timeouts);
        self.count_ended(round.tables);
        let expired = expired + self.end_due(round.tables, round.now);
        if expired > 0 {
            self.counters.events[Event::FlowExpire.index()].add(expired as u64);
        }
    }

    // ---- the way -----------------------------------------------------------------------------------------------------

    /// Finds out what a frame is. Returns IPv4 packets; ARP ends here.
    #[inline(always)]
    fn receive(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        port: PortId,
        mut buffer: B,
    ) -> Option<(B, Packet)> {
        match ingress::receive(round.tables, port, &mut buffer) {
            Ok(arrival) => {
                let packet = self.admit(round.tables, &arrival)?;
                Some((buffer, packet))
            }
            Err((origin, what)) => {
                self.aside(round, buffer, &origin, what);
                None
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn aside(&mut self, round: &mut Round<impl Io<Buffer = B>>, buffer: B, origin: &Origin, what: Other) {
        match what {
            Other::Arp { from } => self.arp(round, origin, from, buffer),
            Other::Announcement => self.announcement(round.now, origin),
            Other::Refused(reason) => self.counters.dropped(origin.net, reason),
        }
    }

    /// Counts a packet into its network.
    #[inline(always)]
    fn admit(&mut self, tables: &Tables, arrival: &Arrival<'_>) -> Option<Packet> {
        let Arrival { origin, net, ip, key, tcp, related } = *arrival;
        let Some(vrf) = tables.vrf(net.vrf) else {
            self.counters.dropped(origin.net, DropReason::RouteUnusable);
            return None;
        };
        if let Some(counters) = self.counters.nets.get(origin.net.index()) {
            counters.ingress.add(usize::from(ip.total_len()));
        }
        Some(Packet {
            origin,
            vrf: net.vrf,
            mtu: net.mtu,
            ip,
            key,
            hash: self.flows.hash(&key),
            tcp,
            tracked: vrf.tracked,
            own: false,
            waited: Waited::No,
            turned: 0,
            related,
            masked: false,
            candidate: None,
        })
    }

    /// Compares tags.
    #[inline(always)]
    fn probe(&self, packet: &mut Packet) {
        if packet.tracked {
            packet.candidate = self.flows.probe(packet.hash);
        }
    }

    /// Sends a packet on its way, or out by one of the other exits.
    #[inline(always)]
    fn forward(&mut self, round: &mut Round<impl Io<Buffer = B>>, mut buffer: B, packet: &Packet) {
        match self.way(round, &mut buffer, packet) {
            Ok(port) => self.outbox.send(round.io, &self.counters, port, buffer),
            Err(stop) => self.leave(round, buffer, packet, stop, None),
        }
    }

    /// The ways out that are not tx; a stale program is decided once more first. `deadline` is of what it waited for before.
    #[cold]
    #[inline(never)]
    fn leave(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        mut buffer: B,
        packet: &Packet,
        mut stop: Stop,
        deadline: Option<Nanos>,
    ) {
        if stop == Stop::Stale {
            match self.way_again(round, &mut buffer, packet) {
                Ok(port) => return self.outbox.send(round.io, &self.counters, port, buffer),
                Err(again) => stop = again,
            }
        }
        match stop {
            Stop::Cut(program) => self.send_cut(round, buffer, packet, &program),
            Stop::Turn(program) => self.turn(round, buffer, packet, &program, deadline),
            Stop::Related(side) => self.related(round, buffer, packet, side, deadline),
            Stop::NoPorts => {
                let deadline = deadline.filter(|_| packet.waited == Waited::FirstFragment);
                self.hold_fragment(round.now, buffer, *packet, deadline);
            }
            Stop::Ping(net) => self.ping(round, buffer, packet, net),
            Stop::Local(net) => self.local(round, buffer, packet, net),
            Stop::Drop(reason) => self.refuse(round, buffer, packet, reason, None),
            Stop::TooBig(mtu) => {
                self.refuse(round, buffer, packet, DropReason::NeedsFragmentation, Some(mtu));
            }
            Stop::Wait(unknown) => {
                let deadline = deadline.filter(|_| packet.waited == Waited::NextHop);
                self.hold(round, buffer, *packet, unknown, deadline);
            }
            Stop::Moved => self.hold_moved(round.now, buffer, *packet, deadline),
            Stop::Stale => self.counters.dropped(packet.origin.net, DropReason::RouteUnusable),
        }
    }

    /// One lookup, one apply.
    #[inline(always)]
    fn way(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        buffer: &mut B,
        packet: &Packet,
    ) -> Result<PortId, Stop> {
        let program = self.program(round, packet)?;
        if packet.ip.is_fragment() && fragment::goes_by_ports(round.tables, &program, packet) {
            self.note_fragment(round, packet);
        }
        self.apply(round.tables, round.now, &program, buffer, packet)
    }

    /// The next hop of the program is gone.
    fn way_again(
        &mut self,
        round: &mut Round<impl Io<Buffer = B>>,
        buffer: &mut B,
        packet: &Packet,
    ) -> Result<PortId, Stop> {
        let program = self.learn_again(round, packet)?;
        self.apply(round.tables, round.now, &program, buffer, packet)
    }

    /// What is done with the packets of this flow: remembered, or decided now and remembered.
    #[inline(always)]
    fn program(&mut self, round: &Round<impl Io<Buffer = B>>, packet: &Packet) -> Result<Program, Stop> {
        if !packet.tracked {
            return self.decide(round, packet).map(|decided| decided.program);
        }
        let generation = round.tables.vrf(packet.vrf).map_or(0, |vrf| vrf.generation);
        match self.entry(packet) {
            Some((id, program))
                if program.generation == generation
                    && program.from_vtep == packet.origin.vtep
                    && !balance::may_begin(packet, &program) =>
            {
                if packet.waited == Waited::No {
                    self.counters.event(Event::FlowHit);
                }
                if packet.waited != Waited::NextHop {
                    self.flows.touch(id, usize::from(packet.ip.total_len()), round.now.tick(), packet.tcp);
                }
                Ok(program)
            }
            Some(_) => self.learn_again(round, packet),
            None => self.learn(round, packet),
        }
    }

    /// The entry of the packet's flow.
    #[inline(always)]
    fn entry(&self, packet: &Packet) -> Option<(FlowId, Program)> {
        match packet.candidate {
            None => self.entry_made_since(packet),
            candidate => self.flows.get(&packet.key, packet.hash, candidate),
        }
    }

    /// The probe found nothing; a packet before this one in the burst may have made the entry since.
    #[cold]
    #[inline(never)]
    fn entry_made_since(&self, packet: &Packet) -> Option<(FlowId, Program)> {
        self.flows.get(&packet.key, packet.hash, self.flows.probe(packet.hash))
    }

    /// Puts a program into effect on a packet that fits.
    #[inline(always)]
    fn apply(
        &self,
        tables: &Tables,
        now: Nanos,
        program: &Program,
        buffer: &mut B,
        packet: &Packet,
    ) -> Result<PortId, Stop> {
        let (egress, encap) = self.plan(tables, program, packet)?;
        if packet.ip.total_len() > egress.mtu.get() {
            return Err(if packet.ip.dont_fragment() {
                Stop::TooBig(egress.mtu)
            } else {
                Stop::Cut(*program)
            });
        }
        // Nothing above changes the packet, nothing below lets it wait.
        self.police(tables, now, program, buffer, packet)?;
        self.translate(program, buffer, packet)?;
        self.hop(egress, program.egress, buffer, packet);
        Ok(encap.put_on(buffer)?)
    }

    /// What a program means for a packet right now.
    #[inline(always)]
    fn plan<'t>(
        &self,
        tables: &'t Tables,
        program: &Program,
        packet: &Packet,
    ) -> Result<(&'t Net, Encap<'t>), Stop> {
        let egress = tables.net(program.egress).ok_or(DropReason::RouteUnusable)?;
        if packet.is_spent() {
            return Err(DropReason::TtlExceeded.into());
        }
        let adjacency = match self.neighbours.reach(program.next) {
            Reach::Resolved(adjacency) => adjacency,
            Reach::Incomplete => return Err(Stop::Wait(None)),
            Reach::Failed => return Err(DropReason::NeighbourUnresolved.into()),
            Reach::Gone if program.next == NeighbourId::NONE => return Err(Stop::Turn(*program)),
            Reach::Gone => return Err(Stop::Stale),
        };
        let (hash, tos) = (packet.hash.0, packet.ip.tos());
        Ok((egress, link::encap(tables, &self.neighbours, egress, &adjacency, hash, tos)?))
    }

    /// Puts another address and port into a packet, where the program says so.
    #[inline(always)]
    fn translate(&self, program: &Program, buffer: &mut B, packet: &Packet) -> Result<(), DropReason> {
        if program.translation.is_none() {
            return Ok(());
        }
        let Rewrite { side, address, port } = program.translation.rewrite();
        let done = translate::translate(buffer.bytes_mut(), &packet.ip, side, address, port);
        if done { Ok(()) } else { Err(DropReason::TransportTruncated) }
    }

    /// What every router does to a packet it forwards, and its count into the next network.
    #[inline(always)]
    fn hop(&self, egress: &Net, id: NetId, buffer: &mut B, packet: &Packet) {
        if !packet.own {
            if mss::clamp(buffer.bytes_mut(), &packet.ip, packet.mtu, egress.mtu) {
                self.counters.event(Event::MssClamped);
            }
            ipv4::decrement_ttl(buffer.bytes_mut());
        }
        if let Some(net) = self.counters.nets.get(id.index()) {
            net.egress.add(usize::from(packet.ip.total_len()));
        }
    }

    /// Tells control, within the rate of each kind. Returns whether control will hear it.
    fn notice(&mut self, now: Nanos, notice: Notice) -> bool {
        let limit = match notice {
            Notice::Arp { .. } => &mut self.limits.arp,
            Notice::Resolve { .. } | Notice::Ports { .. } => &mut self.limits.resolve,
            Notice::Moved { .. } => &mut self.limits.moved,
        };
        let told = limit.take(now) && self.rings.notices.push(notice).is_ok();
        if !told {
            self.counters.event(Event::NoticeFull);
        }
        told
    }

    /// Counts frames, and asks for their first bytes.
    #[inline(always)]
    fn count_rx(&self, port: PortId, burst: &Burst<B>) {
        if let Some(port) = self.counters.ports.get(port.index()) {
            let bytes = burst.iter().map(|buffer| {
                let bytes = buffer.bytes();
                if let Some(first) = bytes.first() {
                    prefetch::read(first);
                }
                bytes.len() as u64
            });
            port.rx.packets.add(burst.len() as u64);
            port.rx.bytes.add(bytes.sum());
        }
    }
}
