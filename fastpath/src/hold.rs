//! Packets that wait, for a neighbour to be resolved or a move to be followed. Bounded in number, per address and in time;
//! in order.

use std::{collections::VecDeque, net::Ipv4Addr};

use crate::{pipeline::Packet, types::Nanos};

/// Addresses share this many places for the bound per address.
const CLASSES: usize = 256;
/// How often waiting packets are tried again, all in one go: so they leave in the order in which they came.
const RETRY: Nanos = Nanos::from_ms(5);

/// One that waits.
#[derive(Debug)]
pub(crate) struct Held<B> {
    /// The packet, unchanged since it was parsed.
    pub(crate) buffer: B,
    /// What was parsed.
    pub(crate) packet: Packet,
    /// When to give up.
    pub(crate) deadline: Nanos,
    retry: Nanos,
}

/// The waiting packets of one worker.
#[derive(Debug)]
pub(crate) struct HoldQueue<B> {
    queue: VecDeque<Held<B>>,
    len_max: usize,
    per_address_max: u8,
    /// The address that counts.
    address: fn(&Packet) -> Ipv4Addr,
    by_class: [u8; CLASSES],
}

impl<B> HoldQueue<B> {
    /// A queue of at most `len_max` packets, at most `per_address_max` with the same `address` (addresses that fall
    /// together share the bound).
    pub(crate) fn new(len_max: usize, per_address_max: u8, address: fn(&Packet) -> Ipv4Addr) -> HoldQueue<B> {
        HoldQueue {
            queue: VecDeque::with_capacity(len_max),
            len_max,
            per_address_max,
            address,
            by_class: [0; CLASSES],
        }
    }

    /// Whether `packet` may wait.
    pub(crate) fn has_room(&self, packet: &Packet) -> bool {
        self.queue.len() < self.len_max && self.by_class[self.class(packet)] < self.per_address_max
    }

    /// Lets a packet wait until `deadline`.
    ///
    /// # Errors
    /// Gives it back when there is no room.
    pub(crate) fn push(
        &mut self,
        buffer: B,
        packet: Packet,
        deadline: Nanos,
        now: Nanos,
    ) -> Result<(), (B, Packet)> {
        if !self.has_room(&packet) {
            return Err((buffer, packet));
        }
        self.by_class[self.class(&packet)] += 1;
        let retry = Nanos((now.0 / RETRY.0 + 1) * RETRY.0);
        self.queue.push_back(Held { buffer, packet, deadline, retry });
        Ok(())
    }

    /// The longest-waiting packet that is due for another try.
    pub(crate) fn pop_due(&mut self, now: Nanos) -> Option<Held<B>> {
        let due = self.queue.front().is_some_and(|held| held.retry <= now);
        if due { self.pop() } else { None }
    }

    /// The longest-waiting packet.
    pub(crate) fn pop(&mut self) -> Option<Held<B>> {
        let held = self.queue.pop_front()?;
        self.by_class[self.class(&held.packet)] -= 1;
        Some(held)
    }

    /// Packets that wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    fn class(&self, packet: &Packet) -> usize {
        let mixed =
            (self.address)(packet).to_bits().wrapping_mul(0x9e37_79b1) ^ u32::from(packet.origin.net.0);
        (mixed >> 24) as usize % CLASSES
    }
}
