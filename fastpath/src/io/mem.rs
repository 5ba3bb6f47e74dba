//! Ports in memory: a test or a bench puts frames in, lets the worker poll, and takes out what was sent. The clock stands
//! where the caller set it. Each worker has a [`MemIo`] of its own.
//!
//! Buffers go round: those that were sent come back without a lock, those that the engine dropped through a locked list.
//! So the heap is asked only until as many buffers exist as are in use at once.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::{BURST, Burst, Io};
use crate::{
    buffer::Buffer,
    channel::FRAME_MAX,
    types::{Nanos, PortId},
};

/// Room in front of a received or new packet, as DPDK's `RTE_PKTMBUF_HEADROOM`.
pub const HEADROOM: usize = 128;

/// All of a buffer: headroom, the largest frame, and room behind it for what an encapsulated one needs.
pub const ROOM: usize = HEADROOM + FRAME_MAX + 96;

/// Buffers that the engine dropped.
type Dropped = Mutex<Vec<MemBuffer>>;

fn lock(dropped: &Dropped) -> MutexGuard<'_, Vec<MemBuffer>> {
    // A push or a take cannot leave the list half changed.
    dropped.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A packet buffer on the heap; as large as a pointer, as an mbuf is. Dropping it returns it to the [`MemIo`] that it came from.
#[derive(Debug)]
pub struct MemBuffer(Option<Box<Room>>);

#[derive(Debug)]
struct Room {
    start: usize,
    end: usize,
    is_segmented: bool,
    /// None for a packet of its own, and when its [`MemIo`] is gone.
    home: Weak<Dropped>,
    bytes: [u8; ROOM],
}

impl MemBuffer {
    /// A packet that belongs to no [`MemIo`], with [`HEADROOM`] in front.
    ///
    /// # Panics
    /// If the packet is longer than [`FRAME_MAX`].
    pub fn new(packet: &[u8]) -> MemBuffer {
        let mut buffer = MemBuffer::of(Weak::new());
        buffer.fill(HEADROOM, packet);
        buffer
    }

    fn of(home: Weak<Dropped>) -> MemBuffer {
        let (start, end) = (HEADROOM, HEADROOM);
        MemBuffer(Some(Box::new(Room { start, end, is_segmented: false, home, bytes: [0; ROOM] })))
    }

    fn fill(&mut self, headroom: usize, packet: &[u8]) {
        assert!(packet.len() <= FRAME_MAX, "a frame of {} bytes; the limit is {FRAME_MAX}", packet.len());
        if let Some(room) = &mut self.0 {
            (room.start, room.end, room.is_segmented) = (headroom, headroom + packet.len(), false);
        }
        self.bytes_mut().copy_from_slice(packet);
    }
}

impl Buffer for MemBuffer {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |room| &room.bytes[room.start..room.end])
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.as_mut().map_or(&mut [], |room| &mut room.bytes[room.start..room.end])
    }

    #[inline(always)]
    fn strip(&mut self, n: usize) -> bool {
        let Some(room) = &mut self.0 else { return false };
        let is_there = n <= room.end - room.start;
        if is_there {
            room.start += n;
        }
        is_there
    }

    #[inline(always)]
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let room = self.0.as_mut()?;
        room.start = room.start.checked_sub(n)?;
        Some(self.bytes_mut())
    }

    #[inline(always)]
    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let room = self.0.as_mut()?;
        if n > room.bytes.len() - room.end {
            return None;
        }
        room.end += n;
        Some(self.bytes_mut())
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) {
        if let Some(room) = &mut self.0
            && len < room.end - room.start
        {
            room.end = room.start + len;
        }
    }

    #[inline(always)]
    fn reframe(&mut self, start: usize, len: usize, n: usize) -> Option<&mut [u8]> {
        let room = self.0.as_mut()?;
        let (start, end) = ((room.start + start).checked_sub(n)?, room.start + start + len);
        if end > room.end {
            return None;
        }
        (room.start, room.end) = (start, end);
        room.bytes.get_mut(start..end)
    }

    #[inline(always)]
    fn is_segmented(&self) -> bool {
        self.0.as_ref().is_some_and(|room| room.is_segmented)
    }
}

