//! More than one worker.

use serde_json::json;
use tidegate_tests::lab::{
    probe::{iperf3, ping},
    stream::Datagrams,
    wait_for,
};

#[test]
fn two_workers_share_the_traffic_and_the_flows() {
    let Some(site) = super::site_with(|config| config["gateway"]["workers"] = json!([0, 1])) else { return };
    assert!(ping(site.web.netns(), site.app.address(), "-c 3 -i 0.1").unwrap().all_answered());
    let stream = Datagrams::start(site.db.netns(), site.web.netns(), site.web.address(), 500).unwrap();
    let tcp = iperf3(site.app.netns(), site.web.netns(), site.app.address(), "-t 2 -P 8").unwrap();
    assert!(tcp.bytes > 1 << 20, "{tcp:?}");
    let count = stream.stop().unwrap();
    assert!(count.sent > 0);
    let workers = site.gateway.json("workers").unwrap();
    let busy = |w: &serde_json::Value| w["books"]["rx"].as_u64().is_some_and(|rx| rx > 0);
    let workers = workers.as_array().unwrap();
    assert!(workers.len() == 2 && workers.iter().all(busy), "{workers:?}");
    assert!(site.books().unwrap().balance());
    assert!(workers.iter().all(|w| w["sleeps"] == 0), "busy polling never sleeps: {workers:?}");
}

#[test]
fn an_adaptive_worker_sleeps_while_nothing_comes_and_loses_nothing() {
    let Some(site) = super::site_with(|config| config["gateway"]["poll"] = json!("adaptive")) else { return };
    let sleeps = || site.gateway.json("workers").unwrap()[0]["sleeps"].as_u64().unwrap();
    let before = sleeps();
    wait_for("an idle worker to sleep", || (sleeps() > before).then_some(())).unwrap();
    let pings = ping(site.web.netns(), site.app.address(), "-c 20 -i 0.01").unwrap();
    assert!(pings.all_answered() && pings.ttl == Some(63), "{}", pings.text);
    let tcp = iperf3(site.app.netns(), site.web.netns(), site.app.address(), "-t 1 -P 4").unwrap();
    assert!(tcp.bytes > 1 << 20, "{tcp:?}");
    let after = sleeps();
    wait_for("it to sleep again after the traffic", || (sleeps() > after).then_some(())).unwrap();
    assert!(site.books().unwrap().balance());
}
