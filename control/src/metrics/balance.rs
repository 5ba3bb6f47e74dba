//! Metrics of listeners and backends.

use tidegate_fastpath::table::balance::Refused;

use super::{catalog, sheet::Sheet};
use crate::gateway::Gateway;

/// Listeners that workers serve, and their backends.
pub(super) fn listeners(sheet: &mut Sheet, gateway: &Gateway) {
    for wanted in gateway.desired().config().listeners() {
        let Some(listener) = gateway.compiled().balanced.listener(&wanted.id) else { continue };
        let (vpc, name) = (wanted.vpc.as_str(), wanted.id.as_str());
        let usage = &listener.usage;
        sheet.set(&catalog::LB_CONNECTIONS, &[vpc, name], usage.usage.live().into());
        sheet.set(&catalog::LB_OPENED, &[vpc, name], usage.usage.opened());
        let refused =
            [("denied", Refused::Denied), ("full", Refused::Full), ("no_backend", Refused::NoBackend)];
        for (reason, why) in refused {
            sheet.set(&catalog::LB_REFUSED, &[vpc, name, reason], usage.refused(why));
        }
        for backend in &listener.backends {
            let who = format!("{}:{}", backend.to.address, backend.to_first);
            let labels = [vpc, name, &who];
            let usage = &backend.usage.usage;
            sheet.set(&catalog::LB_BACKEND_UP, &labels, backend.up.into());
            sheet.set(&catalog::LB_BACKEND_TAKING, &labels, backend.takes.into());
            sheet.set(&catalog::LB_BACKEND_CONNECTIONS, &labels, usage.live().into());
            sheet.set(&catalog::LB_BACKEND_OPENED, &labels, usage.opened());
            sheet.set(&catalog::LB_BACKEND_REFUSED, &labels, backend.usage.refusals());
            let (inward, outward) = usage.shown_bytes();
            sheet.set(&catalog::LB_BACKEND_BYTES, &[vpc, name, &who, "in"], inward);
            sheet.set(&catalog::LB_BACKEND_BYTES, &[vpc, name, &who, "out"], outward);
        }
    }
}
