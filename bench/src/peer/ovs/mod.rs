//! Open vSwitch in user space on DPDK (Debian package `openvswitch-switch-dpdk`): receives the scenario's frames from a capture
//! that `net_pcap` holds in memory and copies into fresh mbufs, and sends them to `net_null`, which frees them. So its cycles
//! are to be compared with our *total*.
//!
//! Each scenario has an OVS of its own, which stands still (SIGSTOP) while others are measured.

mod figures;
mod switch;

use std::{collections::VecDeque, path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tidegate_fastpath::{io::pcap, types::PortId};

use self::{figures::Figures, switch::Switch};
use crate::{
    capture, cycles,
    interrupt::Scratch,
    measurement::{Label, Length, Outcome, Sample, Subject},
    scenario::{Name, Ovs as Configuration, Parameters, Scenario, ovs},
    traffic::Traffic,
};

pub use self::switch::{MEMORY_MIB, is_there};

/// The capture that it replays.
const ARRIVING: &str = "arriving.pcap";
/// Frames of a batch leave in the order of their flows: at most so far from its place a frame may be.
const DISORDER: usize = 64;
/// The shortest round: to start one takes about as long.
const SECONDS_MIN: f64 = 0.2;
/// Between two looks at its counters.
const LOOK: Duration = Duration::from_millis(100);
/// Looks until everything passed, or nothing is learned any more.
const LOOKS: usize = 200;
/// Measurements of a round, where some count nothing.
const ATTEMPTS: usize = 3;
/// Frames that it may have in work when it is asked.
const IN_WORK: u64 = 64;

/// Why a scenario cannot be shown; `None` where it can.
pub fn cannot(name: Name, parameters: &Parameters) -> Option<&'static str> {
    ovs(name, parameters).err()
}

/// OVS with a scenario's flows and frames.
#[derive(Debug)]
pub struct Ovs {
    label: Label,
    name: Name,
    parameters: Parameters,
    configuration: Configuration,
    traffic: Traffic,
    /// The CPU of its other threads, and the one that works packets.
    cpus: (usize, usize),
    /// From the verification on.
    switch: Option<Switch>,
    received: u64,
    sent: u64,
    scratch: Scratch,
}

