//! The Linux kernel as a router: a network namespace of the run, which a thread has for itself and which ends with it.
//!
//! A frame that is written to a TAP is received, forwarded and given to the outgoing device before the write returns: the
//! kernel's work is the time of that write less the time of a write of the same frame for another station, which the kernel
//! drops at once. The outgoing device is a bridge that floods nothing, so it counts and drops; its only port is there so that
//! it has a carrier.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use tidegate_fastpath::types::PortId;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::{
    cycles,
    measurement::{Label, Length, Outcome, Sample, Subject},
    scenario::{Linux as Configuration, Name, Parameters, Scenario, linux},
    traffic::Traffic,
};

/// Frames that are written in turn with as many that are dropped.
const RUN: usize = 256;
/// The last byte of the destination MAC of what is dropped differs by this.
const FOREIGN: u8 = 0x40;
/// Settings of the namespace, below `/proc/sys/net`.
const SYSCTLS: [(&str, &str); 6] = [
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
];

/// For `ip -batch -`.
const DEVICES: &str = "\
link set dev lo up
link add out mtu 9000 type bridge mcast_snooping 0
link set dev port master out up
link set dev out up
link set dev in up
";
/// For `bridge -batch -`: what the bridge is given comes to its port, or nowhere.
const FLOOD: &str = "link set dev port flood on mcast_flood off bcast_flood off learning off\n";
const NO_FLOOD: &str = "link set dev port flood off\n";
/// Frames that are checked.
const CHECKED: usize = 2_000;
/// How often is looked for a frame that the kernel has not yet forwarded.
const LOOKS: usize = 1_000_000;
/// Longer than any frame.
const FRAME_MAX: usize = 9_216;

/// Whether a scenario can be shown.
pub fn can(name: Name, parameters: &Parameters) -> bool {
    linux(name, parameters).is_some()
}

/// The kernel with a scenario's configuration and frames.
#[derive(Debug)]
pub struct Linux {
    label: Label,
    /// `None` at the end.
    orders: Option<Sender<Length>>,
    answers: Receiver<Result<Sample>>,
    thread: Option<JoinHandle<Result<(u64, u64)>>>,
}

impl Linux {
    /// Forwards on a CPU, as far as the kernel does that where the frame was written.
    ///
    /// # Errors
    /// Nothing like the scenario in the kernel. Other reasons come with the first round.
    pub fn new(name: Name, parameters: &Parameters, cpu: usize) -> Result<Linux> {
        let configuration =
            linux(name, parameters).with_context(|| format!("{name}: not with the kernel"))?;
        let scenario = name.with(parameters);
        let traffic = Traffic::new(&*scenario)?;
        let (orders, taken) = mpsc::channel::<Length>();
        let (told, answers) = mpsc::channel();
        let work = move || {
            let mut router = Router::new(&configuration, traffic, cpu);
            if let Ok(made) = &mut router
                && let Err(error) = made.check(&*scenario)
            {
                router = Err(error);
            }
            for length in taken {
                let answer = match &mut router {
                    Ok(router) => router.round(length),
                    Err(error) => Err(anyhow!("{error:#}")),
                };
                if told.send(answer).is_err() {
                    break;
                }
            }
            router?.counts()
        };
        let thread = thread::Builder::new().name("linux".to_owned()).spawn(work)?;
        let label = super::label(name, parameters, "linux", "skb", 1);
        Ok(Linux { label, orders: Some(orders), answers, thread: Some(thread) })
    }
}

impl Subject for Linux {
    fn label(&self) -> &Label {
        &self.label
    }

    /// All flows once, so that they are established; before the first round some of their frames are checked.
    fn verify(&mut self) -> Result<()> {
        self.round(Length::Packets(self.label.flows.into())).map(drop)
    }

    fn round(&mut self, length: Length) -> Result<Sample> {
        let ended = "the kernel's thread ended";
        self.orders.as_ref().context(ended)?.send(length).ok().context(ended)?;
        self.answers.recv().context(ended)?
    }

    fn finish(&mut self) -> Result<Outcome> {
        drop(self.orders.take());
        let joined = self.thread.take().context("finished before")?.join();
        let (received, sent) = joined.map_err(|_| anyhow!("the kernel's thread panicked"))??;
        ensure!(sent >= received, "the kernel forwarded {sent} of {received} frames");
        Ok(Outcome { received, sent, ..Outcome::default() })
    }
}

/// What the thread has.
struct Router {
    tap: SyncDevice,
    /// The port of the bridge.
    port: SyncDevice,
    traffic: Traffic,
    at: usize,
    frame: Vec<u8>,
    written: u64,
}

