//! The first packet of a flow: decide, and remember the decision.

use super::{Engine, Packet, Round, Stop};
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
    types::Nanos,
};

impl<B: Buffer> Engine<B> {
    /// Decides, and tells control where the decision shows that a VM moved.
    #[inline(always)]
    pub(super) fn decide(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
    ) -> Result<Program, Stop> {
        if route::has_moved(&self.neighbours, &packet.key, &packet.origin) {
            self.counters.event(Event::Moved);
            let Origin { net, mac, vtep } = packet.origin;
            self.notice(round.now, Notice::Moved { net, ip: packet.ip.source(), mac, vtep });
        }
        match route::decide(round.tables, &self.neighbours, packet.vrf, &packet.key, &packet.origin)? {
            Decision::Forward(program) => Ok(program),
            Decision::Local(net) => Err(Stop::Local(net)),
            Decision::Unknown { net, ip } => Err(Stop::Wait(Some((net, ip)))),
            Decision::Out | Decision::Vip(_) => Err(DropReason::RouteUnusable.into()),
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn learn(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        packet: &Packet,
    ) -> Result<Program, Stop> {
        if !packet.waited {
            self.counters.event(Event::FlowMiss);
        }
        let program = self.decide(round, packet)?;
        let learned = self.flows.learn(&packet.key, packet.hash, program, round.now.tick());
        self.count_learned(round.now, packet, learned, Event::FlowLearn);
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
        let program = self.decide(round, packet)?;
        if let Some((id, _)) = self.entry(packet) {
            let learned = self.flows.relearn(id, &packet.key, packet.hash, program, round.now.tick());
            self.count_learned(round.now, packet, learned, Event::FlowRedecide);
        }
        Ok(program)
    }

    pub(super) fn count_learned(
        &mut self,
        now: Nanos,
        packet: &Packet,
        learned: Result<FlowId, NotLearned>,
        event: Event,
    ) {
        match learned {
            Ok(id) => {
                self.counters.event(event);
                if event == Event::FlowLearn || !packet.waited {
                    self.flows.touch(id, usize::from(packet.ip.total_len()), now.tick());
                }
            }
            // Plain forwarding needs no entry: the packet goes on, only slower (docs/adr/0003-flow-table-full.md).
            Err(NotLearned::Full) => self.counters.event(Event::FlowFull),
            Err(NotLearned::Busy) => self.counters.event(Event::FlowBusy),
        }
    }
}
