//! Desired state: a [`Config`] and the numbers under which workers know its objects. A number stays with its object from
//! one reload to the next; a freed number is used again only when all others have been, oldest first, so that what a
//! worker or a flow entry still holds of a removed object does not name a new one soon.
//!
//! Nothing here depends on the machine: the same configs in the same order give the same numbers.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    hash::Hash,
    net::Ipv4Addr,
    sync::Arc,
};

use tidegate_fastpath::{
    policer::Policers,
    table::VTEPS_MAX,
    types::{NetId, PortId, VipId, VrfId, VtepId},
};

use crate::config::{Config, Id, TableKey, qos::ChainKey};

/// What a [`NetId`] stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetKey {
    /// The gateway's own addresses on a port.
    Port(Id),
    /// A public network.
    Public(Id),
    /// A VPC network.
    Vpc(Id),
}

impl NetKey {
    /// The id of the port or network.
    pub fn id(&self) -> &Id {
        match self {
            NetKey::Port(id) | NetKey::Public(id) | NetKey::Vpc(id) => id,
        }
    }
}

impl NetKey {
    /// What no other network is called; the same in every run of the gateway.
    pub fn label(&self) -> String {
        match self {
            NetKey::Port(id) => format!("port {id}"),
            NetKey::Public(id) => format!("public {id}"),
            NetKey::Vpc(id) => format!("vpc {id}"),
        }
    }
}

/// What no other routing table is called; the same in every run of the gateway.
pub fn table_label(key: &TableKey) -> String {
    match key {
        TableKey::Underlay => "underlay".to_owned(),
        TableKey::Public(id) => format!("public {id}"),
        TableKey::Vpc(id) => format!("vpc {id}"),
    }
}

/// The numbers of networks and routing tables in an earlier run of the gateway.
pub trait Numbered {
    /// Of a network.
    fn net(&self, key: &NetKey) -> Option<NetId>;
    /// Of a routing table.
    fn vrf(&self, key: &TableKey) -> Option<VrfId>;
}

impl fmt::Display for NetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id().fmt(f)
    }
}

/// What a [`VipId`] stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum VipKey {
    /// A VIP.
    Vip(Id),
    /// Our address in a VPC network, where backends see it in place of their clients'.
    Mask(Id),
}

/// What a [`VtepId`] stands for. Pools with the same address and UDP port share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VtepKey {
    /// Ours.
    pub address: Ipv4Addr,
    /// Both ways.
    pub udp_port: u16,
}

/// The routing table of the gateway's own addresses; always there.
pub const UNDERLAY: VrfId = VrfId(0);

/// Most public addresses on one gateway. Each that leases ports takes 12 KiB for that.
pub const VIPS_MAX: u16 = 65_000;

/// Most networks with backends of listeners with full NAT on one gateway. Each takes 12 KiB for leased ports.
pub const FULL_NAT_NETWORKS_MAX: u16 = 500;

/// Most rate limits on one gateway; each has two buckets.
pub const QOS_MAX: u16 = 16_000;

/// A configuration with stable numbers.
#[derive(Clone, Debug)]
pub struct Desired {
    config: Arc<Config>,
    ports: Arc<Numbers<Id>>,
    nets: Arc<Numbers<NetKey>>,
    vrfs: Arc<Numbers<TableKey>>,
    vteps: Arc<Numbers<VtepKey>>,
    vips: Arc<Numbers<VipKey>>,
    qos: Arc<Numbers<Id>>,
    chains: Arc<Numbers<ChainKey>>,
}

impl Desired {
    /// The first configuration after start.
    pub fn new(config: impl Into<Arc<Config>>) -> Desired {
        Desired::unnumbered(config).renumber(None)
    }

    /// The first configuration after start, where networks and routing tables that were there before keep the numbers they
    /// had. `None` where those cannot be true.
    pub fn continued(config: impl Into<Arc<Config>>, before: &impl Numbered) -> Option<Desired> {
        let mut desired = Desired::unnumbered(config);
        let config = Arc::clone(&desired.config);
        let nets = Arc::make_mut(&mut desired.nets);
        nets.last = config.gateway.limits.networks;
        nets.restore(net_keys(&config).filter_map(|key| Some((before.net(&key)?.0, key))))?;
        let vrfs = Arc::make_mut(&mut desired.vrfs);
        vrfs.restore(table_keys(&config).filter_map(|key| Some((before.vrf(&key)?.0, key))))?;
        let desired = desired.renumber(None);
        (desired.vrf(&TableKey::Underlay) == Some(UNDERLAY)).then_some(desired)
    }

