//! What replays a capture into a device of the worker: `dpdk-testpmd` on another CPU, or the driver of the device itself.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use dpdk_sys::{
    mempool::{Mempool, MempoolConfig},
    port::Port,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    PATIENCE,
    ports::{FedIo, Wire},
};
use crate::{
    interrupt::Process,
    pool::{
        MbufPool,
        device::{Memif, await_link},
    },
};

const PROGRAM: &str = "dpdk-testpmd";
/// So many bytes of its capture `testpmd` keeps until the end, and so many frames these may be.
const WRITE_BUFFER: u64 = 4096;
const UNWRITTEN: usize = 64;
/// Mbufs of `testpmd` beside those that hold the capture, and KiB of one with its share of everything.
const SPARE_MBUFS: usize = 8192;
const MBUF_KIB: usize = 3;
/// The same for `net_pcap`, whose mbufs only the worker has.
const SPARE_OF_WORKER: usize = 1024;

/// Who sends the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorKind {
    /// `dpdk-testpmd` on this CPU, by a `net_memif`.
    Testpmd(usize),
    /// The driver `net_pcap`: the worker polls a device that has the capture in memory.
    Pcap,
}

impl GeneratorKind {
    /// As in reports.
    pub const fn name(self) -> &'static str {
        match self {
            GeneratorKind::Testpmd(_) => "mbuf, net_memif from testpmd",
            GeneratorKind::Pcap => "mbuf, net_pcap",
        }
    }
}

/// The same, at work.
pub(super) enum Generator {
    Testpmd(Testpmd),
    Pcap(Pcap),
}

impl Generator {
    /// What a worker has at first, and who sends there.
    ///
    /// # Errors
    /// A device does not start.
    pub(super) fn new(kind: GeneratorKind, pool: &MbufPool, number: u32) -> Result<(Generator, Wire)> {
        match kind {
            GeneratorKind::Testpmd(cpu) => {
                let memif = Memif::new();
                let (port, wire) = Wire::start(pool.eal(), pool.mempool(), &memif.server())?;
                // It stays until the process ends: it may hear that the generator is gone while it is closed.
                std::mem::forget(port.clone());
                let testpmd = Testpmd { cpu, memif, port, checked: None, endless: None };
                Ok((Generator::Testpmd(testpmd), wire))
            }
            GeneratorKind::Pcap => {
                let nothing = format!("net_null_before{number},no-rx=1");
                let (_, wire) = Wire::start(pool.eal(), pool.mempool(), &nothing)?;
                Ok((Generator::Pcap(Pcap { pool: pool.clone(), number }), wire))
            }
        }
    }

    /// Sends the frames of a capture once; what comes back is written to another one.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn once(&mut self, io: &mut FedIo, from: &Path, to: &Path, frames: usize) -> Result<()> {
        match self {
            Generator::Testpmd(testpmd) => testpmd.once(from, to, frames),
            Generator::Pcap(pcap) => pcap.once(io, from, to),
        }
    }

    /// Ends that. Returns how many of the frames may be missing in the capture.
    ///
    /// # Errors
    /// They did not come.
    pub(super) fn end(&mut self, io: &FedIo, to: &Path, frames: usize) -> Result<usize> {
        match self {
            Generator::Testpmd(testpmd) => testpmd.end(io, to, frames),
            // The driver writes at the end of each burst.
            Generator::Pcap(_) => Ok(0),
        }
    }

    /// Begins to send the frames of a capture again and again.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn endless(&mut self, io: &mut FedIo, from: &Path, frames: usize) -> Result<()> {
        let device = format!("rx_pcap={},infinite_rx=1", from.display());
        match self {
            Generator::Testpmd(testpmd) => testpmd.endless(&device, frames),
            Generator::Pcap(pcap) => pcap.endless(io, &device, frames),
        }
    }

    /// Stands still, if it does anything by itself.
    ///
    /// # Errors
    /// It ended.
    pub(super) fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Goes on.
    ///
    /// # Errors
    /// It ended.
    pub(super) fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let Generator::Testpmd(testpmd) = self else { return Ok(()) };
        let process = testpmd.endless.as_ref().context("no generator")?;
        ensure!(process.is_running(), "{PROGRAM} ended");
        kill(Pid::from_raw(i32::try_from(process.id())?), signal).context(PROGRAM)
    }

    /// Ends.
    pub(super) fn stop(&mut self) {
        if let Generator::Testpmd(testpmd) = self {
            drop(testpmd.endless.take());
        }
    }
}

