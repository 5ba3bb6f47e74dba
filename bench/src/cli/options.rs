//! Options that several commands have, and what they are good for.

use std::{fmt, path::PathBuf, sync::Arc};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use tidegate_bench::{
    capture::Capture,
    cycles,
    document::{self, Document},
    machine::Machine,
    measurement::{Length, Row, Subject},
    pool::{MemPool, Pool},
    replay::{
        Churn, Control, Crew, Fresh, Replay,
        flood::{self, Size},
    },
    report,
    scenario::{Name, Parameters, Scenario},
    traffic::Traffic,
};

#[cfg(feature = "peers")]
use tidegate_bench::peer::fed::GeneratorKind;

use crate::hugepages::Reserved;

/// Where packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum On {
    /// Buffers on the heap.
    Mem,
    /// Mbufs of a DPDK pool.
    Dpdk,
    /// The same, and they come and go by a DPDK device, net_ring, whose driver is in the work then.
    Ring,
    /// The same by net_memif, which copies them.
    Memif,
    /// The same, and at the other end of the memif dpdk-testpmd sends as fast as it can, on another CPU.
    Testpmd,
    /// The same, and net_pcap replays them, whose driver is in the work then.
    Pcap,
}

impl On {
    /// What the gateway runs on, as far as this build has it.
    pub(super) const DEFAULT: &str = if cfg!(feature = "dpdk") { "dpdk" } else { "mem" };

    /// What a report calls so.
    pub(super) fn of(buffers: &str) -> On {
        match buffers {
            "mem" => On::Mem,
            "mbuf" => On::Dpdk,
            "mbuf, net_ring" => On::Ring,
            "mbuf, net_memif" => On::Memif,
            "mbuf, net_pcap" => On::Pcap,
            _ => On::Testpmd,
        }
    }

    /// Who sends the frames, where they are not just handed over.
    #[cfg(feature = "peers")]
    pub(super) fn generator(self, cpu: Option<u16>) -> Option<GeneratorKind> {
        match self {
            On::Testpmd => Some(GeneratorKind::Testpmd(beside(cpu))),
            On::Pcap => Some(GeneratorKind::Pcap),
            On::Mem | On::Dpdk | On::Ring | On::Memif => None,
        }
    }

    /// # Errors
    /// This build has no DPDK.
    pub(super) fn check(self) -> Result<()> {
        ensure!(cfg!(feature = "dpdk") || self == On::Mem, "this build has no DPDK; build with `make bench`");
        Ok(())
    }
}

impl fmt::Display for On {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            On::Mem => "mem",
            On::Dpdk => "dpdk",
            On::Ring => "ring",
            On::Memif => "memif",
            On::Testpmd => "testpmd",
            On::Pcap => "pcap",
        })
    }
}

/// Another CPU than that of the worker.
#[cfg(feature = "peers")]
pub(super) fn beside(cpu: Option<u16>) -> usize {
    usize::from(cpu.unwrap_or_default()) ^ 1
}

/// How long and where is measured, and where the result goes.
#[derive(Debug, Args)]
pub(super) struct Measuring {
    /// Rounds over all measurements.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,
    /// Time of each measurement, all rounds together.
    #[arg(long, default_value_t = 1.4, value_parser = seconds)]
    pub(super) seconds: f64,
    /// Length of a round in packets instead, for counting instructions.
    #[arg(long, conflicts_with = "seconds")]
    pub(super) packets: Option<u64>,
    /// The CPU to run on, the first one of several workers.
    #[arg(long, value_parser = clap::value_parser!(u16).range(..1024))]
    pub(super) cpu: Option<u16>,
    /// MiB of hugepages to reserve for the run, and to give back after it (root). Without it, what is reserved is used.
    #[arg(long)]
    pub(super) hugepages: Option<u32>,
    /// Mbufs in ordinary pages, whatever is reserved; under valgrind DPDK knows no others.
    #[arg(long, conflicts_with = "hugepages")]
    pub(super) ordinary_pages: bool,
    /// Writes the measurements as JSON, too: to this file, or to standard output in place of the table (`-`).
    #[arg(long)]
    pub(super) json: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().map_err(|_| "give a number of seconds".to_owned())?;
    if (0.001..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err("give 0.001 to 86400 s".to_owned()) }
}

impl Measuring {
    /// Makes the machine ready. What is returned undoes it on drop; the machine is described as it is then.
    pub(super) fn begin(&self) -> Result<(Option<Reserved>, Machine)> {
        let reserved = self.hugepages.map(Reserved::new).transpose()?;
        if let Some(cpu) = self.cpu {
            let core = core_affinity::CoreId { id: cpu.into() };
            ensure!(core_affinity::set_for_current(core), "CPU {cpu} is not there");
        }
        Ok((reserved, Machine::here()))
    }

    pub(super) fn length(&self) -> Length {
        match self.packets {
            Some(packets) => Length::Packets(packets),
            None => Length::Cycles((self.seconds / f64::from(self.rounds) * cycles::hz()) as u64),
        }
    }

