//! One worker's end: its queues, and the rings to and from workers it shares transmit queues with.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use dpdk_sys::{
    cycles,
    eal::Eal,
    lcore::Lcore,
    mbuf::Mbuf,
    mempool::Mempool,
    port::{RxQueue, TxQueue},
};

use super::{DpdkError, Rim, clock::Clock};
use crate::{
    counter::Counter,
    io::{Burst, Io},
    types::{Nanos, PortId},
};

/// Frames that wait for the owner of a shared transmit queue: 32 bursts.
pub(super) const HANDOFF_LEN: usize = 1024;

/// One worker's ports and queues. No system call (but what the driver makes), lock or allocation per packet.
///
/// It works on any thread; [`DpdkIo::register_thread`] on the thread that polls makes buffers cheaper.
#[derive(Debug)]
pub struct DpdkIo {
    rx: Vec<(PortId, RxQueue)>,
    /// By [`PortId`].
    tx: Vec<Tx>,
    handed_over: Vec<HandedOver>,
    pool: Mempool,
    clock: Clock,
    eal: Eal,
}

/// How a worker sends on a port.
#[derive(Debug)]
pub(super) enum Tx {
    /// There is no such port.
    Missing,
    /// On its own queue.
    Own(TxQueue),
    /// Over the ring of a worker that has a queue.
    Hand(Arc<ArrayQueue<Mbuf>>),
}

/// What other workers handed to this one, for its queue on a port.
#[derive(Debug)]
pub(super) struct HandedOver {
    port: PortId,
    ring: Arc<ArrayQueue<Mbuf>>,
    /// Taken from the ring and refused by the device so far; offered again first, so that the order stays.
    waiting: Burst<Mbuf>,
    /// Frames dropped because the device would not take them; their senders have counted them as sent.
    dropped: Arc<Counter>,
}

impl HandedOver {
    pub(super) fn new(port: PortId, ring: Arc<ArrayQueue<Mbuf>>, dropped: Arc<Counter>) -> HandedOver {
        HandedOver { port, ring, waiting: Burst::new(), dropped }
    }

    /// Sends until the ring is empty or the device takes no more, at most one ring's length.
    fn send(&mut self, queue: &mut TxQueue) {
        for _ in 0..HANDOFF_LEN / self.waiting.capacity() {
            while !self.waiting.is_full()
                && let Some(mbuf) = self.ring.pop()
            {
                self.waiting.push(mbuf);
            }
            if self.waiting.is_empty() {
                return;
            }
            let offered = self.waiting.len();
            queue.tx_burst(&mut self.waiting);
            if self.waiting.is_empty() {
                continue;
            }
            if self.waiting.len() == offered {
                // Full, or it will never take this frame (net_tap: longer than its MTU). Those behind must not starve.
                self.waiting.remove(0);
                self.dropped.add(1);
            }
            return;
        }
    }
}

impl DpdkIo {
    pub(super) fn new(eal: &Eal, pool: &Mempool, clock: Clock, rim: Rim) -> DpdkIo {
        let Rim { rx, tx, handed_over } = rim;
        DpdkIo { rx, tx, handed_over, pool: pool.clone(), clock, eal: eal.clone() }
    }

    /// Makes the calling thread known to DPDK for as long as it keeps the result: it gets its own cache of buffers.
    ///
    /// # Errors
    /// [`DpdkError`] when the thread is known already, or DPDK has no lcore id left.
    pub fn register_thread(&self) -> Result<Lcore, DpdkError> {
        Lcore::register(&self.eal)
    }

    pub(super) const fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) const fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    fn send_handed_over(&mut self) {
        for handed in &mut self.handed_over {
            if let Some(Tx::Own(queue)) = self.tx.get_mut(handed.port.index()) {
                handed.send(queue);
            }
        }
    }
}

impl Io for DpdkIo {
    type Buffer = Mbuf;

    #[inline(always)]
    fn queues(&self) -> usize {
        self.rx.len()
    }

    #[inline(always)]
    fn rx(&mut self, queue: usize, burst: &mut Burst<Mbuf>) -> PortId {
        let (port, queue) = &mut self.rx[queue];
        queue.rx_burst(burst);
        *port
    }

    #[inline(always)]
    fn tx(&mut self, port: PortId, burst: &mut Burst<Mbuf>) {
        match self.tx.get_mut(port.index()) {
            Some(Tx::Own(queue)) => queue.tx_burst(burst),
            Some(Tx::Hand(ring)) => hand_over(ring, burst),
            Some(Tx::Missing) | None => {}
        }
    }

    #[inline(always)]
    fn alloc(&mut self) -> Option<Mbuf> {
        self.pool.alloc()
    }

    /// Also sends what other workers handed over: this is called once per round.
    #[inline(always)]
    fn now(&mut self) -> Nanos {
        if !self.handed_over.is_empty() {
            self.send_handed_over();
        }
        self.clock.now()
    }

    #[inline(always)]
    fn cycles(&self) -> u64 {
        cycles::now()
    }
}

/// Moves frames from the front of `burst` into the ring until it is full; the rest stays, in order.
fn hand_over(ring: &ArrayQueue<Mbuf>, burst: &mut Burst<Mbuf>) {
    let mut refused = Burst::new();
    for mbuf in burst.drain(..) {
        let result = if refused.is_empty() { ring.push(mbuf) } else { Err(mbuf) };
        if let Err(mbuf) = result {
            refused.push(mbuf);
        }
    }
    *burst = refused;
}
