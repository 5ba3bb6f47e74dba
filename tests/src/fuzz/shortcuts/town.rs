//! Where it happens: networks 1 to 3 of one VPC, two VMs in each, three hosts, one gateway.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use tidegate_control::{
    compile::{Forbidden, Leg},
    config::Zsnp as Settings,
    zsnp::{Place, Site, Wire},
};
use tidegate_fastpath::types::{NetId, VrfId};
use tidegate_zsnp::{Mac, Vni, VpcTag};

/// The gateway's tunnel end.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
/// Networks and hosts: 1 to this.
pub(super) const COUNT: u8 = 3;
/// How long a shortcut lasts, in s.
pub(super) const LIFETIME_S: u32 = 30;

/// What the gateway knows and wants.
#[derive(Debug)]
pub(super) struct Town {
    pub(super) on: bool,
    pub(super) forbidden: BTreeSet<(NetId, Ipv4Addr)>,
    /// The host of each VM.
    pub(super) places: BTreeMap<Ipv4Addr, u8>,
}

impl Town {
    pub(super) fn new() -> Town {
        let places = (1..=COUNT).flat_map(|net| [(vm(net, 2), net), (vm(net, 3), net % COUNT + 1)]);
        Town { on: true, forbidden: BTreeSet::new(), places: places.collect() }
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        keys: "/none".into(),
        protocol: 253,
        threshold: 8,
        lifetime_s: LIFETIME_S,
        hold_off_s: 5,
        pairs: 8,
        pairs_per_vpc: 7,
        pairs_per_vm: 4,
        locates_per_second: 1000,
        withdraw_on_stop: true,
    }
}

pub(super) fn vm(net: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, net, number)
}

pub(super) fn net_of(address: Ipv4Addr) -> u8 {
    address.octets()[2]
}

pub(super) fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([2, 1, a, b, c, d])
}

pub(super) fn gateway_mac(net: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, net])
}

pub(super) fn vtep(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 31, host, 1)
}

pub(super) fn vni(net: u8) -> Vni {
    Vni::new(200 + u32::from(net)).unwrap_or_else(|why| panic!("{why}"))
}

impl Site for Town {
    fn judge(&self, source: NetId, destination: Ipv4Addr) -> Result<Leg, Forbidden> {
        let egress = NetId(net_of(destination).into());
        if !self.on {
            Err(Forbidden::SwitchedOff)
        } else if self.forbidden.contains(&(source, destination)) {
            Err(Forbidden::Limited)
        } else if egress == source {
            Err(Forbidden::SameNetwork)
        } else {
            Ok(Leg { vrf: VrfId(1), egress })
        }
    }

    fn wire(&self, net: NetId) -> Option<Wire> {
        let net = u8::try_from(net.0).ok().filter(|net| (1..=COUNT).contains(net))?;
        Some(Wire {
            vrf: VrfId(1),
            vpc: VpcTag(0x1234),
            vni: vni(net),
            mac: gateway_mac(net),
            gateway: vm(net, 1),
            vtep: GATEWAY,
            mtu: 1450,
        })
    }

    fn place(&self, _: NetId, address: Ipv4Addr) -> Option<Place> {
        Some(Place { mac: mac_of(address), vtep: vtep(*self.places.get(&address)?) })
    }

    fn network(&self, end: Ipv4Addr, id: Vni, mac: Mac) -> Option<NetId> {
        let is_it = |net: &u8| (end, vni(*net), gateway_mac(*net)) == (GATEWAY, id, mac);
        (1..=COUNT).find(is_it).map(|net| NetId(net.into()))
    }
}
