//! Public addresses as workers see them: who owns what of each ([`Share`] says what a service takes), and by which of them
//! the packets of a VPC leave. The order of the document says nothing here.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

use ipnet::Ipv4Net;
use tidegate_fastpath::{
    table::balance::Listener,
    table::nat::{BLOCK_PORTS, BLOCKS, Exit, Forward, Inside, Leases, Slice, Snat, Space, Vip, VipLimits},
    types::{NetId, VipId, VrfId},
};

use super::{
    Balanced, Compiled, put,
    qos::Limited,
    routes::{ALWAYS, Static, Target},
    touched::Touched,
    trimmed,
    vrfs::GATEWAY_PRIORITY,
};
use crate::{
    config::{
        self, Id, TableKey,
        nat::{Service, Share, Vm},
        raw::range::PORTS_PER_VM_DEFAULT,
    },
    desired::{Desired, NetKey},
    shared_map::SharedMap,
};

/// What VMs get that no SNAT serves.
const BLOCKS_PER_VM_DEFAULT: u16 = PORTS_PER_VM_DEFAULT as u16 / BLOCK_PORTS;

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
    pub(super) used: Used,
}

/// Which VPCs use which VIPs.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    by: SharedMap<VipId, VrfId>,
    of: SharedMap<(VrfId, VipId), ()>,
}

impl Used {
    fn set(&mut self, vip: VipId, vpc: Option<VrfId>) {
        let before = match vpc {
            Some(vpc) => self.by.insert(vip, vpc),
            None => self.by.remove(&vip),
        };
        if before != vpc {
            before.map(|before| self.of.remove(&(before, vip)));
            vpc.map(|vpc| self.of.insert((vpc, vip), ()));
        }
    }

    fn of(&self, vpc: VrfId) -> impl Iterator<Item = VipId> {
        let from = self.of.from(move |(other, _)| *other < vpc).map(|(entry, ())| *entry);
        from.take_while(move |(other, _)| *other == vpc).map(|(_, vip)| vip)
    }
}

impl Services {
    /// What a table has to do with VIPs.
    pub(super) fn part(&self, desired: &Desired, vrf: VrfId, table: &TableKey) -> Part {
        let owned = |id: VipId| {
            let vip = self.vips.get(id.index())?.as_ref()?;
            Some(Owned { id, vip: Arc::clone(vip) })
        };
        match table {
            TableKey::Underlay => Part::default(),
            TableKey::Public(id) => {
                let ids = desired.config().vips.of(id).filter_map(|vip| desired.vip(&vip.id));
                let mut vips: Vec<Owned> = ids.filter_map(owned).collect();
                vips.sort_unstable_by_key(|owned| owned.id);
                Part { vips, ..Part::default() }
            }
            TableKey::Vpc(vpc) => {
                let used: Vec<&config::Vip> =
                    self.used.of(vrf).filter_map(|id| config_of(desired, id)).collect();
                let public = used.iter().map(|vip| TableKey::Public(vip.public_network.clone()));
                let mut public: Vec<VrfId> = public.filter_map(|key| desired.vrf(&key)).collect();
                public.sort_unstable();
                public.dedup();
                let exit = (!used.is_empty()).then(|| Arc::new(exit(desired, vpc, &used)));
                Part { vips: self.used.of(vrf).filter_map(owned).collect(), exit, public }
            }
        }
    }
}

fn config_of(desired: &Desired, vip: VipId) -> Option<&config::Vip> {
    desired.config().vips.get(desired.vip_key(vip)?)
}

/// Builds the tables of VIPs that were touched; takes the others from `previous`. Cost: the services on those VIPs.
pub(super) fn build(
    desired: &Desired,
    balanced: &Balanced,
    limited: &Limited<'_>,
    touched: &Touched,
    previous: &Compiled,
) -> Services {
    let was = previous.made_of.as_ref().map(|made_of| &made_of.desired);
    let (mut vips, mut used) = (previous.tables.vips.clone(), previous.used.clone());
    let masks = was.iter().flat_map(|was| was.masks());
    for id in was.iter().flat_map(|was| touched.vips.iter().filter_map(|vip| was.vip(vip))).chain(masks) {
        vips.get_mut(id.index()).and_then(Option::take);
        used.set(id, None);
    }
    for wanted in touched.vips.iter().filter_map(|vip| desired.config().vips.get(vip)) {
        let Some(id) = desired.vip(&wanted.id) else { continue };
        let services: Vec<Service<'_>> = desired.config().services_on(&wanted.id).collect();
        // A VIP that moves to another address or network begins anew.
        let stays = was.is_some_and(|was| was.config().vips.get(&wanted.id) == Some(wanted));
        let before = previous.tables.vip(id).filter(|_| stays);
        let leases = before.map_or_else(|| Arc::new(Leases::on_demand()), |vip| Arc::clone(&vip.leases));
        let meter = before.map(|vip| Arc::clone(&vip.meter)).unwrap_or_default();
        // Other VIPs lease ports for hairpin alone, and get their places when a VM wants one.
        if services.iter().any(|service| matches!(service, Service::Snat(_))) {
            leases.provide();
        }
        let Some(vip) = resolve(desired, balanced, wanted, &services, leases) else { continue };
        let vip = Vip { limits: limited.vips.get(&wanted.id).cloned().unwrap_or_default(), meter, ..vip };
        put(&mut vips, id.index(), taken_over(vip, id, previous));
        // A VIP belongs to one VPC; the check has seen to that.
        let vpc = services.first().map(|service| TableKey::Vpc(service.vpc().clone()));
        used.set(id, vpc.and_then(|vpc| desired.vrf(&vpc)));
    }
    for (id, mask) in masks_of(desired, previous) {
        put(&mut vips, id.index(), mask);
    }
    Services { vips: trimmed(vips), used }
}

