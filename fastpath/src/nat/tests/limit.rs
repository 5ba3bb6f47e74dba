//! What happens at each limit, and what is promised about the choice of ports.

use std::collections::HashSet;

use super::*;
use crate::table::nat::FIRST_PORT;

/// Leases for inner ports 0.. until that is refused.
fn fill(nat: &Nat, n: u16, vips: &Vips, snat: &Snat) -> (Vec<Mapping>, NoPort) {
    let mut vm = nat.vm(inside(n)).unwrap();
    let mut mappings = Vec::new();
    loop {
        match vm.lease(vips, snat, Space::Udp, mappings.len() as u16, seed(mappings.len() as u64)) {
            Ok(lease) => mappings.push(lease.mapping),
            Err(reason) => return (mappings, reason),
        }
    }
}

fn free(nat: &Nat, n: u16, vips: &Vips, mappings: &[Mapping]) -> usize {
    let mut vm = nat.vm(inside(n)).unwrap();
    mappings.iter().filter(|mapping| vm.release(vips, **mapping).is_some()).count()
}

#[test]
fn so_many_vms_and_no_more() {
    let nat = nat(100, 0);
    for n in 0..100 {
        nat.vm(inside(n)).unwrap().readmit();
    }
    assert_eq!(nat.vm(inside(100)).map(|_| ()).unwrap_err(), NoVm::Full);
    assert_eq!(nat.vm(inside(7)).unwrap().sessions(), 1, "one that is known");
    nat.vm(inside(7)).unwrap().end();
    nat.vm(inside(100)).unwrap().readmit();
    assert_eq!((nat.usage().vms, nat.vms().count(), nat.vpc_sessions(VrfId(1))), (100, 100, 100));
    let beyond = Inside { vrf: VrfId(4), ..inside(1) };
    assert_eq!(nat.vm(beyond).map(|_| ()).unwrap_err(), NoVm::Full);
}

#[test]
fn a_vm_without_sessions_and_blocks_is_forgotten() {
    let nat = nat(1, 1);
    assert!(nat.find(inside(1)).unwrap().is_none());
    drop(nat.vm(inside(1)).unwrap());
    let mut vm = nat.vm(inside(2)).unwrap();
    assert_eq!(nat.vm(inside(2)).map(|_| ()).unwrap_err(), NoVm::Busy);
    vm.readmit();
    drop(vm);
    assert_eq!(nat.find(inside(2)).unwrap().map(|vm| vm.sessions()), Some(1));
    nat.vm(inside(2)).unwrap().end();
    nat.vm(inside(2)).unwrap().end();
    assert_eq!((nat.usage().vms, nat.vpc_sessions(VrfId(1))), (0, 0));
}

#[test]
fn a_vm_gets_its_blocks_and_then_uses_them_again() {
    let (nat, vips, snat) = (nat(9, 100), vips(&[EVERY_PORT]), pool([0], 3));
    let (mappings, reason) = fill(&nat, 1, &vips, &snat);
    assert_eq!((mappings.len(), reason), (3 * 64, NoPort::VmBlocks));
    let mut vm = nat.vm(inside(1)).unwrap();
    assert!(vm.lease(&vips, &snat, Space::Tcp, 1, 1).is_ok(), "of another space");
    for turn in 0..200 {
        let again: Vec<Mapping> = vm.leased(&vips, &snat, Space::Udp, seed(turn)).collect();
        assert_eq!(again.len(), mappings.len());
        assert_eq!(again.iter().collect::<HashSet<_>>(), mappings.iter().collect());
    }
    let first = |turn| vm.leased(&vips, &snat, Space::Udp, seed(turn)).next();
    assert!((0..200).map(first).collect::<HashSet<_>>().len() > 50, "rotated");
    drop(vm);
    assert_eq!(free(&nat, 1, &vips, &mappings), 3);
    assert_eq!(nat.largest(9), [(inside(1), 1)]);
}

