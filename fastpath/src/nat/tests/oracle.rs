//! The allocation against plain maps, under any sequence of operations: leases, releases, adoptions, VIPs that go and come
//! back with the same or another address, services that take and leave ports.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::table::nat::{BLOCK_PORTS, BLOCKS};

const VMS: u16 = 4;
const VIPS: u16 = 3;
/// Ports that other services leave: few, with ragged borders, none, all.
const OPEN: [&[RangeInclusive<u16>]; 5] = [
    &[1024..=1151, 32_000..=32_127],
    &[1000..=1027, 1086..=1089, 65_530..=65_535],
    &[1088..=1088],
    &[],
    EVERY_PORT,
];
const QUOTAS: Quotas = Quotas { sessions: 7, vm_sessions: 3, new_per_s: u32::MAX, vm_new_per_s: u32::MAX };

#[derive(Clone, Debug)]
enum Op {
    /// As many mappings as `count` for inner ports from `inner` on.
    Map {
        vm: u16,
        pool: usize,
        space: Space,
        inner: u16,
        count: u16,
        seed: u64,
    },
    /// Holds one of the VM's ports once more.
    Share {
        vm: u16,
        pool: usize,
        space: Space,
        seed: u64,
    },
    Release {
        session: prop::sample::Index,
        count: usize,
    },
    Adopt {
        vm: u16,
        vip: u16,
        space: Space,
        port: u16,
        inner: u16,
    },
    Serve {
        vip: u16,
        open: usize,
    },
    Remove {
        vip: u16,
    },
    Add {
        vip: u16,
        address: u16,
        open: usize,
    },
    Admit {
        vm: u16,
    },
    End {
        vm: u16,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let (vm, vip, pool, open) = (|| 0..VMS, || 0..VIPS, || 0..2usize, || 0..OPEN.len());
    let space = || prop::sample::select(vec![Space::Tcp, Space::Udp]);
    let port = || prop_oneof![1000u16..1200, 31_990u16..32_200, 65_525u16..=65_535];
    prop_oneof![
        8 => (vm(), pool(), space(), 0u16..60, 1u16..50, any::<u64>()).prop_map(
            |(vm, pool, space, inner, count, seed)| Op::Map { vm, pool, space, inner, count, seed }),
        2 => (vm(), pool(), space(), any::<u64>())
            .prop_map(|(vm, pool, space, seed)| Op::Share { vm, pool, space, seed }),
        4 => (any::<prop::sample::Index>(), 1usize..60)
            .prop_map(|(session, count)| Op::Release { session, count }),
        4 => (vm(), vip(), space(), port(), 0u16..60)
            .prop_map(|(vm, vip, space, port, inner)| Op::Adopt { vm, vip, space, port, inner }),
        2 => (vip(), open()).prop_map(|(vip, open)| Op::Serve { vip, open }),
        1 => vip().prop_map(|vip| Op::Remove { vip }),
        2 => (vip(), 0u16..2, open()).prop_map(|(vip, other, open)| Op::Add {
            vip, address: vip + other * 100, open
        }),
        2 => vm().prop_map(|vm| Op::Admit { vm }),
        2 => vm().prop_map(|vm| Op::End { vm }),
    ]
}

/// (VM, VIP, space, block)
type Key = (u16, VipId, Space, u16);

#[derive(Debug)]
struct Model {
    /// Leased in the `Leases` that the VIP has now.
    live: bool,
    /// By port: the port inside and the sessions.
    ports: BTreeMap<u16, (u16, u32)>,
}

struct Case {
    nat: Arc<Nat>,
    vips: Vips,
    pools: [Snat; 2],
    blocks_max: usize,
    model: BTreeMap<Key, Model>,
    /// A hold each.
    sessions: Vec<(u16, Mapping)>,
    admitted: [u32; VMS as usize],
}

fn key_of(vm: u16, mapping: Mapping) -> Key {
    (vm, mapping.vip, mapping.space, mapping.port / BLOCK_PORTS)
}

impl Case {
    fn vip(&self, id: VipId) -> Option<&Vip> {
        self.vips[id.index()].as_deref()
    }

    /// Blocks of a VM that new sessions may use.
    fn usable(&self, vm: u16, pool: usize, space: Space) -> impl Iterator<Item = (&Key, &Model)> {
        self.model.iter().filter(move |((owner, vip, of, _), block)| {
            let present = block.live && self.vip(*vip).is_some();
            *owner == vm && *of == space && present && self.pools[pool].vips.contains(vip)
        })
    }

