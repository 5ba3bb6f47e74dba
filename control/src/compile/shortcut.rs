//! Which traffic between the networks of a VPC hosts may carry past the gateway: plain connected routing only. Every kind of object
//! says here whether it stands in the way; one that is added and says nothing does not compile.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
};

use tidegate_fastpath::{
    table::{Link, fib::Hop},
    types::{NetId, VrfId},
};

use super::Compiled;
use crate::{
    config::{
        Config, Id, TableKey, Vpc, VpcNetwork,
        balance::{ListenerProtocol, Mode},
        nat::{Service, Vm},
        qos::Scope,
    },
    desired::{Desired, NetKey},
};

/// Why the gateway itself must see packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forbidden {
    /// `distributed_routing` is off, of the VPC router and of all its networks that say so themselves.
    SwitchedOff,
    /// That of the network is off, and not that of all others of its VPC router.
    NetworkSwitchedOff,
    /// The network is gone.
    Gone,
    /// One of the two networks is no VXLAN, or they are of tunnel ends that hosts do not share.
    OtherUnderlay,
    /// Both are in one network: nothing is routed.
    SameNetwork,
    /// No connected route leads there.
    NotConnected,
    /// A VM of the source network answers for a public address, and answers must come by here.
    Translated,
    /// A rate limit of a VM.
    Limited,
}

impl Forbidden {
    /// In words.
    pub const fn phrase(self) -> &'static str {
        match self {
            Forbidden::SwitchedOff => "distributed_routing is off",
            Forbidden::NetworkSwitchedOff => "distributed_routing of the network is off",
            Forbidden::Gone => "the network is gone",
            Forbidden::OtherUnderlay => "not both on VXLANs of one tunnel end",
            Forbidden::SameNetwork => "nothing is routed in one network",
            Forbidden::NotConnected => "no connected route leads there",
            Forbidden::Translated => "a VM of the source network answers for a public address",
            Forbidden::Limited => "a rate limit of a VM",
        }
    }
}

/// Where a packet would go that may go directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The routing table.
    pub vrf: VrfId,
    /// The destination's network.
    pub egress: NetId,
}

/// From which networks there may be shortcuts.
#[derive(Clone, Debug, Default)]
pub struct Shortcuts {
    /// All networks whose switch is on.
    sources: HashMap<NetId, Result<(), Forbidden>>,
    /// Their routing tables.
    on: HashMap<VrfId, Id>,
}

impl Shortcuts {
    /// Whether any switch is on.
    pub fn any(&self) -> bool {
        !self.on.is_empty()
    }

    /// The VPC router of a routing table that has a network whose switch is on.
    pub fn vpc(&self, vrf: VrfId) -> Option<&Id> {
        self.on.get(&vrf)
    }

    /// Whether the switch of a network is on.
    pub fn has(&self, source: NetId) -> bool {
        self.sources.contains_key(&source)
    }
}

/// Reads what stands in the way. Cost: nothing without `gateway.zsnp`, a pass over networks with it, over services too where a switch is on.
pub(super) fn build(desired: &Desired) -> Shortcuts {
    let config = desired.config();
    if config.gateway.zsnp.is_none() {
        return Shortcuts::default();
    }
    let networks: Vec<&VpcNetwork> =
        config.networks.iter().filter(|network| is_on(config, network)).collect();
    let vpcs: HashSet<&Id> = networks.iter().map(|network| &network.vpc).collect();
    if vpcs.is_empty() {
        return Shortcuts::default();
    }
    let mut blocked: HashMap<&Id, Vec<(Ipv4Addr, Forbidden)>> = HashMap::new();
    for ((vpc, address), why) in in_the_way(config) {
        if vpcs.contains(vpc) {
            blocked.entry(vpc).or_default().push((address, why));
        }
    }
    let verdict = |network: &VpcNetwork| {
        let mut of_vpc = blocked.get(&network.vpc).into_iter().flatten();
        of_vpc.find(|(address, _)| network.cidr.contains(address)).map_or(Ok(()), |(_, why)| Err(*why))
    };
    Shortcuts {
        sources: networks
            .into_iter()
            .filter_map(|network| Some((desired.net(&NetKey::Vpc(network.id.clone()))?, verdict(network))))
            .collect(),
        on: vpcs
            .into_iter()
            .filter_map(|vpc| Some((desired.vrf(&TableKey::Vpc(vpc.clone()))?, vpc.clone())))
            .collect(),
    }
}