impl Ovs {
    /// Works packets on the second of `cpus`.
    ///
    /// # Errors
    /// OVS cannot do the scenario; the frames cannot be made.
    pub fn new(name: Name, parameters: &Parameters, cpus: (usize, usize)) -> Result<Ovs> {
        let configuration = match ovs(name, parameters) {
            Ok(configuration) => configuration,
            Err(why) => bail!("{name}: not with OVS-DPDK, {why}"),
        };
        let traffic = Traffic::new(&*name.with(parameters))?;
        let label = super::label(name, parameters, "ovs-dpdk", "mbuf", 32);
        let (parameters, scratch) = (*parameters, Scratch::new()?);
        let (switch, received, sent) = (None, 0, 0);
        Ok(Ovs { label, name, parameters, configuration, traffic, cpus, switch, received, sent, scratch })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Sends all frames through until it knows every flow; returns the last turn of what came out then.
    fn last_turn(&mut self, switch: &Switch) -> Result<Vec<Vec<u8>>> {
        let (arriving, emitted) = (self.file(ARRIVING), self.file("emitted.pcap"));
        capture::write(&arriving, &self.traffic)?;
        let turn = self.traffic.turn();
        switch.attach("out", &format!("net_pcap1,tx_pcap={}", emitted.display()))?;
        switch.attach("in", &format!("net_pcap0,rx_pcap={},infinite_rx=1", arriving.display()))?;
        let figures = until_learned(switch)?;
        let received = || switch.figures().map(|figures| figures.received);
        let before = figures.received;
        look_until(|| Ok(received()? - before > 2 * turn as u64))?;
        switch.detach("in")?;
        switch.detach("out")?;
        // It writes the rest of the capture when it closes the device, which is some time later.
        let mut frames = Vec::new();
        look_until(|| {
            let known = frames.len();
            frames = pcap::frames(&emitted).unwrap_or_default();
            Ok(known > turn && known == frames.len())
        })?;
        std::fs::remove_file(&emitted).context("the capture")?;
        self.received += frames.len() as u64;
        self.sent += frames.len() as u64;
        Ok(frames.into_iter().map(|frame| frame.bytes).rev().take(turn).rev().collect())
    }

    /// Compares a turn of what it made of the frames with what must come out: each frame once, none missing.
    fn check(&self, scenario: &dyn Scenario, emitted: &[Vec<u8>]) -> Result<()> {
        let turn = self.traffic.turn();
        let checked = |place: usize, bytes: &[u8]| {
            let frame = self.traffic.frame(self.traffic.at(place % turn));
            // The port is OVS's own.
            let to = |port| scenario.check(frame.flow, frame.frame_bytes, PortId(port), bytes);
            to(0).or_else(|error| to(1).map_err(|_| error))
        };
        let first = emitted.first().context("nothing came out")?;
        let begin = (0..turn).find(|place| checked(*place, first).is_ok());
        let begin = begin.with_context(|| format!("of no flow: {first:02x?}; {:?}", checked(0, first)))?;
        // Frames of a batch leave in any order: some that came before the first one may be still to come.
        let begin = turn + begin - DISORDER.min(turn);
        let mut waiting: VecDeque<usize> = (begin..begin + turn + 2 * DISORDER).collect();
        for (n, bytes) in emitted.iter().enumerate() {
            while let Some(place) = waiting.front().copied().filter(|place| place + DISORDER < begin + n) {
                ensure!(
                    place < begin + 2 * DISORDER,
                    "the {}th frame of a turn did not come out",
                    place % turn
                );
                waiting.pop_front();
            }
            let at = waiting.iter().take(3 * DISORDER).position(|place| checked(*place, bytes).is_ok());
            let wrong = || format!("of no flow: {bytes:02x?}; {:?}", checked(begin + n, bytes));
            waiting.remove(at.with_context(wrong)?);
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<Switch> {
        let mut switch = Switch::start(self.scratch.path(), self.cpus, self.traffic.turn())?;
        switch.configure(&self.configuration)?;
        let emitted = self.last_turn(&switch)?;
        let scenario = self.name.with(&self.parameters);
        self.check(&*scenario, &emitted)?;
        let arriving = self.file(ARRIVING);
        switch.attach("out", "net_null1,no-rx=1")?;
        switch.attach("in", &format!("net_pcap2,rx_pcap={},infinite_rx=1", arriving.display()))?;
        switch.stop()?;
        Ok(switch)
    }
}

impl Subject for Ovs {
    fn label(&self) -> &Label {
        &self.label
    }

    fn verify(&mut self) -> Result<()> {
        let switch = self.prepare()?;
        self.label.hugepages = switch.hugepages();
        self.switch = Some(switch);
        Ok(())
    }

    fn round(&mut self, length: Length) -> Result<Sample> {
        let switch = self.switch.as_ref().context("it is not verified")?;
        let seconds = match length {
            Length::Cycles(cycles) => cycles as f64 / cycles::hz(),
            Length::Packets(_) => 0.0,
        };
        switch.go()?;
        let figures = measured(switch, Duration::from_secs_f64(seconds.max(SECONDS_MIN)));
        switch.stop()?;
        let Figures { received, sent, cycles, .. } = figures?;
        ensure!(received.abs_diff(sent) <= IN_WORK, "{received} frames received, {sent} sent");
        self.received += received;
        self.sent += sent;
        let mut sample = Sample::default();
        sample.add(received, cycles, cycles);
        Ok(sample)
    }

    fn finish(&mut self) -> Result<Outcome> {
        self.switch = None;
        Ok(Outcome { received: self.received, sent: self.sent, ..Outcome::default() })
    }
}

/// What it does within some time, once it has learned all flows again that it forgot.
fn measured(switch: &Switch, time: Duration) -> Result<Figures> {
    until_learned(switch)?;
    for _ in 0..ATTEMPTS {
        switch.clear()?;
        thread::sleep(time);
        let figures = switch.figures()?;
        // Without a CPU for a while its thread has counted packets and no cycles yet.
        if figures.cycles > 0 && figures.received > 0 {
            return Ok(figures);
        }
    }
    bail!("OVS counts no cycles")
}

/// Waits until it meets no flow any more that it does not know.
fn until_learned(switch: &Switch) -> Result<Figures> {
    switch.clear()?;
    look_until(|| {
        // There are none before the first port is there.
        let learned = switch.figures().is_ok_and(|figures| figures.received > 0 && figures.upcalls == 0);
        switch.clear()?;
        Ok(learned)
    })?;
    switch.figures()
}

/// Looks now and then until something is so.
fn look_until(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..LOOKS {
        thread::sleep(LOOK);
        if is_so()? {
            return Ok(());
        }
    }
    bail!("OVS does not come to an end with what it must do first")
}
