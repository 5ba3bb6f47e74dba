//! The TAP of one namespace.
//!
//! Inside: `lo` and `tg0` are up, `tg0` has every gateway address as a /32, and the default route leads into it by an
//! address that exists only here ([`PEER`]) with a permanent neighbour entry, so that no ARP is ever needed. Packets cross
//! with an Ethernet header that both sides know beforehand.

use std::{
    fmt, fs,
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, PoisonError},
    task::{Context, Waker},
    thread,
};

use etherparse::EtherType;
use futures_util::TryStreamExt;
use rtnetlink::{
    Handle, LinkUnspec, RouteMessageBuilder,
    packet_route::{
        address::AddressAttribute,
        neighbour::NeighbourState,
        route::{RouteProtocol, RouteScope},
    },
};
use tidegate_fastpath::types::VrfId;
use tun_rs::{AsyncDevice, DeviceBuilder, Layer};

use super::{
    Wanted,
    netns::{Namespaces, NetnsError},
    turn::Turns,
};

/// Name of the TAP in its namespace.
const NAME: &str = "tg0";
/// The next hop of the default route (link-local, RFC 3927; never on a wire).
const PEER: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// MAC of [`PEER`].
const PEER_MAC: [u8; 6] = [0x02, 0x74, 0x67, 0, 0, 1];
/// MAC of the TAP.
const TAP_MAC: [u8; 6] = [0x02, 0x74, 0x67, 0, 0, 2];
/// Length of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// The Ethernet header of what is written.
const HEADER: [u8; ETHERNET] = header();
/// What a namespace must not inherit from the host, and must not do. Set before the TAP exists, because an interface
/// takes its settings from `default` when it is made.
const SYSCTLS: &[(&str, &str)] = &[
    // Writing this sets others to their defaults, so it comes first. A namespace is an end host, never a router.
    ("ipv4/ip_forward", "0"),
    // The route back to a VM leads by the default route: nothing to compare a source with.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // A proxy listens on an address that is there a moment later.
    ("ipv4/ip_nonlocal_bind", "1"),
    // Where nobody says that a path is narrower (RFC 4821).
    ("ipv4/tcp_mtu_probing", "1"),
    // A VM must not move a route of the namespace by an ICMP redirect (RFC 1122 section 3.2.2.2).
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    // Nobody speaks IPv6 here yet; router solicitations would be noise.
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
];
/// How many TAPs are closed at a time.
const CLOSERS: usize = 32;
/// Largest frame that is read.
pub(super) const FRAME_MAX: usize = 9216 + ETHERNET;

/// An open TAP. Closing it removes it from its namespace.
pub(super) struct Tap {
    device: AsyncDevice,
    turns: Turns,
    vrf: VrfId,
    waker: Waker,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("vrf", &self.vrf).finish_non_exhaustive()
    }
}

/// What came out of a namespace.
pub(super) enum Read {
    /// An IPv4 packet of this many bytes, behind the Ethernet header.
    Ipv4(usize),
    /// Something that is not forwarded: ARP, IPv6.
    Other,
    /// Nothing; the TAP is put in the queue when that changes.
    Empty,
    /// The interface is gone: somebody deleted it.
    Gone,
}

/// What became of a packet for a namespace.
pub(super) enum Written {
    /// The kernel has it.
    Taken,
    /// The kernel does not take it now.
    Refused,
    /// The interface is gone: somebody deleted it.
    Gone,
}

impl Tap {
    /// Makes namespace and TAP. Must be called inside a tokio runtime.
    pub(super) async fn open(
        namespaces: &Namespaces,
        want: &Wanted,
        turns: &Turns,
    ) -> Result<Tap, NetnsError> {
        let device = run(namespaces, want, |want| {
            SYSCTLS.iter().try_for_each(|(key, value)| sysctl(key, value))?;
            let device = DeviceBuilder::new()
                .name(NAME)
                .layer(Layer::L2)
                .mac_addr(TAP_MAC)
                .mtu(want.mtu)
                .build_sync()?;
            device.set_nonblocking(true)?;
            set_up(want)?;
            Ok(device)
        })
        .await?;
        let watch = |source| NetnsError::Os { what: "watch the TAP", source };
        let device = AsyncDevice::new(device).map_err(watch)?;
        // It is from the start, but the runtime refuses writes until it has heard so.
        device.writable().await.map_err(watch)?;
        let tap = Tap { device, turns: turns.clone(), vrf: want.vrf, waker: turns.waker(want.vrf) };
        tap.arm();
        Ok(tap)
    }

    /// Brings addresses and MTU of an open TAP in line with `want`.
    pub(super) async fn change(&self, namespaces: &Namespaces, want: &Wanted) -> Result<(), NetnsError> {
        run(namespaces, want, set_up).await
    }

    /// Writes an IPv4 packet. Costs a system call; never waits.
    pub(super) fn write(&self, packet: &[u8]) -> Written {
        match self.device.try_send_vectored(&[IoSlice::new(&HEADER), IoSlice::new(packet)]) {
            Ok(_) => Written::Taken,
            Err(error) if is_gone(&error) => Written::Gone,
            Err(_) => Written::Refused,
        }
    }

