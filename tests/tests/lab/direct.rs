//! The host agent's programs alone on a real path, without gateway and without agent: their packets go through the kernel's VXLAN
//! receive path, with segments that no wire would carry whole.

use std::net::Ipv4Addr;

use nix::net::if_::if_nametoindex;
use tidegate_agent::bpf::{Attach, Options, Pair, Port, Programs, Rule, Side};
use tidegate_tests::lab::{
    ComputeHost, Underlay, Vm,
    probe::{iperf3, ping},
};
use tidegate_zsnp::{Mac, Vni};

/// Where VMs believe their gateway to be. Nobody is there.
const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn mac(text: &str) -> Mac {
    let mut octets = text.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap());
    Mac(std::array::from_fn(|_| octets.next().unwrap()))
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// A shortcut from a VM of `host` in network `from` to one in network `to`.
fn shortcut(host: &ComputeHost, vm: &Vm, from: u32, (peer, to, far): (&Vm, u32, &ComputeHost)) -> Programs {
    let vni = |raw| Vni::new(raw).unwrap();
    let remote = mac(&peer.netns().mac("eth0").unwrap());
    let install = || {
        let options = Options { protocol: 253, shortcuts_max: 16, attach: Attach::Auto };
        let mut programs = Programs::load(options).unwrap();
        let device = format!("vm-{}", vm.name());
        let port = Port { vni: vni(from), vtep: address(host.vtep()), udp_port: 8472 };
        programs.attach(if_nametoindex(device.as_str()).unwrap(), &device, Side::Vm, port).unwrap();
        let rule = Rule {
            expires_ns: u64::MAX,
            vni: vni(to),
            vtep: address(far.vtep()),
            underlay: if_nametoindex("eth0").unwrap(),
            slot: 0,
            mtu: 1450,
            gateway: GATEWAY,
            vm: remote,
        };
        programs.install(Pair { vni: vni(from), address: address(peer.address()) }, &rule).unwrap();
        programs
    };
    host.netns().enter(install).unwrap()
}

#[test]
fn programs_carry_ping_tcp_and_udp_from_host_to_host() {
    let Some(lab) = super::lab() else { return };
    let underlay = Underlay::new(&lab, 1500).unwrap();
    let host1 = ComputeHost::new(&lab, &underlay, "host1", "10.172.11.11", &[]).unwrap();
    let host2 = ComputeHost::new(&lab, &underlay, "host2", "10.172.11.12", &[]).unwrap();
    let web = host1.vm(&lab, "web", 222, "192.168.20.154/24", "192.168.20.1", 1450).unwrap();
    let app = host2.vm(&lab, "app", 223, "192.168.21.10/24", "192.168.21.1", 1450).unwrap();
    for (vm, gateway) in [(&web, "192.168.20.1"), (&app, "192.168.21.1")] {
        vm.netns().ip(&format!("neigh replace {gateway} lladdr {GATEWAY} dev eth0")).unwrap();
    }
    assert!(ping(web.netns(), app.address(), "-c 1").unwrap().silent(), "nobody routes");

    let forth = shortcut(&host1, &web, 222, (&app, 223, &host2));
    let back = shortcut(&host2, &app, 223, (&web, 222, &host1));
    let pings = ping(web.netns(), app.address(), "-c 20 -i 0.01").unwrap();
    assert!(pings.all_answered() && pings.ttl == Some(63), "{}", pings.text);
    let whole = ping(web.netns(), app.address(), "-c 1 -M do -s 1422").unwrap();
    assert!(whole.all_answered(), "{}", whole.text);

    let before = forth.count(0).unwrap();
    let tcp = iperf3(app.netns(), web.netns(), app.address(), "-t 2").unwrap();
    let after = forth.count(0).unwrap();
    let udp = iperf3(app.netns(), web.netns(), app.address(), "-t 1 -u -b 50M").unwrap();
    eprintln!(
        "host to host: ping {:.3} ms, TCP {:.0} Mbit/s, UDP {} of {} lost; {} packets out, {} back",
        pings.rtt_ms.unwrap_or_default(),
        tcp.bits_per_second / 1e6,
        udp.lost,
        udp.datagrams,
        forth.count(0).unwrap().packets,
        back.count(0).unwrap().packets
    );
    assert!(tcp.bytes > 1 << 24, "{tcp:?}");
    assert!(after.bytes - before.bytes >= tcp.bytes, "all of it went directly");
    assert!(udp.all_came(), "{udp:?}");
    drop(forth);
    assert!(ping(web.netns(), app.address(), "-c 1").unwrap().silent(), "gone with its owner");
}

#[test]
fn dry_run_names_what_gets_no_program_and_why() {
    let Some(lab) = super::lab() else { return };
    let gateway = match tidegate_tests::lab::gateway::binary() {
        Ok(binary) => binary,
        Err(why) => return super::skip(&why).unwrap_or_default(),
    };
    let host = lab.netns("host").unwrap();
    host.ip("link add br1 type bridge\n\
             link add vx1 type vxlan external dstport 4789\n\
             link set vx1 master br1\n\
             link add vm-1 type veth peer name vm-1p\n\
             link set vm-1 master br1\n\
             link add br2 type bridge\n\
             link add vx2 type vxlan id 222 local 10.172.11.11 dstport 8472\n\
             link set vx2 master br2\n\
             link add vm-2 type veth peer name vm-2p\n\
             link set vm-2 master br2\n\
             link add vx3 type vxlan external dstport 4790")
        .unwrap();
    let devices = |program: &std::path::Path, words: &str| {
        let mut command = host.command(&program.display().to_string());
        let out = command.args(words.split(' ')).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let text = devices(&gateway, "agent --dry-run");
    let line =
        |device: &str| text.lines().find(|line| line.trim_start().starts_with(device)).unwrap().to_owned();
    for device in ["vx1", "vm-1", "vx3"] {
        assert!(line(device).contains("many networks (external)"), "{text}");
    }
    assert!(line("vm-2").contains("vm_ingress") && line("vx2").contains("vxlan_ingress"), "{text}");
    assert!(text.contains("Nothing was attached."));
    let agent = tidegate_tests::lab::agent::binary().unwrap();
    assert_eq!(devices(&agent, "run --dry-run"), text, "both names lead to the same");
    eprintln!("{text}");
}
