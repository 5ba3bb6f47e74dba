//! Public addresses as workers see them: who owns what of each ([`Share`] says what a service takes), and by which of them
//! the packets of a VPC leave. The order of the document says nothing here.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};

use ipnet::Ipv4Net;
use tidegate_fastpath::{
    table::balance::Listener,
    table::nat::{BLOCK_PORTS, BLOCKS, Exit, Forward, Inside, Leases, Slice, Snat, Space, Vip, VipLimits},
    types::{NetId, VipId, VrfId},
};

use super::{
    Balanced, Compiled, by_number,
    qos::Limited,
    routes::{ALWAYS, Static, Target},
    vrfs::GATEWAY_PRIORITY,
};
use crate::{
    config::{
        self, Id, TableKey,
        nat::{Service, Share, Vm},
        raw::range::PORTS_PER_VM_DEFAULT,
    },
    desired::{Desired, NetKey},
};

/// What VMs get that no SNAT serves.
const BLOCKS_PER_VM_DEFAULT: u16 = PORTS_PER_VM_DEFAULT as u16 / BLOCK_PORTS;

/// The leases of every VIP. A VIP that moves to another address or network begins anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Leased {
    vips: HashMap<config::Vip, Arc<Leases>>,
    /// Of our addresses in VPC networks.
    masks: HashMap<(Id, Ipv4Addr), Arc<Leases>>,
}

/// The first of the ports that programs in a namespace take for what they begin: `net.ipv4.ip_local_port_range` of Linux, which
/// begins here in every new namespace. Those from here on never stand for a client.
pub const PROGRAM_PORTS: u16 = 32_768;

/// A published VIP; equal to another one that is the same in memory.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) id: VipId,
    pub(super) vip: Arc<Vip>,
}

impl PartialEq for Owned {
    fn eq(&self, other: &Owned) -> bool {
        self.id == other.id && Arc::ptr_eq(&self.vip, &other.vip)
    }
}

impl Eq for Owned {}

/// What a routing table has to do with VIPs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Those on a public network, or those that the services of a VPC use; by number.
    pub(super) vips: Vec<Owned>,
    /// How the packets of a VPC leave; `None` for a public network, and for a VPC without services.
    pub(super) exit: Option<Arc<Exit>>,
    /// The tables of the public networks that a VPC's VIPs are on, sorted.
    pub(super) public: Vec<VrfId>,
}

impl Part {
    /// The routes that follow: to VIPs in the table of their public network; out of a VPC to its own VIPs and to everywhere.
    /// A VPC with forwards alone needs the way out for their answers.
    pub(super) fn routes(&self) -> impl Iterator<Item = Static> {
        let to_vips = self.vips.iter().map(|owned| {
            let target = match self.exit {
                Some(_) => Target::Exit(Some(owned.id)),
                None => Target::Vip(owned.id),
            };
            Static { destination: owned.vip.address.into(), priority: ALWAYS, target }
        });
        let everywhere = self.exit.as_ref().map(|_| Static {
            destination: Ipv4Net::default(),
            priority: GATEWAY_PRIORITY,
            target: Target::Exit(None),
        });
        to_vips.chain(everywhere)
    }
}

/// All VIPs and what uses them.
pub(super) struct Services {
    /// By [`VipId`].
    pub(super) vips: Vec<Option<Arc<Vip>>>,
    /// For the next result.
    pub(super) leased: Leased,
    /// By table; those without VIPs are left out.
    pub(super) parts: HashMap<VrfId, Part>,
}

impl Services {
    /// The addresses of VIPs with their networks.
    pub(super) fn addresses(&self) -> HashSet<(NetId, Ipv4Addr)> {
        let of_parts = self.parts.values().flat_map(|part| &part.vips);
        of_parts.map(|owned| (owned.vip.net, owned.vip.address)).collect()
    }
}

