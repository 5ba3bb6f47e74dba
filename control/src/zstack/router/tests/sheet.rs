//! The examples of the fact sheet, chapter 8, told to a router.

use super::*;

#[test]
fn init_and_ping() {
    let mut bench = Bench::new();
    let uuid = "11111111111111111111111111111111";
    assert_eq!(bench.send("/ping", json!({ "uuid": uuid })).reply["uuid"], "", "empty until the first /init");
    let init = json!({ "uuid": uuid, "restartDnsmasqAfterNumberOfSIGUSER1": 500, "mgtCidr": "192.0.2.0/26",
                       "logLevel": "info", "timeServers": ["192.0.2.2"], "parms": { "ipv4LocalPortRange": "10240-65535" } });
    assert_eq!(
        bench.send("/init", init).reply,
        json!({ "uuid": uuid, "zvrVersion": "5.2.0.0", "vyosVersion": "1.2", "kernelVersion": "5.4.80",
                "ipsecCurrentVersion": "5.9.4", "ipsecLatestVersion": "5.9.4" })
    );
    assert_eq!(
        bench.send("/ping", json!({ "uuid": uuid })).reply,
        json!({ "uuid": uuid, "version": "5.2.0.0", "haStatus": "NoHa", "healthy": true, "healthDetail": "",
                "serviceHealthList": { "IPsec": {} } })
    );
    bench.send("/init", json!({}));
    assert_eq!(bench.send("/ping", json!({})).reply["uuid"], uuid, "what is absent keeps its value");
}

#[test]
fn a_vxlan_nic_is_a_network_of_the_vpc_router() {
    let bench = Bench::with_network();
    assert_eq!(
        bench.document(Kind::VpcNetwork, "r1.net-00005e005302"),
        &json!({ "id": "r1.net-00005e005302", "vpc": "red", "cidr": "192.0.2.128/26", "gateway": "192.0.2.129",
                 "vxlan": { "pool": "pool", "vni": 3101 }, "mtu": 1450 })
    );
    bench.holds();
}

#[test]
fn vlan_and_untagged_nics_are_on_the_port_of_their_interface() {
    let mut bench = Bench::new();
    for (mac, ip, l2type, key, expected) in [
        (GUEST, "192.0.2.129", "L2VlanNetwork", "vlan", json!({ "port": "lan", "id": 101 })),
        (SECOND, "192.0.2.65", "L2NoVlanNetwork", "port", json!("lan")),
    ] {
        let mut nic = nic(mac, ip, 101);
        nic["l2type"] = l2type.into();
        nic["physicalInterface"] = "eth7".into();
        bench.ok("/configurenic", json!({ "nics": [nic] }));
        let document = bench.document(Kind::VpcNetwork, &format!("r1.net-{}", mac.replace(':', "")));
        assert_eq!(document[key], expected);
    }
    bench.holds();
    let mut other = nic("00:00:5e:00:53:09", "198.51.100.1", 102);
    other["l2type"] = "L2VlanNetwork".into();
    bench.ok("/configurenic", json!({ "nics": [other] }));
    assert_eq!(bench.waits(Service::Nic, "00:00:5e:00:53:09"), "agent r1 has no port for interface eth1");
}

#[test]
fn vips_and_the_router_s_own_public_address() {
    let mut bench = Bench::new();
    assert_eq!(bench.ids(Kind::Vip), ["r1.vip-203.0.113.10"]);
    bench.ok("/createvip", vips(&["203.0.113.10", "203.0.113.20"]));
    assert_eq!(
        bench.document(Kind::Vip, "r1.vip-203.0.113.20"),
        &json!({ "id": "r1.vip-203.0.113.20", "public_network": "internet", "address": "203.0.113.20" })
    );
    bench.holds();
    bench.ok("/createvip", json!({ "vips": [{ "ip": "198.51.100.9", "ownerEthernetMac": PUBLIC }] }));
    assert_eq!(bench.waits(Service::Vip, "198.51.100.9"), "no public network of agent r1 contains it");
    assert!(bench.refused("/createvip", json!({ "vips": [{ "ip6": "2001:db8::1" }] })).contains("IPv6"));
}

