//! Direct paths: the gateway sees who talks, asks the hosts, and takes back what it said.

use tidegate_control::show::Table;
use tidegate_tests::gateway::Agent;
use tidegate_zsnp::{
    Action, Capabilities, Hit, Mac, Match, Message, Refusal, Scope, Shortcut, Station as Located, Status,
    Transaction, Vni, WithdrawReason,
};

use super::*;

const UDP: &str = "udp 10.1.1.7:4000 > 10.1.2.9:53";

/// [`SITE`] with the switch of `red` on, two VMs of it, and the agents of their hosts.
fn switched_on() -> (Gateway, Station, Station, Agent, Agent) {
    let mut gw = Gateway::start(&site_on(), crate::WORKERS);
    gw.speak_zsnp();
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    let (host1, host2) = (gw.agent(HOST1), gw.agent(HOST2));
    (gw, a, b, host1, host2)
}

fn site_on() -> String {
    site_with("- { id: red }", "- { id: red, distributed_routing: true }")
}

/// Packets, and the look at the flow table after them. Returns what the gateway says besides.
fn talk(gw: &mut Gateway, from: &Station, to: &Station, packet: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count).for_each(|_| gw.from(from, packet).to(to, packet).nothing());
    gw.pass(1_050).frames()
}

fn vni(raw: u32) -> Vni {
    Vni::new(raw).unwrap()
}

fn mac(station: &Station) -> Mac {
    Mac(station.mac.octets())
}

/// What HOST2 says of `b`.
fn here(b: &Station) -> Message {
    let station = Located { address: b.ip, mac: mac(b), vni: vni(202) };
    let vtep = HOST2.parse().unwrap();
    Message::Here { station, vtep, mtu: 1450, capabilities: Capabilities::DESTINATION }
}

fn matches(a: &Station, b: &Station) -> Match {
    Match { vni: vni(201), gateway_mac: Mac(a.us.octets()), destination: b.ip }
}

/// The shortcut from `a`'s network to `b`.
fn shortcut(a: &Station, b: &Station) -> Message {
    let action = Action { vni: vni(202), mac: mac(b), vtep: HOST2.parse().unwrap() };
    Message::Shortcut(Shortcut { matches: matches(a, b), action, lifetime_s: 30, mtu: 1450 })
}

/// From the first packets to a shortcut that HOST1 has installed.
fn optimise(gw: &mut Gateway, a: &Station, b: &Station, host1: &mut Agent, host2: &mut Agent) {
    assert!(talk(gw, a, b, UDP, 1).is_empty(), "the first look only remembers");
    let asked = talk(gw, a, b, UDP, 9);
    let located = host2.reads(&asked[0]).got;
    let told = gw.hears(host2, located.header.transaction, &here(b)).frames();
    let offered = host1.reads(&told[0]).got;
    assert_eq!(offered.message, shortcut(a, b));
    gw.hears(host1, offered.header.transaction, &Message::Ack(Status::Installed)).nothing();
}

#[test]
fn busy_traffic_is_located_offered_and_shown() {
    let (mut gw, a, b, mut host1, mut host2) = switched_on();
    assert!(talk(&mut gw, &a, &b, UDP, 5).is_empty(), "the first look only remembers");
    assert!(talk(&mut gw, &a, &b, UDP, 7).is_empty(), "7 packets are too few");
    let asked = talk(&mut gw, &a, &b, UDP, 9);
    assert_eq!(asked.len(), 1);
    // Like any packet to that VM: in its VNI, to its MAC, from the gateway's address there.
    let words = tidegate_tests::packet::describe(&asked[0]);
    assert!(
        words.contains("vxlan 202 172.31.0.1 > 172.31.2.1") && words.contains(&b.mac.to_string()),
        "{words}"
    );
    let located = host2.reads(&asked[0]);
    assert_eq!((located.from.to_string(), located.to, located.ttl), ("10.1.2.1".into(), b.ip, 64));
    let station = Located { address: b.ip, mac: mac(&b), vni: vni(202) };
    assert_eq!(located.got.message, Message::Locate(station));

    let told = gw.hears(&mut host2, located.got.header.transaction, &here(&b)).frames();
    let offered = host1.reads(&told[0]);
    // To the source VM, on whichever host it is: that host has not talked yet.
    assert_eq!((offered.from.to_string(), offered.to), ("10.1.1.1".into(), a.ip));
    assert_eq!(offered.got.message, shortcut(&a, &b));
    gw.hears(&mut host1, offered.got.header.transaction, &Message::Ack(Status::Installed)).nothing();

    // 10 s later the host says what went direct, and hears that it may go on.
    gw.pass(10_000).nothing();
    let hit = Hit { matches: matches(&a, &b), packets: 1000, bytes: 64_000 };
    let answer = gw.hears(&mut host1, Transaction(5), &Message::Renew(vec![hit])).frames();
    let renewed = host1.reads(&answer[0]);
    assert_eq!((renewed.got.header.transaction, renewed.to), (Transaction(5), host1.host.ip));
    assert_eq!(renewed.got.message, shortcut(&a, &b));
    let shown = gw.shown(Table::Shortcuts, &[]);
    assert_eq!(shown, ["red red-1 172.31.1.1 10.1.2.9 active 10s 172.31.2.1 1000 64000 - - -"]);
    // Nobody uses it any more.
    gw.pass(31_200).nothing();
    let shown = gw.shown(Table::Shortcuts, &[]);
    assert!(shown[0].contains("idle") && shown[0].ends_with("not used any more"), "{shown:?}");
}

