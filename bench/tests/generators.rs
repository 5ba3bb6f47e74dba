//! The profiles for other generators ([`bench/generators`](../generators)), as far as they can be run without these: a stand-in for
//! TRex records the streams that its profile makes, which must be the frames of the scenario in their order; others of TRex with TCP and of Pktgen have
//! the functions and arguments that their sources publish, and no others.

#![expect(clippy::unwrap_used, reason = "a test that cannot write its files has failed")]

use std::{fs, net::Ipv4Addr, path::PathBuf, process::Command};

use tempfile::TempDir;
use tidegate_bench::{
    capture,
    scenario::{Name, Parameters},
    traffic::Traffic,
};

/// What the profile takes of TRex.
const STAND_IN: &str = "
class STLPktBuilder:
    def __init__(self, pkt_buffer): self.bytes = pkt_buffer
class STLTXSingleBurst:
    def __init__(self, pps, total_pkts): self.pps, self.packets = pps, total_pkts
class STLStream:
    def __init__(self, name, next, self_start, packet, mode):
        self.name, self.next, self.first, self.packet, self.mode = name, next, self_start, packet, mode
";
/// Follows the streams from the first one on, once around; prints the frames.
const FOLLOW: &str = "
import sys
import trex_stl
streams = {stream.name: stream for stream in trex_stl.register().get_streams(0, ['--pcap', sys.argv[1]])}
[at] = [stream for stream in streams.values() if stream.first]
for _ in streams:
    print(at.packet.bytes.hex())
    at = streams[at.next]
assert at.first
";

fn generators() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("generators")
}

fn python(arguments: &[&str], path: &[PathBuf]) -> String {
    let path = std::env::join_paths(path).unwrap();
    let output = Command::new("python3")
        .env("PYTHONPATH", path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(arguments)
        .output()
        .expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn trex_sends_the_frames_of_a_scenario_in_their_order() {
    let dir = TempDir::new().unwrap();
    let package = dir.path().join("trex_stl_lib");
    fs::create_dir(&package).unwrap();
    fs::write(package.join("__init__.py"), "").unwrap();
    fs::write(package.join("api.py"), STAND_IN).unwrap();
    for name in [Name::Ip4, Name::VxlanSnat] {
        let path = dir.path().join(format!("{name}.pcap"));
        let scenario = name.with(&Parameters { flows: 50, ..Parameters::default() });
        let traffic = Traffic::new(&*scenario).unwrap();
        capture::write(&path, &traffic).unwrap();
        let sent = python(&["-c", FOLLOW, path.to_str().unwrap()], &[dir.path().to_owned(), generators()]);
        let hex =
            |at| traffic.frame(traffic.at(at)).to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
        let wanted: Vec<String> = (0..traffic.turn()).map(hex).collect();
        assert_eq!(sent.lines().collect::<Vec<_>>(), wanted, "{name}");
    }
}

/// What the profile takes of TRex with TCP, with the arguments that it has there.
const ASTF_STAND_IN: &str = "
class ASTFProgram:
    def __init__(self, file=None, side='c', commands=None, stream=True): self.does = []
    def send(self, buf): self.does.append(('send', len(buf)))
    def recv(self, bytes, clear=False): self.does.append(('recv', bytes))
class ASTFIPGenDist:
    def __init__(self, ip_range, distribution='seq', per_core_distribution=None): self.ip_range = ip_range
class ASTFIPGenGlobal:
    def __init__(self, ip_offset='1.0.0.0'): self.ip_offset = ip_offset
class ASTFIPGen:
    def __init__(self, glob=None, dist_client=None, dist_server=None): self.client, self.server = dist_client, dist_server
class ASTFAssociationRule:
    def __init__(self, ip_start=None, ip_end=None, port=80, l7_map=None): self.port = port
class ASTFTCPClientTemplate:
    def __init__(self, ip_gen, cluster=None, program=None, port=80, cps=1, glob_info=None, limit=None, cont=None):
        self.program, self.ip_gen, self.port = program, ip_gen, port
class ASTFTCPServerTemplate:
    def __init__(self, assoc=None, program=None, glob_info=None): self.program, self.assoc = program, assoc
class ASTFTemplate:
    def __init__(self, client_template=None, server_template=None, tg_name=None):
        self.client, self.server = client_template, server_template
class ASTFProfile:
    def __init__(self, default_ip_gen, default_c_glob_info=None, default_s_glob_info=None, templates=None, cap_list=None):
        self.template = templates
";
/// Both ends of a connection, which must send what the other one waits for.
const ENDS: &str = "
import trex_astf
template = trex_astf.register().get_profile([], direction=0, port_id=0).template
client, server = template.client.program.does, template.server.program.does
other = {'send': 'recv', 'recv': 'send'}
assert [(other[does], bytes) for does, bytes in client] == server, (client, server)
assert template.client.port == template.server.assoc.port
print(*template.client.ip_gen.client.ip_range)
";

#[test]
fn trex_with_tcp_has_two_ends_that_understand_each_other() {
    let dir = TempDir::new().unwrap();
    let package = dir.path().join("trex").join("astf");
    fs::create_dir_all(&package).unwrap();
    for init in [package.join("__init__.py"), package.join("../__init__.py")] {
        fs::write(init, "").unwrap();
    }
    fs::write(package.join("api.py"), ASTF_STAND_IN).unwrap();
    let vms = python(&["-c", ENDS], &[dir.path().to_owned(), generators()]);
    assert_eq!(vms, "10.1.0.1 10.1.0.250\n", "the VMs of the scenario");
}

/// What the script takes of Pktgen-DPDK: a card that sends 30 million frames, of which all but 7 come back on the other port.
const PKTGEN_STAND_IN: &str = "
function printf(...) io.write(string.format(...)) end
local sending = false
local port = { [0] = { opackets = 30000000, ipackets = 0 }, [1] = { opackets = 0, ipackets = 29999993 } }
local rate = { [0] = { pkts_tx = 1000000, pkts_rx = 0 }, [1] = { pkts_tx = 0, pkts_rx = 999999 } }
pktgen = {
    set = function(ports, what, value) assert(ports == '0' and what == 'rate' and value == 100) end,
    pcap = function(ports, on) assert(ports == '0' and on == 'on') end,
    clear = function(ports) assert(ports == 'all' and not sending) end,
    start = function(ports) assert(ports == '0'); sending = true end,
    stop = function(ports) assert(ports == '0'); sending = false end,
    delay = function(ms) assert(ms >= 1000) end,
    portStats = function(ports, kind)
        assert(ports == 'all')
        if kind == 'rate' then assert(sending); return rate end
        assert(kind == 'port' and not sending)
        return port
    end,
    quit = function() end,
}
";

#[test]
fn pktgen_tells_what_was_sent_and_lost() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("Pktgen.lua"), PKTGEN_STAND_IN).unwrap();
    let script = generators().join("pktgen.lua");
    let output = Command::new("lua5.4")
        .current_dir(dir.path())
        .arg(&script)
        .output()
        .expect("lua5.4; `make deps` installs it");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for wanted in ["sent      30000000 frames, 1.000 Mpps", "received  29999993 frames", "lost      7 frames"]
    {
        assert!(told.contains(wanted), "{told}");
    }
}

