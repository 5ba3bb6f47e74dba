//! Metrics as operators get them: a real Prometheus at the gateway with a router agent, and one at a compute host.

use serde_json::{Value, json};
use tidegate_tests::lab::{
    agent::{self, Agent},
    probe::ping,
    prometheus::Prometheus,
    wait_for,
};

const GATEWAY: &str = "127.0.0.1:9472";
const HOST_AGENT: &str = "127.0.0.1:9473";

/// All targets answer with a page that is understood, and each rule can be evaluated.
fn all_is_well(prometheus: &Prometheus<'_>, targets: usize) {
    let data = prometheus.api("targets", &[("state", "active")]).unwrap();
    let active = data["activeTargets"].as_array().unwrap();
    let is_up = |target: &Value| target["health"] == "up" && target["lastError"] == "";
    assert!(active.len() == targets && active.iter().all(is_up), "{data}");
    wait_for("every rule to be evaluated", || {
        let data = prometheus.api("rules", &[]).unwrap();
        let groups = data["groups"].as_array().unwrap().iter();
        let rules: Vec<_> = groups.flat_map(|group| group["rules"].as_array().unwrap()).cloned().collect();
        assert!(!rules.is_empty() && rules.iter().all(|rule| rule["health"] != "err"), "{data}");
        rules.iter().all(|rule| rule["health"] == "ok").then_some(())
    })
    .unwrap();
}

#[test]
fn a_gateway_its_router_agent_and_a_host_agent_are_scraped() {
    let keys = agent::key_file().unwrap();
    let Some(site) = super::site_with(|config| {
        config["gateway"]["zsnp"] = json!({ "keys": keys.path(), "hold_off_s": 5 });
        config["vpc_routers"][0]["distributed_routing"] = json!(true);
        config["vpc_routers"].as_array_mut().unwrap().push(json!({ "id": "pushed" }));
        config["gateway"]["zstack"] = json!({ "agents": [{ "id": "r1", "vpc": "pushed", "listen": super::zstack::agent(),
            "vxlan_pool": "vxlan-pool", "public_networks": ["public"] }] });
    }) else {
        return;
    };
    let agents = [&site.host1, &site.host2].map(|host| Agent::start(&site.lab, host, "").unwrap());
    let router_agent = super::zstack::agent().to_string();
    let at_gateway =
        Prometheus::start(site.gateway.netns(), &[GATEWAY, &router_agent], "tidegate.rules.yml").unwrap();
    let at_host = Prometheus::start(site.host1.netns(), &[HOST_AGENT], "tidegate-agent.rules.yml").unwrap();
    all_is_well(&at_gateway, 2);
    all_is_well(&at_host, 1);
    assert!(at_gateway.value("vpcMemoryUsage{memory=\"total\"}").unwrap() > 0.0);

    // What it reads is what the gateway and the agent say themselves.
    let _talking = super::zsnp_ends::talk(&site);
    let direct = || agents.iter().all(|agent| agent.shortcuts().unwrap() == 1).then_some(());
    wait_for("shortcuts both ways", direct).unwrap();
    assert!(ping(site.web.netns(), site.app.address(), "-c 5 -i 0.01").unwrap().all_answered());
    wait_for("Prometheus to see the shortcut", || {
        (at_host.value("tidegate_agent_shortcuts").unwrap() == 1.0).then_some(())
    })
    .unwrap();
    wait_for("Prometheus to see the packets", || {
        let told = at_gateway.value("sum(tidegate_port_rx_packets_total)").unwrap();
        (told > 0.0 && told <= site.books().unwrap().rx as f64).then_some(())
    })
    .unwrap();
}
