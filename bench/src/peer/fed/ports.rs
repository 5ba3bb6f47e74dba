//! What a fed worker receives from and sends to.

use anyhow::{Context, Result};
use dpdk_sys::{
    eal::Eal,
    mbuf::Mbuf,
    mempool::Mempool,
    port::{Device, Port, PortConfig, RxQueue, TxQueue},
};
use tidegate_fastpath::{
    io::{Burst, Io},
    types::{Nanos, PortId},
    worker::Worker,
};

use crate::{
    cycles,
    pool::{MbufPool, Pool},
    site::Site,
};

const RING_LEN: u16 = 1024;
const MTU: u16 = 1500;

/// The ports of a fed worker: where frames arrive, and where they go to.
#[derive(Debug)]
pub(super) struct FedIo {
    pool: MbufPool,
    port: PortId,
    rx: RxQueue,
    back: TxQueue,
    null: TxQueue,
    /// Whether frames go back to where they come from.
    pub(super) is_checked: bool,
    begun: u64,
    nanos_per_cycle: f64,
    pub(super) sent: u64,
    /// Of frames that went back.
    pub(super) sent_bytes: u64,
}

impl FedIo {
    /// Frames arrive by `wire` as if on `port`, go back by it, and later to `null`.
    pub(super) fn new(pool: MbufPool, port: PortId, wire: Wire, null: Wire) -> FedIo {
        FedIo {
            pool,
            port,
            rx: wire.rx,
            back: wire.tx,
            null: null.tx,
            is_checked: true,
            begun: cycles::now(),
            nanos_per_cycle: 1e9 / cycles::hz(),
            sent: 0,
            sent_bytes: 0,
        }
    }

    /// Frames come and go by another device from now on.
    pub(super) fn set_wire(&mut self, wire: Wire) {
        (self.rx, self.back) = (wire.rx, wire.tx);
    }
}

/// The queues of a device.
#[derive(Debug)]
pub(super) struct Wire {
    rx: RxQueue,
    tx: TxQueue,
}

impl Wire {
    /// Starts a device that takes its buffers from a pool. The queues keep it.
    ///
    /// # Errors
    /// DPDK has none like it, or there are too many.
    pub(super) fn start(eal: &Eal, pool: &Mempool, device: &str) -> Result<(Port, Wire)> {
        let config =
            PortConfig { rx_queues: 1, tx_queues: 1, rx_ring_len: RING_LEN, tx_ring_len: RING_LEN, mtu: MTU };
        let (port, mut rx, mut tx) =
            Device::probe(eal, device)?.start(&config, pool).with_context(|| device.to_owned())?;
        let wire = Wire { rx: rx.pop().context("a queue")?, tx: tx.pop().context("a queue")? };
        Ok((port, wire))
    }
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
        if self.is_checked {
            self.sent_bytes += burst.iter().map(|frame| frame.bytes().len() as u64).sum::<u64>();
        }
        let queue = if self.is_checked { &mut self.back } else { &mut self.null };
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
pub(super) enum Pipeline {
    Gateway(Box<(Site, Worker<FedIo>)>),
    /// No engine.
    Nothing(Box<(FedIo, Burst<Mbuf>)>),
}

impl Pipeline {
    /// Returns how many frames came.
    #[inline(always)]
    pub(super) fn poll(&mut self) -> usize {
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

    pub(super) fn io(&mut self) -> &mut FedIo {
        match self {
            Pipeline::Gateway(gateway) => gateway.1.io(),
            Pipeline::Nothing(nothing) => &mut nothing.0,
        }
    }
}
