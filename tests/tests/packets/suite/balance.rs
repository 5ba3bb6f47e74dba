//! Load balancing: who gets a new connection, and that nobody loses one.

use std::collections::BTreeMap;

use super::{nat::services, *};

/// Three VMs of `red`, each in a network of its own.
pub(super) const VMS: [(&str, &str, &str); 3] =
    [("red-1", "10.1.1.7", HOST1), ("red-2", "10.1.2.9", HOST2), ("red-1", "10.1.1.8", HOST2)];

/// The addresses as they are sorted.
pub(super) const SORTED: [&str; 3] = ["10.1.1.7", "10.1.1.8", "10.1.2.9"];

/// A site with one listener on TCP 80 and one on UDP 53, for the VMs' ports 8080 and 5353.
pub(super) fn config(web: &str, backend: &str) -> String {
    let backends = |port: u16| {
        let each = SORTED.map(|ip| format!("{{ vpc: red, address: {ip}, port: {port}{backend} }}"));
        each.join(", ")
    };
    services(&format!(
        "
vips:
  - {{ id: shared, public_network: public, address: 203.0.113.93 }}
load_balancers:
  - id: lb
    vip: shared
    listeners:
      - {{ id: web, protocol: tcp, port: 80{web}, backends: [{}] }}
      - {{ id: dns, protocol: udp, port: 53{web}, backends: [{}] }}
",
        backends(8080),
        backends(5353)
    ))
}

pub(super) struct Site {
    pub(super) gw: Gateway,
    pub(super) vms: [Station; 3],
    pub(super) up: Station,
}

pub(super) fn start(config: &str) -> Site {
    let mut gw = Gateway::start(config, crate::WORKERS);
    let vms = VMS.map(|(net, ip, host)| gw.vm(net, ip, host));
    let up = gw.vm("public", "203.0.113.1", HOST1);
    gw.take_moved();
    Site { gw, vms, up }
}

impl Site {
    pub(super) fn with(web: &str) -> Site {
        start(&config(web, ""))
    }

    /// Sends a packet from outside; the VM that it reached.
    pub(super) fn reaches(&mut self, packet: &str) -> Option<&'static str> {
        let words = self.gw.from(&self.up, packet).words();
        let [frame] = &words[..] else {
            assert!(words.is_empty(), "{packet}: {words:?}");
            return None;
        };
        SORTED.into_iter().find(|ip| frame.contains(&format!("> {ip}:")))
    }

    /// Opens a TCP connection from a client and port.
    pub(super) fn connect(&mut self, client: &str, port: u16) -> Option<&'static str> {
        self.reaches(&format!("tcp {client}:{port} > 203.0.113.93:80 S"))
    }

    /// Opens one, answers and acknowledges.
    pub(super) fn establish(&mut self, port: u16) -> &'static str {
        let vm = self.connect("9.9.9.9", port).expect("it goes to a VM");
        let at = VMS.iter().position(|(_, ip, _)| *ip == vm).unwrap();
        self.gw
            .from(&self.vms[at], &format!("tcp {vm}:8080 > 9.9.9.9:{port} SA ttl=64"))
            .to(&self.up, &format!("tcp 203.0.113.93:80 > 9.9.9.9:{port} SA ttl=63"));
        assert_eq!(self.goes_on(port), Some(vm));
        vm
    }

    /// A packet of an open connection.
    pub(super) fn goes_on(&mut self, port: u16) -> Option<&'static str> {
        self.reaches(&format!("tcp 9.9.9.9:{port} > 203.0.113.93:80 A"))
    }

    /// How many of many new connections each VM gets.
    pub(super) fn shares(&mut self, ports: std::ops::Range<u16>) -> BTreeMap<&'static str, usize> {
        let mut shares = BTreeMap::new();
        for port in ports {
            if let Some(vm) = self.connect("9.9.9.9", port) {
                *shares.entry(vm).or_default() += 1;
            }
        }
        shares
    }
}

