//! The gateway fed by a process of its own: `dpdk-testpmd` replays a scenario's frames as fast as it can into a `net_memif`, at whose
//! other end the worker polls on another CPU. What the worker sends goes to `net_null`, so that the generator has nothing else to do.
//!
//! Before that, frames come back by the same memif, and `testpmd` writes them to a capture, which is checked as ever. The *control* has
//! no engine: where it moves more than the gateway, the generator held nobody up.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dpdk_sys::{
    mbuf::Mbuf,
    port::{Device, Port, PortConfig, RxQueue, TxQueue},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tidegate_fastpath::{
    io::{Burst, Io, pcap},
    types::{Nanos, PortId},
    worker::Worker,
};

use crate::{
    capture, cycles,
    interrupt::{Process, Scratch},
    measurement::{Label, Length, Outcome, Phase, Sample, Subject},
    pool::{
        MbufPool, Pool,
        device::{Memif, await_link},
    },
    scenario::{Name, Parameters, Scenario},
    site::Site,
    traffic::Traffic,
};

/// As in reports.
pub const BUFFERS: &str = "mbuf, net_memif from testpmd";
const PROGRAM: &str = "dpdk-testpmd";
/// Frames that are checked: fewer than a ring of the memif holds, so that none is lost.
const CHECKED: usize = 512;
/// So many bytes of its capture the generator keeps until the end, and so many frames these may be.
const WRITE_BUFFER: u64 = 4096;
const UNWRITTEN: usize = 64;
/// Turns before the first round, so that every flow was seen: the generator drops what finds no room.
const TURNS_BEFORE: usize = 8;
/// How long is waited for a frame.
const PATIENCE: Duration = Duration::from_secs(30);
/// Mbufs of the generator beside those that hold the capture, and KiB of one with its share of everything.
const SPARE_MBUFS: usize = 8192;
const MBUF_KIB: usize = 3;
const RING_LEN: u16 = 1024;
const MTU: u16 = 1500;

/// The worker's ports: a memif where frames arrive, and where they go to.
#[derive(Debug)]
struct FedIo {
    pool: MbufPool,
    port: PortId,
    rx: RxQueue,
    back: TxQueue,
    null: TxQueue,
    /// Whether frames go back to the generator.
    to_generator: bool,
    begun: u64,
    nanos_per_cycle: f64,
    sent: u64,
    /// Of frames that went back.
    sent_bytes: u64,
}

impl Io for FedIo {
    type Buffer = Mbuf;

    fn queues(&self) -> usize {
        1
    }

    #[inline(always)]
    fn rx(&mut self, _queue: usize, burst: &mut Burst<Mbuf>) -> PortId {
        self.rx.rx_burst(burst);
        self.port
    }

    #[inline(always)]
    fn tx(&mut self, _port: PortId, burst: &mut Burst<Mbuf>) {
        let before = burst.len();
        if self.to_generator {
            self.sent_bytes += burst.iter().map(|frame| frame.bytes().len() as u64).sum::<u64>();
        }
        let queue = if self.to_generator { &mut self.back } else { &mut self.null };
        queue.tx_burst(burst);
        self.sent += (before - burst.len()) as u64;
    }

    fn alloc(&mut self) -> Option<Mbuf> {
        self.pool.alloc()
    }

    #[inline(always)]
    fn now(&mut self) -> Nanos {
        Nanos(((cycles::now() - self.begun) as f64 * self.nanos_per_cycle) as u64)
    }

    #[inline(always)]
    fn cycles(&self) -> u64 {
        cycles::now()
    }
}

/// What works the frames.
enum Pipeline {
    Gateway(Box<(Site, Worker<FedIo>)>),
    /// No engine.
    Nothing(Box<(FedIo, Burst<Mbuf>)>),
}

impl Pipeline {
    /// Returns how many frames came.
    #[inline(always)]
    fn poll(&mut self) -> usize {
        match self {
            Pipeline::Gateway(gateway) => gateway.1.poll(),
            Pipeline::Nothing(nothing) => {
                let (io, burst) = &mut **nothing;
                let port = io.rx(0, burst);
                let frames = burst.len();
                io.tx(port, burst);
                burst.clear();
                frames
            }
        }
    }

    fn io(&mut self) -> &mut FedIo {
        match self {
            Pipeline::Gateway(gateway) => gateway.1.io(),
            Pipeline::Nothing(nothing) => &mut nothing.0,
        }
    }
}

