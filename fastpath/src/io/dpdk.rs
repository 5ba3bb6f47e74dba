//! The DPDK rim: devices and their queues, brought up by [`Dpdk::start`] and spread over workers. Each worker gets a
//! [`DpdkIo`]; [`Dpdk`] stays with control, which never touches an mbuf.
//!
//! Every worker can send on every port ([`queue`] says how where a device has too few queues), and all packet buffers come
//! from one pool, whose buffers hold the largest packet of any port in one segment.
//!
//! EAL is initialised once per process; after [`Dpdk`] and the [`DpdkIo`]s are gone it cannot start again.

use std::sync::{Arc, atomic::AtomicBool};

use crossbeam::queue::ArrayQueue;
use dpdk_sys::{
    eal::{Eal, EalError},
    mempool::{HEADROOM, Mempool, MempoolConfig},
    port::{Device, Port, PortConfig, ProbeError, RxQueue, TxQueue},
};
use thiserror::Error;

use crate::{
    buffer::Buffer,
    counter::Counter,
    io::BURST,
    types::{MacAddr, Mtu, Nanos, PortId},
    worker::{Idle, Worker},
};

mod clock;
mod io;
pub mod queue;

pub use dpdk_sys::{
    Error as DpdkError,
    eal::{EalOptions, Hugepages, check_lcores, free_hugepages_mib},
    lcore::Lcore,
    log::{Level as LogLevel, Line as LogLine, drain as drain_log},
    mbuf::Mbuf,
    port::PortStats,
};
pub use io::DpdkIo;

use clock::Clock;
use io::{HANDOFF_LEN, HandedOver, Tx};
use queue::Plan;

/// Descriptors per queue and direction: at 10 Mpps about 100 µs of packets.
const RING_LEN: u16 = 1024;

/// Buffers per worker beside those in descriptors: its cache in the pool, its bursts, packets that wait for a neighbour.
const WORKER_BUFFERS: u32 = 4096;

/// Ethernet header, two VLAN tags, and the FCS that some devices store.
const LINK_OVERHEAD: u16 = 14 + 2 * 4 + 4;

/// Many devices take buffer sizes in KiB only, and round down.
const ROOM_STEP: u16 = 1024;

/// Memory for DPDK's own tables and queues, in MiB.
const OVERHEAD_MIB: u32 = 64;

impl Buffer for Mbuf {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        Mbuf::bytes(self)
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        Mbuf::bytes_mut(self)
    }

    #[inline(always)]
    fn strip(&mut self, n: usize) -> bool {
        Mbuf::strip(self, n)
    }

    #[inline(always)]
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        Mbuf::prepend(self, n)
    }

    #[inline(always)]
    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        Mbuf::append(self, n)
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) {
        Mbuf::truncate(self, len);
    }

    #[inline(always)]
    fn crop(&mut self, start: usize, len: usize) {
        Mbuf::crop(self, start, len);
    }

    #[inline(always)]
    fn reframe(&mut self, start: usize, len: usize, n: usize) -> Option<&mut [u8]> {
        Mbuf::reframe(self, start, len, n)
    }

    #[inline(always)]
    fn is_segmented(&self) -> bool {
        Mbuf::is_segmented(self)
    }
}

/// A port to bring up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Its place in the tables; unique.
    pub id: PortId,
    /// Its name in the configuration, for messages.
    pub name: String,
    /// PCI address in full (`0000:03:00.0`), or virtual device with arguments (`net_tap0,iface=tg-underlay`).
    pub device: String,
    /// Largest IP packet.
    pub mtu: Mtu,
    /// Receive queues; `None`: one per worker where the device can spread flows, else one.
    pub queues: Option<u16>,
}

/// A port that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFacts<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// The DPDK driver, such as `net_tap`.
    pub driver: &'a str,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
}

