//! What is done because time has passed.

use tidegate_zsnp::{Counters, HITS_MAX, Hit, Message, PATHS_MAX, Transaction, VpcTag};

use super::{
    Counts, Note, Output,
    decide::CAPABILITIES,
    path::{Health, Path},
    state::Agent,
    table::{Gateway, Held},
    trust::CHECK_EVERY_NS,
};
use crate::bpf::Pair;

/// How long an agent is remembered that sends PROBEs, in ns.
const ASKER_NS: u64 = 60_000_000_000;

impl Agent {
    pub(super) fn tick(&mut self, now: u64, counts: Counts<'_>) {
        self.probe_due(now, counts);
        self.renew_due(now, counts);
        for (peer, question) in self.gateways.due(now) {
            self.greet(peer, question);
        }
        self.askers.retain(|_, heard| now.saturating_sub(*heard) < ASKER_NS);
    }

    /// Asks each host that is due; those that do not answer are no longer used.
    pub(super) fn probe_due(&mut self, now: u64, counts: Counts<'_>) {
        let table = &self.table;
        self.paths.retain(|vtep, path| !path.is_over(now) || table.towards(*vtep, None).next().is_some());
        let due: Vec<_> =
            self.paths.iter().filter(|(_, path)| path.probe_due(now)).map(|(vtep, _)| *vtep).collect();
        for vtep in due {
            let question = Transaction::random();
            let Some(path) = self.paths.get_mut(&vtep) else { continue };
            let down = path.probe(question, now);
            let local = path.local;
            let waiting = if down { std::mem::take(&mut path.waiting) } else { Vec::new() };
            // Which of its VMs is asked for goes round, so that one that left is found out.
            let next = self.table.towards(vtep, path.asked).next();
            path.asked = next.or_else(|| self.table.towards(vtep, None).next());
            let towards = path.asked.and_then(|pair| self.table.get(pair)).map(|held| held.grant);
            let towards = towards.or_else(|| path.waiting.first().map(|waiting| waiting.grant));
            let any = self.view.networks.keys().next().copied();
            let asked = towards.map(|grant| (grant.action.vni, grant.matches.destination));
            if let Some((vni, destination)) = asked.or_else(|| Some((any?, vtep))) {
                let probe = Message::Probe { vni, destination, sent: now };
                self.send(local, vtep, towards.map(|g| g.vpc).unwrap_or_default(), question, &probe);
            }
            if down {
                self.give_up(waiting);
                let pairs = self.table.towards(vtep, None).collect();
                self.drop_unreachable(vtep, pairs, counts);
            }
        }
    }

    /// Looks at each shortcut that is due: was it hit, does its gateway still speak, is it over?
    fn renew_due(&mut self, now: u64, counts: Counts<'_>) {
        let mut hits: Vec<(Gateway, VpcTag, Hit)> = Vec::new();
        while let Some(pair) = self.table.next_due(now) {
            let Some(held) = self.table.get(pair) else { break };
            if now >= held.expires_ns {
                self.remove(pair, counts);
                self.totals.expired += 1;
                self.out.push_back(Output::Note(Note::Expired(pair)));
                continue;
            }
            let count = counts(held.slot);
            let hit = count.packets > held.last.packets;
            let in_use = hit || held.renewed_ns.is_some();
            let grant = held.grant;
            if in_use {
                let hit = Hit { matches: grant.matches, packets: count.packets, bytes: count.bytes };
                hits.push((grant.gateway, grant.vpc, hit));
            }
            let prolong = in_use && self.may_prolong(held, now);
            self.table.update(pair, now, |held| {
                held.last = count;
                if prolong {
                    held.expires_ns = held.expires_ns.max(now + held.grant.lifetime_ns);
                }
                held.renewed_ns = if in_use { Some(now) } else { None };
            });
            if prolong {
                self.totals.prolonged += 1;
                self.install(pair, false);
                // Whether it is in use is asked again from here.
                self.table.update(pair, now, |held| held.renewed_ns = hit.then_some(now));
            }
        }
        self.send_renews(hits, now);
    }

    /// Whether a shortcut in use goes on without its gateway: the gateway has said nothing since it was asked to renew it, the
    /// host at the other end answers, and the grace is not over.
    fn may_prolong(&self, held: &Held, now: u64) -> bool {
        let heard = self.gateways.heard_ns(held.grant.gateway.sender).unwrap_or(0);
        let silent = held.renewed_ns.is_some_and(|asked| heard + CHECK_EVERY_NS < asked);
        let up = match self.paths.get(&held.grant.action.vtep) {
            Some(path) => path.health == Health::Up,
            // It does not leave this host.
            None => super::own_vteps(&self.view).contains(&held.grant.action.vtep),
        };
        let end = now + held.grant.lifetime_ns;
        silent && up && end <= held.granted_ns + self.settings.grace_ns.max(held.grant.lifetime_ns)
    }

    fn send_renews(&mut self, mut hits: Vec<(Gateway, VpcTag, Hit)>, now: u64) {
        hits.sort_by_key(|(gateway, vpc, _)| (gateway.vtep, gateway.sender, *vpc));
        self.check_gateways(&hits, now);
        for same in hits.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            for few in same.chunks(HITS_MAX) {
                let (gateway, vpc, first) = few[0];
                let Some(uplink) = self.view.networks.get(&first.matches.vni) else { continue };
                let renew = Message::Renew(few.iter().map(|(_, _, hit)| *hit).collect());
                self.send(uplink.vtep, gateway.vtep, vpc, Transaction::random(), &renew);
            }
        }
    }

    /// Greets the gateways of these hits: one that lives answers that in any case.
    fn check_gateways(&mut self, hits: &[(Gateway, VpcTag, Hit)], now: u64) {
        for same in hits.chunk_by(|a, b| a.0 == b.0) {
            if let Some((peer, question)) = self.gateways.check(same[0].0.sender, now) {
                self.greet(peer, question);
            }
        }
    }

    /// Who we are, what we count, what our PROBEs say.
    pub(super) fn hello(&self) -> Message {
        let counters = Counters {
            shortcuts: self.table.len() as u64,
            packets: self.totals.past.packets + self.table.iter().map(|held| held.last.packets).sum::<u64>(),
            bytes: self.totals.past.bytes + self.table.iter().map(|held| held.last.bytes).sum::<u64>(),
            refused: self.refusals().total(),
        };
        let used = |path: &&Path| path.health == Health::Up;
        let paths = self.paths.iter().filter(|(_, path)| used(path)).map(|(vtep, path)| path.quality(*vtep));
        Message::Hello {
            capabilities: CAPABILITIES,
            counters: Some(counters),
            paths: paths.take(PATHS_MAX).collect(),
        }
    }

    /// All shortcuts, for those that stop.
    pub fn pairs(&self) -> Vec<Pair> {
        self.table.pairs(|_| true)
    }
}
