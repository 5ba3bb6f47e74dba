//! Meters against the text of RFC 2697 and RFC 2698, with a clock that the test sets.

use super::{super::pass, *};

const GREEN_YELLOW_RED: [Action; 3] = [Action::Mark(AF[0]), Action::Mark(AF[1]), Action::Mark(AF[2])];

/// AF11, AF12, AF13.
const AF: [Dscp; 3] = [Dscp::of_tos(10 << 2), Dscp::of_tos(12 << 2), Dscp::of_tos(14 << 2)];
const BEST_EFFORT: Dscp = Dscp::of_tos(0);

fn coloured(per_s: u64, burst: u64, above: Above, aware: bool, actions: [Action; 3]) -> Limits {
    Limits { colouring: Some(Colouring { above, aware, actions }), ..bits(per_s, burst) }
}

/// The colour of a packet, as its mark says.
fn colour_of(bucket: &Bucket, worker: usize, now: u64, len: u16, dscp: Dscp) -> Colour {
    let marked = match pass(&[bucket], worker, Nanos(now), len, dscp) {
        Verdict::Mark(marked) => marked,
        Verdict::Pass => dscp,
        Verdict::Drop => panic!("nothing is dropped"),
    };
    Colour::ALL[AF.iter().position(|af| *af == marked).expect("the mark of a colour")]
}

/// The meters as the RFCs word them: token counts that grow with time. Tokens are bits × 10^9.
struct Rfc {
    cir: u128,
    cbs: u128,
    /// PIR of RFC 2698.
    pir: Option<u128>,
    /// EBS or PBS.
    second: u128,
    tc: u128,
    te_or_tp: u128,
    at: u64,
}

impl Rfc {
    fn new(limits: Limits) -> Rfc {
        let (rate, colouring) = limits.bits.zip(limits.colouring).expect("limits with colours");
        let tokens = |bytes: u64| u128::from(bytes) * 8 * u128::from(SECOND);
        let (pir, second) = match colouring.above {
            Above::Excess(burst) => (None, tokens(burst)),
            Above::Peak(peak) => (Some(peak.per_s.into()), tokens(peak.burst)),
        };
        let cbs = tokens(rate.burst);
        Rfc { cir: rate.per_s.into(), cbs, pir, second, tc: cbs, te_or_tp: second, at: 0 }
    }

    /// RFC 2697 §3: the first bucket fills, and where it is full the second one does; RFC 2698 §3: each fills at its own rate.
    fn fill(&mut self, now: u64) {
        let time = u128::from(now - self.at);
        self.at = now;
        let tc = self.tc + time * self.cir;
        self.tc = tc.min(self.cbs);
        let more = self.pir.map_or(tc - self.tc, |pir| time * pir);
        self.te_or_tp = (self.te_or_tp + more).min(self.second);
    }

    fn colour(&mut self, now: u64, bytes: u64, came: Colour) -> Colour {
        self.fill(now);
        let b = u128::from(bytes) * 8 * u128::from(SECOND);
        if self.pir.is_none() {
            if came == Colour::Green && self.tc >= b {
                self.tc -= b;
                Colour::Green
            } else if came != Colour::Red && self.te_or_tp >= b {
                self.te_or_tp -= b;
                Colour::Yellow
            } else {
                Colour::Red
            }
        } else if came == Colour::Red || self.te_or_tp < b {
            Colour::Red
        } else if came == Colour::Yellow || self.tc < b {
            self.te_or_tp -= b;
            Colour::Yellow
        } else {
            self.te_or_tp -= b;
            self.tc -= b;
            Colour::Green
        }
    }
}

/// Rates at which a byte is worth whole nanoseconds.
fn whole() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![
        8_000,
        128_000,
        1_000_000,
        10_000_000,
        100_000_000,
        1_000_000_000,
        8_000_000_000,
    ])
}

fn bursts() -> impl Strategy<Value = u64> {
    16_384..200_000u64
}

/// A second bucket; `by` makes a peak rate of one at random and the rate.
fn above(peak: impl Strategy<Value = u64>) -> impl Strategy<Value = (bool, u64, u64)> {
    (any::<bool>(), bursts(), peak)
}

