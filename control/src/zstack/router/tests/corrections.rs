//! The traps of chapter 9 and the corrections of chapter 11 that concern what is served.

use super::*;

/// 9.10: of which services a sync is the whole.
#[test]
fn a_sync_replaces_or_does_not() {
    let mut bench = Bench::with_network();
    bench.ok("/createvip", vips(&["203.0.113.20", "203.0.113.21", "203.0.113.30"]));
    bench.ok("/createeip", json!({ "eip": eip("203.0.113.20", "192.0.2.140") }));
    bench.ok("/synceip", json!({ "eips": [eip("203.0.113.21", "192.0.2.142")] }));
    assert_eq!(bench.ids(Kind::Eip), ["r1.eip-203.0.113.21"]);
    bench.ok("/createportforwarding", json!({ "rules": [forward("a", 80)] }));
    bench.ok("/syncportforwarding", json!({ "rules": [forward("b", 80)] }));
    assert_eq!(bench.ids(Kind::PortForward), ["r1.pf-b"]);
    bench.ok("/syncsnat", json!({ "enable": true, "snats": [snat()] }));
    bench.ok("/syncsnat", json!({ "enable": true, "snats": [] }));
    assert_eq!(bench.ids(Kind::Snat), [""; 0]);
    bench.ok("/syncsnat", json!({ "enable": false, "snats": [snat()] }));
    assert_eq!(bench.ids(Kind::Snat), [""; 0], "`enable` off leaves none");
    let mut sync = vips(&["203.0.113.20"]);
    sync["syncVip"] = true.into();
    bench.ok("/createvip", sync);
    assert_eq!(bench.ids(Kind::Vip).len(), 4, "VIPs that are not in the list stay");
    bench.ok("/setvipqos", limit("203.0.113.20", 0, 1_000_000, 0));
    bench.ok("/syncvipqos", limit("203.0.113.21", 0, 1_000_000, 0));
    assert_eq!(bench.ids(Kind::Qos).len(), 2);
    bench.holds();
}

/// 9.9, 11: what is absent is deleted; on a NIC that is none of ours that is an error, as in the stock agent.
#[test]
fn deletes_are_idempotent_on_known_nics() {
    let mut bench = Bench::with_network();
    type Delete<'a> = (&'a str, &'a dyn Fn(&str) -> Value);
    let deletes: [Delete<'_>; 5] = [
        (
            "/removeeip",
            &|mac| json!({ "eip": { "vipIp": "203.0.113.20", "guestIp": "192.0.2.140", "publicMac": mac } }),
        ),
        ("/revokeportforwarding", &|mac| json!({ "rules": [{ "uuid": "a", "publicMac": mac }] })),
        (
            "/removesnat",
            &|mac| json!({ "natInfo": [{ "publicNicMac": mac, "privateNicMac": GUEST, "publicIp": "203.0.113.10" }] }),
        ),
        (
            "/deletevipqos",
            &|mac| json!({ "vipQosSettings": [{ "vip": "203.0.113.20", "port": 0, "publicNic": mac }] }),
        ),
        ("/lb/delete", &|mac| json!({ "lbs": [{ "listenerUuid": "l1", "publicNic": mac }] })),
    ];
    for (path, body) in deletes {
        bench.ok(path, body(PUBLIC));
        bench.ok(path, body(&PUBLIC.to_uppercase()));
        assert!(bench.refused(path, body("00:00:5e:00:53:ff")).contains("has no NIC with MAC"), "{path}");
    }
    bench.ok("/removevip", vips(&["203.0.113.99"]));
    assert!(
        bench.refused("/removenic", json!({ "nics": [{ "mac": "00:00:5e:00:53:ff" }] })).contains("no NIC")
    );
    bench.ok("/removenic", json!({ "nics": [{ "mac": GUEST }] }));
    assert_eq!(bench.ids(Kind::VpcNetwork), [""; 0]);
    // What is there goes, also where its NIC went before it.
    bench.ok("/createeip", json!({ "eip": eip("203.0.113.20", "192.0.2.140") }));
    bench.ok("/removenic", json!({ "nics": [{ "mac": PUBLIC }] }));
    bench.ok("/removeeip", json!({ "eip": eip("203.0.113.20", "192.0.2.140") }));
}

