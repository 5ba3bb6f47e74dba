//! Configuration changes between packets.

use super::{CONFIG, config_with, gateway, warm};

#[test]
fn a_new_blackhole_stops_a_flow_and_its_removal_lets_it_go_on() {
    let mut gw = gateway();
    warm(&mut gw);
    let packet = "udp 10.1.1.7:1 > 10.1.2.8:1";
    gw.from("a", packet).to("b", packet);
    let blocked =
        config_with("routes:\n", "routes:\n  - { vpc: vpc-1, destination: 10.1.2.8/32, blackhole: true }\n");
    drop(gw.apply(&blocked).unwrap().texts());
    gw.from("a", packet).nothing();
    assert_eq!(gw.counters()["blackhole"], 1);
    drop(gw.apply(CONFIG).unwrap().texts());
    gw.from("a", packet).to("b", packet);
    gw.stop();
}

#[test]
fn a_change_elsewhere_leaves_flows_alone() {
    let mut gw = gateway();
    warm(&mut gw);
    let packet = "udp 10.1.1.7:1 > 10.1.2.8:1";
    gw.from("a", packet).to("b", packet);
    let other =
        config_with("routes:\n", "routes:\n  - { vpc: vpc-2, destination: 10.77.0.0/16, blackhole: true }\n");
    drop(gw.apply(&other).unwrap().texts());
    gw.forget();
    gw.from("a", packet).to("b", packet);
    gw.moved(["flow_hit"]);
}

#[test]
fn a_bad_document_changes_nothing() {
    let mut gw = gateway();
    warm(&mut gw);
    assert!(gw.apply(&config_with("10.1.2.1, vxlan", "10.9.9.1, vxlan")).is_err());
    gw.from("a", "udp 10.1.1.7:1 > 10.1.2.8:1").to("b", "udp 10.1.1.7:1 > 10.1.2.8:1");
    gw.moved(["flow_hit"]);
}
