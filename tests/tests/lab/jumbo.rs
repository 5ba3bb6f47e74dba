//! Jumbo frames, on `net_pcap` over a veth: `net_tap` carries no more than 1504 bytes.

use tidegate_tests::lab::{
    ComputeHost, Gateway, Lab, Underlay, Vm,
    gateway::binary,
    host::finish_checksums,
    probe::{Capture, iperf3, ping},
    wait_for,
};

const CONFIG: &str = r#"
gateway:
  workers: [1]
  hugepages: "off"
  ports:
    - { id: underlay, device: "net_pcap0,rx_iface_in=up0,tx_iface=up0", addresses: [10.172.11.91/24], mtu: 9000 }
  control_socket: "{dir}/control.sock"
  state: "{dir}/state"
vxlan_pools:
  - { id: pool, vni_range: 200-2500, vtep_cidr: 10.172.11.0/24, udp_port: 8472, remote_vteps: [10.172.11.11, 10.172.11.12] }
vpc_routers:
  - { id: vpc-1 }
vpc_networks:
  - { id: large-1, vpc: vpc-1, cidr: 192.168.20.0/24, gateway: 192.168.20.1, vxlan: { pool: pool, vni: 222 } }
  - { id: large-2, vpc: vpc-1, cidr: 192.168.21.0/24, gateway: 192.168.21.1, vxlan: { pool: pool, vni: 223 } }
  - { id: small, vpc: vpc-1, cidr: 192.168.22.0/24, gateway: 192.168.22.1, vxlan: { pool: pool, vni: 224 }, mtu: 1450 }
"#;

/// Two hosts on an underlay of 9000 bytes, and a VM in each network. The gateway goes first when it is dropped.
struct Jumbo {
    gateway: Gateway,
    web: Vm,
    app: Vm,
    db: Vm,
    _hosts: [ComputeHost; 2],
    _underlay: Underlay,
    _lab: Lab,
}

fn jumbo() -> Option<Jumbo> {
    let lab = super::lab()?;
    if let Err(why) = binary() {
        return super::skip(&why);
    }
    let underlay = Underlay::new(&lab, 9000).unwrap();
    let ours = lab.netns("gateway").unwrap();
    underlay.wire(&ours, "up0").unwrap();
    let host = |name: &str, vtep: &str, other: &str| {
        let host = ComputeHost::new(&lab, &underlay, name, vtep, &["10.172.11.91", other]).unwrap();
        finish_checksums(host.netns()).unwrap();
        host
    };
    let host1 = host("host1", "10.172.11.11", "10.172.11.12");
    let host2 = host("host2", "10.172.11.12", "10.172.11.11");
    let vm = |host: &ComputeHost, name: &str, vni: u32, net: u8, mtu: u16| {
        let (address, router) = (format!("192.168.{net}.10/24"), format!("192.168.{net}.1"));
        let vm = host.vm(&lab, name, vni, &address, &router, mtu).unwrap();
        finish_checksums(vm.netns()).unwrap();
        vm
    };
    let web = vm(&host1, "web", 222, 20, 8950);
    let app = vm(&host2, "app", 223, 21, 8950);
    let db = vm(&host1, "db", 224, 22, 1450);
    let gateway = Gateway::start_in(&lab, ours, CONFIG).unwrap();
    for (vm, router) in [(&web, "192.168.20.1"), (&app, "192.168.21.1"), (&db, "192.168.22.1")] {
        wait_for(&format!("an answer of {router}"), || {
            ping(vm.netns(), router, "-c 1").ok()?.all_answered().then_some(())
        })
        .unwrap_or_else(|why| {
            let said = ["ports", "drops", "neighbors"].map(|what| gateway.show(what).unwrap_or_default());
            panic!("{why:#}\n{}", said.join("\n"))
        });
    }
    Some(Jumbo { gateway, web, app, db, _hosts: [host1, host2], _underlay: underlay, _lab: lab })
}

#[test]
fn an_overlay_of_8950_runs_on_an_underlay_of_9000() {
    let Some(site) = jumbo() else { return };
    let full = ping(site.web.netns(), site.app.address(), "-c 3 -i 0.1 -M do -s 8922").unwrap();
    assert!(full.all_answered() && full.ttl == Some(63), "{}", full.text);
    let own = ping(site.web.netns(), "192.168.20.1", "-c 1 -M do -s 8922").unwrap();
    assert!(own.all_answered(), "{}", own.text);

    let refused = ping(site.web.netns(), site.db.address(), "-c 1 -M do -s 8922").unwrap();
    let needed = ("192.168.20.1".to_owned(), "Frag needed and DF set (mtu = 1450)".to_owned());
    assert_eq!(refused.errors, [needed], "{}", refused.text);
    site.web.netns().run("ip route flush cache").unwrap();
    let cut = ping(site.web.netns(), site.db.address(), "-c 1 -M dont -s 8922").unwrap();
    assert!(cut.all_answered(), "{}", cut.text);

    for (server, mss) in [(&site.app, 8910), (&site.db, 1410)] {
        let filter = "tcp[tcpflags] & tcp-syn != 0";
        let syns = Capture::start(server.netns(), "eth0", filter, site.gateway.dir()).unwrap();
        let tcp = iperf3(server.netns(), site.web.netns(), server.address(), "-t 1").unwrap();
        assert!(tcp.bytes > 1 << 20, "{tcp:?}");
        let syn = syns.until(&format!("mss {mss},")).unwrap();
        assert!(syn.contains("192.168.20.10"), "{syn}");
    }
    let drops = site.gateway.show("drops").unwrap();
    assert!(!drops.contains("multi_segment"), "{drops}");
}