/// Builds the tables of all VIPs; those that are as in `previous` are taken from there. Cost: one pass over VIPs and
/// services.
pub(super) fn build(
    desired: &Desired,
    balanced: &Balanced,
    limited: &Limited<'_>,
    previous: &Compiled,
) -> Services {
    let config = desired.config();
    let mut of_vip: HashMap<&Id, Vec<Service<'_>>> = HashMap::new();
    for service in config.services() {
        for vip in service.vips() {
            of_vip.entry(vip).or_default().push(service);
        }
    }
    let mut leased = Leased::default();
    let mut parts: HashMap<VrfId, Part> = HashMap::new();
    let vips = config.vips.iter().filter_map(|wanted| {
        let services = of_vip.get(&wanted.id).map_or(&[][..], |services| services);
        let leases =
            previous.leased.vips.get(wanted).map_or_else(|| Arc::new(Leases::on_demand()), Arc::clone);
        // Other VIPs lease ports for hairpin alone, and get their places when a VM wants one.
        if services.iter().any(|service| matches!(service, Service::Snat(_))) {
            leases.provide();
        }
        leased.vips.insert(wanted.clone(), Arc::clone(&leases));
        let limits = limited.vips.get(&wanted.id).cloned().unwrap_or_default();
        let vip = Vip { limits, ..resolve(desired, balanced, wanted, services, leases)? };
        let id = desired.vip(&wanted.id)?;
        let before = previous.tables.vips.get(id.index()).and_then(Option::as_ref);
        let vip = before.filter(|before| same(before, &vip)).map_or_else(|| Arc::new(vip), Arc::clone);
        let owned = Owned { id, vip: Arc::clone(&vip) };
        let public = desired.vrf(&TableKey::Public(wanted.public_network.clone()))?;
        // A VIP belongs to one VPC; the check has seen to that.
        let vpc = services.first().and_then(|service| desired.vrf(&TableKey::Vpc(service.vpc().clone())));
        if let Some(vpc) = vpc {
            let part = parts.entry(vpc).or_default();
            part.vips.push(owned.clone());
            part.public.push(public);
        }
        parts.entry(public).or_default().vips.push(owned);
        Some((id.index(), vip))
    });
    let vips: Vec<_> = vips.collect();
    let masks = masks(desired, &mut leased, previous);
    let vips = by_number(vips.into_iter().chain(masks));
    for (vpc, exit) in exits(desired) {
        parts.entry(vpc).or_default().exit = Some(Arc::new(exit));
    }
    for part in parts.values_mut() {
        part.vips.sort_unstable_by_key(|owned| owned.id);
        part.public.sort_unstable();
        part.public.dedup();
    }
    Services { vips, leased, parts }
}

/// Our addresses in networks where they stand for clients.
fn masks(desired: &Desired, leased: &mut Leased, previous: &Compiled) -> Vec<(usize, Arc<Vip>)> {
    let each = desired.config().masked_networks().into_iter().filter_map(|network| {
        let id = desired.mask(&network.id)?;
        let key = (network.id.clone(), network.gateway);
        let leases = previous.leased.masks.get(&key);
        let leases = leases.map_or_else(|| Arc::new(Leases::on_demand()), Arc::clone);
        leased.masks.insert(key, Arc::clone(&leases));
        let of_programs =
            |space: Space| Slice { protocol: space.protocol(), first: PROGRAM_PORTS, last: u16::MAX };
        let vip = Vip {
            net: desired.net(&NetKey::Vpc(network.id.clone()))?,
            address: network.gateway,
            eip: None,
            forwards: [].into(),
            listeners: [].into(),
            held: [Space::Tcp, Space::Udp].map(of_programs).into(),
            leases,
            limits: VipLimits::default(),
        };
        let before = previous.tables.vips.get(id.index()).and_then(Option::as_ref);
        let vip = before.filter(|before| same(before, &vip)).map_or_else(|| Arc::new(vip), Arc::clone);
        Some((id.index(), vip))
    });
    each.collect()
}

