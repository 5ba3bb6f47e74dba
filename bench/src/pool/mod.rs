//! Where fresh packet buffers come from: the heap, or a DPDK pool.

#[cfg(feature = "dpdk")]
mod mbuf;

#[cfg(feature = "dpdk")]
pub use self::mbuf::MbufPool;

use anyhow::Result;
use tidegate_fastpath::{
    buffer::Buffer,
    io::{
        Burst, Io,
        mem::{MemBuffer, MemIo},
    },
    types::PortId,
};

/// A pool of packet buffers. Cloning it shares it where it is one; buffers of the heap come from a list of each clone.
pub trait Pool: Clone + Send {
    /// What it holds.
    type Buffer: Buffer + Send;

    /// What a thread holds while it uses the pool.
    type Seat;

    /// As in reports.
    const NAME: &'static str;

    /// An empty buffer with headroom.
    fn alloc(&mut self) -> Option<Self::Buffer>;

    /// Takes buffers back; leaves `burst` empty.
    fn free(&mut self, burst: &mut Burst<Self::Buffer>);

    /// Makes the calling thread one that the pool serves fast.
    ///
    /// # Errors
    /// There are too many such threads.
    fn seat(&self) -> Result<Self::Seat>;

    /// Whether packets are in reserved hugepages; `None` where they never are.
    fn hugepages(&self) -> Option<bool>;
}

/// The buffers of [`MemIo`].
#[derive(Debug)]
pub struct MemPool(MemIo);

impl Default for MemPool {
    fn default() -> MemPool {
        let mut io = MemIo::new(1);
        io.set_capture(false);
        MemPool(io)
    }
}

impl Clone for MemPool {
    fn clone(&self) -> MemPool {
        MemPool::default()
    }
}

impl Pool for MemPool {
    type Buffer = MemBuffer;
    type Seat = ();

    const NAME: &'static str = "mem";

    #[inline]
    fn alloc(&mut self) -> Option<MemBuffer> {
        self.0.alloc()
    }

    #[inline]
    fn free(&mut self, burst: &mut Burst<MemBuffer>) {
        self.0.tx(PortId(0), burst);
    }

    fn seat(&self) -> Result<()> {
        Ok(())
    }

    fn hugepages(&self) -> Option<bool> {
        None
    }
}
