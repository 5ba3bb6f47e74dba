//! The local HTTP of a host agent, asked by curl on the host.

use serde_json::{Value, json};
use tidegate_tests::lab::{probe::ping, wait_for};
use tidegate_zsnp::{RefusedWhy, Status};

use super::zsnp::hosts;

#[test]
fn who_switches_a_host_off_has_its_packets_on_the_gateway() {
    let Some(hosts) = hosts("--local-api 127.0.0.1:7274") else { return };
    let (site, host) = (&hosts.site, &hosts.site.host1);
    let ask = |path: &str| -> Value {
        let answer = host.netns().run(&format!("curl -sSf http://127.0.0.1:7274{path}")).unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    let pinged = || {
        let before = hosts.gateway_rx();
        let pings = ping(site.web.netns(), site.app.address(), "-c 20 -i 0.01").unwrap();
        assert!(pings.all_answered(), "{}", pings.text);
        hosts.gateway_rx() - before
    };
    hosts.optimise(30);
    let (state, connections) = (ask("/"), ask("/conn"));
    assert_eq!((&state["DistributedRouting"], &state["shortcuts"]), (&json!("true"), &json!(1)));
    assert_eq!(connections.as_array().map(Vec::len), Some(1), "{connections}");
    assert!(pinged() < 10, "packets pass the gateway");

    assert_eq!(ask("/disable"), json!({ "DistributedRouting": "false" }));
    wait_for("the shortcut to end", || (hosts.agent1.shortcuts().unwrap() == 0).then_some(())).unwrap();
    assert!(pinged() >= 20, "packets do not pass the gateway");
    let refused = hosts.granter.grant(host.vtep(), hosts.forth(30)).unwrap();
    assert_eq!(refused, Status::Refused(RefusedWhy::Policy));

    assert_eq!(ask("/enable"), json!({ "DistributedRouting": "true" }));
    hosts.optimise(30);
    assert!(pinged() < 10, "packets pass the gateway");
    eprintln!("switched off and on by curl on the host: {state}");
}
