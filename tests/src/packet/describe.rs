//! Bytes to text. It never fails: what it cannot read it shows as `hex`.

use std::{fmt::Write, net::Ipv4Addr};

use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, IpNumber, Ipv4Header, SingleVlanHeader, TcpHeader,
    TcpOptionElement, UdpHeader,
    icmpv4::{DestUnreachableHeader as Unreachable, TimeExceededCode},
};
use tidegate_fastpath::types::MacAddr;

/// UDP ports that mean VXLAN.
const VXLAN_PORTS: [u16; 2] = [8472, 4789];

/// A frame in words; see the [module](super). Payload is shown by its length only.
pub fn describe(frame: &[u8]) -> String {
    let mut text = String::new();
    ethernet(&mut text, frame);
    text
}

fn ethernet(text: &mut String, bytes: &[u8]) {
    let Ok((header, payload)) = Ethernet2Header::from_slice(bytes) else { return hex(text, bytes) };
    let [source, destination] = [header.source, header.destination].map(MacAddr::new);
    say(text, format_args!("eth {source} > {destination}"));
    by_type(text, header.ether_type, payload);
}

fn by_type(text: &mut String, ether_type: EtherType, payload: &[u8]) {
    match ether_type {
        EtherType::IPV4 => return next(text, payload, ipv4),
        EtherType::ARP => return next(text, payload, arp),
        EtherType::VLAN_TAGGED_FRAME => {
            if let Ok((tag, payload)) = SingleVlanHeader::from_slice(payload) {
                say(text, format_args!(" | vlan {}", tag.vlan_id.value()));
                if tag.pcp.value() != 0 {
                    say(text, format_args!(" pcp={}", tag.pcp.value()));
                }
                return by_type(text, tag.ether_type, payload);
            }
        }
        EtherType(_) => {}
    }
    say(text, format_args!(" type={:04x}", ether_type.0));
    next(text, payload, hex);
}

fn arp(text: &mut String, bytes: &[u8]) {
    let Some((b, [0, 1, 8, 0, 6, 4, 0, operation @ (1 | 2)])) =
        bytes.first_chunk::<28>().and_then(|b| Some((b, b.first_chunk::<8>()?)))
    else {
        return hex(text, bytes);
    };
    let mac = |at: usize| MacAddr::new(std::array::from_fn(|i| b[at + i]));
    let ip = |at: usize| Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3]);
    if *operation == 1 {
        say(text, format_args!("arp ask {} from {} {}", ip(24), ip(14), mac(8)));
        if mac(18) != MacAddr::default() {
            say(text, format_args!(" to={}", mac(18)));
        }
    } else {
        say(text, format_args!("arp tell {} {} to {} {}", ip(14), mac(8), ip(24), mac(18)));
    }
}

fn ipv4(text: &mut String, bytes: &[u8]) {
    let Ok((ip, rest)) = Ipv4Header::from_slice(bytes) else { return hex(text, bytes) };
    // An ICMP error quotes less than the whole packet; Ethernet pads more than it.
    let body = &rest[..rest.len().min(usize::from(ip.total_len).saturating_sub(ip.header_len()))];
    let first = ip.fragment_offset.value() == 0;
    let understood = match ip.protocol {
        IpNumber::TCP if first => tcp(text, &ip, body),
        IpNumber::UDP if first => udp(text, &ip, body),
        IpNumber::ICMP if first => icmp(text, &ip, body),
        _ => None,
    };
    if understood.is_none() {
        let [source, destination] = [ip.source, ip.destination].map(Ipv4Addr::from);
        say(text, format_args!("ip {source} > {destination} proto={}", ip.protocol.0));
        ip_words(text, &ip, body.len());
    }
}

fn ip_words(text: &mut String, ip: &Ipv4Header, payload_len: usize) {
    let tos = ip.dscp.value() << 2 | ip.ecn.value();
    let mut value = |name: &str, n: usize| {
        if n != 0 {
            say(text, format_args!(" {name}={n}"));
        }
    };
    value("tos", tos.into());
    value("ipid", ip.identification.into());
    value("off", usize::from(ip.fragment_offset.value()) * 8);
    say(text, format_args!(" ttl={}", ip.time_to_live));
    let options: String = ip.options.as_slice().iter().map(|b| format!("{b:02x}")).collect();
    if !options.is_empty() {
        say(text, format_args!(" opt={options}"));
    }
    flags(text, [("df", ip.dont_fragment), ("mf", ip.more_fragments)]);
    flags(text, [("badsum", ip.header_checksum != ip.calc_header_checksum())]);
    if payload_len != 0 {
        say(text, format_args!(" len={payload_len}"));
    }
}