#[test]
fn the_next_vip_only_when_the_first_has_no_block() {
    // Two blocks each, with 64 and 8 ports.
    let two: &[_] = &[1024..=1087, 50_000..=50_007];
    let (nat, vips, snat) = (nat(9, 100), vips(&[two, two, two]), pool([2, 0, 1], 99));
    let (mappings, reason) = fill(&nat, 1, &vips, &snat);
    assert_eq!((mappings.len(), reason), (3 * 72, NoPort::Vips));
    let order: Vec<VipId> = mappings.chunks(72).map(|chunk| chunk[0].vip).collect();
    for (chunk, vip) in mappings.chunks(72).zip(&order) {
        assert!(chunk.iter().all(|mapping| mapping.vip == *vip));
        assert!(chunk.iter().all(|mapping| mapping.address == public(vip.0)));
    }
    for (id, vip) in vips.iter().zip(0..).map(|(vip, n)| (VipId(n), vip.as_ref().unwrap())) {
        assert_eq!(vip.leases.used(Space::Udp), 2);
        let full = VipUsage { used: 72, leased: 0, free: 0, held: 64_512 - 72 };
        assert_eq!(nat.vip_usage(id, vip, Space::Udp), full);
        let empty = VipUsage { used: 0, leased: 0, free: 72, held: 64_512 - 72 };
        assert_eq!(nat.vip_usage(id, vip, Space::Tcp), empty);
    }
    assert_eq!(fill(&nat, 2, &vips, &snat), (vec![], NoPort::Vips));
    assert_eq!(nat.usage().vms, 1, "who got nothing is forgotten");
    assert_eq!(free(&nat, 1, &vips, &mappings), 6);
}

#[test]
fn a_vm_keeps_one_public_address_and_vms_spread_over_the_pool() {
    let (vips, snat) = (vips(&[EVERY_PORT; 4]), pool(0..4, 8));
    let mut by_vip = [0; 4];
    let nats = [nat(200, 1000), nat(200, 1000)];
    for n in 0..200 {
        let mut seen = HashSet::new();
        // Another gateway, or the same one after a restart, chooses the same.
        for nat in &nats {
            let mut vm = nat.vm(inside(n)).unwrap();
            for space in Space::ALL {
                seen.insert(vm.lease(&vips, &snat, space, 7, seed(u64::from(n))).unwrap().mapping.vip);
            }
        }
        assert_eq!(seen.len(), 1, "{n}");
        by_vip[seen.iter().next().unwrap().index()] += 1;
    }
    assert!(by_vip.iter().all(|vms| *vms > 20), "{by_vip:?}");
}

#[test]
fn no_block_record_is_left() {
    let (nat, vips, snat) = (nat(9, 2), vips(&[EVERY_PORT]), pool([0], 9));
    let (mappings, reason) = fill(&nat, 1, &vips, &snat);
    assert_eq!((mappings.len(), reason), (128, NoPort::BlockRecords));
    assert_eq!((nat.usage().blocks, nat.usage().blocks_max), (2, 2));
    free(&nat, 1, &vips, &mappings);
    assert_eq!(fill(&nat, 2, &vips, &snat).0.len(), 128);
}

#[test]
fn ports_and_blocks_are_chosen_by_the_seed() {
    let (nat, vips, snat) = (nat(99, 99), vips(&[EVERY_PORT]), pool([0], 1));
    let mut blocks = HashSet::new();
    let mut slots = HashSet::new();
    for n in 0..2000 {
        let mut vm = nat.vm(inside(1)).unwrap();
        let lease = vm.lease(&vips, &snat, Space::Udp, 7, seed(n)).unwrap();
        assert!(lease.mapping.port >= FIRST_PORT);
        blocks.insert(lease.mapping.port / 64);
        slots.insert(lease.mapping.port % 64);
        assert_eq!(vm.release(&vips, lease.mapping), lease.block);
    }
    assert!(blocks.len() > 500 && slots.len() == 64, "{} {}", blocks.len(), slots.len());
}

