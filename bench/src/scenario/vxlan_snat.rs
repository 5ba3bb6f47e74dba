//! VXLAN → SNAT → IP: VMs of a VPC send to the world behind a pool of public addresses.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::{Context, Result, ensure};
use etherparse::{Ethernet2Header, Ipv4Header, UdpHeader};
use ipnet::Ipv4Net;
use tidegate_fastpath::{
    nat::NatLimits,
    table::{
        fib::Hop,
        nat::{Exit, FIRST_PORT, Snat, Vip},
    },
    types::{MacAddr, PortId},
};

use super::{Host, Load, Scenario, VxlanVxlan};
use crate::{gateway::Gateway, oracle};

/// VIPs of the pool: 40 × 63 × 1024 ports.
const VIPS: u8 = 40;
const OUR_PUBLIC_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 2]);
const UPSTREAM: Host = Host { ip: Ipv4Addr::new(203, 0, 113, 1), mac: MacAddr::new([2, 0, 0, 0, 113, 1]) };
/// Ports of one VM, in blocks.
const BLOCKS_PER_VM: u16 = 1_000;

/// The scenario and its parameters.
#[derive(Clone, Copy, Debug)]
pub struct VxlanSnat {
    /// The frames of the VMs; each flow is a session.
    pub load: Load,
    /// Sending VMs.
    pub sources: u32,
}

impl VxlanSnat {
    /// The VMs and their frames; their destinations are no VMs, but addresses in the world.
    fn vms(&self) -> VxlanVxlan {
        VxlanVxlan { load: self.load, sources: self.sources, destinations: 1 }
    }

    fn destination(flow: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x6000_0000 | flow.wrapping_mul(0x9e37_79b1) >> 12)
    }
}

fn public() -> Result<Ipv4Net> {
    Ok(Ipv4Net::new(Ipv4Addr::new(203, 0, 113, 0), 24)?)
}

impl Scenario for VxlanSnat {
    fn name(&self) -> &'static str {
        "vxlan-snat"
    }

    fn load(&self) -> Load {
        self.load
    }

    fn entries(&self) -> usize {
        2 * self.load.flows as usize
    }

    fn nat(&self) -> NatLimits {
        let blocks = self.load.flows as usize / 32 + self.sources as usize;
        NatLimits { vms: self.sources as usize, blocks, vrfs: 16 }
    }

    fn gateway(&self) -> Result<Gateway> {
        ensure!(self.load.tracked, "translation needs flow entries");
        ensure!(self.load.flows / self.sources < 64_000, "{} flows need more sources", self.load.flows);
        let (mut builder, vpc) = self.vms().site()?;
        let world = builder.vrf();
        let net = builder.plain(world, OUR_PUBLIC_MAC, public()?, Ipv4Addr::new(203, 0, 113, 2));
        builder.route(world, Ipv4Net::default(), Hop::Via(net, UPSTREAM.ip));
        builder.neighbour(net, UPSTREAM.ip, UPSTREAM.mac, None)?;
        let vips = (0..VIPS).map(|n| {
            let address = Ipv4Addr::new(203, 0, 113, 100 + n);
            let (forwards, held) = (Box::default(), Box::default());
            builder.vip(world, Vip { net, address, eip: None, forwards, held, leases: Arc::default() })
        });
        let snat = Snat { vips: vips.collect(), blocks_per_vm: BLOCKS_PER_VM, hairpin: false };
        builder.exit(vpc, Exit { rest: Some(Arc::new(snat)), ..Exit::default() });
        Ok(builder.build())
    }

    fn arriving(&self, flow: u32) -> Vec<u8> {
        self.vms().arriving_for(flow, VxlanSnat::destination(flow))
    }

    fn check(&self, flow: u32, port: PortId, frame: &[u8]) -> Result<()> {
        ensure!(port == PortId(1), "sent on port {port}");
        let payload = oracle::check_ethernet(OUR_PUBLIC_MAC, UPSTREAM.mac, frame)?;
        let sent = self.vms().inner_for(flow, VxlanSnat::destination(flow));
        let (_, original) = Ethernet2Header::from_slice(&sent)?;
        let (before, body_before) = Ipv4Header::from_slice(original)?;
        let (after, body) = Ipv4Header::from_slice(payload).context("IPv4 header")?;
        let source = Ipv4Addr::from(after.source);
        ensure!(public()?.contains(&source) && source.octets()[3] >= 100, "source {source} is no VIP");
        let wanted = Ipv4Header {
            time_to_live: before.time_to_live - 1,
            source: after.source,
            header_checksum: after.header_checksum,
            ..before
        };
        ensure!(after == wanted, "IPv4 header is {after:?}, not {wanted:?}");
        oracle::check_header_checksum(&after)?;
        let ((udp_before, data_before), (udp, data)) =
            (UdpHeader::from_slice(body_before)?, UdpHeader::from_slice(body)?);
        ensure!(udp.source_port >= FIRST_PORT, "port {}", udp.source_port);
        ensure!(
            udp.destination_port == udp_before.destination_port && data == data_before,
            "the payload changed"
        );
        ensure!(udp.calc_checksum_ipv4(&after, data)? == udp.checksum, "UDP checksum {:04x}", udp.checksum);
        Ok(())
    }
}
