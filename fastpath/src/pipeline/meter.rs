//! What passes public addresses ([`Meter`](crate::table::nat::Meter)). Packets of a flow are counted on its entry; here is what
//! entries leave behind, and what has none.

use super::{Engine, Packet};
use crate::{
    buffer::Buffer,
    flow::{Program, PublicEnd},
    stage::translation,
    table::{Tables, nat::Amount},
};

impl<B: Buffer> Engine<B> {
    /// Adds up what the entries had counted whose records were taken back.
    #[inline(always)]
    pub(super) fn count_ended(&mut self, tables: &Tables) {
        for ended in self.flows.take_ended() {
            count(tables, &ended.end, ended.amount);
        }
    }

    /// Counts a packet that goes by `program`, and on no entry.
    #[cold]
    pub(super) fn count_alone(&self, tables: &Tables, packet: &Packet, program: &Program) {
        if let Some(end) = PublicEnd::of(&packet.key, program) {
            count(tables, &end, Amount::packet(packet.ip.total_len()));
        }
    }
}

/// Counts for an address, if the configuration has it still: what passed one that is gone is nobody's.
pub(super) fn count(tables: &Tables, end: &PublicEnd, amount: Amount) {
    let vip = translation::vip_at(tables, end.net, end.address).and_then(|id| tables.vip(id));
    if let Some(vip) = vip {
        vip.meter.add(end.side, amount);
    }
}
