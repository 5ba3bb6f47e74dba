//! What a new configuration means for the neighbours: what is kept, rewritten, asked for, announced.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::Ipv4Addr,
};

use tidegate_fastpath::{
    table::Link,
    types::{Nanos, NetId},
};

use super::{
    Attached, Attachment, Key, Machine, NeighbourEvent, Overlay,
    limit::{ANNOUNCE_NUM, VTEP_IDLE},
};
use crate::vtep::VtepSet;

/// Between two looks for VTEPs that have gone silent.
const VTEP_CHECK: Nanos = Nanos::from_ms(5_000);

impl Machine {
    /// Replaces the set of networks. Neighbours of networks that stay are kept; those of networks that go, or that are
    /// now on another link, are removed. Addresses that are new, or whose MAC or VTEP changed, are announced.
    pub fn configure(&mut self, now: Nanos, nets: impl IntoIterator<Item = (NetId, Attachment)>) {
        let nets: Vec<(NetId, Attachment)> = nets.into_iter().collect();
        let kept: HashSet<NetId> = nets
            .iter()
            .filter(|(id, new)| self.nets.get(id).is_some_and(|old| same_link(&old.attachment, new)))
            .map(|(id, _)| *id)
            .collect();
        self.remove_where(|_, (net, _)| !kept.contains(&net));

        let mut old = std::mem::take(&mut self.nets);
        let mut announce = Vec::new();
        for (id, attachment) in nets {
            let before = old.remove(&id).filter(|_| kept.contains(&id));
            announce.extend(new_addresses(id, before.as_ref().map(|b| &b.attachment), &attachment));
            self.nets.insert(id, Attached::new(before, attachment));
        }
        self.remove_where(|machine, key| !machine.is_host(key));
        self.forget_own_vteps(now);
        self.pin(now);
        self.rewrite(now);
        for key in announce {
            self.announce(now, key, ANNOUNCE_NUM);
        }
        let nets = &self.nets;
        self.defended.retain(|(net, ip), _| nets.get(net).is_some_and(|n| n.attachment.net.owns(*ip)));
    }

    /// Starts over after a fault in the control thread: what workers see stays, and everything is confirmed anew.
    pub fn recover(&mut self, now: Nanos) {
        let keys: Vec<Key> = self.entries.keys().copied().collect();
        for key in keys {
            self.schedule(key, now);
        }
    }

    fn remove_where(&mut self, which: impl Fn(&Machine, Key) -> bool) {
        let gone: Vec<Key> = self.entries.keys().copied().filter(|key| which(self, *key)).collect();
        for key in gone {
            self.remove(key);
        }
    }

    /// A VTEP that is ours now is nobody else's; who was behind it is asked for again.
    fn forget_own_vteps(&mut self, now: Nanos) {
        let overlays = self.nets.values().filter_map(|n| n.attachment.overlay.as_ref());
        let ours: HashSet<Ipv4Addr> = overlays.map(|o| o.address).collect();
        for attached in self.nets.values_mut() {
            attached.vteps.forget(|vtep| ours.contains(&vtep));
        }
        self.restart_behind(now, |_, vtep| ours.contains(&vtep));
    }

    /// Asks anew for every neighbour behind these VTEPs.
    fn restart_behind(&mut self, now: Nanos, which: impl Fn(NetId, Ipv4Addr) -> bool) {
        let stations = self.stations.iter().filter(|((net, _), station)| which(*net, station.vtep));
        let behind: Vec<Key> =
            stations.flat_map(|((net, _), s)| s.addresses.iter().map(|ip| (*net, *ip))).collect();
        for key in behind {
            self.restart(now, key);
        }
    }

    /// Counts anew what is pinned, and asks for what is pinned for the first time.
    fn pin(&mut self, now: Nanos) {
        let mut pins: HashMap<Key, u32> = HashMap::new();
        let mut seen = HashSet::new();
        for (&id, attached) in &self.nets {
            for &ip in &attached.attachment.next_hops {
                if self.is_host((id, ip)) {
                    *pins.entry((id, ip)).or_default() += 1;
                }
            }
            let Some(overlay) = &attached.attachment.overlay else { continue };
            // Networks of one pool share their configured VTEPs: one pin for all of them.
            let configured = attached.vteps.configured().iter().filter(|v| seen.insert((overlay.vtep, **v)));
            for vtep in configured.copied().chain(attached.vteps.learned()) {
                if let Some(key) = self.hop_key(overlay, vtep) {
                    *pins.entry(key).or_default() += 1;
                }
            }
        }
        self.pins = pins;
        self.ask_pinned(now);
    }

