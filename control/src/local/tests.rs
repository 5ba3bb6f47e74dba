//! Against the kernel, in namespaces of their own. They need root; without it they say so and pass.

use std::{fs, net::UdpSocket, os::unix::fs::MetadataExt, process::Command, thread};

use etherparse::{
    Icmpv4Type, NetHeaders, PacketBuilder, PacketHeaders, TransportHeader, icmpv4::DestUnreachableHeader,
};
use tempfile::TempDir;

use super::{netns, *};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
const VM: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 7);
const A: VrfId = VrfId(1);
const B: VrfId = VrfId(2);
const VM_PORT: u16 = 40000;
const ECHO: u16 = 7;
/// How long an answer may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Names and markers of one test.
struct Lab {
    markers: TempDir,
    test: &'static str,
}

impl Lab {
    fn new(test: &'static str) -> Option<Lab> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        Some(Lab { markers: TempDir::new().unwrap(), test })
    }

    fn namespaces(&self, owner: &str) -> Namespaces {
        Namespaces::apart(self.markers.path().join(owner), self.markers.path().join("netns"))
    }

    fn delivery(&self, fresh: bool) -> Delivery {
        Delivery::with(self.namespaces("control.sock"), fresh)
    }

    fn name(&self, vrf: VrfId) -> String {
        format!("tgtest-{}-{}-{vrf}", std::process::id(), self.test)
    }

    fn wanted(&self, vrf: VrfId, addresses: &[Ipv4Addr]) -> Wanted {
        Wanted { vrf, name: self.name(vrf), addresses: addresses.to_vec(), vips: Vec::new(), mtu: 1450 }
    }

    /// Runs `work` inside a namespace; a socket that it opens stays there.
    fn inside<T: Send>(&self, vrf: VrfId, work: impl FnOnce() -> std::io::Result<T> + Send) -> T {
        self.namespaces("control.sock").enter(&self.name(vrf), work).unwrap()
    }

    /// A UDP server that sends every datagram back. It ends with the first that is empty.
    fn echo(&self, vrf: VrfId) -> Echo {
        let socket = self.inside(vrf, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, ECHO)));
        let server = socket.try_clone().unwrap();
        let serve = move || {
            let mut datagram = [0; 2000];
            while let Ok((len @ 1.., from)) = server.recv_from(&mut datagram) {
                server.send_to(&datagram[..len], from).unwrap();
            }
        };
        Echo { socket, thread: Some(thread::spawn(serve)) }
    }

    fn exists(&self, vrf: VrfId) -> bool {
        netns::path(&self.name(vrf)).exists()
            || self.markers.path().join("netns").join(self.name(vrf)).exists()
    }

    fn inode(&self, vrf: VrfId) -> u64 {
        fs::metadata(netns::path(&self.name(vrf))).unwrap().ino()
    }
}

impl Drop for Lab {
    /// A delivery that a failed test drops leaves its namespaces to the next run, which a test does not have.
    fn drop(&mut self) {
        self.namespaces("control.sock").remove_where(|_| true);
    }
}

struct Echo {
    socket: UdpSocket,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = nix::sys::socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&self.socket),
            nix::sys::socket::Shutdown::Both,
        );
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

fn udp(to: Ipv4Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let builder = PacketBuilder::ipv4(VM.octets(), to.octets(), 64).udp(VM_PORT, port);
    builder.write(&mut packet, payload).unwrap();
    packet
}

fn ping(to: Ipv4Addr) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4(VM.octets(), to.octets(), 64)
        .icmpv4_echo_request(1, 1)
        .write(&mut packet, b"?")
        .unwrap();
    packet
}

