//! Which flows between networks are worth a shortcut: the flow table is gone through about once per second, and what its entries counted
//! is compared with the last time. Packets cost nothing more for it, and nothing is looked at while no switch is on.

use std::{collections::HashMap, net::Ipv4Addr};

use tidegate_fastpath::{
    flow::{FlowView, FlowWalk, session::Translation},
    types::{Nanos, VrfId},
};

use super::{Machine, PairKey, Round, Settings, Sighting, ZsnpEvent};

/// Entries looked at in one go: under a millisecond.
const STEP: usize = 8_192;
/// Between the beginnings of two looks, at least.
const INTERVAL: Nanos = Nanos::from_ms(1_000);

/// What the entries of a pair count together.
#[derive(Clone, Copy, Debug)]
struct Sum {
    packets: u64,
    bytes: u64,
    vrf: VrfId,
    /// Of one of them: who sends most recently seen.
    vm: Ipv4Addr,
}

/// A look at the flow table, in steps.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// `None` between two looks.
    walk: Option<FlowWalk>,
    began: Option<Nanos>,
    /// When the one before began.
    before: Option<Nanos>,
    sums: HashMap<PairKey, Sum>,
    last: HashMap<PairKey, Sum>,
    sightings: Vec<Sighting>,
}

impl Scan {
    /// Looks on.
    pub(super) fn step(&mut self, round: &mut Round<'_>, settings: &Settings, machine: &mut Machine) {
        if !round.compiled.shortcuts.any() {
            *self = Scan::default();
            return;
        }
        let due = self.began.is_none_or(|began| round.now.0 >= began.0 + INTERVAL.0);
        if self.walk.is_none() && !due {
            return;
        }
        if self.walk.is_none() {
            self.before = self.began;
            self.began = Some(round.now);
        }
        let mut walk = self.walk.take().unwrap_or_default();
        let (sums, compiled) = (&mut self.sums, round.compiled);
        let pairs_max = settings.pairs.saturating_mul(2);
        let more = round.flows.step(&mut walk, STEP, |view| {
            let net = view.key.net();
            if !compiled.shortcuts.has(net) || !is_plain(&view) || view.program.egress == net {
                return;
            }
            let key =
                PairKey { host: view.program.from_vtep, source: net, destination: view.key.destination() };
            if sums.len() >= pairs_max && !sums.contains_key(&key) {
                return machine.count(ZsnpEvent::ScanFull);
            }
            let (vrf, vm) = (view.program.inside, view.key.source());
            let sum = sums.entry(key).or_insert(Sum { packets: 0, bytes: 0, vrf, vm });
            (sum.packets, sum.bytes) = (sum.packets + view.packets, sum.bytes + view.bytes);
        });
        if more {
            self.walk = Some(walk);
        } else {
            self.compare(settings, machine);
        }
    }

    /// What a whole look has found.
    fn compare(&mut self, settings: &Settings, machine: &mut Machine) {
        // Before the first look nothing is known: entries may have counted for days.
        if let Some((began, before)) = self.began.zip(self.before) {
            let elapsed = u128::from(began.0.saturating_sub(before.0).max(1));
            for (key, sum) in &self.sums {
                let last = self.last.get(key);
                // Entries that expired took their count with them.
                let packets = sum.packets.saturating_sub(last.map_or(0, |last| last.packets));
                let bytes = sum.bytes.saturating_sub(last.map_or(0, |last| last.bytes));
                machine.saw_by_gateway(sum.vrf, packets, bytes);
                if u128::from(packets) * 1_000_000_000 >= u128::from(settings.threshold) * elapsed {
                    let PairKey { host, source, destination } = *key;
                    self.sightings.push(Sighting { host, source, vm: sum.vm, destination });
                }
            }
        }
        self.last = std::mem::take(&mut self.sums);
    }

    /// What passed the threshold.
    pub(super) fn take_sightings(&mut self) -> Vec<Sighting> {
        std::mem::take(&mut self.sightings)
    }
}

/// Whether the packets of an entry came out of a tunnel and are only routed.
fn is_plain(view: &FlowView) -> bool {
    !view.program.from_vtep.is_unspecified() && view.program.translation == Translation::NONE
}