impl Drop for MemBuffer {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(room) = self.0.take() {
            go_home(room);
        }
    }
}

#[cold]
#[inline(never)]
fn go_home(room: Box<Room>) {
    if let Some(home) = room.home.upgrade() {
        lock(&home).push(MemBuffer(Some(room)));
    }
}

/// One worker's ports in memory; queue number `n` is of port number `n`.
#[derive(Debug)]
pub struct MemIo {
    ports: Vec<MemPort>,
    now: Nanos,
    free: Vec<MemBuffer>,
    dropped: Arc<Dropped>,
    /// Buffers that exist, wherever they are.
    made: usize,
    pool_limit: usize,
    headroom: usize,
    is_capturing: bool,
}

#[derive(Debug, Default)]
struct MemPort {
    input: VecDeque<MemBuffer>,
    /// What was sent and not yet taken; stays empty without capture.
    output: Vec<Vec<u8>>,
    /// How many frames `output` may hold.
    tx_limit: Option<usize>,
    tx_count: u64,
}

impl MemIo {
    /// Ports 0 to `ports` - 1, nothing on them; time 0; no limits; what is sent is kept.
    pub fn new(ports: usize) -> MemIo {
        MemIo {
            ports: (0..ports).map(|_| MemPort::default()).collect(),
            now: Nanos(0),
            free: Vec::new(),
            dropped: Arc::default(),
            made: 0,
            pool_limit: usize::MAX,
            headroom: HEADROOM,
            is_capturing: true,
        }
    }

    /// Puts a frame on the wire: the port receives it after those that are there already.
    ///
    /// # Panics
    /// Without such a port, without a free buffer, or with a frame longer than [`FRAME_MAX`].
    pub fn push(&mut self, port: PortId, frame: &[u8]) {
        let buffer = self.filled(frame);
        self.ports[port.index()].input.push_back(buffer);
    }

    /// As [`MemIo::push`], with a buffer that claims to have further segments.
    ///
    /// # Panics
    /// As [`MemIo::push`].
    pub fn push_segmented(&mut self, port: PortId, frame: &[u8]) {
        let mut buffer = self.filled(frame);
        if let Some(room) = &mut buffer.0 {
            room.is_segmented = true;
        }
        self.ports[port.index()].input.push_back(buffer);
    }

    /// Takes what the port has sent since the last call, oldest first. Makes room for as many again where
    /// [`MemIo::set_tx_limit`] was called.
    pub fn sent(&mut self, port: PortId) -> Vec<Vec<u8>> {
        self.ports.get_mut(port.index()).map(|port| mem::take(&mut port.output)).unwrap_or_default()
    }

    /// Frames that the port has sent since the start.
    pub fn tx_count(&self, port: PortId) -> u64 {
        self.ports.get(port.index()).map_or(0, |port| port.tx_count)
    }

    /// Frames pushed and not yet received, over all ports.
    pub fn waiting(&self) -> usize {
        self.ports.iter().map(|port| port.input.len()).sum()
    }

    /// Buffers that are neither free nor waiting to be received: the engine holds them, or has lost them.
    pub fn outstanding(&self) -> usize {
        self.made - self.free.len() - lock(&self.dropped).len() - self.waiting()
    }

    /// Sets the clock.
    pub fn set_now(&mut self, now: Nanos) {
        self.now = now;
    }

    /// The port refuses frames while `limit` of them are sent and not taken by [`MemIo::sent`]. `None`: no limit. Needs
    /// capture.
    ///
    /// # Panics
    /// Without such a port.
    pub fn set_tx_limit(&mut self, port: PortId, limit: Option<usize>) {
        self.ports[port.index()].tx_limit = limit;
    }

    /// No more than `limit` buffers are in use at once; frames that wait to be received are in use.
    pub fn set_pool_limit(&mut self, limit: usize) {
        self.pool_limit = limit;
    }

    /// Room in front of packets received or allocated from now on.
    ///
    /// # Panics
    /// Above [`HEADROOM`].
    pub fn set_headroom(&mut self, headroom: usize) {
        assert!(headroom <= HEADROOM, "{headroom} bytes of headroom; the limit is {HEADROOM}");
        self.headroom = headroom;
    }