#[test]
fn three_messages_land_one_on_each_of_three_vms_and_stay() {
    let mut site = Site::with("");
    let reached: Vec<_> = (5000..5003).map(|port| site.establish(port)).collect();
    assert_eq!(reached, SORTED);
    site.gw.take_moved();
    for (port, vm) in (5000..5003).zip(SORTED) {
        assert_eq!(site.goes_on(port), Some(vm));
    }
    site.gw.moved(["flow_hit 3"]);
    assert_eq!(site.gw.connections("web"), [1, 1, 1]);
    // UDP has turns of its own.
    for (port, vm) in (6000..6006).zip(SORTED.iter().cycle()) {
        let packet = format!("udp 9.9.9.9:{port} > 203.0.113.93:53");
        assert_eq!((site.reaches(&packet), site.reaches(&packet)), (Some(*vm), Some(*vm)));
    }
    // Other ports of the VIP are nobody's.
    assert_eq!(site.reaches("tcp 9.9.9.9:7 > 203.0.113.93:81 S"), None);
    assert_eq!(site.reaches("udp 9.9.9.9:7 > 203.0.113.93:80"), None);
}

#[test]
fn turns_are_exactly_fair_whichever_worker_gets_a_connection() {
    let mut site = Site::with("");
    // Clients and ports that RSS deals out.
    let clients = (0..300).map(|n| (format!("9.9.{}.{}", n % 7, n % 200 + 1), 5000 + n));
    let mut shares = BTreeMap::new();
    for (client, port) in clients {
        *shares.entry(site.connect(&client, port).unwrap()).or_insert(0) += 1;
    }
    assert_eq!(shares.into_values().collect::<Vec<_>>(), [100, 100, 100]);
}

#[test]
fn a_packet_that_waits_keeps_its_turn() {
    let mut gw = Gateway::start(&config("", ""), crate::WORKERS);
    let up = gw.vm("public", "203.0.113.1", HOST1);
    let vms = VMS.map(|(net, ip, host)| gw.stranger(net, ip, Some(host)));
    // Nobody has been heard of, and a client sends twice.
    for port in 5000..5006 {
        let syn = format!("tcp 9.9.9.9:{port} > 203.0.113.93:80 S");
        gw.burst(&up, &[&syn, &syn]).ignore();
    }
    for vm in &vms {
        gw.wake(vm);
    }
    gw.pass(3_000).ignore();
    assert_eq!(gw.connections("web"), [2, 2, 2]);
}

#[test]
fn weights_and_counts_of_connections_say_who_is_next() {
    let text = config(", algorithm: weightroundrobin", "");
    let mut site = start(&text.replacen("port: 8080 }", "port: 8080, weight: 200 }", 1));
    assert_eq!(site.shares(5000..5040).into_values().collect::<Vec<_>>(), [20, 10, 10]);

    let mut site = Site::with(", algorithm: leastconn");
    assert_eq!(site.shares(5000..5030).into_values().collect::<Vec<_>>(), [10, 10, 10]);
    // Those of one VM end by their timeout, so it gets the next ones.
    let text = config(", algorithm: leastconn", "").replacen("port: 8080 }", "port: 8080, weight: 0 }", 1);
    site.gw.reload(&text).ignore();
    assert_eq!(site.shares(6000..6010).into_values().collect::<Vec<_>>(), [5, 5]);
    site.gw.reload(&config(", algorithm: leastconn", "")).ignore();
    assert_eq!(site.shares(7000..7005), BTreeMap::from([(SORTED[0], 5)]));
}

#[test]
fn a_source_stays_with_its_backend_and_few_move_when_one_goes() {
    let mut site = Site::with(", algorithm: source");
    let clients: Vec<String> = (1..=200).map(|n| format!("9.9.{}.{n}", n % 5)).collect();
    let mut of = Vec::new();
    for client in &clients {
        let vm = site.connect(client, 5000).unwrap();
        assert_eq!(site.connect(client, 5001), Some(vm));
        of.push(vm);
    }
    assert!(SORTED.iter().all(|vm| of.iter().filter(|other| *other == vm).count() > 40), "{of:?}");
    site.gw.health("web", SORTED[1], false).ignore();
    let mut moved = 0;
    for (client, before) in clients.iter().zip(&of) {
        let now = site.connect(client, 6000).unwrap();
        assert_ne!(now, SORTED[1]);
        moved += usize::from(*before != SORTED[1] && now != *before);
    }
    assert!(moved <= 8, "{moved} of 200 moved");
    // By addresses and ports, connections of one client spread.
    let mut site = Site::with(", algorithm: consistent");
    assert!(site.shares(5000..5090).into_values().all(|share| share > 15));
    // What another gateway began goes to the same backend here.
    let vm = site.connect("9.9.9.9", 7000).unwrap();
    let mut other = Site::with(", algorithm: consistent");
    assert_eq!(other.goes_on(7000), Some(vm));
}

