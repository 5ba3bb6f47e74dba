//! The gateway's end of ZSNP (`docs/zsnp.md`): which traffic between networks of a VPC is worth a direct path, and teaching it to hosts.
//!
//! ```text
//!  flow table ──scan──► Sighting ─┐                    ┌─► Order::Overlay   to a VM's address, on whichever host it is
//!  punts ──carriage──► Authentic ─┼─► Machine (pure) ──┼─► Order::Underlay  to a host
//!  compile, neighbours ──► Site ──┘   one Pair each    └─► Order::Resolve   the neighbour machine is asked
//! ```
//! The machine is told what happens and says what to send; it does no I/O, asks no clock, and asks the [`Site`] before each message
//! whether the policy still allows what the message offers. Everything that tenants or hosts can make grow is bounded, and each bound
//! counts what it refuses ([`ZsnpEvent`]).

mod carriage;
mod machine;
mod pair;
mod peer;
mod scan;
mod site;

use std::{collections::VecDeque, net::Ipv4Addr};

use tidegate_fastpath::{
    channel::InjectTo,
    flow::FlowReader,
    table::neighbour::NeighbourTable,
    types::{Nanos, NetId, VrfId},
};
use tidegate_zsnp::{Keyring, Receiver, Refusals, Sender};

use self::{carriage::Payload, scan::Scan};
pub use self::{
    machine::{Machine, Order, Said},
    pair::{Pair, PairKey, Phase, Why},
    peer::{Peer, Share},
    site::{Place, Site, Wire},
};
use crate::{compile::Compiled, config::Zsnp as Settings};

tidegate_fastpath::reasons! {
    /// What the gateway's end of ZSNP counts.
    ZsnpEvent {
        /// LOCATE messages sent.
        Locate = "locate",
        /// SHORTCUT messages sent, answers to RENEW included.
        Shortcut = "shortcut",
        /// WITHDRAW messages sent.
        Withdraw = "withdraw",
        /// Of these, those that were said before and not acknowledged.
        WithdrawAgain = "withdraw_again",
        /// WITHDRAWs that nobody acknowledged until all they could take away had ended.
        WithdrawUnanswered = "withdraw_unanswered",
        /// WITHDRAWs said once only: as many as there may be pairs wait for their ACK.
        WithdrawFull = "withdraw_full",
        /// HELLO messages answered.
        Hello = "hello",
        /// Hosts that said that they have the destination.
        Here = "here",
        /// Shortcuts that a host has installed.
        Installed = "installed",
        /// Shortcuts that a host refused, or had no room for.
        Refused = "refused",
        /// Shortcuts renewed.
        Renewed = "renewed",
        /// Shortcuts of a gateway before this one that were taken over by a RENEW.
        Adopted = "adopted",
        /// Shortcuts that ended because nobody renewed them.
        Expired = "expired",
        /// Questions that nobody answered: no agent on the host.
        Silent = "silent",
        /// VMs that answered ICMP protocol unreachable: no agent on the host.
        Unreachable = "unreachable",
        /// Answers to no question that is open, or from another host than was asked.
        Stray = "stray",
        /// Messages that a gateway does not expect.
        Unexpected = "unexpected",
        /// Hosts that claimed a destination which was last heard behind another tunnel end.
        Elsewhere = "elsewhere",
        /// Pairs not taken: all are in use.
        PairsFull = "pairs_full",
        /// Idle pairs that made room for others.
        Evicted = "evicted",
        /// Pairs not taken: the VPC router has its share.
        VpcQuota = "vpc_quota",
        /// Pairs not taken: the VM has its share.
        VmQuota = "vm_quota",
        /// LOCATE messages put off because of their rate.
        LocateLimit = "locate_limit",
        /// Hosts not remembered: too many are.
        PeersFull = "peers_full",
        /// Destinations not watched in a look at the flow table: too many are.
        ScanFull = "scan_full",
        /// Messages not sent: no worker had room.
        NotSent = "not_sent",
    }
}

/// The destination of a flow that passed the threshold, and who sends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The tunnel end of the host it comes from.
    pub host: Ipv4Addr,
    /// The network it comes from.
    pub source: NetId,
    /// One of the VMs that send.
    pub vm: Ipv4Addr,
    /// The destination.
    pub destination: Ipv4Addr,
}

/// Who the gateway is among ZSNP's senders.
#[derive(Debug)]
pub struct Identity {
    /// The keys of hosts.
    pub keys: Keyring,
    /// Us.
    pub sender: Sender,
}

/// Most senders whose sequence numbers are remembered.
const SENDERS_MAX: usize = 16_384;
/// Most messages that wait to be looked at.
const INBOX_MAX: usize = 4_096;

