//! Rate limits of a packet that is about to be sent: once, when nothing lets it wait any more.

use super::{Engine, Packet};
use crate::{
    buffer::Buffer,
    flow::{FlowKey, Hit, Program},
    policer::{self, Dscp, Policers, Verdict},
    reason::DropReason,
    stage::{express::Express, policing},
    table::Tables,
    types::Nanos,
    wire::{self, ipv4},
};

impl<B: Buffer> Engine<B> {
    /// Charges a packet to the buckets of its flow, which may give it another DSCP.
    ///
    /// # Errors
    /// One of them has no credit for it; none is charged.
    #[inline(always)]
    pub(super) fn police(
        &self,
        tables: &Tables,
        now: Nanos,
        program: &Program,
        buffer: &mut B,
        packet: &Packet,
    ) -> Result<(), DropReason> {
        let passes =
            program.policers.is_none() || self.charge(tables, now, program, &packet.key, buffer.bytes_mut());
        if passes { Ok(()) } else { Err(DropReason::Policed) }
    }

    /// The same on the short way: at once where one bucket of a VIP is all, and this worker has the credit. Not inlined, so that
    /// packets without rate limits have the registers.
    #[inline(never)]
    pub(super) fn passes(
        &self,
        tables: &Tables,
        now: Nanos,
        packet: &Express,
        policers: Policers,
        hit: Hit<'_>,
        ip: &mut [u8],
    ) -> bool {
        let side = hit.translation().side();
        tables.policing.pass_at_once(policers, side, self.id.index(), packet.len)
            || ip
                .first_chunk_mut()
                .is_some_and(|header| self.charge_flow(tables, now, &packet.key, hit, header))
    }

    /// All that asks more is out of line, and no more is handed over than registers hold.
    #[inline(never)]
    fn charge_flow(
        &self,
        tables: &Tables,
        now: Nanos,
        key: &FlowKey,
        hit: Hit<'_>,
        header: &mut [u8; ipv4::HEADER_LEN],
    ) -> bool {
        self.charge(tables, now, &hit.program(), key, header)
    }

    #[inline(never)]
    fn charge(&self, tables: &Tables, now: Nanos, program: &Program, key: &FlowKey, ip: &mut [u8]) -> bool {
        let Some(header) = ip.first_chunk::<{ ipv4::HEADER_LEN }>() else { return false };
        let (tos, ip_len) = (header[1], wire::be16(header, 2));
        let buckets = policing::buckets(tables, key, program);
        match policer::pass(&buckets, self.id.index(), now, ip_len, Dscp::of_tos(tos)) {
            Verdict::Pass => true,
            Verdict::Mark(dscp) => {
                ipv4::set_tos(ip, dscp.in_tos(tos));
                true
            }
            Verdict::Drop => false,
        }
    }
}
