//! What is told to hosts must hold: looked at again whenever the configuration changes or somebody moves.

use std::{collections::BTreeMap, net::Ipv4Addr};

use tidegate_fastpath::types::{Nanos, NetId};
use tidegate_zsnp::{Scope, VpcTag, WithdrawReason};

use super::{Machine, withdrawals::Withdrawal};
use crate::{
    compile::Forbidden,
    zsnp::{
        pair::{Pair, PairKey, State, Why},
        site::Site,
    },
};

impl Machine {
    /// Another configuration is in force. What it does not allow ends now. Cost: a look-up per pair that is not idle.
    pub fn changed(&mut self, now: Nanos, site: &impl Site) {
        let busy = |pair: &Pair| !matches!(pair.state, State::Idle | State::Held);
        let mut keys: Vec<PairKey> =
            self.pairs.iter().filter(|(_, pair)| busy(pair)).map(|(key, _)| *key).collect();
        keys.sort_unstable();
        // A switch is one message per host, however many shortcuts it has.
        let mut switched: BTreeMap<(Ipv4Addr, Ipv4Addr, VpcTag), ()> = BTreeMap::new();
        for key in keys {
            let off = Err(Forbidden::SwitchedOff);
            let offer = self.pairs.get(&key).and_then(Pair::offer);
            match offer.filter(|_| site.judge(key.source, key.destination) == off) {
                Some(offer) => {
                    switched.insert((offer.via, key.host, offer.vpc), ());
                    self.rest(now, key, Some(Why::Forbidden(Forbidden::SwitchedOff)));
                }
                None => self.recheck(now, site, key),
            }
        }
        for (via, host, vpc) in switched.into_keys() {
            let (scope, reason) = (Scope::Vpc, WithdrawReason::SwitchedOff);
            self.withdraw(now, Withdrawal { via, host, vpc, scope, reason });
        }
    }

    /// Somebody is perhaps elsewhere now.
    pub fn touched(&mut self, now: Nanos, site: &impl Site, net: NetId, address: Ipv4Addr) {
        for key in self.by_destination.get(&address).cloned().unwrap_or_default() {
            if self.pairs.get(&key).and_then(Pair::offer).is_some_and(|offer| offer.egress == net) {
                self.recheck(now, site, key);
            }
        }
    }

    /// Ends a pair whose offer is no longer what would be offered now.
    pub(super) fn recheck(&mut self, now: Nanos, site: &impl Site, key: PairKey) {
        let Some(state) = self.pairs.get(&key).map(|pair| pair.state) else { return };
        let offer = match state {
            State::Idle | State::Held => return,
            State::Locating(_) => {
                if let Err(why) = site.judge(key.source, key.destination) {
                    self.rest(now, key, Some(Why::Forbidden(why)));
                }
                return;
            }
            State::Offering(_, offer) | State::Active(offer, _) => offer,
        };
        match self.shortcut(now, site, key) {
            // It is only not known now where the destination is; the packets know it as well as we would.
            Err(Why::Unresolved) => {}
            Err(why) => self.end(now, key, why),
            Ok(present) if present.shortcut.matches != offer.shortcut.matches || present.via != offer.via => {
                self.end(now, key, Why::Forbidden(Forbidden::Gone));
            }
            Ok(present) if present.shortcut.action != offer.shortcut.action => self.end(now, key, Why::Moved),
            Ok(_) => {}
        }
    }

    /// The gateway stops, and all shortcuts with it. Each host is told once: nobody is there to say it again.
    pub fn stop(&mut self) {
        let offers = self.pairs.iter().filter_map(|(key, pair)| Some((key.host, pair.offer()?)));
        let hosts: BTreeMap<_, ()> = offers.map(|(host, offer)| ((offer.via, host, offer.vpc), ())).collect();
        for (via, host, vpc) in hosts.into_keys() {
            let transaction = self.transaction();
            let (scope, reason) = (Scope::Vpc, WithdrawReason::Shutdown);
            self.say_withdraw(transaction, Withdrawal { via, host, vpc, scope, reason });
        }
    }
}
