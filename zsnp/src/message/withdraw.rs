//! WITHDRAW: which shortcuts end, and why.

use std::net::Ipv4Addr;

use super::{
    fields::Fields,
    place::{place, read_place},
    shortcut::Match,
};
use crate::{
    codes::codes,
    receiver::Refusal,
    tlv::{self, Value, Writer},
    types::Vni,
};

/// Which shortcuts are withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One.
    One(Match),
    /// All from a network.
    Vni(Vni),
    /// All of the header's VPC, of the gateway that sends.
    Vpc,
    /// All to this address in this network, wherever they come from: what a host knows of a VM that it no longer has.
    Towards {
        /// The destination's network.
        vni: Vni,
        /// The destination.
        destination: Ipv4Addr,
    },
}

codes! {
    /// Why shortcuts are withdrawn.
    WithdrawReason {
        /// The VPC's switch is off.
        SwitchedOff = 1, "switched_off";
        /// The VM is no longer where they lead.
        Moved = 2, "moved";
        /// The gateway has something to do with these packets.
        Policy = 3, "policy";
        /// The gateway stops.
        Shutdown = 4, "shutdown";
    }
}

impl Scope {
    pub(super) fn put(&self, out: &mut Writer) {
        match self {
            Scope::One(matches) => out.put(tlv::MATCH, &matches.octets()),
            Scope::Vni(vni) => out.put(tlv::ALL_OF_VNI, &vni.get().to_be_bytes()),
            Scope::Vpc => out.put(tlv::ALL_OF_VPC, &[]),
            Scope::Towards { vni, destination } => out.put(tlv::TOWARDS, &place(*vni, *destination)),
        }
    }

    /// Takes the one that there must be.
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Scope, Refusal> {
        let towards = |value: &mut Value<'_>| {
            read_place(value).map(|(vni, destination)| Scope::Towards { vni, destination })
        };
        let scopes = [
            fields.at_most_one(tlv::MATCH, Match::read)?.map(Scope::One),
            fields.at_most_one(tlv::ALL_OF_VNI, Value::vni)?.map(Scope::Vni),
            fields.at_most_one(tlv::ALL_OF_VPC, |_| Ok(Scope::Vpc))?,
            fields.at_most_one(tlv::TOWARDS, towards)?,
        ];
        let mut scopes = scopes.into_iter().flatten();
        match (scopes.next(), scopes.next()) {
            (Some(scope), None) => Ok(scope),
            _ => Err(Refusal::Malformed),
        }
    }
}

impl WithdrawReason {
    pub(super) fn read(value: &mut Value<'_>) -> Result<WithdrawReason, Refusal> {
        value.byte()?.try_into()
    }
}
