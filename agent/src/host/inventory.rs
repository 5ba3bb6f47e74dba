//! The network of this host as facts that came one by one, and what follows from them. No I/O.
//!
//! A **network** is a bridge with exactly one VXLAN device on it. Its other ports that are a tap or a veth have VMs behind them.
//! A VM **is here** from when its MAC was seen on such a port until that port is gone or the MAC is seen elsewhere: a bridge
//! forgets a MAC that is silent for 5 minutes, but its VM is still there.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    net::Ipv4Addr,
};

use tidegate_zsnp::{Mac, Vni};

use crate::bpf::{Port, Side};

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The bridge it is a port of.
    pub bridge: Option<u32>,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bridge.
    Bridge,
    /// What ports of Open vSwitch's kernel path are plugged into, whatever their bridge there.
    OpenVswitch,
    /// A tunnel device.
    Vxlan(Vxlan),
    /// A tap or veth: what VMs and containers are plugged in by.
    Vm,
    /// Any other: a NIC, a bond, a VLAN …
    Other,
}

/// A VXLAN device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vxlan {
    /// Its network; 0 where the device is for many (`external`).
    pub vni: u32,
    /// Its tunnel end, where configured.
    pub local: Option<Ipv4Addr>,
    /// The interface below it, where configured.
    pub underlay: Option<u32>,
    /// Its UDP port.
    pub udp_port: u16,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A device is there, or is different.
    Link(Link),
    /// A device is gone.
    LinkGone(u32),
    /// An interface has this address.
    Address(u32, Ipv4Addr),
    /// An interface no longer has this address.
    AddressGone(u32, Ipv4Addr),
    /// A bridge learned a MAC on a port.
    Seen {
        /// The port.
        port: u32,
        /// The MAC.
        mac: Mac,
    },
    /// A VXLAN device learned or was told the tunnel end of a MAC.
    Behind {
        /// The VXLAN device.
        device: u32,
        /// The MAC.
        mac: Mac,
        /// Its tunnel end.
        vtep: Ipv4Addr,
    },
    /// Routes of the underlay changed.
    Routes,
}

/// Why a device of a bridge is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignored {
    /// Neither tap nor veth.
    NoVm,
    /// A VXLAN device that is no port of a bridge.
    NoBridge,
    /// A port of Open vSwitch.
    OpenVswitch,
    /// Its bridge has no VXLAN device.
    NoTunnel,
    /// Its bridge has more than one VXLAN device.
    ManyTunnels,
    /// The VXLAN device is for many networks.
    External,
    /// There is no address for the tunnel end.
    NoAddress,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ignored::NoVm => "neither tap nor veth",
            Ignored::NoTunnel => "its bridge has no VXLAN device",
            Ignored::ManyTunnels => "its bridge has more than one VXLAN device",
            Ignored::NoBridge => "a VXLAN device that is no port of a bridge",
            Ignored::OpenVswitch => "a port of Open vSwitch, whose flows say what becomes of its frames",
            Ignored::External => {
                "its VXLAN device is for many networks (external): it does not say which one a frame is of"
            }
            Ignored::NoAddress => "its tunnel end has no IPv4 address",
        })
    }
}

/// A network of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its VXLAN device.
    pub device: u32,
    /// Its bridge.
    pub bridge: u32,
    /// What programs must know.
    pub port: Port,
    /// Largest IP packet that fits its tunnels, in bytes.
    pub mtu: u32,
    /// Its ports with VMs.
    pub vm_ports: BTreeSet<u32>,
}

/// Bytes that VXLAN over IPv4 takes (RFC 7348 §4.3, without an outer VLAN tag).
const OVERHEAD: u32 = 50;

/// All facts.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The interface whose address is the tunnel end of devices that have none of their own.
    underlay: Option<String>,
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<u32, BTreeSet<Ipv4Addr>>,
    /// On which port of a bridge a MAC was last seen, by bridge.
    seen: HashMap<(u32, Mac), u32>,
    behind: HashMap<(u32, Mac), Ipv4Addr>,
}

impl Inventory {
    /// Nothing yet. `underlay` is the interface of tunnel ends, where it is configured.
    pub fn new(underlay: Option<String>) -> Inventory {
        Inventory { underlay, ..Inventory::default() }
    }

