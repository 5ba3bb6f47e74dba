//! Packets for tests, built field by field, with checksums that are computed from scratch in the plainest way: what the
//! incremental code is compared with.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::{
    embedded::Ports,
    ipv4::{MF, OFFSET, protocol},
    translate::{Rewrite, Side},
};

/// A packet by its fields.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) protocol: u8,
    /// Source and destination port; identifier and sequence number of ICMP.
    pub(super) ports: [u16; 2],
    pub(super) icmp_type: u8,
    /// UDP only: whether it has one.
    pub(super) checksum: bool,
    /// Bytes of IPv4 options, a multiple of 4.
    pub(super) options_len: usize,
    /// 0 or the offset of a later fragment, whose bytes are `body` alone.
    pub(super) fragment: u16,
    pub(super) body: Vec<u8>,
}

/// RFC 1071 §4.1, as it is written there.
fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0u32;
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while total >> 16 != 0 {
        total = (total >> 16) + (total & 0xffff);
    }
    total as u16
}

/// The bytes that a transport checksum covers.
fn covered(source: [u8; 4], destination: [u8; 4], protocol: u8, segment: &[u8]) -> Vec<u8> {
    if protocol == protocol::ICMP {
        return segment.to_vec();
    }
    let len = (segment.len() as u16).to_be_bytes();
    [&source[..], &destination, &[0, protocol], &len, segment].concat()
}

/// Where the checksum is in a transport header.
fn checksum_at(protocol: u8) -> Option<usize> {
    match protocol {
        protocol::TCP => Some(16),
        protocol::UDP | protocol::UDP_LITE | protocol::DCCP => Some(6),
        protocol::ICMP => Some(2),
        _ => None,
    }
}

/// Whether all checksums of a packet hold; of a fragment only the header's.
pub(super) fn holds(packet: &[u8]) -> bool {
    let header_len = usize::from(packet[0] & 15) * 4;
    let (header, segment) = packet.split_at(header_len);
    let field = |at: usize| <[u8; 4]>::try_from(&header[at..at + 4]).unwrap();
    let protocol = header[9];
    let transport = match checksum_at(protocol) {
        _ if u16::from_be_bytes([header[6], header[7]]) & (OFFSET | MF) != 0 => true,
        Some(at) if protocol == protocol::UDP && segment[at..at + 2] == [0, 0] => true,
        Some(_) => sum(&covered(field(12), field(16), protocol, segment)) == 0xffff,
        None => true,
    };
    sum(header) == 0xffff && transport
}

