//! Local delivery: packets for the gateway's own addresses reach ordinary programs.
//!
//! Every routing table that owns addresses gets a network namespace with one TAP, `tg0`, that the gateway owns. Packets for
//! these addresses are written to the TAP; what programs in the namespace send is routed in that table as if the gateway
//! itself had sent it. So a proxy, an IKE daemon or a DNS server works unchanged (`ip netns exec tg-vpc-1 ...`), and one
//! tenant's daemon never sees another tenant's packets.
//!
//! | routing table | namespace |
//! |---|---|
//! | VPC router `ID` | `tg-ID` |
//! | public network `ID` | `tgpub-ID` |
//! | the gateway's own addresses | `tgunderlay` |
//!
//! Forwarding never depends on this: a namespace that cannot be made is a warning, tried again later.

pub mod netns;
mod tap;
#[cfg(test)]
mod tests;
mod turn;

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, Instant},
};

use tidegate_fastpath::{table::Net, types::VrfId};
use tracing::{info, warn};

use self::{
    netns::Namespaces,
    tap::{Read, Tap, Written},
    turn::Turns,
};
use crate::{compile::Compiled, config::TableKey, desired::Desired, gateway::Gateway};

tidegate_fastpath::reasons! {
    /// What local delivery counts.
    LocalEvent {
        /// Packets written to a namespace.
        Delivered = "delivered",
        /// Packets dropped because no namespace takes them.
        NoNamespace = "no_namespace",
        /// Packets dropped because the TAP's queue was full.
        TapFull = "tap_full",
        /// Packets that came out of a namespace.
        Received = "received",
        /// Frames that came out of a namespace and were not IPv4.
        NotIpv4 = "not_ipv4",
    }
}

/// After a failure, a namespace is tried again no sooner than this.
const RETRY: Duration = Duration::from_secs(10);

/// A namespace that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The routing table.
    pub vrf: VrfId,
    /// The namespace.
    pub name: String,
    /// The gateway's addresses in that table, sorted.
    pub addresses: Vec<Ipv4Addr>,
    /// Public addresses that programs in it serve, sorted. They are on `lo`, so that no program takes one for its own by itself.
    pub vips: Vec<Ipv4Addr>,
    /// Largest IP packet of any of its networks, in bytes.
    pub mtu: u16,
}

/// All namespaces and TAPs. Lives on the control thread, inside its tokio runtime.
#[derive(Debug)]
pub struct Delivery {
    namespaces: Namespaces,
    wanted: Vec<Wanted>,
    /// Whether namespaces may exist that are wanted no more.
    unwanted: bool,
    taps: HashMap<VrfId, (Wanted, Tap)>,
    failed: HashMap<String, Instant>,
    gone: HashSet<VrfId>,
    turns: Turns,
    frame: Box<[u8]>,
    counts: [u64; LocalEvent::COUNT],
}

impl Delivery {
    /// Nothing yet. `owner` (the control socket) tells this gateway's namespaces from another's; with `fresh`, what an
    /// earlier run left is removed instead of taken over.
    pub fn new(owner: PathBuf, fresh: bool) -> Delivery {
        Delivery::with(Namespaces::new(owner), fresh)
    }

    fn with(namespaces: Namespaces, fresh: bool) -> Delivery {
        if fresh {
            namespaces.remove_where(|_| true);
        }
        Delivery {
            namespaces,
            wanted: Vec::new(),
            unwanted: false,
            taps: HashMap::new(),
            failed: HashMap::new(),
            gone: HashSet::new(),
            turns: Turns::default(),
            frame: vec![0; tap::FRAME_MAX].into(),
            counts: [0; LocalEvent::COUNT],
        }
    }

    /// Says which namespaces should exist; [`Delivery::step`] works on it.
    pub fn want(&mut self, wanted: Vec<Wanted>) {
        self.wanted = wanted;
        self.unwanted = true;
    }

    /// Works on what is wanted: removes all namespaces that are not, or makes or changes one that is, in some
    /// milliseconds. What fails is logged and tried again after a while. Returns whether there was something to do; call
    /// it again and again.
    pub async fn step(&mut self) -> bool {
        if std::mem::take(&mut self.unwanted) || !self.gone.is_empty() {
            self.remove_unwanted().await;
            return true;
        }
        let missing = self.wanted.iter().find(|want| {
            let same = self.taps.get(&want.vrf).is_some_and(|(w, _)| w == *want);
            let wait = self.failed.get(&want.name).is_some_and(|at| at.elapsed() < RETRY);
            !same && !wait
        });
        let Some(want) = missing.cloned() else { return false };
        self.establish(want).await;
        true
    }

    /// Works until everything is as wanted, or has failed.
    pub async fn sync(&mut self, wanted: Vec<Wanted>) {
        self.want(wanted);
        while self.step().await {}
    }

    async fn remove_unwanted(&mut self) {
        let keep: HashMap<VrfId, &str> = self.wanted.iter().map(|w| (w.vrf, w.name.as_str())).collect();
        let leave = |vrf: &VrfId, (w, _): &mut (Wanted, Tap)| {
            keep.get(vrf) != Some(&w.name.as_str()) || self.gone.contains(vrf)
        };
        let leaving = self.taps.extract_if(leave).map(|(_, (_, tap))| tap).collect();
        off_thread(move || tap::close_all(leaving)).await;
        self.gone.clear();
        let namespaces = self.namespaces.clone();
        let names: HashSet<String> = self.wanted.iter().map(|w| w.name.clone()).collect();
        off_thread(move || namespaces.remove_where(|name| !names.contains(name))).await;
    }

