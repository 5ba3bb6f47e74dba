//! Next hops that are not known yet, or not any more, or elsewhere.

use tidegate_fastpath::types::MacAddr;

use super::*;

/// The request for `who`, which is asked for in `red-2`.
fn ask(who: &Station) -> String {
    format!("arp ask {} from 10.1.2.1 {}", who.ip, who.us)
}

fn udp(n: u16) -> String {
    format!("udp 10.1.1.7:{n} > 10.1.2.50:2")
}

#[test]
fn packets_wait_while_every_vtep_is_asked_and_leave_in_order() {
    let (mut gw, a, _) = red();
    let c = gw.stranger("red-2", "10.1.2.50", Some(HOST2));
    gw.from(&a, &udp(1)).to_all(&c.at(HOST1), &ask(&c)).to_all(&c, &ask(&c));
    gw.pass(3).nothing();
    gw.from(&a, &udp(2)).nothing();
    gw.pass(4).nothing();
    gw.from(&a, &udp(3)).nothing();
    assert_eq!(gw.held(), 3);
    gw.pass(2).nothing();
    gw.from(&c, &c.tells("10.1.2.1")).ignore();
    // What came while we asked leaves in the order in which it came.
    gw.pass(10).to(&c, &udp(1)).to(&c, &udp(2)).to(&c, &udp(3));
    assert_eq!(gw.held(), 0);
    gw.moved(["flow_miss 3", "flow_learn 3", "punt_arp"]);
    gw.from(&a, &udp(1)).to(&c, &udp(1));
    gw.moved(["flow_hit"]);
}

#[test]
fn who_does_not_answer_is_unreachable() {
    let (mut gw, a, _) = red();
    let c = gw.stranger("red-2", "10.1.2.50", Some(HOST2));
    let asks = |sent: tidegate_tests::gateway::Sent<'_>| {
        let words = sent.words();
        words.iter().filter(|w| w.contains("arp ask 10.1.2.50 ")).count()
    };
    assert_eq!(asks(gw.from(&a, &udp(1))), 2);
    assert_eq!(asks(gw.pass(2_900)), 4, "three times, to two VTEPs");
    gw.pass(200).to(&a, &format!("icmp no-host 10.1.1.1 > 10.1.1.7 tos=192 | {}", udp(1)));
    gw.moved(["flow_miss", "flow_learn", "neighbour_unresolved", "icmp_error"]);
    // For a while it is not asked for again.
    gw.from(&a, &udp(2)).to(&a, &format!("icmp no-host 10.1.1.1 > 10.1.1.7 tos=192 | {}", udp(2)));
    gw.pass(4_000).nothing();
    assert_eq!(asks(gw.from(&a, &udp(3))), 2, "then it is");
    let _ = c;
}

