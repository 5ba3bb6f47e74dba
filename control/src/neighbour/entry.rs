//! One neighbour.

use tidegate_fastpath::{
    table::neighbour::{Adjacency, NeighbourId},
    types::{MacAddr, Nanos},
};

/// State of a neighbour without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Asked for, no answer yet.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Known, being confirmed again; still in use.
    Probing,
    /// Did not answer.
    Failed,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Phase; 4] = [Phase::Incomplete, Phase::Reachable, Phase::Probing, Phase::Failed];

    /// The word that is shown.
    pub const fn label(self) -> &'static str {
        match self {
            Phase::Incomplete => "incomplete",
            Phase::Reachable => "reachable",
            Phase::Probing => "probing",
            Phase::Failed => "failed",
        }
    }
}

/// State of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// `asked` broadcast requests were sent.
    Incomplete { asked: u8 },
    /// Confirmed.
    Reachable,
    /// `asked` probes were sent.
    Probing { asked: u8 },
    /// Gave up.
    Failed,
}

/// An entry of the machine, beside its entry in the table.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its entry in the table.
    pub(super) id: NeighbourId,
    pub(super) state: State,
    /// When something is due.
    pub(super) deadline: Nanos,
    /// When the timer queue will look at it, at or before `deadline`; `None` while it is not queued.
    pub(super) queued: Option<Nanos>,
    pub(super) mac: Option<MacAddr>,
    pub(super) confirmed: Option<Nanos>,
    /// Failed, and not heard since.
    pub(super) silent: bool,
    /// What workers see; `None` unless resolved.
    pub(super) written: Option<Adjacency>,
}

impl Entry {
    pub(super) fn new(id: NeighbourId, now: Nanos) -> Entry {
        Entry {
            id,
            state: State::Incomplete { asked: 0 },
            deadline: now,
            queued: None,
            mac: None,
            confirmed: None,
            silent: false,
            written: None,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Incomplete { .. } => Phase::Incomplete,
            State::Reachable => Phase::Reachable,
            State::Probing { .. } => Phase::Probing,
            State::Failed => Phase::Failed,
        }
    }

    /// Has never said anything.
    pub(super) fn is_mute(&self) -> bool {
        self.mac.is_none() && self.confirmed.is_none()
    }

    pub(super) fn is_unresolved(&self) -> bool {
        matches!(self.state, State::Incomplete { .. } | State::Failed)
    }
}
