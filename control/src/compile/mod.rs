//! Desired state and facts to the tables that workers read. Pure: the same input gives the same tables. What did not
//! change is taken over from the previous result, so that one change among many networks costs little.

pub mod routes;

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};

use tidegate_fastpath::{
    table::Tables,
    types::{MacAddr, NetId, PortId, VrfId},
};

use self::routes::RouteStatus;
use crate::state::Desired;

/// What the machine says and no configuration knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// By port; a port that is missing counts as down.
    pub ports: HashMap<PortId, PortFact>,
    /// Next hops that do not answer. Routes by them are not in force; whoever keeps this set goes on asking for
    /// [`Compiled::next_hops`], or they never come back.
    pub unreachable: HashSet<(NetId, Ipv4Addr)>,
}

/// A port as the machine has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFact {
    /// Its MAC.
    pub mac: MacAddr,
    /// Whether its link is up.
    pub up: bool,
}

/// Tables, and what they were made of.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// For the workers.
    pub tables: Tables,
    /// Every configured route, by [`VrfId`]; empty for a table that is gone.
    pub routes: Vec<Arc<[RouteStatus]>>,
}

impl Compiled {
    /// The routes of one table.
    pub fn routes(&self, vrf: VrfId) -> &[RouteStatus] {
        self.routes.get(vrf.index()).map_or(&[], |routes| routes)
    }

    /// The on-link next hops that configured routes lead to, reachable or not.
    pub fn next_hops(&self) -> impl Iterator<Item = (NetId, Ipv4Addr)> {
        self.routes.iter().flat_map(|routes| routes.iter()).filter_map(|route| route.next_hop)
    }
}

/// Compiles. `previous` is the last result; unchanged networks and routing tables keep their `Arc`s and generations.
pub fn compile(_desired: &Desired, _facts: &Facts, _previous: Option<&Compiled>) -> Compiled {
    todo!()
}
