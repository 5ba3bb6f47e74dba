//! Next hops to on-link next hops, within one table. A next hop in a connected subnet is on-link. Any other is reached by
//! the routes that cover it, longest prefix first, then lowest priority value: the first that can be used itself.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;
use tidegate_fastpath::types::NetId;

use super::{Attached, Resolved, Static, Target, WhyNot};

pub(super) struct Resolver<'a> {
    connected: HashMap<Ipv4Net, &'a Attached>,
    static_routes: &'a [Static],
    /// By destination, best first.
    by_destination: HashMap<Ipv4Net, Vec<usize>>,
    unreachable: &'a HashSet<(NetId, Ipv4Addr)>,
    states: Vec<State>,
}

#[derive(Clone, Copy)]
enum State {
    New,
    /// On the way from a route to its on-link next hop.
    Open,
    Done(Resolved),
}

/// A route whose next hop is looked for. Chains may be as long as the table, so they are kept here and not on the stack.
struct Step {
    route: usize,
    next_hop: Ipv4Addr,
    /// Routes that cover the next hop, worst first; the last is tried next.
    covering: Vec<usize>,
    /// What the first that can be used says, or why the first of them cannot.
    found: Option<Resolved>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        attached: &'a [Attached],
        static_routes: &'a [Static],
        unreachable: &'a HashSet<(NetId, Ipv4Addr)>,
    ) -> Resolver<'a> {
        let mut by_destination: HashMap<Ipv4Net, Vec<usize>> = HashMap::new();
        for (i, route) in static_routes.iter().enumerate() {
            by_destination.entry(route.destination).or_default().push(i);
        }
        for routes in by_destination.values_mut() {
            routes.sort_by_key(|i| static_routes[*i].priority);
        }
        Resolver {
            connected: attached.iter().map(|subnet| (subnet.prefix, subnet)).collect(),
            static_routes,
            by_destination,
            unreachable,
            states: vec![State::New; static_routes.len()],
        }
    }

    /// By place in the list of routes.
    pub(super) fn resolve(mut self) -> Vec<Resolved> {
        (0..self.static_routes.len()).map(|route| self.route(route)).collect()
    }

    fn route(&mut self, route: usize) -> Resolved {
        let mut steps: Vec<Step> = Vec::new();
        let mut answer = self.open(route, &mut steps);
        while let Some(step) = steps.last_mut() {
            if let Some(resolved) = answer.take() {
                step.answer(resolved);
            }
            match step.covering.pop() {
                Some(next) => answer = self.open(next, &mut steps),
                None => {
                    let off_link = Resolved { next_hop: None, why_not: Some(WhyNot::OffLink(step.next_hop)) };
                    let resolved = step.found.unwrap_or(off_link);
                    self.states[step.route] = State::Done(resolved);
                    answer = Some(resolved);
                    steps.pop();
                }
            }
        }
        answer.unwrap_or_default()
    }

    /// What is known of a route at once; else a further step begins and nothing is answered yet.
    fn open(&mut self, route: usize, steps: &mut Vec<Step>) -> Option<Resolved> {
        match (self.states[route], self.static_routes[route].target) {
            (State::Done(resolved), _) => return Some(resolved),
            (State::Open, Target::NextHop(ip)) => {
                return Some(Resolved { next_hop: None, why_not: Some(WhyNot::Loop(ip)) });
            }
            (State::New, Target::NextHop(ip)) => match self.on_link(ip) {
                Some(resolved) => self.states[route] = State::Done(resolved),
                None => {
                    self.states[route] = State::Open;
                    let covering = self.covering(ip);
                    steps.push(Step { route, next_hop: ip, covering, found: None });
                    return None;
                }
            },
            _ => self.states[route] = State::Done(Resolved::default()),
        }
        match self.states[route] {
            State::Done(resolved) => Some(resolved),
            State::New | State::Open => None,
        }
    }

    /// The answer for a next hop in a connected subnet.
    fn on_link(&self, ip: Ipv4Addr) -> Option<Resolved> {
        let subnet = prefixes(ip).find_map(|prefix| self.connected.get(&prefix))?;
        let why_not = if subnet.addresses.contains(&ip) || self.is_vip(ip) {
            Some(WhyNot::Own(ip))
        } else if !subnet.up {
            Some(WhyNot::NetworkDown(subnet.net))
        } else {
            self.unreachable.contains(&(subnet.net, ip)).then_some(WhyNot::Unreachable(subnet.net, ip))
        };
        Some(Resolved { next_hop: Some((subnet.net, ip)), why_not })
    }

    fn is_vip(&self, ip: Ipv4Addr) -> bool {
        let routes = self.by_destination.get(&Ipv4Net::from(ip)).into_iter().flatten();
        routes.into_iter().any(|route| matches!(self.static_routes[*route].target, Target::Vip(_)))
    }

    /// Worst first. The default route leads everywhere and so says nothing about a next hop.
    fn covering(&self, ip: Ipv4Addr) -> Vec<usize> {
        let prefixes = prefixes(ip).filter(|prefix| prefix.prefix_len() > 0);
        let routes = prefixes.filter_map(|prefix| self.by_destination.get(&prefix)).flatten();
        let mut covering: Vec<usize> = routes.copied().collect();
        covering.reverse();
        covering
    }
}

impl Step {
    /// Takes what a covering route says.
    fn answer(&mut self, resolved: Resolved) {
        match resolved {
            Resolved { why_not: Some(_), .. } => {
                let blamed = self.blame(resolved);
                self.found.get_or_insert(blamed);
                return;
            }
            Resolved { next_hop: Some(_), .. } => self.found = Some(resolved),
            // A blackhole, or a leak.
            Resolved { next_hop: None, .. } => {
                self.found = Some(Resolved { next_hop: None, why_not: Some(WhyNot::DeadEnd(self.next_hop)) });
            }
        }
        self.covering.clear();
    }

    /// What the failure of a covering route means for the route that needed it.
    fn blame(&self, resolved: Resolved) -> Resolved {
        let why_not = match resolved.why_not {
            Some(WhyNot::Loop(_)) => Some(WhyNot::Loop(self.next_hop)),
            Some(WhyNot::DeadEnd(_)) => Some(WhyNot::DeadEnd(self.next_hop)),
            Some(WhyNot::OffLink(_) | WhyNot::Own(_)) => Some(WhyNot::OffLink(self.next_hop)),
            other => other,
        };
        Resolved { why_not, ..resolved }
    }
}

/// Every prefix that covers an address, longest first.
fn prefixes(ip: Ipv4Addr) -> impl Iterator<Item = Ipv4Net> {
    (0..=32).rev().filter_map(move |len| Some(Ipv4Net::new(ip, len).ok()?.trunc()))
}
