//! `vpc_networks`: subnets, their gateways, what they are bound to.

use std::{collections::HashMap, net::Ipv4Addr};

use ipnet::Ipv4Net;
use tidegate_fastpath::types::{Mtu, Vid, Vni};

use super::{At, Known, Links, Report, public::port_mtu, text};
use crate::config::{
    Cause, Id, NetworkLink, Port, Vpc, VpcNetwork, VxlanPool,
    raw::{RawVpcNetwork, RawVxlan},
};

/// What VXLAN over IPv4 puts around an inner IP packet: inner Ethernet 14, VXLAN 8, UDP 8, outer IPv4 20 (RFC 7348 §5).
pub const VXLAN_OVERHEAD: u16 = 14 + 8 + 8 + 20;

/// Direct paths need a protocol by which hosts are taught.
pub(super) fn check_zsnp(at: At<'_>, wanted: Option<bool>, has_zsnp: bool, report: &mut Report) {
    if wanted == Some(true) && !has_zsnp {
        let what = "needs `gateway.zsnp`, by which hosts are taught direct paths";
        report.add(at, "distributed_routing", "true", what, "add it, give false or remove the key");
    }
}

/// What networks refer to.
pub(super) struct Check<'a> {
    pub(super) vpcs: &'a Known<Vpc>,
    pub(super) pools: &'a Known<VxlanPool>,
    pub(super) ports: &'a Known<Port>,
    pub(super) links: &'a mut Links,
    /// Whether direct paths can be taught.
    pub(super) has_zsnp: bool,
}

impl Check<'_> {
    pub(super) fn check(mut self, raw: &[RawVpcNetwork], report: &mut Report) -> Known<VpcNetwork> {
        let mut vnis: HashMap<(Id, Vni), usize> = HashMap::new();
        let networks = Known::collect(
            "vpc_networks",
            raw,
            |raw| raw.id.as_deref(),
            report,
            |at, id, raw, report| {
                let vpc = self.vpcs.refer(at, "vpc", raw.vpc.as_deref(), "vpc_routers", report);
                let cidr = report.read(at, "cidr", raw.cidr.as_deref(), text::subnet);
                let gateway = report.read(at, "gateway", raw.gateway.as_deref(), text::address);
                if let (Some(cidr), Some(gateway)) = (cidr, gateway) {
                    report.host(at, "gateway", cidr, gateway);
                }
                let ip_ranges = ip_ranges(at, raw, cidr, report);
                let link = self.link(at, raw, &mut vnis, report);
                let (link, mtu) = link?;
                let distributed_routing = raw.distributed_routing;
                check_zsnp(at, distributed_routing, self.has_zsnp, report);
                Some(VpcNetwork {
                    id: id?,
                    vpc: vpc?.id.clone(),
                    cidr: cidr?,
                    gateway: gateway?,
                    ip_ranges,
                    link,
                    mtu,
                    distributed_routing,
                })
            },
        );
        overlaps(raw, report);
        networks
    }

    /// What a network is bound to, and the MTU that follows.
    fn link(
        &mut self,
        at: At<'_>,
        raw: &RawVpcNetwork,
        vnis: &mut HashMap<(Id, Vni), usize>,
        report: &mut Report,
    ) -> Option<(NetworkLink, Mtu)> {
        match (&raw.vxlan, &raw.vlan, &raw.port) {
            (Some(vxlan), None, None) => self.vxlan(at, raw, vxlan, vnis, report),
            (None, Some(vlan), None) => {
                let port = self.ports.refer(at, "vlan.port", vlan.port.as_deref(), "gateway.ports", report);
                let vid = vlan.id.and_then(|id| Vid::new(u16::try_from(id).ok()?).ok())?;
                self.port(at, raw, port?, Some(vid), "vlan", report)
            }
            (None, None, Some(port)) => {
                let port = self.ports.refer(at, "port", Some(port), "gateway.ports", report)?;
                self.port(at, raw, port, None, "port", report)
            }
            (None, None, None) => {
                let way_out = "give exactly one of `vxlan`, `vlan` and `port`";
                report.lacks(at, "", "is bound to no link", way_out);
                None
            }
            _ => {
                let way_out = "keep exactly one of `vxlan`, `vlan` and `port`";
                report.lacks(at, "", "is bound to more than one link", way_out);
                None
            }
        }
    }

    fn port(
        &mut self,
        at: At<'_>,
        raw: &RawVpcNetwork,
        port: &Port,
        vlan: Option<Vid>,
        key: &str,
        report: &mut Report,
    ) -> Option<(NetworkLink, Mtu)> {
        self.links.claim(&port.id, vlan, at, key, report);
        let mtu = port_mtu(at, raw.mtu, port, report)?;
        Some((NetworkLink::Port { port: port.id.clone(), vlan }, mtu))
    }

    fn vxlan(
        &self,
        at: At<'_>,
        raw: &RawVpcNetwork,
        vxlan: &RawVxlan,
        vnis: &mut HashMap<(Id, Vni), usize>,
        report: &mut Report,
    ) -> Option<(NetworkLink, Mtu)> {
        let pool = self.pools.refer(at, "vxlan.pool", vxlan.pool.as_deref(), "vxlan_pools", report);
        let vni = Vni::new(u32::try_from(vxlan.vni?).ok()?).ok()?;
        let pool = pool?;
        if !pool.vni_range.contains(vni) {
            let what = format!("is outside the range {} of pool {}", pool.vni_range, pool.id);
            report.clash(at, "vxlan.vni", vni, what, "choose a VNI in it, or extend the pool's vni_range");
        }
        let index = at.index.unwrap_or_default();
        if let Some(first) = vnis.get(&(pool.id.clone(), vni)) {
            let what = format!("is the VNI of vpc_networks[{first}] in pool {} already", pool.id);
            report.clash(at, "vxlan.vni", vni, what, "choose another VNI");
        } else {
            vnis.insert((pool.id.clone(), vni), index);
        }
        let port = self.ports.items().find(|port| port.id == pool.underlay)?;
        let mtu = overlay_mtu(at, raw.mtu, port, report)?;
        Some((NetworkLink::Vxlan { pool: pool.id.clone(), vni }, mtu))
    }
}

