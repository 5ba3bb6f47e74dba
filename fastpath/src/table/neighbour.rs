//! Neighbours and their adjacencies: (network, address) to MAC and, on VXLAN networks, the VTEP behind which it is. One
//! shared table that control writes in place and all workers read, so that a MAC or VTEP changes without touching flows.
//!
//! # Layout
//! Open addressing with linear probing over at least twice as many slots as entries, two slots per cache line. An entry
//! never moves, because its place is its id. The hash is keyed: senders cannot aim at one place.
//!
//! There are no tombstones. Each slot says how far from it the keys lie whose probe begins there (`Slot::span`); a lookup
//! looks no further, and free slots on its way mean nothing to it. Removing an entry frees its slot at once and shortens
//! the span, so what a lookup costs depends on what is in the table, not on its history; never more than [`PROBES_MAX`].
//!
//! # Who writes, and in which order
//! Control is the only writer; workers only load, and wait for nothing. Every store is `Release`, in the order given here;
//! every load is `Acquire`, but for the last one of its kind, which no other load has to follow.
//!
//! | step | stores |
//! |---|---|
//! | insert | `tunnel` = none, `link` = incomplete, `key`, then `span` of the home slot |
//! | resolve | `tunnel`, then `link` = resolved |
//! | reset, fail | `link` |
//! | remove | `key` = free, `link` = free with the next incarnation, then `span` of the home slot |
//!
//! - *No id of another key.* [`NeighbourTable::lookup`] reads `key`, `link`, `key`. An incarnation that came after the key
//!   was removed was stored after the key was cleared, so the second look at the key does not find it.
//! - *No adjacency of another key.* [`NeighbourTable::reach`] reads `link`, `tunnel`, `link`. A tunnel of a later entry was
//!   stored after the incarnation had changed, so the second look at the link says [`Reach::Gone`].
//! - *No half adjacency.* Who sees `link` resolved sees the tunnel stored before it, or a later one. When a neighbour moves, a
//!   packet of that moment may get the old MAC with the new VTEP. It is lost or arrives as the move of a VM always makes
//!   single packets do; the next packet gets both.

mod writer;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::Ipv4Addr,
    sync::Arc,
};

#[cfg(loom)]
use loom::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
#[cfg(not(loom))]
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use thiserror::Error;

pub use self::writer::NeighbourWriter;

use crate::{
    prefetch,
    types::{MacAddr, NetId},
};

/// Most neighbours of one table: half of the places that an id can name.
pub const NEIGHBOURS_MAX: usize = PLACES_MAX / 2;

/// Most slots that a lookup reads. With half of the slots used, an entry needs more with a probability of about 10^-21.
pub const PROBES_MAX: usize = 256;

const PLACES_MAX: usize = 1 << NeighbourId::PLACE_BITS;

/// Names an entry for as long as it exists: 24 bits of place, 8 bits that change when the place is used again, so that a
/// flow that still holds the id of a removed neighbour finds out instead of sending to its successor. The bits come round
/// when a place was used 256 times; a flow must be dead by then, which its idle time sees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NeighbourId(u32);

/// What a worker needs to send to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjacency {
    /// Its MAC.
    pub mac: MacAddr,
    /// On a VXLAN network: the remote VTEP and the neighbour entry of the underlay next hop towards it.
    pub tunnel: Option<(Ipv4Addr, NeighbourId)>,
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Ready to send.
    Resolved(Adjacency),
    /// Asked for, no answer yet.
    Incomplete,
    /// Did not answer; packets to it are unreachable until control asks again.
    Failed,
    /// The id is of a removed entry; look the address up again.
    Gone,
}

/// The table is full; the limit is set at start. Also, in practice never: no free slot within [`PROBES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the neighbour table is full ({0} entries)")]
pub struct NeighboursFull(pub usize);

/// The side that workers hold. 64 to 128 bytes per neighbour of its capacity, all of it set aside at start.
pub struct NeighbourTable {
    /// A power of two of them.
    slots: Box<[Slot]>,
    seeds: [u64; 2],
    capacity: usize,
}

