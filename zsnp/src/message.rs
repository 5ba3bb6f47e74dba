//! The nine messages: types on one side, TLVs on the other.

mod ack;
mod fields;
mod hello;
mod place;
mod renew;
mod shortcut;
mod withdraw;

use std::net::Ipv4Addr;

use thiserror::Error;

pub use self::{
    ack::{RefusedWhy, Status},
    hello::{Capabilities, Counters, PATHS_MAX, PathQuality},
    place::Station,
    renew::{HITS_MAX, Hit},
    shortcut::{Action, Match, Shortcut},
    withdraw::{Scope, WithdrawReason},
};
use self::{
    fields::Fields,
    place::{place, read_place},
};
use crate::{
    header::Kind,
    receiver::Refusal,
    tlv::{self, Value, Writer},
    types::Vni,
};

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Gateway to a VM's address, in its overlay: is there an agent on your host?
    Locate(Station),
    /// Host to gateway: yes, here.
    Here {
        /// The VM of the LOCATE.
        station: Station,
        /// Where the host takes VXLAN packets.
        vtep: Ipv4Addr,
        /// Largest inner IP packet that can come to the VM, in bytes.
        mtu: u16,
        /// What the host can do.
        capabilities: Capabilities,
    },
    /// Gateway to source host: go there directly.
    Shortcut(Shortcut),
    /// Host to gateway: how a SHORTCUT or WITHDRAW went.
    Ack(Status),
    /// No longer.
    Withdraw {
        /// Which shortcuts.
        scope: Scope,
        /// Why.
        reason: WithdrawReason,
    },
    /// Source host to destination host: do you have it, and when do you hear this?
    Probe {
        /// The network of the destination.
        vni: Vni,
        /// The destination.
        destination: Ipv4Addr,
        /// The asker's clock, opaque to the other.
        sent: u64,
    },
    /// Destination host to source host.
    ProbeReply {
        /// What the PROBE said.
        sent: u64,
    },
    /// Host to gateway: shortcuts that were hit since the last RENEW, at most [`HITS_MAX`].
    Renew(Vec<Hit>),
    /// Host and gateway, every 10 s: I am here.
    Hello {
        /// What the sender can do.
        capabilities: Capabilities,
        /// Its numbers; a gateway has none.
        counters: Option<Counters>,
        /// What its PROBEs say, at most [`PATHS_MAX`].
        paths: Vec<PathQuality>,
    },
}

/// A message of more than [`MESSAGE_BYTES_MAX`](crate::MESSAGE_BYTES_MAX).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a ZSNP message of {0} bytes is too long; split it")]
pub struct TooLong(pub usize);

impl Message {
    /// What it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Message::Locate(_) => Kind::Locate,
            Message::Here { .. } => Kind::Here,
            Message::Shortcut(_) => Kind::Shortcut,
            Message::Ack(_) => Kind::Ack,
            Message::Withdraw { .. } => Kind::Withdraw,
            Message::Probe { .. } => Kind::Probe,
            Message::ProbeReply { .. } => Kind::ProbeReply,
            Message::Renew(_) => Kind::Renew,
            Message::Hello { .. } => Kind::Hello,
        }
    }

    /// Its TLVs.
    pub(crate) fn emit(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Message::Locate(station) => out.put(tlv::STATION, &station.octets()),
            Message::Here { station, vtep, mtu, capabilities } => {
                out.put(tlv::STATION, &station.octets());
                out.put(tlv::VTEP, &vtep.octets());
                out.put(tlv::MTU, &mtu.to_be_bytes());
                out.put(tlv::CAPABILITIES, &capabilities.0.to_be_bytes());
            }
            Message::Shortcut(Shortcut { matches, action, lifetime_s, mtu }) => {
                out.put(tlv::MATCH, &matches.octets());
                out.put(tlv::ACTION, &action.octets());
                out.put(tlv::LIFETIME, &lifetime_s.to_be_bytes());
                out.put(tlv::MTU, &mtu.to_be_bytes());
            }
            Message::Ack(status) => out.put(tlv::STATUS, &status.octets()),
            Message::Withdraw { scope, reason } => {
                scope.put(&mut out);
                out.put(tlv::REASON, &[*reason as u8]);
            }
            Message::Probe { vni, destination, sent } => {
                out.put(tlv::PLACE, &place(*vni, *destination));
                out.put(tlv::TIME, &sent.to_be_bytes());
            }
            Message::ProbeReply { sent } => out.put(tlv::TIME, &sent.to_be_bytes()),
            Message::Renew(hits) => hits.iter().for_each(|hit| out.put(tlv::HIT, &hit.octets())),
            Message::Hello { capabilities, counters, paths } => {
                out.put(tlv::CAPABILITIES, &capabilities.0.to_be_bytes());
                counters.iter().for_each(|counters| out.put(tlv::COUNTERS, &counters.octets()));
                paths.iter().for_each(|path| out.put(tlv::PATH, &path.octets()));
            }
        }
        out.0
    }

    /// The message of this kind that these TLVs are.
    pub(crate) fn parse(kind: Kind, tlvs: &[u8]) -> Result<Message, Refusal> {
        let mut fields = Fields::read(tlvs)?;
        let message = match kind {
            Kind::Locate => Message::Locate(fields.one(tlv::STATION, Station::read)?),
            Kind::Here => Message::Here {
                station: fields.one(tlv::STATION, Station::read)?,
                vtep: fields.one(tlv::VTEP, Value::address)?,
                mtu: fields.one(tlv::MTU, Value::u16)?,
                capabilities: fields.capabilities()?,
            },
            Kind::Shortcut => Message::Shortcut(Shortcut {
                matches: fields.one(tlv::MATCH, Match::read)?,
                action: fields.one(tlv::ACTION, Action::read)?,
                lifetime_s: fields.one(tlv::LIFETIME, Value::nonzero)?.get(),
                mtu: fields.one(tlv::MTU, Value::u16)?,
            }),
            Kind::Ack => Message::Ack(fields.one(tlv::STATUS, Status::read)?),
            Kind::Withdraw => Message::Withdraw {
                scope: Scope::take(&mut fields)?,
                reason: fields.one(tlv::REASON, WithdrawReason::read)?,
            },
            Kind::Probe => {
                let (vni, destination) = fields.one(tlv::PLACE, read_place)?;
                Message::Probe { vni, destination, sent: fields.one(tlv::TIME, Value::u64)? }
            }
            Kind::ProbeReply => Message::ProbeReply { sent: fields.one(tlv::TIME, Value::u64)? },
            Kind::Renew => Message::Renew(fields.all(tlv::HIT, HITS_MAX, Hit::read)?),
            Kind::Hello => Message::Hello {
                capabilities: fields.capabilities()?,
                counters: fields.at_most_one(tlv::COUNTERS, Counters::read)?,
                paths: fields.all(tlv::PATH, PATHS_MAX, PathQuality::read)?,
            },
        };
        fields.end()?;
        Ok(message)
    }
}
