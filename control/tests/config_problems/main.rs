//! Each mistake in a document, and the line that says so. The document is right but for the change of the case.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which may panic")]

mod balance;
mod host;
mod http;
mod nat;
mod qos;
mod route;
mod vpc;

use serde_json::{Value, json};
use tidegate_control::config::{Config, Problems, parse};

fn document() -> Value {
    json!({
        "gateway": {
            "workers": [1, 2],
            "ports": [
                {"id": "under", "device": "net_tap0", "mtu": 1550, "addresses": ["172.31.0.1/24"], "gateway": "172.31.0.254"},
                {"id": "pub", "device": "net_tap1"},
            ],
            "metrics": {"listen": "127.0.0.1:9472"},
        },
        "vxlan_pools": [
            {"id": "pool", "vni_range": "200-2500", "vtep_cidr": "172.31.0.0/24", "remote_vteps": ["172.31.0.2", "172.31.9.1"]},
        ],
        "public_networks": [
            {"id": "inet", "port": "pub", "vlan": 100, "cidr": "203.0.113.0/24", "gateway": "203.0.113.1", "address": "203.0.113.2"},
        ],
        "vpc_routers": [{"id": "vpc-1"}, {"id": "vpc-2"}],
        "vpc_networks": [
            {"id": "a", "vpc": "vpc-1", "cidr": "10.1.1.0/24", "gateway": "10.1.1.1", "vxlan": {"pool": "pool", "vni": 222}},
            {"id": "b", "vpc": "vpc-1", "cidr": "10.1.2.0/24", "gateway": "10.1.2.1", "vlan": {"port": "pub", "id": 7}},
            {"id": "c", "vpc": "vpc-2", "cidr": "10.1.1.0/24", "gateway": "10.1.1.1", "vxlan": {"pool": "pool", "vni": 300}},
        ],
        "routes": [
            {"vpc": "vpc-1", "destination": "198.51.100.0/24", "next_hop": "10.1.2.9"},
            {"vpc": "vpc-1", "destination": "0.0.0.0/0", "via_public": "inet"},
        ],
    })
}

/// The document with the values at these JSON pointers replaced or added; `null` takes a key away.
fn changed(changes: &[(&str, Value)]) -> String {
    let mut document = document();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match document.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}")) {
            Value::Object(object) => _ = object.insert(key.to_owned(), value.clone()),
            Value::Array(items) if key == "-" => items.push(value.clone()),
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
            other => panic!("{pointer} is in {other}"),
        }
    }
    document.to_string()
}

fn lines(result: Result<Config, Problems>) -> Vec<String> {
    result.err().map_or_else(Vec::new, |problems| problems.0.iter().map(ToString::to_string).collect())
}

