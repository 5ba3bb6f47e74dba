//! RENEW: what is in use.

use super::shortcut::Match;
use crate::{receiver::Refusal, tlv::Value};

/// Most hits of one RENEW; more go into more messages.
pub const HITS_MAX: usize = 32;

/// A shortcut in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Which.
    pub matches: Match,
    /// Packets that took it since it was installed.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
}

impl Hit {
    pub(super) fn octets(&self) -> Vec<u8> {
        [&self.matches.octets()[..], &self.packets.to_be_bytes(), &self.bytes.to_be_bytes()].concat()
    }

    pub(super) fn read(value: &mut Value<'_>) -> Result<Hit, Refusal> {
        Ok(Hit { matches: Match::read(value)?, packets: value.u64()?, bytes: value.u64()? })
    }
}
