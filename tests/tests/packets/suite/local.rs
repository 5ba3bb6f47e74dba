//! Packets for the gateway itself: ping is answered by the worker, the rest goes to the namespace of the VPC.

use super::*;

#[test]
fn every_own_address_answers_ping() {
    let (mut gw, a, _) = red();
    let c = gw.vm("red-3", "10.1.3.7", HOST1);
    let d = gw.vm("red-4", "10.1.4.7", HOST1);
    let upstream = gw.vm("public", "203.0.113.1", HOST1);
    let host = gw.stranger("underlay", HOST1, None);
    let blue = gw.vm("blue-1", "10.1.1.7", HOST3);
    let pings = [
        (&a, "10.1.1.1"),
        (&a, "10.1.2.1"), // of another subnet of the VPC
        (&a, "10.1.3.1"),
        (&c, "10.1.3.1"),
        (&d, "10.1.4.1"),
        (&d, "10.1.1.1"),
        (&upstream, "203.0.113.2"),
        (&host, "172.31.0.1"),
        (&blue, "10.1.1.1"),
    ];
    for (who, us) in pings {
        let ip = who.ip;
        gw.from(who, &format!("icmp echo {ip} > {us} id=9 seq=3 ttl=1 len=56"))
            .to(who, &format!("icmp echo-reply {us} > {ip} id=9 seq=3 ttl=64 len=56"));
        // The underlay is routed without flow entries.
        if who.id == host.id {
            gw.moved(["echo_reply"])
        } else {
            gw.moved(["flow_miss", "echo_reply"])
        };
    }
}

#[test]
fn a_ping_keeps_its_data_and_tos_and_may_be_large() {
    let (mut gw, a, _) = red();
    for len in [0, 1, 57, 1422] {
        let frames =
            gw.from(&a, &format!("icmp echo 10.1.1.7 > 10.1.1.1 id=9 seq=3 tos=184 len={len}")).frames();
        let words = if len == 0 { String::new() } else { format!("len={len}") };
        let expected = format!("icmp echo-reply 10.1.1.1 > 10.1.1.7 id=9 seq=3 tos=184 {words}");
        assert_eq!(frames.len(), 1);
        tidegate_tests::packet::check(&a.gets(&expected), &frames[0]).unwrap();
        let data = (0..len).map(|i| i as u8).collect::<Vec<_>>();
        assert!(frames[0].ends_with(&data));
    }
}

#[test]
fn a_broken_ping_is_not_answered() {
    let (mut gw, a, _) = red();
    gw.from(&a, "icmp echo 10.1.1.7 > 10.1.1.1 id=9 badl4sum").nothing();
    gw.moved(["flow_miss", "icmp_malformed"]);
}

#[test]
fn what_is_no_ping_goes_to_the_namespace_of_the_vpc() {
    let (mut gw, a, _) = red();
    let blue = gw.vm("blue-1", "10.1.1.7", HOST3);
    for packet in [
        "udp 10.1.1.7:4000 > 10.1.1.1:53 ttl=64 len=30",
        "tcp 10.1.1.7:4000 > 10.1.2.1:179 S ttl=1",
        "icmp no-port 10.1.1.7 > 10.1.1.1 | udp 10.1.1.1:53 > 10.1.1.7:4000",
        "icmp echo-reply 10.1.1.7 > 10.1.1.1 id=4",
        "icmp echo 10.1.1.7 > 10.1.1.1 id=4 mf len=64", // the namespace puts fragments together
        "ip 10.1.1.7 > 10.1.1.1 proto=50 len=40",
    ] {
        gw.from(&a, packet).nothing();
        gw.delivers("red", packet);
        gw.moved(["flow_miss", "punt_local"]);
        gw.from(&blue, packet).nothing();
        gw.delivers("blue", packet);
        gw.moved(["flow_miss", "punt_local"]);
    }
}

#[test]
fn what_the_namespace_sends_is_routed_in_its_vpc_with_its_ttl() {
    let (mut gw, a, _) = red();
    let blue = gw.vm("blue-1", "10.1.1.7", HOST3);
    let packet = "udp 10.1.1.1:53 > 10.1.1.7:4000 ttl=64 len=30";
    gw.inject("red", packet).to(&a, packet);
    gw.inject("blue", packet).to(&blue, packet);
    let packet = "udp 10.1.2.1:53 > 10.1.1.7:4000 ttl=1";
    gw.inject("red", packet).to(&a, packet);
    gw.moved([]);
}

#[test]
fn what_the_namespace_sends_wrongly_is_dropped() {
    let (mut gw, ..) = red();
    gw.inject("red", "udp 10.1.1.1:53 > 10.99.0.1:4000").nothing();
    gw.moved(["no_route"]);
    gw.inject("red", "udp 10.1.1.1:53 > 224.0.0.9:520 ttl=1").nothing();
    gw.moved(["multicast"]);
    gw.inject("red", "udp 10.1.1.1:53 > 10.1.1.7:4000 badsum").nothing();
    gw.moved(["ip_checksum"]);
    gw.inject("red", "hex 60000000000000000000000000000000000000000000").nothing();
    gw.moved(["ip_version"]);
}

#[test]
fn the_rate_into_the_namespace_is_limited() {
    let config = site_with("ring: 256", "ring: 1024, punts_per_second: 100");
    let mut gw = Gateway::start(&config, 1);
    let a = gw.vm("red-1", "10.1.1.7", HOST1);
    let packet = "udp 10.1.1.7:4000 > 10.1.1.1:53";
    let send = |gw: &mut Gateway, n: usize| {
        (0..n).for_each(|_| gw.from(&a, packet).nothing());
        let moved = gw.take_moved();
        let of = |name| moved.get(name).copied().unwrap_or_default();
        assert_eq!(of("punt_local") + of("punt_limited"), n as u64);
        of("punt_local")
    };
    assert_eq!(send(&mut gw, 600), 512, "a burst of 512");
    gw.pass(1_000).ignore();
    assert_eq!(send(&mut gw, 600), 100, "then 100 a second");
    // ARP has a limit of its own and is answered all the same.
    gw.from(&a, "arp ask 10.1.1.1 from 10.1.1.7 02:01:0a:01:01:07")
        .to(&a, &format!("arp tell 10.1.1.1 {} to 10.1.1.7 02:01:0a:01:01:07", a.us));
}

#[test]
fn a_control_thread_that_stands_still_does_not_stop_traffic() {
    let mut gw = Gateway::start(&site_with("ring: 256", "ring: 64"), 1);
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    gw.control_runs = false;
    for _ in 0..70 {
        gw.from(&a, "udp 10.1.1.7:4000 > 10.1.1.1:53").nothing();
    }
    gw.moved(["flow_miss 70", "punt_local 64", "punt_full 6"]);
    gw.from(&a, "udp 10.1.1.7:4000 > 10.1.2.9:53").to(&b, "udp 10.1.1.7:4000 > 10.1.2.9:53");
    for vm in 0..70 {
        let ask = format!("arp ask 10.1.1.1 from 10.1.1.{} 02:01:0a:01:01:{:02x}", 100 + vm, 100 + vm);
        let vm = gw.stranger("red-1", &format!("10.1.1.{}", 100 + vm), Some(HOST1));
        let tell = format!("arp tell 10.1.1.1 {} to {} {}", vm.us, vm.ip, vm.mac);
        gw.from(&vm, &ask).to(&vm, &tell);
    }
    gw.moved(["flow_miss", "flow_learn", "arp_reply 70", "notice_full 6"]);
    gw.control_runs = true;
    gw.run().ignore();
    assert!(gw.take_moved().is_empty());
}
