//! The one preallocated memory of a flow table: a header, then the buckets, then the records. It holds indices and values,
//! no pointers, so that it can become a file that a restarted gateway maps again.
//!
//! One of the few places of this crate with `unsafe`: it turns mapped memory into slices of atomics.
#![expect(unsafe_code, reason = "mapped memory is turned into slices of atomics here, and nowhere else")]

use std::{fmt, io, ptr::NonNull, slice};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::{bucket::Bucket, hash::HashKey, record::Record, sync::AtomicU64, sync::Ordering};

/// "TGflows" and a zero byte, as a number.
const MAGIC: u64 = u64::from_le_bytes(*b"TGflows\0");
/// Changes with every change of the layout of header, bucket or record, and of what the hash makes of a key.
const LAYOUT: u64 = 1;
/// Room of the header; buckets and records behind it keep their cache lines and its pages.
const HEADER_BYTES: usize = 4096;
const PAGE_BYTES: usize = 4096;
const HUGE_PAGE_BITS: u8 = 21;
const HUGE_PAGE_BYTES: usize = 1 << HUGE_PAGE_BITS;

/// How many of each there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) buckets: usize,
    pub(super) records: usize,
}

/// What the memory begins with; written once, before any worker sees the region.
#[repr(C)]
struct Header {
    magic: AtomicU64,
    layout: AtomicU64,
    buckets: AtomicU64,
    records: AtomicU64,
    hash_key: [AtomicU64; 4],
}

/// The mapped memory of a table. Freed on drop.
pub(super) struct Region {
    /// Keeps the mapping; the pointers below lead into it.
    _memory: MmapRaw,
    buckets: NonNull<Bucket>,
    records: NonNull<Record>,
    sizes: Sizes,
    hugepages: bool,
}

// SAFETY: the pointers lead into memory that the region owns, is mapped for its whole life, and is only reached as atomics.
unsafe impl Send for Region {}
// SAFETY: as above; everything a shared reference gives out is made of atomics.
unsafe impl Sync for Region {}

impl Sizes {
    /// Header, buckets and records.
    pub(super) const fn bytes(self) -> usize {
        HEADER_BYTES + self.buckets * size_of::<Bucket>() + self.records * size_of::<Record>()
    }
}

impl Region {
    /// Zeroed memory for `sizes`, all of it present: in 2 MiB pages if the kernel has some reserved, else in normal pages
    /// that the kernel may join (madvise).
    pub(super) fn new(sizes: Sizes, key: HashKey) -> io::Result<Region> {
        let (memory, start, hugepages) = map(sizes.bytes())?;
        let at = |offset: usize| {
            // SAFETY: `map` gives at least `sizes.bytes()` bytes from `start` on, and each offset is below that.
            unsafe { start.add(offset) }
        };
        let header: NonNull<Header> = at(0).cast();
        let buckets: NonNull<Bucket> = at(HEADER_BYTES).cast();
        let records: NonNull<Record> = at(HEADER_BYTES + sizes.buckets * size_of::<Bucket>()).cast();
        // SAFETY: (1) the memory is mapped, and page-aligned at `start`, so header, buckets and records (multiples of 64
        // behind it) are aligned; (2) zeroes are valid for each of them, they are made of atomic integers; (3) nobody else
        // has the memory.
        let header = unsafe { header.as_ref() };
        header.magic.store(MAGIC, Ordering::Relaxed);
        header.layout.store(LAYOUT, Ordering::Relaxed);
        header.buckets.store(sizes.buckets as u64, Ordering::Relaxed);
        header.records.store(sizes.records as u64, Ordering::Relaxed);
        for (word, part) in header.hash_key.iter().zip(key.0) {
            word.store(part, Ordering::Relaxed);
        }
        Ok(Region { _memory: memory, buckets, records, sizes, hugepages })
    }

    #[inline(always)]
    pub(super) fn buckets(&self) -> &[Bucket] {
        // SAFETY: `new` made room for so many, zeroed and aligned; the memory lives as long as `self`, and only shared
        // references to it are ever made.
        unsafe { slice::from_raw_parts(self.buckets.as_ptr(), self.sizes.buckets) }
    }

    #[inline(always)]
    pub(super) fn records(&self) -> &[Record] {
        // SAFETY: as in `buckets`.
        unsafe { slice::from_raw_parts(self.records.as_ptr(), self.sizes.records) }
    }

    pub(super) const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Whether the memory is in reserved 2 MiB pages.
    pub(super) const fn hugepages(&self) -> bool {
        self.hugepages
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("sizes", &self.sizes).field("hugepages", &self.hugepages).finish()
    }
}

/// At least `bytes` of zeroed, present memory, where it starts, and whether it is in reserved hugepages.
fn map(bytes: usize) -> io::Result<(MmapRaw, NonNull<u8>, bool)> {
    let huge = bytes >= HUGE_PAGE_BYTES;
    if huge {
        let whole_pages = bytes.next_multiple_of(HUGE_PAGE_BYTES);
        let reserved = MmapOptions::new().len(whole_pages).huge(Some(HUGE_PAGE_BITS)).populate().map_anon();
        if let Ok(memory) = reserved {
            let memory = MmapRaw::from(memory);
            let start = first_byte(&memory, 0)?;
            return Ok((memory, start, true));
        }
    }
    // Room to begin at a 2 MiB border, where the kernel can join pages.
    let slack = if huge { HUGE_PAGE_BYTES } else { 0 };
    let memory = MmapRaw::from(MmapOptions::new().len(bytes + slack).map_anon()?);
    let to_border = (memory.as_ptr() as usize).wrapping_neg() % HUGE_PAGE_BYTES;
    let start = first_byte(&memory, if huge { to_border } else { 0 })?;
    if huge {
        // Only advice: where the kernel does not join pages, the table works with small ones.
        let _ = memory.advise(Advice::HugePage);
    }
    for page in (0..bytes).step_by(PAGE_BYTES) {
        // SAFETY: `page` is below `bytes`, which are mapped from `start` on, writable, and nobody else's yet. Volatile,
        // because writing zero to a zero page is the point: no worker waits for the kernel later.
        unsafe { start.add(page).write_volatile(0) };
    }
    Ok((memory, start, false))
}

fn first_byte(memory: &MmapRaw, offset: usize) -> io::Result<NonNull<u8>> {
    NonNull::new(memory.as_mut_ptr().wrapping_add(offset))
        .ok_or_else(|| io::Error::other("the kernel mapped address 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_zeroed_apart_and_remembers_its_key() {
        // Small pages, and large enough to ask for 2 MiB pages.
        for buckets in [2, 1 << 15] {
            let sizes = Sizes { buckets, records: 5 };
            let region = Region::new(sizes, HashKey([1, 2, 3, 4])).unwrap();
            assert_eq!(region.sizes(), sizes);
            assert_eq!((region.buckets().len(), region.records().len()), (buckets, 5));
            let ends = [region.buckets().as_ptr_range().end.addr(), region.records().as_ptr().addr()];
            assert_eq!(ends[0], ends[1]);
            assert_eq!(region.buckets().as_ptr().addr() % 64, 0);
            assert!(region.records().iter().all(|record| record.last_seen().is_none()));
            assert!(region.buckets().iter().all(|bucket| bucket.record(0).is_none() && !bucket.has_away()));
        }
    }
}