/// The gateway's end.
#[derive(Debug)]
pub struct Zsnp {
    settings: Option<Settings>,
    identity: Option<Identity>,
    receiver: Receiver,
    machine: Machine,
    scan: Scan,
    inbox: VecDeque<(VrfId, Vec<u8>)>,
}

/// What the gateway's end works with.
pub struct Round<'a> {
    /// The configuration.
    pub compiled: &'a Compiled,
    /// Who is where.
    pub neighbours: &'a NeighbourTable,
    /// The flow table.
    pub flows: &'a mut FlowReader,
    /// The time.
    pub now: Nanos,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Send this packet.
    Inject(InjectTo, Vec<u8>),
    /// Ask who has an address.
    Resolve(NetId, Ipv4Addr),
}

impl Zsnp {
    /// Without keys: nothing is said yet.
    pub fn new(settings: Option<Settings>, seed: u64) -> Zsnp {
        let machine = Machine::new(settings.as_ref(), seed);
        let (receiver, inbox) = (Receiver::new(SENDERS_MAX), VecDeque::new());
        Zsnp { settings, identity: None, receiver, machine, scan: Scan::default(), inbox }
    }

    /// From now on we are this sender and these keys are valid.
    pub fn set_identity(&mut self, identity: Identity) {
        self.identity = Some(identity);
    }

    /// From now on these keys are valid; nothing happens before there was an identity.
    pub fn set_keys(&mut self, keys: Keyring) {
        if let Some(identity) = &mut self.identity {
            identity.keys = keys;
        }
    }

    /// Whether messages can be sent and understood.
    pub fn speaks(&self) -> bool {
        self.identity.is_some() && self.settings.is_some()
    }

    /// Whether a packet for an address of ours is for here: a message, or what a VM says to one.
    pub fn is_for_us(protocol: Option<u8>, vrf: VrfId, packet: &[u8]) -> bool {
        protocol.is_some_and(|protocol| carriage::is_ours(protocol, vrf, packet))
    }

    /// Takes such a packet. Returns false when too many wait.
    pub fn take(&mut self, vrf: VrfId, packet: &[u8]) -> bool {
        let room = self.inbox.len() < INBOX_MAX;
        if room {
            self.inbox.push_back((vrf, packet.to_vec()));
        }
        room
    }

    /// Another configuration is in force.
    pub fn changed(&mut self, settings: Option<&Settings>, round: &Round<'_>) {
        self.settings = settings.cloned();
        self.machine.configure(settings);
        self.machine.changed(round.now, &site::Gateway { round });
    }

    /// Somebody is perhaps elsewhere now.
    pub fn touched(&mut self, net: NetId, address: Ipv4Addr, round: &Round<'_>) {
        self.machine.touched(round.now, &site::Gateway { round }, net, address);
    }

    /// Looks at what came in, at flows, and at the time.
    pub fn poll(&mut self, round: &mut Round<'_>) {
        let (Some(settings), Some(identity)) = (&self.settings, &self.identity) else {
            return self.inbox.clear();
        };
        while let Some((_, packet)) = self.inbox.pop_front() {
            let site = site::Gateway { round };
            match carriage::read(settings.protocol, &packet) {
                Some(Payload::Message { from, to, bytes }) => {
                    if let Ok(got) = self.receiver.open(&identity.keys, bytes) {
                        self.machine.heard(round.now, &site, from, to, &got);
                    }
                }
                Some(Payload::Unreachable(transaction)) => self.machine.unreachable(round.now, transaction),
                None => {}
            }
        }
        self.scan.step(round, settings, &mut self.machine);
        let site = site::Gateway { round };
        for sighting in self.scan.take_sightings() {
            self.machine.seen(round.now, &site, sighting);
        }
        self.machine.tick(round.now, &site);
    }

    /// The gateway is asked to stop.
    pub fn stop(&mut self) {
        if self.settings.as_ref().is_some_and(|settings| settings.withdraw_on_stop) {
            self.machine.stop();
        }
    }

    /// The oldest thing to be done.
    pub fn take_deed(&mut self, round: &Round<'_>) -> Option<Deed> {
        loop {
            let order = self.machine.take_order()?;
            let (Some(settings), Some(identity)) = (&self.settings, &mut self.identity) else { continue };
            match carriage::write(settings.protocol, identity, order, round.compiled) {
                Some(deed) => return Some(deed),
                None => self.machine.count(ZsnpEvent::NotSent),
            }
        }
    }

    /// A deed could not be done.
    pub fn not_sent(&mut self) {
        self.machine.count(ZsnpEvent::NotSent);
    }

    /// What was refused of what came in.
    pub fn refusals(&self) -> &Refusals {
        self.receiver.refusals()
    }

    /// The machine, for reading.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
}

#[cfg(test)]
mod tests;
