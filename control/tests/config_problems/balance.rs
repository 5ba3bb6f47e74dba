//! Load balancers: what is wrong with a listener or a backend, and with whom it does not get along.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tidegate_control::config::{
    Config, Listener,
    balance::{Access, Algorithm, AllDown, DeadSessions, Mode},
    parse,
};

use super::{changed, lines};

/// The sections that the cases change: `web` on TCP 80 and `dns` on UDP 53 of `v1`, which has SNAT and a port forward too.
fn sections() -> Vec<(&'static str, Value)> {
    let vip = |id: &str, last: u8| json!({"id": id, "public_network": "inet", "address": format!("203.0.113.{last}")});
    vec![
        (
            "/nics",
            json!([
                {"id": "n1", "network": "a", "address": "10.1.1.5"},
                {"id": "n2", "network": "b", "address": "10.1.2.5"},
                {"id": "n3", "network": "c", "address": "10.1.1.5"},
            ]),
        ),
        ("/vips", json!([vip("v1", 93), vip("v2", 94)])),
        ("/snats", json!([{"id": "s1", "vpc": "vpc-1", "vips": ["v1"]}])),
        (
            "/port_forwards",
            json!([{"id": "p1", "vip": "v1", "protocol": "tcp", "ports": "2222-2224", "nic": "n1"}]),
        ),
        (
            "/load_balancers",
            json!([{"id": "lb", "vip": "v1", "listeners": [
                {"id": "web", "protocol": "tcp", "port": 80, "backends": [
                    {"nic": "n1", "port": 8080},
                    {"vpc": "vpc-1", "address": "10.1.2.9", "weight": 50, "max_connections": 7, "drain": true, "drain_deadline_s": 60},
                ]},
                {"id": "dns", "protocol": "udp", "ports": "53-54", "algorithm": "source", "backends": [{"nic": "n2", "port": 5353}]},
            ]}]),
        ),
    ]
}

const WEB: &str = "/load_balancers/0/listeners/0";
const DNS: &str = "/load_balancers/0/listeners/1";

fn text(changes: &[(&str, Value)]) -> String {
    changed(&[sections(), changes.to_vec()].concat())
}

#[track_caller]
fn expect(listener: &str, cases: &[(&str, Value, &[&str])]) {
    for (key, value, expected) in cases {
        let pointer = format!("{listener}{key}");
        assert_eq!(lines(parse(&text(&[(&pointer, value.clone())]))), *expected, "{pointer} {value}");
    }
}

fn config(changes: &[(&str, Value)]) -> Config {
    parse(&text(changes)).unwrap()
}

#[test]
fn what_it_means() {
    let config = config(&[]);
    let [web, dns] = &config.load_balancers.iter().next().unwrap().listeners[..] else {
        panic!("{config:?}")
    };
    let share = |listener: &Listener| tidegate_control::config::nat::Share::Slice(listener.slice).to_string();
    assert_eq!((share(web), share(dns)), ("tcp 80".into(), "udp 53-54".into()));
    assert_eq!((web.vpc.as_str(), web.vip.as_str(), web.balancer.as_str()), ("vpc-1", "v1", "lb"));
    assert_eq!((web.algorithm, dns.algorithm), (Algorithm::RoundRobin, Algorithm::Source));
    assert_eq!(
        (web.mode, web.all_down, web.dead_sessions),
        (Mode::Dnat, AllDown::Refuse, DeadSessions::Keep)
    );
    assert_eq!((web.persistence_s, web.idle_timeout_s, web.max_connections), (None, None, 200_000));
    assert_eq!((&web.access, web.slow_start_s, &web.health_check), (&Access::Everybody, 0, &None));
    let [one, two] = &web.backends[..] else { panic!("{web:?}") };
    assert_eq!((one.vm.address, one.port, one.weight), (Ipv4Addr::new(10, 1, 1, 5), 8080, 100));
    assert_eq!((two.vm.address, two.port, two.weight), (Ipv4Addr::new(10, 1, 2, 9), 80, 50));
    assert_eq!((one.max_connections, one.drain, one.drain_deadline_s), (u32::MAX, false, None));
    assert_eq!((two.max_connections, two.drain, two.drain_deadline_s), (7, true, Some(60)));
    assert_eq!(config.services().map(|s| s.id().to_string()).collect::<Vec<_>>(), ["s1", "p1", "web", "dns"]);
}

