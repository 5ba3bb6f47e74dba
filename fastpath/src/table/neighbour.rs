//! Neighbours and their adjacencies: (network, address) to MAC and, on VXLAN networks, the VTEP behind which it is. One
//! shared table that control writes in place and all workers read, so that a MAC or VTEP changes without touching flows.

use std::{net::Ipv4Addr, sync::Arc};

use thiserror::Error;

use crate::types::{MacAddr, NetId};

/// Names an entry for as long as it exists: 24 bits of place, 8 bits that change when the place is used again, so that a
/// flow that still holds the id of a removed neighbour finds out instead of sending to its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NeighbourId(u32);

/// What a worker needs to send to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjacency {
    /// Its MAC.
    pub mac: MacAddr,
    /// On a VXLAN network: the remote VTEP and the neighbour entry of the underlay next hop towards it.
    pub tunnel: Option<(Ipv4Addr, NeighbourId)>,
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Ready to send.
    Resolved(Adjacency),
    /// Asked for, no answer yet.
    Incomplete,
    /// Did not answer; packets to it are unreachable until control asks again.
    Failed,
    /// The id is of a removed entry; look the address up again.
    Gone,
}

/// The table is full; the limit is set at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the neighbour table is full ({0} entries)")]
pub struct NeighboursFull(pub usize);

/// The side that workers hold.
#[derive(Debug)]
pub struct NeighbourTable {}

/// The side that control holds; the only writer.
#[derive(Debug)]
pub struct NeighbourWriter {
    table: Arc<NeighbourTable>,
}

/// A table for `capacity` neighbours, and its writer.
pub fn new(_capacity: usize) -> (NeighbourWriter, Arc<NeighbourTable>) {
    todo!()
}

impl NeighbourId {
    /// For storing in a flow entry.
    pub const fn to_u32(self) -> u32 {
        self.0
    }

    /// The inverse of [`NeighbourId::to_u32`].
    pub const fn from_u32(raw: u32) -> NeighbourId {
        NeighbourId(raw)
    }
}

impl NeighbourTable {
    /// The entry of an address, in whatever state; `None` where control has made none.
    #[inline]
    pub fn lookup(&self, _net: NetId, _ip: Ipv4Addr) -> Option<NeighbourId> {
        todo!()
    }

    /// What is known of an entry; two loads of one cache line.
    #[inline]
    pub fn reach(&self, _id: NeighbourId) -> Reach {
        todo!()
    }

    /// Asks the CPU for the entry.
    #[inline]
    pub fn prefetch(&self, _id: NeighbourId) {
        todo!()
    }

    /// Asks the CPU for the line where [`NeighbourTable::lookup`] begins.
    #[inline]
    pub fn prefetch_lookup(&self, _net: NetId, _ip: Ipv4Addr) {
        todo!()
    }
}

impl NeighbourWriter {
    /// The reading side.
    pub fn table(&self) -> &Arc<NeighbourTable> {
        &self.table
    }

    /// Makes an entry, [`Reach::Incomplete`]; returns the one that is there if there is one.
    ///
    /// # Errors
    /// [`NeighboursFull`] when all places are in use.
    pub fn insert(&mut self, _net: NetId, _ip: Ipv4Addr) -> Result<NeighbourId, NeighboursFull> {
        todo!()
    }

    /// Says how to reach it; workers see it with the next packet.
    pub fn resolve(&mut self, _id: NeighbourId, _adjacency: Adjacency) {
        todo!()
    }

    /// Back to [`Reach::Incomplete`].
    pub fn reset(&mut self, _id: NeighbourId) {
        todo!()
    }

    /// To [`Reach::Failed`].
    pub fn fail(&mut self, _id: NeighbourId) {
        todo!()
    }

    /// Removes the entry; its id becomes [`Reach::Gone`].
    pub fn remove(&mut self, _id: NeighbourId) {
        todo!()
    }

    /// Entries in use.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The limit.
    pub fn capacity(&self) -> usize {
        todo!()
    }
}
