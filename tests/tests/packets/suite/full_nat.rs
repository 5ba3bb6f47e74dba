//! Full NAT: backends see the gateway's address in their network, and answer it whatever their routes say.

use std::collections::HashSet;

use tidegate_control::{compile::PROGRAM_PORTS, show::Table};

use super::{
    balance::{SORTED, VMS, config},
    *,
};

struct Site {
    gw: Gateway,
    vms: [Station; 3],
    up: Station,
}

fn full() -> String {
    config(", mode: full_nat, idle_timeout_s: 60", "")
}

fn start(text: &str) -> Site {
    started(Gateway::start(text, crate::WORKERS))
}

fn started(mut gw: Gateway) -> Site {
    let vms = VMS.map(|(net, ip, host)| gw.vm(net, ip, host));
    let up = gw.vm("public", "203.0.113.1", HOST1);
    gw.take_moved();
    Site { gw, vms, up }
}

/// A backend, by its place in [`VMS`], and our port there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct End {
    vm: usize,
    port: u16,
}

impl End {
    /// Our address in the backend's network.
    fn mask(self) -> &'static str {
        if VMS[self.vm].0 == "red-2" { "10.1.2.1" } else { "10.1.1.1" }
    }

    fn ip(self) -> &'static str {
        VMS[self.vm].1
    }
}

/// Where a frame goes, and from which port of ours.
fn end(words: &[String]) -> End {
    let [frame] = words else { panic!("{words:?}") };
    let vm = VMS.iter().position(|(_, ip, _)| frame.contains(&format!("> {ip}:"))).expect("a backend");
    let mask = End { vm, port: 0 }.mask();
    let from = frame.split(&format!("{mask}:")).nth(1).unwrap_or_else(|| panic!("{frame}"));
    End { vm, port: from.split(' ').next().unwrap().parse().unwrap() }
}

impl Site {
    fn sends(&mut self, packet: &str) -> End {
        end(&self.gw.from(&self.up, packet).words())
    }

    /// Opens a connection, answers and acknowledges.
    fn establish(&mut self, client: &str, port: u16) -> End {
        let end = self.sends(&format!("tcp {client}:{port} > 203.0.113.93:80 S"));
        self.gw
            .from(
                &self.vms[end.vm],
                &format!("tcp {}:8080 > {}:{} SA ttl=64", end.ip(), end.mask(), end.port),
            )
            .to(&self.up, &format!("tcp 203.0.113.93:80 > {client}:{port} SA ttl=63"));
        self.goes_on(client, port, end);
        end
    }

    /// Packets of an open connection, both ways.
    fn goes_on(&mut self, client: &str, port: u16, end: End) {
        let (ip, mask, ours) = (end.ip(), end.mask(), end.port);
        self.gw
            .from(&self.up, &format!("tcp {client}:{port} > 203.0.113.93:80 A len=9 ttl=64"))
            .to(&self.vms[end.vm], &format!("tcp {mask}:{ours} > {ip}:8080 A len=9 ttl=63"));
        self.gw
            .from(&self.vms[end.vm], &format!("tcp {ip}:8080 > {mask}:{ours} A len=7 ttl=64"))
            .to(&self.up, &format!("tcp 203.0.113.93:80 > {client}:{port} A len=7 ttl=63"));
    }
}

#[test]
fn backends_see_the_gateway_and_clients_the_listener() {
    let mut site = start(&full());
    let ends: Vec<End> = (5000..5003).map(|port| site.establish("9.9.9.9", port)).collect();
    let reached: Vec<_> = ends.iter().map(|end| end.ip()).collect();
    assert_eq!(reached, SORTED, "each in turn");
    assert!(ends.iter().all(|end| (1024..PROGRAM_PORTS).contains(&end.port)), "{ends:?}");
    // As many sessions as connections, and no packet is decided twice.
    site.gw.take_moved();
    site.goes_on("9.9.9.9", 5000, ends[0]);
    site.gw.moved(["flow_hit 4"]);
    assert_eq!(site.gw.connections("web"), [1, 1, 1]);
    let usage = &site.gw.listener("web").usage.usage;
    assert_eq!((usage.live(), usage.opened()), (3, 3));
    // UDP.
    let end = site.sends("udp 9.9.9.9:7 > 203.0.113.93:53");
    let answer = format!("udp {}:5353 > {}:{} ttl=64", end.ip(), end.mask(), end.port);
    site.gw.from(&site.vms[end.vm], &answer).to(&site.up, "udp 203.0.113.93:53 > 9.9.9.9:7 ttl=63");
}

