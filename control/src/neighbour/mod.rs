//! Who has an address, and behind which VTEP: the ARP state machine of the control thread.
//!
//! A pure core: notices, ticks and configuration come in with a time; what comes out are entries of the
//! [`NeighbourTable`](tidegate_fastpath::table::neighbour::NeighbourTable) that workers read, and ARP frames to send
//! ([`Machine::transmits`]). It does no I/O and asks no clock, so every test runs in virtual time.
//!
//! The states follow RFC 4861 §7.3.2 with the constants of RFC 826 practice (`limit.rs`):
//!
//! | state | workers see | leaves by |
//! |---|---|---|
//! | incomplete | `Incomplete` | an answer; or 3 broadcast requests, 1 s apart, then failed |
//! | reachable | `Resolved` | about 30 s (jittered) without confirmation: probing |
//! | probing | `Resolved` | an answer; or 3 probes, 1 s apart, then failed |
//! | failed | `Failed` | an answer; or the hold-down, then removed (pinned entries ask again) |
//!
//! On a VXLAN network a MAC is reached behind a VTEP, which the outer source of ARP frames teaches. The underlay next
//! hop of every known VTEP is *pinned*: asked for before it is needed and not removed while the VTEP is known, so that its id
//! stays good. A learned VTEP that has never answered is given up, so that invented ones do not fill the table.
//!
//! Everything that a tenant can make grow is bounded, and each bound counts what it refuses ([`NeighbourEvent`]).

mod announce;
pub mod arp;
mod configure;
mod entry;
mod learn;
pub mod limit;
mod room;
mod timer;

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    net::Ipv4Addr,
    sync::Arc,
};

use tidegate_fastpath::{
    channel::{InjectTo, Notice},
    table::{
        Link, Net,
        neighbour::{Adjacency, NeighbourId, NeighbourTable, NeighbourWriter},
    },
    types::{MacAddr, Nanos, NetId, VtepId},
};

use self::{announce::Announcement, entry::Entry, limit::Budget, timer::Timers};
pub use self::{
    entry::Phase,
    limit::{Limits, Timing},
};
use crate::vtep::VtepSet;

tidegate_fastpath::reasons! {
    /// What the neighbour machine counts.
    NeighbourEvent {
        /// ARP requests sent, one per VTEP where they are replicated.
        Request = "request",
        /// Unicast ARP probes sent to confirm a known neighbour.
        Probe = "probe",
        /// Gratuitous ARP frames sent.
        Announcement = "announcement",
        /// Neighbours resolved for the first time.
        Learned = "learned",
        /// Neighbours whose MAC or VTEP changed.
        Moved = "moved",
        /// Neighbours that answered no request in time.
        Failed = "failed",
        /// Entries removed.
        Removed = "removed",
        /// Another station claims one of our addresses (RFC 5227 §2.4).
        Conflict = "conflict",
        /// ARP packets not learned from: the sender's address is outside the network's prefix.
        OffLink = "off_link",
        /// ARP packets not learned from: the sender's MAC is a group address, zero or ours.
        BadMac = "bad_mac",
        /// ARP packets not learned from: the outer source is no unicast address or our own.
        BadVtep = "bad_vtep",
        /// Next hops not asked for: too many of the network are unresolved already.
        UnresolvedLimit = "unresolved_limit",
        /// Neighbours refused: the network has its share of the table.
        NetLimit = "net_limit",
        /// Neighbours refused: the table is full.
        TableFull = "table_full",
        /// Learned VTEPs that left their first request unanswered and were forgotten because the table was full.
        GaveWay = "gave_way",
        /// VTEPs not learned: the network has its share.
        VtepLimit = "vtep_limit",
        /// VTEPs that are neither on the underlay's link nor behind its gateway.
        VtepUnreachable = "vtep_unreachable",
        /// Requests put off because of the limit on ARP frames per second.
        Deferred = "deferred",
    }
}

/// A neighbour: its network and address.
pub type Key = (NetId, Ipv4Addr);

/// A network as the machine needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The network.
    pub net: Arc<Net>,
    /// Its tunnel side; `None` for a network on a port.
    pub overlay: Option<Overlay>,
    /// Addresses that are kept resolved: next hops of static routes, the upstream gateway.
    pub next_hops: Vec<Ipv4Addr>,
}

/// The tunnel side of a VXLAN network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Our tunnel end.
    pub vtep: VtepId,
    /// Its address.
    pub address: Ipv4Addr,
    /// The underlay network that owns the address.
    pub underlay: NetId,
    /// Next hop for VTEPs that are not on the underlay's link.
    pub gateway: Option<Ipv4Addr>,
    /// Configured remote VTEPs, sorted.
    pub remotes: Arc<[Ipv4Addr]>,
}

/// An ARP frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: InjectTo,
    /// The frame.
    pub frame: arp::Frame,
}

/// A neighbour as shown to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourView {
    /// Its network.
    pub net: NetId,
    /// Its address.
    pub ip: Ipv4Addr,
    /// State of the machine.
    pub phase: Phase,
    /// Its MAC, once known.
    pub mac: Option<MacAddr>,
    /// The VTEP behind which it is, on a VXLAN network.
    pub vtep: Option<Ipv4Addr>,
    /// Kept resolved whether used or not.
    pub pinned: bool,
    /// Time since it was last confirmed, in nanoseconds.
    pub confirmed_ago: Option<u64>,
}

