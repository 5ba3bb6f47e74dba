//! ARP for IPv4 over Ethernet (RFC 826), with address probes and announcements (RFC 5227).

use std::net::Ipv4Addr;

use super::put16;
use crate::types::MacAddr;

/// Bytes of an ARP packet.
pub const LEN: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, lengths 6 and 4.
const FIXED: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Request or reply; others are malformed for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// "Who has?"
    Request,
    /// "I have."
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// Sender hardware address.
    pub sender_mac: MacAddr,
    /// Sender protocol address; unspecified in a probe.
    pub sender: Ipv4Addr,
    /// Target hardware address.
    pub target_mac: MacAddr,
    /// Target protocol address.
    pub target: Ipv4Addr,
}

/// Reads a packet; `None` when it is cut short, not Ethernet/IPv4, neither request nor reply, or has a group address as
/// sender.
pub fn parse(packet: &[u8]) -> Option<Arp> {
    let p = packet.first_chunk::<LEN>()?;
    if p[..6] != FIXED {
        return None;
    }
    let operation = match u16::from_be_bytes([p[6], p[7]]) {
        1 => Operation::Request,
        2 => Operation::Reply,
        _ => return None,
    };
    let mac = |at: usize| MacAddr::new([p[at], p[at + 1], p[at + 2], p[at + 3], p[at + 4], p[at + 5]]);
    let ip = |at: usize| Ipv4Addr::new(p[at], p[at + 1], p[at + 2], p[at + 3]);
    let arp = Arp { operation, sender_mac: mac(8), sender: ip(14), target_mac: mac(18), target: ip(24) };
    (!arp.sender_mac.is_group()).then_some(arp)
}

impl Arp {
    /// Writes the packet to the front of `bytes`, which has at least [`LEN`] bytes.
    pub fn emit(&self, bytes: &mut [u8]) {
        let Some(p) = bytes.first_chunk_mut::<LEN>() else { return };
        p[..6].copy_from_slice(&FIXED);
        put16(p, 6, if self.operation == Operation::Request { 1 } else { 2 });
        p[8..14].copy_from_slice(&self.sender_mac.octets());
        p[14..18].copy_from_slice(&self.sender.octets());
        p[18..24].copy_from_slice(&self.target_mac.octets());
        p[24..28].copy_from_slice(&self.target.octets());
    }

    /// The reply that says that `mac` has the target address of this request.
    pub fn reply(&self, mac: MacAddr) -> Arp {
        Arp {
            operation: Operation::Reply,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        }
    }

    /// Sender and target are the same address: an announcement (RFC 5227 §1.1).
    pub fn is_announcement(&self) -> bool {
        self.sender == self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_read_back_as_written_and_etherparse_agrees() {
        let arp = Arp {
            operation: Operation::Request,
            sender_mac: MacAddr::new([2, 0, 0, 1, 1, 7]),
            sender: Ipv4Addr::new(10, 1, 1, 7),
            target_mac: MacAddr::default(),
            target: Ipv4Addr::new(10, 1, 1, 1),
        };
        let mut bytes = [0u8; LEN];
        arp.emit(&mut bytes);
        assert_eq!(parse(&bytes), Some(arp));
        let slice = etherparse::ArpPacketSlice::from_slice(&bytes).unwrap();
        assert_eq!(slice.sender_protocol_addr(), [10, 1, 1, 7]);
        assert_eq!(slice.operation(), etherparse::ArpOperation::REQUEST);
        for (at, value) in [(0, 9), (3, 6), (5, 16), (7, 3), (8, 1)] {
            let mut bad = bytes;
            bad[at] = value;
            assert_eq!(parse(&bad), None, "byte {at}");
        }
        assert_eq!(parse(&bytes[..LEN - 1]), None);
    }
}
