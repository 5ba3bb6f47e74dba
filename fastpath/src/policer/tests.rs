//! Buckets under arbitrary schedules, with a clock that the test sets.

use proptest::prelude::*;

mod colour;

use super::*;
use crate::types::Nanos;

const SECOND: u64 = 1_000_000_000;

fn bits(per_s: u64, burst: u64) -> Limits {
    Limits { bits: Some(Rate { per_s, burst }), packets: None, count: Count::L3, colouring: None }
}

fn bucket(limits: Limits, workers: usize) -> Bucket {
    Bucket::new(limits, workers, 1, None)
}

/// Whether a packet without DSCP passes.
fn pass(buckets: &[&Bucket], worker: usize, now: Nanos, ip_len: u16) -> bool {
    super::pass(buckets, worker, now, ip_len, Dscp::of_tos(0)) != Verdict::Drop
}

/// The plain form: one bucket, exact, that every packet goes to. Credit in nanoseconds times the rate.
struct Plain {
    per_s: u128,
    full: u128,
    credit: u128,
    at: u64,
}

impl Plain {
    /// `burst` in what `per_s` counts.
    fn new(per_s: u64, burst: u64) -> Plain {
        let full = u128::from(burst) * u128::from(SECOND);
        Plain { per_s: per_s.into(), full, credit: full, at: 0 }
    }

    fn take(&mut self, now: u64, units: u64) -> bool {
        self.credit = self.full.min(self.credit + self.per_s * u128::from(now - self.at));
        self.at = now;
        let cost = u128::from(units) * u128::from(SECOND);
        let pays = self.credit >= cost;
        self.credit -= if pays { cost } else { 0 };
        pays
    }
}

fn volumes(bucket: &Bucket) -> [(u64, u64); 2] {
    let sum = |of: fn(&Slot) -> &crate::counter::Volume| {
        let each = bucket.slots().iter().map(of).map(|volume| (volume.packets.get(), volume.bytes.get()));
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    [sum(|slot| &slot.passed), sum(|slot| &slot.dropped)]
}

/// Rates from 128 kbit/s to 40 Gbit/s.
fn rates() -> impl Strategy<Value = u64> {
    prop_oneof![Just(128_000), 128_000..10_000_000u64, 10_000_000..40_000_000_000u64, Just(40_000_000_000)]
}

#[derive(Clone, Copy, Debug)]
struct Step {
    worker: usize,
    /// Part of the time that a full-size packet takes at the rate, in 1/64.
    pause: u64,
    packets: usize,
    len: u16,
}

fn steps(workers: usize) -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![4 => 0..64u64, 1 => 64..100_000u64];
    let step = (0..workers, pause, 1..33usize, 20..9_216u16);
    prop::collection::vec(
        step.prop_map(|(worker, pause, packets, len)| Step { worker, pause, packets, len }),
        1..200,
    )
}

proptest! {
    /// Whatever workers do: what passes would pass one exact bucket, so no more than rate × time + burst in any stretch of time.
    #[test]
    fn no_schedule_gets_more_than_rate_times_time_and_burst(
        per_s in rates(),
        burst in 16_384..4_000_000u64,
        workers in 1..9usize,
        steps in steps(8),
    ) {
        let bucket = bucket(bits(per_s, burst), workers);
        let mut plain = Plain::new(per_s, burst * 8);
        let mut now = 0;
        for step in steps {
            now += step.pause * (1_500 * 8 * SECOND / per_s) / 64;
            for _ in 0..step.packets {
                if pass(&[&bucket], step.worker % workers, Nanos(now), step.len) {
                    prop_assert!(plain.take(now, u64::from(step.len) * 8), "at {now} ns");
                }
            }
        }
        let [(passed, bytes), (dropped, _)] = volumes(&bucket);
        prop_assert!(passed + dropped > 0 && bytes >= passed * 20);
    }

    /// The same of packets per second, and of a chain: each of its buckets holds, and all charge the same packets.
    #[test]
    fn every_bucket_of_a_chain_holds(
        inner in rates(),
        outer in rates(),
        per_s in 100..10_000_000u64,
        steps in steps(2),
    ) {
        let packets = Some(Rate { per_s, burst: 64 });
        let chain = [
            bucket(Limits { packets, ..bits(inner, 20_000) }, 2),
            bucket(Limits { count: Count::L2, ..bits(outer, 100_000) }, 2),
        ];
        let chain: Vec<&Bucket> = chain.iter().collect();
        let mut plain = [Plain::new(inner, 160_000), Plain::new(per_s, 64), Plain::new(outer, 800_000)];
        let mut now = 0;
        for step in steps {
            now += step.pause * (1_500 * 8 * SECOND / inner.max(outer)) / 64;
            for _ in 0..step.packets {
                if pass(&chain, step.worker, Nanos(now), step.len) {
                    let len = u64::from(step.len);
                    let units = [len * 8, 1, Count::L2.of(step.len) * 8];
                    for (plain, units) in plain.iter_mut().zip(units) {
                        prop_assert!(plain.take(now, units));
                    }
                }
            }
        }
        prop_assert_eq!(volumes(chain[0])[0].0, volumes(chain[1])[0].0);
    }
}

