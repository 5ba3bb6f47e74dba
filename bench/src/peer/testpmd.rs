//! `dpdk-testpmd` (Debian package `dpdk-dev`), the floor: receives the scenario's frames from a capture that `net_pcap` holds
//! in memory and copies into fresh mbufs, and sends them to `net_null`, which frees them. So its cycles are to be compared
//! with our *total*.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use dpdk_sys::eal::free_hugepages_mib;

use crate::{
    capture, cycles,
    interrupt::Scratch,
    measurement::{Label, Length, Outcome, Sample, Subject},
    scenario::{Name, Parameters},
    traffic::Traffic,
};

const PROGRAM: &str = "dpdk-testpmd";
/// Mbufs beside those that hold the capture.
const SPARE_MBUFS: usize = 8192;
/// KiB of a mbuf with its share of everything.
const MBUF_KIB: usize = 3;
/// The shortest round: it takes longer than that to start.
const SECONDS_MIN: f64 = 0.2;

/// What it does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Io,
    /// Writes new MAC addresses.
    Mac,
}

impl Mode {
    const fn word(self) -> &'static str {
        match self {
            Mode::Io => "io",
            Mode::Mac => "mac",
        }
    }
}

/// Whether it is installed.
pub fn is_there() -> bool {
    let tried = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok()
}

/// It, with the frames of a scenario.
#[derive(Debug)]
pub struct Testpmd {
    label: Label,
    mode: Mode,
    /// The capture.
    path: PathBuf,
    frames: usize,
    /// The CPU of its main thread, and the one that works.
    cpus: (usize, usize),
    received: u64,
    sent: u64,
    _scratch: Scratch,
}

impl Testpmd {
    /// Works on the second of `cpus`.
    ///
    /// # Errors
    /// The capture cannot be written.
    pub fn new(name: Name, parameters: &Parameters, mode: Mode, cpus: (usize, usize)) -> Result<Testpmd> {
        let scratch = Scratch::new()?;
        let path = scratch.path().join("frames.pcap");
        let frames = capture::write(&path, &Traffic::new(&*name.with(parameters))?)?;
        let label = super::label(name, parameters, &format!("testpmd {}", mode.word()), "mbuf", 32);
        Ok(Testpmd { label, mode, path, frames, cpus, received: 0, sent: 0, _scratch: scratch })
    }

    fn run(&self, seconds: f64) -> Result<String> {
        let mbufs = self.frames + SPARE_MBUFS;
        let memory_mib = 64 + mbufs * MBUF_KIB / 1024;
        let pages: &[&str] = match free_hugepages_mib() as usize > memory_mib {
            true => &["--in-memory"],
            false => &["--no-huge", "--no-shconf"],
        };
        // Into a pipe it would say that it works only when it ends.
        let mut child = Command::new("stdbuf")
            .args(["-oL", PROGRAM])
            .args(["-l", &format!("{},{}", self.cpus.0, self.cpus.1), &format!("-m{memory_mib}")])
            .args([&format!("--main-lcore={}", self.cpus.0), "--no-pci", "--no-telemetry", "--log-level=4"])
            .args(pages)
            .arg(format!("--vdev=net_pcap0,rx_pcap={},infinite_rx=1", self.path.display()))
            .args(["--vdev=net_null0,no-rx=1", "--", "--record-core-cycles", "--burst=32"])
            .args([&format!("--forward-mode={}", self.mode.word()), &format!("--total-num-mbufs={mbufs}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(PROGRAM)?;
        let mut keys = child.stdin.take().context("its input is a pipe")?;
        let mut lines = BufReader::new(child.stdout.take().context("its output is a pipe")?);
        let mut told = String::new();
        while lines.read_line(&mut told)? > 0 {
            if told.ends_with("Press enter to exit\n") {
                thread::sleep(Duration::from_secs_f64(seconds));
                keys.write_all(b"\n")?;
                break;
            }
        }
        // The end of the input ends it too, whatever it did before.
        drop(keys);
        lines.read_to_string(&mut told)?;
        let output = child.wait_with_output().context(PROGRAM)?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{PROGRAM}: {}: {}", output.status, complaint.trim());
        Ok(told)
    }
}

impl Subject for Testpmd {
    fn label(&self) -> &Label {
        &self.label
    }

    fn verify(&mut self) -> Result<()> {
        ensure!(Path::new(&self.path).exists(), "the capture is gone");
        Ok(())
    }

    fn round(&mut self, length: Length) -> Result<Sample> {
        let seconds = match length {
            Length::Cycles(cycles) => cycles as f64 / cycles::hz(),
            Length::Packets(_) => 0.0,
        };
        let told = self.run(seconds.max(SECONDS_MIN))?;
        let figures = Figures::read(&told).with_context(|| format!("{PROGRAM} said: {told}"))?;
        self.received += figures.received;
        self.sent += figures.sent;
        let mut sample = Sample::default();
        sample.add(figures.packets, figures.cycles, figures.cycles);
        Ok(sample)
    }

    fn finish(&mut self) -> Result<Outcome> {
        Ok(Outcome { received: self.received, sent: self.sent, ..Outcome::default() })
    }
}

/// What it prints at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figures {
    received: u64,
    sent: u64,
    cycles: u64,
    packets: u64,
}

impl Figures {
    fn read(told: &str) -> Result<Figures> {
        let number = |text: &str| -> Option<u64> {
            let digits: String = text.trim_start().chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        };
        let all =
            told.rsplit_once("statistics for all ports").map(|(_, rest)| rest).context("no statistics")?;
        let after = |text: &str, word: &str| text.split_once(word).and_then(|(_, rest)| number(rest));
        let cycles = all.lines().find(|line| line.contains("CPU cycles/packet")).context("no cycles")?;
        let missing = || anyhow!("a figure is missing");
        let (_, packets) = cycles.rsplit_once("packets=").ok_or_else(missing)?;
        Ok(Figures {
            received: after(all, "RX-packets:").ok_or_else(missing)?,
            sent: after(all, "TX-packets:").ok_or_else(missing)?,
            cycles: after(cycles, "total cycles=").ok_or_else(missing)?,
            packets: number(packets).ok_or_else(missing)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_it_prints() {
        let told = "
  ---------------------- Forward statistics for port 0  ----------------------
  RX-packets: 5       RX-dropped: 0             RX-total: 5
  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
  RX-packets: 71543616       RX-dropped: 0             RX-total: 71543616
  TX-packets: 71543600       TX-dropped: 16             TX-total: 71543616
  ++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++

  CPU cycles/packet=66.00 (total cycles=4721861630 / total io packets=71543616) at 2100 MHz Clock
";
        let figures =
            Figures { received: 71_543_616, sent: 71_543_600, cycles: 4_721_861_630, packets: 71_543_616 };
        assert_eq!(Figures::read(told).unwrap(), figures);
        assert!(Figures::read("Cause: out of memory").is_err());
    }
}
