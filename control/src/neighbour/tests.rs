//! Events in, frames and table entries out, in virtual time. VMs are `10.1.<net>.<vm>` with MAC `02:00:00:01:<net>:<vm>`,
//! underlay hosts `172.31.<host>.1`; network 1 is the underlay, 2 and 3 are VXLAN networks, 4 a plain one.

use std::{collections::HashSet, net::Ipv4Addr, sync::Arc};

use etherparse::{NetSlice, SlicedPacket};
use proptest::prelude::*;
use tidegate_fastpath::{
    channel::{InjectTo, Notice},
    table::{
        Link, Net,
        neighbour::{self, Reach},
    },
    types::{MacAddr, Mtu, Nanos, NetId, PortId, Vni, VrfId, VtepId},
};

use super::{Attachment, Limits, Machine, NeighbourEvent as E, Overlay};

const UNDERLAY: u16 = 1;
const PLAIN: u16 = 4;

struct World {
    machine: Machine,
    now: Nanos,
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn mac(net: u8, vm: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 1, net, vm])
}

fn net(link: Link, prefix: &str, address: &str) -> Arc<Net> {
    Arc::new(Net {
        vrf: VrfId(1),
        mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
        mtu: Mtu::new(1450).unwrap(),
        prefix: prefix.parse().unwrap(),
        addresses: [ip(address)].into(),
        address: Some(ip(address)),
        link,
    })
}

/// A VXLAN network whose tunnel end is `address`, with these configured remote VTEPs.
fn vxlan(id: u8, address: &str, remotes: &[&str]) -> (NetId, Attachment) {
    let link = Link::Vxlan { vtep: VtepId(0), vni: Vni::new(200 + u32::from(id)).unwrap() };
    let overlay = Overlay {
        vtep: VtepId(0),
        address: ip(address),
        underlay: NetId(UNDERLAY),
        gateway: Some(ip("172.31.0.254")),
        remotes: remotes.iter().map(|r| ip(r)).collect(),
    };
    let net = net(link, &format!("10.1.{id}.0/24"), &format!("10.1.{id}.1"));
    (NetId(id.into()), Attachment { net, overlay: Some(overlay), next_hops: vec![] })
}

fn port(id: u16, prefix: &str, address: &str) -> (NetId, Attachment) {
    let net = net(Link::Port { port: PortId(0), vlan: None }, prefix, address);
    (NetId(id), Attachment { net, overlay: None, next_hops: vec![] })
}

fn networks(vtep: &str) -> Vec<(NetId, Attachment)> {
    let remotes = ["172.31.1.1", "172.31.2.1"];
    vec![
        port(UNDERLAY, "172.31.0.0/20", vtep),
        vxlan(2, vtep, &remotes),
        vxlan(3, vtep, &remotes),
        port(PLAIN, "10.1.4.0/24", "10.1.4.1"),
    ]
}

impl World {
    fn with(limits: Limits, capacity: usize) -> World {
        let machine = Machine::new(neighbour::new(capacity).0, limits, 1);
        World { machine, now: Nanos(0) }
    }

    /// The four networks, with what happens at start behind it.
    fn new() -> World {
        let mut world = World::with(Limits::default(), 1024);
        world.configure(networks("172.31.0.1"));
        world.arp(UNDERLAY, "172.31.1.1", mac(31, 1), None, true);
        world.arp(UNDERLAY, "172.31.2.1", mac(31, 2), None, true);
        world.until(2_000);
        world
    }

    fn configure(&mut self, nets: Vec<(NetId, Attachment)>) {
        self.machine.configure(self.now, nets);
        self.machine.tick(self.now);
    }

    /// Lets time pass, running what is due when it is due; lists the frames with their times.
    fn until(&mut self, ms: u64) -> Vec<String> {
        let target = Nanos::from_ms(ms);
        let mut sent = self.sent();
        while self.now < target {
            let step = Nanos(self.now.0 + Nanos::from_ms(50).0);
            let next = self.machine.next_deadline().unwrap_or(target);
            self.now = next.max(self.now).min(step).min(target);
            self.machine.tick(self.now);
            sent.extend(self.sent());
            assert!(self.machine.next_deadline().is_none_or(|at| at > self.now), "what is due runs");
        }
        self.machine.tick(self.now);
        sent.extend(self.sent());
        sent
    }

