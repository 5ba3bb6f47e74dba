//! A scenario's gateway with its tables, ready for workers.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Result;
use tidegate_fastpath::{
    channel::Rings,
    counter::{Books, Counters},
    flow::{FlowReader, FlowTable},
    nat::Nat,
    pipeline::Settings,
    reason::DropReason,
    table::{
        Tables,
        nat::Leases,
        publish::{self, Writer},
    },
    types::WorkerId,
    worker::Parts,
};

use crate::{HEAP, scenario::Scenario};

/// The smallest flow table.
const FLOWS_MIN: usize = 1 << 16;

/// What the workers of one gateway share. Workers may go first; what they read lives here.
#[derive(Debug)]
pub struct Site {
    counters: Vec<Arc<Counters>>,
    flows: FlowReader,
    tracked: bool,
    connections: usize,
    entries_per_flow: usize,
    /// Bytes of what address translation keeps.
    nat_bytes: usize,
    tables: Writer<Tables>,
}

impl Site {
    /// The gateway of a scenario, for `workers` workers.
    ///
    /// # Errors
    /// Parameters of the scenario that do not fit, or no memory.
    pub fn new(scenario: &dyn Scenario, workers: usize) -> Result<(Site, Vec<Parts>)> {
        let gateway = scenario.gateway()?;
        let (ports, nets) = (gateway.tables.ports.len(), gateway.tables.nets.len());
        let vips: Vec<_> = gateway.tables.vips.iter().flatten().map(|vip| vip.leases.is_provided()).collect();
        let load = scenario.load();
        let entries = scenario.entries_per_flow() * load.flows as usize;
        let (holds, flows) = FlowTable::new(if load.tracked { entries.max(FLOWS_MIN) } else { 1 }, workers)?;
        let (nat, nat_bytes) = weighed(|| Nat::new(scenario.nat()));
        let [places, none] = [Leases::default, Leases::on_demand].map(|make| weighed(|| Arc::new(make())).1);
        let lease_bytes: usize = vips.iter().map(|provided| if *provided { places } else { none }).sum();
        let (writer, tables) = publish::new(gateway.tables);
        let counters: Vec<_> = (0..workers).map(|_| Arc::new(Counters::new(ports, nets))).collect();
        let part = |(id, flows)| Parts {
            id: WorkerId(id as u16),
            tables: tables.clone(),
            neighbours: Arc::clone(&gateway.neighbours),
            flows,
            nat: Arc::clone(&nat),
            counters: Arc::clone(&counters[id]),
            rings: Rings::new(64),
            settings: Settings::default(),
        };
        let parts = holds.into_iter().enumerate().map(part).collect();
        let site = Site {
            counters,
            flows,
            tracked: load.tracked,
            connections: load.flows as usize,
            entries_per_flow: scenario.entries_per_flow(),
            nat_bytes: if vips.is_empty() { 0 } else { nat_bytes + lease_bytes },
            tables: writer,
        };
        Ok((site, parts))
    }

    /// What is published.
    pub const fn tables(&mut self) -> &mut Writer<Tables> {
        &mut self.tables
    }

    /// Whether the flow table is in reserved hugepages.
    pub fn hugepages(&self) -> bool {
        self.flows.hugepages()
    }

    /// Flow entries in use.
    pub fn entries(&self) -> usize {
        self.flows.len()
    }

    /// Flow entries that there is room for.
    pub fn capacity(&self) -> usize {
        self.flows.capacity()
    }

    /// Bytes of memory per connection of the scenario: its entries (both directions of a session) with their share of the
    /// index and the free list, and all of the tables of address translation. `None` where nothing is kept.
    pub fn bytes_per_connection(&self) -> Option<f64> {
        let entries = self.flows.bytes_per_flow() * self.entries_per_flow;
        self.tracked.then(|| entries as f64 + self.nat_bytes as f64 / self.connections.max(1) as f64)
    }

    /// The books of all workers. Only meaningful while none of them is in a poll.
    pub fn books(&self) -> Books {
        self.counters.iter().map(|counters| counters.books()).fold(Books::default(), std::ops::Add::add)
    }

    /// Packets dropped, by reason; reasons that did not occur are left out.
    pub fn drops(&self) -> BTreeMap<String, u64> {
        let count = |reason: &DropReason| {
            let nets = self.counters.iter().flat_map(|counters| &counters.nets);
            (reason.label().to_owned(), nets.map(|net| net.drops[reason.index()].get()).sum())
        };
        DropReason::ALL.iter().map(count).filter(|(_, n)| *n > 0).collect()
    }
}

/// What `make` makes, and how many bytes of the heap that took.
fn weighed<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = HEAP.allocated();
    let made = make();
    (made, HEAP.allocated().saturating_sub(before))
}
