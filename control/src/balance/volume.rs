//! Bytes of the connections of listeners, open ones included. Workers count bytes in each flow entry, and add them up for a
//! listener and a backend when the connection ends; what open connections have moved so far is read off their entries, in steps.

use std::{collections::HashMap, sync::Arc};

use tidegate_fastpath::{
    flow::FlowWalk,
    pipeline::usage_of,
    stage::translation::Connection,
    table::balance::{BackendUsage, ListenerUsage, Usage},
    wire::translate::Side,
};

use crate::gateway::Gateway;

/// Places for entries per step: a millisecond at most.
const STEP: usize = 1_024;

/// A count of all listeners' bytes.
#[derive(Debug, Default)]
pub struct Volumes {
    walk: FlowWalk,
    /// Each once, though two listeners may share one.
    backends: HashMap<usize, Counted<BackendUsage>>,
    listeners: HashMap<usize, Counted<ListenerUsage>>,
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
        volumes
    }

    /// Counts on. Returns whether there is more to count; after the last step the bytes are
    /// [shown](Usage::shown_bytes). Cost: a millisecond at most; a walk over the flow table, where a connection is open.
    pub fn step(&mut self, gateway: &mut Gateway) -> bool {
        if !self.listeners.values().any(|listener| listener.of.usage.live() > 0) {
            return false;
        }
        let mut found = Vec::new();
        let more = gateway.flows().step(&mut self.walk, STEP, |flow| {
            let translation = flow.program.translation;
            if translation.is_session() && translation.service().is_balanced() {
                let connection = Connection::of(&flow.key, &flow.program);
                found.push((connection, translation.side(), flow.bytes));
            }
        });
        let tables = &gateway.compiled().tables;
        for (connection, side, bytes) in found {
            let Some(usage) = usage_of(tables, &connection) else { continue };
            if let Some(backend) = self.backends.get_mut(&place(usage)) {
                backend.add(side, bytes);
            }
            if let Some(listener) = self.listeners.get_mut(&place(&usage.listener)) {
                listener.add(side, bytes);
            }
        }
        if !more {
            for Counted { of, ended, open } in self.backends.values() {
                of.usage.show_bytes(*ended, *open);
            }
            for Counted { of, ended, open } in self.listeners.values() {
                of.usage.show_bytes(*ended, *open);
            }
        }
        more
    }
}