/// The side that workers hold, as a pass over a burst holds it: where the entries are is looked up once.
#[derive(Clone, Copy)]
pub struct Adjacencies<'t>(&'t [Slot]);

/// One place. worker: ro, control: wo
#[derive(Default)]
#[repr(C, align(32))]
struct Slot {
    /// See [`key`]; 0 = free.
    key: AtomicU64,
    /// See [`Link`].
    link: AtomicU64,
    /// VTEP << 32 | id of the underlay next hop; 0 = no tunnel.
    tunnel: AtomicU64,
    /// How far away the farthest entry lies whose probe begins at this place.
    span: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Slot>() == 32);

/// A marker that makes every key differ from a free slot, network << 32, address.
#[inline]
fn key(net: NetId, ip: Ipv4Addr) -> u64 {
    1 << 63 | u64::from(net.0) << 32 | u64::from(u32::from(ip))
}

/// The second word of a slot: incarnation (8 bits), state (8 bits), MAC as on the wire (48 bits).
#[derive(Clone, Copy)]
struct Link(u64);

impl Link {
    const FREE: u64 = 0;
    const INCOMPLETE: u64 = 1;
    const FAILED: u64 = 2;
    const RESOLVED: u64 = 3;

    fn new(incarnation: u8, state: u64, mac: MacAddr) -> Link {
        Link(u64::from(incarnation) << 56 | state << 48 | mac.to_wire())
    }

    fn incarnation(self) -> u8 {
        (self.0 >> 56) as u8
    }

    fn state(self) -> u64 {
        self.0 >> 48 & 0xff
    }

    fn mac(self) -> MacAddr {
        MacAddr::from_wire(self.0)
    }

    /// The upper 16 bits of one that is resolved.
    #[inline(always)]
    fn resolved(id: NeighbourId) -> u64 {
        u64::from(id.0 >> NeighbourId::PLACE_BITS << 8) | Link::RESOLVED
    }
}

/// A table for `capacity` neighbours, and its writer.
///
/// # Panics
/// With a capacity above [`NEIGHBOURS_MAX`].
pub fn new(capacity: usize) -> (NeighbourWriter, Arc<NeighbourTable>) {
    let random = RandomState::new();
    seeded(capacity, [random.hash_one(0), random.hash_one(1)])
}

fn seeded(capacity: usize, [mix, factor]: [u64; 2]) -> (NeighbourWriter, Arc<NeighbourTable>) {
    assert!(capacity <= NEIGHBOURS_MAX, "{capacity} neighbours; the limit is {NEIGHBOURS_MAX}");
    let places = (2 * capacity).next_power_of_two().max(2);
    let slots = (0..places).map(|_| Slot::default()).collect();
    let table = Arc::new(NeighbourTable { slots, seeds: [mix, factor | 1], capacity });
    (NeighbourWriter::new(Arc::clone(&table)), table)
}

impl NeighbourId {
    /// No neighbour: the packet goes on inside the gateway. [`Reach::Gone`] in every table.
    pub const NONE: NeighbourId = NeighbourId(u32::MAX);

    const PLACE_BITS: u32 = 24;

    fn new(place: usize, incarnation: u8) -> NeighbourId {
        NeighbourId(u32::from(incarnation) << NeighbourId::PLACE_BITS | place as u32)
    }

    fn place(self) -> usize {
        self.0 as usize & (PLACES_MAX - 1)
    }

    fn incarnation(self) -> u8 {
        (self.0 >> NeighbourId::PLACE_BITS) as u8
    }

    /// For storing in a flow entry.
    pub const fn to_u32(self) -> u32 {
        self.0
    }

    /// The inverse of [`NeighbourId::to_u32`].
    pub const fn from_u32(raw: u32) -> NeighbourId {
        NeighbourId(raw)
    }
}

