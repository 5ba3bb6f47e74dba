//! HELLO: what a sender can do, what a host counts, how its paths are.

use std::net::Ipv4Addr;

use crate::{receiver::Refusal, tlv::Value};

/// Most paths of one HELLO; more go into more messages.
pub const PATHS_MAX: usize = 32;

/// What a sender can do; bits that we do not know are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Takes SHORTCUTs for its VMs.
    pub const SOURCE: Capabilities = Capabilities(1);
    /// Takes direct packets to its VMs.
    pub const DESTINATION: Capabilities = Capabilities(2);
    /// Answers PROBEs.
    pub const PROBE: Capabilities = Capabilities(4);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 | other.0)
    }

    /// Whether it has all of `others`.
    pub const fn has(self, others: Capabilities) -> bool {
        self.0 & others.0 == others.0
    }
}

/// Numbers of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Shortcuts installed now.
    pub shortcuts: u64,
    /// Packets that took any, since the agent started.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
    /// ZSNP messages that it refused.
    pub refused: u64,
}

/// What PROBEs of a host say of the path to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathQuality {
    /// The other's tunnel end.
    pub vtep: Ipv4Addr,
    /// Round trip, in µs.
    pub rtt_us: u32,
    /// Its mean deviation, in µs.
    pub jitter_us: u32,
    /// Of the last 1000 PROBEs, or as many as there were, those without an answer: per thousand.
    pub loss_permille: u16,
}

impl Counters {
    pub(super) fn octets(&self) -> Vec<u8> {
        [self.shortcuts, self.packets, self.bytes, self.refused].map(u64::to_be_bytes).concat()
    }

    pub(super) fn read(value: &mut Value<'_>) -> Result<Counters, Refusal> {
        let [shortcuts, packets, bytes, refused] = [value.u64()?, value.u64()?, value.u64()?, value.u64()?];
        Ok(Counters { shortcuts, packets, bytes, refused })
    }
}

impl PathQuality {
    pub(super) fn octets(&self) -> Vec<u8> {
        let us = [self.rtt_us, self.jitter_us].map(u32::to_be_bytes).concat();
        [&self.vtep.octets()[..], &us, &self.loss_permille.to_be_bytes()].concat()
    }

    pub(super) fn read(value: &mut Value<'_>) -> Result<PathQuality, Refusal> {
        let (vtep, rtt_us, jitter_us) = (value.address()?, value.u32()?, value.u32()?);
        match value.u16()? {
            loss_permille @ 0..=1000 => Ok(PathQuality { vtep, rtt_us, jitter_us, loss_permille }),
            _ => Err(Refusal::Malformed),
        }
    }
}