#[test]
fn the_pktgen_of_the_kernel_is_told_what_a_scenario_sends() {
    let dir = TempDir::new().unwrap();
    let told = |scenario: &str| {
        let control = dir.path().join(scenario);
        fs::create_dir(&control).unwrap();
        let mut script = Command::new(generators().join("linux_pktgen.sh"));
        let status = script.args([scenario, "eth9", "1000"]).env("PKTGEN", &control).status().unwrap();
        assert!(status.success(), "{scenario}");
        assert_eq!(
            fs::read_to_string(control.join("kpktgend_0")).unwrap(),
            "rem_device_all\nadd_device eth9\n"
        );
        assert_eq!(fs::read_to_string(control.join("pgctrl")).unwrap(), "start\n");
        fs::read_to_string(control.join("eth9")).unwrap()
    };
    for name in [Name::Ip4, Name::Session, Name::PfIn, Name::LbIn] {
        let (orders, scenario) = (told(name.as_str()), name.with(&Parameters::default()));
        let frame = scenario.arriving(0, 64);
        let mac: Vec<String> = frame[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(orders.contains(&format!("dst_mac {}\n", mac.join(":"))), "{name}: {orders}");
        assert!(orders.contains(&format!("pkt_size {}\n", frame.len())), "{name}: {orders}");
        let limit = |of: &str| -> u32 {
            let line = orders.lines().find_map(|line| line.strip_prefix(of)).unwrap().trim();
            line.parse::<Ipv4Addr>().map_or_else(|_| line.parse().unwrap(), u32::from)
        };
        for (field, value) in [
            ("src", u32::from_be_bytes(frame[26..30].try_into().unwrap())),
            ("dst", u32::from_be_bytes(frame[30..34].try_into().unwrap())),
            ("udp_dst", u32::from(u16::from_be_bytes([frame[36], frame[37]]))),
        ] {
            let range = limit(&format!("{field}_min"))..=limit(&format!("{field}_max"));
            assert!(range.contains(&value), "{name}: {field} {value} of {range:?}");
        }
    }
}

/// None of these programs reads times in nanoseconds, or the other order of bytes everywhere.
#[test]
fn a_capture_is_of_the_kind_that_all_of_them_read() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("frames.pcap");
    let scenario = Name::Ip4.with(&Parameters { flows: 3, ..Parameters::default() });
    capture::write(&path, &Traffic::new(&*scenario).unwrap()).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes[..4], 0xa1b2_c3d4_u32.to_ne_bytes(), "microseconds");
    assert_eq!(bytes[20..24], 1u32.to_ne_bytes(), "Ethernet");
}

#[test]
fn every_profile_is_right_python() {
    for file in fs::read_dir(generators()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "py") {
            python(
                &["-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())", path.to_str().unwrap()],
                &[],
            );
        }
    }
}
