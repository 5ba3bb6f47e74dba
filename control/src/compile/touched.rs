//! What cannot be taken over from the last result: the VIPs and routing tables that a change of desired state or of facts
//! concerns.

use std::{collections::BTreeSet, sync::Arc};

use super::{Balanced, Compiled, Facts, MadeOf};
use crate::{
    config::{Config, Id, Member, Section, TableKey, qos::Scope},
    desired::Desired,
};

/// What is made anew. Also what is no more is here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// Public addresses.
    pub(super) vips: BTreeSet<Id>,
    /// Routing tables, with the networks in them.
    pub(super) tables: BTreeSet<TableKey>,
}

impl Touched {
    /// What differs from what `previous` was made of. Cost: what differs, and a look at every listener.
    pub(super) fn since(
        previous: &Compiled,
        desired: &Desired,
        facts: &Facts,
        balanced: &Balanced,
    ) -> Touched {
        let mut touched = Touched::default();
        let Some(MadeOf { desired: was, facts: before }) = &previous.made_of else {
            touched.everything(desired);
            return touched;
        };
        let (old, new) = (was.config(), desired.config());
        // What everything stands on.
        let same = old.gateway == new.gateway
            && old.pools == new.pools
            && old.public_networks == new.public_networks
            && before.ports == facts.ports;
        if !same {
            touched.everything(was);
            touched.everything(desired);
            return touched;
        }
        touched.objects(old, new);
        let listeners = new.listeners().filter(|listener| {
            let of = |balanced: &Balanced| balanced.listener(&listener.id).map(Arc::as_ptr);
            of(balanced) != of(&previous.balanced)
        });
        touched.vips.extend(listeners.map(|listener| listener.vip.clone()));
        for (net, _) in before.unreachable.symmetric_difference(&facts.unreachable) {
            let table = previous.tables.net(*net).and_then(|net| was.vrf_key(net.vrf));
            touched.tables.extend(table.cloned());
        }
        for vip in &touched.vips {
            for config in [old, new] {
                let public = config.vips.get(vip).map(|vip| TableKey::Public(vip.public_network.clone()));
                let vpc = config.services_on(vip).next().map(|service| TableKey::Vpc(service.vpc().clone()));
                touched.tables.extend(public.into_iter().chain(vpc));
            }
        }
        touched
    }

    fn everything(&mut self, desired: &Desired) {
        self.tables.extend(desired.vrfs().map(|(_, key)| key.clone()));
        self.vips.extend(desired.config().vips.iter().map(|vip| vip.id.clone()));
    }

    fn objects(&mut self, old: &Config, new: &Config) {
        self.vips.extend(ids(&new.vips, &old.vips));
        self.tables.extend(new.vips.groups_since(&old.vips).into_iter().map(TableKey::Public));
        self.vips.extend(new.snats.groups_since(&old.snats));
        self.vips.extend(new.eips.groups_since(&old.eips));
        self.vips.extend(new.port_forwards.groups_since(&old.port_forwards));
        self.vips.extend(new.load_balancers.groups_since(&old.load_balancers));
        self.vips.extend(new.qos.groups_since(&old.qos));
        for qos in new.qos.since(&old.qos).into_iter().flat_map(|of| of.before.into_iter().chain(of.after)) {
            if let Scope::Nic { vpc, .. } = &qos.scope {
                self.tables.insert(TableKey::Vpc(vpc.clone()));
            }
        }
        self.tables.extend(ids(&new.vpcs, &old.vpcs).map(TableKey::Vpc));
        self.tables.extend(new.networks.groups_since(&old.networks).into_iter().map(TableKey::Vpc));
        self.tables.extend(new.routes.groups_since(&old.routes));
    }
}

fn ids<T: Member>(new: &Section<T>, old: &Section<T>) -> impl Iterator<Item = Id> {
    let differ: Vec<Id> = new.since(old).into_iter().map(|of| of.key.clone()).collect();
    differ.into_iter()
}
