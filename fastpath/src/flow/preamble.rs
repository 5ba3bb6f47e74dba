//! What the file of a flow table begins with, and whether a table can be made of the rest.

use thiserror::Error;

use super::{
    hash::{HashKey, KeyedHasher},
    region::Sizes,
};

/// "TGflows" and a zero byte, as a number.
const MAGIC: u64 = u64::from_le_bytes(*b"TGflows\0");
/// Changes with every change of the layout of preamble, labels, bucket or record.
const LAYOUT: u64 = 5;
/// So often in a row a table may be taken over by a process that ends soon.
const STARTS_MAX: u64 = 3;

/// Why a file is not taken over. The table begins empty then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotKept {
    /// There was none, or it was never finished.
    #[error("there are none")]
    Absent,
    /// Of another version of this program.
    #[error("they are of layout {found}, this program has layout {LAYOUT}")]
    Layout {
        /// Its layout.
        found: u64,
    },
    /// Made for other limits.
    #[error("gateway.limits.flows or the number of workers was another")]
    Limits,
    /// Made before the machine started.
    #[error("they are from before the machine started")]
    Boot,
    /// Written by something else, or torn off.
    #[error("the file is damaged")]
    Damaged,
    /// Whoever takes it over ends soon.
    #[error("the gateway ended {0} times in a row soon after it had taken them over")]
    Unsettled(u64),
}

/// The words at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Preamble {
    pub(super) sizes: Sizes,
    /// Of the machine's present run.
    pub(super) boot: u128,
    pub(super) key: HashKey,
}

impl Preamble {
    /// How many words; the last one changes while the table is in use.
    pub(super) const WORDS: usize = 13;
    /// Where it says how often the table was taken over since it was last [settled](super::FlowReader::settle).
    pub(super) const STARTS: usize = 12;
    /// Where it says what the hash makes of the words before it: neither they nor the hash are others then.
    const SEAL: usize = 11;

    /// As it is stored.
    pub(super) fn to_words(self) -> [u64; Preamble::WORDS] {
        let Sizes { labels, buckets, records } = self.sizes;
        let [a, b, c, d] = self.key.0;
        let boot = [self.boot as u64, (self.boot >> 64) as u64];
        let [labels, buckets, records] = [labels, buckets, records].map(|n| n as u64);
        let mut words = [MAGIC, LAYOUT, labels, buckets, records, boot[0], boot[1], a, b, c, d, 0, 0];
        words[Preamble::SEAL] = KeyedHasher::new(self.key).hash_words(&words[..Preamble::SEAL]);
        words
    }

    /// What stored words say, if a table of `sizes` can be made of what is behind them in this run of the machine.
    ///
    /// # Errors
    /// [`NotKept`].
    pub(super) fn read(words: [u64; Preamble::WORDS], sizes: Sizes, boot: u128) -> Result<Preamble, NotKept> {
        match words {
            [0, ..] => return Err(NotKept::Absent),
            [MAGIC, LAYOUT, ..] => {}
            [MAGIC, found, ..] => return Err(NotKept::Layout { found }),
            _ => return Err(NotKept::Damaged),
        }
        let [_, _, labels, buckets, records, boot_low, boot_high, a, b, c, d, _, starts] = words;
        let key = HashKey([a, b, c, d]);
        let of = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let found = Preamble {
            sizes: Sizes { labels: of(labels), buckets: of(buckets), records: of(records) },
            boot: u128::from(boot_high) << 64 | u128::from(boot_low),
            key,
        };
        match found {
            _ if found.to_words()[Preamble::SEAL] != words[Preamble::SEAL] => Err(NotKept::Damaged),
            _ if found.sizes != sizes => Err(NotKept::Limits),
            _ if found.boot != boot => Err(NotKept::Boot),
            _ if starts >= STARTS_MAX => Err(NotKept::Unsettled(starts)),
            _ => Ok(found),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { labels: 8, buckets: 4, records: 13 };

    #[test]
    fn each_reason_not_to_take_a_table_over_is_found() {
        let preamble = Preamble { sizes: SIZES, boot: 7 << 64 | 3, key: HashKey([1, 2, 3, 4]) };
        let words = preamble.to_words();
        assert_eq!(Preamble::read(words, SIZES, preamble.boot), Ok(preamble));
        let with = |at: usize, word: u64| {
            let mut words = words;
            words[at] = word;
            Preamble::read(words, SIZES, preamble.boot)
        };
        assert_eq!(with(0, 0), Err(NotKept::Absent));
        assert_eq!(with(1, 1), Err(NotKept::Layout { found: 1 }));
        assert_eq!(with(Preamble::STARTS, 2), Ok(preamble));
        assert_eq!(with(Preamble::STARTS, 3), Err(NotKept::Unsettled(3)));
        for at in (0..Preamble::STARTS).filter(|at| *at != 1) {
            assert_eq!(with(at, words[at] ^ 1 << 40), Err(NotKept::Damaged), "word {at}");
        }
        assert_eq!(
            Preamble::read(words, Sizes { records: 14, ..SIZES }, preamble.boot),
            Err(NotKept::Limits)
        );
        assert_eq!(Preamble::read(words, SIZES, 3), Err(NotKept::Boot));
    }
}
