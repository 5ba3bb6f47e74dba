//! Metrics of the gateway's end of ZSNP.

use tidegate_zsnp::Refusal;

use super::{catalog, sheet::Sheet};
use crate::{
    config::TableKey,
    gateway::Gateway,
    zsnp::{Phase, ZsnpEvent},
};

/// Pairs, hosts, what happened, what was refused, and how much went which way.
pub(super) fn zsnp(sheet: &mut Sheet, gateway: &Gateway) {
    let (zsnp, machine) = (gateway.zsnp(), gateway.zsnp().machine());
    sheet.set(&catalog::ZSNP_UP, &[], zsnp.speaks().into());
    sheet.set(&catalog::ZSNP_HOSTS, &[], machine.peers().len() as u64);
    for phase in Phase::ALL {
        sheet.set(&catalog::ZSNP_PAIRS, &[phase.label()], machine.in_phase(phase) as u64);
    }
    for event in ZsnpEvent::ALL {
        sheet.set(&catalog::ZSNP_EVENTS, &[event.label()], machine.counted(*event));
    }
    for refusal in Refusal::ALL {
        sheet.set(&catalog::ZSNP_REFUSED, &[refusal.label()], zsnp.refusals().of(refusal));
    }
    for (vrf, share) in machine.shares() {
        let Some(vpc) = gateway.desired().vrf_key(*vrf).map(TableKey::to_string) else { continue };
        for (way, packets, bytes) in [
            ("direct", share.direct_packets, share.direct_bytes),
            ("gateway", share.gateway_packets, share.gateway_bytes),
        ] {
            sheet.set(&catalog::ZSNP_PACKETS, &[&vpc, way], packets);
            sheet.set(&catalog::ZSNP_BYTES, &[&vpc, way], bytes);
        }
    }
}
