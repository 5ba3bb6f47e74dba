//! Whose decisions may be different now. Flow entries hold what was decided under a generation of the table that their
//! packets are looked up in, so a change must reach every table whose packets it concerns, and should reach no other:
//!
//! | change | reaches |
//! |---|---|
//! | anything of a table | the table, and all that leak into it |
//! | routes, networks, VIPs, services, quotas or limited NICs of a VPC with VIPs | the public networks of its VIPs |
//! | routes or link of a public network; a VIP there, or a service on it, that goes or changes | every VPC with VIPs there |
//!
//! Who gets new connections of a listener (weights, health) changes nothing for those that are open, so it reaches nobody.
//! A service that is added changes nothing for other VPCs, so their flows are left alone.

use std::{collections::HashMap, sync::Arc};

use tidegate_fastpath::table::{
    Net,
    balance::Listener,
    fib::Hop,
    nat::{Forward, Vip},
};

use super::{
    nat::{Owned, Part},
    vrfs::Built,
};

/// By number, whether a table decides differently than before.
pub(super) fn changed(built: &[Option<Arc<Built>>], before: &[Option<Arc<Built>>]) -> Vec<bool> {
    let was = |number: usize| before.get(number).and_then(Option::as_deref);
    let mut leaked_by: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut changed = vec![false; built.len()];
    let mut new = Vec::new();
    for (number, now) in built.iter().enumerate() {
        let same = match (now, was(number)) {
            (Some(now), Some(was)) => now.decides_as(was),
            (now, was) => now.is_none() && was.is_none(),
        };
        if !same {
            new.push(number);
        }
        for target in now.iter().flat_map(|now| &now.leaks) {
            leaked_by.entry(target.index()).or_default().push(number);
        }
    }
    spread(new, &leaked_by, &mut changed);
    let mut new = Vec::new();
    let mut kept: HashMap<usize, bool> = HashMap::new();
    let mut keeps = |public: usize| {
        let now = built.get(public).and_then(Option::as_deref);
        *kept
            .entry(public)
            .or_insert_with(|| matches!((now, was(public)), (Some(now), Some(was)) if now.keeps(was)))
    };
    for (number, vpc) in built.iter().enumerate().filter_map(|(number, vpc)| Some((number, vpc.as_ref()?))) {
        for public in vpc.made_of.nat.public.iter().map(|vrf| vrf.index()) {
            if changed[number] {
                new.push(public);
            }
            if changed[public] && !keeps(public) {
                new.push(number);
            }
        }
    }
    spread(new, &leaked_by, &mut changed);
    changed
}

impl Part {
    /// Whether all of it is decided as by `was`.
    fn decides_as(&self, was: &Part) -> bool {
        let same = |(now, was): (&Owned, &Owned)| now.id == was.id && same_decisions(&now.vip, &was.vip);
        (&self.exit, &self.public) == (&was.exit, &was.public)
            && self.vips.len() == was.vips.len()
            && self.vips.iter().zip(&was.vips).all(same)
    }
}

/// Whether nothing that is open under one of two generations of a VIP is decided otherwise under the other.
fn same_decisions(now: &Vip, was: &Vip) -> bool {
    let parts = |vip: &Vip| (vip.net, vip.address, vip.eip);
    let kept = |(now, was): (&Arc<Listener>, &Arc<Listener>)| now.keeps(was);
    std::ptr::eq(now, was)
        || (parts(now) == parts(was)
            && (&now.forwards, &now.held, &now.limits) == (&was.forwards, &was.held, &was.limits)
            && Arc::ptr_eq(&now.leases, &was.leases)
            && now.listeners.len() == was.listeners.len()
            && now.listeners.iter().zip(&was.listeners).all(kept))
}

/// Marks tables, and all that leak into them, however far.
fn spread(mut new: Vec<usize>, leaked_by: &HashMap<usize, Vec<usize>>, changed: &mut [bool]) {
    while let Some(number) = new.pop() {
        if !std::mem::replace(&mut changed[number], true) {
            new.extend(leaked_by.get(&number).into_iter().flatten());
        }
    }
}

impl Built {
    fn decides_as(&self, other: &Built) -> bool {
        let (a, b) = (&self.made_of, &other.made_of);
        std::ptr::eq(self, other)
            || ((&a.key, a.tracked, a.quotas) == (&b.key, b.tracked, b.quotas)
                && a.nat.decides_as(&b.nat)
                && a.limited == b.limited
                && a.nets == b.nets
                && self.entries == other.entries)
    }

    /// Whether all that this public network did for others before, it still does: it only has VIPs or services more.
    fn keeps(&self, was: &Built) -> bool {
        let apart_from_vips = |built: &Built| {
            let entries = built.entries.iter().filter(|(_, hop)| !matches!(hop, Hop::Vip(_)));
            let link = |net: &Net| Net { addresses: [].into(), address: None, ..net.clone() };
            let nets: Vec<Net> = built.made_of.nets.iter().map(|(_, net)| link(net)).collect();
            (entries.copied().collect::<Vec<_>>(), nets, built.made_of.key.clone())
        };
        let (now, before) = (&self.made_of.nat.vips, &was.made_of.nat.vips);
        let kept = |number| now.binary_search_by_key(&number, |owned| owned.id).ok().map(|at| &*now[at].vip);
        before.iter().all(|old| kept(old.id).is_some_and(|vip| keeps(vip, &old.vip)))
            && apart_from_vips(self) == apart_from_vips(was)
    }
}

/// Whether a VIP still has all services that it had.
fn keeps(now: &Vip, was: &Vip) -> bool {
    let find = |forward: &Forward| {
        let at = now.forwards.binary_search_by_key(&forward.slice, |other| other.slice);
        at.is_ok_and(|at| now.forwards[at] == *forward)
    };
    let whole = was.eip.is_none() || was.eip == now.eip;
    let balanced = |listener: &Arc<Listener>| {
        let slice = listener.slice;
        now.listener(slice.protocol, slice.first).is_some_and(|now| now.keeps(listener))
    };
    let same = now.address == was.address && now.limits == was.limits;
    std::ptr::eq(now, was)
        || (whole && same && was.forwards.iter().all(find) && was.listeners.iter().all(balanced))
}
