//! The keyed hash and what is cut out of it: home bucket, tag, alternate bucket.

use std::hash::{BuildHasher, Hasher, RandomState as OsKeyed};

use super::{FlowHash, FlowKey};

/// The random key of one region. Kept with it, because the places of its entries depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HashKey(pub(super) [u64; 4]);

impl HashKey {
    /// A key nobody can guess: SipHash under the key that the standard library takes from the operating system.
    pub(super) fn random() -> HashKey {
        let os = OsKeyed::new();
        HashKey([0u64, 1, 2, 3].map(|n| os.hash_one(n)))
    }
}

/// [`FlowKey`] to [`FlowHash`].
#[derive(Clone, Debug)]
pub(super) struct KeyedHasher(ahash::RandomState);

impl KeyedHasher {
    pub(super) fn new(HashKey([a, b, c, d]): HashKey) -> KeyedHasher {
        KeyedHasher(ahash::RandomState::with_seeds(a, b, c, d))
    }

    #[inline(always)]
    pub(super) fn hash(&self, key: &FlowKey) -> FlowHash {
        let [addresses, rest] = key.to_words();
        let mut hasher = self.0.build_hasher();
        hasher.write_u128(u128::from(rest) << 64 | u128::from(addresses));
        FlowHash(hasher.finish())
    }
}

impl KeyedHasher {
    /// Of words that are no key.
    pub(super) fn hash_words(&self, words: &[u64]) -> u64 {
        let mut hasher = self.0.build_hasher();
        words.iter().for_each(|word| hasher.write_u64(*word));
        hasher.finish()
    }

    /// Of a name.
    pub(super) fn hash_name(&self, name: &str) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(name.as_bytes());
        hasher.finish()
    }
}

/// Sixteen bits of the hash that stand for a key in its bucket; 0 means an empty slot and is never a key's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u16);

impl Tag {
    pub(super) const fn get(self) -> u16 {
        self.0
    }
}

/// Bits 0.. place the home, 20.. the way from there to the alternate, 48.. are the tag.
impl FlowHash {
    #[inline(always)]
    pub(super) const fn tag(self) -> Tag {
        let tag = (self.0 >> 48) as u16;
        Tag(if tag == 0 { 1 } else { tag })
    }

    /// Index of the home bucket; `mask` is the number of buckets (a power of two) minus 1.
    #[inline(always)]
    pub(super) const fn home(self, mask: usize) -> usize {
        self.0 as usize & mask
    }

    /// Index of the other bucket, never the home (there are at least two buckets).
    #[inline(always)]
    pub(super) const fn alternate(self, mask: usize) -> usize {
        self.home(mask) ^ (((self.0 >> 20) as usize | 1) & mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alternate_is_never_the_home_and_no_tag_is_0() {
        for raw in [0, 1, u64::MAX, 1 << 20, 0xffff_ffff_0000_0000, 0x0000_ffff_ffff_ffff] {
            let hash = FlowHash(raw);
            assert_ne!(hash.tag().get(), 0, "{raw:x}");
            for mask in [1, 3, 0xff, (1 << 26) - 1] {
                assert_ne!(hash.home(mask), hash.alternate(mask), "{raw:x} {mask:x}");
                assert!(hash.alternate(mask) <= mask);
            }
        }
    }

    #[test]
    fn two_regions_hash_differently() {
        let key = FlowKey::from_words([1, 2]);
        let [a, b] = [HashKey::random(), HashKey::random()].map(|k| KeyedHasher::new(k).hash(&key));
        assert_ne!(a, b);
    }
}