impl Sample {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let segment = self.segment();
        let header_len = 20 + self.options_len;
        let mut packet = vec![0x40 | (header_len / 4) as u8, 0];
        packet.extend_from_slice(&((header_len + segment.len()) as u16).to_be_bytes());
        packet.extend_from_slice(&[0x12, 0x34]);
        packet.extend_from_slice(&self.fragment.to_be_bytes());
        packet.extend_from_slice(&[64, self.protocol, 0, 0]);
        packet.extend_from_slice(&self.source.octets());
        packet.extend_from_slice(&self.destination.octets());
        packet.resize(header_len, 1);
        let check = !sum(&packet);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
        packet.extend_from_slice(&segment);
        packet
    }

    fn segment(&self) -> Vec<u8> {
        if self.fragment != 0 {
            return self.body.clone();
        }
        let ports = self.ports.map(u16::to_be_bytes).concat();
        let head = match self.protocol {
            protocol::TCP => [&ports[..], &[1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 9, 9, 0, 0, 0, 0]].concat(),
            protocol::UDP => {
                let len = (8 + self.body.len() as u16).to_be_bytes();
                [&ports[..], &len, &[0, 0]].concat()
            }
            protocol::UDP_LITE => [&ports[..], &[0; 4]].concat(),
            protocol::DCCP => [&ports[..], &[3, 0, 0, 0, 0, 0, 0, 7]].concat(),
            protocol::ICMP => [&[self.icmp_type, 0, 0, 0], &ports[..]].concat(),
            _ => vec![0x11; 4],
        };
        let mut segment = [head, self.body.clone()].concat();
        if let Some(at) =
            checksum_at(self.protocol).filter(|_| self.protocol != protocol::UDP || self.checksum)
        {
            let (source, destination) = (self.source.octets(), self.destination.octets());
            let check = match !sum(&covered(source, destination, self.protocol, &segment)) {
                0 if matches!(self.protocol, protocol::UDP | protocol::UDP_LITE) => 0xffff,
                check => check,
            };
            segment[at..at + 2].copy_from_slice(&check.to_be_bytes());
        }
        segment
    }

    /// The packet with one address changed.
    pub(super) fn readdressed(&self, to: Rewrite) -> Sample {
        let mut sample = self.clone();
        match to.side {
            Side::Source => sample.source = to.address,
            Side::Destination => sample.destination = to.address,
        }
        sample
    }

    /// The packet with one end changed.
    pub(super) fn rewritten(&self, to: Rewrite) -> Sample {
        let mut sample = self.readdressed(to);
        match (self.protocol, to.side) {
            _ if self.fragment != 0 => {}
            (protocol::TCP | protocol::UDP, Side::Destination) => sample.ports[1] = to.port,
            (protocol::TCP | protocol::UDP, Side::Source) | (protocol::ICMP, _) => sample.ports[0] = to.port,
            _ => {}
        }
        sample
    }

    /// What takes `to` back.
    pub(super) fn undoing(&self, to: Rewrite) -> Rewrite {
        let (address, port) = match to.side {
            Side::Source => (self.source, self.ports[0]),
            Side::Destination => (self.destination, self.ports[1]),
        };
        let port = if self.protocol == protocol::ICMP { self.ports[0] } else { port };
        Rewrite { address, port, ..to }
    }

    /// What an error about it shows of its ports.
    pub(super) fn expected_ports(&self) -> Ports {
        match self.protocol {
            _ if self.fragment != 0 => Ports::None,
            protocol::TCP | protocol::UDP => {
                Ports::Pair { source: self.ports[0], destination: self.ports[1] }
            }
            protocol::ICMP => Ports::Query { id: self.ports[0], answer: matches!(self.icmp_type, 0 | 14) },
            _ => Ports::None,
        }
    }
}

/// An address, now and then one whose words are all zeros or ones.
fn any_address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![8 => any::<u32>(), 1 => Just(0), 1 => Just(u32::MAX)].prop_map(Ipv4Addr::from_bits)
}

/// A port; the ends of the range more often.
fn any_port() -> impl Strategy<Value = u16> {
    prop_oneof![8 => any::<u16>(), 1 => Just(0), 1 => Just(u16::MAX)]
}

prop_compose! {
    /// A packet or later fragment of the protocols that are treated differently, and of SCTP and GRE.
    pub(super) fn any_sample()(
        source in any_address(),
        destination in any_address(),
        protocol in prop::sample::select(vec![6u8, 6, 17, 17, 1, 1, 33, 136, 132, 47]),
        ports in [any_port(), any_port()],
        icmp_type in prop::sample::select(vec![8u8, 0, 13, 14]),
        checksum: bool,
        options_len in prop_oneof![3 => Just(0usize), 1 => (0usize..=10).prop_map(|words| words * 4)],
        fragment in prop_oneof![4 => Just(0u16), 1 => 1..0x1fffu16],
        body in prop_oneof![prop::collection::vec(any::<u8>(), 16..64), prop::collection::vec(Just(0u8), 16..64)],
    ) -> Sample {
        Sample { source, destination, protocol, ports, icmp_type, checksum, options_len, fragment, body }
    }
}

prop_compose! {
    /// What one end becomes.
    pub(super) fn any_rewrite()(to_source: bool, address in any_address(), port in any_port()) -> Rewrite {
        Rewrite { side: if to_source { Side::Source } else { Side::Destination }, address, port }
    }
}
