//! A packet for every reason that a packet can have.

use std::collections::HashSet;

use tidegate_fastpath::{
    reason::DropReason::{self, *},
    types::PortId,
};
use tidegate_tests::packet::frame;

use super::{gateway, warm};

/// Reasons that no single packet provokes, and where they are tested instead.
const ELSEWHERE: &[(DropReason, &str)] = &[
    (MultiSegment, "fastpath: the pipeline's tests, with a buffer that has segments"),
    (VxlanChecksum, "here, below: the text has no word for it"),
    (RouteUnusable, "fastpath: the route stage's tests"),
    (NeighbourUnresolved, "route.rs: a neighbour that does not answer"),
    (NotLocal, "fastpath: the local stage's tests"),
    (HoldFull, "fastpath: the hold queue's tests"),
    (PuntLimited, "fastpath: the pipeline's tests"),
    (PuntFull, "fastpath: the pipeline's tests"),
    (NoBuffer, "fastpath: the pipeline's tests, with an empty pool"),
    (NoHeadroom, "fastpath: the pipeline's tests, without headroom"),
    (TxFull, "fastpath: the pipeline's tests, with a full port"),
    (Shutdown, "fastpath: the worker's tests"),
];

/// What a VM, `a`, sends inside the tunnel, and why it goes no further.
const FROM_VM: &[(DropReason, &str)] = &[
    (SourceMac, "eth ff:ff:ff:ff:ff:ff > {gw} | udp 10.1.1.7:1 > 10.1.2.8:1"),
    (NotOurMac, "eth {vm} > 02:00:00:99:99:99 | udp 10.1.1.7:1 > 10.1.2.8:1"),
    (UnknownEthertype, "eth {vm} > {gw} type=86dd | hex 6000000000000000"),
    (ArpMalformed, "eth {vm} > ff:ff:ff:ff:ff:ff type=0806 | hex 0001080006040001"),
    (ArpNotOurs, "eth {vm} > ff:ff:ff:ff:ff:ff | arp ask 10.1.1.9 from 10.1.1.7 {vm}"),
    (IpVersion, "eth {vm} > {gw} type=0800 | hex 6500001400000000401100000a0101070a010208"),
    (IpHeaderLength, "eth {vm} > {gw} type=0800 | hex 4400001400000000401100000a0101070a010208"),
    (IpTruncated, "eth {vm} > {gw} type=0800 | hex 4500ffff00000000401100000a0101070a010208"),
    (IpChecksum, "eth {vm} > {gw} | udp 10.1.1.7:1 > 10.1.2.8:1 badsum"),
    (IpSourceRoute, "eth {vm} > {gw} | udp 10.1.1.7:1 > 10.1.2.8:1 opt=8307040a01010900"),
    (IpOptions, "eth {vm} > {gw} | udp 10.1.1.7:1 > 10.1.2.8:1 opt=07ff0400"),
    (MartianSource, "eth {vm} > {gw} | udp 127.0.0.1:1 > 10.1.2.8:1"),
    (MartianDestination, "eth {vm} > {gw} | udp 10.1.1.7:1 > 127.0.0.1:1"),
    (LinkLocal, "eth {vm} > {gw} | udp 169.254.1.1:1 > 10.1.2.8:1"),
    (Multicast, "eth {vm} > 01:00:5e:00:00:09 | udp 10.1.1.7:1 > 224.0.0.9:1"),
    (Broadcast, "eth {vm} > {gw} | udp 10.1.1.7:1 > 10.1.2.255:1"),
    (VxlanInnerVlan, "eth {vm} > {gw} | vlan 5 | udp 10.1.1.7:1 > 10.1.2.8:1"),
    (Blackhole, "eth {vm} > {gw} | udp 10.1.1.7:1 > 10.99.0.1:1"),
];

