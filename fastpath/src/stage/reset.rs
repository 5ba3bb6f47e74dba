//! Does a refused TCP segment deserve a reset? Turns the segment into it.

use crate::{
    buffer::Buffer,
    reason::DropReason,
    wire::{
        ipv4::{self, Ipv4, protocol},
        tcp,
    },
};

/// TTL of our own packets (RFC 1122 §3.2.1.7, IANA default).
const TTL: u8 = 64;

/// Whether a reset tells the sender of a TCP segment about a drop.
pub fn is_told(reason: DropReason, ip: &Ipv4) -> bool {
    ip.protocol() == protocol::TCP && matches!(reason, DropReason::NoBackend | DropReason::StraySegment)
}

/// Turns a segment into the reset that its receiver would send (RFC 9293 §3.10.7.1). False, with the packet as it was, where
/// there is none: the segment is a reset, or cut short, or a fragment.
pub fn become_reset<B: Buffer>(packet: &mut B, ip: &Ipv4, id: u16) -> bool {
    let header_len = usize::from(ip.header_len());
    let Some(segment) = packet.bytes().get(header_len..usize::from(ip.total_len())) else { return false };
    if ip.is_fragment() {
        return false;
    }
    let Some(reset) = tcp::reset_of(segment) else { return false };
    let header = ipv4::NewHeader {
        tos: 0,
        total_len: (ipv4::HEADER_LEN + tcp::HEADER_LEN) as u16,
        id,
        fragment: 0x4000,
        ttl: TTL,
        protocol: protocol::TCP,
        source: ip.destination(),
        destination: ip.source(),
    };
    packet.truncate(ipv4::HEADER_LEN + tcp::HEADER_LEN);
    let bytes = packet.bytes_mut();
    header.emit(bytes);
    let Some(room) = bytes.get_mut(ipv4::HEADER_LEN..).and_then(|rest| rest.first_chunk_mut()) else {
        return false;
    };
    reset.emit(room, header.source, header.destination);
    true
}
