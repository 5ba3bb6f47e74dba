//! TCP (RFC 9293), as much as a router touches: the SYN flag and the MSS option.

use super::{be16, checksum, put16};

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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

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
