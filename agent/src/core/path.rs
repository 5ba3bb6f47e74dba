//! The way to another host: is there one, does it carry our PROBEs, how long do they take. One PROBE per second and host, however
//! many shortcuts lead there.

use std::{collections::VecDeque, net::Ipv4Addr};

use tidegate_zsnp::{PathQuality, Transaction};

use super::table::Grant;
use crate::bpf::Pair;

/// Between two PROBEs to a host, in ns.
pub const PROBE_EVERY_NS: u64 = 1_000_000_000;
/// So many PROBEs without an answer, one behind the other, and the host is not used.
pub const LOST_MAX: u32 = 3;
/// How long a host that nothing leads to any more is still asked, in ns: whether it answers again is known before somebody asks.
const KEPT_NS: u64 = 600_000_000_000;
/// PROBEs that the share of lost ones is taken over.
const HISTORY: usize = 1000;
/// SHORTCUTs that wait for the first answer of a host.
const WAITING_MAX: usize = 1024;

/// Whether packets arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nobody has answered yet.
    Unknown,
    /// The last PROBEs were answered.
    Up,
    /// [`LOST_MAX`] were not.
    Down,
}

/// A SHORTCUT that waits until the host has answered.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// What it grants.
    pub grant: Grant,
    /// What the ACK repeats.
    pub transaction: Transaction,
}

/// The way to a host.
#[derive(Debug)]
pub struct Path {
    /// Our tunnel end that packets to it come from.
    pub local: Ipv4Addr,
    /// Interface that leads there; `None` before the kernel was asked.
    pub out: Option<u32>,
    /// Whether packets arrive.
    pub health: Health,
    /// Since when it is so.
    pub since_ns: u64,
    /// SHORTCUTs that wait for it.
    pub waiting: Vec<Waiting>,
    /// The shortcut whose destination the last PROBE asked for.
    pub asked: Option<Pair>,
    /// The PROBE under way: its question, and when it was sent.
    outstanding: Option<(Transaction, u64)>,
    lost_in_a_row: u32,
    answered: VecDeque<bool>,
    rtt_ns: u64,
    jitter_ns: u64,
    next_probe_ns: u64,
    /// When a shortcut led there last.
    used_ns: u64,
}

impl Path {
    /// A new one; its first PROBE is due as soon as a way is known.
    pub fn new(local: Ipv4Addr, now: u64) -> Path {
        Path {
            local,
            out: None,
            health: Health::Unknown,
            since_ns: now,
            waiting: Vec::new(),
            asked: None,
            outstanding: None,
            lost_in_a_row: 0,
            answered: VecDeque::new(),
            rtt_ns: 0,
            jitter_ns: 0,
            next_probe_ns: now,
            used_ns: now,
        }
    }

    /// Has a SHORTCUT wait; the oldest gives way where too many do.
    pub fn wait(&mut self, waiting: Waiting) {
        self.waiting.retain(|there| there.grant.pair() != waiting.grant.pair());
        if self.waiting.len() == WAITING_MAX {
            self.waiting.remove(0);
        }
        self.waiting.push(waiting);
    }

    /// Whether a PROBE is due.
    pub fn probe_due(&self, now: u64) -> bool {
        self.out.is_some() && now >= self.next_probe_ns
    }

    /// When the next PROBE is due.
    pub fn wakes_ns(&self) -> Option<u64> {
        self.out.map(|_| self.next_probe_ns)
    }

    /// A PROBE goes out; the one before, if it was not answered, is lost. Returns whether the host has just been found not to
    /// answer.
    pub fn probe(&mut self, question: Transaction, now: u64) -> bool {
        if self.outstanding.replace((question, now)).is_some() {
            self.note(false);
            self.lost_in_a_row += 1;
        }
        self.next_probe_ns = now + PROBE_EVERY_NS;
        let down = self.lost_in_a_row >= LOST_MAX && self.health != Health::Down;
        if down {
            self.turn(Health::Down, now);
        }
        down
    }

    /// An answer. Returns whether it was to the PROBE under way.
    pub fn reply(&mut self, question: Transaction, now: u64) -> bool {
        let Some((_, sent)) = self.outstanding.take_if(|(asked, _)| *asked == question) else { return false };
        let rtt = now.saturating_sub(sent);
        // As TCP smooths it (RFC 6298 §2).
        let first = self.rtt_ns == 0;
        let off = rtt.abs_diff(self.rtt_ns);
        self.jitter_ns = if first { rtt / 2 } else { (3 * self.jitter_ns + off) / 4 };
        self.rtt_ns = if first { rtt } else { (7 * self.rtt_ns + rtt) / 8 };
        self.note(true);
        self.lost_in_a_row = 0;
        if self.health != Health::Up {
            self.turn(Health::Up, now);
        }
        true
    }

    /// A shortcut leads there now.
    pub fn used(&mut self, now: u64) {
        self.used_ns = now;
    }

    /// Whether nothing has led there for so long that it is forgotten.
    pub fn is_over(&self, now: u64) -> bool {
        now.saturating_sub(self.used_ns) > KEPT_NS
    }

    /// Numbers for gateways and people.
    pub fn quality(&self, vtep: Ipv4Addr) -> PathQuality {
        let us = |ns: u64| u32::try_from(ns / 1000).unwrap_or(u32::MAX);
        let lost = self.answered.iter().filter(|answered| !**answered).count();
        let loss = (lost * 1000).checked_div(self.answered.len()).unwrap_or(0);
        PathQuality {
            vtep,
            rtt_us: us(self.rtt_ns),
            jitter_us: us(self.jitter_ns),
            loss_permille: u16::try_from(loss).unwrap_or(1000),
        }
    }

    fn turn(&mut self, health: Health, now: u64) {
        self.health = health;
        self.since_ns = now;
    }

    fn note(&mut self, answered: bool) {
        if self.answered.len() == HISTORY {
            self.answered.pop_front();
        }
        self.answered.push_back(answered);
    }
}
