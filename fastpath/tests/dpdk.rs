//! The DPDK rim on virtual devices: no hugepages, no hardware. What needs TAPs needs root.
//!
//! EAL starts once per process, so each test runs in a process of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    env, fs,
    net::UdpSocket,
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tidegate_fastpath::{
    buffer::Buffer,
    io::{
        BURST, Burst, Io,
        dpdk::{Dpdk, DpdkIo, EalOptions, Hugepages, Mbuf, PortError, PortSpec, StartError},
    },
    types::{Mtu, Nanos, PortId},
};

const UNDERLAY: PortId = PortId(0);
const PUBLIC: PortId = PortId(1);

/// Runs the test of that name in a child process, or, inside of it, the body.
fn alone(name: &str, body: impl FnOnce()) {
    const ALONE: &str = "TIDEGATE_TEST_ALONE";
    if env::var(ALONE).is_ok_and(|running| running == name) {
        return body();
    }
    let out = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(ALONE, name)
        .output()
        .unwrap();
    let said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(out.status.success(), "{}: {}\n{}", out.status, said[0], said[1]);
}

fn options() -> EalOptions {
    EalOptions { hugepages: Hugepages::Off, ..EalOptions::default() }
}

fn spec(id: PortId, device: &str, queues: Option<u16>) -> PortSpec {
    let name = if id == UNDERLAY { "underlay" } else { "public" };
    let mtu = Mtu::new(1500).unwrap();
    PortSpec { id, name: name.to_owned(), device: device.to_owned(), mtu, queues }
}

fn start<const WORKERS: usize>(ports: &[PortSpec]) -> (Dpdk, [DpdkIo; WORKERS]) {
    let (dpdk, ios) = Dpdk::start(&options(), ports, WORKERS).unwrap_or_else(|why| panic!("{why}"));
    (dpdk, ios.try_into().unwrap())
}

/// A minimal frame that carries its number.
fn numbered(io: &mut DpdkIo, number: u16) -> Mbuf {
    let mut mbuf = io.alloc().unwrap();
    let bytes = mbuf.append(60).unwrap();
    bytes.fill(0);
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    mbuf
}

fn number(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[0], frame[1]])
}

fn numbered_burst(io: &mut DpdkIo, from: u16) -> Burst<Mbuf> {
    (from..from + BURST as u16).map(|n| numbered(io, n)).collect()
}

/// A capture file: magic, version 2.4, snap length, Ethernet; then per frame a time, two lengths and the bytes.
fn write_pcap(path: &Path, frames: &[Vec<u8>]) {
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
    let mut file = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, 1]);
    for frame in frames {
        let len = frame.len() as u32;
        file.extend(words(&[0, 0, len, len]));
        file.extend(frame);
    }
    fs::write(path, file).unwrap();
}

fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).unwrap();
    let (mut rest, mut frames) = (&file[24..], Vec::new());
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    frames
}

#[test]
fn frames_come_back_from_a_loop_and_every_buffer_goes_home() {
    alone("frames_come_back_from_a_loop_and_every_buffer_goes_home", || {
        let (dpdk, [mut io]) = start(&[spec(UNDERLAY, "net_ring0", None)]);
        let (at_rest, total) = dpdk.buffers();
        assert_eq!(at_rest, total);
        assert_eq!(io.queues(), 1);
        assert!(io.now() > Nanos(0) && io.cycles() > 0);

        let mut burst = numbered_burst(&mut io, 0);
        burst[0].bytes_mut()[59] = 7;
        assert!(burst[0].strip(20) && burst[0].prepend(20).is_some());
        io.tx(UNDERLAY, &mut burst);
        assert!(burst.is_empty());
        assert_eq!(io.rx(0, &mut burst), UNDERLAY);
        assert_eq!(burst.iter().map(|m| number(m.bytes())).collect::<Vec<_>>(), (0..32).collect::<Vec<_>>());
        assert_eq!((burst[0].bytes().len(), burst[0].bytes()[59]), (60, 7));
        assert_eq!(dpdk.stats(UNDERLAY).unwrap().ipackets, 32);

        drop(burst);
        assert_eq!(dpdk.buffers(), (total, total));
    });
}

#[test]
fn what_a_full_device_refuses_stays_in_the_burst_in_order() {
    alone("what_a_full_device_refuses_stays_in_the_burst_in_order", || {
        let (dpdk, [mut io]) = start(&[spec(UNDERLAY, "net_ring0", None)]);
        let (mut next, mut burst) = (0, Burst::new());
        while burst.is_empty() {
            burst = numbered_burst(&mut io, next);
            next += BURST as u16;
            io.tx(UNDERLAY, &mut burst);
        }
        let last = burst.iter().map(|m| number(m.bytes())).collect::<Vec<_>>();
        assert_eq!(last, (next - last.len() as u16..next).collect::<Vec<_>>());
        burst.clear();
        io.tx(PUBLIC, &mut burst);
        burst.push(numbered(&mut io, 0));
        io.tx(PUBLIC, &mut burst);
        assert_eq!(burst.len(), 1, "a port that is not there takes nothing");
        drop((burst, io, dpdk));
    });
}

