//! What is measured: a gateway's configuration, the frames that reach it, and what must come out. A file per scenario.

mod eip;
mod full_nat;
mod inward;
mod ip4;
mod lb_in;
mod linux;
mod name;
mod ovs;
mod packet;
mod pf_in;
mod qos;
mod snat;
#[cfg(test)]
mod tests;
mod vpc;
mod vpp;
mod vxlan;
mod world;

use anyhow::Result;
use tidegate_fastpath::{nat::NatLimits, types::PortId};

pub use self::{
    linux::{Linux, linux},
    name::{Name, Parameters},
    ovs::{Ovs, ovs},
    vpp::{Vpp, vpp},
};
use crate::{
    gateway::Gateway,
    traffic::{FrameSize, Popularity},
};

/// What every scenario has as parameters.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Which scenario.
    pub scenario: Name,
    /// Whether packets use flow entries, or are decided one by one.
    pub tracked: bool,
    /// How many flows (directions).
    pub flows: u32,
    /// How large its frames are.
    pub frames: FrameSize,
    /// How often each flow comes.
    pub popularity: Popularity,
}

/// One scenario with its parameters. Frames of a flow and of a size are always the same.
pub trait Scenario: Send + Sync {
    /// Of which frames how many, and whether they use flow entries.
    fn load(&self) -> &Load;

    /// What is switched on beside forwarding.
    fn services(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// How many routes it has, where that is a parameter.
    fn routes(&self) -> Option<u32> {
        None
    }

    /// How many VPCs share its VMs.
    fn vpcs(&self) -> u32 {
        1
    }

    /// Entries that a flow needs: both directions of a session, else one.
    fn entries_per_flow(&self) -> usize {
        1
    }

    /// Sizes of its port translation.
    fn nat(&self) -> NatLimits {
        NatLimits { vms: 1, blocks: 1, vrfs: 1 }
    }

    /// Whether it can make so many different flows.
    ///
    /// # Errors
    /// Too many flows for the other parameters.
    fn check_flows(&self, flows: u32) -> Result<()>;

    /// The gateway.
    ///
    /// # Errors
    /// Parameters that do not fit.
    fn gateway(&self) -> Result<Gateway>;

    /// The port on which frames arrive.
    fn port(&self) -> PortId {
        PortId(0)
    }

    /// The frame of a flow as it arrives; `frame_bytes` is the size of a tenant's frame, FCS included, tunnel headers not.
    fn arriving(&self, flow: u32, frame_bytes: usize) -> Vec<u8>;

    /// Whether `frame`, sent on `port`, is what the gateway must make of that frame.
    ///
    /// # Errors
    /// The first field that is wrong.
    fn check(&self, flow: u32, frame_bytes: usize, port: PortId, frame: &[u8]) -> Result<()>;
}