    /// Whether sent frames are kept for [`MemIo::sent`], or only counted, as a bench wants it.
    pub fn set_capture(&mut self, on: bool) {
        self.is_capturing = on;
    }

    fn filled(&mut self, frame: &[u8]) -> MemBuffer {
        let limit = self.pool_limit;
        let mut buffer = self.take().unwrap_or_else(|| panic!("all {limit} buffers are in use"));
        buffer.fill(self.headroom, frame);
        buffer
    }

    fn take(&mut self) -> Option<MemBuffer> {
        let is_spent = |io: &MemIo| io.made - io.free.len() >= io.pool_limit;
        if self.free.is_empty() || is_spent(self) {
            let home = &self.dropped;
            let mut dropped = lock(home);
            self.free.append(&mut dropped);
        }
        if is_spent(self) {
            return None;
        }
        self.free.pop().or_else(|| {
            self.made += 1;
            Some(MemBuffer::of(Arc::downgrade(&self.dropped)))
        })
    }
}

impl Io for MemIo {
    type Buffer = MemBuffer;

    fn queues(&self) -> usize {
        self.ports.len()
    }

    fn rx(&mut self, queue: usize, burst: &mut Burst<MemBuffer>) -> PortId {
        if let Some(port) = self.ports.get_mut(queue) {
            let n = port.input.len().min(BURST - burst.len());
            burst.extend(port.input.drain(..n));
        }
        PortId(queue as u16)
    }

    fn tx(&mut self, port: PortId, burst: &mut Burst<MemBuffer>) {
        let Some(port) = self.ports.get_mut(port.index()) else { return };
        let room = port.tx_limit.map_or(BURST, |limit| limit.saturating_sub(port.output.len()));
        let n = room.min(burst.len());
        port.tx_count += n as u64;
        if self.is_capturing {
            port.output.extend(burst[..n].iter().map(|buffer| buffer.bytes().to_vec()));
        }
        self.free.extend(burst.drain(..n));
    }

    fn alloc(&mut self) -> Option<MemBuffer> {
        let mut buffer = self.take()?;
        buffer.fill(self.headroom, &[]);
        Some(buffer)
    }

    fn now(&mut self) -> Nanos {
        self.now
    }

