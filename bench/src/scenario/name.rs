//! The scenarios by name.

use std::{fmt, str::FromStr, sync::Arc};

use anyhow::{Result, bail};

use super::{
    Load, Scenario, eip::Eip, full_nat::FullNat, inward::Inward, ip4::Ip4, lb_in::LbIn, pf_in::PortForward,
    qos::Limited, snat::Snat, vpc::Vpc, vxlan::Vxlan,
};
use crate::traffic::{FrameSize, Popularity};

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Plain routing from port to port; each packet is decided.
    Ip4,
    /// Plain routing with a flow entry per direction.
    Session,
    /// VXLAN → route → VXLAN.
    VxlanVxlan,
    /// VXLAN → route → IP.
    VxlanIp,
    /// IP → SNAT → IP.
    Snat,
    /// VXLAN → SNAT → IP.
    VxlanSnat,
    /// VXLAN → EIP → IP.
    Eip,
    /// IP → port forward → VXLAN.
    PfIn,
    /// IP → load balancer → VXLAN.
    LbIn,
    /// [`Name::VxlanSnat`] with rate limits of the public addresses.
    VxlanSnatQos,
    /// [`Name::PfIn`] with rate limits of the public address.
    PfInQos,
    /// [`Name::VxlanSnat`] with rate limits that have colours.
    VxlanSnatColour,
    /// [`Name::LbIn`] with full NAT: backends see the gateway's address in place of the client's.
    LbInFullNat,
}

impl Name {
    /// All of them.
    pub const ALL: [Name; 13] = [
        Name::Ip4,
        Name::Session,
        Name::VxlanVxlan,
        Name::VxlanIp,
        Name::Snat,
        Name::VxlanSnat,
        Name::Eip,
        Name::PfIn,
        Name::LbIn,
        Name::VxlanSnatQos,
        Name::PfInQos,
        Name::VxlanSnatColour,
        Name::LbInFullNat,
    ];

    /// As on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Name::Ip4 => "ip4",
            Name::Session => "session",
            Name::VxlanVxlan => "vxlan-vxlan",
            Name::VxlanIp => "vxlan-ip",
            Name::Snat => "snat",
            Name::VxlanSnat => "vxlan-snat",
            Name::Eip => "eip",
            Name::PfIn => "pf-in",
            Name::LbIn => "lb-in",
            Name::VxlanSnatQos => "vxlan-snat+qos",
            Name::PfInQos => "pf-in+qos",
            Name::VxlanSnatColour => "vxlan-snat+colour",
            Name::LbInFullNat => "lb-in+full-nat",
        }
    }

    /// Whether its packets use flow entries where nothing else is asked for.
    pub const fn is_tracked(self) -> bool {
        !matches!(self, Name::Ip4)
    }

    /// The scenario with these parameters.
    pub fn with(self, parameters: &Parameters) -> Arc<dyn Scenario> {
        let Parameters { flows, frames, popularity, tracked, sources, destinations, routes, vpcs } =
            *parameters;
        let tracked = tracked.unwrap_or(self.is_tracked());
        let load = Load { scenario: self, tracked, flows, frames, popularity };
        // Each VPC has a receiver at least.
        let vpc = Vpc { senders: sources, receivers: destinations.max(vpcs), vpcs };
        let limited = |inner: Name, has_colours| Limited { load, inner: inner.with(parameters), has_colours };
        match self {
            Name::Ip4 | Name::Session => Arc::new(Ip4 { load, routes }),
            Name::VxlanVxlan => Arc::new(Vxlan { load, vpc, to_tunnel: true }),
            Name::VxlanIp => Arc::new(Vxlan { load, vpc, to_tunnel: false }),
            Name::Snat => Arc::new(Snat { load, vpc, in_tunnel: false }),
            Name::VxlanSnat => Arc::new(Snat { load, vpc, in_tunnel: true }),
            Name::Eip => Arc::new(Eip { load, vpc }),
            Name::PfIn => Arc::new(Inward { load, vpc, service: PortForward { vms: sources } }),
            Name::LbIn => Arc::new(Inward { load, vpc, service: LbIn::new(vpc) }),
            Name::VxlanSnatQos => Arc::new(limited(Name::VxlanSnat, false)),
            Name::PfInQos => Arc::new(limited(Name::PfIn, false)),
            Name::VxlanSnatColour => Arc::new(limited(Name::VxlanSnat, true)),
            Name::LbInFullNat => {
                let vpc = FullNat::fewer(vpc);
                Arc::new(Inward { load, vpc, service: FullNat::new(vpc) })
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.pad(self.as_str())
    }
}

impl FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Name> {
        if let Some(name) = Name::ALL.into_iter().find(|name| name.as_str() == text) {
            return Ok(name);
        }
        let all: Vec<&str> = Name::ALL.iter().map(|name| name.as_str()).collect();
        if let Some((name, service)) = text.split_once('+')
            && all.contains(&name)
        {
            bail!("there is no service {service:?} to switch on beside {name}");
        }
        bail!("there is no such scenario; there are {}", all.join(", "))
    }
}

/// What scenarios take. Each uses what it knows.
#[derive(Clone, Copy, Debug)]
pub struct Parameters {
    /// How many flows (directions).
    pub flows: u32,
    /// Their frames.
    pub frames: FrameSize,
    /// How often each comes.
    pub popularity: Popularity,
    /// Whether packets use flow entries; `None` for what is usual.
    pub tracked: Option<bool>,
    /// VMs that send; `pf-in`, `lb-in`: that are reached.
    pub sources: u32,
    /// `vxlan-vxlan`, `vxlan-ip`: VMs that receive.
    pub destinations: u32,
    /// `ip4`, `session`: 1 for a default route, or so many /32 routes.
    pub routes: u32,
    /// `vxlan-vxlan`, `vxlan-snat`: so many VPCs share the VMs, each with networks of its own.
    pub vpcs: u32,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            flows: 1,
            frames: FrameSize::Fixed(64),
            popularity: Popularity::Uniform,
            tracked: None,
            sources: 1000,
            destinations: 250,
            routes: 1,
            vpcs: 1,
        }
    }
}