fn above_of((excess, burst, peak): (bool, u64, u64), rate: u64) -> Above {
    if excess { Above::Excess(burst) } else { Above::Peak(Rate { per_s: peak.max(rate), burst }) }
}

/// DSCPs with and without a colour.
fn dscps() -> impl Strategy<Value = Vec<Dscp>> {
    let some = [0, 10, 12, 14, 26, 36, 38, 46, 8, 11, 63].map(|raw| Dscp::of_tos(raw << 2));
    prop::collection::vec(prop::sample::select(some.to_vec()), 1..20)
}

/// The drop precedences of RFC 2597 §6, by hand.
fn came(dscp: Dscp) -> Colour {
    match dscp.get() {
        12 | 20 | 28 | 36 => Colour::Yellow,
        14 | 22 | 30 | 38 => Colour::Red,
        _ => Colour::Green,
    }
}

proptest! {
    /// With one worker every packet has the colour that the RFC gives it, and every byte is counted there.
    #[test]
    fn one_worker_colours_each_packet_as_the_rfc_does(
        per_s in whole(),
        burst in bursts(),
        second in above(whole()),
        aware: bool,
        dscps in dscps(),
        steps in steps(1),
    ) {
        let limits = coloured(per_s, burst, above_of(second, per_s), aware, GREEN_YELLOW_RED);
        let (bucket, mut rfc) = (bucket(limits, 1), Rfc::new(limits));
        let mut bytes = [0; 3];
        let mut dscps = dscps.iter().cycle();
        let mut now = 0;
        for step in steps {
            now += step.pause * (1_500 * 8 * SECOND / per_s) / 64;
            for _ in 0..step.packets {
                let dscp = *dscps.next().unwrap();
                let best = if aware { came(dscp) } else { Colour::Green };
                let expected = rfc.colour(now, step.len.into(), best);
                prop_assert_eq!(colour_of(&bucket, 0, now, step.len, dscp), expected, "at {} ns", now);
                bytes[expected as usize] += u64::from(step.len);
            }
        }
        prop_assert_eq!(bucket.slots()[0].colours().each_ref().map(|colour| colour.bytes.get()), bytes);
    }

    /// Whatever workers do: what is green would pass an exact bucket of what is committed; yellow and both together would pass
    /// one of what is above.
    #[test]
    fn no_schedule_gets_more_of_a_colour_than_its_buckets_have(
        per_s in rates(),
        burst in bursts(),
        second in above(rates()),
        aware: bool,
        dscps in dscps(),
        workers in 1..9usize,
        steps in steps(8),
    ) {
        let above = above_of(second, per_s);
        let bucket = bucket(coloured(per_s, burst, above, aware, GREEN_YELLOW_RED), workers);
        let mut green = Plain::new(per_s, burst * 8);
        let (mut yellow, mut both) = match above {
            Above::Excess(more) => (Plain::new(per_s, more * 8), Plain::new(per_s, (burst + more) * 8)),
            Above::Peak(peak) => {
                (Plain::new(peak.per_s, peak.burst * 8), Plain::new(peak.per_s, peak.burst * 8))
            }
        };
        let mut dscps = dscps.iter().cycle();
        let mut now = 0;
        for step in steps {
            now += step.pause * (1_500 * 8 * SECOND / per_s) / 64;
            for _ in 0..step.packets {
                let dscp = *dscps.next().unwrap();
                let colour = colour_of(&bucket, step.worker % workers, now, step.len, dscp);
                let bits = u64::from(step.len) * 8;
                prop_assert!(!aware || colour >= came(dscp));
                prop_assert!(colour != Colour::Green || green.take(now, bits), "green at {now} ns");
                prop_assert!(colour != Colour::Yellow || yellow.take(now, bits), "yellow at {now} ns");
                prop_assert!(colour == Colour::Red || both.take(now, bits), "both at {now} ns");
            }
        }
    }
}

fn bytes_by_colour(bucket: &Bucket) -> [u64; 3] {
    let of =
        |colour: Colour| bucket.slots().iter().map(|slot| slot.colours()[colour as usize].bytes.get()).sum();
    Colour::ALL.map(of)
}