#[test]
fn snat_of_a_network() {
    let mut bench = Bench::with_network();
    bench.ok("/syncsnat", json!({ "enable": true, "snats": [snat()] }));
    assert_eq!(
        bench.document(Kind::Snat, "r1.snat-00005e005302"),
        &json!({ "id": "r1.snat-00005e005302", "network": "r1.net-00005e005302", "vips": ["r1.vip-203.0.113.10"] })
    );
    bench.holds();
    let mut off = snat();
    off["state"] = false.into();
    assert_eq!(
        bench.send("/setsnatservicestate", json!({ "enabled": false, "snats": [off] })).reply,
        json!({ "serviceStatus": "disable" })
    );
    assert_eq!(bench.ids(Kind::Snat), [""; 0]);
    assert_eq!(
        bench.send("/setsnatservicestate", json!({ "enabled": true, "snats": [snat()] })).reply,
        json!({ "serviceStatus": "enable" })
    );
    assert_eq!(bench.ids(Kind::Snat).len(), 1);
    bench.ok("/removesnat", json!({ "natInfo": [snat()] }));
    assert_eq!(bench.ids(Kind::Snat), [""; 0]);
    bench.ok("/setsnat", json!({ "snat": snat() }));
    assert_eq!(bench.ids(Kind::Snat).len(), 1);
}

#[test]
fn an_eip_and_its_vm() {
    let mut bench = Bench::with_network();
    bench.ok("/createvip", vips(&["203.0.113.20"]));
    bench.ok("/createeip", json!({ "eip": eip("203.0.113.20", "192.0.2.140") }));
    assert_eq!(
        bench.document(Kind::Eip, "r1.eip-203.0.113.20"),
        &json!({ "id": "r1.eip-203.0.113.20", "vip": "r1.vip-203.0.113.20", "nic": "r1.nic-192.0.2.140" })
    );
    assert_eq!(
        bench.document(Kind::Nic, "r1.nic-192.0.2.140"),
        &json!({ "id": "r1.nic-192.0.2.140", "network": "r1.net-00005e005302", "address": "192.0.2.140" })
    );
    bench.holds();
    bench.ok("/removeeip", json!({ "eip": eip("203.0.113.20", "192.0.2.140") }));
    assert_eq!((bench.ids(Kind::Eip), bench.ids(Kind::Nic)), (vec![], vec![]));
}

#[test]
fn a_port_forward() {
    let mut bench = Bench::with_network();
    bench.ok("/createvip", vips(&["203.0.113.30"]));
    let uuid = "44444444444444444444444444444444";
    let rule = json!({ "uuid": uuid, "vipPortStart": 8000, "vipPortEnd": 8009, "privatePortStart": 9000,
        "privatePortEnd": 9009, "protocolType": "TCP", "vipIp": "203.0.113.30", "publicMac": PUBLIC,
        "privateIp": "192.0.2.141", "privateMac": GUEST, "allowedCidr": "198.51.100.0/24", "snatInboundTraffic": false });
    bench.ok("/createportforwarding", json!({ "rules": [rule.clone()] }));
    let name = format!("r1.pf-{uuid}");
    assert_eq!(
        bench.document(Kind::PortForward, &name),
        &json!({ "id": name, "vip": "r1.vip-203.0.113.30", "nic": "r1.nic-192.0.2.141", "protocol": "tcp",
                 "ports": "8000-8009", "target_ports": "9000-9009", "allowed_cidr": "198.51.100.0/24" })
    );
    bench.holds();
    bench.ok("/revokeportforwarding", json!({ "rules": [rule] }));
    assert_eq!(bench.ids(Kind::PortForward), [""; 0]);
}

