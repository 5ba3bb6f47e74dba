//! What is measured: a gateway's configuration, the frames that reach it, and what must come out.

mod ip4;
mod vxlan_snat;
mod vxlan_vxlan;

use std::net::Ipv4Addr;

use anyhow::Result;
use etherparse::PacketBuilder;
use tidegate_fastpath::{
    nat::NatLimits,
    types::{MacAddr, PortId},
};

pub use self::{ip4::Ip4, vxlan_snat::VxlanSnat, vxlan_vxlan::VxlanVxlan};
use crate::gateway::Gateway;

/// What every scenario has as parameters.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Whether packets use flow entries, or are decided one by one.
    pub tracked: bool,
    /// How many flows (directions).
    pub flows: u32,
    /// Bytes of a tenant's frame, FCS included, tunnel headers not.
    pub frame_bytes: usize,
}

/// One scenario with its parameters. Frames of a flow are always the same.
pub trait Scenario {
    /// As on the command line and in reports.
    fn name(&self) -> &'static str;

    /// Of which frames how many, and whether they use flow entries.
    fn load(&self) -> Load;

    /// Flow entries that it needs.
    fn entries(&self) -> usize {
        if self.load().tracked { self.load().flows as usize } else { 1 }
    }

    /// Sizes of its port translation.
    fn nat(&self) -> NatLimits {
        NatLimits { vms: 1, blocks: 1, vrfs: 1 }
    }

    /// The gateway.
    ///
    /// # Errors
    /// Parameters that do not fit.
    fn gateway(&self) -> Result<Gateway>;

    /// The port on which frames arrive.
    fn port(&self) -> PortId {
        PortId(0)
    }

    /// The frame of a flow as it arrives.
    fn arriving(&self, flow: u32) -> Vec<u8>;

    /// Whether `frame`, sent on `port`, is what the gateway must make of the frame of `flow`.
    ///
    /// # Errors
    /// The first field that is wrong.
    fn check(&self, flow: u32, port: PortId, frame: &[u8]) -> Result<()>;
}

/// Bytes of FCS, which are in a frame's size but never in memory.
const FCS_LEN: usize = 4;
/// Ethernet, IPv4 and UDP header.
const HEADERS_LEN: usize = 14 + 20 + 8;
/// TTL of arriving packets.
const TTL: u8 = 64;

/// A host: `02:00:00:<vpc>:<host>:<vm>` and `10.<vpc>.<host>.<vm>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Host {
    ip: Ipv4Addr,
    mac: MacAddr,
}

impl Host {
    const fn new(vpc: u8, host: u8, vm: u8) -> Host {
        Host { ip: Ipv4Addr::new(10, vpc, host, vm), mac: MacAddr::new([2, 0, 0, vpc, host, vm]) }
    }
}

/// A UDP packet of one flow between two hosts.
#[derive(Clone, Copy, Debug)]
struct Datagram {
    source: Host,
    /// Its first hop, for the Ethernet header.
    gateway: MacAddr,
    destination: Ipv4Addr,
    ports: (u16, u16),
}

impl Datagram {
    /// An Ethernet frame of `frame_bytes` with FCS, without the FCS; checksums are right.
    fn frame(&self, frame_bytes: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..frame_bytes - FCS_LEN - HEADERS_LEN).map(|n| n as u8).collect();
        let builder = PacketBuilder::ethernet2(self.source.mac.octets(), self.gateway.octets())
            .ipv4(self.source.ip.octets(), self.destination.octets(), TTL)
            .udp(self.ports.0, self.ports.1);
        written(builder, &payload)
    }
}

fn written(builder: etherparse::PacketBuilderStep<etherparse::UdpHeader>, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("a Vec takes every byte, and frames are shorter than 64 KiB");
    frame
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        measurement::{Length, Subject},
        pool::MemPool,
        subject::Replay,
        traffic::Traffic,
    };

    const VXLAN: VxlanVxlan = VxlanVxlan {
        load: Load { tracked: true, flows: 3000, frame_bytes: 64 },
        sources: 100,
        destinations: 70,
    };
    const IP4: Ip4 = Ip4 { load: Load { tracked: true, flows: 1000, frame_bytes: 128 }, routes: 2000 };

    #[test]
    fn every_scenario_passes_its_own_check_on_both_paths() {
        let scenarios: [Arc<dyn Scenario>; 6] = [
            Arc::new(VXLAN),
            Arc::new(VxlanVxlan { load: Load { tracked: false, flows: 1, frame_bytes: 1500 }, ..VXLAN }),
            Arc::new(IP4),
            Arc::new(Ip4 { load: Load { tracked: false, ..IP4.load }, ..IP4 }),
            Arc::new(Ip4 { routes: 1, ..IP4 }),
            Arc::new(VxlanSnat { load: VXLAN.load, sources: 100 }),
        ];
        for scenario in scenarios {
            let traffic = Traffic::new(&*scenario);
            let mut replay = Replay::new(scenario, traffic, MemPool::default(), 7).unwrap();
            replay.verify().unwrap();
            replay.round(Length::Packets(100)).unwrap();
            let (received, sent) = replay.finish().unwrap();
            assert!(received == sent && received >= 100, "{received} {sent}");
        }
    }

    #[test]
    fn a_frame_with_any_byte_changed_fails_the_check() {
        let ingress = PortId(0);
        let scenario: Arc<dyn Scenario> =
            Arc::new(VxlanVxlan { load: Load { flows: 1, ..VXLAN.load }, ..VXLAN });
        let traffic = Traffic::new(&*scenario);
        let mut replay = Replay::new(Arc::clone(&scenario), traffic, MemPool::default(), 1).unwrap();
        let right = replay.emitted().unwrap();
        scenario.check(0, ingress, &right).unwrap();
        for at in 0..right.len() {
            // Any upper source port will do (the check knows only the range), and nothing reads the outer identification
            // or TTL beyond that.
            if matches!(at, 15 | 18..=23 | 24..=25 | 34 | 35) {
                continue;
            }
            let mut wrong = right.clone();
            wrong[at] ^= 0x10;
            assert!(scenario.check(0, ingress, &wrong).is_err(), "byte {at}");
        }
        assert!(scenario.check(0, PortId(1), &right).is_err());
    }
}
