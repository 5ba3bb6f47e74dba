//! What must hold of every frame that the gateway sends, whatever came in; read with `etherparse`.

use etherparse::{Ethernet2Header, IpNumber, Ipv4Header, SingleVlanHeader, UdpHeader};
use tidegate_fastpath::{
    table::{Link, Net, Tables},
    types::{MacAddr, PortId},
};

/// Which network a frame on a port was sent into.
///
/// # Panics
/// When no network of the gateway sends such frames, or a header is wrong.
pub fn check<'t>(tables: &'t Tables, port: PortId, bytes: &[u8]) -> &'t Net {
    let (ethernet, mut rest) = Ethernet2Header::from_slice(bytes).expect("an Ethernet header");
    let (mut kind, mut vid) = (ethernet.ether_type.0, None);
    if kind == 0x8100 {
        let (tag, inner) = SingleVlanHeader::from_slice(rest).expect("a tag");
        (kind, vid, rest) = (tag.ether_type.0, Some(tag.vlan_id.value()), inner);
    }
    let on = |link: Link| matches!(link, Link::Port { port: p, vlan } if p == port && vlan.map(|v| v.get()) == vid);
    let net = tables.nets.iter().flatten().find(|net| on(net.link));
    let net = net.unwrap_or_else(|| panic!("sent on port {port}, VLAN {vid:?}: nobody is there"));
    assert_eq!(MacAddr::new(ethernet.source), net.mac, "sent with a MAC that is not ours");
    match kind {
        0x0806 => assert_eq!(rest.len(), 28, "ARP has 28 bytes"),
        0x0800 => {
            if let Some(inner) = ipv4(rest, tables, net) {
                return inner;
            }
        }
        other => panic!("sent EtherType {other:04x}"),
    }
    net
}

/// An IPv4 packet; the network inside, where it is one of our tunnels.
fn ipv4<'t>(packet: &[u8], tables: &'t Tables, net: &Net) -> Option<&'t Net> {
    let (ip, rest) = Ipv4Header::from_slice(packet).expect("an IPv4 header");
    assert!(has_right_checksum(&packet[..ip.header_len()]), "the header checksum");
    assert_eq!(usize::from(ip.total_len), packet.len(), "the total length");
    assert!(usize::from(ip.total_len) <= usize::from(net.mtu.get()), "longer than the MTU of its network");
    assert!(!matches!(ip.source[0], 0 | 127 | 224..), "sent from {:?}", ip.source);
    assert!(!matches!(ip.destination[0], 0 | 127 | 224..), "sent to {:?}", ip.destination);
    let first = ip.fragment_offset.value() == 0;
    let ours =
        |port: u16| tables.vteps.iter().position(|v| v.udp_port == port && v.address.octets() == ip.source);
    let (udp, inside) = UdpHeader::from_slice(rest).ok().filter(|_| ip.protocol == IpNumber::UDP && first)?;
    // A VM may send what looks like VXLAN; ours goes out on the underlay, from our address, with DF and checksum 0.
    let vtep = ours(udp.destination_port)
        .filter(|_| udp.checksum == 0 && ip.dont_fragment && udp.source_port >= 0xc000)?;
    if !std::ptr::eq(tables.net(tables.vteps[vtep].underlay)?, net) {
        return None;
    }
    assert!(ip.dscp.value() == 0 && !ip.more_fragments);
    assert_eq!(usize::from(udp.length), rest.len());
    assert!(
        inside.len() >= 22 && inside[0] == 8 && inside[1..4] == [0; 3] && inside[7] == 0,
        "the VXLAN header"
    );
    let vni = u32::from_be_bytes([0, inside[4], inside[5], inside[6]]);
    let is_it =
        |link: Link| matches!(link, Link::Vxlan { vtep: v, vni: n } if v.index() == vtep && n.get() == vni);
    let overlay = tables.nets.iter().flatten().find(|net| is_it(net.link));
    let overlay = overlay.unwrap_or_else(|| panic!("sent to VNI {vni}: nobody has it"));
    let (ethernet, rest) = Ethernet2Header::from_slice(&inside[8..]).expect("an inner Ethernet header");
    assert_eq!(MacAddr::new(ethernet.source), overlay.mac, "sent with a MAC that is not ours");
    match ethernet.ether_type.0 {
        0x0806 => assert!(rest.len() >= 28),
        0x0800 => drop(ipv4(rest, &Tables::default(), overlay)),
        other => panic!("sent EtherType {other:04x} inside"),
    }
    Some(overlay)
}

/// Whether the words of an IPv4 header add up (RFC 791 §3.1). Added here, not by `etherparse`, which leaves the reserved flag out.
pub(super) fn has_right_checksum(header: &[u8]) -> bool {
    let words = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff || sum == 0xffff
}
