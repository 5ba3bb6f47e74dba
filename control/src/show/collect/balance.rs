//! `show lb`.

use tidegate_fastpath::table::balance::{Backend, Refused};

use super::{Scope, Source};
use crate::{
    config::{self, Listener, TableKey, nat::PortRange},
    show::{BackendRow, ListenerRow},
};

/// A row for each listener.
pub(super) fn listeners(from: &mut Source<'_>, scope: &Scope, only: Option<&str>) -> Vec<ListenerRow> {
    wanted(from, scope, only).map(|listener| row(from, listener)).collect()
}

/// A row for each backend of each listener.
pub(super) fn backends(from: &mut Source<'_>, scope: &Scope, only: Option<&str>) -> Vec<BackendRow> {
    let each = wanted(from, scope, only);
    each.flat_map(|listener| listener.backends.iter().map(|backend| backend_row(from, listener, backend)))
        .collect()
}

pub(super) fn wanted<'a>(
    from: &'a Source<'_>,
    scope: &'a Scope,
    only: Option<&'a str>,
) -> impl Iterator<Item = &'a Listener> {
    let desired = from.gateway.desired();
    desired.config().listeners().filter(move |listener| {
        let vpc = desired.vrf(&TableKey::Vpc(listener.vpc.clone()));
        (scope.table.is_none() || scope.table == vpc) && only.is_none_or(|only| listener.id.as_str() == only)
    })
}

fn row(from: &Source<'_>, listener: &Listener) -> ListenerRow {
    let table = from.gateway.compiled().balanced.listener(&listener.id);
    let usage = table.map(|table| &table.usage);
    let bytes = usage.map(|usage| usage.usage.shown_bytes());
    let refused = |why| usage.map(|usage| usage.refused(why));
    let ports = PortRange { first: listener.slice.first, last: listener.slice.last };
    ListenerRow {
        id: listener.id.to_string(),
        balancer: listener.balancer.to_string(),
        vpc: listener.vpc.to_string(),
        vip: listener.vip.to_string(),
        protocol: listener.protocol.label().to_owned(),
        ports: ports.to_string(),
        algorithm: listener.algorithm.label().to_owned(),
        backends: listener.backends.len(),
        backends_taking: table.map(|table| table.backends.iter().filter(|backend| backend.takes).count()),
        connections: usage.map(|usage| usage.usage.live()),
        max_connections: listener.max_connections,
        opened: usage.map(|usage| usage.usage.opened()),
        denied: refused(Refused::Denied),
        full: refused(Refused::Full),
        no_backend: refused(Refused::NoBackend),
        bytes_in: bytes.map(|bytes| bytes.0),
        bytes_out: bytes.map(|bytes| bytes.1),
    }
}

fn backend_row(from: &Source<'_>, listener: &Listener, backend: &config::Backend) -> BackendRow {
    let table = from.gateway.compiled().balanced.listener(&listener.id);
    let table = table.and_then(|table| {
        let is = |other: &&Backend| (other.to.address, other.to_first) == (backend.vm.address, backend.port);
        table.backends.iter().find(is)
    });
    let key = listener.key(backend);
    let health = from.gateway.healths().of(&key);
    let deadline = from.gateway.ramps().deadline(&key);
    let live = table.map(|table| table.usage.usage.live());
    let state = match health {
        _ if backend.drain && live == Some(0) => "drained",
        _ if backend.drain => "draining",
        None => "unchecked",
        Some(health) if health.up => "up",
        Some(_) => "down",
    };
    let bytes = table.map(|table| table.usage.usage.shown_bytes());
    BackendRow {
        listener: listener.id.to_string(),
        vpc: listener.vpc.to_string(),
        address: backend.vm.address,
        port: backend.port,
        group: backend.group.as_ref().map(ToString::to_string),
        state: state.to_owned(),
        reason: health.map(|health| health.reason.clone()),
        for_s: health.map(|health| from.now.0.saturating_sub(health.since.0) / 1_000_000_000),
        weight: backend.weight,
        drain_left_s: deadline.map(|at| at.0.saturating_sub(from.now.0) / 1_000_000_000),
        taking: table.map(|table| table.takes),
        connections: live,
        max_connections: (backend.max_connections < u32::MAX).then_some(backend.max_connections),
        opened: table.map(|table| table.usage.usage.opened()),
        refused: table.map(|table| table.usage.refusals()),
        bytes_in: bytes.map(|bytes| bytes.0),
        bytes_out: bytes.map(|bytes| bytes.1),
    }
}