#[test]
fn groups_are_backends_by_another_name() {
    let groups = json!([{"id": "g1", "backends": [{"nic": "n2"}]}, {"id": "g2", "backends": []}]);
    let config = config(&[(&format!("{WEB}/groups"), groups)]);
    let groups: Vec<_> = config
        .listeners()
        .next()
        .unwrap()
        .backends
        .iter()
        .map(|backend| (backend.group.as_ref().map(|id| id.as_str()), backend.vm.address.octets()[2]))
        .collect();
    assert_eq!(groups, [(None, 1), (None, 2), (Some("g1"), 2)]);
}

#[test]
fn listeners() {
    expect(
        WEB,
        &[
            (
                "/protocol",
                json!("sctp"),
                &[
                    "load_balancers[0].listeners[0].protocol (lb): sctp is none of the choices; give one of tcp, udp, http, https",
                ],
            ),
            (
                "/port",
                Value::Null,
                &["load_balancers[0].listeners[0].port (web): is missing; give `port` or `ports`"],
            ),
            (
                "/ports",
                json!("80-81"),
                &[
                    "load_balancers[0].listeners[0] (web): has a port and a range; keep one of `port` and `ports`",
                ],
            ),
            (
                "/id",
                json!("dns"),
                &[
                    "load_balancers[0].listeners[1].id (dns): dns is the id of load_balancers[0].listeners[0] (dns) already; choose another id",
                ],
            ),
            (
                "/mode",
                json!("dsr"),
                &[
                    "load_balancers[0].listeners[0].mode (lb): dsr is none of the choices; give one of dnat, full_nat",
                ],
            ),
            (
                "/access",
                json!({"policy": "allow", "cidrs": ["198.51.100.7/24", "x"]}),
                &[
                    "load_balancers[0].listeners[0].access.cidrs[1] (web): x is no address with prefix length; give both, as in 192.0.2.0/24",
                ],
            ),
            ("/slow_start_s", json!(30), &[]),
            ("/persistence", json!({}), &[]),
        ],
    );
    expect(
        DNS,
        &[
            (
                "/slow_start_s",
                json!(30),
                &[
                    "load_balancers[0].listeners[1].slow_start_s (dns): 30 would move clients of algorithm source while it lasts; remove it, or choose another algorithm",
                ],
            ),
            (
                "/protocol",
                json!("http"),
                &[
                    "load_balancers[0].listeners[1].ports (dns): 53-54 is a range, and a listener of http has one port; give `port`, and a listener for each port",
                ],
            ),
        ],
    );
}

#[test]
fn backends() {
    expect(
        WEB,
        &[
            (
                "/backends",
                json!([]),
                &[
                    "load_balancers[0].listeners[0].backends (web): is without backends; give one or more, or remove the listener",
                ],
            ),
            (
                "/backends/-",
                json!({"nic": "n9"}),
                &[
                    "load_balancers[0].listeners[0].backends[2].nic (web): n9 is no id in nics; add it to nics or name one that is there",
                ],
            ),
            (
                "/backends/-",
                json!({"port": 80}),
                &[
                    "load_balancers[0].listeners[0].backends[2] (web): names no VM; give `nic`, or `vpc` and `address`",
                ],
            ),
            (
                "/backends/-",
                json!({"nic": "n1", "port": 8080}),
                &[
                    "load_balancers[0].listeners[0].backends[2] (web): 10.1.1.5:8080 is load_balancers[0].listeners[0].backends[0] already; remove one of them",
                ],
            ),
            (
                "/groups",
                json!([{"id": "g", "backends": [{"nic": "n1", "port": 8080}]}]),
                &[
                    "load_balancers[0].listeners[0].groups[0].backends[0] (web): 10.1.1.5:8080 is load_balancers[0].listeners[0].backends[0] already; remove one of them",
                ],
            ),
            (
                "/backends/-",
                json!({"nic": "n3"}),
                &[
                    "load_balancers[0].listeners[0].backends (web): has backends of VPC vpc-1 and of VPC vpc-2; keep those of one VPC",
                ],
            ),
        ],
    );
    expect(
        DNS,
        &[(
            "/backends/0/port",
            json!(65535),
            &[
                "load_balancers[0].listeners[1].backends[0].port (dns): 65535 leaves no room for the 2 ports of the listener; give a lower one",
            ],
        )],
    );
}

