//! Public addresses with the programs that people use.

use std::{os::unix::fs::PermissionsExt, thread};

use serde_json::{Value, json};
use tidegate_tests::lab::{
    Internet, Netns, Site,
    internet::SERVER,
    probe::ping,
    service::{Web, curl, curl_text, dig, dns_server, ftp_server, nc_listen, nc_say, numbered},
    site::{OWN, SHARED, config_with_services},
    stream::Datagrams,
    wait_for,
};

/// The site with services on public addresses, and the internet behind it.
pub(crate) fn site() -> Option<(Internet, Site)> {
    site_on(json!([1]))
}

/// The same with workers on these lcores.
fn site_on(workers: Value) -> Option<(Internet, Site)> {
    let site = super::site_with(|config| {
        *config = config_with_services();
        config["gateway"]["workers"] = workers;
    })?;
    Some((Internet::behind(&site).unwrap(), site))
}

/// Runs `run` with each at the same time; says which it was when it fails.
fn at_once<T: Send>(
    all: impl IntoIterator<Item = (&'static str, T)>,
    run: impl Fn(T) -> anyhow::Result<()> + Sync,
) {
    let run = &run;
    thread::scope(|scope| {
        let started = all.into_iter().map(|(what, one)| (what, scope.spawn(move || run(one))));
        for (what, thread) in started.collect::<Vec<_>>() {
            thread.join().unwrap().unwrap_or_else(|why| panic!("{what}: {why:#}"));
        }
    });
}

/// Downloads a file and compares.
fn download(from: &Netns, host: &str, content: &[u8]) -> anyhow::Result<()> {
    let got = curl(from, &format!("http://{host}/file"), "")?;
    anyhow::ensure!(got == content, "{} of {} bytes, or other ones", got.len(), content.len());
    Ok(())
}

#[test]
fn curl_goes_by_snat_forward_and_own_address_all_at_once() {
    let Some((internet, site)) = site() else { return };
    all_at_once(&internet, &site);
}

#[test]
fn two_workers_translate_the_same_connections() {
    let Some((internet, site)) = site_on(json!([0, 1])) else { return };
    all_at_once(&internet, &site);
    let workers = site.gateway.json("workers").unwrap();
    let busy = |worker: &Value| worker["books"]["rx"].as_u64().is_some_and(|rx| rx > 0);
    assert!(workers.as_array().unwrap().iter().all(busy), "{workers}");
}

fn all_at_once(internet: &Internet, site: &Site) {
    let (web, app, db, server) = (site.web.netns(), site.app.netns(), site.db.netns(), &internet.server);
    let content = numbered(3 << 20);
    let _servers = [(server, "server"), (web, "web"), (app, "app")].map(|(netns, name)| {
        let nginx = Web::start(netns, name).unwrap();
        nginx.offer("file", &content).unwrap();
        nginx
    });
    let ask = |from, what: &str| curl_text(from, &format!("http://{what}")).unwrap();
    assert_eq!(ask(web, "192.0.2.10/who"), SHARED);
    assert_eq!(ask(db, "192.0.2.10/who"), SHARED);
    assert_eq!(ask(app, "192.0.2.10/who"), OWN);
    for outside in [server, &internet.neighbour] {
        assert_eq!(ask(outside, "203.0.113.93:8080/name"), "web");
        assert_eq!(ask(outside, "203.0.113.94/name"), "app");
    }
    assert_eq!(ask(server, "203.0.113.93:8080/who"), SERVER, "a forward keeps who asks");

    let forward = format!("{SHARED}:8080");
    at_once(
        [
            ("web by SNAT", (web, SERVER)),
            ("db by SNAT", (db, SERVER)),
            ("app by its own address", (app, SERVER)),
            ("in by the own address", (server, OWN)),
            ("in by the forward", (server, &forward)),
            ("neighbour in by the forward", (&internet.neighbour, &forward)),
        ],
        |(from, host)| download(from, host, &content),
    );
    assert!(site.books().unwrap().balance());
    assert_eq!(site.drops("no_session").unwrap() + site.drops("not_translated").unwrap(), 0);
}

#[test]
fn dig_and_ping_work_through_snat_and_a_public_address_answers_ping() {
    let Some((internet, site)) = site() else { return };
    let _dns = dns_server(&internet.server, "www.example.com", SERVER).unwrap();
    for vm in [&site.web, &site.app, &site.db] {
        for transport in ["+notcp", "+tcp"] {
            let found = dig(vm.netns(), SERVER, "www.example.com", transport).unwrap();
            assert_eq!(found, SERVER, "{} {transport}", vm.name());
        }
    }
    // The same identifier from each VM. The gateway, upstream and transit take one each of the 64 hops.
    at_once([("web", &site.web), ("app", &site.app), ("db", &site.db)], |vm| {
        let pings = ping(vm.netns(), SERVER, "-e 77 -c 20 -i 0.05")?;
        anyhow::ensure!(pings.all_answered() && pings.ttl == Some(61), "{}", pings.text);
        Ok(())
    });
    for from in [&internet.server, &internet.neighbour, site.web.netns(), site.app.netns()] {
        let pings = ping(from, SHARED, "-c 3 -i 0.05").unwrap();
        assert!(pings.all_answered(), "{}", pings.text);
    }
    let own = ping(&internet.neighbour, OWN, "-c 3 -i 0.05").unwrap();
    assert!(own.all_answered() && own.ttl == Some(63), "app itself answers: {}", own.text);
    assert!(site.books().unwrap().balance());
}

/// Part three of the seed article: three VMs of one network run `nc -l 23`; a machine on the public network runs `nc` to
/// ports 2222, 2223 and 2224 of the public address.
#[test]
fn three_forwards_lead_to_port_23_of_three_vms() {
    let vms = [(2222, "192.168.20.154"), (2223, "192.168.20.182"), (2224, "192.168.20.236")];
    let Some(site) = super::site_with(|config| {
        *config = config_with_services();
        for (n, (_, address)) in vms.iter().enumerate() {
            config["port_forwards"][n]["address"] = json!(address);
        }
    }) else {
        return;
    };
    let internet = Internet::behind(&site).unwrap();
    let vm = |host: &tidegate_tests::lab::ComputeHost, name: &str, address: &str| {
        host.vm(&site.lab, name, 222, &format!("{address}/24"), "192.168.20.1", 1450).unwrap()
    };
    let (second, third) = (vm(&site.host1, "port2", vms[1].1), vm(&site.host2, "port3", vms[2].1));
    let listening = [&site.web, &second, &third].map(|vm| nc_listen(vm.netns(), 23).unwrap());
    for (n, (port, _)) in vms.iter().enumerate() {
        nc_say(&internet.neighbour, SHARED, *port, &format!("hello vpc-port-test{}", n + 1)).unwrap();
    }
    for (n, mut nc) in listening.into_iter().enumerate() {
        assert!(nc.wait().unwrap().success());
        let heard: Vec<_> = nc.output_lines().into_iter().filter(|line| line.starts_with("hello")).collect();
        assert_eq!(heard, [format!("hello vpc-port-test{}", n + 1)]);
    }
}

#[test]
fn vms_reach_public_addresses_of_their_own_vpc_themselves_included() {
    let Some((_internet, site)) = site() else { return };
    let (web, app, db) = (site.web.netns(), site.app.netns(), site.db.netns());
    let content = numbered(1 << 20);
    let _servers = [(web, "web"), (app, "app")].map(|(netns, name)| {
        let nginx = Web::start(netns, name).unwrap();
        nginx.offer("file", &content).unwrap();
        nginx
    });
    let forward = format!("{SHARED}:8080");
    for (from, host, name, seen_as) in [
        (db, forward.as_str(), "web", SHARED),
        (web, &forward, "web", SHARED),
        (app, &forward, "web", OWN),
        (web, OWN, "app", SHARED),
        (app, OWN, "app", OWN),
    ] {
        assert_eq!(curl_text(from, &format!("http://{host}/name")).unwrap(), name);
        assert_eq!(curl_text(from, &format!("http://{host}/who")).unwrap(), seen_as, "{host}");
        download(from, host, &content).unwrap();
    }
    assert!(site.books().unwrap().balance());
}

#[test]
fn a_forward_that_is_removed_ends_and_nothing_else_notices() {
    let Some((internet, site)) = site() else { return };
    let (web, server) = (site.web.netns(), &internet.server);
    let content = numbered(2 << 20);
    let _servers = [(server, "server"), (web, "web")].map(|(netns, name)| {
        let nginx = Web::start(netns, name).unwrap();
        nginx.offer("file", &content).unwrap();
        nginx
    });
    // While the gateway asks for a VM, only few packets may wait for it.
    assert!(ping(web, SERVER, "-c 2 -i 0.1").unwrap().all_answered());
    let datagrams = Datagrams::start(server, web, SHARED, 500).unwrap();
    thread::scope(|scope| {
        let slow = |from, host: &str, bytes_per_second: u32, name: &str| {
            let (url, path) = (format!("http://{host}/file"), site.gateway.dir().join(name));
            let limits = format!("--limit-rate {bytes_per_second} --speed-limit 1 --speed-time 3");
            let options = format!("{limits} -o {}", path.display());
            let running = scope.spawn(move || curl(from, &url, &options));
            wait_for("the download to begin", || (path.metadata().ok()?.len() > 0).then_some(())).unwrap();
            (running, path)
        };
        // The first would take far longer than the test.
        let (removed, _) = slow(server, "203.0.113.93:8080", 50_000, "removed");
        let (kept, path) = slow(web, SERVER, 700_000, "kept");
        let mut config = config_with_services();
        config["port_forwards"].as_array_mut().unwrap().retain(|forward| forward["id"] != "http");
        site.gateway.reload(&config.to_string()).unwrap();
        let why = removed.join().unwrap().unwrap_err().to_string();
        assert!(why.contains("exit status: 28"), "it stalls: {why}");
        kept.join().unwrap().unwrap();
        assert!(std::fs::read(path).unwrap() == content);
    });
    let count = datagrams.stop().unwrap();
    let lost = || site.gateway.show("drops").unwrap();
    assert!(count.sent > 500 && count.received == count.sent, "{count:?}\n{}", lost());
    let gone = curl_text(server, "http://203.0.113.93:8080/name").unwrap_err().to_string();
    assert!(gone.contains("exit status: 28"), "{gone}");
    assert!(site.books().unwrap().balance());
}

/// There is no helper for FTP: who asks to be called back names an address that nobody outside reaches.
#[test]
fn ftp_works_in_passive_mode_and_not_in_active_mode() {
    let Some((internet, site)) = site() else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o555)).unwrap();
    let content = numbered(1 << 20);
    std::fs::write(dir.path().join("file"), &content).unwrap();
    let _ftp = ftp_server(&internet.server, dir.path()).unwrap();
    let url = format!("ftp://{SERVER}/file");
    for vm in [&site.web, &site.app] {
        for passive in ["--disable-epsv", "--ftp-pasv"] {
            assert!(curl(vm.netns(), &url, passive).unwrap() == content, "{} {passive}", vm.name());
        }
        for active in ["--ftp-port - --disable-eprt", "--ftp-port -"] {
            let why = curl(vm.netns(), &url, active).unwrap_err().to_string();
            assert!(why.contains("exit status: 30"), "{} {active}: {why}", vm.name());
        }
    }
}
