//! Where somebody is: a network, a MAC, an address.

use std::net::Ipv4Addr;

use crate::{
    receiver::Refusal,
    tlv::Value,
    types::{Mac, Vni},
};

/// A VM as the gateway knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Station {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its MAC.
    pub mac: Mac,
    /// Its network.
    pub vni: Vni,
}

impl Station {
    pub(super) fn octets(self) -> Vec<u8> {
        triple(self.vni, self.mac, self.address)
    }

    pub(super) fn read(value: &mut Value<'_>) -> Result<Station, Refusal> {
        read_triple(value).map(|(vni, mac, address)| Station { address, mac, vni })
    }
}

/// A VNI and an address.
pub(super) fn place(vni: Vni, address: Ipv4Addr) -> Vec<u8> {
    [vni.get().to_be_bytes(), address.octets()].concat()
}

pub(super) fn read_place(value: &mut Value<'_>) -> Result<(Vni, Ipv4Addr), Refusal> {
    Ok((value.vni()?, value.address()?))
}

/// A VNI, a MAC, two bytes of padding, an address: what stations, matches and actions are made of.
pub(super) fn triple(vni: Vni, mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    [&vni.get().to_be_bytes()[..], &mac.0, &[0; 2], &address.octets()].concat()
}

pub(super) fn read_triple(value: &mut Value<'_>) -> Result<(Vni, Mac, Ipv4Addr), Refusal> {
    let (vni, mac) = (value.vni()?, value.mac()?);
    if value.u16()? != 0 {
        return Err(Refusal::Malformed);
    }
    Ok((vni, mac, value.address()?))
}
