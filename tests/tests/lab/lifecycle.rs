//! Start, end, and what the gateway tells in between.

use std::thread;

use serde_json::json;
use tidegate_tests::lab::{
    Gateway,
    gateway::binary,
    probe::{iperf3, ping},
    site,
};

#[test]
fn sigterm_leaves_no_namespace_tap_socket_or_hugepage_file() {
    let Some(mut site) = super::site() else { return };
    assert!(ping(site.web.netns(), site.app.address(), "-c 1").unwrap().all_answered());
    site.gateway.stop().unwrap();
    assert_eq!(site.gateway.leftovers().unwrap(), Vec::<String>::new());
    assert!(!site.underlay.switch().has("tg-underlay") && !site.upstream.has("tg-public"));
}

#[test]
fn what_is_wrong_at_start_is_a_sentence_and_a_code() {
    let Some(lab) = super::lab() else { return };
    if let Err(why) = binary() {
        return super::skip(&why).unwrap_or_default();
    }
    let cases = [
        ("/gateway/ports/0/device", json!("net_tpa0,iface=x"), "net_tpa0"),
        ("/gateway/ports/0/device", json!("0000:fe:1f.7"), "0000:fe:1f.7"),
        ("/gateway/workers", json!([999]), "999"),
        ("/vpc_routers/0/distributed_routing", json!(true), "distributed_routing"),
        ("/gateway/metrics/listen", json!("192.0.2.1:9472"), "192.0.2.1:9472"),
    ];
    for (place, value, named) in cases {
        let mut config = site::config();
        *config.pointer_mut(place).unwrap_or(&mut json!(null)) = value.clone();
        if config.pointer(place).is_none() {
            config["vpc_routers"][0]["distributed_routing"] = value;
        }
        let why = Gateway::start(&lab, &config.to_string()).map(drop).unwrap_err().to_string();
        assert!(why.contains("ended with exit status: 1") && why.contains(named), "{place}: {why}");
    }
}

#[test]
fn metrics_are_scraped_while_traffic_runs() {
    let Some(site) = super::site() else { return };
    let scrape = || site.gateway.netns().run("curl -sS --fail http://127.0.0.1:9472/metrics");
    let before = scrape().unwrap();
    let (server, client) = (site.app.netns(), site.web.netns());
    let tcp = thread::scope(|s| {
        let traffic = s.spawn(|| iperf3(server, client, site.app.address(), "-t 2").unwrap());
        let mut scrapes = 0;
        while !traffic.is_finished() {
            scrape().unwrap();
            scrapes += 1;
        }
        assert!(scrapes > 1);
        traffic.join().unwrap()
    });
    assert!(tcp.bytes > 1 << 20, "{tcp:?}");
    let after = scrape().unwrap();
    let sum = |text: &str, name: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let name = "tidegate_port_rx_packets_total";
    assert!(sum(&after, name) > sum(&before, name) + 100.0, "{after}");
    assert!(site.books().unwrap().balance());
}
