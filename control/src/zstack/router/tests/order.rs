//! Laws: the order of pushes makes no difference, and no body is too strange.

use proptest::prelude::*;

use super::*;

/// Pushes of different objects: what a reconnect sends, and NICs.
fn pushes() -> Vec<(&'static str, Value)> {
    let pem = "-----BEGIN CERTIFICATE-----\n";
    vec![
        ("/configurenic", json!({ "nics": [nic(GUEST, "192.0.2.129", 3101)] })),
        ("/configurenic", json!({ "nics": [nic(SECOND, "192.0.2.65", 3102)] })),
        ("/createvip", vips(&["203.0.113.20", "203.0.113.30"])),
        ("/createvip", vips(&["203.0.113.21"])),
        ("/syncsnat", json!({ "enable": true, "snats": [snat()] })),
        ("/createeip", json!({ "eip": eip("203.0.113.20", "192.0.2.140") })),
        ("/createeip", json!({ "eip": eip("203.0.113.21", "192.0.2.140") })),
        ("/createportforwarding", json!({ "rules": [forward("a", 8000)] })),
        ("/createportforwarding", json!({ "rules": [forward("b", 8001)] })),
        ("/certificate/create", json!({ "uuid": "c1", "certificate": pem })),
        ("/lb/refresh", refresh(listener("l1", json!({ "nicIps": ["192.0.2.70", "192.0.2.150"] })))),
        (
            "/lb/refresh",
            refresh(listener(
                "l2",
                json!({ "mode": "https", "loadBalancerPort": 443, "certificateUuid": "c1" }),
            )),
        ),
        ("/setvipqos", limit("203.0.113.30", 0, 1_000_000, 0)),
        ("/setvipqos", limit("203.0.113.30", 80, 0, 1_000_000)),
        (
            "/syncroutes",
            json!({ "routes": [{ "destination": "198.51.100.0/24", "target": "192.0.2.66", "distance": 5 }] }),
        ),
        ("/setdns", json!({ "dns": [{ "dnsAddress": "198.51.100.53", "nicMac": GUEST }] })),
        ("/configurenicdefaultaction", json!({ "nics": [] })),
    ]
}

fn documents(pushes: Vec<(&'static str, Value)>) -> Documents {
    let mut bench = Bench::new();
    let mut documents = bench.router.documents().clone();
    for (path, body) in pushes {
        for change in bench.ok(path, body) {
            match change {
                Change::Put { kind, id, body } => _ = documents.insert((kind, id), body),
                Change::Delete { kind, id } => {
                    assert!(documents.remove(&(kind, id.clone())).is_some(), "{id} goes and was not there");
                }
            }
        }
        assert_eq!(&documents, bench.router.documents(), "the changes lead to the documents");
    }
    bench.holds();
    documents
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_the_same_pushes_ends_in_the_same_documents(order in Just(pushes()).prop_shuffle()) {
        prop_assert_eq!(documents(order), documents(pushes()));
    }

    /// Also across restarts and with pushes twice.
    #[test]
    fn restarts_and_repeats_make_no_difference(
        order in Just(pushes()).prop_shuffle(),
        restarts in prop::collection::vec(any::<bool>(), 17),
    ) {
        let mut bench = Bench::new();
        for ((path, body), restart) in order.into_iter().zip(restarts) {
            bench.ok(path, body.clone());
            if restart {
                bench = bench.restarted();
                bench.ok(path, body);
            }
        }
        prop_assert_eq!(bench.router.documents(), &documents(pushes()));
    }

    #[test]
    fn no_body_is_too_strange(at in 0..Endpoint::ALL.len(), text in "[\\[\\]{}:,\"a-z0-9 .]{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut bench = Bench::with_network();
        for bytes in [text.as_bytes(), &bytes] {
            if let Ok(body) = body::parse(bytes) {
                bench.router.handle(Endpoint::ALL[at], &body, bench.now);
            }
        }
    }

    /// Bodies of the right keys with wrong values.
    #[test]
    fn no_value_is_too_strange(at in 0..17_usize, place in 0..40_usize, value in prop::sample::select(vec![
        json!(null), json!(""), json!("x"), json!(-1), json!(1e300), json!([]), json!({}), json!([[]]), json!(true),
        json!("255.255.255.255"), json!("0.0.0.0/0"), json!(u64::MAX),
    ])) {
        let (path, mut body) = pushes().swap_remove(at);
        let mut left = place;
        replace(&mut body, &mut left, &value);
        let mut bench = Bench::with_network();
        bench.send(path, body);
        let _ = bench.check();
    }
}

/// Replaces the value at a place, counted through the tree.
fn replace(tree: &mut Value, left: &mut usize, value: &Value) {
    if *left == 0 {
        *tree = value.clone();
    }
    *left = left.wrapping_sub(1);
    match tree {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, left, value)),
        Value::Object(keys) => keys.values_mut().for_each(|item| replace(item, left, value)),
        _ => {}
    }
}
