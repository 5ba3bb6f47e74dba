//! Rate limits as workers see them. A bucket whose limits did not change goes on; a new one takes over the counters of the
//! one that it replaces, and is full.

use std::{collections::HashMap, sync::Arc};

use tidegate_fastpath::{
    policer::{Bucket, BucketId, Chain, LimitedNic, Limits, Policers, Policing},
    table::nat::{BothWays, VipLimits},
    types::VrfId,
};

use super::{Compiled, by_number};
use crate::{
    config::{
        Id, TableKey,
        qos::{ChainKey, Qos, Scope, VipChains},
    },
    desired::Desired,
};

/// All rate limits.
#[derive(Default)]
pub(super) struct Limited<'a> {
    pub(super) policing: Policing,
    /// Of VIPs that have some.
    pub(super) vips: HashMap<&'a Id, VipLimits>,
    /// Of NICs, by table.
    pub(super) nics: HashMap<VrfId, Arc<[LimitedNic]>>,
}

/// Builds the buckets, and what leads to them. `stamp` is of this generation alone.
pub(super) fn build<'a>(desired: &'a Desired, previous: &Compiled, stamp: u64) -> Limited<'a> {
    let config = desired.config();
    if config.qos.is_empty() {
        return Limited::default();
    }
    let buckets = by_number(config.qos.iter().flat_map(|qos| {
        let ids = bucket_ids(desired, &qos.id);
        let limits = [qos.outbound, qos.inbound];
        ids.into_iter().flatten().zip(limits).filter_map(|(id, limits)| {
            let before = previous.limit(&qos.id, id);
            Some((usize::from(id), bucket(limits?, config.gateway.workers.len(), stamp, before)))
        })
    }));
    let by_id: HashMap<&Id, &Qos> = config.qos.iter().map(|qos| (&qos.id, qos)).collect();
    let chains =
        by_number(desired.chains().map(|(number, key)| (number.into(), chain(desired, &by_id, key))));
    let chains: Vec<Chain> = chains.into_iter().map(Option::unwrap_or_default).collect();
    let vips = config.vip_chains();
    let vips = vips.into_iter().map(|(vip, of)| (vip, limits_of(desired, &chains, &of))).collect();
    Limited {
        policing: Policing { buckets: buckets.into(), chains: chains.into() },
        vips,
        nics: nics(desired),
    }
}

fn bucket(limits: Limits, workers: usize, stamp: u64, before: Option<&Bucket>) -> Bucket {
    match before {
        Some(before) if before.limits() == limits && before.slots().len() == workers => before.clone(),
        before => Bucket::new(limits, workers, stamp, before),
    }
}

/// The buckets of an object: outbound, inbound.
pub fn bucket_ids(desired: &Desired, qos: &Id) -> Option<[BucketId; 2]> {
    desired.qos(qos).map(|number| [2 * number, 2 * number + 1])
}

/// The narrower buckets first.
fn chain(desired: &Desired, by_id: &HashMap<&Id, &Qos>, key: &ChainKey) -> Chain {
    let mut chain = Chain::default();
    for id in std::iter::once(&key.0).chain(&key.1) {
        let (Some(qos), Some([outbound, inbound])) = (by_id.get(id), bucket_ids(desired, id)) else {
            continue;
        };
        chain.outbound.extend(qos.outbound.map(|_| outbound));
        chain.inbound.extend(qos.inbound.map(|_| inbound));
    }
    chain
}

fn limits_of(desired: &Desired, chains: &[Chain], of: &VipChains) -> VipLimits {
    let both = |key: &ChainKey| {
        let number = desired.chain(key).unwrap_or_default();
        let chain = chains.get(usize::from(number)).cloned().unwrap_or_default();
        let unless = |empty| if empty { Policers::NONE } else { Policers::of_chain(number) };
        BothWays { outbound: unless(chain.outbound.is_empty()), inbound: unless(chain.inbound.is_empty()) }
    };
    VipLimits {
        ports: of.ports.iter().map(|(slice, key)| (*slice, both(key))).collect(),
        rest: of.rest.as_ref().map(both).unwrap_or_default(),
    }
}

fn nics(desired: &Desired) -> HashMap<VrfId, Arc<[LimitedNic]>> {
    let mut of: HashMap<VrfId, Vec<LimitedNic>> = HashMap::new();
    for qos in &desired.config().qos {
        let Scope::Nic { vpc, address, .. } = &qos.scope else { continue };
        let (Some(vrf), Some([outbound, inbound])) =
            (desired.vrf(&TableKey::Vpc(vpc.clone())), bucket_ids(desired, &qos.id))
        else {
            continue;
        };
        of.entry(vrf).or_default().push(LimitedNic {
            address: *address,
            outbound: qos.outbound.map(|_| outbound),
            inbound: qos.inbound.map(|_| inbound),
        });
    }
    let sorted = |mut nics: Vec<LimitedNic>| {
        nics.sort_unstable_by_key(|nic| nic.address);
        nics.into()
    };
    of.into_iter().map(|(vrf, nics)| (vrf, sorted(nics))).collect()
}