    fn sent(&mut self) -> Vec<String> {
        let at = self.now.0 / 1_000_000;
        self.machine.transmits().map(|t| format!("{at} {}", describe(t.to, &t.frame))).collect()
    }

    fn notice(&mut self, notice: Notice) {
        self.machine.notice(self.now, notice);
    }

    fn want(&mut self, net: u16, address: &str) {
        self.notice(Notice::Resolve { net: NetId(net), ip: ip(address) });
    }

    fn arp(&mut self, net: u16, address: &str, mac: MacAddr, vtep: Option<&str>, reply: bool) {
        self.notice(Notice::Arp { net: NetId(net), ip: ip(address), mac, vtep: vtep.map(ip), reply });
    }

    /// What a worker reads.
    fn reach(&self, net: u16, address: &str) -> String {
        let table = self.machine.table();
        let Some(id) = table.lookup(NetId(net), ip(address)) else { return "none".into() };
        match table.reach(id) {
            Reach::Resolved(a) => match a.tunnel {
                None => a.mac.to_string(),
                Some((vtep, hop)) => {
                    let Reach::Resolved(under) = table.reach(hop) else {
                        return format!("{} at {vtep} by nobody", a.mac);
                    };
                    format!("{} at {vtep} by {}", a.mac, under.mac)
                }
            },
            other => format!("{other:?}").to_lowercase(),
        }
    }

    fn count(&self, event: E) -> u64 {
        self.machine.count(event)
    }
}

fn describe(to: InjectTo, frame: &[u8]) -> String {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(NetSlice::Arp(arp)) = packet.net else { panic!("not ARP") };
    let arp = arp.to_packet().try_eth_ipv4().unwrap();
    let (sender, target) = (Ipv4Addr::from(arp.sender_ipv4), Ipv4Addr::from(arp.target_ipv4));
    let broadcast = frame[..6] == [0xff; 6];
    let what = match (sender == target, broadcast) {
        (true, _) => "announce",
        (false, true) => "ask",
        (false, false) => "probe",
    };
    match to {
        InjectTo::Link(net) => format!("{what} {target} on {net}"),
        InjectTo::Vtep(net, vtep) => format!("{what} {target} on {net} at {vtep}"),
        InjectTo::Route(_) => panic!("ARP is not routed"),
    }
}

#[test]
fn a_wanted_address_is_asked_for_and_resolved_by_the_answer() {
    let mut w = World::new();
    w.want(PLAIN, "10.1.4.7");
    w.want(PLAIN, "10.1.4.7");
    assert_eq!(
        (w.sent(), w.reach(PLAIN, "10.1.4.7")),
        (vec!["2000 ask 10.1.4.7 on 4".into()], "incomplete".into())
    );
    w.arp(PLAIN, "10.1.4.7", mac(4, 7), None, true);
    assert_eq!(w.reach(PLAIN, "10.1.4.7"), "02:00:00:01:04:07");
    assert_eq!(w.until(10_000), Vec::<String>::new());
}

#[test]
fn silence_means_three_requests_then_failed_then_forgotten() {
    let mut w = World::new();
    w.want(PLAIN, "10.1.4.7");
    let ask = |ms: u64| format!("{ms} ask 10.1.4.7 on 4");
    assert_eq!(w.until(4_999), [ask(2_000), ask(3_000), ask(4_000)]);
    assert_eq!(w.reach(PLAIN, "10.1.4.7"), "incomplete");
    w.until(5_000);
    assert_eq!(w.reach(PLAIN, "10.1.4.7"), "failed");
    w.want(PLAIN, "10.1.4.7");
    assert_eq!(w.until(7_999), Vec::<String>::new(), "no request during the hold-down");
    assert!(w.machine.take_silence_changed() && w.machine.is_silent((NetId(PLAIN), ip("10.1.4.7"))));
    w.until(8_000);
    assert_eq!(w.reach(PLAIN, "10.1.4.7"), "none");
}

