//! From compiled tables to what the neighbour machine needs to know of each network.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

use tidegate_fastpath::{
    table::{Link, Net, Tables},
    types::NetId,
};

use crate::{
    compile::Compiled,
    config::{Config, Id, NetworkLink},
    desired::{Desired, NetKey},
    neighbour::{Attachment, Overlay},
};

/// Every network of the tables.
pub(super) fn attachments(desired: &Desired, compiled: &Compiled) -> Vec<(NetId, Attachment)> {
    let config = desired.config();
    let remotes = remote_vteps(config);
    let pools = pools(config);
    let mut next_hops: HashMap<NetId, Vec<Ipv4Addr>> = HashMap::new();
    for (net, ip) in compiled.next_hops() {
        next_hops.entry(net).or_default().push(ip);
    }
    let tables = &compiled.tables;
    let nets = tables.nets.iter().enumerate().filter_map(|(i, net)| Some((NetId(i as u16), net.as_ref()?)));
    nets.map(|(id, net)| {
        let pool = desired.net_key(id).and_then(|key| pools.get(key.id()));
        let remotes = pool.and_then(|pool| remotes.get(pool)).cloned().unwrap_or_default();
        let overlay = overlay(desired, tables, net, remotes);
        (id, Attachment { net: net.clone(), overlay, next_hops: next_hops.remove(&id).unwrap_or_default() })
    })
    .collect()
}

/// The tunnel side of a network, if it has one.
fn overlay(desired: &Desired, tables: &Tables, net: &Net, remotes: Arc<[Ipv4Addr]>) -> Option<Overlay> {
    let Link::Vxlan { vtep, .. } = net.link else { return None };
    let end = tables.vteps.get(vtep.index())?;
    let gateway = match desired.net_key(end.underlay) {
        Some(NetKey::Port(port)) => port_gateway(desired.config(), port),
        _ => None,
    };
    Some(Overlay { vtep, address: end.address, underlay: end.underlay, gateway, remotes })
}

fn port_gateway(config: &Config, port: &Id) -> Option<Ipv4Addr> {
    config.gateway.ports.iter().find(|p| p.id == *port)?.subnet.as_ref()?.gateway
}

/// The pool of every VXLAN network.
fn pools(config: &Config) -> HashMap<&Id, &Id> {
    fn pool(link: &NetworkLink) -> Option<&Id> {
        match link {
            NetworkLink::Vxlan { pool, .. } => Some(pool),
            NetworkLink::Port { .. } => None,
        }
    }
    config.networks.iter().filter_map(|n| Some((&n.id, pool(&n.link)?))).collect()
}

/// The configured remote VTEPs of every pool, sorted.
fn remote_vteps(config: &Config) -> HashMap<&Id, Arc<[Ipv4Addr]>> {
    let sorted = |vteps: &[Ipv4Addr]| {
        let mut vteps = vteps.to_vec();
        vteps.sort_unstable();
        vteps.dedup();
        Arc::from(vteps)
    };
    config.pools.iter().map(|pool| (&pool.id, sorted(&pool.remote_vteps))).collect()
}
