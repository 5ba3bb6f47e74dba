//! The cycle counter, and how fast the core is right now.

use std::time::Instant;

/// The time stamp counter. Without the feature `dpdk` nanoseconds, which serve tests only.
#[inline(always)]
pub fn now() -> u64 {
    #[cfg(feature = "dpdk")]
    return dpdk_sys::cycles::now();
    #[cfg(not(feature = "dpdk"))]
    return nanoseconds();
}

#[cfg(not(feature = "dpdk"))]
fn nanoseconds() -> u64 {
    use std::sync::LazyLock;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

/// Counts per second, measured over some milliseconds.
pub fn hz() -> f64 {
    let (start, from) = (Instant::now(), now());
    while start.elapsed().as_millis() < 20 {
        std::hint::spin_loop();
    }
    (now() - from) as f64 / start.elapsed().as_secs_f64()
}

/// Additions of [`speed_index`].
const ADDITIONS: u64 = 100_000;

/// Cycles per addition in a loop of independent additions: what the core makes of itself at this moment. It rises where
/// another machine or process takes part of the core.
pub fn speed_index() -> f64 {
    let from = now();
    let mut sums = [0u64; 4];
    for n in 0..ADDITIONS / 4 {
        for sum in &mut sums {
            *sum = std::hint::black_box(sum.wrapping_add(n));
        }
    }
    std::hint::black_box(sums);
    (now() - from) as f64 / ADDITIONS as f64
}
