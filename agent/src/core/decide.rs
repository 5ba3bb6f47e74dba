//! What is done about a message, a change of the host, a way that came or went.

use std::net::Ipv4Addr;

use tidegate_zsnp::{
    Authentic, Capabilities, Match, Message, RefusedWhy, Scope, Shortcut, Station, Status, Transaction, Vni,
    VpcTag, WithdrawReason,
};

use super::{
    Counts, Note, Output, View, own_vteps,
    path::{Health, Path, Waiting},
    state::Agent,
    table::{Gateway, Grant, Held},
    trust::Peer,
};
use crate::bpf::Pair;

/// What this agent can do.
pub(super) const CAPABILITIES: Capabilities =
    Capabilities::SOURCE.and(Capabilities::DESTINATION).and(Capabilities::PROBE);

/// The longest lifetime that a gateway may ask for, in s.
const LIFETIME_S_MAX: u32 = 3600;
/// Addresses of VMs that are remembered from LOCATEs.
const LOCATED_MAX: usize = 65_536;
/// Agents that are remembered from their PROBEs.
const ASKERS_MAX: usize = 16_384;

/// Where a question came from, and where its answer goes.
struct Asked {
    /// Our tunnel end.
    local: Ipv4Addr,
    /// The asker's.
    from: Ipv4Addr,
    vpc: VpcTag,
    transaction: Transaction,
}

impl Agent {
    /// A message to a VM of ours.
    pub(super) fn overlay(&mut self, vni: Vni, from: Ipv4Addr, it: &Authentic, now: u64, counts: Counts<'_>) {
        let Some(uplink) = self.view.networks.get(&vni).copied() else { return };
        let local = uplink.vtep;
        let asked = Asked { local, from, vpc: it.header.vpc, transaction: it.header.transaction };
        match &it.message {
            Message::Locate(station) if station.vni == vni => {
                self.gateways.heard(it.header.sender, from, local, now);
                self.locate(&asked, station, uplink.mtu);
            }
            Message::Shortcut(shortcut) if shortcut.matches.vni == vni => {
                self.gateways.heard(it.header.sender, from, local, now);
                self.shortcut(&asked, it, shortcut, now, counts);
            }
            Message::Withdraw { scope, reason } => {
                self.take_withdraw(&asked, it, *scope, *reason, now, counts)
            }
            _ => self.totals.unexpected += 1,
        }
    }

    /// A message to our tunnel end.
    pub(super) fn underlay(
        &mut self,
        (from, local): (Ipv4Addr, Ipv4Addr),
        it: &Authentic,
        now: u64,
        counts: Counts<'_>,
    ) {
        if !own_vteps(&self.view).contains(&local) {
            return;
        }
        let asked = Asked { local, from, vpc: it.header.vpc, transaction: it.header.transaction };
        match &it.message {
            Message::Shortcut(shortcut) => {
                self.gateways.heard(it.header.sender, from, local, now);
                self.shortcut(&asked, it, shortcut, now, counts);
            }
            Message::Withdraw { scope, reason } => {
                self.take_withdraw(&asked, it, *scope, *reason, now, counts)
            }
            Message::Probe { vni, destination, sent } => {
                self.probed(&asked, *vni, *destination, *sent, now);
            }
            Message::ProbeReply { .. } => self.probe_reply(from, it.header.transaction, now, counts),
            Message::Hello { .. } => {
                // It is an answer, or nothing: nobody answers an answer.
                self.gateways.heard(it.header.sender, from, local, now);
                self.gateways.answered(&it.header);
            }
            // How a WITHDRAW of ours went changes nothing here.
            Message::Ack(_) => {}
            _ => self.totals.unexpected += 1,
        }
    }

    fn locate(&mut self, asked: &Asked, station: &Station, mtu: u32) {
        if !self.view.vms.contains_key(&(station.vni, station.mac)) {
            return;
        }
        let place = (station.vni, station.address);
        if self.located.len() < LOCATED_MAX || self.located.contains_key(&place) {
            self.located.insert(place, station.mac);
        }
        self.totals.here += 1;
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        let here = Message::Here { station: *station, vtep: asked.local, mtu, capabilities: CAPABILITIES };
        self.answer(asked, &here);
    }

