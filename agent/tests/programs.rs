//! Packets through the BPF programs, in the kernel that runs the test. They need CAP_BPF; without it these tests are left out,
//! with a word about it.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use std::{fs, net::Ipv4Addr};

use etherparse::{Ethernet2Slice, Ipv4Slice, PacketBuilder, SlicedPacket, TcpOptionElement};
use tidegate_agent::bpf::{Attach, Error, Event, Options, Pair, Port, Programs, Rule, Side, Stat, agent_mac};
use tidegate_zsnp::{Mac, Vni};

const NEXT: i32 = -1;
const SHOT: i32 = 2;
const REDIRECT: i32 = 7;

const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 1]);
const VM: Mac = Mac([2, 0, 0, 0, 0, 2]);
const REMOTE: Mac = Mac([2, 0, 0, 0, 0, 3]);
const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 168, 20, 154);
const TARGET: Ipv4Addr = Ipv4Addr::new(192, 168, 21, 10);
const VTEP: Ipv4Addr = Ipv4Addr::new(10, 172, 11, 11);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 172, 11, 12);

fn vni(raw: u32) -> Vni {
    Vni::new(raw).unwrap()
}

fn programs() -> Option<Programs> {
    let options = Options { protocol: 253, shortcuts_max: 1024, attach: Attach::Auto };
    match Programs::load(options) {
        Ok(mut programs) => {
            programs.pretend(Port { vni: vni(222), vtep: VTEP, udp_port: 8472 }).unwrap();
            Some(programs)
        }
        Err(why @ (Error::NoPrograms | Error::Load(_) | Error::Program(_))) => {
            let root = fs::read_dir("/root").is_ok();
            assert!(!root || matches!(why, Error::NoPrograms), "{why:?}");
            eprintln!("skipped: {why}");
            None
        }
        Err(why) => panic!("{why}"),
    }
}

fn boot_ns() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    (uptime.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e9) as u64
}

fn rule() -> Rule {
    Rule {
        expires_ns: boot_ns() + 60_000_000_000,
        vni: vni(223),
        vtep: FAR,
        underlay: 1,
        slot: 7,
        mtu: 1450,
        gateway: GATEWAY,
        vm: REMOTE,
    }
}

fn installed() -> Option<Programs> {
    let mut programs = programs()?;
    programs.install(Pair { vni: vni(222), address: TARGET }, &rule()).unwrap();
    Some(programs)
}

/// UDP of a VM with so many bytes.
fn udp(to_mac: Mac, to: Ipv4Addr, ttl: u8, len: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(VM.0, to_mac.0).ipv4(SOURCE.octets(), to.octets(), ttl);
    builder.udp(1000, 2000).write(&mut frame, &vec![7; len]).unwrap();
    frame
}

/// ZSNP in a frame.
fn zsnp(from: Mac, len: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(from.0, VM.0).ipv4(TARGET.octets(), SOURCE.octets(), 64);
    builder.write(&mut frame, etherparse::IpNumber(253), &vec![9; len]).unwrap();
    frame
}

#[test]
fn a_packet_of_a_shortcut_goes_to_the_vms_host_with_one_ttl_less() {
    let Some(mut programs) = installed() else { return };
    let frame = udp(GATEWAY, TARGET, 64, 100);
    let (verdict, out) = programs.run(Side::Vm, &frame).unwrap();
    assert_eq!((verdict, out.len()), (REDIRECT, frame.len() + 50));

    let outer = Ipv4Slice::from_slice(&out[14..]).unwrap();
    let header = outer.header();
    assert_eq!((header.source_addr(), header.destination_addr()), (VTEP, FAR));
    assert_eq!((header.ttl(), header.dont_fragment(), header.protocol().0), (64, true, 17));
    assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
    let udp = &out[34..42];
    assert_eq!((&udp[2..4], &udp[6..8]), (&8472u16.to_be_bytes()[..], &[0, 0][..]));
    assert_eq!(usize::from(u16::from_be_bytes([udp[4], udp[5]])), out.len() - 34);
    assert!(udp[0] >= 0xc0, "an ephemeral source port");
    assert_eq!(out[42..50], [8, 0, 0, 0, 0, 0, 223, 0]);

    let inner = Ethernet2Slice::from_slice_without_fcs(&out[50..]).unwrap();
    assert_eq!((inner.destination(), inner.source()), (REMOTE.0, agent_mac(VTEP).0));
    let ip = Ipv4Slice::from_slice(inner.payload_slice()).unwrap();
    assert_eq!((ip.header().ttl(), ip.header().destination_addr()), (63, TARGET));
    assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
    assert_eq!(ip.payload().payload, &frame[34..], "the rest is as the VM sent it");

    let count = programs.count(7).unwrap();
    assert_eq!((count.packets, count.bytes), (1, frame.len() as u64 - 14));
}

