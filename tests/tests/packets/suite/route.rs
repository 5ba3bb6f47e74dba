//! Routes: longest prefix, priority, blackhole, recursion.

use super::*;

/// [`SITE`] with these routes besides its own, and the VMs .254 and .253 of red-2.
fn routed(routes: &[&str]) -> (Gateway, Station, Station, Station) {
    let routes: String = routes.iter().map(|route| format!("  - {{ vpc: red, {route} }}\n")).collect();
    let mut gw = Gateway::start(&format!("{SITE}{routes}"), crate::WORKERS);
    let a = gw.vm("red-1", "10.1.1.7", HOST1);
    let (r254, r253) = (gw.vm("red-2", "10.1.2.254", HOST2), gw.vm("red-2", "10.1.2.253", HOST1));
    (gw, a, r254, r253)
}

fn goes(gw: &mut Gateway, from: &Station, destination: &str, to: &Station) {
    let packet = format!("udp {}:1 > {destination}:2", from.ip);
    gw.from(from, &format!("{packet} ttl=64")).to(to, &format!("{packet} ttl=63"));
}

#[test]
fn a_static_route_leads_to_its_next_hop() {
    let (mut gw, a, r254, _) = routed(&[]);
    goes(&mut gw, &a, "192.0.2.5", &r254);
    gw.moved(["flow_miss", "flow_learn"]);
}

#[test]
fn a_blackhole_is_silent() {
    let (mut gw, a, ..) = routed(&[]);
    gw.from(&a, "icmp echo 10.1.1.7 > 192.0.2.200 id=1").nothing();
    gw.moved(["flow_miss", "blackhole"]);
}

#[test]
fn the_longest_prefix_wins_whatever_the_priority() {
    let (mut gw, a, r254, r253) = routed(&[
        "destination: 198.18.0.0/16, next_hop: 10.1.2.254, priority: 1",
        "destination: 198.18.7.0/24, next_hop: 10.1.2.253, priority: 254",
    ]);
    goes(&mut gw, &a, "198.18.6.255", &r254);
    goes(&mut gw, &a, "198.18.7.0", &r253);
    goes(&mut gw, &a, "198.18.7.255", &r253);
    goes(&mut gw, &a, "198.18.8.0", &r254);
}

#[test]
fn of_equal_prefixes_the_lowest_priority_value_wins() {
    let (mut gw, a, _, r253) = routed(&[
        "destination: 198.18.0.0/16, next_hop: 10.1.2.254, priority: 200",
        "destination: 198.18.0.0/16, next_hop: 10.1.2.253, priority: 100",
        "destination: 198.18.0.0/16, blackhole: true",
    ]);
    goes(&mut gw, &a, "198.18.1.1", &r253);
}

#[test]
fn a_next_hop_behind_another_route_is_resolved() {
    let (mut gw, a, _, r253) = routed(&[
        "destination: 198.18.1.0/24, next_hop: 198.18.2.1",
        "destination: 198.18.2.0/24, next_hop: 10.1.2.253",
    ]);
    goes(&mut gw, &a, "198.18.1.9", &r253);
}

#[test]
fn a_route_whose_next_hop_stops_to_answer_gives_way() {
    let (mut gw, a, r254, r253) = routed(&[
        "destination: 198.18.0.0/16, next_hop: 10.1.2.254, priority: 100",
        "destination: 198.18.0.0/16, next_hop: 10.1.2.253, priority: 200",
    ]);
    goes(&mut gw, &a, "198.18.1.1", &r254);
    gw.silence(&r254);
    gw.pass(60_000).ignore();
    goes(&mut gw, &a, "198.18.1.1", &r253);
    gw.wake(&r254);
    gw.pass(10_000).ignore();
    goes(&mut gw, &a, "198.18.1.1", &r254);
}

#[test]
fn a_default_route_takes_what_no_other_does() {
    let (mut gw, a, r254, r253) = routed(&["destination: 0.0.0.0/0, next_hop: 10.1.2.253"]);
    goes(&mut gw, &a, "8.8.8.8", &r253);
    goes(&mut gw, &a, "192.0.2.1", &r254);
}

#[test]
fn a_packet_may_leave_by_the_network_it_came_from() {
    let (mut gw, _, r254, r253) = routed(&[]);
    goes(&mut gw, &r253, "192.0.2.9", &r254);
}

#[test]
fn a_change_of_routes_reaches_flows_that_run() {
    let (mut gw, a, r254, r253) = routed(&[]);
    goes(&mut gw, &a, "192.0.2.5", &r254);
    goes(&mut gw, &a, "192.0.2.5", &r254);
    gw.moved(["flow_miss", "flow_learn", "flow_hit"]);
    gw.reload(&site_with("next_hop: 10.1.2.254", "next_hop: 10.1.2.253")).ignore();
    goes(&mut gw, &a, "192.0.2.5", &r253);
    gw.moved(["flow_redecide"]);
    goes(&mut gw, &a, "192.0.2.5", &r253);
    gw.moved(["flow_hit"]);
}

#[test]
fn a_vpc_that_nothing_changed_for_keeps_its_decisions() {
    let (mut gw, a, b) = red();
    let packet = "udp 10.1.1.7:1 > 10.1.2.9:2";
    gw.from(&a, packet).to(&b, packet);
    gw.reload(&format!("{SITE}  - {{ vpc: blue, destination: 198.18.0.0/16, blackhole: true }}\n")).ignore();
    gw.from(&a, packet).to(&b, packet);
    gw.moved(["flow_miss", "flow_learn", "flow_hit"]);
}

#[test]
fn a_removed_network_takes_its_packets_with_it() {
    let (mut gw, a, b) = red();
    let packet = "udp 10.1.1.7:1 > 10.1.2.9:2";
    gw.from(&a, packet).to(&b, packet);
    let config =
        SITE.lines().filter(|l| !l.contains("id: red-2") && !l.contains("192.0.2")).collect::<Vec<_>>();
    gw.reload(&config.join("\n")).ignore();
    gw.take_moved();
    gw.from(&a, packet).to(&a, &format!("icmp no-net 10.1.1.1 > 10.1.1.7 tos=192 | {packet}"));
    gw.moved(["no_route", "icmp_error"]);
    gw.from(&b, "udp 10.1.2.9:2 > 10.1.1.7:1").nothing();
    gw.moved(["unknown_vni"]);
}

#[test]
fn a_new_blackhole_stops_a_flow_and_its_removal_lets_it_go_on() {
    let (mut gw, a, b) = red();
    let packet = "udp 10.1.1.7:1 > 10.1.2.9:2";
    gw.from(&a, packet).to(&b, packet);
    gw.reload(&format!("{SITE}  - {{ vpc: red, destination: 10.1.2.9/32, blackhole: true }}\n")).ignore();
    gw.take_moved();
    gw.from(&a, packet).nothing();
    gw.moved(["blackhole"]);
    gw.reload(SITE).ignore();
    gw.from(&a, packet).to(&b, packet);
    gw.moved(["flow_redecide"]);
}

#[test]
fn a_bad_document_changes_nothing() {
    let (mut gw, a, b) = red();
    let packet = "udp 10.1.1.7:1 > 10.1.2.9:2";
    gw.from(&a, packet).to(&b, packet);
    assert!(gw.try_reload(&site_with("gateway: 10.1.2.1,", "gateway: 10.9.9.1,")).is_err());
    gw.from(&a, packet).to(&b, packet);
    gw.moved(["flow_miss", "flow_learn", "flow_hit"]);
}
