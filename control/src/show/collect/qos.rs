//! `show qos`.

use tidegate_fastpath::policer::{Above, Colour};

use super::{Scope, Source};
use crate::{
    config::{Id, Qos, TableKey, nat::Service, qos::Scope as Limits},
    gateway::LimitView,
    show::{ColourCounts, QosRow},
};

/// A row for each bucket.
pub(super) fn qos(from: &mut Source<'_>, scope: &Scope) -> Vec<QosRow> {
    let (gateway, now) = (&from.gateway, from.now);
    let row = |view: LimitView<'_>| {
        let limits = view.bucket.limits();
        let (passed, dropped) = (view.passed(), view.dropped());
        let above = limits.colouring.map(|colouring| colouring.above);
        let (mode, second_burst, peak_rate) = match above {
            None => ("policer", None, None),
            Some(Above::Excess(burst)) => ("srtcm", Some(burst), None),
            Some(Above::Peak(peak)) => ("trtcm", Some(peak.burst), Some(peak.per_s)),
        };
        let colours = above.map(|_| {
            let [green, yellow, red] = Colour::ALL.map(|colour| view.of_colour(colour));
            ColourCounts {
                green_packets: green.packets,
                green_bytes: green.bytes,
                yellow_packets: yellow.packets,
                yellow_bytes: yellow.bytes,
                red_packets: red.packets,
                red_bytes: red.bytes,
            }
        });
        QosRow {
            id: view.qos.id.to_string(),
            direction: view.direction.to_owned(),
            limits: what(view.qos),
            mode: mode.to_owned(),
            rate: limits.bits.map(|rate| rate.per_s),
            burst: limits.bits.map(|rate| rate.burst),
            second_burst,
            peak_rate,
            packet_rate: limits.packets.map(|rate| rate.per_s),
            level: view.bucket.level(now),
            colours,
            passed_packets: passed.packets,
            passed_bytes: passed.bytes,
            dropped_packets: dropped.packets,
            dropped_bytes: dropped.bytes,
            read_at_ns: now.0,
        }
    };
    let wanted = |view: &LimitView<'_>| is_of(from, scope, view.qos);
    gateway.limits().filter(wanted).map(row).collect()
}

/// Whether a limit is of the VPC that is asked for.
fn is_of(from: &Source<'_>, scope: &Scope, qos: &Qos) -> bool {
    if scope.table.is_none() {
        return true;
    }
    let desired = from.gateway.desired();
    let is = |vpc: &Id| desired.vrf(&TableKey::Vpc(vpc.clone())) == scope.table;
    match &qos.scope {
        Limits::Nic { vpc, .. } => is(vpc),
        Limits::Vips(vips) | Limits::Ports { vips, .. } => {
            let uses = |service: &Service<'_>| service.vips().iter().any(|vip| vips.contains(vip));
            desired.config().services().any(|service| uses(&service) && is(service.vpc()))
        }
    }
}

/// What it limits, in words.
fn what(qos: &Qos) -> String {
    let of = |vips: &[Id]| {
        let names: Vec<&str> = vips.iter().map(Id::as_str).collect();
        format!("{} {}", if names.len() == 1 { "vip" } else { "vips" }, names.join(" "))
    };
    match &qos.scope {
        Limits::Vips(vips) => of(vips),
        Limits::Nic { nic, .. } => format!("nic {nic}"),
        Limits::Ports { vips, ports, slices, independent } => {
            let protocol = match &slices[..] {
                [one] if one.protocol == 6 => "tcp ",
                [_] => "udp ",
                _ => "port ",
            };
            let alone = if *independent { ", independent" } else { "" };
            format!("{} {protocol}{ports}{alone}", of(vips))
        }
    }
}