#[test]
fn a_packet_to_a_vm_of_the_same_host_stays_on_it() {
    let Some(mut programs) = programs() else { return };
    let here = Rule { vtep: Ipv4Addr::UNSPECIFIED, ..rule() };
    programs.install(Pair { vni: vni(222), address: TARGET }, &here).unwrap();
    let frame = udp(GATEWAY, TARGET, 64, 100);
    let (verdict, out) = programs.run(Side::Vm, &frame).unwrap();
    let ethernet = Ethernet2Slice::from_slice_without_fcs(&out).unwrap();
    assert_eq!((verdict, out.len()), (REDIRECT, frame.len()));
    assert_eq!((ethernet.destination(), ethernet.source()), (REMOTE.0, agent_mac(VTEP).0));
    let ip = Ipv4Slice::from_slice(&out[14..]).unwrap();
    let ip = ip.header();
    assert_eq!((ip.ttl(), ip.header_checksum()), (63, ip.to_header().calc_header_checksum()));
}

#[test]
fn ecn_is_copied_outside_but_for_congestion() {
    let Some(mut programs) = installed() else { return };
    for (inside, outside) in [(0, 0), (1, 1), (2, 2), (3, 2), (0xb8, 0)] {
        let mut frame = udp(GATEWAY, TARGET, 64, 10);
        frame[15] = inside;
        let (_, out) = programs.run(Side::Vm, &frame).unwrap();
        assert_eq!((out[15], out[65]), (outside, inside));
    }
}

#[test]
fn what_no_shortcut_is_for_is_left_untouched() {
    let Some(mut programs) = installed() else { return };
    let mut tagged = udp(GATEWAY, TARGET, 64, 100);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    let mut options = udp(GATEWAY, TARGET, 64, 100);
    options[14] = 0x46;
    let mut cut = udp(GATEWAY, TARGET, 64, 100);
    cut.truncate(60);
    let mut arp = Vec::new();
    arp.extend([0xff; 6]);
    arp.extend(VM.0);
    arp.extend([8, 6]);
    arp.extend([0; 46]);
    let cases = [
        ("to another VM of its network", udp(REMOTE, TARGET, 64, 100)),
        ("to another address", udp(GATEWAY, Ipv4Addr::new(192, 168, 21, 11), 64, 100)),
        ("whose TTL ends at the gateway", udp(GATEWAY, TARGET, 1, 100)),
        ("without TTL", udp(GATEWAY, TARGET, 0, 100)),
        ("too long", udp(GATEWAY, TARGET, 64, 1423)),
        ("with a VLAN tag", tagged),
        ("with options", options),
        ("cut short", cut),
        ("ARP", arp),
    ];
    for (what, frame) in cases {
        let (verdict, out) = programs.run(Side::Vm, &frame).unwrap();
        assert_eq!((verdict, &out), (NEXT, &frame), "{what}");
    }
    assert_eq!(programs.count(7).unwrap().packets, 0);
    let (verdict, _) = programs.run(Side::Vm, &udp(GATEWAY, TARGET, 64, 1422)).unwrap();
    assert_eq!(verdict, REDIRECT, "the longest that fits");
    assert_eq!(programs.stat(Stat::TooLong).unwrap().packets, 1);
}

#[test]
fn an_expired_shortcut_is_none_whatever_became_of_the_agent() {
    let Some(mut programs) = installed() else { return };
    let expired = Rule { expires_ns: boot_ns() - 1, ..rule() };
    programs.install(Pair { vni: vni(222), address: TARGET }, &expired).unwrap();
    let frame = udp(GATEWAY, TARGET, 64, 100);
    assert_eq!(programs.run(Side::Vm, &frame).unwrap(), (NEXT, frame));
    assert_eq!(programs.stat(Stat::Expired).unwrap().packets, 1);
}

#[test]
fn a_shortcut_of_another_network_with_equal_addresses_is_none() {
    let Some(mut programs) = programs() else { return };
    programs.install(Pair { vni: vni(300), address: TARGET }, &rule()).unwrap();
    let frame = udp(GATEWAY, TARGET, 64, 100);
    assert_eq!(programs.run(Side::Vm, &frame).unwrap(), (NEXT, frame));
}

#[test]
fn a_vm_cannot_speak_zsnp() {
    let Some(mut programs) = programs() else { return };
    let (verdict, _) = programs.run(Side::Vm, &zsnp(VM, 64)).unwrap();
    assert_eq!((verdict, programs.stat(Stat::ZsnpForged).unwrap().packets), (SHOT, 1));
}