/// The next IPv4 packet that a namespace sends.
async fn next(delivery: &mut Delivery) -> (VrfId, Vec<u8>) {
    let wait = async {
        loop {
            delivery.readable().await;
            if let Some((vrf, Some(packet))) = delivery.read() {
                return (vrf, packet.to_vec());
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("no packet came out of a namespace")
}

/// Source, destination and what follows.
fn parts(packet: &[u8]) -> (Ipv4Addr, Ipv4Addr, Option<TransportHeader>, Vec<u8>) {
    let parsed = PacketHeaders::from_ip_slice(packet).unwrap();
    let Some(NetHeaders::Ipv4(ip, _)) = parsed.net else { panic!("no IPv4: {packet:02x?}") };
    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    (ip.source.into(), ip.destination.into(), parsed.transport, parsed.payload.slice().to_vec())
}

fn is_pong_from(packet: &[u8], from: Ipv4Addr) -> bool {
    let (source, destination, transport, _) = parts(packet);
    let Some(TransportHeader::Icmpv4(icmp)) = transport else { return false };
    (source, destination) == (from, VM) && matches!(icmp.icmp_type, Icmpv4Type::EchoReply(_))
}

#[tokio::test]
async fn a_program_of_one_vpc_is_reached_and_the_other_vpc_with_the_same_address_sees_nothing() {
    let Some(lab) = Lab::new("echo") else { return };
    let mut delivery = lab.delivery(true);
    delivery.sync(vec![lab.wanted(A, &[GATEWAY]), lab.wanted(B, &[GATEWAY])]).await;
    let _echo = lab.echo(A);
    let other = lab.inside(B, || UdpSocket::bind((GATEWAY, ECHO)));
    other.set_nonblocking(true).unwrap();

    delivery.deliver(A, &udp(GATEWAY, ECHO, b"who are you"));
    let (vrf, answer) = next(&mut delivery).await;
    let (source, destination, transport, payload) = parts(&answer);
    assert_eq!((vrf, source, destination, payload.as_slice()), (A, GATEWAY, VM, b"who are you".as_slice()));
    let Some(TransportHeader::Udp(udp)) = transport else { panic!("no UDP: {answer:02x?}") };
    assert_eq!((udp.source_port, udp.destination_port), (ECHO, VM_PORT));
    let whole = udp.calc_checksum_ipv4_raw(source.octets(), destination.octets(), &payload).unwrap();
    assert_eq!(udp.checksum, whole, "the kernel fills the checksum in");

    assert_eq!(other.recv(&mut [0; 99]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert!(delivery.read().is_none());
    let counts =
        [LocalEvent::Delivered, LocalEvent::Received, LocalEvent::TapFull].map(|e| delivery.count(e));
    assert_eq!(counts, [1, 1, 0]);
}

#[tokio::test]
async fn the_kernel_answers_for_a_port_nobody_listens_on() {
    let Some(lab) = Lab::new("unreachable") else { return };
    let mut delivery = lab.delivery(true);
    delivery.sync(vec![lab.wanted(A, &[GATEWAY])]).await;
    delivery.deliver(A, &udp(GATEWAY, 9, b"anybody"));
    let (vrf, answer) = next(&mut delivery).await;
    let (source, destination, transport, _) = parts(&answer);
    let Some(TransportHeader::Icmpv4(icmp)) = transport else { panic!("no ICMP: {answer:02x?}") };
    assert_eq!((vrf, source, destination), (A, GATEWAY, VM));
    assert_eq!(icmp.icmp_type, Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port));
}

#[tokio::test]
async fn addresses_and_mtu_change_under_a_running_program() {
    let Some(lab) = Lab::new("change") else { return };
    let mut delivery = lab.delivery(true);
    delivery.sync(vec![lab.wanted(A, &[GATEWAY])]).await;
    let _echo = lab.echo(A);
    let mut wanted = lab.wanted(A, &[SECOND]);
    wanted.mtu = 1000;
    delivery.sync(vec![wanted]).await;

    delivery.deliver(A, &ping(GATEWAY));
    delivery.deliver(A, &ping(SECOND));
    let (_, answer) = next(&mut delivery).await;
    assert!(is_pong_from(&answer, SECOND), "the old address neither answers nor is forwarded: {answer:02x?}");

    delivery.deliver(A, &udp(SECOND, ECHO, &[0; 1400]));
    let (_, first) = next(&mut delivery).await;
    let more_fragments = first[6] & 0x20 != 0;
    assert!(more_fragments && first.len() <= 1000, "{} bytes", first.len());
}

#[tokio::test]
async fn a_namespace_neither_routes_nor_believes_redirects_nor_speaks_ipv6() {
    let Some(lab) = Lab::new("sysctl") else { return };
    let mut delivery = lab.delivery(true);
    delivery.sync(vec![lab.wanted(A, &[GATEWAY])]).await;
    let read = |key: &str| lab.inside(A, || fs::read_to_string(format!("/proc/sys/net/{key}")));
    for (key, value) in [
        ("ipv4/ip_forward", "0"),
        ("ipv4/conf/tg0/rp_filter", "0"),
        ("ipv4/conf/tg0/accept_redirects", "0"),
        ("ipv6/conf/tg0/disable_ipv6", "1"),
    ] {
        assert_eq!(read(key).trim(), value, "{key}");
    }
}

#[tokio::test]
async fn one_that_sends_without_pause_does_not_hold_up_another() {
    let Some(lab) = Lab::new("fair") else { return };
    let mut delivery = lab.delivery(true);
    delivery.sync(vec![lab.wanted(A, &[GATEWAY]), lab.wanted(B, &[GATEWAY])]).await;
    for vrf in [A, B] {
        let socket = lab.inside(vrf, || UdpSocket::bind((GATEWAY, ECHO)));
        for _ in 0..100 {
            socket.send_to(b"me first", (VM, VM_PORT)).unwrap();
        }
    }
    for turn in 0..100 {
        let mut pair = [next(&mut delivery).await.0, next(&mut delivery).await.0];
        pair.sort();
        assert_eq!(pair, [A, B], "turn {turn}");
    }
}

#[tokio::test]
async fn what_a_killed_run_left_is_taken_over_with_its_programs_or_removed() {
    let Some(lab) = Lab::new("killed") else { return };
    let kill = |mut delivery: Delivery| {
        delivery.taps.clear(); // the kernel closes what a killed process had open
        std::mem::forget(delivery);
    };
    let mut first = lab.delivery(true);
    first.sync(vec![lab.wanted(A, &[GATEWAY]), lab.wanted(B, &[GATEWAY])]).await;
    let (_echo, inode) = (lab.echo(A), lab.inode(A));
    kill(first);
    assert!(lab.exists(A) && lab.exists(B));

    let mut second = lab.delivery(false);
    second.sync(vec![lab.wanted(A, &[GATEWAY])]).await;
    assert_eq!((lab.inode(A), lab.exists(B)), (inode, false), "the one not wanted goes");
    second.deliver(A, &udp(GATEWAY, ECHO, b"still there"));
    assert_eq!(parts(&next(&mut second).await.1).3, b"still there");
    kill(second);

    let third = lab.delivery(true);
    assert!(!lab.exists(A));
    third.close();
}

#[tokio::test]
async fn a_foreign_namespace_stays_and_stops_no_other() {
    let Some(lab) = Lab::new("foreign") else { return };
    let foreign = netns::path(&lab.name(A));
    netns::create(&foreign, |_| Ok(())).unwrap();
    let mut delivery = lab.delivery(true);
    delivery.sync(vec![lab.wanted(A, &[GATEWAY]), lab.wanted(B, &[GATEWAY])]).await;
    assert_eq!(delivery.names().collect::<Vec<_>>(), [lab.name(B)]);
    delivery.deliver(A, &ping(GATEWAY));
    assert_eq!(delivery.count(LocalEvent::NoNamespace), 1);
    delivery.deliver(B, &ping(GATEWAY));
    assert!(is_pong_from(&next(&mut delivery).await.1, GATEWAY));
    delivery.close();
    assert!(foreign.exists(), "not ours");
    netns::unname(&foreign);
}

#[tokio::test]
async fn the_namespace_of_a_gateway_that_lives_is_not_taken() {
    let Some(lab) = Lab::new("two") else { return };
    let _socket = std::os::unix::net::UnixListener::bind(lab.markers.path().join("control.sock")).unwrap();
    let mut delivery = lab.delivery(true);
    delivery.sync(vec![lab.wanted(A, &[GATEWAY])]).await;
    let second = lab.namespaces("second.sock");
    assert!(matches!(second.establish(&lab.name(A)), Err(netns::NetnsError::InUse(_))));
    second.remove_where(|_| true);
    assert!(lab.exists(A));
}

#[tokio::test]
async fn an_interface_that_somebody_deleted_comes_back_with_the_next_sync() {
    let Some(lab) = Lab::new("deleted") else { return };
    let mut delivery = lab.delivery(true);
    delivery.sync(vec![lab.wanted(A, &[GATEWAY])]).await;
    let ip = Command::new("ip").args(["-n", &lab.name(A), "link", "delete", "tg0"]).status().unwrap();
    assert!(ip.success());
    delivery.deliver(A, &ping(GATEWAY));
    assert_eq!(delivery.count(LocalEvent::NoNamespace), 1);
    delivery.sync(vec![lab.wanted(A, &[GATEWAY])]).await;
    delivery.deliver(A, &ping(GATEWAY));
    assert!(is_pong_from(&next(&mut delivery).await.1, GATEWAY));
}

#[tokio::test]
async fn close_leaves_nothing() {
    let Some(lab) = Lab::new("close") else { return };
    let mut delivery = lab.delivery(true);
    delivery.sync(vec![lab.wanted(A, &[GATEWAY]), lab.wanted(B, &[SECOND])]).await;
    let host: Vec<_> = fs::read_dir("/sys/class/net").unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!host.contains(&"tg0".into()), "a TAP is never seen in the host");
    delivery.sync(vec![lab.wanted(A, &[GATEWAY])]).await;
    assert!(lab.exists(A) && !lab.exists(B), "what is no longer wanted goes at once");
    delivery.close();
    assert!(!lab.exists(A));
    assert_eq!(fs::read_dir(lab.markers.path().join("netns")).unwrap().count(), 0);
}

#[test]
fn a_name_without_a_namespace_is_taken_over() {
    let Some(lab) = Lab::new("unbound") else { return };
    let (namespaces, name) = (lab.namespaces("control.sock"), lab.name(A));
    fs::create_dir_all(netns::path(&name).parent().unwrap()).unwrap();
    // Killed between making the file and mounting the namespace on it.
    drop(fs::File::create_new(netns::path(&name)).unwrap());
    namespaces.establish(&name).unwrap();
    namespaces.enter(&name, || Ok(())).unwrap();
    namespaces.remove_where(|_| true);
    assert!(!netns::path(&name).exists());
}
