//! `tidegate-bench run`.

use std::{fmt, path::PathBuf, sync::Arc};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use tidegate_bench::{
    cycles,
    measurement::{Length, Subject, measure},
    pool::MemPool,
    report,
    scenario::{Ip4, Load, Scenario, VxlanSnat, VxlanVxlan},
    subject::Replay,
    traffic::Traffic,
};

#[derive(Debug, Args)]
pub(super) struct Run {
    /// What to measure.
    scenario: Name,
    /// Flows (directions), sent in random order.
    #[arg(long, value_delimiter = ',', default_value = "1,10000,1000000")]
    flows: Vec<u32>,
    /// Bytes of a tenant's frame with FCS, without tunnel headers: 64 to 9000.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(64..=9000))]
    frame: u16,
    /// Frames that the worker gets at a time: 1 to 32.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=32))]
    burst: u8,
    /// Rounds over all measurements.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Length of a round of one measurement.
    #[arg(long, default_value_t = 0.2)]
    seconds: f64,
    /// Length of a round in packets instead, for counting instructions.
    #[arg(long, conflicts_with = "seconds")]
    packets: Option<u64>,
    /// Where packets are.
    #[arg(long, value_delimiter = ',', default_value = if cfg!(feature = "dpdk") { "mem,dpdk" } else { "mem" })]
    on: Vec<On>,
    /// Whether packets use flow entries; without it what is usual for the scenario.
    #[arg(long, value_delimiter = ',')]
    path: Vec<Path>,
    /// vxlan-vxlan, vxlan-snat: sending VMs.
    #[arg(long, default_value_t = 1000)]
    sources: u32,
    /// vxlan-vxlan: receiving VMs.
    #[arg(long, value_delimiter = ',', default_value = "250")]
    destinations: Vec<u32>,
    /// ip4: 1 for a default route, or so many /32 routes.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    routes: Vec<u32>,
    /// The CPU to run on.
    #[arg(long)]
    cpu: Option<u16>,
    /// MiB of hugepages to reserve for the run, and to give back after it (root). Without it, what is reserved is used.
    #[arg(long)]
    hugepages: Option<u32>,
    /// Writes the measurements as JSON to this file, or to standard output (`-`).
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Name {
    /// Between two VXLAN networks of one VPC.
    VxlanVxlan,
    /// From a VXLAN network of a VPC to the world, behind 40 public addresses; each flow is a session.
    VxlanSnat,
    /// Plain routing from port to port; each packet is decided.
    Ip4,
    /// The same with a flow entry per direction.
    Session,
    /// Decap to encap without lookup, through the `Buffer` trait, by hand on mbufs, and through a trait object (docs/adr/0002).
    Buffer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum On {
    /// Buffers on the heap.
    Mem,
    /// Mbufs of a DPDK pool.
    Dpdk,
}

/// A value as on the command line.
fn written(value: &impl ValueEnum, to: &mut fmt::Formatter<'_>) -> fmt::Result {
    let value = value.to_possible_value().ok_or(fmt::Error)?;
    to.write_str(value.get_name())
}

impl fmt::Display for Name {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        written(self, to)
    }
}

impl fmt::Display for On {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        written(self, to)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Path {
    /// One lookup of a flow entry.
    Tracked,
    /// Each packet is decided.
    Stateless,
}

impl Run {
    pub(super) fn run(&self) -> Result<()> {
        let _hugepages = self.hugepages.map(crate::hugepages::Reserved::new).transpose()?;
        if let Some(cpu) = self.cpu {
            let core = core_affinity::CoreId { id: cpu.into() };
            ensure!(core_affinity::set_for_current(core), "CPU {cpu} is not there");
        }
        let length = match self.packets {
            Some(packets) => Length::Packets(packets),
            None => Length::Cycles((self.seconds * cycles::hz()) as u64),
        };
        let mut subjects = self.subjects()?;
        let rows = measure(&mut subjects, self.rounds, length)?;
        match &self.json {
            Some(to) => report::write_json(&rows, to)?,
            None => println!("{}", report::table(&rows)),
        }
        Ok(())
    }

