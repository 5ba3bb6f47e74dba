//! Traffic between subnets of one VPC, and none between VPCs.

use tidegate_tests::lab::{
    Vm,
    probe::{Capture, iperf3, ping},
};

fn reaches(from: &Vm, to: &Vm) {
    let pings = ping(from.netns(), to.address(), "-c 3 -i 0.05").unwrap();
    assert!(pings.all_answered(), "{} to {}: {}", from.name(), to.name(), pings.text);
    assert_eq!(pings.ttl, Some(63), "{} to {}: {}", from.name(), to.name(), pings.text);
}

#[test]
fn vms_of_one_vpc_reach_each_other_across_subnets_and_hosts() {
    let Some(site) = super::site() else { return };
    for (from, to) in
        [(&site.web, &site.app), (&site.app, &site.web), (&site.web, &site.db), (&site.db, &site.app)]
    {
        reaches(from, to);
    }
    let tcp = iperf3(site.app.netns(), site.web.netns(), site.app.address(), "-t 1").unwrap();
    assert!(tcp.bytes > 1 << 20, "{tcp:?}");
    let udp = iperf3(site.db.netns(), site.app.netns(), site.db.address(), "-t 1 -u -b 10M").unwrap();
    assert!(udp.datagrams > 100 && udp.all_came(), "{udp:?}");
    assert!(site.books().unwrap().balance());
}

#[test]
fn vpcs_with_the_same_addresses_hear_nothing_of_each_other() {
    let Some(site) = super::site() else { return };
    let vpc1 = [&site.web, &site.app];
    let vpc2 = [&site.web2, &site.app2];
    let gateways = ["192.168.20.1", "192.168.21.1"];
    for (talk, listen) in [(vpc1, vpc2), (vpc2, vpc1)] {
        let capture = |vm: &Vm| Capture::start(vm.netns(), "eth0", "icmp", site.gateway.dir()).unwrap();
        let captures = listen.map(capture);
        reaches(talk[0], talk[1]);
        reaches(talk[1], talk[0]);
        for ((vm, gateway), capture) in listen.iter().zip(gateways).zip(captures) {
            // What comes last proves that the capture would have shown what came before.
            assert!(ping(vm.netns(), gateway, "-c 1").unwrap().all_answered());
            capture.until(&format!("{gateway} > ")).unwrap();
            let heard: Vec<_> =
                capture.stop().unwrap().into_iter().filter(|l| !l.contains(gateway)).collect();
            assert_eq!(heard, Vec::<String>::new(), "{} heard the other VPC", vm.name());
        }
    }
}

#[test]
fn a_destination_of_another_vpc_is_unreachable() {
    let Some(site) = super::site() else { return };
    reaches(&site.web, &site.db);
    let pings = ping(site.web2.netns(), site.db.address(), "-c 1").unwrap();
    assert_eq!(
        pings.errors,
        [("192.168.20.1".into(), "Destination Net Unreachable".into())],
        "{}",
        pings.text
    );
    assert_eq!(site.drops("no_route").unwrap(), 1);
}

#[test]
fn a_blackholed_destination_is_silent_and_show_routes_says_why() {
    let Some(site) = super::site() else { return };
    let pings = ping(site.web.netns(), "192.168.99.1", "-c 2 -i 0.2").unwrap();
    assert!(pings.silent(), "{}", pings.text);
    assert_eq!(site.drops("blackhole").unwrap(), 2);

    let text = site.gateway.show("routes vpc-1").unwrap();
    let line = text.lines().find(|line| line.contains("192.168.99.0/24")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("blackhole"), "{line}");
}

#[test]
fn the_gateway_answers_for_itself() {
    let Some(site) = super::site() else { return };
    for (vm, address) in
        [(&site.web, "192.168.20.1"), (&site.web, "192.168.22.1"), (&site.app2, "192.168.21.1")]
    {
        let pings = ping(vm.netns(), address, "-c 2 -i 0.05").unwrap();
        assert!(pings.all_answered() && pings.ttl == Some(64), "{}", pings.text);
    }
    let long = ping(site.web.netns(), "192.168.20.1", "-c 1 -s 1400").unwrap();
    assert!(long.all_answered(), "{}", long.text);

    let short = ping(site.web.netns(), site.app.address(), "-c 1 -t 1").unwrap();
    assert_eq!(short.errors, [("192.168.20.1".into(), "Time to live exceeded".into())], "{}", short.text);
}
