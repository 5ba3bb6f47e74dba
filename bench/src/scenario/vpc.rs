//! VPCs with two VXLAN networks each: the VMs of the first send, those of the second receive, all of them behind compute hosts.
//! There is one, or so many that neighbouring packets are hardly ever of the same network.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use etherparse::PacketBuilder;
use ipnet::Ipv4Net;
use tidegate_fastpath::types::{MacAddr, Vni, VrfId};

use super::{
    Load,
    packet::{Datagram, Host, SPREAD, TTL, world_address, written},
    world::World,
};
use crate::{gateway::Builder, oracle::Tunnel};

const UDP_PORT: u16 = 4789;
pub(super) const OUR_VTEP: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 1);
pub(super) const OUR_UNDERLAY_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
/// Largest packet of the tenants' networks, and of the underlay.
const MTU: u32 = 9000;
/// Compute hosts on each side. The VMs of the second network are on hosts of their own.
const HOSTS: u32 = 64;
/// VMs on one host; the rest of the last octet is the gateway's.
const VMS_PER_HOST: u32 = 250;
/// Most VMs of one network.
const VMS_MAX: u32 = HOSTS * VMS_PER_HOST;
/// Source ports of one VM towards one destination.
const PORTS: u32 = 64_000;

/// VNI of the senders' and of the receivers' network of the first VPC; the next one has the next two.
pub(super) const VNIS: [u32; 2] = [200, 201];
/// Where the two networks of the VPC begin: `10.1.0.0/17`, `10.1.128.0/17`.
const FIRST_HOST: [u8; 2] = [0, 128];

/// Which of the two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Senders,
    Receivers,
}

/// How many VMs there are on each side, and how many VPCs share them: VM n is of the VPC n modulo their number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vpc {
    pub(super) senders: u32,
    pub(super) receivers: u32,
    pub(super) vpcs: u32,
}

impl Vpc {
    /// # Errors
    /// More flows than the senders have ports.
    pub(super) fn check_flows(&self, flows: u32) -> Result<()> {
        ensure!(flows / self.senders.max(1) < PORTS, "{flows} flows need more sources");
        Ok(())
    }

    /// A builder with room for the VMs.
    ///
    /// # Errors
    /// More VMs than a network has room for.
    pub(super) fn builder(&self, tracked: bool) -> Result<Builder> {
        ensure!((1..=VMS_MAX).contains(&self.senders), "give 1 to {VMS_MAX} sources");
        ensure!((1..=VMS_MAX).contains(&self.receivers), "give 1 to {VMS_MAX} destinations");
        ensure!(
            self.vpcs <= self.senders.min(self.receivers),
            "give each VPC a source and a destination at least"
        );
        Builder::new(tracked, MTU, (2 * HOSTS + 2 * VMS_MAX + 16) as usize)
    }

    /// The sender of a flow.
    pub(super) fn sender(&self, flow: u32) -> Host {
        vm(Side::Senders, flow % self.senders)
    }

    /// The VPC that a flow is of, from 0 on.
    pub(super) fn vpc(&self, flow: u32) -> u32 {
        flow % self.senders % self.vpcs
    }

    /// The receiver of a flow, in the VPC of its sender.
    pub(super) fn receiver(&self, flow: u32) -> Host {
        let of_vpc = self.receivers / self.vpcs;
        vm(Side::Receivers, (flow / self.senders + flow) % of_vpc * self.vpcs + self.vpc(flow))
    }

    /// What the sender of a flow sends to its gateway. One source port per round over the senders, so that no two flows
    /// are equal.
    fn sent(&self, flow: u32, destination: Ipv4Addr, frame_bytes: usize) -> Vec<u8> {
        let ports = (1024 + (flow / self.senders) as u16, 443);
        let (source, gateway) = (self.sender(flow), gateway_mac(Side::Senders));
        Datagram { source, gateway, destination, ports }.frame(frame_bytes)
    }

    /// What a VM sends to the receiver of its flow.
    pub(super) fn sent_inside(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        self.sent(flow, self.receiver(flow).ip, frame_bytes)
    }

    /// What a VM sends to the world, each flow to an address of its own.
    pub(super) fn sent_outside(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        self.sent(flow, world_address(flow), frame_bytes)
    }

    /// What a VM sends, as it arrives: in its tunnel.
    pub(super) fn in_tunnel(&self, flow: u32, inner: &[u8]) -> Vec<u8> {
        tunnelled(self.sender(flow), flow, VNIS[Side::Senders as usize] + 2 * self.vpc(flow), inner)
    }

    /// VPCs whose senders are in tunnels or on a port, and the world behind them on the next one. Only with flow entries, which
    /// translation needs.
    pub(super) fn before_world(&self, load: &Load, in_tunnel: bool) -> Result<(Builder, Vec<VrfId>, World)> {
        ensure!(load.tracked, "translation needs flow entries");
        let mut builder = self.builder(true)?;
        let vpcs = if in_tunnel {
            self.in_tunnels(&mut builder, &[Side::Senders])?
        } else {
            let vpc = builder.vrf();
            self.on_port(&mut builder, vpc, Side::Senders)?;
            vec![vpc]
        };
        let world = World::new(&mut builder)?;
        Ok((builder, vpcs, world))
    }

