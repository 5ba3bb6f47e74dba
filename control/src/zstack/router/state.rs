//! What was pushed: by service, by the key that the manager means an object by. It is what a restart needs to know.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::zstack::{
    Service,
    body::{Certificate, DhcpServer, DnsServer, Eip, Listener, Nic, PortForward, Route, Snat, Vip, VipQos},
};

/// An object that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held<T> {
    pub(super) value: T,
    /// Known from before a restart, and not pushed again yet.
    pub(super) provisional: bool,
}

/// Objects of one service by key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, T>", into = "BTreeMap<String, T>")]
#[serde(bound(serialize = "T: Clone + Serialize", deserialize = "T: Deserialize<'de>"))]
pub(super) struct Shelf<T>(BTreeMap<String, Held<T>>);

impl<T> Default for Shelf<T> {
    fn default() -> Shelf<T> {
        Shelf(BTreeMap::new())
    }
}

impl<T> From<BTreeMap<String, T>> for Shelf<T> {
    fn from(all: BTreeMap<String, T>) -> Shelf<T> {
        Shelf(all.into_iter().map(|(key, value)| (key, Held { value, provisional: false })).collect())
    }
}

impl<T> From<Shelf<T>> for BTreeMap<String, T> {
    fn from(shelf: Shelf<T>) -> BTreeMap<String, T> {
        shelf.0.into_iter().map(|(key, held)| (key, held.value)).collect()
    }
}

impl<T> Shelf<T> {
    pub(super) fn put(&mut self, key: String, value: T) {
        self.0.insert(key, Held { value, provisional: false });
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.0.get(key).map(|held| &held.value)
    }

    pub(super) fn remove(&mut self, key: &str) -> bool {
        self.0.remove(key).is_some()
    }

    pub(super) fn replace(&mut self, all: impl IntoIterator<Item = (String, T)>) {
        self.0.clear();
        all.into_iter().for_each(|(key, value)| self.put(key, value));
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.0.retain(|_, held| keep(&held.value));
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values().map(|held| &held.value)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &T)> {
        self.0.iter().map(|(key, held)| (key, &held.value))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut().map(|held| &mut held.value)
    }
}

/// What goes for the objects of every service alike.
pub(super) trait Objects {
    /// How many objects a manager would count: an object may list others.
    fn count(&self) -> usize;

    /// Shows the key of each and whether it is provisional.
    fn each(&self, show: &mut dyn FnMut(&str, bool));

    /// Everything has to be pushed again.
    fn doubt(&mut self);

    /// Takes away what was not pushed again; returns how many keys that was.
    fn withdraw(&mut self) -> usize;
}

impl<T: Counted> Objects for Shelf<T> {
    fn count(&self) -> usize {
        self.values().map(Counted::count).sum()
    }

    fn each(&self, show: &mut dyn FnMut(&str, bool)) {
        self.0.iter().for_each(|(key, held)| show(key, held.provisional));
    }

    fn doubt(&mut self) {
        self.0.values_mut().for_each(|held| held.provisional = true);
    }

    fn withdraw(&mut self) -> usize {
        let before = self.0.len();
        self.0.retain(|_, held| !held.provisional);
        before - self.0.len()
    }
}

/// What a pushed object counts against the limit of a router.
trait Counted {
    fn count(&self) -> usize {
        1
    }
}

impl Counted for Vip {}
impl Counted for Snat {}
impl Counted for PortForward {}
impl Counted for Eip {}
impl Counted for Listener {}
impl Counted for Certificate {}
impl Counted for VipQos {}
impl Counted for Route {}
impl Counted for DnsServer {}

impl Counted for DhcpServer {
    fn count(&self) -> usize {
        1 + self.dhcp_infos.len()
    }
}

/// Everything that one router was told. NICs are not provisional: no reconnect sends them again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// By MAC.
    pub(super) nics: BTreeMap<String, Nic>,
    /// NICs of the bootstrap information that were taken away since.
    pub(super) removed: BTreeSet<String>,
    /// By which the default route leaves, if that was said.
    pub(super) default_nic: Option<Nic>,
    /// Whether hosts shall learn direct paths, if that was said.
    pub(super) distributed_routing: Option<bool>,
    /// By address.
    pub(super) vips: Shelf<Vip>,
    /// By the MACs of both NICs.
    pub(super) snats: Shelf<Snat>,
    /// By uuid.
    pub(super) port_forwards: Shelf<PortForward>,
    /// By address of the VIP.
    pub(super) eips: Shelf<Eip>,
    /// By uuid.
    pub(super) listeners: Shelf<Listener>,
    /// By uuid.
    pub(super) certificates: Shelf<Certificate>,
    /// By address and port.
    pub(super) qos: Shelf<VipQos>,
    /// By all that they say.
    pub(super) routes: Shelf<Route>,
    /// By address and NIC.
    pub(super) dns: Shelf<DnsServer>,
    /// By NIC.
    pub(super) dhcp: Shelf<DhcpServer>,
}

/// All services but NICs; `$borrow` is `&` or `&mut`. A service that is not named here does not compile.
macro_rules! services {
    ($state:expr, $($borrow:tt)+) => {{
        let State {
            nics: _,
            removed: _,
            default_nic: _,
            distributed_routing: _,
            vips,
            snats,
            port_forwards,
            eips,
            listeners,
            certificates,
            qos,
            routes,
            dns,
            dhcp,
        } = $state;
        [
            (Service::Vip, vips as $($borrow)+ dyn Objects),
            (Service::Snat, snats),
            (Service::PortForward, port_forwards),
            (Service::Eip, eips),
            (Service::Listener, listeners),
            (Service::Certificate, certificates),
            (Service::Qos, qos),
            (Service::Route, routes),
            (Service::Dns, dns),
            (Service::Dhcp, dhcp),
        ]
    }};
}

impl State {
    fn services(&self) -> [(Service, &dyn Objects); 10] {
        services!(self, &)
    }

    fn services_mut(&mut self) -> [(Service, &mut dyn Objects); 10] {
        services!(self, &mut)
    }

    /// Everything but NICs has to be pushed again.
    pub(super) fn doubt(&mut self) {
        self.services_mut().into_iter().for_each(|(_, objects)| objects.doubt());
    }

    /// Takes away what was not pushed again since the restart; returns how much that was.
    pub(super) fn withdraw(&mut self) -> usize {
        self.services_mut().into_iter().map(|(_, objects)| objects.withdraw()).sum()
    }

    /// How many objects there are.
    pub(super) fn len(&self) -> usize {
        self.nics.len() + self.services().iter().map(|(_, objects)| objects.count()).sum::<usize>()
    }

    /// Shows each object: its service, its key, whether it is provisional.
    pub(super) fn each(&self, mut show: impl FnMut(Service, &str, bool)) {
        self.nics.keys().for_each(|key| show(Service::Nic, key, false));
        for (service, objects) in self.services() {
            objects.each(&mut |key, provisional| show(service, key, provisional));
        }
    }
}
