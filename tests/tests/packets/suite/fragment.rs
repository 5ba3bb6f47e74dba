//! Packets that are cut (RFC 791 §3.2), and TCP that is told not to need it (RFC 6691).

use etherparse::{Ipv4Header, Ipv4Slice};

use super::*;

/// A packet of a VLAN network (MTU 1500) to a VXLAN one (MTU 1450).
fn cut(gw: &mut Gateway, c: &Station, packet: &str) -> Vec<Vec<u8>> {
    let headers = 14 + 20 + 8 + 8 + 14;
    gw.from(c, packet).frames().into_iter().map(|frame| frame[headers..].to_vec()).collect()
}

fn red_lan() -> (Gateway, Station, Station) {
    let (mut gw, a, _) = red();
    let c = gw.vm("red-3", "10.1.3.7", HOST1);
    (gw, a, c)
}

fn header(packet: &[u8]) -> Ipv4Header {
    Ipv4Slice::from_slice(packet).unwrap().header().to_header()
}

/// Puts fragments together again; checks that they do not overlap and leave no hole.
fn reassemble(fragments: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (at, fragment) in fragments.iter().enumerate() {
        let ip = header(fragment);
        assert!(
            fragment.len() <= 1450 && fragment.len() == usize::from(ip.total_len),
            "fragment {at}: {ip:?}"
        );
        assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "fragment {at}");
        let base = usize::from(header(&fragments[0]).fragment_offset.value()) * 8;
        assert_eq!(usize::from(ip.fragment_offset.value()) * 8 - base, payload.len(), "fragment {at}");
        assert!(at + 1 == fragments.len() || ip.more_fragments, "fragment {at}");
        assert_eq!(ip.identification, header(&fragments[0]).identification);
        payload.extend_from_slice(&fragment[ip.header_len()..]);
    }
    payload
}

#[test]
fn a_packet_too_big_without_df_is_cut() {
    let (mut gw, a, c) = red_lan();
    gw.from(&c, "udp 10.1.3.7:1 > 10.1.1.7:2 ttl=64 ipid=7 tos=8 len=1472")
        .to(&a, "udp 10.1.3.7:1 > 10.1.1.7:2 ttl=63 ipid=7 tos=8 mf len=1416")
        .to(&a, "ip 10.1.3.7 > 10.1.1.7 proto=17 ttl=63 ipid=7 tos=8 off=1424 len=56");
    gw.moved(["flow_miss", "flow_learn", "fragmented"]);
}

#[test]
fn fragments_make_the_packet_again() {
    let (mut gw, _, c) = red_lan();
    for len in [1423, 1424, 1425, 1430, 1471, 1472, 4000, 8000] {
        let packet = format!("udp 10.1.3.7:1 > 10.1.1.7:2 ipid=7 len={len}");
        let fragments = cut(&mut gw, &c, &packet);
        assert!(fragments.len() > 1, "{len}");
        let sent = tidegate_tests::packet::frame(&packet).unwrap();
        assert!(reassemble(&fragments) == sent[20..], "{len}");
        assert!(!header(fragments.last().unwrap()).more_fragments);
    }
}

#[test]
fn options_that_are_to_be_copied_are_in_every_fragment_and_others_in_the_first() {
    let (mut gw, _, c) = red_lan();
    // Router alert (copied), record route (not copied), end.
    let (alert, record) = ("94040000", "07070400000000");
    let packet = format!("udp 10.1.3.7:1 > 10.1.1.7:2 opt={alert}{record}00 len=1460");
    let fragments = cut(&mut gw, &c, &packet);
    let options: Vec<Vec<u8>> = fragments.iter().map(|f| header(f).options.as_slice().to_vec()).collect();
    assert_eq!(options, [vec![0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0], vec![0x94, 4, 0, 0]]);
    assert!(reassemble(&fragments) == tidegate_tests::packet::frame(&packet).unwrap()[32..]);
}

#[test]
fn a_fragment_is_cut_again() {
    let (mut gw, _, c) = red_lan();
    for (words, more) in [("mf off=1480", true), ("off=2960", false)] {
        let packet = format!("ip 10.1.3.7 > 10.1.1.7 proto=17 ipid=7 {words} len=1480");
        let fragments = cut(&mut gw, &c, &packet);
        assert_eq!(fragments.len(), 2);
        assert_eq!(header(fragments.last().unwrap()).more_fragments, more);
        let offset = usize::from(header(&fragments[0]).fragment_offset.value()) * 8;
        assert!(words.ends_with(&format!("off={offset}")));
        assert!(reassemble(&fragments) == tidegate_tests::packet::frame(&packet).unwrap()[20..]);
    }
}

#[test]
fn fragments_share_the_outer_source_port_of_their_packet() {
    let (mut gw, _, c) = red_lan();
    let frames = gw.from(&c, "udp 10.1.3.7:1 > 10.1.1.7:2 len=4000").frames();
    let ports: Vec<&[u8]> = frames.iter().map(|frame| &frame[34..36]).collect();
    assert!(ports.len() == 3 && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
}

#[test]
fn a_packet_that_cannot_be_cut_for_want_of_buffers_is_dropped() {
    let (mut gw, _, c) = red_lan();
    for worker in 0..crate::WORKERS {
        gw.io(worker).set_pool_limit(1);
    }
    gw.from(&c, "udp 10.1.3.7:1 > 10.1.1.7:2 len=1472").nothing();
    gw.moved(["flow_miss", "flow_learn", "no_buffer"]);
}

#[test]
fn a_syn_is_told_what_the_path_carries() {
    let (mut gw, a, b) = red();
    let c = gw.vm("red-3", "10.1.3.7", HOST1);
    let d = gw.vm("red-4", "10.1.4.7", HOST1);
    let mut syn = |from: &Station, to: &Station, flags: &str, mss: u16, expected: u16| {
        let tcp = format!("tcp {}:1000 > {}:80 {flags} seq=77", from.ip, to.ip);
        gw.from(from, &format!("{tcp} ttl=64 mss={mss}")).to(to, &format!("{tcp} ttl=63 mss={expected}"));
        gw.take_moved().get("mss_clamped").copied().unwrap_or_default()
    };
    assert_eq!(syn(&a, &b, "S", 1460, 1410), 1);
    assert_eq!(syn(&b, &a, "SA", 1460, 1410), 1);
    assert_eq!(syn(&a, &b, "S", 1410, 1410), 0);
    assert_eq!(syn(&a, &b, "S", 536, 536), 0, "never raised");
    assert_eq!(syn(&c, &d, "S", 1460, 1460), 0, "1500 on both sides");
    assert_eq!(syn(&c, &d, "S", 8960, 1460), 1);
    assert_eq!(syn(&a, &c, "S", 1460, 1410), 1, "the smaller network counts, whether it is behind");
    assert_eq!(syn(&c, &a, "S", 1460, 1410), 1, "or before us");
}

#[test]
fn only_a_syn_is_changed() {
    let (mut gw, a, b) = red();
    for tcp in ["A mss=1460", "AF", "S", "S len=10", "R"] {
        let packet = format!("tcp 10.1.1.7:1000 > 10.1.2.9:80 {tcp}");
        gw.from(&a, &packet).to(&b, &packet);
    }
    gw.from(&a, "tcp 10.1.1.7:1000 > 10.1.2.9:80 S mss=1460 badl4sum")
        .to(&b, "tcp 10.1.1.7:1000 > 10.1.2.9:80 S mss=1410 badl4sum");
}