#[test]
fn a_port_of_a_vip_has_one_owner() {
    expect(
        WEB,
        &[
            (
                "/port",
                json!(2223),
                &[
                    "load_balancers[0].listeners[0].port (web): tcp 2223 of v1 overlaps tcp 2222-2224 of port_forwards[0] (p1); set them apart, or use another VIP",
                ],
            ),
            ("/protocol", json!("udp"), &[]),
            (
                "/backends",
                json!([{"nic": "n3"}]),
                &[
                    "load_balancers[0].listeners[0] (web): v1 belongs to VPC vpc-1 by snats[0] (s1) already; this is for VPC vpc-2; give each VPC VIPs of its own",
                ],
            ),
        ],
    );
    let elsewhere = json!({"id": "lb2", "vip": "v1", "listeners": [
        {"id": "web2", "protocol": "tcp", "ports": "70-90", "backends": [{"nic": "n1"}]}]});
    assert_eq!(
        lines(parse(&text(&[("/load_balancers/-", elsewhere)]))),
        [
            "load_balancers[1].listeners[0].ports (web2): tcp 70-90 of v1 overlaps tcp 80 of load_balancers[0].listeners[0] (web); set them apart, or use another VIP"
        ]
    );
    let eip = json!([{"id": "e1", "vip": "v1", "nic": "n2"}]);
    let without = [("/snats", json!([])), ("/port_forwards", json!([])), ("/eips", eip)];
    assert_eq!(
        lines(parse(&text(&without))),
        [
            "load_balancers[0].listeners[0] (web): v1 belongs to eips[0] (e1) alone; use another VIP for one of them",
            "load_balancers[0].listeners[1] (dns): v1 belongs to eips[0] (e1) alone; use another VIP for one of them",
        ]
    );
}

#[test]
fn a_check_has_the_keys_of_its_kind() {
    for (check, expected) in [
        (json!({"kind": "none"}), Vec::<String>::new()),
        (json!({"kind": "tcp", "port": 81}), vec![]),
        (json!({"kind": "udp", "send": "ping", "answer": "pong"}), vec![]),
        (
            json!({"kind": "http", "send": "x", "path": "/a<b"}),
            vec![
                "load_balancers[0].listeners[0].health_check.send (web): means nothing to a check by http; remove it".into(),
                "load_balancers[0].listeners[0].health_check.path (web): /a<b is no path of a URL; begin with /, and write other than visible ASCII as %XX".into(),
            ],
        ),
        (
            json!({"kind": "tcp", "path": "/"}),
            vec![
                "load_balancers[0].listeners[0].health_check.path (web): means nothing to a check by tcp; remove it".into(),
            ],
        ),
        (
            json!({"kind": "http", "path": "x", "host": "a b", "expect": ["2xx", "204", "200-299", "9xx", "299-200"]}),
            vec![
                "load_balancers[0].listeners[0].health_check.path (web): x is no path of a URL; begin with /, and write other than visible ASCII as %XX".into(),
                "load_balancers[0].listeners[0].health_check.host (web): a b is no host name; give a name or an address, with a port where that is needed".into(),
                "load_balancers[0].listeners[0].health_check.expect[3] (web): 9xx is no HTTP status code; give one as in 204, a range as in 200-299 or a class as in 2xx".into(),
                "load_balancers[0].listeners[0].health_check.expect[4] (web): 299-200 is no HTTP status code; give one as in 204, a range as in 200-299 or a class as in 2xx".into(),
            ],
        ),
    ] {
        assert_eq!(lines(parse(&text(&[(&format!("{WEB}/health_check"), check)]))), expected);
    }
}

#[test]
fn full_nat_is_for_listeners_of_the_workers() {
    let mode = format!("{WEB}/mode");
    let full = config(&[(&mode, json!("full_nat"))]);
    assert_eq!(
        full.listeners().map(|listener| listener.mode).collect::<Vec<_>>(),
        [Mode::FullNat, Mode::Dnat]
    );
    let masked: Vec<_> = full.masked_networks().iter().map(|network| network.id.as_str()).collect();
    assert_eq!(masked, ["a", "b"], "of the backends of that listener");
    let http = [(&*mode, json!("full_nat")), (&format!("{WEB}/protocol"), json!("http"))];
    let said = lines(parse(&text(&http)));
    let what = "full_nat means nothing to a listener of http: backends see the gateway; remove the key";
    assert!(said.iter().any(|line| line.contains(what)), "{said:#?}");
}
