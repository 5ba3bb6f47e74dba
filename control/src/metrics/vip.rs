//! Metrics of public addresses.

use super::{catalog, sheet::Sheet};
use crate::gateway::Gateway;

/// What passed each, from when it is configured on.
pub(super) fn vips(sheet: &mut Sheet, gateway: &Gateway) {
    let desired = gateway.desired();
    for vip in &desired.config().vips {
        let Some(table) = desired.vip(&vip.id).and_then(|id| gateway.compiled().tables.vip(id)) else {
            continue;
        };
        let traffic = table.meter.shown();
        for (direction, amount) in [("in", traffic.inbound), ("out", traffic.outbound)] {
            let labels = [vip.id.as_str(), direction];
            sheet.set(&catalog::VIP_PACKETS, &labels, amount.packets);
            sheet.set(&catalog::VIP_BYTES, &labels, amount.bytes);
        }
    }
}