#[test]
fn buffers_have_room_for_a_tunnel_in_front_and_a_frame_behind() {
    alone("buffers_have_room_for_a_tunnel_in_front_and_a_frame_behind", || {
        let (dpdk, [mut io]) = start(&[spec(UNDERLAY, "net_null0", None)]);
        let mut mbuf = io.alloc().unwrap();
        assert!(mbuf.bytes().is_empty() && !mbuf.is_segmented());
        assert!(mbuf.append(1500 + 18).is_some(), "a tagged frame of the port's MTU");
        assert!(mbuf.prepend(68).is_some(), "VXLAN over IPv4 with a VLAN tag");
        let len = mbuf.bytes().len();
        assert!(mbuf.append(10_000).is_none() && mbuf.prepend(10_000).is_none() && !mbuf.strip(len + 1));
        assert_eq!(mbuf.bytes().len(), len);
        mbuf.truncate(len + 1);
        assert_eq!(mbuf.bytes().len(), len);
        mbuf.truncate(14);
        assert_eq!(mbuf.bytes().len(), 14);
        assert!(mbuf.strip(14) && mbuf.bytes().is_empty());
        drop((mbuf, io, dpdk));
    });
}

#[test]
fn captures_go_in_and_out_and_a_frame_too_long_for_a_buffer_is_segmented() {
    alone("captures_go_in_and_out_and_a_frame_too_long_for_a_buffer_is_segmented", || {
        let folder = tempfile::tempdir().unwrap();
        let [sent, expected] = ["send.pcap", "expect.pcap"].map(|name| folder.path().join(name));
        let frames: Vec<Vec<u8>> =
            [60usize, 64, 1514, 3000].iter().map(|&len| (0..len).map(|n| n as u8).collect()).collect();
        write_pcap(&sent, &frames);
        let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", sent.display(), expected.display());
        let (dpdk, [mut io]) = start(&[spec(UNDERLAY, &device, None)]);
        let mut burst = Burst::new();
        io.rx(0, &mut burst);
        assert_eq!(burst.iter().map(Buffer::is_segmented).collect::<Vec<_>>(), [false, false, false, true]);
        let mut long = burst.pop().unwrap();
        long.truncate(100);
        assert!(!long.is_segmented());
        assert_eq!(long.bytes(), &frames[3][..100]);
        io.tx(UNDERLAY, &mut burst);
        drop((long, burst, io, dpdk));
        assert_eq!(read_pcap(&expected), frames[..3]);
    });
}

#[test]
fn workers_without_a_queue_hand_their_frames_to_one_that_has() {
    alone("workers_without_a_queue_hand_their_frames_to_one_that_has", || {
        let folder = tempfile::tempdir().unwrap();
        let [sent, out] = ["none.pcap", "out.pcap"].map(|name| folder.path().join(name));
        write_pcap(&sent, &[]);
        let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", sent.display(), out.display());
        let (dpdk, [mut owner, mut other]) = start(&[spec(UNDERLAY, &device, None)]);
        assert_eq!((owner.queues(), other.queues()), (1, 0));
        assert_eq!(dpdk.facts(UNDERLAY).map(|facts| (facts.rx_queues, facts.tx_queues)), Some((1, 1)));

        let (mut taken, mut burst) = (0, Burst::new());
        while burst.is_empty() {
            burst = numbered_burst(&mut other, taken);
            other.tx(UNDERLAY, &mut burst);
            taken += (BURST - burst.len()) as u16;
        }
        assert_eq!(taken, 1024, "the ring is full, so it refuses as a device would");
        assert_eq!(number(burst[0].bytes()), taken);
        assert_eq!(dpdk.stats(UNDERLAY).unwrap().opackets, 0);
        owner.now();
        assert_eq!(dpdk.stats(UNDERLAY).unwrap().opackets, 1024);
        other.tx(UNDERLAY, &mut burst);
        assert!(burst.is_empty());
        owner.now();
        drop((burst, owner, other, dpdk));
        let numbers = read_pcap(&out).iter().map(|frame| number(frame)).collect::<Vec<_>>();
        assert_eq!(numbers, (0..1024 + 32).collect::<Vec<_>>());
    });
}

fn may_make_taps() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if !root {
        eprintln!("skipped: making a TAP needs root");
    }
    root
}

fn ip(arguments: &str) {
    let out = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(out.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&out.stderr));
}

