//! The checked objects of one kind, by id, and by what they belong to: the routes of a table, the services on a VIP. Copies
//! share what they have in common, and two of them know cheaply where they differ.

use crate::shared_map::{Difference, SharedMap};

use super::{
    Eip, Id, LoadBalancer, Nic, PortForward, PublicNetwork, Qos, Route, Snat, TableKey, Vip, Vpc, VpcNetwork,
    VxlanPool, http::Certificate, qos::Scope,
};

/// An object of a section.
pub trait Member: Clone + PartialEq {
    /// What objects belong to.
    type Group: Ord + Clone;

    /// Its name, unique in its section.
    fn id(&self) -> &Id;

    /// What it belongs to.
    fn groups(&self) -> Vec<Self::Group>;
}

/// The objects of one kind.
#[derive(Clone, Debug)]
pub struct Section<T: Member> {
    items: SharedMap<Id, T>,
    groups: SharedMap<(T::Group, Id), ()>,
}

impl<T: Member> Section<T> {
    /// All objects, by id.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// An object.
    pub fn get(&self, id: &Id) -> Option<&T> {
        self.items.get(id)
    }

    /// The objects that belong to `group`, by id.
    pub fn of<'a>(&'a self, group: &'a T::Group) -> impl Iterator<Item = &'a T> {
        let from = self.groups.from(move |(other, _)| other < group);
        let of = from.take_while(move |((other, _), ())| other == group);
        of.filter_map(|((_, id), ())| self.items.get(id))
    }

    /// Writes an object, in place of the one of its id.
    pub fn set(&mut self, item: T) {
        self.remove(&item.id().clone());
        for group in item.groups() {
            self.groups.insert((group, item.id().clone()), ());
        }
        self.items.insert(item.id().clone(), item);
    }

    /// Removes an object.
    pub fn remove(&mut self, id: &Id) {
        for group in self.items.remove(id).iter().flat_map(Member::groups) {
            self.groups.remove(&(group, id.clone()));
        }
    }

    /// Makes an object what it is in `other`, where it may be missing.
    pub fn take_over(&mut self, id: &Id, other: &Section<T>) {
        match other.get(id) {
            Some(item) if self.get(id) == Some(item) => {}
            Some(item) => self.set(item.clone()),
            None if self.get(id).is_some() => self.remove(id),
            None => {}
        }
    }

    /// The objects that are not the same in `before`, by id.
    pub fn since<'a>(&'a self, before: &'a Section<T>) -> Vec<Difference<'a, Id, T>> {
        self.items.since(&before.items)
    }

    /// Whether objects came or went since `before`, other than to change.
    pub fn has_turned_over(&self, before: &Section<T>) -> bool {
        self.since(before).iter().any(|of| of.before.is_none() || of.after.is_none())
    }

    /// What the objects belong, or belonged, to that are not the same in `before`.
    pub fn groups_since(&self, before: &Section<T>) -> Vec<T::Group> {
        let each = self.since(before).into_iter().flat_map(|of| of.before.into_iter().chain(of.after));
        each.flat_map(Member::groups).collect()
    }
}

impl<T: Member> Default for Section<T> {
    fn default() -> Section<T> {
        Section { items: SharedMap::default(), groups: SharedMap::default() }
    }
}

impl<T: Member> PartialEq for Section<T> {
    fn eq(&self, other: &Section<T>) -> bool {
        self.items == other.items
    }
}

impl<T: Member + Eq> Eq for Section<T> {}

impl<T: Member> FromIterator<T> for Section<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Section<T> {
        let items: SharedMap<Id, T> = items.into_iter().map(|item| (item.id().clone(), item)).collect();
        let each = items.values().flat_map(|item| item.groups().into_iter().map(|group| (group, item.id())));
        let groups = each.map(|(group, id)| ((group, id.clone()), ())).collect();
        Section { items, groups }
    }
}

impl<'a, T: Member> IntoIterator for &'a Section<T> {
    type Item = &'a T;
    type IntoIter = Box<dyn Iterator<Item = &'a T> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

/// `T in G = groups`
macro_rules! members {
    ($($member:ty, $group:ty, |$of:ident| $groups:expr;)*) => {
        $(impl Member for $member {
            type Group = $group;

            fn id(&self) -> &Id {
                &self.id
            }

            fn groups(&self) -> Vec<$group> {
                let $of = self;
                $groups
            }
        })*
    };
}

members! {
    VxlanPool, (), |_of| Vec::new();
    PublicNetwork, (), |_of| Vec::new();
    Certificate, (), |_of| Vec::new();
    Vpc, (), |_of| Vec::new();
    // By VPC router.
    VpcNetwork, Id, |of| vec![of.vpc.clone()];
    // By network.
    Nic, Id, |of| vec![of.network.clone()];
    // By public network.
    Vip, Id, |of| vec![of.public_network.clone()];
    // By table.
    Route, TableKey, |of| vec![of.table.clone()];
    // Services, and limits, by VIP.
    Snat, Id, |of| of.vips.clone();
    Eip, Id, |of| vec![of.vip.clone()];
    PortForward, Id, |of| vec![of.vip.clone()];
    LoadBalancer, Id, |of| vec![of.vip.clone()];
    Qos, Id, |of| match &of.scope {
        Scope::Vips(vips) | Scope::Ports { vips, .. } => vips.clone(),
        Scope::Nic { .. } => Vec::new(),
    };
}
