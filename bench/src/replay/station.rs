//! A worker with its port, and what it is handed: the one place where a burst is timed.

use std::{marker::PhantomData, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use arrayvec::ArrayVec;
use tidegate_fastpath::{
    buffer::Buffer,
    io::{BURST, Burst, Io},
    types::PortId,
    worker::{Parts, Worker},
};

use super::port::ReplayIo;
use crate::{
    cycles, fragment,
    measurement::Sample,
    pool::Pool,
    scenario::Scenario,
    site::Site,
    traffic::{Frame, Traffic},
};

/// Frames of some traffic, one after the other, round and round.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    traffic: Traffic,
    /// In the order of the traffic, or each different frame once.
    in_order: bool,
    at: usize,
}

impl Feed {
    /// In the order of the traffic.
    pub(super) const fn in_order(traffic: Traffic) -> Feed {
        Feed { traffic, in_order: true, at: 0 }
    }

    /// Each different frame once.
    pub(super) const fn each(traffic: Traffic) -> Feed {
        Feed { traffic, in_order: false, at: 0 }
    }

    /// Its frames, each different one once.
    pub(super) fn each_once(&self) -> Feed {
        Feed::each(self.traffic.clone())
    }

    /// Frames until it begins anew.
    pub(super) fn turn(&self) -> usize {
        if self.in_order { self.traffic.turn() } else { self.traffic.len() }
    }

    /// The place of the next frame in the traffic.
    fn next(&mut self) -> usize {
        let at = if self.in_order { self.traffic.at(self.at) } else { self.at };
        self.at = if self.at + 1 == self.turn() { 0 } else { self.at + 1 };
        at
    }
}

/// What polls a port.
pub(super) trait Polling<P: Pool> {
    fn poll(&mut self);

    fn io(&mut self) -> &mut ReplayIo<P>;
}

impl<P: Pool> Polling<P> for Worker<ReplayIo<P>> {
    #[inline(always)]
    fn poll(&mut self) {
        Worker::poll(self);
    }

    fn io(&mut self) -> &mut ReplayIo<P> {
        Worker::io(self)
    }
}

/// A worker without engine: sends what it receives.
pub(super) struct Bare<P: Pool> {
    io: ReplayIo<P>,
    burst: Burst<P::Buffer>,
}

impl<P: Pool> Polling<P> for Bare<P> {
    #[inline(always)]
    fn poll(&mut self) {
        let port = self.io.rx(0, &mut self.burst);
        self.io.tx(port, &mut self.burst);
    }

    fn io(&mut self) -> &mut ReplayIo<P> {
        &mut self.io
    }
}

/// The worker.
pub(super) struct Station<P: Pool, W: Polling<P> = Worker<ReplayIo<P>>> {
    worker: W,
    /// Places in the traffic of the frames of the last burst.
    handed: ArrayVec<usize, BURST>,
    /// Frames so far.
    pub(super) received: u64,
    /// Frames so far.
    pub(super) sent: u64,
    pool: PhantomData<P>,
}

impl<P: Pool> Station<P> {
    /// A worker with a port that gets its buffers from `pool`.
    ///
    /// # Errors
    /// The pool's device does not start.
    pub(super) fn new(parts: Parts, pool: P, port: PortId) -> Result<Station<P>> {
        Ok(Station::around(Worker::new(parts, ReplayIo::new(pool, port)?)))
    }
}

impl<P: Pool> Station<P, Bare<P>> {
    /// The same without engine.
    ///
    /// # Errors
    /// As [`Station::new`].
    pub(super) fn bare(pool: P, port: PortId) -> Result<Station<P, Bare<P>>> {
        Ok(Station::around(Bare { io: ReplayIo::new(pool, port)?, burst: Burst::new() }))
    }

    /// As [`Station::pass`], and what came out must be what went in.
    pub(super) fn mirrored_pass(&mut self, feed: &mut Feed, n: usize) -> Result<()> {
        self.hand_over(feed, n)?;
        self.poll();
        let sent: Vec<_> = self.worker.io().sent().map(|(_, buffer)| buffer.bytes().to_vec()).collect();
        let handed: Vec<_> = self.handed.iter().map(|at| feed.traffic.frame(*at).to_vec()).collect();
        ensure!(sent == handed, "a frame changed on its way through nothing");
        self.collect();
        Ok(())
    }
}

impl<P: Pool, W: Polling<P>> Station<P, W> {
    const fn around(worker: W) -> Station<P, W> {
        Station { worker, handed: ArrayVec::new_const(), received: 0, sent: 0, pool: PhantomData }
    }

    /// Copies the next `n` frames, at most a burst, into fresh buffers; works them; frees what came out. Adds to `sample`,
    /// interrupted bursts too where `all` is set. Returns how many frames were sent.
    pub(super) fn pass(&mut self, feed: &mut Feed, n: usize, sample: &mut Sample, all: bool) -> Result<u64> {
        let from = cycles::now();
        self.hand_over(feed, n)?;
        let work = self.poll();
        let sent = self.collect();
        let total = cycles::now() - from;
        if all {
            sample.add(n as u64, work, total);
        } else {
            sample.add_if_whole(n as u64, work, total);
        }
        Ok(sent)
    }

