//! Ports that are capture files: each receives the frames of one file and writes what it sends to another. The timestamps
//! of the frames drive the clock, so a replay gives the same result at any speed. For goldens and for replaying what was
//! seen in the field; allocates, and reads whole files into memory.
//!
//! Reads the classic format (microseconds or nanoseconds, either byte order) and writes it in nanoseconds. pcapng is
//! refused; `editcap -F pcap` converts it.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use pcap_file::{
    DataLink, Endianness, TsResolution,
    pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter},
};
use thiserror::Error;

use super::{
    Burst, Io,
    mem::{MemBuffer, MemIo},
};
use crate::{
    channel::FRAME_MAX,
    types::{Nanos, PortId},
};

/// What is wrong with a capture file.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// It cannot be opened for reading.
    #[error("{path}: cannot be read")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no classic pcap file, or damaged.
    #[error("{path}: not a pcap file after {frames} frames; convert pcapng with `editcap -F pcap`")]
    Format {
        /// The file.
        path: PathBuf,
        /// Frames that could be read.
        frames: usize,
        /// What the parser says.
        source: pcap_file::PcapError,
    },
    /// Its frames are not Ethernet frames.
    #[error("{path}: the link type is {link:?}; capture on an Ethernet interface")]
    Link {
        /// The file.
        path: PathBuf,
        /// The link type.
        link: DataLink,
    },
    /// A frame is longer than any port takes.
    #[error("{path}: frame {frame} has {len} bytes; the limit is {FRAME_MAX}")]
    FrameLength {
        /// The file.
        path: PathBuf,
        /// Counted from 1, as Wireshark does.
        frame: usize,
        /// Bytes.
        len: usize,
    },
    /// It cannot be written.
    #[error("{path}: cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// One frame of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Since 1970-01-01, as captured.
    pub at: Duration,
    /// From the Ethernet header on, without FCS; shorter than on the wire if the capture cut it.
    pub bytes: Vec<u8>,
}

/// All frames of a capture file, in the order of the file.
///
/// # Errors
/// All but [`CaptureError::Write`].
pub fn frames(path: &Path) -> Result<Vec<Frame>, CaptureError> {
    let file = File::open(path).map_err(|source| CaptureError::Open { path: path.to_owned(), source })?;
    let format = |frames, source| CaptureError::Format { path: path.to_owned(), frames, source };
    let mut reader = PcapReader::new(BufReader::new(file)).map_err(|source| format(0, source))?;
    let PcapHeader { datalink: link, ts_resolution, .. } = reader.header();
    if link != DataLink::ETHERNET {
        return Err(CaptureError::Link { path: path.to_owned(), link });
    }
    let nanos = if ts_resolution == TsResolution::NanoSecond { 1 } else { 1_000 };
    let mut frames = Vec::new();
    // Raw, because the checked form refuses every frame that the capture cut.
    while let Some(packet) = reader.next_raw_packet() {
        let packet = packet.map_err(|source| format(frames.len(), source))?;
        let (frame, len) = (frames.len() + 1, packet.data.len());
        if len > FRAME_MAX {
            return Err(CaptureError::FrameLength { path: path.to_owned(), frame, len });
        }
        let fraction = Duration::from_nanos(u64::from(packet.ts_frac) * nanos);
        let at = Duration::from_secs(packet.ts_sec.into()) + fraction;
        frames.push(Frame { at, bytes: packet.data.into_owned() });
    }
    Ok(frames)
}

/// Writes a capture file with nanosecond timestamps.
///
/// # Errors
/// [`CaptureError::Write`]
pub fn write(path: &Path, frames: &[Frame]) -> Result<(), CaptureError> {
    let mut output = Output::create(path)?;
    frames.iter().for_each(|frame| output.write(frame.at, &frame.bytes));
    output.finish()
}

/// The files of one port.
#[derive(Clone, Debug, Default)]
pub struct Captures {
    /// What it receives; nothing without a file.
    pub input: Option<PathBuf>,
    /// Where what it sends goes; only counted without a file.
    pub output: Option<PathBuf>,
}

/// One worker's ports as capture files; queue number `n` is of port number `n`.
#[derive(Debug)]
pub struct PcapIo {
    ports: MemIo,
    /// Not yet on the wire, by port.
    inputs: Vec<VecDeque<Frame>>,
    outputs: Vec<Option<Output>>,
    /// When the engine started, since 1970: the time of the earliest frame of all inputs.
    start: Duration,
    now: Nanos,
}

impl PcapIo {
    /// Reads all inputs and creates all outputs, for ports 0, 1, ...
    ///
    /// # Errors
    /// [`CaptureError`] of the first file that does not do.
    pub fn open(ports: &[Captures]) -> Result<PcapIo, CaptureError> {
        let mut inputs = Vec::new();
        for Captures { input, .. } in ports {
            inputs.push(input.as_deref().map(frames).transpose()?.map(VecDeque::from).unwrap_or_default());
        }
        let mut outputs = Vec::new();
        for Captures { output, .. } in ports {
            outputs.push(output.as_deref().map(Output::create).transpose()?);
        }
        let start = inputs.iter().flatten().map(|frame| frame.at).min().unwrap_or_default();
        Ok(PcapIo { ports: MemIo::new(ports.len()), inputs, outputs, start, now: Nanos(0) })
    }