    /// As [`Vpc::before_world`] for what is written for one VPC only, whose senders are in tunnels.
    pub(super) fn alone_before_world(&self, load: &Load) -> Result<(Builder, VrfId, World)> {
        ensure!(self.vpcs == 1, "this scenario has one VPC");
        let (builder, vpcs, world) = self.before_world(load, true)?;
        Ok((builder, vpcs[0], world))
    }

    /// The VPCs with both networks in tunnels, and all VMs. Frames arrive on port 0.
    pub(super) fn in_tunnels(&self, builder: &mut Builder, sides: &[Side]) -> Result<Vec<VrfId>> {
        let underlay = builder.vrf();
        let prefix = Ipv4Net::new(Ipv4Addr::new(172, 31, 0, 0), 16)?;
        let underlay = builder.plain(underlay, OUR_UNDERLAY_MAC, prefix, OUR_VTEP);
        let vtep = builder.vtep(underlay, OUR_VTEP, UDP_PORT);
        let mut vpcs = Vec::new();
        for number in 0..self.vpcs {
            let vpc = builder.vrf();
            for side in sides.iter().copied() {
                let vni = Vni::new(VNIS[side as usize] + 2 * number)?;
                let net = builder.vxlan(vpc, gateway_mac(side), prefix_of(side)?, address(side), (vtep, vni));
                for vm in self.vms(side).skip(number as usize).step_by(self.vpcs as usize) {
                    let (remote, mac) = compute_host(vm);
                    let next = builder.neighbour(underlay, remote, mac, None)?;
                    builder.neighbour(net, vm.ip, vm.mac, Some((remote, next)))?;
                }
            }
            vpcs.push(vpc);
        }
        Ok(vpcs)
    }

    /// One of the networks without tunnel, on a port of its own.
    pub(super) fn on_port(&self, builder: &mut Builder, vpc: VrfId, side: Side) -> Result<()> {
        ensure!(self.vpcs == 1, "one VPC alone has a network without tunnel");
        let net = builder.plain(vpc, gateway_mac(side), prefix_of(side)?, address(side));
        self.vms(side).try_for_each(|vm| builder.neighbour(net, vm.ip, vm.mac, None).map(drop))
    }

    pub(super) fn vms(&self, side: Side) -> impl Iterator<Item = Host> + use<> {
        let vms = if side == Side::Senders { self.senders } else { self.receivers };
        (0..vms).map(move |n| vm(side, n))
    }
}

/// The `n`th VM of one side.
pub(super) fn vm(side: Side, n: u32) -> Host {
    Host::new(1, FIRST_HOST[side as usize] + (n % HOSTS) as u8, 1 + (n / HOSTS) as u8)
}

/// The tunnel end and underlay MAC of the host that a VM is on.
pub(super) fn compute_host(vm: Host) -> (Ipv4Addr, MacAddr) {
    let host = vm.ip.octets()[2];
    (Ipv4Addr::new(172, 31, host, 1), MacAddr::new([2, 0, 0, 31, host, 1]))
}

/// Our MAC on one of the networks.
pub(super) fn gateway_mac(side: Side) -> MacAddr {
    MacAddr::new([2, 0, 0, 1, FIRST_HOST[side as usize], 254])
}

pub(super) fn address(side: Side) -> Ipv4Addr {
    Host::new(1, FIRST_HOST[side as usize], 254).ip
}

fn prefix_of(side: Side) -> Result<Ipv4Net> {
    Ok(Ipv4Net::new(Host::new(1, FIRST_HOST[side as usize], 0).ip, 17)?)
}

/// What a VM of a first network sends, as it arrives in its tunnel.
fn tunnelled(vm: Host, flow: u32, vni: u32, inner: &[u8]) -> Vec<u8> {
    let (remote, mac) = compute_host(vm);
    // A sender's port comes from its hash of the inner flow; any number that differs will do.
    let source_port = 0xc000 | (flow.wrapping_mul(SPREAD) >> 18) as u16;
    let builder = PacketBuilder::ethernet2(mac.octets(), OUR_UNDERLAY_MAC.octets())
        .ipv4(remote.octets(), OUR_VTEP.octets(), TTL)
        .udp(source_port, UDP_PORT);
    let mut payload = vec![8, 0, 0, 0];
    payload.extend((vni << 8).to_be_bytes());
    payload.extend(inner);
    let mut frame = written(builder, &payload);
    // Senders leave the outer UDP checksum out (RFC 7348 §5).
    frame[40..42].fill(0);
    frame
}

/// The tunnel in which we must send to a VM of a VPC, by its number.
pub(super) fn tunnel_to(vm: Host, side: Side, vpc: u32) -> Tunnel {
    let (remote, next) = compute_host(vm);
    Tunnel {
        ends: (OUR_UNDERLAY_MAC, next),
        vteps: (OUR_VTEP, remote),
        udp_port: UDP_PORT,
        vni: VNIS[side as usize] + 2 * vpc,
    }
}
