//! The first packet of a flow: decide, and remember the decision.

use super::{Engine, Packet, Round, Stop, fragment::goes_by_ports, wait::Waited};
use crate::{
    buffer::Buffer,
    channel::Notice,
    flow::{FlowId, NotLearned, Program},
    io::Io,
    reason::{DropReason, Event},
    stage::{
        ingress::Origin,
        route::{self, Decision},
    },
    table::Tables,
    types::Nanos,
};

/// A decision, and whether the flow may keep it.
#[derive(Clone, Copy)]
pub(super) struct Decided {
    pub(super) program: Program,
    /// False where the next packet must be asked again whether its sender moved.
    lasting: bool,
}

impl<B: Buffer> Engine<B> {
    /// Decides. A packet that shows that a VM moved waits first until control has followed: its answer can not overtake.
    #[inline(always)]
    pub(super) fn decide(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
    ) -> Result<Decided, Stop> {
        if Some(packet.ip.protocol()) == self.settings.zsnp_protocol && !packet.own {
            is_from_underlay(round.tables, packet).then_some(()).ok_or(DropReason::ZsnpForged)?;
        }
        let mut lasting = true;
        if route::has_moved(&self.neighbours, &packet.key, &packet.origin) {
            lasting = self.moved(round.now, packet)?;
        }
        if let Some(program) = self.answer_of_forward(round, packet)? {
            return Ok(Decided { program, lasting });
        }
        if let Some(program) = self.masked(round, packet)? {
            return Ok(Decided { program, lasting });
        }
        match route::decide(round.tables, &self.neighbours, packet.vrf, &packet.key, &packet.origin)? {
            Decision::Forward(program) => Ok(Decided { program, lasting }),
            Decision::Local(net) => Err(Stop::Local(net)),
            Decision::Unknown { net, ip } => Err(Stop::Wait(Some((net, ip)))),
            Decision::Out => self.leave_vpc(round, packet).map(|program| Decided { program, lasting }),
            Decision::Vip(vip) => {
                self.enter_vpc(round, packet, vip).map(|program| Decided { program, lasting })
            }
        }
    }

    /// Tells control of a move and lets the packet wait, once and within bounds; after that it goes on. Returns whether
    /// the flow may remember where it came from: only if control knows, or another packet must say so again.
    #[cold]
    #[inline(never)]
    fn moved(&mut self, now: Nanos, packet: &Packet) -> Result<bool, Stop> {
        let told = match packet.waited {
            Waited::No => {
                self.counters.event(Event::Moved);
                let Origin { net, mac, vtep } = packet.origin;
                let told = self.notice(now, Notice::Moved { net, ip: packet.ip.source(), mac, vtep });
                if told && self.waiting.moves.has_room(packet) {
                    return Err(Stop::Moved);
                }
                told
            }
            Waited::Move => return Err(Stop::Moved),
            Waited::MoveInVain => true,
            // It came before its sender was seen elsewhere. What it shows is old, and control must not believe it.
            Waited::NextHop | Waited::FirstFragment => return Ok(false),
        };
        self.counters.event(Event::MoveUnanswered);
        Ok(told)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn learn(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
    ) -> Result<Program, Stop> {
        if packet.waited == Waited::No {
            self.counters.event(Event::FlowMiss);
        }
        let Decided { program, lasting } = self.decide(round, packet)?;
        let mut counted = false;
        if lasting && !is_of_datagram(round.tables, &program, packet) {
            let learned = self.flows.learn(&packet.key, packet.hash, program, round.now.tick());
            counted = self.count_learned(round.now, packet, learned, Event::FlowLearn);
        }
        if !counted {
            self.count_alone(round.tables, packet, &program);
        }
        Ok(program)
    }

    /// The entry is of another policy generation, of another VTEP, or names a next hop that is gone.
    #[cold]
    #[inline(never)]
    pub(super) fn learn_again(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
    ) -> Result<Program, Stop> {
        self.hold_refusal(round, packet)?;
        let Decided { program, lasting } = self.decide(round, packet)?;
        let mut counted = false;
        if lasting && !is_of_datagram(round.tables, &program, packet) && self.entry(packet).is_some() {
            let learned = self.flows.relearn(&packet.key, packet.hash, program, round.now.tick());
            counted = self.count_learned(round.now, packet, learned, Event::FlowRedecide);
        }
        if !counted {
            self.count_alone(round.tables, packet, &program);
        }
        Ok(program)
    }

    /// Returns whether the packet is counted on its entry.
    pub(super) fn count_learned(
        &mut self,
        now: Nanos,
        packet: &Packet,
        learned: Result<FlowId, NotLearned>,
        event: Event,
    ) -> bool {
        match learned {
            Ok(id) => {
                self.counters.event(event);
                if event == Event::FlowLearn || packet.waited != Waited::NextHop {
                    self.flows.touch(id, usize::from(packet.ip.total_len()), now.tick(), packet.tcp);
                }
                true
            }
            // Plain forwarding needs no entry: the packet goes on, only slower (docs/adr/0003-flow-table-full.md).
            Err(not) => {
                let event = if not == NotLearned::Full { Event::FlowFull } else { Event::FlowBusy };
                self.counters.event(event);
                false
            }
        }
    }
}

/// Whether a packet came on a network where tunnels end, and in none of them.
fn is_from_underlay(tables: &Tables, packet: &Packet) -> bool {
    tables.vteps.iter().any(|vtep| vtep.underlay == packet.origin.net)
}

/// Whether a decision is for the fragments of one datagram alone: others of the same hosts may be of other flows.
fn is_of_datagram(tables: &Tables, program: &Program, packet: &Packet) -> bool {
    packet.key.is_fragment() && goes_by_ports(tables, program, packet)
}