#[test]
fn zsnp_from_a_tunnel_is_taken_off_whole() {
    let Some(mut programs) = programs() else { return };
    for len in [1, 64, 1400] {
        let frame = zsnp(GATEWAY, len);
        assert_eq!(programs.run(Side::Vxlan, &frame).unwrap().0, SHOT);
        assert_eq!(programs.event(), Some(Event::Zsnp { ifindex: 1, frame }));
    }
    assert_eq!(programs.event(), None);
    let (verdict, _) = programs.run(Side::Vxlan, &udp(GATEWAY, TARGET, 64, 100)).unwrap();
    assert_eq!((verdict, programs.event()), (NEXT, None));
}

#[test]
fn a_direct_packet_for_a_vm_that_is_not_here_is_told_once() {
    let Some(mut programs) = programs() else { return };
    let mut frame = udp(VM, TARGET, 63, 100);
    frame[6..12].copy_from_slice(&agent_mac(FAR).0);
    programs.add_vm(vni(222), VM).unwrap();
    assert_eq!(programs.run(Side::Vxlan, &frame).unwrap().0, NEXT);
    assert_eq!(programs.event(), None);
    programs.remove_vm(vni(222), VM);
    for _ in 0..3 {
        assert_eq!(programs.run(Side::Vxlan, &frame).unwrap().0, NEXT);
    }
    assert_eq!(programs.event(), Some(Event::Stray { ifindex: 1, frame: frame[..34].to_vec() }));
    assert_eq!(programs.event(), None, "not again so soon");
    let [direct, stray] =
        [Stat::DirectReceived, Stat::StrayReceived].map(|s| programs.stat(s).unwrap().packets);
    assert_eq!((direct, stray), (4, 3));
}

#[test]
fn as_many_shortcuts_as_the_table_has_room_for() {
    let Some(mut programs) = programs() else { return };
    let pair = |n: u32| Pair { vni: vni(222), address: Ipv4Addr::from(0x0a00_0000 + n) };
    for n in 0..1024 {
        programs.install(pair(n), &rule()).unwrap();
    }
    assert!(matches!(programs.install(pair(1024), &rule()), Err(Error::Map(_))));
    programs.remove(pair(0));
    programs.install(pair(1024), &rule()).unwrap();
}

#[test]
fn tcp_of_a_vm_is_short_cut_too() {
    let Some(mut programs) = installed() else { return };
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2(VM.0, GATEWAY.0).ipv4(SOURCE.octets(), TARGET.octets(), 64);
    let builder = builder.tcp(40000, 443, 1, 1000).syn();
    let builder = builder.options(&[TcpOptionElement::MaximumSegmentSize(1410)]).unwrap();
    builder.write(&mut frame, &[]).unwrap();
    let (verdict, out) = programs.run(Side::Vm, &frame).unwrap();
    assert_eq!(verdict, REDIRECT);
    let inner = SlicedPacket::from_ethernet(&out[50..]).unwrap();
    assert!(matches!(inner.transport, Some(etherparse::TransportSlice::Tcp(tcp)) if tcp.syn()));
}

/// Prints what a packet pays with one shortcut and with many; nothing is asserted of it, as other programs run beside this one.
#[test]
fn a_packet_s_look_is_no_longer_among_a_hundred_thousand_shortcuts() {
    let options = Options { protocol: 253, shortcuts_max: 131_072, attach: Attach::Auto };
    let Ok(mut programs) = Programs::load(options) else { return eprintln!("skipped: no programs") };
    programs.pretend(Port { vni: vni(222), vtep: VTEP, udp_port: 8472 }).unwrap();
    // It finds its shortcut and is left to the gateway, because its TTL ends; so every run has the same frame.
    let frame = udp(GATEWAY, TARGET, 1, 100);
    let pair = |n: u32| Pair { vni: vni(222), address: Ipv4Addr::from(0x0a00_0000 + n) };
    programs.install(Pair { vni: vni(222), address: TARGET }, &rule()).unwrap();
    let one = programs.cost(Side::Vm, &frame, 1_000_000).unwrap();
    (0..100_000).for_each(|n| programs.install(pair(n), &rule()).unwrap());
    let many = programs.cost(Side::Vm, &frame, 1_000_000).unwrap();
    let missing = programs.cost(Side::Vm, &udp(GATEWAY, VTEP, 64, 100), 1_000_000).unwrap();
    eprintln!(
        "vm_ingress until its shortcut is found: {one:?} with one, {many:?} among 100,001; none found: {missing:?}"
    );
}
