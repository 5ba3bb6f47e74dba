//! The remote VTEPs of one network: those that the operator named, and those that were heard. ARP requests of the
//! gateway go to all of them (head-end replication).

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use tidegate_fastpath::types::Nanos;

/// The set. Configured VTEPs are shared by all networks of a pool; learned ones carry when they were last heard.
#[derive(Clone, Debug, Default)]
pub struct VtepSet {
    configured: Arc<[Ipv4Addr]>,
    learned: BTreeMap<Ipv4Addr, Nanos>,
}

impl VtepSet {
    /// A set that has heard nobody. `configured` is sorted.
    pub fn new(configured: Arc<[Ipv4Addr]>) -> VtepSet {
        VtepSet { configured, learned: BTreeMap::new() }
    }

    /// Replaces the configured VTEPs, sorted.
    pub fn configure(&mut self, configured: Arc<[Ipv4Addr]>) {
        self.configured = configured;
    }

    /// The configured VTEPs.
    pub fn configured(&self) -> &[Ipv4Addr] {
        &self.configured
    }

    /// The VTEPs that were heard, configured or not.
    pub fn learned(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.learned.keys().copied()
    }

    /// Every VTEP once: its address, whether it is configured, when it was last heard.
    pub fn iter(&self) -> impl Iterator<Item = (Ipv4Addr, bool, Option<Nanos>)> {
        let configured = self.configured.iter().map(|v| (*v, true, self.learned.get(v).copied()));
        let learned = self.learned.iter().filter(|(v, _)| self.configured.binary_search(v).is_err());
        configured.chain(learned.map(|(v, at)| (*v, false, Some(*at))))
    }

    /// Records that `vtep` was heard. `Some(true)` the first time, `Some(false)` later, `None` when `limit` VTEPs are
    /// known already.
    pub fn hear(&mut self, now: Nanos, vtep: Ipv4Addr, limit: usize) -> Option<bool> {
        if let Some(at) = self.learned.get_mut(&vtep) {
            *at = now;
            return Some(false);
        }
        if self.learned.len() >= limit {
            return None;
        }
        self.learned.insert(vtep, now);
        Some(true)
    }

    /// Removes and returns the learned VTEPs that were silent for `idle`.
    pub fn expire(&mut self, now: Nanos, idle: Nanos) -> impl Iterator<Item = Ipv4Addr> {
        let silent = |at: &Nanos| now.0.saturating_sub(at.0) >= idle.0;
        let expired: Vec<Ipv4Addr> =
            self.learned.iter().filter(|(_, at)| silent(at)).map(|(v, _)| *v).collect();
        for vtep in &expired {
            self.learned.remove(vtep);
        }
        expired.into_iter()
    }

    /// Removes and returns VTEPs that were heard and are not configured.
    pub fn forget_learned(&mut self, which: impl Fn(Ipv4Addr) -> bool) -> impl Iterator<Item = Ipv4Addr> {
        let is_gone = |vtep: &Ipv4Addr| which(*vtep) && self.configured.binary_search(vtep).is_err();
        let gone: Vec<Ipv4Addr> = self.learned().filter(is_gone).collect();
        for vtep in &gone {
            self.learned.remove(vtep);
        }
        gone.into_iter()
    }

    /// Forgets learned VTEPs.
    pub fn forget(&mut self, which: impl Fn(Ipv4Addr) -> bool) {
        self.learned.retain(|vtep, _| !which(*vtep));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 31, n, 1)
    }

    #[test]
    fn a_vtep_is_listed_once_and_a_silent_one_expires() {
        let mut set = VtepSet::new([v(1), v(2)].into());
        assert_eq!(set.hear(Nanos(0), v(2), 2), Some(true));
        assert_eq!(set.hear(Nanos(5), v(3), 2), Some(true));
        assert_eq!(set.hear(Nanos(6), v(4), 2), None);
        assert_eq!(set.hear(Nanos(7), v(3), 2), Some(false));
        let listed: Vec<_> = set.iter().collect();
        let expect = [(v(1), true, None), (v(2), true, Some(Nanos(0))), (v(3), false, Some(Nanos(7)))];
        assert_eq!(listed, expect);
        assert_eq!(set.expire(Nanos(10), Nanos(4)).collect::<Vec<_>>(), [v(2)]);
        assert_eq!(set.iter().count(), 3);
        assert_eq!(set.hear(Nanos(11), v(2), 2), Some(true));
        assert_eq!(set.forget_learned(|_| true).collect::<Vec<_>>(), [v(3)], "configured ones stay");
        assert_eq!(set.forget_learned(|_| true).count(), 0);
        assert_eq!(set.iter().count(), 2);
    }
}