    fn unnumbered(config: impl Into<Arc<Config>>) -> Desired {
        Desired {
            config: config.into(),
            ports: Arc::new(Numbers::new(0, 31)),
            nets: Arc::new(Numbers::new(1, u16::MAX)),
            vrfs: Arc::new(Numbers::new(0, u16::MAX)),
            vteps: Arc::new(Numbers::new(0, VTEPS_MAX as u16 - 1)),
            vips: Arc::new(Numbers::new(1, VIPS_MAX + FULL_NAT_NETWORKS_MAX)),
            qos: Arc::new(Numbers::new(0, QOS_MAX - 1)),
            chains: Arc::new(Numbers::new(1, Policers::CHAINS_MAX)),
        }
    }

    /// What follows when `config` replaces the present one. Objects that are in both keep their numbers. Cost: one pass over the
    /// kinds of which objects came or went.
    pub fn next(&self, config: impl Into<Arc<Config>>) -> Desired {
        Desired { config: config.into(), ..self.clone() }.renumber(Some(&self.config))
    }

    fn renumber(mut self, before: Option<&Config>) -> Desired {
        let config = Arc::clone(&self.config);
        let differs = |of: &dyn Fn(&Config) -> bool| before.is_none_or(of);
        let networks = differs(&|was| config.networks.has_turned_over(&was.networks));
        let public = differs(&|was| config.public_networks.has_turned_over(&was.public_networks));
        if differs(&|was| was.gateway != config.gateway) || networks || public {
            Arc::make_mut(&mut self.ports).keep(config.gateway.ports.iter().map(|p| p.id.clone()).collect());
            let nets = Arc::make_mut(&mut self.nets);
            nets.last = config.gateway.limits.networks;
            nets.keep(net_keys(&config).collect());
        }
        if public || differs(&|was| config.vpcs.has_turned_over(&was.vpcs)) {
            Arc::make_mut(&mut self.vrfs).keep(table_keys(&config).collect());
        }
        if differs(&|was| was.pools != config.pools) {
            let vteps = config.pools.iter().map(|p| VtepKey { address: p.vtep, udp_port: p.udp_port });
            Arc::make_mut(&mut self.vteps).keep(vteps.collect());
        }
        let listeners = differs(&|was| was.load_balancers != config.load_balancers);
        if listeners
            || differs(&|was| was.networks != config.networks || config.vips.has_turned_over(&was.vips))
        {
            // By name, so that the order of the document says nothing here.
            let masked = config.masked_networks().into_iter().map(|network| VipKey::Mask(network.id.clone()));
            let mut vips: Vec<VipKey> = config.vips.iter().map(|vip| VipKey::Vip(vip.id.clone())).collect();
            vips.extend(masked);
            vips.sort_unstable();
            Arc::make_mut(&mut self.vips).keep(vips);
        }
        if differs(&|was| was.qos != config.qos) {
            Arc::make_mut(&mut self.qos).keep(config.qos.iter().map(|qos| qos.id.clone()).collect());
            Arc::make_mut(&mut self.chains).keep(config.chain_keys());
        }
        self
    }

    /// Whether networks and routing tables have the numbers that they have in another one; a cheap look, which may miss it.
    pub fn numbers_as(&self, other: &Desired) -> bool {
        Arc::ptr_eq(&self.nets, &other.nets) && Arc::ptr_eq(&self.vrfs, &other.vrfs)
    }

    /// The configuration, for who keeps it.
    pub fn shared_config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The number of a port.
    pub fn port(&self, id: &Id) -> Option<PortId> {
        self.ports.number(id).map(PortId)
    }

    /// The port of a number.
    pub fn port_key(&self, id: PortId) -> Option<&Id> {
        self.ports.key(id.0)
    }

    /// The number of a network.
    pub fn net(&self, key: &NetKey) -> Option<NetId> {
        self.nets.number(key).map(NetId)
    }

    /// The network of a number.
    pub fn net_key(&self, id: NetId) -> Option<&NetKey> {
        self.nets.key(id.0)
    }

    /// All networks, by number.
    pub fn nets(&self) -> impl Iterator<Item = (NetId, &NetKey)> {
        self.nets.iter().map(|(number, key)| (NetId(number), key))
    }

    /// The number of a routing table.
    pub fn vrf(&self, key: &TableKey) -> Option<VrfId> {
        self.vrfs.number(key).map(VrfId)
    }

    /// The routing table of a number.
    pub fn vrf_key(&self, id: VrfId) -> Option<&TableKey> {
        self.vrfs.key(id.0)
    }