    /// The next frame that came out, read into `frame` of [`FRAME_MAX`] bytes.
    pub(super) fn read(&self, frame: &mut [u8]) -> Read {
        match self.device.try_recv(frame) {
            Ok(len) => {
                self.turns.push(self.vrf);
                match frame.get(..len).and_then(|frame| frame.split_at_checked(ETHERNET)) {
                    Some((header, packet)) if header[12..] == EtherType::IPV4.0.to_be_bytes() => {
                        Read::Ipv4(packet.len())
                    }
                    _ => Read::Other,
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.arm();
                Read::Empty
            }
            Err(_) => Read::Gone,
        }
    }

    /// Asks the runtime to put this TAP in the queue when there is something to read.
    fn arm(&self) {
        if self.device.poll_readable(&mut Context::from_waker(&self.waker)).is_ready() {
            self.turns.push(self.vrf);
        }
    }
}

/// Closes TAPs, several at a time: the kernel waits some 20 ms for each, most of it not in anybody's way.
/// 300 one after another take 5.4 s, so 0.4 s.
pub(super) fn close_all(taps: Vec<Tap>) {
    let closers = taps.len().min(CLOSERS);
    let taps = Mutex::new(taps);
    let next = || taps.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let close = || while next().is_some() {};
    thread::scope(|scope| (0..closers).for_each(|_| drop(scope.spawn(close))));
}

const fn header() -> [u8; ETHERNET] {
    let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (TAP_MAC, PEER_MAC);
    let [m, n] = EtherType::IPV4.0.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n]
}

/// What a TAP says whose interface was deleted.
fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EBADFD as i32)
}

/// Sets a value below `/proc/sys/net`, for the namespace of this thread. What the kernel was built without is no error.
fn sysctl(key: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/net/{key}");
    match fs::write(&path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) => Ok(()),
        done => done.map_err(|e| io::Error::new(e.kind(), format!("{path}: {e}"))),
    }
}

/// Runs `work` inside the namespace, which is made if need be, on a thread of its own.
async fn run<T: Send + 'static>(
    namespaces: &Namespaces,
    want: &Wanted,
    work: fn(&Wanted) -> io::Result<T>,
) -> Result<T, NetnsError> {
    let (namespaces, want) = (namespaces.clone(), want.clone());
    let inside = move || {
        namespaces.establish(&want.name)?;
        namespaces.enter(&want.name, || work(&want))
    };
    let done = tokio::task::spawn_blocking(inside).await;
    done.unwrap_or_else(|e| Err(NetnsError::Os { what: "finish", source: io::Error::other(e) }))
}

/// Addresses, routes and link states, from inside the namespace. What is right already stays.
fn set_up(want: &Wanted) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let done = configure(&handle, want).await.map_err(io::Error::other);
        connection.abort();
        done
    })
}

async fn configure(handle: &Handle, want: &Wanted) -> Result<(), rtnetlink::Error> {
    let lo = index(handle, "lo").await?;
    let tap = index(handle, NAME).await?;
    handle.link().set(LinkUnspec::new_with_index(lo).up().build()).execute().await?;
    let link = LinkUnspec::new_with_index(tap).mtu(want.mtu.into()).up().build();
    handle.link().set(link).execute().await?;
    addresses(handle, lo, &want.vips).await?;
    addresses(handle, tap, &want.addresses).await?;
    handle
        .neighbours()
        .add(tap, PEER.into())
        .link_layer_address(&PEER_MAC)
        .state(NeighbourState::Permanent)
        .replace()
        .execute()
        .await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .gateway(PEER)
        .onlink()
        .output_interface(tap)
        .protocol(RouteProtocol::Static)
        .scope(RouteScope::Universe)
        .build();
    handle.route().add(route).replace().execute().await
}

async fn index(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let mut links = Box::pin(handle.link().get().match_name(name.to_owned()).execute());
    let link = links.try_next().await?;
    link.map(|link| link.header.index).ok_or(rtnetlink::Error::RequestFailed)
}

/// Makes the IPv4 addresses of an interface these; 127.0.0.1 stays. New ones come before old ones go, because the kernel takes the routes of an
/// interface away with its last address.
async fn addresses(handle: &Handle, tap: u32, wanted: &[Ipv4Addr]) -> Result<(), rtnetlink::Error> {
    let (mut have, mut old) = (Vec::new(), Vec::new());
    let mut listed = Box::pin(handle.address().get().set_link_index_filter(tap).execute());
    while let Some(address) = listed.try_next().await? {
        let local = address.attributes.iter().find_map(|a| match a {
            AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
            _ => None,
        });
        match local {
            Some(ip) if wanted.contains(&ip) => have.push(ip),
            Some(ip) if ip.is_loopback() => {}
            Some(_) => old.push(address),
            None => {}
        }
    }
    for ip in wanted.iter().filter(|ip| !have.contains(ip)) {
        handle.address().add(tap, (*ip).into(), 32).execute().await?;
    }
    for address in old {
        handle.address().del(address).execute().await?;
    }
    Ok(())
}
