//! Ethernet ports and their queues.

use std::{
    cell::Cell,
    ffi::{CStr, CString},
    marker::PhantomData,
    path::Path,
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrayvec::ArrayVec;
use thiserror::Error as ThisError;

use crate::{Error, eal::Eal, error::check, log, mbuf::Mbuf, mempool::Mempool, sys};

/// Why a device is no port of ours. Each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum ProbeError {
    /// The text is no device of DPDK's.
    #[error(
        "`{device}` is no DPDK device; write a PCI address such as 0000:03:00.0, or a virtual device such as \
         net_tap0,iface=NAME: {source}"
    )]
    BadName {
        /// As it was given.
        device: String,
        /// DPDK's answer.
        source: Error,
    },
    /// No such device.
    #[error(
        "device `{device}` is missing; `dpdk-devbind.py --status` and `ip link` list what is there: {source}"
    )]
    Missing {
        /// As it was given.
        device: String,
        /// DPDK's answer.
        source: Error,
    },
    /// The device is there, and no driver of DPDK takes it.
    #[error(
        "no DPDK driver takes device `{device}`; bind it (dpdk-devbind.py --bind=vfio-pci {device}), and check that the \
         driver is installed: {source}"
    )]
    NoDriver {
        /// As it was given.
        device: String,
        /// DPDK's answer.
        source: Error,
    },
    /// Somebody has it.
    #[error(
        "device `{device}` is busy: another process or another port has it; stop that one first: {source}"
    )]
    Busy {
        /// As it was given.
        device: String,
        /// DPDK's answer.
        source: Error,
    },
    /// Missing rights.
    #[error("no permission for device `{device}`; run as root or with CAP_NET_ADMIN: {source}")]
    NoPermission {
        /// As it was given.
        device: String,
        /// DPDK's answer.
        source: Error,
    },
    /// Anything else.
    #[error("device `{device}` does not start: {source}")]
    Failed {
        /// As it was given.
        device: String,
        /// DPDK's answer.
        source: Error,
    },
}

/// What a device is and can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// The driver's name, such as `net_tap`.
    pub driver: String,
    /// Most receive queues.
    pub rx_queues_max: u16,
    /// Most transmit queues.
    pub tx_queues_max: u16,
    /// Smallest and largest MTU, in bytes of IP packet.
    pub mtu: (u16, u16),
    /// Whether it spreads IP, TCP or UDP flows over its receive queues.
    pub rss: bool,
}

/// How a port is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Receive queues, at least 1.
    pub rx_queues: u16,
    /// Transmit queues, at least 1.
    pub tx_queues: u16,
    /// Descriptors per receive queue; rounded to what the device takes.
    pub rx_ring_len: u16,
    /// Descriptors per transmit queue; rounded to what the device takes.
    pub tx_ring_len: u16,
    /// Largest IP packet in bytes.
    pub mtu: u16,
}

/// What a device counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub ipackets: u64,
    /// Frames sent.
    pub opackets: u64,
    /// Bytes received.
    pub ibytes: u64,
    /// Bytes sent.
    pub obytes: u64,
    /// Frames that the device dropped because no descriptor was free: we polled too slowly.
    pub imissed: u64,
    /// Bad frames.
    pub ierrors: u64,
    /// Frames that the device could not send.
    pub oerrors: u64,
    /// Failed mbuf allocations on receive: the pool was empty.
    pub rx_nombuf: u64,
}

/// A device that was probed and is not set up. Dropping it removes the device.
#[derive(Debug)]
pub struct Device(Arc<Inner>);

/// A port that is set up and running. It and its queues share the device: when the last of them is dropped, the device is
/// stopped, closed and removed. All methods may take a lock and make system calls; none is for workers.
#[derive(Clone, Debug)]
pub struct Port(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u16,
    info: PortInfo,
    device: *mut sys::rte_device,
    /// rte_ethdev.h: control functions of one port are not thread-safe. Holds the pool from `configure` on.
    control: Mutex<Option<Mempool>>,
    eal: Eal,
}

