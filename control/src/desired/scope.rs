//! What a change concerns: the objects that have to be looked at again, and all that must be looked at beside them, so that
//! what is found is what would be found if everything was looked at.

use std::collections::BTreeSet;

use super::{
    document::{Body, Document, Documents, Key, Kind},
    ties::{Tie, ties},
};
use crate::config::values;

/// Services: they share VIPs.
const SERVICES: [Kind; 4] = [Kind::Snat, Kind::Eip, Kind::PortForward, Kind::LoadBalancer];

/// Objects that are looked at together: with each, all that it names and all that it meets, before the change and after it.
pub(super) struct Scope<'a> {
    was: &'a Documents,
    now: &'a Documents,
    members: BTreeSet<Key>,
    /// Those whose company is not in it yet.
    lonely: Vec<Key>,
    /// Those whose dependents are in it.
    reached: BTreeSet<Key>,
    /// What has been followed already, after the change and before it.
    followed: BTreeSet<(bool, Tie)>,
}

impl<'a> Scope<'a> {
    /// What the difference between two sets of documents concerns.
    pub(super) fn of_change(was: &'a Documents, now: &'a Documents) -> Scope<'a> {
        let (members, lonely, reached, followed) = Default::default();
        let mut scope = Scope { was, now, members, lonely, reached, followed };
        for difference in now.since(was) {
            scope.reach(difference.key);
        }
        scope.gather();
        scope
    }

    /// Takes in what depends on `keys`, which became something else. Returns whether that is anything new.
    pub(super) fn widen(&mut self, keys: &[Key]) -> bool {
        let before = self.members.len();
        keys.iter().for_each(|key| self.reach(key));
        self.gather();
        self.members.len() > before
    }

    /// All members, also those that are no more.
    pub(super) fn members(&self) -> &BTreeSet<Key> {
        &self.members
    }

    /// The members that there are, by key.
    pub(super) fn documents(&self) -> Vec<&'a Document> {
        self.members.iter().filter_map(|key| self.now.get(key)).map(|document| &**document).collect()
    }

    fn add(&mut self, key: &Key) {
        if !self.members.contains(key) {
            self.members.insert(key.clone());
            self.lonely.push(key.clone());
        }
    }

    /// Adds an object and all that depend on it, however far.
    fn reach(&mut self, key: &Key) {
        let mut next = vec![key.clone()];
        while let Some(key) = next.pop() {
            if !self.reached.insert(key.clone()) {
                continue;
            }
            self.add(&key);
            for view in [self.was, self.now] {
                let naming = Tie::Names(key.clone());
                next.extend(view.ties().of(&naming).cloned());
                match view.get(&key).and_then(|document| Body::of(document)) {
                    // Whoever is behind the same router looks at its networks.
                    Some(Body::VpcNetwork(net)) => {
                        let router = net.vpc.as_deref().and_then(|vpc| Key::new(Kind::VpcRouter, vpc));
                        next.extend(router.iter().flat_map(|router| view.naming(router)));
                    }
                    // Routes of a public network look at the VIPs on it.
                    Some(Body::Vip(vip)) => {
                        let net = vip.public_network.as_deref();
                        let table = net.and_then(|net| Key::new(Kind::PublicNetwork, net)).map(Tie::Table);
                        next.extend(table.iter().flat_map(|table| view.ties().of(table)).cloned());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Adds what members name and meet, until all of that is there.
    fn gather(&mut self) {
        while let Some(key) = self.lonely.pop() {
            for (is_now, view) in [(false, self.was), (true, self.now)] {
                let Some(body) = view.get(&key).and_then(|document| Body::of(document)) else { continue };
                let mut first = |tie: &Tie| self.followed.insert((is_now, tie.clone()));
                let company = company(view, &key, &body, &mut first);
                company.iter().for_each(|key| self.add(key));
            }
        }
    }
}

/// What an object names and meets. Where many meet, the `first` of them has brought all.
fn company(view: &Documents, key: &Key, body: &Body, first: &mut dyn FnMut(&Tie) -> bool) -> Vec<Key> {
    let mut all = Vec::new();
    let is_service = SERVICES.contains(&key.kind);
    for tie in ties(body) {
        match &tie {
            Tie::Names(named) => {
                all.push(named.clone());
                if is_service && named.kind == Kind::Vip && first(&tie) {
                    let others = SERVICES.into_iter().flat_map(|kind| view.ties().naming(named, kind));
                    all.extend(others.cloned());
                }
                if is_service
                    && let Some(router) = router_of(view, named)
                    && first(&Tie::Names(router.clone()))
                {
                    all.extend(view.ties().naming(&router, Kind::VpcNetwork).cloned());
                }
            }
            _ if !first(&tie) => {}
            Tie::Table(table) => {
                all.extend(view.ties().of(&tie).cloned());
                let kind = if table.kind == Kind::VpcRouter { Kind::VpcNetwork } else { Kind::Vip };
                all.extend(view.ties().naming(table, kind).cloned());
            }
            Tie::Vm(..) | Tie::Pools | Tie::FullNat => all.extend(view.ties().of(&tie).cloned()),
        }
    }
    if let Body::Eip(eip) = body {
        all.extend(same_vm(view, eip.nic.as_deref(), eip.vpc.as_deref(), eip.address.as_deref()));
    }
    all
}

/// The router that an object is, or is behind.
fn router_of(view: &Documents, key: &Key) -> Option<Key> {
    match key.kind {
        Kind::VpcRouter => Some(key.clone()),
        Kind::VpcNetwork | Kind::Nic => match Body::of(view.get(key)?)? {
            Body::VpcNetwork(net) => Key::new(Kind::VpcRouter, net.vpc.as_deref()?),
            Body::Nic(nic) => router_of(view, &Key::new(Kind::VpcNetwork, nic.network.as_deref()?)?),
            _ => None,
        },
        _ => None,
    }
}

/// EIPs that may be of the same VM, which they name in the other way: by NIC, or by address.
fn same_vm(view: &Documents, nic: Option<&str>, vpc: Option<&str>, address: Option<&str>) -> Vec<Key> {
    let by_nic = || {
        let key = Key::new(Kind::Nic, nic?)?;
        let Body::Nic(nic) = Body::of(view.get(&key)?)? else { return None };
        let tie = Tie::Vm(router_of(view, &key)?, values::address(nic.address.as_deref()?)?);
        Some(view.ties().of(&tie).cloned().collect::<Vec<_>>())
    };
    let by_address = || {
        let router = Key::new(Kind::VpcRouter, vpc?)?;
        let address = values::address(address?)?;
        let networks = view.ties().naming(&router, Kind::VpcNetwork);
        let nics = networks.filter_map(|network| view.claims().nic(network.id.as_str(), address));
        Some(nics.flat_map(|nic| view.ties().naming(nic, Kind::Eip)).cloned().collect::<Vec<_>>())
    };
    by_nic().or_else(by_address).unwrap_or_default()
}
