//! Counters of one worker. The worker is the only writer, so adding is a plain load and store; control reads whenever it
//! likes and sums over workers. Nothing here is shared between two workers, not even a cache line.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{
    reason::{DropReason, Event, PuntReason},
    types::{NetId, PortId},
};

/// Whether anything is counted: not with the feature `uncounted`, by which the bench tells what counting costs, and with which there is no gateway.
pub const COUNTING: bool = !cfg!(feature = "uncounted");

/// A number with one writer and any number of readers. Adding costs a load, an add and a store, no locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning worker may call this.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        if COUNTING {
            self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
        }
    }

    /// Sets a gauge; only the owning worker may call this.
    #[inline(always)]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The value as of some recent moment.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Packets and bytes of one direction.
#[derive(Debug, Default)]
pub struct Volume {
    /// Packets.
    pub packets: Counter,
    /// Bytes.
    pub bytes: Counter,
}

impl Volume {
    /// Adds one packet.
    #[inline(always)]
    pub fn add(&self, bytes: usize) {
        self.packets.add(1);
        self.bytes.add(bytes as u64);
    }

    /// Adds packets that have so many bytes together.
    #[inline(always)]
    pub fn add_all(&self, packets: u64, bytes: u64) {
        self.packets.add(packets);
        self.bytes.add(bytes);
    }
}

/// One port as one worker sees it; frames with their Ethernet header, without FCS. A cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct PortCounters {
    /// Frames received.
    pub rx: Volume,
    /// Frames the driver accepted for transmission.
    pub tx: Volume,
}

/// One network as one worker sees it; IP packets, bytes of IP total length. Cache lines of its own.
#[derive(Debug)]
#[repr(align(64))]
pub struct NetCounters {
    /// From the network into the gateway.
    pub ingress: Volume,
    /// From the gateway into the network.
    pub egress: Volume,
    /// Packets that came from this network and were dropped, by [`DropReason::index`].
    pub drops: [Counter; DropReason::COUNT],
}

/// How many burst-size classes are kept: 0, 1, 2-3, 4-7, 8-15, 16-31, 32 and more.
pub const BURST_CLASSES: usize = 7;

/// The poll loop itself.
#[derive(Debug, Default)]
pub struct LoopCounters {
    /// TSC cycles in loops that received something.
    pub busy_cycles: Counter,
    /// TSC cycles in loops that received nothing.
    pub idle_cycles: Counter,
    /// Times it slept because nothing came; the time asleep is in no cycles.
    pub sleeps: Counter,
    /// Packets that were sent, or dropped for their rate limit, on the short way (docs/adr/0012-short-way.md).
    pub short_way: Counter,
    /// Received packets that took the general way.
    pub general_way: Counter,
    /// Bursts by number of frames received, see [`BURST_CLASSES`].
    pub bursts: [Counter; BURST_CLASSES],
}

/// Everything one worker counts. Sized once at start by the largest number of networks and ports.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    /// By [`PortId`].
    pub ports: Box<[PortCounters]>,
    /// By [`NetId`]; entry 0 counts what had no network yet.
    pub nets: Box<[NetCounters]>,
    /// Packets handed to control, by [`PuntReason::index`].
    pub punts: [Counter; PuntReason::COUNT],
    /// By [`Event::index`].
    pub events: [Counter; Event::COUNT],
    /// Packets that wait right now, for a neighbour or for a move to be followed.
    pub held: Counter,
    /// The poll loop.
    pub poll: LoopCounters,
}

// Boxes of two workers may lie side by side.
const _: () = {
    assert!(align_of::<PortCounters>() >= 64 && align_of::<NetCounters>() >= 64);
    assert!(align_of::<Counters>() >= 64);
};

impl Counters {
    /// All zero, for `ports` ports and `nets` networks (entry 0 included).
    pub fn new(ports: usize, nets: usize) -> Counters {
        let net = || NetCounters {
            ingress: Volume::default(),
            egress: Volume::default(),
            drops: std::array::from_fn(|_| Counter::default()),
        };
        Counters {
            ports: (0..ports).map(|_| PortCounters::default()).collect(),
            nets: (0..nets.max(1)).map(|_| net()).collect(),
            punts: std::array::from_fn(|_| Counter::default()),
            events: std::array::from_fn(|_| Counter::default()),
            held: Counter::default(),
            poll: LoopCounters::default(),
        }
    }

    /// Counts a drop against the network the packet came from ([`NetId::NONE`] before it is known).
    #[inline(always)]
    pub fn dropped(&self, net: NetId, reason: DropReason) {
        if let Some(net) = self.nets.get(net.index()) {
            net.drops[reason.index()].add(1);
        }
    }

    /// Counts an event.
    #[inline(always)]
    pub fn event(&self, event: Event) {
        self.events[event.index()].add(1);
    }

    /// Counts a punt.
    #[inline(always)]
    pub fn punt(&self, reason: PuntReason) {
        self.punts[reason.index()].add(1);
    }

    /// Counts a frame received on `port`.
    #[inline(always)]
    pub fn rx(&self, port: PortId, bytes: usize) {
        if let Some(port) = self.ports.get(port.index()) {
            port.rx.add(bytes);
        }
    }

    /// Counts a frame sent on `port`.
    #[inline(always)]
    pub fn tx(&self, port: PortId, bytes: usize) {
        if let Some(port) = self.ports.get(port.index()) {
            port.tx.add(bytes);
        }
    }

    /// The books of this worker.
    pub fn books(&self) -> Books {
        let mut books = Books {
            rx: self.ports.iter().map(|p| p.rx.packets.get()).sum(),
            originated: self.events[Event::Originated.index()].get(),
            tx: self.ports.iter().map(|p| p.tx.packets.get()).sum(),
            drops: 0,
            punts: self.punts.iter().map(Counter::get).sum(),
            held: self.held.get(),
        };
        books.drops = self.nets.iter().flat_map(|n| &n.drops).map(Counter::get).sum();
        books
    }
}

/// `rx + originated = tx + drops + punts + held`, or a packet vanished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Frames received from ports.
    pub rx: u64,
    /// Frames that did not come from a port.
    pub originated: u64,
    /// Frames sent.
    pub tx: u64,
    /// Packets dropped.
    pub drops: u64,
    /// Packets handed to control.
    pub punts: u64,
    /// Packets waiting for a neighbour.
    pub held: u64,
}

impl Books {
    /// Whether every packet ended somewhere. Only meaningful while the worker is between two bursts.
    pub const fn balance(&self) -> bool {
        self.rx + self.originated == self.tx + self.drops + self.punts + self.held
    }
}

impl std::ops::Add for Books {
    type Output = Books;

    fn add(self, o: Books) -> Books {
        Books {
            rx: self.rx + o.rx,
            originated: self.originated + o.originated,
            tx: self.tx + o.tx,
            drops: self.drops + o.drops,
            punts: self.punts + o.punts,
            held: self.held + o.held,
        }
    }
}
