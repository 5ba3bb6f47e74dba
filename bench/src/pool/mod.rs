//! Where fresh packet buffers come from: the heap, or a DPDK pool.

#[cfg(feature = "dpdk")]
pub mod device;
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

/// More ports than any scenario has.
pub const PORTS: usize = 4;

/// A device between the bench and a worker. What does not fit stays in the burst.
pub trait Wire<B> {
    /// Frames are on their way to the worker.
    fn put(&mut self, burst: &mut Burst<B>);

    /// The worker receives them.
    fn rx(&mut self, burst: &mut Burst<B>);

    /// The worker sends by a port.
    fn tx(&mut self, port: PortId, burst: &mut Burst<B>);

    /// Takes back what was sent by a port.
    fn collect(&mut self, port: PortId, burst: &mut Burst<B>);
}

/// No device: there is none of these.
#[derive(Debug)]
pub enum NoWire {}

impl<B> Wire<B> for NoWire {
    fn put(&mut self, _burst: &mut Burst<B>) {
        match *self {}
    }

    fn rx(&mut self, _burst: &mut Burst<B>) {
        match *self {}
    }

    fn tx(&mut self, _port: PortId, _burst: &mut Burst<B>) {
        match *self {}
    }

    fn collect(&mut self, _port: PortId, _burst: &mut Burst<B>) {
        match *self {}
    }
}

/// A pool of packet buffers. Cloning it shares it where it is one; buffers of the heap come from a list of each clone.
pub trait Pool: Clone + Send {
    /// What it holds.
    type Buffer: Buffer + Send;

    /// What a thread holds while it uses the pool.
    type Seat;

    /// A device between the bench and a worker.
    type Wire: Wire<Self::Buffer> + Send;

    /// As in reports: what packets are in, and how they come.
    fn name(&self) -> &'static str;

    /// A device for one worker; `None` where bursts are handed over as they are.
    ///
    /// # Errors
    /// The device does not start.
    fn wire(&self) -> Result<Option<Self::Wire>>;

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
    type Wire = NoWire;

    fn name(&self) -> &'static str {
        "mem"
    }

    fn wire(&self) -> Result<Option<NoWire>> {
        Ok(None)
    }

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
