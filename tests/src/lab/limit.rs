//! What a token bucket says of a stream that passes it: read off `show qos`, with the bucket's own time. No clock of the lab is
//! compared with it, so a busy machine changes nothing.

use anyhow::{Context, Result};
use serde_json::json;

use super::{
    Netns, Site,
    probe::{Stream, iperf3},
    wait_for,
};

/// A reading of a bucket.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// When, on the clock by which it fills.
    pub at_ns: u64,
    /// Bytes that passed so far.
    pub passed: u64,
    /// Bytes that it had no credit for.
    pub dropped: u64,
    /// Packets that passed so far.
    pub packets: u64,
    /// Bytes that may pass now.
    pub level: u64,
}

impl Reading {
    /// Bits per second that passed between two readings.
    pub fn rate_until(&self, to: &Reading) -> f64 {
        (to.passed - self.passed) as f64 * 8e9 / (to.at_ns - self.at_ns) as f64
    }

    /// Bits per second that the bucket gave out between two readings: what passed, and what is there more than before. Of a
    /// bucket that was never full in between this is its rate, whatever was offered.
    pub fn filled_until(&self, to: &Reading) -> f64 {
        let passed = (to.passed - self.passed) as f64;
        (passed + to.level as f64 - self.level as f64) * 8e9 / (to.at_ns - self.at_ns) as f64
    }
}

/// The bucket of a limit, in one direction.
#[derive(Clone, Copy, Debug)]
pub struct Limit<'a> {
    /// The object of `qos`.
    pub id: &'a str,
    /// `inbound` or `outbound`.
    pub direction: &'a str,
}

impl Limit<'_> {
    /// What it says now.
    ///
    /// # Errors
    /// When there is no such row.
    pub fn read(&self, site: &Site) -> Result<Reading> {
        let rows = site.gateway.json("qos")?;
        let rows = rows.as_array().context("`show qos --json` is a list")?;
        let is = |row: &&serde_json::Value| {
            row["id"] == json!(self.id) && row["direction"] == json!(self.direction)
        };
        let row = rows.iter().find(is).with_context(|| format!("`show qos` has {self:?}"))?;
        let number = |key: &str| row[key].as_u64().with_context(|| format!("`{key}` in {row}"));
        Ok(Reading {
            at_ns: number("read_at_ns")?,
            passed: number("passed_bytes")?,
            dropped: number("dropped_bytes")?,
            packets: number("passed_packets")?,
            level: number("level")?,
        })
    }

    /// Runs `iperf3` for so long from `client` to a server in `server` at `address`, with further options; returns what the
    /// receivers got, and two readings in its middle: these milliseconds after it began.
    ///
    /// # Errors
    /// See [`iperf3`].
    pub fn under_stream(
        &self,
        site: &Site,
        (server, client, address): (&Netns, &Netns, &str),
        (options, seconds): (&str, u64),
        at_ms: [u64; 2],
    ) -> Result<(Stream, [Reading; 2])> {
        std::thread::scope(|scope| {
            let before = self.read(site)?;
            let run = scope.spawn(|| iperf3(server, client, address, &format!("-t {seconds} {options}")));
            let mut began = None;
            let [first, last] = at_ms.map(|ms| {
                wait_for("the stream to go on", || {
                    let now = self.read(site).ok()?;
                    if began.is_none() && now.packets > before.packets + 20 {
                        began = Some(now.at_ns);
                    }
                    began.is_some_and(|began| now.at_ns >= began + ms * 1_000_000).then_some(now)
                })
            });
            let stream = run.join().ok().context("iperf3 ran")??;
            Ok((stream, [first?, last?]))
        })
    }
}
