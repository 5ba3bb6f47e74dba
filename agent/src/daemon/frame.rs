//! The headers of frames that the programs hand over.

use std::net::Ipv4Addr;

use tidegate_zsnp::Mac;

/// An Ethernet frame with an IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) to_mac: Mac,
    pub(super) from_mac: Mac,
    pub(super) to: Ipv4Addr,
    /// What is behind the IP header, without what Ethernet padded.
    pub(super) payload: &'a [u8],
}

const ETHERNET: usize = 14;

impl Frame<'_> {
    /// `None` for a frame that is cut, or a fragment: ZSNP is never fragmented.
    pub(super) fn parse(bytes: &[u8]) -> Option<Frame<'_>> {
        let mac = |at: usize| Some(Mac(bytes.get(at..at + 6)?.try_into().ok()?));
        let (to_mac, from_mac) = (mac(0)?, mac(6)?);
        let (_, to, payload) = parse_ipv4(bytes.get(ETHERNET..)?)?;
        Some(Frame { to_mac, from_mac, to, payload })
    }

    /// The MACs and the destination of a frame of which only the headers are there.
    pub(super) fn heads(bytes: &[u8]) -> Option<(Mac, Mac, Ipv4Addr)> {
        let mac = |at: usize| Some(Mac(bytes.get(at..at + 6)?.try_into().ok()?));
        let to: [u8; 4] = bytes.get(ETHERNET + 16..ETHERNET + 20)?.try_into().ok()?;
        Some((mac(0)?, mac(6)?, Ipv4Addr::from(to)))
    }
}

/// Source, destination and payload of an IPv4 packet that is no fragment.
pub(super) fn parse_ipv4(bytes: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, &[u8])> {
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
    let head = usize::from(bytes.first()? & 15) * 4;
    let len = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
    let fragment = u16::from_be_bytes([*bytes.get(6)?, *bytes.get(7)?]) & 0x3fff;
    if bytes[0] >> 4 != 4 || head < 20 || fragment != 0 {
        return None;
    }
    Some((address(12)?, address(16)?, bytes.get(head..len)?))
}

/// An IPv4 header for ZSNP of so many bytes; the kernel fills in the checksum.
pub(super) fn ipv4_header(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: usize) -> Option<[u8; 20]> {
    let mut header = [0; 20];
    header[0] = 0x45;
    // Network control (RFC 4594 §3.2).
    header[1] = 0xc0;
    header[2..4].copy_from_slice(&u16::try_from(20 + payload).ok()?.to_be_bytes());
    header[8] = 64;
    header[9] = protocol;
    header[12..16].copy_from_slice(&from.octets());
    header[16..].copy_from_slice(&to.octets());
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_whole_is_not_read() {
        let [from, to] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        let mut packet = ipv4_header(from, to, 253, 4).unwrap().to_vec();
        packet.extend([1, 2, 3, 4, 0, 0, 0]);
        assert_eq!(parse_ipv4(&packet), Some((from, to, &[1, 2, 3, 4][..])), "padding is cut");
        for len in 0..24 {
            assert_eq!(parse_ipv4(&packet[..len]), None);
        }
        packet[6] = 0x20;
        assert_eq!(parse_ipv4(&packet), None, "a fragment");
        assert_eq!(ipv4_header(from, to, 253, 65_536), None);
    }
}
