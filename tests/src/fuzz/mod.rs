//! What the fuzz targets of `fuzz/` do with one input. They live here so that the ordinary test run replays
//! `tests/corpus/<target>/*` through them: what once went wrong stays right.
//!
//! | Target | Input | Must hold |
//! |---|---|---|
//! | [`parse`] | a port and a frame | no panic; what is accepted reads the same with `etherparse` |
//! | [`pipeline`](fn@pipeline) | frames, time, injected packets, reloads, troubles (see `script.rs`) | no panic; books balance; every frame sent is well-formed; every buffer comes back; the gateway recovers |
//! | [`config`] | a document | no panic; what is accepted compiles |
//! | [`shortcuts`](fn@shortcuts) | what happens in a small town with both ends of ZSNP and a bad network (see `shortcuts/`) | no panic; what a host has was allowed, was not taken back, and ends in time |
//! | [`transaction`](fn@transaction) | steps upon the site's objects | no panic; what is accepted compiles, settles the same anew, and can be taken back |
//! | [`rest`](fn@rest) | a request to the REST API: method and path, a blank line, a body | no panic; what is refused changes nothing and says why as a problem document; what is written can be read and written again |
//! | [`zsnp`](fn@zsnp) | messages for a ZSNP receiver | no panic; each is taken once or counted as refused; what is taken can be said again |
//! | [`zstack`](fn@zstack) | commands for a ZStack router agent | no panic; a command that fails changes nothing; a restart makes the same documents of what was kept |

mod frame;
mod lives;
mod mend;
mod rest;
mod say;
mod script;
mod shortcuts;
mod transaction;
mod world;
mod zsnp;
mod zstack;

use std::{collections::HashMap, sync::OnceLock};

use etherparse::{EtherType, Ethernet2Slice, Ipv4Header, SingleVlanSlice};
use tidegate_control::{
    compile::{Compiled, Facts, PortFact, compile},
    config,
    desired::Desired,
};
use tidegate_fastpath::{
    buffer::Buffer,
    io::mem::MemBuffer,
    stage::ingress,
    table::Tables,
    types::{MacAddr, PortId},
};

pub use self::{
    frame::check,
    lives::{counted, pipeline},
    rest::rest,
    shortcuts::{Reached, seeds as shortcuts_seeds, shortcuts, shortcuts_reached},
    transaction::transaction,
    zsnp::{seeds as zsnp_seeds, zsnp},
    zstack::{seeds as zstack_seeds, zstack},
};
use crate::gateway::SITE;

/// A target by its name.
pub type Target = fn(&[u8]);

/// All targets.
pub const TARGETS: [(&str, Target); 8] = [
    ("parse", parse),
    ("pipeline", pipeline),
    ("config", config),
    ("transaction", transaction),
    ("rest", rest),
    ("shortcuts", shortcuts),
    ("zsnp", zsnp),
    ("zstack", zstack),
];

/// Longest frame that a target makes: the largest that ports receive.
const FRAME_MAX: usize = 9_216 + 32;

/// The ingress parser. The first byte chooses the port (lower bits) and whether checksums and MACs are mended (bit 7), so
/// that the fuzzer gets past them; the rest is the frame.
///
/// # Panics
/// When the parser is wrong.
pub fn parse(input: &[u8]) {
    let Some((&first, rest)) = input.split_first() else { return };
    let tables = site();
    let port = PortId(u16::from(first & 0x07));
    let mut bytes = rest[..rest.len().min(FRAME_MAX)].to_vec();
    if first & 0x80 != 0 {
        mend::mend(&mut bytes, tables, port);
    }
    let mut packet = MemBuffer::new(&bytes);
    let Ok(arrival) = ingress::receive(tables, port, &mut packet) else {
        assert!(packet.bytes().len() <= bytes.len());
        return;
    };
    let packet = packet.bytes();
    assert!(tables.net(arrival.origin.net).is_some(), "an accepted packet has a network");
    assert_eq!(packet.len(), usize::from(arrival.ip.total_len()), "the buffer is the packet");
    let (read, _) = Ipv4Header::from_slice(packet).unwrap_or_else(|why| panic!("accepted, but {why}"));
    assert!(frame::has_right_checksum(&packet[..read.header_len()]), "the header checksum");
    assert_eq!(read.header_len(), usize::from(arrival.ip.header_len()));
    assert_eq!(
        (read.source, read.destination),
        (arrival.ip.source().octets(), arrival.ip.destination().octets())
    );
    assert_eq!((read.time_to_live, read.protocol.0), (arrival.ip.ttl(), arrival.ip.protocol()));
    assert_eq!(read.dscp.value() << 2 | read.ecn.value(), arrival.ip.tos());
    let later = read.fragment_offset.value() != 0;
    assert_eq!(
        (later, later || read.more_fragments),
        (arrival.ip.is_later_fragment(), arrival.ip.is_fragment())
    );
    assert!(is_addressed_to(&bytes, tables), "taken without being addressed to us");
}

/// Whether the outermost frame is for a MAC of ours.
fn is_addressed_to(bytes: &[u8], tables: &Tables) -> bool {
    let Ok(frame) = Ethernet2Slice::from_slice_without_fcs(bytes) else { return false };
    let tag = || SingleVlanSlice::from_slice(frame.payload_slice()).map(|tag| tag.ether_type());
    let ip = frame.ether_type() == EtherType::IPV4
        || matches!(frame.ether_type().0, 0x8100 | 0x88a8) && tag() == Ok(EtherType::IPV4);
    let ours = MacAddr::new(frame.destination());
    ip && tables.nets.iter().flatten().any(|net| net.mac == ours)
}

/// The configuration: any text is refused with reasons or can be compiled.
///
/// # Panics
/// When it is not so.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match config::parse(text) {
        Err(problems) => {
            assert!(!problems.0.is_empty(), "refused without a reason");
            assert!(!problems.to_string().is_empty());
        }
        Ok(config) => {
            // The flow table and counters are sized by the document; nothing here makes them.
            let compiled = compiled(&Desired::new(config));
            assert!(compiled.tables.nets.len() <= usize::from(u16::MAX));
        }
    }
}

/// The tables of a configuration, all ports up.
fn compiled(desired: &Desired) -> Compiled {
    let ports = desired.config().gateway.ports.iter().enumerate().filter_map(|(at, port)| {
        let mac = port.mac.unwrap_or(MacAddr::from_u64(0x0200_0000_0001 + at as u64));
        Some((desired.port(&port.id)?, PortFact { mac, up: true }))
    });
    let facts = Facts { ports: ports.collect::<HashMap<_, _>>(), ..Facts::default() };
    compile(desired, &facts, None)
}

/// The tables of [`SITE`].
fn site() -> &'static Tables {
    static SITE_TABLES: OnceLock<Tables> = OnceLock::new();
    SITE_TABLES.get_or_init(|| {
        let config = config::parse(SITE).unwrap_or_else(|problems| panic!("{problems}"));
        compiled(&Desired::new(config)).tables
    })
}
