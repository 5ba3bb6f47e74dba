//! This host, the underlays, the public networks.

use serde_json::{Value, json};

use super::expect;

#[test]
fn the_gateway() {
    expect(&[
        (
            &[("/gateway/workers", json!([1, 2, 1]))],
            &["gateway.workers[2]: 1 is in the list twice; name each lcore once"],
        ),
        (
            &[("/gateway/control_lcore", json!(2))],
            &[
                "gateway.control_lcore: 2 is an lcore of a worker, which never lets go of it; give an lcore that no worker has, or remove the key",
            ],
        ),
        (
            &[("/gateway/metrics/listen", json!("0.0.0.0:9472"))],
            &[
                "gateway.metrics.listen: 0.0.0.0:9472 can be reached from outside this host; listen on 127.0.0.1, or add `allow_remote: true`",
            ],
        ),
        (&[("/gateway/metrics", json!({"listen": "0.0.0.0:9472", "allow_remote": true}))], &[]),
        (
            &[("/gateway/metrics/listen", json!("localhost"))],
            &["gateway.metrics.listen: localhost is no address and port; give both, as in 127.0.0.1:9472"],
        ),
        (
            &[("/gateway/metrics/listen", json!("127.0.0.1:0"))],
            &["gateway.metrics.listen: 127.0.0.1:0 has no port; give a TCP port above 0"],
        ),
        (&[("/gateway/nat_log", json!({ "file": "/var/log/tidegate/nat.log", "sessions": true }))], &[]),
        (&[("/gateway/nat_log", json!({ "ipfix": { "collector": "[2001:db8::1]:4739" } }))], &[]),
        (
            &[("/gateway/nat_log", json!({ "sessions": true }))],
            &["gateway.nat_log: has nowhere to write to; give `file` or `ipfix`, or remove the key"],
        ),
        (
            &[("/gateway/nat_log", json!({ "file": "nat.log", "ipfix": {} }))],
            &[
                "gateway.nat_log.ipfix.collector: is missing; give an address and a port, as in 127.0.0.1:9472",
                "gateway.nat_log.file: nat.log is no absolute path; begin with /",
            ],
        ),
        (
            &[("/gateway/nat_log", json!({ "ipfix": { "collector": "0.0.0.0:4739", "source": "me" } }))],
            &[
                "gateway.nat_log.ipfix.collector: 0.0.0.0:4739 is nobody's address and port; give those of the collector",
            ],
        ),
        (
            &[(
                "/gateway/nat_log",
                json!({ "ipfix": { "collector": "192.0.2.7:4739", "source": "2001:db8::1" } }),
            )],
            &[
                "gateway.nat_log.ipfix.source: 2001:db8::1 cannot send to 192.0.2.7:4739: one is IPv4, one is IPv6; give two of one kind",
            ],
        ),
        (&[("/gateway/state", json!("var"))], &["gateway.state: var is no absolute path; begin with /"]),
        (
            &[("/gateway/control_socket", json!(format!("/{}", "x".repeat(107))))],
            &[&format!(
                "gateway.control_socket: /{}… is too long for a Unix socket; give at most 107 bytes",
                "x".repeat(79)
            )],
        ),
        (
            &[("/gateway/ports/1/id", json!("under"))],
            &[
                "gateway.ports[1].id (under): under is the id of gateway.ports[0] already; choose another id",
                "public_networks[0].port (inet): pub is no id in gateway.ports; add it to gateway.ports or name one that is there",
                "vpc_networks[1].vlan.port (b): pub is no id in gateway.ports; add it to gateway.ports or name one that is there",
            ],
        ),
        (
            &[("/gateway/ports/1/device", json!("net_tap0,iface=x"))],
            &[
                "gateway.ports[1].device (pub): net_tap0 is the device of gateway.ports[0] already; give each port a device of its own",
            ],
        ),
        (
            &[("/gateway/ports/1/device", json!("a b"))],
            &[
                "gateway.ports[1].device (pub): a b is no DPDK device; give a PCI address as in 0000:3b:00.0 or a virtual device as in net_tap0,iface=tg0",
            ],
        ),
        (
            &[("/gateway/ports/1/mac", json!("01:00:5e:00:00:01"))],
            &[
                "gateway.ports[1].mac (pub): 01:00:5e:00:00:01 is no MAC that a port can have; give a unicast MAC, as in 02:00:00:00:00:01",
            ],
        ),
        (
            &[("/gateway/ports/0/addresses/0", json!("172.31.0.0/24"))],
            &[
                "gateway.ports[0].addresses[0] (under): 172.31.0.0/24 is the network or broadcast address of 172.31.0.0/24; give a host address of 172.31.0.0/24",
            ],
        ),
        (
            &[("/gateway/ports/0/addresses/-", json!("172.31.1.1/24"))],
            &[
                "gateway.ports[0].addresses[1] (under): 172.31.1.1/24 is not in the subnet 172.31.0.0/24 of the port's first address; use another port for it",
            ],
        ),
        (
            &[("/gateway/ports/0/addresses/-", json!("172.31.0.1/24"))],
            &["gateway.ports[0].addresses[1] (under): 172.31.0.1 is in the list twice; remove it"],
        ),
        (
            &[("/gateway/ports/0/gateway", json!("172.31.0.1"))],
            &[
                "gateway.ports[0].gateway (under): 172.31.0.1 is our own address; give the address of the next router",
            ],
        ),
        (
            &[("/gateway/ports/1/gateway", json!("172.31.0.9"))],
            &[
                "gateway.ports[1].gateway (pub): 172.31.0.9 is on a port that has no addresses; add an address of ours in its subnet to `addresses`, or remove the key",
            ],
        ),
        (
            &[("/gateway/ports/1/addresses", json!(["172.31.0.9/16"]))],
            &[
                "gateway.ports[1].addresses (pub): 172.31.0.0/16 overlaps 172.31.0.0/24 of gateway.ports[0]; give each port a subnet of its own",
            ],
        ),
        (&[("/gateway/limits", json!({"networks": 16})), ("/gateway/ports/0/mtu", json!(1600))], &[]),
    ]);
}

