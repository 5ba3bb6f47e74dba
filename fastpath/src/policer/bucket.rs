//! A bucket as packets meet it: what a packet costs, what this worker has left of its leases, and what became of the packets.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::{
    BUCKETS_MAX,
    colour::{Action, Colour, Colouring, Dscp, Meter, MeterSlot, cost_per_byte},
    supply::{FRACTION_BITS, Supply, lacking_ns},
};
use crate::{
    counter::{Counter, Volume},
    types::Nanos,
};

/// So much per second, and so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Bits, or packets, per second; above 0.
    pub per_s: u64,
    /// Bytes, or packets. A packet that is larger than three quarters of it never passes.
    pub burst: u64,
}

/// Which bytes are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Count {
    /// IP total length.
    #[default]
    L3,
    /// An untagged Ethernet frame without tunnel: header and FCS, at least 64 bytes (IEEE 802.3).
    L2,
}

impl Count {
    /// What is counted of an IP packet.
    pub const fn of(self, ip_len: u16) -> u64 {
        const FRAME_MIN: u64 = 64;
        const HEADER_AND_FCS: u64 = 14 + 4;
        match self {
            Count::L3 => ip_len as u64,
            Count::L2 if ip_len as u64 + HEADER_AND_FCS < FRAME_MIN => FRAME_MIN,
            Count::L2 => ip_len as u64 + HEADER_AND_FCS,
        }
    }
}

/// What a bucket is made by. Two that are equal are one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Bits per second.
    pub bits: Option<Rate>,
    /// Packets per second.
    pub packets: Option<Rate>,
    /// Which bytes are counted.
    pub count: Count,
    /// Whether what is above `bits` is marked instead of dropped; nothing without `bits`.
    pub colouring: Option<Colouring>,
}

/// The two things that may be limited.
const BITS: usize = 0;
const PACKETS: usize = 1;

/// A token bucket. Workers share what they read of it; each writes its own [`Slot`] and, once per lease, the supply.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Credit per byte and per packet; 0 where that is not limited, [`COLOURED`] where a meter says.
    cost: [u64; 2],
    limits: Limits,
    /// Differs from that of every other bucket that was here before.
    stamp: u64,
    supplies: Arc<[Supply; 2]>,
    slots: Arc<[Slot]>,
    /// Instead of the supply of bits, for colours.
    meter: Option<Arc<Meter>>,
}

/// What a byte costs that no worker has: packets that a meter measures are not paid at once, and ask nothing more of those that are.
const COLOURED: u64 = 1 << 40;

/// What one worker has of a bucket, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Slot {
    /// What is left of its leases.
    credit: [Counter; 2],
    /// Of which bucket.
    stamp: Counter,
    /// Packets that passed all their buckets, with the bytes that this one counts.
    pub passed: Volume,
    /// Packets that this bucket had no credit for, or whose colour it drops.
    pub dropped: Volume,
    meter: MeterSlot,
}

impl Slot {
    /// Packets that a meter measured, by [`Colour`].
    pub fn colours(&self) -> &[Volume; 3] {
        &self.meter.colours
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It goes on with another DSCP than it had.
    Mark(Dscp),
    /// It is dropped.
    Drop,
}

/// What one bucket says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It can be paid.
    Pass,
    /// It can be paid, and has this colour.
    Colour(Colour),
    /// It is dropped, for want of credit or for its colour.
    Drop(Option<Colour>),
}

impl Bucket {
    /// A full bucket for so many workers; `stamp` is above 0 and of no other bucket that used the slots of `before`, whose
    /// counters go on.
    pub fn new(limits: Limits, workers: usize, stamp: u64, before: Option<&Bucket>) -> Bucket {
        let workers = workers.max(1);
        let kept =
            before.filter(|before| before.slots.len() == workers).map(|before| Arc::clone(&before.slots));
        let slots = kept.unwrap_or_else(|| (0..workers).map(|_| Slot::default()).collect());
        // Bits to bytes, as bursts are.
        let bits = limits.bits.map(|rate| (rate.per_s, rate.burst * 8));
        let packets = limits.packets.map(|rate| (rate.per_s, rate.burst));
        let supply = |rate: Option<(u64, u64)>| {
            let (per_s, burst) = rate.unwrap_or((1, 1));
            Supply::new(per_s, burst, workers)
        };
        let meter =
            limits.bits.zip(limits.colouring).map(|(rate, by)| Arc::new(Meter::new(by, rate, workers)));
        let per_byte = limits.bits.map_or(0, |rate| cost_per_byte(rate.per_s));
        // Rounded up: no more passes than the rate.
        let per_packet = |rate: Rate| (1_000_000_000_u64 << FRACTION_BITS).div_ceil(rate.per_s.max(1));
        Bucket {
            cost: [if meter.is_some() { COLOURED } else { per_byte }, limits.packets.map_or(0, per_packet)],
            limits,
            stamp,
            supplies: Arc::new([supply(bits), supply(packets)]),
            slots,
            meter,
        }
    }

