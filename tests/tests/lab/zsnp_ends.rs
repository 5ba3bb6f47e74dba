//! Both ends of distributed routing together: the gateway finds busy traffic by itself, and the agents of the hosts carry it.

use std::{path::Path, time::Instant};

use serde_json::{Value, json};
use tidegate_tests::lab::{
    Site,
    agent::{self, Agent},
    probe::ping,
    process::Running,
    site, wait_for,
};

/// The site's configuration with the switch of vpc-1.
fn config(keys: &Path, on: bool) -> Value {
    let mut config = site::config();
    config["gateway"]["zsnp"] = json!({ "keys": keys, "hold_off_s": 5 });
    config["vpc_routers"][0]["distributed_routing"] = json!(on);
    config
}

/// A ping that goes on, often enough to be worth a shortcut.
pub(crate) fn talk(site: &Site) -> Running {
    let mut command = site.web.netns().command("ping");
    command.args(["-n", "-D", "-i", "0.02", site.app.address()]);
    Running::start(command).unwrap().until("bytes from").unwrap()
}

/// What the gateway says of a destination, and from which host.
fn pair(site: &Site, host: &str, destination: &str) -> Option<Value> {
    let rows = site.gateway.json("shortcuts").unwrap();
    let is = |row: &&Value| row["host"] == host && row["destination"] == destination;
    rows.as_array()?.iter().find(is).cloned()
}

#[test]
fn busy_traffic_goes_direct_by_itself_and_the_switch_takes_it_back() {
    let keys = agent::key_file().unwrap();
    let Some(site) = super::site_with(|config_| *config_ = config(keys.path(), true)) else { return };
    let [agent1, agent2] = [&site.host1, &site.host2].map(|host| Agent::start(&site.lab, host, "").unwrap());
    let talking = talk(&site);
    let start = Instant::now();
    let both = || (agent1.shortcuts().unwrap() == 1 && agent2.shortcuts().unwrap() == 1).then_some(());
    wait_for("shortcuts both ways", both).unwrap_or_else(|why| {
        panic!("{why}\n{}\n{}", site.gateway.show("shortcuts").unwrap(), agent1.show("counters").unwrap())
    });
    let took = start.elapsed();
    let rx = || site.books().unwrap().rx;
    let before = rx();
    let pings = ping(site.web.netns(), site.app.address(), "-c 50 -i 0.01").unwrap();
    let through = rx() - before;
    assert!(pings.all_answered() && pings.ttl == Some(63), "{}", pings.text);
    assert!(through < 20, "{through} packets still came by the gateway");
    let row = pair(&site, site.host1.vtep(), site.app.address()).unwrap();
    assert_eq!((&row["state"], &row["to"]), (&json!("active"), &json!(site.host2.vtep())), "{row}");

    let off = Instant::now();
    site.gateway.reload(&config(keys.path(), false).to_string()).unwrap();
    let none = || (agent1.shortcuts().unwrap() == 0 && agent2.shortcuts().unwrap() == 0).then_some(());
    wait_for("no shortcut", none).unwrap();
    let back = off.elapsed();
    let before = rx();
    let pings = ping(site.web.netns(), site.app.address(), "-c 10 -i 0.01").unwrap();
    assert!(pings.all_answered() && rx() - before >= 20, "{}", pings.text);
    drop(talking);
    eprintln!(
        "direct both ways {:.1} s after the first packet, {through} packets through the gateway during 50 pings; switched off: back in {:.2} s",
        took.as_secs_f64(),
        back.as_secs_f64()
    );
}

#[test]
fn a_host_without_an_agent_works_and_the_gateway_says_so() {
    let keys = agent::key_file().unwrap();
    let Some(site) = super::site_with(|config_| *config_ = config(keys.path(), true)) else { return };
    let agent1 = Agent::start(&site.lab, &site.host1, "").unwrap();
    let _talking = talk(&site);
    let held = wait_for("the gateway to give up on host2", || {
        pair(&site, site.host1.vtep(), site.app.address()).filter(|row| row["state"] == "held")
    });
    let row = held.unwrap();
    let pings = ping(site.web.netns(), site.app.address(), "-c 10 -i 0.01").unwrap();
    assert!(pings.all_answered() && pings.ttl == Some(63), "{}", pings.text);
    assert_eq!(agent1.shortcuts().unwrap(), 0);
    eprintln!("host2 has no agent: {}", row["why"]);
}
