//! What objects name, and what becomes of one when that is not there: it waits. Of lists whose entries serve one by one
//! (backends, listeners, VIPs of a pool) those entries are left out that lead nowhere, so that a VM that goes does not take the
//! others with it.

use super::{
    document::{Body, Kind},
    settle::There,
};
use crate::config::raw::{RawBackend, RawListener, RawLoadBalancer};

/// Follows all that `body` names, and takes out entries that lead nowhere; what was taken out, if anything.
///
/// # Errors
/// The first thing that is not there and that the object cannot be without.
pub(super) fn resolve(body: &mut Body, there: &There<'_>) -> Result<Option<String>, String> {
    match body {
        Body::VxlanPool(_) | Body::Certificate(_) | Body::VpcRouter(_) => {}
        Body::PublicNetwork(net) => there.port("port", net.port.as_deref())?,
        Body::VpcNetwork(net) => {
            there.refer("vpc", Kind::VpcRouter, net.vpc.as_deref())?;
            let pool = net.vxlan.as_ref().and_then(|vxlan| vxlan.pool.as_deref());
            there.refer("vxlan.pool", Kind::VxlanPool, pool)?;
            there.port("vlan.port", net.vlan.as_ref().and_then(|vlan| vlan.port.as_deref()))?;
            there.port("port", net.port.as_deref())?;
        }
        Body::Nic(nic) => there.refer("network", Kind::VpcNetwork, nic.network.as_deref())?,
        Body::Vip(vip) => {
            there.refer("public_network", Kind::PublicNetwork, vip.public_network.as_deref())?;
        }
        Body::Route(route) => {
            there.refer("vpc", Kind::VpcRouter, route.vpc.as_deref())?;
            there.refer("public_network", Kind::PublicNetwork, route.public_network.as_deref())?;
            there.refer("via_public", Kind::PublicNetwork, route.via_public.as_deref())?;
            there.refer("via_vpc", Kind::VpcRouter, route.via_vpc.as_deref())?;
        }
        Body::Snat(snat) => {
            there.refer("vpc", Kind::VpcRouter, snat.vpc.as_deref())?;
            there.refer("network", Kind::VpcNetwork, snat.network.as_deref())?;
            return vips(snat.vips.as_mut(), there);
        }
        Body::Eip(eip) => {
            there.refer("vip", Kind::Vip, eip.vip.as_deref())?;
            vm(there, "", &eip.nic, &eip.vpc, &eip.address)?;
        }
        Body::PortForward(forward) => {
            there.refer("vip", Kind::Vip, forward.vip.as_deref())?;
            vm(there, "", &forward.nic, &forward.vpc, &forward.address)?;
        }
        Body::LoadBalancer(balancer) => {
            there.refer("vip", Kind::Vip, balancer.vip.as_deref())?;
            return listeners(balancer, there);
        }
        Body::Qos(qos) => {
            there.refer("vip", Kind::Vip, qos.vip.as_deref())?;
            there.refer("nic", Kind::Nic, qos.nic.as_deref())?;
            return vips(qos.vips.as_mut(), there);
        }
    }
    Ok(None)
}

/// The VM of a service.
fn vm(
    there: &There<'_>,
    at: &str,
    nic: &Option<String>,
    vpc: &Option<String>,
    address: &Option<String>,
) -> Result<(), String> {
    there.refer(&format!("{at}nic"), Kind::Nic, nic.as_deref())?;
    there.refer(&format!("{at}vpc"), Kind::VpcRouter, vpc.as_deref())?;
    there.address(&format!("{at}address"), vpc.as_deref(), address.as_deref())
}

/// Keeps the VIPs that are there.
fn vips(list: Option<&mut Vec<String>>, there: &There<'_>) -> Result<Option<String>, String> {
    let Some(list) = list else { return Ok(None) };
    let mut left = Left::of(list.len());
    let mut i = 0;
    list.retain(|vip| {
        i += 1;
        left.keep(there.refer(&format!("vips[{}]", i - 1), Kind::Vip, Some(vip)))
    });
    left.says("VIPs")
}

/// Keeps listeners with a backend and all certificates.
fn listeners(balancer: &mut RawLoadBalancer, there: &There<'_>) -> Result<Option<String>, String> {
    let mut left = Left::of(balancer.listeners.len());
    let mut without = None;
    let mut i = 0;
    balancer.listeners.retain_mut(|raw| {
        i += 1;
        left.keep(listener(raw, &format!("listeners[{}].", i - 1), there).map(|said| {
            without = without.take().or(said);
        }))
    });
    Ok(left.says("listeners")?.or(without))
}

fn listener(raw: &mut RawListener, at: &str, there: &There<'_>) -> Result<Option<String>, String> {
    let tls = raw.http.as_ref().and_then(|http| http.tls.as_ref());
    for name in tls.and_then(|tls| tls.certificates.as_ref()).into_iter().flatten() {
        there.refer(&format!("{at}http.tls.certificates"), Kind::Certificate, Some(name))?;
    }
    let groups = raw.groups.iter().map(|group| group.backends.len()).sum::<usize>();
    let mut left = Left::of(raw.backends.len() + groups);
    backends(&mut raw.backends, &format!("{at}backends"), &mut left, there);
    for (i, group) in raw.groups.iter_mut().enumerate() {
        let had = group.backends.len();
        backends(&mut group.backends, &format!("{at}groups[{i}].backends"), &mut left, there);
        // Its requests would go to others.
        if had > 0 && group.backends.is_empty() {
            return Err(left.first.unwrap_or_default());
        }
    }
    left.says("backends")
}

fn backends(list: &mut Vec<RawBackend>, at: &str, left: &mut Left, there: &There<'_>) {
    let mut i = 0;
    list.retain(|raw| {
        i += 1;
        left.keep(vm(there, &format!("{at}[{}].", i - 1), &raw.nic, &raw.vpc, &raw.address))
    });
}

/// What is left of a list.
struct Left {
    of: usize,
    gone: usize,
    /// Why the first one went.
    first: Option<String>,
}

impl Left {
    fn of(of: usize) -> Left {
        Left { of, gone: 0, first: None }
    }

    fn keep(&mut self, found: Result<(), String>) -> bool {
        let Err(why) = found else { return true };
        self.gone += 1;
        self.first.get_or_insert(why);
        false
    }

    /// What is missing. Where nothing is left, that is an error.
    fn says(self, what: &str) -> Result<Option<String>, String> {
        let Some(first) = self.first else { return Ok(None) };
        if self.gone == self.of {
            return Err(first);
        }
        Ok(Some(format!("without {} of {} {what}: {first}", self.gone, self.of)))
    }
}
