//! What the agent decides. Events in, events out: no I/O, and time comes in with each event, as ns since boot.
//!
//! ```text
//!  LOCATE ──► HERE                                             is the VM on a port of ours?
//!  SHORTCUT ──► fresh? ──► room? ──► a way? ──► PROBE answered? ──► Install, ACK
//!                 │no        │no       │no          │no
//!                 └─ HELLO   └─ ACK: table full     └─ ACK: unreachable
//!  each third of a lifetime ──► hit? ──► RENEW ──► SHORTCUT again
//!                                 └ gateway silent, host answers: longer by itself, up to the grace
//!  each second and host ──► PROBE ──► three lost: remove its shortcuts
//!  direct packet for a VM that is not here ──► WITHDRAW(moved) to its sender
//! ```

mod decide;
mod path;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod timers;
mod trust;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use tidegate_zsnp::{Keyring, Mac, Vni};

pub use self::{
    path::{Health, LOST_MAX, PROBE_EVERY_NS},
    state::{Agent, Totals},
    table::{Full, Gateway, Grant, Held, Limits, Table},
};
use crate::bpf::{Count, Pair, Rule};

/// What the agent goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Keys that are valid.
    pub keys: Keyring,
    /// How many shortcuts.
    pub limits: Limits,
    /// How long shortcuts in use outlive a silent gateway, in ns.
    pub grace_ns: u64,
}

/// The host, as far as decisions need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Its networks.
    pub networks: BTreeMap<Vni, Uplink>,
    /// Its VMs, and the index of the port that each is behind.
    pub vms: BTreeMap<(Vni, Mac), u32>,
}

/// How a network of this host leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Our tunnel end.
    pub vtep: Ipv4Addr,
    /// Largest IP packet of a VM that fits a tunnel, in bytes.
    pub mtu: u32,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The host is like this now.
    View(View),
    /// ZSNP came out of a tunnel.
    Overlay {
        /// The network.
        vni: Vni,
        /// The tunnel end behind which its sender is.
        from: Ipv4Addr,
        /// What is behind the IP header.
        payload: &'a [u8],
    },
    /// ZSNP came from the underlay.
    Underlay {
        /// Its source.
        from: Ipv4Addr,
        /// The tunnel end of ours that it was sent to.
        to: Ipv4Addr,
        /// What is behind the IP header.
        payload: &'a [u8],
    },
    /// A direct packet came for a VM that is not here.
    Stray {
        /// The network.
        vni: Vni,
        /// The VM's MAC.
        mac: Mac,
        /// Its address.
        address: Ipv4Addr,
        /// The tunnel end of the agent that sent it.
        from: Ipv4Addr,
    },
    /// An answer to [`Output::AskRoute`].
    Route {
        /// The tunnel end.
        vtep: Ipv4Addr,
        /// The interface that leads there.
        out: Option<u32>,
    },
    /// Whether the operator of this host wants shortcuts.
    Switch(bool),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this from one tunnel end to another.
    Send {
        /// Ours.
        from: Ipv4Addr,
        /// Theirs.
        to: Ipv4Addr,
        /// The payload of the IP packet.
        payload: Vec<u8>,
    },
    /// Have the kernel use this shortcut. A `fresh` one has counters that begin at 0.
    Install {
        /// For these packets.
        pair: Pair,
        /// What to do with them.
        rule: Rule,
        /// Whether its slot was another's before.
        fresh: bool,
    },
    /// Have the kernel no longer use it.
    Remove(Pair),
    /// Which interface leads there?
    AskRoute(Ipv4Addr),
    /// Worth a line in the log.
    Note(Note),
}

/// What happened to a shortcut, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// It is in force.
    Installed(Grant),
    /// A gateway or host took it away.
    Withdrawn(Pair, tidegate_zsnp::WithdrawReason),
    /// Nobody renewed it.
    Expired(Pair),
    /// Its host no longer answers.
    Unreachable(Ipv4Addr, usize),
}

/// Reads the counters of a slot.
pub type Counts<'a> = &'a dyn Fn(u32) -> Count;

/// VMs of which gateways asked, with the MAC that they had: what a host knows of addresses.
type Located = BTreeMap<(Vni, Ipv4Addr), Mac>;

/// Agents that have lately sent PROBEs here.
type Askers = BTreeMap<Ipv4Addr, u64>;

/// Tunnel ends of this host.
fn own_vteps(view: &View) -> BTreeSet<Ipv4Addr> {
    view.networks.values().map(|uplink| uplink.vtep).collect()
}
