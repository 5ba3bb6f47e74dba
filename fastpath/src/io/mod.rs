//! The rim: where frames come from and go to. The engine knows only [`Io`]; `mem` and `pcap` serve tests and tools, `dpdk`
//! (behind the feature of that name) the gateway.

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod mem;
pub mod pcap;

use arrayvec::ArrayVec;

use crate::{
    buffer::Buffer,
    types::{Nanos, PortId},
};

/// Most frames that travel together.
pub const BURST: usize = 32;

/// Frames that travel together.
pub type Burst<B> = ArrayVec<B, BURST>;

/// One worker's ports and queues.
pub trait Io {
    /// Its packet buffers.
    type Buffer: Buffer;

    /// How many receive queues this worker polls, over all ports.
    fn queues(&self) -> usize;

    /// Receives into `burst` (empty on entry) from the queue of that number, without waiting; says which port it is of.
    fn rx(&mut self, queue: usize, burst: &mut Burst<Self::Buffer>) -> PortId;

    /// Sends on a port, in order. What the driver takes leaves `burst` from the front; what remains was refused, and the
    /// caller counts and drops it.
    fn tx(&mut self, port: PortId, burst: &mut Burst<Self::Buffer>);

    /// A new, empty buffer with headroom; `None` when the pool has none.
    fn alloc(&mut self) -> Option<Self::Buffer>;

    /// The time; called once per round of the poll loop.
    fn now(&mut self) -> Nanos;

    /// A cycle counter for the busy/idle figures (TSC where there is one).
    fn cycles(&self) -> u64;
}
