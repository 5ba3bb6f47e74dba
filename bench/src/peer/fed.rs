//! The gateway fed by a generator: `dpdk-testpmd` replays a scenario's frames from a process of its own as fast as it can into a
//! `net_memif`, at whose other end the worker polls on another CPU; or the worker polls a `net_pcap` device, whose driver copies them out
//! of memory. What the worker sends goes to `net_null`, so that the generator has nothing else to do.
//!
//! Before that, frames come back by the same device and are written to a capture, which is checked as ever. The *control* has no engine:
//! where it moves more than the gateway, the generator held nobody up.

mod generator;
mod ports;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tidegate_fastpath::{
    io::{Burst, pcap},
    types::PortId,
    worker::Worker,
};

pub use self::generator::GeneratorKind;
use self::{
    generator::Generator,
    ports::{FedIo, Pipeline, Wire},
};
use crate::{
    capture, cycles,
    interrupt::Scratch,
    measurement::{Label, Length, Outcome, Phase, Sample, Subject},
    pool::{MbufPool, Pool, device::next_number},
    scenario::{Name, Parameters, Scenario},
    site::Site,
    traffic::Traffic,
};

/// Frames that are checked: fewer than a ring of the memif holds, so that none is lost.
const CHECKED: usize = 512;
/// Turns before the first round, so that every flow was seen: `testpmd` drops what finds no room.
const TURNS_BEFORE: usize = 8;
/// How long is waited for a frame.
const PATIENCE: Duration = Duration::from_secs(30);

/// A worker and its generator.
pub struct Fed {
    label: Label,
    scenario: Arc<dyn Scenario>,
    traffic: Traffic,
    pipeline: Pipeline,
    generator: Generator,
    received: u64,
    scratch: Scratch,
}

impl Fed {
    /// A worker for a scenario, or nothing in its place, with a generator.
    ///
    /// # Errors
    /// Parameters that do not fit, or a device that does not start.
    pub fn new(
        name: Name,
        parameters: &Parameters,
        pool: &MbufPool,
        is_control: bool,
        kind: GeneratorKind,
    ) -> Result<Fed> {
        let scenario = name.with(parameters);
        let traffic = Traffic::new(&*scenario)?;
        let number = next_number();
        let (generator, wire) = Generator::new(kind, pool, number)?;
        let (_, null) = Wire::start(pool.eal(), pool.mempool(), &format!("net_null_{number},no-rx=1"))?;
        let io = FedIo::new(pool.clone(), scenario.port(), wire, null);
        let mut label = Label::new(&*scenario, kind.name(), 32);
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
        Ok(Fed { label, scenario, traffic, pipeline, generator, received: 0, scratch: Scratch::new()? })
    }

    /// Polls until so many frames came.
    fn work(&mut self, frames: usize) -> Result<()> {
        let (mut left, begun) = (frames, Instant::now());
        while left > 0 {
            let came = self.pipeline.poll();
            self.received += came as u64;
            left = left.saturating_sub(came);
            ensure!(begun.elapsed() < PATIENCE, "{left} of {frames} frames of the generator did not come");
        }
        Ok(())
    }

    /// Sends the first frames through, and compares what comes out with what must.
    fn check(&mut self) -> Result<()> {
        let (arriving, emitted) = (self.file("checked.pcap"), self.file("emitted.pcap"));
        let frames = capture::write_first(&arriving, &self.traffic, CHECKED)?;
        self.generator.once(self.pipeline.io(), &arriving, &emitted, frames)?;
        self.work(frames)?;
        let unwritten = self.generator.end(self.pipeline.io(), &emitted, frames)?;
        let back = pcap::frames(&emitted)?;
        ensure!(back.len() + unwritten >= frames, "{} of {frames} frames came back", back.len());
        for (n, frame) in back.iter().enumerate() {
            let sent = self.traffic.frame(self.traffic.at(n));
            if self.label.phase == Phase::Control {
                ensure!(frame.bytes == sent.to_vec(), "a frame changed on its way through nothing");
                continue;
            }
            // There is one device for all ports.
            let to = |port| self.scenario.check(sent.flow, sent.frame_bytes, PortId(port), &frame.bytes);
            to(0).or_else(|error| to(1).map_err(|_| error)).with_context(|| format!("flow {}", sent.flow))?;
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

impl Subject for Fed {
    fn label(&self) -> &Label {
        &self.label
    }

    fn verify(&mut self) -> Result<()> {
        self.check()?;
        self.pipeline.io().is_checked = false;
        let path = self.file("frames.pcap");
        let frames = capture::write(&path, &self.traffic)?;
        self.generator.endless(self.pipeline.io(), &path, frames)?;
        self.work(TURNS_BEFORE * frames)?;
        self.generator.pause()
    }

    /// The work of polls that brought frames; in total also those that brought none, so that throughput is what came.
    fn round(&mut self, length: Length) -> Result<Sample> {
        self.generator.resume()?;
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
        self.generator.pause()?;
        Ok(sample)
    }

    fn finish(&mut self) -> Result<Outcome> {
        let (received, sent) = (self.received, self.pipeline.io().sent);
        self.generator.stop();
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
