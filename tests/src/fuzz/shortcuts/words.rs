//! What the gateway has said, and what follows for what hosts may have: who has a shortcut has the gateway's word for it, no word is used
//! for longer than it holds, and none that was taken back.

use std::{collections::HashMap, net::Ipv4Addr};

use tidegate_agent::bpf::{Pair, Rule};
use tidegate_zsnp::{Authentic, Match, Message, Scope, Shortcut};

use super::{S, TRANSIT_NS};

/// How long a host may look for a way before it acts on a word: three PROBEs, and a little.
const WAY_NS: u64 = 5 * S;

/// Which of the gateway's words is older.
pub(super) type Order = (u64, u64);

/// A SHORTCUT.
#[derive(Clone, Copy, Debug)]
struct Word {
    order: Order,
    said_ns: u64,
    shortcut: Shortcut,
    heard: bool,
}

/// All words to one host.
#[derive(Debug, Default)]
pub(super) struct Words {
    said: HashMap<Match, Vec<Word>>,
    /// What the host has taken back on the gateway's word, all of it and one by one.
    withdrawn: HashMap<Option<Match>, Order>,
}

impl Words {
    /// The gateway says something.
    pub(super) fn said(&mut self, now: u64, order: Order, shortcut: Shortcut) {
        let words = self.said.entry(shortcut.matches).or_default();
        words.retain(|word| now < word.said_ns + TRANSIT_NS + 3600 * S);
        words.push(Word { order, said_ns: now, shortcut, heard: false });
    }

    /// A SHORTCUT comes to the host. Whether the host takes it is its own affair: it may use no word that did not come.
    pub(super) fn granted(&mut self, it: &Authentic) {
        if let Message::Shortcut(shortcut) = &it.message {
            let words = self.said.entry(shortcut.matches).or_default();
            words.iter_mut().filter(|word| word.order == order(it)).for_each(|word| word.heard = true);
        }
    }

    /// The host has heard a WITHDRAW.
    pub(super) fn withdrawn(&mut self, it: &Authentic) {
        let what = match &it.message {
            Message::Withdraw { scope: Scope::One(one), .. } => Some(*one),
            Message::Withdraw { scope: Scope::Vpc, .. } => None,
            _ => return,
        };
        let last = self.withdrawn.entry(what).or_default();
        *last = order(it).max(*last);
    }

    /// The host was started again: it knows nothing.
    pub(super) fn forget(&mut self) {
        self.withdrawn.clear();
        self.said.values_mut().flatten().for_each(|word| word.heard = false);
    }

    /// A host installs this.
    ///
    /// # Panics
    /// When no word allows it.
    pub(super) fn allow(&self, host: Ipv4Addr, pair: Pair, rule: &Rule, grace_ns: u64) {
        let matches = Match { vni: pair.vni, gateway_mac: rule.gateway, destination: pair.address };
        let after = |what| self.withdrawn.get(&what).copied().unwrap_or_default();
        let withdrawn = after(None).max(after(Some(matches)));
        let vtep = if rule.vtep.is_unspecified() { host } else { rule.vtep };
        let is = |word: &&Word| {
            let action = word.shortcut.action;
            let lasts = (u64::from(word.shortcut.lifetime_s) * S).max(grace_ns);
            word.heard
                && word.order > withdrawn
                && (action.vni, action.mac, action.vtep) == (rule.vni, rule.vm, vtep)
                && rule.expires_ns <= word.said_ns + TRANSIT_NS + WAY_NS + lasts
        };
        let words = self.said.get(&matches).map_or(&[][..], Vec::as_slice);
        assert!(
            words.iter().any(|word| is(&word)),
            "host {host}: nobody allowed {pair:?} {rule:?}; withdrawn {withdrawn:?}, said {words:?}"
        );
    }
}

fn order(it: &Authentic) -> Order {
    (it.header.epoch, it.header.sequence)
}
