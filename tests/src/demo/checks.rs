//! What is tried among the hosts of the site, and what must come of it.

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Table;
use crate::lab::{
    Internet, Netns, Site, Vm,
    agent::Agent,
    internet,
    limit::Limit,
    probe::{Capture, iperf3, ping},
    process::Running,
    service::{Web, curl_text, nc_listen, nc_say},
    site::{OWN, SHARED},
    wait_for,
};

/// Tries everything. The gateway is stopped in the end.
///
/// # Errors
/// What could not be tried. What did not come as it must is in the table.
pub fn look(site: &mut Site, internet: &Internet, table: &mut Table) -> Result<()> {
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

/// The id of the limit of this rate: whoever brought the site up may have named it otherwise.
fn limit_of(site: &Site, mbit: u64) -> Result<String> {
    let rows = site.gateway.json("qos")?;
    let row = rows.as_array().and_then(|rows| rows.iter().find(|row| row["rate"] == json!(mbit * 1_000_000)));
    let id = row.and_then(|row| row["id"].as_str()).map(str::to_owned);
    id.with_context(|| format!("there is a limit of {mbit} Mbit/s"))
}

/// A VIP with a rate, and one of its ports with a lower one. Both are measured at the bucket, by its own clock.
fn rate_limits(site: &Site, internet: &Internet, table: &mut Table) -> Result<()> {
    let (web, server) = (site.web.netns(), &internet.server);
    let [vip, port] = [40, 10].map(|mbit| limit_of(site, mbit));
    let (vip, port) = (vip?, port?);
    let vip = Limit { id: &vip, direction: "outbound" };
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
    let port = Limit { id: &port, direction: "inbound" };
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
