//! Rate limits, and which of them concern a VIP.

use std::{collections::HashMap, net::Ipv4Addr};

use tidegate_fastpath::{policer::Limits, table::nat::Slice};

use super::{Config, Id, nat::PortRange};

/// A rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qos {
    /// Its name.
    pub id: Id,
    /// What it limits.
    pub scope: Scope,
    /// Of packets that go out. Not both this and `inbound` are `None`.
    pub outbound: Option<Limits>,
    /// Of packets that come in.
    pub inbound: Option<Limits>,
}

/// What a rate limit limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// VIPs, together.
    Vips(Vec<Id>),
    /// Ports of VIPs, together.
    Ports {
        /// Not empty.
        vips: Vec<Id>,
        /// Which ones.
        ports: PortRange,
        /// The same, by protocol; one or two.
        slices: Vec<Slice>,
        /// Whether the limits of the VIP are not theirs.
        independent: bool,
    },
    /// A NIC.
    Nic {
        /// Its name.
        nic: Id,
        /// The VPC router it is behind.
        vpc: Id,
        /// Its address there.
        address: Ipv4Addr,
    },
}

/// Limits that packets pass one after the other: of a port or VIP, and of the VIP around the port.
pub type ChainKey = (Id, Option<Id>);

/// The limits of one VIP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VipChains {
    /// By ports.
    pub ports: Vec<(Slice, ChainKey)>,
    /// Of all else.
    pub rest: Option<ChainKey>,
}

impl Config {
    /// The limits of each VIP that has some. The order of the document says nothing here.
    pub fn vip_chains(&self) -> HashMap<&Id, VipChains> {
        let mut of: HashMap<&Id, VipChains> = HashMap::new();
        for qos in &self.qos {
            if let Scope::Vips(vips) = &qos.scope {
                for vip in vips {
                    of.entry(vip).or_default().rest = Some((qos.id.clone(), None));
                }
            }
        }
        for qos in &self.qos {
            let Scope::Ports { vips, slices, independent, .. } = &qos.scope else { continue };
            for vip in vips {
                let chains = of.entry(vip).or_default();
                let around = chains.rest.as_ref().filter(|_| !independent).map(|(id, _)| id.clone());
                let key = (qos.id.clone(), around);
                chains.ports.extend(slices.iter().map(|slice| (*slice, key.clone())));
            }
        }
        of.values_mut().for_each(|chains| chains.ports.sort_unstable());
        of
    }

    /// Every chain that a VIP has, once, sorted.
    pub fn chain_keys(&self) -> Vec<ChainKey> {
        let of = self.vip_chains();
        let mut keys: Vec<ChainKey> = of
            .into_values()
            .flat_map(|chains| chains.ports.into_iter().map(|(_, key)| key).chain(chains.rest))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}
