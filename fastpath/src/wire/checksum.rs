//! The internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// The one's complement sum of `bytes`, not complemented, added to `start` (an earlier sum, so that parts can be summed
/// one after the other; every part but the last must have even length).
#[inline]
pub fn sum(bytes: &[u8], start: u16) -> u16 {
    // RFC 1071 §2(B): the sum does not depend on the byte order, so it is built from native words and swapped at the end.
    let mut total = u64::from(start.to_be());
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let (pairs, odd) = rest.as_chunks::<2>();
    for pair in pairs {
        total += u64::from(u16::from_ne_bytes(*pair));
    }
    if let [last] = odd {
        total += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    fold(total).to_be()
}

/// Folds a sum of 16-bit words into 16 bits.
#[inline(always)]
fn fold(mut total: u64) -> u16 {
    total = (total >> 32) + (total & 0xffff_ffff);
    total = (total >> 32) + (total & 0xffff_ffff);
    fold_pair(total as u32)
}

/// Adds both halves of a word in one's complement.
#[inline(always)]
const fn fold_pair(word: u32) -> u16 {
    // Both halves added to each other: the carry of the lower sum goes into the upper one, which is the result.
    (word.wrapping_add(word.rotate_left(16)) >> 16) as u16
}

/// The checksum field of a header of so many 32-bit words, given as numbers, whose checksum field is zero.
#[inline(always)]
pub fn of_words<const N: usize>(words: [u32; N]) -> u16 {
    !fold(words.into_iter().map(u64::from).sum())
}

/// The checksum field of a header whose other words have `sum` as their sum, once more words are in it.
#[inline(always)]
pub const fn extended(sum: u16, more: [u16; 4]) -> u16 {
    let [a, b, c, d] = more;
    // Far below 32 bits.
    !fold_pair(sum as u32 + a as u32 + b as u32 + c as u32 + d as u32)
}

/// Whether the words of a header, given as numbers, sum up right.
#[inline(always)]
pub fn verify_words<const N: usize>(words: [u32; N]) -> bool {
    fold(words.into_iter().map(u64::from).sum()) == 0xffff
}

/// Whether the 20 bytes of a header, given as numbers in either byte order, sum up right.
#[inline(always)]
pub fn verify_header(first: u64, second: u64, third: u32) -> bool {
    // A one's complement sum is the sum of the numbers modulo 2^16 - 1, and a carry out of 64 bits is worth 1. No sum of
    // words that are not all zero is zero, so what is left over must be nothing. Swapped bytes are the sum times 256, which is
    // nothing where that is (RFC 1071 §2(B)).
    let (sum, carry) = first.carrying_add(second, false);
    let (sum, carry) = sum.carrying_add(third as u64, carry);
    sum.wrapping_add(carry as u64).is_multiple_of(0xffff)
}

/// The checksum field for `bytes`, whose checksum field is zero.
#[inline]
pub fn of(bytes: &[u8]) -> u16 {
    !sum(bytes, 0)
}

/// Whether `bytes`, checksum field included, sum up right.
#[inline]
pub fn verify(bytes: &[u8]) -> bool {
    sum(bytes, 0) == 0xffff
}

/// The checksum after one 16-bit word changed from `old` to `new`.
#[inline(always)]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Change::of(old, new).apply(checksum)
}

/// The checksum after one word became 256 less, without a borrow: [`update`] for the time to live. Takes and gives a number in
/// the byte order of the packet, in which the sum is the same (RFC 1071 §2(B)).
#[inline(always)]
pub const fn less_256(checksum: u16) -> u16 {
    let sum = checksum as u32 + 0x0100u16.to_be() as u32;
    (sum + (sum >= 0xffff) as u32) as u16
}

/// What changed in summed words, to bring any number of checksums over them up to date (RFC 1624, equation 3): the sum of
/// the complements of the old words and of the new ones. Room for some ten thousand words.
///
/// Held in the byte order of the packet, in which words can be summed as they are (RFC 1071 §2(B)): what is read, taken in
/// and written back is then swapped nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change(u32);

impl Change {
    /// Nothing changed.
    pub const NONE: Change = Change(0);

    /// One word became 256 less, without a borrow.
    pub const LESS_256: Change = Change(complement(0x0100_u16.to_be()));

    /// One word changed.
    #[inline(always)]
    pub const fn of(old: u16, new: u16) -> Change {
        Change(complement(old.to_be()) + new.to_be() as u32)
    }