    /// All routing tables, by number.
    pub fn vrfs(&self) -> impl Iterator<Item = (VrfId, &TableKey)> {
        self.vrfs.iter().map(|(number, key)| (VrfId(number), key))
    }

    /// The number of a tunnel end.
    pub fn vtep(&self, key: VtepKey) -> Option<VtepId> {
        self.vteps.number(&key).map(VtepId)
    }

    /// The tunnel end of a number.
    pub fn vtep_key(&self, id: VtepId) -> Option<VtepKey> {
        self.vteps.key(id.0).copied()
    }

    /// All tunnel ends, by number.
    pub fn vteps(&self) -> impl Iterator<Item = (VtepId, VtepKey)> {
        self.vteps.iter().map(|(number, key)| (VtepId(number), *key))
    }

    /// The public addresses that programs in the namespace of a routing table serve, sorted.
    pub fn served_by(&self, key: &TableKey) -> Vec<Ipv4Addr> {
        let TableKey::Vpc(vpc) = key else { return Vec::new() };
        let proxied = self.config.listeners().filter(|l| l.protocol.is_proxied() && l.vpc == *vpc);
        let served: HashSet<&Id> = proxied.map(|listener| &listener.vip).collect();
        let vips = served.into_iter().filter_map(|vip| self.config.vips.get(vip));
        let mut addresses: Vec<Ipv4Addr> = vips.map(|vip| vip.address).collect();
        addresses.sort_unstable();
        addresses
    }

    /// The number of a public address; never 0.
    pub fn vip(&self, id: &Id) -> Option<VipId> {
        self.vips.number(&VipKey::Vip(id.clone())).map(VipId)
    }

    /// The number of our address in a VPC network that stands for clients there; never 0.
    pub fn mask(&self, network: &Id) -> Option<VipId> {
        self.vips.number(&VipKey::Mask(network.clone())).map(VipId)
    }

    /// The numbers of our addresses that stand for clients.
    pub fn masks(&self) -> impl Iterator<Item = VipId> {
        let numbers = self.vips.iter().filter(|(_, key)| matches!(key, VipKey::Mask(_)));
        numbers.map(|(number, _)| VipId(number))
    }

    /// The numbers of all public addresses. (Our address in a VPC network, where it stands for clients, is none.)
    pub fn vips(&self) -> impl Iterator<Item = VipId> {
        let numbers = self.vips.iter().filter(|(_, key)| matches!(key, VipKey::Vip(_)));
        numbers.map(|(number, _)| VipId(number))
    }

    /// The public address of a number.
    pub fn vip_key(&self, id: VipId) -> Option<&Id> {
        match self.vips.key(id.0)? {
            VipKey::Vip(id) => Some(id),
            VipKey::Mask(_) => None,
        }
    }

    /// The number of a rate limit.
    pub fn qos(&self, id: &Id) -> Option<u16> {
        self.qos.number(id)
    }

    /// The number of rate limits that packets pass one after the other; never 0.
    pub fn chain(&self, key: &ChainKey) -> Option<u16> {
        self.chains.number(key)
    }

    /// All of these, by number.
    pub fn chains(&self) -> impl Iterator<Item = (u16, &ChainKey)> {
        self.chains.iter()
    }
}

/// Everything that gets a [`NetId`].
fn net_keys(config: &Config) -> impl Iterator<Item = NetKey> {
    let ports = config.gateway.ports.iter().filter(|p| p.subnet.is_some());
    let ports = ports.map(|p| NetKey::Port(p.id.clone()));
    let public = config.public_networks.iter().map(|n| NetKey::Public(n.id.clone()));
    ports.chain(public).chain(config.networks.iter().map(|n| NetKey::Vpc(n.id.clone())))
}

/// Everything that gets a [`VrfId`]; the underlay first, so that it is [`UNDERLAY`].
fn table_keys(config: &Config) -> impl Iterator<Item = TableKey> {
    let public = config.public_networks.iter().map(|n| TableKey::Public(n.id.clone()));
    let vpcs = config.vpcs.iter().map(|v| TableKey::Vpc(v.id.clone()));
    std::iter::once(TableKey::Underlay).chain(public).chain(vpcs)
}

/// Keys and their numbers, both ways.
#[derive(Clone, Debug)]
struct Numbers<K> {
    /// The lowest number.
    first: u16,
    /// Numbers up to here are used before freed ones.
    last: u16,
    /// By number less `first`.
    keys: Vec<Option<K>>,
    numbers: HashMap<K, u16>,
    /// Oldest first.
    freed: VecDeque<u16>,
}

