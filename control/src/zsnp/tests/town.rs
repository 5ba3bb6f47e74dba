//! A small site: networks 1 to 3 of one VPC router, host *n* has the tunnel end 172.31.*n*.1, and the test says what is allowed and who is where.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
};

use tidegate_fastpath::types::{NetId, VrfId};
use tidegate_zsnp::{Authentic, Header, KeyId, Mac, Match, Message, SenderId, Transaction, Vni, VpcTag};

use crate::{
    compile::{Forbidden, Leg},
    config::Zsnp as Settings,
    zsnp::{Place, Site, Wire},
};

/// Our tunnel end.
pub(super) const OURS: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
/// Networks 1 to this.
pub(super) const NETS: u16 = 3;

pub(super) struct Town {
    pub(super) on: bool,
    pub(super) forbidden: HashSet<(NetId, Ipv4Addr)>,
    pub(super) places: HashMap<Ipv4Addr, Ipv4Addr>,
}

impl Town {
    pub(super) fn new() -> Town {
        Town { on: true, forbidden: HashSet::new(), places: HashMap::new() }
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        keys: "/none".into(),
        protocol: 253,
        threshold: 8,
        lifetime_s: 30,
        hold_off_s: 600,
        pairs: 8,
        pairs_per_vpc: 7,
        pairs_per_vm: 4,
        locates_per_second: 1000,
        withdraw_on_stop: true,
    }
}

/// The network of an address `10.0.<network>.<vm>`.
pub(super) fn net_of(address: Ipv4Addr) -> NetId {
    NetId(address.octets()[2].into())
}

pub(super) fn vm(net: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, net, number)
}

pub(super) fn host(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 31, number, 1)
}

pub(super) fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([2, 1, a, b, c, d])
}

pub(super) fn vni(net: NetId) -> Vni {
    Vni::new(200 + u32::from(net.0)).unwrap()
}

pub(super) fn matches(source: NetId, destination: Ipv4Addr) -> Match {
    Match { vni: vni(source), gateway_mac: Mac([2, 0, 0, 0, 0, source.0 as u8]), destination }
}

/// A message as the receiver gives it.
pub(super) fn got(from: Ipv4Addr, transaction: Transaction, message: Message) -> Authentic {
    let sender = SenderId(from.to_bits().into());
    let header = Header {
        kind: message.kind(),
        key: KeyId(1),
        vpc: VpcTag(0),
        sender,
        epoch: 1,
        sequence: 1,
        transaction,
    };
    Authentic { header, message, first: false }
}

impl Site for Town {
    fn judge(&self, source: NetId, destination: Ipv4Addr) -> Result<Leg, Forbidden> {
        if !self.on {
            return Err(Forbidden::SwitchedOff);
        }
        if self.forbidden.contains(&(source, destination)) {
            return Err(Forbidden::Limited);
        }
        let egress = net_of(destination);
        if egress == source { Err(Forbidden::SameNetwork) } else { Ok(Leg { vrf: VrfId(1), egress }) }
    }

    fn wire(&self, net: NetId) -> Option<Wire> {
        (1..=NETS).contains(&net.0).then(|| Wire {
            vrf: VrfId(1),
            vpc: VpcTag(0x1234),
            vni: vni(net),
            mac: Mac([2, 0, 0, 0, 0, net.0 as u8]),
            gateway: vm(net.0 as u8, 1),
            vtep: OURS,
            mtu: 1450,
        })
    }

    fn place(&self, _: NetId, address: Ipv4Addr) -> Option<Place> {
        Some(Place { mac: mac_of(address), vtep: *self.places.get(&address)? })
    }

    fn network(&self, vtep: Ipv4Addr, vni: Vni, gateway_mac: Mac) -> Option<NetId> {
        let is_it = |net: &NetId| {
            self.wire(*net).is_some_and(|wire| (wire.vtep, wire.vni, wire.mac) == (vtep, vni, gateway_mac))
        };
        (1..=NETS).map(NetId).find(is_it)
    }
}
