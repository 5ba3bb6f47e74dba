//! WITHDRAWs that their host has not acknowledged. One may be lost on the way; it is said again until the host answers, or until what
//! it takes away has ended by itself.

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
};

use tidegate_fastpath::types::Nanos;
use tidegate_zsnp::{Match, Scope, Transaction, VpcTag, WithdrawReason};

use super::{RETRY, retry_after};

/// What a host is to forget.
#[derive(Clone, Copy, Debug)]
pub(super) struct Withdrawal {
    /// Our tunnel end.
    pub(super) via: Ipv4Addr,
    /// The host.
    pub(super) host: Ipv4Addr,
    pub(super) vpc: VpcTag,
    pub(super) scope: Scope,
    pub(super) reason: WithdrawReason,
}

impl Withdrawal {
    /// Two of one subject are one: what is said last holds.
    fn subject(&self) -> Subject {
        match self.scope {
            Scope::One(one) => (self.host, VpcTag::default(), Scope::One(one)),
            scope => (self.host, self.vpc, scope),
        }
    }
}

type Subject = (Ipv4Addr, VpcTag, Scope);

/// One that waits for its ACK.
#[derive(Clone, Copy, Debug)]
struct Open {
    withdrawal: Withdrawal,
    tries: u32,
    /// When it is said again.
    due: Nanos,
    /// When nothing is left that it could take away.
    until: Nanos,
}

/// What is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// Say it again.
    Again(Transaction, Withdrawal),
    /// Nobody answered, and it no longer matters.
    Over,
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Withdrawals {
    open: HashMap<Transaction, Open>,
    timers: BTreeSet<(Nanos, Transaction)>,
    subjects: HashMap<Subject, Transaction>,
}

impl Withdrawals {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// One was said for the first time; its shortcuts have ended by `until`.
    pub(super) fn said(
        &mut self,
        now: Nanos,
        transaction: Transaction,
        withdrawal: Withdrawal,
        until: Nanos,
    ) {
        if let Some(before) = self.subjects.insert(withdrawal.subject(), transaction) {
            self.forget(before);
            self.subjects.insert(withdrawal.subject(), transaction);
        }
        let due = Nanos(now.0 + RETRY.0);
        self.timers.insert((due, transaction));
        self.open.insert(transaction, Open { withdrawal, tries: 1, due, until });
    }

    /// A host has acknowledged one. Returns whether it was one that was said to it.
    pub(super) fn answered(&mut self, transaction: Transaction, host: Ipv4Addr) -> bool {
        let is_its = self.open.get(&transaction).is_some_and(|open| open.withdrawal.host == host);
        if is_its {
            self.forget(transaction);
        }
        is_its
    }

    /// A host is told something newer about these packets.
    pub(super) fn overtaken(&mut self, host: Ipv4Addr, matches: Match) {
        let subject = (host, VpcTag::default(), Scope::One(matches));
        if let Some(transaction) = self.subjects.get(&subject).copied() {
            self.forget(transaction);
        }
    }

    /// Whether a host has yet to hear that it shall forget all of a VPC: what it is told of this VPC before that, it may forget, too.
    pub(super) fn waits_for(&self, host: Ipv4Addr, vpc: VpcTag) -> bool {
        self.subjects.contains_key(&(host, vpc, Scope::Vpc))
    }

    /// The next that is due by `now`.
    pub(super) fn due(&mut self, now: Nanos) -> Option<Due> {
        let (at, transaction) = self.timers.first().copied().filter(|(at, _)| *at <= now)?;
        let open = self.open.get_mut(&transaction)?;
        if now >= open.until {
            self.forget(transaction);
            return Some(Due::Over);
        }
        open.tries += 1;
        open.due = Nanos(open.until.0.min(now.0 + retry_after(open.tries).0));
        let (due, withdrawal) = (open.due, open.withdrawal);
        self.timers.remove(&(at, transaction));
        self.timers.insert((due, transaction));
        Some(Due::Again(transaction, withdrawal))
    }

    fn forget(&mut self, transaction: Transaction) {
        let Some(open) = self.open.remove(&transaction) else { return };
        self.timers.remove(&(open.due, transaction));
        self.subjects.remove(&open.withdrawal.subject());
    }
}