impl<K: Clone + Eq + Hash> Numbers<K> {
    fn new(first: u16, last: u16) -> Numbers<K> {
        Numbers { first, last, keys: Vec::new(), numbers: HashMap::new(), freed: VecDeque::new() }
    }

    fn number(&self, key: &K) -> Option<u16> {
        self.numbers.get(key).copied()
    }

    fn key(&self, number: u16) -> Option<&K> {
        self.keys.get(usize::from(number.checked_sub(self.first)?))?.as_ref()
    }

    fn iter(&self) -> impl Iterator<Item = (u16, &K)> {
        let numbered = (self.first..).zip(&self.keys);
        numbered.filter_map(|(number, key)| Some((number, key.as_ref()?)))
    }

    /// Frees the numbers of keys that are not in `wanted`, and gives numbers to those that have none. There is room:
    /// the check of the configuration has counted.
    fn keep(&mut self, wanted: Vec<K>) {
        let set: HashSet<&K> = wanted.iter().collect();
        for (number, slot) in (self.first..).zip(&mut self.keys) {
            if slot.as_ref().is_some_and(|key| !set.contains(key)) {
                if let Some(key) = slot.take() {
                    self.numbers.remove(&key);
                }
                self.freed.push_back(number);
            }
        }
        for key in wanted {
            if !self.numbers.contains_key(&key) {
                self.add(key);
            }
        }
    }

    /// Gives keys the numbers they had; the numbers between them are free. `None`, and nothing is right any more, where two
    /// have one, or one has a number that there is not.
    fn restore(&mut self, numbered: impl Iterator<Item = (u16, K)>) -> Option<()> {
        for (number, key) in numbered {
            let at = usize::from(number.checked_sub(self.first).filter(|_| number <= self.last)?);
            if self.keys.len() <= at {
                self.keys.resize(at + 1, None);
            }
            let taken = self.keys[at].replace(key.clone()).is_some();
            if taken || self.numbers.insert(key, number).is_some() {
                return None;
            }
        }
        let free = (self.first..).zip(&self.keys).filter(|(_, key)| key.is_none());
        self.freed = free.map(|(number, _)| number).collect();
        Some(())
    }

    fn add(&mut self, key: K) {
        let next = usize::from(self.first) + self.keys.len();
        let reused = if next <= usize::from(self.last) { None } else { self.freed.pop_front() };
        let number = match reused {
            Some(number) => number,
            None => {
                let Ok(number) = u16::try_from(next) else { return };
                self.keys.push(None);
                number
            }
        };
        self.keys[usize::from(number - self.first)] = Some(key.clone());
        self.numbers.insert(key, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(of: &mut Numbers<char>, keys: &str) -> Vec<u16> {
        of.keep(keys.chars().collect());
        keys.chars().map(|key| of.number(&key).unwrap()).collect()
    }

    #[test]
    fn numbers_stay_and_freed_ones_come_last_oldest_first() {
        let mut n = Numbers::new(1, 5);
        assert_eq!(numbers(&mut n, "abc"), [1, 2, 3]);
        assert_eq!(numbers(&mut n, "c"), [3]);
        assert_eq!(numbers(&mut n, "cde"), [3, 4, 5], "1 and 2 are free and not used yet");
        assert_eq!(numbers(&mut n, "fced"), [1, 3, 5, 4], "all were used: the oldest freed one");
        assert_eq!((n.key(1), n.key(2), n.key(0), n.key(6)), (Some(&'f'), None, None, None));
        assert_eq!(n.iter().map(|(_, key)| *key).collect::<String>(), "fcde");
    }

    #[test]
    fn numbers_of_an_earlier_run_stay_or_are_refused() {
        let restored = |numbered: &[(u16, char)]| {
            let mut n = Numbers::new(1, 5);
            n.restore(numbered.iter().copied()).map(|()| n)
        };
        let mut n = restored(&[(4, 'd'), (2, 'b')]).unwrap();
        assert_eq!(numbers(&mut n, "bdefg"), [2, 4, 5, 1, 3]);
        assert_eq!(numbers(&mut restored(&[]).unwrap(), "ab"), [1, 2]);
        for wrong in [&[(0, 'a')][..], &[(6, 'a')], &[(1, 'a'), (1, 'b')], &[(1, 'a'), (2, 'a')]] {
            assert!(restored(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_replaced_set_of_full_size_still_fits() {
        let mut n = Numbers::new(0, 2);
        assert_eq!(numbers(&mut n, "abc"), [0, 1, 2]);
        assert_eq!(numbers(&mut n, "xyz"), [0, 1, 2]);
    }
}