    /// Two words beside each other changed, such as an address.
    #[inline(always)]
    pub const fn of_pair(old: u32, new: u32) -> Change {
        let (total, carry) = (!old.to_be()).overflowing_add(new.to_be());
        let word = total.wrapping_add(carry as u32);
        Change((word >> 16) + (word & 0xffff))
    }

    /// Both changes.
    #[inline(always)]
    pub const fn and(self, other: Change) -> Change {
        Change(self.0 + other.0)
    }

    /// The checksum after the change. Costs one fold.
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        u16::from_be(!fold_pair(complement(checksum.to_be()) + self.0))
    }
}

/// The complement of a word, written so that those of several words become one constant.
#[inline(always)]
const fn complement(word: u16) -> u32 {
    0xffff - word as u32
}

/// The sum of a UDP or TCP pseudo header (RFC 9293 §3.1), to start [`sum`] with.
pub fn pseudo_header(
    source: std::net::Ipv4Addr,
    destination: std::net::Ipv4Addr,
    protocol: u8,
    len: u16,
) -> u16 {
    let mut words = [0u8; 12];
    words[..4].copy_from_slice(&source.octets());
    words[4..8].copy_from_slice(&destination.octets());
    words[9] = protocol;
    words[10..].copy_from_slice(&len.to_be_bytes());
    sum(&words, 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 §4.1, as it is written there.
    fn plain(bytes: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
        while total >> 16 != 0 {
            total = (total >> 16) + (total & 0xffff);
        }
        total as u16
    }

    proptest! {
        #[test]
        fn the_fast_sum_equals_the_plain_one(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(sum(&bytes, 0), plain(&bytes));
        }

        #[test]
        fn a_header_is_right_where_its_plain_sum_is(mut words: [u32; 5], damage in prop::option::of((0usize..20, 1u8..))) {
            words[2] &= 0xffff_0000;
            words[2] |= u32::from(of_words(words));
            let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            if let Some((at, bits)) = damage {
                bytes[at] ^= bits;
            }
            let word = |at: usize| bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            let right = verify_header(word(0) << 32 | word(4), word(8) << 32 | word(12), word(16) as u32);
            prop_assert_eq!(right, plain(&bytes) == 0xffff);
            let word = |at: usize| bytes[at..at + 4].iter().rfold(0, |word, byte| word << 8 | u64::from(*byte));
            let right = verify_header(word(4) << 32 | word(0), word(12) << 32 | word(8), word(16) as u32);
            prop_assert_eq!(right, plain(&bytes) == 0xffff);
        }

        #[test]
        fn sums_of_parts_add_up(a in prop::collection::vec(any::<u16>(), 0..50), b in prop::collection::vec(any::<u8>(), 0..50)) {
            let a: Vec<u8> = a.iter().flat_map(|w| w.to_be_bytes()).collect();
            prop_assert_eq!(sum(&b, sum(&a, 0)), plain(&[a, b].concat()));
        }

        #[test]
        fn an_incremental_update_equals_a_new_sum(mut words in prop::collection::vec(any::<u16>(), 2..20), at in 1usize..20, new: u16) {
            let at = 1 + at % (words.len() - 1);
            // A header never sums up to zero words only; RFC 1624 §3 is about exactly that case.
            words[0] |= 1;
            let bytes = |w: &[u16]| w.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
            let before = of(&bytes(&words));
            let old = std::mem::replace(&mut words[at], new);
            prop_assert_eq!(update(before, old, new), of(&bytes(&words)));
        }

        #[test]
        fn a_lower_time_to_live_is_an_update(checksum: u16, old in 0x0100u16..) {
            prop_assert_eq!(u16::from_be(less_256(checksum.to_be())), update(checksum, old, old - 0x0100));
        }

        #[test]
        fn one_fold_takes_in_all_changes(old: [u32; 2], new: [u32; 2], ports: [u16; 2]) {
            let bytes = |pairs: [u32; 2], port: u16| {
                let words = [0x45, pairs[0], pairs[1], u32::from(port)];
                words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>()
            };
            let change = Change::NONE
                .and(Change::of_pair(old[0], new[0]))
                .and(Change::of_pair(old[1], new[1]))
                .and(Change::of(ports[0], ports[1]));
            prop_assert_eq!(change.apply(of(&bytes(old, ports[0]))), of(&bytes(new, ports[1])));
        }
    }
}
