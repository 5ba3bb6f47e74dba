//! What hosts say.

use std::net::Ipv4Addr;

use tidegate_fastpath::types::Nanos;
use tidegate_zsnp::{
    Authentic, Capabilities, Hit, Message, RefusedWhy, Scope, Station, Status, Transaction, VpcTag,
    WithdrawReason,
};

use super::{Machine, Order, Said, TABLE_FULL_HELD, end::reason_of, retry, withdrawals::Withdrawal};
use crate::zsnp::{
    ZsnpEvent,
    pair::{Asked, PairKey, State, Why},
    site::{Place, Site},
};

/// Where a message came from.
#[derive(Clone, Copy)]
struct Line {
    /// The host.
    from: Ipv4Addr,
    /// Our tunnel end.
    to: Ipv4Addr,
    transaction: Transaction,
}

impl Machine {
    /// A host said something.
    pub fn heard(&mut self, now: Nanos, site: &impl Site, from: Ipv4Addr, to: Ipv4Addr, got: &Authentic) {
        let line = Line { from, to, transaction: got.header.transaction };
        if self.peers.hear(now, from, got.header.sender).is_none() {
            self.count(ZsnpEvent::PeersFull);
        }
        match &got.message {
            Message::Here { station, vtep, capabilities, mtu: _ } => {
                self.here(now, site, line, station, *vtep, *capabilities);
            }
            Message::Ack(status) => self.ack(now, line, *status),
            Message::Renew(hits) => hits.iter().for_each(|hit| self.renew(now, site, line, hit)),
            Message::Hello { capabilities, counters, paths } => {
                let peer = self.peers.hear(now, from, got.header.sender);
                if peer.is_some_and(|peer| peer.hello(now, line.transaction, *capabilities, *counters, paths))
                {
                    self.count(ZsnpEvent::Hello);
                    let capabilities = Capabilities::default();
                    let message = Message::Hello { capabilities, counters: None, paths: Vec::new() };
                    self.reply(line, VpcTag::default(), message);
                }
            }
            Message::Locate(_)
            | Message::Shortcut(_)
            | Message::Withdraw { .. }
            | Message::Probe { .. }
            | Message::ProbeReply { .. } => self.count(ZsnpEvent::Unexpected),
        }
    }

    /// Somebody has the destination.
    fn here(
        &mut self,
        now: Nanos,
        site: &impl Site,
        line: Line,
        station: &Station,
        vtep: Ipv4Addr,
        capabilities: Capabilities,
    ) {
        let Some((key, State::Locating(_))) = self.open(line.transaction) else {
            return self.count(ZsnpEvent::Stray);
        };
        let asked = || {
            let leg = site.judge(key.source, key.destination).ok()?;
            let vni = site.wire(leg.egress)?.vni;
            Some((vni, site.place(leg.egress, key.destination)?))
        };
        // Where somebody is, its own packets say; a host cannot draw the traffic of others.
        let place = Place { mac: station.mac, vtep };
        if asked() != Some((station.vni, place)) || station.address != key.destination {
            return self.count(ZsnpEvent::Elsewhere);
        }
        self.count(ZsnpEvent::Here);
        if !capabilities.has(Capabilities::DESTINATION) {
            return self.hold(now, key, Why::NoAgentThere, self.hold_off);
        }
        self.offer(now, site, key);
    }

    /// How an offer went.
    fn ack(&mut self, now: Nanos, line: Line, status: Status) {
        if status == Status::Removed && self.withdrawals.answered(line.transaction, line.from) {
            return;
        }
        let (key, asked, offer) = match self.open(line.transaction) {
            Some((key, State::Offering(asked, offer))) if key.host == line.from => (key, asked, offer),
            // Of what answered a RENEW, or of a WITHDRAW that was said twice.
            None if matches!(status, Status::Installed | Status::Removed) => return,
            _ => return self.count(ZsnpEvent::Stray),
        };
        match status {
            Status::Installed => {
                self.count(ZsnpEvent::Installed);
                if let Some(pair) = self.pairs.get_mut(&key) {
                    pair.counted = (0, 0);
                }
                self.activate(now, key, offer);
            }
            // It asks us first whether that is really us; told again, it knows.
            Status::Refused(RefusedWhy::NotFresh) => {
                self.count(ZsnpEvent::Refused);
                let again = Asked { tries: asked.tries.max(1), ..asked };
                self.go(
                    key,
                    State::Offering(again, offer),
                    Some(retry(now, Asked { tries: 1, ..again })),
                    now,
                );
            }
            Status::Refused(why) => {
                self.count(ZsnpEvent::Refused);
                self.hold(now, key, Why::Refused(why), self.hold_off);
            }
            Status::TableFull => {
                self.count(ZsnpEvent::Refused);
                self.hold(now, key, Why::TableFull, TABLE_FULL_HELD);
            }
            Status::Removed => self.count(ZsnpEvent::Stray),
        }
    }

