//! The programs, loaded: attached to devices, and their maps.
//!
//! Two ways to attach. By **tcx** (Linux 6.6) a program is held by a descriptor of this process: when it ends, however it ends, the
//! programs are gone and everything takes the ordinary way at once. By **clsact** (any older kernel) programs stay on their devices when
//! the agent is killed; then shortcuts work until they expire, which the program checks per packet, and the next agent takes
//! the programs away before it attaches its own.

use std::{
    collections::BTreeMap,
    fmt,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData, MapError, PerCpuArray, RingBuf},
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType, TestRun, TestRunOptions,
        tc::{NlOptions, SchedClassifierLinkId, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program},
    },
    util::KernelVersion,
};
use clap::ValueEnum;
use thiserror::Error;
use tidegate_zsnp::{Mac, Vni};

use super::layout::{Count, Event, Pair, Port, Rule, Stat, vm_bytes};

/// The compiled programs; nothing where the build found no clang.
#[cfg(bpf_programs)]
static OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/shortcut.bpf.o")));
#[cfg(not(bpf_programs))]
static OBJECT: Option<&[u8]> = None;

/// The kernel that has tcx.
const TCX_SINCE: KernelVersion = KernelVersion::new(6, 6, 0);

/// What the kernel refused, or what is not there.
#[derive(Debug, Error)]
pub enum Error {
    /// The build found no clang.
    #[error(
        "this tidegate-agent was built without clang and has no BPF programs; install clang and build it again"
    )]
    NoPrograms,
    /// The programs were refused.
    #[error("the kernel takes no BPF programs of ours (it needs CAP_BPF and CAP_NET_ADMIN): {0}")]
    Load(#[from] aya::EbpfError),
    /// One program was refused.
    #[error("the kernel refused a BPF program: {0}")]
    Program(#[from] ProgramError),
    /// A map cannot be read or written.
    #[error("BPF map: {0}")]
    Map(#[from] MapError),
    /// The object lacks something: it is not of this version.
    #[error("the BPF object has no {0}")]
    Missing(&'static str),
}

/// How programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Attach {
    /// tcx where the kernel has it (6.6), clsact elsewhere
    #[default]
    Auto,
    /// Held by this process
    Tcx,
    /// By a qdisc; stays on the device when the agent is killed
    Clsact,
}

/// What is chosen when the programs are loaded.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// IP protocol number of ZSNP.
    pub protocol: u8,
    /// Most shortcuts.
    pub shortcuts_max: u32,
    /// How to attach.
    pub attach: Attach,
}

/// Which program a device gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// A tap or veth with a VM behind it.
    Vm,
    /// A VXLAN device.
    Vxlan,
}

impl Side {
    /// The name of its program, as `tc filter show` and `bpftool` have it.
    pub const fn program(self) -> &'static str {
        match self {
            Side::Vm => "vm_ingress",
            Side::Vxlan => "vxlan_ingress",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

/// A device with a program on it.
#[derive(Debug)]
struct Attached {
    side: Side,
    link: SchedClassifierLinkId,
    /// Whether the `clsact` qdisc below it is ours.
    qdisc: bool,
}

/// The programs and their maps. Dropping it detaches everything.
pub struct Programs {
    ebpf: Ebpf,
    clsact: bool,
    attached: BTreeMap<u32, Attached>,
    ports: HashMap<MapData, u32, [u8; 16]>,
    shortcuts: HashMap<MapData, [u8; 8], [u8; 40]>,
    counts: PerCpuArray<MapData, [u8; 16]>,
    vms: HashMap<MapData, [u8; 12], u8>,
    stats: PerCpuArray<MapData, [u8; 16]>,
    events: RingBuf<MapData>,
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Programs").field("clsact", &self.clsact).field("attached", &self.attached).finish()
    }
}

impl Programs {
    /// Loads the programs; nothing is attached.
    ///
    /// # Errors
    /// [`Error`].
    pub fn load(options: Options) -> Result<Programs, Error> {
        let object = OBJECT.ok_or(Error::NoPrograms)?;
        let protocol = u32::from(options.protocol);
        let mut ebpf = EbpfLoader::new()
            .override_global("zsnp_protocol", &protocol, true)
            .map_max_entries("shortcuts", options.shortcuts_max)
            .map_max_entries("counts", options.shortcuts_max)
            .load(object)?;
        for side in [Side::Vm, Side::Vxlan] {
            program(&mut ebpf, side)?.load()?;
        }
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(Error::Missing(name));
        Ok(Programs {
            clsact: match options.attach {
                Attach::Clsact => true,
                Attach::Tcx => false,
                Attach::Auto => KernelVersion::current().is_ok_and(|version| version < TCX_SINCE),
            },
            attached: BTreeMap::new(),
            ports: take("ports")?.try_into()?,
            shortcuts: take("shortcuts")?.try_into()?,
            counts: take("counts")?.try_into()?,
            vms: take("vms")?.try_into()?,
            stats: take("stats")?.try_into()?,
            events: take("events")?.try_into()?,
            ebpf,
        })
    }

    /// Whether programs outlive a killed agent on their devices.
    pub fn outlive(&self) -> bool {
        self.clsact
    }

