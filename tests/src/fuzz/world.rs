//! The world of the `pipeline` target: a gateway on ports in memory, the stations around it, time, and troubles.
//!
//! Its tables, rings and pools are small: they are made quickly, and a short script fills them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use tidegate_control::{
    compile::PortFact,
    config::{self, Config, Id},
    gateway::Gateway,
};
use tidegate_fastpath::{
    io::mem::{HEADROOM, MemIo},
    reason::{DropReason, Event, PuntReason},
    table::{Link, Net, Tables},
    types::{MacAddr, Nanos, PortId, VrfId},
    worker::{Idle, Worker},
};

use super::{
    frame, mend, say,
    script::{Script, Step, Trouble},
};
use crate::{
    gateway::{HOST1, HOST2, HOST3, SITE},
    packet,
};

/// Time that one script may take, but for proofs.
const TIME_MAX: Nanos = Nanos::from_ms(600_000);
/// Polls of one step of time.
const POLLS_MAX: u64 = 8;
/// What one script may cost, in polls; a script that costs more ends early. Much happens in many scripts, not in long ones.
const WORK_MAX: usize = 256;
/// Frames that cost as much as a poll.
const FRAMES_PER_POLL: usize = 4;
/// Polls that cost as much as a reload.
const POLLS_PER_RELOAD: usize = 32;
/// Requests of the gateway that may be answered later.
const ASKED_MAX: usize = 8;
/// After so long without an answer, a flow or a packet, the gateway has forgotten everybody.
const FORGOTTEN: Nanos = Nanos::from_ms(120_000);

/// A gateway and its ports.
pub(super) struct World {
    control: Gateway,
    worker: Worker<MemIo>,
    ports: HashMap<Id, PortFact>,
    now: Nanos,
    configs: &'static [Config],
    /// The one in force.
    config: usize,
    /// By number of [`Trouble`].
    troubles: [bool; 8],
    /// Frames of this script.
    frames: usize,
    /// What this script has cost.
    work: usize,
    /// When the time of the script is up.
    until: Nanos,
    /// The last frame, before it was mended.
    last: (PortId, Vec<u8>),
    /// The last ARP requests of the gateway, newest first.
    asked: VecDeque<(PortId, Vec<u8>)>,
    /// What was sent since somebody last wanted to know.
    sent: Vec<(PortId, Vec<u8>)>,
}

impl World {
    pub(super) fn new() -> World {
        let configs = configs();
        let ports: HashMap<Id, PortFact> = configs[0].gateway.ports.iter().map(fact).collect();
        let now = Nanos::from_ms(1_000);
        let (control, parts) =
            Gateway::new(configs[0].clone(), ports.clone(), now, 1).unwrap_or_else(|why| panic!("{why}"));
        let part = parts.into_iter().next().expect("one worker");
        let worker = Worker::new(part, MemIo::new(ports.len()));
        let last = (PortId(0), Vec::new());
        let (troubles, asked, sent) = ([false; 8], VecDeque::new(), Vec::new());
        let mut world = World {
            control,
            worker,
            ports,
            now,
            configs,
            config: 0,
            troubles,
            frames: 0,
            work: 0,
            until: now,
            last,
            asked,
            sent,
        };
        world.settle();
        world.meet();
        world
    }

    /// Hosts and VMs make themselves known.
    fn meet(&mut self) {
        static FRAMES: OnceLock<Vec<(PortId, Vec<u8>)>> = OnceLock::new();
        for (port, bytes) in FRAMES.get_or_init(|| meeting(&self.control.compiled().tables)) {
            self.worker.io().push(*port, bytes);
        }
        self.settle();
    }

    /// Runs a script from its first step to its last; afterwards no trouble lasts, and the first configuration is in force.
    pub(super) fn live_through(&mut self, script: &[u8]) {
        (self.frames, self.work, self.until) = (0, 0, Nanos(self.now.0 + TIME_MAX.0));
        self.last = (PortId(0), Vec::new());
        self.asked.clear();
        let mut script = Script(script);
        while self.work < WORK_MAX
            && let Some(step) = script.step()
        {
            self.run(step);
        }
        self.calm();
        let held = self.control.counters()[0].held.get();
        assert_eq!(self.worker.io().outstanding() as u64, held, "buffers that did not come back");
    }