impl NeighbourTable {
    /// The entry of an address, in whatever state; `None` where control has made none. Reads one cache line for most
    /// entries, at most [`PROBES_MAX`] / 2.
    #[inline]
    pub fn lookup(&self, net: NetId, ip: Ipv4Addr) -> Option<NeighbourId> {
        let key = key(net, ip);
        let home = self.home(key);
        let span = self.slots.get(home)?.span.load(Acquire);
        for distance in 0..=span as usize {
            let place = self.place(home, distance);
            let slot = self.slots.get(place)?;
            if slot.key.load(Acquire) == key {
                let link = Link(slot.link.load(Acquire));
                // If the key has gone meanwhile, there was a moment during this lookup when it was nowhere.
                let still = slot.key.load(Relaxed) == key;
                return still.then(|| NeighbourId::new(place, link.incarnation()));
            }
        }
        None
    }

    /// What is known of an entry; three loads of one cache line.
    #[inline(always)]
    pub fn reach(&self, id: NeighbourId) -> Reach {
        let Some(slot) = self.slots.get(id.place()) else { return Reach::Gone };
        let link = Link(slot.link.load(Acquire));
        let tunnel = slot.tunnel.load(Acquire);
        let after = Link(slot.link.load(Relaxed));
        if link.incarnation() != id.incarnation() || after.incarnation() != id.incarnation() {
            return Reach::Gone;
        }
        match link.state() {
            Link::RESOLVED => Reach::Resolved(Adjacency { mac: link.mac(), tunnel: unpack(tunnel) }),
            Link::INCOMPLETE => Reach::Incomplete,
            Link::FAILED => Reach::Failed,
            _ => Reach::Gone,
        }
    }

    /// For a pass over a burst.
    #[inline(always)]
    pub fn adjacencies(&self) -> Adjacencies<'_> {
        Adjacencies(&self.slots)
    }

    /// The remote VTEP, as a number, and the underlay's next hop towards it, where there is a tunnel.
    #[inline(always)]
    pub fn tunnel(word: u64) -> Option<(u32, NeighbourId)> {
        (word != 0).then_some(((word >> 32) as u32, NeighbourId(word as u32)))
    }

    /// Asks the CPU for the line where [`NeighbourTable::lookup`] begins.
    #[inline]
    pub fn prefetch_lookup(&self, net: NetId, ip: Ipv4Addr) {
        if let Some(slot) = self.slots.get(self.home(key(net, ip))) {
            prefetch::read(slot);
        }
    }

    /// Where the probe for a key begins: both halves of a product with a random factor.
    #[inline]
    fn home(&self, key: u64) -> usize {
        let [mix, factor] = self.seeds;
        let product = u128::from(key ^ mix) * u128::from(factor);
        self.place((product >> 64) as usize ^ product as usize, 0)
    }

    #[inline]
    fn place(&self, home: usize, distance: usize) -> usize {
        home.wrapping_add(distance) & (self.slots.len() - 1)
    }
}

impl Adjacencies<'_> {
    /// The adjacency of an entry that is resolved and does not change right now: in the lower 48 bits its MAC as on the wire,
    /// and the word of its tunnel ([`NeighbourTable::tunnel`]). [`NeighbourTable::reach`] says more where this is `None`.
    #[inline(always)]
    pub fn resolved(&self, id: NeighbourId) -> Option<(u64, u64)> {
        let slot = self.0.get(id.place())?;
        let link = slot.link.load(Acquire);
        let tunnel = slot.tunnel.load(Acquire);
        let same = slot.link.load(Relaxed) == link;
        (same && link >> 48 == Link::resolved(id)).then_some((link, tunnel))
    }

    /// As [`Adjacencies::resolved`], where the tunnel is no matter.
    #[inline(always)]
    pub fn resolved_mac(&self, id: NeighbourId) -> Option<u64> {
        let link = self.0.get(id.place())?.link.load(Acquire);
        (link >> 48 == Link::resolved(id)).then_some(link)
    }

    /// Asks the CPU for the entry.
    #[inline(always)]
    pub fn prefetch(&self, id: NeighbourId) {
        prefetch::nth(self.0, id.place());
    }
}

