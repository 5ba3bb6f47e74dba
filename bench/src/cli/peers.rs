//! `tidegate-bench peers`.

use anyhow::Result;
use clap::Args;
use tidegate_bench::{
    measurement::{Subject, measure},
    peer::{
        fed::{Fed, GeneratorKind},
        linux::{self, Linux},
        ovs::{self, Ovs},
        testpmd::{self, Mode, Testpmd},
    },
    report,
    scenario::{Name, Parameters},
    traffic::{FrameSize, Traffic},
};

use super::options::{Measuring, On, Places, Source, Subjects, beside};

/// What is measured where nothing is named.
pub(super) const MAIN: [Name; 7] =
    [Name::Ip4, Name::VxlanVxlan, Name::VxlanIp, Name::Snat, Name::VxlanSnat, Name::LbIn, Name::VxlanSnatQos];
/// What is fed by a process of its own.
const FED: [Name; 2] = [Name::Ip4, Name::VxlanSnat];
const BURST: usize = 32;
/// Enough for an OVS of each of them.
pub(super) const HUGEPAGES_MIB: u32 = MAIN.len() as u32 * ovs::MEMORY_MIB;

#[derive(Debug, Args)]
pub(super) struct Peers {
    /// What to measure; without it the main ones of what all peers can do: ip4, vxlan-vxlan, vxlan-ip, snat, vxlan-snat, lb-in,
    /// vxlan-snat+qos.
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<Name>,
    /// Flows (directions), sent in random order.
    #[arg(long, value_delimiter = ',', default_value = "10000", value_parser = clap::value_parser!(u32).range(1..))]
    flows: Vec<u32>,
    /// Bytes of a tenant's frame with FCS, without tunnel headers: 64 to 9000, or imix (7:4:1).
    #[arg(long, default_value_t = FrameSize::Fixed(64))]
    frame: FrameSize,
    #[command(flatten)]
    measuring: Measuring,
}

impl Peers {
    pub(super) fn run(&self) -> Result<()> {
        let (_hugepages, machine) = self.measuring.begin()?;
        let mut subjects = self.subjects()?;
        let rows = measure(&mut subjects, self.measuring.rounds as usize, self.measuring.length())?;
        self.measuring.show(machine, rows, report::peer_table)
    }

    fn subjects(&self) -> Result<Vec<Box<dyn Subject>>> {
        let places = Places::new(&[On::Dpdk], self.frame.largest(), &self.measuring)?;
        let scenarios = if self.scenarios.is_empty() { &MAIN[..] } else { &self.scenarios };
        let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
        for (name, flows) in scenarios.iter().flat_map(|name| self.flows.iter().map(|flows| (*name, *flows)))
        {
            let parameters = Parameters { flows, frames: self.frame, ..Parameters::default() };
            let scenario = name.with(&parameters);
            let source = Source::Established(Traffic::new(&*scenario)?);
            let ours = Subjects { scenario: &scenario, source: &source, burst: BURST };
            subjects.extend(places.at(On::Dpdk, ours)?);
            subjects.extend(peers(name, &parameters, &self.measuring)?);
        }
        Ok(subjects)
    }
}

/// The gateway, and nothing in its place, fed by dpdk-testpmd; none where that is missing.
pub(super) fn fed(
    parameters: &Parameters,
    places: &Places,
    measuring: &Measuring,
) -> Result<Vec<Box<dyn Subject>>> {
    let generator = GeneratorKind::Testpmd(beside(measuring.cpu));
    let Some(pool) = places.mbufs().filter(|_| testpmd::is_there()) else { return Ok(Vec::new()) };
    let mut fed: Vec<Box<dyn Subject>> = Vec::new();
    for (name, is_control) in FED.into_iter().flat_map(|name| [(name, false), (name, true)]) {
        fed.push(Box::new(Fed::new(name, parameters, pool, is_control, generator)?));
    }
    Ok(fed)
}

/// The peers of a scenario that are here; what is missing is told.
pub(super) fn peers(
    name: Name,
    parameters: &Parameters,
    measuring: &Measuring,
) -> Result<Vec<Box<dyn Subject>>> {
    let cpu = usize::from(measuring.cpu.unwrap_or_default());
    let mut peers: Vec<Box<dyn Subject>> = Vec::new();
    if testpmd::is_there() {
        for mode in [Mode::Io, Mode::Mac] {
            // Its main thread waits on the other CPU.
            peers.push(Box::new(Testpmd::new(name, parameters, mode, (cpu ^ 1, cpu))?));
        }
    } else {
        eprintln!("{name}: without dpdk-testpmd, which is not installed (Debian: apt-get install dpdk-dev)");
    }
    if let Some(why) = ovs::cannot(name, parameters) {
        eprintln!("{name}: without OVS-DPDK, {why}");
    } else if !ovs::is_there() {
        eprintln!("{name}: without OVS-DPDK, which is not installed (`make deps-peers`)");
    } else if nix::unistd::geteuid().is_root() {
        peers.push(Box::new(Ovs::new(name, parameters, (cpu ^ 1, cpu))?));
    } else {
        eprintln!("{name}: without OVS-DPDK, which needs root for a namespace");
    }
    if !linux::can(name, parameters) {
        eprintln!("{name}: without the Linux kernel, which has nothing like it here");
    } else if nix::unistd::geteuid().is_root() {
        peers.push(Box::new(Linux::new(name, parameters, cpu)?));
    } else {
        eprintln!("{name}: without the Linux kernel, which needs root for a namespace");
    }
    Ok(peers)
}
