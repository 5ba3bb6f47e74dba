//! Bytes to types and back. Knows only `types`; the only place where network order exists.
//!
//! A parser takes a slice that may be anything, checks it once and returns a value; accessors that change a packet take
//! the slice of a packet that was parsed before. Nothing here panics on any input.

pub mod arp;
pub mod checksum;
pub mod embedded;
pub mod ethernet;
pub mod icmp;
pub mod ipv4;
pub mod tcp;
pub mod translate;
pub mod udp;
pub mod vxlan;

/// So many bytes, in one load: bytes that are put together one by one are shared with other words that have them, and then the
/// compiler finds no word any more.
#[inline(always)]
fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Reads 16 bits in network order; 0 beyond the end (callers have checked the length).
#[inline(always)]
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    word(bytes, at).map_or(0, u16::from_be_bytes)
}

/// Reads 32 bits in network order; 0 beyond the end (callers have checked the length).
#[inline(always)]
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    word(bytes, at).map_or(0, u32::from_be_bytes)
}

/// Reads 64 bits in network order; 0 beyond the end (callers have checked the length).
#[inline(always)]
fn be64(bytes: &[u8], at: usize) -> u64 {
    word(bytes, at).map_or(0, u64::from_be_bytes)
}

/// Reads 16 bits as they lie there, the first byte lowest; 0 beyond the end (callers have checked the length). For what is only
/// compared.
#[inline(always)]
pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    word(bytes, at).map_or(0, u16::from_le_bytes)
}

/// Reads 32 bits as they lie there, the first byte lowest; 0 beyond the end (callers have checked the length). For what is only
/// compared or summed.
#[inline(always)]
pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    word(bytes, at).map_or(0, u32::from_le_bytes)
}

/// Reads 64 bits as they lie there, the first byte lowest; 0 beyond the end (callers have checked the length).
#[inline(always)]
fn le64(bytes: &[u8], at: usize) -> u64 {
    word(bytes, at).map_or(0, u64::from_le_bytes)
}

/// Writes 16 bits in network order; nothing beyond the end.
#[inline(always)]
fn put16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(b) = bytes.get_mut(at..at + 2) {
        b.copy_from_slice(&value.to_be_bytes());
    }
}

/// Writes 32 bits in network order; nothing beyond the end.
#[inline(always)]
fn put32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(b) = bytes.get_mut(at..at + 4) {
        b.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod sample;
