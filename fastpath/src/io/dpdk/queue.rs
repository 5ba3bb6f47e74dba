//! Which worker polls and sends on which queue.
//!
//! Receive: the queues of a port go to the workers in turn, the first to whoever has fewest so far; so a port with as many
//! queues as workers gives one to each, and ports with one queue spread over the workers.
//!
//! Transmit: worker `w` owns queue `w` where the device has enough. Where it has fewer, `T`, worker `w` hands its frames
//! over a ring to worker `w % T`, which sends them in its next round, in order. A full ring refuses frames as a full device
//! does. When the device takes none of what was handed over in a round, the first frame of it is dropped and counted
//! ([`Dpdk::handoff_drops`](super::Dpdk::handoff_drops)): some devices never take a frame that is too long.

use dpdk_sys::port::PortInfo;

/// Drivers that want as many transmit as receive queues.
const PAIRED: [&str; 2] = ["net_tap", "net_af_xdp"];

/// Drivers whose queues are files, each with frames of its own.
const BY_QUEUE: [&str; 1] = ["net_pcap"];

/// How many queues a port gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Receive queues.
    pub rx: u16,
    /// Transmit queues.
    pub tx: u16,
}

/// More receive queues are wanted than the device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// Wanted.
    pub wanted: u16,
    /// The device's limit.
    pub max: u16,
}

impl Plan {
    /// For a device, the configured number of receive queues and the number of workers.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn new(device: &PortInfo, wanted: Option<u16>, workers: usize) -> Result<Plan, TooMany> {
        let driver = device.driver.as_str();
        let workers = u16::try_from(workers).unwrap_or(u16::MAX);
        let paired = PAIRED.contains(&driver);
        let max = if paired { device.rx_queues_max.min(device.tx_queues_max) } else { device.rx_queues_max };
        let rx = match wanted {
            Some(wanted) if wanted > max || wanted == 0 => return Err(TooMany { wanted, max }),
            Some(wanted) => wanted,
            None if BY_QUEUE.contains(&driver) => max,
            None if device.rss => workers.min(max),
            None => 1,
        };
        let tx = if paired { rx } else { workers.min(device.tx_queues_max) };
        Ok(Plan { rx: rx.max(1), tx: tx.max(1) })
    }
}

/// The worker for each of `queues` receive queues, given how many each worker polls already.
pub(super) fn pollers(polled: &[usize], queues: usize) -> Vec<usize> {
    let mut polled = polled.to_vec();
    let mut workers = Vec::new();
    for _ in 0..queues {
        let least = polled.iter().enumerate().min_by_key(|(_, n)| **n).map_or(0, |(worker, _)| worker);
        if let Some(n) = polled.get_mut(least) {
            *n += 1;
        }
        workers.push(least);
    }
    workers
}

/// How many of `workers` workers send on the queue that worker `owner` of `owners` has.
pub(super) fn senders(owner: usize, owners: usize, workers: usize) -> usize {
    (owner..workers).step_by(owners.max(1)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(driver: &str, rx: u16, tx: u16, rss: bool) -> PortInfo {
        PortInfo { driver: driver.to_owned(), rx_queues_max: rx, tx_queues_max: tx, mtu: (68, 9216), rss }
    }

    #[test]
    fn a_port_gets_as_many_queues_as_workers_can_use_and_the_device_has() {
        let plan = |d: &PortInfo, wanted, workers| Plan::new(d, wanted, workers).map(|p| (p.rx, p.tx));
        let nic = device("net_ice", 64, 64, true);
        let small = device("net_e1000_igb", 1, 1, true);
        let tap = device("net_tap", 16, 16, true);
        let pcap = device("net_pcap", 3, 1, true);
        let ring = device("net_ring", 16, 16, false);
        assert_eq!(plan(&nic, None, 4), Ok((4, 4)));
        assert_eq!(plan(&nic, Some(8), 4), Ok((8, 4)));
        assert_eq!(plan(&small, None, 4), Ok((1, 1)));
        assert_eq!(plan(&tap, None, 2), Ok((2, 2)));
        assert_eq!(plan(&tap, Some(1), 2), Ok((1, 1)), "net_tap wants pairs, so two workers share the queue");
        assert_eq!(plan(&pcap, None, 1), Ok((3, 1)), "every file is read");
        assert_eq!(plan(&ring, None, 4), Ok((1, 4)), "without RSS nobody fills a second queue");
        assert_eq!(plan(&small, Some(2), 2), Err(TooMany { wanted: 2, max: 1 }));
        assert_eq!(plan(&small, Some(0), 2), Err(TooMany { wanted: 0, max: 1 }));
    }

    #[test]
    fn queues_go_to_the_workers_with_fewest() {
        assert_eq!(pollers(&[0, 0], 2), [0, 1]);
        assert_eq!(pollers(&[1, 0], 1), [1]);
        assert_eq!(pollers(&[0, 0, 0], 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn every_worker_sends_on_some_queue() {
        for workers in 1..6 {
            for owners in 1..=workers {
                assert_eq!((0..owners).map(|o| senders(o, owners, workers)).sum::<usize>(), workers);
            }
        }
    }
}
