//! ZSNP on the wire: what the gateway and the host agents say to each other, and nothing of what they do about it.
//!
//! ```text
//!  Message ──seal──► bytes of an IPv4 packet of protocol 253 ──open──► Authentic { header, message }
//!           Sender: id, boot epoch, sequence                  Receiver: Keyring, tag, a Window per sender
//!           Keyring: signs with its first key                 or a Refusal: named, counted, never answered
//! ```
//!
//! `docs/zsnp.md` is the protocol. Every byte that comes in is untrusted until its tag was verified, and checked after that, too.
//! No I/O but two small files ([`Keyring::load`], [`Sender::start`]), no clock, no allocation beyond a message.

mod codes;
mod header;
mod key;
mod message;
mod receiver;
mod sender;
mod tlv;
mod types;
mod window;

pub use self::{
    header::{HEADER_BYTES, Header, Kind, MAGIC, TAG_BYTES, VERSION},
    key::{BadKeys, Key, KeyId, Keyring},
    message::{
        Action, Capabilities, Counters, HITS_MAX, Hit, Match, Message, PATHS_MAX, PathQuality, RefusedWhy,
        Scope, Shortcut, Station, Status, TooLong, WithdrawReason,
    },
    receiver::{Authentic, Receiver, Refusal, Refusals},
    sender::{BadSenderFile, Sender},
    types::{BadVni, Mac, SenderId, Transaction, Vni, VpcTag},
    window::Window,
};

/// The IPv4 protocol number that ZSNP uses when nothing else is configured: experimental (RFC 3692, RFC 4727).
pub const PROTOCOL: u8 = 253;

/// The longest message, header to tag, in bytes: with an IPv4 header it fits a path of 1450 bytes, inside and outside of a tunnel.
pub const MESSAGE_BYTES_MAX: usize = 1400;
