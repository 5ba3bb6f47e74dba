//! The packet inside an ICMP error (RFC 792, RFC 1812 §4.3.2.3), and the error's translation (RFC 5508 §4).
//!
//! ```text
//! | IPv4 | type code check | rest of header | IPv4 of the packet | 8 or more bytes of it | RFC 4884 extensions |
//!                                           '------- what is embedded ----------'
//! ```
//! The packet may be cut short anywhere after those 8 bytes and its total length says more than is there. Its transport
//! checksum is updated where all of it is quoted, but never checked (REQ-3c). "Rest of header", with the MTU of
//! "fragmentation needed", stays as it is; so do extensions, which have a checksum of their own: they begin 128 bytes or
//! more into the quote, behind everything that is rewritten.

use std::net::Ipv4Addr;

use super::{
    be16,
    checksum::{self, Change},
    icmp,
    ipv4::{self, Ipv4, protocol},
    put16,
    translate::{self, Rewrite, Side},
    udp,
};

/// Bytes of a transport header that every error quotes (RFC 792), and that a translation needs.
const QUOTED_MIN: usize = 8;

/// The packet that an ICMP error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// Its header; the total length is that of the whole packet.
    pub ip: Ipv4,
    /// What tells its flow from others with the same addresses.
    pub ports: Ports,
}

/// What the embedded packet has of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// TCP, UDP.
    Pair {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// An ICMP query or its answer.
    Query {
        /// Its identifier.
        id: u16,
        /// Whether it is the answer.
        answer: bool,
    },
    /// Other protocols, and later fragments.
    None,
}

/// The packet that an ICMP error is about. `message` is the whole ICMP message, from its type to its last byte, and no
/// fragment.
///
/// `None` for what a NAT drops: no error (or a redirect, which no router forwards), a wrong checksum of the message or of
/// the embedded IPv4 header (REQ-3, REQ-3a), an embedded packet without the first 8 bytes of its TCP, UDP or ICMP header,
/// or an error about an error (RFC 1122 §3.2.2). Cost: one sum over the message.
pub fn embedded(message: &[u8]) -> Option<Embedded> {
    let (_, quote) = message.split_at_checked(icmp::HEADER_LEN)?;
    if !icmp::is_routed_error(message) || !checksum::verify(message) {
        return None;
    }
    let ip = ipv4::parse_quoted(quote)?;
    let segment = quote.get(segment_of(&ip, quote.len()))?;
    Some(Embedded { ip, ports: ports(&ip, segment)? })
}

/// Where the transport header is in a quote of `len` bytes: behind the options (REQ-3b) and before padding and extensions
/// (REQ-3d).
fn segment_of(ip: &Ipv4, len: usize) -> std::ops::Range<usize> {
    usize::from(ip.header_len())..usize::from(ip.total_len()).min(len)
}

/// What of ports a quoted packet has; `None` where they are missing.
fn ports(ip: &Ipv4, segment: &[u8]) -> Option<Ports> {
    match ip.protocol() {
        _ if ip.is_later_fragment() => Some(Ports::None),
        protocol::TCP | protocol::UDP => {
            let (source, destination) = udp::ports(segment.first_chunk::<QUOTED_MIN>()?);
            Some(Ports::Pair { source, destination })
        }
        protocol::ICMP => match icmp::query(segment.first_chunk::<QUOTED_MIN>()?) {
            Some((id, answer)) => Some(Ports::Query { id, answer }),
            None => (!icmp::is_error(segment)).then_some(Ports::None),
        },
        _ => Some(Ports::None),
    }
}

/// Translates an ICMP error: one end of the embedded packet as `inner` says, the address at `side` of the error itself to
/// `outer`, and all checksums. `ip` is the error's header as it was parsed.
///
/// False, and nothing changed, for a fragment and for what [`embedded`] refuses, except that the checksum of the message
/// is not verified here: a wrong one stays wrong.
#[must_use]
pub fn translate_error(packet: &mut [u8], ip: &Ipv4, inner: Rewrite, side: Side, outer: Ipv4Addr) -> bool {
    let Some((header, message)) = packet
        .get_mut(..usize::from(ip.total_len()))
        .and_then(|packet| packet.split_at_mut_checked(usize::from(ip.header_len())))
    else {
        return false;
    };
    if ip.protocol() != protocol::ICMP || ip.is_fragment() || !icmp::is_routed_error(message) {
        return false;
    }
    let quote = message.get_mut(icmp::HEADER_LEN..).unwrap_or(&mut []);
    let Some(change) = translate_quote(quote, inner) else { return false };
    put16(message, 2, change.apply(be16(message, 2)));
    translate::address(header, side, outer);
    true
}