/// A worker and its generator.
pub struct Fed {
    label: Label,
    scenario: Arc<dyn Scenario>,
    traffic: Traffic,
    pipeline: Pipeline,
    memif: Memif,
    /// These keep their devices.
    port: Port,
    _null: Port,
    /// The CPU of the generator.
    cpu: usize,
    /// From the verification on; stands still between rounds.
    generator: Option<Process>,
    received: u64,
    scratch: Scratch,
}

impl Fed {
    /// A worker for a scenario, or nothing in its place, with a generator on that CPU.
    ///
    /// # Errors
    /// Parameters that do not fit, or a device that does not start.
    pub fn new(
        name: Name,
        parameters: &Parameters,
        pool: &MbufPool,
        is_control: bool,
        cpu: usize,
    ) -> Result<Fed> {
        let scenario = name.with(parameters);
        let traffic = Traffic::new(&*scenario)?;
        let memif = Memif::new();
        let start = |device: &str| {
            let config = PortConfig {
                rx_queues: 1,
                tx_queues: 1,
                rx_ring_len: RING_LEN,
                tx_ring_len: RING_LEN,
                mtu: MTU,
            };
            Device::probe(pool.eal(), device)?
                .start(&config, pool.mempool())
                .with_context(|| device.to_owned())
        };
        let (port, mut rx, mut back) = start(&memif.server())?;
        // It stays until the process ends: it may hear that the generator is gone while it is closed.
        std::mem::forget(port.clone());
        let (null, _, mut to_null) = start(&format!("net_null_{},no-rx=1", memif.number()))?;
        let io = FedIo {
            pool: pool.clone(),
            port: scenario.port(),
            rx: rx.pop().context("a queue")?,
            back: back.pop().context("a queue")?,
            null: to_null.pop().context("a queue")?,
            to_generator: true,
            begun: cycles::now(),
            nanos_per_cycle: 1e9 / cycles::hz(),
            sent: 0,
            sent_bytes: 0,
        };
        let mut label = Label::new(&*scenario, BUFFERS, 32);
        label.hugepages = pool.hugepages().unwrap_or_default();
        let pipeline = if is_control {
            label.phase = Phase::Control;
            label.services = Vec::new();
            Pipeline::Nothing(Box::new((io, Burst::new())))
        } else {
            let (site, parts) = Site::new(&*scenario, 1)?;
            let parts = parts.into_iter().next().context("a site has parts for its worker")?;
            Pipeline::Gateway(Box::new((site, Worker::new(parts, io))))
        };
        let scratch = Scratch::new()?;
        let (received, generator) = (0, None);
        Ok(Fed {
            label,
            scenario,
            traffic,
            pipeline,
            memif,
            port,
            _null: null,
            cpu,
            generator,
            received,
            scratch,
        })
    }
    /// The generator with a capture, as far as it is the same for all; `device` holds the capture.
    fn generator(&self, device: &str, frames: usize) -> Command {
        let mbufs = frames + SPARE_MBUFS;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", PROGRAM]);
        command.args([
            &format!("--lcores=0@{0},1@{0}", self.cpu),
            &format!("-m{}", 64 + mbufs * MBUF_KIB / 1024),
        ]);
        command.args(["--no-pci", "--no-telemetry", "--log-level=4", "--no-huge", "--no-shconf"]);
        command.args([&format!("--vdev={device}"), &format!("--vdev={}", self.memif.client())]);
        // Without the last word it throws away what is there when it begins.
        let mbufs = format!("--total-num-mbufs={mbufs}");
        command.args(["--", "--forward-mode=io", "--burst=32", &mbufs, "--no-flush-rx"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Polls until so many frames came.
    fn work(&mut self, frames: usize) -> Result<()> {
        let (mut left, begun) = (frames, Instant::now());
        while left > 0 {
            let came = self.pipeline.poll();
            self.received += came as u64;
            left = left.saturating_sub(came);
            ensure!(begun.elapsed() < PATIENCE, "{left} of {frames} frames of {PROGRAM} did not come");
        }
        Ok(())
    }

    /// Sends the first frames through, and compares what comes out with what must.
    fn check(&mut self) -> Result<()> {
        let (arriving, emitted) = (self.file("checked.pcap"), self.file("emitted.pcap"));
        let frames = capture::write_first(&arriving, &self.traffic, CHECKED)?;
        let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", arriving.display(), emitted.display());
        let mut generator = self.generator(&device, frames).spawn().context(PROGRAM)?;
        await_link(&[&self.port])?;
        self.work(frames)?;
        self.await_capture(&emitted, frames)?;
        // The end of its input ends it, and then the capture is whole.
        drop(generator.stdin.take());
        generator.wait().context(PROGRAM)?;
        let back = pcap::frames(&emitted)?;
        ensure!(back.len() + UNWRITTEN >= frames, "{} of {frames} frames came back", back.len());
        for (n, frame) in back.iter().enumerate() {
            let sent = self.traffic.frame(self.traffic.at(n));
            if self.label.phase == Phase::Control {
                ensure!(frame.bytes == sent.to_vec(), "a frame changed on its way through nothing");
                continue;
            }
            // There is one memif for all ports.
            let to = |port| self.scenario.check(sent.flow, sent.frame_bytes, PortId(port), &frame.bytes);
            to(0).or_else(|error| to(1).map_err(|_| error)).with_context(|| format!("flow {}", sent.flow))?;
        }
        Ok(())
    }

    /// Waits until a capture has nearly all frames that we sent; the last ones may be in the generator's buffer, or before it.
    fn await_capture(&mut self, path: &Path, frames: usize) -> Result<()> {
        const RECORD_HEADER: usize = 16;
        let wanted =
            self.pipeline.io().sent_bytes + ((frames - UNWRITTEN.min(frames)) * RECORD_HEADER) as u64;
        let begun = Instant::now();
        while path.metadata().map_or(0, |file| file.len()) + WRITE_BUFFER < wanted {
            ensure!(begun.elapsed() < PATIENCE, "{PROGRAM} did not write what came back");
            std::thread::yield_now();
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Starts the generator that stays.
    fn feed(&mut self, capture: &Path, frames: usize) -> Result<()> {
        let device = format!("net_pcap0,rx_pcap={},infinite_rx=1", capture.display());
        self.generator = Some(Process::start(&mut self.generator(&device, frames))?);
        await_link(&[&self.port])
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let generator = self.generator.as_ref().context("no generator")?;
        ensure!(generator.is_running(), "{PROGRAM} ended");
        kill(Pid::from_raw(i32::try_from(generator.id())?), signal).context(PROGRAM)
    }
}

impl Subject for Fed {
    fn label(&self) -> &Label {
        &self.label
    }

    fn verify(&mut self) -> Result<()> {
        self.check()?;
        self.pipeline.io().to_generator = false;
        let path = self.file("frames.pcap");
        let frames = capture::write(&path, &self.traffic)?;
        self.feed(&path, frames)?;
        self.work(TURNS_BEFORE * frames)?;
        self.signal(Signal::SIGSTOP)
    }

    /// The work of polls that brought frames; in total also those that brought none, so that throughput is what came.
    fn round(&mut self, length: Length) -> Result<Sample> {
        self.signal(Signal::SIGCONT)?;
        let mut sample = Sample::default();
        let (begin, mut before) = (cycles::now(), cycles::now());
        let mut last = before;
        while !length.is_over(before - begin, sample.packets) {
            let frames = self.pipeline.poll();
            let after = cycles::now();
            if frames > 0 {
                sample.add_if_whole(frames as u64, after - before, after - last);
                self.received += frames as u64;
                last = after;
            }
            before = after;
        }
        self.signal(Signal::SIGSTOP)?;
        Ok(sample)
    }

    fn finish(&mut self) -> Result<Outcome> {
        let (received, sent) = (self.received, self.pipeline.io().sent);
        drop(self.generator.take());
        let Pipeline::Gateway(gateway) = &self.pipeline else {
            ensure!(received == sent, "{received} frames received, {sent} sent");
            return Ok(Outcome { received, sent, ..Outcome::default() });
        };
        let (site, _) = &**gateway;
        let books = site.books();
        ensure!(books.balance() && books.rx == received, "the books do not balance: {books:?}");
        ensure!(received == sent, "{received} frames received, {sent} sent: {:?}", site.drops());
        let entries = self.scenario.load().tracked.then(|| site.entries());
        let bytes_per_connection = site.bytes_per_connection();
        Ok(Outcome {
            received,
            sent,
            entries,
            bytes_per_connection,
            drops: site.drops(),
            ..Outcome::default()
        })
    }
}