#[test]
fn only_so_many_packets_wait_for_one_destination() {
    let (mut gw, a, _) = red();
    let c = gw.stranger("red-2", "10.1.2.50", Some(HOST2));
    let packets: Vec<String> = (0..20).map(udp).collect();
    gw.burst(&a, &packets.iter().map(String::as_str).collect::<Vec<_>>()).ignore();
    gw.moved(["flow_miss 20", "hold_full 4"]);
    assert_eq!(gw.held(), 16);
    gw.from(&c, &c.tells("10.1.2.1")).ignore();
    let sent = gw.pass(10).words();
    let ports: Vec<&str> =
        sent.iter().filter_map(|w| w.split("udp 10.1.1.7:").nth(1)?.split(' ').next()).collect();
    assert_eq!(ports, (0..16).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn only_so_many_packets_wait_at_all() {
    let mut gw = Gateway::start(&site_with("ring: 256", "ring: 256, held_packets: 8"), 1);
    let a = gw.vm("red-1", "10.1.1.7", HOST1);
    for n in 0..12 {
        gw.from(&a, &format!("udp 10.1.1.7:1 > 10.1.2.{}:2", 100 + n)).ignore();
    }
    assert_eq!(gw.held(), 8);
    assert_eq!(gw.take_moved()["hold_full"], 4);
}

#[test]
fn a_worker_that_stops_drops_what_waits() {
    let (mut gw, a, _) = red();
    gw.from(&a, &udp(1)).ignore();
    gw.moved(["flow_miss"]);
    assert_eq!(gw.stop().get("shutdown"), Some(&1));
}

#[test]
fn a_neighbour_is_confirmed_without_a_packet_being_lost() {
    let (mut gw, a, b) = red();
    let packet = "udp 10.1.1.7:1 > 10.1.2.9:2";
    for _ in 0..60 {
        gw.from(&a, packet).to(&b, packet);
        gw.pass(2_000).nothing();
    }
    let moved = gw.take_moved();
    assert_eq!((moved["flow_miss"], moved["flow_hit"]), (1, 59), "{moved:?}");
}

#[test]
fn a_neighbour_that_falls_silent_is_probed_directly_then_everywhere_then_given_up() {
    let (mut gw, a, b) = red();
    gw.from(&a, "udp 10.1.1.7:1 > 10.1.2.9:2").ignore();
    gw.silence(&b);
    let sent = gw.pass(60_000).words();
    let direct = format!("{0} > {1} | arp ask 10.1.2.9 from 10.1.2.1 {0}", b.us, b.mac);
    let probes =
        sent.iter().filter(|w| w.contains("172.31.0.1 > 172.31.2.1") && w.ends_with(&direct)).count();
    assert_eq!((probes, sent.len()), (2, 4), "{sent:#?}");
    let c = gw.stranger("red-2", "10.1.2.9", Some(HOST1));
    let packet = "udp 10.1.1.7:1 > 10.1.2.9:2";
    gw.from(&a, packet).to_all(&c, &ask(&b)).to_all(&b, &ask(&b));
}

const THERE: &str = "udp 10.1.1.7:1 > 10.1.2.9:2";
const BACK: &str = "udp 10.1.2.9:2 > 10.1.1.7:1";

/// Two VMs that know each other's way, and the first of them after it moved to the other's host.
fn moved() -> (Gateway, Station, Station) {
    let (mut gw, a, b) = red();
    gw.from(&a, THERE).to(&b, THERE);
    gw.from(&b, BACK).to(&a, BACK);
    gw.take_moved();
    (gw, a.at(HOST2), b)
}

#[test]
fn a_vm_that_moves_is_followed_with_its_first_data_packet() {
    let (mut gw, a, b) = moved();
    gw.from(&a, THERE).nothing();
    gw.from(&b, BACK).to(&a, BACK);
    gw.pass(5).to(&b, THERE);
    gw.moved(["flow_redecide", "moved", "flow_hit"]);
    gw.from(&a, THERE).to(&b, THERE);
    gw.moved(["flow_hit"]);
    // And back again, with a packet of a flow that is new.
    let (a, new) = (a.at(HOST1), "udp 10.1.1.7:9 > 10.1.2.9:2");
    gw.from(&a, new).nothing();
    gw.pass(5).to(&b, new);
    gw.moved(["flow_miss", "flow_learn", "moved"]);
    gw.from(&b, BACK).to(&a, BACK);
}

#[test]
fn a_packet_that_shows_a_move_waits_until_control_has_followed() {
    let (mut gw, a, b) = moved();
    gw.control_runs = false;
    gw.from(&a, THERE).nothing();
    gw.from(&a, "icmp echo 10.1.1.7 > 10.1.1.1 id=1").nothing();
    gw.pass(40).nothing();
    assert_eq!(gw.held(), 2);
    gw.control_runs = true;
    // The answer of the gateway itself goes to the new place, too.
    gw.pass(5).to(&b, THERE).to(&a, "icmp echo-reply 10.1.1.1 > 10.1.1.7 id=1");
    assert_eq!(gw.held(), 0);
    gw.moved(["flow_redecide", "flow_miss", "moved 2", "echo_reply"]);
}

#[test]
fn a_packet_that_shows_a_move_does_not_wait_for_a_control_thread_that_stands_still() {
    let (mut gw, a, b) = moved();
    gw.control_runs = false;
    gw.from(&a, THERE).nothing();
    gw.pass(60).to(&b, THERE);
    gw.moved(["moved", "move_unanswered", "flow_redecide"]);
    gw.from(&a, THERE).to(&b, THERE);
    gw.moved(["flow_hit"]);
    // What control was told it does not forget.
    gw.control_runs = true;
    gw.run().nothing();
    gw.from(&b, BACK).to(&a, BACK);
}

#[test]
fn a_move_that_control_was_not_told_of_is_shown_again_by_the_next_packet() {
    let (mut gw, a, b) = moved();
    gw.control_runs = false;
    // Each worker gets some of these; the ring of each has 256 places.
    for n in 0..300 {
        for vm in [a.at(HOST1), a.clone()] {
            let vm = vm.with_mac(&format!("02:09:00:00:{:02x}:{:02x}", n / 256, n % 256));
            gw.from(&vm, &format!("arp tell 10.1.1.77 {0} to 10.1.1.77 {0}", vm.mac)).nothing();
        }
    }
    assert!(gw.take_moved().contains_key("notice_full"));
    for _ in 0..2 {
        gw.from(&a, THERE).to(&b, THERE);
        gw.moved(["moved", "notice_full", "move_unanswered"]);
    }
    gw.control_runs = true;
    gw.run().ignore();
    gw.from(&a, THERE).nothing();
    gw.from(&b, BACK).to(&a, BACK);
    gw.pass(5).to(&b, THERE);
    gw.moved(["moved", "flow_redecide", "flow_hit"]);
}

#[test]
fn only_so_many_packets_of_a_vm_wait_for_its_move_and_the_others_go_on() {
    let (mut gw, a, b) = moved();
    gw.control_runs = false;
    let packets: Vec<String> = (0..20).map(|n| format!("udp 10.1.1.7:{} > 10.1.2.9:2", 100 + n)).collect();
    let packets: Vec<&str> = packets.iter().map(String::as_str).collect();
    let mut sent = gw.burst(&a, &packets);
    for packet in &packets[16..] {
        sent = sent.to(&b, packet);
    }
    drop(sent);
    gw.moved(["flow_miss 20", "flow_learn 4", "moved 20", "move_unanswered 4"]);
    assert_eq!(gw.held(), 16);
    gw.control_runs = true;
    gw.pass(5).ignore();
    gw.moved(["flow_learn 16"]);
}

#[test]
fn a_spoofer_takes_no_place_from_packets_that_wait_for_a_neighbour() {
    let mut gw = Gateway::start(&site_with("ring: 256", "ring: 256, held_packets: 8"), 1);
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    gw.control_runs = false;
    for n in 0..2 {
        gw.from(&a.at(HOST2), &format!("udp 10.1.1.7:1 > 10.1.2.{}:2", 100 + n)).nothing();
    }
    gw.from(&a.at(HOST2), THERE).to(&b, THERE);
    gw.moved(["flow_miss 3", "flow_learn", "moved 3", "move_unanswered"]);
    for n in 0..8 {
        gw.from(&a, &format!("udp 10.1.1.7:1 > 10.1.2.{}:2", 200 + n)).nothing();
    }
    assert_eq!(gw.held(), 10);
    gw.moved(["flow_miss 8"]);
    gw.control_runs = true;
    gw.pass(5_000).ignore();
}

#[test]
fn a_packet_that_waited_does_not_lead_back_to_where_its_sender_was() {
    let (mut gw, a, b) = red();
    let c = gw.stranger("red-2", "10.1.2.50", Some(HOST2));
    gw.from(&a, &udp(1)).ignore();
    gw.from(&a.at(HOST2), &a.gratuitous()).nothing();
    gw.from(&c, &c.tells("10.1.2.1")).nothing();
    gw.pass(10).to(&c, &udp(1));
    gw.moved(["flow_miss", "punt_arp 2"]);
    gw.from(&b, BACK).to(&a.at(HOST2), BACK);
}

#[test]
fn a_vm_that_moves_is_followed_with_its_announcement() {
    let (mut gw, a, b) = red();
    let back = "udp 10.1.2.9:2 > 10.1.1.7:1";
    gw.from(&b, back).to(&a, back);
    // Gratuitous ARP, as a request and as a reply, and the RARP of a hypervisor.
    let rarp = format!("hex 0001080006040003{0}{1}{0}{1}", "02010a010107", "00000000");
    let host3 = "172.31.2.1";
    let to: [(&str, String); 4] = [
        (host3, a.gratuitous()),
        (HOST1, format!("arp tell 10.1.1.7 {0} to 10.1.1.7 {0}", a.mac)),
        (host3, rarp.clone()),
        (HOST1, rarp),
    ];
    for (host, what) in to {
        let there = a.at(host);
        let typed = if what.starts_with("hex") { there.typed("8035") } else { there.clone() };
        gw.rx("underlay", &typed.sends_to(MacAddr::BROADCAST, &what)).nothing();
        gw.from(&b, back).to(&there, back);
    }
    gw.moved(["flow_miss", "flow_learn", "flow_hit 4", "punt_arp 4"]);
}

#[test]
fn an_address_that_gets_another_mac_is_followed() {
    let (mut gw, _, b) = red();
    let back = "udp 10.1.2.9:2 > 10.1.1.7:1";
    let other = gw.stranger("red-1", "10.1.1.7", Some(HOST2)).with_mac("02:0a:0a:0a:0a:0a");
    gw.from(&other, &other.gratuitous()).nothing();
    gw.from(&b, back).to(&other, back);
    gw.moved(["punt_arp", "flow_miss", "flow_learn"]);
}

#[test]
fn a_host_that_gets_another_mac_is_followed_by_all_its_vms() {
    let (mut gw, a, b) = red();
    let packet = "udp 10.1.1.7:1 > 10.1.2.9:2";
    gw.from(&a, packet).to(&b, packet);
    let host = gw.stranger("underlay", HOST2, None).with_mac("02:0b:0b:0b:0b:0b");
    gw.from(&host, &host.gratuitous()).nothing();
    let frames = gw.from(&a, packet).words();
    assert!(
        frames[0].starts_with(&format!("eth {} > 02:0b:0b:0b:0b:0b | vxlan 202 ", host.us)),
        "{frames:?}"
    );
    gw.moved(["punt_arp", "flow_miss", "flow_learn", "flow_hit"]);
}

#[test]
fn a_stranger_in_an_untracked_vpc_is_served_without_flow_entries() {
    let mut gw =
        Gateway::start(&site_with("- { id: red }", "- { id: red, flow_tracking: false }"), crate::WORKERS);
    let (a, b) = (gw.vm("red-1", "10.1.1.7", HOST1), gw.vm("red-2", "10.1.2.9", HOST2));
    let (there, back) = ("udp 10.1.1.7:1 > 10.1.2.9:2", "udp 10.1.2.9:2 > 10.1.1.7:1");
    gw.from(&a, there).to(&b, there);
    gw.from(&b, back).to(&a, back);
    gw.moved([]);
    gw.from(&a.at(HOST2), there).nothing();
    gw.from(&b, back).to(&a.at(HOST2), back);
    gw.pass(5).to(&b, there);
    gw.moved(["moved"]);
    assert_eq!(gw.flows(), 0);
}