/// Translates a quoted packet; returns what changed in it.
fn translate_quote(quote: &mut [u8], to: Rewrite) -> Option<Change> {
    let ip = ipv4::parse_quoted(quote)?;
    let segment = segment_of(&ip, quote.len());
    ports(&ip, quote.get(segment.clone())?)?;
    let (header, rest) = quote.split_at_mut_checked(segment.start)?;
    let (addresses, change) = translate::address(header, to.side, to.address);
    if ip.is_later_fragment() {
        return Some(change);
    }
    let rest = rest.get_mut(..segment.len())?;
    // What was too short for its ports was refused above; UDP-Lite and DCCP may be, and have no checksum to update then.
    let inside = translate::quoted(rest, ip.protocol(), to.side, addresses, to.port);
    Some(change.and(inside.unwrap_or(Change::NONE)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::sample::{Sample, any_rewrite, any_sample, holds};

    /// An error as a router sends it.
    #[derive(Clone, Debug)]
    struct Error {
        outer: Sample,
        about: Sample,
        /// Bytes of the packet that are quoted behind its header, if there are so many.
        quoted: usize,
        /// What follows the quote (RFC 4884).
        extension: Vec<u8>,
    }

    impl Error {
        fn bytes(&self) -> Vec<u8> {
            let mut quote = self.about.bytes();
            quote.truncate(ipv4::HEADER_LEN + self.about.options_len + self.quoted);
            if !self.extension.is_empty() {
                quote.resize(quote.len().max(128), 0);
            }
            let body = [quote, self.extension.clone()].concat();
            Sample { body, ..self.outer.clone() }.bytes()
        }

        fn message(&self) -> Vec<u8> {
            self.bytes().split_off(ipv4::HEADER_LEN + self.outer.options_len)
        }
    }

    prop_compose! {
        fn any_error()(
            outer in any_sample(),
            icmp_type in prop::sample::select(vec![3u8, 4, 11, 12]),
            about in any_sample(),
            quoted in prop_oneof![Just(8), 8usize..60, Just(1000)],
            extension in prop_oneof![Just(Vec::new()), prop::collection::vec(any::<u8>(), 8..20)],
        ) -> Error {
            // No error is sent about an answer of zeros, whose checksum cannot be known from a part of it.
            let about_type = if about.icmp_type == 0 { 8 } else { about.icmp_type };
            let about = Sample { icmp_type: about_type, ..about };
            // RFC 4884 §3: where extensions follow, at least 128 bytes are quoted.
            let quoted = if extension.is_empty() { quoted } else { 1000 };
            // Half a TCP checksum cannot be brought up to date.
            let quoted = if quoted == 17 { 18 } else { quoted };
            Error { outer: Sample { protocol: protocol::ICMP, icmp_type, fragment: 0, ..outer }, about, quoted, extension }
        }
    }

    fn apply(packet: &mut [u8], inner: Rewrite, outer: Rewrite) -> bool {
        let ip = ipv4::parse(packet).unwrap();
        translate_error(packet, &ip, inner, outer.side, outer.address)
    }

    fn simple(about: u8) -> Error {
        let outer = Sample {
            source: Ipv4Addr::new(198, 51, 100, 254),
            destination: Ipv4Addr::new(203, 0, 113, 5),
            protocol: protocol::ICMP,
            ports: [0, 1400],
            icmp_type: 3,
            checksum: true,
            options_len: 0,
            fragment: 0,
            body: Vec::new(),
        };
        let about = Sample {
            source: outer.destination,
            destination: Ipv4Addr::new(198, 51, 100, 1),
            protocol: about,
            ports: [1024, 443],
            icmp_type: 8,
            body: b"what was sent, forty bytes of it or more".to_vec(),
            ..outer.clone()
        };
        Error { outer, about, quoted: 1000, extension: Vec::new() }
    }

    #[test]
    fn what_a_nat_must_drop_is_refused() {
        let good = simple(protocol::TCP);
        assert!(embedded(&good.message()).is_some());
        let mut checksum = good.message();
        *checksum.last_mut().unwrap() ^= 1;
        assert_eq!(embedded(&checksum), None, "checksum of the message (REQ-3)");

        let seal = |mut message: Vec<u8>| {
            put16(&mut message, 2, 0);
            let check = checksum::of(&message);
            put16(&mut message, 2, check);
            message
        };
        let header = |change: fn(&mut [u8])| {
            let mut message = good.message();
            change(&mut message[8..]);
            seal(message)
        };
        for (what, message) in [
            ("checksum of the embedded header (REQ-3a)", header(|h| h[8] ^= 1)),
            ("IPv6", header(|h| h[0] = 0x65)),
            ("header length 16", header(|h| h[0] = 0x44)),
            (
                "total length below the header's",
                header(|h| {
                    h[2..4].copy_from_slice(&[0, 19]);
                    ipv4::seal(h, 20);
                }),
            ),
            (
                "total length below 8 bytes of TCP",
                header(|h| {
                    h[2..4].copy_from_slice(&[0, 27]);
                    ipv4::seal(h, 20);
                }),
            ),
            ("7 bytes of TCP", seal(good.message()[..8 + 27].to_vec())),
            ("no whole header", seal(good.message()[..8 + 19].to_vec())),
        ] {
            assert_eq!(embedded(&message), None, "{what}");
        }
        for (icmp_type, allowed) in [(3, true), (5, false), (8, false), (0, false)] {
            let outer = Sample { icmp_type, ..good.outer.clone() };
            assert_eq!(
                embedded(&Error { outer, ..good.clone() }.message()).is_some(),
                allowed,
                "{icmp_type}"
            );
        }
        let mut about_error = simple(protocol::ICMP);
        about_error.about.icmp_type = 11;
        assert_eq!(embedded(&about_error.message()), None);
    }

    #[test]
    fn a_wrong_checksum_stays_wrong_and_a_wrong_transport_checksum_is_no_matter() {
        let to = Rewrite { side: Side::Source, address: Ipv4Addr::new(10, 1, 0, 7), port: 40000 };
        let mut packet = simple(protocol::TCP).bytes();
        *packet.last_mut().unwrap() ^= 1;
        assert!(apply(&mut packet, to, to) && !holds(&packet));

        let mut transport = simple(protocol::UDP);
        transport.outer.body = transport.about.bytes();
        *transport.outer.body.last_mut().unwrap() ^= 1;
        let mut packet = transport.outer.bytes();
        assert!(embedded(&packet[20..]).is_some());
        assert!(apply(&mut packet, to, to) && holds(&packet));
    }

    #[test]
    fn the_mtu_of_fragmentation_needed_stays() {
        let to = Rewrite { side: Side::Source, address: Ipv4Addr::new(10, 1, 0, 7), port: 40000 };
        let mut packet = simple(protocol::TCP).bytes();
        assert!(apply(&mut packet, to, Rewrite { side: Side::Destination, ..to }));
        assert_eq!((be16(&packet, 26), holds(&packet)), (1400, true));
    }

    proptest! {
        #[test]
        fn a_translated_error_is_the_one_about_the_translated_packet(
            error in any_error(), inner in any_rewrite(), outer in any_rewrite(),
        ) {
            let mut packet = error.bytes();
            prop_assert!(apply(&mut packet, inner, outer));
            prop_assert!(holds(&packet));
            let about = error.about.rewritten(inner);
            let translated = Error {
                outer: error.outer.readdressed(outer), about: about.clone(), ..error.clone()
            };
            prop_assert_eq!(&packet, &translated.bytes());
            let read = embedded(&translated.message()).unwrap();
            prop_assert_eq!((read.ip.source(), read.ip.destination()), (about.source, about.destination));
            prop_assert_eq!(read.ports, about.expected_ports());

            prop_assert!(apply(&mut packet, error.about.undoing(inner), error.outer.undoing(outer)));
            prop_assert_eq!(&packet, &error.bytes());
        }

        #[test]
        fn any_bytes_in_an_error_are_translated_or_left_alone(
            icmp_type in 0u8..16,
            header in any_sample(),
            cut in 0usize..60,
            damage in prop::collection::vec((0usize..60, any::<u8>()), 0..4),
            junk in prop::collection::vec(any::<u8>(), 0..80),
            to in any_rewrite(),
        ) {
            embedded(&junk);
            let mut quote = header.bytes();
            quote.truncate(cut);
            for (at, byte) in damage {
                if let Some(place) = quote.get_mut(at) {
                    *place = byte;
                }
            }
            for body in [quote, junk] {
                let outer = Sample { icmp_type, body, ..simple(protocol::TCP).outer };
                let mut packet = outer.bytes();
                let before = packet.clone();
                let reads = embedded(&packet[ipv4::HEADER_LEN..]).is_some();
                prop_assert_eq!(apply(&mut packet, to, to), reads);
                let sound = if reads { holds(&packet) } else { packet == before };
                prop_assert!(sound);
            }
        }
    }
}
