//! The profiles for other generators ([`bench/generators`](../generators)), as far as they can be run without these: a stand-in for
//! TRex records the streams that its profile makes, which must be the frames of the scenario in their order.

#![expect(clippy::unwrap_used, reason = "a test that cannot write its files has failed")]

use std::{fs, path::PathBuf, process::Command};

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
