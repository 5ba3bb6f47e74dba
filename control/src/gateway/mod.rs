//! The gateway without its ports: everything that control knows and decides, with no I/O of its own.
//!
//! [`Gateway::new`] makes the tables, the neighbours, the flow table, the counters and the rings from a configuration, and
//! returns the [`Parts`] of the workers. Afterwards control calls [`Gateway::poll`] again and again with the time: notices
//! of the workers go to the neighbour machine, its ARP frames go back to them, and punted packets wait in
//! [`Gateway::take_punted`] for whoever delivers them. [`Gateway::apply`] changes the configuration.
//!
//! The daemon and the packet-table tests use the same type; the tests drive workers on `io::mem` beside it.

mod attach;
mod limits;
mod prepare;
mod restart;
mod ring;
mod served;
mod survive;
mod zsnp;

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use thiserror::Error;
use tidegate_fastpath::{
    channel::{InjectTo, NatEvent, Notice, Rings},
    counter::Counters,
    flow::{FlowMemory, FlowReader, FlowTable, FlowTableError, FlowTimeouts, Recovery, session::Session},
    nat::{Nat, NatLimits},
    pipeline::{self, Settings},
    table::{Tables, publish::Writer},
    table::{neighbour, publish},
    types::{Nanos, NetId, PortId, Tick, VrfId, WorkerId},
    worker::Parts,
};

pub use self::{
    limits::{LimitView, Sum},
    prepare::{Moment, Prepared, Replaced},
    restart::restart_problems,
    ring::Punted,
};
use self::{ring::RingSide, served::Served};
use crate::{
    balance::{self, Healths, Ramps},
    compile::{Compiled, Facts, PortFact, compile},
    config::{self, Config, Id, Problems, Timeouts},
    desired::Desired,
    neighbour::{Limits, Machine, Timing},
    zsnp::Zsnp,
};

tidegate_fastpath::reasons! {
    /// What the control side of the rings counts.
    RingEvent {
        /// Notices taken from workers.
        Notice = "notice",
        /// Packets for the gateway itself taken from workers.
        Punt = "punt",
        /// Packets for the gateway itself dropped because too many wait for delivery.
        PuntFull = "punt_full",
        /// Frames and packets handed to workers.
        Inject = "inject",
        /// Frames and packets not handed over: the rings of all workers were full.
        InjectFull = "inject_full",
    }
}

/// Why there is no gateway.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// No flow table.
    #[error("gateway.limits.flows: {0}")]
    Flows(#[from] FlowTableError),
}

/// The control side. One thread owns it.
#[derive(Debug)]
pub struct Gateway {
    desired: Desired,
    facts: Facts,
    /// Facts by port id, from which `facts` is made whenever ports are numbered.
    ports: HashMap<Id, PortFact>,
    healths: Healths,
    ramps: Ramps,
    compiled: Arc<Compiled>,
    tables: Writer<Tables>,
    machine: Machine,
    rings: RingSide,
    served: Served,
    counters: Vec<Arc<Counters>>,
    flows: FlowReader,
    recovery: Recovery,
    nat: Arc<Nat>,
    zsnp: Zsnp,
}

impl Gateway {
    /// A gateway and the parts of its workers, one per configured lcore. Ports that are not in `ports` count as down.
    /// `seed` varies the jitter of timers. What it learns of flows ends with it.
    ///
    /// # Errors
    /// When the flow table does not fit.
    pub fn new(
        config: Config,
        ports: HashMap<Id, PortFact>,
        now: Nanos,
        seed: u64,
    ) -> Result<(Gateway, Vec<Parts>), GatewayError> {
        let memory = FlowMemory::private(config.gateway.limits.flows, config.gateway.workers.len())?;
        Ok(Gateway::with_flows(config, ports, now, seed, memory))
    }

