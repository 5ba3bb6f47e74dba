//! What stands in for the region in a loom model: loom's atomics cannot be made of zeroed memory.

use std::io;

use super::{bucket::Bucket, hash::HashKey, record::Record};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) buckets: usize,
    pub(super) records: usize,
}

#[derive(Debug)]
pub(super) struct Region {
    buckets: Box<[Bucket]>,
    records: Box<[Record]>,
}

impl Sizes {
    pub(super) const fn bytes(self) -> usize {
        64 * (self.buckets + self.records)
    }
}

impl Region {
    pub(super) fn new(sizes: Sizes, _: HashKey) -> io::Result<Region> {
        Ok(Region {
            buckets: (0..sizes.buckets).map(|_| Bucket::default()).collect(),
            records: (0..sizes.records).map(|_| Record::default()).collect(),
        })
    }

    pub(super) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes { buckets: self.buckets.len(), records: self.records.len() }
    }

    pub(super) const fn hugepages(&self) -> bool {
        false
    }
}
