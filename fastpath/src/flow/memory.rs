//! What a flow table is made in: memory that ends with the process, or a file that the next one takes over.
//!
//! The file is one mapping that old and new process have alike. Its preamble says what it was made for; a file that does not
//! fit is begun anew. Behind it are *labels*, words in which control keeps whose the numbers in the entries are, so that a
//! restarted gateway numbers the same objects alike; then buckets and records ([`table`](super::table)).

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{
    FlowTable, FlowTableError, NotKept,
    free::Shares,
    hash::{HashKey, KeyedHasher},
    preamble::Preamble,
    region::{HUGE_PAGE_BYTES, Region, Sizes},
    sync::{AtomicU64, Ordering},
};

/// What has numbers in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labelled {
    /// [`NetId`](crate::types::NetId).
    Net,
    /// [`VrfId`](crate::types::VrfId).
    Vrf,
}

/// Numbers of each kind.
const NUMBERS: usize = 1 << 16;
/// Labels of a file: 1 MiB.
const LABELS: usize = 2 * NUMBERS;

/// What the file of a table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFor {
    /// Flows (directions).
    pub capacity: usize,
    /// Workers.
    pub workers: usize,
    /// Names the present run of the machine: times of entries mean nothing in the next one.
    pub boot: u128,
    /// Whether the file is on a hugetlbfs with pages of 2 MiB.
    pub hugepages: bool,
}

/// The memory of a table that is not made yet ([`FlowTable::attach`]).
#[derive(Debug)]
pub struct FlowMemory {
    pub(super) region: Region,
    pub(super) key: HashKey,
    pub(super) shares: Shares,
    /// There may be entries.
    pub(super) kept: bool,
}

impl FileFor {
    /// The length that the file must have, in bytes.
    pub fn bytes(&self) -> u64 {
        let bytes = self.sizes().1.bytes();
        (if self.hugepages { bytes.next_multiple_of(HUGE_PAGE_BYTES) } else { bytes.next_multiple_of(4096) })
            as u64
    }

    /// Whether the file can be taken over; otherwise cut it to nothing and give it [`FileFor::bytes`] zeroes before
    /// [`FlowMemory::of_file`].
    ///
    /// # Errors
    /// [`NotKept`]: why not. A file that cannot be read is damaged.
    pub fn check(&self, file: &File) -> Result<(), NotKept> {
        self.preamble(file).map(drop)
    }

    fn preamble(&self, file: &File) -> Result<Preamble, NotKept> {
        let len = file.metadata().map_err(|_| NotKept::Damaged)?.len();
        if len == 0 {
            return Err(NotKept::Absent);
        }
        let mut bytes = [0; 8 * Preamble::WORDS];
        file.read_exact_at(&mut bytes, 0).map_err(|_| NotKept::Damaged)?;
        let mut words = [0; Preamble::WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        let preamble = Preamble::read(words, self.sizes().1, self.boot)?;
        if len == self.bytes() { Ok(preamble) } else { Err(NotKept::Damaged) }
    }

    fn sizes(&self) -> (Shares, Sizes) {
        FlowTable::sizes(self.capacity, self.workers, LABELS)
    }
}

impl FlowMemory {
    /// Memory of this process alone, empty, in hugepages where the kernel has some.
    ///
    /// # Errors
    /// [`FlowTableError`].
    pub fn private(capacity: usize, workers: usize) -> Result<FlowMemory, FlowTableError> {
        FlowMemory::with_key(capacity, workers, HashKey::random())
    }

    pub(super) fn with_key(
        capacity: usize,
        workers: usize,
        key: HashKey,
    ) -> Result<FlowMemory, FlowTableError> {
        let (shares, sizes) = checked(capacity, || FlowTable::sizes(capacity, workers, 0))?;
        let region = Region::new(sizes).map_err(|source| no_memory(capacity, sizes, source))?;
        Ok(FlowMemory { region, key, shares, kept: false })
    }

    /// The memory of a file: with what it holds if [`FileFor::check`] has nothing against it, else (it must be all zeroes
    /// then) empty. The file stays open as long as the table lives, so a lock on it does, too. Nobody else may change it.
    ///
    /// # Errors
    /// [`FlowTableError`]; also where the file is shorter than [`FileFor::bytes`].
    pub fn of_file(file: File, what: &FileFor) -> Result<FlowMemory, FlowTableError> {
        let (shares, sizes) = checked(what.capacity, || what.sizes())?;
        let found = what.preamble(&file);
        let no_memory = |source| no_memory(what.capacity, sizes, source);
        let region = Region::of_file(file, sizes, what.hugepages).map_err(no_memory)?;
        let kept = found.is_ok();
        let preamble = found.unwrap_or_else(|_| Preamble { sizes, boot: what.boot, key: HashKey::random() });
        if !kept {
            region.begin(&preamble);
        }
        region.header()[Preamble::STARTS].fetch_add(1, Ordering::Relaxed);
        Ok(FlowMemory { region, key: preamble.key, shares, kept })
    }

    /// Whether there may be entries of an earlier process.
    pub const fn is_kept(&self) -> bool {
        self.kept
    }

    /// Forgets what an earlier process left.
    pub fn discard(&mut self) {
        if std::mem::take(&mut self.kept) {
            self.region.wipe();
        }
    }

    /// All numbers with a label.
    pub fn labels(&self, of: Labelled) -> impl Iterator<Item = (u16, u64)> {
        let labels = (0..=u16::MAX).map(move |number| (number, label_at(&self.region, of, number)));
        labels
            .filter_map(|(number, label)| Some((number, label?.load(Ordering::Relaxed))))
            .filter(|(_, label)| *label != 0)
    }

    /// The label of a name: the same for the same name in one file, hardly ever the same for two, never 0.
    pub fn label_of(&self, name: &str) -> u64 {
        label_of(&KeyedHasher::new(self.key), name)
    }
}

/// The label of a name.
pub(super) fn label_of(hasher: &KeyedHasher, name: &str) -> u64 {
    hasher.hash_name(name).max(1)
}

/// Forgets how often the table was taken over.
pub(super) fn settle(region: &Region) {
    region.header()[Preamble::STARTS].store(0, Ordering::Relaxed);
}

/// The word of a number's label; a table without file has none.
pub(super) fn label_at(region: &Region, of: Labelled, number: u16) -> Option<&AtomicU64> {
    region.labels().get(of as usize * NUMBERS + usize::from(number))
}

fn checked<T>(capacity: usize, sizes: impl FnOnce() -> T) -> Result<T, FlowTableError> {
    if capacity > FlowTable::MAX_CAPACITY {
        return Err(FlowTableError::TooLarge { capacity });
    }
    Ok(sizes())
}

fn no_memory(capacity: usize, sizes: Sizes, source: io::Error) -> FlowTableError {
    FlowTableError::NoMemory { capacity, bytes: sizes.bytes(), source }
}