#[test]
fn clients_with_one_port_do_not_meet_at_a_backend() {
    let mut site = start(&full());
    let clients: Vec<String> = (1..=90).map(|n| format!("9.9.{}.{n}", n % 7)).collect();
    let ends: Vec<End> = clients.iter().map(|client| site.establish(client, 5000)).collect();
    assert_eq!(ends.iter().collect::<HashSet<_>>().len(), clients.len());
    for (client, end) in clients.iter().zip(&ends) {
        site.goes_on(client, 5000, *end);
    }
    // Every connection is shown, and what stands for its client.
    for (clients, service) in [("remote=9.9.0.0/16", "listener"), ("inside=9.9.0.0/16", "full_nat")] {
        let rows = site.gw.shown(Table::NatSessions, &[clients]);
        assert_eq!(rows.iter().filter(|row| row.contains(service)).count(), 90, "{}", rows[0]);
    }
}

#[test]
fn what_the_namespace_talks_with_a_backend_stays_its_own() {
    let mut site = start(&full());
    let end = site.establish("9.9.9.9", 5000);
    let (mask, ip) = (end.mask(), end.ip());
    site.gw.take_moved();
    // A probe, from where programs take their ports.
    let probe = format!("tcp {mask}:{PROGRAM_PORTS} > {ip}:8080 S");
    site.gw.inject("red", &probe).to(&site.vms[end.vm], &probe);
    let answer = format!("tcp {ip}:8080 > {mask}:{PROGRAM_PORTS} SA");
    site.gw.from(&site.vms[end.vm], &answer).nothing();
    site.gw.delivers("red", &answer);
    // Also what nobody asked for, errors about the namespace's packets, and datagrams in fragments.
    for packet in [
        format!("udp {ip}:5353 > {mask}:{}", end.port),
        format!("icmp no-port {ip} > {mask} | udp {mask}:40000 > {ip}:53"),
        format!("udp {ip}:5353 > {mask}:40000 mf ipid=9 len=1400"),
        format!("ip {ip} > {mask} proto=17 ipid=9 off=1408 len=30"),
    ] {
        site.gw.from(&site.vms[end.vm], &packet).nothing();
        site.gw.delivers("red", &packet);
    }
    site.goes_on("9.9.9.9", 5000, end);
}

#[test]
fn errors_and_fragments_of_both_directions_are_translated_twice() {
    let mut site = start(&full());
    let end = site.establish("9.9.9.9", 5000);
    let (mask, ip, ours) = (end.mask(), end.ip(), end.port);
    // From a router on the way to the client, which the backend could not answer.
    let about = "tcp 203.0.113.93:80 > 9.9.9.9:5000 A";
    let error = format!("icmp frag-needed 5.5.5.5 > 203.0.113.93 mtu=1300 ttl=64 | {about}");
    let there = format!("icmp frag-needed {mask} > {ip} mtu=1300 ttl=63 | tcp {ip}:8080 > {mask}:{ours} A");
    site.gw.from(&site.up, &error).to(&site.vms[end.vm], &there);
    // From the backend.
    let udp = site.sends("udp 9.9.9.9:7 > 203.0.113.93:53");
    let (mask, ip, ours) = (udp.mask(), udp.ip(), udp.port);
    site.gw
        .from(
            &site.vms[udp.vm],
            &format!("icmp no-port {ip} > {mask} ttl=64 | udp {mask}:{ours} > {ip}:5353"),
        )
        .to(&site.up, "icmp no-port 203.0.113.93 > 9.9.9.9 ttl=63 | udp 9.9.9.9:7 > 203.0.113.93:53");
    // Datagrams in fragments, also out of order.
    site.gw
        .from(&site.up, "udp 9.9.9.9:7 > 203.0.113.93:53 mf ipid=3 len=1400")
        .to(&site.vms[udp.vm], &format!("udp {mask}:{ours} > {ip}:5353 mf ipid=3 len=1400"));
    site.gw
        .from(&site.up, "ip 9.9.9.9 > 203.0.113.93 proto=17 ipid=3 off=1408 len=30")
        .to(&site.vms[udp.vm], &format!("ip {mask} > {ip} proto=17 ipid=3 off=1408 len=30"));
    site.gw.from(&site.vms[udp.vm], &format!("ip {ip} > {mask} proto=17 ipid=4 off=1408 len=30")).nothing();
    site.gw
        .from(&site.vms[udp.vm], &format!("udp {ip}:5353 > {mask}:{ours} mf ipid=4 len=1400"))
        .to(&site.up, "udp 203.0.113.93:53 > 9.9.9.9:7 mf ipid=4 len=1400");
    site.gw.pass(10).to(&site.up, "ip 203.0.113.93 > 9.9.9.9 proto=17 ipid=4 off=1408 len=30");
}

