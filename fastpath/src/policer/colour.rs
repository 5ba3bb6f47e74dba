//! Colours: a packet that a meter measures is green, yellow or red, and what becomes of it is said by colour.
//!
//! | | green | yellow | red |
//! |---|---|---|---|
//! | srTCM (RFC 2697) | the committed bucket pays | the excess bucket pays | nobody pays |
//! | trTCM (RFC 2698) | the committed and the peak bucket pay | the peak bucket pays | nobody pays |
//!
//! The committed bucket of both fills at the rate. The excess bucket fills at the same rate while the committed one is full, the
//! peak bucket at a rate of its own. All three are leased to workers as those of plain limits are (`supply.rs`).

use super::{
    bucket::Rate,
    supply::{Excess, FRACTION_BITS, Supply, lacking_ns},
};
use crate::{
    counter::{Counter, Volume},
    types::Nanos,
};

/// A differentiated services codepoint (RFC 2474 §3): six bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dscp(u8);

impl Dscp {
    /// Of a number below 64.
    pub const fn new(raw: u8) -> Option<Dscp> {
        if raw < 64 { Some(Dscp(raw)) } else { None }
    }

    /// Of the TOS byte of an IPv4 header.
    pub const fn of_tos(tos: u8) -> Dscp {
        Dscp(tos >> 2)
    }

    /// The TOS byte with this in place of what it had; ECN stays (RFC 3168 §5).
    pub const fn in_tos(self, tos: u8) -> u8 {
        self.0 << 2 | tos & 0b11
    }

    /// Class and drop precedence, 1 to 3, of an assured forwarding codepoint (RFC 2597 §6): class << 3 | precedence << 1.
    const fn assured(self) -> Option<(u8, u8)> {
        let (class, precedence) = (self.0 >> 3, self.0 >> 1 & 0b11);
        let is_one = self.0 & 1 == 0 && class >= 1 && class <= 4 && precedence >= 1;
        if is_one { Some((class, precedence)) } else { None }
    }

    /// The colour that somebody gave a packet before: the drop precedence of its class. What is of no such class is green.
    pub const fn colour(self) -> Colour {
        match self.assured() {
            Some((_, 2)) => Colour::Yellow,
            Some((_, 3)) => Colour::Red,
            _ => Colour::Green,
        }
    }

    /// The same class with the drop precedence of a colour; what is of no class stays.
    pub const fn coloured(self, colour: Colour) -> Dscp {
        match self.assured() {
            Some((class, _)) => Dscp(class << 3 | (colour as u8 + 1) << 1),
            None => self,
        }
    }

    /// As a number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// What a meter says of a packet; the greater, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Colour {
    /// Within what is committed.
    Green,
    /// Above that, and within the excess burst or the peak rate.
    Yellow,
    /// Above both.
    Red,
}

impl Colour {
    /// All, the best first.
    pub const ALL: [Colour; 3] = [Colour::Green, Colour::Yellow, Colour::Red];

    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Colour::Green => "green",
            Colour::Yellow => "yellow",
            Colour::Red => "red",
        }
    }

    /// The next worse one; red is the worst.
    const fn worse(self) -> Colour {
        match self {
            Colour::Green => Colour::Yellow,
            Colour::Yellow | Colour::Red => Colour::Red,
        }
    }
}

/// What becomes of packets of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// They go on as they are.
    Pass,
    /// They go on with this DSCP.
    Mark(Dscp),
    /// They go on with the drop precedence of this colour, if their class has one (RFC 2597).
    Precedence,
    /// They are dropped.
    Drop,
}

/// What packets may use that are above the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Above {
    /// srTCM: a second burst, in bytes.
    Excess(u64),
    /// trTCM: a higher rate.
    Peak(Rate),
}

/// Marking by colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Colouring {
    /// The second bucket.
    pub above: Above,
    /// Whether a packet can be no better than the colour that it comes with ([`Dscp::colour`]).
    pub aware: bool,
    /// What becomes of green, yellow and red packets.
    pub actions: [Action; 3],
}

/// The two buckets of a meter.
#[derive(Debug)]
pub(super) struct Meter {
    colouring: Colouring,
    committed: Supply,
    above: AboveSupply,
    /// Credit per byte, of both.
    cost: [u64; 2],
}

#[derive(Debug)]
enum AboveSupply {
    Excess(Excess),
    Peak(Supply),
}

/// The committed bucket, and the one above it.
const COMMITTED: usize = 0;
const ABOVE: usize = 1;

/// What one worker has of a meter.
#[derive(Debug, Default)]
pub(super) struct MeterSlot {
    /// What is left of its leases.
    credit: [Counter; 2],
    /// What was measured, by colour.
    pub(super) colours: [Volume; 3],
}

impl MeterSlot {
    /// Forgets leases.
    pub(super) fn clear(&self) {
        self.credit.iter().for_each(|credit| credit.set(0));
    }
}

/// Credit per byte at a rate in bits per second; rounded up, so that no more passes than the rate.
pub(super) fn cost_per_byte(per_s: u64) -> u64 {
    (8_000_000_000_u64 << FRACTION_BITS).div_ceil(per_s.max(1))
}

