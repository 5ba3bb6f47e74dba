//! The packets of all scenarios: UDP over IPv4 between hosts, checksums right.

use std::net::Ipv4Addr;

use etherparse::{PacketBuilder, PacketBuilderStep, UdpHeader};
use tidegate_fastpath::types::MacAddr;

/// Bytes of FCS, which are in a frame's size but never in memory.
const FCS_LEN: usize = 4;
/// Ethernet, IPv4 and UDP header.
const HEADERS_LEN: usize = 14 + 20 + 8;
/// TTL of arriving packets.
pub(super) const TTL: u8 = 64;

/// A host: `02:00:00:<vpc>:<host>:<vm>` and `10.<vpc>.<host>.<vm>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) ip: Ipv4Addr,
    pub(super) mac: MacAddr,
}

impl Host {
    pub(super) const fn new(vpc: u8, host: u8, vm: u8) -> Host {
        Host { ip: Ipv4Addr::new(10, vpc, host, vm), mac: MacAddr::new([2, 0, 0, vpc, host, vm]) }
    }
}

/// A UDP packet of one flow between two hosts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    pub(super) source: Host,
    /// Its first hop, for the Ethernet header.
    pub(super) gateway: MacAddr,
    pub(super) destination: Ipv4Addr,
    pub(super) ports: (u16, u16),
}

impl Datagram {
    /// An Ethernet frame of `frame_bytes` with FCS, without the FCS; checksums are right.
    pub(super) fn frame(&self, frame_bytes: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..frame_bytes - FCS_LEN - HEADERS_LEN).map(|n| n as u8).collect();
        let builder = PacketBuilder::ethernet2(self.source.mac.octets(), self.gateway.octets())
            .ipv4(self.source.ip.octets(), self.destination.octets(), TTL)
            .udp(self.ports.0, self.ports.1);
        written(builder, &payload)
    }
}

pub(super) fn written(builder: PacketBuilderStep<UdpHeader>, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("a Vec takes every byte, and frames are shorter than 64 KiB");
    frame
}

/// An odd factor: `n * SPREAD` visits every number once, none near the last.
pub(super) const SPREAD: u32 = 0x9e37_79b1;

/// The `n`th address of the world, 96.0.0.0/4: no two are equal below 2^28.
pub(super) const fn world_address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x6000_0000 | n.wrapping_mul(SPREAD) & 0x0fff_ffff)
}
