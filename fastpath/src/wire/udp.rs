//! UDP (RFC 768), as much as a tunnel end reads.

use super::be16;

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

/// A header whose length field fits its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Header and payload bytes.
    pub len: u16,
    /// Checksum; 0 means that there is none.
    pub checksum: u16,
}

/// Reads the header at the front of `segment`; `None` when it is cut short or its length is below 8 or beyond the end.
#[inline(always)]
pub fn parse(segment: &[u8]) -> Option<Udp> {
    let h = segment.first_chunk::<HEADER_LEN>()?;
    let udp = Udp { source: be16(h, 0), destination: be16(h, 2), len: be16(h, 4), checksum: be16(h, 6) };
    (usize::from(udp.len) >= HEADER_LEN && usize::from(udp.len) <= segment.len()).then_some(udp)
}

/// Completes a header that was written without source port and length.
#[inline(always)]
pub fn complete(segment: &mut [u8], source: u16, len: u16) {
    if let Some(h) = segment.first_chunk_mut::<HEADER_LEN>() {
        h[..2].copy_from_slice(&source.to_be_bytes());
        h[4..6].copy_from_slice(&len.to_be_bytes());
    }
}

/// The ports of a UDP or TCP segment; zeros when it is cut short.
#[inline(always)]
pub fn ports(segment: &[u8]) -> (u16, u16) {
    match segment.first_chunk::<4>() {
        Some(h) => (be16(h, 0), be16(h, 2)),
        None => (0, 0),
    }
}
