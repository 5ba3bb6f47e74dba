//! `make demo`: starts the site of the seed article in network namespaces, moves real traffic through the gateway, and says
//! what was expected and what was seen. Exits with 0 only if everything held.

use std::{path::Path, process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tidegate_tests::lab::{
    Internet, Lab, Netns, Site, Vm,
    agent::{self, Agent},
    internet,
    limit::Limit,
    probe::{Capture, iperf3, ping},
    process::Running,
    service::{Web, curl_text, nc_listen, nc_say},
    site::{self, OWN, SHARED},
    wait_for,
};

const PICTURE: &str = r#"
   vpc-1                                              vpc-2, the same addresses
     web 192.168.20.154  VNI 222  on host1              web2 192.168.20.154  VNI 300  on host2
     app 192.168.21.10   VNI 223  on host2              app2 192.168.21.10   VNI 301  on host1
     db  192.168.22.10   VNI 224  on host1
     203.0.113.93  SNAT of vpc-1; TCP 2222, 2223, 2224 to port 23 of web, app, db;
                   TCP 2300 by turns to port 23, TCP 8000 to port 80 of web, app, db;
                   5201 to web; 40 Mbit/s each way, of which UDP 5201 gets 10
     203.0.113.94  of app alone

   +---------------------+                                        +------------------------+
   | host1               |    +--------+    +---------------+     | upstream 203.0.113.1   |
   | bridge, kernel VXLAN+----+        |    |   tidegate    |     | neighbour 203.0.113.50 |
   | 10.172.11.11        |    |underlay+----+ 10.172.11.91  +-----+   |                    |
   +---------------------+    | switch | TAP| DPDK, one     | TAP | transit                |
   | host2               |    |        |    | polling worker|     |   |                    |
   | bridge, kernel VXLAN+----+        |    +---------------+     | server 192.0.2.10      |
   | 10.172.11.12        |    +--------+     203.0.113.2          +------------------------+
   +---------------------+
"#;

/// One row of the table.
struct Row {
    what: String,
    expected: String,
    seen: String,
    ok: bool,
}

/// What was seen so far.
#[derive(Default)]
struct Table(Vec<Row>);

impl Table {
    fn row(
        &mut self,
        what: impl Into<String>,
        expected: impl Into<String>,
        seen: impl Into<String>,
        ok: bool,
    ) {
        self.0.push(Row { what: what.into(), expected: expected.into(), seen: seen.into(), ok });
    }

    /// Pings and expects every answer, with this TTL.
    fn reaches(&mut self, from: &Vm, whom: &str, address: &str, ttl: u8) -> Result<()> {
        let pings = ping(from.netns(), address, "-c 3 -i 0.1")?;
        let rtt = pings.rtt_ms.map_or(String::new(), |ms| format!(", {ms:.2} ms"));
        let seen_ttl = pings.ttl.map_or("none".to_owned(), |ttl| ttl.to_string());
        self.row(
            format!("{} pings {whom} {address}", from.name()),
            format!("3 replies, TTL {ttl}"),
            format!("{} replies, TTL {seen_ttl}{rtt}", pings.received),
            pings.all_answered() && pings.ttl == Some(ttl),
        );
        Ok(())
    }

    fn print(&self) {
        let width = |of: fn(&Row) -> &str| self.0.iter().map(|row| of(row).len()).max().unwrap_or(0);
        let [what, expected, seen] = [width(|r| &r.what), width(|r| &r.expected), width(|r| &r.seen)];
        println!("\n  {:what$}  {:expected$}  {:seen$}", "what", "expected", "seen");
        println!("  {}  {}  {}  --", "-".repeat(what), "-".repeat(expected), "-".repeat(seen));
        for row in &self.0 {
            let verdict = if row.ok { "ok" } else { "NO" };
            println!("  {:what$}  {:expected$}  {:seen$}  {verdict}", row.what, row.expected, row.seen);
        }
    }
}

fn main() -> ExitCode {
    match demo() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("\nNot everything held.");
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("demo: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<bool> {
    let start = Instant::now();
    let lab = Lab::new()?;
    println!("{PICTURE}");
    let keys = agent::key_file()?;
    let mut site = Site::new(lab, &config(keys.path()))?;
    let internet = Internet::behind(&site)?;
    println!("The gateway runs in namespace {}. Its ports:\n", site.gateway.netns().name());
    println!("{}", site.gateway.show("ports")?);

    let mut table = Table::default();
    let seen = look(&mut site, &internet, &mut table);
    table.print();
    seen?;
    let held = table.0.iter().all(|row| row.ok);
    drop(site);
    println!("\n{} rows in {:.1} s.", table.0.len(), start.elapsed().as_secs_f64());
    Ok(held)
}

/// The site with a load balancer and rate limits on the shared address, and distributed routing in vpc-2.
fn config(keys: &Path) -> Value {
    let mut config = site::config_with_services();
    config["gateway"]["zsnp"] = json!({ "keys": keys });
    config["vpc_routers"][1]["distributed_routing"] = json!(true);
    let listener = |id: &str, port: u16, to: u16| {
        let backends = ["192.168.20.154", "192.168.21.10", "192.168.22.10"];
        let backends = backends.map(|address| json!({"vpc": "vpc-1", "address": address, "port": to}));
        json!({"id": id, "protocol": "tcp", "port": port, "backends": backends})
    };
    let mut web = listener("web", 8000, 80);
    web["health_check"] =
        json!({"kind": "tcp", "interval_s": 1, "timeout_s": 1, "healthy": 1, "unhealthy": 1});
    config["load_balancers"] =
        json!([{"id": "lb", "vip": "shared", "listeners": [listener("nc", 2300, 23), web]}]);
    let forwards = ["tcp", "udp"].map(|protocol| {
        json!({"id": format!("iperf-{protocol}"), "vip": "shared", "protocol": protocol, "ports": 5201, "vpc": "vpc-1",
            "address": "192.168.20.154"})
    });
    config["port_forwards"].as_array_mut().into_iter().for_each(|all| all.extend(forwards.clone()));
    config["qos"] = json!([
        {"id": "vip", "vip": "shared", "inbound": "40Mbit/s", "outbound": "40Mbit/s"},
        {"id": "udp", "vip": "shared", "port": 5201, "protocol": "udp", "inbound": "10Mbit/s"},
    ]);
    config
}

fn look(site: &mut Site, internet: &Internet, table: &mut Table) -> Result<()> {
    // The listener's checks find them at once, so that nothing waits for that later.
    let _servers = [Web::start(site.web.netns(), "web")?, Web::start(site.app.netns(), "app")?];
    let db = Web::start(site.db.netns(), "db")?;
    inside_a_vpc(site, table)?;
    between_vpcs(site, table)?;
    blackhole(site, table)?;
    direct_paths(site, table)?;
    public_addresses(site, internet, table)?;
    port_forwards(site, internet, table)?;
    messages(site, internet, table)?;
    requests(site, internet, db, table)?;
    rate_limits(site, internet, table)?;
    stream(site, table)?;
    books(site, table)?;
    println!("Its routes for vpc-1:\n\n{}", site.gateway.show("routes vpc-1")?);
    println!("Who has what of its public addresses:\n\n{}", site.gateway.show("vips")?);
    println!("Its listeners and their backends:\n\n{}", site.gateway.show("lb listeners")?);
    println!("{}", site.gateway.show("lb backends")?);
    println!("Its rate limits:\n\n{}", site.gateway.show("qos")?);
    println!("Why packets were dropped:\n\n{}", site.gateway.show("drops")?);
    ends(site, table)
}

fn inside_a_vpc(site: &Site, table: &mut Table) -> Result<()> {
    table.reaches(&site.web, "its gateway", "192.168.20.1", 64)?;
    table.reaches(&site.web, "app", site.app.address(), 63)?;
    table.reaches(&site.web, "db", site.db.address(), 63)?;
    table.reaches(&site.app, "db", site.db.address(), 63)?;
    table.reaches(&site.db, "web", site.web.address(), 63)?;
    let hop = ping(site.web.netns(), site.app.address(), "-c 1 -t 1")?;
    let errors: Vec<_> = hop.errors.iter().map(|(from, what)| format!("{what} from {from}")).collect();
    let ok = errors == ["Time to live exceeded from 192.168.20.1"];
    table.row("web pings app with TTL 1", "Time to live exceeded from 192.168.20.1", errors.join(", "), ok);
    Ok(())
}

fn between_vpcs(site: &Site, table: &mut Table) -> Result<()> {
    let dir = site.gateway.dir();
    let others = [(&site.web2, "192.168.20.1"), (&site.app2, "192.168.21.1")];
    let captures = others.map(|(vm, _)| Capture::start(vm.netns(), "eth0", "icmp", dir));
    ping(site.web.netns(), site.app.address(), "-c 3 -i 0.1")?;
    for ((vm, gateway), capture) in others.into_iter().zip(captures) {
        // What comes last proves that the capture would have shown what came before.
        let capture = capture?;
        ping(vm.netns(), gateway, "-c 1")?;
        capture.until(&format!("{gateway} > "))?;
        let heard = capture.stop()?.iter().filter(|line| !line.contains(gateway)).count();
        let what = format!("{} hears of the pings between web and app", vm.name());
        table.row(
            what,
            "nothing",
            if heard == 0 { "nothing".into() } else { format!("{heard} packets") },
            heard == 0,
        );
    }
    table.reaches(&site.web2, "app2", site.app2.address(), 63)?;
    let db = site.db.address();
    let pings = ping(site.web2.netns(), db, "-c 2 -i 0.2")?;
    let errors: Vec<_> = pings.errors.iter().map(|(_, what)| what.as_str()).collect();
    let ok =
        pings.received == 0 && errors.iter().all(|e| e.contains("Net Unreachable")) && !errors.is_empty();
    let seen = format!("{} replies, {}", pings.received, errors.first().unwrap_or(&"silence"));
    table.row(format!("web2 pings db {db}"), "0 replies, Destination Net Unreachable", seen, ok);
    Ok(())
}

/// The same ping by the gateway and, once it is worth it, from host to host: the hop that disappears.
fn direct_paths(site: &Site, table: &mut Table) -> Result<()> {
    let agents = [&site.host1, &site.host2].map(|host| Agent::start(&site.lab, host, ""));
    let [one, two] = agents;
    let (one, two) = (one?, two?);
    let direct =
        || Ok::<_, anyhow::Error>(one.counter("direct_sent_packets")? + two.counter("direct_sent_packets")?);
    let pings = |what: &str, directly: u64, table: &mut Table| -> Result<()> {
        let before = direct()?;
        let pings = ping(site.web2.netns(), site.app2.address(), "-c 10 -i 0.2")?;
        let sent = direct()? - before;
        let ttl = pings.ttl.map_or("none".to_owned(), |ttl| ttl.to_string());
        let rtt = pings.rtt_ms.map_or(String::new(), |ms| format!(", {ms:.2} ms"));
        let seen = format!("{} replies, TTL {ttl}{rtt}, {sent} directly", pings.received);
        let ok = pings.all_answered() && pings.ttl == Some(63) && sent == directly;
        table.row(what, format!("10 replies, TTL 63, {directly} directly"), seen, ok);
        Ok(())
    };
    pings("web2 pings app2 ten times, packets past the gateway", 0, table)?;
    let mut busy = site.web2.netns().command("ping");
    busy.args(["-n", "-i", "0.02", site.app2.address()]);
    let busy = Running::start(busy)?.until("bytes from")?;
    wait_for("direct paths both ways", || {
        [&one, &two].iter().all(|agent| agent.shortcuts().is_ok_and(|count| count == 1)).then_some(())
    })?;
    drop(busy);
    pings("the same once the hosts were taught", 20, table)?;
    println!("What goes direct, as the gateway knows it:\n\n{}", site.gateway.show("shortcuts")?);
    Ok(())
}

fn blackhole(site: &Site, table: &mut Table) -> Result<()> {
    let before = site.drops("blackhole")?;
    let pings = ping(site.web.netns(), "192.168.99.1", "-c 2 -i 0.2")?;
    let dropped = site.drops("blackhole")? - before;
    let seen =
        format!("{} replies, {} errors, {dropped} dropped as blackhole", pings.received, pings.errors.len());
    let ok = pings.silent() && dropped == 2;
    table.row("web pings 192.168.99.1", "0 replies, 0 errors, 2 dropped as blackhole", seen, ok);
    let routes = site.gateway.show("routes vpc-1")?;
    let line = routes.lines().find(|line| line.contains("192.168.99.0/24")).unwrap_or("no such route");
    let ok = line.contains("blackhole");
    table.row(
        "show routes vpc-1",
        "192.168.99.0/24 blackhole",
        line.split_whitespace().collect::<Vec<_>>().join(" "),
        ok,
    );
    Ok(())
}

/// Out by SNAT and by an address of a VM's own; a public address that answers for itself.
fn public_addresses(site: &Site, internet: &Internet, table: &mut Table) -> Result<()> {
    // Upstream and transit take one hop each, too.
    table.reaches(&site.web, "the server", internet::SERVER, 61)?;
    let _nginx = Web::start(&internet.server, "server")?;
    for (vm, address) in [(&site.web, SHARED), (&site.db, SHARED), (&site.app, OWN)] {
        let seen = curl_text(vm.netns(), &format!("http://{}/who", internet::SERVER))?;
        let ok = seen == address;
        table.row(format!("{} curls the server, which sees", vm.name()), address, seen, ok);
    }
    let pings = ping(&internet.server, SHARED, "-c 2 -i 0.1")?;
    let seen = format!("{} replies", pings.received);
    table.row(format!("server pings {SHARED}"), "2 replies", seen, pings.all_answered());
    Ok(())
}

/// The walk of the seed article: three VMs run `nc -l 23`, a machine on the public network says hello to each.
fn port_forwards(site: &Site, internet: &Internet, table: &mut Table) -> Result<()> {
    for (vm, port, name) in
        [(&site.web, 2222, "vpc-ins1"), (&site.app, 2223, "vpc-ins2"), (&site.db, 2224, "vpc-ins3")]
    {
        let hello = format!("hello {name}");
        let mut nc = nc_listen(vm.netns(), 23)?;
        nc_say(&internet.neighbour, SHARED, port, &hello)?;
        nc.wait()?;
        let heard = nc.text();
        let what = format!("nc {SHARED} {port}: {name} ({}) hears", vm.name());
        let ok = heard == hello;
        table.row(what, hello, heard, ok);
    }
    Ok(())
}

/// The walk of the seed article goes on: the same port of the public address for all three messages.
fn messages(site: &Site, internet: &Internet, table: &mut Table) -> Result<()> {
    let vms = [&site.web, &site.app, &site.db];
    let mut listening = Vec::new();
    for vm in vms {
        listening.push(nc_listen(vm.netns(), 23)?);
    }
    for n in 1..=3 {
        nc_say(&internet.neighbour, SHARED, 2300, &format!("hello {n}"))?;
    }
    let mut heard = Vec::new();
    for (vm, mut nc) in vms.into_iter().zip(listening) {
        nc.wait()?;
        heard.push(format!("{} {}", vm.name(), nc.text().trim_start_matches("hello ")));
    }
    let (seen, expected) = (heard.join(", "), "web 1, app 2, db 3");
    let ok = seen == expected;
    table.row(format!("nc {SHARED} 2300 three times: who hears which message"), expected, seen, ok);
    let opened = vms.map(|vm| backend(site, "nc", vm).map(|row| row["opened"].to_string()));
    let opened = opened.into_iter().collect::<Result<Vec<_>>>()?.join(", ");
    let ok = opened == "1, 1, 1";
    table.row("show lb backends: connections of web, app, db", "1, 1, 1", opened, ok);
    Ok(())
}

/// A row of `show lb backends`.
fn backend(site: &Site, listener: &str, vm: &Vm) -> Result<Value> {
    let rows = site.gateway.json("lb backends")?;
    let is = |row: &&Value| row["listener"] == json!(listener) && row["address"] == json!(vm.address());
    let row = rows.as_array().and_then(|rows| rows.iter().find(is)).cloned();
    row.with_context(|| format!("{} is a backend of {listener}", vm.name()))
}

/// Three web servers behind one address, of which that of db is killed.
fn requests(site: &Site, internet: &Internet, db: Web, table: &mut Table) -> Result<()> {
    let state = |vm: &Vm, wanted: &str| {
        wait_for(&format!("{} to be {wanted}", vm.name()), || {
            backend(site, "web", vm).ok().filter(|row| row["state"] == json!(wanted))
        })
    };
    for vm in [&site.web, &site.app, &site.db] {
        state(vm, "up")?;
    }
    let url = format!("http://{SHARED}:8000/name");
    let what = format!("six curls of {SHARED}:8000, who answers");
    let expected = "2 web, 2 app, 2 db, 0 fail";
    let seen = answers(&internet.server, &url);
    table.row(what.clone(), expected, seen.as_str(), seen == expected);
    let killed = Instant::now();
    drop(db);
    let row = state(&site.db, "down")?;
    let reason = row["reason"].as_str().unwrap_or("no reason");
    let seen = format!("down after {:.1} s: {reason}", killed.elapsed().as_secs_f64());
    table.row("nginx of db is killed, show lb backends", "down", seen, true);
    let expected = "3 web, 3 app, 0 db, 0 fail";
    let seen = answers(&internet.server, &url);
    table.row(what, expected, seen.as_str(), seen == expected);
    Ok(())
}

/// Who answered of six requests.
fn answers(client: &Netns, url: &str) -> String {
    let answers: Vec<_> = (0..6).map(|_| curl_text(client, url)).collect();
    let of = |name: &str| answers.iter().flatten().filter(|answer| *answer == name).count();
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    format!("{} web, {} app, {} db, {failed} fail", of("web"), of("app"), of("db"))
}

/// A VIP with a rate, and one of its ports with a lower one. Both are measured at the bucket, by its own clock.
fn rate_limits(site: &Site, internet: &Internet, table: &mut Table) -> Result<()> {
    let (web, server) = (site.web.netns(), &internet.server);
    let vip = Limit { id: "vip", direction: "outbound" };
    let (tcp, [first, last]) =
        vip.under_stream(site, (server, web, internet::SERVER), ("-P 4", 2), [500, 1_700])?;
    // What the burst has left may pass above the rate; more than the rate is never given out. How near TCP comes to it, on cores that
    // its ends share with the gateway, a test of the lab holds.
    let [passed, given] = [first.rate_until(&last), first.filled_until(&last)].map(|rate| rate / 1e6);
    table.row(
        "iperf3 TCP from web to the server, 40 Mbit/s by the VIP",
        "above 30 Mbit/s pass, 40 or less given out",
        format!("{passed:.1} Mbit/s pass, {given:.1} given out, {:.1} arrive", tcp.bits_per_second / 1e6),
        passed > 30.0 && given < 40.4,
    );
    let port = Limit { id: "udp", direction: "inbound" };
    let (udp, [first, last]) =
        port.under_stream(site, (web, server, SHARED), ("-u -b 5M -P 4 -l 1200", 1), [200, 850])?;
    let mbit = first.filled_until(&last) / 1e6;
    table.row(
        "iperf3 UDP 20 Mbit/s to web, 10 Mbit/s by the port",
        "9.9 to 10.1 Mbit/s given out",
        format!("{mbit:.2} Mbit/s given out, {} of {} dropped", udp.lost, udp.datagrams),
        (9.9..=10.1).contains(&mbit) && udp.lost > 0,
    );
    Ok(())
}

fn stream(site: &Site, table: &mut Table) -> Result<()> {
    let tcp = iperf3(site.web.netns(), site.app.netns(), site.web.address(), "-t 1")?;
    let (mib, mbit) = (tcp.bytes >> 20, tcp.bits_per_second / 1e6);
    table.row(
        "iperf3 TCP from app to web, 1 s",
        "more than 5 MiB",
        format!("{mib} MiB, {mbit:.0} Mbit/s"),
        mib > 5,
    );
    Ok(())
}

fn books(site: &Site, table: &mut Table) -> Result<()> {
    let b = site.books()?;
    let seen = format!("{} + {} = {} + {} + {} + {}", b.rx, b.originated, b.tx, b.drops, b.punts, b.held);
    table.row("rx + originated = tx + drops + punts + held", "both sides equal", seen, b.balance());
    Ok(())
}

fn ends(site: &mut Site, table: &mut Table) -> Result<()> {
    let ended = site.gateway.stop();
    let left: Vec<_> = site.gateway.leftovers()?;
    let ok = ended.is_ok() && left.is_empty();
    let seen = if left.is_empty() { "nothing".to_owned() } else { left.join(", ") };
    table.row("what a stopped gateway leaves behind", "nothing", seen, ok);
    Ok(())
}