/// A remote VTEP of a network as shown to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteVtep {
    /// The network.
    pub net: NetId,
    /// The VTEP.
    pub address: Ipv4Addr,
    /// Named in the configuration.
    pub configured: bool,
    /// Nanoseconds since something was heard from it in this network.
    pub heard_ago: Option<u64>,
    /// The underlay next hop towards it.
    pub next_hop: Option<Ipv4Addr>,
    /// State of that next hop.
    pub underlay: Option<Phase>,
}

/// A network at run time.
#[derive(Debug)]
struct Attached {
    attachment: Attachment,
    vteps: VtepSet,
    /// Entries, in any state.
    entries: usize,
    /// Entries that are incomplete or failed.
    unresolved: usize,
    /// Failed entries, oldest first; may name entries that have left that state.
    failed: VecDeque<Ipv4Addr>,
}

/// A MAC of a VXLAN network: the forwarding database of RFC 7348 §4.1.
#[derive(Debug)]
struct Station {
    vtep: Ipv4Addr,
    /// Entries that have this MAC; the station goes with the last one, so entries bound the stations.
    addresses: Vec<Ipv4Addr>,
}

/// The neighbour machine. Owned by the control thread, the only writer of the neighbour table.
#[derive(Debug)]
pub struct Machine {
    table: NeighbourWriter,
    limits: Limits,
    timing: Timing,
    nets: HashMap<NetId, Attached>,
    entries: HashMap<Key, Entry>,
    stations: HashMap<(NetId, MacAddr), Station>,
    /// How many reasons there are to keep an entry: VTEPs reached by it, static routes.
    pins: HashMap<Key, u32>,
    /// Pinned entries and when they were made, oldest first; may name some that have answered or are gone.
    unheard: VecDeque<(Nanos, Key)>,
    timers: Timers,
    announcements: VecDeque<Announcement>,
    /// When a conflict about one of our addresses was last answered (RFC 5227 §2.4 (b)).
    defended: HashMap<Key, Nanos>,
    vteps_checked: Nanos,
    budget: Budget,
    /// Some neighbour stopped or began to answer since [`Machine::take_silence_changed`].
    silence_changed: bool,
    counts: [u64; NeighbourEvent::COUNT],
    out: Vec<Transmit>,
}

impl Machine {
    /// A machine without networks. `seed` varies the jitter of timers between gateways.
    pub fn new(table: NeighbourWriter, limits: Limits, seed: u64) -> Machine {
        Machine {
            table,
            budget: Budget::new(limits.frames_per_s, limits.frames_burst),
            limits,
            timing: Timing::default(),
            nets: HashMap::new(),
            entries: HashMap::new(),
            stations: HashMap::new(),
            pins: HashMap::new(),
            unheard: VecDeque::new(),
            timers: Timers::new(seed),
            announcements: VecDeque::new(),
            defended: HashMap::new(),
            vteps_checked: Nanos(0),
            silence_changed: false,
            counts: [0; NeighbourEvent::COUNT],
            out: Vec::new(),
        }
    }

    /// Takes one fact from a worker; those that are not about neighbours say nothing here.
    pub fn notice(&mut self, now: Nanos, notice: Notice) {
        match notice {
            Notice::Arp { net, ip, mac, vtep, reply } => self.learn_arp(now, (net, ip), mac, vtep, reply),
            Notice::Resolve { net, ip } => self.want(now, (net, ip)),
            Notice::Moved { net, ip, mac, vtep } => self.learn_moved(now, (net, ip), mac, vtep),
            Notice::Ports { .. } => {}
        }
    }

    /// Runs what is due: requests, probes, failures, removals, announcements.
    pub fn tick(&mut self, now: Nanos) {
        self.run_timers(now);
        self.expire_vteps(now);
        self.run_announcements(now);
    }

