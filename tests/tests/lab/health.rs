//! Health checks through the data plane: a backend that dies gets no new connections, and gets them again when it is back.

use serde_json::{Value, json};
use tidegate_tests::lab::{
    Gateway, Internet, Site,
    service::{Web, curl, udp_echo, udp_exchange},
    site::config_with_services,
    wait_for,
};

/// The site with a TCP listener on port 80 and a UDP listener on port 7, which are checked every second.
fn config() -> Value {
    let backend = |address: &str, port: u16| json!({"vpc": "vpc-1", "address": address, "port": port});
    let all =
        |port| ["192.168.20.154", "192.168.21.10", "192.168.22.10"].map(|address| backend(address, port));
    let check = |kind: &str| json!({"kind": kind, "interval_s": 1, "timeout_s": 1, "unhealthy": 2});
    let mut http = check("http");
    http["path"] = json!("/name");
    let mut udp = check("udp");
    udp["send"] = json!("ping");
    let mut config = config_with_services();
    config["load_balancers"] = json!([{"id": "l4", "vip": "shared", "listeners": [
        {"id": "web", "protocol": "tcp", "port": 80, "health_check": http, "backends": all(80)},
        {"id": "echo", "protocol": "udp", "port": 7, "health_check": udp, "backends": all(7)},
    ]}]);
    config
}

/// How many backends are in a state, as the metrics say.
fn backends(gateway: &Gateway, state: &str) -> Option<u64> {
    let text = curl(gateway.netns(), "http://127.0.0.1:9472/metrics", "").ok()?;
    let name = format!("tidegate_health_backends{{state=\"{state}\"}} ");
    let text = String::from_utf8(text).ok()?;
    text.lines().find_map(|line| line.strip_prefix(&name))?.parse().ok()
}

fn wait_until_down(site: &Site, count: u64) {
    let down = || (backends(&site.gateway, "down") == Some(count)).then_some(());
    wait_for(&format!("{count} backends to be down"), down).unwrap();
}

#[test]
fn a_dead_backend_gets_no_new_connections_until_it_is_back() {
    let Some(mut site) = super::site_with(|whole| *whole = config()) else { return };
    let internet = Internet::behind(&site).unwrap();
    let vms = [(&site.web, "web"), (&site.app, "app"), (&site.db, "db")];
    let mut servers: Vec<Web> = vms.map(|(vm, name)| Web::start(vm.netns(), name).unwrap()).into();
    let mut echoes: Vec<_> = vms.map(|(vm, _)| udp_echo(vm.netns(), 7).unwrap()).into();
    wait_for("all to be up", || (backends(&site.gateway, "up") == Some(6)).then_some(())).unwrap();

    // Each answer is of a connection of its own.
    let names = |requests: u32| {
        let url = format!("http://203.0.113.93/name?[1-{requests}]");
        let text = curl(&internet.server, &url, "-H Connection:close -w \\n")
            .map(String::from_utf8)
            .unwrap()
            .unwrap();
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        assert_eq!(names.len(), requests as usize, "none failed: {text}");
        names.sort_unstable();
        names.dedup();
        names
    };
    assert_eq!(names(300), ["app", "db", "web"]);

    drop(servers.remove(0));
    wait_until_down(&site, 1);
    assert_eq!(names(300), ["app", "db"]);
    servers.push(Web::start(site.web.netns(), "web").unwrap());
    wait_until_down(&site, 0);
    assert_eq!(names(300), ["app", "db", "web"]);

    // UDP: a port that is closed, by what ICMP says; and a VM that is gone, by ARP.
    drop(echoes.remove(0));
    wait_until_down(&site, 1);
    site.app.netns().ip("link set eth0 down").unwrap();
    wait_until_down(&site, 3);
    for _ in 0..10 {
        assert_eq!(
            udp_exchange(&internet.server, "203.0.113.93", 7, b"hello").unwrap(),
            b"hello",
            "db alone answers"
        );
    }
    assert_eq!(names(100), ["db", "web"]);
    assert!(site.gateway.process().text().contains("192.168.21.10:7 is down: unreachable"));
}