    /// Shows the rows as a table, and writes the document.
    pub(super) fn show(&self, machine: Machine, rows: Vec<Row>, table: fn(&[Row]) -> String) -> Result<()> {
        let nanoseconds = match cfg!(feature = "dpdk") {
            true => "",
            false => "This build has no cycle counter: cycles are nanoseconds.\n",
        };
        let more = [report::latencies(&rows), report::scaling(&rows), report::losses(&rows)].concat();
        let table = format!("{}\n{more}{nanoseconds}", table(&rows));
        document::tell(&table, &Document::new(machine, rows), self.json.as_deref())
    }
}

/// Where buffers come from, for all subjects of a run.
pub(super) struct Places {
    #[cfg(feature = "dpdk")]
    mbufs: Option<tidegate_bench::pool::MbufPool>,
}

impl Places {
    /// With pools for frames of up to `frame_len` bytes.
    #[cfg(feature = "dpdk")]
    pub(super) fn new(on: &[On], frame_len: usize, measuring: &Measuring) -> Result<Places> {
        use anyhow::Context;
        use dpdk_sys::eal::{Eal, EalOptions, Hugepages};
        if on.iter().all(|on| *on == On::Mem) {
            return Ok(Places { mbufs: None });
        }
        let hugepages = if measuring.ordinary_pages { Hugepages::Off } else { Hugepages::Auto };
        let eal = Eal::init(&EalOptions {
            hugepages,
            main_lcore: measuring.cpu,
            memory_mib: 64,
            ..EalOptions::default()
        })?;
        // Room for the frame and the tunnel headers that it gets or arrives with.
        let packet_len_max = u16::try_from(frame_len.max(2048) + 128).context("the frames are too long")?;
        let pool = tidegate_bench::pool::MbufPool::new(&eal, packet_len_max)?;
        Ok(Places { mbufs: Some(pool) })
    }

    #[cfg(not(feature = "dpdk"))]
    pub(super) fn new(on: &[On], _frame_len: usize, _measuring: &Measuring) -> Result<Places> {
        on.iter().try_for_each(|on| on.check())?;
        Ok(Places {})
    }

    /// Mbufs, where there are some.
    #[cfg(feature = "peers")]
    pub(super) const fn mbufs(&self) -> Option<&tidegate_bench::pool::MbufPool> {
        self.mbufs.as_ref()
    }

    /// Hands the pool to `with`.
    pub(super) fn at<R>(&self, on: On, with: impl WithPool<R>) -> Result<R> {
        #[cfg(feature = "dpdk")]
        use tidegate_bench::pool::device::DeviceKind;
        #[cfg(feature = "dpdk")]
        match (on, &self.mbufs) {
            (On::Dpdk, Some(pool)) => return with.call(pool.clone()),
            (On::Ring, Some(pool)) => return with.call(pool.by(DeviceKind::Ring)),
            (On::Memif, Some(pool)) => return with.call(pool.by(DeviceKind::Memif)),
            _ => {}
        }
        on.check()?;
        with.call(MemPool::default())
    }
}

/// Something that is done with a pool, whatever its buffers are.
pub(super) trait WithPool<R> {
    fn call<P: Pool + 'static>(self, pool: P) -> Result<R>;
}

/// What is replayed.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Packets of established flows of the scenario.
    Established(Traffic),
    /// The first packets of its flows.
    New(Traffic),
    /// The same while configurations are published so many times per second.
    Churn(Traffic, u32),
    /// The same without engine.
    Control(Traffic),
    /// A capture.
    Capture(Capture),
    /// A flood of new flows beside established ones.
    Flood(Name, Parameters, Size),
    /// Several workers, on CPUs from the last number on.
    Crew(Name, Parameters, u32, usize),
}

/// Subjects for a scenario.
pub(super) struct Subjects<'a> {
    pub(super) scenario: &'a Arc<dyn Scenario>,
    pub(super) source: &'a Source,
    pub(super) burst: usize,
}

impl WithPool<Vec<Box<dyn Subject>>> for Subjects<'_> {
    fn call<P: Pool + 'static>(self, pool: P) -> Result<Vec<Box<dyn Subject>>> {
        let (scenario, burst) = (Arc::clone(self.scenario), self.burst);
        let subject: Box<dyn Subject> = match self.source {
            Source::Established(traffic) => Box::new(Replay::new(scenario, traffic.clone(), pool, burst)?),
            Source::New(traffic) => Box::new(Fresh::new(scenario, traffic.clone(), pool, burst)?),
            Source::Churn(traffic, per_s) => {
                Box::new(Churn::new(scenario, traffic.clone(), pool, burst, *per_s)?)
            }
            Source::Control(traffic) => Box::new(Control::new(&*scenario, traffic.clone(), pool, burst)?),
            Source::Capture(capture) => Box::new(Replay::of_capture(scenario, capture, pool, burst)?),
            Source::Crew(name, parameters, workers, cpu) => {
                Box::new(Crew::new(*name, parameters, *workers, *cpu, pool, burst)?)
            }
            Source::Flood(name, parameters, size) => {
                return Ok(flood::subjects(*name, parameters, *size, pool, burst)?.into());
            }
        };
        Ok(vec![subject])
    }
}
