//! Ethernet II and the 802.1Q tag.
//!
//! ```text
//!  0          6          12     14                     tagged: 14       16       18
//!  | destination | source | type | payload               | type 0x8100 | PCP DEI VID | type | payload
//! ```

use super::{be16, be32, be64, put16};
use crate::types::{MacAddr, Vid};

/// Bytes of an untagged header.
pub const HEADER_LEN: usize = 14;
/// Bytes of a tagged header.
pub const TAGGED_LEN: usize = 18;

/// EtherTypes (IANA `ieee-802-numbers`).
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// Reverse ARP; hypervisors announce a moved VM with it.
    pub const RARP: u16 = 0x8035;
    /// 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
}

/// An Ethernet header, tag included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// To whom.
    pub destination: MacAddr,
    /// From whom.
    pub source: MacAddr,
    /// VLAN id of the tag; 0 for untagged and priority-tagged frames.
    pub vlan: u16,
    /// What follows.
    pub ethertype: u16,
    /// Bytes of the header, 14 or 18.
    pub len: usize,
}

/// Reads the header; `None` when the frame is shorter.
#[inline(always)]
pub fn parse(frame: &[u8]) -> Option<Ethernet> {
    let head = frame.first_chunk::<HEADER_LEN>()?;
    // In two loads; the first ends with the upper part of the source.
    let (upper, lower) = (be64(head, 0), be32(head, 8));
    let (destination, source) = (upper >> 16, upper << 32 | u64::from(lower));
    let mut ethernet = Ethernet {
        destination: MacAddr::from_u64(destination),
        source: MacAddr::from_u64(source),
        vlan: 0,
        ethertype: u16::from_be_bytes([head[12], head[13]]),
        len: HEADER_LEN,
    };
    if ethernet.ethertype == ethertype::VLAN {
        let head = frame.first_chunk::<TAGGED_LEN>()?;
        ethernet.vlan = u16::from_be_bytes([head[14], head[15]]) & 0x0fff;
        ethernet.ethertype = u16::from_be_bytes([head[16], head[17]]);
        ethernet.len = TAGGED_LEN;
    }
    Some(ethernet)
}

/// Bytes of a header with or without tag.
pub const fn header_len(vlan: Option<Vid>) -> usize {
    if vlan.is_some() { TAGGED_LEN } else { HEADER_LEN }
}

/// Writes a header to the front of `frame`, which has at least [`header_len`] bytes.
#[inline(always)]
pub fn emit(frame: &mut [u8], destination: MacAddr, source: MacAddr, vlan: Option<Vid>, ethertype: u16) {
    if let Some(head) = frame.first_chunk_mut::<12>() {
        let (destination, source) = (destination.to_u64(), source.to_u64());
        head[..8].copy_from_slice(&(destination << 16 | source >> 32).to_be_bytes());
        head[8..].copy_from_slice(&(source as u32).to_be_bytes());
    }
    match vlan {
        None => put16(frame, 12, ethertype),
        Some(vid) => {
            put16(frame, 12, ethertype::VLAN);
            put16(frame, 14, vid.get());
            put16(frame, 16, ethertype);
        }
    }
}

/// Whether a frame is for `destination` ([`MacAddr::to_wire`]), and from a single host.
#[inline(always)]
pub fn is_between(head: &[u8], destination: u64) -> bool {
    // The destination and the group bit of the source, which must be clear, are the lower 49 bits.
    head.first_chunk().is_some_and(|start| (u64::from_le_bytes(*start) ^ destination) << 15 == 0)
}

/// The VLAN id of a frame that is tagged and holds IPv4; 0 where the tag is for priority only.
#[inline(always)]
pub fn vlan_of_ipv4(frame: &[u8]) -> Option<u16> {
    let head = frame.first_chunk::<TAGGED_LEN>()?;
    let (outer, inner) = (be16(head, 12), be16(head, 16));
    (outer == ethertype::VLAN && inner == ethertype::IPV4).then_some(be16(head, 14) & 0x0fff)
}

/// Gives a header another destination: [`MacAddr::to_wire`], bits beyond that do not matter.
#[inline(always)]
pub fn set_destination(head: &mut [u8], destination: u64) {
    if let Some(head) = head.first_chunk_mut::<6>() {
        head.copy_from_slice(&destination.to_le_bytes()[..6]);
    }
}

/// Whether a frame has no tag and holds IPv4.
#[inline(always)]
pub fn is_ipv4(frame: &[u8]) -> bool {
    let ethertype = frame.get(12..).and_then(|rest| rest.first_chunk());
    ethertype.is_some_and(|two| u16::from_ne_bytes(*two) == ethertype::IPV4.to_be())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_as_written() {
        let (a, b) = (MacAddr::new([2, 0, 0, 1, 2, 3]), MacAddr::new([0xfa, 0x16, 0x3e, 0, 0x20, 0x9a]));
        for vlan in [None, Some(Vid::new(100).unwrap())] {
            let mut frame = [0u8; 18];
            emit(&mut frame, a, b, vlan, ethertype::ARP);
            let read = parse(&frame).unwrap();
            assert_eq!((read.destination, read.source, read.ethertype), (a, b, ethertype::ARP));
            assert_eq!((read.vlan, read.len), (vlan.map_or(0, Vid::get), header_len(vlan)));
            assert_eq!(parse(&frame[..read.len - 1]), None);
        }
    }
}
