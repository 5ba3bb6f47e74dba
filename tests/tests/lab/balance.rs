//! Load balancers with the programs that people use.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    thread,
};

use serde_json::{Value, json};
use tidegate_tests::lab::{
    ComputeHost, Internet, Site,
    service::{Web, curl_text, nc_listen, nc_say},
    site::{SHARED, config_with_services},
    wait_for,
};

/// A listener on TCP `port` for these addresses of vpc-1 and their port.
fn listener(port: u16, backends: &[(&str, u16)]) -> Value {
    let backend = |(address, port): &(&str, u16)| json!({"vpc": "vpc-1", "address": address, "port": port});
    let backends: Vec<Value> = backends.iter().map(backend).collect();
    json!({"id": "web", "protocol": "tcp", "port": port, "backends": backends})
}

fn config(listener: &Value) -> Value {
    let mut config = config_with_services();
    config["load_balancers"] = json!([{"id": "lb", "vip": "shared", "listeners": [listener]}]);
    config
}

fn start(listener: &Value) -> Option<(Internet, Site)> {
    let site = super::site_with(|document| *document = config(listener))?;
    Some((Internet::behind(&site).unwrap(), site))
}

/// The backend rows of `show lb`, by address.
fn backend(site: &Site, address: &str) -> Option<Value> {
    let rows = site.gateway.json("lb backends").ok()?;
    rows.as_array()?.iter().find(|row| row["address"] == address).cloned()
}

/// Part four of the seed article: three VMs of one network run `nc -l 23`, and three messages to one port of the public address
/// land one on each.
#[test]
fn three_messages_land_one_on_each_of_three_vms() {
    let addresses = ["192.168.20.154", "192.168.20.182", "192.168.20.236"];
    let Some((internet, site)) = start(&listener(2300, &addresses.map(|address| (address, 23)))) else {
        return;
    };
    let vm = |host: &ComputeHost, name: &str, address: &str| {
        host.vm(&site.lab, name, 222, &format!("{address}/24"), "192.168.20.1", 1450).unwrap()
    };
    let (second, third) = (vm(&site.host1, "lb2", addresses[1]), vm(&site.host2, "lb3", addresses[2]));
    let listening = [&site.web, &second, &third].map(|vm| nc_listen(vm.netns(), 23).unwrap());
    for n in 1..=3 {
        nc_say(&internet.neighbour, SHARED, 2300, &format!("hello {n}")).unwrap();
    }
    for (n, mut nc) in listening.into_iter().enumerate() {
        assert!(nc.wait().unwrap().success());
        let heard: Vec<_> = nc.output_lines().into_iter().filter(|line| line.starts_with("hello")).collect();
        assert_eq!(heard, [format!("hello {}", n + 1)]);
    }
    assert!(site.books().unwrap().balance());
}

/// Asks in a loop until told to stop; returns how often each server answered, by how many failures.
struct Load<'a> {
    internet: &'a Internet,
    stop: AtomicBool,
    asked: AtomicUsize,
    failed: AtomicUsize,
}

impl Load<'_> {
    fn ask(&self) {
        while !self.stop.load(SeqCst) {
            let answer = curl_text(&self.internet.server, &format!("http://{SHARED}:8000/name"));
            self.failed.fetch_add(usize::from(answer.is_err()), SeqCst);
            self.asked.fetch_add(1, SeqCst);
        }
    }

    /// Waits for so many requests more.
    fn more(&self, requests: usize) {
        let until = self.asked.load(SeqCst) + requests;
        wait_for("requests", || (self.asked.load(SeqCst) >= until).then_some(())).unwrap();
    }
}

/// Runs `change` while clients ask, and returns how many requests failed.
fn under_load(internet: &Internet, change: impl FnOnce(&Load<'_>)) -> usize {
    let load = Load { internet, stop: false.into(), asked: 0.into(), failed: 0.into() };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| load.ask());
        }
        load.more(10);
        change(&load);
        load.more(10);
        load.stop.store(true, SeqCst);
    });
    load.failed.load(SeqCst)
}

#[test]
fn draining_and_removing_a_backend_under_load_loses_no_request() {
    let backends = [("192.168.20.154", 80), ("192.168.21.10", 80), ("192.168.22.10", 80)];
    let whole = listener(8000, &backends);
    let Some((internet, site)) = start(&whole) else { return };
    let _servers = [(&site.web, "web"), (&site.app, "app"), (&site.db, "db")]
        .map(|(vm, name)| Web::start(vm.netns(), name).unwrap());
    let reload = |listener: &Value| _ = site.gateway.reload(&config(listener).to_string()).unwrap();
    let failed = under_load(&internet, |load| {
        let mut draining = whole.clone();
        draining["backends"][1]["drain"] = json!(true);
        reload(&draining);
        wait_for("the backend to be drained", || {
            // Connections that both sides have closed are counted until they time out; no new one comes.
            let before = backend(&site, backends[1].0)?["opened"].clone();
            load.more(6);
            (backend(&site, backends[1].0)?["opened"] == before).then_some(())
        })
        .unwrap();
        reload(&listener(8000, &[backends[0], backends[2]]));
        load.more(20);
        reload(&whole);
        load.more(20);
    });
    assert_eq!(failed, 0);
    let opened: Vec<u64> =
        backends.iter().map(|(ip, _)| backend(&site, ip).unwrap()["opened"].as_u64().unwrap()).collect();
    assert!(opened.iter().all(|opened| *opened > 0), "{opened:?}");
    assert!(site.books().unwrap().balance());
}

#[test]
fn a_backend_that_dies_is_left_out_and_comes_back_by_itself() {
    let mut checked = listener(8000, &[("192.168.20.154", 80), ("192.168.22.10", 80)]);
    checked["health_check"] =
        json!({"kind": "tcp", "interval_s": 1, "timeout_s": 1, "healthy": 1, "unhealthy": 2});
    let Some((internet, site)) = start(&checked) else { return };
    let _web = Web::start(site.web.netns(), "web").unwrap();
    let db = Web::start(site.db.netns(), "db").unwrap();
    let state = |wanted: &str| {
        wait_for(&format!("db to be {wanted}"), || {
            (backend(&site, "192.168.22.10")?["state"] == wanted).then_some(())
        })
        .unwrap();
    };
    state("up");
    drop(db);
    state("down");
    assert_eq!(under_load(&internet, |load| load.more(20)), 0, "once it is known to be down");
    let _db = Web::start(site.db.netns(), "db").unwrap();
    state("up");
    let before = backend(&site, "192.168.22.10").unwrap()["opened"].as_u64();
    assert_eq!(under_load(&internet, |load| load.more(10)), 0);
    assert!(backend(&site, "192.168.22.10").unwrap()["opened"].as_u64() > before);
}