// SAFETY: the device pointer is used once, in `drop`; everything else goes through `control`.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Device {
    /// Brings up a device: a PCI address or a virtual device with its arguments, such as `net_tap0,iface=tg-underlay`.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub fn probe(eal: &Eal, devargs: &str) -> Result<Device, ProbeError> {
        const CALL: &str = "rte_dev_probe";
        let mark = log::mark();
        let refuse = |errno| why_not(devargs, Error::new(CALL, errno, mark));
        let name = CString::new(devargs).map_err(|_| refuse(Error::EINVAL))?;
        if names_existing_tap(devargs) {
            return Err(refuse(Error::EBUSY));
        }
        // SAFETY: EAL is initialised; `name` is a C string that DPDK copies.
        let code = unsafe { sys::rte_dev_probe(name.as_ptr()) };
        check(CALL, mark, code).map_err(|error| why_not(devargs, error))?;
        let id = find_port(&name).ok_or_else(|| refuse(Error::ENODEV))?;
        let info = info(id).map_err(|error| why_not(devargs, error))?;
        if !eal.claim_port(id) {
            return Err(refuse(Error::EEXIST));
        }
        // SAFETY: set by the driver, a static C string; null for none.
        let driver = unsafe { info.driver_name.as_ref().map(|text| CStr::from_ptr(text)) };
        let facts = PortInfo {
            driver: driver.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            rx_queues_max: info.max_rx_queues,
            tx_queues_max: info.max_tx_queues,
            mtu: (info.min_mtu, mtu_max(&info)),
            rss: info.flow_type_rss_offloads & sys::TG_RSS_IP_TCP_UDP != 0,
        };
        Ok(Device(Arc::new(Inner {
            id,
            info: facts,
            device: info.device,
            control: Mutex::new(None),
            eal: eal.clone(),
        })))
    }

    /// What it is and can.
    pub fn info(&self) -> &PortInfo {
        &self.0.info
    }

    /// Sets the port up and starts it. All queues take their mbufs from `pool`. Flows are spread over several receive
    /// queues where the device can.
    ///
    /// # Errors
    /// [`Error`] names the call that the device refused. A device that cannot change its MTU keeps its own.
    pub fn start(
        self,
        config: &PortConfig,
        pool: &Mempool,
    ) -> Result<(Port, Vec<RxQueue>, Vec<TxQueue>), Error> {
        let port = Port(self.0);
        port.configure(config, pool)?;
        let mark = log::mark();
        // SAFETY: configured, with all queues set up.
        check("rte_eth_dev_start", mark, unsafe { sys::rte_eth_dev_start(port.0.id) })?;
        let rx = (0..config.rx_queues).map(|queue| RxQueue(Queue::new(&port.0, queue))).collect();
        let tx = (0..config.tx_queues).map(|queue| TxQueue(Queue::new(&port.0, queue))).collect();
        Ok((port, rx, tx))
    }
}

