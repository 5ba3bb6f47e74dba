//! The numbering of networks and routing tables, from one run of the gateway to the next: entries of the flow table hold
//! numbers, and beside them the file of the table says whose each number is.

use std::collections::HashMap;

use tidegate_fastpath::{
    flow::{FlowMemory, FlowReader, Labelled},
    types::{NetId, VrfId},
};
use tracing::warn;

use crate::{
    config::{Config, TableKey},
    desired::{Desired, NetKey, Numbered, table_label},
};

/// What the file says.
struct Before<'a> {
    memory: &'a FlowMemory,
    nets: HashMap<u64, u16>,
    vrfs: HashMap<u64, u16>,
}

impl Numbered for Before<'_> {
    fn net(&self, key: &NetKey) -> Option<NetId> {
        self.nets.get(&self.memory.label_of(&key.label())).copied().map(NetId)
    }

    fn vrf(&self, key: &TableKey) -> Option<VrfId> {
        self.vrfs.get(&self.memory.label_of(&table_label(key))).copied().map(VrfId)
    }
}

/// A first configuration, numbered as the entries in `memory` have it. Where that cannot be, the entries go.
pub(super) fn number(config: Config, memory: &mut FlowMemory) -> Desired {
    if !memory.is_kept() {
        return Desired::new(config);
    }
    let of = |kind| memory.labels(kind).map(|(number, label)| (label, number)).collect();
    let before = Before { nets: of(Labelled::Net), vrfs: of(Labelled::Vrf), memory };
    match Desired::continued(config.clone(), &before) {
        Some(desired) => desired,
        None => {
            warn!(
                "the file of the flow table numbers networks as no gateway does; its connections are forgotten"
            );
            memory.discard();
            Desired::new(config)
        }
    }
}

/// Says whose each number is. Before workers see new ones.
pub(super) fn label(desired: &Desired, flows: &FlowReader) {
    for number in 0..=u16::MAX {
        let net = desired.net_key(NetId(number)).map_or(0, |key| flows.label_of(&key.label()));
        flows.set_label(Labelled::Net, number, net);
        let vrf = desired.vrf_key(VrfId(number)).map_or(0, |key| flows.label_of(&table_label(key)));
        flows.set_label(Labelled::Vrf, number, vrf);
    }
}
