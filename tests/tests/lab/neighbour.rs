//! ARP, VMs that move, tunnel ends that change.

use serde_json::json;
use tidegate_tests::lab::{
    probe::{Capture, ping},
    site::{self, GATEWAY_VTEP},
};

#[test]
fn the_gateway_answers_arp_for_its_own_address_only() {
    let Some(site) = super::site() else { return };
    let netns = site.web.netns();
    assert!(ping(netns, "192.168.20.1", "-c 1").unwrap().all_answered());
    let known = netns.run("ip neigh show 192.168.20.1").unwrap();
    assert!(known.contains("lladdr"), "{known}");

    // Somebody else's address: no answer, and the kernel says so.
    let pings = ping(netns, "192.168.20.77", "-c 1 -W 5").unwrap();
    assert!(
        pings.received == 0 && pings.errors.iter().all(|(from, _)| from == "192.168.20.154"),
        "{}",
        pings.text
    );
}

#[test]
fn a_next_hop_that_does_not_answer_is_unreachable_and_the_first_packet_to_one_that_does_is_kept() {
    let Some(site) = super::site() else { return };
    let first = ping(site.web.netns(), site.app.address(), "-c 1").unwrap();
    assert!(first.all_answered(), "{}", first.text);

    let nobody = ping(site.web.netns(), "192.168.21.77", "-c 1 -W 10").unwrap();
    assert_eq!(
        nobody.errors,
        [("192.168.20.1".into(), "Destination Host Unreachable".into())],
        "{}",
        nobody.text
    );
    assert!(site.drops("neighbour_unresolved").unwrap() >= 1);
    let text = site.gateway.show("neighbors").unwrap();
    assert!(text.contains("192.168.21.10") && text.contains("10.172.11.12"), "{text}");
}

#[test]
fn a_vm_that_moves_to_another_host_is_followed_with_its_first_packet() {
    let Some(site) = super::site() else { return };
    assert!(ping(site.web.netns(), site.app.address(), "-c 2 -i 0.1").unwrap().all_answered());
    site.host1.take_over(&site.app, &site.host2, 223).unwrap();
    // The first packet from the new place asks the gateway, the next ones somebody behind it. No answer goes astray.
    let dir = site.gateway.dir();
    let old = Capture::start(site.host2.netns(), "vx223", "icmp and dst host 192.168.21.10", dir).unwrap();
    for (target, ttl) in [("192.168.21.1", 64), (site.web.address(), 63)] {
        let pings = ping(site.app.netns(), target, "-c 3 -i 0.05").unwrap();
        assert!(pings.all_answered() && pings.ttl == Some(ttl), "{}", pings.text);
    }
    let pings = ping(site.web.netns(), site.app.address(), "-c 3 -i 0.05").unwrap();
    assert!(pings.all_answered() && pings.ttl == Some(63), "{}", pings.text);
    let text = site.gateway.show("neighbors").unwrap();
    let line = text.lines().find(|line| line.contains("192.168.21.10")).unwrap();
    assert!(line.contains("10.172.11.11"), "{text}");
    assert_eq!(old.stop().unwrap(), Vec::<String>::new(), "at the old host");
}

#[test]
fn an_unconfigured_tunnel_end_is_learned() {
    let forget = |config: &mut serde_json::Value| {
        config["vxlan_pools"][0]["remote_vteps"] = json!(["10.172.11.11"]);
    };
    let Some(site) = super::site_with(forget) else { return };
    assert!(ping(site.app.netns(), "192.168.21.1", "-c 1").unwrap().all_answered());
    let pings = ping(site.web.netns(), site.app.address(), "-c 2 -i 0.1").unwrap();
    assert!(pings.all_answered(), "{}", pings.text);
    let vteps = site.gateway.show("vteps").unwrap();
    assert!(vteps.contains("10.172.11.12"), "{vteps}");
}

#[test]
fn the_gateways_own_tunnel_end_follows_its_port_address() {
    let Some(site) = super::site() else { return };
    assert!(ping(site.web.netns(), site.app.address(), "-c 1").unwrap().all_answered());
    let mut config = site::config();
    config["gateway"]["ports"][0]["addresses"] = json!(["10.172.11.92/24"]);
    site.gateway.reload(&config.to_string()).unwrap();
    // Where hosts flood to is configured; where they send to a known MAC they learn from the announcements.
    for (host, vnis) in [(&site.host1, &[222, 224, 301][..]), (&site.host2, &[223, 300])] {
        vnis.iter().for_each(|vni| host.repeer(*vni, GATEWAY_VTEP, "10.172.11.92").unwrap());
    }
    let wire = Capture::start(site.host2.netns(), "eth0", "udp port 8472", site.gateway.dir()).unwrap();
    let pings = ping(site.web.netns(), site.app.address(), "-c 3 -i 0.1").unwrap();
    assert!(pings.all_answered(), "{}", pings.text);
    wire.until("10.172.11.92.").unwrap();
    let old: Vec<_> = wire.stop().unwrap().into_iter().filter(|line| line.contains("10.172.11.91")).collect();
    assert_eq!(old, Vec::<String>::new(), "from or to the old tunnel end");
    let vteps = site.gateway.show("vteps").unwrap();
    assert!(vteps.contains("10.172.11.92") && !vteps.contains("0.0.0.0"), "{vteps}");
}

#[test]
fn a_new_gateway_address_is_announced_and_may_lie_outside_the_ranges_of_vms() {
    let Some(site) = super::site() else { return };
    assert!(ping(site.app.netns(), "192.168.21.1", "-c 1").unwrap().all_answered());
    let arp = Capture::start(site.app.netns(), "eth0", "arp", site.gateway.dir()).unwrap();
    let mut config = site::config();
    config["vpc_networks"][1]["gateway"] = json!("192.168.21.254");
    config["vpc_networks"][1]["ip_ranges"] = json!(["192.168.21.10-192.168.21.99"]);
    site.gateway.reload(&config.to_string()).unwrap();
    arp.until("192.168.21.254").unwrap();
    site.app.netns().ip("route replace default via 192.168.21.254").unwrap();
    let pings = ping(site.app.netns(), site.web.address(), "-c 2 -i 0.1").unwrap();
    assert!(pings.all_answered(), "{}", pings.text);
}