/// Who owns what of one VIP.
fn resolve(
    desired: &Desired,
    balanced: &Balanced,
    vip: &config::Vip,
    services: &[Service<'_>],
    leases: Arc<Leases>,
) -> Option<Vip> {
    let mut eip = None;
    let mut forwards: Vec<Forward> = Vec::new();
    let mut listeners: Vec<Arc<Listener>> = Vec::new();
    let mut held: Vec<Slice> = Vec::new();
    for service in services {
        if let Share::Slice(slice) = service.share() {
            held.push(slice);
        }
        match service {
            Service::Eip(service) => eip = Some(inside(desired, &service.vm)?),
            Service::PortForward(service) => forwards.push(Forward {
                slice: service.slice,
                to: inside(desired, &service.vm)?,
                to_first: service.target_first,
                allowed: service.allowed,
            }),
            Service::Listener(service) => listeners.extend(balanced.listener(&service.id).map(Arc::clone)),
            Service::Snat(_) => {}
        }
    }
    forwards.sort_unstable_by_key(|forward| forward.slice);
    listeners.sort_unstable_by_key(|listener| listener.slice);
    held.sort_unstable();
    Some(Vip {
        net: desired.net(&NetKey::Public(vip.public_network.clone()))?,
        address: vip.address,
        eip,
        forwards: forwards.into(),
        listeners: listeners.into(),
        held: held.into(),
        leases,
        limits: VipLimits::default(),
    })
}

fn inside(desired: &Desired, vm: &Vm) -> Option<Inside> {
    Some(Inside { vrf: desired.vrf(&TableKey::Vpc(vm.vpc.clone()))?, address: vm.address })
}

fn same(a: &Vip, b: &Vip) -> bool {
    let parts = |vip: &Vip| (vip.net, vip.address, vip.eip);
    parts(a) == parts(b)
        && a.forwards == b.forwards
        && a.listeners == b.listeners
        && a.held == b.held
        && a.limits == b.limits
        && Arc::ptr_eq(&a.leases, &b.leases)
}

/// What is gathered of one VPC.
#[derive(Default)]
struct Gathered {
    eips: Vec<(Ipv4Addr, VipId)>,
    by_net: Vec<(NetId, Arc<Snat>)>,
    rest: Option<Arc<Snat>>,
    /// Its VIPs: a VM that no EIP or SNAT serves reaches each from that VIP itself.
    vips: HashMap<VipId, Ipv4Addr>,
    /// VMs that port forwards and listeners lead to, with the protocol.
    served: Vec<(Ipv4Addr, u8)>,
    masks: Vec<(NetId, Arc<Snat>)>,
}

/// How the packets of each VPC with services leave.
fn exits(desired: &Desired) -> impl Iterator<Item = (VrfId, Exit)> {
    let mut vpcs: HashMap<&Id, Gathered> = HashMap::new();
    let addresses: HashMap<&Id, Ipv4Addr> =
        desired.config().vips.iter().map(|vip| (&vip.id, vip.address)).collect();
    for service in desired.config().services() {
        let vpc = vpcs.entry(service.vpc()).or_default();
        let vips = service.vips().iter();
        vpc.vips.extend(vips.filter_map(|vip| Some((desired.vip(vip)?, *addresses.get(vip)?))));
        match service {
            Service::Snat(snat) => {
                let vips = snat.vips.iter().filter_map(|vip| desired.vip(vip)).collect();
                let table = Arc::new(Snat { vips, blocks_per_vm: snat.blocks_per_vm, hairpin: false });
                match &snat.network {
                    Some(network) => {
                        let net = desired.net(&NetKey::Vpc(network.clone()));
                        vpc.by_net.extend(net.map(|net| (net, table)));
                    }
                    None => vpc.rest = Some(table),
                }
            }
            Service::Eip(eip) => vpc.eips.extend(desired.vip(&eip.vip).map(|vip| (eip.vm.address, vip))),
            Service::PortForward(forward) => {
                vpc.served.push((forward.vm.address, forward.slice.protocol));
            }
            Service::Listener(listener) => {
                let protocol = listener.slice.protocol;
                let backends = listener.backends.iter();
                vpc.served.extend(backends.map(|backend| (backend.vm.address, protocol)));
            }
        }
    }
    for network in desired.config().masked_networks() {
        let mask = desired.net(&NetKey::Vpc(network.id.clone())).zip(desired.mask(&network.id));
        let Some((vpc, (net, id))) = vpcs.get_mut(&network.vpc).zip(mask) else { continue };
        // One backend may have all ports.
        let pool = Snat { vips: [id].into(), blocks_per_vm: BLOCKS as u16, hairpin: false };
        vpc.masks.push((net, Arc::new(pool)));
    }
    vpcs.into_iter().filter_map(|(vpc, gathered)| {
        let Gathered { mut eips, mut by_net, rest, vips, mut served, mut masks } = gathered;
        masks.sort_unstable_by_key(|(net, _)| *net);
        eips.sort_unstable();
        by_net.sort_unstable_by_key(|(net, _)| *net);
        let itself =
            |vip| Arc::new(Snat { vips: [vip].into(), blocks_per_vm: BLOCKS_PER_VM_DEFAULT, hairpin: true });
        let mut hairpin: Vec<_> = vips.into_iter().map(|(vip, address)| (address, itself(vip))).collect();
        hairpin.sort_unstable_by_key(|(address, _)| *address);
        served.sort_unstable();
        served.dedup();
        let exit = Exit {
            eips: eips.into(),
            by_net: by_net.into(),
            rest,
            hairpin: hairpin.into(),
            served: served.into(),
            masks: masks.into(),
        };
        Some((desired.vrf(&TableKey::Vpc(vpc.clone()))?, exit))
    })
}
