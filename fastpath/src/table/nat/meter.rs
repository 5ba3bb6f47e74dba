//! What passed a public address, in both directions.
//!
//! Packets of a flow are counted on its entry and nowhere else. The meter gets what an entry had counted when the entry ends, and what
//! has no entry at once; control adds what living entries have counted ([`Meter::show`]).

use std::{
    ops::AddAssign,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::wire::translate::Side;

/// Packets, and bytes (IP total length) of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    /// Of one packet of so many bytes.
    pub const fn packet(bytes: u16) -> Amount {
        Amount { packets: 1, bytes: bytes as u64 }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Amount) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// To a public address and from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To it.
    pub inbound: Amount,
    /// From it.
    pub outbound: Amount,
}

impl Traffic {
    /// That of the address being the destination, or the source.
    pub const fn of(&mut self, side: Side) -> &mut Amount {
        match side {
            Side::Destination => &mut self.inbound,
            Side::Source => &mut self.outbound,
        }
    }
}

/// The meter of a VIP, which all its generations share. Written by workers when entries end, not per packet of a flow.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Meter {
    /// Packets and bytes in, packets and bytes out: what no living entry has counted.
    passed: [AtomicU64; 4],
    /// Most that was shown of them, with what living entries had counted.
    shown: [AtomicU64; 4],
}

impl Meter {
    /// Adds what no entry counts, or counts any more. Any thread.
    pub fn add(&self, side: Side, amount: Amount) {
        let [packets_in, bytes_in, packets_out, bytes_out] = &self.passed;
        let (packets, bytes) = match side {
            Side::Destination => (packets_in, bytes_in),
            Side::Source => (packets_out, bytes_out),
        };
        packets.fetch_add(amount.packets, Relaxed);
        bytes.fetch_add(amount.bytes, Relaxed);
    }

    /// What was added.
    pub fn passed(&self) -> Traffic {
        traffic(self.passed.each_ref().map(|word| word.load(Relaxed)))
    }

    /// What is shown, where so much had `passed` before living entries were asked, which had counted `open`. An entry that ends
    /// meanwhile is in neither, so never less than before is shown, and never more than there was.
    pub fn show(&self, passed: Traffic, open: Traffic) {
        for ((shown, passed), open) in self.shown.iter().zip(words(passed)).zip(words(open)) {
            shown.fetch_max(passed.wrapping_add(open), Relaxed);
        }
    }

    /// What was shown last, or more.
    pub fn shown(&self) -> Traffic {
        let shown = self.shown.each_ref().map(|word| word.load(Relaxed));
        let passed = words(self.passed());
        traffic(std::array::from_fn(|at| shown[at].max(passed[at])))
    }
}

fn traffic([packets_in, bytes_in, packets_out, bytes_out]: [u64; 4]) -> Traffic {
    Traffic {
        inbound: Amount { packets: packets_in, bytes: bytes_in },
        outbound: Amount { packets: packets_out, bytes: bytes_out },
    }
}

fn words(of: Traffic) -> [u64; 4] {
    [of.inbound.packets, of.inbound.bytes, of.outbound.packets, of.outbound.bytes]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_never_falls_and_is_never_too_much() {
        let meter = Meter::default();
        meter.add(Side::Destination, Amount::packet(100));
        let before = meter.passed();
        let mut open = Traffic::default();
        *open.of(Side::Destination) += Amount { packets: 3, bytes: 30 };
        // An entry ends after it was seen alive.
        meter.add(Side::Destination, Amount { packets: 2, bytes: 20 });
        meter.show(before, open);
        assert_eq!(meter.shown().inbound, Amount { packets: 4, bytes: 130 });
        // One that ends between its absence from the table and the meter is missing for a while.
        meter.show(meter.passed(), Traffic::default());
        assert_eq!(meter.shown().inbound, Amount { packets: 4, bytes: 130 });
        meter.add(Side::Destination, Amount { packets: 9, bytes: 900 });
        meter.add(Side::Source, Amount { packets: 1, bytes: 40 });
        let inbound = Amount { packets: 12, bytes: 1020 };
        assert_eq!(meter.shown(), Traffic { inbound, outbound: Amount::packet(40) });
    }
}
