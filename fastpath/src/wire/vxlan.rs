//! VXLAN (RFC 7348 §5).
//!
//! ```text
//!  0     1          4     7
//!  | I = 0x08 | reserved | VNI (24) | reserved |
//! ```

use std::net::Ipv4Addr;

use super::{
    ipv4::{self, protocol},
    udp,
};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Flag "the VNI is valid"; the other bits are ignored on receipt and sent as zero.
const FLAG_I: u8 = 0x08;

/// Why a VXLAN header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadVxlan {
    /// Cut short.
    Truncated,
    /// I flag clear.
    Flags,
}

/// Reads the VNI of the header at the front of `bytes`.
///
/// # Errors
/// [`BadVxlan`].
#[inline(always)]
pub fn parse(bytes: &[u8]) -> Result<u32, BadVxlan> {
    let h = bytes.first_chunk::<HEADER_LEN>().ok_or(BadVxlan::Truncated)?;
    if h[0] & FLAG_I == 0 {
        return Err(BadVxlan::Flags);
    }
    Ok(u32::from_be_bytes([h[4], h[5], h[6], h[7]]) >> 8)
}

/// Writes UDP (checksum 0, RFC 7348 §5) and VXLAN header to the front of `bytes`, which has at least 16 bytes.
#[inline(always)]
pub fn emit(bytes: &mut [u8], source_port: u16, udp_port: u16, udp_len: u16, vni: u32) {
    let Some(h) = bytes.first_chunk_mut::<{ udp::HEADER_LEN + HEADER_LEN }>() else { return };
    h[..2].copy_from_slice(&source_port.to_be_bytes());
    h[2..4].copy_from_slice(&udp_port.to_be_bytes());
    h[4..6].copy_from_slice(&udp_len.to_be_bytes());
    h[6..12].copy_from_slice(&[0, 0, FLAG_I, 0, 0, 0]);
    h[12..16].copy_from_slice(&(vni << 8).to_be_bytes());
}

/// TTL of outer packets.
const OUTER_TTL: u8 = 64;

/// The IPv4 header in front of a tunnel's UDP header; `total_len` counts both and what follows.
#[inline(always)]
pub const fn outer_header(
    tos: u8,
    total_len: u16,
    source: Ipv4Addr,
    destination: Ipv4Addr,
) -> ipv4::NewHeader {
    // RFC 7348 §4.3: VTEPs do not fragment; with DF the identification means nothing (RFC 6864).
    let (id, fragment) = (0, ipv4::DF);
    let (ttl, protocol) = (OUTER_TTL, protocol::UDP);
    ipv4::NewHeader { tos, total_len, id, fragment, ttl, protocol, source, destination }
}

/// ECN bits of a TOS byte (RFC 3168).
const ECN: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT1: u8 = 0b01;
const ECT0: u8 = 0b10;
const CE: u8 = 0b11;

/// Outer TOS for an inner one: ECN copied (RFC 6040 §4.1, normal mode), DSCP 0 (RFC 2983 pipe model: tenants do not choose
/// the underlay's class).
#[inline(always)]
pub const fn encap_tos(inner: u8) -> u8 {
    inner & ECN
}

/// Inner TOS after decap (RFC 6040 §4.2, figure 4); `None` where the packet must be dropped.
#[inline(always)]
pub const fn decap_tos(outer: u8, inner: u8) -> Option<u8> {
    let ecn = match (outer & ECN, inner & ECN) {
        (CE, NOT_ECT) => return None,
        (CE, _) => CE,
        (ECT1, ECT0) => ECT1,
        (_, inner) => inner,
    };
    Some(inner & !ECN | ecn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_as_written_and_reserved_bits_are_ignored() {
        let mut bytes = [0xffu8; 16];
        emit(&mut bytes, 50_000, 8472, 100, 0x00ab_cdef);
        assert_eq!(parse(&bytes[8..]), Ok(0x00ab_cdef));
        assert_eq!(bytes[8..], [8, 0, 0, 0, 0xab, 0xcd, 0xef, 0]);
        let read = udp::parse(&[&bytes[..], &[0; 84]].concat()).unwrap();
        assert_eq!((read.source, read.destination, read.len, read.checksum), (50_000, 8472, 100, 0));
        assert_eq!(parse(&[0xff, 1, 2, 3, 0, 0, 5, 9]), Ok(5));
        assert_eq!(parse(&[0xf7, 0, 0, 0, 0, 0, 5, 0]), Err(BadVxlan::Flags));
        assert_eq!(parse(&[8, 0, 0, 0, 0, 0, 5]), Err(BadVxlan::Truncated));
    }

    #[test]
    fn ecn_is_combined_as_rfc_6040_figure_4_says() {
        // Columns: outer Not-ECT, ECT(0), ECT(1), CE.
        let table = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT0, [Some(ECT0), Some(ECT0), Some(ECT1), Some(CE)]),
            (ECT1, [Some(ECT1), Some(ECT1), Some(ECT1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [NOT_ECT, ECT0, ECT1, CE].into_iter().zip(row) {
                assert_eq!(decap_tos(0xb8 | outer, 0x28 | inner), expected.map(|ecn| 0x28 | ecn));
            }
        }
        assert_eq!(encap_tos(0xb8 | CE), CE);
    }
}
