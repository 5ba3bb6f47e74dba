//! `nics`, `vips`, `snats`, `eips` and `port_forwards`: each object by itself. Whether they get along is [`share`];
//! `load_balancers` are in [`balance`](super::balance).

use std::{collections::HashMap, net::Ipv4Addr};

use tidegate_fastpath::table::nat::{BLOCK_PORTS, Slice, Space};

use super::{
    At, Known, Report,
    balance::Names,
    http,
    share::{Claim, Party, Shares},
    text,
};
use crate::config::{
    Cause, Eip, Id, LoadBalancer, Nic, PortForward, PublicNetwork, Snat, Vip, Vpc, VpcNetwork,
    http::Certificate,
    nat::{PortRange, Share, Vm},
    raw::{RawConfig, RawEip, RawNic, RawPortForward, RawSnat, RawVip, range as r},
};

/// The sections, checked.
#[derive(Default)]
pub(super) struct Services {
    pub(super) nics: Known<Nic>,
    pub(super) vips: Known<Vip>,
    pub(super) snats: Known<Snat>,
    pub(super) eips: Known<Eip>,
    pub(super) port_forwards: Known<PortForward>,
    pub(super) certificates: Known<Certificate>,
    pub(super) load_balancers: Known<LoadBalancer>,
}

/// What services refer to.
pub(super) struct Check<'a> {
    public: &'a Known<PublicNetwork>,
    vpcs: &'a Known<Vpc>,
    networks: &'a Known<VpcNetwork>,
    pub(super) by_vpc: HashMap<&'a Id, Vec<&'a VpcNetwork>>,
}