    /// Asks for what is pinned and has no entry, because it is new or because there was no room.
    fn ask_pinned(&mut self, now: Nanos) {
        let mut missing: Vec<Key> =
            self.pins.keys().copied().filter(|key| !self.entries.contains_key(key)).collect();
        missing.sort_unstable();
        for key in missing {
            self.begin(now, key);
        }
    }

    /// One more reason to keep the next hop towards `vtep` resolved.
    pub(super) fn pin_vtep(&mut self, now: Nanos, overlay: &Overlay, vtep: Ipv4Addr) {
        let Some(key) = self.hop_key(overlay, vtep) else {
            return self.bump(NeighbourEvent::VtepUnreachable, 1);
        };
        *self.pins.entry(key).or_default() += 1;
        self.ensure(now, key);
    }

    /// Writes every overlay entry whose VTEP is now reached another way.
    fn rewrite(&mut self, now: Nanos) {
        let known: Vec<Key> =
            self.entries.iter().filter(|(_, e)| e.mac.is_some()).map(|(key, _)| *key).collect();
        for key in known {
            self.write(now, key);
        }
    }

    /// Forgets learned VTEPs that have been silent, with what was learned behind them.
    pub(super) fn expire_vteps(&mut self, now: Nanos) {
        if now.0 < self.vteps_checked.0 + VTEP_CHECK.0 {
            return;
        }
        self.vteps_checked = now;
        self.ask_pinned(now);
        let mut expired = HashSet::new();
        for (&id, attached) in &mut self.nets {
            expired.extend(attached.vteps.expire(now, VTEP_IDLE).map(|vtep| (id, vtep)));
        }
        self.withdraw_vteps(now, &expired);
    }

    /// Forgets learned VTEPs that have never answered as these underlay neighbours: nothing can be sent to them, and their
    /// pinned entries would keep their places from those who answer. One that lives is learned again with its next frame.
    pub(super) fn forget_learned_vteps(&mut self, now: Nanos, mute: &HashSet<Key>) {
        let mut forgotten = HashSet::new();
        for (&id, attached) in &mut self.nets {
            let Some(overlay) = &attached.attachment.overlay else { continue };
            let gone = attached.vteps.forget_learned(|vtep| mute.contains(&(overlay.underlay, vtep)));
            forgotten.extend(gone.map(|vtep| (id, vtep)));
        }
        self.withdraw_vteps(now, &forgotten);
    }

    fn withdraw_vteps(&mut self, now: Nanos, gone: &HashSet<(NetId, Ipv4Addr)>) {
        if gone.is_empty() {
            return;
        }
        self.restart_behind(now, |net, vtep| gone.contains(&(net, vtep)));
        for (net, vtep) in gone {
            let overlay = self.nets.get(net).and_then(|n| n.attachment.overlay.as_ref());
            let Some(key) = overlay.and_then(|o| self.hop_key(o, *vtep)) else { continue };
            if let Some(pins) = self.pins.get_mut(&key) {
                *pins -= 1;
                if *pins == 0 {
                    self.pins.remove(&key);
                }
            }
        }
    }
}

impl Attached {
    /// A network as described, with what was learned in it before.
    fn new(before: Option<Attached>, attachment: Attachment) -> Attached {
        let remotes = attachment.overlay.as_ref().map(|o| o.remotes.clone()).unwrap_or_default();
        match before {
            Some(mut before) => {
                before.vteps.configure(remotes);
                Attached { attachment, ..before }
            }
            None => Attached {
                attachment,
                vteps: VtepSet::new(remotes),
                entries: 0,
                unresolved: 0,
                failed: VecDeque::new(),
            },
        }
    }
}

/// Whether two descriptions are of one broadcast domain, so that what was learned there still holds.
fn same_link(a: &Attachment, b: &Attachment) -> bool {
    let underlay = |x: &Attachment| x.overlay.as_ref().map(|o| o.underlay);
    match (a.net.link, b.net.link) {
        (Link::Port { .. }, Link::Port { .. }) => a.net.link == b.net.link,
        (Link::Vxlan { vni: x, .. }, Link::Vxlan { vni: y, .. }) => x == y && underlay(a) == underlay(b),
        _ => false,
    }
}

/// Our addresses that the network has not heard of, or would reach the wrong way.
fn new_addresses(id: NetId, before: Option<&Attachment>, after: &Attachment) -> Vec<Key> {
    let vtep = |x: &Attachment| x.overlay.as_ref().map(|o| o.address);
    let before =
        before.filter(|b| b.net.mac == after.net.mac && vtep(b) == vtep(after) && same_link(b, after));
    let known = |ip: &Ipv4Addr| before.is_some_and(|b| b.net.owns(*ip));
    after.net.addresses.iter().copied().filter(|ip| !known(ip)).map(|ip| (id, ip)).collect()
}
