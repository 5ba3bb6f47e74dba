//! The time stamp counter.

use crate::{eal::Eal, sys};

/// The counter of this CPU: TSC on x86-64, the virtual counter on aarch64. Not ordered with other instructions.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: reads a register; no precondition.
    unsafe { sys::tg_shim_rdtsc() }
}

/// Counts per second, as EAL measured it at start.
pub fn hz(_eal: &Eal) -> u64 {
    // SAFETY: set by rte_eal_init, which has run: the caller holds an `Eal`.
    unsafe { sys::rte_get_tsc_hz() }
}
