//! Ethernet and VLANs.

use tidegate_fastpath::{reason::DropReason, types::PortId};
use tidegate_tests::packet::frame;

use super::{gateway, warm};

const LAN: PortId = PortId(2);

#[test]
fn a_frame_belongs_to_the_network_of_its_tag_and_to_no_other() {
    let mut gw = gateway();
    warm(&mut gw);
    let mac = gw.mac_towards("c");
    let packet = "udp 10.1.3.9:1 > 10.1.1.7:1";
    let tagged = |tag: &str| frame(&format!("eth 02:00:00:01:03:09 > {mac} {tag} | {packet}")).unwrap();
    gw.bytes_on(LAN, &tagged("| vlan 100")).to("a", packet);
    gw.bytes_on(LAN, &tagged("| vlan 100 pcp=7")).to("a", packet);
    gw.bytes_on(LAN, &tagged("| vlan 101")).dropped(DropReason::UnknownVlan);
    gw.bytes_on(LAN, &tagged("")).dropped(DropReason::UnknownVlan);
}

#[test]
fn frames_for_others_are_not_ours() {
    let mut gw = gateway();
    warm(&mut gw);
    let text = "eth 02:00:00:01:03:09 > 02:00:00:99:99:99 | vlan 100 | udp 10.1.3.9:1 > 10.1.1.7:1";
    gw.bytes_on(LAN, &frame(text).unwrap()).dropped(DropReason::NotOurMac);
}
