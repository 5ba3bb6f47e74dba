//! IPv4 (RFC 791), read as a router must (RFC 1812 §5.2.2).
//!
//! ```text
//!  0        1        2        4        6        8     9     10       12      16           20
//!  | ver IHL | TOS    | total  | id     | flags  | TTL | pro | check  | source | destination | options
//! ```

use std::net::Ipv4Addr;

use super::{be16, be32, checksum, le32, le64, put16};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

/// Protocol numbers (IANA `protocol-numbers`).
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;
}

/// Flag "don't fragment" in the word of flags and fragment offset.
pub const DF: u16 = 0x4000;
/// Flag "more fragments".
pub const MF: u16 = 0x2000;
/// The fragment offset, in units of 8 bytes.
pub const OFFSET: u16 = 0x1fff;

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadIpv4 {
    /// Not version 4.
    Version,
    /// IHL below 5 words or beyond the total length.
    HeaderLength,
    /// Cut short, or total length beyond the bytes that are there.
    Truncated,
    /// Wrong header checksum.
    Checksum,
    /// Malformed options.
    Options,
    /// Strict or loose source route.
    SourceRoute,
}

/// A checked header. Kept as the words that it is on the wire: three registers on the packet's way, not eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Version, IHL, TOS, total length, identification, flags and offset.
    first: u64,
    /// TTL, protocol, checksum, source.
    second: u64,
    destination: u32,
}

impl Ipv4 {
    /// A header as it is, and its words.
    #[inline(always)]
    fn of(h: &[u8; HEADER_LEN]) -> (Ipv4, [u32; 5]) {
        let words = [be32(h, 0), be32(h, 4), be32(h, 8), be32(h, 12), be32(h, 16)];
        let pair = |high, low| u64::from(high) << 32 | u64::from(low);
        let first = pair(words[0], words[1]);
        (Ipv4 { first, second: pair(words[2], words[3]), destination: words[4] }, words)
    }

    /// Header bytes, options included: 20 to 60.
    #[inline(always)]
    pub const fn header_len(&self) -> u8 {
        (self.first >> 54) as u8 & 0x3c
    }

    /// DSCP and ECN.
    #[inline(always)]
    pub const fn tos(&self) -> u8 {
        (self.first >> 48) as u8
    }

    /// Header and payload bytes; never beyond the bytes that were parsed, except with [`parse_quoted`].
    #[inline(always)]
    pub const fn total_len(&self) -> u16 {
        (self.first >> 32) as u16
    }

    /// Identification.
    #[inline(always)]
    pub const fn id(&self) -> u16 {
        (self.first >> 16) as u16
    }

    /// DF, MF and fragment offset.
    #[inline(always)]
    pub const fn fragment(&self) -> u16 {
        self.first as u16
    }

    /// Time to live.
    #[inline(always)]
    pub const fn ttl(&self) -> u8 {
        (self.second >> 56) as u8
    }

    /// What follows the header.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        (self.second >> 48) as u8
    }

    /// From whom.
    #[inline(always)]
    pub const fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.second as u32)
    }

    /// To whom.
    #[inline(always)]
    pub const fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.destination)
    }

    /// The same header with another TOS.
    #[inline(always)]
    pub const fn with_tos(self, tos: u8) -> Ipv4 {
        Ipv4 { first: self.first & !(0xff << 48) | (tos as u64) << 48, ..self }
    }

    /// The same header of a packet of another length.
    pub const fn with_total_len(self, len: u16) -> Ipv4 {
        Ipv4 { first: self.first & !(0xffff << 32) | (len as u64) << 32, ..self }
    }

    /// Not the first fragment: there are no ports in it.
    #[inline(always)]
    pub const fn is_later_fragment(&self) -> bool {
        self.fragment() & OFFSET != 0
    }

    /// Any fragment.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        self.fragment() & (OFFSET | MF) != 0
    }

    /// Must not be fragmented.
    #[inline(always)]
    pub const fn dont_fragment(&self) -> bool {
        self.fragment() & DF != 0
    }
}

/// Whether a host may send from this address: not from 0/8, 127/8, a group, 240/4 (RFC 1812 §5.3.7).
#[inline(always)]
pub const fn may_send(source: Ipv4Addr) -> bool {
    !matches!(source.octets()[0], 0 | 127 | 224..)
}

/// Whether an address may be both source and destination of a packet that is forwarded: that of a host, and not only of its
/// link.
#[inline(always)]
pub fn is_ordinary(address: Ipv4Addr) -> bool {
    ORDINARY[address.octets()[0] as usize] || is_ordinary_exactly(address)
}