    /// The same, and compares what came out with what must. Only work is timed.
    pub(super) fn checked_pass(
        &mut self,
        feed: &mut Feed,
        n: usize,
        (scenario, site): (&dyn Scenario, &Site),
        sample: &mut Sample,
    ) -> Result<()> {
        self.hand_over(feed, n)?;
        let work = self.poll();
        sample.add_if_whole(n as u64, work, work);
        let sent: Vec<_> = self.worker.io().sent().collect();
        ensure!(sent.len() == n, "{n} frames received, {} sent: {:?}", sent.len(), site.drops());
        for (at, (port, buffer)) in self.handed.iter().zip(sent) {
            let frame = feed.traffic.frame(*at);
            let checked = scenario.check(frame.flow, frame.frame_bytes, port, buffer.bytes());
            checked.with_context(|| format!("flow {}: {:02x?}", frame.flow, buffer.bytes()))?;
        }
        self.collect();
        Ok(())
    }

    /// Two fragments of one datagram: what came out, put together, is compared with what must. Nothing is timed.
    pub(super) fn checked_pair(
        &mut self,
        feed: &mut Feed,
        (scenario, site): (&dyn Scenario, &Site),
    ) -> Result<()> {
        self.hand_over(feed, 2)?;
        self.poll();
        let sent: Vec<_> = self.worker.io().sent().collect();
        let [(port, first), (also, later)] = &sent[..] else {
            bail!("2 fragments received, {} sent: {:?}", sent.len(), site.drops());
        };
        ensure!(port == also, "sent on ports {port} and {also}");
        let Frame { flow, frame_bytes, .. } = feed.traffic.frame(self.handed[0]);
        let whole = scenario.arriving(flow, frame_bytes);
        let joined = fragment::joined(&whole, first.bytes(), later.bytes());
        let checked = joined.and_then(|frame| scenario.check(flow, frame_bytes, *port, &frame));
        checked.with_context(|| format!("flow {flow} in fragments"))?;
        self.collect();
        Ok(())
    }

    /// Lets so much time pass without frames that every entry times out.
    ///
    /// # Errors
    /// Entries stay.
    pub(super) fn forget(&mut self, site: &Site) -> Result<()> {
        self.worker.io().advance(FORGOTTEN_NS);
        // A poll looks at some records; all of them come several times within this.
        let polls = 100_000 + site.capacity();
        for _ in 0..polls {
            if site.entries() == 0 {
                return Ok(());
            }
            self.worker.io().advance(STEP_NS);
            self.worker.poll();
        }
        ensure!(site.entries() == 0, "{} of the entries do not time out", site.entries());
        Ok(())
    }

    /// What the worker makes of the next frame.
    #[cfg(test)]
    pub(super) fn emitted(&mut self, feed: &mut Feed) -> Result<Vec<u8>> {
        self.hand_over(feed, 1)?;
        self.poll();
        let sent = self.worker.io().sent().next().map(|(_, frame)| frame.bytes().to_vec());
        self.collect();
        sent.context("nothing was sent")
    }

    fn hand_over(&mut self, feed: &mut Feed, n: usize) -> Result<()> {
        let io = self.worker.io();
        self.handed.clear();
        for _ in 0..n {
            let at = feed.next();
            let frame = feed.traffic.frame(at);
            let mut buffer = io.pool.alloc().context("the pool is empty: the worker keeps buffers")?;
            let room = buffer.append(frame.len()).context("the frame is longer than a buffer")?;
            frame.copy_to(room);
            io.arriving.push(buffer);
            self.handed.push(at);
        }
        io.ready();
        io.advance(n as u64 * FRAME_NS);
        self.received += n as u64;
        Ok(())
    }

    /// Works what was handed over; returns the cycles from there.
    fn poll(&mut self) -> u64 {
        counted_poll(&mut self.worker);
        let done = cycles::now();
        let io = self.worker.io();
        io.gather();
        done - io.received_at
    }

    fn collect(&mut self) -> u64 {
        let sent = self.worker.io().collect();
        self.sent += sent;
        sent
    }
}

/// Time between two frames: 10 million per second, so that housekeeping that is paced by time does its share.
const FRAME_NS: u64 = 100;
/// Longer than any timeout of what scenarios send: UDP has 5 minutes.
const FORGOTTEN_NS: u64 = 700 * 1_000_000_000;
/// Of a poll without frames.
const STEP_NS: u64 = 1_000_000;

/// What is measured. A function of its own with a name of its own, so that callgrind counts the instructions below it
/// ([`COUNTED`](crate::callgrind::COUNTED)).
#[inline(never)]
fn counted_poll<P: Pool>(worker: &mut impl Polling<P>) {
    worker.poll();
}

/// A site with one worker, and whether all that is in hugepages that may be: the flow table, where there is one, and mbufs.
pub(super) fn alone<P: Pool>(sizes: &Arc<dyn Scenario>, pool: P) -> Result<(Site, Station<P>, bool)> {
    let (site, parts) = Site::new(&**sizes, 1)?;
    let parts = parts.into_iter().next().context("a site has parts for its worker")?;
    let is_tracked = sizes.load().tracked;
    let in_hugepages = match pool.hugepages() {
        None => is_tracked && site.hugepages(),
        Some(pool) => pool && (!is_tracked || site.hugepages()),
    };
    Ok((site, Station::new(parts, pool, sizes.port())?, in_hugepages))
}
