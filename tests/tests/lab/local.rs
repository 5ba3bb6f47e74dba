//! Real daemons in the namespace of a VPC, on the gateway's own addresses.

use tidegate_tests::lab::{
    Netns,
    probe::{iperf3, ping},
};

#[test]
fn a_daemon_in_the_vpcs_namespace_serves_vms_on_the_gateway_address() {
    let Some(site) = super::site() else { return };
    let [vpc1, vpc2] = ["tg-vpc-1", "tg-vpc-2"].map(|name| Netns::existing(name).unwrap());
    // From its own subnet, from another subnet by the far address, and each VPC its own daemon.
    for (server, client, address) in [
        (&vpc1, &site.web, "192.168.20.1"),
        (&vpc1, &site.app, "192.168.20.1"),
        (&vpc2, &site.web2, "192.168.20.1"),
    ] {
        let tcp = iperf3(server, client.netns(), address, "-t 1").unwrap();
        assert!(tcp.bytes > 1 << 20, "{} to {address}: {tcp:?}", client.name());
    }
    // The daemon's side may begin, too.
    let pings = ping(&vpc1, site.db.address(), "-c 2 -i 0.1").unwrap();
    assert!(pings.all_answered(), "{}", pings.text);
}

#[test]
fn a_port_that_nobody_serves_refuses_as_a_host_does() {
    let Some(site) = super::site() else { return };
    let to_nobody = || std::net::TcpStream::connect(("192.168.20.1", 9)).map(drop);
    let refused = site.web.netns().enter(to_nobody).unwrap().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}
