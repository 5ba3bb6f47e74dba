//! Plain routing: IPv4 from one port to another, over one route or a million host routes.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use ipnet::Ipv4Net;
use tidegate_fastpath::{
    table::fib::Hop,
    types::{MacAddr, PortId},
};

use super::{
    Load, Scenario,
    packet::{Datagram, Host, world_address},
};
use crate::{
    gateway::{Builder, Gateway},
    oracle::{self, Expected, Replaced},
};

const MTU: u32 = 9000;
/// Routers behind which the routes lead.
pub(super) const NEXT_HOPS: u32 = 16;
/// Most routes of the scenario.
const ROUTES_MAX: u32 = 1_000_000;
/// Hosts that send.
const SOURCES: u32 = 200;
/// Ours, on the ports where frames arrive and where they leave.
pub(super) const GATEWAY_MACS: [MacAddr; 2] =
    [MacAddr::new([2, 0, 0, 0, 0, 1]), MacAddr::new([2, 0, 0, 0, 0, 2])];

/// The scenario and its parameters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip4 {
    pub(super) load: Load,
    /// 1: a default route; more: so many /32 routes, spread over 96.0.0.0/4.
    pub(super) routes: u32,
}

fn source(n: u32) -> Host {
    Host::new(1, 0, 1 + (n % SOURCES) as u8)
}

/// The next hop of the `n`th route.
pub(super) fn next_hop(n: u32) -> Host {
    Host::new(2, 0, 1 + (n % NEXT_HOPS) as u8)
}

impl Ip4 {
    fn datagram(&self, flow: u32) -> Datagram {
        let ports = (1024 + (flow / SOURCES) as u16 % 60_000, 443);
        Datagram { source: source(flow), gateway: GATEWAY_MACS[0], destination: world_address(flow), ports }
    }
}

impl Scenario for Ip4 {
    fn load(&self) -> &Load {
        &self.load
    }

    fn routes(&self) -> Option<u32> {
        Some(self.routes)
    }

    fn check_flows(&self, flows: u32) -> Result<()> {
        ensure!(self.routes == 1 || flows <= self.routes, "give at most one flow per route");
        Ok(())
    }

    fn gateway(&self) -> Result<Gateway> {
        ensure!((1..=ROUTES_MAX).contains(&self.routes), "give 1 to {ROUTES_MAX} routes");
        let mut builder = Builder::new(self.load.tracked, MTU, 1024)?;
        let vrf = builder.vrf();
        let mut ends = [1u8, 2].into_iter().zip(GATEWAY_MACS).map(|(vpc, mac)| {
            let prefix = Ipv4Net::new(Ipv4Addr::new(10, vpc, 0, 0), 24);
            prefix.map(|prefix| builder.plain(vrf, mac, prefix, Ipv4Addr::new(10, vpc, 0, 254)))
        });
        ends.next().transpose()?;
        let egress = ends.next().transpose()?.unwrap_or_default();
        drop(ends);
        if self.routes == 1 {
            builder.route(vrf, Ipv4Net::default(), Hop::Via(egress, next_hop(0).ip));
        } else {
            for n in 0..self.routes {
                builder.route(vrf, world_address(n).into(), Hop::Via(egress, next_hop(n).ip));
            }
        }
        for n in 0..NEXT_HOPS {
            builder.neighbour(egress, next_hop(n).ip, next_hop(n).mac, None)?;
        }
        Ok(builder.build())
    }

    fn arriving(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        self.datagram(flow).frame(frame_bytes)
    }

    fn check(&self, flow: u32, frame_bytes: usize, port: PortId, frame: &[u8]) -> Result<()> {
        ensure!(port == PortId(1), "sent on port {port}");
        let next = if self.routes == 1 { 0 } else { flow };
        let expected = Expected {
            sent: &self.arriving(flow, frame_bytes),
            source: GATEWAY_MACS[1],
            destination: next_hop(next).mac,
            replaced: Replaced::Nothing,
        };
        oracle::check_routed(&expected, frame)
    }
}
