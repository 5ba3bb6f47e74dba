//! The session log.

use super::{
    Report,
    gateway::{AT, number},
    text,
};
use crate::config::{
    Ipfix, NatLog,
    raw::{RawIpfix, RawNatLog, range as r},
};

pub(super) fn nat_log(raw: &RawNatLog, report: &mut Report) -> Option<NatLog> {
    if raw.file.is_none() && raw.ipfix.is_none() {
        let way_out = "give `file` or `ipfix`, or remove the key";
        report.lacks(AT, "nat_log", "has nowhere to write to", way_out);
        return None;
    }
    let file = report.read(AT, "nat_log.file", raw.file.as_deref(), text::path);
    let ipfix = raw.ipfix.as_ref().map(|raw| ipfix(raw, report));
    Some(NatLog { sessions: raw.sessions.unwrap_or_default(), file, ipfix: ipfix.flatten() })
}

fn ipfix(raw: &RawIpfix, report: &mut Report) -> Option<Ipfix> {
    let collector = report.read(AT, "nat_log.ipfix.collector", raw.collector.as_deref(), text::collector)?;
    let source = report.read(AT, "nat_log.ipfix.source", raw.source.as_deref(), text::own_address);
    if let Some(source) = source.filter(|source| source.is_ipv4() != collector.is_ipv4()) {
        let what = format!("cannot send to {collector}: one is IPv4, one is IPv6");
        report.add(AT, "nat_log.ipfix.source", source, what, "give two of one kind");
        return None;
    }
    let observation_domain = number(raw.observation_domain, r::OBSERVATION_DOMAIN_DEFAULT);
    Some(Ipfix { collector, source, observation_domain })
}