#[test]
fn a_neighbour_that_somebody_doubts_is_probed_at_once() {
    let mut w = World::new();
    w.arp(PLAIN, "10.1.4.7", mac(4, 7), None, true);
    w.until(1_000);
    let key = (NetId(PLAIN), ip("10.1.4.7"));
    w.machine.doubt(Nanos::from_ms(1_000), key);
    let sent = w.until(1_100);
    assert_eq!(sent.iter().filter(|line| line.contains("probe")).count(), 1, "{sent:?}");
    w.machine.doubt(Nanos::from_ms(1_100), key);
    assert_eq!(w.until(1_900).iter().filter(|line| line.contains("probe")).count(), 0, "one is under way");
    w.until(5_000);
    assert_ne!(w.reach(PLAIN, "10.1.4.7"), "02:00:00:01:04:07", "it has not answered");
}

#[test]
fn a_failed_neighbour_that_speaks_is_back_at_once() {
    let mut w = World::new();
    w.want(PLAIN, "10.1.4.7");
    w.until(6_000);
    assert_eq!(w.reach(PLAIN, "10.1.4.7"), "failed");
    w.arp(PLAIN, "10.1.4.7", mac(4, 7), None, false);
    assert_eq!(w.reach(PLAIN, "10.1.4.7"), "02:00:00:01:04:07");
    assert!(!w.machine.is_silent((NetId(PLAIN), ip("10.1.4.7"))));
}

#[test]
fn a_neighbour_is_probed_when_stale_and_fails_when_gone() {
    let mut w = World::new();
    w.arp(PLAIN, "10.1.4.7", mac(4, 7), None, true);
    let sent: Vec<String> = w.until(60_000).into_iter().filter(|s| s.contains("on 4")).collect();
    let times: Vec<u64> = sent.iter().map(|s| s.split(' ').next().unwrap().parse().unwrap()).collect();
    let kinds: Vec<&str> = sent.iter().map(|s| s.split(' ').nth(1).unwrap()).collect();
    assert_eq!(kinds, ["probe", "probe", "ask"], "{sent:?}");
    assert!((17_000..=47_000).contains(&times[0]), "30 s, jittered by half: {times:?}");
    assert_eq!((times[1] - times[0], times[2] - times[0]), (1_000, 2_000));
    assert_eq!(w.reach(PLAIN, "10.1.4.7"), "none");
}

#[test]
fn an_answered_probe_keeps_the_neighbour() {
    let mut w = World::new();
    w.arp(PLAIN, "10.1.4.7", mac(4, 7), None, false);
    assert_eq!(w.until(7_000), ["7000 probe 10.1.4.7 on 4"], "learned from a request: confirmed after 5 s");
    w.arp(PLAIN, "10.1.4.7", mac(4, 7), None, true);
    assert!(w.until(20_000).iter().all(|s| !s.contains("on 4")));
    assert_eq!(w.reach(PLAIN, "10.1.4.7"), "02:00:00:01:04:07");
}

#[test]
fn requests_on_vxlan_go_to_every_known_vtep() {
    let mut w = World::new();
    w.arp(2, "10.1.2.9", mac(2, 9), Some("172.31.9.1"), false);
    assert_eq!(
        w.sent(),
        ["2000 ask 172.31.9.1 on 1"],
        "the underlay next hop of a learned VTEP is asked for"
    );
    assert_eq!(w.reach(2, "10.1.2.9"), "02:00:00:01:02:09 at 172.31.9.1 by nobody");
    w.arp(UNDERLAY, "172.31.9.1", mac(31, 9), None, true);
    assert_eq!(w.reach(2, "10.1.2.9"), "02:00:00:01:02:09 at 172.31.9.1 by 02:00:00:01:1f:09");
    w.want(2, "10.1.2.7");
    let at = |vtep: &str| format!("2000 ask 10.1.2.7 on 2 at {vtep}");
    assert_eq!(w.sent(), [at("172.31.1.1"), at("172.31.2.1"), at("172.31.9.1")]);
    w.want(3, "10.1.3.7");
    assert_eq!(w.sent().len(), 2, "what network 2 learned says nothing of network 3");
}

#[test]
fn vteps_off_the_link_are_reached_by_the_gateway() {
    let mut w = World::new();
    w.arp(2, "10.1.2.9", mac(2, 9), Some("198.51.100.1"), true);
    assert_eq!(w.sent(), ["2000 ask 172.31.0.254 on 1"]);
    w.arp(UNDERLAY, "172.31.0.254", mac(31, 254), None, true);
    assert_eq!(w.reach(2, "10.1.2.9"), "02:00:00:01:02:09 at 198.51.100.1 by 02:00:00:01:1f:fe");
}

