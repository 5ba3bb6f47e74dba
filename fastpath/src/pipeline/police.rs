//! Rate limits of a packet that is about to be sent: once, when nothing lets it wait any more.

use super::{Engine, Packet};
use crate::{
    buffer::Buffer,
    flow::{FlowKey, Hit, Program},
    policer,
    reason::DropReason,
    stage::{express::Express, policing},
    table::Tables,
    types::Nanos,
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
        let passes = program.policers.is_none()
            || self.charge(tables, now, program, &packet.key, packet.ip.total_len());
        if passes { Ok(()) } else { Err(DropReason::Policed) }
    }

    /// The same on the short way: at once where one bucket of a VIP is all, and this worker has the credit.
    #[inline(always)]
    pub(super) fn passes(&self, tables: &Tables, now: Nanos, packet: &Express, hit: Hit<'_>) -> bool {
        let side = hit.translation().side();
        tables.policing.pass_at_once(hit.policers(), side, self.id.index(), packet.len)
            || self.charge(tables, now, &hit.program(), &packet.key, packet.len)
    }

    #[inline(never)]
    fn charge(&self, tables: &Tables, now: Nanos, program: &Program, key: &FlowKey, ip_len: u16) -> bool {
        let buckets = policing::buckets(tables, key, program);
        policer::pass(&buckets, self.id.index(), now, ip_len)
    }
}