impl Port {
    fn configure(&self, config: &PortConfig, pool: &Mempool) -> Result<(), Error> {
        let id = self.0.id;
        let mut control = self.control();
        let info = info(id)?;
        let mut conf = sys::rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(config.mtu);
        let rss = info.flow_type_rss_offloads & sys::TG_RSS_IP_TCP_UDP;
        if config.rx_queues > 1 && rss != 0 {
            conf.rxmode.mq_mode = sys::TG_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = rss;
        }
        // The driver may free sent mbufs without looking at each: one pool, and one reference, which `Mbuf` sees to.
        if info.tx_offload_capa & sys::TG_TX_OFFLOAD_FAST_FREE != 0 && self.0.eal.stay_with_one_pool() {
            conf.txmode.offloads = sys::TG_TX_OFFLOAD_FAST_FREE;
        }
        let (mut rx_len, mut tx_len) = (config.rx_ring_len, config.tx_ring_len);
        let mark = log::mark();
        // SAFETY: here and below: the port is probed, not started, and we hold its control lock; the pointers are to
        // locals that outlive the call.
        unsafe {
            let code = sys::rte_eth_dev_configure(id, config.rx_queues, config.tx_queues, &conf);
            check("rte_eth_dev_configure", mark, code)?;
            // From here on queues hold the pool.
            *control = Some(pool.clone());
            let code = sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rx_len, &mut tx_len);
            check("rte_eth_dev_adjust_nb_rx_tx_desc", mark, code)?;
            match check("rte_eth_dev_set_mtu", mark, sys::rte_eth_dev_set_mtu(id, config.mtu)) {
                Err(error) if error.errno != Error::ENOTSUP => return Err(error),
                _ => {}
            }
            let socket = sys::rte_eth_dev_socket_id(id) as u32;
            let mut tx_conf = info.default_txconf;
            tx_conf.offloads = conf.txmode.offloads;
            for queue in 0..config.rx_queues {
                let code = sys::rte_eth_rx_queue_setup(id, queue, rx_len, socket, ptr::null(), pool.as_ptr());
                check("rte_eth_rx_queue_setup", mark, code)?;
            }
            for queue in 0..config.tx_queues {
                let code = sys::rte_eth_tx_queue_setup(id, queue, tx_len, socket, &tx_conf);
                check("rte_eth_tx_queue_setup", mark, code)?;
            }
        }
        Ok(())
    }

    /// What it is and can.
    pub fn info(&self) -> &PortInfo {
        &self.0.info
    }

    /// Its Ethernet address as on the wire.
    ///
    /// # Errors
    /// [`Error`] when the device is gone.
    pub fn mac(&self) -> Result<[u8; 6], Error> {
        let _control = self.control();
        let (mark, mut mac) = (log::mark(), sys::rte_ether_addr::default());
        // SAFETY: the port is probed; `mac` is a local.
        check("rte_eth_macaddr_get", mark, unsafe { sys::rte_eth_macaddr_get(self.0.id, &mut mac) })?;
        Ok(mac.addr_bytes)
    }

    /// What it counted.
    ///
    /// # Errors
    /// [`Error`] when the device cannot tell.
    pub fn stats(&self) -> Result<PortStats, Error> {
        let _control = self.control();
        let (mark, mut stats) = (log::mark(), sys::rte_eth_stats::default());
        // SAFETY: the port is probed; `stats` is a local. Counters may be read while queues run.
        check("rte_eth_stats_get", mark, unsafe { sys::rte_eth_stats_get(self.0.id, &mut stats) })?;
        Ok(PortStats {
            ipackets: stats.ipackets,
            opackets: stats.opackets,
            ibytes: stats.ibytes,
            obytes: stats.obytes,
            imissed: stats.imissed,
            ierrors: stats.ierrors,
            oerrors: stats.oerrors,
            rx_nombuf: stats.rx_nombuf,
        })
    }

    /// Whether the link is up, without waiting for it.
    pub fn link_is_up(&self) -> bool {
        let _control = self.control();
        // SAFETY: the port is probed.
        unsafe { sys::tg_shim_link_is_up(self.0.id) == 1 }
    }

    /// Changes the largest IP packet, in bytes, while the port runs.
    ///
    /// # Errors
    /// [`Error`]: ENOTSUP or EBUSY from a device that cannot, or not while running; EINVAL for what it cannot carry or
    /// what does not fit the mbufs of its pool.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), Error> {
        const CALL: &str = "rte_eth_dev_set_mtu";
        let control = self.control();
        let mark = log::mark();
        let room = control.as_ref().map_or(0, Mempool::packet_len_max);
        if u32::from(mtu) + sys::TG_ETHER_HDR_LEN > u32::from(room) {
            return Err(Error::new(CALL, Error::EINVAL, mark));
        }
        // SAFETY: the port is configured; a driver that must not be running for this answers EBUSY.
        check(CALL, mark, unsafe { sys::rte_eth_dev_set_mtu(self.0.id, mtu) })?;
        Ok(())
    }

    fn control(&self) -> MutexGuard<'_, Option<Mempool>> {
        self.0.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: the last of port and queues, so nobody polls and nobody calls. Stopping what never started is
        // harmless. Errors have nobody to go to; DPDK's log has them.
        unsafe {
            sys::rte_eth_dev_stop(self.id);
            sys::rte_eth_dev_close(self.id);
            if !self.device.is_null() {
                sys::rte_dev_remove(self.device);
            }
        }
        self.eal.release_port(self.id);
    }
}

/// One queue of a running port. `Send`, so that it can go to its worker; not `Sync`, because DPDK lets one thread at a
/// time poll a queue.
#[derive(Debug)]
struct Queue {
    /// Copies of what the burst functions need, so that they need not follow `_port`.
    port_id: u16,
    queue: u16,
    /// Keeps the device running.
    _port: Arc<Inner>,
    _not_sync: PhantomData<Cell<()>>,
}

impl Queue {
    fn new(port: &Arc<Inner>, queue: u16) -> Queue {
        Queue { port_id: port.id, queue, _port: Arc::clone(port), _not_sync: PhantomData }
    }
}

/// A receive queue.
#[derive(Debug)]
pub struct RxQueue(Queue);

/// A transmit queue.
#[derive(Debug)]
pub struct TxQueue(Queue);

impl RxQueue {
    /// Appends what has arrived, at most what `burst` has room for; does not wait. Some drivers return nothing when the
    /// room is less than 4 frames.
    #[inline(always)]
    pub fn rx_burst<const N: usize>(&mut self, burst: &mut ArrayVec<Mbuf, N>) {
        let len = burst.len();
        let room = u16::try_from(N - len).unwrap_or(u16::MAX);
        // SAFETY: 1. the queue is set up and running as long as `self` lives, and `&mut self` makes us its only poller;
        // 2. behind the first `len` elements there is room for `room` pointers, and `Mbuf` is one pointer
        // (repr(transparent)); 3. DPDK fills the first `received` with valid mbufs that are ours from now on.
        unsafe {
            let free = burst.as_mut_ptr().add(len).cast::<*mut sys::rte_mbuf>();
            let received = sys::tg_shim_eth_rx_burst(self.0.port_id, self.0.queue, free, room);
            burst.set_len(len + usize::from(received));
        }
    }
}

