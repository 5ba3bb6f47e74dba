//! A packet is for the gateway itself: who answers? Echo requests are answered here, in place; everything else is for the
//! programs in the VPC's namespace.

use crate::{
    buffer::Buffer,
    reason::DropReason,
    wire::{
        icmp::{self, ToUs},
        ipv4::{self, Ipv4, protocol},
    },
};

/// TTL of our own packets (RFC 1122 §3.2.1.7, IANA default).
const TTL: u8 = 64;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The packet has become the echo reply; route it back.
    EchoReply,
    /// The programs in the namespace.
    Punt,
}

/// Judges a packet to one of our addresses.
///
/// # Errors
/// The reason to drop it.
pub fn answer<B: Buffer>(ip: &Ipv4, packet: &mut B) -> Result<Answer, DropReason> {
    if ip.protocol() != protocol::ICMP || ip.is_fragment() {
        return Ok(Answer::Punt);
    }
    let header_len = usize::from(ip.header_len());
    let bytes = packet.bytes_mut();
    let (_, message) = bytes.split_at_mut_checked(header_len).ok_or(DropReason::IcmpMalformed)?;
    match icmp::to_us(message) {
        ToUs::Malformed => Err(DropReason::IcmpMalformed),
        ToUs::Other => Ok(Answer::Punt),
        ToUs::EchoRequest => {
            icmp::reply_to_echo(message);
            ipv4::swap_addresses(bytes);
            ipv4::set_ttl(bytes, header_len, TTL);
            Ok(Answer::EchoReply)
        }
    }
}
