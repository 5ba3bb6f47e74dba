//! Configuration changes while traffic runs.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tidegate_tests::lab::{probe::ping, site, stream::Datagrams, wait_for};

/// A configuration with `n` things that the usual one has not: networks, routes and a VPC.
fn with_extras(round: usize, n: usize) -> Value {
    let mut config = site::config();
    config["vpc_routers"].as_array_mut().unwrap().push(json!({ "id": "vpc-9" }));
    for i in 0..n / 2 {
        let vni = 1000 + i;
        config["vpc_networks"].as_array_mut().unwrap().push(json!({
            "id": format!("vpc-9-{i}"), "vpc": "vpc-9", "cidr": format!("10.{round}.{i}.0/24"),
            "gateway": format!("10.{round}.{i}.1"), "vxlan": { "pool": "vxlan-pool", "vni": vni }, "mtu": 1450
        }));
        let destination = format!("172.16.{i}.{round}/32");
        config["routes"].as_array_mut().unwrap().push(json!({
            "vpc": "vpc-1", "destination": destination, "blackhole": true
        }));
    }
    config
}

#[test]
fn a_thousand_changes_lose_no_packet_of_unrelated_traffic() {
    const ROUNDS: usize = 12;
    const PER_ROUND: usize = 100;
    let Some(site) = super::site() else { return };
    assert!(ping(site.web.netns(), site.app.address(), "-c 2 -i 0.1").unwrap().all_answered());
    assert!(ping(site.web2.netns(), site.app2.address(), "-c 2 -i 0.1").unwrap().all_answered());
    // One stream in the VPC that changes and one in another.
    let streams = [(&site.web, &site.app), (&site.web2, &site.app2)]
        .map(|(from, to)| Datagrams::start(from.netns(), to.netns(), to.address(), 1000).unwrap());
    for round in 0..ROUNDS {
        // Every extra of the round before goes, as many others come.
        site.gateway.reload(&with_extras(round, PER_ROUND).to_string()).unwrap();
        streams.iter().for_each(|stream| stream.until_received(20).unwrap());
    }
    for stream in streams {
        let count = stream.stop().unwrap();
        assert!(count.sent > 500 && count.received == count.sent, "{count:?}");
    }
    let routes = site.gateway.show("routes vpc-1").unwrap();
    assert!(
        routes.contains(&format!("172.16.0.{}/32", ROUNDS - 1)) && !routes.contains("172.16.0.0/32"),
        "{routes}"
    );
    assert!(site.books().unwrap().balance());
}

#[test]
fn a_bad_configuration_changes_nothing_and_says_where() {
    let Some(site) = super::site() else { return };
    let mut bad = site::config();
    bad["vpc_networks"][0]["gateway"] = json!("192.168.99.1");
    bad["vpc_networks"][1]["vxlan"]["vni"] = json!(3000);
    bad["routes"] = json!([]);
    let why = format!("{:#}", site.gateway.reload(&bad.to_string()).unwrap_err());
    assert!(why.contains("vpc_networks[0].gateway") && why.contains("vpc_networks[1].vxlan.vni"), "{why}");
    let routes = site.gateway.show("routes vpc-1").unwrap();
    assert!(routes.contains("192.168.99.0/24"), "{routes}");
    assert!(ping(site.web.netns(), site.app.address(), "-c 1").unwrap().all_answered());
}

#[test]
fn sighup_reads_the_file_again() {
    let Some(mut site) = super::site() else { return };
    let mut config = site::config();
    config["routes"].as_array_mut().unwrap().push(json!({
        "vpc": "vpc-1", "destination": "192.168.98.0/24", "blackhole": true
    }));
    site.gateway.write_config(&config.to_string()).unwrap();
    site.gateway.process().signal(Signal::SIGHUP).unwrap();
    wait_for("the new route", || {
        site.gateway.show("routes vpc-1").ok()?.contains("192.168.98.0/24").then_some(())
    })
    .unwrap();
}
