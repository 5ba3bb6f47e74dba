//! The files of goldens; `tests/tests/golden.rs` plays them in process, the lab against the gateway binary.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use etherparse::{Ethernet2Header, Icmpv4Header, IpNumber, Ipv4Header, SingleVlanHeader};
use serde_json::Value;
use tidegate_fastpath::{
    io::pcap::{self, Frame},
    types::PortId,
};

use crate::packet::frame;

/// Time between two packets that `send.txt` does not say otherwise for.
const STEP: Duration = Duration::from_millis(10);

/// When a golden begins.
const START: Duration = Duration::from_secs(1);

/// One folder of `tests/golden`.
#[derive(Debug)]
pub struct Golden {
    dir: PathBuf,
    config: String,
    ports: Vec<String>,
}

/// All of them, by name.
///
/// # Panics
/// When the folder cannot be read.
pub fn all() -> Vec<Golden> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let entries = fs::read_dir(&top).expect("tests/golden is there").flatten();
    let mut dirs: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    dirs.sort();
    dirs.into_iter().map(Golden::new).collect()
}

impl Golden {
    fn new(dir: PathBuf) -> Golden {
        let own = dir.join("gateway.yaml");
        let shared = dir.with_file_name("gateway.yaml");
        let config = fs::read_to_string(if own.exists() { own } else { shared }).expect("a gateway.yaml");
        let document: Value = serde_saphyr::from_str(&config).expect("gateway.yaml is YAML");
        let ports = document["gateway"]["ports"].as_array().into_iter().flatten();
        let ports = ports.filter_map(|port| port["id"].as_str().map(str::to_owned)).collect();
        Golden { dir, config, ports }
    }

    /// The sentence.
    pub fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A file of it.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// Its configuration.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// The ids of the ports of its configuration.
    pub fn ports(&self) -> &[String] {
        &self.ports
    }

    /// The number of a port.
    ///
    /// # Panics
    /// When the configuration has no such port.
    pub fn port(&self, id: &str) -> PortId {
        let place = self.ports.iter().position(|port| port == id);
        PortId(place.unwrap_or_else(|| panic!("{}: no port {id}", self.name())) as u16)
    }

    /// What `send.txt` says: by port, frames with their times. A line is `port: packet`; `wait 500` lets so many
    /// milliseconds pass; `#` begins a comment.
    ///
    /// # Panics
    /// With the line that cannot be read.
    pub fn written(&self) -> BTreeMap<String, Vec<Frame>> {
        let text = fs::read_to_string(self.path("send.txt")).expect("a send.txt");
        let (mut at, mut frames) = (START, BTreeMap::<String, Vec<Frame>>::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(ms) = line.strip_prefix("wait ") {
                at += Duration::from_millis(ms.parse().unwrap_or_else(|why| panic!("{line}: {why}")));
                continue;
            }
            let (port, packet) = line.split_once(": ").unwrap_or_else(|| panic!("{line}: no port"));
            let bytes = frame(packet).unwrap_or_else(|why| panic!("{}: {why:#}", self.name()));
            frames.entry(port.to_owned()).or_default().push(Frame { at, bytes });
            at += STEP;
        }
        frames
    }

    /// What the ports receive, in the order of its time.
    ///
    /// # Panics
    /// When a capture cannot be read.
    pub fn received(&self) -> Vec<(String, Frame)> {
        let mut all: Vec<_> = self.captures("send").into_iter().collect();
        let mut frames: Vec<_> =
            all.iter_mut().flat_map(|(port, frames)| frames.drain(..).map(|f| (port.clone(), f))).collect();
        frames.sort_by_key(|(_, frame)| frame.at);
        frames
    }

    /// What the ports must send.
    ///
    /// # Panics
    /// When a capture cannot be read.
    pub fn expected(&self) -> BTreeMap<String, Vec<Frame>> {
        self.captures("expect")
    }

    fn captures(&self, kind: &str) -> BTreeMap<String, Vec<Frame>> {
        let paths = self.ports.iter().map(|port| (port.clone(), self.path(&format!("{kind}.{port}.pcap"))));
        let there = paths.filter(|(_, path)| path.exists());
        there.map(|(port, path)| (port, pcap::frames(&path).unwrap_or_else(|why| panic!("{why}")))).collect()
    }
}

/// The frame with what may differ from run to run set to a fixed value: the VXLAN source port, which is a hash with a
/// random key, and the IP identification of ICMP errors, which each worker counts by itself.
pub fn normal(mut frame: Vec<u8>) -> Vec<u8> {
    normalise(&mut frame);
    frame
}

fn normalise(frame: &mut [u8]) -> Option<()> {
    let (ethernet, mut rest) = Ethernet2Header::from_slice(frame).ok()?;
    let mut ether_type = ethernet.ether_type;
    if ether_type.0 == 0x8100 {
        let (tag, inner) = SingleVlanHeader::from_slice(rest).ok()?;
        (ether_type, rest) = (tag.ether_type, inner);
    }
    let at = frame.len() - rest.len();
    let (mut ip, body) = Ipv4Header::from_slice(rest).ok().filter(|_| ether_type.0 == 0x0800)?;
    let body_at = frame.len() - body.len();
    let vxlan = ip.protocol == IpNumber::UDP && matches!(body.get(2..4), Some([0x21, 0x18] | [0x12, 0xb5]));
    if vxlan {
        frame[body_at..body_at + 2].copy_from_slice(&49152u16.to_be_bytes());
        return normalise(frame.get_mut(body_at + 16..)?);
    }
    if ip.protocol == IpNumber::ICMP
        && Icmpv4Header::from_slice(body).is_ok_and(|_| matches!(body[0], 3 | 11))
    {
        ip.identification = 0;
        ip.header_checksum = ip.calc_header_checksum();
        frame[at..body_at].copy_from_slice(&ip.to_bytes());
    }
    Some(())
}
