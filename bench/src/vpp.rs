//! A scenario for VPP: a directory with its frames, its configuration for either way in, and what adds up its counts. VPP is not in Debian 12, so
//! nobody here has run it.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::{
    capture,
    scenario::{self, Name, Parameters, Vpp},
    traffic::Traffic,
};

/// Where VPP listens for `vppctl`.
const CLI_SOCKET: &str = "/run/vpp/cli.sock";
const FRAMES: &str = "frames.pcap";
/// Adds up what `show runtime` prints.
const CYCLES: &str = include_str!("vpp/cycles.awk");

/// How frames come to VPP and leave it.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// VPP's packet generator replays the capture itself, in vectors of 256; what leaves is thrown away.
    Generator,
    /// From `dpdk-testpmd` by a memif, and to it by another one.
    Memif,
}

impl Way {
    const ALL: [Way; 2] = [Way::Generator, Way::Memif];

    const fn file(self) -> &'static str {
        match self {
            Way::Generator => "pg.cli",
            Way::Memif => "memif.cli",
        }
    }

    /// What VPP calls its interfaces.
    const fn interfaces(self) -> [&'static str; 2] {
        match self {
            Way::Generator => ["pg0", "pg1"],
            Way::Memif => ["memif1/0", "memif2/0"],
        }
    }

    /// All commands.
    fn commands(self, dir: &Path, made: &Vpp) -> String {
        let [arrive, leave] = self.interfaces();
        let mut text = String::new();
        let macs = [Some(made.macs.0), made.macs.1];
        for (n, (name, mac)) in (1..).zip([arrive, leave].into_iter().zip(macs)) {
            let Some(mac) = mac else { continue };
            let _ = match self {
                Way::Generator => writeln!(
                    text,
                    "create packet-generator interface {name}\nset interface mac address {name} {mac}"
                ),
                Way::Memif => writeln!(
                    text,
                    "create memif socket id {n} filename {}\n\
                     create interface memif id 0 socket-id {n} master ring-size 1024 hw-addr {mac}",
                    dir.join(format!("{n}.sock")).display()
                ),
            };
        }
        text += &made.lines(arrive, leave);
        if let Way::Generator = self {
            let frames = dir.join(FRAMES);
            let _ = writeln!(
                text,
                "packet-generator new {{ name scenario limit -1 interface {arrive} node ethernet-input worker 0 pcap {} }}\n\
                 packet-generator enable-stream scenario",
                frames.display()
            );
        }
        text
    }
}

/// Writes the directory, which is made where it is missing. Returns how many frames it holds.
///
/// # Errors
/// Nothing is written for VPP of this scenario, or a file cannot be written.
pub fn write(dir: &Path, name: Name, parameters: &Parameters) -> Result<usize> {
    let made = match scenario::vpp(name, parameters) {
        Ok(made) => made,
        Err(why) => bail!("{name}: not with VPP, {why}"),
    };
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let dir = dir.canonicalize().with_context(|| dir.display().to_string())?;
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())
    };
    for way in Way::ALL {
        file(way.file(), &way.commands(&dir, &made))?;
    }
    file("startup.conf", &startup(&dir))?;
    file("cycles.awk", CYCLES)?;
    file("README", &readme(name, &dir, made.macs.1.is_some()))?;
    capture::write(&dir.join(FRAMES), &Traffic::new(&*name.with(parameters))?)
}

/// One worker on CPU 1, and no network cards.
fn startup(dir: &Path) -> String {
    format!(
        "unix {{ nodaemon cli-listen {CLI_SOCKET} exec {} }}\n\
         cpu {{ main-core 0 corelist-workers 1 }}\n\
         buffers {{ buffers-per-numa 262144 }}\n\
         plugins {{ plugin dpdk_plugin.so {{ disable }} }}\n",
        dir.join(Way::Generator.file()).display()
    )
}