    /// Takes a fact.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Link(link) => {
                let moved = |was: &Link| was.bridge != link.bridge;
                if self.links.get(&link.index).is_some_and(moved) {
                    self.forget_port(link.index);
                }
                self.links.insert(link.index, link);
            }
            Change::LinkGone(index) => {
                self.forget_port(index);
                self.links.remove(&index);
                self.addresses.remove(&index);
                self.behind.retain(|(device, _), _| *device != index);
            }
            Change::Address(index, address) => {
                self.addresses.entry(index).or_default().insert(address);
            }
            Change::AddressGone(index, address) => {
                self.addresses.get_mut(&index).map(|all| all.remove(&address));
            }
            Change::Seen { port, mac } => {
                if let Some(bridge) = self.links.get(&port).and_then(|link| link.bridge) {
                    self.seen.insert((bridge, mac), port);
                }
            }
            Change::Behind { device, mac, vtep } => {
                self.behind.insert((device, mac), vtep);
            }
            Change::Routes => {}
        }
    }

    fn forget_port(&mut self, index: u32) {
        self.seen.retain(|_, port| *port != index);
    }

    /// All devices.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// The network of a VXLAN device.
    pub fn vni_of(&self, index: u32) -> Option<Vni> {
        match &self.links.get(&index)?.kind {
            Kind::Vxlan(vxlan) => Vni::new(vxlan.vni).ok(),
            _ => None,
        }
    }

    /// A device.
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    /// The networks of this host, by the index of their VXLAN device, and the devices of bridges that are left alone.
    pub fn networks(&self) -> (BTreeMap<u32, Network>, BTreeMap<u32, Ignored>) {
        let mut bridges: BTreeMap<u32, Vec<&Link>> = BTreeMap::new();
        for link in self.links.values() {
            if let Some(bridge) = link.bridge {
                bridges.entry(bridge).or_default().push(link);
            }
        }
        let (mut networks, mut ignored) = (BTreeMap::new(), self.off_bridges());
        for (bridge, ports) in bridges {
            match self.links.get(&bridge).map(|link| &link.kind) {
                Some(Kind::Bridge) | None => {}
                Some(Kind::OpenVswitch) => {
                    ignored.extend(ports.iter().map(|link| (link.index, Ignored::OpenVswitch)));
                    continue;
                }
                // A bond, a VRF: what is below it is no port of a network.
                Some(Kind::Vxlan(_) | Kind::Vm | Kind::Other) => continue,
            }
            let (vms, others) = ports.iter().partition::<Vec<&Link>, _>(|link| link.kind == Kind::Vm);
            let (tunnels, others) =
                others.into_iter().partition::<Vec<&Link>, _>(|link| matches!(link.kind, Kind::Vxlan(_)));
            ignored.extend(others.iter().map(|link| (link.index, Ignored::NoVm)));
            let why = match tunnels[..] {
                [] => Ignored::NoTunnel,
                [tunnel] => match self.tunnel(tunnel) {
                    Ok((port, mtu)) => {
                        let vm_ports = vms.iter().map(|link| link.index).collect();
                        let network = Network { device: tunnel.index, bridge, port, mtu, vm_ports };
                        networks.insert(tunnel.index, network);
                        continue;
                    }
                    Err(why) => why,
                },
                _ => Ignored::ManyTunnels,
            };
            ignored.extend(vms.iter().chain(&tunnels).map(|link| (link.index, why)));
        }
        (networks, ignored)
    }

    /// VXLAN devices that are no port of a bridge.
    fn off_bridges(&self) -> BTreeMap<u32, Ignored> {
        let why = |link: &Link| match &link.kind {
            Kind::Vxlan(vxlan) if vxlan.vni == 0 => Some((link.index, Ignored::External)),
            Kind::Vxlan(_) => Some((link.index, Ignored::NoBridge)),
            _ => None,
        };
        self.links.values().filter(|link| link.bridge.is_none()).filter_map(why).collect()
    }

    /// What programs must know of a VXLAN device, and the largest IP packet of a VM that fits.
    fn tunnel(&self, link: &Link) -> Result<(Port, u32), Ignored> {
        let Kind::Vxlan(vxlan) = &link.kind else { return Err(Ignored::NoTunnel) };
        let vni = Vni::new(vxlan.vni).map_err(|_| Ignored::External)?;
        let named = |link: &&Link| Some(&link.name) == self.underlay.as_ref();
        let below = vxlan.underlay.or_else(|| self.links.values().find(named).map(|link| link.index));
        let configured = vxlan.local.filter(|local| !local.is_unspecified());
        let first = || self.addresses.get(&below?)?.first().copied();
        let vtep = configured.or_else(first).ok_or(Ignored::NoAddress)?;
        let holder = || {
            let mut holders = self.addresses.iter().filter(|(_, all)| all.contains(&vtep));
            holders.next().map(|(index, _)| *index)
        };
        let carrier = below.or_else(holder).and_then(|index| self.links.get(&index));
        let mtu = carrier.map_or(link.mtu, |carrier| carrier.mtu.saturating_sub(OVERHEAD));
        Ok((Port { vni, vtep, udp_port: vxlan.udp_port }, mtu))
    }

    /// The devices that get a program, with what it must know.
    pub fn wanted(&self) -> BTreeMap<u32, (Side, Port)> {
        let mut wanted = BTreeMap::new();
        for network in self.networks().0.values() {
            wanted.insert(network.device, (Side::Vxlan, network.port));
            wanted.extend(network.vm_ports.iter().map(|index| (*index, (Side::Vm, network.port))));
        }
        wanted
    }

    /// The VMs that are here, and the port that each is behind.
    pub fn vms(&self) -> BTreeMap<(Vni, Mac), u32> {
        let networks = self.networks().0;
        let by_bridge: HashMap<u32, &Network> = networks.values().map(|n| (n.bridge, n)).collect();
        let here = |((bridge, mac), port): (&(u32, Mac), &u32)| {
            let network = by_bridge.get(bridge)?;
            network.vm_ports.contains(port).then_some(((network.port.vni, *mac), *port))
        };
        self.seen.iter().filter_map(here).collect()
    }

    /// The tunnel end behind which a VXLAN device has a MAC. For an agent's, its MAC says it.
    pub fn vtep_of(&self, device: u32, mac: Mac) -> Option<Ipv4Addr> {
        self.behind.get(&(device, mac)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const VTEP: Ipv4Addr = Ipv4Addr::new(10, 172, 11, 11);

    fn link(index: u32, name: &str, kind: Kind, bridge: Option<u32>) -> Change {
        Change::Link(Link { index, name: name.into(), kind, bridge, mtu: 1500 })
    }

    fn vxlan(vni: u32) -> Kind {
        Kind::Vxlan(Vxlan { vni, local: None, underlay: Some(1), udp_port: 8472 })
    }

    /// eth0 1, br222 2, vx222 3, vm-web 4 and a NIC 5 on the bridge.
    fn host() -> Inventory {
        let mut host = Inventory::new(None);
        for change in [
            link(1, "eth0", Kind::Other, None),
            Change::Address(1, VTEP),
            link(2, "br222", Kind::Bridge, None),
            link(3, "vx222", vxlan(222), Some(2)),
            link(4, "vm-web", Kind::Vm, Some(2)),
            link(5, "eth1", Kind::Other, Some(2)),
        ] {
            host.apply(change);
        }
        host
    }

    #[test]
    fn a_bridge_with_a_vxlan_device_is_a_network() {
        let host = host();
        let (networks, ignored) = host.networks();
        let port = Port { vni: Vni::new(222).unwrap(), vtep: VTEP, udp_port: 8472 };
        assert_eq!(networks[&3], Network { device: 3, bridge: 2, port, mtu: 1450, vm_ports: [4].into() });
        assert_eq!(ignored, [(5, Ignored::NoVm)].into());
        assert_eq!(host.wanted(), [(3, (Side::Vxlan, port)), (4, (Side::Vm, port))].into());
    }

    #[test]
    fn devices_of_other_bridges_are_left_alone_with_the_reason() {
        let mut host = host();
        for (change, port, why) in [
            (link(6, "vx9", vxlan(9), Some(2)), 4, Ignored::ManyTunnels),
            (Change::LinkGone(6), 5, Ignored::NoVm),
            (link(3, "vx222", vxlan(0), Some(2)), 4, Ignored::External),
            (link(3, "vx222", vxlan(222), None), 4, Ignored::NoTunnel),
            (link(3, "vx222", vxlan(222), Some(2)), 5, Ignored::NoVm),
            (link(3, "vx222", vxlan(222), None), 3, Ignored::NoBridge),
            (link(3, "vx222", vxlan(0), None), 3, Ignored::External),
            (link(3, "vx222", vxlan(222), Some(2)), 5, Ignored::NoVm),
            (Change::AddressGone(1, VTEP), 4, Ignored::NoAddress),
            (link(2, "ovs-system", Kind::OpenVswitch, None), 4, Ignored::OpenVswitch),
        ] {
            host.apply(change);
            assert_eq!(host.networks().1.get(&port), Some(&why));
        }
        assert!(host.wanted().is_empty());
    }

    #[test]
    fn a_tunnel_end_without_address_of_its_own_is_that_of_the_configured_underlay() {
        let mut host = Inventory { underlay: Some("eth0".into()), ..host() };
        host.apply(link(
            3,
            "vx222",
            Kind::Vxlan(Vxlan { vni: 222, udp_port: 8472, ..Vxlan::default() }),
            Some(2),
        ));
        assert_eq!(host.wanted()[&4].1.vtep, VTEP);
    }

    #[test]
    fn a_vm_is_here_until_its_port_is_gone_or_it_is_seen_elsewhere() {
        let here = BTreeMap::from([((Vni::new(222).unwrap(), VM), 4)]);
        let mut host = host();
        host.apply(Change::Seen { port: 4, mac: VM });
        assert_eq!(host.vms(), here);
        host.apply(Change::Seen { port: 3, mac: VM });
        assert!(host.vms().is_empty(), "behind the tunnel");
        host.apply(Change::Seen { port: 4, mac: VM });
        assert_eq!(host.vms(), here);
        host.apply(link(4, "vm-web", Kind::Vm, None));
        assert!(host.vms().is_empty(), "unplugged");
        host.apply(link(4, "vm-web", Kind::Vm, Some(2)));
        host.apply(Change::Seen { port: 4, mac: VM });
        host.apply(Change::LinkGone(4));
        assert!(host.vms().is_empty(), "gone");
    }
}
