//! Rate limits of a packet that is about to be sent: once, when nothing lets it wait any more.

use super::{Engine, Packet};
use crate::{
    buffer::Buffer, flow::Program, policer, reason::DropReason, stage::policing, table::Tables, types::Nanos,
};

impl<B: Buffer> Engine<B> {
    /// Charges a packet to the buckets of its flow.
    ///
    /// # Errors
    /// One of them has no credit for it; none is charged.
    #[inline(always)]
    pub(super) fn police(
        &self,
        tables: &Tables,
        now: Nanos,
        program: &Program,
        packet: &Packet,
    ) -> Result<(), DropReason> {
        if program.policers.is_none() { Ok(()) } else { self.charge(tables, now, program, packet) }
    }

    #[inline(never)]
    fn charge(
        &self,
        tables: &Tables,
        now: Nanos,
        program: &Program,
        packet: &Packet,
    ) -> Result<(), DropReason> {
        let buckets = policing::buckets(tables, &packet.key, program);
        let passes = policer::pass(&buckets, self.id.index(), now, packet.ip.total_len());
        if passes { Ok(()) } else { Err(DropReason::Policed) }
    }
}
