//! HTTP listeners: what is wrong with one, and certificates.

use serde_json::{Value, json};
use tidegate_control::config::parse;

use super::{changed, lines};

/// An HTTPS listener that says all it can.
fn listener() -> Value {
    json!({
        "id": "web", "protocol": "https", "port": 443,
        "health_check": {"kind": "http"},
        "backends": [{"vpc": "vpc-1", "address": "10.1.1.5", "port": 8080}],
        "groups": [{"id": "api", "backends": [{"vpc": "vpc-1", "address": "10.1.2.9"}]}],
        "http": {
            "tls": {"certificates": ["c1"], "min_version": "1.0", "max_version": "1.2", "h2": true},
            "cookie": {"kind": "insert", "idle_s": 5},
            "proxy_protocol": "v2",
            "connections": "keep_alive",
            "compression": ["gzip", "raw-deflate"],
            "rules": [{"host": "*.example.com", "path": "/v2", "group": "api"}],
        },
    })
}

/// The lines that follow when `key` of the listener is `value`; no value removes the key.
fn told(changes: &[(&str, Option<Value>)]) -> Vec<String> {
    let mut listener = listener();
    for (key, value) in changes {
        let (parent, last) = key.rsplit_once('/').unwrap();
        let parent = listener.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => parent.insert((*last).to_owned(), value.clone()),
            None => parent.remove(last),
        };
    }
    let sections = [
        ("/vips", json!([{"id": "v1", "public_network": "inet", "address": "203.0.113.93"}])),
        ("/certificates", json!([{"id": "c1", "file": "/etc/c1.pem"}])),
        ("/load_balancers", json!([{"id": "lb", "vip": "v1", "listeners": [listener]}])),
    ];
    let at = "load_balancers[0].listeners[0].";
    lines(parse(&changed(&sections))).into_iter().map(|line| line.replace(at, "")).collect()
}

#[test]
fn a_listener_that_says_all_it_can_is_right() {
    assert_eq!(told(&[]), [""; 0]);
}

#[test]
fn each_mistake_is_named() {
    let cases: [(&str, Option<Value>, &str); 15] = [
        ("/http/tls", None, "http.tls (web): is missing; give `certificates`, or choose http"),
        ("/http", None, "http.tls (web): is missing; give `certificates`, or choose http"),
        (
            "/protocol",
            Some(json!("http")),
            "http.tls (web): means nothing to a listener of http; remove it, or choose https",
        ),
        (
            "/http/tls/certificates",
            Some(json!(["c2"])),
            "http.tls.certificates[0] (web): c2 is no id in certificates; add it to certificates or name one that is there",
        ),
        (
            "/http/tls/min_version",
            Some(json!("1.3")),
            "http.tls.min_version (web): 1.3 is above max_version 1.2; lower it",
        ),
        (
            "/http/redirect",
            Some(json!({})),
            "http.redirect (web): would lead https to https; remove it, or choose http",
        ),
        (
            "/http/cookie",
            Some(json!({"kind": "rewrite"})),
            "http.cookie.name (web): is missing; give the name of the cookie that backends set",
        ),
        (
            "/http/cookie/name",
            Some(json!("a b\nserver x")),
            "http.cookie.name (web): a b\\nserver x is no name of a cookie; give up to 64 letters, digits, _ and -",
        ),
        (
            "/http/compression",
            Some(json!(["zip"])),
            "http.compression[0] (web): zip is no way to compress; give gzip, deflate or raw-deflate",
        ),
        (
            "/http/rules/0/host",
            Some(json!("a } or { x")),
            "http.rules[0].host (web): a } or { x is no host; give a name without a port, as in www.example.com or *.example.com",
        ),
        (
            "/http/rules/0/group",
            Some(json!("web")),
            "http.rules[0].group (web): web is no group of this listener; name one of `groups`",
        ),
        (
            "/algorithm",
            Some(json!("consistent")),
            "algorithm (web): consistent is for listeners of tcp and udp; choose source or another one",
        ),
        (
            "/mode",
            Some(json!("dnat")),
            "mode (web): is for listeners of tcp and udp; remove it; a proxy asks from the gateway's address",
        ),
        (
            "/all_down",
            Some(json!("open")),
            "all_down (web): open is for listeners of tcp and udp; remove it; the proxy answers with status 503",
        ),
        (
            "/health_check/kind",
            Some(json!("udp")),
            "health_check.kind (web): udp is for listeners of tcp and udp; choose tcp or http",
        ),
    ];
    for (key, value, expected) in cases {
        assert_eq!(told(&[(key, value.clone())]), [expected], "{key} {value:?}");
    }
    let nothing = [("/http/rules/0/host", None), ("/http/rules/0/path", None)];
    assert_eq!(told(&nothing), ["http.rules[0] (web): matches everything; give `host` or `path`"]);
    assert_eq!(
        told(&[("/protocol", Some(json!("tcp")))]),
        ["http (web): means nothing to a listener of tcp; remove it, or choose http or https"]
    );
}

#[test]
fn certificates_are_files() {
    let certificate =
        |file: &str| lines(parse(&changed(&[("/certificates", json!([{"id": "c1", "file": file}]))])));
    assert_eq!(certificate("/etc/c1.pem"), [""; 0]);
    assert_eq!(
        certificate("c1.pem"),
        ["certificates[0].file (c1): c1.pem is no absolute path; begin with /"]
    );
}
