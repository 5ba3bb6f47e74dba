//! What ties objects together, as far as their own words say so: which objects one names, and where it meets others that it
//! does not name. By this, a change finds all that it concerns.

use std::net::Ipv4Addr;

use crate::{
    config::{raw::RawBackend, values},
    shared_map::SharedMap,
};

use super::document::{Body, Key, Kind};

/// What an object has in common with others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tie {
    /// They name this object.
    Names(Key),
    /// They are routes of the table of this router or public network.
    Table(Key),
    /// They are EIPs of this address of a router.
    Vm(Key, Ipv4Addr),
    /// They are pools, and may share tunnel ends.
    Pools,
    /// They have listeners with full NAT, of which there are so many.
    FullNat,
}

/// The ties of all objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ties {
    all: SharedMap<(Tie, Key), ()>,
    /// Pairs of a VIP and a rate limit.
    limited: usize,
}

impl Ties {
    /// Adds those of an object.
    pub(super) fn add(&mut self, key: &Key, body: &Body) {
        for tie in ties(body) {
            let limits = usize::from(limits(key, &tie));
            if self.all.insert((tie, key.clone()), ()).is_none() {
                self.limited += limits;
            }
        }
    }

    /// Removes those of an object.
    pub(super) fn remove(&mut self, key: &Key, body: &Body) {
        for tie in ties(body) {
            let limits = usize::from(limits(key, &tie));
            if self.all.remove(&(tie, key.clone())).is_some() {
                self.limited -= limits;
            }
        }
    }

    /// The objects that have a tie.
    pub(super) fn of<'a>(&'a self, tie: &'a Tie) -> impl Iterator<Item = &'a Key> {
        let from = self.all.from(move |(other, _)| other < tie).map(|(entry, ())| entry);
        from.take_while(move |(other, _)| other == tie).map(|(_, key)| key)
    }

    /// The objects of a kind that name `key`.
    pub(super) fn naming(&self, key: &Key, kind: Kind) -> impl Iterator<Item = &Key> {
        let tie = Tie::Names(key.clone());
        let from = {
            let tie = tie.clone();
            self.all.from(move |(other, by)| (other, by.kind) < (&tie, kind)).map(|(entry, ())| entry)
        };
        from.take_while(move |(other, by)| *other == tie && by.kind == kind).map(|(_, by)| by)
    }

    /// Pairs of a VIP and a rate limit.
    pub(super) fn limited(&self) -> usize {
        self.limited
    }
}

fn limits(key: &Key, tie: &Tie) -> bool {
    key.kind == Kind::Qos && matches!(tie, Tie::Names(of) if of.kind == Kind::Vip)
}

/// What ties an object to others.
pub(super) fn ties(body: &Body) -> Vec<Tie> {
    let mut all = Vec::new();
    let mut names = |kind: Kind, id: &Option<String>| {
        all.extend(id.as_deref().and_then(|id| Key::new(kind, id)).map(Tie::Names));
    };
    match body {
        Body::VxlanPool(_) => all.push(Tie::Pools),
        Body::PublicNetwork(_) | Body::Certificate(_) | Body::VpcRouter(_) => {}
        Body::VpcNetwork(net) => {
            names(Kind::VpcRouter, &net.vpc);
            names(Kind::VxlanPool, &net.vxlan.as_ref().and_then(|vxlan| vxlan.pool.clone()));
        }
        Body::Nic(nic) => names(Kind::VpcNetwork, &nic.network),
        Body::Vip(vip) => names(Kind::PublicNetwork, &vip.public_network),
        Body::Route(route) => {
            names(Kind::VpcRouter, &route.vpc);
            names(Kind::PublicNetwork, &route.public_network);
            names(Kind::PublicNetwork, &route.via_public);
            names(Kind::VpcRouter, &route.via_vpc);
            all.extend(table(body).map(Tie::Table));
        }
        Body::Snat(snat) => {
            names(Kind::VpcRouter, &snat.vpc);
            names(Kind::VpcNetwork, &snat.network);
            snat.vips.iter().flatten().for_each(|vip| names(Kind::Vip, &Some(vip.clone())));
        }
        Body::Eip(eip) => {
            names(Kind::Vip, &eip.vip);
            names(Kind::Nic, &eip.nic);
            names(Kind::VpcRouter, &eip.vpc);
            let router = eip.vpc.as_deref().and_then(|vpc| Key::new(Kind::VpcRouter, vpc));
            let vm = router.zip(eip.address.as_deref().and_then(values::address));
            all.extend(vm.map(|(router, address)| Tie::Vm(router, address)));
        }
        Body::PortForward(forward) => {
            names(Kind::Vip, &forward.vip);
            names(Kind::Nic, &forward.nic);
            names(Kind::VpcRouter, &forward.vpc);
        }
        Body::LoadBalancer(balancer) => {
            names(Kind::Vip, &balancer.vip);
            for listener in &balancer.listeners {
                let tls = listener.http.as_ref().and_then(|http| http.tls.as_ref());
                let shown = tls.and_then(|tls| tls.certificates.as_ref()).into_iter().flatten();
                shown.for_each(|id| names(Kind::Certificate, &Some(id.clone())));
                let grouped = listener.groups.iter().flat_map(|group| &group.backends);
                for RawBackend { nic, vpc, .. } in listener.backends.iter().chain(grouped) {
                    names(Kind::Nic, nic);
                    names(Kind::VpcRouter, vpc);
                }
            }
            if balancer.listeners.iter().any(|listener| listener.mode.as_deref() == Some("full_nat")) {
                all.push(Tie::FullNat);
            }
        }
        Body::Qos(qos) => {
            names(Kind::Vip, &qos.vip);
            names(Kind::Nic, &qos.nic);
            qos.vips.iter().flatten().for_each(|vip| names(Kind::Vip, &Some(vip.clone())));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Whose table a route is in.
fn table(body: &Body) -> Option<Key> {
    let Body::Route(route) = body else { return None };
    let vpc = route.vpc.as_deref().and_then(|vpc| Key::new(Kind::VpcRouter, vpc));
    vpc.or_else(|| Key::new(Kind::PublicNetwork, route.public_network.as_deref()?))
}
