//! The constants of the machine and its pace.

use tidegate_fastpath::types::Nanos;

/// An address learned from a request is confirmed after this time (RFC 4861 §10, DELAY_FIRST_PROBE_TIME).
pub const FIRST_PROBE: Nanos = Nanos::from_ms(5_000);
/// How long a failed address stays failed before it may be asked for again.
pub const HOLD_DOWN: Nanos = Nanos::from_ms(3_000);
/// A learned VTEP that is not heard of for this time is forgotten.
pub const VTEP_IDLE: Nanos = Nanos::from_ms(600_000);
/// Between two announcements of one address, and how many there are (RFC 5227 §1.1, ANNOUNCE_INTERVAL, ANNOUNCE_NUM).
pub const ANNOUNCE_INTERVAL: Nanos = Nanos::from_ms(2_000);
/// See [`ANNOUNCE_INTERVAL`].
pub const ANNOUNCE_NUM: u8 = 2;
/// Between two defences of one address (RFC 5227 §1.1, DEFEND_INTERVAL).
pub const DEFEND_INTERVAL: Nanos = Nanos::from_ms(10_000);
/// Deferred work is looked at again after this time.
pub const DEFER: Nanos = Nanos::from_ms(50);

/// How fast the machine asks and how long it believes; from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two requests or probes for one address.
    pub retransmit: Nanos,
    /// Requests or probes until an address counts as failed; at least 1.
    pub attempts: u8,
    /// Mean time that a confirmation is good for; jittered by a factor of 0.5 to 1.5.
    pub reachable: Nanos,
}

impl Default for Timing {
    /// RFC 4861 §10: RETRANS_TIMER, MAX_MULTICAST_SOLICIT, REACHABLE_TIME.
    fn default() -> Timing {
        Timing { retransmit: Nanos::from_ms(1_000), attempts: 3, reachable: Nanos::from_ms(30_000) }
    }
}

/// What bounds the machine, beside the capacity of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Incomplete and failed entries of one network.
    pub unresolved_per_net: usize,
    /// Entries of one network.
    pub entries_per_net: usize,
    /// Learned VTEPs of one network.
    pub vteps_per_net: usize,
    /// ARP frames sent, per second, over all networks.
    pub frames_per_s: u32,
    /// ARP frames sent at once.
    pub frames_burst: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            unresolved_per_net: 512,
            entries_per_net: 16_384,
            vteps_per_net: 1_024,
            frames_per_s: 5_000,
            frames_burst: 256,
        }
    }
}

/// A token bucket of frames. A send that is larger than what is left goes out whole and leaves a debt, so that a
/// replication to more VTEPs than the burst is slow, not impossible.
#[derive(Debug)]
pub(super) struct Budget {
    /// Frames times 10^9.
    level: i128,
    full: i128,
    per_s: u32,
    at: Nanos,
}

impl Budget {
    pub(super) fn new(per_s: u32, burst: u32) -> Budget {
        let full = i128::from(burst.max(1)) * 1_000_000_000;
        Budget { level: full, full, per_s, at: Nanos(0) }
    }

    /// Whether anything may be sent now.
    pub(super) fn ready(&mut self, now: Nanos) -> bool {
        let passed = now.0.saturating_sub(self.at.0);
        self.at = self.at.max(now);
        self.level = (self.level + i128::from(passed) * i128::from(self.per_s)).min(self.full);
        self.level > 0
    }

    pub(super) fn spend(&mut self, frames: usize) {
        self.level -= frames as i128 * 1_000_000_000;
    }
}
