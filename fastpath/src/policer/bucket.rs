//! A bucket as packets meet it: what a packet costs, what this worker has left of its leases, and what became of the packets.

use std::sync::Arc;

use super::supply::{FRACTION_BITS, Supply};
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
}

/// The two things that may be limited.
const BITS: usize = 0;
const PACKETS: usize = 1;

/// A token bucket. Workers share what they read of it; each writes its own [`Slot`] and, once per lease, the supply.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Credit per byte and per packet; 0 where that is not limited.
    cost: [u64; 2],
    limits: Limits,
    /// Differs from that of every other bucket that was here before.
    stamp: u64,
    supplies: Arc<[Supply; 2]>,
    slots: Arc<[Slot]>,
}

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
    /// Packets that this bucket had no credit for.
    pub dropped: Volume,
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
        // Rounded up: no more passes than the rate.
        let cost = |ns: u64, rate: Option<(u64, u64)>| {
            rate.map_or(0, |(per_s, _)| (ns << FRACTION_BITS).div_ceil(per_s.max(1)))
        };
        Bucket {
            cost: [cost(8_000_000_000, bits), cost(1_000_000_000, packets)],
            limits,
            stamp,
            supplies: Arc::new([supply(bits), supply(packets)]),
            slots,
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
        let leased = self.slots.iter().filter(|slot| slot.stamp.get() == self.stamp);
        let leased: u64 = leased.map(|slot| slot.credit[of].get()).sum();
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

    /// Whether a packet could be paid now. Only reads what workers share.
    fn could_cover(&self, slot: &Slot, now: Nanos, costs: [u64; 2]) -> bool {
        if slot.stamp.get() != self.stamp {
            // Leases of a bucket that is no more are worth nothing.
            slot.credit.iter().for_each(|credit| credit.set(0));
            slot.stamp.set(self.stamp);
        }
        let mut of = slot.credit.iter().zip(&*self.supplies).zip(costs);
        of.all(|((credit, supply), cost)| lacking_ns(credit, cost) <= supply.available_ns(now))
    }

    /// Takes leases until the worker can pay a packet. Where another worker was faster, nothing is left of them but what a
    /// worker may have.
    fn fill(&self, slot: &Slot, now: Nanos, costs: [u64; 2]) -> bool {
        for ((credit, supply), cost) in slot.credit.iter().zip(&*self.supplies).zip(costs) {
            let lacking = lacking_ns(credit, cost);
            if lacking > 0 {
                let taken = supply.take(now, lacking);
                credit.add(taken << FRACTION_BITS);
            }
        }
        self.covers(slot, costs)
    }

    /// Gives up credit beyond what a worker may have left between two packets.
    fn trim(&self, slot: &Slot) {
        for (credit, supply) in slot.credit.iter().zip(&*self.supplies) {
            credit.set(credit.get().min(supply.left_max()));
        }
    }
}

/// What is missing to `cost`, in whole nanoseconds.
fn lacking_ns(credit: &Counter, cost: u64) -> u64 {
    cost.saturating_sub(credit.get()).div_ceil(1 << FRACTION_BITS)
}

/// Takes a packet through all of `buckets`, or through none: whether it may go on. `worker` is the number of the caller.
#[inline(always)]
pub fn pass(buckets: &[&Bucket], worker: usize, now: Nanos, ip_len: u16) -> bool {
    let covered = |bucket: &&Bucket| bucket.covers(bucket.slot(worker), bucket.costs(ip_len));
    if !buckets.iter().all(covered) && !fill_all(buckets, worker, now, ip_len) {
        return false;
    }
    for bucket in buckets {
        bucket.spend(bucket.slot(worker), bucket.costs(ip_len), ip_len);
    }
    true
}

/// Takes leases of all buckets where all can pay. The first one that cannot counts the packet.
#[cold]
#[inline(never)]
fn fill_all(buckets: &[&Bucket], worker: usize, now: Nanos, ip_len: u16) -> bool {
    let short = |bucket: &Bucket| !bucket.could_cover(bucket.slot(worker), now, bucket.costs(ip_len));
    let late = |bucket: &Bucket| !bucket.fill(bucket.slot(worker), now, bucket.costs(ip_len));
    let refusing = buckets.iter().find(|bucket| short(bucket)).or_else(|| {
        let refusing = buckets.iter().find(|bucket| late(bucket));
        if refusing.is_some() {
            buckets.iter().for_each(|bucket| bucket.trim(bucket.slot(worker)));
        }
        refusing
    });
    if let Some(bucket) = refusing {
        let slot = bucket.slot(worker);
        slot.dropped.packets.add(1);
        slot.dropped.bytes.add(bucket.limits.count.of(ip_len));
    }
    refusing.is_none()
}