/// Why the ports do not run. Each says what to do.
#[derive(Debug, Error)]
pub enum StartError {
    /// DPDK itself.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// The device of a port.
    #[error("port {port}: {source}")]
    Probe {
        /// The port's name.
        port: String,
        /// Why.
        source: ProbeError,
    },
    /// More queues than there are.
    #[error("port {port}: {wanted} queues are wanted, the device has {max}; give 1 to {max}")]
    Queues {
        /// The port's name.
        port: String,
        /// As configured.
        wanted: u16,
        /// What the device has.
        max: u16,
    },
    /// An MTU the device cannot have.
    #[error("port {port}: MTU {mtu} is outside what the device carries; give {min} to {max}")]
    Mtu {
        /// The port's name.
        port: String,
        /// As configured.
        mtu: Mtu,
        /// Smallest.
        min: u16,
        /// Largest.
        max: u16,
    },
    /// No memory for packets.
    #[error(
        "no memory for {count} packet buffers of {bytes} bytes; reserve more hugepages, or turn them off: {source}"
    )]
    Pool {
        /// How many.
        count: u32,
        /// How large.
        bytes: u16,
        /// DPDK's answer.
        source: DpdkError,
    },
    /// The device refused its configuration.
    #[error("port {port} does not start: {source}")]
    Port {
        /// The port's name.
        port: String,
        /// DPDK's answer.
        source: DpdkError,
    },
}

/// Why a running port did not do as told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PortError {
    /// No such port.
    #[error("there is no port {0}")]
    Unknown(PortId),
    /// The MTU does not fit the packet buffers, whose size is fixed at start.
    #[error("MTU {mtu} does not fit the packet buffers; the largest is {max} until the gateway restarts")]
    Mtu {
        /// Wanted.
        mtu: Mtu,
        /// Possible.
        max: u16,
    },
    /// The device refused.
    #[error("port {name}: {source}")]
    Device {
        /// The port's name.
        name: String,
        /// DPDK's answer.
        source: DpdkError,
    },
}

/// The running ports, for control. Methods take locks and make system calls; none is for workers.
///
/// Drop it on the thread that started it, after the workers have ended and their [`DpdkIo`]s are gone: then devices are
/// removed and DPDK leaves nothing behind. A port that a [`DpdkIo`] still holds goes with that.
#[derive(Debug)]
pub struct Dpdk {
    ports: Vec<Attached>,
    pool: Mempool,
    eal: Eal,
}

#[derive(Debug)]
struct Attached {
    id: PortId,
    name: String,
    plan: Plan,
    port: Port,
    /// One per shared transmit queue, written by the worker that has the queue.
    dropped: Vec<Arc<Counter>>,
}

impl Dpdk {
    /// Initialises EAL on the calling thread, probes and starts the ports, and deals their queues to `workers` workers
    /// (at least 1). `eal.memory_mib` is raised to what the packet buffers need.
    ///
    /// # Errors
    /// [`StartError`]; what was started is stopped again.
    pub fn start(
        eal: &EalOptions,
        ports: &[PortSpec],
        workers: usize,
    ) -> Result<(Dpdk, Vec<DpdkIo>), StartError> {
        let workers = workers.max(1);
        let room = packet_room(ports);
        let pci = ports.iter().any(|port| is_pci(&port.device));
        let memory_mib = eal.memory_mib.max(memory_mib(ports, workers, room));
        let eal = Eal::init(&EalOptions { memory_mib, pci: eal.pci || pci, ..eal.clone() })?;
        let devices = ports.iter().map(|spec| probe(&eal, spec, workers)).collect::<Result<Vec<_>, _>>()?;
        let queues = devices.iter().map(|(_, plan)| u32::from(plan.rx) + u32::from(plan.tx)).sum();
        let pool = make_pool(&eal, buffers(queues, workers), room)?;
        let mut rims = Rims::new(workers, ports);
        let mut attached = Vec::new();
        for (spec, (device, plan)) in ports.iter().zip(devices) {
            let config = PortConfig {
                rx_queues: plan.rx,
                tx_queues: plan.tx,
                rx_ring_len: RING_LEN,
                tx_ring_len: RING_LEN,
                mtu: spec.mtu.get(),
            };
            let (port, rx, tx) = device
                .start(&config, &pool)
                .map_err(|source| StartError::Port { port: spec.name.clone(), source })?;
            let dropped = rims.deal(spec.id, rx, tx);
            attached.push(Attached { id: spec.id, name: spec.name.clone(), plan, port, dropped });
        }
        let clock = Clock::start(&eal);
        let ios = rims.0.into_iter().map(|rim| DpdkIo::new(&eal, &pool, clock, rim)).collect();
        Ok((Dpdk { ports: attached, pool, eal }, ios))
    }

    /// Sets the clock of all workers together, which otherwise began at zero with [`Dpdk::start`].
    pub fn set_time(ios: &mut [DpdkIo], now: Nanos) {
        if let Some(clock) = ios.first().map(|io| io.clock().set(now)) {
            ios.iter_mut().for_each(|io| io.set_clock(clock));
        }
    }

