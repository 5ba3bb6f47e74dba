//! Gratuitous ARP: our addresses, said aloud (RFC 5227 §2.3), paced.

use std::net::Ipv4Addr;

use tidegate_fastpath::types::{Nanos, NetId};

use super::{Key, Machine, NeighbourEvent, arp, limit::ANNOUNCE_INTERVAL};

/// An address of ours to be announced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announcement {
    net: NetId,
    ip: Ipv4Addr,
    at: Nanos,
    left: u8,
}

impl Machine {
    /// Announces one of our addresses `times` times, starting now.
    pub(super) fn announce(&mut self, now: Nanos, (net, ip): Key, times: u8) {
        self.announcements.push_back(Announcement { net, ip, at: now, left: times });
    }

    /// Sends what is due and what the frame budget allows. Every waiting announcement is looked at once.
    pub(super) fn run_announcements(&mut self, now: Nanos) {
        for _ in 0..self.announcements.len() {
            let Some(mut next) = self.announcements.pop_front() else { return };
            if next.at <= now {
                if !self.budget.ready(now) {
                    self.announcements.push_front(next);
                    return;
                }
                next.left -= self.send_announcement(next);
                next.at = Nanos(now.0 + ANNOUNCE_INTERVAL.0);
            }
            if next.left > 0 {
                self.announcements.push_back(next);
            }
        }
    }

    /// One round of frames. Returns what to take off the count: everything where the address is ours no more.
    fn send_announcement(&mut self, what: Announcement) -> u8 {
        let net = self.nets.get(&what.net).map(|n| &n.attachment.net).filter(|n| n.owns(what.ip));
        let Some(net) = net else { return what.left };
        let frame = arp::announcement(net, what.ip);
        let sent = self.send(what.net, None, frame);
        self.budget.spend(sent);
        self.bump(NeighbourEvent::Announcement, sent);
        1
    }
}