/// Whether the switch of a network is on: its own, or else that of its VPC router.
pub(super) fn is_on(config: &Config, network: &VpcNetwork) -> bool {
    let by_router = || {
        let Some(vpc) = config.vpcs.get(&network.vpc) else { return false };
        // `flow_tracking`: such a VPC is tracked. `quotas`: of translated sessions, which are none of ours.
        let Vpc { id: _, account: _, flow_tracking: _, distributed_routing, quotas: _ } = *vpc;
        distributed_routing
    };
    network.distributed_routing.unwrap_or_else(by_router)
}

/// VMs from whose network no packet may take a shortcut, and why. A shortcut is for all packets from a network, so one VM is enough.
fn in_the_way(config: &Config) -> Vec<((&Id, Ipv4Addr), Forbidden)> {
    // No `..`: whoever adds a kind of object says here what it means for shortcuts.
    let Config {
        gateway: _,         // this host
        pools: _,           // underlays: `judge` asks that both networks are on one tunnel end
        public_networks: _, // reached by leaks and services only, which are no connected routes
        vpcs: _,            // `is_on`
        networks: _,        // `is_on`, and `judge`, by their link
        routes: _,          // `judge`, by what they lead to
        nics: _,            // names
        vips: _,            // addresses, of the services below
        snats: _,
        eips: _,
        port_forwards: _,
        load_balancers: _, // `Service`, below
        qos,
        certificates: _, // of HTTP listeners
    } = config;
    let answering = config.services().flat_map(|service| {
        // Whose packets to a VM of the VPC may be answers to what was translated on its way there.
        match service {
            // Only what leaves the VPC.
            Service::Snat(_) => Vec::new(),
            Service::Eip(eip) => vec![&eip.vm],
            Service::PortForward(forward) => vec![&forward.vm],
            Service::Listener(listener) => match (listener.protocol, listener.mode) {
                // Backends answer to the gateway.
                (ListenerProtocol::Http | ListenerProtocol::Https, _)
                | (ListenerProtocol::Tcp | ListenerProtocol::Udp, Mode::FullNat) => Vec::new(),
                (ListenerProtocol::Tcp | ListenerProtocol::Udp, Mode::Dnat) => {
                    listener.backends.iter().map(|backend| &backend.vm).collect()
                }
            },
        }
    });
    let translated = answering.map(|Vm { vpc, address }| ((vpc, *address), Forbidden::Translated));
    let limited = qos.iter().filter_map(|limit| match &limit.scope {
        // Of packets to and from public addresses.
        Scope::Vips(_) | Scope::Ports { .. } => None,
        Scope::Nic { nic: _, vpc, address } => Some(((vpc, *address), Forbidden::Limited)),
    });
    translated.chain(limited).collect()
}

impl Compiled {
    /// Whether hosts may carry packets from this network to this address past the gateway.
    ///
    /// # Errors
    /// [`Forbidden`]: why not.
    pub fn judge(&self, source: NetId, destination: Ipv4Addr) -> Result<Leg, Forbidden> {
        match self.shortcuts.sources.get(&source) {
            None => return Err(self.switched_off(source)),
            Some(Err(why)) => return Err(*why),
            Some(Ok(())) => {}
        }
        let net = self.tables.net(source).ok_or(Forbidden::Gone)?;
        let vrf = self.tables.vrf(net.vrf).ok_or(Forbidden::Gone)?;
        let egress = match vrf.fib.lookup(destination) {
            Hop::Connected(egress) => egress,
            Hop::NoRoute
            | Hop::Blackhole
            | Hop::Broadcast
            | Hop::Local(_)
            | Hop::Via(..)
            | Hop::Leak(_)
            | Hop::Exit
            | Hop::Vip(_) => return Err(Forbidden::NotConnected),
        };
        if egress == source {
            return Err(Forbidden::SameNetwork);
        }
        let other = self.tables.net(egress).ok_or(Forbidden::Gone)?;
        match (net.link, other.link) {
            (Link::Vxlan { vtep: a, .. }, Link::Vxlan { vtep: b, .. }) if a == b => {}
            (Link::Vxlan { .. } | Link::Port { .. }, _) => return Err(Forbidden::OtherUnderlay),
        }
        if vrf.limited(destination).is_some() {
            return Err(Forbidden::Limited);
        }
        Ok(Leg { vrf: net.vrf, egress })
    }

    /// Which switch is off: hosts are told at once that it is all of a VPC router.
    fn switched_off(&self, source: NetId) -> Forbidden {
        let vrf = self.tables.net(source).map(|net| net.vrf);
        match vrf.and_then(|vrf| self.shortcuts.vpc(vrf)) {
            Some(_) => Forbidden::NetworkSwitchedOff,
            None => Forbidden::SwitchedOff,
        }
    }
}