#[test]
fn pools() {
    expect(&[
        (
            &[("/vxlan_pools/0/vni_range", json!("2500-200"))],
            &[
                "vxlan_pools[0].vni_range (pool): 2500-200 is empty: its first VNI is above its last; give the first and the last VNI of 1 to 16777215, as in 200-2500",
            ],
        ),
        (
            &[("/vxlan_pools/0/vni_range", json!("0-16777216"))],
            &[
                "vxlan_pools[0].vni_range (pool): 0-16777216 is no range of VNIs; give the first and the last VNI of 1 to 16777215, as in 200-2500",
            ],
        ),
        (
            &[("/vxlan_pools/0/vtep_cidr", json!("172.30.0.0/24"))],
            &[
                "vxlan_pools[0].vtep_cidr (pool): 172.30.0.0/24 contains no address of a port, so there is no VTEP; add an address of 172.30.0.0/24 to a port in gateway.ports",
            ],
        ),
        (
            &[(
                "/vxlan_pools/0/remote_vteps",
                json!(["224.0.0.1", "172.31.0.1", "172.31.0.255", "172.31.0.3", "172.31.0.3"]),
            )],
            &[
                "vxlan_pools[0].remote_vteps[0] (pool): 224.0.0.1 is a multicast address (224.0.0.0/4); give a unicast address",
                "vxlan_pools[0].remote_vteps[1] (pool): 172.31.0.1 is our own VTEP; remove it",
                "vxlan_pools[0].remote_vteps[2] (pool): 172.31.0.255 is the network or broadcast address of 172.31.0.0/24; give a host address of 172.31.0.0/24",
                "vxlan_pools[0].remote_vteps[4] (pool): 172.31.0.3 is in the list twice; remove it",
            ],
        ),
        (
            &[("/gateway/ports/0/gateway", Value::Null)],
            &[
                "vxlan_pools[0].remote_vteps[1] (pool): 172.31.9.1 is outside 172.31.0.0/24 of port under, which has no gateway; give the port a `gateway` that leads there",
            ],
        ),
        (
            &[("/vxlan_pools/-", json!({"id": "two", "vni_range": "2500", "vtep_cidr": "172.31.0.0/24"}))],
            &[
                "vxlan_pools[1].vni_range (two): 2500-2500 overlaps 200-2500 of pool pool, which has the same VTEP 172.31.0.1 and UDP port 4789; choose ranges apart, or another udp_port or VTEP address",
            ],
        ),
        (
            &[(
                "/vxlan_pools/-",
                json!({"id": "two", "vni_range": "2500", "vtep_cidr": "172.31.0.0/24", "udp_port": 8472}),
            )],
            &[],
        ),
    ]);
}

#[test]
fn public_networks() {
    expect(&[
        (
            &[("/public_networks/0/port", json!("pubb"))],
            &[
                "public_networks[0].port (inet): pubb is no id in gateway.ports; add it to gateway.ports or name one that is there",
            ],
        ),
        (
            &[("/public_networks/0/gateway", json!("203.0.114.1"))],
            &[
                "public_networks[0].gateway (inet): 203.0.114.1 is outside 203.0.113.0/24; give a host address of 203.0.113.0/24",
            ],
        ),
        (
            &[("/public_networks/0/address", json!("203.0.113.1"))],
            &[
                "public_networks[0].address (inet): 203.0.113.1 is the upstream gateway's address; give an address of ours, or remove the key",
            ],
        ),
        (
            &[("/public_networks/0/mtu", json!(1600))],
            &[
                "public_networks[0].mtu (inet): 1600 is more than port pub carries (1500); give at most 1500, or raise the port's mtu",
            ],
        ),
        (
            &[("/public_networks/0/port", json!("under")), ("/public_networks/0/vlan", Value::Null)],
            &[
                "public_networks[0].port (inet): port under untagged belongs to gateway.ports[0] (under) already; use another VLAN or port for one of them",
            ],
        ),
        (
            &[("/public_networks/0/vlan", json!(7))],
            &[
                "vpc_networks[1].vlan (b): VLAN 7 of port pub belongs to public_networks[0] (inet) already; use another VLAN or port for one of them",
            ],
        ),
    ]);
}
