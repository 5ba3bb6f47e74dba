//! The `pipeline` target: bytes as a script of what happens to a gateway.
//!
//! | First byte | What follows | What happens |
//! |---|---|---|
//! | `00pp mmbb` | two bytes of length, a frame | the frame arrives on port `pp`; `mm` ≠ 0: mended; `bb` = 0: ports are polled |
//! | `01tt tttt` | | 2^(t/4) ms pass |
//! | `10vv vvvv` | two bytes of length, a packet | the namespace of table `v` sends the packet, mended |
//! | `110c cccc` | | the configuration is reloaded, with or without a change |
//! | `111. ....` | | control stands still, or goes on |
//!
//! What is cut short at the end is left out or shorter.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use tidegate_control::{
    compile::PortFact,
    config::{self, Config, Id},
    gateway::Gateway,
};
use tidegate_fastpath::{
    io::mem::MemIo,
    table::{Link, Net, Tables},
    types::{MacAddr, Nanos, PortId, VrfId},
    worker::{Idle, Worker},
};

use super::{FRAME_MAX, frame, mend};
use crate::{
    gateway::{HOST1, HOST2, HOST3, SITE},
    packet,
};

/// Time that one script may take.
const TIME_MAX: Nanos = Nanos::from_ms(600_000);
/// Polls of one step of time.
const POLLS_MAX: u64 = 16;

/// Runs a script.
///
/// # Panics
/// When the gateway is wrong.
pub fn pipeline(input: &[u8]) {
    let mut world = World::new();
    let mut script = Script(input);
    while let Some(step) = script.step() {
        world.run(step);
    }
    world.end();
}

/// The rest of the input.
struct Script<'a>(&'a [u8]);

enum Step<'a> {
    Frame { port: PortId, mended: bool, poll: bool, bytes: &'a [u8] },
    Pass(Nanos),
    Inject { vrf: VrfId, bytes: &'a [u8] },
    Reload(usize),
    Toggle,
}

impl<'a> Script<'a> {
    fn step(&mut self) -> Option<Step<'a>> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        let low = first & 0x3f;
        Some(match first >> 6 {
            0 => Step::Frame {
                port: PortId(u16::from(low >> 4)),
                mended: low & 0x0c != 0,
                poll: low & 0x03 == 0,
                bytes: self.bytes(),
            },
            1 => Step::Pass(Nanos::from_ms(1 << (low / 4))),
            2 => Step::Inject { vrf: VrfId(u16::from(low)), bytes: self.bytes() },
            _ if low < 0x20 => Step::Reload(usize::from(low)),
            _ => Step::Toggle,
        })
    }

    fn bytes(&mut self) -> &'a [u8] {
        let Some((len, rest)) = self.0.split_first_chunk::<2>() else { return &[] };
        let len = usize::from(u16::from_be_bytes(*len)).min(rest.len()).min(FRAME_MAX);
        let (bytes, rest) = rest.split_at(len);
        self.0 = rest;
        bytes
    }
}

/// A gateway and its ports.
struct World {
    control: Gateway,
    worker: Worker<MemIo>,
    ports: u16,
    now: Nanos,
    control_runs: bool,
    configs: &'static [Config],
}

impl World {
    fn new() -> World {
        let configs = configs();
        let ports: HashMap<Id, PortFact> = configs[0].gateway.ports.iter().map(fact).collect();
        let now = Nanos::from_ms(1_000);
        let count = ports.len() as u16;
        let (control, parts) =
            Gateway::new(configs[0].clone(), ports, now, 1).unwrap_or_else(|why| panic!("{why}"));
        let part = parts.into_iter().next().expect("one worker");
        let worker = Worker::new(part, MemIo::new(count.into()));
        let mut world = World { control, worker, ports: count, now, control_runs: true, configs };
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

    fn run(&mut self, step: Step<'_>) {
        match step {
            Step::Frame { port, mended, poll, bytes } => {
                let mut bytes = bytes.to_vec();
                if mended {
                    mend::mend(&mut bytes, &self.control.compiled().tables, port);
                }
                self.worker.io().push(port, &bytes);
                if poll || self.worker.io().waiting() >= 64 {
                    self.settle();
                }
            }
            Step::Pass(time) => self.pass(time),
            Step::Inject { vrf, bytes } => {
                let mut bytes = bytes.to_vec();
                mend::packet(&mut bytes, &self.control.compiled().tables);
                self.control.inject(vrf, &bytes);
                self.settle();
            }
            Step::Reload(which) => {
                let config = self.configs[which % self.configs.len()].clone();
                self.control.apply(config, self.now).unwrap_or_else(|problems| panic!("{problems}"));
                self.settle();
            }
            Step::Toggle => self.control_runs = !self.control_runs,
        }
    }

    fn pass(&mut self, time: Nanos) {
        let end = Nanos((self.now.0 + time.0).min(TIME_MAX.0));
        let step = (end.0.saturating_sub(self.now.0) / POLLS_MAX).max(5_000_000);
        while self.now < end {
            self.now = Nanos((self.now.0 + step).min(end.0));
            self.settle();
        }
    }

    /// Worker and control do what there is to do, a bounded number of times.
    fn settle(&mut self) {
        for _ in 0..8 {
            self.now = Nanos(self.now.0 + 1_000);
            self.worker.io().set_now(self.now);
            let mut done = self.worker.poll();
            self.check();
            if self.control_runs {
                done += self.control.poll(self.now);
                while self.control.take_punted().is_some() {}
            }
            if done == 0 {
                break;
            }
        }
    }

    fn check(&mut self) {
        let books = self.control.counters()[0].books();
        assert!(books.balance(), "a packet vanished or was counted twice: {books:?}");
        let tables = &self.control.compiled().tables;
        for port in (0..self.ports).map(PortId) {
            for bytes in self.worker.io().sent(port) {
                frame::check(tables, port, &bytes);
            }
        }
    }

    fn end(mut self) {
        self.settle();
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
    let small = SITE.replace(
        "limits: { flows: 4096, neighbours: 1024, networks: 64, ring: 256 }",
        "limits: { flows: 1024, neighbours: 64, networks: 16, ring: 64, held_packets: 32, icmp_errors_per_second: 100 }",
    );
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
    ];
    texts.iter().map(|text| config::parse(text).unwrap_or_else(|problems| panic!("{problems}"))).collect()
}

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