#[test]
fn what_does_not_fit_is_said_to_who_sent_it() {
    let narrow = full().replace("address: 203.0.113.2 }", "address: 203.0.113.2, mtu: 1300 }");
    let mut site = start(&narrow);
    let end = site.establish("9.9.9.9", 5000);
    let (mask, ip, ours) = (end.mask(), end.ip(), end.port);
    let sent = format!("tcp {ip}:8080 > {mask}:{ours} A len=1400 df");
    let words = site.gw.from(&site.vms[end.vm], &sent).words();
    assert!(
        matches!(&words[..], [frame] if frame.contains(&format!("icmp frag-needed {mask} > {ip} mtu=1300"))
            && frame.contains(&format!("tcp {ip}:8080 > {mask}:{ours}"))),
        "{words:?}"
    );
    // And of a client's that is too large for the backend's network.
    let mut site = start(&full());
    let end = site.establish("9.9.9.9", 5000);
    let words = site.gw.from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 A len=1450 df").words();
    assert!(
        matches!(&words[..], [frame] if frame.contains("> 9.9.9.9 mtu=1450")
            && frame.contains("tcp 9.9.9.9:5000 > 203.0.113.93:80")),
        "{words:?}"
    );
    site.goes_on("9.9.9.9", 5000, end);
}

#[test]
fn a_vm_of_the_vpc_reaches_such_a_listener_too() {
    let mut site = start(&full());
    for port in 5000..5003 {
        let syn = format!("tcp 10.1.1.7:{port} > 203.0.113.93:80 S");
        let mut words = site.gw.from(&site.vms[0], &syn).words();
        if words.is_empty() {
            // The first one waits a moment for ports of the VIP.
            words = site.gw.pass(10).words();
        }
        let end = end(&words);
        site.gw
            .from(&site.vms[end.vm], &format!("tcp {}:8080 > {}:{} SA", end.ip(), end.mask(), end.port))
            .to(&site.vms[0], &format!("tcp 203.0.113.93:80 > 10.1.1.7:{port} SA ttl=62"));
    }
    assert_eq!(site.gw.connections("web"), [1, 1, 1]);
}

#[test]
fn without_a_port_left_new_connections_are_dropped_by_name_and_ports_come_back() {
    let text = full().replace("limits: { flows: 4096", "limits: { nat_blocks: 64, flows: 32768");
    let mut site = start(&text);
    let open = |site: &mut Site, client: &str, port: u16| {
        let words = site.gw.from(&site.up, &format!("tcp {client}:{port} > 203.0.113.93:80 S")).words();
        words.iter().any(|frame| frame.contains("> 10.1."))
    };
    let opened = (5000..9500).filter(|port| open(&mut site, "9.9.9.9", *port)).count();
    assert_eq!(opened, 64 * 64);
    assert_eq!(site.gw.take_moved()["ports_exhausted"], 4500 - 64 * 64);
    assert_eq!(site.gw.connections("web").into_iter().sum::<u32>(), 64 * 64);
    assert_eq!(site.gw.nat_usage().blocks, 64);
    site.gw.pass(130_000).ignore();
    assert_eq!((site.gw.connections("web"), site.gw.nat_usage().blocks), (vec![0; 3], 0));
    assert_eq!(site.gw.flows(), 0);
    assert!(open(&mut site, "9.9.9.8", 5000));
}

