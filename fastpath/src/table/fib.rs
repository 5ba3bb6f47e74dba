//! Longest prefix match of one routing table: a multibit trie, immutable once built.
//!
//! All nodes lie in one array. A node of stride `s` is 2^s entries; the next `s` bits of the address choose one; an entry is
//! a leaf or names a further node (bits below). Prefixes are pushed down to the leaves, so a lookup follows entries until
//! it meets a leaf and never goes back. Each node's stride follows from the number of routes below it: the table of a VPC
//! with a few subnets takes one or two KB, a million host routes get a root of 23 bits, and both are read by the same code.
//!
//! There are two roots. Most routes of a table usually lie close together, as the subnets and gateway addresses of a VPC
//! do. The near root covers only the prefix that they share, which saves the levels above it; the far root covers all
//! other addresses.
//!
//! Where a single route lies below an entry, no node leads to it: it stands in the array itself, four words within a line.
//!
//! ```text
//! leaf  0 | 0 | index of the hop (30 bits)
//! alone 0 | 1 | index of its four words (30 bits): address, mask, leaf, leaf of all other addresses
//! node  1 | stride - 1 (3 bits) | index of its first entry (28 bits)
//! ```
//! Control builds it, workers read it. A lookup reads one entry per level and one hop: two levels for most addresses of a
//! large table, at most eight. Large tables lie in large pages where the kernel has some.

use std::{collections::HashMap, fmt, net::Ipv4Addr, ops::Range};

use ipnet::Ipv4Net;

use crate::{
    pages, prefetch,
    types::{NetId, VipId, VrfId},
};

/// Where a route leads. What no route covers is [`Hop::NoRoute`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hop {
    /// No route.
    #[default]
    NoRoute,
    /// A blackhole route: dropped in silence.
    Blackhole,
    /// Network or broadcast address of a connected subnet.
    Broadcast,
    /// One of our own addresses, on this network.
    Local(NetId),
    /// On the link of this network: the destination itself is the next hop.
    Connected(NetId),
    /// By this next hop on this network.
    Via(NetId, Ipv4Addr),
    /// Look it up again in this routing table (between a VPC and a public network, where the operator says so).
    Leak(VrfId),
    /// Out to a public network, translated; by whom [`Exit`](super::nat::Exit) says.
    Exit,
    /// A public address of ours.
    Vip(VipId),
}

/// The number of a [`Hop`] in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopId(pub u32);

impl HopId {
    /// That of [`Hop::NoRoute`].
    pub const NO_ROUTE: HopId = HopId(NO_ROUTE);
}

/// How far a lookup in steps has come ([`Fib::begin`]): the index of an entry, or an entry that is a route alone, whose index
/// is beyond all entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// Of no lookup.
    pub const NONE: Place = Place(0);
}

/// Most routes of one table. What they need at worst (see `stride`) is within the 28 bits of an entry.
pub const ROUTES_MAX: usize = 2_000_000;

const NODE: u32 = 1 << 31;
const ALONE: u32 = 1 << 30;
/// Words of a route that stands alone; its index is a multiple of it.
const WORDS: usize = 4;
const STRIDE_SHIFT: u32 = 28;
const STRIDE_MASK: u32 = 7;
const FIRST_MASK: u32 = (1 << STRIDE_SHIFT) - 1;

/// The routes of one VRF.
#[derive(Clone, Default)]
pub struct Fib {
    near: Root,
    far: Root,
    /// All nodes. Empty when there is no route.
    entries: Box<[u32]>,
    /// Each once.
    hops: Box<[Hop]>,
}

/// Where lookups begin for the addresses of one prefix.
#[derive(Clone, Copy, Debug, Default)]
struct Root {
    prefix: u32,
    mask: u32,
    /// Bits of `mask`, at most [`SHARED_MAX`].
    depth: u32,
    /// Of the node, 1 to 24.
    stride: u32,
    /// The node's first entry.
    first: u32,
}

impl Root {
    /// The index of the address's entry. Where there is no route there is no root: all fields 0, and no index is right.
    #[inline]
    fn index(&self, address: u32) -> usize {
        (self.first + (address << self.depth).wrapping_shr(32 - self.stride)) as usize
    }
}