impl Meter {
    /// Full, for so many workers. One that is alone needs no lease: its meter is exact.
    pub(super) fn new(colouring: Colouring, committed: Rate, workers: usize) -> Meter {
        let supply = |rate: Rate| Supply::without_idle_lease(rate.per_s, rate.burst * 8, workers);
        let (above, per_s) = match colouring.above {
            Above::Excess(burst) => {
                (AboveSupply::Excess(Excess::new(supply(Rate { burst, ..committed }))), committed.per_s)
            }
            Above::Peak(peak) => (AboveSupply::Peak(supply(peak)), peak.per_s),
        };
        let cost = [cost_per_byte(committed.per_s), cost_per_byte(per_s)];
        Meter { colouring, committed: supply(committed), above, cost }
    }

    /// What becomes of packets of a colour.
    pub(super) const fn action(&self, colour: Colour) -> Action {
        self.colouring.actions[colour as usize]
    }

    /// The best colour that a packet may have that comes with this DSCP.
    pub(super) const fn best(&self, dscp: Dscp) -> Colour {
        if self.colouring.aware { dscp.colour() } else { Colour::Green }
    }

    /// The colour that a packet could have now, no better than `best`. Takes nothing.
    pub(super) fn colour(&self, slot: &MeterSlot, now: Nanos, bytes: u64, best: Colour) -> Colour {
        if let AboveSupply::Excess(excess) = &self.above {
            // What the committed bucket has no room for is the other one's.
            excess.add(self.committed.overflow(now));
        }
        let mut colour = best;
        while !self.could_pay(slot, now, bytes, colour) {
            colour = colour.worse();
        }
        colour
    }

    /// Takes leases until the worker can pay a packet of this colour, or of a worse one where another worker was faster.
    /// Returns the colour that it can pay.
    pub(super) fn fill(&self, slot: &MeterSlot, now: Nanos, bytes: u64, best: Colour) -> Colour {
        let mut colour = best;
        while !self.take(slot, now, bytes, colour) {
            colour = colour.worse();
        }
        colour
    }

    /// Pays for a packet what [`Meter::fill`] found that the worker can pay.
    pub(super) fn spend(&self, slot: &MeterSlot, bytes: u64, colour: Colour) {
        for of in self.payers(colour) {
            slot.credit[of].set(slot.credit[of].get().saturating_sub(bytes * self.cost[of]));
        }
    }

    /// Counts a packet that was measured.
    pub(super) fn count(slot: &MeterSlot, bytes: u64, colour: Colour) {
        slot.colours[colour as usize].packets.add(1);
        slot.colours[colour as usize].bytes.add(bytes);
    }

    /// Gives up credit beyond what a worker may have left between two packets.
    pub(super) fn trim(&self, slot: &MeterSlot) {
        for (of, credit) in slot.credit.iter().enumerate() {
            credit.set(credit.get().min(self.supply(of).left_max()));
        }
    }

    /// Bytes that could pass green now in one go, where workers have this credit.
    pub(super) fn level(&self, now: Nanos, leased: u64) -> u64 {
        let available = u128::from(self.committed.available_ns(now)) << FRACTION_BITS;
        let level = (available + u128::from(leased)) / u128::from(self.cost[COMMITTED]);
        u64::try_from(level).unwrap_or(u64::MAX)
    }

    /// What a worker has left of leases of the committed bucket.
    pub(super) fn leased(slot: &MeterSlot) -> u64 {
        slot.credit[COMMITTED].get()
    }

    /// The buckets that pay for a packet.
    fn payers(&self, colour: Colour) -> impl Iterator<Item = usize> + use<> {
        let both = matches!(self.above, AboveSupply::Peak(_));
        let pays = match colour {
            Colour::Green => [true, both],
            Colour::Yellow => [false, true],
            Colour::Red => [false, false],
        };
        [COMMITTED, ABOVE].into_iter().filter(move |of| pays[*of])
    }

    /// The lease and the bounds of a bucket.
    fn supply(&self, of: usize) -> &Supply {
        match &self.above {
            _ if of == COMMITTED => &self.committed,
            AboveSupply::Excess(excess) => excess.bounds(),
            AboveSupply::Peak(peak) => peak,
        }
    }

    fn available_ns(&self, of: usize, now: Nanos) -> u64 {
        match &self.above {
            AboveSupply::Excess(excess) if of == ABOVE => excess.available_ns(),
            _ => self.supply(of).available_ns(now),
        }
    }

    fn could_pay(&self, slot: &MeterSlot, now: Nanos, bytes: u64, colour: Colour) -> bool {
        let has =
            |of: usize| lacking_ns(&slot.credit[of], bytes * self.cost[of]) <= self.available_ns(of, now);
        self.payers(colour).all(has)
    }

    fn take(&self, slot: &MeterSlot, now: Nanos, bytes: u64, colour: Colour) -> bool {
        self.payers(colour).all(|of| {
            let (credit, cost) = (&slot.credit[of], bytes * self.cost[of]);
            let lacking = lacking_ns(credit, cost);
            if lacking > 0 {
                let taken = match &self.above {
                    AboveSupply::Excess(excess) if of == ABOVE => excess.take(lacking),
                    _ => self.supply(of).take(now, lacking),
                };
                credit.set(credit.get() + (taken << FRACTION_BITS));
            }
            credit.get() >= cost
        })
    }
}
