//! Rows of rate limits.

use serde::{Deserialize, Serialize};

use crate::show::print::Columns;

/// A token bucket: one direction of a rate limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QosRow {
    /// As configured.
    pub id: String,
    /// `outbound` or `inbound`.
    pub direction: String,
    /// What it limits, in words.
    pub limits: String,
    /// `policer`, `srtcm` or `trtcm`.
    pub mode: String,
    /// Bits per second.
    pub rate: Option<u64>,
    /// Bytes that may pass at once.
    pub burst: Option<u64>,
    /// Bytes of the excess burst (srtcm) or of the peak's burst (trtcm).
    pub second_burst: Option<u64>,
    /// Bits per second of the peak (trtcm).
    pub peak_rate: Option<u64>,
    /// Packets per second.
    pub packet_rate: Option<u64>,
    /// Bytes that may pass now (packets, where no `rate` is given).
    pub level: u64,
    /// What was green, yellow and red, whatever became of it; null without colours.
    pub colours: Option<ColourCounts>,
    /// Packets that passed.
    pub passed_packets: u64,
    /// Their bytes, as the bucket counts them.
    pub passed_bytes: u64,
    /// Packets that this bucket had no credit for, or whose colour it drops.
    pub dropped_packets: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
    /// When this was read, in ns on the clock by which the bucket fills.
    pub read_at_ns: u64,
}

/// Counters by colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColourCounts {
    /// Green packets.
    pub green_packets: u64,
    /// Their bytes.
    pub green_bytes: u64,
    /// Yellow packets.
    pub yellow_packets: u64,
    /// Their bytes.
    pub yellow_bytes: u64,
    /// Red packets.
    pub red_packets: u64,
    /// Their bytes.
    pub red_bytes: u64,
}

impl Columns for QosRow {
    const HEAD: &'static [&'static str] = &[
        "qos",
        "direction",
        "limits",
        "mode",
        "rate",
        "burst",
        "peak",
        "second burst",
        "pps",
        "level",
        "green",
        "yellow",
        "red",
        "passed packets",
        "passed bytes",
        "dropped packets",
        "dropped bytes",
    ];

    fn cells(&self) -> Vec<String> {
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let per_s = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), rate);
        let packets = |of: fn(&ColourCounts) -> u64| number(self.colours.as_ref().map(of));
        vec![
            self.id.clone(),
            self.direction.clone(),
            self.limits.clone(),
            self.mode.clone(),
            per_s(self.rate),
            number(self.burst),
            per_s(self.peak_rate),
            number(self.second_burst),
            number(self.packet_rate),
            self.level.to_string(),
            packets(|of| of.green_packets),
            packets(|of| of.yellow_packets),
            packets(|of| of.red_packets),
            self.passed_packets.to_string(),
            self.passed_bytes.to_string(),
            self.dropped_packets.to_string(),
            self.dropped_bytes.to_string(),
        ]
    }
}

/// A rate in the largest unit that makes a whole number of it, as it is configured.
fn rate(per_s: u64) -> String {
    let units = [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s")];
    let unit = units.into_iter().find(|(worth, _)| per_s.is_multiple_of(*worth));
    let (worth, name) = unit.unwrap_or((1, "bit/s"));
    format!("{}{name}", per_s / worth)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_rate_reads_as_it_is_written() {
        let rates = [(40_000_000_000, "40Gbit/s"), (1_500_000, "1500kbit/s"), (131_072, "131072bit/s")];
        for (per_s, text) in rates {
            assert_eq!(super::rate(per_s), text);
        }
    }
}