    fn calm(&mut self) {
        for trouble in Trouble::LASTING {
            if self.has(trouble) {
                self.toggle(trouble);
            }
        }
        if self.config != 0 {
            self.reload(0);
        }
        self.settle();
        self.sent.clear();
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Frame { port, mended, poll, bytes } => self.arrive(port, bytes, mended, poll),
            Step::Say(saying) => {
                let (port, bytes) = saying.frame();
                self.arrive(port, bytes, true, saying.is_polled());
            }
            Step::Again { times, place, change } => {
                for _ in 0..times {
                    let (port, mut bytes) = self.last.clone();
                    if let Some(byte) = bytes.get_mut(place) {
                        *byte = byte.wrapping_add(change);
                    }
                    self.arrive(port, bytes, true, false);
                }
                self.settle();
            }
            Step::Answer(back) => {
                if let Some((port, bytes)) = self.asked.get(back).cloned() {
                    self.arrive(port, bytes, true, true);
                }
            }
            Step::Pass(time) => {
                let left = self.until.0.saturating_sub(self.now.0);
                self.pass(Nanos(time.0.min(left)));
            }
            Step::Inject { vrf, bytes } => self.inject(vrf, bytes),
            Step::Reload(which) => self.reload(which),
            Step::Trouble(Trouble::Nothing) => self.settle(),
            Step::Trouble(Trouble::Proof) => self.prove(),
            Step::Trouble(trouble) => self.toggle(trouble),
        }
    }

    fn arrive(&mut self, port: PortId, bytes: Vec<u8>, mended: bool, poll: bool) {
        if bytes.len() > super::FRAME_MAX {
            return;
        }
        self.frames += 1;
        self.work += usize::from(self.frames.is_multiple_of(FRAMES_PER_POLL));
        self.last = (port, bytes.clone());
        let mut bytes = bytes;
        if mended {
            mend::mend(&mut bytes, &self.control.compiled().tables, port);
        }
        if self.has(Trouble::Segments) {
            self.worker.io().push_segmented(port, &bytes);
        } else {
            self.worker.io().push(port, &bytes);
        }
        if poll || self.worker.io().waiting() >= 64 {
            self.settle();
        }
    }

    fn inject(&mut self, vrf: VrfId, mut bytes: Vec<u8>) {
        mend::packet(&mut bytes, &self.control.compiled().tables);
        self.control.inject(vrf, &bytes);
        self.settle();
    }

    fn reload(&mut self, which: usize) {
        self.work += POLLS_PER_RELOAD;
        self.config = which % self.configs.len();
        let config = self.configs[self.config].clone();
        self.control.apply(config, self.now).unwrap_or_else(|problems| panic!("{problems}"));
        self.settle();
    }

    fn has(&self, trouble: Trouble) -> bool {
        self.troubles[trouble as usize]
    }

    fn toggle(&mut self, trouble: Trouble) {
        let begins = !self.has(trouble);
        self.troubles[trouble as usize] = begins;
        let io = self.worker.io();
        match trouble {
            Trouble::Transmit => {
                let limit = begins.then_some(1);
                (0..self.ports.len() as u16).for_each(|port| io.set_tx_limit(PortId(port), limit));
            }
            Trouble::Headroom => io.set_headroom(if begins { 8 } else { HEADROOM }),
            Trouble::Link => {
                let underlay = self.control.desired().port_key(PortId(0)).cloned();
                if let Some(fact) = underlay.and_then(|id| self.ports.get_mut(&id)) {
                    fact.up = !begins;
                }
                self.control.set_ports(self.ports.clone(), self.now);
            }
            _ => {}
        }
    }

    fn pass(&mut self, time: Nanos) {
        let end = Nanos(self.now.0 + time.0);
        let step = (time.0 / POLLS_MAX).max(5_000_000);
        while self.now < end {
            self.now = Nanos((self.now.0 + step).min(end.0));
            self.settle();
        }
    }

    /// Worker and control do what there is to do, a bounded number of times.
    fn settle(&mut self) {
        for _ in 0..8 {
            self.work += 1;
            self.now = Nanos(self.now.0 + 1_000);
            let is_dry = self.has(Trouble::Pool);
            let io = self.worker.io();
            io.set_now(self.now);
            io.set_pool_limit(if is_dry { io.outstanding() + io.waiting() } else { usize::MAX });
            let mut done = self.worker.poll();
            self.worker.io().set_pool_limit(usize::MAX);
            self.check();
            if !self.has(Trouble::Control) {
                done += self.control.poll(self.now);
                while self.control.take_punted().is_some() {}
                while !self.control.take_log(64).is_empty() {}
            }
            if done == 0 {
                break;
            }
        }
        let books = self.control.counters()[0].books();
        assert!(books.balance(), "a packet vanished or was counted twice: {books:?}");
    }

    /// What was sent.
    fn check(&mut self) {
        let tables = &self.control.compiled().tables;
        for port in (0..self.ports.len() as u16).map(PortId) {
            for bytes in self.worker.io().sent(port) {
                frame::check(tables, port, &bytes);
                if let Some(answer) = say::answer(&bytes) {
                    self.asked.truncate(ASKED_MAX - 1);
                    self.asked.push_front((port, answer));
                }
                self.sent.push((port, bytes));
            }
        }
    }

    /// Whatever happened before: when troubles have ended, the first configuration is in force and time has passed, nothing
    /// is left of it, and a VM reaches another.
    fn prove(&mut self) {
        self.calm();
        self.pass(FORGOTTEN);
        self.pass(FORGOTTEN);
        let waiting = self.control.counters()[0].held.get();
        assert_eq!((waiting, self.control.flow_fill().0), (0, 0), "packets that wait, flows that stay");
        self.meet();
        self.sent.clear();
        let (port, bytes) = say::PROOF.frame();
        self.arrive(port, bytes, true, true);
        let arrived = self.sent.iter().any(|(port, bytes)| say::is_proof(*port, bytes));
        assert!(arrived, "a VM does not reach another: {:02x?}", self.sent);
    }

    /// Labels of all drops, punts and events that were counted.
    pub(super) fn counted(&self) -> impl Iterator<Item = &'static str> {
        let counters = &self.control.counters()[0];
        let dropped = |r: &&DropReason| counters.nets.iter().any(|net| net.drops[r.index()].get() > 0);
        let drops = DropReason::ALL.iter().filter(dropped).map(|r| r.label());
        let punts = PuntReason::ALL.iter().filter(|r| counters.punts[r.index()].get() > 0);
        let events = Event::ALL.iter().filter(|e| counters.events[e.index()].get() > 0);
        drops.chain(punts.map(|r| r.label())).chain(events.map(|e| e.label()))
    }

    /// The gateway stops.
    pub(super) fn end(self) {
        let io = self.worker.run(&AtomicBool::new(true), Idle::Spin);
        assert_eq!(io.outstanding(), 0, "buffers that did not come back");
        assert!(self.control.counters()[0].books().balance());
    }
}

