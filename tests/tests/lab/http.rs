//! HTTP and HTTPS listeners: HAProxy in the namespace of the VPC, real clients and servers around it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tidegate_tests::lab::{
    Internet, Site,
    service::{Load, Web, curl, curl_text, load, loaded, numbered},
    site::{SHARED, config_with_services},
    wait_for,
};

use crate::crash::reconnect;

/// Web, app and db as backends on port 80.
fn backends() -> Value {
    let backend = |address: &str| json!({"vpc": "vpc-1", "address": address, "port": 80});
    json!([backend("192.168.20.154"), backend("192.168.21.10"), backend("192.168.22.10")])
}

/// The site with an HTTP listener on port 80 of the shared address and an HTTPS listener on port 443, as `change` leaves them.
fn config(certificate: &Path, change: impl Fn(&mut Value)) -> Value {
    let mut config = config_with_services();
    let check = json!({"kind": "http", "path": "/name", "interval_s": 1, "timeout_s": 1, "unhealthy": 2});
    config["certificates"] = json!([{"id": "example", "file": certificate}]);
    config["load_balancers"] = json!([{"id": "www", "vip": "shared", "listeners": [
        {"id": "plain", "protocol": "http", "port": 80, "health_check": check, "backends": backends()},
        {
            "id": "secure", "protocol": "https", "port": 443, "health_check": check, "backends": backends(),
            "http": {"tls": {"certificates": ["example"], "h2": true}},
        },
    ]}]);
    change(&mut config);
    config
}

/// A certificate for `www.example.com` and its key.
fn certificate(dir: &Path, name: &str) -> PathBuf {
    let (file, key) = (dir.join(format!("{name}.pem")), dir.join("key.pem"));
    let options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj";
    let mut openssl = Command::new("openssl");
    openssl
        .args(options.split(' '))
        .arg(format!("/CN={name}"))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&file);
    let made = openssl.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::write(&file, [fs::read(&file).unwrap(), fs::read(&key).unwrap()].concat()).unwrap();
    file
}

/// The site, what lies before it, the servers, and the folder of the certificate.
struct World {
    servers: Vec<Web>,
    dir: tempfile::TempDir,
    internet: Internet,
    site: Site,
}

impl World {
    fn new() -> Option<World> {
        World::with(|_| ())
    }

    fn with(change: impl Fn(&mut Value)) -> Option<World> {
        let dir = tempfile::tempdir().unwrap();
        let file = certificate(dir.path(), "www.example.com");
        let site = super::site_with(|whole| *whole = config(&file, &change))?;
        let internet = Internet::behind(&site).unwrap();
        let vms = [(&site.web, "web"), (&site.app, "app"), (&site.db, "db")];
        let servers = vms.map(|(vm, name)| Web::start(vm.netns(), name).unwrap()).into();
        let world = World { servers, dir, internet, site };
        wait_for("all backends to serve", || {
            let names = world.ask("-k https://203.0.113.93/name", 3);
            (names == ["app", "db", "web"]).then_some(())
        })
        .unwrap();
        Some(world)
    }

    /// The different answers of so many requests from outside, sorted.
    fn ask(&self, what: &str, times: usize) -> Vec<String> {
        let (options, url) = what.rsplit_once(' ').unwrap_or(("", what));
        let answer =
            || curl(&self.internet.server, url, options).map(|text| String::from_utf8(text).unwrap());
        let mut names: Vec<String> =
            (0..times).map(|_| answer().unwrap_or_else(|why| why.to_string())).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn reload(&self, change: impl Fn(&mut Value)) {
        let config = config(&self.dir.path().join("www.example.com.pem"), change);
        self.site.gateway.reload(&config.to_string()).unwrap();
    }
}

/// A file of the proxy of vpc-1.
fn file_of_proxy(name: &str) -> Option<String> {
    let gateways = fs::read_dir("/run/tidegate/haproxy").ok()?.flatten();
    let proxies = gateways.flat_map(|gateway| fs::read_dir(gateway.path()).into_iter().flatten().flatten());
    let texts: Vec<String> =
        proxies.filter_map(|proxy| fs::read_to_string(proxy.path().join(name)).ok()).collect();
    assert!(texts.len() <= 1, "one VPC has listeners: {texts:?}");
    texts.into_iter().next()
}

/// Its process.
fn proxy() -> Option<Pid> {
    Some(Pid::from_raw(file_of_proxy("process")?.split(' ').next()?.parse().ok()?))
}

/// Whether a process runs. One that has ended may wait for somebody to take note.
fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z')))
}