/// A VIP; that of before where it is the same.
fn taken_over(vip: Vip, id: VipId, previous: &Compiled) -> Arc<Vip> {
    let before = previous.tables.vips.get(id.index()).and_then(Option::as_ref);
    before.filter(|before| same(before, &vip)).map_or_else(|| Arc::new(vip), Arc::clone)
}

/// Our addresses in networks where they stand for clients.
fn masks_of(desired: &Desired, previous: &Compiled) -> Vec<(VipId, Arc<Vip>)> {
    let each = desired.config().masked_networks().into_iter().filter_map(|network| {
        let id = desired.mask(&network.id)?;
        let was = previous.made_of.as_ref().and_then(|made_of| made_of.desired.mask(&network.id));
        let before =
            previous.tables.vip(id).filter(|before| was == Some(id) && before.address == network.gateway);
        let leases = before.map_or_else(|| Arc::new(Leases::on_demand()), |vip| Arc::clone(&vip.leases));
        let meter = before.map(|vip| Arc::clone(&vip.meter)).unwrap_or_default();
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
            meter,
        };
        Some((id, taken_over(vip, id, previous)))
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
        meter: Arc::default(),
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
        && Arc::ptr_eq(&a.meter, &b.meter)
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

/// How the packets of a VPC with services leave; `used` are its VIPs.
fn exit(desired: &Desired, vpc: &Id, used: &[&config::Vip]) -> Exit {
    let config = desired.config();
    let mut found = Gathered::default();
    for vip in used {
        found.vips.extend(desired.vip(&vip.id).map(|id| (id, vip.address)));
        // Who uses several comes with the first of them.
        let services = config.services_on(&vip.id).filter(|service| service.vips().first() == Some(&vip.id));
        services.for_each(|service| found.add(desired, service));
    }
    let masked = config.masked_networks().into_iter().filter(|network| network.vpc == *vpc);
    for network in masked {
        let mask = desired.net(&NetKey::Vpc(network.id.clone())).zip(desired.mask(&network.id));
        let Some((net, id)) = mask else { continue };
        // One backend may have all ports.
        let pool = Snat { vips: [id].into(), blocks_per_vm: BLOCKS as u16, hairpin: false };
        found.masks.push((net, Arc::new(pool)));
    }
    let Gathered { mut eips, mut by_net, rest, vips, mut served, mut masks } = found;
    masks.sort_unstable_by_key(|(net, _)| *net);
    eips.sort_unstable();
    by_net.sort_unstable_by_key(|(net, _)| *net);
    let itself =
        |vip| Arc::new(Snat { vips: [vip].into(), blocks_per_vm: BLOCKS_PER_VM_DEFAULT, hairpin: true });
    let mut hairpin: Vec<_> = vips.into_iter().map(|(vip, address)| (address, itself(vip))).collect();
    hairpin.sort_unstable_by_key(|(address, _)| *address);
    served.sort_unstable();
    served.dedup();
    Exit {
        eips: eips.into(),
        by_net: by_net.into(),
        rest,
        hairpin: hairpin.into(),
        served: served.into(),
        masks: masks.into(),
    }
}

impl Gathered {
    fn add(&mut self, desired: &Desired, service: Service<'_>) {
        match service {
            Service::Snat(snat) => {
                let vips = snat.vips.iter().filter_map(|vip| desired.vip(vip)).collect();
                let table = Arc::new(Snat { vips, blocks_per_vm: snat.blocks_per_vm, hairpin: false });
                match &snat.network {
                    Some(network) => {
                        let net = desired.net(&NetKey::Vpc(network.clone()));
                        self.by_net.extend(net.map(|net| (net, table)));
                    }
                    None => self.rest = Some(table),
                }
            }
            Service::Eip(eip) => self.eips.extend(desired.vip(&eip.vip).map(|vip| (eip.vm.address, vip))),
            Service::PortForward(forward) => {
                self.served.push((forward.vm.address, forward.slice.protocol));
            }
            Service::Listener(listener) => {
                let protocol = listener.slice.protocol;
                let backends = listener.backends.iter();
                self.served.extend(backends.map(|backend| (backend.vm.address, protocol)));
            }
        }
    }
}