#[test]
fn a_moved_vm_is_reached_at_its_new_vtep_at_once() {
    let mut w = World::new();
    for vm in ["10.1.2.7", "10.1.2.8"] {
        w.arp(2, vm, mac(2, 7), Some("172.31.1.1"), true);
    }
    w.notice(Notice::Moved { net: NetId(2), ip: ip("10.1.2.7"), mac: mac(2, 7), vtep: ip("172.31.2.1") });
    for vm in ["10.1.2.7", "10.1.2.8"] {
        assert_eq!(w.reach(2, vm), "02:00:00:01:02:07 at 172.31.2.1 by 02:00:00:01:1f:02");
    }
    w.arp(2, "10.1.2.7", mac(2, 99), Some("172.31.1.1"), false);
    assert_eq!(
        w.reach(2, "10.1.2.7"),
        "02:00:00:01:02:63 at 172.31.1.1 by 02:00:00:01:1f:01",
        "a new MAC, too"
    );
    assert_eq!(w.count(E::Moved), 2);
}

#[test]
fn an_unknown_mac_does_not_get_an_address_by_sending_data() {
    let mut w = World::new();
    w.arp(2, "10.1.2.7", mac(2, 7), Some("172.31.1.1"), true);
    w.notice(Notice::Moved { net: NetId(2), ip: ip("10.1.2.7"), mac: mac(2, 66), vtep: ip("172.31.2.1") });
    assert_eq!(w.reach(2, "10.1.2.7"), "02:00:00:01:02:07 at 172.31.1.1 by 02:00:00:01:1f:01");
    w.notice(Notice::Moved { net: NetId(2), ip: ip("10.1.2.8"), mac: mac(2, 8), vtep: ip("172.31.2.1") });
    assert_eq!(w.reach(2, "10.1.2.8"), "incomplete", "the address is asked for");
}

#[test]
fn what_must_not_be_learned_is_counted() {
    let cases: &[(u16, &str, MacAddr, Option<&str>, E)] = &[
        (PLAIN, "10.1.5.7", mac(4, 7), None, E::OffLink),
        (PLAIN, "10.1.4.0", mac(4, 7), None, E::OffLink),
        (PLAIN, "10.1.4.255", mac(4, 7), None, E::OffLink),
        (PLAIN, "10.1.4.1", mac(4, 7), None, E::Conflict),
        (PLAIN, "10.1.4.7", MacAddr::BROADCAST, None, E::BadMac),
        (PLAIN, "10.1.4.7", MacAddr::new([2, 0, 0, 0, 0, 1]), None, E::BadMac),
        (PLAIN, "10.1.4.7", MacAddr::default(), None, E::BadMac),
        (2, "10.1.2.7", mac(2, 7), Some("172.31.0.1"), E::BadVtep),
        (2, "10.1.2.7", mac(2, 7), Some("224.0.0.1"), E::BadVtep),
    ];
    for &(net, address, mac, vtep, event) in cases {
        let mut w = World::new();
        let before = w.machine.len();
        w.arp(net, address, mac, vtep, true);
        assert_eq!((w.machine.len(), w.count(event)), (before, 1), "{address} {mac} {vtep:?}");
    }
}

#[test]
fn a_claim_to_our_address_is_answered_but_not_often() {
    let mut w = World::new();
    w.arp(PLAIN, "10.1.4.1", mac(4, 66), None, false);
    w.arp(PLAIN, "10.1.4.1", mac(4, 66), None, false);
    assert_eq!(w.until(2_001), ["2001 announce 10.1.4.1 on 4"]);
}

#[test]
fn a_scan_fills_its_own_network_only_and_gives_way() {
    let limits = Limits { unresolved_per_net: 3, frames_burst: 1000, ..Limits::default() };
    let mut w = World::with(limits, 64);
    w.configure(networks("172.31.0.1"));
    for vm in 10..20 {
        w.want(2, &format!("10.1.2.{vm}"));
    }
    assert_eq!(w.count(E::UnresolvedLimit), 7);
    w.want(3, "10.1.3.7");
    assert_eq!(w.reach(3, "10.1.3.7"), "incomplete");
    w.until(4_000);
    assert_eq!(w.reach(2, "10.1.2.10"), "failed");
    w.want(2, "10.1.2.30");
    assert_eq!((w.reach(2, "10.1.2.30"), w.reach(2, "10.1.2.10")), ("incomplete".into(), "none".into()));
}

