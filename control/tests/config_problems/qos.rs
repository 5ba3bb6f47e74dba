//! Rate limits.

use serde_json::{Value, json};
use tidegate_control::config::{Config, parse, qos::Scope};
use tidegate_fastpath::policer::{Above, Action, Colouring, Count, Dscp, Limits, Rate};

use super::{changed, lines};

/// `v1` is limited, and its port 80 too.
fn sections() -> Vec<(&'static str, Value)> {
    let vip = |id: &str, last: u8| json!({"id": id, "public_network": "inet", "address": format!("203.0.113.{last}")});
    vec![
        ("/nics", json!([{"id": "n1", "network": "a", "address": "10.1.1.5"}])),
        ("/vips", json!([vip("v1", 93), vip("v2", 94), vip("v3", 95)])),
        (
            "/qos",
            json!([
                {"id": "q1", "vip": "v1", "inbound": "100Mbit/s", "outbound": 1_500_000},
                {"id": "q2", "vip": "v1", "port": 80, "outbound": "20Mbit/s", "burst": "256KiB"},
            ]),
        ),
    ]
}

fn text(changes: &[(&str, Value)]) -> String {
    changed(&[sections(), changes.to_vec()].concat())
}

fn config(changes: &[(&str, Value)]) -> Config {
    parse(&text(changes)).unwrap()
}