fn sysfs(interface: &str, name: &str) -> String {
    fs::read_to_string(format!("/sys/class/net/{interface}/{name}")).unwrap().trim().to_owned()
}

/// Exchanges the ends of a UDP packet. The checksums stay right: sums do not know the order.
fn turn_around(frame: &mut [u8]) -> bool {
    const UDP_OVER_IPV4: [u8; 2] = [0x08, 0x00];
    if frame.len() < 42 || frame[12..14] != UDP_OVER_IPV4 || frame[23] != 17 {
        return false;
    }
    for (at, len) in [(0, 6), (26, 4), (34, 2)] {
        let (first, second) = frame[at..at + 2 * len].split_at_mut(len);
        first.swap_with_slice(second);
    }
    true
}

#[test]
fn two_taps_with_two_queues_serve_two_workers() {
    if !may_make_taps() {
        return;
    }
    alone("two_taps_with_two_queues_serve_two_workers", || {
        let (dpdk, mut ios) = start::<2>(&[
            spec(UNDERLAY, "net_tap0,iface=tgtest0", Some(2)),
            spec(PUBLIC, "net_tap1,iface=tgtest1", Some(2)),
        ]);
        let facts = dpdk.facts(UNDERLAY).unwrap();
        assert_eq!((facts.driver, facts.rx_queues, facts.tx_queues), ("net_tap", 2, 2));
        assert_eq!(dpdk.mac(UNDERLAY).unwrap().to_string(), sysfs("tgtest0", "address"));
        assert_eq!(sysfs("tgtest0", "mtu"), "1500");
        assert_eq!(dpdk.link_is_up(UNDERLAY), Ok(true));
        dpdk.set_mtu(PUBLIC, Mtu::new(1400).unwrap()).unwrap();
        assert_eq!(sysfs("tgtest1", "mtu"), "1400");
        let jumbo = dpdk.set_mtu(PUBLIC, Mtu::new(9000).unwrap());
        assert!(matches!(jumbo, Err(PortError::Mtu { max: 2022, .. })), "{jumbo:?}");

        // Each datagram comes back to the socket that sent it, whichever worker and queue it took, and a copy of it
        // leaves on the other port.
        ip("addr add 198.18.7.1/24 dev tgtest0");
        ip("neigh add 198.18.7.2 lladdr 02:00:00:00:07:02 dev tgtest0");
        let sockets = [(); 64].map(|()| UdpSocket::bind("198.18.7.1:0").unwrap());
        for socket in &sockets {
            socket.set_nonblocking(true).unwrap();
            socket.connect("198.18.7.2:9").unwrap();
            socket.send(b"there and back").unwrap();
        }
        let (mut turned, mut returned) = ([0; 2], 0);
        let deadline = Instant::now() + Duration::from_secs(20);
        while returned < sockets.len() {
            assert!(Instant::now() < deadline, "{turned:?} turned, {returned} returned");
            for (io, turned) in ios.iter_mut().zip(&mut turned) {
                *turned += turn_all(io);
            }
            returned += sockets.iter().filter(|socket| socket.recv(&mut [0; 64]).is_ok()).count();
        }
        assert!(turned[0] > 0 && turned[1] > 0, "both workers received: {turned:?}");
        assert_eq!(turned[0] + turned[1], 64);
        let copies: usize = sysfs("tgtest1", "statistics/rx_packets").parse().unwrap();
        assert!(copies >= 64, "{copies}");
        drop((ios, dpdk));
        assert!(
            !Path::new("/sys/class/net/tgtest0").exists() && !Path::new("/sys/class/net/tgtest1").exists()
        );
    });
}

#[test]
fn a_frame_that_a_shared_queue_never_takes_does_not_stop_those_behind_it() {
    if !may_make_taps() {
        return;
    }
    alone("a_frame_that_a_shared_queue_never_takes_does_not_stop_those_behind_it", || {
        let (dpdk, [mut owner, mut other]) = start(&[spec(UNDERLAY, "net_tap0,iface=tgtest3", Some(1))]);
        let sent = || dpdk.stats(UNDERLAY).unwrap().opackets;
        let mut burst: Burst<Mbuf> = (0..3).map(|n| numbered(&mut other, n)).collect();
        assert!(burst[1].append(1500).is_some(), "longer than net_tap takes at this MTU");
        other.tx(UNDERLAY, &mut burst);
        assert!(burst.is_empty());
        let before = sent();
        owner.now();
        assert_eq!((sent() - before, dpdk.handoff_drops(UNDERLAY)), (1, 0));
        owner.now();
        assert_eq!((sent() - before, dpdk.handoff_drops(UNDERLAY)), (1, 1));
        owner.now();
        assert_eq!((sent() - before, dpdk.handoff_drops(UNDERLAY)), (2, 1));
        drop((owner, other));
    });
}