    /// Whether everything that the inputs hold has been received.
    pub fn is_done(&self) -> bool {
        self.ports.waiting() == 0 && self.inputs.iter().all(VecDeque::is_empty)
    }

    /// Lets time pass, for what happens after the last frame.
    pub fn advance(&mut self, by: Nanos) {
        self.now.0 += by.0;
    }

    /// Frames that a port has sent.
    pub fn tx_count(&self, port: PortId) -> u64 {
        self.ports.tx_count(port)
    }

    /// Completes the outputs.
    ///
    /// # Errors
    /// [`CaptureError::Write`]: the first thing that went wrong while writing.
    pub fn finish(self) -> Result<(), CaptureError> {
        self.outputs.into_iter().flatten().try_for_each(Output::finish)
    }

    fn since_start(&self, frame: &Frame) -> Nanos {
        Nanos(frame.at.saturating_sub(self.start).as_nanos() as u64)
    }

    /// Goes to the time of the next frame and puts on the wire what is there by then.
    fn step(&mut self) {
        let next = self.inputs.iter().filter_map(VecDeque::front).map(|frame| self.since_start(frame)).min();
        // Time never goes back, even where a capture is not in order.
        self.now = self.now.max(next.unwrap_or_default());
        for port in 0..self.inputs.len() {
            while let Some(frame) = self.inputs[port].front()
                && self.since_start(frame) <= self.now
            {
                self.ports.push(PortId(port as u16), &frame.bytes);
                self.inputs[port].pop_front();
            }
        }
    }
}

impl Io for PcapIo {
    type Buffer = MemBuffer;

    fn queues(&self) -> usize {
        self.ports.queues()
    }

    fn rx(&mut self, queue: usize, burst: &mut Burst<MemBuffer>) -> PortId {
        self.ports.rx(queue, burst)
    }

    fn tx(&mut self, port: PortId, burst: &mut Burst<MemBuffer>) {
        self.ports.tx(port, burst);
        let at = self.start + Duration::from_nanos(self.now.0);
        for frame in self.ports.sent(port) {
            if let Some(Some(output)) = self.outputs.get_mut(port.index()) {
                output.write(at, &frame);
            }
        }
    }

    fn alloc(&mut self) -> Option<MemBuffer> {
        self.ports.alloc()
    }

    /// The time of the frames that come next, once all earlier ones have been received.
    fn now(&mut self) -> Nanos {
        if self.ports.waiting() == 0 {
            self.step();
        }
        self.now
    }

    /// The clock, as if a cycle were a nanosecond.
    fn cycles(&self) -> u64 {
        self.now.0
    }
}

/// A capture that is being written. The first error is kept until [`Output::finish`], as [`Io::tx`] has none.
#[derive(Debug)]
struct Output {
    path: PathBuf,
    writer: PcapWriter<BufWriter<File>>,
    error: Option<pcap_file::PcapError>,
}

impl Output {
    fn create(path: &Path) -> Result<Output, CaptureError> {
        let refused = |source| CaptureError::Write { path: path.to_owned(), source };
        let file = File::create(path).map_err(refused)?;
        let header = PcapHeader {
            snaplen: 65_535,
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            endianness: Endianness::Little,
            ..PcapHeader::default()
        };
        let writer = PcapWriter::with_header(BufWriter::new(file), header)
            .map_err(|error| refused(io::Error::other(error)))?;
        Ok(Output { path: path.to_owned(), writer, error: None })
    }

    fn write(&mut self, at: Duration, frame: &[u8]) {
        if self.error.is_none() {
            let packet = PcapPacket::new(at, frame.len() as u32, frame);
            self.error = self.writer.write_packet(&packet).err();
        }
    }

