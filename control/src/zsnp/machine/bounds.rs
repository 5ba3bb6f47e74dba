//! How many pairs there may be, of whom, and which idle one makes room.

use std::{collections::HashMap, collections::VecDeque, net::Ipv4Addr};

use tidegate_fastpath::types::VrfId;

use crate::zsnp::{PairKey, Settings, ZsnpEvent};

/// Bounds and what is in use.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    pairs_max: usize,
    per_vpc: usize,
    per_vm: usize,
    of_vpc: HashMap<VrfId, usize>,
    of_vm: HashMap<(VrfId, Ipv4Addr), usize>,
    /// Pairs that became idle, the oldest first; some of them are gone or busy again.
    idle: VecDeque<PairKey>,
}

impl Bounds {
    pub(super) fn set(&mut self, settings: &Settings) {
        self.pairs_max = settings.pairs;
        (self.per_vpc, self.per_vm) = (settings.pairs_per_vpc, settings.pairs_per_vm);
    }

    /// Whether a VPC and a VM may have one more.
    pub(super) fn allow(&self, vrf: VrfId, vm: Ipv4Addr) -> Result<(), ZsnpEvent> {
        if self.of_vpc.get(&vrf).is_some_and(|has| *has >= self.per_vpc) {
            return Err(ZsnpEvent::VpcQuota);
        }
        if !vm.is_unspecified() && self.of_vm.get(&(vrf, vm)).is_some_and(|has| *has >= self.per_vm) {
            return Err(ZsnpEvent::VmQuota);
        }
        Ok(())
    }

    pub(super) fn is_full(&self, pairs: usize) -> bool {
        pairs >= self.pairs_max
    }

    pub(super) fn add(&mut self, vrf: VrfId, vm: Ipv4Addr) {
        *self.of_vpc.entry(vrf).or_default() += 1;
        *self.of_vm.entry((vrf, vm)).or_default() += 1;
    }

    pub(super) fn remove(&mut self, vrf: VrfId, vm: Ipv4Addr) {
        if let Some(has) = self.of_vpc.get_mut(&vrf) {
            *has -= 1;
        }
        if let Some(has) = self.of_vm.get_mut(&(vrf, vm)) {
            *has -= 1;
            if *has == 0 {
                self.of_vm.remove(&(vrf, vm));
            }
        }
    }

    /// A pair became idle.
    pub(super) fn idle(&mut self, key: PairKey) {
        // Entries of pairs that are gone or busy are left out when they come to the front; a pair that is idle again and again
        // must not let the queue grow.
        if self.idle.len() >= 2 * self.pairs_max {
            self.idle.pop_front();
        }
        self.idle.push_back(key);
    }

    /// The pair that has been idle longest.
    pub(super) fn oldest_idle(&mut self, is_idle: impl Fn(&PairKey) -> bool) -> Option<PairKey> {
        while let Some(key) = self.idle.pop_front() {
            if is_idle(&key) {
                return Some(key);
            }
        }
        None
    }
}
