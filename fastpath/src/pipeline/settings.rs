//! What a worker is allowed to do.

use crate::{flow::FlowTimeouts, limit::RateLimit};

/// What a worker is allowed to do, fixed at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// ICMP errors per second and worker (RFC 1812 §4.3.2.8).
    pub icmp_errors_per_s: u32,
    /// Packets for the gateway itself per second and worker.
    pub local_per_s: u32,
    /// Notices of each kind to control per second and worker.
    pub notices_per_s: u32,
    /// Packets that may wait for neighbours, per worker.
    pub held_max: usize,
    /// How long a packet waits, in ms.
    pub held_ms: u32,
    /// When idle flow entries go.
    pub timeouts: FlowTimeouts,
    /// The IPv4 protocol number of ZSNP, which nobody but hosts on the underlay may send; `None` where it is not spoken.
    pub zsnp_protocol: Option<u8>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            icmp_errors_per_s: 1_000,
            local_per_s: 50_000,
            notices_per_s: 10_000,
            held_max: 1_024,
            held_ms: 3_000,
            timeouts: FlowTimeouts::recommended(60),
            zsnp_protocol: None,
        }
    }
}

/// Fragmented datagrams of translated flows per second and worker that are noted.
const FRAGMENTED_PER_S: u32 = 20_000;

/// The rates of one worker.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) icmp_errors: RateLimit,
    pub(super) resets: RateLimit,
    pub(super) local: RateLimit,
    pub(super) zsnp: RateLimit,
    pub(super) arp: RateLimit,
    pub(super) resolve: RateLimit,
    pub(super) moved: RateLimit,
    pub(super) fragments: RateLimit,
}

impl Limits {
    pub(super) fn new(settings: &Settings) -> Limits {
        let notices = RateLimit::new(settings.notices_per_s, 256);
        Limits {
            icmp_errors: RateLimit::new(settings.icmp_errors_per_s, 50),
            resets: RateLimit::new(settings.icmp_errors_per_s, 50),
            local: RateLimit::new(settings.local_per_s, 512),
            zsnp: RateLimit::new(settings.local_per_s, 512),
            arp: notices,
            resolve: notices,
            moved: notices,
            fragments: RateLimit::new(FRAGMENTED_PER_S, 1_024),
        }
    }
}
