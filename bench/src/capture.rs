//! Traffic from a capture file, and into one: so that others can be given the same packets, and we theirs.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufWriter, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_file::pcap::{PcapPacket, PcapWriter};
use tidegate_fastpath::io::pcap;

use crate::traffic::Traffic;

/// Destination port of VXLAN (RFC 7348 §5).
const VXLAN_PORT: u16 = 4789;
/// Bytes of its header.
const VXLAN_LEN: usize = 8;
/// Between two frames of a capture that is written: 10 million per second.
const FRAME_GAP: Duration = Duration::from_nanos(100);

/// Frames of a capture.
#[derive(Clone, Debug)]
pub struct Capture {
    /// They, in the order of the file.
    pub traffic: Traffic,
    /// Different flows among them: addresses, protocol and ports, of the inner packet in a VXLAN tunnel. All that is no IP is
    /// one flow.
    pub flows: u32,
    /// Mean length of a frame, FCS added.
    pub frame_bytes: usize,
}

impl Capture {
    /// Reads a capture.
    ///
    /// # Errors
    /// The file cannot be read, is no classic pcap file of Ethernet frames, has a frame that no port takes, or none at all.
    pub fn read(path: &Path) -> Result<Capture> {
        let frames = pcap::frames(path)?;
        ensure!(!frames.is_empty(), "{}: there is no frame in it", path.display());
        let mut flows: HashMap<Option<Flow>, u32> = HashMap::new();
        let mut number = |bytes: &[u8]| {
            let next = flows.len() as u32;
            *flows.entry(flow_of(bytes)).or_insert(next)
        };
        let numbers: Vec<u32> = frames.iter().map(|frame| number(&frame.bytes)).collect();
        let sum: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        Ok(Capture {
            traffic: Traffic::of_frames(
                frames.iter().zip(numbers).map(|(frame, flow)| (&frame.bytes[..], flow)),
            ),
            flows: flows.len() as u32,
            frame_bytes: sum / frames.len() + FCS_LEN,
        })
    }
}

/// Bytes of FCS, which captures leave out.
const FCS_LEN: usize = 4;

/// Writes one turn of the traffic, with microseconds: VPP and TRex take no nanoseconds. Returns how many frames that is.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, traffic: &Traffic) -> Result<usize> {
    write_first(path, traffic, usize::MAX)
}

/// The same, at most the first `most` frames.
///
/// # Errors
/// The file cannot be written.
pub fn write_first(path: &Path, traffic: &Traffic, most: usize) -> Result<usize> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    let mut file = PcapWriter::new(BufWriter::new(file)).context("the capture")?;
    let frames = traffic.turn().min(most);
    for n in 0..frames {
        let bytes = traffic.frame(traffic.at(n)).to_vec();
        let packet = PcapPacket::new(FRAME_GAP * n as u32, bytes.len() as u32, &bytes);
        file.write_packet(&packet).context("the capture")?;
    }
    file.into_writer().flush().context("the capture")?;
    Ok(frames)
}

/// What tells flows apart: VNI (0 outside of a tunnel), addresses, protocol, ports.
type Flow = (u32, IpAddr, IpAddr, u8, u16, u16);

/// The flow of a frame; `None` for what is no IP.
fn flow_of(frame: &[u8]) -> Option<Flow> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    if let Some(TransportSlice::Udp(udp)) = &packet.transport
        && udp.destination_port() == VXLAN_PORT
        && let Some((header, inner)) = udp.payload().split_first_chunk::<VXLAN_LEN>()
        && let Ok(packet) = SlicedPacket::from_ethernet(inner)
    {
        return flow(u32::from_be_bytes([0, header[4], header[5], header[6]]), &packet);
    }
    flow(0, &packet)
}

