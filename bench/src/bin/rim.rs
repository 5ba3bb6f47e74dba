//! What the DPDK rim costs by itself: frames of 60 bytes from one `net_null` device to another, nothing between. The
//! devices allocate and free each mbuf, so the figure holds both.
//!
//! Built with cross-language LTO it is also the smallest program whose hot loop `tidegate-check-inline` can judge.

use std::hint::black_box;

use tidegate_fastpath::{
    io::{
        Burst, Io,
        dpdk::{Dpdk, EalOptions, PortSpec},
    },
    types::{Mtu, PortId},
};

/// Bursts per measurement; with 32 frames each.
const BURSTS: usize = 2_000_000;
/// The best of so many is printed: the others had company on the core.
const MEASUREMENTS: usize = 5;

fn main() -> anyhow::Result<()> {
    let mtu = Mtu::new(1500)?;
    let port = |id, device: &str| {
        let (name, device) = (device.to_owned(), format!("{device},size=60"));
        PortSpec { id: PortId(id), name, device, mtu, queues: None }
    };
    let ports = [port(0, "net_null0"), port(1, "net_null1")];
    let (dpdk, mut ios) = Dpdk::start(&EalOptions::default(), &ports, 1)?;
    let Some(io) = ios.first_mut() else { anyhow::bail!("no worker was dealt its queues") };
    let best = (0..MEASUREMENTS).map(|_| forward(io)).fold(f64::INFINITY, f64::min);
    let memory = if dpdk.has_hugepages() { "hugepages" } else { "ordinary pages" };
    println!("net_null to net_null, 60-byte frames, bursts of 32, {memory}: {best:.1} cycles per frame");
    Ok(())
}

/// Receives on each queue and sends on the other port; returns cycles per frame.
#[inline(never)]
fn forward<I: Io>(io: &mut I) -> f64 {
    let mut burst = Burst::new();
    let mut frames = 0usize;
    let before = io.cycles();
    for round in 0..BURSTS {
        black_box(io.now());
        let from = io.rx(round % io.queues(), &mut burst);
        frames += burst.len();
        io.tx(PortId(1 - from.0), &mut burst);
        burst.clear();
    }
    io.cycles().wrapping_sub(before) as f64 / frames.max(1) as f64
}
