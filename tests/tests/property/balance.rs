//! Load balancing under any churn: no connection changes its backend while that is healthy and configured, no new one goes to a
//! backend that takes none, turns are exactly fair between changes, every open connection is counted once, and no two share an end
//! at a backend, whosever address that sees.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;
use tidegate_tests::gateway::{Gateway, HOST1, HOST2, SITE, Station};

/// Network, address, host.
type Vm = (&'static str, &'static str, &'static str);

/// VMs that may answer, in the order of their addresses.
const VMS: [Vm; 4] = [
    ("red-1", "10.1.1.7", HOST1),
    ("red-1", "10.1.1.8", HOST2),
    ("red-2", "10.1.2.9", HOST2),
    ("red-2", "10.1.2.10", HOST1),
];

/// A configuration of the listener.
#[derive(Clone, Debug)]
struct Wanted {
    algorithm: usize,
    /// Of each VM: not there, or its weight and whether it drains.
    backends: [Option<(u8, bool)>; VMS.len()],
    reverse: bool,
    reset: bool,
    persistence: bool,
    slow_start: bool,
    /// Whether backends see the gateway's address.
    full_nat: bool,
    /// Whether services beside it come and go.
    beside: bool,
}

const ALGORITHMS: [&str; 5] = ["roundrobin", "weightroundrobin", "leastconn", "source", "consistent"];

impl Wanted {
    fn text(&self) -> String {
        let backend = |(vm, wanted): (&Vm, &Option<(u8, bool)>)| {
            let (weight, drain) = (*wanted)?;
            Some(format!("{{ vpc: red, address: {}, port: 8080, weight: {weight}, drain: {drain} }}", vm.1))
        };
        let mut backends: Vec<String> = VMS.iter().zip(&self.backends).filter_map(backend).collect();
        if self.reverse {
            backends.reverse();
        }
        let more = [
            if self.reset { ", dead_sessions: reset" } else { "" },
            if self.full_nat { ", mode: full_nat" } else { "" },
            if self.persistence { ", persistence: { timeout_s: 30 }" } else { "" },
            if self.slow_start && self.algorithm < 3 { ", slow_start_s: 20" } else { "" },
        ];
        let beside = if self.beside {
            "      - { id: other, protocol: udp, port: 80, backends: [{ vpc: red, address: 10.1.3.3 }] }\n"
        } else {
            ""
        };
        let times = "timeouts: { nat_tcp_established_s: 120, nat_tcp_transitory_s: 60 }";
        let site = SITE.replace("  limits:", &format!("  {times}\n  limits:"));
        format!(
            "{site}
vips:
  - {{ id: shared, public_network: public, address: 203.0.113.93 }}
snats:
  - {{ id: out, vpc: red, vips: [shared] }}
load_balancers:
  - id: lb
    vip: shared
    listeners:
{beside}      - {{ id: web, protocol: tcp, port: 80, algorithm: {}{}, backends: [{}] }}
",
            ALGORITHMS[self.algorithm],
            more.concat(),
            backends.join(", ")
        )
    }

    fn takes(&self, vm: usize, down: &HashSet<usize>) -> bool {
        matches!(self.backends[vm], Some((1.., false))) && !down.contains(&vm)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Open { client: u8 },
    Talk,
    Health { vm: usize, up: bool },
    Pass { seconds: u16 },
    Reload(Wanted),
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let backend = || prop_oneof![1 => Just(None), 6 => (0u8..4, prop::bool::weighted(0.2)).prop_map(Some)];
    let backends = [backend(), backend(), backend(), backend()];
    let backends = backends.prop_filter("has a backend", |all| all.iter().any(Option::is_some));
    let full_nat = prop::bool::weighted(0.7);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), full_nat);
    (0..ALGORITHMS.len(), backends, flags).prop_map(|(algorithm, backends, flags)| {
        let (reverse, reset, persistence, slow_start, beside, full_nat) = flags;
        Wanted { algorithm, backends, reverse, reset, persistence, slow_start, full_nat, beside }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..20).prop_map(|client| Step::Open { client }),
        3 => Just(Step::Talk),
        2 => (0..VMS.len(), any::<bool>()).prop_map(|(vm, up)| Step::Health { vm, up }),
        1 => (1u16..40).prop_map(|seconds| Step::Pass { seconds }),
        2 => wanted().prop_map(Step::Reload),
    ]
}

/// Where packets of a connection arrive, and from whom as the VM sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct End {
    vm: usize,
    from: String,
}

struct Site {
    gw: Gateway,
    vms: Vec<Station>,
    up: Station,
    wanted: Wanted,
    down: HashSet<usize>,
    /// By client and port, of an open connection.
    open: HashMap<(u8, u16), End>,
    port: u16,
    /// New connections of each VM since the last change.
    shares: BTreeMap<usize, usize>,
}

impl Site {
    fn reaches(&mut self, packet: &str) -> Option<End> {
        let words = self.gw.from(&self.up, packet).words();
        words.iter().find_map(|frame| {
            let at = |(_, ip, _): &Vm| frame.find(&format!(" > {ip}:8080"));
            let vm = VMS.iter().position(|vm| at(vm).is_some())?;
            let from = frame[..at(&VMS[vm])?].rsplit(' ').next()?.to_owned();
            Some(End { vm, from })
        })
    }