fn tcp(text: &mut String, ip: &Ipv4Header, body: &[u8]) -> Option<()> {
    let (tcp, payload) = TcpHeader::from_slice(body).ok()?;
    let letters =
        [(tcp.syn, 'S'), (tcp.ack, 'A'), (tcp.fin, 'F'), (tcp.rst, 'R'), (tcp.psh, 'P'), (tcp.urg, 'U')];
    let set: String = letters.iter().filter(|(set, _)| *set).map(|(_, letter)| letter).collect();
    sockets(text, "tcp", ip, tcp.source_port, tcp.destination_port);
    say(text, format_args!(" {}", if set.is_empty() { "." } else { &set }));
    for (name, n) in [("seq", tcp.sequence_number), ("ack", tcp.acknowledgment_number)] {
        if n != 0 {
            say(text, format_args!(" {name}={n}"));
        }
    }
    for option in tcp.options_iterator().flatten() {
        if let TcpOptionElement::MaximumSegmentSize(mss) = option {
            say(text, format_args!(" mss={mss}"));
        }
    }
    let right = tcp.calc_checksum_ipv4(ip, payload) == Ok(tcp.checksum);
    flags(text, [("badl4sum", !right && !ip.more_fragments)]);
    ip_words(text, ip, payload.len());
    Some(())
}

fn udp(text: &mut String, ip: &Ipv4Header, body: &[u8]) -> Option<()> {
    let (udp, payload) = UdpHeader::from_slice(body).ok()?;
    if VXLAN_PORTS.contains(&udp.destination_port) && payload.len() >= 8 {
        vxlan(text, ip, &udp, payload);
        return Some(());
    }
    sockets(text, "udp", ip, udp.source_port, udp.destination_port);
    // A quoted packet or a fragment is not all there.
    let whole = usize::from(udp.length) == body.len();
    let right = udp.calc_checksum_ipv4(ip, payload) == Ok(udp.checksum);
    flags(text, [("nosum", udp.checksum == 0), ("badl4sum", udp.checksum != 0 && whole && !right)]);
    ip_words(text, ip, payload.len());
    Some(())
}

fn vxlan(text: &mut String, ip: &Ipv4Header, udp: &UdpHeader, body: &[u8]) {
    let (header, payload) = body.split_at(8);
    let vni = u32::from_be_bytes([0, header[4], header[5], header[6]]);
    let [source, destination] = [ip.source, ip.destination].map(Ipv4Addr::from);
    let (sport, dport) = (udp.source_port, udp.destination_port);
    say(text, format_args!("vxlan {vni} {source} > {destination} sport={sport} dport={dport}"));
    for (name, n, usual) in [("flags", header[0], 8), ("reserved", header[7], 0)] {
        if n != usual {
            say(text, format_args!(" {name}={n}"));
        }
    }
    flags(text, [("sum", udp.checksum != 0)]);
    ip_words(text, ip, 0);
    next(text, payload, ethernet);
}

fn icmp(text: &mut String, ip: &Ipv4Header, body: &[u8]) -> Option<()> {
    let (icmp, payload) = Icmpv4Header::from_slice(body).ok()?;
    let (kind, words) = match &icmp.icmp_type {
        Icmpv4Type::EchoRequest(echo) => ("echo", format!(" id={} seq={}", echo.id, echo.seq)),
        Icmpv4Type::EchoReply(echo) => ("echo-reply", format!(" id={} seq={}", echo.id, echo.seq)),
        Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit) => ("ttl-exceeded", String::new()),
        Icmpv4Type::DestinationUnreachable(why) => match why {
            Unreachable::Network => ("no-net", String::new()),
            Unreachable::Host => ("no-host", String::new()),
            Unreachable::Protocol => ("no-protocol", String::new()),
            Unreachable::Port => ("no-port", String::new()),
            Unreachable::FilterProhibited => ("prohibited", String::new()),
            Unreachable::FragmentationNeeded { next_hop_mtu } => {
                ("frag-needed", format!(" mtu={next_hop_mtu}"))
            }
            _ => return None,
        },
        _ => return None,
    };
    let [source, destination] = [ip.source, ip.destination].map(Ipv4Addr::from);
    say(text, format_args!("icmp {kind} {source} > {destination}{words}"));
    flags(text, [("badl4sum", icmp.checksum != icmp.icmp_type.calc_checksum(payload) && !ip.more_fragments)]);
    let error = !kind.starts_with("echo");
    ip_words(text, ip, if error { 0 } else { payload.len() });
    if error {
        next(text, payload, ipv4);
    }
    Some(())
}

fn sockets(text: &mut String, kind: &str, ip: &Ipv4Header, source: u16, destination: u16) {
    let [from, to] = [ip.source, ip.destination].map(Ipv4Addr::from);
    say(text, format_args!("{kind} {from}:{source} > {to}:{destination}"));
}

fn next(text: &mut String, bytes: &[u8], header: impl Fn(&mut String, &[u8])) {
    if !bytes.is_empty() {
        text.push_str(" | ");
        header(text, bytes);
    }
}

fn hex(text: &mut String, bytes: &[u8]) {
    let pairs: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    say(text, format_args!("hex {pairs}"));
}

fn flags<const N: usize>(text: &mut String, words: [(&str, bool); N]) {
    for (word, _) in words.iter().filter(|(_, set)| *set) {
        say(text, format_args!(" {word}"));
    }
}

fn say(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(words);
}