    /// The same with a flow table in `memory`, which was made for the limits of `config`. Sessions that it holds of an earlier
    /// gateway go on where `config` allows it; `now` must go on from the time of that one.
    pub fn with_flows(
        config: Config,
        ports: HashMap<Id, PortFact>,
        now: Nanos,
        seed: u64,
        mut memory: FlowMemory,
    ) -> (Gateway, Vec<Parts>) {
        let desired = survive::number(config, &mut memory);
        let config = Arc::clone(desired.shared_config());
        let gateway = config.gateway.clone();
        let workers = gateway.workers.len();
        let facts = Facts { ports: numbered(&ports, &desired), ..Facts::default() };
        let compiled = compile(&desired, &facts, None);
        let mut ramps = Ramps::default();
        ramps.follow(desired.config(), &facts.down, now);
        let nat = Nat::new(nat_limits(&gateway.limits));
        let readmit = |session: &Session| pipeline::readmit(&nat, &compiled.tables, session);
        let (flow_workers, flows, recovery) = FlowTable::attach(memory, readmit);
        survive::label(&desired, &flows);
        let (neighbours, neighbour_table) = neighbour::new(gateway.limits.neighbours);
        let (tables, reader) = publish::new(Tables::default());
        let nets = usize::from(gateway.limits.networks) + 1;
        let counters: Vec<_> =
            (0..workers).map(|_| Arc::new(Counters::new(gateway.ports.len(), nets))).collect();
        let rings: Vec<_> = (0..workers).map(|_| Rings::new(gateway.limits.ring)).collect();
        let parts = flow_workers.into_iter().enumerate().map(|(i, flows)| Parts {
            id: WorkerId(i as u16),
            tables: reader.clone(),
            neighbours: neighbour_table.clone(),
            flows,
            nat: Arc::clone(&nat),
            counters: counters[i].clone(),
            rings: rings[i].clone(),
            settings: settings(&config),
        });
        let parts = parts.collect();
        let limits = limits(gateway.limits.neighbours, gateway.limits.ring);
        let mut made = Gateway {
            desired,
            facts: Facts::default(),
            ports,
            healths: Healths::default(),
            ramps,
            compiled: Arc::default(),
            tables,
            machine: Machine::new(neighbours, limits, seed),
            rings: RingSide::new(rings, gateway.limits.ring),
            served: Served::default(),
            counters,
            flows,
            recovery,
            nat,
            zsnp: Zsnp::new(gateway.zsnp, seed),
        };
        made.publish(facts, compiled, now);
        (made, parts)
    }

    /// Puts a new configuration into force and returns its generation. Networks that did not change are not disturbed.
    ///
    /// # Errors
    /// What cannot be changed without a restart; nothing has changed then.
    pub fn apply(&mut self, config: impl Into<Arc<Config>>, now: Nanos) -> Result<u64, Problems> {
        let config = config.into();
        let refused = restart_problems(self.desired.config(), &config);
        if !refused.is_empty() {
            return Err(Problems(refused));
        }
        let prepared = self.moment().prepare(config);
        let installed = self.install(prepared, now);
        debug_assert!(installed.is_ok(), "nothing came between");
        Ok(self.generation())
    }

    /// Takes what workers sent, runs the neighbour machine, and hands frames back. Returns how much there was to do.
    pub fn poll(&mut self, now: Nanos) -> usize {
        let (machine, tables, zsnp) = (&mut self.machine, &self.compiled.tables, &mut self.zsnp);
        let protocol = self.desired.config().gateway.zsnp.as_ref().map(|zsnp| zsnp.protocol);
        let mut heard = Vec::new();
        let notice = |notice| match notice {
            Notice::Ports { vip } => {
                if let Some(vip) = tables.vip(vip) {
                    vip.leases.provide();
                }
            }
            neighbour => {
                heard.extend(zsnp::place_of(&neighbour).filter(|_| protocol.is_some()));
                machine.notice(now, neighbour);
            }
        };
        let claim =
            |vrf, packet: &[u8]| Zsnp::is_for_us(protocol, vrf, packet).then(|| zsnp.take(vrf, packet));
        let mut done = self.rings.take(notice, claim);
        machine.tick(now);
        for transmit in machine.transmits() {
            done += 1;
            self.rings.inject(transmit.to, &transmit.frame);
        }
        if self.machine.take_silence_changed() {
            self.check_next_hops(now);
        }
        if self.ramps.is_due(now) {
            self.rebuild(now);
        }
        done += self.poll_zsnp(now, &heard);
        self.tables.reap();
        done
    }

