//! IPFIX messages (RFC 7011) with the NAT events of RFC 8158.
//!
//! Written here because no kept crate encodes a dozen fixed fields without far more: `netgauze-flow-pkt`, the one that is
//! kept, brings 150 crates and two minutes of build. A test reads every message back with `netflow_parser`.
//!
//! ```text
//!  message  | version 10 | length | export time | sequence number | observation domain |
//!  set      | set id     | length | records ...                                        |
//! ```
//! Sets have id 2 (templates), [`SESSION`] or [`BLOCK`]. Over UDP templates are repeated (RFC 7011 §8.4): with the first
//! message, and with one every [`TEMPLATES_EVERY_S`] seconds. The inside is the source of every record, whoever opened the
//! session: RFC 8158 sees each session from there. Beside its fields there are `protocolIdentifier` in port blocks, because ours
//! are of one protocol, and `VRFname`, because the number of a VPC router is another one after a restart.

use tidegate_fastpath::{
    channel::NatChange, nat::Block, stage::translation::Connection, table::nat::BLOCK_PORTS,
};

use super::Entry;

/// Seconds between two messages with templates.
pub const TEMPLATES_EVERY_S: u32 = 30;
/// Longest message in bytes: an Ethernet packet carries it whole (RFC 7011 §10.3.3).
pub const MESSAGE_MAX: usize = 1_400;

/// Template of sessions.
const SESSION: u16 = 256;
/// Template of port blocks.
const BLOCK: u16 = 257;
/// The set that templates are in (RFC 7011 §3.3.2).
const TEMPLATE_SET: u16 = 2;
/// RFC 7011 §3.1.
const VERSION: u16 = 10;
const HEADER: usize = 16;
const SET_HEADER: usize = 4;
/// The longest record: 34 bytes of fixed fields, an id with its length.
const RECORD_MAX: usize = 34 + 1 + crate::config::Id::LEN_MAX;
/// Length of a field that says its own (RFC 7011 §7).
const VARIABLE: u16 = 0xffff;

/// Where a VPC router is gone. No id, and not empty: there are collectors that drop a whole set for an empty text.
const NO_NAME: &str = "-";

/// Information elements of IANA's registry, with their lengths.
const TIME: (u16, u16) = (323, 8); // observationTimeMilliseconds
const EVENT: (u16, u16) = (230, 1); // natEvent
const VRF_ID: (u16, u16) = (234, 4); // ingressVRFID
const INSIDE: (u16, u16) = (8, 4); // sourceIPv4Address
const PUBLIC: (u16, u16) = (225, 4); // postNATSourceIPv4Address
const PROTOCOL: (u16, u16) = (4, 1); // protocolIdentifier
const INSIDE_PORT: (u16, u16) = (7, 2); // sourceTransportPort
const PUBLIC_PORT: (u16, u16) = (227, 2); // postNAPTSourceTransportPort
const REMOTE: (u16, u16) = (12, 4); // destinationIPv4Address
const REMOTE_PORT: (u16, u16) = (11, 2); // destinationTransportPort
const FIRST_PORT: (u16, u16) = (361, 2); // portRangeStart
const LAST_PORT: (u16, u16) = (362, 2); // portRangeEnd
const VRF_NAME: (u16, u16) = (236, VARIABLE); // VRFname

/// The fields of a template, in the order of the records.
const TEMPLATES: [(u16, &[(u16, u16)]); 2] = [
    (
        SESSION,
        &[
            TIME,
            EVENT,
            VRF_ID,
            INSIDE,
            PUBLIC,
            PROTOCOL,
            INSIDE_PORT,
            PUBLIC_PORT,
            REMOTE,
            REMOTE_PORT,
            VRF_NAME,
        ],
    ),
    (BLOCK, &[TIME, EVENT, VRF_ID, INSIDE, PUBLIC, PROTOCOL, FIRST_PORT, LAST_PORT, VRF_NAME]),
];

/// natEvent (RFC 8158, and IANA's registry of it).
mod event {
    pub(super) const SESSION_CREATE: u8 = 4;
    pub(super) const SESSION_DELETE: u8 = 5;
    pub(super) const BLOCK_ALLOCATION: u8 = 16;
    pub(super) const BLOCK_DEALLOCATION: u8 = 17;
}

/// Packs records into messages.
#[derive(Debug)]
pub struct Exporter {
    domain: u32,
    /// Data records of earlier messages, modulo 2^32.
    sequence: u32,
    /// When templates were last sent.
    templates_at_s: Option<u32>,
    /// The message that is being made; empty when there is none.
    message: Vec<u8>,
    /// The set at its end: its id and where it begins.
    set: Option<(u16, usize)>,
    /// Data records in it.
    records: u32,
}