impl Fib {
    /// Builds from routes in any order. Of two equal prefixes the later one wins; the caller has already chosen the best.
    /// Bits of an address beyond its prefix length are ignored.
    ///
    /// # Panics
    /// With more than [`ROUTES_MAX`] routes.
    pub fn build(routes: impl IntoIterator<Item = (Ipv4Net, Hop)>) -> Fib {
        let mut builder = Builder::default();
        let routes = builder.prepare(routes);
        assert!(
            routes.len() <= ROUTES_MAX,
            "{} routes in one table; the limit is {ROUTES_MAX}",
            routes.len()
        );
        if routes.is_empty() {
            return Fib::default();
        }
        let (depth, near) = shared(&routes);
        let inside = &routes[near.clone()];
        let outside = [&routes[..near.start], &routes[near.end..]].concat();
        let mut fib = Fib { far: builder.root(&outside, 0, 0, NO_ROUTE), ..Fib::default() };
        let prefix = inside.first().map_or(0, |route| route.address & mask(depth));
        let covers = |route: &&Route| route.len < depth && prefix & mask(route.len) == route.address;
        let inherited = outside.iter().rfind(covers).map_or(NO_ROUTE, |route| route.hop);
        fib.near = builder.root(inside, prefix, depth, inherited);
        fib.entries = builder.entries.into_boxed_slice();
        pages::join(&fib.entries);
        fib.hops = builder.hops.into_boxed_slice();
        fib
    }

    /// The hop of the longest prefix that covers `destination`.
    #[inline]
    pub fn lookup(&self, destination: Ipv4Addr) -> Hop {
        self.hop(self.lookup_id(destination))
    }

    /// The same as its number in this table.
    #[inline(always)]
    pub fn lookup_id(&self, destination: Ipv4Addr) -> HopId {
        let address = u32::from(destination);
        let root = self.root(address);
        let Some(&(mut entry)) = self.entries.get(root.index(address)) else { return HopId::NO_ROUTE };
        let mut rest = address << root.depth << root.stride;
        // Ends: each round takes at least one bit, and entries whose bits are used up are leaves.
        while entry >= ALONE {
            if entry & NODE == 0 {
                return self.alone(entry, address);
            }
            let less_one = entry >> STRIDE_SHIFT & STRIDE_MASK;
            let index = (entry & FIRST_MASK) + (rest >> (31 - less_one));
            rest = rest << less_one << 1;
            match self.entries.get(index as usize) {
                Some(&next) => entry = next,
                None => return HopId::NO_ROUTE,
            }
        }
        HopId(entry)
    }

    /// What a route that stands alone says.
    #[inline(always)]
    fn alone(&self, entry: u32, address: u32) -> HopId {
        let words = self.entries.get((entry & !ALONE) as usize..).and_then(|rest| rest.first_chunk());
        match words {
            Some(&[prefix, mask, hop, _]) if address & mask == prefix => HopId(hop),
            Some(&[_, _, _, others]) => HopId(others),
            None => HopId::NO_ROUTE,
        }
    }

    /// A hop by its number.
    #[inline(always)]
    pub fn hop(&self, id: HopId) -> Hop {
        self.hops.get(id.0 as usize).copied().unwrap_or_default()
    }

    /// The first step of a lookup of which no step waits for memory: says where it begins, and asks the CPU for that line.
    #[inline(always)]
    pub fn begin(&self, destination: Ipv4Addr) -> Place {
        let address = u32::from(destination);
        let index = self.root(address).index(address);
        prefetch::nth(&self.entries, index);
        Place(index as u32)
    }

    /// The second step, when that line is there: says where the lookup goes on, and asks for that line.
    #[inline(always)]
    pub fn go_on(&self, place: Place, destination: Ipv4Addr) -> Place {
        match self.entries.get(place.0 as usize) {
            Some(&entry) if entry & NODE != 0 => {
                let address = u32::from(destination);
                let root = self.root(address);
                let rest = address << root.depth << root.stride;
                let index = (entry & FIRST_MASK) + (rest >> (31 - (entry >> STRIDE_SHIFT & STRIDE_MASK)));
                prefetch::nth(&self.entries, index as usize);
                Place(index)
            }
            Some(&entry) if entry & ALONE != 0 => {
                prefetch::nth(&self.entries, (entry & !ALONE) as usize);
                Place(entry)
            }
            _ => place,
        }
    }

    /// The last step: what [`Fib::lookup_id`] says. Waits for memory where the table has more than two levels there.
    #[inline(always)]
    pub fn end(&self, place: Place, destination: Ipv4Addr) -> HopId {
        match self.entries.get(place.0 as usize) {
            Some(&entry) if entry < ALONE => HopId(entry),
            None if place.0 & ALONE != 0 => self.alone(place.0, u32::from(destination)),
            _ => self.lookup_id(destination),
        }
    }

    /// Memory of the table, without the struct itself.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.entries) + size_of_val(&*self.hops)
    }

    #[inline]
    fn root(&self, address: u32) -> &Root {
        if address & self.near.mask == self.near.prefix { &self.near } else { &self.far }
    }
}

