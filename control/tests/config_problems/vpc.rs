//! VPC routers and their networks.

use serde_json::{Value, json};
use tidegate_control::config::parse;

use super::{changed, document, expect, lines};

#[test]
fn vpc_routers() {
    expect(&[
        (
            &[("/vpc_routers/1/distributed_routing", json!(true))],
            &[
                "vpc_routers[1].distributed_routing (vpc-2): true needs `gateway.zsnp`, by which hosts are taught direct paths; add it, give false or remove the key",
            ],
        ),
        (
            &[("/vpc_routers/1/security_default", json!({"ingress": "deny", "egress": "allow"}))],
            &[
                "vpc_routers[1].security_default.ingress (vpc-2): deny asks for security groups, which this version does not have yet; give allow or remove the key",
            ],
        ),
        (
            &[("/vpc_routers/-", json!({"id": "a/b"}))],
            &[
                "vpc_routers[2].id (a/b): a/b is no id; use 1 to 64 letters, digits, `.`, `_`, `-`, not beginning with `.` or `-`",
            ],
        ),
    ]);
}

#[test]
fn vpc_networks() {
    let more = |key: &str, value: Value| {
        let mut network = json!({"id": "d", "vpc": "vpc-2", "cidr": "10.2.0.0/24", "gateway": "10.2.0.1", "vxlan": {"pool": "pool", "vni": 400}});
        network[key] = value;
        network
    };
    expect(&[
        (
            &[("/vpc_networks/-", more("id", json!("a")))],
            &["vpc_networks[3].id (a): a is the id of vpc_networks[0] already; choose another id"],
        ),
        (
            &[("/vpc_networks/2/vpc", json!("vpc-9"))],
            &[
                "vpc_networks[2].vpc (c): vpc-9 is no id in vpc_routers; add it to vpc_routers or name one that is there",
            ],
        ),
        (
            &[("/vpc_networks/-", more("cidr", json!("10.2.0.0/33")))],
            &[
                "vpc_networks[3].cidr (d): 10.2.0.0/33 is no address with prefix length; give both, as in 192.0.2.0/24",
            ],
        ),
        (
            &[("/vpc_networks/-", more("cidr", json!("10.2.0.7/24")))],
            &["vpc_networks[3].cidr (d): 10.2.0.7/24 has host bits set; give 10.2.0.0/24"],
        ),
        (
            &[("/vpc_networks/-", more("cidr", json!("10.2.0.1/32")))],
            &[
                "vpc_networks[3].cidr (d): 10.2.0.1/32 has no room for a second host; give a prefix length of 31 or less",
            ],
        ),
        (&[("/vpc_networks/-", more("cidr", json!("10.2.0.0/31")))], &[]),
        (
            &[("/vpc_networks/-", more("gateway", json!("10.3.0.1")))],
            &[
                "vpc_networks[3].gateway (d): 10.3.0.1 is outside 10.2.0.0/24; give a host address of 10.2.0.0/24",
            ],
        ),
        (
            &[("/vpc_networks/-", more("gateway", json!("10.2.0.0")))],
            &[
                "vpc_networks[3].gateway (d): 10.2.0.0 is the network or broadcast address of 10.2.0.0/24; give a host address of 10.2.0.0/24",
            ],
        ),
        (
            &[("/vpc_networks/-", more("gateway", json!("10.2.0.255")))],
            &[
                "vpc_networks[3].gateway (d): 10.2.0.255 is the network or broadcast address of 10.2.0.0/24; give a host address of 10.2.0.0/24",
            ],
        ),
        (
            &[("/vpc_networks/-", more("gateway", json!("10.2.0")))],
            &["vpc_networks[3].gateway (d): 10.2.0 is no IPv4 address; give four numbers, as in 192.0.2.1"],
        ),
        (
            &[("/vpc_networks/2/cidr", json!("10.1.0.0/16")), ("/vpc_networks/2/vpc", json!("vpc-1"))],
            &[
                "vpc_networks[2].cidr (c): 10.1.0.0/16 overlaps 10.1.1.0/24 of vpc_networks[0] in the same VPC; choose subnets apart, or another VPC",
                "vpc_networks[2].cidr (c): 10.1.0.0/16 overlaps 10.1.2.0/24 of vpc_networks[1] in the same VPC; choose subnets apart, or another VPC",
            ],
        ),
        (
            &[(
                "/vpc_networks/-",
                more(
                    "ip_ranges",
                    json!(["10.2.0.9-10.2.0.5", "10.2.0.5", "10.2.0.9-10.2.1.9", "10.2.0.7-10.2.0.20"]),
                ),
            )],
            &[
                "vpc_networks[3].ip_ranges[0] (d): 10.2.0.9-10.2.0.5 is empty: its first address is above its last; give the first and the last address, as in 192.0.2.10-192.0.2.99",
                "vpc_networks[3].ip_ranges[1] (d): 10.2.0.5 is no range of addresses; give the first and the last address, as in 192.0.2.10-192.0.2.99",
                "vpc_networks[3].ip_ranges[2] (d): 10.2.0.9-10.2.1.9 is not all in 10.2.0.0/24; give addresses of the network",
                "vpc_networks[3].ip_ranges[3] (d): 10.2.0.7-10.2.0.20 overlaps 10.2.0.9-10.2.1.9; join them or set them apart",
            ],
        ),
        (&[("/vpc_networks/-", more("ip_ranges", json!(["10.2.0.10-10.2.0.20"])))], &[]),
        (
            &[("/vpc_networks/-", more("vxlan", Value::Null))],
            &["vpc_networks[3] (d): is bound to no link; give exactly one of `vxlan`, `vlan` and `port`"],
        ),
        (
            &[("/vpc_networks/-", more("port", json!("pub")))],
            &[
                "vpc_networks[3] (d): is bound to more than one link; keep exactly one of `vxlan`, `vlan` and `port`",
            ],
        ),
        (
            &[("/vpc_networks/-", more("vxlan", json!({"pool": "pol", "vni": 9})))],
            &[
                "vpc_networks[3].vxlan.pool (d): pol is no id in vxlan_pools; add it to vxlan_pools or name one that is there",
            ],
        ),
        (
            &[("/vpc_networks/-", more("vxlan", json!({"pool": "pool", "vni": 199})))],
            &[
                "vpc_networks[3].vxlan.vni (d): 199 is outside the range 200-2500 of pool pool; choose a VNI in it, or extend the pool's vni_range",
            ],
        ),
        (
            &[("/vpc_networks/-", more("vxlan", json!({"pool": "pool", "vni": 222})))],
            &[
                "vpc_networks[3].vxlan.vni (d): 222 is the VNI of vpc_networks[0] in pool pool already; choose another VNI",
            ],
        ),
        (
            &[("/vpc_networks/-", more("mtu", json!(1501)))],
            &[
                "vpc_networks[3].mtu (d): 1501 needs 1551 bytes on port under, whose mtu is 1550; give at most 1500, or raise the port's mtu to 1551",
            ],
        ),
        (
            &[("/gateway/ports/0/mtu", json!(600)), ("/vpc_networks/2/mtu", json!(576))],
            &[
                "vpc_networks[0].mtu (a): has only 550 bytes left on port under, whose mtu is 600; raise the port's mtu to 626 or more",
                "vpc_networks[2].mtu (c): has only 550 bytes left on port under, whose mtu is 600; raise the port's mtu to 626 or more",
            ],
        ),
        (
            &[("/vpc_networks/1/mtu", json!(1501))],
            &[
                "vpc_networks[1].mtu (b): 1501 is more than port pub carries (1500); give at most 1500, or raise the port's mtu",
            ],
        ),
        (
            &[("/vpc_networks/-", more("dns", json!(["192.0.2.1"])))],
            &[
                "vpc_networks[3].dns (d): asks for DNS forwarding and DHCP, which this version does not have yet; remove the key",
            ],
        ),
    ]);
}

