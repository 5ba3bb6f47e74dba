//! The session log: who had which public address and port, and when.
//!
//! Workers push events into bounded rings; control takes them, puts names to numbers and hands them to a thread of its own
//! ([`writer`]), which waits for disks and sockets in everybody's place. Each step counts what it could not pass on: a worker
//! as [`Event::LogFull`](tidegate_fastpath::reason::Event::LogFull), the rest as [`LogEvent`]. Nothing here ever makes a
//! session wait.

pub mod ipfix;
pub mod line;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tidegate_fastpath::{
    channel::{NatChange, NatEvent},
    stage::translation::vip_at,
    types::{Nanos, VipId, VrfId},
};

use self::writer::Writer;
use crate::{
    config::{Id, NatLog, TableKey},
    gateway::Gateway,
};

tidegate_fastpath::reasons! {
    /// What became of the records of the session log.
    LogEvent {
        /// Lines written to the file.
        Line = "line",
        /// Records sent to the IPFIX collector.
        Ipfix = "ipfix",
        /// Records lost because the writer did not keep up: a slow disk, or more than it can write.
        Lost = "lost",
        /// Lines lost because the file could not be opened or written; the log says why.
        FileError = "file_error",
        /// IPFIX records lost because the message could not be sent.
        IpfixError = "ipfix_error",
    }
}

/// Events taken from one worker at a time.
const TAKE_MAX: usize = 1_024;

/// The counters of [`LogEvent`].
#[derive(Debug, Default)]
pub struct LogCounts([AtomicU64; LogEvent::COUNT]);

impl LogCounts {
    fn add(&self, event: LogEvent, count: usize) {
        self.0[event.index()].fetch_add(count as u64, Relaxed);
    }

    /// By [`LogEvent::index`].
    pub fn all(&self) -> [u64; LogEvent::COUNT] {
        std::array::from_fn(|i| self.0[i].load(Relaxed))
    }
}

/// One record, with names. They are those of the configuration in force when control took the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it happened, in milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// The VPC router; `None` where it is gone.
    pub vpc: Option<Id>,
    /// The VIP; `None` where it is gone.
    pub vip: Option<Id>,
    /// What happened.
    pub what: NatChange,
}

impl Entry {
    /// Puts names to an event. `wall_ms` is the time of day at `now`.
    pub fn of(event: NatEvent, gateway: &Gateway, now: Nanos, wall_ms: u64) -> Entry {
        let (vrf, vip) = match &event.what {
            NatChange::Leased(block) | NatChange::GivenBack(block) => (block.inside.vrf, Some(block.vip)),
            NatChange::Opened(of) | NatChange::Ended(of) => {
                (of.inside.vrf, vip_at(&gateway.compiled().tables, of.public, of.address))
            }
        };
        let ago_ms = (i128::from(now.0) - i128::from(event.at.0)) / 1_000_000;
        let at_ms = u64::try_from(i128::from(wall_ms) - ago_ms).unwrap_or_default();
        Entry { at_ms, vpc: vpc_name(gateway, vrf), vip: vip_name(gateway, vip), what: event.what }
    }

    fn address(&self) -> Ipv4Addr {
        match &self.what {
            NatChange::Leased(block) | NatChange::GivenBack(block) => block.address,
            NatChange::Opened(of) | NatChange::Ended(of) => of.address,
        }
    }
}

fn vpc_name(gateway: &Gateway, vrf: VrfId) -> Option<Id> {
    match gateway.desired().vrf_key(vrf)? {
        TableKey::Vpc(id) => Some(id.clone()),
        TableKey::Underlay | TableKey::Public(_) => None,
    }
}

fn vip_name(gateway: &Gateway, vip: Option<VipId>) -> Option<Id> {
    gateway.desired().vip_key(vip?).cloned()
}

/// Control's end of the log.
#[derive(Debug)]
pub struct NatLogger {
    writer: Option<Writer>,
    counts: Arc<LogCounts>,
}

impl NatLogger {
    /// One that writes nowhere yet.
    pub fn new(counts: Arc<LogCounts>) -> NatLogger {
        NatLogger { writer: None, counts }
    }

    /// From now on the log goes there; a file is opened anew.
    pub fn open(&mut self, to: Option<NatLog>) {
        match (to, &self.writer) {
            (None, _) => self.close(),
            (Some(to), Some(writer)) => writer.open(to),
            (Some(to), None) => match Writer::start(to, Arc::clone(&self.counts)) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => tracing::error!("there is no session log: cannot start a thread: {error}"),
            },
        }
    }

    /// Takes what workers told and hands it to the writer. Returns how much that was.
    pub fn take(&self, gateway: &mut Gateway, now: Nanos) -> usize {
        let events = gateway.take_log(TAKE_MAX);
        let taken = events.len();
        if taken > 0
            && let Some(writer) = &self.writer
        {
            let wall_ms = wall_ms();
            writer.write(events.into_iter().map(|event| Entry::of(event, gateway, now, wall_ms)).collect());
        }
        taken
    }

    /// Writes what was taken, as far as that goes in a second.
    pub fn close(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.finish();
        }
    }
}

/// The time of day in milliseconds since 1970 (UTC).
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