    /// Puts a program on a device, or tells the one there what has changed.
    ///
    /// # Errors
    /// [`Error`]; the device is as it was.
    pub fn attach(&mut self, ifindex: u32, name: &str, side: Side, port: Port) -> Result<(), Error> {
        self.ports.insert(ifindex, port.bytes(), 0)?;
        if self.attached.get(&ifindex).is_some_and(|there| there.side == side) {
            return Ok(());
        }
        self.detach(ifindex)?;
        self.ports.insert(ifindex, port.bytes(), 0)?;
        // One that is there already serves as well.
        let qdisc = self.clsact && qdisc_add_clsact(name).is_ok();
        let options = if self.clsact {
            TcAttachOptions::Netlink(NlOptions::default())
        } else {
            TcAttachOptions::TcxOrder(LinkOrder::first())
        };
        let link =
            program(&mut self.ebpf, side)?.attach_with_options(name, TcAttachType::Ingress, options)?;
        self.attached.insert(ifindex, Attached { side, link, qdisc });
        Ok(())
    }

    /// Takes the program off a device, which may be gone. Returns whether a `clsact` qdisc of ours is left there.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn detach(&mut self, ifindex: u32) -> Result<bool, Error> {
        // Whatever was there is not there now: the kernel forgot it with the device.
        let _ = self.ports.remove(&ifindex);
        let Some(there) = self.attached.remove(&ifindex) else { return Ok(false) };
        let _ = program(&mut self.ebpf, there.side)?.detach(there.link);
        Ok(there.qdisc)
    }

    /// The devices that have a program.
    pub fn attached(&self) -> impl Iterator<Item = (u32, Side)> {
        self.attached.iter().map(|(ifindex, there)| (*ifindex, there.side))
    }

    /// Installs a shortcut or replaces the one of this pair.
    ///
    /// # Errors
    /// [`Error::Map`] when there is no room.
    pub fn install(&mut self, pair: Pair, rule: &Rule) -> Result<(), Error> {
        Ok(self.shortcuts.insert(pair.bytes(), rule.bytes(), 0)?)
    }

    /// Removes a shortcut, if there is one.
    pub fn remove(&mut self, pair: Pair) {
        let _ = self.shortcuts.remove(&pair.bytes());
    }

    /// What took the shortcut of this slot, ever.
    ///
    /// # Errors
    /// [`Error::Map`] for a slot past the end.
    pub fn count(&self, slot: u32) -> Result<Count, Error> {
        Ok(sum(&self.counts.get(&slot, 0)?))
    }

    /// Sets the counters of a slot to 0.
    ///
    /// # Errors
    /// See [`Programs::count`].
    pub fn clear(&mut self, slot: u32) -> Result<(), Error> {
        let cpus = aya::util::nr_cpus().map_err(|(_, io)| MapError::IoError(io))?;
        let zeros = aya::maps::PerCpuValues::try_from(vec![[0; 16]; cpus]).map_err(MapError::IoError)?;
        Ok(self.counts.set(slot, zeros, 0)?)
    }

    /// What the programs counted of themselves.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn stat(&self, stat: Stat) -> Result<Count, Error> {
        Ok(sum(&self.stats.get(&(stat as u32), 0)?))
    }

    /// A VM is on this host.
    ///
    /// # Errors
    /// [`Error::Map`] when there is no room.
    pub fn add_vm(&mut self, vni: Vni, mac: Mac) -> Result<(), Error> {
        Ok(self.vms.insert(vm_bytes(vni, mac), 1, 0)?)
    }

    /// A VM is no longer on this host.
    pub fn remove_vm(&mut self, vni: Vni, mac: Mac) {
        let _ = self.vms.remove(&vm_bytes(vni, mac));
    }

    /// The next frame that a program handed over.
    pub fn event(&mut self) -> Option<Event> {
        loop {
            let item = self.events.next()?;
            if let Some(event) = Event::parse(&item) {
                return Some(event);
            }
        }
    }

    /// Becomes readable when there is an event.
    pub fn events_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Runs a program on a frame as if it came from interface 1 (`lo`), without sending anything: what it decided, and the
    /// frame as it left it. For tests.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn run(&mut self, side: Side, frame: &[u8]) -> Result<(i32, Vec<u8>), Error> {
        let mut out = vec![0; frame.len() + 256];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let ran = program(&mut self.ebpf, side)?.test_run(options)?;
        let len = usize::try_from(ran.data_size_out).unwrap_or_default();
        out.truncate(len);
        Ok((i32::from_ne_bytes(ran.return_value.to_ne_bytes()), out))
    }

    /// What a run of a program on a frame that it leaves as it is takes: the mean of so many. For measurements.
    ///
    /// # Errors
    /// [`Error::Program`].
    pub fn cost(&mut self, side: Side, frame: &[u8], repeat: u32) -> Result<Duration, Error> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        Ok(program(&mut self.ebpf, side)?.test_run(options)?.duration)
    }

    /// The same without a program attached: has the program know `lo` as this port.
    ///
    /// # Errors
    /// [`Error::Map`].
    pub fn pretend(&mut self, port: Port) -> Result<(), Error> {
        Ok(self.ports.insert(1, port.bytes(), 0)?)
    }
}

/// Takes programs off a device that a killed agent left there. Returns whether there were any.
pub fn sweep(name: &str) -> bool {
    let detach = |side: Side| qdisc_detach_program(name, TcAttachType::Ingress, side.program()).is_ok();
    [Side::Vm, Side::Vxlan].map(detach).contains(&true)
}

fn program(ebpf: &mut Ebpf, side: Side) -> Result<&mut SchedClassifier, Error> {
    let program = ebpf.program_mut(side.program()).ok_or(Error::Missing(side.program()))?;
    Ok(program.try_into()?)
}

fn sum(cpus: &aya::maps::PerCpuValues<[u8; 16]>) -> Count {
    cpus.iter().fold(Count::default(), |sum, cpu| sum.add(Count::of(*cpu)))
}