    /// Ports of a VM that may be used: (public, inner).
    fn mappings(&self, vm: u16, pool: usize, space: Space) -> BTreeSet<(VipId, u16, u16)> {
        let ports = self.usable(vm, pool, space).flat_map(|((_, vip, ..), block)| {
            block.ports.iter().map(move |(port, (inner, _))| (*vip, *port, *inner))
        });
        ports.filter(|(vip, port, _)| !self.vip(*vip).unwrap().holds(space.protocol(), *port)).collect()
    }

    /// Ports of a block that no other service holds, 1024 and up.
    fn open_ports(&self, vip: VipId, space: Space, block: u16) -> Vec<u16> {
        let ports = (0..BLOCK_PORTS).map(|slot| block * BLOCK_PORTS + slot).filter(|port| *port >= 1024);
        ports.filter(|port| !self.vip(vip).unwrap().holds(space.protocol(), *port)).collect()
    }

    fn owner_of(&self, vip: VipId, space: Space, block: u16) -> Option<u16> {
        let mut live =
            self.model.iter().filter(|((_, v, s, b), m)| (*v, *s, *b) == (vip, space, block) && m.live);
        let owner = live.next().map(|((vm, ..), _)| *vm);
        assert!(live.next().is_none(), "two VMs have {vip} {space:?} {block}");
        owner
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Map { vm, pool, space, inner, count, seed } => {
                // Up to the first that is refused: the next one would be, too.
                let map =
                    |n: u16| self.map(vm, pool, space, inner + n, super::seed(seed.wrapping_add(n.into())));
                (0..count).all(map);
            }
            Op::Share { vm, pool, space, seed } => self.share(vm, pool, space, seed),
            Op::Release { session, count } => {
                for _ in 0..count.min(self.sessions.len()) {
                    let at = session.index(self.sessions.len());
                    self.release(at);
                }
            }
            Op::Adopt { vm, vip, space, port, inner } => self.adopt(vm, VipId(vip), space, port, inner),
            Op::Serve { vip, open } => {
                if let Some(old) = self.vip(VipId(vip)).cloned() {
                    let held = super::vip(vip, OPEN[open]).held;
                    self.vips[usize::from(vip)] = Some(Arc::new(Vip { held, ..old }));
                }
            }
            Op::Remove { vip } => self.replace(vip, None),
            Op::Add { vip, address, open } => {
                self.replace(vip, Some(Vip { address: public(address), ..super::vip(vip, OPEN[open]) }));
            }
            Op::Admit { vm } => {
                let all: u32 = self.admitted.iter().sum();
                let expected = match self.admitted[usize::from(vm)] {
                    3 => Err(OverQuota::VmSessions),
                    _ if all == 7 => Err(OverQuota::VpcSessions),
                    _ => Ok(()),
                };
                assert_eq!(self.nat.vm(inside(vm)).unwrap().admit(&QUOTAS, Tick(1)), expected);
                self.admitted[usize::from(vm)] += u32::from(expected.is_ok());
            }
            Op::End { vm } => {
                self.nat.vm(inside(vm)).unwrap().end();
                let admitted = &mut self.admitted[usize::from(vm)];
                *admitted = admitted.saturating_sub(1);
            }
        }
    }

    fn replace(&mut self, vip: u16, with: Option<Vip>) {
        self.vips[usize::from(vip)] = with.map(Arc::new);
        self.model
            .iter_mut()
            .filter(|((_, id, ..), _)| id.0 == vip)
            .for_each(|(_, block)| block.live = false);
    }

    fn map(&mut self, n: u16, pool: usize, space: Space, inner: u16, seed: u64) -> bool {
        let nat = self.nat.clone();
        let mut vm = nat.vm(inside(n)).unwrap();
        let of_inner: Vec<_> =
            self.mappings(n, pool, space).into_iter().filter(|(.., port)| *port == inner).collect();
        let mapping = match vm.mapping(&self.vips, &self.pools[pool], space, inner) {
            Some(mapping) => {
                assert!(of_inner.contains(&(mapping.vip, mapping.port, inner)), "{mapping:?}");
                assert!(vm.hold(&self.vips, mapping));
                let block = self.model.get_mut(&key_of(n, mapping)).unwrap();
                block.ports.get_mut(&mapping.port).unwrap().1 += 1;
                mapping
            }
            None => {
                assert!(of_inner.is_empty(), "{of_inner:?}");
                match vm.lease(&self.vips, &self.pools[pool], space, inner, seed) {
                    Ok(lease) => self.leased(n, pool, space, inner, lease),
                    Err(reason) => {
                        self.refused(n, pool, space, reason);
                        return false;
                    }
                }
            }
        };
        assert_eq!((mapping.space, mapping.address), (space, self.vip(mapping.vip).unwrap().address));
        assert_eq!(vm.inner_port(&self.vips, mapping), Some(inner));
        let owner = nat.owner(mapping.vip, self.vip(mapping.vip).unwrap(), space, mapping.port);
        assert_eq!(owner, Some((inside(n), inner)));
        self.sessions.push((n, mapping));
        true
    }