#[test]
fn a_full_table_refuses_and_keeps_what_it_has() {
    let mut w = World::with(Limits { entries_per_net: 3, ..Limits::default() }, 6);
    w.configure(networks("172.31.0.1"));
    for vm in 10..15 {
        w.arp(2, &format!("10.1.2.{vm}"), mac(2, vm), Some("172.31.1.1"), true);
    }
    assert_eq!((w.count(E::NetLimit), w.machine.len()), (2, 5), "two are the underlay's");
    w.arp(3, "10.1.3.10", mac(3, 10), Some("172.31.1.1"), true);
    w.arp(3, "10.1.3.11", mac(3, 11), Some("172.31.1.1"), true);
    assert_eq!((w.count(E::TableFull), w.reach(2, "10.1.2.12").starts_with("02:")), (1, true));
}

#[test]
fn requests_beyond_the_rate_come_later() {
    let limits = Limits { frames_per_s: 10, frames_burst: 4, ..Limits::default() };
    let mut w = World::with(limits, 64);
    w.configure(vec![port(PLAIN, "10.1.4.0/24", "10.1.4.1")]);
    for vm in 10..20 {
        w.want(PLAIN, &format!("10.1.4.{vm}"));
    }
    assert_eq!((w.sent().len(), w.count(E::Deferred)), (4, 7), "the announcement is one of the four");
    let later = w.until(1_000).len();
    assert!((6..=12).contains(&later), "10 a second: {later}");
}

#[test]
fn our_addresses_are_announced_at_start_and_when_the_vtep_changes() {
    let mut w = World::with(Limits::default(), 64);
    w.configure(networks("172.31.0.1"));
    let announced =
        |sent: Vec<String>| sent.into_iter().filter(|s| s.contains("announce")).collect::<Vec<_>>();
    let expect = |ms: u64, vtep: &str| {
        let overlay = |n: u8, v: u8| format!("{ms} announce 10.1.{n}.1 on {n} at 172.31.{v}.1");
        let mut all = vec![format!("{ms} announce {vtep} on 1")];
        all.extend([overlay(2, 1), overlay(2, 2), overlay(3, 1), overlay(3, 2)]);
        all
    };
    let plain = |ms: u64| format!("{ms} announce 10.1.4.1 on 4");
    let first: Vec<_> = expect(0, "172.31.0.1").into_iter().chain([plain(0)]).collect();
    assert_eq!(announced(w.sent()), first);
    let again = announced(w.until(1_999).into_iter().chain(w.until(2_000)).collect());
    assert_eq!(again, expect(2_000, "172.31.0.1").into_iter().chain([plain(2_000)]).collect::<Vec<_>>());
    w.until(10_000);

    w.arp(2, "10.1.2.7", mac(2, 7), Some("172.31.1.1"), true);
    w.configure(networks("172.31.0.2"));
    assert_eq!(announced(w.sent()), expect(10_000, "172.31.0.2"), "the plain network has not changed");
    assert!(w.reach(2, "10.1.2.7").starts_with("02:00:00:01:02:07 at 172.31.1.1"), "neighbours are kept");
}

#[test]
fn a_silent_learned_vtep_is_forgotten_and_a_configured_one_is_not() {
    let mut w = World::new();
    w.arp(2, "10.1.2.9", mac(2, 9), Some("172.31.9.1"), true);
    w.arp(2, "10.1.2.7", mac(2, 7), Some("172.31.1.1"), true);
    w.arp(UNDERLAY, "172.31.9.1", mac(31, 9), None, true);
    let vteps = |w: &World| w.machine.remote_vteps(w.now).filter(|v| v.net == NetId(2)).count();
    w.until(500_000);
    assert_eq!(vteps(&w), 3, "it has answered once: its host may come back");
    w.until(700_000);
    assert_eq!(vteps(&w), 2);
    let hop = w.machine.neighbours(w.now).find(|n| n.ip == ip("172.31.9.1"));
    assert!(hop.is_none(), "its underlay neighbour is kept no longer: {hop:?}");
    assert!(w.machine.neighbours(w.now).any(|n| n.ip == ip("172.31.1.1") && n.pinned));
}