    fn open(&mut self, client: u8) {
        self.port += 1;
        let port = self.port;
        let end = self.reaches(&format!("tcp 9.9.9.{client}:{port} > 203.0.113.93:80 S"));
        let Some(end) = end else {
            assert!(
                !(0..VMS.len()).any(|vm| self.wanted.takes(vm, &self.down)),
                "refused, and there are backends"
            );
            return;
        };
        let End { vm, from } = &end;
        let vm = *vm;
        assert!(
            self.wanted.takes(vm, &self.down),
            "VM {vm} takes none: {:?}, down {:?}",
            self.wanted,
            self.down
        );
        let ip = VMS[vm].1;
        assert_eq!(from.starts_with("9.9.9."), !self.wanted.full_nat, "{from}");
        assert!(self.open.values().all(|other| *other != end), "{end:?} is of another connection");
        self.gw.from(&self.vms[vm], &format!("tcp {ip}:8080 > {from} SA")).ignore();
        assert_eq!(self.goes_on(client, port).as_ref(), Some(&end));
        self.open.insert((client, port), end);
        *self.shares.entry(vm).or_default() += 1;
    }

    fn goes_on(&mut self, client: u8, port: u16) -> Option<End> {
        self.reaches(&format!("tcp 9.9.9.{client}:{port} > 203.0.113.93:80 A"))
    }

    /// Every open connection has the VM that it had, both ways.
    fn talk(&mut self) {
        for ((client, port), end) in self.open.clone() {
            assert_eq!(self.goes_on(client, port).as_ref(), Some(&end), "{client} {port}");
            let End { vm, from } = end;
            let answer = format!("tcp {}:8080 > {from} A ttl=64", VMS[vm].1);
            let public = format!("tcp 203.0.113.93:80 > 9.9.9.{client}:{port} A ttl=63");
            self.gw.from(&self.vms[vm], &answer).to(&self.up, &public);
        }
    }

    /// A change after which shares begin anew; before it turns were exact.
    fn change(&mut self) {
        let takers: Vec<usize> = (0..VMS.len()).filter(|vm| self.wanted.takes(*vm, &self.down)).collect();
        if self.wanted.algorithm == 0 && !self.wanted.persistence && !self.wanted.slow_start {
            let all: usize = self.shares.values().sum();
            for vm in &takers {
                let share = self.shares.get(vm).copied().unwrap_or(0);
                let (low, high) = (all / takers.len(), all.div_ceil(takers.len()));
                assert!((low..=high).contains(&share), "{share} of {all} for {}", takers.len());
            }
        }
        self.shares.clear();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Open { client } => self.open(*client),
            Step::Talk => self.talk(),
            Step::Pass { seconds } => {
                self.change();
                self.gw.pass(u64::from(*seconds) * 1_000).ignore();
                self.talk();
            }
            Step::Health { vm, up } => {
                if self.wanted.backends[*vm].is_none() {
                    return;
                }
                self.change();
                self.gw.health("web", VMS[*vm].1, *up).ignore();
                _ = if *up { self.down.remove(vm) } else { self.down.insert(*vm) };
                if self.wanted.reset && !up {
                    self.open.retain(|_, of| of.vm != *vm);
                }
            }
            Step::Reload(wanted) => {
                self.change();
                self.gw.reload(&wanted.text()).ignore();
                // Health is forgotten where there is no check, as here.
                self.down.clear();
                let same = self.wanted.full_nat == wanted.full_nat;
                self.open.retain(|_, of| same && wanted.backends[of.vm].is_some());
                self.wanted = wanted.clone();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_connection_changes_its_backend_while_that_is_healthy(
        first in wanted(),
        steps in prop::collection::vec(step(), 1..40),
        workers in 1usize..=2,
    ) {
        let mut gw = Gateway::start(&first.text(), workers);
        let vms = VMS.iter().map(|(net, ip, host)| gw.vm(net, ip, host)).collect();
        let up = gw.vm("public", "203.0.113.1", HOST1);
        let mut site = Site {
            gw, vms, up, wanted: first, down: HashSet::new(), open: HashMap::new(), port: 5000, shares: BTreeMap::new(),
        };
        for step in &steps {
            site.step(step);
        }
        site.change();
        site.talk();
        let live: u32 = site.gw.connections("web").iter().sum();
        // Connections that a removal or a reset ended are counted until their next packet.
        prop_assert!(live as usize >= site.open.len(), "{} of {}", live, site.open.len());
        prop_assert_eq!(site.gw.listener("web").usage.usage.opened(), u64::from(site.port - 5000) - refused(&mut site));
        site.gw.pass(200_000).ignore();
        prop_assert_eq!(site.gw.connections("web").iter().sum::<u32>(), 0);
        prop_assert_eq!((site.gw.listener("web").usage.usage.live(), site.gw.flows()), (0, 0));
        prop_assert_eq!(site.gw.nat_usage().blocks, 0);
    }
}

fn refused(site: &mut Site) -> u64 {
    site.gw.counters().get("no_backend").copied().unwrap_or(0)
}