impl fmt::Debug for Fib {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fib").field("hops", &self.hops.len()).field("bytes", &self.bytes()).finish()
    }
}

/// A route while building: the address is cut to its prefix.
#[derive(Clone, Copy)]
struct Route {
    address: u32,
    len: u32,
    hop: u32,
}

/// The leaf of [`Hop::NoRoute`], which is always the first hop.
const NO_ROUTE: u32 = 0;

/// The longest prefix that a root may cover: some bits must be left for its node.
const SHARED_MAX: u32 = 24;

const fn mask(len: u32) -> u32 {
    if len == 0 { 0 } else { u32::MAX << (32 - len) }
}

/// The longest prefix that holds three quarters of the sorted routes: its length, and which routes lie in it.
fn shared(routes: &[Route]) -> (u32, Range<usize>) {
    let inside = |prefix: u32, len: u32| {
        let start = routes.partition_point(|route| (route.address, route.len) < (prefix, len));
        start..routes.partition_point(|route| route.address <= prefix | !mask(len))
    };
    let (mut prefix, mut len, mut best) = (0, 0, 0..routes.len());
    while len < SHARED_MAX {
        let halves = [prefix, prefix | 1 << (31 - len)].map(|half| (half, inside(half, len + 1)));
        let Some((half, range)) = halves.into_iter().find(|(_, range)| 4 * range.len() >= 3 * routes.len())
        else {
            break;
        };
        (prefix, len, best) = (half, len + 1, range);
    }
    (len, best)
}

/// Least and largest stride.
type Strides = (u32, u32);
const ROOT: Strides = (6, 24);
const BELOW: Strides = (4, 8);

/// The stride of a node at `depth` bits that holds `routes`: about eight entries per route, and one bit more rather than a
/// level of one bit, which would be a line that nobody asked for ahead. A node below a root holds two routes or more, so one of
/// four bits has eight entries for each and one of eight bits at most 16: less than three per route and bit, and once 16 more.
/// So [`ROUTES_MAX`] routes need less than 2^28 entries, with the words of those alone and both roots.
fn stride(routes: &[Route], depth: u32, (least, largest): Strides) -> u32 {
    let wanted = (8 * routes.len()).next_power_of_two().trailing_zeros().clamp(least, largest);
    let deepest = routes.iter().map(|route| route.len).max().unwrap_or(0);
    let rest = deepest.saturating_sub(depth);
    let last = rest == wanted + 1 && rest <= largest;
    if last { rest } else { wanted.min(rest).max(1) }
}

#[derive(Default)]
struct Builder {
    entries: Vec<u32>,
    hops: Vec<Hop>,
}

impl Builder {
    /// Numbers the hops; sorts the routes so that a prefix comes before those that it covers; each prefix once.
    fn prepare(&mut self, routes: impl IntoIterator<Item = (Ipv4Net, Hop)>) -> Vec<Route> {
        let mut numbers: HashMap<Hop, u32, _> = HashMap::with_hasher(ahash::RandomState::new());
        numbers.insert(Hop::NoRoute, NO_ROUTE);
        self.hops.push(Hop::NoRoute);
        let mut numbered: Vec<_> = routes
            .into_iter()
            .map(|(prefix, hop)| Route {
                address: u32::from(prefix.network()),
                len: u32::from(prefix.prefix_len()),
                hop: *numbers.entry(hop).or_insert_with(|| {
                    self.hops.push(hop);
                    self.hops.len() as u32 - 1
                }),
            })
            .collect();
        // Reversed and sorted by a stable sort, the later of equals comes first and is the one that stays.
        numbered.reverse();
        numbered.sort_by_key(|route| (route.address, route.len));
        numbered.dedup_by_key(|route| (route.address, route.len));
        numbered
    }

    /// Appends the node of a root and all below it.
    fn root(&mut self, routes: &[Route], prefix: u32, depth: u32, inherited: u32) -> Root {
        let first = self.entries.len() as u32;
        let stride = stride(routes, depth, ROOT);
        self.node(routes, depth, stride, inherited);
        Root { prefix, mask: mask(depth), depth, stride, first }
    }