/// 9.9: a second time brings nothing new. 11: the stock `/configurenic` flushes VIPs; ours does not.
#[test]
fn commands_are_idempotent() {
    let mut bench = Bench::with_network();
    for (path, body) in [
        ("/createvip", vips(&["203.0.113.20", "203.0.113.30"])),
        ("/configurenic", json!({ "nics": [nic(GUEST, "192.0.2.129", 3101)] })),
        ("/syncsnat", json!({ "enable": true, "snats": [snat()] })),
        ("/createeip", json!({ "eip": eip("203.0.113.20", "192.0.2.140") })),
        ("/createportforwarding", json!({ "rules": [forward("a", 80)] })),
        ("/lb/refresh", refresh(listener("l1", json!({ "loadBalancerPort": 443 })))),
        ("/setvipqos", limit("203.0.113.30", 80, 1_000_000, 0)),
        (
            "/syncroutes",
            json!({ "routes": [{ "destination": "198.51.100.0/24", "target": "192.0.2.130", "distance": 5 }] }),
        ),
    ] {
        bench.ok(path, body.clone());
        assert_eq!(bench.ok(path, body), [], "{path}");
    }
    bench.holds();
}

/// 9.16: a NIC is its MAC, in any spelling.
#[test]
fn macs_are_compared_without_case() {
    let mut bench = Bench::with_network();
    bench.ok("/configurenic", json!({ "nics": [nic(&GUEST.to_uppercase(), "192.0.2.129", 3102)] }));
    assert_eq!(bench.ids(Kind::VpcNetwork), ["r1.net-00005e005302"]);
    assert_eq!(bench.document(Kind::VpcNetwork, "r1.net-00005e005302")["vxlan"]["vni"], 3102);
}

/// 9.19: success is never said by accident.
#[test]
fn a_command_that_fails_says_so_and_changes_nothing() {
    let mut bench = Bench::with_network();
    for (path, body) in [
        ("/configurenic", json!({ "nics": [{ "mac": "nonsense", "category": "Private" }] })),
        ("/configurenic", json!({ "nics": [{ "mac": SECOND, "category": "Weird" }] })),
        (
            "/configurenic",
            json!({ "nics": [nic(SECOND, "192.0.2.1", 1), { "mac": SECOND, "category": "Private", "ip": "1.2.3" }] }),
        ),
        ("/createvip", json!({ "vips": [{ "ip": "203.0.113.999" }] })),
        ("/createvip", json!({ "vips": {} })),
        ("/createeip", json!({ "eip": { "vipIp": "203.0.113.20" } })),
        (
            "/createeip",
            json!({ "eip": { "vipIp": "203.0.113.20", "guestIp": "192.0.2.140", "snatInboundTraffic": true } }),
        ),
        ("/createportforwarding", json!({ "rules": [forward("a", 80), forward("b", 0)] })),
        (
            "/createportforwarding",
            json!({ "rules": [{ "uuid": "a", "vipPortStart": 1, "vipPortEnd": 70000, "privatePortStart": 1,
            "privatePortEnd": 70000, "protocolType": "TCP", "vipIp": "203.0.113.30", "privateIp": "192.0.2.141" }] }),
        ),
        (
            "/syncsnat",
            json!({ "enable": true, "snats": [{ "state": true, "publicIp": "x", "publicNicMac": PUBLIC, "privateNicMac": GUEST }] }),
        ),
        ("/setvipqos", limit("203.0.113.30", 80, 0, 0)),
        ("/setvipqos", limit("203.0.113.30", 80, 1, 0)),
        (
            "/syncroutes",
            json!({ "routes": [{ "destination": "198.51.100.0/24", "target": "", "distance": 255 }] }),
        ),
        ("/syncroutes", json!({ "routes": [{ "destination": "nonsense" }] })),
    ] {
        assert!(!bench.refused(path, body).is_empty());
    }
}

/// 9.14, 4.4: port and VIP apart; 0 leaves a direction alone; shared ones share.
#[test]
fn limits_are_set_taken_away_and_shared() {
    let mut bench = Bench::new();
    bench.ok("/createvip", vips(&["203.0.113.30", "203.0.113.31"]));
    bench.ok("/setvipqos", limit("203.0.113.30", 0, 1_000_000, 2_000_000));
    bench.ok("/setvipqos", limit("203.0.113.30", 0, 3_000_000, 0));
    let whole = |bench: &Bench| bench.document(Kind::Qos, "r1.qos-203.0.113.30").clone();
    assert_eq!(
        (&whole(&bench)["inbound"], &whole(&bench)["outbound"]),
        (&json!("3000000bit/s"), &json!("2000000bit/s"))
    );
    bench.ok("/deletevipqos", limit("203.0.113.30", 0, 3_000_000, 0));
    assert_eq!(whole(&bench)["inbound"], Value::Null);
    bench.ok("/setvipqos", limit("203.0.113.30", 443, 1_000_000, 0));
    bench.ok("/deletevipqos", limit("203.0.113.30", 0, 0, 0));
    assert_eq!(bench.ids(Kind::Qos), ["r1.qos-203.0.113.30-443"], "the port's limit is no part of the VIP's");
    for vip in ["203.0.113.30", "203.0.113.31"] {
        let mut shared = limit(vip, 0, 5_000_000, 5_000_000);
        shared["vipQosSettings"][0]["sharedQosUuid"] = "s1".into();
        bench.ok("/setvipqos", shared);
    }
    assert_eq!(bench.ids(Kind::Qos), ["r1.qos-s1"], "a VIP that joins a shared limit loses those of its own");
    let both = json!(["r1.vip-203.0.113.30", "r1.vip-203.0.113.31"]);
    assert_eq!(bench.document(Kind::Qos, "r1.qos-s1")["vips"], both);
    bench.holds();
}

