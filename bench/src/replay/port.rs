//! The ports of a worker that replays: they hand it one prepared burst and take back what it sends.

use std::mem;

use tidegate_fastpath::{
    io::{Burst, Io},
    types::{Nanos, PortId},
};

use crate::{cycles, pool::Pool};

/// More than any scenario has.
const PORTS: usize = 4;

/// Where frames arrive, and where they go.
#[derive(Debug)]
pub(super) struct ReplayIo<P: Pool> {
    pub(super) pool: P,
    port: PortId,
    pub(super) arriving: Burst<P::Buffer>,
    /// By port.
    pub(super) sent: [Burst<P::Buffer>; PORTS],
    /// When the burst was handed over.
    pub(super) received_at: u64,
    now: Nanos,
}

impl<P: Pool> ReplayIo<P> {
    pub(super) fn new(pool: P, port: PortId) -> ReplayIo<P> {
        let (arriving, sent) = (Burst::new(), [(); PORTS].map(|()| Burst::new()));
        ReplayIo { pool, port, arriving, sent, received_at: 0, now: Nanos(0) }
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
        mem::swap(&mut self.arriving, burst);
        self.received_at = cycles::now();
        self.port
    }

    #[inline(always)]
    fn tx(&mut self, port: PortId, burst: &mut Burst<P::Buffer>) {
        let Some(sent) = self.sent.get_mut(port.index()) else { return };
        if sent.is_empty() {
            mem::swap(sent, burst);
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
