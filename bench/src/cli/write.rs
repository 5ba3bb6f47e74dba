//! `tidegate-bench write`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use tidegate_bench::{
    capture,
    scenario::{Name, Parameters},
    traffic::{FrameSize, Popularity, Traffic},
    vpp,
};

#[derive(Debug, Args)]
pub(super) struct Write {
    /// Whose frames.
    #[arg(value_name = "SCENARIO")]
    scenario: Name,
    /// The file, in classic pcap format with microseconds.
    #[arg(long, required_unless_present = "vpp")]
    pcap: Option<PathBuf>,
    /// A directory to write everything to that VPP needs for the scenario: the frames, its configuration, how to count.
    #[arg(long, value_name = "DIRECTORY")]
    vpp: Option<PathBuf>,
    /// Flows (directions), in random order.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    flows: u32,
    /// Bytes of a tenant's frame with FCS, without tunnel headers: 64 to 9000, or imix (7:4:1).
    #[arg(long, default_value_t = FrameSize::Fixed(64))]
    frame: FrameSize,
    /// How often each flow comes.
    #[arg(long, default_value = "uniform")]
    popularity: Popularity,
    /// VMs that send; pf-in, lb-in: that are reached.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=16000))]
    sources: u32,
    /// vxlan-vxlan, vxlan-ip: VMs that receive.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=16000))]
    destinations: u32,
    /// ip4, session: 1 for a default route, or so many /32 routes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000000))]
    routes: u32,
    /// vxlan-vxlan, vxlan-snat: so many VPCs share the VMs.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16000))]
    vpcs: u32,
}

impl Write {
    pub(super) fn run(&self) -> Result<()> {
        let parameters = Parameters {
            flows: self.flows,
            frames: self.frame,
            popularity: self.popularity,
            tracked: None,
            sources: self.sources,
            destinations: self.destinations,
            routes: self.routes,
            vpcs: self.vpcs,
        };
        let scenario = self.scenario.with(&parameters);
        // Refuses parameters that do not fit.
        scenario.gateway()?;
        if let Some(path) = &self.pcap {
            let frames = capture::write(path, &Traffic::new(&*scenario)?)?;
            println!("{}: {frames} frames, for port {}", path.display(), scenario.port());
        }
        if let Some(dir) = &self.vpp {
            let frames = vpp::write(dir, self.scenario, &parameters)?;
            println!("{}: {frames} frames; README says how to go on", dir.display());
        }
        Ok(())
    }
}