/// 5.1: one EIP for a VM; of several the lowest address is in force, and the others come into force when it goes.
#[test]
fn a_second_eip_of_a_vm_waits() {
    let mut bench = Bench::with_network();
    bench.ok("/createvip", vips(&["203.0.113.9", "203.0.113.20"]));
    bench.ok(
        "/synceip",
        json!({ "eips": [eip("203.0.113.20", "192.0.2.140"), eip("203.0.113.9", "192.0.2.140")] }),
    );
    assert_eq!(bench.ids(Kind::Eip), ["r1.eip-203.0.113.9"]);
    assert!(bench.waits(Service::Eip, "203.0.113.20").contains("another EIP"));
    bench.holds();
    bench.ok("/removeeip", json!({ "eip": eip("203.0.113.9", "192.0.2.140") }));
    assert_eq!(bench.ids(Kind::Eip), ["r1.eip-203.0.113.20"]);
}

/// 4.5: of several public networks one serves a network: that of the default route.
#[test]
fn snat_follows_the_default_route() {
    let mut bench = Bench::with_network();
    let other = "00:00:5e:00:53:00";
    let mut second = snat();
    (second["publicNicMac"], second["publicIp"]) = (other.into(), "203.0.113.11".into());
    bench.ok("/createvip", vips(&["203.0.113.11"]));
    bench.ok("/syncsnat", json!({ "enable": true, "snats": [second, snat()] }));
    assert_eq!(bench.document(Kind::Snat, "r1.snat-00005e005302")["vips"], json!(["r1.vip-203.0.113.10"]));
    bench.waits(Service::Snat, &format!("{other} {GUEST}"));
    bench.ok(
        "/changeDefaultNic",
        json!({ "newNic": { "mac": other, "gateway": "203.0.113.1" }, "snats": [] }),
    );
    assert_eq!(bench.document(Kind::Snat, "r1.snat-00005e005302")["vips"], json!(["r1.vip-203.0.113.11"]));
    bench.holds();
}

#[test]
fn a_default_route_by_a_private_network_is_a_route() {
    let mut bench = Bench::with_network();
    bench.ok("/changeDefaultNic", json!({ "newNic": { "mac": GUEST, "gateway": "192.0.2.190" } }));
    let route = bench.document(Kind::Route, "r1.route-default");
    assert_eq!((&route["destination"], &route["next_hop"]), (&json!("0.0.0.0/0"), &json!("192.0.2.190")));
    bench.holds();
    bench.ok("/changeDefaultNic", json!({ "newNic": { "mac": PUBLIC, "gateway": "203.0.113.1" } }));
    assert_eq!(bench.ids(Kind::Route), [""; 0]);
}

#[test]
fn a_vm_outside_all_networks_waits_for_its_network() {
    let mut bench = Bench::new();
    bench.ok("/createvip", vips(&["203.0.113.20"]));
    bench.ok("/createeip", json!({ "eip": eip("203.0.113.20", "192.0.2.140") }));
    assert!(bench.waits(Service::Eip, "203.0.113.20").contains("no private network"));
    bench.ok("/configurenic", json!({ "nics": [nic(GUEST, "192.0.2.129", 3101)] }));
    assert_eq!(bench.ids(Kind::Eip), ["r1.eip-203.0.113.20"]);
    bench.holds();
}

#[test]
fn there_is_an_end_to_what_a_router_keeps() {
    let mut bench = Bench::new();
    let blackhole = |i: u32| json!({ "destination": std::net::Ipv4Addr::from(0x0a00_0000 + i).to_string(), "target": "", "distance": 1 });
    let many: Vec<Value> = (0..200_001).map(blackhole).collect();
    assert!(bench.refused("/syncroutes", json!({ "routes": many })).contains("more than 200000 objects"));
}