    fn shortcut(&mut self, asked: &Asked, it: &Authentic, shortcut: &Shortcut, now: u64, counts: Counts<'_>) {
        if !self.gateways.is_fresh(&it.header) {
            if let Some((peer, question)) = self.gateways.ask(it.header.sender, now) {
                self.greet(peer, question);
            }
            return self.refuse(asked, RefusedWhy::NotFresh);
        }
        if !self.on {
            return self.refuse(asked, RefusedWhy::Policy);
        }
        let Some(uplink) = self.view.networks.get(&shortcut.matches.vni).copied() else {
            return self.refuse(asked, RefusedWhy::UnknownVni);
        };
        if shortcut.lifetime_s > LIFETIME_S_MAX {
            return self.refuse(asked, RefusedWhy::Unsupported);
        }
        let grant = Grant {
            matches: shortcut.matches,
            action: shortcut.action,
            lifetime_ns: u64::from(shortcut.lifetime_s) * 1_000_000_000,
            mtu: uplink.mtu.min(u32::from(shortcut.mtu)),
            gateway: Gateway { sender: it.header.sender, vtep: asked.from },
            vpc: it.header.vpc,
        };
        let vtep = shortcut.action.vtep;
        if own_vteps(&self.view).contains(&vtep) {
            return match self.view.vms.get(&(shortcut.action.vni, shortcut.action.mac)) {
                Some(port) => self.take_grant(asked.transaction, grant, *port, asked.local, now, counts),
                None => self.refuse(asked, RefusedWhy::Unreachable),
            };
        }
        if !self.table.has_room(&grant) {
            self.totals.table_full += 1;
            return self.answer(asked, &Message::Ack(Status::TableFull));
        }
        let known = self.paths.contains_key(&vtep);
        let path = self.paths.entry(vtep).or_insert_with(|| Path::new(uplink.vtep, now));
        path.used(now);
        match (path.health, path.out) {
            (Health::Up, Some(out)) => {
                self.take_grant(asked.transaction, grant, out, asked.local, now, counts);
            }
            (Health::Down, _) => self.refuse(asked, RefusedWhy::Unreachable),
            _ => {
                path.wait(Waiting { grant, transaction: asked.transaction });
                if !known {
                    self.out.push_back(Output::AskRoute(vtep));
                }
            }
        }
    }

    /// Installs what was granted, and says so.
    fn take_grant(
        &mut self,
        transaction: Transaction,
        grant: Grant,
        out: u32,
        local: Ipv4Addr,
        now: u64,
        counts: Counts<'_>,
    ) {
        let pair = grant.pair();
        if !self.view.networks.contains_key(&pair.vni) {
            // Gone while its host was asked.
            return self.refuse(
                &Asked { local, from: grant.gateway.vtep, vpc: grant.vpc, transaction },
                RefusedWhy::UnknownVni,
            );
        }
        let slot = self.table.get(pair).map(|held| held.slot);
        let other = |held: &&Held| held.grant.action != grant.action || held.grant.matches != grant.matches;
        // What leads elsewhere now begins to count anew.
        if self.table.get(pair).filter(other).is_some() && self.table.has_room(&grant) {
            self.remove(pair, counts);
        }
        let known = self.table.get(pair).is_some();
        let status = match self.table.grant(grant, out, now) {
            Ok(held) => {
                let fresh = !known || slot != Some(held.slot);
                self.install(pair, fresh);
                Status::Installed
            }
            Err(_) => Status::TableFull,
        };
        match status {
            Status::Installed if !known => {
                self.totals.installed += 1;
                self.out.push_back(Output::Note(Note::Installed(grant)));
            }
            Status::TableFull => self.totals.table_full += 1,
            _ => {}
        }
        self.send(local, grant.gateway.vtep, grant.vpc, transaction, &Message::Ack(status));
    }

