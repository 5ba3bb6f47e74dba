//! The nine messages: types on one side, TLVs on the other.

mod fields;

use std::net::Ipv4Addr;

use thiserror::Error;

use self::fields::Fields;
use crate::{
    header::Kind,
    receiver::Refusal,
    tlv::{self, Value, Writer},
    types::{Mac, Vni},
};

/// Most hits of one RENEW; more go into more messages.
pub const HITS_MAX: usize = 32;
/// Most paths of one HELLO; more go into more messages.
pub const PATHS_MAX: usize = 32;

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

/// Which packets a shortcut is for: all to one address, from one network, that were sent to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Match {
    /// The network they come from.
    pub vni: Vni,
    /// The gateway's MAC there: their destination MAC.
    pub gateway_mac: Mac,
    /// Their destination.
    pub destination: Ipv4Addr,
}

/// Where such packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Action {
    /// The destination's network.
    pub vni: Vni,
    /// Its MAC.
    pub mac: Mac,
    /// The tunnel end of its host.
    pub vtep: Ipv4Addr,
}

/// One direction of traffic past the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortcut {
    /// For these packets,
    pub matches: Match,
    /// do this,
    pub action: Action,
    /// for so many seconds, unless it is renewed; never 0.
    pub lifetime_s: u32,
    /// Longer IP packets go to the gateway, in bytes.
    pub mtu: u16,
}

/// What a sender can do; bits that we do not know are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Takes SHORTCUTs for its VMs.
    pub const SOURCE: Capabilities = Capabilities(1);
    /// Takes direct packets to its VMs.
    pub const DESTINATION: Capabilities = Capabilities(2);
    /// Answers PROBEs.
    pub const PROBE: Capabilities = Capabilities(4);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 | other.0)
    }

    /// Whether it has all of `others`.
    pub const fn has(self, others: Capabilities) -> bool {
        self.0 & others.0 == others.0
    }
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The shortcut is in force.
    Installed,
    /// The shortcuts are gone, or never were.
    Removed,
    /// The shortcut was not installed.
    Refused(RefusedWhy),
    /// There is no room for it.
    TableFull,
}

/// Why a host refused a shortcut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RefusedWhy {
    /// It has no VM in the source network.
    UnknownVni = 1,
    /// It cannot reach the tunnel end.
    Unreachable = 2,
    /// It cannot do what is asked.
    Unsupported = 3,
    /// Its operator does not want it.
    Policy = 4,
    /// It asked the gateway first whether the message is fresh.
    NotFresh = 5,
}

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

/// Why shortcuts are withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WithdrawReason {
    /// The VPC's switch is off.
    SwitchedOff = 1,
    /// The VM is no longer where they lead.
    Moved = 2,
    /// The gateway has something to do with these packets.
    Policy = 3,
    /// The gateway stops.
    Shutdown = 4,
}

impl RefusedWhy {
    const ALL: [RefusedWhy; 5] = [
        RefusedWhy::UnknownVni,
        RefusedWhy::Unreachable,
        RefusedWhy::Unsupported,
        RefusedWhy::Policy,
        RefusedWhy::NotFresh,
    ];
}

impl WithdrawReason {
    const ALL: [WithdrawReason; 4] = [
        WithdrawReason::SwitchedOff,
        WithdrawReason::Moved,
        WithdrawReason::Policy,
        WithdrawReason::Shutdown,
    ];
}

/// A shortcut in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Which.
    pub matches: Match,
    /// Packets that took it since it was installed.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
}

/// Numbers of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Shortcuts installed now.
    pub shortcuts: u64,
    /// Packets that took any, since the agent started.
    pub packets: u64,
    /// Their IP bytes.
    pub bytes: u64,
    /// ZSNP messages that it refused.
    pub refused: u64,
}

/// What PROBEs of a host say of the path to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathQuality {
    /// The other's tunnel end.
    pub vtep: Ipv4Addr,
    /// Round trip, in µs.
    pub rtt_us: u32,
    /// Its mean deviation, in µs.
    pub jitter_us: u32,
    /// Of the last 1000 PROBEs, or as many as there were, those without an answer: per thousand.
    pub loss_permille: u16,
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
                match scope {
                    Scope::One(matches) => out.put(tlv::MATCH, &matches.octets()),
                    Scope::Vni(vni) => out.put(tlv::ALL_OF_VNI, &vni.get().to_be_bytes()),
                    Scope::Vpc => out.put(tlv::ALL_OF_VPC, &[]),
                    Scope::Towards { vni, destination } => {
                        out.put(tlv::TOWARDS, &place(*vni, *destination));
                    }
                }
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
                scope: fields.scope()?,
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

