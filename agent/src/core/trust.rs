//! Gateways that talk to us, and whether what they say is of now.
//!
//! A tag says who wrote a message, the replay window that it was not taken before. An agent that has just started has taken nothing
//! before: somebody could play it a SHORTCUT of yesterday. So the first thing that a gateway hears from it is a HELLO with a random
//! question, and a SHORTCUT counts only when it was written after the answer.

use std::{collections::HashMap, net::Ipv4Addr};

use tidegate_zsnp::{Header, SenderId, Transaction};

/// Between two HELLOs to a gateway, in ns.
pub(super) const HELLO_EVERY_NS: u64 = 10_000_000_000;
/// Between two questions to a gateway that is not trusted yet, in ns.
const ASK_AGAIN_NS: u64 = 50_000_000;
/// Between two HELLOs that go with a RENEW, in ns.
pub(super) const CHECK_EVERY_NS: u64 = 100_000_000;
/// A gateway that was silent for so long is not greeted any more, in ns. Longer than the longest grace.
const FORGOTTEN_NS: u64 = 24 * 3_600_000_000_000;
/// Gateways that are remembered.
const GATEWAYS_MAX: usize = 256;

/// A gateway.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// Its tunnel end.
    pub vtep: Ipv4Addr,
    /// Our tunnel end that it talks to.
    pub local: Ipv4Addr,
    /// When it was heard last, in ns since boot.
    pub heard_ns: u64,
    /// Since when what it writes is of now: boot epoch and sequence number.
    fresh: Option<(u64, u64)>,
    question: Option<Transaction>,
    greeted_ns: u64,
}

/// All gateways that talked to us.
#[derive(Debug, Default)]
pub(super) struct Gateways(HashMap<SenderId, Peer>);

impl Gateways {
    /// A gateway was heard.
    pub(super) fn heard(&mut self, sender: SenderId, vtep: Ipv4Addr, local: Ipv4Addr, now: u64) {
        if !self.0.contains_key(&sender) && self.0.len() >= GATEWAYS_MAX {
            let oldest = self.0.iter().min_by_key(|(_, peer)| peer.heard_ns).map(|(id, _)| *id);
            oldest.and_then(|id| self.0.remove(&id));
        }
        let new = Peer {
            vtep,
            local,
            heard_ns: now,
            fresh: None,
            question: None,
            greeted_ns: now.saturating_sub(HELLO_EVERY_NS),
        };
        let peer = self.0.entry(sender).or_insert(new);
        (peer.vtep, peer.local, peer.heard_ns) = (vtep, local, now);
    }

    /// When a gateway was heard last.
    pub(super) fn heard_ns(&self, sender: SenderId) -> Option<u64> {
        self.0.get(&sender).map(|peer| peer.heard_ns)
    }

    /// Whether a message was written after its sender answered a question of ours.
    pub(super) fn is_fresh(&self, header: &Header) -> bool {
        let since = self.0.get(&header.sender).and_then(|peer| peer.fresh);
        since.is_some_and(|(epoch, sequence)| header.epoch == epoch && header.sequence > sequence)
    }

    /// Takes a HELLO; one that answers a question of ours says from when on its sender's messages are of now.
    pub(super) fn answered(&mut self, header: &Header) {
        let Some(peer) = self.0.get_mut(&header.sender) else { return };
        if peer.question.take_if(|asked| *asked == header.transaction).is_none() {
            return;
        }
        // What was written before the newest answer but after an older one stays fresh.
        if peer.fresh.is_none_or(|(epoch, _)| epoch != header.epoch) {
            peer.fresh = Some((header.epoch, header.sequence));
        }
    }

    /// A gateway has withdrawn something: a SHORTCUT that it wrote before that and that comes after it would bring it back.
    pub(super) fn withdrew(&mut self, header: &Header) {
        let fresh = self.0.get_mut(&header.sender).and_then(|peer| peer.fresh.as_mut());
        if let Some((_, since)) = fresh.filter(|(epoch, _)| *epoch == header.epoch) {
            *since = (*since).max(header.sequence);
        }
    }

    /// A question to a gateway that is not trusted yet, unless one is under way.
    pub(super) fn ask(&mut self, sender: SenderId, now: u64) -> Option<(Peer, Transaction)> {
        let peer = self.0.get_mut(&sender)?;
        if peer.question.is_some() && now < peer.greeted_ns + ASK_AGAIN_NS {
            return None;
        }
        Some(greet(peer, now))
    }

    /// A HELLO to a gateway that is asked for something else at this moment, so that its silence means something; none if one
    /// was sent within [`CHECK_EVERY_NS`].
    pub(super) fn check(&mut self, sender: SenderId, now: u64) -> Option<(Peer, Transaction)> {
        let peer = self.0.get_mut(&sender).filter(|peer| now >= peer.greeted_ns + CHECK_EVERY_NS)?;
        Some(greet(peer, now))
    }

    /// HELLOs that are due.
    pub(super) fn due(&mut self, now: u64) -> Vec<(Peer, Transaction)> {
        self.0.retain(|_, peer| now.saturating_sub(peer.heard_ns) <= FORGOTTEN_NS);
        let due = self.0.values_mut().filter(|peer| now >= peer.greeted_ns + HELLO_EVERY_NS);
        due.map(|peer| greet(peer, now)).collect()
    }

    /// When the next HELLO is due.
    pub(super) fn wakes_ns(&self) -> Option<u64> {
        self.0.values().map(|peer| peer.greeted_ns + HELLO_EVERY_NS).min()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SenderId, &Peer)> {
        self.0.iter()
    }
}

fn greet(peer: &mut Peer, now: u64) -> (Peer, Transaction) {
    let question = Transaction::random();
    (peer.question, peer.greeted_ns) = (Some(question), now);
    (*peer, question)
}
