//! What connections have moved, open ones included: bytes of listeners and backends, packets and bytes of public addresses. Workers
//! count on each flow entry, and add up when it ends; what living entries have counted so far is read off them, in steps.

use std::{collections::HashMap, sync::Arc};

use tidegate_fastpath::{
    flow::{FlowWalk, PublicEnd},
    pipeline::usage_of,
    stage::translation::{Connection, vip_at},
    table::{
        balance::{BackendUsage, ListenerUsage, Usage},
        nat::{Amount, Meter, Traffic},
    },
    wire::translate::Side,
};

use crate::gateway::Gateway;

/// Places for entries per step: a millisecond at most.
const STEP: usize = 1_024;

/// A count of what all listeners and public addresses moved.
#[derive(Debug, Default)]
pub struct Volumes {
    walk: FlowWalk,
    /// Each once, though two listeners may share one.
    backends: HashMap<usize, Counted<BackendUsage>>,
    listeners: HashMap<usize, Counted<ListenerUsage>>,
    vips: HashMap<usize, Metered>,
}

/// What passed a public address.
#[derive(Debug)]
struct Metered {
    /// Keeps the key from being anybody else's.
    of: Arc<Meter>,
    /// What had no entry when the count began. First, so that an entry that ends meanwhile is not counted twice.
    passed: Traffic,
    open: Traffic,
}

/// Bytes from and to clients.
#[derive(Debug)]
struct Counted<T> {
    /// Keeps the key from being anybody else's.
    of: Arc<T>,
    /// Of connections that had ended when the count began. First, so that one that ends meanwhile is not counted twice.
    ended: (u64, u64),
    open: (u64, u64),
}

impl<T> Counted<T> {
    fn new(of: &Arc<T>, usage: &Usage) -> Counted<T> {
        Counted { of: Arc::clone(of), ended: usage.bytes(), open: (0, 0) }
    }

    fn add(&mut self, side: Side, bytes: u64) {
        match side {
            Side::Destination => self.open.0 += bytes,
            Side::Source => self.open.1 += bytes,
        }
    }
}

/// What a shared number is known by.
fn place<T>(of: &Arc<T>) -> usize {
    Arc::as_ptr(of).addr()
}

impl Volumes {
    /// One that has not begun.
    pub fn new(gateway: &Gateway) -> Volumes {
        let mut volumes = Volumes::default();
        for backend in gateway.compiled().balanced.listeners().flat_map(|listener| &listener.backends) {
            let usage = &backend.usage;
            let counted = || Counted::new(usage, &usage.usage);
            volumes.backends.entry(place(usage)).or_insert_with(counted);
            let of = &usage.listener;
            let counted = || Counted::new(of, &of.usage);
            volumes.listeners.entry(place(of)).or_insert_with(counted);
        }
        for vip in gateway.compiled().tables.vips.iter().flatten() {
            let metered =
                Metered { of: Arc::clone(&vip.meter), passed: vip.meter.passed(), open: Traffic::default() };
            volumes.vips.insert(place(&vip.meter), metered);
        }
        volumes
    }

    /// Counts on. Returns whether there is more to count; after the last step it is shown ([`Usage::shown_bytes`], [`Meter::shown`]).
    /// Cost: a millisecond at most; a walk over the flow table, where it is not empty and there are public addresses.
    pub fn step(&mut self, gateway: &mut Gateway) -> bool {
        if self.vips.is_empty() || gateway.flow_fill().0 == 0 {
            return false;
        }
        let mut found = Vec::new();
        let more = gateway.flows().step(&mut self.walk, STEP, |flow| {
            let translation = flow.program.translation;
            let Some(end) = PublicEnd::of(&flow.key, &flow.program) else { return };
            let balanced = translation.service().is_balanced();
            let connection = balanced.then(|| Connection::of(&flow.key, &flow.program));
            found.push((end, Amount { packets: flow.packets, bytes: flow.bytes }, connection));
        });
        let tables = &gateway.compiled().tables;
        for (end, amount, connection) in found {
            let vip = vip_at(tables, end.net, end.address).and_then(|id| tables.vip(id));
            if let Some(metered) = vip.and_then(|vip| self.vips.get_mut(&place(&vip.meter))) {
                *metered.open.of(end.side) += amount;
            }
            let Some(usage) = connection.and_then(|connection| usage_of(tables, &connection)) else {
                continue;
            };
            if let Some(backend) = self.backends.get_mut(&place(usage)) {
                backend.add(end.side, amount.bytes);
            }
            if let Some(listener) = self.listeners.get_mut(&place(&usage.listener)) {
                listener.add(end.side, amount.bytes);
            }
        }
        if !more {
            for Counted { of, ended, open } in self.backends.values() {
                of.usage.show_bytes(*ended, *open);
            }
            for Counted { of, ended, open } in self.listeners.values() {
                of.usage.show_bytes(*ended, *open);
            }
            for Metered { of, passed, open } in self.vips.values() {
                of.show(*passed, *open);
            }
        }
        more
    }
}
