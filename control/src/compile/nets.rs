//! Everything attached, as workers see it: ports with addresses, public networks, VPC networks.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

use tidegate_fastpath::{
    table::{Link, Net},
    types::{MacAddr, NetId, PortId},
};

use super::{Facts, PortFact};
use crate::{
    config::{Id, NetworkLink, Port, PublicNetwork, TableKey, VpcNetwork, VxlanPool},
    desired::{Desired, NetKey, UNDERLAY, VtepKey},
};

/// A network and what routes need of it.
pub(super) struct Attachment {
    pub(super) id: NetId,
    pub(super) net: Arc<Net>,
    /// Whether its link is up.
    pub(super) up: bool,
}

/// The networks of a routing table: those that are as in `previous` are taken from there. VIPs are addresses of ours on their
/// public network: ARP answers for them and announces them.
pub(super) fn attach(
    machine: &Machine<'_>,
    table: &TableKey,
    previous: &[Option<Arc<Net>>],
) -> Vec<Attachment> {
    let config = machine.desired.config();
    let all: Vec<_> = match table {
        TableKey::Underlay => config.gateway.ports.iter().filter_map(|port| machine.port_net(port)).collect(),
        TableKey::Public(id) => {
            config.public_networks.get(id).and_then(|net| machine.public_net(net)).into_iter().collect()
        }
        TableKey::Vpc(vpc) => config.networks.of(vpc).filter_map(|net| machine.vpc_net(net)).collect(),
    };
    let each = all.into_iter().map(|(id, net, up)| {
        let before = previous.get(id.index()).and_then(Option::as_ref).filter(|before| ***before == net);
        Attachment { id, net: before.map_or_else(|| Arc::new(net), Arc::clone), up }
    });
    each.collect()
}

/// The machine that networks are attached to.
pub(super) struct Machine<'a> {
    desired: &'a Desired,
    facts: &'a Facts,
    pools: HashMap<&'a Id, &'a VxlanPool>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(desired: &'a Desired, facts: &'a Facts) -> Machine<'a> {
        let pools = desired.config().pools.iter().map(|pool| (&pool.id, pool)).collect();
        Machine { desired, facts, pools }
    }

    /// A port's number and facts; without facts it is down.
    fn port(&self, id: &Id) -> Option<(PortId, PortFact)> {
        let port = self.desired.port(id)?;
        let unknown = PortFact { mac: MacAddr::default(), up: false };
        Some((port, self.facts.ports.get(&port).copied().unwrap_or(unknown)))
    }

    fn port_net(&self, port: &Port) -> Option<(NetId, Net, bool)> {
        let subnet = port.subnet.as_ref()?;
        let (number, fact) = self.port(&port.id)?;
        let mut addresses = subnet.addresses.clone();
        addresses.sort_unstable();
        let net = Net {
            vrf: UNDERLAY,
            mac: fact.mac,
            mtu: port.mtu,
            prefix: subnet.prefix,
            addresses: addresses.into(),
            address: subnet.addresses.first().copied(),
            link: Link::Port { port: number, vlan: None },
        };
        Some((self.desired.net(&NetKey::Port(port.id.clone()))?, net, fact.up))
    }

    fn public_net(&self, net: &PublicNetwork) -> Option<(NetId, Net, bool)> {
        let (port, fact) = self.port(&net.port)?;
        let vips = self.desired.config().vips.of(&net.id);
        let mut addresses: Vec<Ipv4Addr> = vips.map(|vip| vip.address).chain(net.address).collect();
        addresses.sort_unstable();
        let built = Net {
            vrf: self.desired.vrf(&TableKey::Public(net.id.clone()))?,
            mac: fact.mac,
            mtu: net.mtu,
            prefix: net.cidr,
            // Where the gateway has no address of its own, a VIP is better than none for ARP and ICMP errors.
            address: net.address.or(addresses.first().copied()),
            addresses: addresses.into(),
            link: Link::Port { port, vlan: net.vlan },
        };
        Some((self.desired.net(&NetKey::Public(net.id.clone()))?, built, fact.up))
    }

    fn vpc_net(&self, network: &VpcNetwork) -> Option<(NetId, Net, bool)> {
        let vrf = self.desired.vrf(&TableKey::Vpc(network.vpc.clone()))?;
        let (link, mac, up) = self.link(network)?;
        let net = Net {
            vrf,
            mac,
            mtu: network.mtu,
            prefix: network.cidr,
            addresses: [network.gateway].into(),
            address: Some(network.gateway),
            link,
        };
        Some((self.desired.net(&NetKey::Vpc(network.id.clone()))?, net, up))
    }

    fn link(&self, network: &VpcNetwork) -> Option<(Link, MacAddr, bool)> {
        match &network.link {
            NetworkLink::Vxlan { pool, vni } => {
                let pool = self.pools.get(pool)?;
                let key = VtepKey { address: pool.vtep, udp_port: pool.udp_port };
                let link = Link::Vxlan { vtep: self.desired.vtep(key)?, vni: *vni };
                Some((link, mac_of(&network.id), self.port(&pool.underlay)?.1.up))
            }
            NetworkLink::Port { port, vlan } => {
                let (port, fact) = self.port(port)?;
                Some((Link::Port { port, vlan: *vlan }, fact.mac, fact.up))
            }
        }
    }
}

/// The gateway's MAC on a VXLAN network: locally administered, the same after every restart and on every gateway that
/// serves the network. A VNI is a link of its own with one MAC of ours, so two networks that share one disturb nobody.
pub fn mac_of(network: &Id) -> MacAddr {
    // FNV-1a, 64 bits; stable by its definition, which no hasher of a library promises.
    let hash = network.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let folded = (hash ^ (hash >> 24) ^ (hash >> 48)) & 0xff_ffff;
    MacAddr::from_u64(0x0254_4700_0000 | folded)
}
