//! DPDK's `net_ring` between the bench and a worker: frames come by `rte_eth_rx_burst` and go by `rte_eth_tx_burst`, as with a
//! network card, of which only the hardware is missing. What is sent into a queue of the device comes out of the same one.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use dpdk_sys::{
    eal::Eal,
    mbuf::Mbuf,
    mempool::Mempool,
    port::{Device, PortConfig, RxQueue, TxQueue},
};
use tidegate_fastpath::{io::Burst, types::PortId};

use super::{PORTS, Wire};

/// Frames that a queue has room for.
const RING_LEN: u16 = 1024;
/// The device takes any frame; this is what it is told.
const MTU: u16 = 1500;

/// Both ends of a queue.
#[derive(Debug)]
struct Ring {
    tx: TxQueue,
    rx: RxQueue,
}

/// The device: a queue towards the worker, and one for each port by which it sends.
#[derive(Debug)]
pub struct RingWire {
    arriving: Ring,
    sent: Vec<Ring>,
}

impl RingWire {
    /// A device of its own.
    ///
    /// # Errors
    /// There are as many devices as DPDK takes (32), or it has no such driver.
    pub fn new(eal: &Eal, pool: &Mempool) -> Result<RingWire> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("net_ring{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let queues = 1 + PORTS as u16;
        let config = PortConfig {
            rx_queues: queues,
            tx_queues: queues,
            rx_ring_len: RING_LEN,
            tx_ring_len: RING_LEN,
            mtu: MTU,
        };
        // The queues keep the port.
        let (_port, rx, tx) = Device::probe(eal, &name)?.start(&config, pool).context(name)?;
        let mut rings = tx.into_iter().zip(rx).map(|(tx, rx)| Ring { tx, rx });
        let arriving = rings.next().context("the device has no queue")?;
        Ok(RingWire { arriving, sent: rings.collect() })
    }
}

impl Wire<Mbuf> for RingWire {
    fn put(&mut self, burst: &mut Burst<Mbuf>) {
        self.arriving.tx.tx_burst(burst);
    }

    #[inline(always)]
    fn rx(&mut self, burst: &mut Burst<Mbuf>) {
        self.arriving.rx.rx_burst(burst);
    }

    #[inline(always)]
    fn tx(&mut self, port: PortId, burst: &mut Burst<Mbuf>) {
        if let Some(ring) = self.sent.get_mut(port.index()) {
            ring.tx.tx_burst(burst);
        }
    }

    fn collect(&mut self, port: PortId, burst: &mut Burst<Mbuf>) {
        if let Some(ring) = self.sent.get_mut(port.index()) {
            ring.rx.rx_burst(burst);
        }
    }
}
