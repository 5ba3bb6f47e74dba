//! Public addresses and who uses them.

use serde_json::{Value, json};
use tidegate_control::config::{Config, nat::Share, parse};

use super::{changed, lines};

/// The sections that the cases change: `v1` has SNAT and two port forwards of vpc-1, `v2` an EIP, `v3` nobody.
fn sections() -> Vec<(&'static str, Value)> {
    let vip = |id: &str, last: u8| json!({"id": id, "public_network": "inet", "address": format!("203.0.113.{last}")});
    vec![
        (
            "/nics",
            json!([
                {"id": "n1", "network": "a", "address": "10.1.1.5", "mac": "fa:16:3e:00:20:9a"},
                {"id": "n2", "network": "b", "address": "10.1.2.5"},
                {"id": "n3", "network": "c", "address": "10.1.1.5"},
            ]),
        ),
        ("/vips", json!([vip("v1", 93), vip("v2", 94), vip("v3", 95)])),
        ("/snats", json!([{"id": "s1", "vpc": "vpc-1", "vips": ["v1"]}])),
        ("/eips", json!([{"id": "e1", "vip": "v2", "nic": "n1"}])),
        (
            "/port_forwards",
            json!([
                {"id": "p1", "vip": "v1", "protocol": "tcp", "ports": "2222-2224", "nic": "n1", "target_ports": "23-25"},
                {"id": "p2", "vip": "v1", "protocol": "udp", "ports": 53, "vpc": "vpc-1", "address": "10.1.2.9",
                    "allowed_cidr": "198.51.100.7/24"},
            ]),
        ),
    ]
}

fn text(changes: &[(&str, Value)]) -> String {
    changed(&[sections(), changes.to_vec()].concat())
}