/// First octets of which all addresses are ordinary.
static ORDINARY: [bool; 256] = {
    let mut ordinary = [false; 256];
    let mut first = 0;
    while first < 256 {
        ordinary[first] = is_ordinary_exactly(Ipv4Addr::new(first as u8, 254, 0, 0));
        first += 1;
    }
    ordinary
};

#[cold]
const fn is_ordinary_exactly(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    !matches!((first, second), (0 | 127 | 224.., _) | (169, 254))
}

/// Checks and reads the header at the front of `packet`: version, lengths, header checksum (RFC 1812 §5.2.2, 1 to 5), and
/// the options where there are any.
///
/// # Errors
/// [`BadIpv4`] says which check failed.
#[inline(always)]
pub fn parse(packet: &[u8]) -> Result<Ipv4, BadIpv4> {
    split(packet).map(|(ip, _)| ip)
}

/// As [`parse`]; also returns what follows the header, up to the total length.
///
/// # Errors
/// [`BadIpv4`].
#[inline(always)]
pub fn split(packet: &[u8]) -> Result<(Ipv4, &[u8]), BadIpv4> {
    let Some(h) = packet.first_chunk::<HEADER_LEN>() else { return Err(BadIpv4::Truncated) };
    let (ip, words) = Ipv4::of(h);
    if ip.first >> 60 != 4 {
        return Err(BadIpv4::Version);
    }
    let (header_len, total_len) = (usize::from(ip.header_len()), usize::from(ip.total_len()));
    if header_len < HEADER_LEN || header_len > total_len {
        return Err(BadIpv4::HeaderLength);
    }
    if total_len > packet.len() {
        return Err(BadIpv4::Truncated);
    }
    if header_len > HEADER_LEN {
        check_options(&packet[..header_len])?;
    } else if !checksum::verify_words(words) {
        return Err(BadIpv4::Checksum);
    }
    Ok((ip, &packet[header_len..total_len]))
}

/// What the short way needs of a header that is as nearly all are: right, without options, of a whole packet.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    /// Source and destination address as they lie there, the first byte lowest.
    pub addresses: u64,
    /// Header and payload bytes.
    pub total_len: u16,
    /// Time to live.
    pub ttl: u8,
    /// What follows the header.
    pub protocol: u8,
}

impl Common {
    /// Reads the header in front of a packet; `None` for every other one, of which [`split`] says what is the matter, and for
    /// one that has one of the bits `NOT` in its TOS. Whether all of the packet is there is left to the caller.
    #[inline(always)]
    pub fn read<const NOT: u8>(h: &[u8; HEADER_LEN]) -> Option<Common> {
        // The first byte is the lowest, so that nothing need be swapped.
        const FIXED: u64 = 0xff | ((MF | OFFSET).swap_bytes() as u64) << 48;
        let first = le64(h, 0);
        let common = first & (FIXED | (NOT as u64) << 8) == 0x45
            && checksum::verify_header(first, le64(h, 8), le32(h, 16));
        common.then_some(Common {
            addresses: le64(h, 12),
            total_len: ((first >> 16) as u16).swap_bytes(),
            ttl: h[8],
            protocol: h[9],
        })
    }

    /// From whom.
    #[inline(always)]
    pub const fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets((self.addresses as u32).to_le_bytes())
    }
}

/// Reads the header of a packet that an ICMP error quotes, of which only the first bytes may be there: version, lengths
/// and header checksum are checked (RFC 5508 REQ-3a), options are not (they are past).
pub fn parse_quoted(quote: &[u8]) -> Option<Ipv4> {
    let (ip, _) = Ipv4::of(quote.first_chunk()?);
    let (header_len, total_len) = (usize::from(ip.header_len()), usize::from(ip.total_len()));
    let sound = ip.first >> 60 == 4 && header_len >= HEADER_LEN && header_len <= total_len;
    (sound && checksum::verify(quote.get(..header_len)?)).then_some(ip)
}

/// Option kinds that change the path: refused (RFC 7126 §4.3, §4.4).
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

/// Checks the options of a header that has some, and its checksum.
#[cold]
fn check_options(header: &[u8]) -> Result<(), BadIpv4> {
    for option in Options(&header[HEADER_LEN..]) {
        match option {
            None => return Err(BadIpv4::Options),
            Some([LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, ..]) => return Err(BadIpv4::SourceRoute),
            Some(_) => {}
        }
    }
    if checksum::verify(header) { Ok(()) } else { Err(BadIpv4::Checksum) }
}