/// What comes on the underlay port.
const FROM_UNDERLAY: &[(DropReason, &str)] = &[
    (RuntFrame, "hex 020000"),
    (UnknownVlan, "eth 02:ac:1f:00:01:01 > 02:00:00:00:00:01 | vlan 5 | udp 172.31.1.1:1 > 172.31.0.1:1"),
    (VxlanTruncated, "eth 02:ac:1f:00:01:01 > 02:00:00:00:00:01 | udp 172.31.1.1:1 > 172.31.0.1:8472 len=3"),
    (
        VxlanFlags,
        "eth 02:ac:1f:00:01:01 > 02:00:00:00:00:01 | vxlan 101 172.31.1.1 > 172.31.0.1 flags=0 | hex 00",
    ),
    (
        VxlanFragment,
        "eth 02:ac:1f:00:01:01 > 02:00:00:00:00:01 | vxlan 101 172.31.1.1 > 172.31.0.1 mf | hex 00",
    ),
    (UnknownVni, "eth 02:ac:1f:00:01:01 > 02:00:00:00:00:01 | vxlan 999 172.31.1.1 > 172.31.0.1 | hex 00"),
    (IcmpMalformed, "eth 02:ac:1f:00:01:01 > 02:00:00:00:00:01 | icmp echo 172.31.1.1 > 172.31.0.1 badl4sum"),
];

#[test]
fn every_reason_has_its_packet() {
    let mut shown: HashSet<_> = ELSEWHERE.iter().map(|(reason, _)| *reason).collect();
    let mut gw = gateway();
    warm(&mut gw);
    let (vm, mac) = ("02:00:00:01:01:07", gw.mac_towards("a").to_string());
    for (reason, inner) in FROM_VM {
        let inner = inner.replace("{vm}", vm).replace("{gw}", &mac);
        let text = format!(
            "eth 02:ac:1f:00:01:01 > 02:00:00:00:00:01 | vxlan 101 172.31.1.1 > 172.31.0.1 | {inner}"
        );
        gw.frame_from("a", &text).dropped(*reason);
        gw.forget();
        shown.insert(*reason);
    }
    for (reason, text) in FROM_UNDERLAY {
        gw.frame_from("host1", text).dropped(*reason);
        gw.forget();
        shown.insert(*reason);
    }
    // These come with an ICMP error.
    let ecn = format!(
        "eth 02:ac:1f:00:01:01 > 02:00:00:00:00:01 | vxlan 101 172.31.1.1 > 172.31.0.1 tos=3 \
         | eth {vm} > {mac} | udp 10.1.1.7:1 > 10.1.2.8:1"
    );
    gw.frame_from("a", &ecn).dropped(EcnNotCapable);
    for (reason, packet) in [
        (NoRoute, "udp 10.1.1.7:1 > 192.0.2.1:1"),
        (TtlExceeded, "udp 10.1.1.7:1 > 10.1.2.8:1 ttl=1"),
        (NeedsFragmentation, "udp 10.1.1.7:1 > 10.1.2.8:1 df len=1400"),
    ] {
        assert_eq!(gw.from("a", packet).texts().len(), 1, "{reason}");
        assert_eq!(gw.counters()[reason.label()], 1);
        shown.insert(reason);
    }
    shown.insert(EcnNotCapable);
    let missing: Vec<_> = DropReason::ALL.iter().filter(|reason| !shown.contains(reason)).collect();
    assert!(missing.is_empty(), "no packet shows {missing:?}");
    gw.stop();
}

#[test]
fn a_wrong_outer_checksum_is_seen() {
    let mut gw = gateway();
    warm(&mut gw);
    let mac = gw.mac_towards("a");
    let text = format!(
        "eth 02:ac:1f:00:01:01 > 02:00:00:00:00:01 | vxlan 101 172.31.1.1 > 172.31.0.1 sum \
         | eth 02:00:00:01:01:07 > {mac} | udp 10.1.1.7:1 > 10.1.2.8:1 len=64"
    );
    let mut bytes = frame(&text).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    gw.bytes_on(PortId(0), &bytes).dropped(VxlanChecksum);
}
