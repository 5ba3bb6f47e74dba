//! `tidegate-bench run`.

use std::path::PathBuf;

use anyhow::Result;
#[cfg(feature = "peers")]
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use tidegate_bench::{
    capture::Capture,
    measurement::{Phase, Row, Subject, measure, pace},
    replay::flood::{Others, Size},
    report,
    scenario::{Name, Parameters},
    traffic::{FrameSize, Popularity, Traffic},
};

#[cfg(feature = "peers")]
use tidegate_bench::peer::fed::{Fed, GeneratorKind};

use super::{
    instructions,
    options::{Measuring, On, Places, Source, Subjects},
};

#[derive(Debug, Args)]
pub(super) struct Run {
    /// What to measure: ip4, session, vxlan-vxlan, vxlan-ip, snat, vxlan-snat, eip, pf-in, lb-in.
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<Name>,
    /// Flows (directions), sent in random order.
    #[arg(long, value_delimiter = ',', default_value = "1,10000,1000000", value_parser = clap::value_parser!(u32).range(1..))]
    flows: Vec<u32>,
    /// Bytes of a tenant's frame with FCS, without tunnel headers: 64 to 9000, or imix (7:4:1).
    #[arg(long, value_delimiter = ',', default_value = "64")]
    frame: Vec<FrameSize>,
    /// How often each flow comes.
    #[arg(long, value_delimiter = ',', default_value = "uniform")]
    popularity: Vec<Popularity>,
    /// Frames that the worker gets at a time: 1 to 32.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=32))]
    burst: u8,
    /// Workers, each on a CPU of its own with a part of the flows.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: Vec<u32>,
    /// Where packets are.
    #[arg(long, value_delimiter = ',', default_value = On::DEFAULT)]
    on: Vec<On>,
    /// Whether packets use flow entries; without it what is usual for the scenario.
    #[arg(long, value_delimiter = ',')]
    path: Vec<Path>,
    /// VMs that send; pf-in, lb-in: that are reached.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=16000))]
    sources: u32,
    /// vxlan-vxlan, vxlan-ip: VMs that receive.
    #[arg(long, value_delimiter = ',', default_value = "250", value_parser = clap::value_parser!(u32).range(1..=16000))]
    destinations: Vec<u32>,
    /// ip4, session: 1 for a default route, or so many /32 routes.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000000))]
    routes: Vec<u32>,
    /// vxlan-vxlan, vxlan-snat: so many VPCs share the VMs, so that neighbouring packets are of different networks.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u32).range(1..=16000))]
    vpcs: Vec<u32>,
    /// Replays the frames of this capture (classic pcap, Ethernet) instead of the scenario's; what comes out is counted, not
    /// checked.
    #[arg(long, conflicts_with_all = ["flows", "frame", "popularity", "instructions", "workers"])]
    pcap: Option<PathBuf>,
    /// Measures the first packets of flows: each round begins with empty tables.
    #[arg(long, conflicts_with_all = ["pcap", "instructions", "popularity"])]
    new: bool,
    /// Measures beside the established flows a flood of so many new ones per round, in bursts of each in turn.
    #[arg(long, value_name = "FLOWS", conflicts_with_all = ["pcap", "instructions", "new"], value_parser = clap::value_parser!(u32).range(1..))]
    flood: Option<u32>,
    /// Of a flood: how many new flows there is room for; without it, all of them.
    #[arg(long, value_name = "FLOWS", requires = "flood")]
    room: Option<u32>,
    /// Measures beside each scenario the same frames with no engine between: what the bench itself takes.
    #[arg(long, conflicts_with_all = ["pcap", "new"])]
    control: bool,
    /// Measures beside the established flows as many malformed frames, in bursts of each in turn; so many per round.
    #[arg(long, value_name = "FRAMES", conflicts_with_all = ["pcap", "new"], value_parser = clap::value_parser!(u32).range(1..))]
    malformed: Option<u32>,
    /// Measures beside the established flows as many fragments, in bursts of each in turn; so many per round. They are
    /// datagrams of these flows, each in two pieces.
    #[arg(long, value_name = "FRAMES", conflicts_with_all = ["pcap", "new"], value_parser = clap::value_parser!(u32).range(2..))]
    fragments: Option<u32>,
    /// Measures beside each scenario the same while configurations are published so many times per second, on another CPU
    /// where there is one.
    #[arg(long, value_name = "PER_SECOND", conflicts_with_all = ["pcap", "new"], value_parser = clap::value_parser!(u32).range(1..=100_000))]
    churn: Option<u32>,
    /// Percentages of what was just measured, at which latencies are taken then.
    #[arg(long, value_delimiter = ',', value_parser = percent)]
    latency: Vec<f64>,
    /// Counts instructions too.
    #[arg(long)]
    instructions: bool,
    #[command(flatten)]
    measuring: Measuring,
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
        let (_hugepages, machine) = self.measuring.begin()?;
        let mut subjects = self.subjects()?;
        let mut rows = measure(&mut subjects, self.measuring.rounds as usize, self.measuring.length())?;
        pace(&mut subjects, &mut rows, &self.latency, self.measuring.length())?;
        drop(subjects);
        if self.instructions {
            let is_counted = |row: &&mut Row| {
                row.label.phase == Phase::Established && row.label.workers == 1 && !row.label.has_generator()
            };
            let mut counted = rows.iter_mut().filter(is_counted);
            counted.try_for_each(instructions::fill)?;
        }
        self.measuring.show(machine, rows, report::table)
    }

    fn subjects(&self) -> Result<Vec<Box<dyn Subject>>> {
        let capture = self.pcap.as_deref().map(Capture::read).transpose()?;
        let longest = match &capture {
            Some(capture) => capture.traffic.longest(),
            None => self.frame.iter().map(|frame| frame.largest()).max().unwrap_or_default(),
        };
        let places = Places::new(&self.on, longest, &self.measuring)?;
        let mut subjects = Vec::new();
        for (name, parameters) in self.all(capture.as_ref().map(|capture| capture.flows)) {
            let scenario = name.with(&parameters);
            for source in self.sources(name, &parameters, capture.as_ref())? {
                for on in &self.on {
                    #[cfg(feature = "peers")]
                    if let Some(generator) = on.generator(self.measuring.cpu) {
                        subjects.push(self.fed(name, &parameters, &source, &places, generator)?);
                        continue;
                    }
                    let burst = self.burst.into();
                    let some = Subjects { scenario: &scenario, source: &source, burst };
                    subjects.extend(places.at(*on, some)?);
                }
            }
        }
        Ok(subjects)
    }

    /// The scenario with a generator of its own.
    #[cfg(feature = "peers")]
    fn fed(
        &self,
        name: Name,
        parameters: &Parameters,
        source: &Source,
        places: &Places,
        generator: GeneratorKind,
    ) -> Result<Box<dyn Subject>> {
        let pool = places.mbufs().context("no mbufs")?;
        let is_control = match source {
            Source::Established(_) => false,
            Source::Control(_) => true,
            _ => bail!("testpmd and pcap send packets of established flows to one worker, no others"),
        };
        Ok(Box::new(Fed::new(name, parameters, pool, is_control, generator)?))
    }

    /// What is replayed through a scenario.
    fn sources(&self, name: Name, parameters: &Parameters, capture: Option<&Capture>) -> Result<Vec<Source>> {
        if let Some(capture) = capture {
            return Ok(vec![Source::Capture(capture.clone())]);
        }
        let traffic = Traffic::new(&*name.with(parameters))?;
        if self.new {
            return Ok(vec![Source::New(traffic)]);
        }
        let floods = [
            self.flood.map(|frames| (frames, Others::New { room: self.room.unwrap_or(frames) })),
            self.malformed.map(|frames| (frames, Others::Malformed)),
            self.fragments.map(|frames| (frames, Others::Fragments)),
        ];
        let floods = floods.into_iter().flatten();
        let floods = floods.map(|(frames, others)| Source::Flood(name, *parameters, Size { frames, others }));
        let churn = self.churn.map(|per_s| Source::Churn(traffic.clone(), per_s));
        let control = self.control.then(|| Source::Control(traffic.clone()));
        let cpu = usize::from(self.measuring.cpu.unwrap_or_default());
        let workers = self.workers.iter().map(|workers| match workers {
            1 => Source::Established(traffic.clone()),
            _ => Source::Crew(name, *parameters, *workers, cpu),
        });
        Ok(workers.chain(control).chain(churn).chain(floods).collect())
    }

    /// Every combination of what was asked for; with so many flows where a capture has them.
    fn all(&self, flows: Option<u32>) -> Vec<(Name, Parameters)> {
        let flows = flows.map_or_else(|| self.flows.clone(), |flows| vec![flows]);
        let paths: Vec<Option<bool>> = match &self.path[..] {
            [] => vec![None],
            paths => paths.iter().map(|path| Some(*path == Path::Tracked)).collect(),
        };
        let base = Parameters { sources: self.sources, ..Parameters::default() };
        let mut all = vec![base];
        all = vary(&all, &flows, |all, flows| all.flows = flows);
        all = vary(&all, &self.frame, |all, frames| all.frames = frames);
        all = vary(&all, &self.popularity, |all, popularity| all.popularity = popularity);
        all = vary(&all, &paths, |all, tracked| all.tracked = tracked);
        all = vary(&all, &self.destinations, |all, destinations| all.destinations = destinations);
        all = vary(&all, &self.routes, |all, routes| all.routes = routes);
        all = vary(&all, &self.vpcs, |all, vpcs| all.vpcs = vpcs);
        self.scenarios.iter().flat_map(|name| all.iter().map(|parameters| (*name, *parameters))).collect()
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().map_err(|_| "give a percentage".to_owned())?;
    if (0.1..=200.0).contains(&percent) { Ok(percent) } else { Err("give 0.1 to 200 %".to_owned()) }
}

/// Each of `all` with each of the values.
fn vary<T: Copy>(all: &[Parameters], values: &[T], set: fn(&mut Parameters, T)) -> Vec<Parameters> {
    let with = |parameters: &Parameters, value: &T| {
        let mut parameters = *parameters;
        set(&mut parameters, *value);
        parameters
    };
    all.iter().flat_map(|parameters| values.iter().map(move |value| with(parameters, value))).collect()
}
