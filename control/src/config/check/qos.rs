//! `qos`: rate limits, and that no two of them limit the same.

mod colour;

use std::collections::HashMap;

use tidegate_fastpath::{
    policer::{Count, Limits, Policers, Rate},
    table::nat::Slice,
};

use super::{At, Known, Report, share::Party, text, vip::Services};
use crate::config::{
    Cause, Id, Problem, Vip,
    nat::PortRange,
    qos::{Qos, Scope},
    raw::RawQos,
};

/// Bytes that a burst must have: a jumbo packet is three quarters of it.
const BURST_MIN: u64 = 16 << 10;
const BURST_MAX: u64 = 1 << 30;
/// Least burst when none is given.
const BURST_DEFAULT_MIN: u64 = 64 << 10;
/// So many bursts of default size are a second's worth, of bits and of packets: with 200 ms many TCP connections together get
/// all of a rate, with 100 ms they got 84 to 98 % (docs/qos.md).
const BURSTS_PER_S: u64 = 5;
/// Least burst of packets.
const PACKETS_MIN: u64 = 64;
const RATE_MIN: u64 = 8_000;
const RATE_MAX: u64 = 400_000_000_000;

const TCP_AND_UDP: [u8; 2] = [6, 17];

/// What is limited already.
#[derive(Default)]
struct Taken {
    vips: HashMap<Id, Party>,
    nics: HashMap<Id, Party>,
    ports: HashMap<Id, Vec<(Slice, Party)>>,
    /// Pairs of VIP and limit.
    chains: usize,
}

pub(super) fn check(raw: &[RawQos], services: &Services, report: &mut Report) -> Known<Qos> {
    let mut taken = Taken::default();
    let known = Known::collect(
        "qos",
        raw,
        |raw| raw.id.as_deref(),
        report,
        |at, id, raw, report| {
            let scope = scope(at, raw, services, report);
            if let Some(scope) = &scope {
                taken.take(at, raw, scope, report);
            }
            let [inbound, outbound] = limits(at, raw, report)?;
            Some(Qos { id: id?, scope: scope?, outbound, inbound })
        },
    );
    let max = usize::from(Policers::CHAINS_MAX);
    if taken.chains > max {
        report.found.push(Problem {
            path: "qos".into(),
            id: None,
            value: None,
            what: format!("limits {} VIPs and ports of VIPs", taken.chains),
            way_out: format!("limit at most {max}; `ports` takes many ports together"),
            cause: Cause::Clash,
        });
    }
    known
}

/// What one object limits.
fn scope(at: At<'_>, raw: &RawQos, services: &Services, report: &mut Report) -> Option<Scope> {
    let ports = ports(at, raw, report);
    let names: Vec<(String, &String)> = match (&raw.vip, &raw.vips, &raw.nic) {
        (Some(vip), None, None) => vec![("vip".into(), vip)],
        (None, Some(vips), None) => {
            vips.iter().enumerate().map(|(i, vip)| (format!("vips[{i}]"), vip)).collect()
        }
        (None, None, Some(nic)) => {
            let nic = services.nics.refer(at, "nic", Some(nic), "nics", report);
            if raw.port.is_some() || raw.ports.is_some() {
                let key = if raw.port.is_some() { "port" } else { "ports" };
                report.lacks(
                    at,
                    key,
                    "is of a NIC",
                    "remove it, or give `vip`: only VIPs have limits by port",
                );
            }
            let nic = nic?;
            return Some(Scope::Nic { nic: nic.id.clone(), vpc: nic.vpc.clone(), address: nic.address });
        }
        (None, None, None) => {
            report.lacks(at, "", "limits nothing", "give `vip`, `vips` or `nic`");
            return None;
        }
        _ => {
            report.lacks(at, "", "limits several things", "keep one of `vip`, `vips` and `nic`");
            return None;
        }
    };
    let vips = vips(at, &names, &services.vips, report)?;
    let Some((ports, slices)) = ports? else {
        if raw.independent == Some(true) {
            let what = "is for the limit of a port, and this one is of all ports";
            report.add(at, "independent", "true", what, "add `port` or `ports`, or remove the key");
        }
        return Some(Scope::Vips(vips));
    };
    Some(Scope::Ports { vips, ports, slices, independent: raw.independent.unwrap_or_default() })
}

/// VIPs that are there, once each.
fn vips(at: At<'_>, names: &[(String, &String)], known: &Known<Vip>, report: &mut Report) -> Option<Vec<Id>> {
    let mut vips = Vec::new();
    let mut all = true;
    for (i, (key, name)) in names.iter().enumerate() {
        if names[..i].iter().any(|(_, before)| before == name) {
            report.add(at, key, name, "is in the list twice", "remove it");
            continue;
        }
        match known.refer(at, key, Some(name), "vips", report) {
            Some(vip) => vips.push(vip.id.clone()),
            None => all = false,
        }
    }
    all.then_some(vips)
}

/// The ports, by protocol; `Some(None)` for all of a VIP, `None` where something is wrong.
fn ports(at: At<'_>, raw: &RawQos, report: &mut Report) -> Option<Option<(PortRange, Vec<Slice>)>> {
    let (key, text) = match (&raw.port, &raw.ports) {
        (Some(_), Some(_)) => {
            report.lacks(at, "", "has its ports twice", "keep one of `port` and `ports`");
            return None;
        }
        (Some(port), None) => ("port", port),
        (None, Some(ports)) => ("ports", ports),
        (None, None) => {
            if let Some(protocol) = &raw.protocol {
                let what = "has no ports";
                report.add(at, "protocol", protocol, what, "add `port` or `ports`, or remove the key");
            }
            return Some(None);
        }
    };
    let range = report.read(at, key, Some(text), text::ports)?;
    let protocols: &[u8] = match raw.protocol.as_deref() {
        Some("tcp") => &TCP_AND_UDP[..1],
        Some("udp") => &TCP_AND_UDP[1..],
        _ => &TCP_AND_UDP,
    };
    let slice = |protocol: &u8| Slice { protocol: *protocol, first: range.first, last: range.last };
    Some(Some((range, protocols.iter().map(slice).collect())))
}

