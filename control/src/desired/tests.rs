//! What becomes of documents, in whatever order they come.

mod random;

use proptest::{prelude::*, sample::subsequence};
use serde_json::{Value, json};

use super::*;
use crate::config::raw::RawGateway;

pub(super) fn host() -> RawGateway {
    serde_json::from_value(json!({ "ports": [
        { "id": "under", "device": "net_null0", "mtu": 1600, "addresses": ["10.0.0.1/24"] },
        { "id": "wan", "device": "net_null1" },
    ] }))
    .unwrap()
}

fn empty() -> Basis {
    Basis::empty(host()).unwrap()
}

/// A site of two VPCs in which everything is in force.
pub(super) fn site() -> Value {
    json!({
        "vxlan_pools": [{ "id": "pool", "vni_range": "100-199", "vtep_cidr": "10.0.0.0/24" }],
        "public_networks": [
            { "id": "net-a", "port": "wan", "vlan": 10, "cidr": "192.0.2.0/24", "gateway": "192.0.2.1" },
            { "id": "net-b", "port": "wan", "vlan": 11, "cidr": "198.51.100.0/24" },
        ],
        "certificates": [{ "id": "cert", "file": "/etc/cert.pem" }],
        "vpc_routers": [{ "id": "red" }, { "id": "blue" }],
        "vpc_networks": [
            { "id": "red-1", "vpc": "red", "cidr": "10.1.1.0/24", "gateway": "10.1.1.1", "vxlan": { "pool": "pool", "vni": 100 } },
            { "id": "red-2", "vpc": "red", "cidr": "10.1.2.0/24", "gateway": "10.1.2.1", "vxlan": { "pool": "pool", "vni": 101 } },
            { "id": "blue-1", "vpc": "blue", "cidr": "10.1.1.0/24", "gateway": "10.1.1.1", "vxlan": { "pool": "pool", "vni": 102 } },
        ],
        "nics": [
            { "id": "web", "network": "red-1", "address": "10.1.1.10" },
            { "id": "web-2", "network": "red-2", "address": "10.1.2.10" },
            { "id": "db", "network": "blue-1", "address": "10.1.1.10" },
        ],
        "vips": [
            { "id": "vip-1", "public_network": "net-a", "address": "192.0.2.10" },
            { "id": "vip-2", "public_network": "net-a", "address": "192.0.2.11" },
            { "id": "vip-3", "public_network": "net-b", "address": "198.51.100.10" },
        ],
        "routes": [
            { "vpc": "red", "destination": "0.0.0.0/0", "via_public": "net-a" },
            { "id": "far", "vpc": "red", "destination": "172.16.0.0/12", "next_hop": "10.1.2.99" },
        ],
        "snats": [{ "id": "out", "vpc": "red", "vips": ["vip-1"] }],
        "eips": [{ "id": "eip", "vip": "vip-3", "nic": "db" }],
        "port_forwards": [
            { "id": "ssh", "vip": "vip-1", "protocol": "tcp", "ports": "2222", "nic": "web", "target_ports": "22" },
            { "id": "dns", "vip": "vip-2", "protocol": "udp", "ports": "53", "vpc": "red", "address": "10.1.2.53" },
        ],
        "load_balancers": [{ "id": "lb", "vip": "vip-2", "listeners": [
            { "id": "lb-80", "protocol": "http", "port": 80, "backends": [{ "nic": "web" }, { "nic": "web-2" }] },
            { "id": "lb-443", "protocol": "https", "port": 443, "backends": [{ "nic": "web" }], "http": { "tls": { "certificates": ["cert"] } } },
        ] }],
        "qos": [{ "id": "slow", "vip": "vip-1", "inbound": "10Mbit/s" }, { "id": "vm", "nic": "web-2", "outbound": "10Mbit/s" }],
    })
}

/// Objects that are not right beside those of [`site`], or lead nowhere.
fn odd() -> Value {
    json!({
        "nics": [
            { "id": "astray", "network": "red-1", "address": "10.9.9.9" },
            { "id": "lost", "network": "nowhere", "address": "10.9.9.9" },
        ],
        "routes": [{ "id": "off", "vpc": "blue", "destination": "172.16.0.0/12", "next_hop": "10.7.7.7" }],
        "port_forwards": [
            { "id": "a-foreign", "vip": "vip-1", "protocol": "tcp", "ports": "99", "nic": "db" },
            { "id": "of-lost", "vip": "vip-2", "protocol": "tcp", "ports": "98", "nic": "lost" },
        ],
        "vpc_networks": [{ "id": "wide", "vpc": "blue", "cidr": "10.77.0.0/16", "gateway": "10.77.0.1", "vxlan": { "pool": "pool", "vni": 999 } }],
        "vxlan_pools": [{ "id": "afar", "vni_range": "1-5", "vtep_cidr": "10.99.0.0/24" }],
    })
}

