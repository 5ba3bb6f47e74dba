//! Whoever has a part in distributed routing is killed while transfers are under way: an agent, both, the gateway, all at once. No
//! transfer fails.

use std::{path::Path, thread, time::Instant};

use serde_json::{Value, json};
use tidegate_tests::lab::{
    Netns, Site,
    agent::{self, Agent},
    probe::{Stream, iperf3},
    process::Running,
    service::{Web, curl, numbered},
    site, wait_for,
};

use super::{zsnp::longest_pause, zsnp_ends::talk};

/// Of shortcuts, in s: the shortest, so that a silent gateway is outlived several times.
const LIFETIME_S: u32 = 3;

fn config(keys: &Path, on: bool) -> Value {
    let mut config = site::config();
    // As a NIC has the same MAC after a restart.
    for (at, mac) in ["02:00:00:00:91:00", "02:00:00:00:91:01"].into_iter().enumerate() {
        config["gateway"]["ports"][at]["mac"] = json!(mac);
    }
    config["gateway"]["zsnp"] = json!({ "keys": keys, "hold_off_s": 5, "lifetime_s": LIFETIME_S });
    config["vpc_routers"][0]["distributed_routing"] = json!(on);
    config
}

/// What was seen while somebody was killed.
struct Seen {
    iperf3: Stream,
    /// How long `curl` took, in s.
    curl_s: f64,
    /// The longest pause between two answers of a ping, in s.
    pause_s: f64,
}

/// Runs `iperf3`, `curl` and `ping` from web to app for so many seconds and has somebody killed when they are under way.
///
/// # Panics
/// When a transfer fails.
fn under_load(web: &Netns, app: &Netns, address: &str, seconds: u32, kill: impl FnOnce()) -> Seen {
    const RATE: usize = 4 << 20;
    let content = numbered(RATE * seconds as usize);
    let nginx = Web::start(app, "app").unwrap();
    nginx.offer("file", &content).unwrap();
    let mut pings = web.command("ping");
    pings.args(["-D", "-n", "-i", "0.02", address]);
    let pings = Running::start(pings).unwrap().until("bytes from").unwrap();
    let received = || {
        let text = app.run("cat /proc/net/dev").unwrap();
        let eth0 = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
        eth0.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let (iperf3, curl_s) = thread::scope(|scope| {
        let before = received();
        let iperf3 = scope.spawn(|| iperf3(app, web, address, &format!("-t {seconds} -b 100M")).unwrap());
        let curl = scope.spawn(|| {
            let start = Instant::now();
            let got = curl(web, &format!("http://{address}/file"), &format!("--limit-rate {RATE}")).unwrap();
            assert!(got == content, "curl got {} bytes of {}", got.len(), content.len());
            start.elapsed().as_secs_f64()
        });
        wait_for("load", || (received() > before + (8 << 20)).then_some(())).unwrap();
        kill();
        (iperf3.join().unwrap(), curl.join().unwrap())
    });
    Seen { iperf3, curl_s, pause_s: longest_pause(&pings) }
}

impl Seen {
    fn tell(&self, killed: &str) {
        eprintln!(
            "killed under load: {killed}: iperf3 carried {} MB at {:.0} Mbit/s, curl took {:.1} s, nobody failed; longest pause {:.2} s",
            self.iperf3.bytes >> 20,
            self.iperf3.bits_per_second / 1e6,
            self.curl_s,
            self.pause_s
        );
        assert!(self.iperf3.bytes > 16 << 20, "{:?}", self.iperf3);
    }
}

/// Switches off and on, so that what a killed one has forgotten is taught again at once, and waits until both ways are direct.
fn teach_again(site: &Site, agents: &[Agent; 2], keys: &Path) {
    for on in [false, true] {
        site.gateway.reload(&config(keys, on).to_string()).unwrap();
    }
    wait_for("shortcuts both ways", || {
        agents.iter().all(|agent| agent.shortcuts().is_ok_and(|count| count == 1)).then_some(())
    })
    .unwrap_or_else(|why| panic!("{why}\n{}", site.gateway.show("shortcuts").unwrap()));
}

#[test]
fn nobody_s_death_breaks_a_transfer() {
    let keys = agent::key_file().unwrap();
    let keys = keys.path();
    let Some(mut site) = super::site_with(|config_| *config_ = config(keys, true)) else { return };
    let mut agents = [&site.host1, &site.host2].map(|host| Agent::start(&site.lab, host, "").unwrap());
    let _talking = talk(&site);
    for (killed, who) in
        [("the agent of the sender", &[0][..]), ("the agent of the receiver", &[1]), ("both agents", &[0, 1])]
    {
        teach_again(&site, &agents, keys);
        let Site { web, app, host1, host2, .. } = &site;
        let seen = under_load(web.netns(), app.netns(), app.address(), 4, || {
            who.iter().for_each(|at| agents[*at].kill().unwrap());
        });
        seen.tell(killed);
        for at in who {
            agents[*at].start_again([host1, host2][*at], "").unwrap();
        }
    }

    teach_again(&site, &agents, keys);
    let Site { web, app, gateway, underlay, .. } = &mut site;
    let seconds = 3 * LIFETIME_S;
    let seen = under_load(web.netns(), app.netns(), app.address(), seconds, || gateway.kill().unwrap());
    seen.tell("the gateway, for three lifetimes");
    let prolonged: u64 = agents.iter().map(|agent| agent.counter("shortcuts_prolonged").unwrap()).sum();
    assert!(prolonged > 0);
    assert!(seen.pause_s < 1.0, "running flows do not even pause");
    gateway.start_again(&[]).unwrap();
    underlay.take(gateway.netns(), "tg-underlay").unwrap();

    teach_again(&site, &agents, keys);
    let Site { web, app, gateway, underlay, .. } = &mut site;
    let seen = under_load(web.netns(), app.netns(), app.address(), 8, || {
        gateway.kill().unwrap();
        agents.iter_mut().for_each(|agent| agent.kill().unwrap());
        // As systemd does; the agents stay dead.
        gateway.start_again(&[]).unwrap();
        underlay.take(gateway.netns(), "tg-underlay").unwrap();
    });
    seen.tell("the gateway and both agents at once; the gateway comes back");
}