/// The MTU of a VXLAN network: what its underlay leaves.
fn overlay_mtu(at: At<'_>, raw: Option<u64>, underlay: &Port, report: &mut Report) -> Option<Mtu> {
    let room = underlay.mtu.get() - VXLAN_OVERHEAD;
    let Ok(most) = Mtu::new(u32::from(room)) else {
        let what =
            format!("has only {room} bytes left on port {}, whose mtu is {}", underlay.id, underlay.mtu);
        let way_out = format!("raise the port's mtu to {} or more", Mtu::MIN + u32::from(VXLAN_OVERHEAD));
        report.because(Cause::Clash, |report| report.lacks(at, "mtu", what, way_out));
        return None;
    };
    let Some(raw) = raw else { return Some(most) };
    let mtu = report.mtu(raw)?;
    if mtu > most {
        let needs = mtu.get() + VXLAN_OVERHEAD;
        let what = format!("needs {needs} bytes on port {}, whose mtu is {}", underlay.id, underlay.mtu);
        report.clash(
            at,
            "mtu",
            mtu,
            what,
            format!("give at most {most}, or raise the port's mtu to {needs}"),
        );
    }
    Some(mtu)
}

fn ip_ranges(
    at: At<'_>,
    raw: &RawVpcNetwork,
    cidr: Option<Ipv4Net>,
    report: &mut Report,
) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let mut ranges: Vec<(Ipv4Addr, Ipv4Addr)> = Vec::new();
    let read = report.read_all(at, "ip_ranges", &raw.ip_ranges, text::ip_range);
    for (i, (first, last)) in read.into_iter().enumerate().filter_map(|(i, range)| Some((i, range?))) {
        let (key, value) = (format!("ip_ranges[{i}]"), format!("{first}-{last}"));
        if let Some(cidr) = cidr.filter(|cidr| !cidr.contains(&first) || !cidr.contains(&last)) {
            report.add(at, &key, value, format!("is not all in {cidr}"), "give addresses of the network");
        } else if let Some((a, b)) = ranges.iter().find(|(a, b)| first <= *b && *a <= last) {
            report.add(at, &key, value, format!("overlaps {a}-{b}"), "join them or set them apart");
        }
        ranges.push((first, last));
    }
    ranges
}

/// Networks of one VPC share no address. Every network that overlaps an earlier one is reported, also where it has other
/// problems.
fn overlaps(raw: &[RawVpcNetwork], report: &mut Report) {
    let mut by_vpc: HashMap<&str, Vec<(Ipv4Net, usize)>> = HashMap::new();
    for (i, network) in raw.iter().enumerate() {
        let cidr = network.cidr.as_deref().and_then(|cidr| text::subnet(cidr).ok());
        if let (Some(vpc), Some(cidr)) = (network.vpc.as_deref(), cidr) {
            by_vpc.entry(vpc).or_default().push((cidr, i));
        }
    }
    let mut found: Vec<(usize, usize)> = Vec::new();
    for networks in by_vpc.values_mut() {
        // Subnets either contain each other or are apart, so the widest one that has not ended yet is enough.
        networks.sort_unstable_by_key(|(cidr, i)| (cidr.network(), cidr.prefix_len(), *i));
        let mut widest: Option<(Ipv4Net, usize)> = None;
        for (cidr, i) in networks.iter().copied() {
            match widest {
                Some((wide, j)) if wide.contains(&cidr) => found.push((i.max(j), i.min(j))),
                _ => widest = Some((cidr, i)),
            }
        }
    }
    found.sort_unstable();
    for (later, earlier) in found {
        let (network, other) = (&raw[later], &raw[earlier]);
        let at = At { section: "vpc_networks", index: Some(later), id: network.id.as_deref() };
        let of = |raw: &RawVpcNetwork| raw.cidr.clone().unwrap_or_default();
        let what = format!("overlaps {} of vpc_networks[{earlier}] in the same VPC", of(other));
        report.clash(at, "cidr", of(network), what, "choose subnets apart, or another VPC");
    }
}