    /// The frames to send since the last call, in order.
    pub fn transmits(&mut self) -> std::vec::Drain<'_, Transmit> {
        self.out.drain(..)
    }

    /// Changes the times of asking and believing, from the next event of each neighbour on.
    pub fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
    }

    /// Whether a neighbour failed and was not heard since.
    pub fn is_silent(&self, key: Key) -> bool {
        self.entries.get(&key).is_some_and(|e| e.silent)
    }

    /// Whether the answer of [`Machine::is_silent`] changed for any neighbour since the last call.
    pub fn take_silence_changed(&mut self) -> bool {
        std::mem::take(&mut self.silence_changed)
    }

    /// The table that workers read.
    pub fn table(&self) -> &Arc<NeighbourTable> {
        self.table.table()
    }

    /// How often something happened since the start.
    pub fn count(&self, event: NeighbourEvent) -> u64 {
        self.counts[event.index()]
    }

    /// Entries in use.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries fit.
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// How many entries are in `phase`.
    pub fn in_phase(&self, phase: Phase) -> usize {
        self.entries.values().filter(|e| e.phase() == phase).count()
    }

    /// Every entry, in no particular order.
    pub fn neighbours(&self, now: Nanos) -> impl Iterator<Item = NeighbourView> {
        self.entries.iter().map(move |(&(net, ip), entry)| NeighbourView {
            net,
            ip,
            phase: entry.phase(),
            mac: entry.mac,
            vtep: entry.mac.and_then(|mac| self.stations.get(&(net, mac))).map(|s| s.vtep),
            pinned: self.pins.contains_key(&(net, ip)),
            confirmed_ago: entry.confirmed.map(|at| now.0.saturating_sub(at.0)),
        })
    }

    /// Every remote VTEP of every network, in no particular order.
    pub fn remote_vteps(&self, now: Nanos) -> impl Iterator<Item = RemoteVtep> {
        self.nets.iter().flat_map(move |(&net, attached)| {
            attached.vteps.iter().map(move |(address, configured, heard)| {
                let hop = attached.attachment.overlay.as_ref().and_then(|o| self.hop_key(o, address));
                RemoteVtep {
                    net,
                    address,
                    configured,
                    heard_ago: heard.map(|at| now.0.saturating_sub(at.0)),
                    next_hop: hop.map(|(_, ip)| ip),
                    underlay: hop.and_then(|key| self.entries.get(&key)).map(Entry::phase),
                }
            })
        })
    }

    fn bump(&mut self, event: NeighbourEvent, n: usize) {
        self.counts[event.index()] += n as u64;
    }

    /// The underlay neighbour by which a remote VTEP is reached.
    fn hop_key(&self, overlay: &Overlay, vtep: Ipv4Addr) -> Option<Key> {
        let underlay = self.nets.get(&overlay.underlay)?;
        let on_link = underlay.attachment.net.prefix.contains(&vtep);
        if on_link {
            Some((overlay.underlay, vtep))
        } else {
            overlay.gateway.map(|ip| (overlay.underlay, ip))
        }
    }

    /// Writes what is known of `key` to the table, if that makes it reachable and differs from what is there.
    fn write(&mut self, now: Nanos, key: Key) {
        let Some(mac) = self.entries.get(&key).and_then(|e| e.mac) else { return };
        let Some(overlay) = self.nets.get(&key.0).map(|n| n.attachment.overlay.clone()) else { return };
        let tunnel = match overlay {
            None => None,
            Some(overlay) => {
                let Some(vtep) = self.stations.get(&(key.0, mac)).map(|s| s.vtep) else { return };
                let hop = self.hop_key(&overlay, vtep).and_then(|hop| self.ensure(now, hop));
                let Some(hop) = hop else { return self.unwrite(key) };
                Some((vtep, hop))
            }
        };
        let adjacency = Adjacency { mac, tunnel };
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.written != Some(adjacency)
        {
            entry.written = Some(adjacency);
            self.table.resolve(entry.id, adjacency);
        }
    }

    /// Takes back what workers see of a neighbour whose VTEP cannot be reached.
    fn unwrite(&mut self, key: Key) {
        self.bump(NeighbourEvent::VtepUnreachable, 1);
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.written.take().is_some()
        {
            self.table.reset(entry.id);
        }
    }

    /// The id of an entry, which is made and asked for if there is none.
    fn ensure(&mut self, now: Nanos, key: Key) -> Option<NeighbourId> {
        if !self.entries.contains_key(&key) {
            self.begin(now, key);
        }
        self.entries.get(&key).map(|e| e.id)
    }

    /// Removes an entry, with its station if it was the last of it.
    fn remove(&mut self, key: Key) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.table.remove(entry.id);
        self.bump(NeighbourEvent::Removed, 1);
        if let Some(net) = self.nets.get_mut(&key.0) {
            net.entries -= 1;
            net.unresolved -= usize::from(entry.is_unresolved());
        }
        if let Some(mac) = entry.mac {
            self.leave_station(key, mac);
        }
    }

    fn leave_station(&mut self, (net, ip): Key, mac: MacAddr) {
        if let Some(station) = self.stations.get_mut(&(net, mac)) {
            station.addresses.retain(|a| *a != ip);
            if station.addresses.is_empty() {
                self.stations.remove(&(net, mac));
            }
        }
    }

    /// Sends `frame` on a network: on its port, or to `vtep`, or to every VTEP. Returns the number of frames.
    fn send(&mut self, net: NetId, vtep: Option<Ipv4Addr>, frame: arp::Frame) -> usize {
        let Some(attached) = self.nets.get(&net) else { return 0 };
        let before = self.out.len();
        match (attached.attachment.net.link, vtep) {
            (Link::Port { .. }, _) => self.out.push(Transmit { to: InjectTo::Link(net), frame }),
            (Link::Vxlan { .. }, Some(vtep)) => {
                self.out.push(Transmit { to: InjectTo::Vtep(net, vtep), frame })
            }
            (Link::Vxlan { .. }, None) => self.out.extend(
                attached.vteps.iter().map(|(vtep, _, _)| Transmit { to: InjectTo::Vtep(net, vtep), frame }),
            ),
        }
        self.out.len() - before
    }
}