#[test]
fn http_and_https_are_answered_by_all_backends() {
    let Some(world) = World::new() else { return };
    let World { internet, site, .. } = &world;
    assert_eq!(world.ask("http://203.0.113.93/name", 6), ["app", "db", "web"]);
    assert_eq!(world.ask("-k --http2 https://203.0.113.93/name", 6), ["app", "db", "web"]);
    // Backends see the gateway's address of their network; who asked is in a header.
    let mut seen = world.ask("http://203.0.113.93/who", 6);
    seen.sort_unstable();
    assert_eq!(seen, ["192.168.20.1", "192.168.21.1", "192.168.22.1"]);
    // A VM of the VPC, which shares the address for its own way out; and one of another VPC.
    assert!(
        ["web", "app", "db"]
            .contains(&curl_text(site.web.netns(), "http://203.0.113.93/name").unwrap().as_str())
    );
    // What other services have of the address is theirs.
    assert_eq!(curl_text(&internet.server, "http://203.0.113.93:8080/name").unwrap(), "web");
    assert_eq!(
        curl_text(site.web.netns(), "http://192.0.2.10/who").err().map(|_| ()),
        Some(()),
        "nobody serves there"
    );
    // Much at once, both ways.
    let content = numbered(2 << 20);
    world.servers.iter().for_each(|server| server.offer("file", &content).unwrap());
    assert_eq!(curl(&internet.server, "https://203.0.113.93/file", "-k").unwrap(), content);
    // The gateway asks the proxy for its counters once a second.
    let shown = || site.gateway.show("lb http").unwrap().contains("192.168.20.154:80").then_some(());
    wait_for("the counters of the proxy", shown).unwrap();
}

#[test]
fn a_redirect_rules_a_cookie_and_access_do_what_they_say() {
    let Some(world) = World::new() else { return };
    world.reload(|config| {
        let listeners = &mut config["load_balancers"][0]["listeners"];
        listeners[0]["http"] = json!({"redirect": {"status": "308"}});
        listeners[1]["http"]["cookie"] = json!({"kind": "insert", "name": "seat"});
        listeners[1]["http"]["rules"] = json!([{"host": "*.example.com", "path": "/n", "group": "db"}]);
        listeners[1]["backends"].as_array_mut().unwrap().pop();
        listeners[1]["groups"] =
            json!([{"id": "db", "backends": [{"vpc": "vpc-1", "address": "192.168.22.10", "port": 80}]}]);
    });
    let moved = "-o /dev/null -w %{http_code}_%{redirect_url} http://203.0.113.93/name?x=1";
    wait_for("the redirect", || (world.ask(moved, 1) == ["308_https://203.0.113.93/name?x=1"]).then_some(()))
        .unwrap();
    assert_eq!(world.ask("-k -H Host:api.example.com https://203.0.113.93/name", 4), ["db"]);
    assert_eq!(world.ask("-k https://203.0.113.93/name", 4), ["app", "web"]);
    let jar = world.dir.path().join("jar");
    let seated = format!("-k -b {0} -c {0} https://203.0.113.93/name", jar.display());
    assert_eq!(world.ask(&seated, 6).len(), 1, "the cookie keeps it");
    world.reload(|config| {
        config["load_balancers"][0]["listeners"][0]["access"] =
            json!({"policy": "deny", "cidrs": ["192.0.2.0/24"]});
    });
    wait_for("the access list", || curl(&world.internet.server, &format!("http://{SHARED}/name"), "").err())
        .unwrap();
}

