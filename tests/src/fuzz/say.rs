//! Packets that make sense, from few bytes: who says what to whom. A fuzzer puts many of them into one script, and two that
//! are of one flow; the frames that it mutates byte by byte (`script.rs`) have everything else.

use std::{net::Ipv4Addr, sync::OnceLock};

use tidegate_fastpath::types::PortId;

use crate::{
    gateway::{Gateway, HOST1, HOST2, HOST3, SITE},
    packet,
};

/// Who may say something: network, address, host.
const STATIONS: [(&str, &str, &str); 18] = [
    ("red-1", "10.1.1.7", HOST1),
    ("red-2", "10.1.2.9", HOST2),
    ("red-3", "10.1.3.7", ""),
    ("red-4", "10.1.4.7", ""),
    ("blue-1", "10.1.1.7", HOST3),
    ("blue-2", "10.1.2.9", HOST2),
    ("blue-3", "10.1.3.7", ""),
    ("public", "203.0.113.1", ""),
    ("public", "203.0.113.50", ""),
    ("underlay", HOST1, ""),
    ("underlay", HOST2, ""),
    ("underlay", "172.31.255.254", ""),
    ("red-2", "10.1.2.254", HOST2),
    // A VM that moved, one that nobody has heard of, a host that nobody has heard of, one behind the router, a VM that has
    // no address yet.
    ("red-1", "10.1.1.7", HOST2),
    ("red-2", "10.1.2.77", HOST1),
    ("red-2", "10.1.2.78", "172.31.9.9"),
    ("red-1", "10.1.1.79", "192.0.2.9"),
    ("red-1", "169.254.7.7", HOST1),
];

/// Whom they talk to; above that, addresses near the stations.
const TO: [[u8; 4]; 30] = [
    [10, 1, 1, 7],
    [10, 1, 2, 9],
    [10, 1, 3, 7],
    [10, 1, 4, 7],
    [10, 1, 2, 254],
    [10, 1, 1, 1],
    [10, 1, 2, 1],
    [10, 1, 3, 1],
    [192, 0, 2, 9],
    [192, 0, 2, 200],
    [198, 51, 100, 9],
    [203, 0, 113, 1],
    [203, 0, 113, 2],
    [203, 0, 113, 50],
    [172, 31, 0, 1],
    [172, 31, 1, 1],
    [172, 31, 2, 1],
    [172, 31, 255, 254],
    [172, 31, 0, 9],
    [10, 1, 1, 255],
    [255, 255, 255, 255],
    [224, 0, 0, 1],
    [127, 0, 0, 1],
    [169, 254, 0, 1],
    [0, 0, 0, 0],
    [240, 0, 0, 1],
    [10, 1, 1, 0],
    [8, 8, 8, 8],
    [203, 0, 113, 93],
    [203, 0, 113, 94],
];

/// A station, and what its packets have in front on our port.
struct Speaker {
    port: PortId,
    ip: Ipv4Addr,
    mac: [u8; 6],
    headers: Vec<u8>,
}

fn speakers() -> &'static [Speaker] {
    static SPEAKERS: OnceLock<Vec<Speaker>> = OnceLock::new();
    SPEAKERS.get_or_init(|| {
        let gateway = Gateway::alone(SITE, 1);
        let speaker = |&(net, ip, host): &(&str, &str, &str)| {
            let who = gateway.stranger(net, ip, Some(host).filter(|host| !host.is_empty()));
            let frame = packet::frame(&who.sends("ip 10.1.1.7 > 10.1.1.7"));
            let mut headers = frame.unwrap_or_else(|why| panic!("{why:#}"));
            headers.truncate(headers.len() - 20);
            if !host.is_empty() {
                // The lengths of the tunnel are of the packet that is not there; they are mended.
                [16, 17, 38, 39].into_iter().for_each(|at| headers[at] = 0);
            }
            Speaker { port: who.port, ip: who.ip, mac: who.mac.octets(), headers }
        };
        STATIONS.iter().map(speaker).collect()
    })
}

/// What must arrive at [`is_proof`] when nothing is in its way: a VM of `red-1` sends to one of `red-2`.
pub(super) const PROOF: Saying = Saying::new(0, [1, 0, 0, 7, 0, 0]);

/// Whether a frame is [`PROOF`] as it leaves for the host of the other VM.
pub(super) fn is_proof(port: PortId, frame: &[u8]) -> bool {
    let end = [10, 1, 1, 7, 10, 1, 2, 9, 0x0f, 7, 0, 53, 0, 8, 0, 0];
    port == PortId(0) && frame.len() == 14 + 36 + 14 + 28 && frame.ends_with(&end)
}

/// What a station says.
pub(super) struct Saying {
    station: usize,
    to: u8,
    kind: u8,
    flags: u8,
    number: u8,
    size: u8,
    extra: u8,
}

impl Saying {
    /// The station's number, then: whom to, kind (bits 0-2) and TTL (bits 3-4), flags, port or identifier, size, extra.
    pub(super) const fn new(station: usize, [to, kind, flags, number, size, extra]: [u8; 6]) -> Saying {
        Saying { station, to, kind, flags, number, size, extra }
    }

    /// Whether ports are polled after it.
    pub(super) const fn is_polled(&self) -> bool {
        self.flags & 0x80 == 0
    }

    /// The port and the frame, not mended.
    pub(super) fn frame(&self) -> (PortId, Vec<u8>) {
        let speakers = speakers();
        let from = &speakers[self.station % speakers.len()];
        let mut bytes = from.headers.clone();
        if self.kind & 7 == 7 {
            let ether_type = bytes.len() - 2;
            bytes[ether_type..].copy_from_slice(&[8, 6]);
            bytes.extend(self.arp(from));
        } else {
            bytes.extend(self.packet(from.ip));
        }
        (from.port, bytes)
    }

