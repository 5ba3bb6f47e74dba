//! Public addresses (VIPs), the services that use them, and what each of them takes: [`Share`] is the one place that says
//! who may be on a VIP beside whom. The check refuses clashes by it, `compile` builds the workers' tables from it.

use std::{fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;
use tidegate_fastpath::{
    table::nat::{Slice, Space},
    types::MacAddr,
};

use super::{Config, Id, Listener};

/// A NIC of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub id: Id,
    /// The VPC network it is on.
    pub network: Id,
    /// The VPC router of that network.
    pub vpc: Id,
    /// Its address there.
    pub address: Ipv4Addr,
    /// Its MAC.
    pub mac: Option<MacAddr>,
}

/// A public address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vip {
    /// Its name.
    pub id: Id,
    /// The public network it is on.
    pub public_network: Id,
    /// The address: of no other VIP, and not the gateway's own.
    pub address: Ipv4Addr,
}

/// A VM as a service means it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vm {
    /// Its VPC router.
    pub vpc: Id,
    /// Its address there.
    pub address: Ipv4Addr,
}

/// Many VMs behind VIPs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snat {
    /// Its name.
    pub id: Id,
    /// The VPC router whose VMs it serves.
    pub vpc: Id,
    /// Only those of this network.
    pub network: Option<Id>,
    /// The VIPs in the order of the document; not empty, all on one public network.
    pub vips: Vec<Id>,
    /// Blocks of 64 ports that one VM gets per protocol, 1 to 1008.
    pub blocks_per_vm: u16,
}

/// One VM, one VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eip {
    /// Its name.
    pub id: Id,
    /// The VIP.
    pub vip: Id,
    /// The VM.
    pub vm: Vm,
}

/// Ports of a VIP to as many ports of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortForward {
    /// Its name.
    pub id: Id,
    /// The VIP.
    pub vip: Id,
    /// Which ports of which protocol.
    pub slice: Slice,
    /// The VM.
    pub vm: Vm,
    /// The VM's port for the first one; the others follow.
    pub target_first: u16,
    /// From where it may be used.
    pub allowed: Ipv4Net,
}

impl PortForward {
    /// The VM's ports.
    pub fn target(&self) -> PortRange {
        let last = self.target_first + (self.slice.last - self.slice.first);
        PortRange { first: self.target_first, last }
    }
}

/// Ports from first to last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest, above 0.
    pub first: u16,
    /// The highest; not below `first`.
    pub last: u16,
}

impl PortRange {
    /// How many ports less one.
    pub const fn span(self) -> u16 {
        self.last - self.first
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// What a service takes of a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Share {
    /// All of it; nothing is beside it.
    Whole,
    /// These ports.
    Slice(Slice),
    /// What no other service takes; several may share that.
    Rest,
}

impl Share {
    /// Whether two services cannot be on one VIP.
    pub fn clashes(self, other: Share) -> bool {
        match (self, other) {
            (Share::Whole, _) | (_, Share::Whole) => true,
            (Share::Slice(a), Share::Slice(b)) => {
                a.protocol == b.protocol && a.first <= b.last && b.first <= a.last
            }
            (Share::Rest, _) | (_, Share::Rest) => false,
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::Whole => f.pad("all"),
            Share::Rest => f.pad("rest"),
            Share::Slice(Slice { protocol, first, last }) => {
                let ports = PortRange { first: *first, last: *last };
                match Space::of(*protocol) {
                    Some(Space::Tcp) => write!(f, "tcp {ports}"),
                    Some(Space::Udp) => write!(f, "udp {ports}"),
                    _ => write!(f, "protocol {protocol} {ports}"),
                }
            }
        }
    }
}

/// Who uses a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service<'a> {
    /// SNAT.
    Snat(&'a Snat),
    /// An elastic IP.
    Eip(&'a Eip),
    /// A port forward.
    PortForward(&'a PortForward),
    /// A listener of a load balancer.
    Listener(&'a Listener),
}

impl<'a> Service<'a> {
    /// What it takes of each of its VIPs.
    pub fn share(self) -> Share {
        match self {
            Service::Snat(_) => Share::Rest,
            Service::Eip(_) => Share::Whole,
            Service::PortForward(forward) => Share::Slice(forward.slice),
            Service::Listener(listener) => Share::Slice(listener.slice),
        }
    }

    /// Its name.
    pub fn id(self) -> &'a Id {
        match self {
            Service::Snat(snat) => &snat.id,
            Service::Eip(eip) => &eip.id,
            Service::PortForward(forward) => &forward.id,
            Service::Listener(listener) => &listener.id,
        }
    }

    /// The VPC router whose VMs it serves.
    pub fn vpc(self) -> &'a Id {
        match self {
            Service::Snat(snat) => &snat.vpc,
            Service::Eip(eip) => &eip.vm.vpc,
            Service::PortForward(forward) => &forward.vm.vpc,
            Service::Listener(listener) => &listener.vpc,
        }
    }

    /// Its VIPs.
    pub fn vips(self) -> &'a [Id] {
        match self {
            Service::Snat(snat) => &snat.vips,
            Service::Eip(eip) => std::slice::from_ref(&eip.vip),
            Service::PortForward(forward) => std::slice::from_ref(&forward.vip),
            Service::Listener(listener) => std::slice::from_ref(&listener.vip),
        }
    }
}

impl Config {
    /// Every service that uses VIPs.
    pub fn services(&self) -> impl Iterator<Item = Service<'_>> {
        let snats = self.snats.iter().map(Service::Snat);
        let eips = self.eips.iter().map(Service::Eip);
        let forwards = self.port_forwards.iter().map(Service::PortForward);
        snats.chain(eips).chain(forwards).chain(self.listeners().map(Service::Listener))
    }

    /// The services that use a VIP.
    pub fn services_on<'a>(&'a self, vip: &'a Id) -> impl Iterator<Item = Service<'a>> {
        let snats = self.snats.of(vip).map(Service::Snat);
        let eips = self.eips.of(vip).map(Service::Eip);
        let forwards = self.port_forwards.of(vip).map(Service::PortForward);
        let listeners = self.load_balancers.of(vip).flat_map(|balancer| &balancer.listeners);
        snats.chain(eips).chain(forwards).chain(listeners.map(Service::Listener))
    }

    /// The listeners of all load balancers.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.load_balancers.iter().flat_map(|balancer| &balancer.listeners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rest_is_shared() {
        let slice = |protocol, first, last| Share::Slice(Slice { protocol, first, last });
        let cases = [
            (Share::Whole, Share::Whole, true),
            (Share::Whole, Share::Rest, true),
            (Share::Whole, slice(6, 1, 1), true),
            (Share::Rest, Share::Rest, false),
            (Share::Rest, slice(6, 1, 65535), false),
            (slice(6, 10, 20), slice(17, 10, 20), false),
            (slice(6, 10, 20), slice(6, 21, 30), false),
            (slice(6, 10, 20), slice(6, 20, 30), true),
            (slice(6, 10, 20), slice(6, 12, 13), true),
        ];
        for (a, b, clash) in cases {
            assert_eq!((a.clashes(b), b.clashes(a)), (clash, clash), "{a} and {b}");
        }
    }
}
