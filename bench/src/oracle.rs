//! Reads emitted frames with a parser that is not ours, and compares them with what a router must send.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, UdpHeader};
use tidegate_fastpath::types::MacAddr;

/// A routed frame, as it must be.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// The Ethernet frame as its sender sent it.
    pub sent: &'a [u8],
    /// Our MAC on the way out.
    pub source: MacAddr,
    /// The next hop's.
    pub destination: MacAddr,
    /// What of the packet is replaced.
    pub replaced: Replaced<'a>,
}

/// What address translation replaces of a packet: addresses with their ports.
#[derive(Clone, Copy)]
pub enum Replaced<'a> {
    /// Nothing.
    Nothing,
    /// The source, by something that is right.
    Source(&'a dyn Fn(Ipv4Addr, u16) -> bool),
    /// The destination, by this.
    Destination(Ipv4Addr, u16),
    /// The source by something that is right, and the destination by this.
    Both(&'a dyn Fn(Ipv4Addr, u16) -> bool, Ipv4Addr, u16),
}

/// Outer headers, as they must be. Pairs are (ours, theirs).
#[derive(Clone, Copy, Debug)]
pub struct Tunnel {
    /// MACs on the underlay.
    pub ends: (MacAddr, MacAddr),
    /// Tunnel ends.
    pub vteps: (Ipv4Addr, Ipv4Addr),
    /// Destination port.
    pub udp_port: u16,
    /// VXLAN network.
    pub vni: u32,
}

/// First source port that may carry entropy (RFC 7348 §5).
const DYNAMIC_PORTS: u16 = 49152;

/// Checks a frame that was routed without tunnel: MACs, TTL less one, what must be replaced is, everything else unchanged,
/// checksums right.
///
/// # Errors
/// The first field that is wrong.
pub fn check_routed(expected: &Expected<'_>, frame: &[u8]) -> Result<()> {
    let payload = check_ethernet(expected.source, expected.destination, frame)?;
    let (_, original) = Ethernet2Header::from_slice(expected.sent)?;
    let (before, body_before) = Ipv4Header::from_slice(original)?;
    let (udp_before, data_before) = UdpHeader::from_slice(body_before)?;
    let (after, body) = Ipv4Header::from_slice(payload).context("IPv4 header")?;
    let (udp, data) = UdpHeader::from_slice(body).context("UDP header")?;
    let mut ip_wanted = Ipv4Header {
        time_to_live: before.time_to_live - 1,
        header_checksum: after.header_checksum,
        ..before
    };
    let mut udp_wanted = UdpHeader { checksum: udp.checksum, ..udp_before };
    let (source, destination) = match expected.replaced {
        Replaced::Nothing => (None, None),
        Replaced::Source(is_right) => (Some(is_right), None),
        Replaced::Destination(address, port) => (None, Some((address, port))),
        Replaced::Both(is_right, address, port) => (Some(is_right), Some((address, port))),
    };
    if let Some(is_right) = source {
        let (address, port) = (Ipv4Addr::from(after.source), udp.source_port);
        ensure!(is_right(address, port), "source {address}:{port}");
        (ip_wanted.source, udp_wanted.source_port) = (after.source, port);
    }
    if let Some((address, port)) = destination {
        (ip_wanted.destination, udp_wanted.destination_port) = (address.octets(), port);
    }
    ensure!(after == ip_wanted, "IPv4 header is {after:?}, not {ip_wanted:?}");
    ensure!(udp == udp_wanted, "UDP header is {udp:?}, not {udp_wanted:?}");
    ensure!(data == data_before, "the payload changed");
    check_header_checksum(&after)?;
    ensure!(udp.calc_checksum_ipv4(&after, data)? == udp.checksum, "UDP checksum {:04x}", udp.checksum);
    Ok(())
}

/// Source and destination port of an Ethernet frame that holds UDP over IPv4.
///
/// # Errors
/// It holds something else.
pub fn udp_ports(frame: &[u8]) -> Result<(u16, u16)> {
    let (_, packet) = Ethernet2Header::from_slice(frame)?;
    let (_, body) = Ipv4Header::from_slice(packet)?;
    let (udp, _) = UdpHeader::from_slice(body)?;
    Ok((udp.source_port, udp.destination_port))
}

/// Checks a frame that was routed into a tunnel: outer headers, VNI, then as [`check_routed`].
///
/// # Errors
/// The first field that is wrong.
pub fn check_tunnel(tunnel: &Tunnel, expected: &Expected<'_>, frame: &[u8]) -> Result<()> {
    let payload = check_ethernet(tunnel.ends.0, tunnel.ends.1, frame).context("outer")?;
    let (ip, body) = Ipv4Header::from_slice(payload).context("outer IPv4 header")?;
    check_header_checksum(&ip).context("outer")?;
    let vteps = [ip.source, ip.destination].map(Ipv4Addr::from);
    ensure!(vteps == [tunnel.vteps.0, tunnel.vteps.1], "outer addresses {vteps:?}");
    ensure!(ip.protocol == IpNumber::UDP, "outer protocol {:?}", ip.protocol);
    ensure!(usize::from(ip.total_len) == payload.len(), "outer total length {}", ip.total_len);
    ensure!(ip.time_to_live > 1 && ip.fragment_offset.value() == 0, "outer TTL or fragment offset");
    let (udp, data) = UdpHeader::from_slice(body).context("outer UDP header")?;
    ensure!(usize::from(udp.length) == body.len(), "outer UDP length {}", udp.length);
    ensure!(udp.destination_port == tunnel.udp_port, "outer UDP port {}", udp.destination_port);
    ensure!(udp.source_port >= DYNAMIC_PORTS, "outer UDP source port {}", udp.source_port);
    ensure!(udp.checksum == 0, "outer UDP checksum {:04x}", udp.checksum);
    let (header, inner) = data.split_at_checked(8).context("VXLAN header cut short")?;
    let wanted = [[8, 0, 0, 0], (tunnel.vni << 8).to_be_bytes()].concat();
    ensure!(header == wanted, "VXLAN header {header:02x?}");
    check_routed(expected, inner).context("inner")
}

/// Checks the MACs of a frame that holds IPv4; returns what is in it.
///
/// # Errors
/// The first field that is wrong.
fn check_ethernet(source: MacAddr, destination: MacAddr, frame: &[u8]) -> Result<&[u8]> {
    let (ethernet, payload) = Ethernet2Header::from_slice(frame).context("Ethernet header")?;
    let macs = [ethernet.source, ethernet.destination].map(MacAddr::new);
    ensure!(macs == [source, destination], "MACs {} > {}", macs[0], macs[1]);
    ensure!(ethernet.ether_type == EtherType::IPV4, "EtherType {:?}", ethernet.ether_type);
    Ok(payload)
}

fn check_header_checksum(ip: &Ipv4Header) -> Result<()> {
    ensure!(ip.header_checksum == ip.calc_header_checksum(), "header checksum {:04x}", ip.header_checksum);
    Ok(())
}