    fn take_withdraw(
        &mut self,
        asked: &Asked,
        it: &Authentic,
        scope: Scope,
        reason: WithdrawReason,
        now: u64,
        counts: Counts<'_>,
    ) {
        let header = it.header;
        if self.gateways.heard_ns(header.sender).is_some() {
            self.gateways.heard(header.sender, asked.from, asked.local, now);
        }
        let of_pair = |matches: Match| Pair { vni: matches.vni, address: matches.destination };
        let covers = |grant: &Grant| {
            let granted = grant.gateway.sender == header.sender || grant.gateway.vtep == asked.from;
            match scope {
                Scope::One(matches) => granted && grant.pair() == of_pair(matches),
                Scope::Vni(vni) => granted && grant.matches.vni == vni,
                Scope::Vpc => granted && grant.vpc == header.vpc,
                // The host where they lead may say so, too, but no other.
                Scope::Towards { vni, destination } => {
                    let there = grant.action.vni == vni && grant.matches.destination == destination;
                    there && (granted || grant.action.vtep == asked.from)
                }
            }
        };
        let pairs = match scope {
            Scope::One(matches) => {
                let held = self.table.get(of_pair(matches)).filter(|held| covers(&held.grant));
                held.map(|held| held.grant.pair()).into_iter().collect()
            }
            _ => self.table.pairs(|held| covers(&held.grant)),
        };
        for path in self.paths.values_mut() {
            path.waiting.retain(|waiting| !covers(&waiting.grant));
        }
        self.withdraw(pairs, reason, counts);
        // Hosts do not wait for an answer.
        if !matches!(scope, Scope::Towards { .. }) || self.gateways.heard_ns(header.sender).is_some() {
            self.answer(asked, &Message::Ack(Status::Removed));
        }
    }

    fn probed(&mut self, asked: &Asked, vni: Vni, destination: Ipv4Addr, sent: u64, now: u64) {
        if self.askers.len() < ASKERS_MAX || self.askers.contains_key(&asked.from) {
            self.askers.insert(asked.from, now);
        }
        let gone = self
            .located
            .get(&(vni, destination))
            .is_some_and(|mac| !self.view.vms.contains_key(&(vni, *mac)));
        if gone {
            self.tell_moved(vni, destination, asked.from);
        }
        self.answer(asked, &Message::ProbeReply { sent });
    }

    fn probe_reply(&mut self, from: Ipv4Addr, transaction: Transaction, now: u64, counts: Counts<'_>) {
        let Some(path) = self.paths.get_mut(&from) else { return };
        if !path.reply(transaction, now) {
            return;
        }
        let (local, out) = (path.local, path.out);
        for waiting in std::mem::take(&mut path.waiting) {
            if let Some(out) = out {
                self.take_grant(waiting.transaction, waiting.grant, out, local, now, counts);
            }
        }
    }

    /// The kernel said which interface leads to a host.
    pub(super) fn take_route(&mut self, vtep: Ipv4Addr, out: Option<u32>, counts: Counts<'_>, now: u64) {
        let Some(path) = self.paths.get_mut(&vtep) else { return };
        if path.out == out && out.is_some() {
            return;
        }
        path.out = out;
        let pairs: Vec<Pair> = self.table.towards(vtep, None).collect();
        let Some(out) = out else {
            let path = self.paths.remove(&vtep);
            self.give_up(path.map(|path| path.waiting).unwrap_or_default());
            return self.drop_unreachable(vtep, pairs, counts);
        };
        for pair in pairs {
            self.table.update(pair, now, |held| held.out = out);
            self.install(pair, false);
        }
        self.probe_due(now, counts);
    }

    /// Tells who waits for a host that there is no way.
    pub(super) fn give_up(&mut self, waiting: Vec<Waiting>) {
        for Waiting { grant, transaction } in waiting {
            let Some(uplink) = self.view.networks.get(&grant.matches.vni) else { continue };
            let (local, from, vpc) = (uplink.vtep, grant.gateway.vtep, grant.vpc);
            self.refuse(&Asked { local, from, vpc, transaction }, RefusedWhy::Unreachable);
        }
    }

    /// Removes shortcuts to a host that cannot be reached.
    pub(super) fn drop_unreachable(&mut self, vtep: Ipv4Addr, pairs: Vec<Pair>, counts: Counts<'_>) {
        if pairs.is_empty() {
            return;
        }
        self.out.push_back(Output::Note(Note::Unreachable(vtep, pairs.len())));
        for pair in pairs {
            if self.remove(pair, counts).is_some() {
                self.totals.unreachable += 1;
            }
        }
    }