#[test]
fn a_port_that_another_service_takes_is_no_mapping_from_then_on() {
    let (nat, mut vips, snat) = (nat(9, 9), vips(&[EVERY_PORT]), pool([0], 1));
    let mut vm = nat.vm(inside(1)).unwrap();
    let mapping = vm.lease(&vips, &snat, Space::Udp, 7, 0).unwrap().mapping;
    assert_eq!(vm.mapping(&vips, &snat, Space::Udp, 7), Some(mapping));
    let leases = vips[0].as_ref().unwrap().leases.clone();
    let port = mapping.port;
    vips[0] = Some(Arc::new(Vip { leases, ..vip(0, &[0..=port - 1, port + 1..=65_535]) }));
    assert_eq!(vm.mapping(&vips, &snat, Space::Udp, 7), None);
    assert_eq!(vm.leased(&vips, &snat, Space::Udp, 0).count(), 0);
    let ports: Vec<_> =
        (0..64).map_while(|n| vm.lease(&vips, &snat, Space::Udp, n, seed(u64::from(n))).ok()).collect();
    assert_eq!(ports.len(), 63);
    assert!(ports.iter().all(|lease| lease.mapping.port != port && lease.block.is_none()));
    assert_eq!(vm.release(&vips, mapping), None);
}

#[test]
fn an_address_that_is_one_vm_s_own_is_not_leased() {
    let (nat, mut vips, snat) = (nat(9, 9), vips(&[EVERY_PORT, EVERY_PORT]), pool([0, 1], 9));
    vips[0] = Some(Arc::new(Vip { eip: Some(inside(9)), ..vip(0, EVERY_PORT) }));
    for n in 0..8 {
        let lease = nat.vm(inside(n)).unwrap().lease(&vips, &snat, Space::Tcp, 1, 1).unwrap();
        assert_eq!(lease.mapping.vip, VipId(1));
    }
    let hairpin = Snat { hairpin: true, ..pool([0], 9) };
    let lease = nat.vm(inside(8)).unwrap().lease(&vips, &hairpin, Space::Tcp, 1, 1).unwrap();
    assert_eq!(lease.mapping.vip, VipId(0), "but towards itself");
}

#[test]
fn sessions_of_removed_vips_keep_a_vm_from_nothing_but_endless_growth() {
    let (nat, mut vips, snat) = (nat(9, 99), vips(&[EVERY_PORT]), pool([0], 2));
    let mut all = Vec::new();
    for reason in [NoPort::VmBlocks; 2] {
        let (mappings, why) = fill(&nat, 1, &vips, &snat);
        assert_eq!((mappings.len(), why), (128, reason));
        all.extend(mappings);
        vips[0] = Some(Arc::new(vip(0, EVERY_PORT)));
    }
    assert_eq!(fill(&nat, 1, &vips, &snat), (vec![], NoPort::VmBlocks));
    vips[0] = None;
    assert_eq!(free(&nat, 1, &vips, &all), 4);
    assert_eq!((nat.usage().blocks, nat.usage().vms), (0, 0));
}

#[test]
fn a_restarted_gateway_adopts_what_sessions_use() {
    let (before, vips, snat) = (nat(9, 9), vips(&[EVERY_PORT]), pool([0], 4));
    let (mappings, _) = fill(&before, 1, &vips, &snat);
    let after = nat(9, 4);
    let vips: Vips = vec![Some(Arc::new(vip(0, EVERY_PORT)))];
    let mut blocks = 0;
    for (n, mapping) in mappings.iter().enumerate() {
        let mut vm = after.vm(inside(1)).unwrap();
        blocks += usize::from(vm.adopt(&vips, *mapping, n as u16).unwrap().is_some());
        assert_eq!(vm.adopt(&vips, *mapping, 9999), Ok(None), "another session, by another port inside");
        assert_eq!(vm.mapping(&vips, &snat, Space::Udp, n as u16), Some(*mapping));
        assert_eq!(vm.mapping(&vips, &snat, Space::Udp, 9999), None);
        let owner = after.owner(VipId(0), vips[0].as_ref().unwrap(), Space::Udp, mapping.port);
        assert_eq!(owner, Some((inside(1), n as u16)));
    }
    assert_eq!(blocks, 4);
    let taken = after.vm(inside(2)).unwrap().adopt(&vips, mappings[0], 1);
    assert_eq!(taken, Err(NotAdopted::BlockRecords));
    assert_eq!(free(&after, 1, &vips, &mappings), 0);
    assert_eq!(free(&after, 1, &vips, &mappings), 4);
}