fn readme(name: Name, dir: &Path, leaves_elsewhere: bool) -> String {
    let client = |n| {
        let socket = dir.join(format!("{n}.sock"));
        format!(
            "--vdev=net_memif{n},role=client,id=0,socket={},socket-abstract=no,rsize=10",
            socket.display()
        )
    };
    // By pairs: the capture feeds the first memif; what comes out of the second one goes nowhere.
    let back =
        if leaves_elsewhere { format!(" {} --vdev=net_null0,no-rx=1", client(2)) } else { String::new() };
    let feed =
        format!("--vdev=net_pcap0,rx_pcap={},infinite_rx=1 {}{back}", dir.join(FRAMES).display(), client(1));
    format!(
        "{name} with VPP, which was not run where this was written. The commands are those of VPP 22.06 to 25.10.

From VPP's packet generator, in vectors of 256:

    vpp -c {0}/startup.conf
    vppctl -s {CLI_SOCKET} clear runtime; sleep 5
    vppctl -s {CLI_SOCKET} show runtime | awk -f {0}/cycles.awk

From dpdk-testpmd by memif: give startup.conf {0}/memif.cli to execute, start VPP, then

    dpdk-testpmd -l 0,2 -m 1024 --no-pci --no-huge {feed} \\
        -- --forward-mode=io --port-topology=paired --total-num-mbufs=262144 --no-flush-rx

and count as above. What cycles.awk adds up is to be compared with our work: the nodes between that which brings packets and that which takes
them away, per packet. `show errors`, `show interface` and, with translation, `show nat44 summary` tell whether all packets took that way: the
interface where they leave must have sent as many as have come.
",
        dir.display()
    )
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_directory_has_everything_and_names_its_own_files() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("vxlan-snat");
        let some = Parameters { flows: 50, ..Parameters::default() };
        assert_eq!(write(&to, Name::VxlanSnat, &some).unwrap(), 50);
        let read = |name: &str| fs::read_to_string(to.join(name)).unwrap();
        let generator = read("pg.cli");
        assert!(generator.contains("mac address pg0 02:00:00:00:00:01\n"), "{generator}");
        assert!(generator.ends_with("enable-stream scenario\n"), "{generator}");
        let memif = read("memif.cli");
        assert!(memif.contains("hw-addr 02:00:00:00:00:02\n") && !memif.contains("pg0"), "{memif}");
        for (file, names) in [("startup.conf", "pg.cli"), ("pg.cli", FRAMES), ("README", "cycles.awk")] {
            let path = to.canonicalize().unwrap().join(names);
            assert!(read(file).contains(path.to_str().unwrap()), "{file} does not name {names}");
        }
        // VPP takes no other format.
        assert_eq!(fs::read(to.join(FRAMES)).unwrap()[..4], 0xa1b2_c3d4_u32.to_ne_bytes());
        assert!(write(&to, Name::LbInFullNat, &some).unwrap_err().to_string().contains("two translations"));
    }

    #[test]
    fn cycles_are_those_between_input_and_output() {
        let told = "\
Thread 1 vpp_wk_0 (lcore 1)
Time 5.0, 10 sec internal node vector rate 256.00 loops/sec 35264.10
  vector rates in 9.0271e6, out 9.0271e6, drop 0.0000e0, punt 0.0000e0
             Name                 State         Calls          Vectors        Suspends         Clocks       Vectors/Call
ethernet-input                   active               1000          256000               0          2.00e1          256.00
ip4-lookup                       active               2000          512000               0          1.50e1          256.00
nat44-ed-slow                    active                 10             256               0          1.00e3           25.60
pg-input                        polling               1000          256000               0          9.00e1          256.00
pg1-output                       active               1000          256000               0          7.00e0          256.00
pg1-tx                           active               1000          256000               0          3.00e1          256.00
unix-epoll-input                polling                  5               0               0          8.00e3            0.00
";
        let mut awk =
            Command::new("awk").arg(CYCLES).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut awk.stdin.take().unwrap(), told.as_bytes()).unwrap();
        let sum = String::from_utf8(awk.wait_with_output().unwrap().stdout).unwrap();
        // 20 + 2 · 15 + 1000 / 1000 + 7.
        assert!(sum.contains("58.0 cycles per packet, 256000 packets, 256.0 per vector"), "{sum}");
    }
}
