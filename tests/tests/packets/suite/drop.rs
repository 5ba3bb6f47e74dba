//! Every drop reason, provoked. The `match` has no `_`: a new reason does not compile until somebody says how it is
//! reached, or why it cannot be.

use tidegate_fastpath::reason::DropReason;
use tidegate_tests::packet::frame;

use super::*;

/// Why a reason is not provoked here.
type Unreached = &'static str;

/// Makes the gateway drop a packet for this reason, and perhaps others for other reasons.
fn provoke(gw: &mut Gateway, reason: DropReason) -> Result<(), Unreached> {
    use DropReason as R;
    let a = gw.vm("red-1", "10.1.1.7", HOST1);
    let b = gw.vm("red-2", "10.1.2.9", HOST2);
    let c = gw.vm("red-3", "10.1.3.7", HOST1);
    gw.take_moved();
    let udp = "udp 10.1.1.7:1 > 10.1.2.9:2";
    let bytes = |text: &str| frame(text).unwrap();
    let inner = 14 + 20 + 8 + 8;
    match reason {
        R::ZsnpForged => gw.from(&a, "ip 10.1.1.7 > 10.1.2.9 proto=253 len=64").nothing(),
        R::RuntFrame => gw.rx_bytes("lan", &bytes(&c.sends(udp))[..13]).nothing(),
        R::MultiSegment => {
            gw.io(0).push_segmented(c.port, &bytes(&c.sends(udp)));
            gw.run().nothing();
        }
        R::NotOurMac => gw.rx("lan", &c.sends(udp).replace(&c.us.to_string(), "02:09:09:09:09:09")).nothing(),
        R::SourceMac => gw.from(&a.with_mac("01:00:5e:00:00:01"), udp).nothing(),
        R::UnknownVlan => gw.rx("lan", &c.sends(udp).replace("vlan 103", "vlan 4095")).nothing(),
        R::UnknownEthertype => {
            gw.from(&c.typed("86dd"), "hex 60").nothing();
        }
        R::ArpMalformed => {
            gw.from(&c.typed("0806"), "hex 0001").nothing();
        }
        R::ArpNotOurs => gw.from(&c, "arp ask 10.1.3.8 from 10.1.3.7 02:01:0a:01:03:07").nothing(),
        R::IpVersion => changed(gw, &c, udp, 18, 0x65),
        R::IpHeaderLength => changed(gw, &c, udp, 18, 0x44),
        R::IpTruncated => changed(gw, &c, udp, 18 + 3, 200),
        R::IpChecksum => gw.from(&a, "udp 10.1.1.7:1 > 10.1.2.9:2 badsum").nothing(),
        R::IpSourceRoute => gw.from(&a, "udp 10.1.1.7:1 > 10.1.2.9:2 opt=8307040a01010700").nothing(),
        R::IpOptions => gw.from(&a, "udp 10.1.1.7:1 > 10.1.2.9:2 opt=94ff0000").nothing(),
        R::MartianSource => gw.from(&a, "udp 127.0.0.1:1 > 10.1.2.9:2").nothing(),
        R::MartianDestination => gw.from(&a, "udp 10.1.1.7:1 > 127.0.0.1:2").nothing(),
        R::LinkLocal => gw.from(&a, "udp 169.254.1.1:1 > 10.1.2.9:2").nothing(),
        R::Multicast => gw.from(&a, "udp 10.1.1.7:1 > 224.0.0.251:5353").nothing(),
        R::Broadcast => gw.from(&a, "udp 10.1.1.7:1 > 255.255.255.255:67").nothing(),
        R::VxlanTruncated => {
            let text =
                format!("eth {} > 02:00:00:00:00:01 | udp 172.31.1.1:50000 > 172.31.0.1:8472 len=7", a.mac);
            gw.rx("underlay", &text).nothing();
        }
        R::VxlanFlags => gw.from(&a.outer("flags=0"), udp).nothing(),
        R::VxlanFragment => gw.from(&a.outer("mf"), udp).nothing(),
        R::VxlanChecksum => {
            let mut frame = bytes(&a.sends(udp));
            frame[inner - 10] = 1;
            gw.rx_bytes("underlay", &frame).nothing();
        }
        R::UnknownVni => gw.rx("underlay", &a.sends(udp).replace("vxlan 201", "vxlan 0")).nothing(),
        R::EcnNotCapable => gw.from(&a.outer("tos=3"), udp).nothing(),
        R::VxlanInnerVlan => gw.from(&a, &format!("vlan 7 | {udp}")).nothing(),
        R::NoRoute => gw.from(&a, "udp 10.1.1.7:1 > 10.99.0.1:2").ignore(),
        R::Blackhole => gw.from(&a, "udp 10.1.1.7:1 > 192.0.2.129:2").nothing(),
        R::RouteUnusable => {
            let loops = "  - { vpc: red, destination: 198.18.0.0/16, via_public: public }\n  \
                         - { public_network: public, destination: 198.18.0.0/16, via_vpc: red }\n";
            gw.reload(&format!("{}{loops}", config())).ignore();
            gw.from(&a, "udp 10.1.1.7:1 > 198.18.0.1:2").nothing();
        }
        R::TtlExceeded => gw.from(&a, &format!("{udp} ttl=1")).ignore(),
        R::NeedsFragmentation => gw.from(&a, &format!("{udp} df len=1470")).ignore(),
        R::NeighbourUnresolved => {
            gw.from(&a, "udp 10.1.1.7:1 > 10.1.2.77:2").ignore();
            gw.pass(4_000).ignore();
        }
        R::HoldFull => {
            gw.burst(&a, &["udp 10.1.1.7:1 > 10.1.2.77:2"; 17]).ignore();
        }
        R::PuntLimited => {
            for _ in 0..600 * crate::WORKERS {
                gw.from(&a, "udp 10.1.1.7:1 > 10.1.1.1:2").nothing();
            }
        }
        R::PuntFull => {
            gw.control_runs = false;
            for _ in 0..300 {
                gw.from(&a, "udp 10.1.1.7:1 > 10.1.1.1:2").nothing();
            }
        }
        R::IcmpMalformed => gw.from(&a, "icmp echo 10.1.1.7 > 10.1.1.1 badl4sum").nothing(),
        R::NoBuffer => {
            for worker in 0..crate::WORKERS {
                gw.io(worker).set_pool_limit(1);
            }
            gw.from(&a, &format!("{udp} len=1470")).nothing();
        }
        R::NoHeadroom => {
            for worker in 0..crate::WORKERS {
                gw.io(worker).set_headroom(8);
            }
            gw.from(&c, "udp 10.1.3.7:1 > 10.1.2.9:2").nothing();
        }
        R::TxFull => {
            for worker in 0..crate::WORKERS {
                gw.io(worker).set_tx_limit(b.port, Some(0));
            }
            gw.from(&a, udp).nothing();
        }
        R::NotTranslated
        | R::NoService
        | R::NoSession
        | R::ForwardDenied
        | R::PortsExhausted
        | R::AddressAmbiguous
        | R::SessionTableFull
        | R::VmsFull
        | R::VmSessions
        | R::VmSessionRate
        | R::VpcSessions
        | R::VpcSessionRate
        | R::TransportTruncated
        | R::FragmentUnmatched
        | R::FragmentHoldFull => return Err("see nat.rs: this site translates nothing"),
        R::ListenerDenied
        | R::ListenerFull
        | R::BackendsFull
        | R::NoBackend
        | R::BackendRefused
        | R::StraySegment => {
            return Err("see balance.rs: this site has no listeners");
        }
        R::Policed => return Err("see qos.rs: this site limits nothing"),
        R::Shutdown => {
            return Err("see a_worker_that_stops_drops_what_waits in resolve.rs: the worker is gone then");
        }
    }
    Ok(())
}

