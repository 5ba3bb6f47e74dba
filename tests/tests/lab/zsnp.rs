//! Host agents beside a real gateway, with shortcuts granted by hand: what every packet does, whoever dies.

use std::{net::Ipv4Addr, thread, time::Instant};

use tidegate_tests::lab::{
    ComputeHost, Site, Vm,
    agent::{Agent, Granter},
    probe::{Capture, Pings, iperf3, ping},
    process::Running,
    wait_for,
};
use tidegate_zsnp::{Action, Keyring, Mac, Match, Message, Scope, Shortcut, Status, Vni};

/// The site with an agent on each host.
pub(super) struct Hosts {
    pub(super) agent1: Agent,
    pub(super) agent2: Agent,
    pub(super) granter: Granter,
    pub(super) site: Site,
}

pub(super) fn hosts(options: &str) -> Option<Hosts> {
    let site = super::site()?;
    let start = |host| Agent::start(&site.lab, host, options).unwrap();
    let (agent1, agent2) = (start(&site.host1), start(&site.host2));
    let granter = Granter::new(&site.lab, &site.underlay).unwrap();
    assert!(ping(site.web.netns(), site.app.address(), "-c 2 -i 0.1").unwrap().all_answered());
    Some(Hosts { agent1, agent2, granter, site })
}

fn vni(raw: u32) -> Vni {
    Vni::new(raw).unwrap()
}

fn mac(text: &str) -> Mac {
    let mut octets = text.split(':').map(|octet| u8::from_str_radix(octet, 16).unwrap());
    Mac(std::array::from_fn(|_| octets.next().unwrap()))
}

/// What the VM believes to be its gateway's MAC.
fn gateway_mac(vm: &Vm, gateway: &str) -> Mac {
    let text = vm.netns().run(&format!("ip neigh show {gateway}")).unwrap();
    mac(text.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap())
}

/// A shortcut from a VM's network to another VM.
fn shortcut(from: (&Vm, u32, &str), to: (&Vm, u32, &ComputeHost), lifetime_s: u32) -> Shortcut {
    let (vm, network, gateway) = from;
    let (peer, there, host) = to;
    Shortcut {
        matches: Match {
            vni: vni(network),
            gateway_mac: gateway_mac(vm, gateway),
            destination: peer.address().parse().unwrap(),
        },
        action: Action {
            vni: vni(there),
            mac: mac(&peer.netns().mac("eth0").unwrap()),
            vtep: host.vtep().parse().unwrap(),
        },
        lifetime_s,
        mtu: 1450,
    }
}

impl Hosts {
    pub(super) fn forth(&self, lifetime_s: u32) -> Shortcut {
        let site = &self.site;
        shortcut((&site.web, 222, "192.168.20.1"), (&site.app, 223, &site.host2), lifetime_s)
    }

    fn back(&self, lifetime_s: u32) -> Shortcut {
        let site = &self.site;
        shortcut((&site.app, 223, "192.168.21.1"), (&site.web, 222, &site.host1), lifetime_s)
    }

    /// Shortcuts between web and app, both ways.
    pub(super) fn optimise(&self, lifetime_s: u32) {
        let [one, two] =
            [(&self.site.host1, self.forth(lifetime_s)), (&self.site.host2, self.back(lifetime_s))];
        for (host, shortcut) in [one, two] {
            assert_eq!(self.granter.grant(host.vtep(), shortcut).unwrap(), Status::Installed);
        }
    }

    /// Packets that the gateway has received, with what a few seconds of chatter take left out.
    pub(super) fn gateway_rx(&self) -> u64 {
        self.site.books().unwrap().rx
    }
}

