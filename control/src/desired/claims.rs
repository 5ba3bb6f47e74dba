//! What objects take for themselves, as far as their own words say so. No two documents take the same, whether or not they
//! are in force yet: so what waits for a NIC keeps its ports, and which of two came first is no question later on.

use std::{collections::BTreeMap, net::Ipv4Addr};

use crate::{
    config::{
        Cause, Problem,
        raw::{RawListener, RawQos},
        values,
    },
    shared_map::SharedMap,
};

use super::document::{Body, Key};

/// In what two objects may meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Space {
    /// Frames of a port: the tag, 0 for none.
    Link(String),
    /// Addresses in a VPC.
    Subnets(String),
    /// VNIs of a pool.
    Vnis(String),
    /// Addresses of NICs in a network.
    Nics(String),
    /// Public addresses.
    Vips,
    /// SNAT of a VPC, of a network.
    Snat(&'static str, String),
    /// Ports of a VIP: TCP, UDP, the rest.
    Ports(String),
    /// EIPs of a VM.
    EipOf(String),
    /// Names of listeners.
    Listener(String),
    /// Limits of a VIP or NIC as a whole.
    Limit(&'static str, String),
    /// Limits of ports of a VIP.
    LimitedPorts(String),
    /// Routes that say the same.
    Route(String),
}

/// Numbers of a space that an object takes.
#[derive(Clone, Debug, PartialEq)]
struct Claim {
    space: Space,
    first: u64,
    last: u64,
    /// Whether others may have them too, as long as they share as well.
    shared: bool,
    /// Which key of the object says so.
    field: String,
}

const TCP: u64 = 0;
const UDP: u64 = 1 << 16;
/// What of a VIP is neither TCP nor UDP, and ports that nobody else takes.
const REST: u64 = 2 << 16;

/// Where a claim is found: what it takes, whose it is, and which of the object's it is.
type Place = (Space, u64, u64, Key, usize);

/// What all objects take.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Claims(SharedMap<Place, Claim>);

impl Claims {
    /// Adds what an object takes.
    pub(super) fn add(&mut self, key: &Key, body: &Body) {
        for (i, claim) in claims(body).into_iter().enumerate() {
            self.0.insert((claim.space.clone(), claim.first, claim.last, key.clone(), i), claim);
        }
    }

    /// Removes what an object takes.
    pub(super) fn remove(&mut self, key: &Key, body: &Body) {
        for (i, claim) in claims(body).into_iter().enumerate() {
            self.0.remove(&(claim.space, claim.first, claim.last, key.clone(), i));
        }
    }

    /// The NIC that has an address in a network.
    pub(super) fn nic(&self, network: &str, address: Ipv4Addr) -> Option<&Key> {
        let (space, number) = (Space::Nics(network.to_owned()), u64::from(u32::from(address)));
        let mut from = self.0.from(|(other, first, ..)| (other, *first) < (&space, number));
        from.next().filter(|((other, first, ..), _)| (other, *first) == (&space, number)).map(|(at, _)| &at.3)
    }

    /// New objects that take what others have, or take twice, as problems of one of them: of the new one where the other is
    /// not, else of the one whose id is higher.
    pub(super) fn clashes(&self, new: &BTreeMap<&Key, Body>) -> Vec<Problem> {
        let mut near: BTreeMap<&Place, &Claim> = BTreeMap::new();
        for claim in new.values().flat_map(claims) {
            let (space, last) = (&claim.space, claim.last);
            // Claims from before the change do not overlap, but for shared ones, which are all alike: where one ends before this one
            // begins, all before it do.
            let back = self.0.back_from(|(other, first, ..)| (other, *first) <= (space, last));
            near.extend(back.take_while(|(at, _)| at.0 == *space && at.2 >= claim.first));
        }
        let mut found = Vec::new();
        // In the order of their first numbers it is enough to compare with the one that reaches furthest.
        let mut furthest: Option<(&Claim, &Key)> = None;
        for now in near.into_iter().map(|(at, claim)| (claim, &at.3)) {
            match furthest.filter(|far| far.0.space == now.0.space && far.0.last >= now.0.first) {
                Some(far) => {
                    if !(far.0.shared && now.0.shared) {
                        let (low, high) = if far.1 <= now.1 { (far, now) } else { (now, far) };
                        let is_new = |key: &Key| new.contains_key(key);
                        let (of, other) =
                            if is_new(low.1) && !is_new(high.1) { (low, high) } else { (high, low) };
                        if is_new(of.1) {
                            found.push((of.1, problem(of, other)));
                        }
                    }
                    if now.0.last > far.0.last {
                        furthest = Some(now);
                    }
                }
                None => furthest = Some(now),
            }
        }
        found.sort_by(|a, b| (a.0, &a.1.path).cmp(&(b.0, &b.1.path)));
        found.into_iter().map(|(_, problem)| problem).collect()
    }
}

fn problem((claim, key): (&Claim, &Key), (_, other): (&Claim, &Key)) -> Problem {
    let range = |first: u64, last: u64| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let ip = |number: u64| Ipv4Addr::from(number as u32);
    let (first, last) = (claim.first, claim.last);
    let (value, way_out) = match &claim.space {
        Space::Link(port) if first == 0 => {
            (format!("port {port} untagged"), "use another VLAN or port for one of them")
        }
        Space::Link(port) => {
            (format!("VLAN {first} of port {port}"), "use another VLAN or port for one of them")
        }
        Space::Subnets(vpc) => {
            (format!("{}-{} of VPC {vpc}", ip(first), ip(last)), "choose subnets apart, or another VPC")
        }
        Space::Vnis(pool) => (format!("VNI {first} of pool {pool}"), "choose another VNI"),
        Space::Nics(network) => {
            (format!("{} of network {network}", ip(first)), "give each NIC an address of its own")
        }
        Space::Vips => (ip(first).to_string(), "use that VIP, or give another address"),
        Space::Snat(what, id) => (format!("SNAT of {what} {id}"), "put all VIPs into one of them"),
        Space::Ports(vip) | Space::LimitedPorts(vip) => {
            let value = match (first, last) {
                (TCP, REST..) => format!("all of VIP {vip}"),
                (REST.., _) => format!("the rest of VIP {vip}"),
                (UDP.., _) => format!("udp {} of VIP {vip}", range(first - UDP, last - UDP)),
                _ => format!("tcp {} of VIP {vip}", range(first, last)),
            };
            (value, "set them apart, or use another VIP")
        }
        Space::EipOf(vm) => (format!("the EIP of {vm}"), "keep one EIP for each VM"),
        Space::Listener(id) => (format!("listener {id}"), "choose another id"),
        Space::Limit(what, id) => (format!("{what} {id}"), "keep one of them; both directions fit into one"),
        Space::Route(_) => ("this route".into(), "remove one of them"),
    };
    let same = if key == other {
        "is taken twice by this object".into()
    } else {
        format!("belongs to {other} already")
    };
    let dot = if claim.field.is_empty() { "" } else { "." };
    Problem {
        path: format!("{key}{dot}{}", claim.field),
        id: None,
        value: Some(value),
        what: same,
        way_out: way_out.into(),
        cause: Cause::Clash,
    }
}

fn claims(body: &Body) -> Vec<Claim> {
    let mut all = Vec::new();
    let mut claim = |space: Space, (first, last): (u64, u64), field: &str| {
        all.push(Claim { space, first, last, shared: false, field: field.to_owned() });
    };
    let address = |text: &Option<String>| {
        let ip = u64::from(u32::from(values::address(text.as_deref()?)?));
        Some((ip, ip))
    };
    match body {
        Body::VxlanPool(_) | Body::Certificate(_) | Body::VpcRouter(_) => {}
        Body::PublicNetwork(net) => {
            if let Some(port) = &net.port {
                let tag = net.vlan.unwrap_or_default();
                claim(Space::Link(port.clone()), (tag, tag), if tag == 0 { "port" } else { "vlan" });
            }
        }
        Body::VpcNetwork(net) => {
            let cidr = net.cidr.as_deref().and_then(values::subnet);
            if let (Some(vpc), Some(cidr)) = (&net.vpc, cidr) {
                let (first, last) = (u32::from(cidr.network()), u32::from(cidr.broadcast()));
                claim(Space::Subnets(vpc.clone()), (first.into(), last.into()), "cidr");
            }
            if let Some((pool, vni)) = net.vxlan.as_ref().and_then(|of| Some((of.pool.clone()?, of.vni?))) {
                claim(Space::Vnis(pool), (vni, vni), "vxlan.vni");
            }
            if let Some((port, tag)) = net.vlan.as_ref().and_then(|of| Some((of.port.clone()?, of.id?))) {
                claim(Space::Link(port), (tag, tag), "vlan");
            }
            if let Some(port) = &net.port {
                claim(Space::Link(port.clone()), (0, 0), "port");
            }
        }
        Body::Nic(nic) => {
            if let (Some(network), Some(ip)) = (&nic.network, address(&nic.address)) {
                claim(Space::Nics(network.clone()), ip, "address");
            }
        }
        Body::Vip(vip) => {
            if let Some(ip) = address(&vip.address) {
                claim(Space::Vips, ip, "address");
            }
        }
        Body::Route(route) => {
            let destination = route.destination.as_deref().and_then(values::destination);
            let target = (&route.next_hop, route.blackhole, &route.via_public, &route.via_vpc);
            let table = (&route.vpc, &route.public_network);
            let priority = route.priority.unwrap_or(crate::config::raw::range::PRIORITY_DEFAULT);
            if let Some(destination) = destination {
                claim(Space::Route(format!("{table:?}{destination}{priority}{target:?}")), (0, 0), "");
            }
        }
        Body::Snat(snat) => {
            for (what, id) in [("vpc", &snat.vpc), ("network", &snat.network)] {
                if let Some(id) = id {
                    claim(Space::Snat(what, id.clone()), (0, 0), what);
                }
            }
            for (i, vip) in snat.vips.iter().flatten().enumerate() {
                claim(Space::Ports(vip.clone()), (REST, REST), &format!("vips[{i}]"));
            }
        }
        Body::Eip(eip) => {
            if let Some(vip) = &eip.vip {
                claim(Space::Ports(vip.clone()), (TCP, REST), "vip");
            }
            match (&eip.nic, &eip.vpc, &eip.address) {
                (Some(nic), ..) => claim(Space::EipOf(format!("NIC {nic}")), (0, 0), "nic"),
                (None, Some(vpc), Some(ip)) => {
                    claim(Space::EipOf(format!("{ip} of VPC {vpc}")), (0, 0), "address");
                }
                _ => {}
            }
        }
        Body::PortForward(forward) => {
            let ports = ports(forward.ports.as_deref());
            if let (Some(vip), Some(ports)) = (&forward.vip, ports) {
                let of = space(forward.protocol.as_deref());
                claim(Space::Ports(vip.clone()), (of + ports.0, of + ports.1), "ports");
            }
        }
        Body::LoadBalancer(balancer) => {
            for (i, listener) in balancer.listeners.iter().enumerate() {
                if let Some(id) = &listener.id {
                    claim(Space::Listener(id.clone()), (0, 0), &format!("listeners[{i}].id"));
                }
                if let (Some(vip), Some(ports)) = (&balancer.vip, listener_ports(listener)) {
                    claim(Space::Ports(vip.clone()), ports, &format!("listeners[{i}].port"));
                }
            }
        }
        Body::Qos(qos) => limits(qos, &mut claim),
    }
    // What is left of a VIP serves several.
    if let Body::Snat(_) = body {
        all.iter_mut()
            .filter(|claim| matches!(claim.space, Space::Ports(_)))
            .for_each(|claim| claim.shared = true);
    }
    all
}

fn limits(qos: &RawQos, claim: &mut impl FnMut(Space, (u64, u64), &str)) {
    if let Some(nic) = &qos.nic {
        claim(Space::Limit("NIC", nic.clone()), (0, 0), "nic");
    }
    let named = qos.vips.iter().flatten().enumerate().map(|(i, vip)| (format!("vips[{i}]"), vip));
    let ports = ports(qos.port.as_deref().or(qos.ports.as_deref()));
    for (field, vip) in qos.vip.iter().map(|vip| ("vip".to_owned(), vip)).chain(named) {
        let Some((first, last)) = ports else {
            claim(Space::Limit("VIP", vip.clone()), (0, 0), &field);
            continue;
        };
        for (protocol, of) in [("tcp", TCP), ("udp", UDP)] {
            if qos.protocol.as_deref().is_none_or(|only| only == protocol) {
                claim(Space::LimitedPorts(vip.clone()), (of + first, of + last), &field);
            }
        }
    }
}

fn space(protocol: Option<&str>) -> u64 {
    if protocol == Some("udp") { UDP } else { TCP }
}

fn ports(text: Option<&str>) -> Option<(u64, u64)> {
    let ports = values::ports(text?)?;
    Some((ports.first.into(), ports.last.into()))
}

fn listener_ports(listener: &RawListener) -> Option<(u64, u64)> {
    let of = space(listener.protocol.as_deref());
    let (first, last) =
        listener.port.map(|port| (port, port)).or_else(|| ports(listener.ports.as_deref()))?;
    Some((of + first, of + last))
}