    /// Whether a VM has a free port in its usable blocks.
    fn has_free(&self, n: u16, pool: usize, space: Space) -> bool {
        self.usable(n, pool, space).any(|((_, vip, _, block), model)| {
            self.open_ports(*vip, space, *block).iter().any(|port| !model.ports.contains_key(port))
        })
    }

    fn leased(&mut self, n: u16, pool: usize, space: Space, inner: u16, lease: Lease) -> Mapping {
        let mapping = lease.mapping;
        let key = key_of(n, mapping);
        let snat = &self.pools[pool];
        assert!(snat.vips.contains(&mapping.vip) && mapping.port >= 1024, "{mapping:?}");
        assert!(!self.vip(mapping.vip).unwrap().holds(space.protocol(), mapping.port), "{mapping:?}");
        let owner = self.owner_of(mapping.vip, space, key.3);
        match lease.block {
            Some(block) => {
                assert!(owner.is_none() && !self.model.contains_key(&key) && !self.has_free(n, pool, space));
                assert!(self.usable(n, pool, space).count() < usize::from(snat.blocks_per_vm));
                let first_port = key.3 * BLOCK_PORTS;
                let Mapping { vip, address, space, .. } = mapping;
                assert_eq!(block, Block { inside: inside(n), vip, address, space, first_port });
            }
            None => assert_eq!(owner, Some(n)),
        }
        let block = self.model.entry(key).or_insert(Model { live: true, ports: BTreeMap::new() });
        assert_eq!(block.ports.insert(mapping.port, (inner, 1)), None, "{mapping:?} was in use");
        mapping
    }

    fn refused(&self, n: u16, pool: usize, space: Space, reason: NoPort) {
        assert!(!self.has_free(n, pool, space), "{reason:?}");
        let most = usize::from(self.pools[pool].blocks_per_vm);
        let all = self.model.keys().filter(|(vm, _, of, _)| *vm == n && *of == space).count();
        let full = self.usable(n, pool, space).count() >= most || all >= 2 * most;
        let no_record = self.model.len() == self.blocks_max;
        match reason {
            NoPort::VmBlocks => assert!(full),
            NoPort::BlockRecords => assert!(!full && no_record),
            NoPort::Vips => {
                assert!(!full && !no_record);
                for vip in self.pools[pool].vips.iter().filter(|vip| self.vip(**vip).is_some()) {
                    for block in 16..BLOCKS as u16 {
                        let stale = self.model.contains_key(&(n, *vip, space, block));
                        let taken = stale || self.owner_of(*vip, space, block).is_some();
                        assert!(taken || self.open_ports(*vip, space, block).is_empty(), "{vip} {block}");
                    }
                }
            }
        }
    }

    fn share(&mut self, n: u16, pool: usize, space: Space, seed: u64) {
        let nat = self.nat.clone();
        let mut vm = nat.vm(inside(n)).unwrap();
        let all: Vec<Mapping> = vm.leased(&self.vips, &self.pools[pool], space, seed).collect();
        let expected = self.mappings(n, pool, space).into_iter().map(|(vip, port, _)| (vip, port));
        let found: BTreeSet<_> = all.iter().map(|mapping| (mapping.vip, mapping.port)).collect();
        assert_eq!((found.len(), found), (all.len(), expected.collect()));
        if let Some(mapping) = all.first() {
            assert!(vm.hold(&self.vips, *mapping));
            let block = self.model.get_mut(&key_of(n, *mapping)).unwrap();
            block.ports.get_mut(&mapping.port).unwrap().1 += 1;
            self.sessions.push((n, *mapping));
        }
    }

    fn release(&mut self, at: usize) {
        let (n, mapping) = self.sessions.swap_remove(at);
        let nat = self.nat.clone();
        // Another VM cannot release it.
        let other = (n + 1) % VMS;
        if !self.model.get(&key_of(other, mapping)).is_some_and(|m| m.ports.contains_key(&mapping.port)) {
            assert_eq!(nat.vm(inside(other)).unwrap().release(&self.vips, mapping), None);
        }
        let returned = nat.vm(inside(n)).unwrap().release(&self.vips, mapping);
        let block = self.model.get_mut(&key_of(n, mapping)).unwrap();
        let port = block.ports.get_mut(&mapping.port).unwrap();
        port.1 -= 1;
        if port.1 == 0 {
            block.ports.remove(&mapping.port);
        }
        let empty = block.ports.is_empty();
        assert_eq!(returned.is_some(), empty, "{mapping:?}");
        if empty {
            self.model.remove(&key_of(n, mapping));
        }
    }