#[test]
fn packets_go_host_to_host_and_come_back_when_told() {
    let Some(hosts) = hosts("") else { return };
    let Hosts { site, granter, agent1, agent2 } = &hosts;
    let arps = Capture::start(site.web.netns(), "eth0", "arp", site.gateway.dir()).unwrap();
    let by_gateway = ping(site.web.netns(), site.app.address(), "-c 20 -i 0.01").unwrap();
    let tcp_by_gateway = iperf3(site.app.netns(), site.web.netns(), site.app.address(), "-t 2").unwrap();

    hosts.optimise(30);
    let before = hosts.gateway_rx();
    let direct = ping(site.web.netns(), site.app.address(), "-c 20 -i 0.01").unwrap();
    let tcp_direct = iperf3(site.app.netns(), site.web.netns(), site.app.address(), "-t 2").unwrap();
    let chatter = hosts.gateway_rx() - before;
    assert!(by_gateway.all_answered() && by_gateway.ttl == Some(63), "{}", by_gateway.text);
    assert!(direct.all_answered() && direct.ttl == Some(63), "{}", direct.text);
    let packets =
        agent1.counter("direct_sent_packets").unwrap() + agent2.counter("direct_sent_packets").unwrap();
    eprintln!(
        "ping {:.3} ms by the gateway, {:.3} ms directly; TCP {:.0} and {:.0} Mbit/s; {packets} packets went directly, \
         {chatter} others meanwhile through the gateway; TTL 63 both ways",
        by_gateway.rtt_ms.unwrap_or_default(),
        direct.rtt_ms.unwrap_or_default(),
        tcp_by_gateway.bits_per_second / 1e6,
        tcp_direct.bits_per_second / 1e6,
    );
    assert!(packets > 1000 && chatter < 100, "{packets} {chatter}");
    assert!(tcp_direct.bits_per_second >= tcp_by_gateway.bits_per_second);
    let rows = agent1.show("shortcuts").unwrap();
    assert_eq!(
        (rows[0]["state"].as_str(), rows[0]["loss_permille"].as_u64()),
        (Some("active"), Some(0)),
        "{rows}"
    );

    granter.withdraw(site.host1.vtep(), Scope::Vpc).unwrap();
    granter.withdraw(site.host2.vtep(), Scope::Vpc).unwrap();
    let before = hosts.gateway_rx();
    let again = ping(site.web.netns(), site.app.address(), "-c 20 -i 0.01").unwrap();
    assert!(again.all_answered() && hosts.gateway_rx() - before >= 40, "{}", again.text);
    let [all, agents] = arps.counts(["arp", "ether[6:2] = 0x5a53"]).unwrap();
    assert_eq!(agents, 0, "none of {all} ARP packets is an agent's");
}

#[test]
fn a_killed_agent_fails_nobody_and_an_old_kernel_s_rules_expire() {
    for (attach, lifetime_s) in [("--attach tcx", 30), ("--attach clsact", 3)] {
        let Some(mut hosts) = hosts(attach) else { return };
        hosts.optimise(lifetime_s);
        let (web, app) = (hosts.site.web.netns(), hosts.site.app.netns());
        let address = hosts.site.app.address();
        let (agent1, agent2) = (&mut hosts.agent1, &mut hosts.agent2);
        let tcp = thread::scope(|scope| {
            let tcp = scope.spawn(|| iperf3(app, web, address, "-t 5").unwrap());
            let direct = |agent: &Agent| agent.counter("direct_sent_packets").unwrap();
            let start = direct(agent1);
            wait_for("load", || (direct(agent1) > start + 10_000).then_some(())).unwrap();
            agent1.kill().unwrap();
            agent2.kill().unwrap();
            tcp.join().unwrap()
        });
        let before = hosts.gateway_rx();
        let killed = Instant::now();
        let back = wait_for("the gateway's path", || {
            let pings = ping(hosts.site.web.netns(), hosts.site.app.address(), "-c 5 -i 0.01").unwrap();
            assert!(pings.all_answered(), "{}", pings.text);
            (hosts.gateway_rx() - before >= 10).then(|| killed.elapsed())
        });
        eprintln!(
            "{attach}: both agents killed under iperf3, which carried {} MB; by the gateway {:.1} s later",
            tcp.bytes >> 20,
            back.unwrap().as_secs_f64()
        );
        assert!(tcp.bytes > 1 << 20);
        let Hosts { agent1, site, .. } = &mut hosts;
        agent1.start_again(&site.host1, attach).unwrap();
        agent1.stop().unwrap();
        let left = site.host1.netns().run("tc filter show dev vm-web ingress").unwrap();
        assert_eq!(left, "", "the next agent takes everything away, too");
    }
}

#[test]
fn without_a_gateway_what_runs_goes_on() {
    let Some(mut hosts) = hosts("") else { return };
    hosts.optimise(6);
    let (web, app) = (hosts.site.web.netns(), hosts.site.app.netns());
    let (agent1, granter, gateway) = (&hosts.agent1, &hosts.granter, &mut hosts.site.gateway);
    let address = hosts.site.app.address();
    let tcp = thread::scope(|scope| {
        let tcp = scope.spawn(|| iperf3(app, web, address, "-t 15").unwrap());
        let direct = || agent1.counter("direct_sent_packets").unwrap();
        let start = direct();
        wait_for("load", || (direct() > start + 10_000).then_some(())).unwrap();
        granter.be_silent(true);
        gateway.kill().unwrap();
        tcp.join().unwrap()
    });
    let prolonged = agent1.counter("shortcuts_prolonged").unwrap();
    eprintln!(
        "gateway killed: iperf3 went on for 15 s with a lifetime of 6 s, {:.0} Mbit/s, {prolonged} times prolonged",
        tcp.bits_per_second / 1e6
    );
    assert!(prolonged > 0 && tcp.bytes > 1 << 24, "{tcp:?}");
    let pings = ping(web, address, "-c 3 -i 0.1").unwrap();
    assert!(pings.all_answered(), "{}", pings.text);
}