#[track_caller]
fn expect(cases: &[super::Case<'_>]) {
    for (changes, expected) in cases {
        assert_eq!(lines(parse(&text(changes))), *expected, "{changes:?}");
    }
}

fn config(changes: &[(&str, Value)]) -> Config {
    parse(&text(changes)).unwrap()
}

#[test]
fn what_it_means() {
    let config =
        config(&[("/vpc_routers/1/quotas", json!({"sessions": 9, "vm_new_sessions_per_second": 7}))]);
    let services: Vec<String> = config
        .services()
        .map(|s| format!("{} {} {:?} {}", s.id(), s.vpc(), s.vips(), s.share()).replace("Id", ""))
        .collect();
    assert_eq!(
        services,
        [
            r#"s1 vpc-1 [("v1")] rest"#,
            r#"e1 vpc-1 [("v2")] all"#,
            r#"p1 vpc-1 [("v1")] tcp 2222-2224"#,
            r#"p2 vpc-1 [("v1")] udp 53"#,
        ]
    );
    let [p1, p2] = config.port_forwards.iter().collect::<Vec<_>>()[..] else {
        panic!("{:?}", config.port_forwards)
    };
    assert_eq!((p1.target().to_string(), p1.allowed.to_string()), ("23-25".into(), "0.0.0.0/0".into()));
    assert_eq!((p2.target().to_string(), p2.allowed.to_string()), ("53".into(), "198.51.100.0/24".into()));
    assert_eq!(
        (p2.vm.address.to_string(), Share::Slice(p2.slice).to_string()),
        ("10.1.2.9".into(), "udp 53".to_owned())
    );
    assert_eq!(config.snats.iter().next().unwrap().blocks_per_vm, 32);
    let quotas = config.vpcs.iter().nth(1).unwrap().quotas;
    assert_eq!((quotas.sessions, quotas.new_per_s, quotas.vm_new_per_s), (9, u32::MAX, 7));
}

#[test]
fn ports_per_vm_are_whole_blocks() {
    for (ports, blocks) in [(64, 1), (65, 2), (2000, 32), (64_512, 1008)] {
        assert_eq!(
            config(&[("/snats/0/ports_per_vm", json!(ports))]).snats.iter().next().unwrap().blocks_per_vm,
            blocks
        );
    }
    expect(&[
        (
            &[("/snats/0/ports_per_vm", json!(63))],
            &["snats[0].ports_per_vm (s1): 63 is out of range; give 64 to 64512"],
        ),
        (
            &[("/vpc_routers/0/quotas", json!({"sessions": 0}))],
            &["vpc_routers[0].quotas.sessions (vpc-1): 0 is out of range; give 1 to 1000000000"],
        ),
    ]);
}

#[test]
fn nics() {
    expect(&[
        (
            &[("/nics/1/network", json!("z"))],
            &[
                "nics[1].network (n2): z is no id in vpc_networks; add it to vpc_networks or name one that is there",
            ],
        ),
        (
            &[("/nics/1/address", json!("10.1.1.6"))],
            &["nics[1].address (n2): 10.1.1.6 is outside 10.1.2.0/24; give a host address of 10.1.2.0/24"],
        ),
        (
            &[("/nics/1/address", json!("10.1.2.1"))],
            &["nics[1].address (n2): 10.1.2.1 is our own address on network b; give the address of a VM"],
        ),
        (
            &[("/nics/-", json!({"id": "n4", "network": "a", "address": "10.1.1.5"}))],
            &[
                "nics[3].address (n4): 10.1.1.5 is the address of nics[0] (n1) in network a already; give each NIC an address of its own",
            ],
        ),
        (
            &[("/nics/1/mac", json!("ff:ff:ff:ff:ff:ff"))],
            &[
                "nics[1].mac (n2): ff:ff:ff:ff:ff:ff is no MAC that a port can have; give a unicast MAC, as in 02:00:00:00:00:01",
            ],
        ),
    ]);
}

#[test]
fn vips() {
    expect(&[
        (
            &[("/vips/2/public_network", json!("extra"))],
            &[
                "vips[2].public_network (v3): extra is no id in public_networks; add it to public_networks or name one that is there",
            ],
        ),
        (
            &[("/vips/2/address", json!("203.0.114.9"))],
            &[
                "vips[2].address (v3): 203.0.114.9 is outside 203.0.113.0/24; give a host address of 203.0.113.0/24",
            ],
        ),
        (
            &[("/vips/2/address", json!("203.0.113.0"))],
            &[
                "vips[2].address (v3): 203.0.113.0 is the network or broadcast address of 203.0.113.0/24; give a host address of 203.0.113.0/24",
            ],
        ),
        (
            &[("/vips/2/address", json!("203.0.113.255"))],
            &[
                "vips[2].address (v3): 203.0.113.255 is the network or broadcast address of 203.0.113.0/24; give a host address of 203.0.113.0/24",
            ],
        ),
        (
            &[("/vips/2/address", json!("203.0.113.1"))],
            &[
                "vips[2].address (v3): 203.0.113.1 is the upstream gateway's address on public network inet; give a free address of the network",
            ],
        ),
        (
            &[("/vips/2/address", json!("203.0.113.2"))],
            &[
                "vips[2].address (v3): 203.0.113.2 is the gateway's own address on public network inet; give a free address of the network",
            ],
        ),
        (
            &[("/vips/2/address", json!("203.0.113.93"))],
            &[
                "vips[2].address (v3): 203.0.113.93 is the address of vips[0] (v1) already; use that VIP, or give another address",
            ],
        ),
    ]);
}

#[test]
fn snats() {
    let second = |change: Value| {
        let mut snat = json!({"id": "s2", "vpc": "vpc-1", "vips": ["v3"]});
        snat.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        snat
    };
    expect(&[
        (&[("/snats/-", second(json!({"vpc": null, "network": "b"})))], &[]),
        (&[("/snats/-", second(json!({"vpc": null, "network": "b", "vips": ["v3", "v1"]})))], &[]),
        (
            &[("/snats/-", second(json!({})))],
            &["snats[1].vpc (s2): vpc-1 has snats[0] (s1) already; put all VIPs into one of them"],
        ),
        (
            &[
                ("/snats/-", second(json!({"vpc": null, "network": "b"}))),
                ("/snats/-", json!({"id": "s3", "network": "b", "vips": ["v3"]})),
            ],
            &["snats[2].network (s3): b has snats[1] (s2) already; put all VIPs into one of them"],
        ),
        (
            &[("/snats/-", second(json!({"vpc": null})))],
            &["snats[1] (s2): serves nobody; give `vpc` or `network`"],
        ),
        (
            &[("/snats/-", second(json!({"network": "b"})))],
            &["snats[1] (s2): serves a VPC and a network; keep one of `vpc` and `network`"],
        ),
        (
            &[("/snats/0/vips", json!([]))],
            &["snats[0].vips (s1): is an empty list; give a list of one or more"],
        ),
        (
            &[("/snats/0/vips", json!(["v1", "v1", "v9"]))],
            &[
                "snats[0].vips[1] (s1): v1 is in the list twice; remove it",
                "snats[0].vips[2] (s1): v9 is no id in vips; add it to vips or name one that is there",
            ],
        ),
        (
            &[
                (
                    "/public_networks/-",
                    json!({"id": "other", "port": "pub", "vlan": 101, "cidr": "198.51.100.0/24"}),
                ),
                ("/routes", json!([])),
                ("/vips/2", json!({"id": "v3", "public_network": "other", "address": "198.51.100.9"})),
                ("/snats/0/vips", json!(["v1", "v3"])),
            ],
            &[
                "snats[0].vips[1] (s1): v3 is on public network other, and v1 is on inet; keep VIPs of one public network",
            ],
        ),
    ]);
}

#[test]
fn vms_of_services() {
    let eip = |change: Value| {
        let mut eip = json!({"id": "e2", "vip": "v3"});
        eip.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        eip
    };
    expect(&[
        (&[("/eips/-", eip(json!({"vpc": "vpc-1", "address": "10.1.2.77"})))], &[]),
        (&[("/eips/-", eip(json!({"nic": "n3"})))], &[]),
        (&[("/eips/-", eip(json!({})))], &["eips[1] (e2): names no VM; give `nic`, or `vpc` and `address`"]),
        (
            &[("/eips/-", eip(json!({"address": "10.1.2.77"})))],
            &["eips[1] (e2): has an address and no VPC; add `vpc`"],
        ),
        (
            &[("/eips/-", eip(json!({"vpc": "vpc-1"})))],
            &["eips[1] (e2): has a VPC and no address; add `address`"],
        ),
        (
            &[("/eips/-", eip(json!({"nic": "n2", "vpc": "vpc-1"})))],
            &["eips[1] (e2): names its VM twice; keep either `nic`, or `vpc` and `address`"],
        ),
        (
            &[("/eips/-", eip(json!({"nic": "n9"})))],
            &["eips[1].nic (e2): n9 is no id in nics; add it to nics or name one that is there"],
        ),
        (
            &[("/eips/-", eip(json!({"vpc": "vpc-1", "address": "10.1.3.7"})))],
            &["eips[1].address (e2): 10.1.3.7 is in no network of VPC vpc-1; give the address of a VM in it"],
        ),
        (
            &[("/eips/-", eip(json!({"vpc": "vpc-1", "address": "10.1.2.255"})))],
            &[
                "eips[1].address (e2): 10.1.2.255 is the network or broadcast address of 10.1.2.0/24; give a host address of 10.1.2.0/24",
            ],
        ),
        (
            &[("/eips/-", eip(json!({"nic": "n2", "vip": "v9"})))],
            &["eips[1].vip (e2): v9 is no id in vips; add it to vips or name one that is there"],
        ),
        (
            &[("/eips/-", eip(json!({"vpc": "vpc-1", "address": "10.1.1.5"})))],
            &[
                "eips[1].address (e2): 10.1.1.5 of VPC vpc-1 has eips[0] (e1) already; keep one EIP for each VM",
            ],
        ),
        (
            &[("/eips/-", eip(json!({"nic": "n1"})))],
            &["eips[1].nic (e2): 10.1.1.5 of VPC vpc-1 has eips[0] (e1) already; keep one EIP for each VM"],
        ),
    ]);
}

#[test]
fn port_forwards() {
    expect(&[
        (
            &[("/port_forwards/0/protocol", json!("sctp"))],
            &["port_forwards[0].protocol (p1): sctp is none of the choices; give one of tcp, udp"],
        ),
        (
            &[("/port_forwards/0/ports", json!("2224-2222"))],
            &[
                "port_forwards[0].ports (p1): 2224-2222 is empty: its first port is above its last; give a port of 1 to 65535, or the first and the last as in 2222-2224",
            ],
        ),
        (
            &[("/port_forwards/1/ports", json!(0))],
            &[
                "port_forwards[1].ports (p2): 0 is no port or range of ports; give a port of 1 to 65535, or the first and the last as in 2222-2224",
            ],
        ),
        (
            &[("/port_forwards/1/ports", json!("53-65536"))],
            &[
                "port_forwards[1].ports (p2): 53-65536 is no port or range of ports; give a port of 1 to 65535, or the first and the last as in 2222-2224",
            ],
        ),
        (
            &[("/port_forwards/0/target_ports", json!(23))],
            &[
                "port_forwards[0].target_ports (p1): 23 are 1 ports for the 3 of `ports` (2222-2224); give as many ports as `ports` has",
            ],
        ),
        (
            &[("/port_forwards/1/allowed_cidr", json!("198.51.100.7"))],
            &[
                "port_forwards[1].allowed_cidr (p2): 198.51.100.7 is no address with prefix length; give both, as in 192.0.2.0/24",
            ],
        ),
    ]);
}

#[test]
fn who_shares_a_vip() {
    let forward = |id: &str, ports: &str, nic: &str| json!({"id": id, "vip": "v1", "protocol": "tcp", "ports": ports, "nic": nic});
    expect(&[
        (
            &[
                ("/port_forwards/-", forward("p3", "2221", "n2")),
                ("/port_forwards/-", forward("p4", "2225-2230", "n2")),
            ],
            &[],
        ),
        (
            &[("/port_forwards/-", forward("p3", "2224-2230", "n2"))],
            &[
                "port_forwards[2].ports (p3): tcp 2224-2230 of v1 overlaps tcp 2222-2224 of port_forwards[0] (p1); set them apart, or use another VIP",
            ],
        ),
        (
            &[
                ("/port_forwards/-", forward("p3", "1-65535", "n2")),
                ("/port_forwards/-", forward("p4", "80", "n2")),
            ],
            &[
                "port_forwards[2].ports (p3): tcp 1-65535 of v1 overlaps tcp 2222-2224 of port_forwards[0] (p1); set them apart, or use another VIP",
                "port_forwards[3].ports (p4): tcp 80 of v1 overlaps tcp 1-65535 of port_forwards[2] (p3); set them apart, or use another VIP",
            ],
        ),
        (
            &[("/eips/0/vip", json!("v1"))],
            &[
                "snats[0].vips[0] (s1): v1 belongs to eips[0] (e1) alone; use another VIP for one of them",
                "port_forwards[0].vip (p1): v1 belongs to eips[0] (e1) alone; use another VIP for one of them",
                "port_forwards[1].vip (p2): v1 belongs to eips[0] (e1) alone; use another VIP for one of them",
            ],
        ),
        (
            &[("/eips/-", json!({"id": "e2", "vip": "v2", "nic": "n2"}))],
            &["eips[1].vip (e2): v2 belongs to eips[0] (e1) alone; use another VIP for one of them"],
        ),
        (
            &[("/snats/0/vips", json!(["v1", "v2"]))],
            &["snats[0].vips[1] (s1): v2 belongs to eips[0] (e1) alone; use another VIP for one of them"],
        ),
        (
            &[("/snats/-", json!({"id": "s2", "vpc": "vpc-2", "vips": ["v1"]}))],
            &[
                "snats[1].vips[0] (s2): v1 belongs to VPC vpc-1 by snats[0] (s1) already; this is for VPC vpc-2; give each VPC VIPs of its own",
            ],
        ),
        (
            &[("/port_forwards/-", forward("p3", "99", "n3"))],
            &[
                "port_forwards[2].vip (p3): v1 belongs to VPC vpc-1 by snats[0] (s1) already; this is for VPC vpc-2; give each VPC VIPs of its own",
            ],
        ),
        (
            &[
                ("/vpc_networks/0/cidr", json!("203.0.113.0/25")),
                ("/vpc_networks/0/gateway", json!("203.0.113.1")),
                ("/nics/0/address", json!("203.0.113.7")),
            ],
            &[
                "snats[0].vips[0] (s1): v1 has the address 203.0.113.93, which is inside 203.0.113.0/25 of network a of the same VPC; choose subnets apart from public ones",
                "eips[0].vip (e1): v2 has the address 203.0.113.94, which is inside 203.0.113.0/25 of network a of the same VPC; choose subnets apart from public ones",
            ],
        ),
    ]);
}

#[test]
fn problems_of_one_service_do_not_hide_those_of_another() {
    expect(&[(
        &[
            ("/vips/1/address", json!("203.0.113.93")),
            ("/snats/0/vpc", json!("vpc-9")),
            ("/eips/0/nic", json!("n9")),
            ("/port_forwards/0/nic", json!("n8")),
            ("/port_forwards/1/ports", json!("2223")),
            ("/port_forwards/1/protocol", json!("tcp")),
        ],
        &[
            "vips[1].address (v2): 203.0.113.93 is the address of vips[0] (v1) already; use that VIP, or give another address",
            "snats[0].vpc (s1): vpc-9 is no id in vpc_routers; add it to vpc_routers or name one that is there",
            "eips[0].nic (e1): n9 is no id in nics; add it to nics or name one that is there",
            "port_forwards[0].nic (p1): n8 is no id in nics; add it to nics or name one that is there",
            "port_forwards[1].ports (p2): tcp 2223 of v1 overlaps tcp 2222-2224 of port_forwards[0] (p1); set them apart, or use another VIP",
        ],
    )]);
}

#[test]
fn a_vip_is_no_next_hop() {
    expect(&[(
        &[(
            "/routes/-",
            json!({"public_network": "inet", "destination": "198.18.0.0/15", "next_hop": "203.0.113.93"}),
        )],
        &[
            "routes[2].next_hop (198.18.0.0/15): 203.0.113.93 is our own address; give the address of the next router",
        ],
    )]);
}
