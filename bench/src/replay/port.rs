//! The ports of a worker that replays: they hand it one prepared burst and take back what it sends.

use anyhow::Result;
use tidegate_fastpath::{
    io::{Burst, Io},
    types::{Nanos, PortId},
};

use crate::{
    cycles,
    pool::{PORTS, Pool, Wire},
};

/// Where frames arrive, and where they go.
#[derive(Debug)]
pub(super) struct ReplayIo<P: Pool> {
    pub(super) pool: P,
    /// What frames come and go by, where they are not just handed over.
    wire: Option<P::Wire>,
    port: PortId,
    pub(super) arriving: Burst<P::Buffer>,
    /// By port.
    pub(super) sent: [Burst<P::Buffer>; PORTS],
    /// When the burst was handed over.
    pub(super) received_at: u64,
    now: Nanos,
}

impl<P: Pool> ReplayIo<P> {
    /// # Errors
    /// There is no device of the kind that the pool asks for.
    pub(super) fn new(pool: P, port: PortId) -> Result<ReplayIo<P>> {
        let (arriving, sent) = (Burst::new(), [(); PORTS].map(|()| Burst::new()));
        let wire = pool.wire()?;
        Ok(ReplayIo { pool, wire, port, arriving, sent, received_at: 0, now: Nanos(0) })
    }

    /// What arrives is complete.
    pub(super) fn ready(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.put(&mut self.arriving);
        }
    }

    /// Takes what was sent from the device, if there is one.
    pub(super) fn gather(&mut self) {
        if let Some(wire) = &mut self.wire {
            for (port, sent) in (0..).map(PortId).zip(&mut self.sent) {
                wire.collect(port, sent);
            }
        }
    }

    /// Lets time pass.
    pub(super) const fn advance(&mut self, nanos: u64) {
        self.now.0 += nanos;
    }

    /// What was sent, in the order of the ports.
    pub(super) fn sent(&self) -> impl Iterator<Item = (PortId, &P::Buffer)> {
        self.sent
            .iter()
            .enumerate()
            .flat_map(|(port, burst)| burst.iter().map(move |b| (PortId(port as u16), b)))
    }

    /// Frees what was sent; returns how many frames.
    pub(super) fn collect(&mut self) -> u64 {
        let mut sent = 0;
        for burst in &mut self.sent {
            if !burst.is_empty() {
                sent += burst.len() as u64;
                self.pool.free(burst);
            }
        }
        sent
    }
}

impl<P: Pool> Io for ReplayIo<P> {
    type Buffer = P::Buffer;

    fn queues(&self) -> usize {
        1
    }

    #[inline(always)]
    fn rx(&mut self, _queue: usize, burst: &mut Burst<P::Buffer>) -> PortId {
        if let Some(wire) = &mut self.wire {
            // With a driver, receiving is work.
            self.received_at = cycles::now();
            wire.rx(burst);
            return self.port;
        }
        // A swap would move both, word by word: a third of what an empty poll takes.
        *burst = self.arriving.take();
        self.received_at = cycles::now();
        self.port
    }

    #[inline(always)]
    fn tx(&mut self, port: PortId, burst: &mut Burst<P::Buffer>) {
        if let Some(wire) = &mut self.wire {
            wire.tx(port, burst);
            return;
        }
        let Some(sent) = self.sent.get_mut(port.index()) else { return };
        if sent.is_empty() {
            *sent = burst.take();
        } else {
            // What does not fit stays in `burst` and counts as refused.
            let n = burst.len().min(sent.remaining_capacity());
            sent.extend(burst.drain(..n));
        }
    }

    fn alloc(&mut self) -> Option<P::Buffer> {
        self.pool.alloc()
    }

    fn now(&mut self) -> Nanos {
        self.now
    }

    #[inline(always)]
    fn cycles(&self) -> u64 {
        cycles::now()
    }
}