/// The longest pause between answers that `ping -D` printed, in s.
pub(crate) fn longest_pause(pings: &Running) -> f64 {
    let lines = pings.output_lines();
    let times = lines.iter().filter(|line| line.contains("bytes from"));
    let times: Vec<f64> =
        times.filter_map(|line| line.strip_prefix('[')?.split(']').next()?.parse().ok()).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
}

fn answers(pings: &Running) -> usize {
    pings.output_lines().iter().filter(|line| line.contains("bytes from")).count()
}

#[test]
fn a_vm_that_moves_is_found_in_less_than_three_seconds() {
    let Some(hosts) = hosts("") else { return };
    let Hosts { site, agent1, agent2, .. } = &hosts;
    hosts.optimise(30);
    let mut command = site.web.netns().command("ping");
    command.args(["-D", "-n", "-i", "0.02", site.app.address()]);
    let pings = Running::start(command).unwrap().until("bytes from").unwrap();
    site.host1.take_over(&site.app, &site.host2, 223).unwrap();
    // A hypervisor announces the VM where it is now; one word of it to its gateway does the same.
    assert!(ping(site.app.netns(), "192.168.21.1", "-c 1").unwrap().all_answered());
    wait_for("the shortcut to be withdrawn", || {
        (agent1.counter("shortcuts_withdrawn").unwrap() > 0).then_some(())
    })
    .unwrap();
    let seen = answers(&pings);
    wait_for("answers from the new place", || (answers(&pings) > seen + 20).then_some(())).unwrap();
    let pause = longest_pause(&pings);
    eprintln!(
        "app moved from host2 to host1: {pause:.2} s without an answer; {} WITHDRAW(moved), {} stray packets",
        agent2.counter("moved_sent").unwrap(),
        agent2.counter("stray_received_packets").unwrap()
    );
    assert!(pause < 3.0, "{pause}");
}

#[test]
fn a_host_that_no_longer_answers_is_left_within_three_probes() {
    let Some(mut hosts) = hosts("") else { return };
    hosts.optimise(30);
    hosts.agent2.kill().unwrap();
    let killed = Instant::now();
    let gone =
        wait_for("the fallback", || (hosts.agent1.shortcuts().unwrap() == 0).then(|| killed.elapsed()));
    let pings = ping(hosts.site.web.netns(), hosts.site.app.address(), "-c 3 -i 0.05").unwrap();
    let gone = gone.unwrap();
    eprintln!(
        "the agent of host2 killed: host1 back on the gateway's path after {:.1} s",
        gone.as_secs_f64()
    );
    assert!(pings.all_answered(), "{}", pings.text);
    assert_eq!(hosts.agent1.show("paths").unwrap()[0]["state"], "down");
}

#[test]
fn forged_replayed_cut_and_flipped_messages_are_counted_and_change_nothing() {
    let Some(hosts) = hosts("") else { return };
    let Hosts { site, granter, agent1, .. } = &hosts;
    let host: Ipv4Addr = site.host1.vtep().parse().unwrap();
    hosts.optimise(30);
    granter.withdraw(site.host1.vtep(), Scope::Vpc).unwrap();
    let message = Message::Shortcut(hosts.forth(30));
    let foreign = Keyring::parse(&format!("1 {}", "cd".repeat(32))).unwrap();
    let forged = granter.sealed(Some(&foreign), &message).unwrap();
    let genuine = granter.sealed(None, &message).unwrap();
    granter.send_bytes(host, &forged).unwrap();
    for len in 1..genuine.len() {
        granter.send_bytes(host, &genuine[..len]).unwrap();
    }
    for bit in 0..genuine.len() * 8 {
        let mut flipped = genuine.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        granter.send_bytes(host, &flipped).unwrap();
    }
    let sent = 1 + 9 * genuine.len() as u64 - 1;
    let refused = || {
        let counters = agent1.show("counters").unwrap();
        let all = counters.as_object().unwrap().iter();
        all.filter(|(name, _)| name.starts_with("zsnp_refused_"))
            .map(|(_, n)| n.as_u64().unwrap())
            .sum::<u64>()
    };
    wait_for("all of them to be counted", || (refused() == sent).then_some(())).unwrap();
    assert_eq!(agent1.shortcuts().unwrap(), 0);
    granter.send_bytes(host, &genuine).unwrap();
    wait_for("the genuine one", || (agent1.shortcuts().unwrap() == 1).then_some(())).unwrap();
    granter.withdraw(site.host1.vtep(), Scope::Vpc).unwrap();
    granter.send_bytes(host, &genuine).unwrap();
    wait_for("the replay to be counted", || (refused() == sent + 1).then_some(())).unwrap();
    assert_eq!(agent1.shortcuts().unwrap(), 0);

    // From inside: a VM that speaks ZSNP to another VM or to the gateway.
    site.web
        .netns()
        .enter(|| {
            let raw = socket2::Socket::new(
                socket2::Domain::IPV4,
                socket2::Type::RAW,
                Some(socket2::Protocol::from(253)),
            )
            .unwrap();
            for to in ["192.168.20.1", "192.168.21.10"] {
                let to: Ipv4Addr = to.parse().unwrap();
                raw.send_to(&genuine, &std::net::SocketAddrV4::new(to, 0).into()).unwrap();
            }
        })
        .unwrap();
    wait_for("forged ones of a VM", || (agent1.counter("zsnp_forged_packets").unwrap() == 2).then_some(()))
        .unwrap();
    eprintln!(
        "{} of {sent} forged, cut and flipped messages refused, 1 replay refused, 2 of a VM dropped",
        refused() - 1
    );
}

