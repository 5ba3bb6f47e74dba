//! The way back: packets take the gateway again, and hosts are told so.

use tidegate_fastpath::types::Nanos;
use tidegate_zsnp::{Message, Scope, Transaction, WithdrawReason};

use super::{
    IDLE_KEPT, MARGIN, Machine, Order, Said,
    withdrawals::{Due, Withdrawal},
};
use crate::{
    compile::Forbidden,
    zsnp::{
        ZsnpEvent,
        pair::{Offer, Pair, PairKey, State, Why},
    },
};

impl Machine {
    /// Nobody answered.
    pub(super) fn no_agent(&mut self, now: Nanos, key: PairKey) {
        let why = match self.pairs.get(&key).map(|pair| pair.state) {
            Some(State::Locating(_)) => Why::NoAgentThere,
            Some(State::Offering(_, offer)) => {
                // It may have heard us all the same.
                self.withdraw_one(now, key, offer, WithdrawReason::Policy);
                Why::NoAgentHere
            }
            Some(State::Idle | State::Held | State::Active(..)) | None => return,
        };
        self.hold(now, key, why, self.hold_off);
    }

    /// Idle, and nobody is asked for a while, give or take a tenth.
    pub(super) fn hold(&mut self, now: Nanos, key: PairKey, why: Why, about: Nanos) {
        let jitter = self.next_random() % (about.0 / 5).max(1);
        let until = Nanos(now.0 + about.0 - about.0 / 10 + jitter);
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.why = Some(why);
        }
        self.go(key, State::Held, Some(until), now);
    }

    /// Idle; the host, where it has something of us, is told so.
    pub(super) fn end(&mut self, now: Nanos, key: PairKey, why: Why) {
        if let Some(offer) = self.pairs.get(&key).and_then(Pair::offer) {
            self.withdraw_one(now, key, offer, reason_of(why));
        }
        self.rest(now, key, Some(why));
    }

    /// Idle.
    pub(super) fn rest(&mut self, now: Nanos, key: PairKey, why: Option<Why>) {
        if let Some(pair) = self.pairs.get_mut(&key) {
            pair.why = why.or(pair.why);
        }
        self.go(key, State::Idle, Some(Nanos(now.0 + IDLE_KEPT.0)), now);
    }

    fn withdraw_one(&mut self, now: Nanos, key: PairKey, offer: Offer, reason: WithdrawReason) {
        let Offer { via, vpc, shortcut, .. } = offer;
        let scope = Scope::One(shortcut.matches);
        self.withdraw(now, Withdrawal { via, host: key.host, vpc, scope, reason });
    }

    /// Says WITHDRAW, and again until the host has acknowledged it or its shortcuts have ended by themselves.
    pub(super) fn withdraw(&mut self, now: Nanos, withdrawal: Withdrawal) {
        let transaction = self.transaction();
        self.say_withdraw(transaction, withdrawal);
        if self.bounds.is_full(self.withdrawals.len()) {
            return self.count(ZsnpEvent::WithdrawFull);
        }
        let until = Nanos(now.0 + u64::from(self.longest_s) * 1_000_000_000 + MARGIN.0);
        self.withdrawals.said(now, transaction, withdrawal, until);
    }

    /// Says WITHDRAW once.
    pub(super) fn say_withdraw(&mut self, transaction: Transaction, withdrawal: Withdrawal) {
        let Withdrawal { via: from, host: to, vpc, scope, reason } = withdrawal;
        let said = Said { vpc, transaction, message: Message::Withdraw { scope, reason } };
        self.orders.push_back(Order::Underlay { from, to, said });
        self.count(ZsnpEvent::Withdraw);
    }

    /// Says again what nobody has acknowledged.
    pub(super) fn withdraw_again(&mut self, now: Nanos) {
        while let Some(due) = self.withdrawals.due(now) {
            match due {
                Due::Again(transaction, withdrawal) => {
                    self.count(ZsnpEvent::WithdrawAgain);
                    self.say_withdraw(transaction, withdrawal);
                }
                Due::Over => self.count(ZsnpEvent::WithdrawUnanswered),
            }
        }
    }
}

/// As a host is told.
pub(super) fn reason_of(why: Why) -> WithdrawReason {
    match why {
        Why::Forbidden(Forbidden::SwitchedOff | Forbidden::NetworkSwitchedOff) => WithdrawReason::SwitchedOff,
        Why::Forbidden(
            Forbidden::Gone
            | Forbidden::OtherUnderlay
            | Forbidden::SameNetwork
            | Forbidden::NotConnected
            | Forbidden::Translated
            | Forbidden::Limited,
        ) => WithdrawReason::Policy,
        Why::Moved | Why::Unresolved => WithdrawReason::Moved,
        Why::NoAgentThere
        | Why::NoAgentHere
        | Why::Refused(_)
        | Why::TableFull
        | Why::LocateLimit
        | Why::Withdrawing
        | Why::Unused => WithdrawReason::Policy,
    }
}