fn fact(port: &config::Port) -> (Id, PortFact) {
    (port.id.clone(), PortFact { mac: port.mac.unwrap_or(MacAddr::from_u64(0x0200_0000_00ff)), up: true })
}

/// The site with small tables, and changes of it.
fn configs() -> &'static [Config] {
    static CONFIGS: OnceLock<Vec<Config>> = OnceLock::new();
    CONFIGS.get_or_init(parse_configs)
}

fn parse_configs() -> Vec<Config> {
    let limits = "limits: { flows: 4096, neighbours: 1024, networks: 64, ring: 256 }";
    let small =
        SITE.replace(limits, "limits: { networks: 16, held_packets: 32, icmp_errors_per_second: 100 }");
    let texts = [
        small.clone(),
        small.replace("next_hop: 10.1.2.254", "next_hop: 10.1.2.9"),
        small.replace("172.31.0.1/16", "172.31.0.9/16"),
        small
            .lines()
            .filter(|line| !line.contains("id: red-2") && !line.contains("next_hop"))
            .collect::<Vec<_>>()
            .join("\n"),
        small.replace("- { id: red }", "- { id: red, flow_tracking: false }"),
        small.replace("mtu: 1450", "mtu: 600"),
        format!("{small}  - {{ public_network: public, destination: 198.51.100.0/24, via_vpc: red }}\n"),
        format!("{}{SERVICES}", small.replace("  limits:", LOG)),
        format!("{}{SERVICES}", small.replace("- { id: red }", QUOTAS)),
        format!("{small}{BALANCE}"),
    ];
    let tiny = |text: &String| {
        let mut config = config::parse(text).unwrap_or_else(|problems| panic!("{problems}"));
        // Below what a file may ask for.
        let limits = &mut config.gateway.limits;
        (limits.flows, limits.neighbours, limits.ring) = (64, 64, 32);
        (limits.nat_vms, limits.nat_blocks) = (4, 6);
        // No longer than other flows, so that nothing is left where a script ends.
        let timeouts = &mut config.gateway.timeouts;
        (timeouts.nat_tcp_established_s, timeouts.nat_tcp_transitory_s) = (50, 20);
        (timeouts.nat_udp_s, timeouts.nat_icmp_s, timeouts.nat_other_s) = (30, 10, 40);
        config
    };
    texts.iter().map(tiny).collect()
}

/// Public addresses, with few ports and short lives.
const SERVICES: &str = "
vips:
  - { id: shared, public_network: public, address: 203.0.113.93 }
  - { id: whole, public_network: public, address: 203.0.113.94 }
