//! Asks the CPU for a cache line before it is needed, so that the burst does not wait for memory.
//!
//! One of the few places of this crate with `unsafe`: the instruction reads nothing and cannot fault, the intrinsic is
//! `unsafe` only because it takes a raw pointer.
#![expect(unsafe_code, reason = "the prefetch instruction; no value is read through the pointer")]

/// Begins to load the line of `p` for reading, into all cache levels. Cost: one instruction, and one of the core's line fill
/// buffers (10 to 16) until the line has come.
#[inline(always)]
pub fn read<T>(p: &T) {
    at(core::ptr::from_ref(p));
}

/// As [`read`] for the `n`th of some; beyond their end for a line that nobody reads, which does no harm and is cheaper than to
/// ask whether it is there.
#[inline(always)]
pub fn nth<T>(all: &[T], n: usize) {
    at(all.as_ptr().wrapping_add(n));
}

#[inline(always)]
fn at<T>(p: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: PREFETCHT0 is a hint; it never faults and changes nothing but caches (Intel SDM, PREFETCHh).
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: PRFM is a hint; it never faults and changes nothing but caches (Arm ARM, PRFM).
    unsafe {
        core::arch::asm!(
            "prfm pldl1keep, [{0}]",
            in(reg) p,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = p;
}