#[test]
fn a_connection_that_ends_frees_its_port_and_a_new_one_begins() {
    let mut site = start(&full());
    let end = site.establish("9.9.9.9", 5000);
    assert_eq!(end.ip(), SORTED[0]);
    site.gw.from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 FA").ignore();
    let fin = format!("tcp {}:8080 > {}:{} FA", end.ip(), end.mask(), end.port);
    site.gw.from(&site.vms[end.vm], &fin).ignore();
    let next = site.establish("9.9.9.9", 5000);
    assert_eq!(next.ip(), SORTED[1]);
    assert_eq!((site.gw.connections("web"), site.gw.nat_usage().blocks), (vec![0, 1, 0], 1));
    // What the old backend says is nobody's.
    site.gw.take_moved();
    site.gw.from(&site.vms[end.vm], &format!("{fin} ttl=9")).nothing();
    site.gw.delivers("red", &format!("{} AF ttl=9", fin.trim_end_matches(" FA")));
    site.goes_on("9.9.9.9", 5000, next);
    // Nothing stays.
    site.gw.pass(130_000).ignore();
    assert_eq!((site.gw.flows(), site.gw.nat_usage().blocks), (0, 0));
}

#[test]
fn reloads_disturb_nobody_until_the_mode_changes() {
    let mut site = start(&full());
    let ends: Vec<End> = (5000..5003).map(|port| site.establish("9.9.9.9", port)).collect();
    for change in [
        full().replace("port: 8080 }", "port: 8080, weight: 7 }"),
        full().replace("id: red }", "id: red, flow_tracking: true }"),
        format!("{}qos:\n  - {{ id: q, vip: shared, inbound: 100Mbit/s }}\n", full()),
        full(),
    ] {
        site.gw.reload(&change).ignore();
        for (port, end) in (5000..).zip(&ends) {
            site.goes_on("9.9.9.9", port, *end);
        }
    }
    site.gw.reload(&full().replace("mode: full_nat, ", "")).ignore();
    site.gw
        .from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 A seq=7 ack=9")
        .to(&site.up, "tcp 203.0.113.93:80 > 9.9.9.9:5000 R seq=9 df");
    assert_eq!(site.gw.connections("web"), [0, 1, 1]);
    site.gw.pass(130_000).ignore();
    assert_eq!((site.gw.flows(), site.gw.nat_usage().blocks), (0, 0));
}

#[test]
fn connections_survive_a_crash_with_their_ports() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("flows");
    let mut site = started(Gateway::start_in(&file, &full(), crate::WORKERS));
    let ends: Vec<End> = (5000..5010).map(|port| site.establish("9.9.9.9", port)).collect();
    let (gw, recovery) = site.gw.crash(&file, &full(), 1_000);
    site.gw = gw;
    assert_eq!((recovery.sessions, recovery.refused, recovery.halves), (20, 0, 0));
    site.gw.pass(3_000).ignore();
    for (net, ip, host) in VMS {
        site.gw.vm(net, ip, host);
    }
    for (port, end) in (5000..).zip(&ends) {
        site.goes_on("9.9.9.9", port, *end);
    }
    assert_eq!(site.gw.listener("web").usage.usage.live(), 10);
    // New ones get other ports.
    let new: Vec<End> = (6000..6060).map(|port| site.establish("9.9.9.9", port)).collect();
    assert!(new.iter().all(|end| !ends.contains(end)));
    site.gw.pass(130_000).ignore();
    assert_eq!((site.gw.flows(), site.gw.nat_usage().blocks), (0, 0));
}

#[test]
fn the_log_says_for_whom_a_port_stood() {
    let text =
        full().replacen("gateway:\n", "gateway:\n  nat_log: { file: /tmp/unused, sessions: true }\n", 1);
    let mut site = start(&text);
    let end = site.establish("9.9.9.9", 5000);
    let said = site.gw.logged();
    let port = end.port;
    let masked = format!("session_opened red null tcp 9.9.9.9 5000 10.1.1.1 {port} 10.1.1.7 8080 full_nat");
    let listened = "session_opened red shared tcp 10.1.1.7 8080 203.0.113.93 80 9.9.9.9 5000 listener";
    let block = format!("block_leased red null tcp 10.1.1.7 10.1.1.1 {}", port & !63);
    assert_eq!(said, [block, masked, listened.to_owned()]);
}