    /// A shortcut was used. What we do not know of, a gateway before us has offered: it goes on if the policy allows it.
    fn renew(&mut self, now: Nanos, site: &impl Site, line: Line, hit: &Hit) {
        let m = hit.matches;
        // Said once: the next RENEW meets it again.
        let refuse = |machine: &mut Machine, reason| {
            let (via, host, vpc, scope) = (line.to, line.from, VpcTag::default(), Scope::One(m));
            machine.say_withdraw(line.transaction, Withdrawal { via, host, vpc, scope, reason });
        };
        let Some(source) = site.network(line.to, m.vni, m.gateway_mac) else {
            return refuse(self, WithdrawReason::Policy);
        };
        let key = PairKey { host: line.from, source, destination: m.destination };
        let offer = match self.shortcut(now, site, key) {
            Ok(offer) => offer,
            Err(Why::Unresolved) => {
                if let Ok(leg) = site.judge(source, m.destination) {
                    self.orders.push_back(Order::Resolve(leg.egress, m.destination));
                }
                return;
            }
            Err(why) => {
                refuse(self, reason_of(why));
                return self.rest_if_known(now, key, why);
            }
        };
        if self.withdrawals.waits_for(key.host, offer.vpc) {
            return refuse(self, WithdrawReason::SwitchedOff);
        }
        match self.pairs.get(&key).and_then(|pair| pair.offer()) {
            Some(known) if known.shortcut.action != offer.shortcut.action => {
                refuse(self, WithdrawReason::Moved);
                return self.rest_if_known(now, key, Why::Moved);
            }
            Some(_) => self.count(ZsnpEvent::Renewed),
            None => {
                let Some(wire) = site.wire(source) else { return };
                let known = self.pairs.contains_key(&key);
                if !known && !self.insert(now, key, wire.vrf, Ipv4Addr::UNSPECIFIED) {
                    return;
                }
                // What it counted before is counted.
                if let Some(pair) = self.pairs.get_mut(&key) {
                    pair.counted = (hit.packets, hit.bytes);
                }
                self.count(ZsnpEvent::Adopted);
            }
        }
        self.withdrawals.overtaken(key.host, m);
        self.add_up(key, hit);
        let at = self.pairs.get(&key).and_then(|pair| pair.offer()).map_or(now, |known| known.at);
        self.activate(now, key, super::Offer { at, ..offer });
        self.count(ZsnpEvent::Shortcut);
        self.reply(line, offer.vpc, Message::Shortcut(offer.shortcut));
    }

    /// Adds what went direct since the host said so last.
    fn add_up(&mut self, key: PairKey, hit: &Hit) {
        let Some(pair) = self.pairs.get_mut(&key) else { return };
        let (packets, bytes) = pair.counted;
        // A host that installed it anew begins at 0.
        let anew = hit.packets < packets || hit.bytes < bytes;
        let (packets, bytes) =
            if anew { (hit.packets, hit.bytes) } else { (hit.packets - packets, hit.bytes - bytes) };
        pair.counted = (hit.packets, hit.bytes);
        pair.packets = pair.packets.saturating_add(packets);
        pair.bytes = pair.bytes.saturating_add(bytes);
        let share = self.shares.entry(pair.vrf).or_default();
        share.direct_packets = share.direct_packets.saturating_add(packets);
        share.direct_bytes = share.direct_bytes.saturating_add(bytes);
    }

    fn rest_if_known(&mut self, now: Nanos, key: PairKey, why: Why) {
        if self.pairs.contains_key(&key) {
            self.rest(now, key, Some(why));
        }
    }

    /// The pair whose question is open under this transaction.
    fn open(&self, transaction: Transaction) -> Option<(PairKey, State)> {
        let key = self.asking.get(&transaction)?;
        Some((*key, self.pairs.get(key)?.state))
    }

    fn reply(&mut self, line: Line, vpc: VpcTag, message: Message) {
        let said = Said { vpc, transaction: line.transaction, message };
        self.orders.push_back(Order::Underlay { from: line.to, to: line.from, said });
    }
}