snats:
  - { id: out, network: red-1, vips: [shared], ports_per_vm: 64 }
eips:
  - { id: one, vip: whole, vpc: red, address: 10.1.3.7 }
port_forwards:
  - { id: tcp, vip: shared, protocol: tcp, ports: 1-512, vpc: red, address: 10.1.1.7 }
  - { id: udp, vip: shared, protocol: udp, ports: 1-512, vpc: red, address: 10.1.2.9, allowed_cidr: 203.0.113.0/26 }
";
/// Listeners that take little, and a rate that is soon used up.
const BALANCE: &str = "
vips:
  - { id: shared, public_network: public, address: 203.0.113.93 }
load_balancers:
  - id: lb
    vip: shared
    listeners:
      - id: dns
        protocol: udp
        port: 53
        max_connections: 3
        access: { policy: deny, cidrs: [203.0.113.50/32] }
        persistence: { kind: source, timeout_s: 10 }
        backends: [{ vpc: red, address: 10.1.1.7 }, { vpc: red, address: 10.1.2.9 }]
      - id: web
        protocol: tcp
        port: 53
        algorithm: leastconn
        dead_sessions: reset
        backends: [{ vpc: red, address: 10.1.1.7, max_connections: 1 }, { vpc: red, address: 10.1.2.9, max_connections: 1 }]
      - { id: full, protocol: udp, port: 54, mode: full_nat, idle_timeout_s: 20, backends: [{ vpc: red, address: 10.1.1.7 }, { vpc: red, address: 10.1.2.9 }] }
      - { id: full-tcp, protocol: tcp, port: 54, mode: full_nat, idle_timeout_s: 20, backends: [{ vpc: red, address: 10.1.1.7 }] }
      - { id: shut, protocol: tcp, port: 179, backends: [{ vpc: red, address: 10.1.1.7, drain: true }] }
qos:
  - { id: slow, vip: shared, inbound: 8kbit/s, outbound: 8kbit/s, burst: 16KiB, colour: { mode: srtcm, aware: true, green: precedence, yellow: drop } }
";
const LOG: &str = "  nat_log: { file: /dev/null, sessions: true }\n  limits:";
const QUOTAS: &str = "- { id: red, quotas: { sessions: 6, vm_sessions: 4, new_sessions_per_second: 5, vm_new_sessions_per_second: 3 } }";

/// The ARP frames by which hosts and VMs make themselves known.
fn meeting(tables: &Tables) -> Vec<(PortId, Vec<u8>)> {
    let (underlay, lan, wan) = ("02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03");
    let mut texts = Vec::new();
    for (n, host) in [HOST1, HOST2, HOST3, "172.31.255.254"].iter().enumerate() {
        let mac = format!("02:01:ac:1f:00:{n:02x}");
        texts.push((0, format!("eth {mac} > {underlay} | arp tell {host} {mac} to 172.31.0.1 {underlay}")));
    }
    for (vni, udp_port, host, ip) in [
        (201, 8472, HOST1, "10.1.1.7"),
        (202, 8472, HOST2, "10.1.2.9"),
        (201, 4789, HOST3, "10.1.1.7"),
        (301, 4789, HOST2, "10.1.2.9"),
    ] {
        let is_it = |net: &&Arc<Net>| {
            let ours = tables.vtep_of(net).is_some_and(|vtep| vtep.udp_port == udp_port);
            ours && matches!(net.link, Link::Vxlan { vni: v, .. } if v.get() == vni)
        };
        let us = tables.nets.iter().flatten().find(is_it).map_or(MacAddr::BROADCAST, |net| net.mac);
        let vm = format!("02:01:0a:01:00:{:02x}", vni % 100);
        texts.push((
            0,
            format!(
                "eth 02:01:ac:1f:00:00 > {underlay} | vxlan {vni} {host} > 172.31.0.1 dport={udp_port} \
                 | eth {vm} > {us} | arp ask {ip} from {ip} {vm}"
            ),
        ));
    }
    let (vm, router) = ("02:01:0a:01:03:07", "02:01:cb:00:71:01");
    texts.push((1, format!("eth {vm} > {lan} | vlan 103 | arp ask 10.1.3.7 from 10.1.3.7 {vm}")));
    texts.push((2, format!("eth {router} > {wan} | arp tell 203.0.113.1 {router} to 203.0.113.2 {wan}")));
    let frame = |text: &str| packet::frame(text).unwrap_or_else(|why| panic!("{text}: {why:#}"));
    texts.into_iter().map(|(port, text)| (PortId(port), frame(&text))).collect()
}
