//! Packets that wait: for their next hop, for control to follow a move, for the first fragment of their datagram. Each kind
//! has its own places, so that none can take another's.

use std::net::Ipv4Addr;

use super::{Engine, Packet, Round};
use crate::{
    buffer::Buffer,
    channel::Notice,
    hold::{Held, HoldQueue},
    io::{BURST, Io},
    reason::DropReason,
    types::{Nanos, NetId},
};

/// Packets for one destination that may wait, and packets of one VM that moved.
const HELD_PER_ADDRESS: u8 = 16;
/// How long a packet that shows a move waits until control has followed; control needs a millisecond or two.
const MOVE_WAIT: Nanos = Nanos::from_ms(50);

/// Fragments from one address that may wait for their first one: those of a datagram of 64 KiB.
const FRAGMENTS_PER_ADDRESS: u8 = 48;
/// How long a fragment waits for the first one of its datagram.
const FRAGMENT_WAIT: Nanos = Nanos::from_ms(2_000);

/// What a packet that is tried again has waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// It has just come.
    No,
    /// For its next hop; its flow entry has counted it.
    NextHop,
    /// For control to follow the move that it shows; control was told.
    Move,
    /// The same, and in vain.
    MoveInVain,
    /// For the first fragment of its datagram.
    FirstFragment,
}

/// The packets of one worker that wait.
#[derive(Debug)]
pub(super) struct Waiting<B> {
    hops: HoldQueue<B>,
    /// They show a move; a spoofer can fill these places and no others.
    pub(super) moves: HoldQueue<B>,
    fragments: HoldQueue<B>,
}

impl<B> Waiting<B> {
    /// Places for `len_max` packets that wait for a next hop, and a quarter as many of each other kind.
    pub(super) fn new(len_max: usize) -> Waiting<B> {
        Waiting {
            hops: HoldQueue::new(len_max, HELD_PER_ADDRESS, |packet| packet.ip.destination()),
            moves: HoldQueue::new(len_max / 4, HELD_PER_ADDRESS, |packet| packet.ip.source()),
            fragments: HoldQueue::new(len_max / 4, FRAGMENTS_PER_ADDRESS, |packet| packet.ip.source()),
        }
    }

    fn pop(&mut self) -> Option<Held<B>> {
        let Waiting { hops, moves, fragments } = self;
        hops.pop().or_else(|| moves.pop()).or_else(|| fragments.pop())
    }

    fn len(&self) -> usize {
        self.hops.len() + self.moves.len() + self.fragments.len()
    }
}

impl<B: Buffer> Engine<B> {
    /// Tries packets again that wait; at most a burst of each kind.
    pub fn retry(&mut self, round: &mut Round<impl Io<Buffer = B>>) {
        for _ in 0..BURST {
            let Some(held) = self.waiting.moves.pop_due(round.now) else { break };
            let waited = if round.now < held.deadline { Waited::Move } else { Waited::MoveInVain };
            self.try_again(round, held, waited);
        }
        for _ in 0..BURST {
            let Some(held) = self.waiting.hops.pop_due(round.now) else { break };
            if round.now < held.deadline {
                self.try_again(round, held, Waited::NextHop);
            } else {
                self.refuse(round, held.buffer, &held.packet, DropReason::NeighbourUnresolved, None);
            }
        }
        for _ in 0..BURST {
            let Some(held) = self.waiting.fragments.pop_due(round.now) else { break };
            if round.now < held.deadline {
                self.try_again(round, held, Waited::FirstFragment);
            } else {
                self.refuse(round, held.buffer, &held.packet, DropReason::FragmentUnmatched, None);
            }
        }
        self.count_held();
    }

    /// Drops what still waits; the worker stops.
    pub fn stop(&mut self) {
        while let Some(held) = self.waiting.pop() {
            self.counters.dropped(held.packet.origin.net, DropReason::Shutdown);
        }
        self.count_held();
    }

    /// Sends a packet on its way that waited, which has a deadline for that already.
    fn try_again(&mut self, round: &mut Round<impl Io<Buffer = B>>, held: Held<B>, waited: Waited) {
        let (mut buffer, mut packet) = (held.buffer, Packet { waited, ..held.packet });
        self.probe(&mut packet);
        match self.way(round, &mut buffer, &packet) {
            Ok(port) => self.outbox.send(round.io, &self.counters, port, buffer),
            Err(stop) => self.leave(round, buffer, &packet, stop, Some(held.deadline)),
        }
    }

    /// Lets a packet wait for its next hop, until `deadline` if it has one; `unknown` is a next hop that control has not
    /// heard of.
    #[cold]
    #[inline(never)]
    pub(super) fn hold(
        &mut self,
        round: &Round<impl Io<Buffer = B>>,
        buffer: B,
        packet: Packet,
        unknown: Option<(NetId, Ipv4Addr)>,
        deadline: Option<Nanos>,
    ) {
        if let Some((net, ip)) = unknown {
            self.notice(round.now, Notice::Resolve { net, ip });
        }
        let patience = u64::from(self.settings.held_ms) * 1_000_000;
        let deadline = deadline.unwrap_or(Nanos(round.now.0 + patience));
        if self.waiting.hops.push(buffer, packet, deadline, round.now).is_err() {
            self.counters.dropped(packet.origin.net, DropReason::HoldFull);
        }
        self.count_held();
    }

    /// Lets a packet that shows a move wait for control. [`Engine::decide`] has seen that there is room.
    #[cold]
    #[inline(never)]
    pub(super) fn hold_moved(&mut self, now: Nanos, buffer: B, packet: Packet, deadline: Option<Nanos>) {
        let deadline = deadline.unwrap_or(Nanos(now.0 + MOVE_WAIT.0));
        if self.waiting.moves.push(buffer, packet, deadline, now).is_err() {
            self.counters.dropped(packet.origin.net, DropReason::HoldFull);
        }
        self.count_held();
    }

    pub(super) fn count_held(&self) {
        self.counters.held.set((self.waiting.len()) as u64);
    }

    /// Lets a fragment wait for the first one of its datagram.
    #[cold]
    #[inline(never)]
    pub(super) fn hold_fragment(&mut self, now: Nanos, buffer: B, packet: Packet, deadline: Option<Nanos>) {
        let deadline = deadline.unwrap_or(Nanos(now.0 + FRAGMENT_WAIT.0));
        if self.waiting.fragments.push(buffer, packet, deadline, now).is_err() {
            self.counters.dropped(packet.origin.net, DropReason::FragmentHoldFull);
        }
        self.count_held();
    }
}