impl Router {
    fn new(configuration: &Configuration, traffic: Traffic, cpu: usize) -> Result<Router> {
        unshare(CloneFlags::CLONE_NEWNET).context("a network namespace; run as root")?;
        ensure!(core_affinity::set_for_current(core_affinity::CoreId { id: cpu }), "CPU {cpu} is not there");
        for (name, value) in SYSCTLS {
            let path = format!("/proc/sys/net/{name}");
            std::fs::write(&path, value).context(path)?;
        }
        let tap = |name: &str| DeviceBuilder::new().name(name).layer(Layer::L2).mtu(9000);
        let port = tap("port").build_sync().context("a TAP")?;
        port.set_nonblocking(true).context("a TAP")?;
        let tap = tap("in").mac_addr(configuration.mac).build_sync().context("a TAP")?;
        feed("ip", &["-batch", "-"], &format!("{DEVICES}{}", configuration.ip))?;
        feed("bridge", &["-batch", "-"], &format!("{FLOOD}{}", configuration.fdb))?;
        feed("nft", &["-f", "-"], &configuration.nft)?;
        Ok(Router { tap, port, traffic, at: 0, frame: Vec::new(), written: 0 })
    }

    /// Compares what the kernel makes of frames with what must come out; then lets no more through.
    fn check(&mut self, scenario: &dyn Scenario) -> Result<()> {
        let mut emitted = vec![0; FRAME_MAX];
        for at in 0..self.traffic.len().min(CHECKED) {
            let frame = self.traffic.frame(at);
            self.tap.send(&frame.to_vec()).context("the TAP")?;
            self.written += 1;
            let len = self.emitted(&mut emitted).with_context(|| format!("flow {}", frame.flow))?;
            // `out` is the port by which the scenario sends.
            let checks = [PortId(0), PortId(1)]
                .map(|port| scenario.check(frame.flow, frame.frame_bytes, port, &emitted[..len]));
            let wrong = || format!("flow {}: {:02x?}", frame.flow, &emitted[..len]);
            ensure!(checks.iter().any(Result::is_ok), "{}: {checks:?}", wrong());
        }
        feed("bridge", &["-batch", "-"], NO_FLOOD)
    }

    /// The next frame that comes out of the bridge.
    fn emitted(&self, frame: &mut [u8]) -> Result<usize> {
        for _ in 0..LOOKS {
            match self.port.recv(frame) {
                Ok(len) => return Ok(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("the bridge's port"),
            }
        }
        bail!("the kernel did not forward it")
    }

    fn round(&mut self, length: Length) -> Result<Sample> {
        let mut sample = Sample::default();
        let (begin, before) = (cycles::now(), self.written);
        while !length.is_over(cycles::now() - begin, self.written - before) {
            let first = self.at;
            let forwarded = self.write_run(first, 0)?;
            let dropped = self.write_run(first, FOREIGN)?;
            self.at = (first + RUN) % self.traffic.turn();
            self.written += RUN as u64;
            sample.add(RUN as u64, forwarded.saturating_sub(dropped), forwarded);
        }
        Ok(sample)
    }

    /// Writes frames, their destination changed; returns the cycles of the writes.
    fn write_run(&mut self, first: usize, change: u8) -> Result<u64> {
        let mut spent = 0;
        for n in 0..RUN {
            let frame = self.traffic.frame(self.traffic.at((first + n) % self.traffic.turn()));
            self.frame.resize(frame.len(), 0);
            frame.copy_to(&mut self.frame);
            self.frame[5] ^= change;
            let from = cycles::now();
            self.tap.send(&self.frame).context("the TAP")?;
            spent += cycles::now() - from;
        }
        Ok(spent)
    }

    /// Frames to be forwarded, and forwarded.
    fn counts(&self) -> Result<(u64, u64)> {
        let output =
            Command::new("ip").args(["-j", "-s", "link", "show", "dev", "out"]).output().context("ip")?;
        let links: serde_json::Value = serde_json::from_slice(&output.stdout).context("what ip says")?;
        let sent = links[0]["stats64"]["tx"]["packets"].as_u64().context("no count in what ip says")?;
        Ok((self.written, sent))
    }
}

/// Runs a program with this input.
fn feed(program: &str, args: &[&str], input: &str) -> Result<()> {
    if input.is_empty() {
        return Ok(());
    }
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| program.to_owned())?;
    // A program that ends early says why.
    let _ = child.stdin.take().context("its input is a pipe")?.write_all(input.as_bytes());
    let output = child.wait_with_output().with_context(|| program.to_owned())?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