#[test]
fn two_vpcs_with_equal_addresses_do_not_share_a_shortcut() {
    let Some(hosts) = hosts("") else { return };
    let Hosts { site, agent1, agent2, .. } = &hosts;
    hosts.optimise(30);
    let direct =
        || agent1.counter("direct_sent_packets").unwrap() + agent2.counter("direct_sent_packets").unwrap();
    let heard = Capture::start(site.app.netns(), "eth0", "icmp", site.gateway.dir()).unwrap();
    let before = (direct(), hosts.gateway_rx());
    let pings = ping(site.web2.netns(), site.app2.address(), "-c 10 -i 0.02").unwrap();
    assert!(pings.all_answered() && pings.ttl == Some(63), "{}", pings.text);
    assert_eq!(direct(), before.0, "the other VPC has no shortcut");
    assert!(hosts.gateway_rx() >= before.1 + 20);
    let pings = ping(site.web.netns(), site.app.address(), "-c 10 -i 0.02").unwrap();
    assert!(pings.all_answered());
    assert_eq!(direct(), before.0 + 20);
    heard.until("192.168.20.154 > 192.168.21.10").unwrap();
    let [all, direct] = heard.counts(["icmp[0] = 8", "icmp[0] = 8 and ether[6:2] = 0x5a53"]).unwrap();
    assert_eq!((all, direct), (10, 10), "and app heard its own pings only");
}

/// All that `ping` says of round trips: a mean hides what one pause of a busy machine adds to it.
fn rtts(pings: &Pings) -> &str {
    pings.text.lines().rev().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = ")).unwrap_or_default()
}

#[test]
fn a_host_carries_a_hundred_thousand_shortcuts() {
    let Some(hosts) = hosts("") else { return };
    let Hosts { site, granter, agent1, .. } = &hosts;
    hosts.optimise(120);
    let few = ping(site.web.netns(), site.app.address(), "-c 100 -i 0.002").unwrap();
    let host: Ipv4Addr = site.host1.vtep().parse().unwrap();
    let one = hosts.forth(3600);
    let start = Instant::now();
    let to = |n: u32| Shortcut {
        matches: Match { destination: Ipv4Addr::from(0x0a00_0000 + n), ..one.matches },
        ..one
    };
    for wave in 0..1000 {
        let before = granter.installed();
        for n in 0..100 {
            granter.say(host, to(wave * 100 + n)).unwrap();
        }
        wait_for("a hundred ACKs", || (granter.installed() >= before + 100).then_some(())).unwrap();
    }
    let took = start.elapsed();
    let installed = agent1.counter("shortcuts_installed").unwrap();
    let many = ping(site.web.netns(), site.app.address(), "-c 100 -i 0.002").unwrap();
    assert!(few.all_answered() && many.all_answered());
    eprintln!(
        "{installed} shortcuts on one host, granted and acknowledged in {:.1} s; ping (min/avg/max/mdev) {} with 1 and {} with all",
        took.as_secs_f64(),
        rtts(&few),
        rtts(&many)
    );
    assert!(installed >= 100_001 && agent1.shortcuts().unwrap() >= 100_001);
    granter.withdraw(site.host1.vtep(), Scope::Vpc).unwrap();
    assert_eq!(agent1.shortcuts().unwrap(), 0);
}
