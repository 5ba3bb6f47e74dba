//! What does an ARP packet ask or tell? Requests for our addresses are answered in place; what it says about its sender
//! goes to control as a [`Notice`].

use std::net::Ipv4Addr;

use crate::{
    buffer::Buffer,
    channel::Notice,
    stage::ingress::Origin,
    table::Net,
    wire::arp::{Arp, LEN, Operation},
};

/// What to do with an ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The packet has become the reply; send it to its sender.
    Reply,
    /// Control learns from it; nothing to send.
    Taken,
    /// Hosts of the network among themselves.
    NotOurs,
}

/// Judges an ARP packet of `net`; a request for one of our addresses becomes the reply.
pub fn answer<B: Buffer>(net: &Net, origin: &Origin, arp: &Arp, packet: &mut B) -> (Answer, Option<Notice>) {
    let for_us = net.owns(arp.target);
    let tells = |reply| {
        // A probe has no sender address (RFC 5227 §2.1.1), and our own frames tell us nothing.
        let speaks = !arp.sender.is_unspecified() && arp.sender_mac != net.mac;
        let (ip, mac, vtep) = (arp.sender, arp.sender_mac, vtep_of(origin));
        speaks.then_some(Notice::Arp { net: origin.net, ip, mac, vtep, reply })
    };
    match arp.operation {
        Operation::Request if for_us => {
            packet.truncate(LEN);
            arp.reply(net.mac).emit(packet.bytes_mut());
            (Answer::Reply, tells(false))
        }
        Operation::Reply if for_us => (Answer::Taken, tells(true)),
        // Where we own no address we ask with a probe, which is answered to 0.0.0.0.
        Operation::Reply if arp.target.is_unspecified() && arp.target_mac == net.mac => {
            (Answer::Taken, tells(true))
        }
        _ if arp.is_announcement() => (Answer::Taken, tells(false)),
        // Somebody uses our address; control says whose it is (RFC 5227 §2.4).
        _ if net.owns(arp.sender) => (Answer::NotOurs, tells(false)),
        _ => (Answer::NotOurs, None),
    }
}

/// The remote VTEP, where there is one.
pub fn vtep_of(origin: &Origin) -> Option<Ipv4Addr> {
    (!origin.vtep.is_unspecified()).then_some(origin.vtep)
}
