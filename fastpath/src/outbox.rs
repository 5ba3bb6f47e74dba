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
        let Some(burst) = self.ports.get_mut(port.index()) else {
            counters.dropped(NetId::NONE, DropReason::RouteUnusable);
            return;
        };
        burst.push(frame);
        if burst.is_full() {
            transmit(io, counters, port, burst);
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

/// What the driver refuses is dropped and counted; a port that does not keep up must not hold up the others.
fn transmit<B: Buffer>(
    io: &mut impl Io<Buffer = B>,
    counters: &Counters,
    port: PortId,
    burst: &mut Burst<B>,
) {
    let bytes_of = |burst: &Burst<B>| burst.iter().map(|b| b.bytes().len() as u64).sum::<u64>();
    let (packets, bytes) = (burst.len() as u64, bytes_of(burst));
    io.tx(port, burst);
    let (refused, refused_bytes) = (burst.len() as u64, bytes_of(burst));
    if let Some(port) = counters.ports.get(port.index()) {
        port.tx.packets.add(packets - refused);
        port.tx.bytes.add(bytes - refused_bytes);
    }
    for _ in 0..refused {
        counters.dropped(NetId::NONE, DropReason::TxFull);
    }
    burst.clear();
}