#[test]
fn reloads_under_load_lose_nothing() {
    let Some(world) = World::new() else { return };
    let before = proxy().unwrap();
    let load = |options: &str| {
        let url = "https://203.0.113.93/name?[1-400]";
        curl(&world.internet.server, url, &format!("-k -w \\n%{{http_code}}\\n {options}"))
            .map(|text| String::from_utf8(text).unwrap().lines().filter(|line| *line == "200").count())
    };
    thread::scope(|scope| {
        // Many requests on few connections, and each on its own.
        let loads = ["", "-H Connection:close", "--http2"].map(|options| scope.spawn(move || load(options)));
        for connections in [1001, 1002, 1003, 1004] {
            world.reload(|config| {
                config["load_balancers"][0]["listeners"][1]["max_connections"] = json!(connections);
            });
            let want = format!("maxconn {connections}\n");
            wait_for("the proxy to have the new configuration", || {
                file_of_proxy("haproxy.cfg")?.contains(&want).then_some(())
            })
            .unwrap();
        }
        for load in loads {
            assert_eq!(load.join().unwrap().unwrap(), 400);
        }
    });
    assert_eq!(proxy(), Some(before), "it read its configuration again, it did not start again");
}

#[test]
fn a_proxy_that_dies_is_started_again() {
    let Some(world) = World::new() else { return };
    let before = proxy().unwrap();
    kill(before, Signal::SIGKILL).unwrap();
    wait_for("another proxy", || proxy().filter(|now| *now != before)).unwrap();
    wait_for("answers", || (world.ask("-k https://203.0.113.93/name", 1) != ["502"]).then_some(())).unwrap();
    wait_for("the death to be seen", || {
        world.site.gateway.show("lb http").ok()?.contains("1 death").then_some(())
    })
    .unwrap();
}

#[test]
fn the_proxy_outlives_a_crash_and_ends_with_the_gateway() {
    let Some(mut world) = World::new() else { return };
    let before = proxy().unwrap();
    world.site.gateway.kill().unwrap();
    assert!(runs(before), "without the gateway");
    let Site { gateway, underlay, upstream, .. } = &mut world.site;
    gateway.start_again(&[]).unwrap();
    reconnect(gateway, underlay, upstream).unwrap();
    wait_for("answers", || {
        (world.ask("-k https://203.0.113.93/name", 3) == ["app", "db", "web"]).then_some(())
    })
    .unwrap();
    assert_eq!(proxy(), Some(before), "it was taken over");
    world.site.gateway.stop().unwrap();
    assert_eq!((proxy(), runs(before)), (None, false), "nothing is left");
}

#[test]
fn a_dead_backend_fails_no_request() {
    let Some(mut world) = World::new() else { return };
    let url = "http://203.0.113.93/name?[1-300]";
    let load = |world: &World| {
        let text = curl(&world.internet.server, url, "-H Connection:close -w \\n%{http_code}\\n").unwrap();
        String::from_utf8(text).unwrap().lines().filter(|line| *line == "200").count()
    };
    drop(world.servers.remove(0));
    assert_eq!(load(&world), 300, "refused connections are tried elsewhere");
    wait_for("web to be down", || (world.ask("http://203.0.113.93/name", 4) == ["app", "db"]).then_some(()))
        .unwrap();
    let web = Web::start(world.site.web.netns(), "web").unwrap();
    wait_for("web to be back", || {
        (world.ask("http://203.0.113.93/name", 4) == ["app", "db", "web"]).then_some(())
    })
    .unwrap();
    drop(web);
}

#[test]
fn nobody_is_refused_under_load_where_punts_suffice() {
    let Some(world) =
        World::with(|config| config["gateway"]["limits"]["punts_per_second"] = json!(1_000_000))
    else {
        return;
    };
    let content = numbered(100_000);
    world.servers.iter().for_each(|server| server.offer("file", &content).unwrap());
    for url in ["http://203.0.113.93/name", "https://203.0.113.93/name", "http://203.0.113.93/file"] {
        let seconds = 2;
        let load = loaded(load(&world.internet.server, url, 32, seconds).unwrap()).unwrap();
        println!("{url}: {} requests/s", load.answered / u64::from(seconds));
        assert!(load.answered > 0, "{url}");
        assert_eq!(load, Load { answered: load.answered, ..Load::default() }, "{url}");
    }
    assert_eq!(world.site.drops("punt_limited").unwrap(), 0);
}