// ---- values ----------------------------------------------------------------------------------------------------------

/// A VNI and an address.
fn place(vni: Vni, address: Ipv4Addr) -> Vec<u8> {
    [vni.get().to_be_bytes(), address.octets()].concat()
}

fn read_place(value: &mut Value<'_>) -> Result<(Vni, Ipv4Addr), Refusal> {
    Ok((value.vni()?, value.address()?))
}

/// A VNI, a MAC, two bytes of padding, an address: what stations, matches and actions are made of.
fn triple(vni: Vni, mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    [&vni.get().to_be_bytes()[..], &mac.0, &[0; 2], &address.octets()].concat()
}

fn read_triple(value: &mut Value<'_>) -> Result<(Vni, Mac, Ipv4Addr), Refusal> {
    let (vni, mac) = (value.vni()?, value.mac()?);
    if value.u16()? != 0 {
        return Err(Refusal::Malformed);
    }
    Ok((vni, mac, value.address()?))
}

impl Station {
    fn octets(self) -> Vec<u8> {
        triple(self.vni, self.mac, self.address)
    }

    fn read(value: &mut Value<'_>) -> Result<Station, Refusal> {
        read_triple(value).map(|(vni, mac, address)| Station { address, mac, vni })
    }
}

impl Match {
    fn octets(self) -> Vec<u8> {
        triple(self.vni, self.gateway_mac, self.destination)
    }

    fn read(value: &mut Value<'_>) -> Result<Match, Refusal> {
        read_triple(value).map(|(vni, gateway_mac, destination)| Match { vni, gateway_mac, destination })
    }
}

impl Action {
    fn octets(self) -> Vec<u8> {
        triple(self.vni, self.mac, self.vtep)
    }

    fn read(value: &mut Value<'_>) -> Result<Action, Refusal> {
        read_triple(value).map(|(vni, mac, vtep)| Action { vni, mac, vtep })
    }
}

impl Status {
    fn octets(self) -> [u8; 2] {
        match self {
            Status::Installed => [1, 0],
            Status::Removed => [2, 0],
            Status::Refused(why) => [3, why as u8],
            Status::TableFull => [4, 0],
        }
    }

    fn read(value: &mut Value<'_>) -> Result<Status, Refusal> {
        match (value.byte()?, value.byte()?) {
            (1, 0) => Ok(Status::Installed),
            (2, 0) => Ok(Status::Removed),
            (3, raw) => {
                let why = RefusedWhy::ALL.into_iter().find(|why| *why as u8 == raw);
                Ok(Status::Refused(why.ok_or(Refusal::Malformed)?))
            }
            (4, 0) => Ok(Status::TableFull),
            _ => Err(Refusal::Malformed),
        }
    }
}

impl WithdrawReason {
    fn read(value: &mut Value<'_>) -> Result<WithdrawReason, Refusal> {
        let raw = value.byte()?;
        WithdrawReason::ALL.into_iter().find(|reason| *reason as u8 == raw).ok_or(Refusal::Malformed)
    }
}

impl Hit {
    fn octets(&self) -> Vec<u8> {
        [&self.matches.octets()[..], &self.packets.to_be_bytes(), &self.bytes.to_be_bytes()].concat()
    }

    fn read(value: &mut Value<'_>) -> Result<Hit, Refusal> {
        Ok(Hit { matches: Match::read(value)?, packets: value.u64()?, bytes: value.u64()? })
    }
}

impl Counters {
    fn octets(&self) -> Vec<u8> {
        [self.shortcuts, self.packets, self.bytes, self.refused].map(u64::to_be_bytes).concat()
    }

    fn read(value: &mut Value<'_>) -> Result<Counters, Refusal> {
        let [shortcuts, packets, bytes, refused] = [value.u64()?, value.u64()?, value.u64()?, value.u64()?];
        Ok(Counters { shortcuts, packets, bytes, refused })
    }
}

impl PathQuality {
    fn octets(&self) -> Vec<u8> {
        let us = [self.rtt_us, self.jitter_us].map(u32::to_be_bytes).concat();
        [&self.vtep.octets()[..], &us, &self.loss_permille.to_be_bytes()].concat()
    }

    fn read(value: &mut Value<'_>) -> Result<PathQuality, Refusal> {
        let (vtep, rtt_us, jitter_us) = (value.address()?, value.u32()?, value.u32()?);
        match value.u16()? {
            loss_permille @ 0..=1000 => Ok(PathQuality { vtep, rtt_us, jitter_us, loss_permille }),
            _ => Err(Refusal::Malformed),
        }
    }
}