    /// The operator of this host wants shortcuts, or none.
    pub(super) fn switch(&mut self, on: bool, counts: Counts<'_>) {
        self.on = on;
        if !on {
            for path in self.paths.values_mut() {
                path.waiting.clear();
            }
            self.withdraw(self.table.pairs(|_| true), WithdrawReason::SwitchedOff, counts);
        }
    }

    /// The host has changed.
    pub(super) fn take_view(&mut self, view: View, counts: Counts<'_>, now: u64) {
        let before = std::mem::replace(&mut self.view, view);
        // Whoever was asked for and is no longer here: agents that send here hear of it before their next packet.
        let left = |key: &(Vni, tidegate_zsnp::Mac)| {
            before.vms.contains_key(key) && !self.view.vms.contains_key(key)
        };
        let places: Vec<_> = self
            .located
            .iter()
            .filter(|((vni, _), mac)| left(&(*vni, **mac)))
            .map(|(place, _)| *place)
            .collect();
        let askers: Vec<Ipv4Addr> = self.askers.keys().copied().collect();
        for (vni, address) in places {
            for asker in &askers {
                self.tell_moved(vni, address, *asker);
            }
        }
        self.follow_networks(&before, counts);
        self.follow_ports(&before, counts, now);
    }

    /// What enters by a network that is no longer here, or with another tunnel end, has no shortcut any more.
    fn follow_networks(&mut self, before: &View, counts: Counts<'_>) {
        if before.networks == self.view.networks {
            return;
        }
        let same = |vni| before.networks.get(&vni) == self.view.networks.get(&vni);
        let gone = self.table.pairs(|held| !same(held.grant.matches.vni));
        for path in self.paths.values_mut() {
            path.waiting.retain(|waiting| same(waiting.grant.matches.vni));
        }
        for pair in gone {
            self.remove(pair, counts);
        }
    }

    /// Shortcuts that stay on this host follow their VM's port.
    fn follow_ports(&mut self, before: &View, counts: Counts<'_>, now: u64) {
        let own = own_vteps(&self.view);
        let port =
            |view: &View, held: &Held| view.vms.get(&(held.grant.action.vni, held.grant.action.mac)).copied();
        let stay = own.iter().flat_map(|vtep| self.table.towards(*vtep, None));
        let moved = |pair: &Pair| {
            self.table.get(*pair).is_some_and(|held| port(before, held) != port(&self.view, held))
        };
        let moved: Vec<Pair> = stay.filter(moved).collect();
        for pair in moved {
            match self.table.get(pair).and_then(|held| port(&self.view, held)) {
                Some(out) => {
                    self.table.update(pair, now, |held| held.out = out);
                    self.install(pair, false);
                }
                None => self.withdraw(vec![pair], WithdrawReason::Moved, counts),
            }
        }
    }

    pub(super) fn tell_moved(&mut self, vni: Vni, destination: Ipv4Addr, to: Ipv4Addr) {
        let own = self.view.networks.get(&vni).map(|uplink| uplink.vtep);
        let Some(from) = own.or_else(|| own_vteps(&self.view).first().copied()) else { return };
        self.totals.moved += 1;
        let scope = Scope::Towards { vni, destination };
        let moved = Message::Withdraw { scope, reason: WithdrawReason::Moved };
        self.send(from, to, VpcTag::default(), Transaction::random(), &moved);
    }

    pub(super) fn greet(&mut self, peer: Peer, question: Transaction) {
        let hello = self.hello();
        self.send(peer.local, peer.vtep, VpcTag::default(), question, &hello);
    }

    fn refuse(&mut self, asked: &Asked, why: RefusedWhy) {
        self.totals.refused += 1;
        self.answer(asked, &Message::Ack(Status::Refused(why)));
    }

    fn answer(&mut self, asked: &Asked, message: &Message) {
        self.send(asked.local, asked.from, asked.vpc, asked.transaction, message);
    }
}
