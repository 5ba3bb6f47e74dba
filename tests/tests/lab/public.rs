//! Public networks, VLANs and plain ports.

use serde_json::json;
use tidegate_tests::lab::{
    host::plug,
    probe::{iperf3, ping},
    site::OUTSIDE,
    vlan,
};

#[test]
fn a_vpc_reaches_the_public_network_only_where_routes_say_so() {
    let Some(site) = super::site() else { return };
    let out = ping(site.web.netns(), OUTSIDE, "-c 3 -i 0.1").unwrap();
    assert!(out.all_answered() && out.ttl == Some(63), "{}", out.text);
    // From the address that vpc-1 has a route back to.
    let back = ping(&site.upstream, site.web.address(), "-c 3 -i 0.1 -I 198.51.100.10").unwrap();
    assert!(back.all_answered() && back.ttl == Some(63), "{}", back.text);
    let tcp = iperf3(&site.upstream, site.web.netns(), OUTSIDE, "-t 1").unwrap();
    assert!(tcp.bytes > 1 << 20, "{tcp:?}");
    let own = ping(&site.upstream, "203.0.113.2", "-c 1").unwrap();
    assert!(own.all_answered() && own.ttl == Some(64), "{}", own.text);

    // No route leads from vpc-2 to the public network, none from there to app.
    let other = ping(site.web2.netns(), OUTSIDE, "-c 1").unwrap();
    assert_eq!(
        other.errors,
        [("192.168.20.1".into(), "Destination Net Unreachable".into())],
        "{}",
        other.text
    );
    site.upstream.ip("route add 192.168.21.0/24 via 203.0.113.2").unwrap();
    let hidden = ping(&site.upstream, site.app.address(), "-c 1").unwrap();
    assert_eq!(hidden.received, 0, "{}", hidden.text);
}

#[test]
fn a_tagged_network_and_a_vxlan_network_of_one_vpc_reach_each_other() {
    let Some(site) = super::site_with(|config| {
        let port = json!({ "id": "lan", "device": "net_tap2,iface=tg-lan", "mtu": 1500 });
        config["gateway"]["ports"].as_array_mut().unwrap().push(port);
        config["vpc_networks"].as_array_mut().unwrap().push(json!({
            "id": "vpc-1-4", "vpc": "vpc-1", "cidr": "192.168.23.0/24", "gateway": "192.168.23.1",
            "vlan": { "port": "lan", "id": 100 }
        }));
    }) else {
        return;
    };
    let bare = site.lab.netns("bare").unwrap();
    plug(site.gateway.netns(), "tg-lan", &bare).unwrap();
    vlan::tag(&bare, "tg-lan", 100).unwrap();
    bare.ip(
        "link set tg-lan up\naddress add 192.168.23.10/24 dev tg-lan\nroute add default via 192.168.23.1",
    )
    .unwrap();

    let out = ping(&bare, site.web.address(), "-c 3 -i 0.1").unwrap();
    assert!(out.all_answered() && out.ttl == Some(63), "{}", out.text);
    let back = ping(site.app.netns(), "192.168.23.10", "-c 3 -i 0.1").unwrap();
    assert!(back.all_answered() && back.ttl == Some(63), "{}", back.text);
    let tcp = iperf3(&bare, site.web.netns(), "192.168.23.10", "-t 1").unwrap();
    assert!(tcp.bytes > 1 << 20, "{tcp:?}");
}
