//! `vxlan_pools`: VNI ranges, our VTEP address, the remote VTEPs.

use std::{collections::HashSet, net::Ipv4Addr};

use tidegate_fastpath::table::VTEPS_MAX;

use super::{At, Known, Report, text};
use crate::config::{
    Cause, Port, VxlanPool,
    raw::{RawVxlanPool, range as r},
};

pub(super) fn check(raw: &[RawVxlanPool], ports: &Known<Port>, report: &mut Report) -> Known<VxlanPool> {
    let mut before: Vec<VxlanPool> = Vec::new();
    let pools = Known::collect(
        "vxlan_pools",
        raw,
        |raw| raw.id.as_deref(),
        report,
        |at, id, raw, report| {
            let vni_range = report.read(at, "vni_range", raw.vni_range.as_deref(), text::vni_range);
            let vtep_cidr = report.read(at, "vtep_cidr", raw.vtep_cidr.as_deref(), text::subnet);
            let vtep = vtep_cidr.and_then(|cidr| {
                let found = vtep(cidr, ports);
                // A port that did not pass may be the one.
                if found.is_none() && ports.all_passed() {
                    let way_out = format!("add an address of {cidr} to a port in gateway.ports");
                    let what = "contains no address of a port, so there is no VTEP";
                    report.because(Cause::Missing, |report| report.add(at, "vtep_cidr", cidr, what, way_out));
                }
                found
            });
            let remotes = report.read_all(at, "remote_vteps", &raw.remote_vteps, text::address);
            let remote_vteps = remote_vteps(at, &remotes, vtep, report);
            let (port, vtep) = vtep?;
            let pool = VxlanPool {
                id: id?,
                vni_range: vni_range?,
                vtep_cidr: vtep_cidr?,
                udp_port: u16::try_from(raw.udp_port.unwrap_or(r::VXLAN_UDP_PORT)).ok()?,
                remote_vteps,
                vtep,
                underlay: port.id.clone(),
            };
            share(at, &pool, &before, report);
            before.push(pool.clone());
            Some(pool)
        },
    );
    let ends: HashSet<_> = pools.items().map(|pool| (pool.vtep, pool.udp_port)).collect();
    if ends.len() > VTEPS_MAX {
        let at = At { section: "vxlan_pools", index: None, id: None };
        let way_out = "let pools share an address and UDP port, with VNI ranges that do not overlap";
        let what = format!("need {} VTEPs, at most {VTEPS_MAX} are possible", ends.len());
        report.because(Cause::Clash, |report| report.lacks(at, "", what, way_out));
    }
    pools
}

/// Our VTEP: the first port address in the CIDR.
fn vtep(cidr: ipnet::Ipv4Net, ports: &Known<Port>) -> Option<(&Port, Ipv4Addr)> {
    let addresses = ports.items().flat_map(|port| {
        let subnet = port.subnet.iter();
        subnet.flat_map(move |subnet| subnet.addresses.iter().map(move |address| (port, *address)))
    });
    addresses.into_iter().find(|(_, address)| cidr.contains(address))
}

fn remote_vteps(
    at: At<'_>,
    remotes: &[Option<Ipv4Addr>],
    vtep: Option<(&Port, Ipv4Addr)>,
    report: &mut Report,
) -> Vec<Ipv4Addr> {
    let mut seen = HashSet::new();
    for (i, remote) in remotes.iter().enumerate().filter_map(|(i, remote)| Some((i, (*remote)?))) {
        let key = format!("remote_vteps[{i}]");
        if !seen.insert(remote) {
            report.add(at, &key, remote, "is in the list twice", "remove it");
        }
        let Some((port, ours)) = vtep else { continue };
        let Some(subnet) = &port.subnet else { continue };
        if remote == ours {
            report.clash(at, &key, remote, "is our own VTEP", "remove it");
        } else if subnet.prefix.contains(&remote) {
            report.because(Cause::Clash, |report| report.host(at, &key, subnet.prefix, remote));
        } else if subnet.gateway.is_none() {
            let what = format!("is outside {} of port {}, which has no gateway", subnet.prefix, port.id);
            report.clash(at, &key, remote, what, "give the port a `gateway` that leads there");
        }
    }
    let mut remotes: Vec<Ipv4Addr> = seen.into_iter().collect();
    remotes.sort_unstable();
    remotes
}

/// Pools that share a tunnel end tell their frames apart by VNI only.
fn share(at: At<'_>, pool: &VxlanPool, before: &[VxlanPool], report: &mut Report) {
    let same_end = |other: &&VxlanPool| (other.vtep, other.udp_port) == (pool.vtep, pool.udp_port);
    let clash = before.iter().filter(same_end).find(|other| other.vni_range.overlaps(pool.vni_range));
    if let Some(other) = clash {
        let (end, port) = (pool.vtep, pool.udp_port);
        let what = format!(
            "overlaps {} of pool {}, which has the same VTEP {end} and UDP port {port}",
            other.vni_range, other.id
        );
        report.clash(
            at,
            "vni_range",
            pool.vni_range,
            what,
            "choose ranges apart, or another udp_port or VTEP address",
        );
    }
}