/// What is changed, and the lines of all problems that follow.
type Case<'a> = (&'a [(&'a str, Value)], &'a [&'a str]);

#[track_caller]
fn expect(cases: &[Case<'_>]) {
    for (changes, expected) in cases {
        assert_eq!(lines(parse(&changed(changes))), *expected, "{changes:?}");
    }
}

#[test]
fn the_document_itself_is_right() {
    assert_eq!(lines(parse(&changed(&[]))), [""; 0]);
}

#[test]
fn shapes() {
    expect(&[
        (&[("/gatewy", json!({}))], &["gatewy: is no key that is known here; did you mean `gateway`?"]),
        (
            &[("/gateway/ports/0/mut", json!(1)), ("/vpc_networks/0/vxlan/segment", json!(1))],
            &[
                "gateway.ports[0].mut (under): is no key that is known here; did you mean `mtu`?",
                "vpc_networks[0].vxlan.segment (a): is no key that is known here; remove it",
            ],
        ),
        (
            &[("/vpc_networks/0/cidr", Value::Null)],
            &["vpc_networks[0].cidr (a): is missing; give a subnet, as in 192.0.2.0/24"],
        ),
        (
            &[("/vpc_networks/0/mtu", json!("1450"))],
            &["vpc_networks[0].mtu (a): 1450 is no whole number; give 576 to 9216"],
        ),
        (
            &[("/vpc_networks/0/mtu", json!(100))],
            &["vpc_networks[0].mtu (a): 100 is out of range; give 576 to 9216"],
        ),
        (
            &[("/vpc_networks/0/mtu", json!(-1))],
            &["vpc_networks[0].mtu (a): -1 is out of range; give 576 to 9216"],
        ),
        (
            &[("/vpc_networks/0/mtu", json!(1450.5))],
            &["vpc_networks[0].mtu (a): 1450.5 is no whole number; give 576 to 9216"],
        ),
        (
            &[("/vpc_networks/0/vxlan/vni", json!(0))],
            &["vpc_networks[0].vxlan.vni (a): 0 is out of range; give 1 to 16777215"],
        ),
        (
            &[("/vpc_networks/1/vlan/id", json!(4095))],
            &["vpc_networks[1].vlan.id (b): 4095 is out of range; give 1 to 4094"],
        ),
        (
            &[("/vpc_networks/0/vxlan", json!(222))],
            &["vpc_networks[0].vxlan (a): 222 is no mapping of keys; give a mapping of keys"],
        ),
        (
            &[("/vpc_networks/0/gateway", json!(["x"]))],
            &["vpc_networks[0].gateway (a): a list is no text; give an IPv4 address"],
        ),
        (
            &[("/vpc_routers/0/id", json!(1.5))],
            &[
                "vpc_routers[0].id (1.5): 1.5 is no text; put it in quotes",
                "vpc_networks[0].vpc (a): vpc-1 is no id in vpc_routers; add it to vpc_routers or name one that is there",
                "vpc_networks[1].vpc (b): vpc-1 is no id in vpc_routers; add it to vpc_routers or name one that is there",
                "routes[0].vpc (198.51.100.0/24): vpc-1 is no id in vpc_routers; add it to vpc_routers or name one that is there",
                "routes[1].vpc (0.0.0.0/0): vpc-1 is no id in vpc_routers; add it to vpc_routers or name one that is there",
            ],
        ),
        (
            &[("/vpc_routers/1/flow_tracking", json!("no"))],
            &["vpc_routers[1].flow_tracking (vpc-2): no is not true or false; give true or false"],
        ),
        (&[("/routes/0", json!("x"))], &["routes[0]: x is no mapping of keys; give a mapping of keys"]),
        (&[("/routes", json!({}))], &["routes: a mapping is no list; give a list"]),
        (
            &[("/gateway/hugepages", json!("yes"))],
            &["gateway.hugepages: yes is none of the choices; give one of auto, required, off"],
        ),
        (
            &[("/gateway/limits", json!({"flows": 1}))],
            &["gateway.limits.flows: 1 is out of range; give 1024 to 268435456"],
        ),
        (&[("/routes/0/priority", json!(0))], &["routes[0].priority: 0 is out of range; give 1 to 254"]),
        (&[("/routes/0/priority", json!(255))], &["routes[0].priority: 255 is out of range; give 1 to 254"]),
    ]);
}

#[test]
fn a_missing_part_is_missed_wherever_it_is_named() {
    let also = [
        "vxlan_pools[0].vtep_cidr (pool): 172.31.0.0/24 contains no address of a port, so there is no VTEP; add an address of 172.31.0.0/24 to a port in gateway.ports",
        "public_networks[0].port (inet): pub is no id in gateway.ports; add it to gateway.ports or name one that is there",
        "vpc_networks[1].vlan.port (b): pub is no id in gateway.ports; add it to gateway.ports or name one that is there",
    ];
    for (pointer, value, first) in [
        ("/gateway", Value::Null, "gateway: is missing; give a mapping of keys"),
        ("/gateway/ports", json!([]), "gateway.ports: is an empty list; give a list of one or more"),
    ] {
        assert_eq!(lines(parse(&changed(&[(pointer, value)]))), [&[first], &also[..]].concat());
    }
}

#[test]
fn documents_that_are_none() {
    for (text, expected) in [
        ("", "gateway: is missing; give a mapping of keys"),
        ("- 1", "document: a list is no mapping of keys; give a mapping of keys"),
        ("gateway: {workers: [1", "document: cannot be read: line 1 column"),
        ("a: 1\n---\nb: 1", "document: cannot be read: "),
    ] {
        let lines = lines(parse(text));
        assert!(lines.len() == 1 && lines[0].starts_with(expected), "{text}: {lines:?}");
    }
    let twice = changed(&[]).replacen("\"workers\":[1,2]", "\"workers\":[1,2],\"workers\":[3]", 1);
    let expected = "gateway.workers: [3] is given for a key that is there already; keep one of them";
    assert_eq!(lines(parse(&twice)), [expected]);
}

#[test]
fn ten_mistakes_are_ten_problems() {
    let lines = lines(parse(&changed(&[
        ("/gateway/wrokers", json!([1])),
        ("/gateway/metrics/listen", json!("0.0.0.0:9472")),
        ("/vxlan_pools/0/udp_port", json!(70000)),
        ("/public_networks/0/gateway", json!("203.0.113.255")),
        ("/vpc_routers/1/quotas", json!({"sessions": 0})),
        ("/vpc_networks/0/vxlan/vni", json!(9)),
        ("/vpc_networks/1/mtu", json!(9000)),
        ("/vpc_networks/2/gateway", json!("10.1.1.256")),
        ("/routes/0/next_hop", json!("10.200.0.1")),
        ("/routes/1/via_public", json!("extranet")),
    ])));
    let paths: Vec<&str> = lines.iter().map(|line| line.split([' ', ':']).next().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "gateway.wrokers",
            "vxlan_pools[0].udp_port",
            "vpc_routers[1].quotas.sessions",
            "gateway.metrics.listen",
            "public_networks[0].gateway",
            "vpc_networks[0].vxlan.vni",
            "vpc_networks[1].mtu",
            "vpc_networks[2].gateway",
            "routes[1].via_public",
            "routes[0].next_hop",
        ]
    );
}