fn config() -> String {
    site_with("ring: 256", "ring: 256, punts_per_second: 100")
}

/// Sends a frame with one byte set to something else.
fn changed(gw: &mut Gateway, who: &Station, packet: &str, at: usize, to: u8) {
    let mut frame = frame(&who.sends(packet)).unwrap();
    frame[at] = to;
    gw.arrive(who.port, &[frame]).nothing();
}

#[test]
fn every_reason_is_reached_or_says_why_not() {
    for reason in DropReason::ALL {
        let mut gw = Gateway::start(&config(), crate::WORKERS);
        match provoke(&mut gw, *reason) {
            Ok(()) => {
                let moved = gw.take_moved();
                assert!(moved.contains_key(&format!("{reason}")), "{reason} was not reached: {moved:?}");
            }
            Err(why) => assert!(!why.is_empty()),
        }
    }
}

/// A packet that a router must not forward, and the reason.
const MARTIANS: &[(&str, &str)] = &[
    ("udp 0.0.0.0:1 > 10.1.2.9:2", "martian_source"),
    ("udp 0.1.2.3:1 > 10.1.2.9:2", "martian_source"),
    ("udp 127.0.0.1:1 > 10.1.2.9:2", "martian_source"),
    ("udp 224.0.0.1:1 > 10.1.2.9:2", "martian_source"),
    ("udp 239.255.255.255:1 > 10.1.2.9:2", "martian_source"),
    ("udp 240.0.0.1:1 > 10.1.2.9:2", "martian_source"),
    ("udp 255.255.255.255:1 > 10.1.2.9:2", "martian_source"),
    ("udp 10.1.1.7:1 > 0.0.0.0:2", "martian_destination"),
    ("udp 10.1.1.7:1 > 0.1.2.3:2", "martian_destination"),
    ("udp 10.1.1.7:1 > 127.1.2.3:2", "martian_destination"),
    ("udp 10.1.1.7:1 > 240.0.0.1:2", "martian_destination"),
    ("udp 10.1.1.7:1 > 255.255.255.254:2", "martian_destination"),
    ("udp 10.1.1.7:1 > 224.0.0.1:2", "multicast"),
    ("udp 10.1.1.7:1 > 239.1.2.3:2", "multicast"),
    ("udp 10.1.1.7:1 > 255.255.255.255:2", "broadcast"),
    ("udp 10.1.1.7:1 > 10.1.2.255:2", "broadcast"),
    ("udp 10.1.1.7:1 > 10.1.2.0:2", "broadcast"),
    ("udp 10.1.1.7:1 > 10.1.1.255:2", "broadcast"),
    ("udp 169.254.0.1:1 > 10.1.2.9:2", "link_local"),
    ("icmp echo 10.1.1.7 > 0.0.0.0", "martian_destination"),
];