    /// By what it was made.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What each worker has and has counted.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Bytes (or packets, where only these are limited) that could pass now in one go, leases included. For showing: workers go on meanwhile.
    pub fn level(&self, now: Nanos) -> u64 {
        let of = if self.limits.bits.is_some() { BITS } else { PACKETS };
        let in_use = self.slots.iter().filter(|slot| slot.stamp.get() == self.stamp);
        if let Some(meter) = &self.meter {
            return meter.level(now, in_use.map(|slot| Meter::leased(&slot.meter)).sum());
        }
        let leased: u64 = in_use.map(|slot| slot.credit[of].get()).sum();
        let available = u128::from(self.supplies[of].available_ns(now)) << FRACTION_BITS;
        let level = (available + u128::from(leased)) / u128::from(self.cost[of].max(1));
        u64::try_from(level).unwrap_or(u64::MAX)
    }

    #[inline(always)]
    fn slot(&self, worker: usize) -> &Slot {
        // A worker beyond the number that the bucket was made for is none that there is.
        &self.slots[worker.min(self.slots.len() - 1)]
    }

    /// What a packet costs, in bits and packets.
    #[inline(always)]
    fn costs(&self, ip_len: u16) -> [u64; 2] {
        [self.limits.count.of(ip_len) * self.cost[BITS], self.cost[PACKETS]]
    }

    /// Whether the worker has the credit for a packet already.
    #[inline(always)]
    fn covers(&self, slot: &Slot, costs: [u64; 2]) -> bool {
        slot.stamp.get() == self.stamp
            && slot.credit[BITS].get() >= costs[BITS]
            && slot.credit[PACKETS].get() >= costs[PACKETS]
    }

    /// Takes a packet through this bucket alone, if the worker has the credit already.
    #[inline(always)]
    pub(super) fn pay(&self, worker: usize, ip_len: u16) -> bool {
        let (slot, costs) = (self.slot(worker), self.costs(ip_len));
        let covered = self.covers(slot, costs);
        if covered {
            self.spend(slot, costs, ip_len);
        }
        covered
    }

    /// What [`Bucket::covers`] covers.
    #[inline(always)]
    fn spend(&self, slot: &Slot, costs: [u64; 2], ip_len: u16) {
        slot.credit[BITS].set(slot.credit[BITS].get() - costs[BITS]);
        if costs[PACKETS] != 0 {
            slot.credit[PACKETS].set(slot.credit[PACKETS].get() - costs[PACKETS]);
        }
        slot.passed.packets.add(1);
        slot.passed.bytes.add(self.limits.count.of(ip_len));
    }

    /// What the packet costs of what has no colour.
    fn plain_costs(&self, ip_len: u16) -> [u64; 2] {
        let [bits, packets] = self.costs(ip_len);
        [if self.meter.is_some() { 0 } else { bits }, packets]
    }

    /// What this bucket would say of a packet now. Only reads what workers share, but for what flows over in a meter.
    fn look(&self, slot: &Slot, now: Nanos, ip_len: u16, dscp: Dscp) -> Says {
        if slot.stamp.get() != self.stamp {
            // Leases of a bucket that is no more are worth nothing.
            slot.credit.iter().for_each(|credit| credit.set(0));
            slot.meter.clear();
            slot.stamp.set(self.stamp);
        }
        let mut of = slot.credit.iter().zip(&*self.supplies).zip(self.plain_costs(ip_len));
        if !of.all(|((credit, supply), cost)| lacking_ns(credit, cost) <= supply.available_ns(now)) {
            return Says::Drop(None);
        }
        let bytes = self.limits.count.of(ip_len);
        self.says(|meter| meter.colour(&slot.meter, now, bytes, meter.best(dscp)))
    }

    /// Takes leases until the worker can pay a packet. Where another worker was faster, nothing is left of them but what a
    /// worker may have, and the colour may be worse.
    fn fill(&self, slot: &Slot, now: Nanos, ip_len: u16, best: Colour) -> Says {
        for ((credit, supply), cost) in slot.credit.iter().zip(&*self.supplies).zip(self.plain_costs(ip_len))
        {
            let lacking = lacking_ns(credit, cost);
            if lacking > 0 {
                let taken = supply.take(now, lacking);
                credit.set(credit.get() + (taken << FRACTION_BITS));
            }
            if credit.get() < cost {
                return Says::Drop(None);
            }
        }
        let bytes = self.limits.count.of(ip_len);
        self.says(|meter| meter.fill(&slot.meter, now, bytes, best))
    }

