//! Threads that DPDK knows.

use std::marker::PhantomData;

use crate::{Error, eal::Eal, error::check, log, sys};

/// This thread as an lcore: it has its own cache in each mempool, which makes allocating and freeing mbufs cheap. A
/// thread without works too, and takes the pool's shared ring each time. Dropping it gives the lcore id back.
#[derive(Debug)]
pub struct Lcore {
    id: u32,
    /// Bound to the thread that registered, and no clean-up of EAL while there is one.
    _eal: Eal,
    _not_send: PhantomData<*mut ()>,
}

impl Lcore {
    /// Registers the calling thread, which the caller has pinned to a CPU as it likes.
    ///
    /// # Errors
    /// [`Error`] when all lcore ids (128 in Debian's build) are taken, or the thread is registered.
    pub fn register(eal: &Eal) -> Result<Lcore, Error> {
        let mark = log::mark();
        // SAFETY: reads a thread-local variable.
        if unsafe { sys::tg_shim_lcore_id() } != u32::MAX {
            return Err(Error::new("rte_thread_register", Error::EEXIST, mark));
        }
        // SAFETY: EAL is initialised, `eal` proves it; the thread is none of EAL's and not registered.
        match check("rte_thread_register", mark, unsafe { sys::rte_thread_register() }) {
            Ok(_) => {}
            Err(_) => return Err(Error::from_rte_errno("rte_thread_register", mark)),
        }
        // SAFETY: reads a thread-local variable.
        Ok(Lcore { id: unsafe { sys::tg_shim_lcore_id() }, _eal: eal.clone(), _not_send: PhantomData })
    }

    /// DPDK's number for this thread; not the number of a CPU.
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Lcore {
    fn drop(&mut self) {
        // SAFETY: the same thread registered itself (the type is not `Send`), and EAL lives.
        unsafe { sys::rte_thread_unregister() }
    }
}
