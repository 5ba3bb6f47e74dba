//! A scenario with a rate limit on each public address, in both directions, so high that nothing is dropped: what one more
//! service costs. The limit may have colours, and then every packet is green.

use std::sync::Arc;

use anyhow::Result;
use arrayvec::ArrayVec;
use tidegate_fastpath::{
    nat::NatLimits,
    policer::{Above, Action, Bucket, Chain, Colouring, Count, Limits, Policers, Policing, Rate},
    table::nat::{BothWays, Vip, VipLimits},
    types::PortId,
};

use super::{Load, Scenario};
use crate::gateway::Gateway;

/// The clock of a replay may stand still, so a burst is for all of it.
const BURST: u64 = 1 << 44;
/// More than any machine sends.
const LIMITS: Limits = Limits {
    bits: Some(Rate { per_s: 400_000_000_000, burst: BURST }),
    packets: None,
    count: Count::L3,
    colouring: None,
};
/// The same as a meter with two bursts (srTCM), which lets green and yellow packets pass.
const COLOURING: Colouring = Colouring {
    above: Above::Excess(BURST),
    aware: false,
    actions: [Action::Pass, Action::Pass, Action::Drop],
};
/// More than a bench has.
const WORKERS: usize = 64;

/// The scenario without limits, and its name with them.
pub(super) struct Limited {
    pub(super) load: Load,
    pub(super) inner: Arc<dyn Scenario>,
    /// Whether the limits have colours.
    pub(super) has_colours: bool,
}

impl Scenario for Limited {
    fn load(&self) -> &Load {
        &self.load
    }

    fn services(&self) -> Vec<&'static str> {
        let mut services = self.inner.services();
        services.push(if self.has_colours { "qos by colour" } else { "qos" });
        services
    }

    fn vpcs(&self) -> u32 {
        self.inner.vpcs()
    }

    fn entries_per_flow(&self) -> usize {
        self.inner.entries_per_flow()
    }

    fn nat(&self) -> NatLimits {
        self.inner.nat()
    }

    fn check_flows(&self, flows: u32) -> Result<()> {
        self.inner.check_flows(flows)
    }

    fn gateway(&self) -> Result<Gateway> {
        let mut gateway = self.inner.gateway()?;
        let limits = Limits { colouring: self.has_colours.then_some(COLOURING), ..LIMITS };
        let bucket = |stamp| Some(Bucket::new(limits, WORKERS, stamp, None));
        let chain = Chain { outbound: ArrayVec::from_iter([0]), inbound: ArrayVec::from_iter([1]) };
        gateway.tables.policing =
            Policing { buckets: [bucket(1), bucket(2)].into(), chains: [Chain::default(), chain].into() };
        let policers = Policers::of_chain(1);
        let rest = BothWays { outbound: policers, inbound: policers };
        for vip in gateway.tables.vips.iter_mut().flatten() {
            *vip = Arc::new(Vip { limits: VipLimits { ports: [].into(), rest }, ..Vip::clone(vip) });
        }
        Ok(gateway)
    }

    fn port(&self) -> PortId {
        self.inner.port()
    }

    fn arriving(&self, flow: u32, frame_bytes: usize) -> Vec<u8> {
        self.inner.arriving(flow, frame_bytes)
    }

    fn check(&self, flow: u32, frame_bytes: usize, port: PortId, frame: &[u8]) -> Result<()> {
        self.inner.check(flow, frame_bytes, port, frame)
    }
}