impl TxQueue {
    /// Sends in order. What the driver takes leaves `burst` from the front; what remains was refused.
    #[inline(always)]
    pub fn tx_burst<const N: usize>(&mut self, burst: &mut ArrayVec<Mbuf, N>) {
        let len = burst.len();
        let offered = u16::try_from(len).unwrap_or(u16::MAX);
        // SAFETY: 1. as for `rx_burst`; 2. the first `len` elements are valid mbufs that we own; those that DPDK takes
        // are its own from then on, so they leave `burst` without being dropped: the length is zero before, and what
        // remains is moved to the front.
        unsafe {
            burst.set_len(0);
            let first = burst.as_mut_ptr().cast::<*mut sys::rte_mbuf>();
            let sent = sys::tg_shim_eth_tx_burst(self.0.port_id, self.0.queue, first, offered);
            let sent = usize::from(sent);
            if sent < len {
                ptr::copy(first.add(sent), first, len - sent);
            }
            burst.set_len(len - sent);
        }
    }
}

fn info(id: u16) -> Result<sys::rte_eth_dev_info, Error> {
    let (mark, mut info) = (log::mark(), sys::rte_eth_dev_info::default());
    // SAFETY: checks the id itself; `info` is a local.
    check("rte_eth_dev_info_get", mark, unsafe { sys::rte_eth_dev_info_get(id, &mut info) })?;
    Ok(info)
}

/// The largest MTU that ethdev lets pass: drivers that state none (65535) are held to their longest frame, Ethernet header
/// and FCS included. net_tap of DPDK 22.11 ends at 1504 that way.
fn mtu_max(info: &sys::rte_eth_dev_info) -> u16 {
    const OVERHEAD: u32 = sys::TG_ETHER_HDR_LEN + sys::TG_ETHER_CRC_LEN;
    let by_frame = info.max_rx_pktlen.saturating_sub(OVERHEAD);
    if info.max_mtu == u16::MAX { u16::try_from(by_frame).unwrap_or(u16::MAX) } else { info.max_mtu }
}

/// The first port of a probed device.
fn find_port(devargs: &CStr) -> Option<u16> {
    let mut iterator = sys::rte_dev_iterator::default();
    // SAFETY: 1. `devargs` is a C string, not kept; 2. the iterator is initialised before use and cleaned up when it did
    // not come to its end by itself.
    unsafe {
        if sys::rte_eth_iterator_init(&mut iterator, devargs.as_ptr()) != 0 {
            return None;
        }
        let id = sys::rte_eth_iterator_next(&mut iterator);
        if u32::from(id) >= sys::RTE_MAX_ETHPORTS {
            return None;
        }
        sys::rte_eth_iterator_cleanup(&mut iterator);
        Some(id)
    }
}

/// Whether net_tap would join an interface that is there: opened with several queues, the kernel hands a second owner
/// some of the frames of the first. With `persist` that is what the operator wants.
fn names_existing_tap(devargs: &str) -> bool {
    let mut parts = devargs.split(',');
    let is_tap = parts.next().is_some_and(|driver| driver.starts_with("net_tap"));
    let mut interface = None;
    for part in parts {
        match part.split_once('=') {
            Some(("iface", name)) => interface = Some(name),
            None if part == "persist" => return false,
            _ => {}
        }
    }
    is_tap && interface.is_some_and(|name| Path::new("/sys/class/net").join(name).exists())
}

fn why_not(device: &str, source: Error) -> ProbeError {
    let device = device.to_owned();
    let said = |text: &str| source.said.contains(text);
    if source.is_permission() {
        ProbeError::NoPermission { device, source }
    } else if source.errno == Error::EBUSY || source.errno == Error::EEXIST || said("resource busy") {
        ProbeError::Busy { device, source }
    } else if said("failed to parse") || said("cannot parse") {
        ProbeError::BadName { device, source }
    } else if matches!(source.errno, Error::ENODEV | Error::ENOENT) || said("No such") {
        ProbeError::Missing { device, source }
    } else if source.errno == Error::ENOTSUP {
        ProbeError::NoDriver { device, source }
    } else {
        ProbeError::Failed { device, source }
    }
}
