//! What ARP and moving VMs teach, and what they may not.

use std::net::Ipv4Addr;

use tidegate_fastpath::types::{MacAddr, Nanos, NetId};

use super::{
    Key, Machine, NeighbourEvent, Station,
    entry::Phase,
    limit::{DEFEND_INTERVAL, FIRST_PROBE},
};

impl Machine {
    /// A worker has a packet for `key`, which is not in the table.
    pub(super) fn want(&mut self, now: Nanos, key: Key) {
        if !self.entries.contains_key(&key) && self.is_host(key) {
            self.begin(now, key);
        }
    }

    /// Makes an incomplete entry and sends the first request.
    pub(super) fn begin(&mut self, now: Nanos, key: Key) {
        if !self.pins.contains_key(&key) && !self.make_room(key) {
            return self.bump(NeighbourEvent::UnresolvedLimit, 1);
        }
        if self.insert(now, key) {
            self.ask(now, key, 0);
        }
    }

    /// An ARP packet (RFC 826) showed the sender's addresses. `reply`: it answers or addresses us.
    pub(super) fn learn_arp(
        &mut self,
        now: Nanos,
        key: Key,
        mac: MacAddr,
        vtep: Option<Ipv4Addr>,
        reply: bool,
    ) {
        let Some(attached) = self.nets.get(&key.0) else { return };
        let net = &attached.attachment.net;
        if mac.is_group() || mac.to_u64() == 0 || mac == net.mac {
            return self.bump(NeighbourEvent::BadMac, 1);
        }
        if net.owns(key.1) {
            return self.defend(now, key);
        }
        let overlay = attached.attachment.overlay.is_some();
        if overlay && !vtep.is_some_and(|vtep| self.hear(now, key.0, vtep)) {
            return;
        }
        if key.1.is_unspecified() {
            return; // a probe (RFC 5227 §2.1.1) claims nothing yet
        }
        if !self.is_host(key) {
            return self.bump(NeighbourEvent::OffLink, 1);
        }
        if !self.entries.contains_key(&key) && !self.insert(now, key) {
            return;
        }
        let moved = self.update(now, key, mac, vtep);
        let reachable = self.entries.get(&key).is_some_and(|e| e.phase() == Phase::Reachable);
        if reply {
            self.confirm(now, key, None);
        } else if moved || !reachable {
            // A request proves that we hear it, not that it hears us: use it, and probe soon.
            self.confirm(now, key, Some(FIRST_PROBE));
        }
        self.write(now, key);
    }

    /// A data packet of a VM came from a VTEP that was not known for its MAC. The MAC is believed to have moved; the
    /// address is not, only ARP binds an address to a MAC.
    pub(super) fn learn_moved(&mut self, now: Nanos, key: Key, mac: MacAddr, vtep: Ipv4Addr) {
        let Some(attached) = self.nets.get(&key.0) else { return };
        if attached.attachment.overlay.is_none() {
            return;
        }
        if mac.is_group() || mac.to_u64() == 0 || mac == attached.attachment.net.mac {
            return self.bump(NeighbourEvent::BadMac, 1);
        }
        if !self.hear(now, key.0, vtep) {
            return;
        }
        if self.stations.contains_key(&(key.0, mac)) {
            self.move_station(now, key.0, mac, vtep);
        } else {
            self.want(now, key);
        }
    }

    /// Records that a VTEP of a network was heard, and keeps its underlay next hop resolved. False if it cannot be used.
    fn hear(&mut self, now: Nanos, net: NetId, vtep: Ipv4Addr) -> bool {
        let Some(overlay) = self.nets.get(&net).and_then(|n| n.attachment.overlay.clone()) else {
            return false;
        };
        let ours = self.nets.get(&overlay.underlay).is_some_and(|u| u.attachment.net.owns(vtep));
        if ours || vtep == overlay.address || !is_unicast(vtep) {
            self.bump(NeighbourEvent::BadVtep, 1);
            return false;
        }
        let limit = self.limits.vteps_per_net;
        let Some(attached) = self.nets.get_mut(&net) else { return false };
        match attached.vteps.hear(now, vtep, limit) {
            None => {
                self.bump(NeighbourEvent::VtepLimit, 1);
                return false;
            }
            Some(true) => self.pin_vtep(now, &overlay, vtep),
            Some(false) => {}
        }
        true
    }

    /// Binds an address to a MAC and a VTEP. Returns whether it had another MAC.
    fn update(&mut self, now: Nanos, key: Key, mac: MacAddr, vtep: Option<Ipv4Addr>) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        let old = entry.mac.replace(mac);
        match old {
            None => self.bump(NeighbourEvent::Learned, 1),
            Some(old) if old != mac => {
                self.bump(NeighbourEvent::Moved, 1);
                self.leave_station(key, old);
            }
            Some(_) => {}
        }
        if let Some(vtep) = vtep {
            let station = self.stations.entry((key.0, mac));
            let station = station.or_insert_with(|| Station { vtep, addresses: Vec::new() });
            if !station.addresses.contains(&key.1) {
                station.addresses.push(key.1);
            }
            self.move_station(now, key.0, mac, vtep);
        }
        old.is_some_and(|old| old != mac)
    }

    /// Rewrites every entry of a MAC whose VTEP changed.
    fn move_station(&mut self, now: Nanos, net: NetId, mac: MacAddr, vtep: Ipv4Addr) {
        let Some(station) = self.stations.get_mut(&(net, mac)) else { return };
        if station.vtep == vtep {
            return;
        }
        station.vtep = vtep;
        let addresses = station.addresses.clone();
        self.bump(NeighbourEvent::Moved, 1);
        for ip in addresses {
            self.write(now, (net, ip));
        }
    }

    /// Somebody else uses one of our addresses: say again that it is ours, at most once per interval (RFC 5227 §2.4 (c)).
    fn defend(&mut self, now: Nanos, key: Key) {
        self.bump(NeighbourEvent::Conflict, 1);
        let due = self.defended.get(&key).is_none_or(|at| now.0 >= at.0 + DEFEND_INTERVAL.0);
        if due {
            self.defended.insert(key, now);
            self.announce(now, key, 1);
        }
    }

    /// Whether `key` can be a host on the link of its network: inside the prefix, neither network nor broadcast address
    /// (RFC 3021: a /31 has neither), and not ours.
    pub(super) fn is_host(&self, (net, ip): Key) -> bool {
        let Some(attached) = self.nets.get(&net) else { return false };
        let net = &attached.attachment.net;
        let prefix = net.prefix;
        let edge = prefix.prefix_len() < 31 && (ip == prefix.network() || ip == prefix.broadcast());
        prefix.contains(&ip) && !edge && !net.owns(ip) && is_unicast(ip)
    }
}

/// An address that a host or a VTEP may have.
fn is_unicast(ip: Ipv4Addr) -> bool {
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.octets()[0] >= 240)
}