/// `dpdk-testpmd`, from the verification on; stands still between rounds.
pub(super) struct Testpmd {
    cpu: usize,
    memif: Memif,
    /// Keeps our end.
    port: Port,
    checked: Option<Child>,
    endless: Option<Process>,
}

impl Testpmd {
    /// It with a capture, which `device` holds, as far as it is the same for all.
    fn command(&self, device: &str, frames: usize) -> Command {
        let mbufs = frames + SPARE_MBUFS;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", PROGRAM]);
        command.args([
            &format!("--lcores=0@{0},1@{0}", self.cpu),
            &format!("-m{}", 64 + mbufs * MBUF_KIB / 1024),
        ]);
        command.args(["--no-pci", "--no-telemetry", "--log-level=4", "--no-huge", "--no-shconf"]);
        command.args([&format!("--vdev=net_pcap0,{device}"), &format!("--vdev={}", self.memif.client())]);
        // Without the last word it throws away what is there when it begins.
        let mbufs = format!("--total-num-mbufs={mbufs}");
        command.args(["--", "--forward-mode=io", "--burst=32", &mbufs, "--no-flush-rx"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn once(&mut self, from: &Path, to: &Path, frames: usize) -> Result<()> {
        let device = format!("rx_pcap={},tx_pcap={}", from.display(), to.display());
        self.checked = Some(self.command(&device, frames).spawn().context(PROGRAM)?);
        await_link(&[&self.port])
    }

    /// Waits until the capture has nearly all frames that were sent; the last ones may be in the generator's buffer, or before it.
    fn end(&mut self, io: &FedIo, to: &Path, frames: usize) -> Result<usize> {
        const RECORD_HEADER: usize = 16;
        let wanted = io.sent_bytes + ((frames - UNWRITTEN.min(frames)) * RECORD_HEADER) as u64;
        let begun = Instant::now();
        while to.metadata().map_or(0, |file| file.len()) + WRITE_BUFFER < wanted {
            ensure!(begun.elapsed() < PATIENCE, "{PROGRAM} did not write what came back");
            std::thread::yield_now();
        }
        // The end of its input ends it, and then the capture is whole.
        let mut process = self.checked.take().context("no generator")?;
        drop(process.stdin.take());
        process.wait().context(PROGRAM)?;
        Ok(UNWRITTEN)
    }

    fn endless(&mut self, device: &str, frames: usize) -> Result<()> {
        self.endless = Some(Process::start(&mut self.command(device, frames))?);
        await_link(&[&self.port])
    }
}

/// `net_pcap`.
pub(super) struct Pcap {
    pool: MbufPool,
    number: u32,
}

impl Pcap {
    fn once(&self, io: &mut FedIo, from: &Path, to: &Path) -> Result<()> {
        let device =
            format!("net_pcap_once{},rx_pcap={},tx_pcap={}", self.number, from.display(), to.display());
        io.set_wire(Wire::start(self.pool.eal(), self.pool.mempool(), &device)?.1);
        Ok(())
    }

    /// The driver keeps the capture in mbufs of its queue's pool.
    fn endless(&self, io: &mut FedIo, device: &str, frames: usize) -> Result<()> {
        let config = MempoolConfig {
            name: format!("net_pcap_{}", self.number),
            count: u32::try_from(frames + SPARE_OF_WORKER)?,
            packet_len_max: self.pool.mempool().packet_len_max(),
        };
        let too_many = || format!("{frames} frames have an mbuf each; give more --hugepages");
        let mbufs = Mempool::new(self.pool.eal(), &config).with_context(too_many)?;
        let device = format!("net_pcap_endless{},{device}", self.number);
        io.set_wire(Wire::start(self.pool.eal(), &mbufs, &device)?.1);
        Ok(())
    }
}
