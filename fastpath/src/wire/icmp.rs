//! ICMP (RFC 792): echo, and the errors of a router.

use std::net::Ipv4Addr;

use super::{
    checksum,
    ipv4::{self, Ipv4, protocol},
    put16,
};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

/// Message types (IANA `icmp-parameters`).
mod kind {
    pub(super) const ECHO_REPLY: u8 = 0;
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const SOURCE_QUENCH: u8 = 4;
    pub(super) const REDIRECT: u8 = 5;
    pub(super) const ECHO_REQUEST: u8 = 8;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    pub(super) const PARAMETER_PROBLEM: u8 = 12;
    pub(super) const TIMESTAMP: u8 = 13;
    pub(super) const TIMESTAMP_REPLY: u8 = 14;
}

/// An error that a router sends about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Type 11 code 0: TTL ran out in transit.
    TimeExceeded,
    /// Type 3 code 0: no route.
    NetUnreachable,
    /// Type 3 code 1: the next hop or host does not answer.
    HostUnreachable,
    /// Type 3 code 3: nobody has the port.
    PortUnreachable,
    /// Type 3 code 13: refused by an administrator's bound (RFC 5508 REQ-8).
    Prohibited,
    /// Type 3 code 4: larger than this MTU with DF set (RFC 1191 §4).
    FragmentationNeeded(u16),
}

impl IcmpError {
    fn type_and_code(self) -> [u8; 2] {
        match self {
            IcmpError::TimeExceeded => [kind::TIME_EXCEEDED, 0],
            IcmpError::NetUnreachable => [kind::UNREACHABLE, 0],
            IcmpError::HostUnreachable => [kind::UNREACHABLE, 1],
            IcmpError::PortUnreachable => [kind::UNREACHABLE, 3],
            IcmpError::Prohibited => [kind::UNREACHABLE, 13],
            IcmpError::FragmentationNeeded(_) => [kind::UNREACHABLE, 4],
        }
    }
}

/// RFC 1812 §4.3.2.3: as much of the packet as fits without the error exceeding 576 bytes.
pub const ERROR_MAX: usize = 576;
/// IPv4 and ICMP header of an error.
pub const ERROR_HEADERS: usize = ipv4::HEADER_LEN + HEADER_LEN;

/// Whether a packet may cause an ICMP error (RFC 1122 §3.2.2, RFC 1812 §4.3.2.7): no error about an ICMP error, a later
/// fragment, a group destination, or a source that is not one host.
pub fn may_cause_error(ip: &Ipv4, payload: &[u8]) -> bool {
    let about_error = ip.protocol() == protocol::ICMP && !payload.first().is_some_and(|&t| is_query(t));
    let source_is_host = !(ip.source().is_unspecified()
        || ip.source().is_loopback()
        || ip.source().is_multicast()
        || ip.source().is_broadcast());
    let to_one = !(ip.destination().is_multicast() || ip.destination().is_broadcast());
    !about_error && !ip.is_later_fragment() && source_is_host && to_one
}

/// ICMP queries and their answers; everything else counts as an error.
fn is_query(kind: u8) -> bool {
    matches!(kind, kind::ECHO_REPLY | kind::ECHO_REQUEST | 9 | 10 | 13..=18 | 42 | 43)
}

/// Writes IPv4 and ICMP header of an error in front of the packet that caused it. `packet` holds [`ERROR_HEADERS`] bytes of
/// room and then the (shortened) original.
pub fn emit_error(packet: &mut [u8], error: IcmpError, source: Ipv4Addr, destination: Ipv4Addr, id: u16) {
    let header = ipv4::NewHeader {
        tos: 0xc0, // RFC 1812 §4.3.2.5: precedence 6, internetwork control
        total_len: packet.len() as u16,
        id,
        fragment: 0,
        ttl: 64,
        protocol: protocol::ICMP,
        source,
        destination,
    };
    header.emit(packet);
    let Some(icmp) = packet.get_mut(ipv4::HEADER_LEN..) else { return };
    let Some(head) = icmp.first_chunk_mut::<HEADER_LEN>() else { return };
    *head = [0; HEADER_LEN];
    head[..2].copy_from_slice(&error.type_and_code());
    if let IcmpError::FragmentationNeeded(mtu) = error {
        put16(head, 6, mtu);
    }
    let check = checksum::of(icmp);
    put16(icmp, 2, check);
}

/// What an ICMP message to the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToUs {
    /// An echo request with a right checksum; answer it.
    EchoRequest,
    /// Something for the host stack.
    Other,
    /// Cut short or wrong checksum.
    Malformed,
}

/// Judges an ICMP message that is addressed to us.
pub fn to_us(message: &[u8]) -> ToUs {
    match message.first_chunk::<HEADER_LEN>() {
        None => ToUs::Malformed,
        Some(_) if !checksum::verify(message) => ToUs::Malformed,
        Some([kind::ECHO_REQUEST, 0, ..]) => ToUs::EchoRequest,
        Some(_) => ToUs::Other,
    }
}

/// Turns an echo request into its reply (RFC 792: same identifier, sequence and data).
pub fn reply_to_echo(message: &mut [u8]) {
    let Some(head) = message.first_chunk_mut::<HEADER_LEN>() else { return };
    let old = u16::from_be_bytes([head[0], head[1]]);
    let check = checksum::update(u16::from_be_bytes([head[2], head[3]]), old, 0);
    head[..2].copy_from_slice(&[kind::ECHO_REPLY, 0]);
    put16(head, 2, check);
}

