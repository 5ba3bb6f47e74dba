//! The processes of one OVS, with everything they have in a directory and a network namespace of their own: the service of the
//! machine, if it runs, is not touched. They end with the bench, whatever ends it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use dpdk_sys::eal::free_hugepages_mib;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::figures::Figures;
use crate::{interrupt::Process, scenario::Ovs as Configuration};

/// Where Debian has the one with DPDK, and the form of its database.
const PROGRAM: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// Seconds that it may take for an order.
const PATIENCE: &str = "30";
/// Frames of a capture for which the mbufs are enough that OVS gives to a port of its own: 16,384 beside those of its queues.
const FEW_FRAMES: usize = 16_384;
/// MiB of memory for such pools, in hugepages where so much is free.
pub const MEMORY_MIB: u32 = 256;
/// MiB for the one pool of 262,144 mbufs that all ports share otherwise.
const SHARED_MIB: u32 = 1024;
/// Source ports of our own tunnels (RFC 7348 §5).
const ENTROPY: [&str; 2] = ["49152", "65535"];

/// Whether it is installed.
pub fn is_there() -> bool {
    [PROGRAM, SCHEMA].iter().all(|path| Path::new(path).exists())
}

/// A running OVS.
#[derive(Debug)]
pub(super) struct Switch {
    daemon: Process,
    _database: Process,
    dir: PathBuf,
    /// The bridge of each port.
    bridges: [(&'static str, &'static str); 2],
    hugepages: bool,
}