fn flow(vni: u32, packet: &SlicedPacket<'_>) -> Option<Flow> {
    let (source, destination, protocol) = match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            let ends =
                [ip.header().source(), ip.header().destination()].map(|ip| IpAddr::V4(Ipv4Addr::from(ip)));
            (ends[0], ends[1], ip.header().protocol().0)
        }
        NetSlice::Ipv6(ip) => {
            let ends =
                [ip.header().source(), ip.header().destination()].map(|ip| IpAddr::V6(Ipv6Addr::from(ip)));
            (ends[0], ends[1], ip.header().next_header().0)
        }
        NetSlice::Arp(_) => return None,
    };
    let (from, to) = match &packet.transport {
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        _ => (0, 0),
    };
    Some((vni, source, destination, protocol, from, to))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use tempfile::TempDir;

    use super::*;
    use crate::{
        measurement::{Length, Outcome, measure},
        pool::MemPool,
        replay::Replay,
        scenario::{Name, Parameters},
    };

    fn parameters(flows: u32) -> Parameters {
        Parameters { flows, ..Parameters::default() }
    }

    /// What a scenario makes of a capture.
    fn replayed(name: Name, capture: &Capture) -> Outcome {
        let scenario = name.with(&parameters(capture.flows));
        let replay = Replay::of_capture(scenario, capture, MemPool::default(), 32).unwrap();
        let rows = measure(&mut [Box::new(replay)], 1, Length::Packets(64)).unwrap();
        assert_eq!((rows[0].label.flows, rows[0].label.frames.as_str()), (capture.flows, "pcap"));
        rows.into_iter().next().unwrap().outcome
    }

    #[test]
    fn what_a_scenario_writes_it_forwards_when_replayed() {
        let dir = TempDir::new().unwrap();
        for name in Name::ALL {
            let path = dir.path().join(format!("{name}.pcap"));
            let scenario = name.with(&parameters(50));
            assert_eq!(write(&path, &Traffic::new(&*scenario).unwrap()).unwrap(), 50);
            let capture = Capture::read(&path).unwrap();
            assert_eq!((capture.flows, capture.traffic.len()), (50, 50), "{name}");
            let outcome = replayed(name, &capture);
            assert_eq!(outcome.sent, outcome.received, "{name}: {outcome:?}");
        }
    }

    #[test]
    fn what_the_gateway_refuses_is_counted_by_reason() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("odd.pcap");
        let scenario = Name::Ip4.with(&parameters(1));
        let good = Traffic::new(&*scenario).unwrap().frame(0).to_vec();
        let mut bad_checksum = good.clone();
        bad_checksum[24] ^= 1;
        let frames = [good, bad_checksum, vec![0; 60], vec![1, 2, 3], Vec::new(), vec![0xff; 9248]];
        let frames = frames.map(|bytes| pcap::Frame { at: Duration::ZERO, bytes });
        pcap::write(&path, &frames).unwrap();
        let outcome = replayed(Name::Ip4, &Capture::read(&path).unwrap());
        assert!(outcome.sent > 0 && outcome.sent < outcome.received, "{outcome:?}");
        for reason in ["ip_checksum", "not_our_mac", "runt_frame"] {
            assert!(outcome.drops.contains_key(reason), "{reason}: {outcome:?}");
        }
    }

    fn refused(path: &PathBuf, bytes: &[u8]) -> String {
        fs::write(path, bytes).unwrap();
        format!("{:#}", Capture::read(path).unwrap_err())
    }

    #[test]
    fn captures_that_cannot_be_replayed_say_why() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("x.pcap");
        pcap::write(&path, &[]).unwrap();
        let empty = fs::read(&path).unwrap();
        assert!(refused(&path, &empty).contains("no frame"));
        assert!(refused(&path, b"").contains("not a pcap file"));
        assert!(refused(&path, &[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0]).contains("editcap"));
        let mut cooked = empty.clone();
        cooked[20] = 113;
        assert!(refused(&path, &cooked).contains("link type"));
        let mut huge = empty;
        huge.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0, 64, 0, 0]);
        huge.extend([0; 16_384]);
        assert!(refused(&path, &huge).contains("16384 bytes"));
        let missing = Capture::read(&dir.path().join("missing.pcap")).unwrap_err();
        assert!(missing.to_string().contains("cannot be read"), "{missing}");
    }

    #[test]
    fn flows_are_told_apart_inside_of_tunnels() {
        let scenario = Name::VxlanVxlan.with(&parameters(2));
        let [a, b] = [0, 1].map(|flow| scenario.arriving(flow, 64));
        assert_ne!(flow_of(&a), flow_of(&b));
        let mut other_tunnel = a.clone();
        other_tunnel[34] ^= 1;
        assert_eq!(flow_of(&a), flow_of(&other_tunnel), "the outer source port says nothing");
        assert_eq!(flow_of(&[0; 64]), None);
    }
}