#[test]
fn what_it_means() {
    let more = json!({"id": "q3", "vips": ["v2", "v3"], "ports": "8000-8099", "protocol": "udp", "independent": true,
        "inbound": "1.5Gbit/s", "inbound_pps": 1000, "outbound_pps": 7, "count": "l2"});
    let config = config(&[
        ("/qos/-", more),
        ("/qos/-", json!({"id": "q4", "nic": "n1", "outbound": "8kbit/s", "inbound": "400Gbit/s"})),
    ]);
    let bits = |per_s, burst| {
        Some(Limits { bits: Some(Rate { per_s, burst }), packets: None, count: Count::L3, colouring: None })
    };
    let limits: Vec<_> = config.qos.iter().map(|qos| (qos.inbound, qos.outbound)).collect();
    assert_eq!(limits[0], (bits(100_000_000, 2_500_000), bits(1_500_000, 64 << 10)));
    assert_eq!(limits[1], (None, bits(20_000_000, 256 << 10)));
    let packets = |per_s, burst| Some(Rate { per_s, burst });
    let count = Count::L2;
    let inbound = Limits {
        bits: packets(1_500_000_000, 37_500_000),
        packets: packets(1000, 200),
        count,
        colouring: None,
    };
    assert_eq!(
        limits[2],
        (Some(inbound), Some(Limits { bits: None, packets: packets(7, 64), count, colouring: None }))
    );
    assert_eq!(limits[3], (bits(400_000_000_000, 1 << 30), bits(8_000, 64 << 10)));
    let [_, q2, q3, q4] = config.qos.iter().collect::<Vec<_>>()[..] else { panic!("{:?}", config.qos) };
    match (&q2.scope, &q3.scope) {
        (
            Scope::Ports { slices: both, independent: false, .. },
            Scope::Ports { vips, slices, independent: true, .. },
        ) => {
            assert_eq!((both.len(), vips.len(), slices.len()), (2, 2, 1));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(&q4.scope, Scope::Nic { address, .. } if address.octets() == [10, 1, 1, 5]));
    let chains: Vec<String> = config
        .chain_keys()
        .iter()
        .map(|(id, around)| format!("{id} {}", around.as_ref().map_or("", |id| id.as_str())))
        .collect();
    assert_eq!(chains, ["q1 ", "q2 q1", "q3 "]);
}

#[test]
fn colours_mean_what_the_rfcs_ask() {
    let qos = |colour: Value| {
        config(&[("/qos/1/inbound", json!("100Mbit/s")), ("/qos/1/colour", colour)])
            .qos
            .iter()
            .nth(1)
            .unwrap()
            .clone()
    };
    let of = |limits: Option<Limits>| limits.unwrap().colouring.unwrap();
    let one = qos(json!({"mode": "srtcm", "green": "af41", "yellow": 12, "aware": true}));
    let mark = |raw| Action::Mark(Dscp::new(raw).unwrap());
    let expected = Colouring {
        above: Above::Excess(256 << 10),
        aware: true,
        actions: [mark(34), mark(12), Action::Drop],
    };
    assert_eq!((of(one.inbound), of(one.outbound)), (expected, expected));
    let two = qos(
        json!({"mode": "trtcm", "inbound_peak": "200Mbit/s", "outbound_peak": "20Mbit/s", "peak_burst": "1MB",
        "red": "precedence"}),
    );
    let peak = |per_s, burst| Above::Peak(Rate { per_s, burst });
    assert_eq!(of(two.inbound).above, peak(200_000_000, 1_000_000));
    assert_eq!(of(two.outbound).actions, [Action::Pass, Action::Pass, Action::Precedence]);
    let two = qos(json!({"mode": "trtcm", "inbound_peak": "200Mbit/s", "outbound_peak": "20Mbit/s"}));
    assert_eq!(
        (of(two.inbound).above, of(two.outbound).above),
        (peak(200_000_000, 5_000_000), peak(20_000_000, 500_000))
    );
}

#[test]
fn problems() {
    let cases: &[super::Case<'_>] = &[
        (&[("/qos/0/vip", Value::Null)], &["qos[0] (q1): limits nothing; give `vip`, `vips` or `nic`"]),
        (
            &[("/qos/0/nic", json!("n1"))],
            &["qos[0] (q1): limits several things; keep one of `vip`, `vips` and `nic`"],
        ),
        (
            &[("/qos/0/vip", json!("v9"))],
            &["qos[0].vip (q1): v9 is no id in vips; add it to vips or name one that is there"],
        ),
        (
            &[("/qos/-", json!({"id": "q3", "vips": ["v2", "v2"], "inbound": "1Mbit/s"}))],
            &["qos[2].vips[1] (q3): v2 is in the list twice; remove it"],
        ),
        (
            &[("/qos/0/inbound", json!("100Mb"))],
            &[
                "qos[0].inbound (q1): 100Mb is no rate; give a number and bit/s, kbit/s, Mbit/s or Gbit/s, as in 100Mbit/s",
            ],
        ),
        (
            &[("/qos/0/inbound", json!("7kbit/s"))],
            &["qos[0].inbound (q1): 7kbit/s is out of range; give 8kbit/s to 400Gbit/s"],
        ),
        (
            &[("/qos/1/burst", json!("1KiB"))],
            &["qos[1].burst (q2): 1KiB is out of range; give 16KiB to 1024MiB"],
        ),
        (
            &[("/qos/1/burst", json!("big"))],
            &["qos[1].burst (q2): big is no size; give a number and B, kB, MB, KiB or MiB, as in 256KiB"],
        ),
        (
            &[("/qos/1/outbound", Value::Null), ("/qos/1/burst", Value::Null)],
            &["qos[1] (q2): has no rate; give `inbound`, `outbound`, `inbound_pps` or `outbound_pps`"],
        ),
        (
            &[("/qos/1/outbound", Value::Null), ("/qos/1/inbound_pps", json!(5))],
            &[
                "qos[1].burst (q2): 256KiB is of no rate in bit/s; give `inbound` or `outbound`, or remove the key",
            ],
        ),
        (
            &[("/qos/1/outbound_pps", json!(0))],
            &["qos[1].outbound_pps (q2): 0 is out of range; give 1 to 1000000000"],
        ),
        (
            &[("/qos/1/ports", json!("80-81"))],
            &["qos[1] (q2): has its ports twice; keep one of `port` and `ports`"],
        ),
        (
            &[("/qos/0/protocol", json!("tcp"))],
            &["qos[0].protocol (q1): tcp has no ports; add `port` or `ports`, or remove the key"],
        ),
        (
            &[("/qos/0/independent", json!(true))],
            &[
                "qos[0].independent (q1): true is for the limit of a port, and this one is of all ports; add `port` or `ports`, or remove the key",
            ],
        ),
        (
            &[("/qos/-", json!({"id": "q3", "nic": "n1", "port": 80, "inbound": "1Mbit/s"}))],
            &["qos[2].port (q3): is of a NIC; remove it, or give `vip`: only VIPs have limits by port"],
        ),
        (
            &[("/qos/-", json!({"id": "q3", "vips": ["v2", "v1"], "inbound": "1Mbit/s"}))],
            &[
                "qos[2].vips (q3): v1 is limited by qos[0] (q1) already; keep one of them; both directions fit into one",
            ],
        ),
        (
            &[(
                "/qos/-",
                json!({"id": "q3", "vip": "v1", "ports": "79-81", "protocol": "udp", "inbound": "1Mbit/s"}),
            )],
            &["qos[2].ports (q3): 79-81 meets 80 of qos[1] (q2) on VIP v1; set them apart, or by `protocol`"],
        ),
        (
            &[("/qos/0/colour", json!({"mode": "blue", "green": "af14", "peak_rate": 7}))],
            &[
                "qos[0].colour.peak_rate (q1): is no key that is known here; did you mean `peak_burst`?",
                "qos[0].colour.mode (q1): blue is none of the choices; give one of srtcm, trtcm",
            ],
        ),
        (
            &[(
                "/qos/0/colour",
                json!({"mode": "srtcm", "green": "af14", "red": "64", "peak_burst": "1MB", "excess_burst": "1kB"}),
            )],
            &[
                "qos[0].colour.peak_burst (q1): means nothing to srtcm; remove it",
                "qos[0].colour.excess_burst (q1): 1kB is out of range; give 16KiB to 1024MiB",
                "qos[0].colour.green (q1): af14 is no action; give pass, drop, precedence, or a DSCP: 0 to 63, af11 to af43, cs0 to cs7, ef",
                "qos[0].colour.red (q1): 64 is no action; give pass, drop, precedence, or a DSCP: 0 to 63, af11 to af43, cs0 to cs7, ef",
            ],
        ),
        (
            &[("/qos/0/colour", json!({"mode": "trtcm", "inbound_peak": "99Mbit/s", "excess_burst": "1MB"}))],
            &[
                "qos[0].colour.excess_burst (q1): means nothing to trtcm; remove it",
                "qos[0].colour.inbound_peak (q1): 99Mbit/s is below the rate `inbound`; give at least the rate itself (RFC 2698 §2)",
                "qos[0].colour.outbound_peak (q1): is missing; give the peak rate of `outbound`",
            ],
        ),
        (
            &[(
                "/qos/1/colour",
                json!({"mode": "trtcm", "inbound_peak": "1Gbit/s", "outbound_peak": "20Mbit/s"}),
            )],
            &["qos[1].colour.inbound_peak (q2): 1Gbit/s is the peak of no rate inbound; give `inbound`"],
        ),
        (
            &[
                ("/qos/1/outbound", Value::Null),
                ("/qos/1/burst", Value::Null),
                ("/qos/1/inbound_pps", json!(5)),
                ("/qos/1/colour", json!({"mode": "srtcm"})),
            ],
            &["qos[1].colour (q2): is of no rate in bit/s; give `inbound` or `outbound`, or remove the key"],
        ),
        (
            &[("/qos/0/inbond", json!("1Mbit/s"))],
            &["qos[0].inbond (q1): is no key that is known here; did you mean `inbound`?"],
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(lines(parse(&text(changes))), *expected, "{changes:?}");
    }
}
