//! The one preallocated memory of a flow table: a header, labels, the buckets, the records. It holds indices and values, no
//! pointers, so that it can be a file which the next process maps again ([`FlowMemory`](super::memory::FlowMemory)).
//!
//! One of the few places of this crate with `unsafe`: it turns mapped memory into slices of atomics.
#![expect(unsafe_code, reason = "mapped memory is turned into slices of atomics here, and nowhere else")]

use std::{fmt, fs::File, io, marker::PhantomData, ptr::NonNull, slice};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::{bucket::Bucket, preamble::Preamble, record::Record, sync::AtomicU64, sync::Ordering};

/// Room of the header; what is behind it keeps its cache lines and its pages.
const HEADER_BYTES: usize = 4096;
const PAGE_BYTES: usize = 4096;
const HUGE_PAGE_BITS: u8 = 21;
/// Of a reserved hugepage.
pub(super) const HUGE_PAGE_BYTES: usize = 1 << HUGE_PAGE_BITS;

/// How many of each there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// A multiple of 8.
    pub(super) labels: usize,
    pub(super) buckets: usize,
    pub(super) records: usize,
}

/// What the memory begins with.
type Header = [AtomicU64; Preamble::WORDS];

/// The mapped memory of a table. Unmapped on drop; a file stays.
pub(super) struct Region {
    /// Keeps the mapping; the pointers below lead into it.
    _memory: MmapRaw,
    /// Keeps the lock that whoever opened the file has on it.
    _file: Option<File>,
    header: NonNull<Header>,
    labels: NonNull<AtomicU64>,
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
    /// All of them, and the header.
    pub(super) const fn bytes(self) -> usize {
        self.records_at() + self.records * size_of::<Record>()
    }

    const fn buckets_at(self) -> usize {
        HEADER_BYTES + self.labels * size_of::<AtomicU64>()
    }

    const fn records_at(self) -> usize {
        self.buckets_at() + self.buckets * size_of::<Bucket>()
    }
}

impl Region {
    /// Zeroed memory for `sizes`, all of it present: in 2 MiB pages if the kernel has some reserved, else in normal pages
    /// that the kernel may join (madvise). It ends with the process.
    pub(super) fn new(sizes: Sizes) -> io::Result<Region> {
        let (memory, start, hugepages) = map(sizes.bytes())?;
        Ok(Region::at(memory, start, None, sizes, hugepages))
    }

    /// The memory of a file, as it is there, shared with it; all of it present. `hugepages`: it is on a hugetlbfs.
    ///
    /// # Errors
    /// The kernel's, or the file is too short.
    pub(super) fn of_file(file: File, sizes: Sizes, hugepages: bool) -> io::Result<Region> {
        let whole = if hugepages { HUGE_PAGE_BYTES } else { PAGE_BYTES };
        let len = sizes.bytes().next_multiple_of(whole);
        if file.metadata()?.len() < len as u64 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let memory = MmapOptions::new().len(len).populate().map_raw(&file)?;
        let start = first_byte(&memory, 0)?;
        Ok(Region::at(memory, start, Some(file), sizes, hugepages))
    }

    /// `start` leads to at least `sizes.bytes()` bytes of `memory`, at a page's border.
    fn at(memory: MmapRaw, start: NonNull<u8>, file: Option<File>, sizes: Sizes, hugepages: bool) -> Region {
        assert!(sizes.buckets > 0, "a table without buckets");
        let at = |offset: usize| {
            // SAFETY: both callers mapped at least `sizes.bytes()` bytes from `start` on, and each offset is below that.
            unsafe { start.add(offset) }
        };
        Region {
            header: at(0).cast(),
            labels: at(HEADER_BYTES).cast(),
            buckets: at(sizes.buckets_at()).cast(),
            records: at(sizes.records_at()).cast(),
            _memory: memory,
            _file: file,
            sizes,
            hugepages,
        }
    }

    /// What the memory begins with.
    pub(super) fn header(&self) -> &Header {
        // SAFETY: (1) the memory is mapped as long as `self` lives, and page-aligned, so the header (and labels, buckets and
        // records, multiples of 64 behind it) is aligned; (2) any bytes are valid for it, it is made of atomic integers;
        // (3) only shared references are ever made.
        unsafe { self.header.as_ref() }
    }

    /// Words that control keeps beside the entries.
    pub(super) fn labels(&self) -> &[AtomicU64] {
        // SAFETY: as in `header`; `sizes` has room for so many.
        unsafe { slice::from_raw_parts(self.labels.as_ptr(), self.sizes.labels) }
    }

    #[inline(always)]
    pub(super) fn buckets(&self) -> &[Bucket] {
        // SAFETY: as in `header`; `sizes` has room for so many.
        unsafe { slice::from_raw_parts(self.buckets.as_ptr(), self.sizes.buckets) }
    }

    /// The bucket of the lowest bits of `number`.
    #[inline(always)]
    pub(super) fn bucket(&self, number: usize) -> &Bucket {
        let index = number & (self.sizes.buckets - 1);
        // SAFETY: as in `header`; there are buckets (see `at`), and `index` is below their number, as it has no bit that the
        // number less one has not.
        unsafe { self.buckets.add(index).as_ref() }
    }

    /// The buckets, for a pass over a burst.
    #[inline(always)]
    pub(super) fn by_hash(&self) -> Buckets<'_> {
        Buckets { first: self.buckets, mask: self.sizes.buckets - 1, region: PhantomData }
    }

    #[inline(always)]
    pub(super) fn records(&self) -> &[Record] {
        // SAFETY: as in `header`; `sizes` has room for so many.
        unsafe { slice::from_raw_parts(self.records.as_ptr(), self.sizes.records) }
    }

    pub(super) const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Whether the memory is in reserved 2 MiB pages.
    pub(super) const fn hugepages(&self) -> bool {
        self.hugepages
    }

    /// Makes zeroed memory a table's: the first word comes last, so that a file that was not finished is not taken for one.
    pub(super) fn begin(&self, preamble: &Preamble) {
        let words = preamble.to_words();
        for (word, value) in self.header().iter().zip(words).skip(1) {
            word.store(value, Ordering::Relaxed);
        }
        self.header()[0].store(words[0], Ordering::Release);
    }

    /// Empties buckets, records and labels.
    pub(super) fn wipe(&self) {
        self.buckets().iter().for_each(Bucket::reset);
        self.records().iter().for_each(Record::clear);
        self.labels().iter().for_each(|label| label.store(0, Ordering::Relaxed));
    }
}

/// The buckets of a region; where they are and how many is looked up once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets<'a> {
    first: NonNull<Bucket>,
    mask: usize,
    region: PhantomData<&'a Region>,
}

impl<'a> Buckets<'a> {
    /// The bucket of the lowest bits of `number`.
    #[inline(always)]
    pub(super) fn bucket(&self, number: usize) -> &'a Bucket {
        // SAFETY: as in `Region::bucket`; the region lives for `'a`.
        unsafe { self.first.add(number & self.mask).as_ref() }
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
    fn a_region_is_zeroed_and_apart() {
        // Small pages, and large enough to ask for 2 MiB pages.
        for buckets in [2, 1 << 15] {
            let sizes = Sizes { labels: 8, buckets, records: 5 };
            let region = Region::new(sizes).unwrap();
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
