//! Rewriting one end of a packet: its address and port, or its ICMP query identifier, with every checksum that covers them
//! updated from the change alone (RFC 1624, RFC 3022 §4.2). Translating back gives the packet's own bytes again.
//!
//! | protocol | rewritten | checksum covers |
//! |---|---|---|
//! | TCP, UDP | address, port | pseudo header and segment; UDP may have none (RFC 768) |
//! | ICMP echo, timestamp | address, identifier | message only |
//! | UDP-Lite (RFC 3828), DCCP (RFC 4340) | address | pseudo header and segment |
//! | other, SCTP and GRE among them | address | no address |
//! | later fragments | address | is in the first fragment |
//!
//! What a checksum was wrong about stays wrong: nothing is computed anew. AH (RFC 4302) authenticates the addresses and does
//! not survive any translation.

use std::net::Ipv4Addr;

use super::{
    be16, be32,
    checksum::Change,
    icmp,
    ipv4::{self, Ipv4, protocol},
    put16, put32, udp,
};

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// From whom.
    Source,
    /// To whom.
    Destination,
}

impl Side {
    /// The same end seen in the answer.
    #[inline(always)]
    pub const fn other(self) -> Side {
        match self {
            Side::Source => Side::Destination,
            Side::Destination => Side::Source,
        }
    }

    /// Where its address is in the IPv4 header.
    #[inline(always)]
    const fn address_at(self) -> usize {
        match self {
            Side::Source => 12,
            Side::Destination => 16,
        }
    }

    /// Where its port is in a TCP or UDP header.
    #[inline(always)]
    const fn port_at(self) -> usize {
        match self {
            Side::Source => 0,
            Side::Destination => 2,
        }
    }
}

/// What one end of a packet becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rewrite {
    /// Which end.
    pub side: Side,
    /// Its new address.
    pub address: Ipv4Addr,
    /// Its new port or ICMP query identifier; no matter for packets without.
    pub port: u16,
}

/// Gives `side` of a packet a new address and port (TCP, UDP) or identifier (ICMP echo and timestamp); of other protocols
/// and of later fragments only the address. `ip` is the header that was parsed; its addresses may have been rewritten
/// since. Costs some 50 instructions for TCP, address and both checksums included.
///
/// False, and nothing changed, for a packet that cannot be translated and so must not go on: a TCP, UDP or ICMP header (or
/// first fragment) that is cut short of its checksum, and an ICMP error, for which there is
/// [`translate_error`](super::embedded::translate_error).
#[inline(always)]
#[must_use]
pub fn translate(packet: &mut [u8], ip: &Ipv4, side: Side, address: Ipv4Addr, port: u16) -> bool {
    let Some((header, segment)) = packet.split_at_mut_checked(usize::from(ip.header_len())) else {
        return false;
    };
    let Some(header) = header.first_chunk_mut::<{ ipv4::HEADER_LEN }>() else { return false };
    let old = be32(header, side.address_at());
    let addresses = Change::of_pair(old, address.to_bits());
    let done = if ip.is_later_fragment() {
        true
    } else {
        match ip.protocol() {
            protocol::TCP => tcp(segment, side, addresses, port).is_some(),
            protocol::UDP => udp(segment, side, addresses, port).is_some(),
            _ => other(segment, ip, addresses, port),
        }
    };
    if done {
        put32(header, side.address_at(), address.to_bits());
        let check = addresses.apply(be16(header, 10));
        put16(header, 10, check);
    }
    done
}

/// [`translate`] and [`ipv4::decrement_ttl`] in one, of a TCP or UDP packet whose header has no options and which is no fragment.
#[inline(always)]
#[must_use]
pub fn translate_hop(packet: &mut [u8], protocol: u8, to: Rewrite) -> bool {
    let Rewrite { side, address, port } = to;
    let Some((header, segment)) = packet.split_first_chunk_mut::<{ ipv4::HEADER_LEN }>() else {
        return false;
    };
    let addresses = Change::of_pair(be32(header, side.address_at()), address.to_bits());
    let done = match protocol {
        protocol::TCP => tcp(segment, side, addresses, port).is_some(),
        _ => udp(segment, side, addresses, port).is_some(),
    };
    if done {
        put32(header, side.address_at(), address.to_bits());
        let check = addresses.and(Change::LESS_256).apply(be16(header, 10));
        put16(header, 10, check);
        header[8] = header[8].wrapping_sub(1);
    }
    done
}