impl fmt::Debug for Adjacencies<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adjacencies").field("places", &self.0.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for NeighbourTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NeighbourTable").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[inline]
fn unpack(tunnel: u64) -> Option<(Ipv4Addr, NeighbourId)> {
    // No VTEP has the unspecified address, so the word of a tunnel is never 0.
    NeighbourTable::tunnel(tunnel).map(|(vtep, next)| (Ipv4Addr::from_bits(vtep), next))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering::SeqCst},
        thread,
    };

    use super::*;

    pub(super) const NET: NetId = NetId(7);

    pub(super) fn ip(n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a07_0000 + n)
    }

    /// An adjacency that tells which key and which of its versions it is of.
    pub(super) fn adjacency(n: u32, version: u32) -> Adjacency {
        let vtep = Ipv4Addr::from_bits(0xac1f_0001 + n);
        Adjacency {
            mac: MacAddr::from_u64(u64::from(n) << 8 | u64::from(version)),
            tunnel: Some((vtep, NeighbourId(version))),
        }
    }

    #[test]
    fn readers_never_see_another_keys_adjacency() {
        let (mut writer, table) = new(1);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for n in 0..2 {
                let (table, stop) = (&table, &stop);
                scope.spawn(move || {
                    while !stop.load(SeqCst) {
                        let Some(id) = table.lookup(NET, ip(n)) else { continue };
                        if let Reach::Resolved(seen) = table.reach(id) {
                            assert_eq!(seen.mac.to_u64() >> 8, u64::from(n));
                            assert_eq!(seen.tunnel.unwrap().0, adjacency(n, 0).tunnel.unwrap().0);
                        }
                    }
                });
            }
            // Two keys that take turns: ids come round after an even number of turns, so even a reader that slept
            // through 256 of them holds an id of its own key.
            for n in 0..200_000 {
                let id = writer.insert(NET, ip(n % 2)).unwrap();
                writer.resolve(id, adjacency(n % 2, 1));
                writer.resolve(id, adjacency(n % 2, 2));
                writer.remove(id);
            }
            stop.store(true, SeqCst);
        });
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p tidegate-fastpath --release --lib neighbour`
#[cfg(all(test, loom))]
mod interleavings {
    use super::*;

    const NET: NetId = NetId(7);
    /// With [`SEEDS`] both have the same home in a table of two places.
    const IPS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 7, 0, 1), Ipv4Addr::new(10, 7, 0, 3)];
    const SEEDS: [u64; 2] = [1, 1];

    fn adjacency(n: u8, version: u8) -> Adjacency {
        let mac = MacAddr::new([2, 0, 0, 0, n, version]);
        Adjacency { mac, tunnel: Some((Ipv4Addr::new(172, 31, n, version), NeighbourId(n.into()))) }
    }

    /// What a worker may see of neighbour `n`: nothing, or its own adjacency with a tunnel.
    fn check(table: &NeighbourTable, n: u8) {
        let Some(id) = table.lookup(NET, IPS[usize::from(n)]) else { return };
        if let Reach::Resolved(Adjacency { mac, tunnel }) = table.reach(id) {
            let (vtep, _) = tunnel.expect("a resolved neighbour has its tunnel");
            assert_eq!((mac.octets()[4], vtep.octets()[2]), (n, n));
        }
    }

    #[test]
    fn a_place_that_changes_its_key_never_mixes_them() {
        for reads in [0, 1] {
            loom::model(move || {
                let (mut writer, table) = seeded(1, SEEDS);
                let id = writer.insert(NET, IPS[0]).unwrap();
                writer.resolve(id, adjacency(0, 1));
                let reader = loom::thread::spawn(move || check(&table, reads));
                writer.remove(id);
                let other = writer.insert(NET, IPS[1]).unwrap();
                assert_eq!(other.place(), id.place());
                writer.resolve(other, adjacency(1, 1));
                reader.join().unwrap();
            });
        }
    }

    #[test]
    fn a_neighbour_that_moves_is_never_without_its_tunnel() {
        loom::model(|| {
            let (mut writer, table) = seeded(1, SEEDS);
            let id = writer.insert(NET, IPS[0]).unwrap();
            let reader = loom::thread::spawn(move || check(&table, 0));
            writer.resolve(id, adjacency(0, 1));
            writer.reset(id);
            writer.resolve(id, adjacency(0, 2));
            reader.join().unwrap();
        });
    }
}
