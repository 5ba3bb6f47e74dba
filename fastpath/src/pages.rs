//! Asks the kernel for large pages, so that memory that is read here and there misses the TLB less often.
//!
//! One of the few places of this crate with `unsafe`: the advice changes no byte, but takes a raw range.
#![expect(unsafe_code, reason = "madvise takes a raw range; no byte changes")]

/// A large page, in bytes (x86-64, and aarch64 with pages of 4 KiB).
pub const LARGE: usize = 2 << 20;

/// Joins what whole large pages `memory` has, at once where the kernel can (Linux 6.1, `MADV_COLLAPSE`), or when it gets to
/// it (khugepaged); whether it did at once. Where it cannot, all goes on with small ones.
///
/// For memory that stays: it copies, some 1.5 ms per MiB here. No large page within `memory`: nothing happens.
pub fn join<T>(memory: &[T]) -> bool {
    let range = memory.as_ptr_range();
    let start = range.start.addr().next_multiple_of(LARGE);
    let end = range.end.addr() / LARGE * LARGE;
    if start >= end || cfg!(miri) {
        return false;
    }
    let at = range.start.cast_mut().with_addr(start).cast();
    [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE].map(|advice| {
        // SAFETY: the range lies within `memory`, whose bytes neither advice changes, nor who may reach them (madvise(2)).
        unsafe { libc::madvise(at, end - start, advice) == 0 }
    })[1]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// KiB of large pages in the mapping that `address` lies in.
    fn large_kib(address: usize) -> Option<usize> {
        let text = fs::read_to_string("/proc/self/smaps").ok()?;
        let mut inside = false;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let first = words.next()?;
            if let Some((from, to)) = first.split_once('-') {
                let [from, to] = [from, to].map(|border| usize::from_str_radix(border, 16).ok());
                inside = from? <= address && address < to?;
            } else if inside && first == "AnonHugePages:" {
                return words.next()?.parse().ok();
            }
        }
        None
    }

    #[test]
    fn joined_pages_hold_what_they_held() {
        let memory: Vec<u32> = (0..8 << 20).collect();
        let joined = join(&memory);
        assert!(memory.iter().copied().eq(0..8 << 20));
        if joined {
            let large = large_kib(memory.as_ptr().addr() + LARGE).unwrap();
            assert!(large >= 30 << 10, "{large} KiB of 32 MiB");
        } else {
            eprintln!("this kernel joins no pages");
        }
        assert!(!join(&memory[..1000]), "no whole page");
    }
}
