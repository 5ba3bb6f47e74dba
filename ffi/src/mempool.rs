//! Pools of mbufs.

use std::{ffi::CString, ptr::NonNull, sync::Arc};

use crate::{Error, eal::Eal, log, mbuf::Mbuf, sys};

/// Bytes in front of every packet of a fresh mbuf.
pub const HEADROOM: u16 = sys::TG_HEADROOM as u16;

/// Mbufs that an lcore keeps for itself. DPDK wants at most 512, and `count` to be more than 1.5 times it.
const CACHE_LEN: u32 = 256;

/// How a pool is made.
#[derive(Clone, Debug)]
pub struct MempoolConfig {
    /// Unique within the process, at most 25 bytes.
    pub name: String,
    /// Mbufs.
    pub count: u32,
    /// Bytes for a packet, without [`HEADROOM`]: what fits is one segment.
    pub packet_len_max: u16,
}

/// Mbufs of one size in memory that devices can reach. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct Mempool(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    raw: NonNull<sys::rte_mempool>,
    count: u32,
    packet_len_max: u16,
    eal: Eal,
}

// SAFETY: rte_mempool.h: with the default flags any number of threads may get and put objects at once.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Mempool {
    /// Makes a pool on any NUMA node.
    ///
    /// # Errors
    /// [`Error`]: ENOMEM when there is not enough hugepage memory (or `-m` memory), EEXIST when the name is taken,
    /// EINVAL when the name has a zero byte, EBUSY when a running port relies on there being one pool only (make all pools
    /// before the first port).
    pub fn new(eal: &Eal, config: &MempoolConfig) -> Result<Mempool, Error> {
        const CALL: &str = "rte_pktmbuf_pool_create";
        let mark = log::mark();
        let name = CString::new(config.name.as_str()).map_err(|_| Error::new(CALL, Error::EINVAL, mark))?;
        let too_long = || Error::new(CALL, Error::EINVAL, mark);
        let room = config.packet_len_max.checked_add(HEADROOM).ok_or_else(too_long)?;
        let cache = if config.count > 2 * CACHE_LEN { CACHE_LEN } else { 0 };
        if !eal.claim_pool() {
            return Err(Error::new(CALL, Error::EBUSY, mark));
        }
        // SAFETY: EAL is initialised; `name` is a C string that DPDK copies.
        let raw = unsafe {
            sys::rte_pktmbuf_pool_create(name.as_ptr(), config.count, cache, 0, room, sys::SOCKET_ID_ANY)
        };
        let raw = NonNull::new(raw).ok_or_else(|| Error::from_rte_errno(CALL, mark))?;
        let pool = Pool { raw, count: config.count, packet_len_max: config.packet_len_max, eal: eal.clone() };
        Ok(Mempool(Arc::new(pool)))
    }

    /// An empty mbuf with [`HEADROOM`] bytes in front; `None` when the pool has none left.
    #[inline(always)]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives as long as `self`.
        let raw = NonNull::new(unsafe { sys::tg_shim_pktmbuf_alloc(self.0.raw.as_ptr()) })?;
        // SAFETY: a fresh mbuf with one reference, which we take over.
        Some(unsafe { Mbuf::from_raw(raw) })
    }

    /// Mbufs in the pool right now, caches of lcores included; a moment later it may be another number. Walks all lcores.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives; counting takes no lock and races only with the number itself.
        unsafe { sys::rte_mempool_avail_count(self.0.raw.as_ptr()) }
    }

    /// Mbufs in total.
    pub fn count(&self) -> u32 {
        self.0.count
    }

    /// Longest packet that fits one mbuf behind [`HEADROOM`], in bytes.
    pub fn packet_len_max(&self) -> u16 {
        self.0.packet_len_max
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.0.raw.as_ptr()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Mbufs do not hold their pool (that would cost an atomic operation each), so it is not freed here. EAL frees it
        // at the end if all its mbufs are home by then.
        self.eal.retire_pool(Retired { raw: self.raw, count: self.count });
    }
}

/// A pool that nobody can allocate from any more.
#[derive(Debug)]
pub(crate) struct Retired {
    raw: NonNull<sys::rte_mempool>,
    count: u32,
}

// SAFETY: as for `Pool`.
unsafe impl Send for Retired {}

impl Retired {
    /// Whether every mbuf is back.
    pub(crate) fn is_whole(&self) -> bool {
        // SAFETY: retired pools are freed only by `free`, which takes them.
        unsafe { sys::rte_mempool_avail_count(self.raw.as_ptr()) == self.count }
    }

    /// # Safety
    /// The pool is whole, and no thread is in the middle of freeing an mbuf into a cache.
    pub(crate) unsafe fn free(self) {
        // SAFETY: the caller's promise: nothing points into the pool.
        unsafe { sys::rte_mempool_free(self.raw.as_ptr()) }
    }
}