/// Two workers in turn, every 20 µs, more than any rate of these tests; what each colour got in `time`.
fn flood(bucket: &Bucket, from: u64, time: u64) -> [u64; 3] {
    let before = bytes_by_colour(bucket);
    for round in 0..time / 20_000 {
        for packet in 0..60 {
            pass(&[bucket], packet % 2, Nanos(from + round * 20_000), 1_000, BEST_EFFORT);
        }
    }
    let after = bytes_by_colour(bucket);
    [0, 1, 2].map(|colour| after[colour] - before[colour])
}

/// In parts of what so many bits per second are in `time`.
fn part(bytes: u64, per_s: u64, time: u64) -> f64 {
    bytes as f64 * 8.0 / (per_s as f64 * time as f64 / SECOND as f64)
}

#[test]
fn two_workers_get_a_second_of_each_rate_in_a_second() {
    let peak = Rate { per_s: 300_000_000, burst: 1_000_000 };
    let two_rates = coloured(100_000_000, 500_000, Above::Peak(peak), false, GREEN_YELLOW_RED);
    let bucket = super::bucket(two_rates, 2);
    flood(&bucket, 0, SECOND / 10);
    let [green, yellow, _] = flood(&bucket, SECOND / 10, SECOND);
    let parts = [part(green, 100_000_000, SECOND), part(green + yellow, 300_000_000, SECOND)];
    assert!(parts.iter().all(|part| (0.99..=1.01).contains(part)), "{parts:?}");
}

#[test]
fn the_excess_burst_fills_while_the_other_one_is_full() {
    let per_s = 100_000_000;
    let limits = coloured(per_s, 500_000, Above::Excess(250_000), false, GREEN_YELLOW_RED);
    let bucket = super::bucket(limits, 2);
    let [green, yellow, red] = flood(&bucket, 0, SECOND / 10);
    // 12.5 MB a second. At two workers, up to two leases of 1,250 bytes are in their hands.
    assert!((1_745_000..=1_750_000).contains(&green), "{green}");
    assert!((245_000..=250_000).contains(&yellow) && red > 0, "{yellow} {red}");
    let [green, yellow, _] = flood(&bucket, SECOND / 10, SECOND);
    let green = part(green, per_s, SECOND);
    assert!((0.99..=1.01).contains(&green), "{green}");
    assert!(yellow < 3_000, "while all is used, nothing flows over: {yellow}");
    // 40 ms fill the first one, 10 ms a half of the second one.
    let before = bytes_by_colour(&bucket);
    for packet in 0..1_000 {
        pass(&[&bucket], packet % 2, Nanos(SECOND * 11 / 10 + 50_000_000), 1_000, BEST_EFFORT);
    }
    let [green, yellow] = [0, 1].map(|colour| bytes_by_colour(&bucket)[colour] - before[colour]);
    assert!((495_000..=500_000).contains(&green), "{green}");
    assert!((120_000..=130_000).contains(&yellow), "{yellow}");
}

#[test]
fn the_worse_colour_of_two_buckets_wins_and_the_narrower_one_of_two_that_agree() {
    let mark = |tos: [u8; 3]| tos.map(|raw| Action::Mark(Dscp::new(raw).unwrap()));
    let of = |burst, actions| bucket(coloured(8_000, burst, Above::Excess(16_384), false, actions), 1);
    let (port, vip) = (of(20_000, mark([1, 2, 3])), of(18_000, mark([4, 5, 6])));
    let marks: Vec<u8> = (0..45)
        .map(|_| match pass(&[&port, &vip], 0, Nanos(0), 1_000, BEST_EFFORT) {
            Verdict::Mark(dscp) => dscp.get(),
            other => panic!("{other:?}"),
        })
        .collect();
    // 18 green at both, 2 yellow at the VIP alone, then both yellow until the VIP's 16 are used up, and so on.
    let runs: Vec<(u8, usize)> = marks.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
    assert_eq!(runs, [(1, 18), (5, 2), (2, 14), (6, 2), (3, 9)]);
    assert_eq!(bytes_by_colour(&port), [20_000, 16_000, 9_000]);
    assert_eq!(bytes_by_colour(&vip), [18_000, 16_000, 11_000]);
}

