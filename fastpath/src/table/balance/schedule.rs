//! Whose turn it is: the order in which backends get new connections by weight.

use std::sync::Arc;

/// Most places of a schedule. Weights whose sum (without common divisor) is higher are rounded to as many.
pub const SCHEDULE_MAX: u32 = 1 << 14;

/// The order in which the backends of `weights` (each with its index) get turns: each as often as its weight, spread evenly.
/// Weights of 0 get none. Cost: the number of places, sorted.
pub fn schedule(weights: &[(u16, u16)]) -> Arc<[u16]> {
    let weights: Vec<(u16, u32)> = reduced(weights);
    let total: u64 = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut places: Vec<(u64, u16)> = Vec::new();
    for (index, weight) in weights {
        // Turn k of a backend is due in the middle of the k-th of its equal parts of the round.
        let due = (0..u64::from(weight)).map(|k| (2 * k + 1) * total * 1024 / u64::from(weight));
        places.extend(due.map(|due| (due, index)));
    }
    places.sort_unstable();
    places.into_iter().map(|(_, index)| index).collect()
}

/// Weights above 0 without a common divisor, and not above [`SCHEDULE_MAX`] together where they can be.
fn reduced(weights: &[(u16, u16)]) -> Vec<(u16, u32)> {
    let weights: Vec<(u16, u32)> =
        weights.iter().filter(|(_, w)| *w > 0).map(|(index, w)| (*index, u32::from(*w))).collect();
    let divisor = weights.iter().fold(0, |divisor, (_, weight)| gcd(divisor, *weight)).max(1);
    let total: u32 = weights.iter().map(|(_, weight)| weight / divisor).sum();
    let shrink = |weight: u32| match total {
        0..=SCHEDULE_MAX => weight,
        _ => (u64::from(weight) * u64::from(SCHEDULE_MAX) / u64::from(total)).max(1) as u32,
    };
    weights.into_iter().map(|(index, weight)| (index, shrink(weight / divisor))).collect()
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn turns_are_spread() {
        assert_eq!(*schedule(&[(0, 100), (1, 100), (2, 100)]), [0, 1, 2]);
        assert_eq!(*schedule(&[(0, 5), (1, 1), (2, 1)]), [0, 0, 0, 1, 2, 0, 0]);
        assert_eq!(*schedule(&[(4, 2), (7, 4)]), [7, 4, 7]);
        assert_eq!(*schedule(&[(0, 0), (1, 3)]), [1]);
        assert!(schedule(&[]).is_empty() && schedule(&[(0, 0)]).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_has_as_many_turns_as_its_weight_and_none_waits_long(
            weights in prop::collection::vec(0u16..=256, 1..40)
        ) {
            let numbered: Vec<(u16, u16)> = (0u16..).zip(weights.iter().copied()).collect();
            let turns = schedule(&numbered);
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            for (index, weight) in numbered {
                let mine: Vec<usize> = (0..turns.len()).filter(|at| turns[*at] == index).collect();
                // Weights and turns are in one proportion.
                prop_assert_eq!(mine.len() as u64 * total, turns.len() as u64 * u64::from(weight));
                let even = turns.len() as f64 / mine.len().max(1) as f64;
                let gap = mine.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
                prop_assert!((gap as f64) < 2.0 * even + 40.0, "{} after {}", gap, even);
            }
        }
    }

    #[test]
    fn a_schedule_is_bounded() {
        let weights: Vec<(u16, u16)> = (0..1000).map(|index| (index, 255 - index % 2)).collect();
        let turns = schedule(&weights);
        assert!(turns.len() <= SCHEDULE_MAX as usize && (0..1000).all(|index| turns.contains(&index)));
    }
}
