//! Datagrams in two fragments: cut as their sender would, and put together again to be checked as a whole.

use anyhow::{Context, Result, ensure};
use etherparse::{IpFragOffset, Ipv4Header};

/// An Ethernet header, and an IPv4 header without options.
const ETHERNET_LEN: usize = 14;
const IP_LEN: usize = 20;
/// UDP and VXLAN header, and the Ethernet header inside.
const TUNNEL_LEN: usize = 8 + 8 + ETHERNET_LEN;
/// UDP port of tunnels (RFC 7348 §5).
const VXLAN_PORT: [u8; 2] = 4789u16.to_be_bytes();
/// Of all outer headers, the bytes that are of one packet: total length, checksum, UDP source port and length.
const OF_ONE_PACKET: [usize; 8] = [16, 17, 24, 25, 34, 35, 38, 39];

/// Cuts the packet in an Ethernet frame, inside of its VXLAN tunnel if it is in one, about in the middle.
///
/// # Errors
/// It is no IPv4 packet, or too short.
pub fn cut(frame: &[u8], id: u16) -> Result<[Vec<u8>; 2]> {
    let (front, ip, payload) = parts(frame)?;
    let at = (payload.len() / 2).next_multiple_of(8);
    ensure!(at < payload.len(), "{} bytes cannot be cut", payload.len());
    let (first, later) = payload.split_at(at);
    let offset = IpFragOffset::try_new((at / 8) as u16)?;
    let whole = Ipv4Header { identification: id, dont_fragment: false, ..ip };
    Ok([
        frame_of(front, Ipv4Header { more_fragments: true, ..whole.clone() }, first)?,
        frame_of(front, Ipv4Header { fragment_offset: offset, ..whole }, later)?,
    ])
}

/// The frame that became of `whole`, from what became of its two fragments, with identification and DF as in `whole`.
///
/// # Errors
/// They are no such fragments of one packet: the first field that is wrong.
pub fn joined(whole: &[u8], first: &[u8], later: &[u8]) -> Result<Vec<u8>> {
    let (_, sent, _) = parts(whole)?;
    let (front, ip, mut payload) =
        parts(first).context("first fragment").map(|(f, i, p)| (f, i, p.to_vec()))?;
    let (front_later, ip_later, rest) = parts(later).context("later fragment")?;
    ensure!(ip.more_fragments && ip.fragment_offset.value() == 0, "the first one is {ip:?}");
    let wanted = Ipv4Header {
        more_fragments: false,
        fragment_offset: IpFragOffset::try_new((payload.len() / 8) as u16)?,
        total_len: ip_later.total_len,
        header_checksum: ip_later.header_checksum,
        ..ip.clone()
    };
    ensure!(ip_later == wanted, "the later one is {ip_later:?}, not {wanted:?}");
    let is_same = |(at, (a, b)): (usize, (&u8, &u8))| {
        a == b || OF_ONE_PACKET.contains(&at) && front.len() > ETHERNET_LEN
    };
    let mut pairs = front.iter().zip(front_later).enumerate();
    ensure!(front.len() == front_later.len() && pairs.all(is_same), "they left by different ways");
    payload.extend(rest);
    let header = Ipv4Header {
        identification: sent.identification,
        dont_fragment: sent.dont_fragment,
        more_fragments: false,
        ..ip
    };
    frame_of(front, header, &payload)
}

/// All in front of the tenant's packet, its header, which must have no options and a right checksum, and the rest of it.
fn parts(frame: &[u8]) -> Result<(&[u8], Ipv4Header, &[u8])> {
    let packet = frame.get(ETHERNET_LEN..).context("a frame is cut short")?;
    let (outer, payload) = packet_of(packet)?;
    if payload.get(2..4) != Some(&VXLAN_PORT[..]) {
        return Ok((&frame[..ETHERNET_LEN], outer, payload));
    }
    ensure!(payload.get(4..6) == Some(&(payload.len() as u16).to_be_bytes()[..]), "outer UDP length");
    let inner = payload.get(TUNNEL_LEN..).context("a tunnelled frame is cut short")?;
    let (ip, payload) = packet_of(inner)?;
    Ok((&frame[..frame.len() - inner.len()], ip, payload))
}

fn packet_of(bytes: &[u8]) -> Result<(Ipv4Header, &[u8])> {
    let (ip, payload) = Ipv4Header::from_slice(bytes)?;
    ensure!(ip.header_len() == IP_LEN && usize::from(ip.total_len) == bytes.len(), "{ip:?}");
    ensure!(ip.header_checksum == ip.calc_header_checksum(), "header checksum {:04x}", ip.header_checksum);
    Ok((ip, payload))
}

/// A frame with a packet of other length behind `front`, whose lengths follow.
fn frame_of(front: &[u8], mut ip: Ipv4Header, payload: &[u8]) -> Result<Vec<u8>> {
    ip.set_payload_len(payload.len())?;
    ip.header_checksum = ip.calc_header_checksum();
    let mut frame = [front, &ip.to_bytes(), payload].concat();
    if front.len() > ETHERNET_LEN {
        let (mut outer, body) = Ipv4Header::from_slice(&frame[ETHERNET_LEN..])?;
        let body_len = body.len();
        outer.set_payload_len(body_len)?;
        outer.header_checksum = outer.calc_header_checksum();
        frame[ETHERNET_LEN..ETHERNET_LEN + IP_LEN].copy_from_slice(&outer.to_bytes());
        let udp = ETHERNET_LEN + IP_LEN;
        frame[udp + 4..udp + 6].copy_from_slice(&(body_len as u16).to_be_bytes());
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Name, Parameters};

    #[test]
    fn what_is_cut_is_put_together_again() {
        for (name, tunnel) in [(Name::Snat, 0), (Name::VxlanSnat, IP_LEN + TUNNEL_LEN)] {
            for frame_bytes in [64, 65, 570, 1450] {
                let whole = name.with(&Parameters::default()).arriving(7, frame_bytes);
                let [first, later] = cut(&whole, 9).unwrap();
                assert_eq!(joined(&whole, &first, &later).unwrap(), whole, "{name} {frame_bytes}");
                let headers = ETHERNET_LEN + IP_LEN + tunnel;
                assert_eq!(first.len() + later.len(), whole.len() + headers);
                assert_eq!((first.len() - headers) % 8, 0);
                assert!(joined(&whole, &later, &first).is_err(), "in the wrong order");
                let mut other = later.clone();
                other[headers - 1] ^= 1;
                assert!(joined(&whole, &first, &other).is_err(), "to somebody else");
            }
        }
    }
}