/// A table of 32, full of learned VTEPs that nobody has.
fn full_of_invented_vteps() -> World {
    let mut w = World::with(Limits::default(), 32);
    w.configure(networks("172.31.0.1"));
    w.arp(UNDERLAY, "172.31.1.1", mac(31, 1), None, true);
    for host in 0..128 {
        let vtep = format!("172.31.{}.{}", 3 + host % 8, 1 + host / 8);
        w.arp(2, "10.1.2.9", mac(2, 9), Some(&vtep), true);
    }
    w.arp(3, "10.1.3.7", mac(3, 7), Some("172.31.1.1"), true);
    assert!(w.count(E::TableFull) > 0 && w.reach(3, "10.1.3.7") == "none");
    w
}

#[test]
fn learned_vteps_that_never_answer_are_given_up() {
    let mut w = full_of_invented_vteps();
    w.until(60_000);
    let vteps: Vec<_> = w.machine.remote_vteps(w.now).filter(|v| v.net == NetId(2)).collect();
    assert!(vteps.len() == 2 && vteps.iter().all(|v| v.configured), "{vteps:?}");
    assert_eq!(w.machine.len(), 2, "configured VTEPs: {:?}", w.machine.neighbours(w.now).collect::<Vec<_>>());
}

#[test]
fn learned_vteps_that_have_not_answered_give_way_to_others() {
    let mut w = full_of_invented_vteps();
    w.until(999);
    w.arp(3, "10.1.3.7", mac(3, 7), Some("172.31.1.1"), true);
    assert_eq!((w.count(E::GaveWay), w.reach(3, "10.1.3.7")), (0, "none".into()), "time to answer");
    w.until(1_000);
    w.arp(3, "10.1.3.7", mac(3, 7), Some("172.31.1.1"), true);
    assert!(w.reach(3, "10.1.3.7").starts_with("02:00:00:01:03:07 at 172.31.1.1"));
    assert_eq!(w.count(E::GaveWay), 1, "a sixteenth of the table is two, and the oldest is configured");
    w.arp(3, "10.1.3.8", mac(3, 8), Some("172.31.14.1"), true);
    w.arp(UNDERLAY, "172.31.14.1", mac(31, 14), None, true);
    w.arp(3, "10.1.3.8", mac(3, 8), Some("172.31.14.1"), true);
    assert!(
        w.reach(3, "10.1.3.8").starts_with("02:00:00:01:03:08 at 172.31.14.1 by 02:"),
        "a VTEP that answers, too"
    );
    let configured = w.machine.remote_vteps(w.now).filter(|v| v.configured).count();
    assert_eq!(configured, 4, "those that the operator named stay, mute or not");
    assert!(w.machine.neighbours(w.now).any(|n| n.ip == ip("172.31.2.1")));
}

#[test]
fn next_hops_of_routes_are_asked_for_again_and_again() {
    let mut w = World::with(Limits::default(), 64);
    let mut nets = vec![port(PLAIN, "10.1.4.0/24", "10.1.4.1")];
    nets[0].1.next_hops = vec![ip("10.1.4.254")];
    w.configure(nets);
    let asked = w.until(12_000).iter().filter(|s| s.contains("ask 10.1.4.254")).count();
    assert_eq!(asked, 7, "3 requests, 6 s in all, again");
    assert!(w.machine.is_silent((NetId(PLAIN), ip("10.1.4.254"))));
    w.arp(PLAIN, "10.1.4.254", mac(4, 254), None, true);
    assert!(!w.machine.is_silent((NetId(PLAIN), ip("10.1.4.254"))));
}

#[test]
fn neighbours_of_removed_and_renumbered_networks_go() {
    let mut w = World::new();
    w.arp(2, "10.1.2.7", mac(2, 7), Some("172.31.1.1"), true);
    w.arp(3, "10.1.3.7", mac(3, 7), Some("172.31.1.1"), true);
    w.arp(PLAIN, "10.1.4.7", mac(4, 7), None, true);
    let mut nets = networks("172.31.0.1");
    nets.remove(2);
    nets[2] = port(PLAIN, "10.1.4.0/29", "10.1.4.7");
    w.configure(nets);
    assert!(w.reach(2, "10.1.2.7").starts_with("02:"));
    assert_eq!((w.reach(3, "10.1.3.7"), w.reach(PLAIN, "10.1.4.7")), ("none".into(), "none".into()));
}