    /// Appends the node that covers `routes`, all within one prefix of `depth` bits, and all nodes below; `inherited` is
    /// the leaf of that prefix where no route says otherwise.
    fn node(&mut self, routes: &[Route], depth: u32, stride: u32, inherited: u32) {
        let first = self.entries.len();
        self.entries.resize(first + (1 << stride), inherited);
        let bottom = depth + stride;
        let slot = |route: &Route| (route.address << depth >> (32 - stride)) as usize;
        let mut rest = routes;
        while let [route, further @ ..] = rest {
            let at = first + slot(route);
            if route.len <= bottom {
                self.entries[at..at + (1 << (bottom - route.len))].fill(route.hop);
                rest = further;
            } else {
                // All longer prefixes of one slot are neighbours here, after every prefix that covers the slot.
                let same = rest.partition_point(|other| slot(other) == slot(route));
                let (inside, after) = rest.split_at(same);
                self.entries[at] = match inside {
                    [route] => self.alone(route, self.entries[at]),
                    _ => self.child(inside, bottom, self.entries[at]),
                };
                rest = after;
            }
        }
    }

    /// Appends the words of a route; returns the entry that leads to them.
    fn alone(&mut self, route: &Route, others: u32) -> u32 {
        if route.hop == others {
            return others;
        }
        let first = self.entries.len().next_multiple_of(WORDS);
        self.entries.resize(first, NO_ROUTE);
        self.entries.extend([route.address, mask(route.len), route.hop, others]);
        ALONE | first as u32
    }

    /// Appends a node below a root; returns the entry that leads to it.
    fn child(&mut self, routes: &[Route], depth: u32, inherited: u32) -> u32 {
        let first = self.entries.len();
        let stride = stride(routes, depth, BELOW);
        self.node(routes, depth, stride, inherited);
        let leaf = self.entries[first];
        if leaf & (NODE | ALONE) == 0 && self.entries[first..].iter().all(|entry| *entry == leaf) {
            // Routes that change nothing, as a host route with the hop of its subnet, need no node.
            self.entries.truncate(first);
            return leaf;
        }
        NODE | (stride - 1) << STRIDE_SHIFT | first as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn via(n: u32) -> Hop {
        Hop::Via(NetId(1), Ipv4Addr::from_bits(n))
    }

    /// What a router does by definition: of all prefixes that cover the address the longest, of equals the last.
    fn longest(routes: &[(Ipv4Net, Hop)], destination: Ipv4Addr) -> Hop {
        let covering = routes.iter().filter(|(prefix, _)| prefix.contains(&destination));
        covering.max_by_key(|(prefix, _)| prefix.prefix_len()).map_or(Hop::NoRoute, |(_, hop)| *hop)
    }

    fn check(routes: &[(Ipv4Net, Hop)], destinations: impl IntoIterator<Item = Ipv4Addr>) {
        let fib = Fib::build(routes.iter().copied());
        let borders = routes.iter().flat_map(|(prefix, _)| {
            let (low, high) = (u32::from(prefix.network()), u32::from(prefix.broadcast()));
            [low.wrapping_sub(1), low, high, high.wrapping_add(1)].map(Ipv4Addr::from_bits)
        });
        for destination in borders.chain(destinations) {
            let place = fib.go_on(fib.begin(destination), destination);
            assert_eq!(
                fib.hop(fib.end(place, destination)),
                fib.lookup(destination),
                "{destination} in steps"
            );
            assert_eq!(fib.lookup(destination), longest(routes, destination), "{destination} in {routes:?}");
        }
    }

    /// A VPC router with three subnets and a default route, as control compiles it.
    fn vpc() -> Vec<(Ipv4Net, Hop)> {
        let mut routes = vec![(net("0.0.0.0/0"), via(1)), (net("198.51.100.0/24"), Hop::Blackhole)];
        for n in 20..23u8 {
            let at = |host, len| Ipv4Net::new(Ipv4Addr::new(192, 168, n, host), len).unwrap();
            let id = NetId(n.into());
            routes.extend([(at(0, 24), Hop::Connected(id)), (at(1, 32), Hop::Local(id))]);
            routes.extend([(at(0, 32), Hop::Broadcast), (at(255, 32), Hop::Broadcast)]);
        }
        routes
    }

    #[test]
    fn the_longest_prefix_wins_at_every_length() {
        let nested: Vec<_> = (0..=32)
            .map(|len| (Ipv4Net::new(Ipv4Addr::new(10, 170, 85, 204), len).unwrap().trunc(), via(len.into())))
            .collect();
        check(&nested, []);
        check(&vpc(), [Ipv4Addr::new(192, 168, 21, 77), Ipv4Addr::new(8, 8, 8, 8)]);
    }

    #[test]
    fn prefixes_of_0_31_and_32_bits_end_where_they_should() {
        let far = [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(128, 0, 0, 0)];
        check(&[], far);
        for alone in
            ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "0.0.0.0/32", "255.255.255.255/32", "10.0.0.2/31"]
        {
            check(&[(net(alone), Hop::Blackhole)], far);
            check(&[(net("0.0.0.0/0"), via(1)), (net(alone), Hop::Blackhole)], far);
        }
        check(
            &[(net("10.0.0.2/31"), via(1)), (net("10.0.0.3/32"), via(2)), (net("10.0.0.2/32"), via(3))],
            far,
        );
    }

