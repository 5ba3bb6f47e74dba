//! What the agent may do once it runs: change programs and maps, nothing else.

use std::collections::HashSet;

use anyhow::{Context, Result};
use caps::{CapSet, Capability, CapsHashSet};

/// Kept. `CAP_NET_RAW` is given back as soon as the raw socket is open.
pub(super) const KEPT: [Capability; 2] = [Capability::CAP_NET_ADMIN, Capability::CAP_BPF];

/// Gives back every capability but [`KEPT`], for this process and whatever it would start.
///
/// # Errors
/// From the kernel.
pub(super) fn drop_all_but_kept() -> Result<()> {
    let kept: CapsHashSet = HashSet::from(KEPT);
    let has = caps::read(None, CapSet::Permitted).context("capabilities cannot be read")?;
    let kept: CapsHashSet = kept.intersection(&has).copied().collect();
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        let bounding = caps::read(None, CapSet::Bounding)?;
        for capability in bounding.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(())
}
