//! What the machine asks the gateway: what the policy allows, what networks are on the wire, who is where.

use std::net::Ipv4Addr;

use tidegate_fastpath::{
    table::{Link, Net, neighbour::Reach},
    types::{MacAddr, NetId, VrfId, VtepId},
};
use tidegate_zsnp::{Mac, Vni, VpcTag};

use super::Round;
use crate::compile::{Forbidden, Leg};

/// A VXLAN network of a VPC router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Its routing table.
    pub vrf: VrfId,
    /// Which VPC, as hosts see it.
    pub vpc: VpcTag,
    /// On the wire.
    pub vni: Vni,
    /// Our MAC on it.
    pub mac: Mac,
    /// Our address on it.
    pub gateway: Ipv4Addr,
    /// Our tunnel end.
    pub vtep: Ipv4Addr,
    /// Largest IP packet.
    pub mtu: u16,
}

/// Where somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its MAC.
    pub mac: Mac,
    /// The tunnel end of its host.
    pub vtep: Ipv4Addr,
}

/// What the machine asks.
pub trait Site {
    /// Whether hosts may carry packets from this network to this address past the gateway.
    ///
    /// # Errors
    /// Why not.
    fn judge(&self, source: NetId, destination: Ipv4Addr) -> Result<Leg, Forbidden>;
    /// A network, if it is a VXLAN with an address of ours.
    fn wire(&self, net: NetId) -> Option<Wire>;
    /// Where somebody was heard last.
    fn place(&self, net: NetId, address: Ipv4Addr) -> Option<Place>;
    /// Which network has this VNI, and this MAC of ours, on our tunnel end.
    fn network(&self, vtep: Ipv4Addr, vni: Vni, gateway_mac: Mac) -> Option<NetId>;
}

/// The gateway that runs.
pub(super) struct Gateway<'a, 'r> {
    pub(super) round: &'a Round<'r>,
}

impl Gateway<'_, '_> {
    fn wire_of(&self, net: &Net) -> Option<Wire> {
        let Link::Vxlan { vni, .. } = net.link else { return None };
        let compiled = self.round.compiled;
        Some(Wire {
            vrf: net.vrf,
            vpc: compiled.shortcuts.vpc(net.vrf).map_or(VpcTag::default(), |vpc| tag_of(vpc.as_str())),
            vni: Vni::new(vni.get()).ok()?,
            mac: mac_of(net.mac),
            gateway: net.address?,
            vtep: compiled.tables.vtep_of(net)?.address,
            mtu: net.mtu.get(),
        })
    }
}

impl Site for Gateway<'_, '_> {
    fn judge(&self, source: NetId, destination: Ipv4Addr) -> Result<Leg, Forbidden> {
        self.round.compiled.judge(source, destination)
    }

    fn wire(&self, net: NetId) -> Option<Wire> {
        self.wire_of(self.round.compiled.tables.net(net)?)
    }

    fn place(&self, net: NetId, address: Ipv4Addr) -> Option<Place> {
        let neighbours = self.round.neighbours;
        match neighbours.reach(neighbours.lookup(net, address)?) {
            Reach::Resolved(known) => {
                let (vtep, _) = known.tunnel?;
                Some(Place { mac: mac_of(known.mac), vtep })
            }
            _ => None,
        }
    }

    fn network(&self, vtep: Ipv4Addr, vni: Vni, gateway_mac: Mac) -> Option<NetId> {
        let tables = &self.round.compiled.tables;
        // Several pools may share an address and differ in their UDP port, which is not said here; the MAC tells.
        let ends = (0u16..).zip(&tables.vteps).filter(|(_, end)| end.address == vtep);
        let mut nets = ends.map(|(id, _)| tables.vnis.lookup(VtepId(id), vni.get()));
        nets.find(|id| self.wire(*id).is_some_and(|wire| wire.mac == gateway_mac))
    }
}

fn mac_of(mac: MacAddr) -> Mac {
    Mac(mac.octets())
}

/// FNV-1a of a VPC router's name, 32 bits, never 0: the same after every restart. Where two VPC routers have one tag, withdrawing all of
/// one withdraws those of the other, which come back by themselves.
fn tag_of(vpc: &str) -> VpcTag {
    let hash =
        vpc.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    VpcTag(hash.max(1))
}
