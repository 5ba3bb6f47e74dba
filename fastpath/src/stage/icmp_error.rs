//! Which flow is an ICMP error about? An error names the packet that caused it; it goes where the answers to that packet go
//! and is translated with their flow's rewrite, from outside and from inside alike (RFC 5508 REQ-4, REQ-5).
//!
//! The answers' flow says, for example, "destination becomes 10.1.0.7:40000". The packet that caused the error went the
//! other way: there the same end is the *source*. The error itself goes the way of the answers, so its destination becomes
//! 10.1.0.7. An error of a router inside leaves with the public address of the flow, so that inside addresses stay inside.

use crate::{
    flow::FlowKey,
    types::NetId,
    wire::{
        embedded::{Embedded, Ports, embedded, translate_error},
        icmp,
        ipv4::{Ipv4, protocol},
        translate::Rewrite,
    },
};

/// Whether a packet is an ICMP error, redirects included. Costs a comparison for TCP and UDP.
#[inline(always)]
pub fn is_error(packet: &[u8], ip: &Ipv4) -> bool {
    ip.protocol() == protocol::ICMP
        && !ip.is_later_fragment()
        && packet.get(usize::from(ip.header_len())..).is_some_and(icmp::is_error)
}

/// The flow whose rewrite an ICMP error from `net` takes: that of the answers to the packet it is about, as they come from
/// `net`. `packet` begins with `ip`.
///
/// `None` for an error that a NAT drops: what [`embedded`] refuses, a fragment (errors are far below any MTU), and an
/// error that does not go to the sender of the packet it is about.
pub fn answers(net: NetId, packet: &[u8], ip: &Ipv4) -> Option<FlowKey> {
    if ip.protocol() != protocol::ICMP || ip.is_fragment() {
        return None;
    }
    let inside = embedded(packet.get(usize::from(ip.header_len())..usize::from(ip.total_len()))?)?;
    (inside.ip.source() == ip.destination()).then(|| key_of_answers(net, &inside))
}

/// The key of packets that answer the embedded one.
fn key_of_answers(net: NetId, inside: &Embedded) -> FlowKey {
    let Embedded { ip, ports } = inside;
    let (source_port, destination_port) = match *ports {
        Ports::Pair { source, destination } => (destination, source),
        Ports::Query { id, answer } => (id, u16::from(!answer)),
        Ports::None => (0, 0),
    };
    let (source, destination) = (ip.destination(), ip.source());
    let later = ip.is_later_fragment();
    FlowKey::new(net, source, destination, ip.protocol(), source_port, destination_port, later)
}

