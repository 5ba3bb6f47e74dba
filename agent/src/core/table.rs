//! The shortcuts of this host: who granted them, for how long, and what is next to do about each. Bounded in number, per VPC and
//! per destination.

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
    ops::Bound,
};

use tidegate_zsnp::{Action, Match, SenderId, Vni, VpcTag};

use crate::bpf::{Count, Pair};

/// How many shortcuts there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// On this host.
    pub shortcuts_max: u32,
    /// Of one VPC of one gateway.
    pub per_vpc_max: u32,
    /// To one address of one network, from however many networks.
    pub per_vm_max: u32,
}

/// What a gateway granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The packets.
    pub matches: Match,
    /// Where they go.
    pub action: Action,
    /// For how long without another word, in ns.
    pub lifetime_ns: u64,
    /// Longest IP packet, in bytes.
    pub mtu: u32,
    /// Who granted it.
    pub gateway: Gateway,
    /// The VPC, as its gateway numbers it.
    pub vpc: VpcTag,
}

/// A gateway, as this host knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gateway {
    /// Its id.
    pub sender: SenderId,
    /// Its tunnel end.
    pub vtep: Ipv4Addr,
}

impl Grant {
    /// What it is found by.
    pub fn pair(&self) -> Pair {
        Pair { vni: self.matches.vni, address: self.matches.destination }
    }
}

/// A shortcut in force.
#[derive(Clone, Debug)]
pub struct Held {
    /// What was granted last.
    pub grant: Grant,
    /// When it was granted first, in ns since boot.
    pub since_ns: u64,
    /// When it was granted last.
    pub granted_ns: u64,
    /// When the kernel stops to use it.
    pub expires_ns: u64,
    /// When RENEW was sent last since it was granted.
    pub renewed_ns: Option<u64>,
    /// Interface that its packets leave by.
    pub out: u32,
    /// Its counters in the kernel.
    pub slot: u32,
    /// What they said last.
    pub last: Count,
    /// When it is looked at next.
    pub due_ns: u64,
}

impl Held {
    /// When to look at it after `now`: at each third of the lifetime, and shortly before the end.
    pub fn next_due(&self, now: u64) -> u64 {
        let lifetime = self.grant.lifetime_ns;
        let [third, last_call] = [now + lifetime / 3, self.expires_ns.saturating_sub(lifetime / 10)];
        if now >= last_call { self.expires_ns } else { third.min(last_call) }
    }
}

/// All shortcuts.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    held: HashMap<Pair, Held>,
    due: BTreeSet<(u64, Pair)>,
    towards: BTreeSet<(Ipv4Addr, Pair)>,
    free: Vec<u32>,
    per_vpc: HashMap<(SenderId, VpcTag), u32>,
    per_vm: HashMap<(Vni, Ipv4Addr), u32>,
}

/// There is no room for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Table {
    /// Empty.
    pub fn new(limits: Limits) -> Table {
        Table {
            limits,
            held: HashMap::new(),
            due: BTreeSet::new(),
            towards: BTreeSet::new(),
            free: (0..limits.shortcuts_max).rev().collect(),
            per_vpc: HashMap::new(),
            per_vm: HashMap::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The one of a pair.
    pub fn get(&self, pair: Pair) -> Option<&Held> {
        self.held.get(&pair)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Held> {
        self.held.values()
    }

    /// Those that `is` accepts.
    pub fn pairs(&self, is: impl Fn(&Held) -> bool) -> Vec<Pair> {
        self.held.values().filter(|held| is(held)).map(|held| held.grant.pair()).collect()
    }

    /// Those that lead to a tunnel end, in order, from the first behind `after` on.
    pub fn towards(&self, vtep: Ipv4Addr, after: Option<Pair>) -> impl Iterator<Item = Pair> {
        let from = after.map_or(Bound::Included((vtep, Pair::FIRST)), |after| Bound::Excluded((vtep, after)));
        let range = self.towards.range((from, Bound::Unbounded));
        range.take_while(move |(to, _)| *to == vtep).map(|(_, pair)| *pair)
    }

    /// Whether there would be room for this grant: always for one that replaces another of its pair and VPC.
    pub fn has_room(&self, grant: &Grant) -> bool {
        let count = |map: Option<&u32>| map.copied().unwrap_or(0);
        let same = self.held.get(&grant.pair()).map(|held| held.grant);
        let vpc = |g: &Grant| (g.gateway.sender, g.vpc);
        let vm = |g: &Grant| (g.action.vni, g.matches.destination);
        let vpc_ok = same.is_some_and(|s| vpc(&s) == vpc(grant))
            || count(self.per_vpc.get(&vpc(grant))) < self.limits.per_vpc_max;
        let vm_ok = same.is_some_and(|s| vm(&s) == vm(grant))
            || count(self.per_vm.get(&vm(grant))) < self.limits.per_vm_max;
        (same.is_some() || !self.free.is_empty()) && vpc_ok && vm_ok
    }

    /// Takes a grant: a new shortcut, or the one of its pair for longer. The counters of one that leads where it led go on.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed.
    pub fn grant(&mut self, grant: Grant, out: u32, now: u64) -> Result<&Held, Full> {
        if !self.has_room(&grant) {
            return Err(Full);
        }
        let pair = grant.pair();
        let was = self.remove(pair);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => return Err(Full),
        };
        let same = was.filter(|was| was.grant.action == grant.action && was.grant.matches == grant.matches);
        let mut held = Held {
            grant,
            since_ns: same.as_ref().map_or(now, |was| was.since_ns),
            granted_ns: now,
            expires_ns: now + grant.lifetime_ns,
            renewed_ns: None,
            out,
            slot,
            last: same.map_or_else(Count::default, |was| was.last),
            due_ns: 0,
        };
        held.due_ns = held.next_due(now);
        self.due.insert((held.due_ns, pair));
        self.towards.insert((grant.action.vtep, pair));
        *self.per_vpc.entry((grant.gateway.sender, grant.vpc)).or_default() += 1;
        *self.per_vm.entry((grant.action.vni, grant.matches.destination)).or_default() += 1;
        Ok(self.held.entry(pair).insert_entry(held).into_mut())
    }

    /// Takes one away. Its slot is the next to be given.
    pub fn remove(&mut self, pair: Pair) -> Option<Held> {
        let held = self.held.remove(&pair)?;
        self.due.remove(&(held.due_ns, pair));
        self.towards.remove(&(held.grant.action.vtep, pair));
        self.free.push(held.slot);
        let Grant { gateway, vpc, action, matches, .. } = held.grant;
        lower(&mut self.per_vpc, (gateway.sender, vpc));
        lower(&mut self.per_vm, (action.vni, matches.destination));
        Some(held)
    }

    /// The next that is due by `now`.
    pub fn next_due(&self, now: u64) -> Option<Pair> {
        self.due.first().filter(|(due, _)| *due <= now).map(|(_, pair)| *pair)
    }

    /// When the next is due.
    pub fn wakes_ns(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Changes one and puts it back into the order of what is due.
    pub fn update(&mut self, pair: Pair, now: u64, change: impl FnOnce(&mut Held)) -> Option<&Held> {
        let held = self.held.get_mut(&pair)?;
        self.due.remove(&(held.due_ns, pair));
        change(held);
        held.due_ns = held.next_due(now);
        self.due.insert((held.due_ns, pair));
        Some(held)
    }
}

fn lower<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
