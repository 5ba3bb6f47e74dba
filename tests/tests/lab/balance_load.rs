//! Listeners under load: what fails when a backend is killed, drained or sees the gateway only.

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tidegate_tests::lab::{
    Gateway, Internet, Netns, Site,
    service::{Load, Web, curl, curl_text, load, loaded, numbered},
    site::{SHARED, config_with_services},
    wait_for,
};

use super::crash::reconnect;

const BACKENDS: [&str; 3] = ["192.168.20.154", "192.168.21.10", "192.168.22.10"];

/// Our addresses in their networks.
const MASKS: [&str; 3] = ["192.168.20.1", "192.168.21.1", "192.168.22.1"];

/// Connections of `wrk`.
const CONNECTIONS: usize = 30;

/// Clients that open a connection for each request.
const ASKERS: usize = 3;

/// What each backend has of `wrk`'s connections at least: its part, less those whose turn the askers took.
const PART: usize = CONNECTIONS / 3 - ASKERS;

/// A listener on port 8000 for all three, which are checked each second: a dead one is known after two probes.
fn listener() -> Value {
    let backends = BACKENDS.map(|address| json!({"vpc": "vpc-1", "address": address, "port": 80}));
    json!({
        "id": "web", "protocol": "tcp", "port": 8000, "backends": backends,
        "health_check": {"kind": "tcp", "interval_s": 1, "timeout_s": 1, "healthy": 1, "unhealthy": 2}
    })
}

fn config(listener: &Value) -> Value {
    let mut config = config_with_services();
    config["load_balancers"] = json!([{"id": "lb", "vip": "shared", "listeners": [listener]}]);
    for (at, mac) in ["02:00:00:00:91:00", "02:00:00:00:91:01"].into_iter().enumerate() {
        config["gateway"]["ports"][at]["mac"] = json!(mac);
    }
    config
}

struct World {
    servers: Vec<Web>,
    internet: Internet,
    site: Site,
}

impl World {
    fn new(listener: &Value) -> Option<World> {
        let site = super::site_with(|document| *document = config(listener))?;
        let internet = Internet::behind(&site).unwrap();
        let vms = [(&site.web, "web"), (&site.app, "app"), (&site.db, "db")];
        let servers = vms.map(|(vm, name)| Web::start(vm.netns(), name).unwrap()).into();
        let world = World { servers, internet, site };
        for at in 0..BACKENDS.len() {
            world.wait_until(at, "up");
        }
        Some(world)
    }

    fn backend(&self, at: usize) -> Option<Value> {
        let rows = self.site.gateway.json("lb backends").ok()?;
        rows.as_array()?.iter().find(|row| row["address"] == BACKENDS[at]).cloned()
    }

    fn number(&self, at: usize, what: &str) -> u64 {
        self.backend(at).unwrap()[what].as_u64().unwrap()
    }

    fn wait_until(&self, at: usize, state: &str) {
        wait_for(&format!("{} to be {state}", BACKENDS[at]), || {
            (self.backend(at)?["state"] == state).then_some(())
        })
        .unwrap();
    }

    fn reload(&self, listener: &Value) {
        self.site.gateway.reload(&config(listener).to_string()).unwrap();
    }
}

/// Connections that a VM's kernel has on port 80, whoever took them.
fn established(vm: &Netns) -> usize {
    vm.run("ss -Htn state established sport = :80").unwrap().lines().count()
}

fn url(path: &str) -> String {
    format!("http://{SHARED}:8000/{path}")
}

/// Asks on a new connection each time; which requests failed, when they began, and why.
#[derive(Default)]
struct Askers {
    stop: AtomicBool,
    asked: AtomicUsize,
    failed: Mutex<Vec<(Instant, String)>>,
}

impl Askers {
    fn ask(&self, from: &Netns) {
        while !self.stop.load(SeqCst) {
            let began = Instant::now();
            // A SYN that is lost is sent again after a second.
            if let Err(why) = curl(from, &url("name"), "--connect-timeout 20") {
                self.failed.lock().unwrap().push((began, format!("{why:#}")));
            }
            self.asked.fetch_add(1, SeqCst);
        }
    }

    /// Waits for so many requests more.
    fn more(&self, requests: usize) {
        let until = self.asked.load(SeqCst) + requests;
        wait_for("requests", || (self.asked.load(SeqCst) >= until).then_some(())).unwrap();
    }
}

/// Runs `change` while clients ask, on few connections and on many; what `wrk` says, and which of the others failed.
fn under_load(world: &World, seconds: u32, change: impl FnOnce(&Askers)) -> (Load, Vec<(Instant, String)>) {
    let askers = Askers::default();
    let from = &world.internet.server;
    let load = thread::scope(|scope| {
        let wrk = load(from, &url("name"), CONNECTIONS, seconds).unwrap();
        for _ in 0..ASKERS {
            scope.spawn(|| askers.ask(from));
        }
        askers.more(10);
        change(&askers);
        let load = loaded(wrk).unwrap();
        askers.more(10);
        askers.stop.store(true, SeqCst);
        load
    });
    assert!(load.answered > 1_000, "{load:?}");
    (load, askers.failed.into_inner().unwrap())
}

