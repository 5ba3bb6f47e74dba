//! DPDK devices between the bench and a worker, which receives by `rte_eth_rx_burst` and sends by `rte_eth_tx_burst` then, as with
//! a network card, of which only the hardware is missing. Each device has a queue towards the worker, and one for each port by
//! which that sends.
//!
//! `net_ring` hands mbufs on as they are: what is sent into a queue of it comes out of the same one. `net_memif` copies frames into
//! memory that both ends share and out of it again; here both ends are devices of this process. With another process at the
//! other end see [`Fed`](crate::peer::fed::Fed).

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use dpdk_sys::{
    eal::Eal,
    mbuf::Mbuf,
    mempool::Mempool,
    port::{Device, Port, PortConfig, RxQueue, TxQueue},
};
use tidegate_fastpath::{io::Burst, types::PortId};

use super::{PORTS, Wire};

/// Frames that a queue has room for.
const RING_LEN: u16 = 1024;
/// The device takes any frame; this is what it is told.
const MTU: u16 = 1500;
/// How long the two ends of a memif may take to find each other.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// `net_ring`.
    Ring,
    /// `net_memif`, both ends in this process.
    Memif,
}

impl DeviceKind {
    /// As in reports, for mbufs that come by it.
    pub const fn name(self) -> &'static str {
        match self {
            DeviceKind::Ring => "mbuf, net_ring",
            DeviceKind::Memif => "mbuf, net_memif",
        }
    }
}

/// A way from one end to the other.
#[derive(Debug)]
struct Way {
    tx: TxQueue,
    rx: RxQueue,
}

/// Towards the worker, and from each of its ports.
#[derive(Debug)]
pub struct DeviceWire {
    arriving: Way,
    sent: Vec<Way>,
}

impl DeviceWire {
    /// A device of its own, or two.
    ///
    /// # Errors
    /// There are as many devices as DPDK takes (32), it has no such driver, or two ends do not find each other.
    pub fn new(kind: DeviceKind, eal: &Eal, pool: &Mempool) -> Result<DeviceWire> {
        match kind {
            DeviceKind::Ring => {
                // The queues keep the port.
                let (_port, rx, tx) = started(eal, pool, &format!("net_ring{}", next_number()))?;
                let mut ways = tx.into_iter().zip(rx).map(|(tx, rx)| Way { tx, rx });
                let arriving = ways.next().context("the device has no queue")?;
                Ok(DeviceWire { arriving, sent: ways.collect() })
            }
            DeviceKind::Memif => {
                let memif = Memif::new();
                let (ours, our_rx, our_tx) = started(eal, pool, &memif.server())?;
                let (theirs, their_rx, their_tx) = started(eal, pool, &memif.client())?;
                await_link(&[&ours, &theirs])?;
                // They stay until the process ends: in DPDK 22.11 the thread that hears one end go down and whoever closes the other one get
                // in each other's way.
                std::mem::forget((ours, theirs));
                let mut out = our_tx.into_iter().zip(their_rx).map(|(tx, rx)| Way { tx, rx });
                let mut back = their_tx.into_iter().zip(our_rx).map(|(tx, rx)| Way { tx, rx });
                let arriving = back.next().context("the device has no queue")?;
                // The first queue of each is of the way in.
                out.next();
                let mut wire = DeviceWire { arriving, sent: out.collect() };
                // Who connected gives the other one its buffers when it looks for frames, so it looks once before there are any.
                wire.sent.iter_mut().for_each(|way| way.rx.rx_burst(&mut Burst::<Mbuf>::new()));
                Ok(wire)
            }
        }
    }
}

/// A number that no device of this process has in its name.
pub fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A memif of this process, of which each end may be a device of any process.
#[derive(Clone, Copy, Debug)]
pub struct Memif {
    number: u32,
}

impl Memif {
    /// Frames that a queue has room for, as power of 2.
    const RING_BITS: usize = 10;
    /// Its buffers hold any frame in one piece.
    const BUFFER_BYTES: usize = 9728;

    /// Another one.
    #[expect(clippy::new_without_default, reason = "no two are equal")]
    pub fn new() -> Memif {
        Memif { number: next_number() }
    }

    /// Its number, of no other device of this process.
    pub const fn number(self) -> u32 {
        self.number
    }

    /// The device that listens.
    pub fn server(self) -> String {
        self.end("server")
    }

    /// The device that connects.
    pub fn client(self) -> String {
        self.end("client")
    }

    /// The socket is an abstract one: nothing is left of it.
    fn end(self, role: &str) -> String {
        let Memif { number } = self;
        format!(
            "net_memif_{role}{number},role={role},id=0,socket=/tidegate-bench-{}-{number},rsize={},bsize={}",
            process::id(),
            Self::RING_BITS,
            Self::BUFFER_BYTES
        )
    }
}

/// Waits until devices have their other ends.
///
/// # Errors
/// They do not find them.
pub fn await_link(ports: &[&Port]) -> Result<()> {
    let begun = Instant::now();
    while !ports.iter().all(|port| port.link_is_up()) {
        ensure!(begun.elapsed() < PATIENCE, "no link after {} s", PATIENCE.as_secs());
        std::thread::yield_now();
    }
    Ok(())
}

fn started(eal: &Eal, pool: &Mempool, device: &str) -> Result<(Port, Vec<RxQueue>, Vec<TxQueue>)> {
    let queues = 1 + PORTS as u16;
    let config = PortConfig {
        rx_queues: queues,
        tx_queues: queues,
        rx_ring_len: RING_LEN,
        tx_ring_len: RING_LEN,
        mtu: MTU,
    };
    Device::probe(eal, device)?.start(&config, pool).with_context(|| device.to_owned())
}

impl Wire<Mbuf> for DeviceWire {
    fn put(&mut self, burst: &mut Burst<Mbuf>) {
        self.arriving.tx.tx_burst(burst);
    }

    #[inline(always)]
    fn rx(&mut self, burst: &mut Burst<Mbuf>) {
        self.arriving.rx.rx_burst(burst);
    }

    #[inline(always)]
    fn tx(&mut self, port: PortId, burst: &mut Burst<Mbuf>) {
        if let Some(way) = self.sent.get_mut(port.index()) {
            way.tx.tx_burst(burst);
        }
    }

    fn collect(&mut self, port: PortId, burst: &mut Burst<Mbuf>) {
        if let Some(way) = self.sent.get_mut(port.index()) {
            way.rx.rx_burst(burst);
        }
    }
}
