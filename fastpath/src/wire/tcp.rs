//! TCP (RFC 9293), as much as a router touches: the SYN flag, the MSS option, and the reset of a segment that is refused.

use std::net::Ipv4Addr;

use super::{be16, checksum, ipv4::protocol, put16};

/// Flags of the 14th byte.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Option kind "maximum segment size" (RFC 9293 §3.7.1), 4 bytes long.
const MSS: u8 = 2;

/// Whether the segment opens a connection (SYN, with or without ACK).
#[inline(always)]
pub fn is_syn(segment: &[u8]) -> bool {
    matches!(segment.get(13), Some(flags) if flags & SYN != 0)
}

/// Whether a segment with these flags neither opens nor ends a connection.
#[inline(always)]
pub const fn is_of_open_connection(flags: u8) -> bool {
    flags & (SYN | FIN | RST | ACK) == ACK
}

/// Lowers the MSS option of a SYN to `limit` and updates the checksum. Returns whether it changed anything. Malformed
/// options are left as they are; the receiving host judges them.
pub fn clamp_mss(segment: &mut [u8], limit: u16) -> bool {
    let Some(&offset) = segment.get(12) else { return false };
    let end = (usize::from(offset >> 4) * 4).min(segment.len());
    let mut at = HEADER_LEN;
    while at < end {
        let len = match (segment[at], segment.get(at + 1)) {
            (0, _) => return false,
            (1, _) => 1,
            (MSS, Some(4)) if at + 4 <= end => return lower(segment, at + 2, limit),
            (_, Some(&len)) if len >= 2 => usize::from(len),
            _ => return false,
        };
        at += len;
    }
    false
}

/// Lowers the 16-bit value at `at`, which need not be aligned to the words of the checksum.
fn lower(segment: &mut [u8], at: usize, limit: u16) -> bool {
    let old = be16(segment, at);
    if old <= limit {
        return false;
    }
    let swap = |value: u16| if at.is_multiple_of(2) { value } else { value.swap_bytes() };
    let check = checksum::update(be16(segment, 16), swap(old), swap(limit));
    put16(segment, at, limit);
    put16(segment, 16, check);
    true
}

/// A reset: what answers a segment that is of no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    source_port: u16,
    destination_port: u16,
    sequence: u32,
    /// `None` without the ACK flag.
    acknowledge: Option<u32>,
}

/// The reset that answers `segment` (header and data) where there is no connection (RFC 9293 §3.10.7.1). `None` for a reset, and
/// for what is cut short.
pub fn reset_of(segment: &[u8]) -> Option<Reset> {
    let header = segment.first_chunk::<HEADER_LEN>()?;
    let flags = header[13];
    let data = segment.len().checked_sub(usize::from(header[12] >> 4) * 4)?;
    if flags & RST != 0 {
        return None;
    }
    let [sequence, acknowledge] =
        [4, 8].map(|at| u32::from(be16(header, at)) << 16 | u32::from(be16(header, at + 2)));
    let len = data as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let (sequence, acknowledge) = match flags & ACK {
        0 => (0, Some(sequence.wrapping_add(len))),
        _ => (acknowledge, None),
    };
    Some(Reset { source_port: be16(header, 2), destination_port: be16(header, 0), sequence, acknowledge })
}

impl Reset {
    /// Writes the segment, checksum included.
    pub fn emit(&self, segment: &mut [u8; HEADER_LEN], source: Ipv4Addr, destination: Ipv4Addr) {
        let flags = RST | if self.acknowledge.is_some() { ACK } else { 0 };
        *segment = [0; HEADER_LEN];
        put16(segment, 0, self.source_port);
        put16(segment, 2, self.destination_port);
        segment[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        segment[8..12].copy_from_slice(&self.acknowledge.unwrap_or_default().to_be_bytes());
        segment[12] = (HEADER_LEN as u8 / 4) << 4;
        segment[13] = flags;
        let pseudo = checksum::pseudo_header(source, destination, protocol::TCP, HEADER_LEN as u16);
        let check = !checksum::sum(segment, pseudo);
        put16(segment, 16, check);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_answers_what_it_is_about() {
        let segment = |flags: u8, data: usize| {
            let mut segment = vec![0; 20 + data];
            segment[..12].copy_from_slice(&[0x9c, 0x40, 0, 80, 0, 0, 1, 0, 0, 0, 2, 0]);
            segment[12] = 5 << 4;
            segment[13] = flags;
            segment
        };
        for (flags, data, sequence, acknowledge) in [
            (SYN, 0, 0, Some(0x101)),
            (SYN | FIN, 3, 0, Some(0x105)),
            (0, 5, 0, Some(0x105)),
            (ACK, 5, 0x200, None),
            (SYN | ACK, 0, 0x200, None),
        ] {
            let reset = reset_of(&segment(flags, data)).unwrap();
            let expected = Reset { source_port: 80, destination_port: 40_000, sequence, acknowledge };
            assert_eq!(reset, expected, "{flags:#x}");
            let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
            let mut bytes = [0xff; HEADER_LEN];
            reset.emit(&mut bytes, from, to);
            let pseudo = checksum::pseudo_header(from, to, protocol::TCP, HEADER_LEN as u16);
            assert_eq!(checksum::sum(&bytes, pseudo), 0xffff);
            assert_eq!(bytes[13], if acknowledge.is_some() { RST | ACK } else { RST });
        }
        assert_eq!((reset_of(&segment(RST, 0)), reset_of(&[0; 19])), (None, None));
        let mut broken = segment(SYN, 0);
        broken[12] = 0xf0;
        assert_eq!(reset_of(&broken), None);
    }

    fn sealed(options: &[u8]) -> Vec<u8> {
        let mut segment = vec![0u8; 20];
        segment[12] = (((20 + options.len()) / 4) as u8) << 4;
        segment[13] = SYN;
        segment.extend_from_slice(options);
        let check = !checksum::sum(&segment, pseudo(&segment));
        put16(&mut segment, 16, check);
        segment
    }

    fn pseudo(segment: &[u8]) -> u16 {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        checksum::pseudo_header(a, b, 6, segment.len() as u16)
    }

    #[test]
    fn mss_is_lowered_never_raised_wherever_it_stands() {
        for (options, expected) in [
            (&[2, 4, 0x05, 0xb4][..], Some(&[2, 4, 0x05, 0x78][..])),
            (&[1, 2, 4, 0x05, 0xb4, 1, 1, 0], Some(&[1, 2, 4, 0x05, 0x78, 1, 1, 0])),
            (&[2, 4, 0x01, 0x00], None),
            (&[4, 2, 1, 1], None),
            (&[0, 2, 4, 5], None),
            (&[2, 4, 0x05], None),
            (&[3, 0, 0, 0], None),
            (&[], None),
        ] {
            let mut segment = sealed(options);
            assert!(is_syn(&segment));
            assert_eq!(clamp_mss(&mut segment, 1400), expected.is_some(), "{options:?}");
            assert_eq!(&segment[20..], expected.unwrap_or(options));
            assert_eq!(checksum::sum(&segment, pseudo(&segment)), 0xffff, "{options:?}");
        }
        for len in 0..24 {
            clamp_mss(&mut vec![0xff; len], 1400);
        }
    }
}
