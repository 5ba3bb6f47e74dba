//! What a router agent counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

tidegate_fastpath::reasons! {
    /// What a router agent counts.
    AgentEvent {
        /// Connections closed at once because there are too many, in all or of one address.
        ConnectionRefused = "connection_refused",
        /// Requests that were answered with an HTTP error: unknown path, missing header, body too long or late, too many commands.
        RequestRefused = "request_refused",
        /// Commands that were carried out.
        CommandDone = "command_done",
        /// Commands that changed nothing because they were wrong, not served or refused by the store.
        CommandFailed = "command_failed",
        /// Results that the manager did not take.
        CallbackGivenUp = "callback_given_up",
        /// Objects taken away because the manager did not push them again after a restart.
        ObjectWithdrawn = "object_withdrawn",
    }
}

/// How often each happened since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; AgentEvent::COUNT]);

impl Counts {
    pub(super) fn add(&self, event: AgentEvent, n: usize) {
        self.0[event.index()].fetch_add(n as u64, Relaxed);
    }

    pub(super) fn one(&self, event: AgentEvent) {
        self.add(event, 1);
    }

    pub(super) fn read(&self) -> [u64; AgentEvent::COUNT] {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }
}
