//! How the gateway speaks ZSNP.

use std::path::PathBuf;

/// How the gateway speaks ZSNP; see `docs/config.md` for ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zsnp {
    /// The file of keys.
    pub keys: PathBuf,
    /// IPv4 protocol number.
    pub protocol: u8,
    /// Packets per second.
    pub threshold: u32,
    /// Of a shortcut.
    pub lifetime_s: u32,
    /// Until a host without an agent is asked again.
    pub hold_off_s: u32,
    /// At a time.
    pub pairs: usize,
    /// Of one VPC.
    pub pairs_per_vpc: usize,
    /// Of one VM.
    pub pairs_per_vm: usize,
    /// Per second.
    pub locates_per_second: u32,
    /// Whether shortcuts end with the gateway.
    pub withdraw_on_stop: bool,
}
