//! The port allocation: at each of its limits, against a plain model, and by several threads at once.

mod limit;
mod oracle;
mod stress;

use std::{net::Ipv4Addr, ops::RangeInclusive, sync::Arc};

use super::*;
use crate::{
    table::nat::{Quotas, Slice, Snat},
    types::{NetId, Tick},
};

type Vips = Vec<Option<Arc<Vip>>>;

fn nat(vms: usize, blocks: usize) -> Arc<Nat> {
    Nat::new(NatLimits { vms, blocks, vrfs: 4 })
}

/// The n-th VM.
fn inside(n: u16) -> Inside {
    let [high, low] = n.to_be_bytes();
    Inside { vrf: VrfId(1), address: Ipv4Addr::new(10, 1, high, low) }
}

/// The address of the n-th VIP.
fn public(n: u16) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, n as u8)
}

/// The n-th VIP, with all of its ports, of all spaces, held by others but these. `open` is sorted.
fn vip(n: u16, open: &[RangeInclusive<u16>]) -> Vip {
    let mut held = Vec::new();
    for protocol in [1, 6, 17] {
        let mut first = 0u32;
        for range in open {
            if first < u32::from(*range.start()) {
                held.push(Slice { protocol, first: first as u16, last: range.start() - 1 });
            }
            first = u32::from(*range.end()) + 1;
        }
        if first < 65_536 {
            held.push(Slice { protocol, first: first as u16, last: 65_535 });
        }
    }
    Vip {
        net: NetId(1),
        address: public(n),
        eip: None,
        forwards: [].into(),
        listeners: [].into(),
        held: held.into(),
        leases: Arc::default(),
        limits: Default::default(),
        meter: Arc::default(),
    }
}

/// VIPs 0.. with these open ports each.
fn vips(open: &[&[RangeInclusive<u16>]]) -> Vips {
    open.iter().zip(0..).map(|(open, n)| Some(Arc::new(vip(n, open)))).collect()
}

fn pool(vips: impl IntoIterator<Item = u16>, blocks_per_vm: u16) -> Snat {
    Snat { vips: vips.into_iter().map(VipId).collect(), blocks_per_vm, hairpin: false }
}

/// A seed that differs each time.
fn seed(n: u64) -> u64 {
    (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

const EVERY_PORT: &[RangeInclusive<u16>] = &[0..=65_535];
