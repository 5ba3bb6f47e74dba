//! What is put into a tunnel comes out of it.

use proptest::prelude::*;
use tidegate_fastpath::{
    buffer::Buffer,
    io::mem::MemBuffer,
    stage::{ingress, link},
    types::PortId,
};
use tidegate_tests::{
    gateway::{Gateway, SITE},
    packet,
};

use crate::packets;

proptest! {
    #[test]
    fn decap_of_encap_is_the_packet(
        name in prop::sample::select(vec!["red-1", "red-2", "blue-1", "blue-2"]),
        text in packets::ipv4(packets::address()),
        ecn in prop::sample::select(vec!["tos=0", "tos=1", "tos=2", "tos=3"]),
    ) {
        let gw = Gateway::alone(SITE, 1);
        let tables = gw.tables();
        let net = gw.net(name);
        let vtep = tables.vtep_of(&net).unwrap();
        let us = tables.net(vtep.underlay).unwrap();
        // Whatever is inside: of a packet with a wrong header there is nothing to come out.
        let words: Vec<&str> = text
            .split(' ')
            .filter(|w| *w != "badsum" && !w.starts_with("opt=") && !w.starts_with("tos="))
            .collect();
        let text = match text.split_once(" | ") {
            Some(_) => words.join(" ").replacen(" |", &format!(" {ecn} |"), 1),
            None => format!("{} {ecn}", words.join(" ")),
        };
        let whole = packet::frame(&format!("eth 02:01:02:03:04:05 > {} | {text}", net.mac)).unwrap();
        prop_assume!(whole.len() + 36 <= usize::from(us.mtu.get()));

        let mut buffer = MemBuffer::new(&whole);
        let port = link::encap_frame(&tables, &net, vtep.address, us.mac, &mut buffer);
        prop_assert_eq!(port, Ok(PortId(0)));
        prop_assert_eq!(buffer.bytes().len(), whole.len() + 50);
        let arrival = ingress::receive(&tables, PortId(0), &mut buffer);
        let Ok(arrival) = arrival else { panic!("{:?}", arrival.err()) };
        prop_assert_eq!(buffer.bytes(), &whole[14..]);
        prop_assert_eq!(tables.net(arrival.origin.net), Some(&net));
        prop_assert_eq!(arrival.origin.vtep, vtep.address);
        prop_assert_eq!(arrival.origin.mac.to_string(), "02:01:02:03:04:05");
    }
}
