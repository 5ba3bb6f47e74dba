//! VXLAN → route → VXLAN: VMs of one network of a VPC send to VMs of another.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use etherparse::PacketBuilder;
use ipnet::Ipv4Net;
use tidegate_fastpath::types::{MacAddr, PortId, Vni, VrfId};

use super::{Datagram, Host, Load, Scenario, TTL, written};
use crate::{
    gateway::{Builder, Gateway},
    oracle::{self, Expected, Tunnel},
};

const UDP_PORT: u16 = 4789;
const OUR_VTEP: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 1);
const OUR_UNDERLAY_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);
/// Largest packet of the tenants' networks, and of the underlay.
const MTU: u32 = 9000;
/// Compute hosts on each side. The VMs of the second network are on hosts of their own.
const HOSTS: u32 = 64;
/// VMs on one host; the rest of the last octet is the gateway's.
const VMS_PER_HOST: u32 = 250;
/// Most VMs of one network.
const VMS_MAX: u32 = HOSTS * VMS_PER_HOST;

/// VNI of the senders' and of the receivers' network.
const VNIS: [u32; 2] = [200, 201];
/// Where the two networks of the VPC begin: `10.1.0.0/17`, `10.1.128.0/17`.
const FIRST_HOST: [u8; 2] = [0, 128];

/// The scenario and its parameters.
#[derive(Clone, Copy, Debug)]
pub struct VxlanVxlan {
    /// The frames of the VMs.
    pub load: Load,
    /// Sending VMs, at most [`VMS_MAX`].
    pub sources: u32,
    /// Receiving VMs, at most [`VMS_MAX`].
    pub destinations: u32,
}

/// The `n`th VM of one side.
fn vm(side: usize, n: u32) -> Host {
    Host::new(1, FIRST_HOST[side] + (n % HOSTS) as u8, 1 + (n / HOSTS) as u8)
}

/// The tunnel end and underlay MAC of the host that a VM is on.
fn compute_host(vm: Host) -> (Ipv4Addr, MacAddr) {
    let host = vm.ip.octets()[2];
    (Ipv4Addr::new(172, 31, host, 1), MacAddr::new([2, 0, 0, 0, host, 1]))
}

fn gateway_mac(side: usize) -> MacAddr {
    MacAddr::new([2, 0, 0, 1, FIRST_HOST[side], 254])
}

impl VxlanVxlan {
    fn source(&self, flow: u32) -> Host {
        vm(0, flow % self.sources)
    }

    fn destination(&self, flow: u32) -> Host {
        vm(1, (flow / self.sources + flow) % self.destinations)
    }

    /// The frame that a VM sends to one of the other network.
    fn inner(&self, flow: u32) -> Vec<u8> {
        self.inner_for(flow, self.destination(flow).ip)
    }

    /// The frame that a VM sends.
    pub(super) fn inner_for(&self, flow: u32, destination: Ipv4Addr) -> Vec<u8> {
        // One source port per round over the sources, so that no two flows are equal.
        let ports = (1024 + (flow / self.sources) as u16, 443);
        let source = self.source(flow);
        Datagram { source, gateway: gateway_mac(0), destination, ports }.frame(self.load.frame_bytes)
    }

    /// The VPC with its two networks and all VMs.
    pub(super) fn site(&self) -> Result<(Builder, VrfId)> {
        ensure!((1..=VMS_MAX).contains(&self.sources), "give 1 to {VMS_MAX} sources");
        ensure!((1..=VMS_MAX).contains(&self.destinations), "give 1 to {VMS_MAX} destinations");
        ensure!(self.load.flows / self.sources < 64_000, "{} flows need more sources", self.load.flows);
        let mut builder = Builder::new(self.load.tracked, MTU, (2 * HOSTS + 2 * VMS_MAX) as usize)?;
        let [underlay, vpc] = [builder.vrf(), builder.vrf()];
        let prefix = Ipv4Net::new(Ipv4Addr::new(172, 31, 0, 0), 16)?;
        let underlay = builder.plain(underlay, OUR_UNDERLAY_MAC, prefix, OUR_VTEP);
        let vtep = builder.vtep(underlay, OUR_VTEP, UDP_PORT);
        for (side, vms) in [self.sources, self.destinations].into_iter().enumerate() {
            let prefix = Ipv4Net::new(Host::new(1, FIRST_HOST[side], 0).ip, 17)?;
            let address = Host::new(1, FIRST_HOST[side], 254).ip;
            let vni = Vni::new(VNIS[side])?;
            let net = builder.vxlan(vpc, gateway_mac(side), prefix, address, (vtep, vni));
            for n in 0..vms {
                let vm = vm(side, n);
                let (remote, mac) = compute_host(vm);
                let next = builder.neighbour(underlay, remote, mac, None)?;
                builder.neighbour(net, vm.ip, vm.mac, Some((remote, next)))?;
            }
        }
        Ok((builder, vpc))
    }

    /// The frame of a VM as it arrives in its tunnel.
    pub(super) fn arriving_for(&self, flow: u32, destination: Ipv4Addr) -> Vec<u8> {
        let (remote, mac) = compute_host(self.source(flow));
        // A sender's port comes from its hash of the inner flow; any number that differs will do.
        let source_port = 0xc000 | (flow.wrapping_mul(0x9e37_79b1) >> 18) as u16;
        let builder = PacketBuilder::ethernet2(mac.octets(), OUR_UNDERLAY_MAC.octets())
            .ipv4(remote.octets(), OUR_VTEP.octets(), TTL)
            .udp(source_port, UDP_PORT);
        let mut payload = vec![8, 0, 0, 0];
        payload.extend((VNIS[0] << 8).to_be_bytes());
        payload.extend(self.inner_for(flow, destination));
        let mut frame = written(builder, &payload);
        // Senders leave the outer UDP checksum out (RFC 7348 §5).
        frame[40..42].fill(0);
        frame
    }
}

impl Scenario for VxlanVxlan {
    fn name(&self) -> &'static str {
        "vxlan-vxlan"
    }

    fn load(&self) -> Load {
        self.load
    }

    fn gateway(&self) -> Result<Gateway> {
        Ok(self.site()?.0.build())
    }

    fn arriving(&self, flow: u32) -> Vec<u8> {
        self.arriving_for(flow, self.destination(flow).ip)
    }

    fn check(&self, flow: u32, port: PortId, frame: &[u8]) -> Result<()> {
        ensure!(port == PortId(0), "sent on port {port}");
        let vm = self.destination(flow);
        let (remote, next) = compute_host(vm);
        let expected = Expected { sent: &self.inner(flow), source: gateway_mac(1), destination: vm.mac };
        let tunnel = Tunnel {
            ends: (OUR_UNDERLAY_MAC, next),
            vteps: (OUR_VTEP, remote),
            udp_port: UDP_PORT,
            vni: VNIS[1],
        };
        oracle::check_tunnel(&tunnel, &expected, frame)
    }
}