/// The options of a header, each as its bytes; `None` once for a malformed one, then nothing more.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        let (&kind, rest) = self.0.split_first()?;
        let len = match (kind, rest.first()) {
            (0, _) => return None,
            (1, _) => 1,
            (_, Some(&len)) if len >= 2 && usize::from(len) <= self.0.len() => usize::from(len),
            _ => {
                self.0 = &[];
                return Some(None);
            }
        };
        let (option, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(Some(option))
    }
}

/// The options that every fragment carries (RFC 791: copied flag), padded to words with "end of options"; their bytes and
/// number.
pub fn copied_options(header: &[u8]) -> ([u8; 40], usize) {
    let (mut copied, mut len) = ([0u8; 40], 0);
    for option in Options(header.get(HEADER_LEN..).unwrap_or(&[])).flatten() {
        if option[0] & 0x80 != 0 {
            copied[len..len + option.len()].copy_from_slice(option);
            len += option.len();
        }
    }
    (copied, len.next_multiple_of(4))
}

/// TTL - 1 with the checksum updated (RFC 1624); the packet was parsed and its TTL is above 0.
#[inline(always)]
pub fn decrement_ttl(packet: &mut [u8]) {
    let Some(h) = packet.first_chunk_mut::<HEADER_LEN>() else { return };
    let (_, check) = h.split_at_mut(10);
    let Some(check) = check.first_chunk_mut() else { return };
    *check = checksum::less_256(u16::from_ne_bytes(*check)).to_ne_bytes();
    h[8] = h[8].wrapping_sub(1);
}

/// Sets the TOS byte with the checksum updated.
#[inline]
pub fn set_tos(packet: &mut [u8], tos: u8) {
    let Some(h) = packet.first_chunk_mut::<HEADER_LEN>() else { return };
    let old = u16::from_be_bytes([h[0], h[1]]);
    let new = u16::from_be_bytes([h[0], tos]);
    let check = checksum::update(u16::from_be_bytes([h[10], h[11]]), old, new);
    h[1] = tos;
    h[10..12].copy_from_slice(&check.to_be_bytes());
}

/// Sets total length, flags and fragment offset of a header of `header_len` bytes and computes its checksum anew.
pub fn set_fragment(packet: &mut [u8], header_len: usize, total_len: u16, fragment: u16) {
    put16(packet, 2, total_len);
    put16(packet, 6, fragment);
    seal(packet, header_len);
}

/// Computes the header checksum anew.
pub fn seal(packet: &mut [u8], header_len: usize) {
    put16(packet, 10, 0);
    if let Some(header) = packet.get(..header_len) {
        let check = checksum::of(header);
        put16(packet, 10, check);
    }
}

/// Completes the header in front of `packet`, which was written with nothing in these fields and has `sum` as the sum of its
/// words.
#[inline(always)]
pub fn complete(packet: &mut [u8], sum: u16, tos: u8, total_len: u16, destination: Ipv4Addr) {
    let destination = destination.to_bits();
    let Some(h) = packet.first_chunk_mut::<HEADER_LEN>() else { return };
    let check =
        checksum::extended(sum, [tos.into(), total_len, (destination >> 16) as u16, destination as u16]);
    h[1] = tos;
    h[2..4].copy_from_slice(&total_len.to_be_bytes());
    h[10..12].copy_from_slice(&check.to_be_bytes());
    h[16..].copy_from_slice(&destination.to_be_bytes());
}

/// The checksum field of a header.
pub fn checksum_of(header: &[u8]) -> u16 {
    be16(header, 10)
}

/// A new header without options, for packets of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewHeader {
    /// DSCP and ECN.
    pub tos: u8,
    /// Header and payload bytes.
    pub total_len: u16,
    /// Identification.
    pub id: u16,
    /// DF, MF, offset.
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// From whom.
    pub source: Ipv4Addr,
    /// To whom.
    pub destination: Ipv4Addr,
}

impl NewHeader {
    /// Writes the header, checksum included, to the front of `packet`, which has at least [`HEADER_LEN`] bytes.
    #[inline(always)]
    pub fn emit(&self, packet: &mut [u8]) {
        let Some(h) = packet.first_chunk_mut::<HEADER_LEN>() else { return };
        // The checksum is taken from the words before they are written: reading back what was just written in other
        // widths would wait for the stores.
        let mut words = [
            0x4500_0000 | u32::from(self.tos) << 16 | u32::from(self.total_len),
            u32::from(self.id) << 16 | u32::from(self.fragment),
            u32::from(self.ttl) << 24 | u32::from(self.protocol) << 16,
            self.source.to_bits(),
            self.destination.to_bits(),
        ];
        words[2] |= u32::from(checksum::of_words(words));
        for (bytes, word) in h.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *bytes = word.to_be_bytes();
        }
    }
}