    /// The clock that the caller set, as if a cycle were a nanosecond.
    fn cycles(&self) -> u64 {
        self.now.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: PortId = PortId(1);

    fn received(io: &mut MemIo) -> Burst<MemBuffer> {
        let mut burst = Burst::new();
        assert_eq!(io.rx(PORT.index(), &mut burst), PORT);
        burst
    }

    #[test]
    fn a_buffer_gives_and_takes_at_both_ends() {
        let mut buffer = MemBuffer::new(b"abcdef");
        assert!(buffer.strip(2) && !buffer.strip(5));
        assert_eq!(buffer.bytes(), b"cdef");
        buffer.prepend(1).unwrap()[0] = b'x';
        buffer.append(1).unwrap()[5] = b'y';
        assert_eq!(buffer.bytes(), b"xcdefy");
        buffer.truncate(7);
        buffer.truncate(3);
        assert_eq!(buffer.bytes(), b"xcd");
    }

    #[test]
    fn a_buffer_changes_what_is_in_front_of_a_part_of_it() {
        let mut buffer = MemBuffer::new(b"abcdef");
        buffer.reframe(2, 3, 4).unwrap()[..4].copy_from_slice(b"wxyz");
        assert_eq!(buffer.bytes(), b"wxyzcde");
        for (start, len, n) in [(0, 8, 0), (8, 0, 0), (4, 4, 0), (0, 1, HEADROOM + 1)] {
            assert!(buffer.reframe(start, len, n).is_none(), "{start} {len} {n}");
            assert_eq!(buffer.bytes(), b"wxyzcde");
        }
    }

    #[test]
    fn a_buffer_refuses_what_does_not_fit_and_changes_nothing() {
        let mut buffer = MemBuffer::new(&[7; FRAME_MAX]);
        assert!(buffer.prepend(HEADROOM + 1).is_none() && buffer.append(97).is_none());
        assert_eq!(buffer.bytes(), [7; FRAME_MAX]);
        assert!(buffer.prepend(HEADROOM).is_some() && buffer.append(96).is_some());
        assert_eq!(buffer.bytes().len(), ROOM);
    }

    #[test]
    fn frames_come_in_bursts_in_order_and_leave_in_order() {
        let mut io = MemIo::new(2);
        for n in 0..40 {
            io.push(PORT, &[n]);
        }
        let mut burst = received(&mut io);
        assert_eq!((burst.len(), io.waiting(), io.outstanding()), (BURST, 8, BURST));
        io.tx(PortId(0), &mut burst);
        assert!(burst.is_empty() && io.sent(PORT).is_empty());
        let sent: Vec<u8> = io.sent(PortId(0)).concat();
        assert_eq!(sent, (0..32).collect::<Vec<u8>>());
        assert_eq!((io.sent(PortId(0)).len(), io.tx_count(PortId(0)), io.outstanding()), (0, 32, 0));
    }

    #[test]
    fn a_full_tx_queue_leaves_the_rest_in_the_burst() {
        let mut io = MemIo::new(2);
        (0..5).for_each(|n| io.push(PORT, &[n]));
        io.set_tx_limit(PORT, Some(3));
        let mut burst = received(&mut io);
        io.tx(PORT, &mut burst);
        assert_eq!(burst.iter().map(|b| b.bytes()[0]).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(io.sent(PORT).len(), 3);
        io.tx(PORT, &mut burst);
        assert!(burst.is_empty());
        (0..2).for_each(|n| io.push(PORT, &[n]));
        let mut burst = received(&mut io);
        io.tx(PortId(9), &mut burst);
        assert_eq!(burst.len(), 2, "no such port");
    }

    #[test]
    fn an_empty_pool_has_no_buffer_until_one_is_dropped_or_sent() {
        let mut io = MemIo::new(2);
        io.set_pool_limit(2);
        io.push(PORT, b"a");
        let held = io.alloc().unwrap();
        assert!(held.bytes().is_empty() && io.alloc().is_none());
        drop(held);
        let again = io.alloc().unwrap();
        assert!(io.alloc().is_none());
        let mut burst = received(&mut io);
        io.tx(PORT, &mut burst);
        assert!(io.alloc().is_some());
        assert_eq!((io.made, io.outstanding()), (2, 1));
        drop(again);
        assert_eq!(io.outstanding(), 0);
    }

    #[test]
    fn buffers_go_with_their_io_and_may_outlive_it() {
        let mut io = MemIo::new(1);
        let (sent, dropped, held) = (io.alloc().unwrap(), io.alloc().unwrap(), io.alloc().unwrap());
        io.free.push(sent);
        drop(dropped);
        let list = Arc::downgrade(&io.dropped);
        drop(io);
        assert!(list.upgrade().is_none(), "buffers that wait to be used again keep each other");
        assert!(held.bytes().is_empty());
    }

    #[test]
    fn headroom_and_segments_are_as_the_caller_said() {
        let mut io = MemIo::new(2);
        io.set_headroom(8);
        io.push(PORT, b"a");
        io.push_segmented(PORT, b"b");
        let mut burst = received(&mut io);
        assert!(burst[0].prepend(9).is_none() && burst[0].prepend(8).is_some());
        assert!(!burst[0].is_segmented() && burst[1].is_segmented());
        io.tx(PORT, &mut burst);
        assert!(!io.alloc().unwrap().is_segmented());
    }

    #[test]
    fn a_bench_counts_without_keeping_frames() {
        let mut io = MemIo::new(2);
        io.set_capture(false);
        for _ in 0..3 {
            io.push(PORT, b"a");
            let mut burst = received(&mut io);
            io.tx(PORT, &mut burst);
        }
        assert_eq!((io.tx_count(PORT), io.sent(PORT).len(), io.made), (3, 0, 1));
    }

    #[test]
    fn time_stands_where_it_was_set_and_a_worker_may_take_it_along() {
        let mut io = MemIo::new(1);
        io.set_now(Nanos::from_ms(5));
        let now = std::thread::spawn(move || (io.now(), io.cycles())).join().unwrap();
        assert_eq!(now, (Nanos::from_ms(5), 5_000_000));
    }
}