    fn subjects(&self) -> Result<Vec<Box<dyn Subject>>> {
        let mut places = Places::new(self)?;
        if self.scenario == Name::Buffer {
            return places.forms(self.vxlan_vxlan());
        }
        let mut subjects = Vec::new();
        for scenario in self.scenarios() {
            let traffic = Traffic::new(&*scenario);
            for on in &self.on {
                subjects.push(places.subject(
                    *on,
                    Arc::clone(&scenario),
                    traffic.clone(),
                    self.burst.into(),
                )?);
            }
        }
        Ok(subjects)
    }

    /// The first of what was asked for, for scenarios that compare something else.
    fn vxlan_vxlan(&self) -> VxlanVxlan {
        let first = |values: &[u32]| values.first().copied().unwrap_or(1);
        VxlanVxlan {
            load: Load { tracked: false, flows: first(&self.flows), frame_bytes: self.frame.into() },
            sources: self.sources,
            destinations: first(&self.destinations),
        }
    }

    fn tracked(&self) -> Vec<bool> {
        if self.path.is_empty() {
            return vec![self.scenario != Name::Ip4];
        }
        self.path.iter().map(|path| *path == Path::Tracked).collect()
    }

    /// Every combination of what was asked for.
    fn scenarios(&self) -> Vec<Arc<dyn Scenario>> {
        let mut scenarios: Vec<Arc<dyn Scenario>> = Vec::new();
        for flows in self.flows.iter().copied() {
            for tracked in self.tracked() {
                let load = Load { tracked, flows, frame_bytes: self.frame.into() };
                match self.scenario {
                    Name::VxlanVxlan | Name::Buffer => {
                        scenarios.extend(self.destinations.iter().map(|destinations| {
                            let (sources, destinations) = (self.sources, *destinations);
                            Arc::new(VxlanVxlan { load, sources, destinations }) as Arc<_>
                        }))
                    }
                    Name::VxlanSnat => {
                        scenarios.push(Arc::new(VxlanSnat { load, sources: self.sources }) as Arc<_>)
                    }
                    Name::Ip4 | Name::Session => scenarios.extend(
                        self.routes.iter().map(|routes| Arc::new(Ip4 { load, routes: *routes }) as Arc<_>),
                    ),
                }
            }
        }
        scenarios
    }
}

/// What the subjects share.
struct Places {
    #[cfg(feature = "dpdk")]
    mbufs: Option<tidegate_bench::pool::MbufPool>,
}

impl Places {
    #[cfg(feature = "dpdk")]
    fn new(run: &Run) -> Result<Places> {
        use dpdk_sys::eal::{Eal, EalOptions};
        if !run.on.contains(&On::Dpdk) {
            return Ok(Places { mbufs: None });
        }
        let options = EalOptions { main_lcore: run.cpu, memory_mib: 64, ..EalOptions::default() };
        let eal = Eal::init(&options)?;
        // Room for the frame and the tunnel headers it arrives with.
        let pool = tidegate_bench::pool::MbufPool::new(&eal, run.frame.max(2048) + 128)?;
        Ok(Places { mbufs: Some(pool) })
    }

    #[cfg(not(feature = "dpdk"))]
    fn new(run: &Run) -> Result<Places> {
        ensure!(!run.on.contains(&On::Dpdk), "this build has no DPDK; build with `make bench`");
        Ok(Places {})
    }

    #[cfg(feature = "dpdk")]
    fn forms(&self, scenario: VxlanVxlan) -> Result<Vec<Box<dyn Subject>>> {
        let pool = self.mbufs.as_ref().context("`buffer` compares forms on mbufs; add --on dpdk")?;
        tidegate_bench::buffer::subjects(scenario, pool)
    }

    #[cfg(not(feature = "dpdk"))]
    fn forms(&self, _: VxlanVxlan) -> Result<Vec<Box<dyn Subject>>> {
        None.context("this build has no DPDK; build with `make bench`")
    }

    fn subject(
        &mut self,
        on: On,
        scenario: Arc<dyn Scenario>,
        traffic: Traffic,
        burst: usize,
    ) -> Result<Box<dyn Subject>> {
        match on {
            On::Mem => Ok(Box::new(Replay::new(scenario, traffic, MemPool::default(), burst)?)),
            #[cfg(feature = "dpdk")]
            On::Dpdk => {
                let pool = self.mbufs.clone().context("EAL was started for it")?;
                Ok(Box::new(Replay::new(scenario, traffic, pool, burst)?))
            }
            #[cfg(not(feature = "dpdk"))]
            On::Dpdk => None.context("refused above"),
        }
    }
}