#[test]
fn a_dead_backend_gets_nothing_new_and_keeps_what_it_has() {
    let mut site = Site::with("");
    for (port, vm) in (5000..5003).zip(SORTED) {
        assert_eq!(site.establish(port), vm);
    }
    site.gw.take_moved();
    site.gw.health("web", SORTED[0], false).ignore();
    assert_eq!(site.goes_on(5000), Some(SORTED[0]));
    site.gw.moved(["flow_hit"]);
    let shares = site.shares(6000..6010);
    assert_eq!(shares, BTreeMap::from([(SORTED[1], 5), (SORTED[2], 5)]));
    // A client that begins anew on the same ports is not given to the dead one again.
    assert_ne!(site.connect("9.9.9.9", 5000), Some(SORTED[0]));
    site.gw.health("web", SORTED[0], true).ignore();
    assert_eq!(site.shares(7000..7003).into_values().collect::<Vec<_>>(), [1, 1, 1]);
    // UDP of the other listener was not concerned.
    assert_eq!(site.reaches("udp 9.9.9.9:1 > 203.0.113.93:53"), Some(SORTED[0]));
}

#[test]
fn connections_of_a_dead_backend_are_reset_where_that_is_wanted() {
    let mut site = Site::with(", dead_sessions: reset");
    for (port, vm) in (5000..5003).zip(SORTED) {
        assert_eq!(site.establish(port), vm);
    }
    site.gw.health("web", SORTED[0], false).ignore();
    site.gw.take_moved();
    site.gw
        .from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 A seq=7 ack=9")
        .to(&site.up, "tcp 203.0.113.93:80 > 9.9.9.9:5000 R seq=9 df");
    site.gw.moved(["session_end", "stray_segment", "tcp_reset"]);
    assert_eq!((site.goes_on(5001), site.goes_on(5002)), (Some(SORTED[1]), Some(SORTED[2])));
    assert_eq!(site.gw.connections("web"), [0, 1, 1]);
}

#[test]
fn without_a_backend_clients_are_refused_or_let_in_as_configured() {
    let mut site = Site::with("");
    for vm in SORTED {
        site.gw.health("web", vm, false).ignore();
        site.gw.health("dns", vm, false).ignore();
    }
    site.gw.take_moved();
    site.gw
        .from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 S seq=7")
        .to(&site.up, "tcp 203.0.113.93:80 > 9.9.9.9:5000 AR ack=8 df");
    site.gw.moved(["flow_miss", "no_backend", "tcp_reset"]);
    let sent = "udp 9.9.9.9:5000 > 203.0.113.93:53";
    site.gw
        .from(&site.up, sent)
        .to(&site.up, &format!("icmp no-port 203.0.113.2 > 9.9.9.9 tos=192 | {sent}"));
    site.gw.moved(["flow_miss", "no_backend", "icmp_error"]);
    site.gw.health("web", SORTED[2], true).ignore();
    assert_eq!(site.connect("9.9.9.9", 5001), Some(SORTED[2]));

    let mut site = Site::with(", all_down: open");
    for vm in SORTED {
        site.gw.health("web", vm, false).ignore();
    }
    assert_eq!(site.shares(5000..5003).len(), 3);
}

