//! What the port allocation costs, in ns per call, many VMs in random order, one thread.
//! `cargo run --release -p tidegate-fastpath --example nat_cost [vms]`

use std::{hint::black_box, net::Ipv4Addr, sync::Arc, time::Instant};

use tidegate_fastpath::{
    nat::{Nat, NatLimits, Vm},
    table::nat::{Inside, Snat, Space, Vip},
    types::{NetId, VipId, VrfId},
};

/// Calls per measurement.
const CALLS: usize = 200_000;
const ROUNDS: usize = 5;
/// Addresses of the pool, with 1,008 blocks each.
const VIPS: u16 = 40;

fn main() {
    let vms = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(10_000);
    println!("{vms} VMs, {VIPS} VIPs, fastest of {ROUNDS} times {CALLS} calls, ns per call with lock");
    for ports in [1, 64, 512, 2048] {
        measure(vms, ports);
    }
}

fn measure(vms: u32, ports: u16) {
    // As many VMs as the pool has ports for, and one block more each.
    let blocks = u32::from(ports.div_ceil(64));
    let vms = vms.min(u32::from(VIPS) * 1008 / (blocks + 1));
    let limits = NatLimits { vms: vms as usize + 1, blocks: (vms * blocks) as usize + 2, vrfs: 2 };
    let nat = Nat::new(limits);
    let vips: Vec<_> = (0..VIPS).map(|n| Some(Arc::new(vip(n)))).collect();
    let snat = Snat { vips: (0..VIPS).map(VipId).collect(), blocks_per_vm: 33, hairpin: false };
    let mut random = 1u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random ^ random >> 29
    };
    for n in 0..vms {
        with(&nat, n, |vm| {
            for port in 0..ports {
                black_box(vm.lease(&vips, &snat, Space::Udp, port, next()).is_ok());
            }
        });
    }
    let order: Vec<(u32, u64)> = (0..CALLS).map(|_| ((next() >> 32) as u32 % vms, next())).collect();
    let each = |call: &mut dyn FnMut(&mut Vm<'_>, u64)| {
        let round = || {
            let start = Instant::now();
            order.iter().for_each(|(n, seed)| with(&nat, *n, |vm| call(vm, *seed)));
            start.elapsed().as_nanos() as f64 / CALLS as f64
        };
        std::iter::repeat_with(round).take(ROUNDS).fold(f64::MAX, f64::min)
    };
    let lock = each(&mut |vm, _| _ = black_box(vm.sessions()));
    let known = each(&mut |vm, seed| {
        black_box(vm.mapping(&vips, &snat, Space::Udp, seed as u16 % ports));
    });
    let unknown = each(&mut |vm, _| _ = black_box(vm.mapping(&vips, &snat, Space::Udp, 60_000)));
    let lease = each(&mut |vm, seed| {
        if let Ok(lease) = vm.lease(&vips, &snat, Space::Udp, 60_000, seed) {
            vm.release(&vips, lease.mapping);
        }
    });
    // What is left of the pool goes to nobody.
    for leases in vips.iter().flatten().map(|vip| &vip.leases) {
        for block in leases.free(Space::Udp, 0).collect::<Vec<_>>() {
            leases.take(Space::Udp, block, u32::MAX - 1);
        }
    }
    let refused = each(&mut |vm, seed| {
        if let Ok(lease) = vm.lease(&vips, &snat, Space::Udp, 60_000, seed) {
            vm.release(&vips, lease.mapping);
        }
    });
    println!(
        "{vms:>6} VMs with {ports:>4} ports: lock {lock:.0}, known mapping {known:.0}, unknown {unknown:.0}, \
         lease and release {lease:.0}, from a used-up pool {refused:.0}"
    );
}

fn with(nat: &Nat, n: u32, call: impl FnOnce(&mut Vm<'_>)) {
    let inside = Inside { vrf: VrfId(1), address: Ipv4Addr::from_bits(0x0a00_0000 + n) };
    if let Ok(mut vm) = nat.vm(inside) {
        call(&mut vm);
    }
}

fn vip(n: u16) -> Vip {
    Vip {
        net: NetId(1),
        address: Ipv4Addr::new(203, 0, 113, n as u8),
        eip: None,
        forwards: [].into(),
        listeners: [].into(),
        held: [].into(),
        leases: Arc::default(),
        limits: Default::default(),
        meter: Arc::default(),
    }
}
