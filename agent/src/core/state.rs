//! The agent as a whole: its state, and where an event goes.

use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
};

use tidegate_zsnp::{Authentic, Message, Receiver, Refusals, Sender, Transaction, VpcTag, WithdrawReason};

use super::{
    Askers, Counts, Input, Located, Note, Output, Settings, View, own_vteps,
    path::Path,
    table::{Held, Table},
    trust::Gateways,
};
use crate::bpf::{Count, Pair, Rule};

/// Peers whose sequence numbers are remembered.
const SENDERS_MAX: usize = 16_384;

/// What the agent has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Shortcuts that were installed, renewals not counted.
    pub installed: u64,
    /// Those that a gateway or host took away.
    pub withdrawn: u64,
    /// Those that nobody renewed.
    pub expired: u64,
    /// Those whose host did not answer.
    pub unreachable: u64,
    /// Renewals that the agent gave itself while a gateway was silent.
    pub prolonged: u64,
    /// SHORTCUTs that were refused, but for a full table.
    pub refused: u64,
    /// SHORTCUTs for which there was no room.
    pub table_full: u64,
    /// LOCATEs answered.
    pub here: u64,
    /// WITHDRAW(moved) sent.
    pub moved: u64,
    /// Messages that the agent does not act on: of a kind or by a way that is not for it.
    pub unexpected: u64,
    /// What took shortcuts that are no more.
    pub past: Count,
}

/// The state machine of one host.
#[derive(Debug)]
pub struct Agent {
    pub(super) settings: Settings,
    /// Whether the operator wants shortcuts.
    pub(super) on: bool,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) view: View,
    pub(super) table: Table,
    pub(super) paths: BTreeMap<Ipv4Addr, Path>,
    pub(super) gateways: Gateways,
    pub(super) located: Located,
    pub(super) askers: Askers,
    pub(super) totals: Totals,
    pub(super) out: VecDeque<Output>,
}

impl Agent {
    /// One that knows nothing yet.
    pub fn new(settings: Settings, sender: Sender) -> Agent {
        Agent {
            table: Table::new(settings.limits),
            settings,
            on: true,
            sender,
            receiver: Receiver::new(SENDERS_MAX),
            view: View::default(),
            paths: BTreeMap::new(),
            gateways: Gateways::default(),
            located: Located::new(),
            askers: Askers::new(),
            totals: Totals::default(),
            out: VecDeque::new(),
        }
    }

    /// Takes an event. What is to be done about it is in [`Agent::output`].
    pub fn input(&mut self, now: u64, counts: Counts<'_>, input: Input<'_>) {
        match input {
            Input::View(view) => self.take_view(view, counts, now),
            Input::Overlay { vni, from, payload } => {
                if let Some(it) = self.open(payload) {
                    self.overlay(vni, from, &it, now, counts);
                }
            }
            Input::Underlay { from, to, payload } => {
                if let Some(it) = self.open(payload) {
                    self.underlay((from, to), &it, now, counts);
                }
            }
            Input::Stray { vni, mac, address, from } => {
                if !self.view.vms.contains_key(&(vni, mac)) {
                    self.tell_moved(vni, address, from);
                }
            }
            Input::Route { vtep, out } => self.take_route(vtep, out, counts, now),
            Input::Switch(on) => self.switch(on, counts),
            Input::Tick => self.tick(now, counts),
        }
    }

    /// What is authentic. A WITHDRAW overtakes what its sender wrote before it, whatever becomes of it here.
    fn open(&mut self, payload: &[u8]) -> Option<Authentic> {
        let it = self.receiver.open(&self.settings.keys, payload).ok()?;
        if matches!(it.message, Message::Withdraw { .. }) {
            self.gateways.withdrew(&it.header);
        }
        Some(it)
    }

    /// The next thing to do.
    pub fn output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is wanted next, in ns since boot.
    pub fn wakes_ns(&self) -> Option<u64> {
        let paths = self.paths.values().filter_map(Path::wakes_ns);
        paths.chain(self.table.wakes_ns()).chain(self.gateways.wakes_ns()).min()
    }

    /// Takes other keys; those of before are no longer valid unless they are among them.
    pub fn rekey(&mut self, keys: tidegate_zsnp::Keyring) {
        self.settings.keys = keys;
    }

    /// Whether the operator wants shortcuts.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// The shortcuts.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The ways to other hosts.
    pub fn paths(&self) -> impl Iterator<Item = (Ipv4Addr, &Path)> {
        self.paths.iter().map(|(vtep, path)| (*vtep, path))
    }

    /// When each gateway was heard last, in ns since boot.
    pub fn gateways(&self) -> impl Iterator<Item = (Ipv4Addr, u64)> {
        self.gateways.iter().map(|(_, peer)| (peer.vtep, peer.heard_ns))
    }

    /// What it has done.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Messages that were not taken.
    pub fn refusals(&self) -> &Refusals {
        self.receiver.refusals()
    }

    // ---- what all parts need -----------------------------------------------------------------------------------------

    /// Sends a message.
    pub(super) fn send(
        &mut self,
        from: Ipv4Addr,
        to: Ipv4Addr,
        vpc: VpcTag,
        transaction: Transaction,
        message: &Message,
    ) {
        // No message of ours is too long: lists are cut to what fits.
        if let Ok(payload) = self.sender.seal(&self.settings.keys, vpc, transaction, message) {
            self.out.push_back(Output::Send { from, to, payload });
        }
    }

    /// Takes a shortcut out of the kernel and the table.
    pub(super) fn remove(&mut self, pair: Pair, counts: Counts<'_>) -> Option<Held> {
        let held = self.table.remove(pair)?;
        let count = counts(held.slot);
        self.totals.past.packets += count.packets;
        self.totals.past.bytes += count.bytes;
        self.out.push_back(Output::Remove(pair));
        Some(held)
    }

    /// Takes shortcuts away because somebody says so.
    pub(super) fn withdraw(&mut self, pairs: Vec<Pair>, reason: WithdrawReason, counts: Counts<'_>) {
        for pair in pairs {
            if self.remove(pair, counts).is_some() {
                self.totals.withdrawn += 1;
                self.out.push_back(Output::Note(Note::Withdrawn(pair, reason)));
            }
        }
    }

    /// Has the kernel use a shortcut of the table as it stands there.
    pub(super) fn install(&mut self, pair: Pair, fresh: bool) {
        let Some(held) = self.table.get(pair) else { return };
        let action = held.grant.action;
        let local = own_vteps(&self.view).contains(&action.vtep);
        let rule = Rule {
            expires_ns: held.expires_ns,
            vni: action.vni,
            // The kernel puts nothing around what stays on this host.
            vtep: if local { Ipv4Addr::UNSPECIFIED } else { action.vtep },
            underlay: held.out,
            slot: held.slot,
            mtu: held.grant.mtu,
            gateway: held.grant.matches.gateway_mac,
            vm: action.mac,
        };
        self.out.push_back(Output::Install { pair, rule, fresh });
    }
}
