//! Messages as IPv4 packets, both ways.

use std::net::Ipv4Addr;

use etherparse::{Icmpv4Type, IpNumber, Ipv4Header, Ipv4Slice, icmpv4::DestUnreachableHeader};
use tidegate_fastpath::{channel::InjectTo, types::VrfId};
use tidegate_zsnp::{HEADER_BYTES, MAGIC, Transaction, VpcTag};

use super::{Deed, Identity, Order, machine::Said};
use crate::{compile::Compiled, desired::UNDERLAY};

/// TTL of our own packets (RFC 1122 §3.2.1.7, IANA default).
const TTL: u8 = 64;

/// What a packet for us says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Payload<'a> {
    /// A message, if it is authentic.
    Message {
        /// Outer source.
        from: Ipv4Addr,
        /// Outer destination, ours.
        to: Ipv4Addr,
        /// The message.
        bytes: &'a [u8],
    },
    /// A VM does not know the protocol: the message of this transaction was not taken off before it.
    Unreachable(Transaction),
}

/// Whether a packet for an address of ours is a message on the underlay, or ICMP protocol unreachable about one.
pub(super) fn is_ours(protocol: u8, vrf: VrfId, packet: &[u8]) -> bool {
    match read(protocol, packet) {
        Some(Payload::Message { .. }) => vrf == UNDERLAY,
        Some(Payload::Unreachable(_)) => vrf != UNDERLAY,
        None => false,
    }
}

/// Reads a packet that is for us.
pub(super) fn read(protocol: u8, packet: &[u8]) -> Option<Payload<'_>> {
    let ip = Ipv4Slice::from_slice(packet).ok()?;
    let header = ip.header();
    if ip.is_payload_fragmented() {
        return None;
    }
    if header.protocol() == IpNumber(protocol) {
        let (from, to) = (header.source_addr(), header.destination_addr());
        return Some(Payload::Message { from, to, bytes: ip.payload().payload });
    }
    if header.protocol() != IpNumber::ICMP {
        return None;
    }
    let icmp = etherparse::Icmpv4Slice::from_slice(ip.payload().payload).ok()?;
    match icmp.icmp_type() {
        Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Protocol) => {
            quoted(protocol, icmp.payload()).map(Payload::Unreachable)
        }
        _ => None,
    }
}

/// The transaction of the message that an ICMP error quotes. Hosts quote enough for it (RFC 1812 §4.3.2.3); from a shorter quotation nobody
/// can be sure, and the retries run out all the same.
fn quoted(protocol: u8, quote: &[u8]) -> Option<Transaction> {
    const TRANSACTION_AT: usize = HEADER_BYTES - 8;
    let (ip, rest) = Ipv4Header::from_slice(quote).ok()?;
    if ip.protocol != IpNumber(protocol) || !rest.starts_with(&MAGIC) {
        return None;
    }
    let transaction = rest.get(TRANSACTION_AT..)?.first_chunk()?;
    Some(Transaction(u64::from_be_bytes(*transaction)))
}

/// Makes a deed of an order. `None` when the network that it is for is gone.
pub(super) fn write(
    protocol: u8,
    identity: &mut Identity,
    order: Order,
    compiled: &Compiled,
) -> Option<Deed> {
    let (to, source, destination, said) = match order {
        Order::Resolve(net, address) => return Some(Deed::Resolve(net, address)),
        Order::Overlay { net, address, said } => {
            let net = compiled.tables.net(net)?;
            (InjectTo::Route(net.vrf), net.address?, address, said)
        }
        Order::Underlay { from, to, said } => (InjectTo::Route(UNDERLAY), from, to, said),
    };
    let Said { vpc, transaction, message } = said;
    let bytes = sealed(identity, vpc, transaction, &message)?;
    let length = u16::try_from(bytes.len()).ok()?;
    let mut ip =
        Ipv4Header::new(length, TTL, IpNumber(protocol), source.octets(), destination.octets()).ok()?;
    ip.dont_fragment = true;
    ip.header_checksum = ip.calc_header_checksum();
    Some(Deed::Inject(to, [&ip.to_bytes()[..], &bytes].concat()))
}

fn sealed(
    Identity { keys, sender }: &mut Identity,
    vpc: VpcTag,
    transaction: Transaction,
    message: &tidegate_zsnp::Message,
) -> Option<Vec<u8>> {
    // Gateways say nothing that is too long.
    sender.seal(keys, vpc, transaction, message).ok()
}