fn all(file: &Value) -> Vec<(Kind, Value)> {
    let sections = file.as_object().unwrap().iter();
    let objects = sections.flat_map(|(section, list)| {
        let kind: Kind = section.parse().unwrap();
        list.as_array().unwrap().iter().map(move |body| (kind, body.clone()))
    });
    objects.collect()
}

fn put(basis: &Basis, kind: Kind, body: &Value) -> Result<Basis, Refused> {
    step(basis, Step::Put { kind, body: body.clone(), etag: None })
}

fn step(basis: &Basis, step: Step) -> Result<Basis, Refused> {
    let plan = basis.plan(&Transaction { steps: vec![step], ..Transaction::default() })?;
    Ok(plan.basis(basis.generation + 1))
}

fn delete(basis: &Basis, key: &str) -> Basis {
    let (kind, id) = key.split_once('/').unwrap();
    step(basis, Step::Delete { kind: kind.parse().unwrap(), id: id.into(), etag: None }).unwrap()
}

fn pushed(pushes: &[(Kind, Value)]) -> Basis {
    pushes.iter().fold(empty(), |basis, (kind, body)| {
        put(&basis, *kind, body).unwrap_or_else(|why| panic!("{kind} {body}: {why}"))
    })
}

fn idle(basis: &Basis) -> Vec<String> {
    let shown = |(key, status): (&Key, &Status)| format!("{key} {}: {}", status.name(), status.reason());
    basis.settled.statuses.iter().map(shown).collect()
}

