//! What workers count of listeners and backends. Written when a connection opens, ends or is refused, never per packet of an
//! open one.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crate::types::Nanos;

/// A cache line of its own, so that turns do not wait for counts.
#[repr(align(64))]
#[derive(Debug, Default)]
pub struct Tickets(AtomicU32);

impl Tickets {
    /// The next one: no two connections get the same, on whichever workers they land.
    pub fn take(&self) -> u32 {
        self.0.fetch_add(1, Relaxed)
    }
}

/// Connections and bytes.
#[derive(Debug, Default)]
pub struct Usage {
    live: AtomicU32,
    opened: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Most that control has shown of both, connections that are open included.
    shown: [AtomicU64; 2],
}

impl Usage {
    /// Connections that are open.
    pub fn live(&self) -> u32 {
        self.live.load(Relaxed)
    }

    /// Connections that were opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// Bytes (IP total length) from and to clients of connections that ended.
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.load(Relaxed), self.bytes_out.load(Relaxed))
    }

    /// What is shown of bytes from and to clients, where those of connections that are open were so many, and those of
    /// others `ended` before they were counted. Never less than what was shown before: a connection that ends meanwhile is
    /// in neither.
    pub fn show_bytes(&self, ended: (u64, u64), open: (u64, u64)) {
        self.shown[0].fetch_max(ended.0 + open.0, Relaxed);
        self.shown[1].fetch_max(ended.1 + open.1, Relaxed);
    }

    /// What was shown last, or more.
    pub fn shown_bytes(&self) -> (u64, u64) {
        let (inward, outward) = self.bytes();
        let [shown_in, shown_out] = [&self.shown[0], &self.shown[1]].map(|shown| shown.load(Relaxed));
        (inward.max(shown_in), outward.max(shown_out))
    }

    /// One more connection, unless there are `most`.
    fn begin(&self, most: u32) -> bool {
        self.live.fetch_update(Relaxed, Relaxed, |now| (now < most).then_some(now + 1)).is_ok()
    }

    fn end(&self) {
        // Never below 0: a connection of before a change that this did not count (docs/lb.md).
        let _ = self.live.fetch_update(Relaxed, Relaxed, |now| now.checked_sub(1));
    }

    fn count_bytes(&self, inward: u64, outward: u64) {
        self.bytes_in.fetch_add(inward, Relaxed);
        self.bytes_out.fetch_add(outward, Relaxed);
    }
}

/// Why a listener refused a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The client is not allowed.
    Denied,
    /// It has as many connections as it may, or all its backends have.
    Full,
    /// No backend takes connections.
    NoBackend,
}

/// The numbers of a listener.
#[derive(Debug, Default)]
pub struct ListenerUsage {
    /// Of all its backends, also those that are gone.
    pub usage: Usage,
    /// Whose turn it is.
    pub tickets: Tickets,
    refused: [AtomicU64; 3],
}

impl PartialEq for ListenerUsage {
    /// The same memory.
    fn eq(&self, other: &ListenerUsage) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for ListenerUsage {}

impl ListenerUsage {
    /// Counts a refused connection.
    pub fn refuse(&self, why: Refused) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }

    /// Connections that were refused.
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused[why as usize].load(Relaxed)
    }
}

/// The numbers of a backend, and those of its listener.
#[derive(Debug, Default)]
pub struct BackendUsage {
    /// Its own.
    pub usage: Usage,
    /// The listener's.
    pub listener: Arc<ListenerUsage>,
    /// When it answered a SYN with a reset last, in nanoseconds; 0 for never.
    refused_at: AtomicU64,
    /// How often it did.
    refused: AtomicU64,
}

/// For how long a backend that refused a connection gets new ones only where all others do as well. A client sends its SYN
/// again after 1 s, and after 2 s more (RFC 6298 §2).
const REFUSES_FOR_NS: u64 = 3_000_000_000;

impl PartialEq for BackendUsage {
    /// The same memory.
    fn eq(&self, other: &BackendUsage) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for BackendUsage {}

impl BackendUsage {
    /// Of a backend of this listener.
    pub fn of(listener: &Arc<ListenerUsage>) -> BackendUsage {
        BackendUsage { listener: Arc::clone(listener), ..BackendUsage::default() }
    }

    /// It answered a SYN with a reset.
    pub fn refused(&self, now: Nanos) {
        self.refused_at.store(now.0, Relaxed);
        self.refused.fetch_add(1, Relaxed);
    }

    /// Whether it did so within the last 3 seconds.
    pub fn refuses(&self, now: Nanos) -> bool {
        let at = self.refused_at.load(Relaxed);
        at != 0 && now.0.saturating_sub(at) < REFUSES_FOR_NS
    }

    /// How often it answered a SYN with a reset.
    pub fn refusals(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Reserves a connection, unless the backend has `most`. The listener's was reserved before.
    pub fn reserve(&self, most: u32) -> bool {
        self.usage.begin(most)
    }

    /// A reserved connection is open.
    pub fn opened(&self) {
        self.usage.opened.fetch_add(1, Relaxed);
        self.listener.usage.opened.fetch_add(1, Relaxed);
    }

    /// A reserved connection was not opened.
    pub fn give_back(&self) {
        self.usage.end();
    }

    /// A connection of an earlier process goes on: no bound refuses it.
    pub fn readmit(&self) {
        self.usage.begin(u32::MAX);
        self.listener.usage.begin(u32::MAX);
    }

    /// A connection ended, after so many bytes from and to the client.
    pub fn ended(&self, inward: u64, outward: u64) {
        for usage in [&self.usage, &self.listener.usage] {
            usage.end();
            usage.count_bytes(inward, outward);
        }
    }
}

impl ListenerUsage {
    /// Reserves a connection, unless there are `most`.
    pub fn reserve(&self, most: u32) -> bool {
        self.usage.begin(most)
    }

    /// A reserved connection was not opened.
    pub fn give_back(&self) {
        self.usage.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_and_ends_are_counted_once() {
        let listener: Arc<ListenerUsage> = Arc::default();
        let backend = BackendUsage::of(&listener);
        assert!(listener.reserve(2) && backend.reserve(1) && !backend.reserve(1));
        backend.opened();
        backend.ended(100, 2000);
        backend.ended(0, 0);
        assert_eq!((backend.usage.live(), listener.usage.live()), (0, 0));
        assert_eq!((backend.usage.opened(), listener.usage.opened()), (1, 1));
        assert_eq!((backend.usage.bytes(), listener.usage.bytes()), ((100, 2000), (100, 2000)));
        listener.refuse(Refused::Full);
        assert_eq!((listener.refused(Refused::Full), listener.refused(Refused::Denied)), (1, 0));
    }
}
