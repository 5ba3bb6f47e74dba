//! The gateway's end of ZSNP among the rest of the control side.

use std::net::Ipv4Addr;

use tidegate_fastpath::{
    channel::Notice,
    types::{Nanos, NetId},
};
use tidegate_zsnp::Keyring;

use super::Gateway;
use crate::zsnp::{Deed, Identity, Round, Zsnp};

/// Whom a notice of a worker says something new of.
pub(super) fn place_of(notice: &Notice) -> Option<(NetId, Ipv4Addr)> {
    match *notice {
        Notice::Arp { net, ip, .. } | Notice::Moved { net, ip, .. } => Some((net, ip)),
        Notice::Resolve { .. } | Notice::Ports { .. } => None,
    }
}

impl Gateway {
    /// From now on hosts can be told shortcuts.
    pub fn set_zsnp_identity(&mut self, identity: Identity) {
        self.zsnp.set_identity(identity);
    }

    /// The keys of hosts have changed.
    pub fn set_zsnp_keys(&mut self, keys: Keyring) {
        self.zsnp.set_keys(keys);
    }

    /// The gateway's end of ZSNP, for reading.
    pub fn zsnp(&self) -> &Zsnp {
        &self.zsnp
    }

    /// The gateway is asked to stop: says so to hosts, where that is configured.
    pub fn stop_zsnp(&mut self, now: Nanos) {
        self.zsnp.stop();
        self.poll_zsnp(now, &[]);
    }

    /// Another configuration is in force.
    pub(super) fn recheck_zsnp(&mut self, now: Nanos) {
        let settings = self.desired.config().gateway.zsnp.as_ref();
        let (compiled, neighbours) = (&self.compiled, self.machine.table());
        self.zsnp.changed(settings, &Round { compiled, neighbours, flows: &mut self.flows, now });
    }

    /// One round; `heard` is whom workers heard of. Returns how much was sent.
    pub(super) fn poll_zsnp(&mut self, now: Nanos, heard: &[(NetId, Ipv4Addr)]) -> usize {
        if !self.zsnp.speaks() {
            return 0;
        }
        let (compiled, neighbours) = (&self.compiled, self.machine.table());
        let mut round = Round { compiled, neighbours, flows: &mut self.flows, now };
        for (net, address) in heard {
            self.zsnp.touched(*net, *address, &round);
        }
        self.zsnp.poll(&mut round);
        let deeds: Vec<Deed> = std::iter::from_fn(|| self.zsnp.take_deed(&round)).collect();
        let done = deeds.len();
        for deed in deeds {
            match deed {
                Deed::Resolve(net, ip) => self.machine.notice(now, Notice::Resolve { net, ip }),
                Deed::Inject(to, packet) => {
                    if !self.rings.inject(to, &packet) {
                        self.zsnp.not_sent();
                    }
                }
            }
        }
        done
    }
}
