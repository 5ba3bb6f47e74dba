//! Which sequence numbers of one sender and boot epoch were seen (the sliding window of RFC 4303 §3.4.3).

/// The last 64 sequence numbers. A number below them is refused, seen or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The highest number seen; 0 before the first.
    highest: u64,
    /// Bit *n*: `highest - n` was seen.
    seen: u64,
}

impl Window {
    /// How many numbers it remembers.
    pub const WIDTH: u64 = 64;

    /// Takes a number that was not taken before. Returns false for one that was, that is older than the window, or 0.
    #[must_use]
    pub fn take(&mut self, sequence: u64) -> bool {
        if sequence > self.highest {
            let ahead = sequence - self.highest;
            self.seen = if ahead < Window::WIDTH { self.seen << ahead | 1 } else { 1 };
            self.highest = sequence;
            return true;
        }
        let behind = self.highest - sequence;
        if sequence == 0 || behind >= Window::WIDTH || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_out_of_order_pass_once_and_old_ones_never() {
        let mut window = Window::default();
        let mut take = |n| window.take(n);
        assert!(!take(0));
        assert!(take(10) && take(8) && take(9) && !take(8) && !take(10));
        assert!(take(72) && take(11) && !take(8), "8 is 64 behind 72");
        assert!(take(u64::MAX) && !take(72) && !take(u64::MAX));
    }

    proptest! {
        /// The window says what a set of everything that was ever taken says.
        #[test]
        fn agrees_with_a_set(numbers in prop::collection::vec(0u64..300, 0..200)) {
            let mut window = Window::default();
            let mut taken = BTreeSet::new();
            for n in numbers {
                let highest = taken.last().copied().unwrap_or(0);
                let fresh = n != 0 && n + Window::WIDTH > highest && !taken.contains(&n);
                prop_assert_eq!(window.take(n), fresh);
                if fresh { taken.insert(n); }
            }
        }
    }
}