    fn to(&self) -> [u8; 4] {
        let near = [10, 1, 1 + self.to % 5, self.extra];
        TO.get(usize::from(self.to)).copied().unwrap_or(near)
    }

    /// A request, or with flag 0 a reply; with flag 1 for itself, with flag 2 from nobody, with flag 3 from a group address.
    fn arp(&self, from: &Speaker) -> Vec<u8> {
        let is = |flag: u8| self.flags & 1 << flag != 0;
        let mut mac = from.mac;
        mac[5] = mac[5].wrapping_add(self.number);
        mac[0] |= u8::from(is(3));
        let sender = if is(2) { [0; 4] } else { from.ip.octets() };
        let target = if is(1) { sender } else { self.to() };
        let operation = [0, if is(0) { 2 } else { 1 }];
        [&[0, 1, 8, 0, 6, 4], &operation[..], &mac, &sender, &[0; 6], &target].concat()
    }

    /// Flags: 0 DF, 1 MF, 2 an offset, 3 options, 4 TOS.
    fn packet(&self, from: Ipv4Addr) -> Vec<u8> {
        let is = |flag: u8| self.flags & 1 << flag != 0;
        let offset = if is(2) { u16::from(self.extra) } else { 0 };
        let fragment = u16::from(is(0)) << 14 | u16::from(is(1)) << 13 | offset;
        let tos = if is(4) { self.extra } else { 0 };
        let ttl = [64, 1, 2, 0][usize::from(self.kind >> 3 & 3)];
        let protocol = [17, 6, 6, 1, 1, 1, 50][usize::from(self.kind & 7)];
        let options = self.options();
        let mut packet = vec![0x45 + (options.len() / 4) as u8, tos, 0, 0, 0, self.number];
        packet.extend(fragment.to_be_bytes());
        packet.extend([ttl, protocol, 0, 0]);
        packet.extend(from.octets());
        packet.extend(self.to());
        packet.extend(options);
        if offset == 0 {
            packet.extend(self.segment());
        }
        packet.resize(packet.len() + self.payload(), 0);
        packet
    }

    /// Router alert, record route, loose source route, or nonsense.
    fn options(&self) -> &[u8] {
        match self.extra & 3 {
            _ if self.flags & 8 == 0 => &[],
            0 => &[0x94, 4, 0, 0],
            1 => &[7, 7, 4, 0, 0, 0, 0, 0],
            2 => &[0x83, 7, 4, 10, 1, 1, 7, 0],
            _ => &[0x44, 90, 5, 0],
        }
    }

    /// The header behind IPv4; checksums are mended where the gateway reads them.
    fn segment(&self) -> Vec<u8> {
        let service: [u8; 2] = match self.number {
            0xf0 => [0x21, 0x18],
            0xf1 => [0x12, 0xb5],
            0xf2 => [0, 179],
            _ => [0, 53],
        };
        let ports = [&[0x0f, self.number], &service[..]].concat();
        match self.kind & 7 {
            0 => [&ports[..], &[0; 4]].concat(),
            1 => [&ports[..], &[0; 8], &[0x60, 2, 0xff, 0xff, 0, 0, 0, 0], &[2, 4, 0x23, 0]].concat(),
            2 => [&ports[..], &[0; 8], &[0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]].concat(),
            3 => vec![8, 0, 0, 0, 0, self.number, 0, self.extra],
            4 => vec![0, 0, 0, 0, 0, self.number, 0, self.extra],
            5 => self.error(),
            _ => vec![],
        }
    }

    /// An ICMP error about a packet that somebody sent to us.
    fn error(&self) -> Vec<u8> {
        let code = self.extra >> 4;
        let mut about = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
        about.extend(self.to());
        about.extend([10, 1, 1, 7, 0x0f, self.number, 0, 53, 0, 8, 0, 0]);
        [&[[3, 11, 12, 5][usize::from(self.extra & 3)], code, 0, 0, 0, 0, 2, 0][..], &about].concat()
    }

    /// Bytes behind all that: exact when few, up to the largest frame when many.
    fn payload(&self) -> usize {
        match usize::from(self.size) {
            few @ 0..128 => few,
            many => (many - 127) * 70,
        }
    }
}

/// The reply of whoever a frame of the gateway asks, if it is an ARP request.
pub(super) fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    /// Behind Ethernet, with a tag, in a tunnel.
    const AT: [usize; 3] = [14, 18, 64];
    const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
    let at =
        AT.into_iter().find(|at| frame.get(at - 2..at + 8) == Some(&[&[8, 6], &REQUEST[..]].concat()))?;
    let mut bytes = frame.get(..at + 28)?.to_vec();
    let asked = [24, 25, 26, 27].map(|n| frame[at + n]);
    let mac = [[2, 1], [asked[0], asked[1]], [asked[2], asked[3]]].concat();
    let link = if at == 64 { 50 } else { 0 };
    if link > 0 {
        bytes.copy_within(..6, 6);
        bytes[26..34].copy_from_slice(&[&frame[30..34], &frame[26..30]].concat());
        bytes.resize(bytes.len().max(frame.len()), 0);
    }
    bytes[link..link + 6].copy_from_slice(&frame[link + 6..link + 12]);
    bytes[link + 6..link + 12].copy_from_slice(&mac);
    bytes[at + 7] = 2;
    let (sender, target) = ([&mac[..], &asked].concat(), &frame[at + 8..at + 18]);
    bytes[at + 8..at + 18].copy_from_slice(&sender);
    bytes[at + 18..at + 28].copy_from_slice(target);
    Some(bytes)
}