/// The protocols that are rare.
#[inline(never)]
fn other(segment: &mut [u8], ip: &Ipv4, addresses: Change, port: u16) -> bool {
    let len = usize::from(ip.total_len()).saturating_sub(usize::from(ip.header_len()));
    let Some(segment) = segment.get_mut(..len) else { return false };
    match ip.protocol() {
        protocol::ICMP => icmp(segment, port).is_some(),
        protocol::UDP_LITE | protocol::DCCP => covered(segment, addresses, ip.protocol()).is_some(),
        _ => true,
    }
}

/// Gives `side` of an IPv4 header a new address. Returns the change of the address, and what changed in all of the header.
pub(super) fn address(header: &mut [u8], side: Side, address: Ipv4Addr) -> (Change, Change) {
    let addresses = Change::of_pair(be32(header, side.address_at()), address.to_bits());
    put32(header, side.address_at(), address.to_bits());
    let check = addresses.apply(be16(header, 10));
    (addresses, addresses.and(set(header, 10, check)))
}

/// Rewrites what follows an IPv4 header that an ICMP error quotes: `segment` may be cut short after 8 bytes. Returns what
/// changed in it; `None`, and nothing changed, where translation is not possible.
pub(super) fn quoted(
    segment: &mut [u8],
    protocol: u8,
    side: Side,
    addresses: Change,
    port: u16,
) -> Option<Change> {
    match protocol {
        protocol::TCP => tcp(segment, side, addresses, port).or_else(|| tcp_start(segment, side, port)),
        protocol::UDP => udp(segment, side, addresses, port),
        protocol::ICMP => icmp(segment, port),
        protocol::UDP_LITE | protocol::DCCP => covered(segment, addresses, protocol),
        _ => Some(Change::NONE),
    }
}

/// A TCP header: port and checksum. Returns what changed in it.
#[inline(always)]
fn tcp(segment: &mut [u8], side: Side, addresses: Change, port: u16) -> Option<Change> {
    let head = segment.first_chunk_mut::<18>()?;
    let port = set(head, side.port_at(), port);
    let check = addresses.and(port).apply(be16(head, 16));
    Some(port.and(set(head, 16, check)))
}

/// The first 8 bytes of a TCP header.
fn tcp_start(segment: &mut [u8], side: Side, port: u16) -> Option<Change> {
    Some(set(segment.first_chunk_mut::<8>()?, side.port_at(), port))
}

/// A UDP header: port and checksum if there is one. Returns what changed in it.
#[inline(always)]
fn udp(segment: &mut [u8], side: Side, addresses: Change, port: u16) -> Option<Change> {
    let head = segment.first_chunk_mut::<{ udp::HEADER_LEN }>()?;
    let port = set(head, side.port_at(), port);
    let check = match be16(head, 6) {
        0 => 0,
        check => never_zero(addresses.and(port).apply(check)),
    };
    Some(port.and(set(head, 6, check)))
}

/// A checksum where 0 says that there is none (RFC 768).
#[inline(always)]
const fn never_zero(check: u16) -> u16 {
    if check == 0 { 0xffff } else { check }
}

/// A header whose checksum, at the place of UDP's, covers the addresses, and whose ports stay.
fn covered(segment: &mut [u8], addresses: Change, protocol: u8) -> Option<Change> {
    let head = segment.first_chunk_mut::<8>()?;
    let check = addresses.apply(be16(head, 6));
    Some(set(head, 6, if protocol == protocol::UDP_LITE { never_zero(check) } else { check }))
}

