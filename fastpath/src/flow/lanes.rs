//! Which of the eight tags of a bucket are the wanted one? In one comparison where the CPU has one for vectors.
//!
//! One of the few places of this crate with `unsafe`: the intrinsics are `unsafe` to call because a CPU might lack them.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vector instructions that every x86-64 CPU has")
)]

/// Which of eight 16-bit lanes, the lowest of the first word first, are `wanted`: bit `2 * n` for lane `n`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn lanes_equal(words: [u64; 2], wanted: u16) -> u32 {
    use core::arch::x86_64::{_mm_cmpeq_epi16, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi16};
    let [low, high] = words.map(u64::cast_signed);
    // SAFETY: SSE2 is part of x86-64; the instructions work on registers alone.
    let bytes = unsafe {
        let equal = _mm_cmpeq_epi16(_mm_set_epi64x(high, low), _mm_set1_epi16(wanted.cast_signed()));
        _mm_movemask_epi8(equal)
    };
    bytes.cast_unsigned() & 0x5555
}

/// Which of eight 16-bit lanes, the lowest of the first word first, are `wanted`: bit `2 * n` for lane `n`.
#[cfg(any(all(test, not(loom)), not(target_arch = "x86_64")))]
pub(super) fn lanes_equal_plain(words: [u64; 2], wanted: u16) -> u32 {
    const ONES: u64 = 0x0001_0001_0001_0001;
    const LOW_BITS: u64 = 0x7fff_7fff_7fff_7fff;
    let wanted = u64::from(wanted) * ONES;
    let [low, high] = words.map(|word| {
        let differs = word ^ wanted;
        // Bit 0 of each lane that is 0, nothing else (no carry passes from lane to lane).
        let equal = !(((differs & LOW_BITS) + LOW_BITS) | differs | LOW_BITS) >> 15;
        (equal | equal >> 14 | equal >> 28 | equal >> 42) as u32 & 0x55
    });
    high << 8 | low
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use lanes_equal_plain as lanes_equal;

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_forms_find_the_same_lanes(
            tags in prop::array::uniform8(prop::sample::select(vec![0u16, 1, 2, 0x7fff, 0x8000, 0x8001, 0xffff])),
            wanted in prop::sample::select(vec![0u16, 1, 2, 0x7fff, 0x8000, 0x8001, 0xffff]),
        ) {
            let word = |half: &[u16]| half.iter().rev().fold(0u64, |word, tag| word << 16 | u64::from(*tag));
            let words = [word(&tags[..4]), word(&tags[4..])];
            let expected = (0..8).filter(|&n| tags[n] == wanted).fold(0u32, |bits, n| bits | 1 << (2 * n));
            prop_assert_eq!(lanes_equal(words, wanted), expected);
            prop_assert_eq!(lanes_equal_plain(words, wanted), expected);
        }
    }
}