fn refusal(result: Result<Basis, Refused>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_whole_site_is_in_force() {
    let site = pushed(&all(&site()));
    assert_eq!(idle(&site), [""; 0]);
    assert_eq!(site.settled.config.port_forwards.len(), 2);
}

#[test]
fn services_follow_the_vm() {
    let whole = pushed(&all(&site()));
    let gone = delete(&whole, "vpc_routers/red");
    let waiting = idle(&gone);
    for expected in [
        "vpc_networks/red-1 pending: vpc: there is no vpc_routers/red",
        "nics/web pending: network: vpc_networks/red-1 is pending",
        "snats/out pending: vpc: there is no vpc_routers/red",
        "port_forwards/ssh pending: nic: nics/web is pending",
        "load_balancers/lb pending: listeners[0].backends[0].nic: nics/web is pending",
        "qos/vm pending: nic: nics/web-2 is pending",
    ] {
        assert!(waiting.contains(&expected.to_owned()), "{expected}\n{waiting:#?}");
    }
    assert_eq!(gone.settled.config.networks.len(), 1, "what is not of this router is left alone");
    let again = put(&gone, Kind::VpcRouter, &json!({ "id": "red" })).unwrap();
    assert_eq!(again.settled, whole.settled);
}

#[test]
fn what_a_list_names_goes_and_comes_one_by_one() {
    let whole = pushed(&all(&site()));
    let one = delete(&whole, "nics/web-2");
    let lb = Key::new(Kind::LoadBalancer, "lb").unwrap();
    assert_eq!(
        *one.settled.status(&lb),
        Status::Partly(
            "without 1 of 2 backends: listeners[0].backends[1].nic: there is no nics/web-2".into()
        )
    );
    assert_eq!(one.settled.config.listeners().next().unwrap().backends.len(), 1);
    let no_tls = delete(&whole, "certificates/cert");
    assert_eq!(no_tls.settled.config.listeners().count(), 1);
    assert_eq!(no_tls.settled.status(&lb).name(), "active");
}

#[test]
fn what_does_not_fit_what_it_names_has_failed_and_heals() {
    let mut pushes = all(&site());
    pushes.extend(all(&odd()));
    let basis = pushed(&pushes);
    assert_eq!(
        idle(&basis),
        [
            "vxlan_pools/afar pending: vtep_cidr: 10.99.0.0/24 contains no address of a port, so there is no VTEP; add an address of 10.99.0.0/24 to a port in gateway.ports",
            "vpc_networks/wide failed: vxlan.vni: 999 is outside the range 100-199 of pool pool; choose a VNI in it, or extend the pool's vni_range",
            "nics/astray failed: address: 10.9.9.9 is outside 10.1.1.0/24; give a host address of 10.1.1.0/24",
            "nics/lost pending: network: there is no vpc_networks/nowhere",
            "routes/off pending: next_hop: 10.7.7.7 is off-link and no other route leads to it (the default route does not count); give an address in a subnet of this table, or add a route to it",
            // One VIP, two VPCs: the one with the lower kind and id has it.
            "port_forwards/a-foreign failed: vip: vip-1 belongs to VPC red by snats/out already; this is for VPC blue; give each VPC VIPs of its own",
            "port_forwards/of-lost pending: nic: nics/lost is pending",
        ]
    );
    let body = json!({ "id": "pool", "vni_range": "100-999", "vtep_cidr": "10.0.0.0/24" });
    let healed = put(&basis, Kind::VxlanPool, &body).unwrap();
    assert_eq!(healed.settled.status(&Key::new(Kind::VpcNetwork, "wide").unwrap()), &Status::Active);
}

#[test]
fn what_cannot_be_right_is_refused_with_field_and_way_out() {
    let basis = pushed(&all(&site()));
    for (kind, body, expected) in [
        (
            "nics",
            json!({ "id": "x", "network": "nowhere", "address": "10.1.1" }),
            "nics/x.address: 10.1.1 is no IPv4 address",
        ),
        ("nics", json!({ "id": "x", "netwrk": "red-1", "address": "10.1.1.11" }), "did you mean `network`?"),
        ("nics", json!({ "id": "x", "network": "red-1" }), "address (x): is missing"),
        ("nics", json!({ "id": "no id", "network": "red-1", "address": "10.1.1.11" }), "is no id"),
        ("nics", json!(["x"]), "is no mapping of keys"),
        (
            "eips",
            json!({ "id": "x", "vip": "vip-1", "nic": "a", "vpc": "red" }),
            "eips/x: names its VM twice; keep either `nic`, or `vpc` and `address`",
        ),
        (
            "vpc_networks",
            json!({ "id": "x", "vpc": "nowhere", "cidr": "10.1.1.0/24", "gateway": "10.1.2.1", "port": "wan" }),
            "vpc_networks/x.gateway: 10.1.2.1 is outside 10.1.1.0/24",
        ),
    ] {
        let said = refusal(put(&basis, kind.parse().unwrap(), &body));
        assert!(said.contains(expected), "{body}: {said}");
    }
}

#[test]
fn what_another_object_has_is_refused_also_while_it_waits() {
    let basis = pushed(&all(&site()));
    let waiting =
        json!({ "id": "later", "vip": "vip-9", "protocol": "tcp", "ports": "80-90", "nic": "nobody" });
    let basis = put(&basis, Kind::PortForward, &waiting).unwrap();
    for (kind, body, expected) in [
        (
            "port_forwards",
            json!({ "id": "a", "vip": "vip-9", "protocol": "tcp", "ports": "85", "nic": "web" }),
            "port_forwards/a.ports: tcp 85 of VIP vip-9 belongs to port_forwards/later already; set them apart, or use another VIP",
        ),
        (
            "eips",
            json!({ "id": "e", "vip": "vip-1", "nic": "web" }),
            "eips/e.vip: all of VIP vip-1 belongs to port_forwards/ssh already",
        ),
        (
            "eips",
            json!({ "id": "e", "vip": "vip-8", "nic": "db" }),
            "the EIP of NIC db belongs to eips/eip already",
        ),
        (
            "vpc_networks",
            json!({ "id": "n", "vpc": "red", "cidr": "10.1.0.0/16", "gateway": "10.1.0.1", "vxlan": { "pool": "pool", "vni": 150 } }),
            "vpc_networks/n.cidr: 10.1.0.0-10.1.255.255 of VPC red belongs to vpc_networks/red-1 already",
        ),
        (
            "vpc_networks",
            json!({ "id": "n", "vpc": "red", "cidr": "10.9.0.0/16", "gateway": "10.9.0.1", "vxlan": { "pool": "pool", "vni": 100 } }),
            "VNI 100 of pool pool belongs to vpc_networks/red-1 already",
        ),
        (
            "vips",
            json!({ "id": "v", "public_network": "x", "address": "192.0.2.10" }),
            "192.0.2.10 belongs to vips/vip-1 already",
        ),
        (
            "nics",
            json!({ "id": "n", "network": "red-1", "address": "10.1.1.10" }),
            "belongs to nics/web already",
        ),
        (
            "qos",
            json!({ "id": "q", "vip": "vip-1", "inbound": "1Mbit/s" }),
            "VIP vip-1 belongs to qos/slow already",
        ),
        (
            "routes",
            json!({ "vpc": "red", "destination": "0.0.0.0/0", "via_public": "net-a", "priority": 128 }),
            "this route belongs to routes/route-",
        ),
        (
            "load_balancers",
            json!({ "id": "l", "vip": "vip-7", "listeners": [
                { "id": "l-1", "protocol": "tcp", "port": 80, "backends": [{ "nic": "web" }] },
                { "id": "l-2", "protocol": "http", "port": 80, "backends": [{ "nic": "web" }] },
            ] }),
            "tcp 80 of VIP vip-7 is taken twice by this object",
        ),
        (
            "public_networks",
            json!({ "id": "p", "port": "wan", "vlan": 10, "cidr": "203.0.113.0/24" }),
            "VLAN 10 of port wan belongs to public_networks/net-a already",
        ),
    ] {
        let said = refusal(put(&basis, kind.parse().unwrap(), &body));
        assert!(said.contains(expected), "{body}: {said}");
    }
}

#[test]
fn steps_ask_for_generation_and_etag() {
    let basis = pushed(&all(&site()));
    let stale = Transaction { expect: Some(1), ..Transaction::default() };
    assert!(matches!(basis.plan(&stale), Err(Refused::Stale { expected: 1, .. })));
    let key = Key::new(Kind::VpcRouter, "red").unwrap();
    let etag = basis.documents.get(&key).unwrap().etag();
    let write = |etag: &str| Step::Put {
        kind: Kind::VpcRouter,
        body: json!({ "id": "red", "account": "a" }),
        etag: Some(etag.into()),
    };
    let written = step(&basis, write(&etag)).unwrap();
    assert!(matches!(step(&written, write(&etag)), Err(Refused::Changed { .. })));
    assert!(matches!(step(&written, write("")), Err(Refused::Changed { .. })), "it must not be there");
    let patch = json!({ "account": null, "quotas": { "sessions": 7 } });
    let patched =
        step(&written, Step::Patch { kind: Kind::VpcRouter, id: "red".into(), patch, etag: None }).unwrap();
    assert_eq!(&*patched.documents.get(&key).unwrap().text, r#"{"id":"red","quotas":{"sessions":7}}"#);
    let missing = Step::Delete { kind: Kind::VpcRouter, id: "green".into(), etag: None };
    assert!(matches!(step(&basis, missing), Err(Refused::Missing { .. })));
    let renamed =
        Step::Patch { kind: Kind::VpcRouter, id: "red".into(), patch: json!({ "id": "x" }), etag: None };
    assert!(refusal(step(&basis, renamed)).contains("an id stays"));
}

#[test]
fn a_key_that_begins_as_the_host_s_is_named() {
    for key in ["gateways", "gateway.ports", "gateway.ancers"] {
        let why = step(&empty(), Step::Merge { file: json!({ key: [], "vips": [] }) }).unwrap_err();
        assert!(why.to_string().contains(key), "{why}");
    }
}

#[test]
fn a_file_is_replaced_or_merged_and_strict_refuses_what_waits() {
    let basis = pushed(&all(&site()));
    let file = json!({ "gateway": "not looked at", "vpc_routers": [{ "id": "red" }, { "id": "green" }] });
    let merged = step(&basis, Step::Merge { file: file.clone() }).unwrap();
    assert_eq!(merged.documents.len(), basis.documents.len() + 1);
    let plan = basis
        .plan(&Transaction { steps: vec![Step::Replace { file: file.clone() }], ..Transaction::default() })
        .unwrap();
    assert_eq!((plan.documents.len(), plan.changes.len()), (2, basis.documents.len()));
    let odd =
        Transaction { steps: vec![Step::Merge { file: odd() }], strict: true, ..Transaction::default() };
    let why = basis.plan(&odd).unwrap_err().to_string();
    assert!(why.contains("nics/lost: would be pending: network: there is no vpc_networks/nowhere"), "{why}");
    let lenient = basis.plan(&Transaction { strict: false, ..odd }).unwrap();
    assert_eq!(lenient.warnings.len(), 7, "{:#?}", lenient.warnings);
}

#[test]
fn what_a_router_agent_wrote_is_left_alone_by_files_and_rollbacks() {
    let mut host = host();
    host.zstack = serde_json::from_value(json!({ "agents": [{ "id": "r1" }] })).unwrap();
    let empty = Basis::empty(host.clone()).unwrap();
    let route = |priority: u64| json!({ "id": "r1.far", "vpc": "red", "destination": "172.16.0.0/12", "blackhole": true, "priority": priority });
    let basis = put(&empty, Kind::Route, &route(7)).unwrap();
    let key = Key::new(Kind::Route, "r1.far").unwrap();
    let kept = |basis: &Basis| basis.documents.get(&key).map(|document| document.body()["priority"].clone());
    let replaced = step(&basis, Step::Replace { file: site() }).unwrap();
    assert_eq!(kept(&replaced), Some(json!(7)));
    let changed = step(&replaced, Step::Replace { file: json!({ "routes": [route(8)] }) }).unwrap();
    assert_eq!((changed.documents.len(), kept(&changed)), (1, Some(json!(7))));
    let file = changed.plan_file(&host, Vec::new()).unwrap().basis(9);
    assert_eq!(kept(&file), Some(json!(7)));
    assert_eq!(kept(&file.plan_documents(&empty.documents).unwrap().basis(10)), Some(json!(7)));
    assert_eq!(kept(&delete(&file, "routes/r1.far")), None, "the agent itself may");
}

#[test]
fn no_more_networks_than_there_is_room_for() {
    let mut host = host();
    host.limits = Some(serde_json::from_value(json!({ "networks": 5 })).unwrap());
    let objects = super::objects(site(), &host).unwrap();
    let whole: Documents = objects.into_iter().collect();
    let settled = settle(&host, &whole).unwrap();
    // Two networks of ports and public ones are there already; a limit that got too low leaves out the last ones.
    assert_eq!(settled.config.networks.len(), 2);
    assert!(settled.overfull[0].path == "gateway.limits.networks");
    let refused = Basis::empty(host)
        .unwrap()
        .plan(&Transaction { steps: vec![Step::Replace { file: site() }], ..Transaction::default() });
    assert!(refused.unwrap_err().to_string().contains("gateway.limits.networks"));
}

type Pushes = Vec<(Kind, Value)>;

/// Some of all objects, in some order, and in another one.
fn two_orders() -> impl Strategy<Value = (Pushes, Pushes)> {
    let mut pushes = all(&site());
    pushes.extend(all(&odd()));
    let len = pushes.len();
    subsequence(pushes, 0..=len)
        .prop_shuffle()
        .prop_flat_map(|one| (Just(one.clone()), Just(one).prop_shuffle()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_the_same_pushes_ends_in_the_same_state((one, other) in two_orders()) {
        let (one, other) = (pushed(&one), pushed(&other));
        prop_assert_eq!(&one.documents, &other.documents);
        prop_assert_eq!(&one.settled, &other.settled);
        let at_once = Documents::from_iter(one.documents.iter().map(|document| (**document).clone()));
        prop_assert_eq!(at_once.sum(), one.documents.sum());
        prop_assert_eq!(&settle(&host(), &at_once).unwrap(), &*one.settled);
    }

    #[test]
    fn what_is_put_and_deleted_leaves_no_trace((pushes, extra) in two_orders()) {
        let (before, extra) = (pushes.split_at(pushes.len() / 2).0, extra);
        let basis = pushed(before);
        let new: Vec<_> = extra.iter().filter(|push| !before.contains(push)).collect();
        let mut with = basis.clone();
        let mut keys = Vec::new();
        for (kind, body) in new {
            let plan = with.plan(&Transaction {
                steps: vec![Step::Put { kind: *kind, body: body.clone(), etag: None }],
                ..Transaction::default()
            });
            let plan = plan.unwrap();
            keys.push(plan.changes[0].key.to_string());
            with = plan.basis(with.generation + 1);
        }
        let restored = with.plan_documents(&basis.documents).unwrap();
        prop_assert_eq!(&restored.documents, &basis.documents);
        prop_assert_eq!(&restored.settled, &basis.settled);
        let after = keys.iter().fold(with, |basis, key| delete(&basis, key));
        prop_assert_eq!(&after.documents, &basis.documents);
        prop_assert_eq!(&after.settled, &basis.settled);
    }
}
