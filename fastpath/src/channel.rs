//! The rings between a worker and the control thread: bounded, lock-free, never blocking. The worker allocates nothing:
//! frames travel in boxes that go round between the two sides. Each side counts what it is refused.
//!
//! Notices are small facts for control (learn this, resolve that); punts are whole packets for local delivery; injects
//! are frames that control wants sent. What the session log is told has a ring of its own, so that it can fill up alone.

use std::{net::Ipv4Addr, sync::Arc};

use crossbeam::queue::ArrayQueue;

use crate::{
    nat::Block,
    stage::translation::Connection,
    types::{MacAddr, Nanos, NetId, VipId, VrfId},
};

/// Largest frame that crosses a ring: a jumbo packet with an Ethernet header.
pub const FRAME_MAX: usize = 9216 + 32;

/// A fact that a worker tells control. 32 bytes, no frame attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An ARP packet showed who has an address (the sender's pair of any request or reply, RFC 826), and behind which
    /// VTEP (`None` on a network without tunnel). `reply` is set where it answers us or was announced.
    Arp {
        /// The network it came from.
        net: NetId,
        /// Sender protocol address; unspecified in a probe (RFC 5227), which teaches nothing.
        ip: Ipv4Addr,
        /// Sender hardware address.
        mac: MacAddr,
        /// Outer source address.
        vtep: Option<Ipv4Addr>,
        /// Sent to us, so that it confirms reachability both ways.
        reply: bool,
    },
    /// A packet waits for this next hop, which is not in the neighbour table.
    Resolve {
        /// The network to ask in.
        net: NetId,
        /// The next hop.
        ip: Ipv4Addr,
    },
    /// A MAC of a VXLAN network sends from this VTEP; no or another VTEP was known.
    Moved {
        /// The network.
        net: NetId,
        /// The VM's address, as far as the packet tells.
        ip: Ipv4Addr,
        /// The VM's MAC.
        mac: MacAddr,
        /// Outer source address of the frame.
        vtep: Ipv4Addr,
    },
    /// A packet waits for a port of this VIP, which has no places for leases yet
    /// ([`Leases::provide`](crate::table::nat::Leases::provide)).
    Ports {
        /// The VIP.
        vip: VipId,
    },
}

/// What happened to public ports and sessions, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatEvent {
    /// The time of the worker's round.
    pub at: Nanos,
    /// What.
    pub what: NatChange,
}

/// What the session log is told. At most 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatChange {
    /// A VM got a port block.
    Leased(Block),
    /// The VM's last port of the block is free.
    GivenBack(Block),
    /// A translated connection began.
    Opened(Connection),
    /// It ended.
    Ended(Connection),
}

/// Where an injected frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectTo {
    /// The frame is an Ethernet frame for this network without tunnel; sent as it is (VLAN tag added).
    Link(NetId),
    /// The frame is an inner Ethernet frame of this VXLAN network, for this remote VTEP.
    Vtep(NetId, Ipv4Addr),
    /// The frame is an IPv4 packet, to be routed in this table as if it had come from the gateway itself.
    Route(VrfId),
}

/// A frame in a box that goes round.
#[derive(Debug)]
pub struct FrameBox<M> {
    /// What it is about.
    pub meta: M,
    len: usize,
    bytes: Box<[u8; FRAME_MAX]>,
}

impl<M> FrameBox<M> {
    /// The frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// One direction of frames: a ring of full boxes and a ring of empty ones.
#[derive(Debug)]
pub struct FrameRing<M> {
    full: ArrayQueue<FrameBox<M>>,
    free: ArrayQueue<FrameBox<M>>,
}

impl<M: Copy> FrameRing<M> {
    /// A ring of `len` boxes; `empty` fills their metadata until first use.
    pub fn new(len: usize, empty: M) -> FrameRing<M> {
        let ring = FrameRing { full: ArrayQueue::new(len), free: ArrayQueue::new(len) };
        for _ in 0..len {
            let new = FrameBox { meta: empty, len: 0, bytes: Box::new([0; FRAME_MAX]) };
            // A push into a queue of `len` places cannot fail here: at most `len` boxes exist.
            let _ = ring.free.push(new);
        }
        ring
    }

    /// Copies a frame in. Returns false when no box is free or the frame is too long; the caller counts that.
    pub fn push(&self, meta: M, frame: &[u8]) -> bool {
        if frame.len() > FRAME_MAX {
            return false;
        }
        let Some(mut next) = self.free.pop() else { return false };
        next.meta = meta;
        next.len = frame.len();
        next.bytes[..frame.len()].copy_from_slice(frame);
        self.full.push(next).is_ok()
    }

    /// Takes the oldest frame, shows it to `read` and puts its box back. `None` when there is none.
    pub fn pop<R>(&self, read: impl FnOnce(M, &[u8]) -> R) -> Option<R> {
        let next = self.full.pop()?;
        let result = read(next.meta, next.bytes());
        let _ = self.free.push(next);
        Some(result)
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.full.len()
    }

    /// Whether no frame waits.
    pub fn is_empty(&self) -> bool {
        self.full.is_empty()
    }
}

/// Places in the ring of the session log for each place in the others: a session is two events, and many may open while
/// control compiles.
const LOG_PLACES: usize = 16;

/// All rings of one worker. The worker pushes notices, punts and what it logs, and pops injects; control the reverse.
#[derive(Clone, Debug)]
pub struct Rings {
    /// Worker to control.
    pub notices: Arc<ArrayQueue<Notice>>,
    /// Worker to control: IPv4 packets for the gateway's own addresses in a routing table.
    pub punts: Arc<FrameRing<VrfId>>,
    /// Worker to control: what the session log is told.
    pub nat_log: Arc<ArrayQueue<NatEvent>>,
    /// Control to worker.
    pub injects: Arc<FrameRing<InjectTo>>,
}

impl Rings {
    /// Rings of `len` places each, and 16 times as many for the session log.
    pub fn new(len: usize) -> Rings {
        Rings {
            notices: Arc::new(ArrayQueue::new(len)),
            punts: Arc::new(FrameRing::new(len, VrfId(0))),
            nat_log: Arc::new(ArrayQueue::new(len * LOG_PLACES)),
            injects: Arc::new(FrameRing::new(len, InjectTo::Route(VrfId(0)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_the_session_log_is_small() {
        assert!(size_of::<NatChange>() <= 40, "{}", size_of::<NatChange>());
    }

    #[test]
    fn a_full_ring_refuses_and_a_read_frame_makes_room() {
        let ring = FrameRing::new(2, VrfId(0));
        assert!(ring.push(VrfId(1), b"one") && ring.push(VrfId(2), b"two"));
        assert!(!ring.push(VrfId(3), b"three"));
        assert_eq!(ring.pop(|vrf, frame| (vrf, frame.to_vec())), Some((VrfId(1), b"one".to_vec())));
        assert!(ring.push(VrfId(4), b"four") && ring.len() == 2);
        assert!(!ring.push(VrfId(0), &[0; FRAME_MAX + 1]));
    }
}