    /// The oldest packet for the gateway's own addresses.
    pub fn take_punted(&mut self) -> Option<Punted> {
        let punted = self.rings.take_punted()?;
        Some(Punted { vrf: self.served.inward(punted.vrf, &punted.packet), ..punted })
    }

    /// What the workers told the session log, at most `most` events of each; the oldest first.
    pub fn take_log(&mut self, most: usize) -> Vec<NatEvent> {
        self.rings.take_log(most)
    }

    /// Sends an IPv4 packet that came out of the namespace of `vrf`, as if it had come from the gateway itself. False when no
    /// worker has room for it.
    pub fn inject(&mut self, vrf: VrfId, packet: &[u8]) -> bool {
        self.rings.inject(InjectTo::Route(self.served.outward(vrf, packet)), packet)
    }

    /// Tells which ports are up, with their MACs. Recompiles if something changed.
    pub fn set_ports(&mut self, ports: HashMap<Id, PortFact>, now: Nanos) {
        if self.ports != ports {
            self.ports = ports;
            self.rebuild(now);
        }
    }

    /// Tells which backends answer. Recompiles if one went up or down; that is in force with the workers' next bursts.
    pub fn set_health(&mut self, reports: impl IntoIterator<Item = balance::Report>, now: Nanos) {
        if self.healths.report(reports, now) {
            self.rebuild(now);
        }
    }

    /// Backends that grow or drain.
    pub fn ramps(&self) -> &Ramps {
        &self.ramps
    }

    /// Whether a neighbour answered ARP when it was last asked; has it asked again, so that this is known better next time.
    pub fn answers_arp(&mut self, neighbour: (NetId, Ipv4Addr), now: Nanos) -> bool {
        self.machine.doubt(now, neighbour);
        let table = self.machine.table();
        let id = table.lookup(neighbour.0, neighbour.1);
        id.is_some_and(|id| matches!(table.reach(id), neighbour::Reach::Resolved(_)))
    }

    /// The states of backends that were told.
    pub fn healths(&self) -> &Healths {
        &self.healths
    }

    /// The configuration in force.
    pub fn desired(&self) -> &Desired {
        &self.desired
    }

    /// What was made of it.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// What the machine says of the ports.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The neighbour machine, for reading.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The counters, by [`WorkerId`].
    pub fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// The rings, by [`WorkerId`].
    pub fn rings(&self) -> &[Rings] {
        self.rings.rings()
    }

    /// What the control side of the rings counted.
    pub fn ring_count(&self, event: RingEvent) -> u64 {
        self.rings.count(event)
    }

    /// Port translation, for reading.
    pub fn nat(&self) -> &Nat {
        &self.nat
    }

    /// The flow table, for reading.
    pub fn flows(&mut self) -> &mut FlowReader {
        &mut self.flows
    }

    /// What became of the connections of an earlier gateway.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Flow entries in use and how many there may be.
    pub fn flow_fill(&self) -> (usize, usize) {
        (self.flows.len(), self.flows.capacity())
    }

    /// How often tables were published.
    pub fn generation(&self) -> u64 {
        self.compiled.tables.generation
    }

    /// Whether every worker has seen the present generation.
    pub fn is_live(&mut self) -> bool {
        self.tables.reap() == 0
    }

    /// Starts over after a fault of the control thread: nothing that workers see is taken back; the tables are compiled
    /// and published anew, and every neighbour is confirmed.
    pub fn recover(&mut self, now: Nanos) {
        self.rebuild(now);
        self.machine.recover(now);
    }

    /// Next hops of routes that stopped or began to answer change which routes are in force.
    fn check_next_hops(&mut self, now: Nanos) {
        let unreachable = self.unreachable();
        if unreachable != self.facts.unreachable {
            self.rebuild(now);
        }
    }