#[test]
fn dhcp_and_dns_are_kept_and_said_not_to_be_served() {
    let mut bench = Bench::with_network();
    let server = json!({ "nicMac": GUEST, "subnet": "192.0.2.128/26", "netmask": "255.255.255.192",
        "gateway": "192.0.2.129", "dnsDomain": "example.org", "dnsServer": "192.0.2.129", "mtu": 1450,
        "dhcpInfos": [{ "ip": "192.0.2.140", "mac": "00:00:5e:00:53:a0", "hostname": "web-1.example.org", "isDefaultL3Network": true }] });
    assert_eq!(bench.ok("/refreshDhcpServer", json!({ "dhcpServers": [server] })), []);
    assert_eq!(bench.waits(Service::Dhcp, GUEST), "DHCP is not built yet");
    let entry = json!({ "ip": "192.0.2.140", "mac": "00:00:5e:00:53:a9", "vrNicMac": GUEST });
    bench.ok("/adddhcp", json!({ "dhcpEntries": [entry], "rebuild": false }));
    let macs = |bench: &Bench| {
        let server = bench.router.state.dhcp.get(GUEST).unwrap();
        server.dhcp_infos.iter().map(|entry| entry.mac.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        macs(&bench),
        ["00:00:5e:00:53:a9"],
        "the same address with another MAC replaces the old entry"
    );
    bench.ok("/removedhcp", json!({ "dhcpEntries": [entry_of("192.0.2.140", "00:00:5e:00:53:a9")] }));
    assert_eq!(macs(&bench), [""; 0]);
    bench.ok("/refreshDhcpServer", json!({ "dhcpServers": [] }));
    bench.ok("/setdns", json!({ "dns": [{ "dnsAddress": "198.51.100.53", "nicMac": GUEST }] }));
    bench.ok("/setvpcdns", json!({ "dns": ["198.51.100.53", "198.51.100.54"], "nicMac": [GUEST, SECOND] }));
    assert_eq!(bench.router.state.dns.keys().count(), 4);
    bench.ok("/setdns", json!({ "dns": [{ "dnsAddress": "198.51.100.53", "nicMac": GUEST }] }));
    let dns = bench.router.objects().into_iter().filter(|object| object.service == Service::Dns);
    assert_eq!(dns.map(|object| object.key).collect::<Vec<_>>(), [format!("198.51.100.53 {GUEST}")]);
}

fn entry_of(ip: &str, mac: &str) -> Value {
    json!({ "ip": ip, "mac": mac, "vrNicMac": GUEST })
}

#[test]
fn static_routes_and_the_text_about_them() {
    let mut bench = Bench::with_network();
    bench.ok(
        "/syncroutes",
        json!({ "routes": [
        { "destination": "198.51.100.128/25", "target": "203.0.113.253", "distance": 10 },
        { "destination": "198.51.100.128/25", "target": "192.0.2.130", "distance": 20 },
        { "destination": "198.51.100.128/25", "target": "192.0.2.131", "distance": 30 },
        { "destination": "198.51.100.0/26", "target": "", "distance": 1 },
        { "destination": "0.0.0.0/0", "target": "192.0.2.131", "distance": 1 },
        { "destination": "192.88.99.0/24", "target": "10.9.9.9", "distance": 0 },
    ] }),
    );
    let named = |rest: &str| format!("r1.route-{rest}");
    assert_eq!(
        bench.document(Kind::Route, &named("198.51.100.128-25-192.0.2.130-20")),
        &json!({ "id": named("198.51.100.128-25-192.0.2.130-20"), "vpc": "red", "destination": "198.51.100.128/25",
                 "next_hop": "192.0.2.130", "priority": 20 })
    );
    assert_eq!(bench.document(Kind::Route, &named("198.51.100.0-26-blackhole-1"))["blackhole"], true);
    assert!(
        bench
            .waits(Service::Route, "198.51.100.128-25-203.0.113.253-10")
            .contains("on public network internet")
    );
    assert!(bench.waits(Service::Route, "192.88.99.0-24-10.9.9.9-1").contains("no private network"));
    assert_eq!(bench.ids(Kind::Route).len(), 3, "the default route is never a static one");
    assert_eq!(
        bench.send("/getroutes", json!({})).reply["rawRoutes"].as_str().unwrap(),
        "K>* 0.0.0.0/0 [0/0] via 203.0.113.1, eth1\n\
         C>* 192.0.2.0/26 is directly connected, eth0\n\
         C>* 192.0.2.128/26 is directly connected, eth2\n\
         S   192.88.99.0/24 [1/0] via 10.9.9.9 inactive\n\
         S>* 198.51.100.0/26 [1/0] is directly connected, Null0, bh\n\
         S   198.51.100.128/25 [10/0] via 203.0.113.253, eth1\n\
         S>* 198.51.100.128/25 [20/0] via 192.0.2.130, eth2\n\
         S   198.51.100.128/25 [30/0] via 192.0.2.131, eth2\n\
         C>* 203.0.113.0/24 is directly connected, eth1\n"
    );
}

#[test]
fn limits_of_a_vip_and_of_its_port() {
    let mut bench = Bench::new();
    bench.ok("/createvip", vips(&["203.0.113.30"]));
    bench.ok("/setvipqos", limit("203.0.113.30", 80, 100_000_000, 50_000_000));
    assert_eq!(
        bench.document(Kind::Qos, "r1.qos-203.0.113.30-80"),
        &json!({ "id": "r1.qos-203.0.113.30-80", "vip": "r1.vip-203.0.113.30", "port": "80", "independent": true,
                 "inbound": "100000000bit/s", "outbound": "50000000bit/s" })
    );
    bench.ok("/setvipqos", limit("203.0.113.30", 0, 0, 131_072));
    assert_eq!(
        bench.document(Kind::Qos, "r1.qos-203.0.113.30"),
        &json!({ "id": "r1.qos-203.0.113.30", "vip": "r1.vip-203.0.113.30", "outbound": "131072bit/s" })
    );
    bench.holds();
    bench.ok("/removevip", vips(&["203.0.113.30"]));
    assert_eq!(bench.ids(Kind::Qos), [""; 0], "a VIP goes with its limits");
}

#[test]
fn what_is_not_built_says_so_unless_it_asks_for_nothing() {
    let mut bench = Bench::with_network();
    for (path, some, none) in [
        (
            "/vyos/syncipsecconnection",
            json!({ "infos": [{ "uuid": "u" }] }),
            json!({ "infos": [], "autoRestartVpn": true }),
        ),
        ("/vyos/createipsecconnection", json!({ "infos": [{ "uuid": "u" }] }), json!({})),
        (
            "/policyroute/sync",
            json!({ "rules": [{ "outNicMic": GUEST }] }),
            json!({ "rules": [], "routes": [], "refs": [], "ruleSets": [], "markConntrack": true }),
        ),
        (
            "/routerprotocol/ospf/refresh",
            json!({ "areaInfos": [{ "areaId": "0.0.0.0" }], "networkInfos": [{ "nicMac": GUEST }] }),
            json!({ "areaInfos": [], "networkInfos": [] }),
        ),
        ("/fw/apply/rule", json!({ "refs": [{ "mac": GUEST }] }), json!({ "refs": [] })),
        (
            "/flowmeter/refresh",
            json!({ "flowMeterInfor": { "collectors": [{ "server": "192.0.2.9" }] } }),
            json!({ "flowMeterInfor": { "collectors": [] } }),
        ),
    ] {
        assert!(bench.refused(path, some).contains("is not served"), "{path}");
        bench.ok(path, none);
    }
    for path in
        ["/enableVyosha", "/pimd/enable", "/fw/create/rule", "/vyos/updateipsecversion", "/keepalived/garp"]
    {
        assert!(bench.refused(path, json!({})).contains(path), "{path}");
    }
}

#[test]
fn the_switch_for_direct_paths_is_that_of_all_networks() {
    let mut bench = Bench::with_network();
    let switches = |bench: &Bench| {
        let networks = bench.router.documents().iter().filter(|((kind, _), _)| *kind == Kind::VpcNetwork);
        networks.map(|(_, body)| body["distributed_routing"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(switches(&bench), [Value::Null], "what the VPC router says holds until the manager speaks");
    for on in [true, false, true] {
        let reply = bench.send("/zsn/dr", json!({ "enabled": on })).reply;
        assert_eq!(reply, json!({ "enabled": on.to_string() }), "a string");
        assert_eq!(switches(&bench), [json!(on)]);
    }
    // A network that comes later has it too, and so it is after a restart.
    bench.ok("/configurenic", json!({ "nics": [nic(SECOND, "192.0.2.193", 3102)] }));
    assert_eq!(switches(&bench), [json!(true), json!(true)]);
    bench.holds();
    let restarted = Router::new(settings(), bench.router.memory());
    assert_eq!(restarted.documents(), bench.router.documents());
    // Where hosts cannot be taught, nothing fails but the command.
    let without = Settings { has_zsnp: false, ..settings() };
    let mut without = Bench { router: Router::new(without, bench.router.memory()), now: bench.now };
    assert_eq!(switches(&without), [json!(false), json!(false)]);
    assert!(without.refused("/zsn/dr", json!({ "enabled": true })).contains("gateway.zsnp"));
    without.ok("/zsn/dr", json!({ "enabled": false }));
}

#[test]
fn replies_have_the_types_that_managers_read() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.send("/zsn/dr", json!({ "enabled": false })).reply,
        json!({ "enabled": "false" }),
        "a string"
    );
    assert_eq!(bench.send("/syncVpcRouterHa", json!({})).reply, json!({ "haStatus": "NoHa" }));
    assert_eq!(bench.send("/type", json!({ "uuid": "u" })).reply["isVyos"], true);
    assert_eq!(bench.send("/test", json!({})).reply["zvrVersion"], "5.2.0.0");
    assert_eq!(bench.send("/echo", json!({})).reply, json!({ "success": true, "error": "" }));
    for endpoint in Endpoint::ALL {
        let reply = bench.router.handle(*endpoint, &json!({}), bench.now).reply;
        assert!(reply.is_object() && reply != json!({}), "{} answers {reply}", endpoint.path());
    }
}
