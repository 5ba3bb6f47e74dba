//! Frames on their way out, gathered per port so that the driver gets bursts.

use crossbeam::utils::CachePadded;

use crate::{
    buffer::Buffer,
    counter::Counters,
    io::{Burst, Io},
    reason::DropReason,
    types::{NetId, PortId},
};

/// The frames of one worker that are not yet with a driver.
#[derive(Debug)]
pub(crate) struct Outbox<B: Buffer> {
    /// Each on cache lines of its own, so that no other worker's frames share one.
    ports: Vec<CachePadded<Burst<B>>>,
}

const _: () = assert!(align_of::<CachePadded<u8>>() >= 64);

impl<B: Buffer> Outbox<B> {
    /// For `ports` ports.
    pub(crate) fn new(ports: usize) -> Outbox<B> {
        Outbox { ports: (0..ports).map(|_| CachePadded::new(Burst::new())).collect() }
    }

    /// Adds a frame; a full burst goes to the driver at once.
    #[inline(always)]
    pub(crate) fn send(&mut self, io: &mut impl Io<Buffer = B>, counters: &Counters, port: PortId, frame: B) {
        self.send_some(io, counters, port, std::iter::once(frame));
    }

    /// Adds frames, as [`Outbox::send`] each.
    #[inline(always)]
    pub(crate) fn send_some(
        &mut self,
        io: &mut impl Io<Buffer = B>,
        counters: &Counters,
        port: PortId,
        frames: impl Iterator<Item = B>,
    ) {
        let Some(burst) = self.ports.get_mut(port.index()) else {
            frames.for_each(|_| counters.dropped(NetId::NONE, DropReason::RouteUnusable));
            return;
        };
        for frame in frames {
            burst.push(frame);
            if burst.is_full() {
                transmit(io, counters, port, burst);
            }
        }
    }

    /// Adds a burst, which has so many bytes, and leaves it empty. A full one goes to the driver as it is, where nothing waits
    /// before it.
    #[inline(always)]
    pub(crate) fn send_burst(
        &mut self,
        io: &mut impl Io<Buffer = B>,
        counters: &Counters,
        port: PortId,
        frames: &mut Burst<B>,
        bytes: u64,
    ) {
        match self.ports.get_mut(port.index()) {
            Some(waiting) if waiting.is_empty() && frames.is_full() => {
                hand_over(io, counters, port, frames, bytes);
            }
            Some(waiting) if waiting.is_empty() => **waiting = frames.take(),
            _ => self.send_some(io, counters, port, frames.drain(..)),
        }
    }

    /// Gives everything to the drivers.
    pub(crate) fn flush(&mut self, io: &mut impl Io<Buffer = B>, counters: &Counters) {
        for (at, burst) in self.ports.iter_mut().enumerate() {
            if !burst.is_empty() {
                transmit(io, counters, PortId(at as u16), burst);
            }
        }
    }
}

fn bytes_of<B: Buffer>(burst: &Burst<B>) -> u64 {
    burst.iter().map(|buffer| buffer.bytes().len() as u64).sum()
}

#[inline(never)]
fn transmit<B: Buffer>(
    io: &mut impl Io<Buffer = B>,
    counters: &Counters,
    port: PortId,
    burst: &mut Burst<B>,
) {
    let bytes = bytes_of(burst);
    hand_over(io, counters, port, burst, bytes);
}

/// Gives frames, which have so many bytes, to the driver. What it refuses is dropped and counted; a port that does not keep up
/// must not hold up the others.
#[inline(always)]
fn hand_over<B: Buffer>(
    io: &mut impl Io<Buffer = B>,
    counters: &Counters,
    port: PortId,
    burst: &mut Burst<B>,
    bytes: u64,
) {
    let packets = burst.len() as u64;
    io.tx(port, burst);
    let (refused, refused_bytes) = (burst.len() as u64, bytes_of(burst));
    if let Some(port) = counters.ports.get(port.index()) {
        port.tx.add_all(packets - refused, bytes - refused_bytes);
    }
    for _ in 0..refused {
        counters.dropped(NetId::NONE, DropReason::TxFull);
    }
    burst.clear();
}