#[test]
fn what_cannot_be_adopted() {
    let (nat, mut vips) = (nat(9, 9), vips(&[EVERY_PORT, &[2000..=2000]]));
    let adopt = |n, vips: &Vips, vip: u16, address: u16, port: u16| {
        let mapping = Mapping { vip: VipId(vip), address: public(address), space: Space::Tcp, port };
        nat.vm(inside(n)).unwrap().adopt(vips, mapping, 1).map(|block| block.is_some())
    };
    assert_eq!(adopt(1, &vips, 0, 0, 5000), Ok(true));
    let cases = [
        (2, 0, 0, 5001, Err(NotAdopted::Taken)),
        (2, 0, 1, 6000, Err(NotAdopted::Vip)),
        (2, 0, 0, 1023, Err(NotAdopted::Vip)),
        (2, 7, 7, 6000, Err(NotAdopted::Vip)),
        (2, 1, 1, 2001, Err(NotAdopted::Held)),
        (2, 1, 1, 2000, Ok(true)),
        (1, 0, 0, 5000, Ok(false)),
    ];
    for (n, vip, address, port, expected) in cases {
        assert_eq!(adopt(n, &vips, vip, address, port), expected, "{n} {vip} {port}");
    }
    vips[0] = None;
    assert_eq!(adopt(1, &vips, 0, 0, 5000), Err(NotAdopted::Vip));
}

#[test]
fn each_quota_refuses_with_its_own_reason_and_counts_nothing() {
    let no = Quotas::default();
    let cases = [
        (Quotas { vm_sessions: 2, ..no }, OverQuota::VmSessions),
        (Quotas { vm_new_per_s: 2, ..no }, OverQuota::VmRate),
        (Quotas { sessions: 2, ..no }, OverQuota::VpcSessions),
        (Quotas { new_per_s: 2, ..no }, OverQuota::VpcRate),
    ];
    for (quotas, reason) in cases {
        let nat = nat(9, 0);
        let mut vm = nat.vm(inside(1)).unwrap();
        let admitted: Vec<_> = (0..5).map(|_| vm.admit(&quotas, Tick(1_000_000))).collect();
        assert_eq!(admitted, [Ok(()), Ok(()), Err(reason), Err(reason), Err(reason)]);
        assert_eq!((vm.sessions(), nat.vpc_sessions(VrfId(1))), (2, 2));
        drop(vm);
        let mut other = nat.vm(inside(2)).unwrap();
        let of_vm = matches!(reason, OverQuota::VmSessions | OverQuota::VmRate);
        assert_eq!(other.admit(&quotas, Tick(1_000_000)).is_ok(), of_vm, "another VM of the VPC");
    }
}

#[test]
fn a_refusal_by_the_vpc_costs_the_vm_nothing_of_its_rate() {
    let nat = nat(9, 0);
    let tight = Quotas { new_per_s: 0, vm_new_per_s: 3, ..Quotas::default() };
    let wide = Quotas { new_per_s: u32::MAX, ..tight };
    let mut vm = nat.vm(inside(1)).unwrap();
    assert!((0..9).all(|_| vm.admit(&tight, Tick(5)) == Err(OverQuota::VpcRate)));
    assert_eq!((0..9).filter(|_| vm.admit(&wide, Tick(5)).is_ok()).count(), 3);
}
