//! Two threads that do what workers do, on the same VMs and on VIPs with few blocks.

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
};

use super::*;

const ROUNDS: u64 = 100_000;
const VMS: u16 = 6;
/// Sessions that a thread has at most.
const SESSIONS: usize = 300;

/// By VIP, space and port: who holds it (n + 1) in the upper half, how often in the lower.
struct Books(Vec<AtomicU64>);

impl Books {
    fn new(vips: usize) -> Books {
        Books((0..vips * 3 * 65_536).map(|_| AtomicU64::new(0)).collect())
    }

    fn word(&self, mapping: Mapping) -> &AtomicU64 {
        let space = mapping.vip.index() * 3 + mapping.space as usize;
        &self.0[space * 65_536 + usize::from(mapping.port)]
    }

    /// Called by who has the VM: so nobody else may change the port's word.
    fn hold(&self, n: u16, mapping: Mapping, fresh: bool) {
        let word = self.word(mapping);
        let (holder, count) = (word.load(SeqCst) >> 32, word.load(SeqCst) & 0xffff_ffff);
        assert_eq!(count == 0, fresh, "{mapping:?}");
        assert!(fresh || holder == u64::from(n) + 1, "{mapping:?} of {holder} held by {n}");
        word.store((u64::from(n) + 1) << 32 | (count + 1), SeqCst);
    }

    fn release(&self, n: u16, mapping: Mapping) {
        let word = self.word(mapping);
        assert_eq!(word.load(SeqCst) >> 32, u64::from(n) + 1, "{mapping:?}");
        word.fetch_sub(1, SeqCst);
    }
}

fn work(nat: &Nat, vips: &Vips, books: &Books, thread: u64) -> Vec<(u16, Mapping)> {
    let snat = pool([0, 1], 3);
    let mut sessions: Vec<(u16, Mapping)> = Vec::new();
    let mut random = thread;
    for _ in 0..ROUNDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let dice = (random >> 33) as usize;
        if sessions.len() == SESSIONS || (dice % 5 < 2 && !sessions.is_empty()) {
            let at = dice / 5 % sessions.len();
            let (n, mapping) = sessions[at];
            let Ok(mut vm) = nat.vm(inside(n)) else { continue };
            books.release(n, mapping);
            assert!(vm.inner_port(vips, mapping).is_some());
            _ = vm.release(vips, mapping);
            vm.end();
            sessions.swap_remove(at);
            continue;
        }
        let n = (dice / 5) as u16 % VMS;
        let (space, inner) = (Space::ALL[dice / 50 % 2], (dice / 100 % 150) as u16);
        let Ok(mut vm) = nat.vm(inside(n)) else { continue };
        let mapping = match vm.mapping(vips, &snat, space, inner) {
            Some(mapping) => Some((mapping, false)),
            None => match vm.lease(vips, &snat, space, inner, random) {
                Ok(lease) => Some((lease.mapping, true)),
                Err(_) => vm.leased(vips, &snat, space, random).next().map(|mapping| (mapping, false)),
            },
        };
        if let Some((mapping, fresh)) = mapping {
            assert!(fresh || vm.hold(vips, mapping));
            books.hold(n, mapping, fresh);
            vm.readmit();
            sessions.push((n, mapping));
        }
    }
    sessions
}

#[test]
fn two_workers_share_no_port() {
    // 5 and 3 blocks for 6 VMs that may have 3 each; fewer records than blocks in both spaces.
    let vips = vips(&[&[1024..=1279, 9_000..=9_010], &[2048..=2239]]);
    let (nat, books) = (nat(VMS.into(), 14), Books::new(2));
    let mut left = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = [1, 2]
            .map(|n| {
                scope.spawn({
                    let (nat, vips, books) = (&nat, &vips, &books);
                    move || work(nat, vips, books, n)
                })
            })
            .into();
        while !threads.iter().all(|thread| thread.is_finished()) {
            for block in nat.blocks() {
                assert!(block.used != 0 && block.first_port >= 1024 && block.inside.vrf == VrfId(1));
            }
            assert!(nat.vms().count() <= VMS.into());
        }
        for thread in threads {
            left.extend(thread.join().unwrap());
        }
    });
    assert_eq!(nat.vpc_sessions(VrfId(1)), left.len() as u32);
    assert_eq!(nat.blocks().map(|block| block.sessions).sum::<u64>(), left.len() as u64);
    for (n, mapping) in left {
        let mut vm = nat.vm(inside(n)).unwrap();
        books.release(n, mapping);
        vm.release(&vips, mapping);
        vm.end();
    }
    assert!(books.0.iter().all(|word| word.load(SeqCst) & 0xffff_ffff == 0));
    assert_eq!(nat.usage(), NatUsage { vms: 0, vms_max: VMS.into(), blocks: 0, blocks_max: 14 });
    for vip in vips.iter().flatten() {
        assert!(Space::ALL.iter().all(|space| vip.leases.used(*space) == 0));
    }
}