    fn says(&self, colour: impl FnOnce(&Meter) -> Colour) -> Says {
        let Some(meter) = &self.meter else { return Says::Pass };
        let colour = colour(meter);
        if meter.action(colour) == Action::Drop { Says::Drop(Some(colour)) } else { Says::Colour(colour) }
    }

    /// As [`Bucket::spend`], also of a meter.
    fn spend_all(&self, slot: &Slot, ip_len: u16, says: Says) {
        self.spend(slot, self.plain_costs(ip_len), ip_len);
        if let (Some(meter), Says::Colour(colour)) = (&self.meter, says) {
            let bytes = self.limits.count.of(ip_len);
            meter.spend(&slot.meter, bytes, colour);
            meter.trim(&slot.meter);
            Meter::count(&slot.meter, bytes, colour);
        }
    }

    /// Gives up credit beyond what a worker may have left between two packets.
    fn trim(&self, slot: &Slot) {
        for (credit, supply) in slot.credit.iter().zip(&*self.supplies) {
            credit.set(credit.get().min(supply.left_max()));
        }
        if let Some(meter) = &self.meter {
            meter.trim(&slot.meter);
        }
    }

    fn count_dropped(&self, slot: &Slot, ip_len: u16, colour: Option<Colour>) {
        let bytes = self.limits.count.of(ip_len);
        slot.dropped.packets.add(1);
        slot.dropped.bytes.add(bytes);
        if let Some(colour) = colour {
            Meter::count(&slot.meter, bytes, colour);
        }
    }

    /// What becomes of a packet that came with this DSCP, by its colour.
    fn verdict(&self, colour: Colour, dscp: Dscp) -> Verdict {
        let marked = match self.meter.as_ref().map(|meter| meter.action(colour)) {
            Some(Action::Mark(marked)) => marked,
            Some(Action::Precedence) => dscp.coloured(colour),
            Some(Action::Pass | Action::Drop) | None => dscp,
        };
        if marked == dscp { Verdict::Pass } else { Verdict::Mark(marked) }
    }
}

/// Takes a packet that came with this DSCP through all of `buckets`, or through none. `worker` is the number of the caller.
#[inline(always)]
pub fn pass(buckets: &[&Bucket], worker: usize, now: Nanos, ip_len: u16, dscp: Dscp) -> Verdict {
    let covered = |bucket: &&Bucket| bucket.covers(bucket.slot(worker), bucket.costs(ip_len));
    if !buckets.iter().all(covered) {
        return pass_by_lease(buckets, worker, now, ip_len, dscp);
    }
    for bucket in buckets {
        bucket.spend(bucket.slot(worker), bucket.costs(ip_len), ip_len);
    }
    Verdict::Pass
}

/// Takes leases of all buckets where all can pay, and the worst colour that one of them says. The first one that cannot counts
/// the packet.
#[cold]
#[inline(never)]
fn pass_by_lease(buckets: &[&Bucket], worker: usize, now: Nanos, ip_len: u16, dscp: Dscp) -> Verdict {
    let refused = |bucket: &Bucket, colour: Option<Colour>| {
        bucket.count_dropped(bucket.slot(worker), ip_len, colour);
        Verdict::Drop
    };
    let mut said: ArrayVec<Says, BUCKETS_MAX> = ArrayVec::new();
    for bucket in buckets {
        match bucket.look(bucket.slot(worker), now, ip_len, dscp) {
            Says::Drop(colour) => return refused(bucket, colour),
            says => said.push(says),
        }
    }
    for (bucket, says) in buckets.iter().zip(&mut said) {
        let best = if let Says::Colour(colour) = *says { colour } else { Colour::Green };
        *says = bucket.fill(bucket.slot(worker), now, ip_len, best);
        if let Says::Drop(colour) = *says {
            buckets.iter().for_each(|bucket| bucket.trim(bucket.slot(worker)));
            return refused(bucket, colour);
        }
    }
    let mut worst: Option<(Colour, &Bucket)> = None;
    for (bucket, says) in buckets.iter().zip(said) {
        bucket.spend_all(bucket.slot(worker), ip_len, says);
        if let Says::Colour(colour) = says
            && worst.is_none_or(|(worst, _)| colour > worst)
        {
            worst = Some((colour, bucket));
        }
    }
    worst.map_or(Verdict::Pass, |(colour, bucket)| bucket.verdict(colour, dscp))
}