impl<'a> Check<'a> {
    pub(super) fn new(
        public: &'a Known<PublicNetwork>,
        vpcs: &'a Known<Vpc>,
        networks: &'a Known<VpcNetwork>,
    ) -> Check<'a> {
        let mut by_vpc: HashMap<&Id, Vec<&VpcNetwork>> = HashMap::new();
        for network in networks.items() {
            by_vpc.entry(&network.vpc).or_default().push(network);
        }
        Check { public, vpcs, networks, by_vpc }
    }

    pub(super) fn check(&self, raw: &RawConfig, report: &mut Report) -> Services {
        let nics = self.nics(&raw.nics, report);
        let vips = self.vips(&raw.vips, report);
        let mut shares = Shares::default();
        let snats = self.snats(&raw.snats, &vips, &mut shares, report);
        let eips = self.eips(&raw.eips, &nics, &vips, &mut shares, report);
        let port_forwards = self.port_forwards(&raw.port_forwards, &nics, &vips, &mut shares, report);
        let certificates = http::certificates(&raw.certificates, report);
        let named = Names { nics: &nics, vips: &vips, certificates: &certificates };
        let load_balancers = self.load_balancers(&raw.load_balancers, named, &mut shares, report);
        shares.check(&vips, &self.by_vpc, report);
        Services { nics, vips, snats, eips, port_forwards, certificates, load_balancers }
    }

    fn nics(&self, raw: &[RawNic], report: &mut Report) -> Known<Nic> {
        let mut taken: HashMap<(Id, Ipv4Addr), Party> = HashMap::new();
        Known::collect(
            "nics",
            raw,
            |raw| raw.id.as_deref(),
            report,
            |at, id, raw, report| {
                let network =
                    self.networks.refer(at, "network", raw.network.as_deref(), "vpc_networks", report);
                let address = report.read(at, "address", raw.address.as_deref(), text::address);
                let mac = report.read(at, "mac", raw.mac.as_deref(), text::mac);
                let (network, address) = (network?, address?);
                host_of(at, network, address, report);
                match taken.get(&(network.id.clone(), address)) {
                    Some(first) => {
                        let what = format!("is the address of {first} in network {} already", network.id);
                        report.clash(at, "address", address, what, "give each NIC an address of its own");
                    }
                    None => _ = taken.insert((network.id.clone(), address), Party::of("nics", at)),
                }
                let (network, vpc) = (network.id.clone(), network.vpc.clone());
                Some(Nic { id: id?, network, vpc, address, mac })
            },
        )
    }

    fn vips(&self, raw: &[RawVip], report: &mut Report) -> Known<Vip> {
        let mut taken: HashMap<Ipv4Addr, Party> = HashMap::new();
        Known::collect(
            "vips",
            raw,
            |raw| raw.id.as_deref(),
            report,
            |at, id, raw, report| {
                let public = raw.public_network.as_deref();
                let public = self.public.refer(at, "public_network", public, "public_networks", report);
                let address = report.read(at, "address", raw.address.as_deref(), text::address)?;
                match taken.get(&address) {
                    Some(first) => {
                        let what = format!("is the address of {first} already");
                        report.clash(at, "address", address, what, "use that VIP, or give another address");
                    }
                    None => _ = taken.insert(address, Party::of("vips", at)),
                }
                let public = public?;
                if report.because(Cause::Clash, |report| report.host(at, "address", public.cidr, address)) {
                    let whose = [("upstream gateway's", public.gateway), ("gateway's own", public.address)];
                    for (whose, _) in whose.iter().filter(|(_, ip)| *ip == Some(address)) {
                        let what = format!("is the {whose} address on public network {}", public.id);
                        report.clash(at, "address", address, what, "give a free address of the network");
                    }
                }
                Some(Vip { id: id?, public_network: public.id.clone(), address })
            },
        )
    }

    fn snats(
        &self,
        raw: &[RawSnat],
        vips: &Known<Vip>,
        shares: &mut Shares,
        report: &mut Report,
    ) -> Known<Snat> {
        let mut served: HashMap<(Id, Option<Id>), Party> = HashMap::new();
        Known::collect(
            "snats",
            raw,
            |raw| raw.id.as_deref(),
            report,
            |at, id, raw, report| {
                let whose = self.whose(at, raw, report);
                if let Some(whose) = &whose {
                    serve_once(at, whose, &mut served, report);
                }
                let names = raw.vips.as_deref().unwrap_or_default();
                pool(at, names, vips, report);
                for (i, name) in names.iter().enumerate().filter(|(i, name)| !names[..*i].contains(*name)) {
                    let key = format!("vips[{i}]");
                    let vpc = whose.as_ref().map(|(vpc, _)| vpc.clone());
                    shares.claim(Claim::new("snats", at, key, name, Share::Rest, vpc));
                }
                let ids: Option<Vec<Id>> = names.iter().map(|name| Id::new(name)).collect();
                let (vpc, network) = whose?;
                let ports = raw.ports_per_vm.unwrap_or(r::PORTS_PER_VM_DEFAULT);
                let blocks_per_vm = u16::try_from(ports.div_ceil(BLOCK_PORTS.into())).ok()?;
                Some(Snat { id: id?, vpc, network, vips: ids?, blocks_per_vm })
            },
        )
    }

    /// The VPC, and the network where it is SNAT of one.
    fn whose(&self, at: At<'_>, raw: &RawSnat, report: &mut Report) -> Option<(Id, Option<Id>)> {
        match (raw.vpc.as_deref(), raw.network.as_deref()) {
            (vpc @ Some(_), None) => {
                let vpc = self.vpcs.refer(at, "vpc", vpc, "vpc_routers", report)?;
                Some((vpc.id.clone(), None))
            }
            (None, network @ Some(_)) => {
                let network = self.networks.refer(at, "network", network, "vpc_networks", report)?;
                Some((network.vpc.clone(), Some(network.id.clone())))
            }
            (None, None) => {
                report.lacks(at, "", "serves nobody", "give `vpc` or `network`");
                None
            }
            (Some(_), Some(_)) => {
                report.lacks(at, "", "serves a VPC and a network", "keep one of `vpc` and `network`");
                None
            }
        }
    }

    fn eips(
        &self,
        raw: &[RawEip],
        nics: &Known<Nic>,
        vips: &Known<Vip>,
        shares: &mut Shares,
        report: &mut Report,
    ) -> Known<Eip> {
        let mut served: HashMap<Vm, Party> = HashMap::new();
        Known::collect(
            "eips",
            raw,
            |raw| raw.id.as_deref(),
            report,
            |at, id, raw, report| {
                vips.refer(at, "vip", raw.vip.as_deref(), "vips", report);
                let by = Named { nic: &raw.nic, vpc: &raw.vpc, address: &raw.address };
                let vm = self.vm(at, by, nics, report);
                if let Some(vm) = &vm {
                    match served.get(vm) {
                        Some(first) => {
                            let key = if raw.nic.is_some() { "nic" } else { "address" };
                            let what = format!("of VPC {} has {first} already", vm.vpc);
                            report.clash(at, key, vm.address, what, "keep one EIP for each VM");
                        }
                        None => _ = served.insert(vm.clone(), Party::of("eips", at)),
                    }
                }
                if let Some(vip) = &raw.vip {
                    let vpc = vm.as_ref().map(|vm| vm.vpc.clone());
                    shares.claim(Claim::new("eips", at, "vip".into(), vip, Share::Whole, vpc));
                }
                Some(Eip { id: id?, vip: Id::new(raw.vip.as_deref()?)?, vm: vm? })
            },
        )
    }

    fn port_forwards(
        &self,
        raw: &[RawPortForward],
        nics: &Known<Nic>,
        vips: &Known<Vip>,
        shares: &mut Shares,
        report: &mut Report,
    ) -> Known<PortForward> {
        Known::collect(
            "port_forwards",
            raw,
            |raw| raw.id.as_deref(),
            report,
            |at, id, raw, report| {
                vips.refer(at, "vip", raw.vip.as_deref(), "vips", report);
                let slice = slice(at, raw, report);
                let by = Named { nic: &raw.nic, vpc: &raw.vpc, address: &raw.address };
                let vm = self.vm(at, by, nics, report);
                let target = report.read(at, "target_ports", raw.target_ports.as_deref(), text::ports);
                if let (Some((_, ports)), Some(target)) = (slice, target)
                    && ports.span() != target.span()
                {
                    let counts = (u32::from(target.span()) + 1, u32::from(ports.span()) + 1);
                    let what = format!("are {} ports for the {} of `ports` ({ports})", counts.0, counts.1);
                    report.add(at, "target_ports", target, what, "give as many ports as `ports` has");
                }
                let allowed = raw.allowed_cidr.as_deref().or(Some(r::EVERYBODY));
                let allowed = report.read(at, "allowed_cidr", allowed, text::allowed);
                if let (Some(vip), Some((slice, _))) = (&raw.vip, slice) {
                    let vpc = vm.as_ref().map(|vm| vm.vpc.clone());
                    shares.claim(Claim::new(
                        "port_forwards",
                        at,
                        "vip".into(),
                        vip,
                        Share::Slice(slice),
                        vpc,
                    ));
                }
                let (slice, ports) = slice?;
                Some(PortForward {
                    id: id?,
                    vip: Id::new(raw.vip.as_deref()?)?,
                    slice,
                    vm: vm?,
                    target_first: target.unwrap_or(ports).first,
                    allowed: allowed?,
                })
            },
        )
    }

    /// The VM of a service.
    pub(super) fn vm(&self, at: At<'_>, by: Named<'_>, nics: &Known<Nic>, report: &mut Report) -> Option<Vm> {
        match (by.nic.as_deref(), by.vpc.as_deref(), by.address.as_deref()) {
            (nic @ Some(_), None, None) => {
                let nic = nics.refer(at, "nic", nic, "nics", report)?;
                Some(Vm { vpc: nic.vpc.clone(), address: nic.address })
            }
            (None, vpc @ Some(_), address @ Some(_)) => {
                let vpc = self.vpcs.refer(at, "vpc", vpc, "vpc_routers", report);
                let address = report.read(at, "address", address, text::address);
                let (vpc, address) = (vpc?, address?);
                self.in_vpc(at, &vpc.id, address, report);
                Some(Vm { vpc: vpc.id.clone(), address })
            }
            (None, None, None) => {
                report.lacks(at, "", "names no VM", "give `nic`, or `vpc` and `address`");
                None
            }
            (None, None, Some(_)) => {
                report.lacks(at, "", "has an address and no VPC", "add `vpc`");
                None
            }
            (None, Some(_), None) => {
                report.lacks(at, "", "has a VPC and no address", "add `address`");
                None
            }
            (Some(_), ..) => {
                let way_out = "keep either `nic`, or `vpc` and `address`";
                report.lacks(at, "", "names its VM twice", way_out);
                None
            }
        }
    }

    /// Refuses an address that no VM of the VPC can have.
    fn in_vpc(&self, at: At<'_>, vpc: &Id, address: Ipv4Addr, report: &mut Report) {
        let networks = self.by_vpc.get(vpc).map_or(&[][..], |networks| networks);
        match networks.iter().find(|network| network.cidr.contains(&address)) {
            Some(network) => host_of(at, network, address, report),
            // A network that did not pass may be the one.
            None if self.networks.all_passed() => {
                let what = format!("is in no network of VPC {vpc}");
                report.because(Cause::Missing, |report| {
                    report.add(at, "address", address, what, "give the address of a VM in it");
                });
            }
            None => {}
        }
    }
}