    async fn establish(&mut self, want: Wanted) {
        let result = match self.taps.remove(&want.vrf) {
            Some((_, tap)) => tap.change(&self.namespaces, &want).await.map(|()| tap),
            None => Tap::open(&self.namespaces, &want, &self.turns).await,
        };
        match result {
            Ok(tap) => {
                info!(namespace = want.name, addresses = ?want.addresses, "local delivery");
                self.failed.remove(&want.name);
                self.taps.insert(want.vrf, (want, tap));
            }
            Err(error) => {
                warn!(namespace = want.name, "no local delivery: {error:#}");
                self.failed.insert(want.name, Instant::now());
            }
        }
    }

    /// Writes a punted packet to its namespace. Costs a system call; never waits.
    pub fn deliver(&mut self, vrf: VrfId, packet: &[u8]) {
        let written = self.taps.get(&vrf).map(|(_, tap)| tap.write(packet));
        let event = match written {
            Some(Written::Taken) => LocalEvent::Delivered,
            Some(Written::Refused) => LocalEvent::TapFull,
            Some(Written::Gone) => {
                self.gone.insert(vrf);
                LocalEvent::NoNamespace
            }
            None => LocalEvent::NoNamespace,
        };
        self.count_one(event);
    }

    /// Waits until [`receive`](Self::receive) may find something. Cancelling loses nothing.
    pub async fn readable(&self) {
        self.turns.filled().await;
    }

    /// Takes frames that came out of the namespaces, at most `max`, one of each in turn, and hands their packets to
    /// `gateway`. Returns how many frames. Costs the same with one namespace as with thousands.
    pub fn receive(&mut self, gateway: &mut Gateway, max: usize) -> usize {
        let mut taken = 0;
        while taken < max
            && let Some((vrf, packet)) = self.read()
        {
            taken += 1;
            if let Some(packet) = packet {
                gateway.inject(vrf, packet);
            }
        }
        taken
    }

    /// The next frame of the namespace whose turn it is: an IPv4 packet, or something else.
    fn read(&mut self) -> Option<(VrfId, Option<&[u8]>)> {
        loop {
            let vrf = self.turns.pop()?;
            let Some((_, tap)) = self.taps.get(&vrf) else { continue };
            match tap.read(&mut self.frame) {
                Read::Ipv4(len) => {
                    self.count_one(LocalEvent::Received);
                    return Some((vrf, self.frame.get(tap::ETHERNET..tap::ETHERNET + len)));
                }
                Read::Other => {
                    self.count_one(LocalEvent::NotIpv4);
                    return Some((vrf, None));
                }
                Read::Empty => {}
                Read::Gone => drop(self.gone.insert(vrf)),
            }
        }
    }

    fn count_one(&mut self, event: LocalEvent) {
        self.counts[event.index()] += 1;
    }

    /// How often something happened since the start.
    pub fn count(&self, event: LocalEvent) -> u64 {
        self.counts[event.index()]
    }

    /// The namespaces that are served.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.taps.values().map(|(want, _)| want.name.as_str())
    }

    /// Removes every namespace of this gateway.
    pub fn close(self) {}
}

impl Drop for Delivery {
    /// As [`close`](Delivery::close). After a panic the namespaces stay, so that the programs in them live on: the next
    /// run takes them over.
    fn drop(&mut self) {
        tap::close_all(self.taps.drain().map(|(_, (_, tap))| tap).collect());
        if !std::thread::panicking() {
            self.namespaces.remove_where(|_| true);
        }
    }
}

/// The namespaces that a configuration asks for. Public addresses (VIPs) are for the services on them, and only in one where a
/// program of it is that service.
pub fn wanted(desired: &Desired, compiled: &Compiled) -> Vec<Wanted> {
    let mut nets: HashMap<VrfId, Vec<&Net>> = HashMap::new();
    for net in compiled.tables.nets.iter().flatten() {
        nets.entry(net.vrf).or_default().push(net);
    }
    // A public network is alone in its table, so the table and the address say which VIP is meant.
    let vips = desired.vips().filter_map(|id| compiled.tables.vip(id));
    let vips: HashSet<(VrfId, Ipv4Addr)> =
        vips.filter_map(|vip| Some((compiled.tables.net(vip.net)?.vrf, vip.address))).collect();
    let tables = desired.vrfs().filter_map(|(vrf, key)| {
        let nets = nets.get(&vrf)?;
        let all = nets.iter().flat_map(|net| net.addresses.iter().copied());
        let mut addresses: Vec<Ipv4Addr> = all.filter(|ip| !vips.contains(&(vrf, *ip))).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let mtu = nets.iter().map(|net| net.mtu.get()).max()?;
        let vips = desired.served_by(key);
        (!addresses.is_empty()).then(|| Wanted { vrf, name: namespace_name(key), addresses, vips, mtu })
    });
    tables.collect()
}

/// The name of a routing table's namespace. Ids are legal file names of at most 64 characters, so a prefix is all it takes.
pub fn namespace_name(key: &TableKey) -> String {
    match key {
        TableKey::Underlay => "tgunderlay".to_owned(),
        TableKey::Public(id) => format!("tgpub-{id}"),
        TableKey::Vpc(id) => format!("tg-{id}"),
    }
}

/// Runs what blocks on another thread. Only a panic there gives the default.
async fn off_thread<T: Default + Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}
