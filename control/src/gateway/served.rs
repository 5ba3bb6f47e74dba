//! Public addresses that programs in the namespace of a VPC router serve (HTTP listeners): what workers punt on the public
//! network goes into the VPC's namespace, and what these programs answer leaves by the public network, or goes straight to
//! a VM of the VPC.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

use etherparse::Ipv4HeaderSlice;
use ipnet::Ipv4Net;
use tidegate_fastpath::{
    table::{
        Tables,
        nat::{Amount, Meter},
    },
    types::VrfId,
    wire::translate::Side,
};

use crate::{config::TableKey, desired::Desired};

/// Which tables such packets change between, and the meters of these addresses: their packets have no flow entries.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// By public table and address: the VPC's table.
    inward: HashMap<(VrfId, Ipv4Addr), (VrfId, Arc<Meter>)>,
    /// By the VPC's table and the address: the public table.
    outward: HashMap<(VrfId, Ipv4Addr), (VrfId, Arc<Meter>)>,
    /// The networks of each of these VPCs.
    inside: HashMap<VrfId, Vec<Ipv4Net>>,
}

impl Served {
    pub(super) fn of(desired: &Desired, tables: &Tables) -> Served {
        let config = desired.config();
        let mut served = Served::default();
        for listener in config.listeners().filter(|listener| listener.protocol.is_proxied()) {
            let Some(vip) = config.vips.get(&listener.vip) else { continue };
            let public = desired.vrf(&TableKey::Public(vip.public_network.clone()));
            let vpc = desired.vrf(&TableKey::Vpc(listener.vpc.clone()));
            let meter = desired.vip(&vip.id).and_then(|id| tables.vip(id)).map(|vip| Arc::clone(&vip.meter));
            let (Some(public), Some(vpc), Some(meter)) = (public, vpc, meter) else { continue };
            served.inward.insert((public, vip.address), (vpc, Arc::clone(&meter)));
            served.outward.insert((vpc, vip.address), (public, meter));
            served
                .inside
                .entry(vpc)
                .or_insert_with(|| config.networks.of(&listener.vpc).map(|network| network.cidr).collect());
        }
        served
    }

    /// The table whose namespace takes a packet that was punted in `vrf`; counts it.
    pub(super) fn inward(&self, vrf: VrfId, packet: &[u8]) -> VrfId {
        if self.inward.is_empty() {
            return vrf;
        }
        let Ok(header) = Ipv4HeaderSlice::from_slice(packet) else { return vrf };
        let Some((vpc, meter)) = self.inward.get(&(vrf, header.destination_addr())) else { return vrf };
        meter.add(Side::Destination, Amount::packet(header.total_len()));
        *vpc
    }

    /// The table in which a packet goes on that came out of the namespace of `vrf`; counts it.
    pub(super) fn outward(&self, vrf: VrfId, packet: &[u8]) -> VrfId {
        let Some(inside) = self.inside.get(&vrf) else { return vrf };
        let Ok(header) = Ipv4HeaderSlice::from_slice(packet) else { return vrf };
        let Some((public, meter)) = self.outward.get(&(vrf, header.source_addr())) else { return vrf };
        meter.add(Side::Source, Amount::packet(header.total_len()));
        let to = header.destination_addr();
        if inside.iter().any(|network| network.contains(&to)) {
            return vrf;
        }
        *public
    }
}
