//! The control side of the rings to and from the workers.

use std::collections::VecDeque;

use tidegate_fastpath::{
    channel::{InjectTo, NatEvent, Notice, Rings},
    types::VrfId,
};

use super::RingEvent;

/// Notices and punts taken from one worker at a time; the rest waits in its ring for the next poll.
const TAKE_MAX: usize = 1_024;

/// A packet for one of the gateway's own addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Punted {
    /// The routing table that owns the address.
    pub vrf: VrfId,
    /// The IPv4 packet.
    pub packet: Vec<u8>,
}

/// All rings, and what was taken from them and not yet delivered.
#[derive(Debug)]
pub(super) struct RingSide {
    rings: Vec<Rings>,
    punted: VecDeque<Punted>,
    punted_max: usize,
    next: usize,
    counts: [u64; RingEvent::COUNT],
}

impl RingSide {
    /// At most `punted_max` packets wait for delivery.
    pub(super) fn new(rings: Vec<Rings>, punted_max: usize) -> RingSide {
        RingSide { rings, punted: VecDeque::new(), punted_max, next: 0, counts: [0; RingEvent::COUNT] }
    }

    pub(super) fn rings(&self) -> &[Rings] {
        &self.rings
    }

    pub(super) fn count(&self, event: RingEvent) -> u64 {
        self.counts[event.index()]
    }

    /// Takes notices and punts of every worker. `claim` says of a packet whether it is for somebody else than the namespaces, and
    /// then whether it was taken. Returns how many there were.
    pub(super) fn take(
        &mut self,
        mut notice: impl FnMut(Notice),
        mut claim: impl FnMut(VrfId, &[u8]) -> Option<bool>,
    ) -> usize {
        let mut taken = 0;
        for ring in &self.rings {
            for _ in 0..TAKE_MAX {
                let Some(next) = ring.notices.pop() else { break };
                notice(next);
                self.counts[RingEvent::Notice.index()] += 1;
                taken += 1;
            }
            for _ in 0..TAKE_MAX {
                let room = self.punted.len() < self.punted_max;
                let copy = |vrf, packet: &[u8]| match claim(vrf, packet) {
                    Some(claimed) => (claimed, None),
                    None => (room, room.then(|| Punted { vrf, packet: packet.to_vec() })),
                };
                let Some((kept, next)) = ring.punts.pop(copy) else { break };
                let event = if kept { RingEvent::Punt } else { RingEvent::PuntFull };
                self.counts[event.index()] += 1;
                self.punted.extend(next);
                taken += 1;
            }
        }
        taken
    }

    /// Takes what the workers told the session log, at most `most` of each worker; the oldest first.
    pub(super) fn take_log(&mut self, most: usize) -> Vec<NatEvent> {
        let mut taken: Vec<NatEvent> = Vec::new();
        for ring in &self.rings {
            taken.extend(std::iter::from_fn(|| ring.nat_log.pop()).take(most));
        }
        taken.sort_by_key(|event| event.at.0);
        taken
    }

    pub(super) fn take_punted(&mut self) -> Option<Punted> {
        self.punted.pop_front()
    }

    /// Hands a frame to a worker that has room: packets of one routing table to the same one, to keep their order, and
    /// other frames in turn.
    pub(super) fn inject(&mut self, to: InjectTo, frame: &[u8]) -> bool {
        let first = match to {
            InjectTo::Route(vrf) => vrf.index(),
            InjectTo::Link(_) | InjectTo::Vtep(..) => {
                self.next = self.next.wrapping_add(1);
                self.next
            }
        };
        let count = self.rings.len();
        let taken = (0..count).any(|i| self.rings[(first + i) % count].injects.push(to, frame));
        let event = if taken { RingEvent::Inject } else { RingEvent::InjectFull };
        self.counts[event.index()] += 1;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_go_to_whoever_has_room_and_are_counted_when_nobody_has() {
        let mut side = RingSide::new(vec![Rings::new(1), Rings::new(1)], 8);
        let to = InjectTo::Route(VrfId(0));
        assert_eq!([(); 3].map(|()| side.inject(to, b"frame")), [true, true, false]);
        assert_eq!((side.count(RingEvent::Inject), side.count(RingEvent::InjectFull)), (2, 1));
    }

    #[test]
    fn punted_packets_wait_in_order_up_to_the_limit() {
        let mut side = RingSide::new(vec![Rings::new(4)], 2);
        for packet in [b"1", b"2", b"3"] {
            assert!(side.rings[0].punts.push(VrfId(7), packet));
        }
        assert_eq!(side.take(|_| (), |_, packet| (packet == b"0").then_some(true)), 3);
        let taken: Vec<_> = std::iter::from_fn(|| side.take_punted()).map(|p| p.packet).collect();
        assert_eq!(taken, [b"1", b"2"]);
        assert_eq!(side.count(RingEvent::PuntFull), 1);
    }
}
