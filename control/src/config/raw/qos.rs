//! The section about rate limits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::range as r;

/// A rate limit: a token bucket for each direction, which holds over all workers. It has exactly one of `vip`, `vips` and
/// `nic`, and at least one rate. A packet above a rate is dropped; docs/qos.md says what is counted, and how to choose a
/// burst.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawQos {
    /// Its name.
    #[schemars(required, extend("format" = "id"))]
    pub id: Option<String>,
    /// The VIP whose translated packets are limited: all of them, or those of `ports`.
    #[schemars(extend("format" = "id"))]
    pub vip: Option<String>,
    /// VIPs that share the buckets, instead of `vip`.
    #[schemars(length(min = 1, max = 1024), extend("x-item" = "id"))]
    pub vips: Option<Vec<String>>,
    /// The NIC whose routed and translated packets are limited, instead of `vip`.
    #[schemars(extend("format" = "id"))]
    pub nic: Option<String>,
    /// Only this port of the VIP; no two limits of a VIP share one.
    #[schemars(extend("format" = "ports"))]
    pub port: Option<String>,
    /// The same for several ports, the first and the last as in 8000-8099: all of them share the buckets.
    #[schemars(extend("format" = "ports"))]
    pub ports: Option<String>,
    /// Only these ports of `port` or `ports`; both protocols when left out.
    #[schemars(extend("enum" = ["tcp", "udp"]))]
    pub protocol: Option<String>,
    /// Most that comes in: from public networks to the VIP; to the NIC. As in 100Mbit/s (bit/s, kbit/s, Mbit/s or Gbit/s, of
    /// 1000 each).
    #[schemars(extend("format" = "rate"))]
    pub inbound: Option<String>,
    /// Most that goes out: from the VIP; from the NIC.
    #[schemars(extend("format" = "rate"))]
    pub outbound: Option<String>,
    /// Most packets per second that come in.
    #[schemars(range(min = 1, max = r::PPS_MAX))]
    pub inbound_pps: Option<u64>,
    /// Most packets per second that go out.
    #[schemars(range(min = 1, max = r::PPS_MAX))]
    pub outbound_pps: Option<u64>,
    /// What may pass at once after a pause, of each direction, as in 256KiB (B, kB, MB, KiB or MiB). 200 ms at the rate, no less
    /// than 64KiB and no more than 1024MiB when left out.
    #[schemars(extend("format" = "size"))]
    pub burst: Option<String>,
    /// Which bytes count: of the IP packet (`l3`), or of its Ethernet frame with header and FCS, without tag and tunnel (`l2`).
    #[schemars(extend("enum" = ["l3", "l2"], "default" = "l3"))]
    pub count: Option<String>,
    /// Whether the limit of a port replaces that of its VIP for the packets of the port. Otherwise they pass both.
    #[schemars(extend("default" = false))]
    pub independent: Option<bool>,
    /// Says by colour what becomes of packets, instead of dropping all that is above the rate.
    pub colour: Option<RawColour>,
}

/// Marking by colour: `inbound` and `outbound` are the committed rates, `burst` the committed burst. An action is `pass`, `drop`, a
/// DSCP to mark with (0 to 63, `af11` to `af43`, `cs0` to `cs7`, `ef`), or `precedence`: the drop precedence of the colour, where the
/// packet's class has one (RFC 2597).
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct RawColour {
    /// `srtcm`: one rate and two bursts (RFC 2697). `trtcm`: two rates, each with a burst (RFC 2698).
    #[schemars(required, extend("enum" = ["srtcm", "trtcm"]))]
    pub mode: Option<String>,
    /// Of srtcm: what may pass yellow at once; fills while the burst is full. As much as `burst` when left out.
    #[schemars(extend("format" = "size"))]
    pub excess_burst: Option<String>,
    /// Of trtcm, with `inbound`: up to this rate packets are yellow.
    #[schemars(extend("format" = "rate"))]
    pub inbound_peak: Option<String>,
    /// Of trtcm, with `outbound`: up to this rate packets are yellow.
    #[schemars(extend("format" = "rate"))]
    pub outbound_peak: Option<String>,
    /// Of trtcm: the burst of the peak rate. 200 ms at that rate, as for `burst`, when left out.
    #[schemars(extend("format" = "size"))]
    pub peak_burst: Option<String>,
    /// Whether the DSCP that a packet comes with is its colour, than which it gets no better: AF drop precedence 2 is yellow, 3 is
    /// red, all else green.
    #[schemars(extend("default" = false))]
    pub aware: Option<bool>,
    /// What becomes of green packets.
    #[schemars(extend("format" = "action", "default" = "pass"))]
    pub green: Option<String>,
    /// What becomes of yellow packets.
    #[schemars(extend("format" = "action", "default" = "pass"))]
    pub yellow: Option<String>,
    /// What becomes of red packets.
    #[schemars(extend("format" = "action", "default" = "drop"))]
    pub red: Option<String>,
}