#[test]
fn who_is_not_allowed_and_what_is_too_much_is_dropped_by_name() {
    let denied = ", access: { policy: deny, cidrs: [9.9.9.0/24, 9.9.8.0/24] }";
    for (access, nine, eight, seven) in [
        (denied, None, None, Some(SORTED[0])),
        (", access: { policy: allow, cidrs: [9.9.8.7/32] }", None, Some(SORTED[0]), None),
    ] {
        let mut site = Site::with(access);
        let reached = ["9.9.9.9", "9.9.8.7", "9.9.7.7"].map(|client| site.connect(client, 5));
        assert_eq!(reached, [nine, eight, seven]);
        let refused = reached.iter().filter(|vm| vm.is_none()).count();
        assert_eq!(site.gw.take_moved().get("listener_denied").copied(), Some(refused as u64));
    }
    let mut site = Site::with(", max_connections: 4");
    assert_eq!(site.shares(5000..5010).into_values().sum::<usize>(), 4);
    assert_eq!(site.gw.take_moved()["listener_full"], 6);
    let mut site = start(&config("", ", max_connections: 2"));
    assert_eq!(site.shares(5000..5010).into_values().collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(site.gw.take_moved()["backends_full"], 4);
    // Where one is full, its turn goes to the next.
    let text = config("", "").replacen("port: 8080 }", "port: 8080, max_connections: 1 }", 1);
    assert_eq!(start(&text).shares(5000..5010).into_values().collect::<Vec<_>>(), [1, 6, 3]);
}

#[test]
fn a_client_comes_back_until_its_time_is_over_or_its_backend_dies() {
    let mut site = Site::with(", persistence: { timeout_s: 60 }");
    for port in 5000..5004 {
        assert_eq!(site.connect("9.9.9.1", port), Some(SORTED[0]));
    }
    assert_eq!(site.connect("9.9.9.2", 5000), Some(SORTED[1]));
    site.gw.pass(59_000).ignore();
    assert_eq!(site.connect("9.9.9.1", 5005), Some(SORTED[0]));
    site.gw.pass(59_000).ignore();
    assert_eq!(site.connect("9.9.9.1", 5006), Some(SORTED[0]), "counted from its last connection");
    site.gw.pass(62_000).ignore();
    assert_eq!(site.connect("9.9.9.1", 5007), Some(SORTED[2]));
    site.gw.health("web", SORTED[2], false).ignore();
    let other = site.connect("9.9.9.1", 5008).unwrap();
    assert_ne!(other, SORTED[2]);
    site.gw.health("web", SORTED[2], true).ignore();
    assert_eq!(site.connect("9.9.9.1", 5009), Some(other));
}

#[test]
fn weights_drains_and_new_backends_disturb_nobody() {
    let mut site = Site::with("");
    for (port, vm) in (5000..5003).zip(SORTED) {
        assert_eq!(site.establish(port), vm);
    }
    let first = format!("{{ vpc: red, address: {}, port: 8080", SORTED[0]);
    for change in [", drain: true", ", weight: 0", ", max_connections: 1"] {
        site.gw.reload(&config("", "").replacen(&first, &format!("{first}{change}"), 1)).ignore();
        site.gw.take_moved();
        for (port, vm) in (5000..5003).zip(SORTED) {
            assert_eq!(site.goes_on(port), Some(vm), "{change}");
        }
        site.gw.moved(["flow_hit 3"]);
        if change != ", max_connections: 1" {
            let port = site.gw.now().0 as u16 | 1 << 15;
            assert_eq!(site.shares(port..port + 4).into_values().collect::<Vec<_>>(), [2, 2]);
        }
    }
    let more = config("", "").replacen("backends: [", "backends: [{ vpc: red, address: 10.1.3.5 }, ", 1);
    site.gw.reload(&more).ignore();
    assert_eq!(site.gw.connections("web")[0], 1, "numbers stay");
    assert_eq!((site.goes_on(5000), site.goes_on(5002)), (Some(SORTED[0]), Some(SORTED[2])));
}

#[test]
fn a_backend_that_is_removed_loses_its_connections_and_numbers_stay_right() {
    let mut site = Site::with("");
    for (port, vm) in (5000..5003).zip(SORTED) {
        assert_eq!(site.establish(port), vm);
    }
    let without =
        config("", "").replacen(&format!("{{ vpc: red, address: {}, port: 8080 }}, ", SORTED[0]), "", 1);
    site.gw.reload(&without).ignore();
    assert_eq!((site.goes_on(5001), site.goes_on(5002)), (Some(SORTED[1]), Some(SORTED[2])));
    // It comes back before its connection has met its end: that one goes on and is counted.
    site.gw.reload(&config("", "")).ignore();
    assert_eq!(site.gw.connections("web"), [1, 1, 1]);
    assert_eq!(site.goes_on(5000), Some(SORTED[0]));
    site.gw.reload(&without).ignore();
    site.gw
        .from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 A ack=5")
        .to(&site.up, "tcp 203.0.113.93:80 > 9.9.9.9:5000 R seq=5 df");
    site.gw.reload(&config("", "")).ignore();
    assert_eq!(site.gw.connections("web"), [0, 1, 1]);
    assert_eq!(site.gw.listener("web").usage.usage.live(), 2);
}

#[test]
fn segments_of_no_connection_are_answered_by_a_reset() {
    let mut site = Site::with("");
    site.gw
        .from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 A seq=7 ack=9")
        .to(&site.up, "tcp 203.0.113.93:80 > 9.9.9.9:5000 R seq=9 df");
    site.gw.moved(["flow_miss", "stray_segment", "tcp_reset"]);
    site.gw.from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 R").nothing();
    site.gw.moved(["flow_miss", "no_session"]);
    assert_eq!(site.gw.connections("web"), [0, 0, 0]);
}

#[test]
fn a_connection_after_one_that_is_over_takes_the_next_turn() {
    let mut site = Site::with("");
    assert_eq!(site.establish(5000), SORTED[0]);
    // A SYN in the middle of an open connection changes nothing.
    assert_eq!(site.connect("9.9.9.9", 5000), Some(SORTED[0]));
    assert_eq!(site.goes_on(5000), Some(SORTED[0]));
    site.gw.from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 FA").ignore();
    site.gw.from(&site.vms[0], "tcp 10.1.1.7:8080 > 9.9.9.9:5000 FA").ignore();
    assert_eq!(site.connect("9.9.9.9", 5000), Some(SORTED[1]));
    assert_eq!(site.gw.connections("web"), [0, 1, 0]);
    let usage = &site.gw.listener("web").usage.usage;
    assert_eq!((usage.opened(), usage.live()), (2, 1));
    assert_eq!(usage.bytes(), (200, 80), "five segments in, two out");
}

#[test]
fn a_listener_may_have_a_timeout_of_its_own() {
    let mut site = Site::with(", idle_timeout_s: 10");
    assert_eq!(site.establish(5000), SORTED[0]);
    assert!(site.reaches("udp 9.9.9.9:5 > 203.0.113.93:53").is_some());
    site.gw.pass(9_000).ignore();
    assert_eq!((site.gw.connections("web"), site.gw.connections("dns")), (vec![1, 0, 0], vec![1, 0, 0]));
    assert_eq!(site.goes_on(5000), Some(SORTED[0]));
    site.gw.pass(9_000).ignore();
    assert_eq!(site.gw.connections("web"), [1, 0, 0]);
    site.gw.pass(60_000).ignore();
    assert_eq!((site.gw.connections("web"), site.gw.connections("dns")), (vec![0; 3], vec![0; 3]));
    assert_eq!(site.gw.flows(), 0);
}

#[test]
fn connections_that_are_over_do_not_count_for_long() {
    let mut site = Site::with("");
    assert_eq!((site.establish(5000), site.establish(5001)), (SORTED[0], SORTED[1]));
    site.gw.from(&site.up, "tcp 9.9.9.9:5000 > 203.0.113.93:80 FA").ignore();
    site.gw.from(&site.vms[0], "tcp 10.1.1.7:8080 > 9.9.9.9:5000 FA").ignore();
    site.gw.from(&site.up, "tcp 9.9.9.9:5001 > 203.0.113.93:80 FA").ignore();
    // Of a flood: nobody answers.
    assert_eq!(site.connect("9.9.9.9", 5002), Some(SORTED[2]));
    site.gw.pass(9_000).ignore();
    assert_eq!(site.gw.connections("web"), [1, 1, 1]);
    site.gw.pass(30_000).ignore();
    assert_eq!(site.gw.connections("web"), [0, 1, 1], "half closed, opening");
    site.gw.pass(60_000).ignore();
    assert_eq!(site.gw.connections("web"), [0, 1, 0]);
}

#[test]
fn a_range_of_ports_goes_to_as_many() {
    let text = config("", "").replace("port: 80,", "ports: 80-89,");
    let mut site = start(&text);
    for (port, vm) in [(80, SORTED[0]), (85, SORTED[1]), (89, SORTED[2])] {
        let at = VMS.iter().position(|(_, ip, _)| *ip == vm).unwrap();
        site.gw
            .from(&site.up, &format!("tcp 9.9.9.9:5 > 203.0.113.93:{port} S ttl=64"))
            .to(&site.vms[at], &format!("tcp 9.9.9.9:5 > {vm}:{} S ttl=63", 8000 + port));
        site.gw
            .from(&site.vms[at], &format!("tcp {vm}:{} > 9.9.9.9:5 SA ttl=64", 8000 + port))
            .to(&site.up, &format!("tcp 203.0.113.93:{port} > 9.9.9.9:5 SA ttl=63"));
    }
    assert_eq!(site.gw.connections("web"), [1, 1, 1]);
}

#[test]
fn a_vm_of_the_vpc_reaches_the_listener_by_the_public_address() {
    let mut site = Site::with("");
    // From the first VM, which gets its own connection first.
    for (port, vm) in (5000..5003).zip(SORTED) {
        let mut words =
            site.gw.from(&site.vms[0], &format!("tcp 10.1.1.7:{port} > 203.0.113.93:80 S")).words();
        if words.is_empty() {
            // The first one waits a moment for ports of the VIP.
            words = site.gw.pass(10).words();
        }
        let [frame] = &words[..] else { panic!("{words:?}") };
        assert!(frame.contains(&format!("> {vm}:8080 S")), "{frame}");
        let public = frame.split("203.0.113.93:").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let at = VMS.iter().position(|(_, ip, _)| *ip == vm).unwrap();
        site.gw
            .from(&site.vms[at], &format!("tcp {vm}:8080 > 203.0.113.93:{public} SA ttl=64"))
            .to(&site.vms[0], &format!("tcp 203.0.113.93:80 > 10.1.1.7:{port} SA ttl=62"));
    }
    assert_eq!(site.gw.connections("web"), [1, 1, 1]);
}

#[test]
fn errors_about_a_connection_and_its_fragments_find_their_backend() {
    let mut site = Site::with("");
    assert_eq!(site.establish(5000), SORTED[0]);
    site.gw
        .from(
            &site.up,
            "icmp frag-needed 5.5.5.5 > 203.0.113.93 mtu=1300 ttl=64 | tcp 203.0.113.93:80 > 9.9.9.9:5000 A",
        )
        .to(
            &site.vms[0],
            "icmp frag-needed 5.5.5.5 > 10.1.1.7 mtu=1300 ttl=63 | tcp 10.1.1.7:8080 > 9.9.9.9:5000 A",
        );
    assert_eq!(site.reaches("udp 9.9.9.9:7 > 203.0.113.93:53 mf ipid=3 len=1400"), Some(SORTED[0]));
    site.gw
        .from(&site.up, "ip 9.9.9.9 > 203.0.113.93 proto=17 ipid=3 off=1408 len=30")
        .to(&site.vms[0], "ip 9.9.9.9 > 10.1.1.7 proto=17 ipid=3 off=1408 len=30");
}

#[test]
fn connections_survive_a_crash_and_are_counted_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("flows");
    let text = config(", algorithm: leastconn", "");
    let mut gw = Gateway::start_in(&file, &text, crate::WORKERS);
    let vms = VMS.map(|(net, ip, host)| gw.vm(net, ip, host));
    let up = gw.vm("public", "203.0.113.1", HOST1);
    let mut site = Site { gw, vms, up };
    let reached: Vec<_> = (5000..5005).map(|port| site.establish(port)).collect();
    let before = site.gw.connections("web");
    let (gw, recovery) = site.gw.crash(&file, &text, 1_000);
    site.gw = gw;
    assert_eq!((recovery.sessions, recovery.refused), (5, 0));
    site.gw.pass(3_000).ignore();
    for (net, ip, host) in VMS {
        site.gw.vm(net, ip, host);
    }
    assert_eq!(site.gw.connections("web"), before);
    for (port, vm) in (5000..5005).zip(reached) {
        assert_eq!(site.goes_on(port), Some(vm));
    }
    // The sixth one goes to who has one only.
    let least = before.iter().position(|live| *live == 1).unwrap();
    assert_eq!(site.connect("9.9.9.9", 6000), Some(SORTED[least]));
}