/// A message as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The payload of a UDP datagram.
    pub bytes: Vec<u8>,
    /// Data records in it.
    pub records: u32,
}

impl Exporter {
    /// One whose next message begins with templates.
    pub fn new(domain: u32) -> Exporter {
        Exporter { domain, sequence: 0, templates_at_s: None, message: Vec::new(), set: None, records: 0 }
    }

    /// Adds a record; returns the message before it when that is full. `now_s` is the time of day in seconds since 1970.
    pub fn push(&mut self, entry: &Entry, now_s: u32) -> Option<Message> {
        let full = self.message.len() + SET_HEADER + RECORD_MAX > MESSAGE_MAX;
        let before = if full { self.take(now_s) } else { None };
        if self.message.is_empty() {
            self.begin(now_s);
        }
        let vrf_name = entry.vpc.as_ref().map_or(NO_NAME, |id| id.as_str());
        match &entry.what {
            NatChange::Opened(of) => self.session(entry.at_ms, event::SESSION_CREATE, of, vrf_name),
            NatChange::Ended(of) => self.session(entry.at_ms, event::SESSION_DELETE, of, vrf_name),
            NatChange::Leased(of) => self.block(entry.at_ms, event::BLOCK_ALLOCATION, of, vrf_name),
            NatChange::GivenBack(of) => self.block(entry.at_ms, event::BLOCK_DEALLOCATION, of, vrf_name),
        }
        self.records += 1;
        before
    }

    /// The message so far, if there is one.
    pub fn take(&mut self, now_s: u32) -> Option<Message> {
        if self.message.is_empty() {
            return None;
        }
        self.end_set();
        let mut bytes = std::mem::take(&mut self.message);
        let length = bytes.len() as u16; // at most MESSAGE_MAX
        bytes[..2].copy_from_slice(&VERSION.to_be_bytes());
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..8].copy_from_slice(&now_s.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.domain.to_be_bytes());
        let records = std::mem::take(&mut self.records);
        self.sequence = self.sequence.wrapping_add(records);
        Some(Message { bytes, records })
    }

    /// A message with room for its header, and templates where it is time for them.
    fn begin(&mut self, now_s: u32) {
        self.message.resize(HEADER, 0);
        let recent = |at: u32| now_s.wrapping_sub(at) < TEMPLATES_EVERY_S;
        if self.templates_at_s.is_some_and(recent) {
            return;
        }
        self.templates_at_s = Some(now_s);
        self.begin_set(TEMPLATE_SET);
        for (id, fields) in TEMPLATES {
            self.u16(id);
            self.u16(fields.len() as u16);
            for (element, length) in fields {
                self.u16(*element);
                self.u16(*length);
            }
        }
    }

    fn session(&mut self, at_ms: u64, event: u8, of: &Connection, vrf_name: &str) {
        self.begin_set(SESSION);
        self.put(&at_ms.to_be_bytes());
        self.put(&[event]);
        self.put(&u32::from(of.inside.vrf.0).to_be_bytes());
        self.put(&of.inside.address.octets());
        self.put(&of.address.octets());
        self.put(&[of.protocol]);
        self.u16(of.inside_port);
        self.u16(of.port);
        self.put(&of.remote.octets());
        self.u16(of.remote_port);
        self.name(vrf_name);
    }

    fn block(&mut self, at_ms: u64, event: u8, of: &Block, vrf_name: &str) {
        self.begin_set(BLOCK);
        self.put(&at_ms.to_be_bytes());
        self.put(&[event]);
        self.put(&u32::from(of.inside.vrf.0).to_be_bytes());
        self.put(&of.inside.address.octets());
        self.put(&of.address.octets());
        self.put(&[of.space.protocol()]);
        self.u16(of.first_port);
        self.u16(of.first_port + (BLOCK_PORTS - 1));
        self.name(vrf_name);
    }

    /// Goes on with the set of this id, or begins one.
    fn begin_set(&mut self, id: u16) {
        if self.set.is_some_and(|(present, _)| present == id) {
            return;
        }
        self.end_set();
        self.set = Some((id, self.message.len()));
        self.u16(id);
        self.u16(0);
    }

    /// Writes the length of the last set.
    fn end_set(&mut self) {
        if let Some((_, at)) = self.set.take() {
            let length = (self.message.len() - at) as u16; // at most MESSAGE_MAX
            self.message[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
        }
    }

    /// A text of at most 254 bytes with its length (RFC 7011 §7).
    fn name(&mut self, text: &str) {
        let bytes = &text.as_bytes()[..text.len().min(254)];
        self.put(&[bytes.len() as u8]);
        self.put(bytes);
    }

    fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        self.message.extend_from_slice(bytes);
    }
}
