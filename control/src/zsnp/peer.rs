//! Hosts that have talked to us, and how much of a VPC's traffic went direct.

use std::{collections::HashMap, net::Ipv4Addr};

use tidegate_fastpath::types::Nanos;
use tidegate_zsnp::{Capabilities, Counters, PathQuality, SenderId, Transaction};

/// Most hosts that are remembered.
const PEERS_MAX: usize = 16_384;
/// A host that was heard less long ago is sent to directly.
const KNOWN_FOR: Nanos = Nanos::from_ms(30_000);
/// One that is silent for longer is forgotten.
const KEPT_FOR: Nanos = Nanos::from_ms(600_000);
/// HELLOs of a host are answered no faster.
const HELLO_INTERVAL: Nanos = Nanos::from_ms(20);
/// Most paths of one host that are remembered.
const PATHS_MAX: usize = 4_096;

/// A host with an agent.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its id as a sender.
    pub sender: SenderId,
    /// When it was heard last.
    pub heard: Nanos,
    /// What it can do, as far as it has said.
    pub capabilities: Capabilities,
    /// Its numbers.
    pub counters: Option<Counters>,
    /// What its PROBEs say, by tunnel end.
    pub paths: HashMap<Ipv4Addr, PathQuality>,
    /// When a HELLO was answered last, and which.
    answered: Option<(Nanos, Transaction)>,
}

/// Traffic between networks of one VPC router, as far as it was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Packets that went direct, as hosts say.
    pub direct_packets: u64,
    /// Their IP bytes.
    pub direct_bytes: u64,
    /// Packets of flows between two of its networks that went by the gateway, as the flow table says.
    pub gateway_packets: u64,
    /// Their IP bytes.
    pub gateway_bytes: u64,
}

/// All hosts, by tunnel end.
#[derive(Debug, Default)]
pub(super) struct Peers(HashMap<Ipv4Addr, Peer>);

impl Peers {
    /// Notes that a host was heard. `None` when there is no room for it.
    pub(super) fn hear(&mut self, now: Nanos, address: Ipv4Addr, sender: SenderId) -> Option<&mut Peer> {
        if self.0.len() >= PEERS_MAX && !self.0.contains_key(&address) {
            return None;
        }
        let new = || Peer {
            sender,
            heard: now,
            capabilities: Capabilities::default(),
            counters: None,
            paths: HashMap::new(),
            answered: None,
        };
        let peer = self.0.entry(address).or_insert_with(new);
        (peer.sender, peer.heard) = (sender, now);
        Some(peer)
    }

    /// Whether a host can be sent to directly.
    pub(super) fn knows(&self, now: Nanos, address: Ipv4Addr) -> bool {
        self.0.get(&address).is_some_and(|peer| now.0.saturating_sub(peer.heard.0) < KNOWN_FOR.0)
    }

    pub(super) fn forget(&mut self, now: Nanos) {
        self.0.retain(|_, peer| now.0.saturating_sub(peer.heard.0) < KEPT_FOR.0);
    }

    pub(super) fn all(&self) -> &HashMap<Ipv4Addr, Peer> {
        &self.0
    }
}

impl Peer {
    /// Takes a HELLO. Returns whether it is answered: not the same one twice, so that two who answer everything come to an end.
    pub(super) fn hello(
        &mut self,
        now: Nanos,
        transaction: Transaction,
        capabilities: Capabilities,
        counters: Option<Counters>,
        paths: &[PathQuality],
    ) -> bool {
        self.capabilities = capabilities;
        self.counters = counters.or(self.counters);
        for path in paths {
            if self.paths.len() < PATHS_MAX || self.paths.contains_key(&path.vtep) {
                self.paths.insert(path.vtep, *path);
            }
        }
        let due = |(at, last): (Nanos, Transaction)| last != transaction && now.0 >= at.0 + HELLO_INTERVAL.0;
        let is_due = self.answered.is_none_or(due);
        if is_due {
            self.answered = Some((now, transaction));
        }
        is_due
    }
}