    /// The ids of all ports, in the order they were given.
    pub fn ports(&self) -> impl Iterator<Item = PortId> {
        self.ports.iter().map(|port| port.id)
    }

    /// What does not change while a port runs.
    pub fn facts(&self, port: PortId) -> Option<PortFacts<'_>> {
        let port = self.ports.iter().find(|p| p.id == port)?;
        Some(PortFacts {
            name: &port.name,
            driver: &port.port.info().driver,
            rx_queues: port.plan.rx,
            tx_queues: port.plan.tx,
        })
    }

    /// The Ethernet address of a port.
    ///
    /// # Errors
    /// [`PortError`].
    pub fn mac(&self, port: PortId) -> Result<MacAddr, PortError> {
        self.ask(port, Port::mac).map(MacAddr::new)
    }

    /// What the device counted.
    ///
    /// # Errors
    /// [`PortError`].
    pub fn stats(&self, port: PortId) -> Result<PortStats, PortError> {
        self.ask(port, Port::stats)
    }

    /// Frames that one worker handed to another for sending, and that the device did not take. They are counted as sent
    /// by the first.
    pub fn handoff_drops(&self, port: PortId) -> u64 {
        let counters = self.ports.iter().filter(|p| p.id == port).flat_map(|p| &p.dropped);
        counters.map(|counter| counter.get()).sum()
    }

    /// Whether the link is up.
    ///
    /// # Errors
    /// [`PortError`].
    pub fn link_is_up(&self, port: PortId) -> Result<bool, PortError> {
        self.ask(port, |port| Ok(port.link_is_up()))
    }

    /// Changes the MTU of a running port.
    ///
    /// # Errors
    /// [`PortError`]: too large for the packet buffers, or refused by the device, which keeps its old MTU then.
    pub fn set_mtu(&self, port: PortId, mtu: Mtu) -> Result<(), PortError> {
        let max = self.pool.packet_len_max() - LINK_OVERHEAD;
        if mtu.get() > max {
            return Err(PortError::Mtu { mtu, max });
        }
        self.ask(port, |port| port.set_mtu(mtu.get()))
    }

    /// Packet buffers that are free now, and in total.
    pub fn buffers(&self) -> (u32, u32) {
        (self.pool.available(), self.pool.count())
    }

    /// Whether packet buffers are in hugepages.
    pub fn has_hugepages(&self) -> bool {
        self.eal.has_hugepages()
    }

    fn ask<T>(&self, id: PortId, ask: impl FnOnce(&Port) -> Result<T, DpdkError>) -> Result<T, PortError> {
        let port = self.ports.iter().find(|p| p.id == id).ok_or(PortError::Unknown(id))?;
        ask(&port.port).map_err(|source| PortError::Device { name: port.name.clone(), source })
    }
}

/// [`Worker::run`] on these ports. The packet path is compiled for them here and nowhere else, so that only this crate's
/// optimisation decides how fast it is.
#[inline(never)]
pub fn work(worker: Worker<DpdkIo>, stop: &AtomicBool, idle: Idle) -> DpdkIo {
    worker.run(stop, idle)
}

/// What each worker is dealt.
#[derive(Debug)]
struct Rims(Vec<Rim>);

/// One worker's queues.
#[derive(Debug, Default)]
struct Rim {
    rx: Vec<(PortId, RxQueue)>,
    /// By [`PortId`].
    tx: Vec<Tx>,
    handed_over: Vec<HandedOver>,
}

impl Rims {
    fn new(workers: usize, ports: &[PortSpec]) -> Rims {
        let len = ports.iter().map(|port| port.id.index() + 1).max().unwrap_or(0);
        let rim = || Rim { tx: (0..len).map(|_| Tx::Missing).collect(), ..Rim::default() };
        Rims((0..workers).map(|_| rim()).collect())
    }

    /// Deals the queues of one port; see [`queue`] for the rule. Returns the drop counters of shared transmit queues.
    fn deal(&mut self, id: PortId, rx: Vec<RxQueue>, tx: Vec<TxQueue>) -> Vec<Arc<Counter>> {
        let workers = self.0.len();
        let polled = self.0.iter().map(|rim| rim.rx.len()).collect::<Vec<_>>();
        for (worker, queue) in queue::pollers(&polled, rx.len()).into_iter().zip(rx) {
            self.0[worker].rx.push((id, queue));
        }
        let owners = tx.len().min(workers);
        let mut dropped = Vec::new();
        for (worker, queue) in tx.into_iter().enumerate().take(workers) {
            let shared = queue::senders(worker, owners, workers) > 1;
            let ring = shared.then(|| Arc::new(ArrayQueue::new(HANDOFF_LEN)));
            for other in (worker + owners..workers).step_by(owners) {
                if let Some(ring) = &ring {
                    self.0[other].tx[id.index()] = Tx::Hand(Arc::clone(ring));
                }
            }
            if let Some(ring) = ring {
                let counter = Arc::new(Counter::default());
                dropped.push(Arc::clone(&counter));
                self.0[worker].handed_over.push(HandedOver::new(id, ring, counter));
            }
            self.0[worker].tx[id.index()] = Tx::Own(queue);
        }
        dropped
    }
}