impl Switch {
    /// Without bridges; with mbufs for a capture of so many frames.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start(dir: &Path, (others, worker): (usize, usize), frames: usize) -> Result<Switch> {
        let dir = dir.to_owned();
        run(Command::new("ovsdb-tool").arg("create").arg(dir.join("conf.db")).arg(SCHEMA), "")?;
        let database = Process::start(
            daemon("ovsdb-server", &dir, "db", &[])
                .arg(dir.join("conf.db"))
                .arg(format!("--remote=punix:{}", dir.join("db.sock").display())),
        )?;
        let few = frames <= FEW_FRAMES;
        let memory_mib = if few { MEMORY_MIB } else { SHARED_MIB };
        let hugepages = free_hugepages_mib() > memory_mib;
        let memory = match hugepages {
            true => format!("--in-memory --socket-mem={memory_mib} --socket-limit={memory_mib}"),
            // `--legacy-mem` says no more than the other does; without it OVS adds what does not go with that.
            false => format!("--no-huge --legacy-mem --no-shconf -m {memory_mib}"),
        };
        let settings = [
            "other_config:dpdk-init=true".to_owned(),
            format!("other_config:dpdk-extra=\"--no-pci --no-telemetry {memory}\""),
            format!("other_config:pmd-cpu-mask={:x}", 1u128 << worker),
            format!("other_config:dpdk-lcore-mask={:x}", 1u128 << others),
            format!("other_config:per-port-memory={few}"),
            // Between rounds it stands still for longer than a flow is usually kept.
            "other_config:max-idle=3600000".to_owned(),
        ];
        let mut arguments = vec!["--no-wait", "init", "--", "set", "Open_vSwitch", "."];
        arguments.extend(settings.iter().map(String::as_str));
        vsctl(&dir, &arguments)?;
        let database_at = format!("unix:{}", dir.join("db.sock").display());
        let mut program = daemon(PROGRAM, &dir, "vs", &["unshare", "--net", "--"]);
        let daemon = Process::start(program.arg(database_at))?;
        let bridges = [("in", "int"), ("out", "int")];
        let switch = Switch { daemon, _database: database, dir, bridges, hugepages };
        let begun = vsctl(&switch.dir, &["wait-until", "Open_vSwitch", ".", "dpdk_initialized=true"]);
        begun.with_context(|| switch.complaint())?;
        Ok(switch)
    }

    /// Whether its mbufs are in hugepages.
    pub(super) const fn hugepages(&self) -> bool {
        self.hugepages
    }

    /// What it logged as an error.
    fn complaint(&self) -> String {
        let log = fs::read_to_string(self.dir.join("vs.log")).unwrap_or_default();
        let is_error = |line: &&str| line.contains("|ERR|") || line.contains("|EMER|");
        let errors: Vec<&str> = log.lines().filter(is_error).collect();
        let state = if self.daemon.is_running() { "runs" } else { "ended" };
        format!("ovs-vswitchd {state}; its log: {}", errors.join("; "))
    }

    /// Bridges with the flows of a scenario, without the ports of the wire.
    ///
    /// # Errors
    /// Something that it does not take.
    pub(super) fn configure(&mut self, configuration: &Configuration) -> Result<()> {
        let bridge = |of_underlay| if of_underlay { "phy" } else { "int" };
        self.bridges = [("in", bridge(configuration.from_tunnel)), ("out", bridge(configuration.to_tunnel))];
        self.vsctl("add-br int -- set bridge int datapath_type=netdev fail_mode=secure")?;
        if configuration.from_tunnel || configuration.to_tunnel {
            self.underlay(configuration)?;
        }
        configuration.meters.lines().try_for_each(|meter| self.ofctl("add-meter", "int", meter, ""))?;
        self.flows("int", &configuration.flows)
    }

    fn underlay(&self, configuration: &Configuration) -> Result<()> {
        let (address, length) = Configuration::UNDERLAY;
        let mac = Configuration::UNDERLAY_MAC;
        self.vsctl(&format!(
            "add-br phy -- set bridge phy datapath_type=netdev fail_mode=secure other_config:hwaddr={mac} -- \
             add-port int vx -- set Interface vx type=vxlan options:remote_ip=flow options:key=flow \
             options:local_ip={address} options:dst_port=4789 ofport_request=3"
        ))?;
        // What the kernel sends by itself from the bridge's own port is no UDP over IPv4.
        self.flows("phy", "in_port=1,actions=LOCAL\nin_port=LOCAL,udp,actions=output:2\n")?;
        let namespace = format!("--net=/proc/{}/ns/net", self.daemon.id());
        let address = format!("address add {address}/{length} dev phy\nlink set dev phy up\n");
        run(Command::new("nsenter").args([&namespace, "ip", "-batch", "-"]), &address)?;
        self.appctl(&["tnl/egress_port_range", ENTROPY[0], ENTROPY[1]])?;
        for (host, mac) in &configuration.neighbours {
            self.appctl(&["tnl/arp/set", "phy", &host.to_string(), &mac.to_string()])?;
        }
        Ok(())
    }

    /// Gives `in` or `out` a device.
    ///
    /// # Errors
    /// DPDK does not take it.
    pub(super) fn attach(&self, port: &str, device: &str) -> Result<()> {
        let number = if port == "in" { 1 } else { 2 };
        let bridge = self.bridges.iter().find(|(name, _)| *name == port).map_or("int", |(_, bridge)| bridge);
        self.vsctl(&format!(
            "add-port {bridge} {port} -- set Interface {port} type=dpdk options:dpdk-devargs={device} \
             ofport_request={number}"
        ))
        .with_context(|| self.complaint())
    }

    /// Takes it away, with its device.
    ///
    /// # Errors
    /// OVS does not answer.
    pub(super) fn detach(&self, port: &str) -> Result<()> {
        self.vsctl(&format!("del-port {port}"))
    }

    /// Sets the counters to 0.
    ///
    /// # Errors
    /// OVS does not answer.
    pub(super) fn clear(&self) -> Result<()> {
        self.appctl(&["dpif-netdev/pmd-stats-clear"]).map(drop)
    }

    /// The counters.
    ///
    /// # Errors
    /// OVS does not answer.
    pub(super) fn figures(&self) -> Result<Figures> {
        Figures::read(&self.appctl(&["dpif-netdev/pmd-perf-show", "-nh"])?)
    }

    /// Lets all its threads stand still.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn stop(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn go(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.daemon.id()).context("a process id")?);
        kill(pid, signal).with_context(|| self.complaint())
    }

    fn vsctl(&self, words: &str) -> Result<()> {
        vsctl(&self.dir, &words.split(' ').collect::<Vec<_>>())
    }

    fn appctl(&self, arguments: &[&str]) -> Result<String> {
        let control = self.dir.join("vs.ctl");
        run(Command::new("ovs-appctl").args(["-T", PATIENCE, "-t"]).arg(control).args(arguments), "")
    }

    fn flows(&self, bridge: &str, flows: &str) -> Result<()> {
        self.ofctl("add-flows", bridge, "-", flows)
    }

    fn ofctl(&self, order: &str, bridge: &str, what: &str, input: &str) -> Result<()> {
        let to = format!("unix:{}", self.dir.join(format!("{bridge}.mgmt")).display());
        let mut command = Command::new("ovs-ofctl");
        run(command.args(["-t", PATIENCE, "-O", "OpenFlow13", order, &to, what]), input).map(drop)
    }
}

/// A daemon with its files in `dir`, by way of `through`; the kernel kills it when the bench is gone.
fn daemon(program: &str, dir: &Path, name: &str, through: &[&str]) -> Command {
    let file = |end: &str| dir.join(format!("{name}.{end}")).display().to_string();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(through).arg(program).arg("--no-chdir");
    command.arg(format!("--pidfile={}", file("pid"))).arg(format!("--unixctl={}", file("ctl")));
    command.arg(format!("--log-file={}", file("log")));
    ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"].iter().for_each(|variable| {
        command.env(variable, dir);
    });
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn vsctl(dir: &Path, arguments: &[&str]) -> Result<()> {
    let database = format!("--db=unix:{}", dir.join("db.sock").display());
    let mut command = Command::new("ovs-vsctl");
    // It begins to serve some time after it was started.
    command.args([&database, "--retry", &format!("--timeout={PATIENCE}")]).args(arguments);
    run(&mut command, "").map(drop)
}

/// Runs a program with this input; returns what it prints. What it says to standard error is an error.
fn run(command: &mut Command, input: &str) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| name.clone())?;
    // A program that ends early says why.
    let _ = child.stdin.take().context("its input is a pipe")?.write_all(input.as_bytes());
    let output = child.wait_with_output().with_context(|| name.clone())?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && !complaint.contains("Error"), "{name}: {}", complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