/// Exchanges source and destination; the checksum stays right.
pub fn swap_addresses(packet: &mut [u8]) {
    if let Some(h) = packet.first_chunk_mut::<HEADER_LEN>() {
        let (source, destination) = h[12..].split_at_mut(4);
        source.swap_with_slice(destination);
    }
}

/// Sets the TTL of a packet of our own and computes the checksum anew.
pub fn set_ttl(packet: &mut [u8], header_len: usize, ttl: u8) {
    if let Some(byte) = packet.get_mut(8) {
        *byte = ttl;
    }
    seal(packet, header_len);
}

/// The identification field.
pub fn id(packet: &[u8]) -> u16 {
    be16(packet, 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(tos: u8, ttl: u8) -> [u8; 24] {
        let mut packet = [0u8; 24];
        NewHeader {
            tos,
            total_len: 24,
            id: 7,
            fragment: DF,
            ttl,
            protocol: protocol::UDP,
            source: Ipv4Addr::new(10, 1, 1, 7),
            destination: Ipv4Addr::new(10, 1, 2, 9),
        }
        .emit(&mut packet);
        packet
    }

    #[test]
    fn what_a_router_must_refuse_is_refused_with_its_reason() {
        let good = header(0, 64);
        let read = parse(&good).unwrap();
        assert_eq!((read.total_len(), read.ttl(), read.dont_fragment()), (24, 64, true));
        type Break = fn(&mut [u8; 24]);
        let broken: [(&str, Break, BadIpv4); 5] = [
            ("version", |h| h[0] = 0x65, BadIpv4::Version),
            ("IHL 4", |h| h[0] = 0x44, BadIpv4::HeaderLength),
            ("IHL beyond total length", |h| h[3] = 19, BadIpv4::HeaderLength),
            ("total length beyond the frame", |h| h[3] = 25, BadIpv4::Truncated),
            ("checksum", |h| h[10] ^= 1, BadIpv4::Checksum),
        ];
        for (what, change, reason) in broken {
            let mut bad = good;
            change(&mut bad);
            assert_eq!(parse(&bad), Err(reason), "{what}");
        }
        assert_eq!(parse(&good[..19]), Err(BadIpv4::Truncated));
    }

    #[test]
    fn source_routes_and_malformed_options_are_refused() {
        for (options, expected) in [
            ([1, 1, 1, 0], Ok(())),
            ([148, 4, 0, 0], Ok(())),
            ([131, 4, 4, 0], Err(BadIpv4::SourceRoute)),
            ([1, 137, 3, 4], Err(BadIpv4::SourceRoute)),
            ([7, 0, 0, 0], Err(BadIpv4::Options)),
            ([7, 5, 0, 0], Err(BadIpv4::Options)),
            ([1, 1, 1, 7], Err(BadIpv4::Options)),
        ] {
            let mut packet = header(0, 64);
            packet[0] = 0x46;
            packet[20..].copy_from_slice(&options);
            seal(&mut packet, 24);
            assert_eq!(parse(&packet).map(|_| ()), expected, "{options:?}");
        }
    }

    #[test]
    fn ordinary_addresses_are_those_of_hosts() {
        for address in (0..=u16::MAX).map(|high| Ipv4Addr::from_bits(u32::from(high) << 16 | 7)) {
            let expected = may_send(address) && !address.is_link_local();
            assert_eq!(is_ordinary(address), expected, "{address}");
        }
    }

    proptest! {
        #[test]
        fn changed_headers_keep_a_right_checksum(tos: u8, ttl in 1u8.., new_tos: u8) {
            let mut packet = header(tos, ttl);
            decrement_ttl(&mut packet);
            set_tos(&mut packet, new_tos);
            swap_addresses(&mut packet);
            let read = parse(&packet).unwrap();
            prop_assert_eq!((read.ttl(), read.tos()), (ttl - 1, new_tos));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(read) = parse(&bytes) {
                prop_assert!(usize::from(read.total_len()) <= bytes.len());
                prop_assert!(usize::from(read.header_len()) <= usize::from(read.total_len()));
            }
        }
    }
}