    fn unreachable(&self) -> HashSet<(NetId, Ipv4Addr)> {
        self.compiled.next_hops().filter(|key| self.machine.is_silent(*key)).collect()
    }

    /// What is known of ports, neighbours and backends, as far as the configuration asks for it.
    fn look(&mut self, now: Nanos) -> Facts {
        let ports = numbered(&self.ports, &self.desired);
        let down = self.healths.down();
        self.ramps.follow(self.desired.config(), &down, now);
        let (growing, expired) = (self.ramps.growing(now), self.ramps.expired(now));
        Facts { ports, unreachable: self.unreachable(), down, growing, expired }
    }

    /// Compiles, publishes, and tells the neighbour machine.
    fn rebuild(&mut self, now: Nanos) {
        let facts = self.look(now);
        let compiled = compile(&self.desired, &facts, Some(&self.compiled));
        self.publish(facts, compiled, now);
    }

    fn publish(&mut self, facts: Facts, compiled: Compiled, now: Nanos) {
        self.facts = facts;
        self.served = Served::of(&self.desired, &compiled.tables);
        self.tables.publish(compiled.tables.clone());
        self.compiled = Arc::new(compiled);
        self.machine.set_timing(timing(&self.desired.config().gateway.timeouts));
        self.machine.configure(now, attach::attachments(&self.desired, &self.compiled));
        self.recheck_zsnp(now);
    }
}

/// Facts by number.
fn numbered(ports: &HashMap<Id, PortFact>, desired: &Desired) -> HashMap<PortId, PortFact> {
    ports.iter().filter_map(|(id, fact)| Some((desired.port(id)?, *fact))).collect()
}

/// What workers are told at start.
fn settings(config: &Config) -> Settings {
    let (limits, timeouts) = (&config.gateway.limits, &config.gateway.timeouts);
    Settings {
        icmp_errors_per_s: limits.icmp_errors_per_second,
        local_per_s: limits.punts_per_second,
        notices_per_s: limits.punts_per_second,
        held_max: limits.held_packets,
        timeouts: flow_timeouts(timeouts),
        zsnp_protocol: config.gateway.zsnp.as_ref().map(|zsnp| zsnp.protocol),
        ..Settings::default()
    }
}

/// Sizes of the port translation; every [`VrfId`] has its place.
fn nat_limits(limits: &config::Limits) -> NatLimits {
    NatLimits { vms: limits.nat_vms, blocks: limits.nat_blocks, vrfs: usize::from(u16::MAX) + 1 }
}

fn flow_timeouts(timeouts: &Timeouts) -> FlowTimeouts {
    FlowTimeouts {
        tcp_established: Tick::ticks_of_s(timeouts.nat_tcp_established_s),
        tcp_transitory: Tick::ticks_of_s(timeouts.nat_tcp_transitory_s),
        udp: Tick::ticks_of_s(timeouts.nat_udp_s),
        icmp: Tick::ticks_of_s(timeouts.nat_icmp_s),
        other: Tick::ticks_of_s(timeouts.nat_other_s),
        ..FlowTimeouts::recommended(timeouts.flow_idle_s)
    }
}

/// Bounds of the neighbour machine: one network gets at most a quarter of the table, and a burst of ARP at most half of a
/// ring.
fn limits(neighbours: usize, ring: usize) -> Limits {
    Limits {
        entries_per_net: (neighbours / 4).max(16),
        frames_burst: u32::try_from(ring / 2).unwrap_or(u32::MAX).clamp(1, 1_024),
        ..Limits::default()
    }
}

fn timing(timeouts: &Timeouts) -> Timing {
    Timing {
        retransmit: Nanos::from_ms(timeouts.neighbour_retry_ms.into()),
        attempts: u8::try_from(timeouts.neighbour_probes).unwrap_or(u8::MAX).max(1),
        reachable: nanos(Duration::from_secs(timeouts.neighbour_reachable_s.into())),
    }
}

fn nanos(duration: Duration) -> Nanos {
    Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
