//! `public_networks`.

use tidegate_fastpath::types::{Mtu, Vid};

use super::{At, Known, Links, Report, text};
use crate::config::{Port, PublicNetwork, raw::RawPublicNetwork};

pub(super) fn check(
    raw: &[RawPublicNetwork],
    ports: &Known<Port>,
    links: &mut Links,
    report: &mut Report,
) -> Known<PublicNetwork> {
    Known::collect(
        "public_networks",
        raw,
        |raw| raw.id.as_deref(),
        report,
        |at, id, raw, report| {
            let port = ports.refer(at, "port", raw.port.as_deref(), "gateway.ports", report);
            let vlan = raw.vlan.and_then(|vlan| Vid::new(u16::try_from(vlan).ok()?).ok());
            if let Some(port) = port {
                links.claim(&port.id, vlan, at, if vlan.is_some() { "vlan" } else { "port" }, report);
            }
            let cidr = report.read(at, "cidr", raw.cidr.as_deref(), text::subnet);
            let gateway = report.read(at, "gateway", raw.gateway.as_deref(), text::address);
            let address = report.read(at, "address", raw.address.as_deref(), text::address);
            if let Some(cidr) = cidr {
                for (key, ip) in [("gateway", gateway), ("address", address)] {
                    if let Some(ip) = ip {
                        report.host(at, key, cidr, ip);
                    }
                }
            }
            if let Some(address) = address.filter(|address| Some(*address) == gateway) {
                let way_out = "give an address of ours, or remove the key";
                report.add(at, "address", address, "is the upstream gateway's address", way_out);
            }
            let port = port?;
            Some(PublicNetwork {
                id: id?,
                port: port.id.clone(),
                vlan,
                cidr: cidr?,
                gateway,
                address,
                mtu: port_mtu(at, raw.mtu, port, report)?,
            })
        },
    )
}

/// The MTU of a network on a port.
pub(super) fn port_mtu(at: At<'_>, raw: Option<u64>, port: &Port, report: &mut Report) -> Option<Mtu> {
    let Some(mtu) = raw else { return Some(port.mtu) };
    let mtu = report.mtu(mtu)?;
    if mtu > port.mtu {
        let what = format!("is more than port {} carries ({})", port.id, port.mtu);
        report.clash(at, "mtu", mtu, what, format!("give at most {}, or raise the port's mtu", port.mtu));
    }
    Some(mtu)
}