/// No request fails but those that the killed program had: it is gone with its connections, and its kernel refuses new ones.
/// Those go to the others, before any probe has noticed. When it is back, it gets its part again.
#[test]
fn a_backend_killed_under_load_fails_what_it_had_and_nothing_else() {
    let Some(mut world) = World::new(&listener()) else { return };
    let victim = world.servers.remove(2);
    let (mut had, mut killed, mut down) = (0, Instant::now(), Duration::ZERO);
    let (load, failed) = under_load(&world, 20, |askers| {
        wait_for("wrk's connections", || (established(world.site.db.netns()) >= PART).then_some(())).unwrap();
        had = established(world.site.db.netns());
        victim.kill().unwrap();
        killed = Instant::now();
        world.wait_until(2, "down");
        down = killed.elapsed();
        askers.more(30);
        let _back = Web::start(world.site.db.netns(), "db").unwrap();
        world.wait_until(2, "up");
        let before = world.number(2, "opened");
        // It gets no new ones for 3 s after it refused the last.
        wait_for("the backend to get its part", || (world.number(2, "opened") - before >= 5).then_some(()))
            .unwrap();
        // It serves on while the load ends.
        std::mem::forget(_back);
    });
    let refused = world.number(2, "refused");
    eprintln!(
        "{} requests of wrk, {} of others failed; {had} connections were on the killed one, which refused {refused} more \
         and was down after {:.1} s; {load:?}",
        load.answered,
        failed.len(),
        down.as_secs_f64()
    );
    // Each connection of wrk breaks once at most; those that it opens then are not counted twice.
    assert_eq!((load.not_connected, load.late, load.refused), (0, 0, 0));
    assert!(load.broken >= PART as u64, "it was under load: {load:?}");
    assert!(load.broken + failed.len() as u64 <= (had + ASKERS) as u64, "{load:?} {failed:?}");
    assert!(failed.len() <= ASKERS, "{failed:?}");
    assert!(failed.iter().all(|(began, _)| *began < killed), "later ones go elsewhere: {failed:?}");
    assert!(refused > 0, "some met the dead one before it was known to be");
    assert!(world.site.books().unwrap().balance());
}

#[test]
fn a_drain_under_load_loses_nothing() {
    let Some(world) = World::new(&listener()) else { return };
    let mut draining = listener();
    draining["backends"][1]["drain"] = json!(true);
    let app = world.site.app.netns();
    let (load, failed) = under_load(&world, 6, |askers| {
        wait_for("wrk's connections", || (established(app) >= PART).then_some(())).unwrap();
        world.reload(&draining);
        let opened = world.number(1, "opened");
        askers.more(30);
        assert_eq!(world.number(1, "opened"), opened, "no new ones");
        assert!(established(app) >= PART, "the open ones go on");
        assert_eq!(world.backend(1).unwrap()["state"], "draining");
    });
    assert_eq!(load, Load { answered: load.answered, ..Load::default() });
    assert_eq!(failed.len(), 0, "{failed:?}");
    // wrk has closed its connections, and so it drains by itself.
    world.wait_until(1, "drained");
    let (load, failed) = under_load(&world, 4, |askers| {
        let mut without = listener();
        without["backends"].as_array_mut().unwrap().remove(1);
        world.reload(&without);
        askers.more(20);
        world.reload(&listener());
    });
    assert_eq!(load, Load { answered: load.answered, ..Load::default() });
    assert_eq!(failed.len(), 0, "{failed:?}");
    assert!(world.site.books().unwrap().balance());
}

/// Backends that know no way to the clients answer all the same, to the gateway's address. Probes go from there too, and
/// connections outlive the gateway.
#[test]
fn backends_without_a_way_back_serve_a_listener_with_full_nat() {
    let mut full = listener();
    full["mode"] = json!("full_nat");
    let Some(mut world) = World::new(&full) else { return };
    for vm in [&world.site.web, &world.site.app, &world.site.db] {
        vm.netns().ip("route del default").unwrap();
    }
    let mut seen: Vec<_> = (0..3).map(|_| curl_text(&world.internet.server, &url("who")).unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, MASKS, "whom nginx sees");
    // A VM of the VPC gets there by the public address, too, if it knows a way.
    world.site.web.netns().ip(&format!("route add {SHARED}/32 via {}", MASKS[0])).unwrap();
    assert!(MASKS.contains(&&*curl_text(world.site.web.netns(), &url("who")).unwrap()));
    let (load, failed) = under_load(&world, 4, |askers| askers.more(30));
    eprintln!("full NAT: {load:?}");
    assert_eq!(load, Load { answered: load.answered, ..Load::default() });
    assert_eq!(failed.len(), 0, "{failed:?}");
    for at in 0..BACKENDS.len() {
        assert_eq!(world.backend(at).unwrap()["state"], "up", "probes use the same address");
    }

    // Programs in the namespace take ports above those that stand for clients.
    let range = || fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = Netns::existing("tg-vpc-1").unwrap().enter(range).unwrap().unwrap();
    let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(first, tidegate_control::compile::PROGRAM_PORTS, "of a new namespace");

    // Killed in the middle of downloads.
    let file = numbered(3 << 20);
    for server in &world.servers {
        server.offer("file", &file).unwrap();
    }
    let sent = |gateway: &Gateway| {
        let rows = gateway.json("lb backends").ok()?;
        rows.as_array()?.iter().map(|row| row["bytes_out"].as_u64()).collect::<Option<Vec<u64>>>()
    };
    let before = sent(&world.site.gateway).unwrap();
    let World { internet, site, .. } = &mut world;
    let Site { gateway, underlay, upstream, .. } = site;
    let from = &internet.server;
    thread::scope(|scope| {
        let got: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| curl(from, &url("file"), "--limit-rate 500k --max-time 40")))
            .collect();
        // Bytes of open connections are counted.
        wait_for("downloads", || {
            sent(gateway)?.iter().zip(&before).all(|(now, before)| *now > before + 200_000).then_some(())
        })
        .unwrap();
        gateway.kill().unwrap();
        gateway.start_again(&[]).unwrap();
        reconnect(gateway, underlay, upstream).unwrap();
        for got in got {
            assert!(got.join().unwrap().unwrap() == file, "the file is whole");
        }
    });
    assert!(world.site.books().unwrap().balance());
}