#[test]
fn martian_subnets() {
    for (cidr, what) in [
        ("127.1.0.0/16", "loopback addresses (127.0.0.0/8)"),
        ("0.0.0.0/0", "\"this network\" addresses (0.0.0.0/8)"),
        ("169.254.1.0/24", "link-local addresses (169.254.0.0/16)"),
        ("224.0.0.0/3", "multicast addresses (224.0.0.0/4)"),
        ("255.255.255.0/24", "reserved (class E) addresses (240.0.0.0/4)"),
    ] {
        let expected =
            format!("vpc_networks[0].cidr (a): {cidr} is or contains {what}; give a unicast subnet");
        assert_eq!(lines(parse(&changed(&[("/vpc_networks/0/cidr", json!(cidr))]))), [expected]);
    }
}

#[test]
fn more_networks_than_numbers() {
    let mut document = document();
    document["gateway"]["limits"] = json!({"networks": 16});
    for i in 0..12u8 {
        let network = json!({"id": format!("n{i}"), "vpc": "vpc-2", "cidr": format!("10.77.{i}.0/24"),
            "gateway": format!("10.77.{i}.1"), "vxlan": {"pool": "pool", "vni": 1000 + u16::from(i)}});
        document["vpc_networks"].as_array_mut().unwrap().push(network);
    }
    let expected = "gateway.limits.networks: 16 is less than the 17 networks of this document (ports with addresses included); raise it to 17 or more, at most 65000";
    assert_eq!(lines(parse(&document.to_string())), [expected]);
}
