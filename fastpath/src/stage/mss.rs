//! What segment size may a TCP connection announce? No more than what both networks on the way carry.

use crate::{
    types::Mtu,
    wire::{
        ipv4::{Ipv4, protocol},
        tcp,
    },
};

/// IPv4 and TCP header without options (RFC 6691: the MSS does not count options).
const HEADERS: u16 = 40;

/// Lowers the MSS of a SYN to what the smaller of both MTUs carries. Returns whether it did. Costs one load for a TCP
/// packet without SYN.
#[inline(always)]
pub fn clamp(packet: &mut [u8], ip: &Ipv4, ingress: Mtu, egress: Mtu) -> bool {
    if ip.protocol() != protocol::TCP || ip.is_later_fragment() {
        return false;
    }
    let Some(segment) = packet.get_mut(usize::from(ip.header_len())..) else { return false };
    tcp::is_syn(segment) && tcp::clamp_mss(segment, ingress.min(egress).get() - HEADERS)
}

const _: () = assert!(Mtu::MIN > HEADERS as u32);