#[derive(Clone, Debug)]
enum Event {
    Arp(u16, u8, u8, u8, bool),
    Want(u16, u8),
    Moved(u16, u8, u8, u8),
    Wait(u64),
    Configure(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let net = 1..5u16;
    prop_oneof![
        (net.clone(), 0..12u8, 0..6u8, 0..6u8, any::<bool>())
            .prop_map(|(n, i, m, v, r)| Event::Arp(n, i, m, v, r)),
        (net.clone(), 0..12u8).prop_map(|(n, i)| Event::Want(n, i)),
        (net, 0..12u8, 0..6u8, 0..6u8).prop_map(|(n, i, m, v)| Event::Moved(n, i, m, v)),
        (1..40_000u64).prop_map(Event::Wait),
        (0..16u8).prop_map(Event::Configure),
    ]
}

fn address(net: u16, host: u8) -> Ipv4Addr {
    if net == UNDERLAY { Ipv4Addr::new(172, 31, host, 1) } else { Ipv4Addr::new(10, 1, net as u8, host) }
}

impl World {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Arp(net, host, m, v, reply) => {
                let vtep = (net == 2 || net == 3).then(|| address(UNDERLAY, v));
                self.notice(Notice::Arp {
                    net: NetId(net),
                    ip: address(net, host),
                    mac: mac(0, m),
                    vtep,
                    reply,
                });
            }
            Event::Want(net, host) => {
                self.notice(Notice::Resolve { net: NetId(net), ip: address(net, host) })
            }
            Event::Moved(net, host, m, v) => {
                let vtep = address(UNDERLAY, v);
                self.notice(Notice::Moved { net: NetId(net), ip: address(net, host), mac: mac(0, m), vtep });
            }
            Event::Wait(ms) => drop(self.until(self.now.0 / 1_000_000 + ms)),
            Event::Configure(bits) => {
                let vtep = if bits & 8 == 0 { "172.31.0.1" } else { "172.31.3.1" };
                let nets = networks(vtep).into_iter().enumerate();
                self.configure(
                    nets.filter(|(i, _)| *i == 0 || bits & (1 << (i - 1)) != 0).map(|(_, n)| n).collect(),
                );
            }
        }
    }

    /// The books of the machine agree with its entries and with the table.
    fn check(&self) {
        let machine = &self.machine;
        assert_eq!(machine.entries.len(), machine.table.len());
        for (&id, net) in &machine.nets {
            let of_net = || machine.entries.iter().filter(|((n, _), _)| *n == id);
            assert_eq!(net.entries, of_net().count(), "entries of {id}");
            assert_eq!(
                net.unresolved,
                of_net().filter(|(_, e)| e.is_unresolved()).count(),
                "unresolved of {id}"
            );
        }
        let macs: HashSet<_> = machine.entries.iter().filter_map(|((n, _), e)| Some((*n, e.mac?))).collect();
        assert!(machine.stations.keys().all(|key| macs.contains(key)), "a station without an entry");
        for (key, entry) in &machine.entries {
            assert_eq!(machine.table().lookup(key.0, key.1), Some(entry.id));
            let reach = machine.table().reach(entry.id);
            assert_eq!(
                entry.is_unresolved(),
                !matches!(reach, Reach::Resolved(_)),
                "{key:?} {entry:?} {reach:?}"
            );
            if let Reach::Resolved(a) = reach
                && let Some((_, hop)) = a.tunnel
            {
                assert_ne!(machine.table().reach(hop), Reach::Gone, "{key:?} leads to a removed next hop");
            }
        }
    }
}

proptest! {
    #[test]
    fn the_books_hold_whatever_happens(events in prop::collection::vec(event(), 1..60)) {
        let limits = Limits { unresolved_per_net: 6, entries_per_net: 9, vteps_per_net: 4, frames_per_s: 50, frames_burst: 8 };
        let mut world = World::with(limits, 64);
        world.configure(networks("172.31.0.1"));
        for event in events {
            world.apply(event);
            world.check();
        }
    }
}