#[test]
fn a_colour_that_is_dropped_charges_nobody_and_a_plain_limit_has_none() {
    let drop_red = [Action::Precedence, Action::Precedence, Action::Drop];
    let meter = bucket(coloured(8_000, 16_384, Above::Excess(16_384), false, drop_red), 1);
    let plain = bucket(bits(8_000_000, 100_000), 1);
    let of_class_4 = Dscp::new(34).unwrap();
    let verdicts: Vec<Verdict> =
        (0..40).map(|_| pass(&[&plain, &meter], 0, Nanos(0), 1_000, of_class_4)).collect();
    let runs: Vec<(Verdict, usize)> =
        verdicts.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
    let yellow = Verdict::Mark(Dscp::new(36).unwrap());
    assert_eq!(runs, [(Verdict::Pass, 16), (yellow, 16), (Verdict::Drop, 8)]);
    assert_eq!(volumes(&plain), [(32, 32_000), (0, 0)]);
    assert_eq!(volumes(&meter), [(32, 32_000), (8, 8_000)], "the meter counts what it drops");
    assert_eq!(bytes_by_colour(&meter), [16_000, 16_000, 8_000]);
    assert_eq!(bytes_by_colour(&plain), [0; 3]);
    // What the plain one refuses has no colour.
    let plain = bucket(bits(8_000, 16_384), 1);
    let meter = bucket(coloured(8_000_000, 100_000, Above::Excess(16_384), false, drop_red), 1);
    let passed = (0..40).filter(|_| pass(&[&plain, &meter], 0, Nanos(0), 1_000, of_class_4) == Verdict::Pass);
    assert_eq!(passed.count(), 16);
    assert_eq!((bytes_by_colour(&meter), meter.level(Nanos(0))), ([16_000, 0, 0], 84_000));
}

#[test]
fn packets_per_second_hold_beside_colours() {
    let actions = [Action::Pass; 3];
    let limits = Limits {
        packets: Some(Rate { per_s: 1, burst: 64 }),
        ..coloured(8_000, 16_384, Above::Excess(16_384), false, actions)
    };
    let bucket = bucket(limits, 1);
    let passed = (0..100).filter(|_| pass(&[&bucket], 0, Nanos(0), 1_000, BEST_EFFORT) == Verdict::Pass);
    // Of 64 a lease is held back.
    assert_eq!(passed.count(), 63);
    assert_eq!(bytes_by_colour(&bucket), [16_000, 16_000, 31_000]);
    assert_eq!(volumes(&bucket)[1], (37, 37_000));
}

#[test]
fn a_rate_that_gets_colours_or_loses_them_holds_at_once() {
    let plain = bucket(bits(8_000, 16_384), 1);
    assert_eq!(pass(&[&plain], 0, Nanos(0), 1_000, BEST_EFFORT), Verdict::Pass);
    let limits = coloured(8_000, 16_384, Above::Excess(16_384), false, GREEN_YELLOW_RED);
    let meter = Bucket::new(limits, 1, 2, Some(&plain));
    assert_eq!(colour_of(&meter, 0, 0, 1_000, BEST_EFFORT), Colour::Green);
    assert_eq!(volumes(&meter)[0], (2, 2_000), "counters go on");
    let plain = Bucket::new(bits(8_000, 16_384), 1, 3, Some(&meter));
    assert_eq!(pass(&[&plain], 0, Nanos(0), 1_000, BEST_EFFORT), Verdict::Pass);
    assert_eq!(bytes_by_colour(&plain), [1_000, 0, 0]);
}

#[test]
fn codepoints_have_the_colours_of_rfc_2597() {
    for raw in 0..64 {
        let dscp = Dscp::new(raw).unwrap();
        assert_eq!(dscp.colour(), came(dscp), "{raw}");
        for ecn in 0..4 {
            assert_eq!(dscp.in_tos(0xfc | ecn), raw << 2 | ecn);
            assert_eq!(Dscp::of_tos(raw << 2 | ecn), dscp);
        }
    }
    assert_eq!(Dscp::new(64), None);
    let as_red = |raw| Dscp::new(raw).unwrap().coloured(Colour::Red).get();
    assert_eq!([10, 14, 34, 46, 0, 40, 11].map(as_red), [14, 14, 38, 46, 0, 40, 11]);
}