/// Turns around what this worker receives on the underlay and sends a copy to the other port; says how many.
fn turn_all(io: &mut DpdkIo) -> usize {
    let mut turned = 0;
    io.now();
    for queue in 0..io.queues() {
        let mut burst = Burst::new();
        if io.rx(queue, &mut burst) != UNDERLAY {
            continue;
        }
        let mut copies = Burst::new();
        burst.retain(|mbuf| turn_around(mbuf.bytes_mut()));
        for mbuf in &burst {
            let mut copy = io.alloc().unwrap();
            copy.append(mbuf.bytes().len()).unwrap().copy_from_slice(mbuf.bytes());
            copies.push(copy);
        }
        turned += burst.len();
        io.tx(UNDERLAY, &mut burst);
        io.tx(PUBLIC, &mut copies);
        assert!(burst.is_empty() && copies.is_empty());
    }
    turned
}

#[test]
fn threads_that_poll_are_known_to_dpdk_and_dropping_the_rest_first_is_harmless() {
    alone("threads_that_poll_are_known_to_dpdk_and_dropping_the_rest_first_is_harmless", || {
        let (dpdk, [mut io, mut other]) = start(&[spec(UNDERLAY, "net_ring0", None)]);
        let mut late = other.alloc().unwrap();
        let poller = std::thread::spawn(move || {
            let lcore = io.register_thread().unwrap();
            assert!(io.register_thread().is_err(), "only once");
            let mut burst = numbered_burst(&mut io, 0);
            io.tx(UNDERLAY, &mut burst);
            io.rx(0, &mut burst);
            assert_eq!(burst.len(), BURST);
            (lcore.id(), io)
        });
        let (id, io) = poller.join().unwrap();
        assert_ne!(id, 0, "not the main lcore's");
        drop((io, other, dpdk));
        late.append(60).unwrap().fill(1);
        assert_eq!(late.bytes().len(), 60);
    });
}

/// The error of a start that must fail, as an operator reads it.
fn refused(ports: &[PortSpec]) -> String {
    match Dpdk::start(&options(), ports, 2) {
        Ok(_) => panic!("started"),
        Err(why @ (StartError::Probe { .. } | StartError::Queues { .. } | StartError::Mtu { .. })) => {
            why.to_string()
        }
        Err(why) => panic!("another error: {why}"),
    }
}

#[test]
fn a_missing_device_is_named_with_a_way_out() {
    alone("a_missing_device_is_named_with_a_way_out", || {
        let why = refused(&[spec(UNDERLAY, "0000:ff:1f.7", None)]);
        assert!(
            why.starts_with("port underlay: device `0000:ff:1f.7` is missing; `dpdk-devbind.py"),
            "{why}"
        );
        let again = Dpdk::start(&options(), &[], 1).unwrap_err().to_string();
        assert!(again.contains("start a new process"), "{again}");
    });
}

#[test]
fn a_device_of_two_ports_is_busy() {
    alone("a_device_of_two_ports_is_busy", || {
        let why = refused(&[spec(UNDERLAY, "net_null0", None), spec(PUBLIC, "net_null0", None)]);
        assert!(why.starts_with("port public: device `net_null0` is busy"), "{why}");
    });
}

#[test]
fn a_text_that_is_no_device_is_refused() {
    alone("a_text_that_is_no_device_is_refused", || {
        let why = refused(&[spec(UNDERLAY, "eth7", None)]);
        assert!(why.starts_with("port underlay: `eth7` is no DPDK device; write a PCI address"), "{why}");
    });
}

#[test]
fn more_queues_than_the_device_has_are_refused() {
    alone("more_queues_than_the_device_has_are_refused", || {
        let why = refused(&[spec(UNDERLAY, "net_ring0", Some(17))]);
        assert_eq!(why, "port underlay: 17 queues are wanted, the device has 16; give 1 to 16");
    });
}

#[test]
fn an_mtu_that_the_device_cannot_have_is_refused_with_the_range() {
    if !may_make_taps() {
        return;
    }
    alone("an_mtu_that_the_device_cannot_have_is_refused_with_the_range", || {
        let mtu = Mtu::new(1600).unwrap();
        let why = refused(&[PortSpec { mtu, ..spec(UNDERLAY, "net_tap0,iface=tgtest2", None) }]);
        assert_eq!(why, "port underlay: MTU 1600 is outside what the device carries; give 46 to 1504");
        assert!(!Path::new("/sys/class/net/tgtest2").exists(), "the device is removed again");
    });
}

#[test]
fn captures_that_are_not_there_are_named() {
    alone("captures_that_are_not_there_are_named", || {
        let why = refused(&[spec(UNDERLAY, "net_pcap0,rx_pcap=/nowhere/send.pcap", None)]);
        assert!(why.contains("/nowhere/send.pcap: No such file or directory"), "{why}");
    });
}
