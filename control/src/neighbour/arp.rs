//! ARP frames of the gateway (RFC 826, RFC 5227).

use std::net::Ipv4Addr;

use etherparse::{ArpEthIpv4Packet, ArpOperation, EtherType, Ethernet2Header};
use tidegate_fastpath::{table::Net, types::MacAddr};

/// An Ethernet frame that carries ARP for IPv4; the driver pads it where the medium asks for that.
pub type Frame = [u8; Ethernet2Header::LEN + 28];

/// A request for `target`: broadcast, or to `known` alone to confirm it. Without an address of our own it is a probe
/// with sender address 0 (RFC 5227 §2.1.1).
pub fn request(net: &Net, target: Ipv4Addr, known: Option<MacAddr>) -> Frame {
    let destination = known.unwrap_or(MacAddr::BROADCAST);
    frame(net.mac, destination, net.address.unwrap_or(Ipv4Addr::UNSPECIFIED), target)
}

/// An announcement of `address`: a broadcast request with our address as sender and target (RFC 5227 §2.3).
pub fn announcement(net: &Net, address: Ipv4Addr) -> Frame {
    frame(net.mac, MacAddr::BROADCAST, address, address)
}

fn frame(source: MacAddr, destination: MacAddr, sender: Ipv4Addr, target: Ipv4Addr) -> Frame {
    let ethernet = Ethernet2Header {
        source: source.octets(),
        destination: destination.octets(),
        ether_type: EtherType::ARP,
    };
    let arp = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: source.octets(),
        sender_ipv4: sender.octets(),
        target_mac: [0; 6], // RFC 5227 §1.1: ignored in a request, and set to zero
        target_ipv4: target.octets(),
    };
    let mut frame = [0; Ethernet2Header::LEN + 28];
    let (head, body) = frame.split_at_mut(Ethernet2Header::LEN);
    head.copy_from_slice(&ethernet.to_bytes());
    body.copy_from_slice(&arp.to_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use tidegate_fastpath::{
        table::Link,
        types::{Mtu, PortId, VrfId},
    };

    use super::*;

    #[test]
    fn a_request_is_as_rfc_826_draws_it() {
        let net = Net {
            vrf: VrfId(1),
            mac: MacAddr::new([2, 0, 0, 0, 0, 1]),
            mtu: Mtu::new(1500).unwrap(),
            prefix: "10.1.2.0/24".parse().unwrap(),
            addresses: [Ipv4Addr::new(10, 1, 2, 1)].into(),
            address: Some(Ipv4Addr::new(10, 1, 2, 1)),
            link: Link::Port { port: PortId(0), vlan: None },
        };
        let expect = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, // Ethernet
            0, 1, 8, 0, 6, 4, 0, 1, // Ethernet, IPv4, request
            2, 0, 0, 0, 0, 1, 10, 1, 2, 1, 0, 0, 0, 0, 0, 0, 10, 1, 2, 7,
        ];
        assert_eq!(request(&net, Ipv4Addr::new(10, 1, 2, 7), None), expect);
        let known = MacAddr::new([2, 0, 0, 0, 0, 9]);
        assert_eq!(request(&net, Ipv4Addr::new(10, 1, 2, 7), Some(known))[..6], known.octets());
        assert_eq!(announcement(&net, Ipv4Addr::new(10, 1, 2, 1))[28..32], [10, 1, 2, 1]);
    }
}
