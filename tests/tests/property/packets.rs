//! Packets as VMs send them, and sometimes a little wrong.

use proptest::prelude::*;

/// Addresses that mean something in the test site, and some that do not.
pub(crate) fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (1u8..5, prop_oneof![Just(1u8), Just(7), Just(9), Just(254), any::<u8>()])
            .prop_map(|(net, host)| format!("10.1.{net}.{host}")),
        1 => any::<u8>().prop_map(|host| format!("192.0.2.{host}")),
        1 => any::<u8>().prop_map(|host| format!("198.51.100.{host}")),
        1 => any::<u8>().prop_map(|host| format!("203.0.113.{host}")),
        1 => any::<u8>().prop_map(|host| format!("172.31.{host}.1")),
        1 => any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
    ]
}

fn ip_words() -> impl Strategy<Value = String> {
    let ttl = prop_oneof![8 => Just(64u8), 1 => 0u8..3, 1 => any::<u8>()];
    let fragment = prop_oneof![
        6 => Just(String::new()),
        2 => Just(" df".to_owned()),
        1 => Just(" mf".to_owned()),
        1 => (1u16..8191).prop_map(|off| format!(" off={}", off * 8)),
    ];
    let options = prop_oneof![
        8 => Just(""),
        1 => Just(" opt=94040000"),
        1 => Just(" opt=0707040000000000"),
        1 => Just(" opt=8307040a01010700"),
        1 => Just(" opt=94ff0000"),
    ];
    let wrong = prop_oneof![20 => Just(""), 1 => Just(" badsum")];
    (ttl, any::<u8>(), any::<u16>(), fragment, options, wrong).prop_map(
        |(ttl, tos, id, fragment, options, wrong)| {
            format!("ttl={ttl} tos={tos} ipid={id}{fragment}{options}{wrong}")
        },
    )
}

/// An IPv4 packet, as text.
pub(crate) fn ipv4(source: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let ports = (1u16..4, 1u16..4);
    let len = prop_oneof![4 => 0usize..64, 1 => 1300usize..1600, 1 => 0usize..4000];
    let kind = 0u8..5;
    (source, address(), ports, kind, len, ip_words()).prop_map(
        |(from, to, (sport, dport), kind, len, words)| match kind {
            0 => format!("udp {from}:{sport} > {to}:{dport} len={len} {words}"),
            1 => format!("tcp {from}:{sport} > {to}:{dport} S mss={} {words}", 500 + len),
            2 => format!("icmp echo {from} > {to} id={sport} seq={dport} len={len} {words}"),
            3 => format!("icmp no-port {from} > {to} {words} | udp {to}:{dport} > {from}:{sport}"),
            _ => format!("ip {from} > {to} proto=47 len={len} {words}"),
        },
    )
}

/// What else a VM sends.
pub(crate) fn arp() -> impl Strategy<Value = String> {
    let mac = "02:01:0a:01:01:07";
    (address(), address(), any::<bool>()).prop_map(move |(target, sender, asks)| match asks {
        true => format!("arp ask {target} from {sender} {mac}"),
        false => format!("arp tell {sender} {mac} to {target} 02:00:00:00:00:01"),
    })
}

/// A frame with some of its bytes changed: mostly none.
pub(crate) fn damaged(frame: Vec<u8>, damage: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = frame;
    for (at, value) in damage {
        let at = at % frame.len().max(1);
        if let Some(byte) = frame.get_mut(at) {
            *byte = *value;
        }
    }
    frame
}

/// Which bytes to change to what.
pub(crate) fn damage() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop_oneof![6 => Just(Vec::new()), 1 => prop::collection::vec((0usize..120, any::<u8>()), 1..3)]
}