/// An ICMP query: identifier and checksum. Returns what changed; nothing in a message that is neither query nor error.
fn icmp(message: &mut [u8], id: u16) -> Option<Change> {
    if message.len() < icmp::HEADER_LEN || icmp::is_error(message) {
        return None;
    }
    if icmp::query_id(message).is_none() {
        return Some(Change::NONE);
    }
    let id = set(message, 4, id);
    let old = be16(message, 2);
    put16(message, 2, id.apply(old));
    // Words that are all zero sum up to the other zero of one's complement, which an update cannot tell from the usual
    // one (RFC 1624 §3); receivers do. Only an echo reply can be such a message, and nearly none is.
    if message.iter().all(|byte| *byte == 0) {
        put16(message, 2, 0xffff);
    }
    Some(id.and(Change::of(old, be16(message, 2))))
}

/// Writes a word; returns what changed.
#[inline(always)]
fn set(bytes: &mut [u8], at: usize, new: u16) -> Change {
    let change = Change::of(be16(bytes, at), new);
    put16(bytes, at, new);
    change
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::sample::{Sample, any_rewrite, any_sample, holds};

    fn apply(packet: &mut [u8], to: Rewrite) -> bool {
        let ip = ipv4::parse(packet).unwrap();
        translate(packet, &ip, to.side, to.address, to.port)
    }

    fn small(protocol: u8) -> Sample {
        Sample {
            source: Ipv4Addr::new(10, 1, 0, 7),
            destination: Ipv4Addr::new(198, 51, 100, 1),
            protocol,
            ports: [40000, 443],
            icmp_type: 8,
            checksum: true,
            options_len: 0,
            fragment: 0,
            body: b"some payload of it".to_vec(),
        }
    }

    const TO_VIP: Rewrite =
        Rewrite { side: Side::Source, address: Ipv4Addr::new(203, 0, 113, 5), port: 1024 };

    #[test]
    fn a_header_without_its_checksum_is_refused_and_untouched() {
        for (protocol, header_len) in
            [(protocol::TCP, 18), (protocol::UDP, 8), (protocol::ICMP, 8), (protocol::DCCP, 8)]
        {
            for len in 0..=header_len {
                let mut packet = small(protocol).bytes();
                packet.truncate(ipv4::HEADER_LEN + len);
                // The first fragment: more of it is said to follow.
                let total = packet.len() as u16;
                ipv4::set_fragment(&mut packet, ipv4::HEADER_LEN, total, ipv4::MF);
                let before = packet.clone();
                let done = apply(&mut packet, TO_VIP);
                assert_eq!(
                    (done, packet != before),
                    (len == header_len, len == header_len),
                    "{protocol} {len}"
                );
            }
        }
    }

    #[test]
    fn an_icmp_error_is_left_to_its_own_translation() {
        for (icmp_type, expected) in [(3, false), (4, false), (5, false), (11, false), (12, false), (9, true)]
        {
            let mut packet = Sample { icmp_type, ..small(protocol::ICMP) }.bytes();
            let before = packet.clone();
            assert_eq!(apply(&mut packet, TO_VIP), expected, "{icmp_type}");
            assert_eq!(packet[20..], before[20..], "{icmp_type}");
        }
    }

    #[test]
    fn a_udp_checksum_never_becomes_zero_and_zero_stays() {
        let base = Sample { body: vec![0, 0], ..small(protocol::UDP) };
        let all_ones = (0..=u16::MAX).filter(|&low| {
            let mut packet = Sample { body: low.to_be_bytes().to_vec(), ..base.clone() }.bytes();
            assert!(apply(&mut packet, TO_VIP));
            assert_ne!(be16(&packet, 26), 0);
            be16(&packet, 26) == 0xffff
        });
        assert_eq!(all_ones.count(), 1);
        let mut packet = Sample { checksum: false, ..base }.bytes();
        assert!(apply(&mut packet, TO_VIP));
        assert_eq!((be16(&packet, 26), be16(&packet, 20)), (0, 1024));
    }

    #[test]
    fn an_echo_reply_of_zeros_gets_the_checksum_that_receivers_accept() {
        let zeros = Sample { icmp_type: 0, ports: [0, 0], body: vec![0; 8], ..small(protocol::ICMP) };
        let mut packet = zeros.bytes();
        assert!(apply(&mut packet, TO_VIP) && holds(&packet));
        assert!(apply(&mut packet, Rewrite { address: zeros.source, port: 0, ..TO_VIP }));
        assert_eq!((be16(&packet, 22), packet == zeros.bytes()), (0xffff, true));
    }

    #[test]
    fn a_wrong_checksum_stays_wrong() {
        for protocol in [protocol::TCP, protocol::UDP, protocol::ICMP] {
            let mut packet = small(protocol).bytes();
            *packet.last_mut().unwrap() ^= 1;
            assert!(apply(&mut packet, TO_VIP) && !holds(&packet), "{protocol}");
        }
    }

    proptest! {
        #[test]
        fn a_translated_packet_is_the_one_that_would_have_been_sent(sample in any_sample(), to in any_rewrite()) {
            let mut packet = sample.bytes();
            prop_assert!(holds(&packet));
            prop_assert!(apply(&mut packet, to));
            prop_assert!(holds(&packet));
            prop_assert_eq!(&packet, &sample.rewritten(to).bytes());
            prop_assert!(apply(&mut packet, sample.undoing(to)));
            prop_assert_eq!(&packet, &sample.bytes());
        }

        #[test]
        fn translation_and_hop_in_one_are_both(sample in any_sample(), to in any_rewrite(), damage: bool) {
            let mut packet = sample.bytes();
            let ip = ipv4::parse(&packet).unwrap();
            prop_assume!(matches!(ip.protocol(), protocol::TCP | protocol::UDP));
            prop_assume!(usize::from(ip.header_len()) == ipv4::HEADER_LEN && !ip.is_fragment() && ip.ttl() > 0);
            packet[10] ^= u8::from(damage);
            let mut other = packet.clone();
            let done = translate(&mut packet, &ip, to.side, to.address, to.port);
            prop_assert_eq!(translate_hop(&mut other, ip.protocol(), to), done);
            if done {
                ipv4::decrement_ttl(&mut packet);
            }
            prop_assert_eq!(packet, other);
        }

        #[test]
        fn both_ends_may_be_translated_with_one_parsed_header(sample in any_sample(), a in any_rewrite(), b in any_rewrite()) {
            let mut packet = sample.bytes();
            let ip = ipv4::parse(&packet).unwrap();
            for to in [a, b] {
                prop_assert!(translate(&mut packet, &ip, to.side, to.address, to.port));
            }
            prop_assert_eq!(packet, sample.rewritten(a).rewritten(b).bytes());
        }

        #[test]
        fn translated_fragments_are_the_fragments_of_the_translated_packet(
            sample in any_sample().prop_filter("whole", |s| s.fragment == 0),
            to in any_rewrite(),
            at in 3usize..8,
        ) {
            let cut = |packet: &[u8]| {
                let (ip, segment) = ipv4::split(packet).unwrap();
                let at = (at * 8).min(segment.len());
                let header_len = usize::from(ip.header_len());
                let mut first = packet[..header_len + at].to_vec();
                let mut second = [&packet[..header_len], &segment[at..]].concat();
                for (piece, fragment) in [(&mut first, ipv4::MF), (&mut second, at as u16 / 8)] {
                    let len = piece.len() as u16;
                    ipv4::set_fragment(piece, header_len, len, fragment);
                }
                [first, second]
            };
            let mut pieces = cut(&sample.bytes());
            for piece in &mut pieces {
                prop_assert!(apply(piece, to));
            }
            prop_assert_eq!(pieces, cut(&sample.rewritten(to).bytes()));
        }

        #[test]
        fn any_bytes_behind_a_header_are_translated_or_left_alone(
            protocol: u8,
            known in prop::sample::select(vec![1u8, 6, 17, 33, 136]),
            fragment: u16,
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            to in any_rewrite(),
        ) {
            for protocol in [protocol, known] {
                let mut packet = vec![0; ipv4::HEADER_LEN];
                packet.extend_from_slice(&bytes);
                let (total_len, header) = (packet.len() as u16, small(protocol));
                let (source, destination) = (header.source, header.destination);
                let new = ipv4::NewHeader { tos: 0, total_len, id: 1, fragment, ttl: 9, protocol, source, destination };
                new.emit(&mut packet);
                let before = packet.clone();
                if !apply(&mut packet, to) {
                    prop_assert_eq!(&packet, &before);
                }
                prop_assert!(ipv4::parse(&packet).is_ok());
            }
        }
    }
}
