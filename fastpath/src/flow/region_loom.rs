//! What stands in for the region in a loom model: loom's atomics cannot be made of zeroed memory, and there are no files.

use std::{fs::File, io};

use super::{bucket::Bucket, preamble::Preamble, record::Record, sync::AtomicU64};

pub(super) const HUGE_PAGE_BYTES: usize = 1 << 21;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) labels: usize,
    pub(super) buckets: usize,
    pub(super) records: usize,
}

#[derive(Debug)]
pub(super) struct Region {
    header: [AtomicU64; Preamble::WORDS],
    buckets: Box<[Bucket]>,
    records: Box<[Record]>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets<'a>(&'a [Bucket]);

impl<'a> Buckets<'a> {
    pub(super) fn bucket(&self, number: usize) -> &'a Bucket {
        &self.0[number & (self.0.len() - 1)]
    }
}

impl Sizes {
    pub(super) const fn bytes(self) -> usize {
        64 * (self.buckets + self.records)
    }
}

impl Region {
    pub(super) fn new(sizes: Sizes) -> io::Result<Region> {
        Ok(Region {
            header: std::array::from_fn(|_| AtomicU64::new(0)),
            buckets: (0..sizes.buckets).map(|_| Bucket::default()).collect(),
            records: (0..sizes.records).map(|_| Record::default()).collect(),
        })
    }

    pub(super) fn of_file(_: File, _: Sizes, _: bool) -> io::Result<Region> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn header(&self) -> &[AtomicU64; Preamble::WORDS] {
        &self.header
    }

    pub(super) fn labels(&self) -> &[AtomicU64] {
        &[]
    }

    pub(super) fn bucket(&self, number: usize) -> &Bucket {
        &self.buckets[number & (self.buckets.len() - 1)]
    }

    pub(super) fn by_hash(&self) -> Buckets<'_> {
        Buckets(&self.buckets)
    }

    pub(super) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes { labels: 0, buckets: self.buckets.len(), records: self.records.len() }
    }

    pub(super) const fn hugepages(&self) -> bool {
        false
    }

    pub(super) fn begin(&self, _: &Preamble) {}

    pub(super) fn wipe(&self) {
        self.buckets.iter().for_each(Bucket::reset);
    }
}
