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

/// Reads 16 bits in network order; 0 beyond the end (callers have checked the length).
#[inline(always)]
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(b) => u16::from_be_bytes([b[0], b[1]]),
        None => 0,
    }
}

/// Reads 32 bits in network order; 0 beyond the end (callers have checked the length).
#[inline(always)]
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..at + 4) {
        Some(b) => u32::from_be_bytes([b[0], b[1], b[2], b[3]]),
        None => 0,
    }
}

/// Reads 64 bits in network order; 0 beyond the end (callers have checked the length).
#[inline(always)]
fn be64(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..at + 8) {
        Some(b) => u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
        None => 0,
    }
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
