//! A record as a line of JSON. Field names are an interface: they are not changed, only added to.

use std::{
    net::Ipv4Addr,
    time::{Duration, UNIX_EPOCH},
};

use serde::Serialize;
use tidegate_fastpath::{
    channel::NatChange, nat::Block, stage::translation::Connection, table::nat::BLOCK_PORTS,
};

use super::Entry;
use crate::nat::{protocol_name, service_name};

/// What every line has, and one of the two kinds.
#[derive(Serialize)]
struct Line<'a, T> {
    time: String,
    event: &'static str,
    vpc: Option<&'a str>,
    vip: Option<&'a str>,
    public: Ipv4Addr,
    #[serde(flatten)]
    what: T,
}

#[derive(Serialize)]
struct BlockPart {
    first_port: u16,
    last_port: u16,
    protocol: String,
    inside: Ipv4Addr,
}

#[derive(Serialize)]
struct SessionPart {
    public_port: u16,
    protocol: String,
    inside: Ipv4Addr,
    inside_port: u16,
    remote: Ipv4Addr,
    remote_port: u16,
    service: &'static str,
}

/// The line, with its end.
pub fn line(entry: &Entry) -> String {
    match &entry.what {
        NatChange::Leased(of) => of_block(entry, "block_leased", of),
        NatChange::GivenBack(of) => of_block(entry, "block_given_back", of),
        NatChange::Opened(of) => of_session(entry, "session_opened", of),
        NatChange::Ended(of) => of_session(entry, "session_ended", of),
    }
}

fn of_block(entry: &Entry, event: &'static str, of: &Block) -> String {
    let what = BlockPart {
        first_port: of.first_port,
        last_port: of.first_port + (BLOCK_PORTS - 1),
        protocol: protocol_name(of.space.protocol()),
        inside: of.inside.address,
    };
    text(entry, event, what)
}

fn of_session(entry: &Entry, event: &'static str, of: &Connection) -> String {
    let what = SessionPart {
        public_port: of.port,
        protocol: protocol_name(of.protocol),
        inside: of.inside.address,
        inside_port: of.inside_port,
        remote: of.remote,
        remote_port: of.remote_port,
        service: service_name(of.service),
    };
    text(entry, event, what)
}

fn text(entry: &Entry, event: &'static str, what: impl Serialize) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(entry.at_ms)).unwrap_or(UNIX_EPOCH);
    let line = Line {
        time: humantime::format_rfc3339_millis(at).to_string(),
        event,
        vpc: entry.vpc.as_ref().map(|id| id.as_str()),
        vip: entry.vip.as_ref().map(|id| id.as_str()),
        public: entry.address(),
        what,
    };
    // Plain structs with text keys serialize.
    serde_json::to_string(&line).unwrap_or_default() + "\n"
}