/// Translates an ICMP error with the rewrite of the flow that [`answers`] named; once for each end that the flow rewrites.
/// False, and nothing changed, where that is not possible.
#[must_use]
pub fn apply(packet: &mut [u8], ip: &Ipv4, answers: Rewrite) -> bool {
    let inner = Rewrite { side: answers.side.other(), ..answers };
    translate_error(packet, ip, inner, answers.side, answers.address)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        stage::ingress::flow_key,
        wire::{icmp::IcmpError, ipv4, translate::Side},
    };

    const NET: NetId = NetId(3);
    const VM: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 7);
    const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
    const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 254);

    fn udp(source: Ipv4Addr, from: u16, destination: Ipv4Addr, to: u16) -> Vec<u8> {
        let mut packet = Vec::new();
        etherparse::PacketBuilder::ipv4(source.octets(), destination.octets(), 9)
            .udp(from, to)
            .write(&mut packet, b"who is there")
            .unwrap();
        packet
    }

    fn ping(source: Ipv4Addr, destination: Ipv4Addr, reply: bool) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = etherparse::PacketBuilder::ipv4(source.octets(), destination.octets(), 9);
        let builder =
            if reply { builder.icmpv4_echo_reply(77, 1) } else { builder.icmpv4_echo_request(77, 1) };
        builder.write(&mut packet, b"ping").unwrap();
        packet
    }

    /// An error about `packet`, from `source` to `destination`.
    fn error_about(packet: &[u8], source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let mut error = vec![0; icmp::ERROR_HEADERS];
        error.extend_from_slice(packet);
        icmp::emit_error(&mut error, IcmpError::FragmentationNeeded(1400), source, destination, 1);
        error
    }

    fn key(packet: &[u8]) -> FlowKey {
        let (ip, segment) = ipv4::split(packet).unwrap();
        flow_key(NET, &ip, segment)
    }

    #[test]
    fn an_error_takes_the_way_of_the_answers() {
        for (sent, answer) in [
            (udp(VIP, 1024, REMOTE, 53), udp(REMOTE, 53, VIP, 1024)),
            (ping(VIP, REMOTE, false), ping(REMOTE, VIP, true)),
        ] {
            let error = error_about(&sent, ROUTER, VIP);
            let ip = ipv4::parse(&error).unwrap();
            assert!(is_error(&error, &ip) && !is_error(&answer, &ipv4::parse(&answer).unwrap()));
            assert_eq!(answers(NET, &error, &ip), Some(key(&answer)));
        }
    }

    #[test]
    fn an_error_to_another_than_the_sender_is_refused() {
        let error = error_about(&udp(VIP, 1024, REMOTE, 53), ROUTER, Ipv4Addr::new(203, 0, 113, 6));
        assert_eq!(answers(NET, &error, &ipv4::parse(&error).unwrap()), None);
    }

    #[test]
    fn a_fragment_of_an_error_is_refused_and_changes_nothing() {
        let mut error = error_about(&udp(VIP, 1024, REMOTE, 53), ROUTER, VIP);
        let len = error.len() as u16;
        ipv4::set_fragment(&mut error, ipv4::HEADER_LEN, len, ipv4::MF);
        let (ip, before) = (ipv4::parse(&error).unwrap(), error.clone());
        let to_vm = Rewrite { side: Side::Destination, address: VM, port: 40000 };
        assert!(answers(NET, &error, &ip).is_none() && !apply(&mut error, &ip, to_vm));
        assert_eq!(error, before);
    }

    #[test]
    fn an_error_from_outside_reads_as_if_there_were_no_nat() {
        let mut error = error_about(&udp(VIP, 1024, REMOTE, 53), ROUTER, VIP);
        let ip = ipv4::parse(&error).unwrap();
        assert!(apply(&mut error, &ip, Rewrite { side: Side::Destination, address: VM, port: 40000 }));
        assert_eq!(error, error_about(&udp(VM, 40000, REMOTE, 53), ROUTER, VM));
    }

    #[test]
    fn an_error_from_inside_shows_the_public_address_only() {
        let inside_router = Ipv4Addr::new(10, 1, 0, 99);
        let mut error = error_about(&udp(REMOTE, 53, VM, 40000), inside_router, REMOTE);
        let ip = ipv4::parse(&error).unwrap();
        assert_eq!(answers(NET, &error, &ip), Some(key(&udp(VM, 40000, REMOTE, 53))));
        assert!(apply(&mut error, &ip, Rewrite { side: Side::Source, address: VIP, port: 1024 }));
        assert_eq!(error, error_about(&udp(REMOTE, 53, VIP, 1024), VIP, REMOTE));
    }

    #[test]
    fn an_error_within_a_hairpin_is_translated_at_both_ends() {
        let other = Ipv4Addr::new(10, 1, 0, 8);
        // VM:40000 -> VIP:80 arrived at the other VM as VIP:1024 -> other:8080.
        let mut error = error_about(&udp(VIP, 1024, other, 8080), other, VIP);
        let ip = ipv4::parse(&error).unwrap();
        assert_eq!(answers(NET, &error, &ip), Some(key(&udp(other, 8080, VIP, 1024))));
        assert!(apply(&mut error, &ip, Rewrite { side: Side::Source, address: VIP, port: 80 }));
        assert!(apply(&mut error, &ip, Rewrite { side: Side::Destination, address: VM, port: 40000 }));
        assert_eq!(error, error_about(&udp(VM, 40000, VIP, 80), VIP, VM));
    }
}