    fn finish(self) -> Result<(), CaptureError> {
        let written = match self.error {
            Some(error) => Err(io::Error::other(error)),
            None => self.writer.into_writer().flush(),
        };
        written.map_err(|source| CaptureError::Write { path: self.path, source })
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::buffer::Buffer;

    fn frame(ms: u64, bytes: &[u8]) -> Frame {
        Frame { at: Duration::from_secs(1_700_000_000) + Duration::from_millis(ms), bytes: bytes.to_vec() }
    }

    /// A capture file of that name, written by us, its path.
    fn capture(dir: &TempDir, name: &str, frames: &[Frame]) -> PathBuf {
        let path = dir.path().join(name);
        write(&path, frames).unwrap();
        path
    }

    #[test]
    fn a_capture_reads_as_it_was_written() {
        let dir = TempDir::new().unwrap();
        let all = [frame(0, b"one"), frame(1, &[0x55; FRAME_MAX]), frame(1, b"")];
        assert_eq!(frames(&capture(&dir, "a.pcap", &all)).unwrap(), all);
        let odd = Frame { at: Duration::new(1, 999_999_999), bytes: vec![1] };
        assert_eq!(frames(&capture(&dir, "b.pcap", std::slice::from_ref(&odd))).unwrap(), [odd]);
    }

    #[test]
    fn microseconds_big_endian_and_cut_frames_are_read() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("old.pcap");
        // Magic, version 2.4, zone, accuracy, snap length 2, Ethernet; 5.000007 s, 2 of 60 bytes.
        let words: [u32; 10] = [0xa1b2_c3d4, 2 << 16 | 4, 0, 0, 2, 1, 5, 7, 2, 60];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend([0xab, 0xcd]);
        std::fs::write(&path, bytes).unwrap();
        let expected = Frame { at: Duration::new(5, 7_000), bytes: vec![0xab, 0xcd] };
        assert_eq!(frames(&path).unwrap(), [expected]);
    }

    #[test]
    fn what_is_no_ethernet_capture_is_refused_by_name() {
        let dir = TempDir::new().unwrap();
        let good = std::fs::read(capture(&dir, "good.pcap", &[frame(0, b"one"), frame(1, b"two")])).unwrap();
        let mut raw_ip = good.clone();
        raw_ip[20] = 101;
        let mut long = good.clone();
        long[24 + 8..24 + 16].copy_from_slice(&[0, 64, 0, 0, 0, 64, 0, 0]);
        long.extend([0; 16_384]);
        for (name, bytes, sentence) in [
            ("cut.pcap", &good[..good.len() - 1], "not a pcap file after 1 frames"),
            ("empty.pcap", &[], "not a pcap file after 0 frames"),
            ("ng.pcap", &[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0], "not a pcap file after 0 frames"),
            ("raw.pcap", &raw_ip, "the link type is RAW"),
            ("long.pcap", &long, "frame 1 has 16384 bytes"),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = frames(&path).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(sentence), "{error}");
        }
        let missing = Captures { input: Some(dir.path().join("missing.pcap")), output: None };
        assert!(matches!(PcapIo::open(&[missing]), Err(CaptureError::Open { .. })));
        let nowhere = Captures { input: None, output: Some(dir.path().join("no/such/dir.pcap")) };
        assert!(matches!(PcapIo::open(&[nowhere]), Err(CaptureError::Write { .. })));
    }

    /// One round of a worker that sends everything on port 1.
    fn round(io: &mut PcapIo) -> (Nanos, Vec<Vec<u8>>) {
        let now = io.now();
        let mut seen = Vec::new();
        for queue in 0..io.queues() {
            let mut burst = Burst::new();
            io.rx(queue, &mut burst);
            seen.extend(burst.iter().map(|buffer| buffer.bytes().to_vec()));
            io.tx(PortId(1), &mut burst);
        }
        (now, seen)
    }

    #[test]
    fn frames_of_all_ports_come_in_the_order_of_time_and_carry_it_out() {
        let dir = TempDir::new().unwrap();
        let first = capture(&dir, "0.pcap", &[frame(0, b"a"), frame(20, b"c"), frame(10, b"late")]);
        let second = capture(&dir, "1.pcap", &[frame(5, b"b"), frame(20, b"d")]);
        let output = dir.path().join("out.pcap");
        let ports = [
            Captures { input: Some(first), output: None },
            Captures { input: Some(second), output: Some(output.clone()) },
        ];
        let mut io = PcapIo::open(&ports).unwrap();
        for (ms, expected) in [(0, vec!["a"]), (5, vec!["b"]), (20, vec!["c", "late", "d"])] {
            assert!(!io.is_done());
            let expected = expected.iter().map(|text| text.as_bytes().to_vec()).collect();
            assert_eq!(round(&mut io), (Nanos::from_ms(ms), expected));
        }
        assert!(io.is_done());
        io.advance(Nanos::from_ms(3));
        assert_eq!((round(&mut io), io.tx_count(PortId(1))), ((Nanos::from_ms(23), vec![]), 5));
        io.finish().unwrap();
        let sent = [frame(0, b"a"), frame(5, b"b"), frame(20, b"c"), frame(20, b"late"), frame(20, b"d")];
        assert_eq!(frames(&output).unwrap(), sent);
    }

    #[test]
    fn time_waits_until_a_crowd_has_been_received() {
        let dir = TempDir::new().unwrap();
        let mut crowd = vec![frame(0, b"x"); 40];
        crowd.push(frame(1, b"y"));
        let input = Some(capture(&dir, "crowd.pcap", &crowd));
        let mut io = PcapIo::open(&[Captures { input, output: None }, Captures::default()]).unwrap();
        let rounds = [round(&mut io), round(&mut io), round(&mut io)].map(|(now, seen)| (now, seen.len()));
        assert_eq!(rounds, [(Nanos(0), 32), (Nanos(0), 8), (Nanos::from_ms(1), 1)]);
    }
}