#[test]
fn a_host_without_an_agent_is_not_asked_again_for_a_while() {
    let (mut gw, a, b, _, mut host2) = switched_on();
    talk(&mut gw, &a, &b, UDP, 1);
    let asked = talk(&mut gw, &a, &b, UDP, 9);
    let located = host2.reads(&asked[0]).got;
    // The VM got it, and quotes it.
    let quote: String = asked[0][64..].iter().map(|byte| format!("{byte:02x}")).collect();
    let icmp = format!("ip 10.1.2.9 > 10.1.2.1 proto=1 | hex 0302000000000000{quote}");
    let bytes = tidegate_tests::packet::frame(&b.sends(&icmp)).unwrap();
    let mended = with_icmp_checksum(bytes);
    gw.arrive(b.port, &[mended]).nothing();
    let shown = gw.shown(Table::Shortcuts, &[]);
    assert!(
        shown[0].contains(" held ") && shown[0].ends_with("no agent on the destination's host"),
        "{shown:?}"
    );
    assert!(gw.delivered_to().next().is_none(), "not for the namespace");
    assert!(talk(&mut gw, &a, &b, UDP, 20).is_empty());
    // Too late.
    gw.hears(&mut host2, located.header.transaction, &here(&b)).nothing();
}

/// A frame whose ICMP message, in a tunnel, has the checksum that it should have.
fn with_icmp_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    const ICMP_AT: usize = 64 + 20;
    let sum: u32 = frame[ICMP_AT..]
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default()))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    frame[ICMP_AT + 2..ICMP_AT + 4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame
}

#[test]
fn silence_is_asked_three_times() {
    let (mut gw, a, b, ..) = switched_on();
    talk(&mut gw, &a, &b, UDP, 1);
    let first = talk(&mut gw, &a, &b, UDP, 9).len();
    let later = gw.pass(2_000).frames().len();
    assert_eq!(first + later, 3);
    assert!(gw.shown(Table::Shortcuts, &[])[0].contains(" held "));
}

/// The same with the switch of `red-1` itself.
fn with_network_switch(site: &str, on: bool) -> String {
    site.replacen("{ id: red-1,", &format!("{{ id: red-1, distributed_routing: {on},"), 1)
}

#[test]
fn a_network_that_says_so_itself_decides_for_its_packets() {
    let mut gw = Gateway::start(&with_network_switch(SITE, true), crate::WORKERS);
    let (from_1, from_2) = ([10, 1, 2, 9].into(), [10, 1, 1, 7].into());
    assert!(gw.allows_direct("red-1", from_1) && !gw.allows_direct("red-2", from_2));
    gw.reload(&with_network_switch(&site_on(), false)).ignore();
    assert!(!gw.allows_direct("red-1", from_1) && gw.allows_direct("red-2", from_2));
    gw.reload(&with_network_switch(SITE, false)).ignore();
    assert!(!gw.allows_direct("red-1", from_1) && !gw.allows_direct("red-2", from_2));
    gw.take_moved();
}

#[test]
fn a_switch_a_service_and_a_move_take_it_back_at_once() {
    const EIP: &str = "
vips: [{ id: v, public_network: public, address: 203.0.113.9 }]
nics: [{ id: n, network: red-1, address: 10.1.1.7 }]
eips: [{ id: e, vip: v, nic: n }]
";
    for (what, reason) in [
        ("switch", WithdrawReason::SwitchedOff),
        ("switch of the network", WithdrawReason::SwitchedOff),
        ("service", WithdrawReason::Policy),
        ("move", WithdrawReason::Moved),
    ] {
        let (mut gw, a, b, mut host1, mut host2) = switched_on();
        optimise(&mut gw, &a, &b, &mut host1, &mut host2);
        let (told, scope) = match what {
            "switch" => (gw.reload(SITE).frames(), Scope::Vpc),
            // Others of the VPC go on.
            "switch of the network" => {
                let off = with_network_switch(&site_on(), false);
                (gw.reload(&off).frames(), Scope::One(matches(&a, &b)))
            }
            "service" => (gw.reload(&format!("{}{EIP}", site_on())).frames(), Scope::One(matches(&a, &b))),
            _ => {
                gw.silence(&b);
                let moved = b.at(HOST1);
                gw.wake(&moved);
                (gw.from(&moved, &moved.gratuitous()).frames(), Scope::One(matches(&a, &b)))
            }
        };
        // The VIP is announced, too.
        let told = told.iter().filter(|frame| frame[23] == 253);
        let told: Vec<Message> = told.map(|frame| host1.reads(frame).got.message).collect();
        assert_eq!(told, [Message::Withdraw { scope, reason }], "{what}");
        assert!(gw.shown(Table::Shortcuts, &[])[0].contains(" idle "));
    }
}