    fn adopt(&mut self, n: u16, vip: VipId, space: Space, port: u16, inner: u16) {
        let address = self.vip(vip).map_or(public(0), |vip| vip.address);
        let mapping = Mapping { vip, address, space, port };
        let key = key_of(n, mapping);
        let expected = match self.vip(vip) {
            None => Err(NotAdopted::Vip),
            Some(_) if port < 1024 => Err(NotAdopted::Vip),
            Some(vip) if vip.holds(space.protocol(), port) => Err(NotAdopted::Held),
            Some(_) => {
                let others = self.owner_of(vip, space, key.3).is_some_and(|owner| owner != n);
                match self.model.contains_key(&key) {
                    false if self.model.len() == self.blocks_max => Err(NotAdopted::BlockRecords),
                    _ if others => Err(NotAdopted::Taken),
                    known => Ok(!known),
                }
            }
        };
        let adopted = self.nat.vm(inside(n)).unwrap().adopt(&self.vips, mapping, inner);
        assert_eq!(adopted.map(|block| block.is_some()), expected, "{mapping:?}");
        if expected.is_ok() {
            let block = self.model.entry(key).or_insert(Model { live: true, ports: BTreeMap::new() });
            block.live = true;
            block.ports.entry(port).or_insert((inner, 0)).1 += 1;
            self.sessions.push((n, mapping));
        }
    }

    /// What control sees is the model.
    fn check(&self) {
        let seen: BTreeMap<_, _> = self
            .nat
            .blocks()
            .map(|b| ((b.inside.address, b.vip, b.space, b.first_port / 64), (b.used, b.sessions)))
            .collect();
        let known = self.model.iter().map(|((vm, vip, space, block), model)| {
            let used = model.ports.keys().fold(0u64, |used, port| used | 1 << (port % 64));
            let sessions = model.ports.values().map(|(_, sessions)| u64::from(*sessions)).sum();
            ((inside(*vm).address, *vip, *space, *block), (used, sessions))
        });
        assert_eq!(seen, known.collect());
        let blocks_of = |n: u16| self.model.keys().filter(|(vm, ..)| *vm == n).count();
        let vms: BTreeMap<_, _> = (0..VMS)
            .map(|n| (inside(n).address, (self.admitted[usize::from(n)], blocks_of(n) as u32)))
            .filter(|(_, counts)| *counts != (0, 0))
            .collect();
        let views = self.nat.vms().map(|vm| (vm.inside.address, (vm.sessions, vm.blocks)));
        assert_eq!(views.collect::<BTreeMap<_, _>>(), vms);
        let usage = self.nat.usage();
        assert_eq!((usage.blocks, usage.vms), (self.model.len(), vms.len()));
        assert_eq!(self.nat.vpc_sessions(VrfId(1)), self.admitted.iter().sum::<u32>());
    }

    /// The ports of a VIP add up, and its leases are those of the model.
    fn check_vips(&self) {
        for (id, vip) in self.vips.iter().zip(0..).filter_map(|(vip, n)| Some((VipId(n), vip.as_ref()?))) {
            for space in Space::ALL {
                let live = || self.model.iter().filter(|((_, v, s, _), m)| (*v, *s) == (id, space) && m.live);
                assert_eq!(vip.leases.used(space), live().count());
                let VipUsage { used, leased, free, held } = self.nat.vip_usage(id, vip, space);
                assert_eq!(used + leased + free + held, 64_512);
                assert_eq!(used as usize, live().map(|(_, model)| model.ports.len()).sum::<usize>());
            }
        }
    }

    fn end(&mut self) {
        self.check_vips();
        while !self.sessions.is_empty() {
            self.release(self.sessions.len() / 2);
        }
        for vm in 0..VMS {
            for _ in 0..self.admitted[usize::from(vm)] {
                self.run(Op::End { vm });
            }
        }
        self.check();
        self.check_vips();
        assert_eq!((self.nat.usage().blocks, self.nat.usage().vms), (0, 0));
    }
}

proptest! {
    #[test]
    fn the_allocation_equals_the_model(
        ops in prop::collection::vec(op(), 1..60),
        blocks_max in 1usize..14,
        per_vm in [0u16..4, 1..4],
        open in prop::array::uniform3(0..OPEN.len()),
    ) {
        let mut case = Case {
            nat: nat(VMS.into(), blocks_max),
            vips: vips(&open.map(|open| OPEN[open])),
            pools: [pool([0, 1], per_vm[0]), pool([2, 1, 0], per_vm[1])],
            blocks_max,
            model: BTreeMap::new(),
            sessions: Vec::new(),
            admitted: [0; VMS as usize],
        };
        for op in ops {
            case.run(op);
            case.check();
        }
        case.end();
    }
}
