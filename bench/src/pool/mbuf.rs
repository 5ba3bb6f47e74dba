//! DPDK's mbufs.

use anyhow::Result;
use dpdk_sys::{
    eal::Eal,
    lcore::Lcore,
    mbuf::Mbuf,
    mempool::{Mempool, MempoolConfig},
};
use tidegate_fastpath::io::Burst;

use super::{
    Pool,
    device::{DeviceKind, DeviceWire},
};

/// Mbufs of the pool. Only a burst is in use at a time; the rest is for caches.
const COUNT: u32 = 4095;

/// A DPDK pool. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct MbufPool {
    pool: Mempool,
    hugepages: bool,
    eal: Eal,
    /// By what packets come and go, if not just handed over.
    device: Option<DeviceKind>,
}

impl MbufPool {
    /// A pool for packets of up to `packet_len_max` bytes.
    ///
    /// # Errors
    /// No memory.
    pub fn new(eal: &Eal, packet_len_max: u16) -> Result<MbufPool> {
        let config = MempoolConfig { name: "bench".to_owned(), count: COUNT, packet_len_max };
        let pool = Mempool::new(eal, &config)?;
        Ok(MbufPool { pool, hugepages: eal.has_hugepages(), eal: eal.clone(), device: None })
    }

    /// The same, whose packets come and go by a device.
    pub fn by(&self, device: DeviceKind) -> MbufPool {
        MbufPool { device: Some(device), ..self.clone() }
    }

    /// Where its mbufs come from.
    pub const fn mempool(&self) -> &Mempool {
        &self.pool
    }

    /// DPDK.
    pub const fn eal(&self) -> &Eal {
        &self.eal
    }
}

impl Pool for MbufPool {
    type Buffer = Mbuf;
    type Seat = Lcore;
    type Wire = DeviceWire;

    fn name(&self) -> &'static str {
        self.device.map_or("mbuf", DeviceKind::name)
    }

    fn wire(&self) -> Result<Option<DeviceWire>> {
        self.device.map(|kind| DeviceWire::new(kind, &self.eal, &self.pool)).transpose()
    }

    #[inline]
    fn alloc(&mut self) -> Option<Mbuf> {
        self.pool.alloc()
    }

    #[inline]
    fn free(&mut self, burst: &mut Burst<Mbuf>) {
        burst.clear();
    }

    fn seat(&self) -> Result<Lcore> {
        Ok(Lcore::register(&self.eal)?)
    }

    fn hugepages(&self) -> Option<bool> {
        Some(self.hugepages)
    }
}