#[test]
fn what_is_forged_replayed_or_changed_on_the_way_is_counted_and_does_nothing() {
    let (mut gw, a, b, mut host1, mut host2) = switched_on();
    talk(&mut gw, &a, &b, UDP, 1);
    let asked = talk(&mut gw, &a, &b, UDP, 9);
    let located = host2.reads(&asked[0]).got;
    let good = host2.seals(located.header.transaction, &here(&b));
    gw.take_moved();
    // By a VM.
    let hex: String = good.iter().map(|byte| format!("{byte:02x}")).collect();
    gw.from(&b, &format!("ip 10.1.2.9 > 172.31.0.1 proto=253 | hex {hex}")).nothing();
    gw.moved(["flow_miss", "zsnp_forged"]);
    // By a host, but not whole, or not as it was.
    for cut in [1, 10, 63, good.len() - 1] {
        gw.hears_bytes(&host2, &good[..cut]).nothing();
    }
    assert_eq!(gw.refused(Refusal::Malformed), 4);
    for bit in 48 * 8..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        gw.hears_bytes(&host2, &flipped).nothing();
    }
    assert_eq!(gw.refused(Refusal::BadTag), (good.len() as u64 - 48) * 8);
    // As it is, and once more.
    let told = gw.hears_bytes(&host2, &good).frames();
    let offered = host1.reads(&told[0]).got;
    gw.hears_bytes(&host2, &good).nothing();
    assert_eq!(gw.refused(Refusal::Replayed), 1);
    // Somebody else says that it is installed.
    gw.hears(&mut host2, offered.header.transaction, &Message::Ack(Status::Installed)).nothing();
    assert!(gw.shown(Table::Shortcuts, &[])[0].contains(" offering "));
}

#[test]
fn a_host_cannot_draw_the_traffic_of_others() {
    let (mut gw, a, b, _, mut host2) = switched_on();
    talk(&mut gw, &a, &b, UDP, 1);
    let asked = talk(&mut gw, &a, &b, UDP, 9);
    let located = host2.reads(&asked[0]).got;
    let station = Located { address: b.ip, mac: mac(&b), vni: vni(202) };
    let vtep = HOST3.parse().unwrap();
    let claim = Message::Here { station, vtep, mtu: 1450, capabilities: Capabilities::DESTINATION };
    gw.hears(&mut host2, located.header.transaction, &claim).nothing();
}

#[test]
fn equal_addresses_of_another_vpc_are_another_pair() {
    let mut gw = Gateway::start(&site_on(), crate::WORKERS);
    gw.speak_zsnp();
    let (a, b) = (gw.vm("blue-1", "10.1.1.7", HOST2), gw.vm("blue-2", "10.1.2.9", HOST3));
    // Off in `blue`: however much it talks.
    talk(&mut gw, &a, &b, UDP, 1);
    assert!(talk(&mut gw, &a, &b, UDP, 50).is_empty());
    assert!(gw.shown(Table::Shortcuts, &[]).is_empty());
    // A RENEW for its network finds no policy that allows it.
    let mut host2 = gw.agent(HOST2);
    let hit = Hit { matches: matches(&a, &b), packets: 1, bytes: 1 };
    let answer = gw.hears(&mut host2, Transaction(1), &Message::Renew(vec![hit])).frames();
    let (scope, reason) = (Scope::One(hit.matches), WithdrawReason::SwitchedOff);
    assert_eq!(host2.reads(&answer[0]).got.message, Message::Withdraw { scope, reason });
}

#[test]
fn a_gateway_that_starts_takes_over_what_is_renewed() {
    let (mut gw, a, b, mut host1, _) = switched_on();
    let hit = Hit { matches: matches(&a, &b), packets: 50, bytes: 5_000 };
    let answer = gw.hears(&mut host1, Transaction(1), &Message::Renew(vec![hit])).frames();
    assert_eq!(host1.reads(&answer[0]).got.message, shortcut(&a, &b));
    let hit = Hit { packets: 70, bytes: 7_000, ..hit };
    gw.hears(&mut host1, Transaction(2), &Message::Renew(vec![hit])).ignore();
    let shown = gw.shown(Table::Shortcuts, &[]);
    assert!(
        shown[0].starts_with("red red-1 172.31.1.1 10.1.2.9 active ") && shown[0].contains(" 20 2000 "),
        "{shown:?}"
    );
    // A HELLO is answered with its own transaction, an answer never.
    let hello = Message::Hello { capabilities: Capabilities::SOURCE, counters: None, paths: Vec::new() };
    let answer = gw.hears(&mut host1, Transaction(9), &hello).frames();
    assert_eq!(host1.reads(&answer[0]).got.header.transaction, Transaction(9));
}
