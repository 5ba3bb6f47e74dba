//! What the session log hears of this worker.

use super::Engine;
use crate::{
    buffer::Buffer,
    channel::{NatChange, NatEvent},
    reason::Event,
    table::{Tables, nat::Logged},
    types::Nanos,
};

impl<B: Buffer> Engine<B> {
    /// Tells the session log, if it wants to know and control keeps up.
    pub(super) fn log(&self, tables: &Tables, at: Nanos, what: NatChange) {
        let wanted = match what {
            NatChange::Leased(_) | NatChange::GivenBack(_) => tables.logged != Logged::Nothing,
            NatChange::Opened(_) | NatChange::Ended(_) => tables.logged == Logged::Sessions,
        };
        if wanted && self.rings.nat_log.push(NatEvent { at, what }).is_err() {
            self.counters.event(Event::LogFull);
        }
    }
}
