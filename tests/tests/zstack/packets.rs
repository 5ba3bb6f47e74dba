//! From nothing through the router-agent API to packets.

use tidegate_tests::gateway::{Gateway, HOST1, Station};

use super::*;

const NETWORK: &str = "r1.net-00005e005302";

/// A gateway with what the site says, a VM with the EIP, one with the forward, one with neither, the router upstream.
fn gateway(site: &Site) -> (Gateway, [Station; 4]) {
    let mut gw = Gateway::start(&site.text(), 1);
    let mut vm = |ip| gw.vm(NETWORK, ip, HOST1);
    let vms = [vm("192.0.2.140"), vm("192.0.2.141"), vm("192.0.2.142")];
    let up = gw.vm("public", "203.0.113.1", HOST1);
    let [a, b, c] = vms;
    gw.take_moved();
    (gw, [a, b, c, up])
}

async fn connected() -> Bench {
    let bench = Bench::start(limits()).await;
    assert_eq!(
        bench.manager.ping(bench.at, ROUTER).await,
        Ok(false),
        "the manager finds a router that knows nothing"
    );
    bench.ok("/configurenic", guest_nic()).await;
    bench.manager.reconnect(bench.at, &environment()).await.unwrap();
    assert_eq!(bench.manager.ping(bench.at, ROUTER).await, Ok(true));
    bench
}

#[tokio::test]
async fn an_environment_comes_up_from_nothing() {
    let bench = connected().await;
    let (mut gw, [eip, forward, plain, up]) = gateway(&bench.site);
    gw.from(&eip, "udp 192.0.2.140:4000 > 198.51.100.9:53")
        .to(&up, "udp 203.0.113.20:4000 > 198.51.100.9:53 ttl=63");
    gw.from(&up, "udp 198.51.100.9:7 > 203.0.113.20:9").to(&eip, "udp 198.51.100.9:7 > 192.0.2.140:9 ttl=63");
    gw.from(&up, "tcp 198.51.100.9:700 > 203.0.113.30:8003 S")
        .to(&forward, "tcp 198.51.100.9:700 > 192.0.2.141:9003 S ttl=63");
    let words = gw.from(&plain, "udp 192.0.2.142:4000 > 198.51.100.9:53").words();
    assert!(
        words.len() == 1 && words[0].contains("203.0.113.10:"),
        "SNAT by the router's own address: {words:?}"
    );
    gw.take_moved();
    // A client that allowedCidr leaves out.
    let words = gw.from(&up, "tcp 192.88.99.9:700 > 203.0.113.30:8003 S").words();
    assert!(!words.iter().any(|word| word.contains("192.0.2.141")), "{words:?}");
}

#[tokio::test]
async fn what_is_removed_ends_at_once() {
    let bench = connected().await;
    let (mut gw, [eip, _, _, up]) = gateway(&bench.site);
    let out = "udp 192.0.2.140:4000 > 198.51.100.9:53";
    gw.from(&eip, out).to(&up, "udp 203.0.113.20:4000 > 198.51.100.9:53 ttl=63");
    bench.ok("/removeeip", json!({ "eip": environment().eips[0] })).await;
    gw.reload(&bench.site.text()).ignore();
    let words = gw.from(&eip, out).words();
    assert!(words.len() == 1 && words[0].contains("203.0.113.10:"), "by SNAT from now on: {words:?}");
    let words = gw.from(&up, "udp 198.51.100.9:53 > 203.0.113.20:4000").words();
    assert!(!words.iter().any(|word| word.contains("192.0.2.140")), "{words:?}");
    gw.take_moved();
}

#[tokio::test]
async fn a_restart_cuts_nothing_and_leaves_nothing_over() {
    let before = connected().await;
    let documents = before.site.all();
    let bench = before.restart(Duration::from_millis(1)).await;
    assert_eq!(bench.site.all(), documents, "it forwards on before the manager says anything");
    assert!(bench.agent.objects().iter().any(|object| object.provisional));
    assert_eq!(bench.manager.ping(bench.at, ROUTER).await, Ok(false), "by this the manager finds out");
    // Meanwhile the last EIP was removed at the manager, which skips lists that are empty.
    let now = Environment { eips: Vec::new(), ..environment() };
    bench.manager.reconnect(bench.at, &now).await.unwrap();
    assert_eq!(bench.manager.ping(bench.at, ROUTER).await, Ok(true));
    bench.site.wait(|documents| !documents.keys().any(|(kind, _)| kind.section() == "eips")).await;
    let (mut gw, [eip, forward, _, up]) = gateway(&bench.site);
    let words = gw.from(&eip, "udp 192.0.2.140:4000 > 198.51.100.9:53").words();
    assert!(words.len() == 1 && words[0].contains("203.0.113.10:"), "{words:?}");
    gw.from(&up, "tcp 198.51.100.9:700 > 203.0.113.30:8003 S")
        .to(&forward, "tcp 198.51.100.9:700 > 192.0.2.141:9003 S ttl=63");
    gw.take_moved();
    while bench.count(AgentEvent::ObjectWithdrawn) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.count(AgentEvent::ObjectWithdrawn), 1, "the EIP");
    assert!(!bench.agent.objects().iter().any(|object| object.provisional));
}
