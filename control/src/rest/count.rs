//! What the API counts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::http::StatusCode;

tidegate_fastpath::reasons! {
    /// A limit that a client of the API met, or why it was turned away.
    Limit {
        /// More connections than there may be at a time.
        Connections = "connections",
        /// More connections from one address than there may be at a time.
        ConnectionsPerClient = "connections_per_client",
        /// More requests or new connections per second than one address may make.
        Rate = "rate",
        /// A larger body than there may be.
        Body = "body",
        /// The handshake of TLS failed, or took too long.
        Tls = "tls",
        /// The head of a request did not come in time, or a connection was idle for too long.
        Idle = "idle",
        /// A body did not come in time.
        Late = "late",
        /// A client did not read its answer on.
        Unread = "unread",
        /// More clients that watch than there may be at a time.
        Watchers = "watchers",
        /// No token or certificate that is known.
        Unknown = "unknown",
        /// The role does not allow it.
        Forbidden = "forbidden",
    }
}

/// Classes of statuses, as they are labelled.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What the API counts, since the start of the gateway.
#[derive(Debug, Default)]
pub struct ApiCounts {
    limits: [AtomicU64; Limit::COUNT],
    answers: [AtomicU64; CLASSES.len()],
    connections: AtomicU64,
    watchers: AtomicU64,
    audit_lost: AtomicU64,
}

/// What it had counted at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiSample {
    /// By [`Limit::index`].
    pub limits: [u64; Limit::COUNT],
    /// In the order of [`CLASSES`].
    pub answers: [u64; CLASSES.len()],
    /// Connections now.
    pub connections: u64,
    /// Of these, clients that watch.
    pub watchers: u64,
    /// Requests that the audit log does not have.
    pub audit_lost: u64,
}

/// One more of them, as long as it is kept.
#[derive(Debug)]
pub(super) struct Held(Arc<ApiCounts>, fn(&ApiCounts) -> &AtomicU64);

impl Held {
    fn new(counts: &Arc<ApiCounts>, of: fn(&ApiCounts) -> &AtomicU64) -> Held {
        of(counts).fetch_add(1, Relaxed);
        Held(Arc::clone(counts), of)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Relaxed);
    }
}

impl ApiCounts {
    pub(super) fn limit(&self, limit: Limit) {
        self.limits[limit.index()].fetch_add(1, Relaxed);
    }

    pub(super) fn answer(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.answers.get(class) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn connection(self: &Arc<ApiCounts>) -> Held {
        Held::new(self, |counts| &counts.connections)
    }

    pub(super) fn watcher(self: &Arc<ApiCounts>) -> Held {
        Held::new(self, |counts| &counts.watchers)
    }

    pub(super) fn audit_lost(&self) {
        self.audit_lost.fetch_add(1, Relaxed);
    }

    /// All of it now.
    pub fn sample(&self) -> ApiSample {
        let read = |count: &AtomicU64| count.load(Relaxed);
        ApiSample {
            limits: std::array::from_fn(|i| read(&self.limits[i])),
            answers: std::array::from_fn(|i| read(&self.answers[i])),
            connections: read(&self.connections),
            watchers: read(&self.watchers),
            audit_lost: read(&self.audit_lost),
        }
    }
}