/// Limits of both directions: inbound, outbound.
fn limits(at: At<'_>, raw: &RawQos, report: &mut Report) -> Option<[Option<Limits>; 2]> {
    let burst = raw.burst.as_deref();
    let burst = burst.map(|text| size(at, "burst", text, report));
    let count = match raw.count.as_deref() {
        Some("l2") => Count::L2,
        _ => Count::L3,
    };
    let mut wrong = burst == Some(None);
    let mut bits = |key: &str, text: &Option<String>| {
        let per_s = rate(at, key, text.as_deref()?, report);
        wrong |= per_s.is_none();
        per_s.map(|per_s| Rate { per_s, burst: burst_or_default(burst.flatten(), per_s) })
    };
    let rates = [bits("inbound", &raw.inbound), bits("outbound", &raw.outbound)];
    if wrong {
        return None;
    }
    let [of_inbound, of_outbound] = colour::colourings(at, raw, rates, report)?;
    let limits = |bits: Option<Rate>, pps: Option<u64>, colouring| {
        let packets = pps.map(|per_s| Rate { per_s, burst: (per_s / BURSTS_PER_S).max(PACKETS_MIN) });
        let some = bits.is_some() || packets.is_some();
        some.then_some(Limits { bits, packets, count, colouring })
    };
    let inbound = limits(rates[0], raw.inbound_pps, of_inbound);
    let outbound = limits(rates[1], raw.outbound_pps, of_outbound);
    if inbound.is_none() && outbound.is_none() {
        report.lacks(at, "", "has no rate", "give `inbound`, `outbound`, `inbound_pps` or `outbound_pps`");
    } else if let (Some(text), [None, None]) = (&raw.burst, rates) {
        let what = "is of no rate in bit/s";
        report.add(at, "burst", text, what, "give `inbound` or `outbound`, or remove the key");
    }
    Some([inbound, outbound])
}

/// Bits per second.
fn rate(at: At<'_>, key: &str, text: &str, report: &mut Report) -> Option<u64> {
    let per_s = report.read(at, key, Some(text), text::rate)?;
    if (RATE_MIN..=RATE_MAX).contains(&per_s) {
        return Some(per_s);
    }
    report.add(at, key, text, "is out of range", "give 8kbit/s to 400Gbit/s");
    None
}

/// Bytes.
fn size(at: At<'_>, key: &str, text: &str, report: &mut Report) -> Option<u64> {
    let bytes = report.read(at, key, Some(text), text::size)?;
    if (BURST_MIN..=BURST_MAX).contains(&bytes) {
        return Some(bytes);
    }
    report.add(at, key, text, "is out of range", "give 16KiB to 1024MiB");
    None
}

fn burst_or_default(burst: Option<u64>, per_s: u64) -> u64 {
    burst.unwrap_or((per_s / 8 / BURSTS_PER_S).clamp(BURST_DEFAULT_MIN, BURST_MAX))
}

impl Taken {
    /// Reports what is limited already.
    fn take(&mut self, at: At<'_>, raw: &RawQos, scope: &Scope, report: &mut Report) {
        let of = if raw.vips.is_some() { "vips" } else { "vip" };
        let by = if raw.port.is_some() { "port" } else { "ports" };
        match scope {
            Scope::Nic { nic, .. } => once(&mut self.nics, at, "nic", nic, report),
            Scope::Vips(vips) => {
                self.chains += vips.len();
                for vip in vips {
                    once(&mut self.vips, at, of, vip, report);
                }
            }
            Scope::Ports { vips, slices, .. } => {
                self.chains += vips.len();
                for vip in vips {
                    self.take_ports(at, by, vip, slices, report);
                }
            }
        }
    }

    fn take_ports(&mut self, at: At<'_>, key: &str, vip: &Id, slices: &[Slice], report: &mut Report) {
        let taken = self.ports.entry(vip.clone()).or_default();
        let meet = |a: &Slice, b: &Slice| a.protocol == b.protocol && a.first <= b.last && b.first <= a.last;
        let first = taken.iter().find(|(other, _)| slices.iter().any(|slice| meet(slice, other)));
        if let Some((other, party)) = first {
            let range = PortRange { first: other.first, last: other.last };
            let what = format!("meets {range} of {party} on VIP {vip}");
            let (first, last) = (slices[0].first, slices[0].last);
            report.clash(at, key, PortRange { first, last }, what, "set them apart, or by `protocol`");
        }
        taken.extend(slices.iter().map(|slice| (*slice, Party::of("qos", at))));
    }
}

/// An object has one limit.
fn once(taken: &mut HashMap<Id, Party>, at: At<'_>, key: &str, id: &Id, report: &mut Report) {
    match taken.get(id) {
        Some(first) => {
            let what = format!("is limited by {first} already");
            report.clash(at, key, id, what, "keep one of them; both directions fit into one");
        }
        None => _ = taken.insert(id.clone(), Party::of("qos", at)),
    }
}