/// The identifier of a query or its answer that a NAT keeps apart by it: echo and timestamp (RFC 5508 §3).
#[inline]
pub fn query_id(message: &[u8]) -> Option<u16> {
    use kind::{ECHO_REPLY, ECHO_REQUEST, TIMESTAMP, TIMESTAMP_REPLY};
    match message.first_chunk::<HEADER_LEN>()? {
        [ECHO_REQUEST | ECHO_REPLY | TIMESTAMP | TIMESTAMP_REPLY, 0, _, _, a, b, ..] => {
            Some(u16::from_be_bytes([*a, *b]))
        }
        _ => None,
    }
}

/// The identifier as [`query_id`], and whether the message is the answer.
#[inline]
pub fn query(message: &[u8]) -> Option<(u16, bool)> {
    let id = query_id(message)?;
    Some((id, matches!(message, [kind::ECHO_REPLY | kind::TIMESTAMP_REPLY, ..])))
}

/// Whether a message is an error: it quotes the packet that it is about.
#[inline]
pub fn is_error(message: &[u8]) -> bool {
    is_routed_error(message) || message.first() == Some(&kind::REDIRECT)
}

/// Whether a message is an error that is sent across routers; a redirect is for its own link only.
#[inline]
pub fn is_routed_error(message: &[u8]) -> bool {
    use kind::{PARAMETER_PROBLEM, SOURCE_QUENCH, TIME_EXCEEDED, UNREACHABLE};
    matches!(message.first(), Some(&(UNREACHABLE | SOURCE_QUENCH | TIME_EXCEEDED | PARAMETER_PROBLEM)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_request_becomes_a_reply_with_a_right_checksum() {
        let mut message = [8, 0, 0, 0, 0x12, 0x34, 0, 1, b'a', b'b', b'c'];
        let check = checksum::of(&message);
        put16(&mut message, 2, check);
        assert_eq!((to_us(&message), query_id(&message)), (ToUs::EchoRequest, Some(0x1234)));
        reply_to_echo(&mut message);
        assert!(checksum::verify(&message));
        assert_eq!((message[0], to_us(&message)), (0, ToUs::Other));
        message[9] ^= 1;
        assert_eq!(to_us(&message), ToUs::Malformed);
    }

    #[test]
    fn messages_are_queries_with_an_id_or_errors_or_neither() {
        for (message, id, error, routed) in [
            ([8, 0, 0, 0, 0x12, 0x34, 0, 1], Some(0x1234), false, false),
            ([0, 0, 0, 0, 0x12, 0x34, 0, 1], Some(0x1234), false, false),
            ([13, 0, 0, 0, 0x12, 0x34, 0, 1], Some(0x1234), false, false),
            ([14, 0, 0, 0, 0x12, 0x34, 0, 1], Some(0x1234), false, false),
            ([8, 1, 0, 0, 0x12, 0x34, 0, 1], None, false, false),
            ([9, 0, 0, 0, 2, 2, 0, 1], None, false, false),
            ([3, 4, 0, 0, 0, 0, 5, 0], None, true, true),
            ([4, 0, 0, 0, 0, 0, 0, 0], None, true, true),
            ([5, 1, 0, 0, 10, 0, 0, 1], None, true, false),
            ([11, 0, 0, 0, 0, 0, 0, 0], None, true, true),
            ([12, 0, 0, 0, 0, 0, 0, 0], None, true, true),
        ] {
            assert_eq!(query_id(&message), id, "{message:?}");
            assert_eq!((is_error(&message), is_routed_error(&message)), (error, routed), "{message:?}");
        }
        assert_eq!((query_id(&[8, 0, 0, 0, 0, 0, 0]), is_error(&[])), (None, false));
    }

    #[test]
    fn errors_carry_the_mtu_and_etherparse_reads_them() {
        let mut packet = [0u8; ERROR_HEADERS + 28];
        packet[ERROR_HEADERS] = 0x45;
        let (us, them) = (Ipv4Addr::new(10, 1, 1, 1), Ipv4Addr::new(10, 1, 1, 7));
        emit_error(&mut packet, IcmpError::FragmentationNeeded(1400), us, them, 9);
        let sliced = etherparse::SlicedPacket::from_ip(&packet).unwrap();
        let Some(etherparse::TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("no ICMP") };
        let mtu = etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
        assert_eq!(icmp.header().icmp_type, etherparse::Icmpv4Type::DestinationUnreachable(mtu));
        assert!(checksum::verify(&packet[..20]) && checksum::verify(&packet[20..]));
    }

    #[test]
    fn no_error_about_an_error_a_later_fragment_or_a_group() {
        let base = ipv4::NewHeader {
            tos: 0,
            total_len: 20,
            id: 0,
            fragment: 0,
            ttl: 1,
            protocol: protocol::ICMP,
            source: Ipv4Addr::new(10, 1, 1, 7),
            destination: Ipv4Addr::new(10, 1, 2, 9),
        };
        let may_cause_error = |header: &ipv4::NewHeader, payload: &[u8]| {
            let mut packet = [0; 20];
            header.emit(&mut packet);
            may_cause_error(&ipv4::parse(&packet).unwrap(), payload)
        };
        assert!(may_cause_error(&base, &[8, 0]));
        assert!(
            !may_cause_error(&base, &[3, 1])
                && !may_cause_error(&base, &[11, 0])
                && !may_cause_error(&base, &[])
        );
        assert!(!may_cause_error(&ipv4::NewHeader { fragment: 5, ..base }, &[8, 0]));
        for source in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
            assert!(
                !may_cause_error(&ipv4::NewHeader { source: source.into(), ..base }, &[8, 0]),
                "{source:?}"
            );
        }
        assert!(!may_cause_error(&ipv4::NewHeader { destination: Ipv4Addr::BROADCAST, ..base }, &[8, 0]));
    }
}