/// Offers more than the rate to all workers, with packet sizes mixed, for `time` ns after the burst is used up. Returns what
/// passed, in parts of rate × time.
fn share_of_rate(per_s: u64, workers: usize, sizes: &[u16], time: u64) -> f64 {
    const ROUND: u64 = 20_000;
    let bucket = bucket(bits(per_s, (per_s / 8 / 50).max(16_384)), workers);
    let largest = sizes.iter().copied().map(u64::from).fold(0, u64::max);
    let enough = per_s / 8 * ROUND / SECOND + 2 * largest;
    let mut next = sizes.iter().cycle();
    let mut offer = |now: u64| {
        let before = volumes(&bucket)[0].1;
        for worker in 0..workers {
            let mut offered = 0;
            while offered < enough {
                let Some(&len) = next.next() else { return 0 };
                pass(&[&bucket], worker, Nanos(now), len);
                offered += u64::from(len);
            }
        }
        volumes(&bucket)[0].1 - before
    };
    while offer(0) > 0 {}
    let passed: u64 = (1..=time / ROUND).map(|round| offer(round * ROUND)).sum();
    passed as f64 * 8.0 / (per_s as f64 * time as f64 / SECOND as f64)
}

/// Two workers get a second's worth in a second, at every rate and with sizes mixed.
#[test]
fn a_second_gives_a_second_of_the_rate() {
    let mixes: [&[u16]; 3] = [&[64], &[64, 1_500, 576, 64, 40, 1_280], &[40, 9_000, 40, 1_500]];
    for per_s in [128_000, 1_000_000, 100_000_000, 10_000_000_000, 40_000_000_000] {
        for sizes in mixes {
            // Less time where there are millions of packets: the error is larger then, if there is one.
            let time = if per_s > 1_000_000_000 { SECOND / 20 } else { SECOND };
            let share = share_of_rate(per_s, 2, sizes, time);
            assert!((0.99..=1.01).contains(&share), "{per_s} bit/s, {sizes:?}: {share}");
        }
    }
}

#[test]
fn a_worker_that_went_quiet_keeps_no_more_than_a_lease() {
    let per_s = 1_000_000_000;
    let bucket = bucket(bits(per_s, 250_000), 2);
    assert!(pass(&[&bucket], 0, Nanos(0), 64), "worker 0 has a lease now, and goes quiet");
    while pass(&[&bucket], 1, Nanos(0), 64) {}
    // A lease is 100 µs: 12,500 bytes. Of the burst, two are for leases.
    let bytes = |bucket: &Bucket| volumes(bucket)[0].1;
    assert_eq!(bytes(&bucket) / 1_000, 212, "three leases less, but for a packet of worker 0");
    while pass(&[&bucket], 0, Nanos(0), 64) {}
    assert_eq!(bytes(&bucket) / 1_000, 224);
    assert!(bucket.level(Nanos(0)) < 64 * 2);
    assert_eq!(bucket.level(Nanos(SECOND)) / 1_000, 225);
}

#[test]
fn a_new_rate_holds_at_once_and_counters_go_on() {
    let slow = bucket(bits(8_000, 16_384), 2);
    while pass(&[&slow], 0, Nanos(0), 1_000) {}
    let fast = Bucket::new(bits(1_000_000_000, 20_000), 2, 2, Some(&slow));
    let passed = |bucket: &Bucket| volumes(bucket)[0].0;
    assert_eq!(volumes(&fast), volumes(&slow));
    let before = passed(&fast);
    while pass(&[&fast], 0, Nanos(1), 1_000) {}
    assert_eq!(passed(&fast) - before, 14, "what the old rate owed is forgotten; a quarter is for leases");
    assert!(pass(&[&fast], 0, Nanos(50_000), 1_000), "worker 0 has a lease of the fast rate");
    // That is worth nothing in the next one.
    let slow = Bucket::new(bits(8_000, 16_384), 2, 3, Some(&fast));
    let before = passed(&slow);
    while pass(&[&slow], 0, Nanos(50_000), 1_000) {}
    assert_eq!(passed(&slow) - before, 16);
    assert!(!pass(&[&slow], 1, Nanos(SECOND / 2), 1_000));
}

#[test]
fn all_buckets_let_a_packet_pass_or_none_is_charged() {
    let [port, vip] = [bucket(bits(8_000_000, 100_000), 1), bucket(bits(8_000, 16_384), 1)];
    let chain = [&port, &vip];
    let passed = (0..100).filter(|_| pass(&chain, 0, Nanos(0), 1_000)).count() as u64;
    assert_eq!(passed, 16);
    assert_eq!(volumes(&port), [(16, 16_000), (0, 0)]);
    assert_eq!(volumes(&vip), [(16, 16_000), (84, 84_000)], "the one that had no credit counts the drop");
    assert!((83_000..=84_000).contains(&port.level(Nanos(0))), "{}", port.level(Nanos(0)));
}

#[test]
fn the_bytes_that_count_are_those_of_the_layer() {
    for (count, len, counted) in [
        (Count::L3, 40, 40),
        (Count::L2, 40, 64),
        (Count::L2, 46, 64),
        (Count::L2, 47, 65),
        (Count::L2, 1_500, 1_518),
    ] {
        assert_eq!(count.of(len), counted, "{count:?} {len}");
        let bucket = bucket(Limits { count, ..bits(1_000_000, 20_000) }, 1);
        assert!(pass(&[&bucket], 0, Nanos(0), len));
        assert_eq!(volumes(&bucket)[0], (1, counted));
    }
}

#[test]
fn policers_keep_what_they_are_given() {
    for chain in [0, 1, 77, Policers::CHAINS_MAX] {
        let plain = Policers::of_chain(chain);
        assert_eq!((plain.is_none(), plain.has_nics(), plain.chain()), (chain == 0, false, chain.into()));
        let both = Policers::from_bits(plain.and_nics().to_bits());
        assert_eq!((both.is_none(), both.has_nics(), both.chain()), (false, true, chain.into()));
    }
}
