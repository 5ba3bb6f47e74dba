//! The lab without a gateway: what later tests take for granted.

use tidegate_tests::lab::{
    ComputeHost, Underlay, netns,
    probe::{Capture, iperf3, ping},
    stream::Datagrams,
    vlan,
};

const HOSTS: [&str; 2] = ["10.172.11.11", "10.172.11.12"];

#[test]
fn vms_of_one_network_reach_each_other_over_kernel_vxlan() {
    let Some(lab) = super::lab() else { return };
    let underlay = Underlay::new(&lab, 1500).unwrap();
    let host1 = ComputeHost::new(&lab, &underlay, "host1", HOSTS[0], &[HOSTS[1]]).unwrap();
    let host2 = ComputeHost::new(&lab, &underlay, "host2", HOSTS[1], &[HOSTS[0]]).unwrap();
    let vm1 = host1.vm(&lab, "vm1", 222, "192.168.20.11/24", "192.168.20.1", 1450).unwrap();
    let vm2 = host2.vm(&lab, "vm2", 222, "192.168.20.12/24", "192.168.20.1", 1450).unwrap();
    let vm3 = host2.vm(&lab, "vm3", 223, "192.168.20.12/24", "192.168.20.1", 1450).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let other_vni = Capture::start(vm3.netns(), "eth0", "icmp", dir.path()).unwrap();
    let wire = Capture::start(host2.netns(), "eth0", "udp port 8472", dir.path()).unwrap();

    let pings = ping(vm1.netns(), vm2.address(), "-c 3 -i 0.1").unwrap();
    assert!(pings.all_answered() && pings.ttl == Some(64), "{}", pings.text);
    wire.until("instance 222").unwrap();
    assert!(other_vni.stop().unwrap().is_empty());

    let stream = iperf3(vm2.netns(), vm1.netns(), vm2.address(), "-t 1").unwrap();
    assert!(stream.bytes >= 4 << 20, "{stream:?}");

    host1.take_over(&vm2, &host2, 222).unwrap();
    vm2.netns().run("ping -n -c 1 -W 1 192.168.20.11").unwrap();
}

#[test]
fn a_lab_leaves_nothing_behind() {
    let Some(lab) = super::lab() else { return };
    let netns = lab.netns("gone").unwrap();
    let name = netns.name().to_owned();
    assert!(netns::list().unwrap().contains(&name));
    assert!(ping(&netns, "127.0.0.1", "-c 1").unwrap().all_answered());
    drop(netns);
    assert!(!netns::list().unwrap().contains(&name));
}

#[test]
fn sockets_opened_inside_a_namespace_stay_there() {
    let Some(lab) = super::lab() else { return };
    let [one, two] = ["one", "two"].map(|role| lab.netns(role).unwrap());
    let bind = || std::net::UdpSocket::bind("127.0.0.1:4789").unwrap();
    let _both = (one.enter(bind).unwrap(), two.enter(bind).unwrap());
}

#[test]
fn a_tagged_interface_speaks_only_its_vlan() {
    let Some(lab) = super::lab() else { return };
    let [one, two] = ["one", "two"].map(|role| lab.netns(role).unwrap());
    one.ip(&format!("link add eth0 type veth peer name eth0 netns {}", two.name())).unwrap();
    for (netns, address) in [(&one, "10.9.0.1/24"), (&two, "10.9.0.2/24")] {
        netns.ip(&format!("address add {address} dev eth0\nlink set eth0 up")).unwrap();
    }
    vlan::tag(&one, "eth0", 100).unwrap();
    assert!(ping(&one, "10.9.0.2", "-c 1").unwrap().received == 0);

    vlan::tag(&two, "eth0", 100).unwrap();
    assert!(ping(&one, "10.9.0.2", "-c 2 -i 0.1").unwrap().all_answered());
}

#[test]
fn numbered_datagrams_count_every_loss() {
    let Some(lab) = super::lab() else { return };
    let netns = lab.netns("loop").unwrap();
    let stream = Datagrams::start(&netns, &netns, "127.0.0.1", 2000).unwrap();
    stream.until_received(100).unwrap();
    let count = stream.stop().unwrap();
    assert!(count.sent >= 100 && count.received == count.sent, "{count:?}");
}