    #[test]
    fn of_equal_prefixes_the_later_wins_whatever_its_host_bits() {
        let fib = Fib::build([(net("10.0.0.7/24"), via(1)), (net("10.0.0.0/24"), via(2))]);
        assert_eq!(fib.lookup(Ipv4Addr::new(10, 0, 0, 9)), via(2));
        let fib = Fib::build([(net("10.0.0.0/24"), via(2)), (net("10.0.0.7/24"), via(1))]);
        assert_eq!(fib.lookup(Ipv4Addr::new(10, 0, 0, 9)), via(1));
    }

    #[test]
    fn a_hop_is_kept_once_and_routes_that_change_nothing_cost_nothing() {
        let hosts = (0..1_000).map(|n| (Ipv4Net::from(Ipv4Addr::from_bits(0x0a02_0000 + n)), via(1)));
        let fib = Fib::build(hosts.chain([(net("8.0.0.0/5"), via(1)), (net("16.0.0.0/5"), via(2))]));
        assert_eq!(*fib.hops, [Hop::NoRoute, via(1), via(2)]);
        let roots = (1 << fib.near.stride) + (1 << fib.far.stride);
        assert_eq!(fib.entries.len(), roots, "no node but the roots");
    }

    #[test]
    fn the_table_of_a_small_vpc_is_small() {
        let bytes = Fib::build(vpc()).bytes();
        assert!(bytes <= 3_072, "{bytes} bytes");
    }

    #[test]
    fn many_host_routes_share_a_wide_root() {
        // An odd multiplier permutes the 32-bit numbers: spread addresses, none twice.
        let address = |n: u32| Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b1));
        let fib = Fib::build((0..100_000).map(|n| (Ipv4Net::from(address(n)), via(n % 64))));
        assert_eq!((fib.near.depth, fib.near.stride), (0, 20));
        assert!(fib.bytes() <= 256 * 100_000, "{} bytes", fib.bytes());
        for n in 0..200_000 {
            let expected = if n < 100_000 { via(n % 64) } else { Hop::NoRoute };
            assert_eq!(fib.lookup(address(n)), expected, "route {n}");
        }
    }

    #[test]
    fn no_level_has_one_bit() {
        // One route or two behind an entry of the root, and 5 bits left below it.
        let address = |n: u32| Ipv4Addr::from_bits(0x6000_0000 | n.wrapping_mul(0x9e37_79b1) & 0x0fff_ffff);
        let fib = Fib::build((0..800_000).map(|n| (Ipv4Net::from(address(n)), via(n % 64))));
        assert_eq!((fib.near.depth, fib.near.stride), (4, 23));
        for n in 0..800_000 {
            let place = fib.go_on(fib.begin(address(n)), address(n));
            let entry = fib.entries.get(place.0 as usize).copied().unwrap_or_default();
            assert_eq!(entry & (NODE | ALONE), 0, "route {n} has a third level");
        }
        // As many networks as the Internet has: one line each.
        let spread = |n: u32| Ipv4Net::new(Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b1)), 24).unwrap();
        let fib = Fib::build((0..800_000).map(|n| (spread(n), via(n % 64))));
        let roots = (1 << fib.near.stride) + (1 << fib.far.stride);
        assert_eq!((fib.near.stride, fib.entries.len()), (24, roots), "no node but the roots");
    }

    /// Prefixes that often lie in or beside each other: addresses from a few bit patterns.
    fn routes() -> impl Strategy<Value = Vec<(Ipv4Net, Hop)>> {
        let address = prop_oneof![
            1 => any::<u32>(),
            1 => (0u32..4, 0u32..8).prop_map(|(high, low)| 0x0a00_0000 | high << 20 | low),
            6 => (0u32..600).prop_map(|low| 0xc0a8_1400 + low),
        ];
        let len = prop_oneof![1 => 0u8..=32, 2 => 20u8..=32];
        let route = (address, len, 0u32..6).prop_map(|(address, len, hop)| {
            (Ipv4Net::new(Ipv4Addr::from_bits(address), len).unwrap(), via(hop))
        });
        prop::collection::vec(route, 0..120)
    }

    proptest! {
        #[test]
        fn lookups_agree_with_the_definition(routes in routes(), others in prop::collection::vec(any::<u32>(), 50)) {
            check(&routes, others.into_iter().map(Ipv4Addr::from_bits));
        }
    }
}