#[test]
fn martians_are_dropped_in_silence() {
    let (mut gw, a, _) = red();
    for (packet, reason) in MARTIANS {
        gw.from(&a, packet).nothing();
        gw.moved(["flow_miss", reason]);
    }
}

#[test]
fn link_local_is_not_routed_even_where_a_route_would_take_it() {
    let mut gw = Gateway::start(
        &format!("{SITE}  - {{ vpc: red, destination: 0.0.0.0/0, next_hop: 10.1.2.254 }}\n"),
        crate::WORKERS,
    );
    let a = gw.vm("red-1", "10.1.1.7", HOST1);
    gw.vm("red-2", "10.1.2.254", HOST2);
    gw.from(&a, "udp 10.1.1.7:1 > 169.254.169.254:80").nothing();
    gw.moved(["flow_miss", "link_local"]);
}

#[test]
fn what_came_as_a_link_layer_broadcast_is_not_forwarded() {
    let (mut gw, a, _) = red();
    let to = |mac: &str, packet: &str| a.sends_to(mac.parse().unwrap(), packet);
    gw.rx("underlay", &to("ff:ff:ff:ff:ff:ff", "udp 10.1.1.7:1 > 10.1.2.9:2")).nothing();
    gw.rx("underlay", &to("ff:ff:ff:ff:ff:ff", "udp 0.0.0.0:68 > 255.255.255.255:67")).nothing();
    gw.moved(["broadcast 2"]);
    gw.rx("underlay", &to("01:00:5e:00:00:fb", "udp 10.1.1.7:1 > 224.0.0.251:5353")).nothing();
    gw.moved(["multicast"]);
}