/// Whether the text is a PCI address (`0000:03:00.0`, arguments may follow); all other devices are virtual.
fn is_pci(device: &str) -> bool {
    let name = device.split(',').next().unwrap_or_default();
    let name = name.strip_prefix("pci:").unwrap_or(name);
    name.contains(':') && name.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
}

fn probe(eal: &Eal, spec: &PortSpec, workers: usize) -> Result<(Device, Plan), StartError> {
    let port = || spec.name.clone();
    let device =
        Device::probe(eal, &spec.device).map_err(|source| StartError::Probe { port: port(), source })?;
    let info = device.info();
    let (min, max) = info.mtu;
    if spec.mtu.get() < min || spec.mtu.get() > max {
        return Err(StartError::Mtu { port: port(), mtu: spec.mtu, min, max });
    }
    let plan = Plan::new(info, spec.queues, workers)
        .map_err(|queue::TooMany { wanted, max }| StartError::Queues { port: port(), wanted, max })?;
    Ok((device, plan))
}

fn make_pool(eal: &Eal, count: u32, room: u16) -> Result<Mempool, StartError> {
    let config = MempoolConfig { name: "packets".to_owned(), count, packet_len_max: room };
    Mempool::new(eal, &config).map_err(|source| StartError::Pool { count, bytes: room, source })
}

/// Bytes for a packet, so that the largest frame of any port is one segment.
fn packet_room(ports: &[PortSpec]) -> u16 {
    let mtu = ports.iter().map(|port| port.mtu.get()).max().unwrap_or(0);
    (mtu + LINK_OVERHEAD).next_multiple_of(ROOM_STEP).max(2 * ROOM_STEP)
}

/// Buffers for so many queues, both directions counted, and workers.
fn buffers(queues: u32, workers: usize) -> u32 {
    let workers = u32::try_from(workers).unwrap_or(u32::MAX);
    (queues * u32::from(RING_LEN)).saturating_add(workers.saturating_mul(WORKER_BUFFERS + BURST as u32))
}

/// An upper limit, because the devices' limits are known only after EAL has its memory.
fn memory_mib(ports: &[PortSpec], workers: usize, room: u16) -> u32 {
    let workers_u16 = u16::try_from(workers).unwrap_or(u16::MAX);
    let queues =
        ports.iter().map(|port| 2 * u32::from(port.queues.unwrap_or(workers_u16).max(workers_u16))).sum();
    // Behind headroom and packet: the mbuf (128 bytes), the object's header and alignment.
    let bytes = u64::from(room) + u64::from(HEADROOM) + 256;
    let mib = u64::from(buffers(queues, workers)) * bytes / (1 << 20);
    u32::try_from(mib).unwrap_or(u32::MAX).saturating_add(OVERHEAD_MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_told_from_virtual_devices() {
        let devices = [
            ("0000:03:00.0", true),
            ("03:00.0,txq_inline=128", true),
            ("pci:0000:3b:00.1", true),
            ("net_tap0,iface=tg-underlay", false),
            ("net_af_packet0,iface=eth0", false),
            ("net_pcap0,rx_pcap=/tmp/a:b.pcap", false),
        ];
        for (device, pci) in devices {
            assert_eq!(is_pci(device), pci, "{device}");
        }
    }

    #[test]
    fn buffers_hold_the_largest_frame_of_any_port_with_tags() {
        for (mtu, room) in [(576, 2048), (1500, 2048), (2022, 2048), (2023, 3072), (9216, 10240)] {
            let port = PortSpec {
                id: PortId(0),
                name: "p".to_owned(),
                device: "net_null0".to_owned(),
                mtu: Mtu::new(mtu).unwrap(),
                queues: None,
            };
            assert_eq!(packet_room(&[port]), room, "{mtu}");
        }
    }
}