/// How a service names its VM.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) nic: &'a Option<String>,
    pub(super) vpc: &'a Option<String>,
    pub(super) address: &'a Option<String>,
}

/// Refuses an address that no VM on the network can have.
fn host_of(at: At<'_>, network: &VpcNetwork, address: Ipv4Addr, report: &mut Report) {
    let fits = report.because(Cause::Clash, |report| report.host(at, "address", network.cidr, address));
    if fits && address == network.gateway {
        let what = format!("is our own address on network {}", network.id);
        report.clash(at, "address", address, what, "give the address of a VM");
    }
}

/// One SNAT for each VPC, and for each network.
fn serve_once(
    at: At<'_>,
    whose: &(Id, Option<Id>),
    served: &mut HashMap<(Id, Option<Id>), Party>,
    report: &mut Report,
) {
    match served.get(whose) {
        Some(first) => {
            let (key, value) = match whose {
                (vpc, None) => ("vpc", vpc),
                (_, Some(network)) => ("network", network),
            };
            let what = format!("has {first} already");
            report.clash(at, key, value, what, "put all VIPs into one of them");
        }
        None => _ = served.insert(whose.clone(), Party::of("snats", at)),
    }
}

/// The VIPs of a pool are there, once each, and on one public network.
fn pool(at: At<'_>, names: &[String], vips: &Known<Vip>, report: &mut Report) {
    let mut first: Option<&Vip> = None;
    for (i, name) in names.iter().enumerate() {
        let key = format!("vips[{i}]");
        if names[..i].contains(name) {
            report.add(at, &key, name, "is in the list twice", "remove it");
            continue;
        }
        let Some(vip) = vips.refer(at, &key, Some(name), "vips", report) else { continue };
        let first = *first.get_or_insert(vip);
        if vip.public_network != first.public_network {
            let what = format!(
                "is on public network {}, and {} is on {}",
                vip.public_network, first.id, first.public_network
            );
            report.clash(at, &key, name, what, "keep VIPs of one public network");
        }
    }
}

/// The ports of a port forward.
fn slice(at: At<'_>, raw: &RawPortForward, report: &mut Report) -> Option<(Slice, PortRange)> {
    let ports = report.read(at, "ports", raw.ports.as_deref(), text::ports)?;
    let space = match raw.protocol.as_deref()? {
        "tcp" => Space::Tcp,
        _ => Space::Udp,
    };
    Some((Slice { protocol: space.protocol(), first: ports.first, last: ports.last }, ports))
}
