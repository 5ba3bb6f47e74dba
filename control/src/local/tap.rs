//! The TAP of one namespace.
//!
//! Inside: `lo` and `tg0` are up, `tg0` has every gateway address as a /32, and the default route leads into it by an
//! address that exists only here ([`PEER`]) with a permanent neighbour entry, so that no ARP is ever needed. Packets cross
//! with an Ethernet header that both sides know beforehand.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr},
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
use tun_rs::{AsyncDevice, DeviceBuilder, Layer};

use super::{
    Wanted,
    netns::{Namespaces, NetnsError},
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
const ETHERNET: usize = 14;
/// Largest frame that is read.
pub(super) const FRAME_MAX: usize = 9216 + ETHERNET;

/// An open TAP. Closing it removes it from its namespace.
pub(super) struct Tap {
    device: AsyncDevice,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").finish_non_exhaustive()
    }
}

/// What came out of a namespace.
pub(super) enum Read<'a> {
    /// An IPv4 packet.
    Ipv4(&'a [u8]),
    /// Something that is not forwarded: ARP, IPv6.
    Other,
}

impl Tap {
    /// Makes namespace and TAP. Must be called inside a tokio runtime.
    pub(super) async fn open(namespaces: &Namespaces, want: &Wanted) -> Result<Tap, NetnsError> {
        let device = run(namespaces, want, |want| {
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
        let device =
            AsyncDevice::new(device).map_err(|source| NetnsError::Os { what: "watch the TAP", source })?;
        Ok(Tap { device })
    }

    /// Brings addresses and MTU of an open TAP in line with `want`.
    pub(super) async fn change(&self, namespaces: &Namespaces, want: &Wanted) -> Result<(), NetnsError> {
        run(namespaces, want, set_up).await
    }

    /// Writes an IPv4 packet. False if the kernel does not take it now.
    pub(super) fn write(&self, packet: &[u8]) -> bool {
        let mut frame = Vec::with_capacity(ETHERNET + packet.len());
        frame.extend_from_slice(&TAP_MAC);
        frame.extend_from_slice(&PEER_MAC);
        frame.extend_from_slice(&EtherType::IPV4.0.to_be_bytes());
        frame.extend_from_slice(packet);
        self.device.try_send(&frame).is_ok()
    }

    /// The next frame that came out, read into `frame` of [`FRAME_MAX`] bytes; `None` when there is none.
    pub(super) fn read<'a>(&self, frame: &'a mut [u8]) -> Option<Read<'a>> {
        let len = self.device.try_recv(frame).ok()?;
        let frame = frame.get(..len)?;
        let ipv4 = frame.get(12..ETHERNET) == Some(&EtherType::IPV4.0.to_be_bytes());
        Some(if ipv4 { Read::Ipv4(&frame[ETHERNET..]) } else { Read::Other })
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
    // Nobody speaks IPv6 here yet; router solicitations would be noise.
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{NAME}/disable_ipv6"), "1");
    handle.link().set(LinkUnspec::new_with_index(lo).up().build()).execute().await?;
    let link = LinkUnspec::new_with_index(tap).mtu(want.mtu.into()).up().build();
    handle.link().set(link).execute().await?;
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

/// Makes the IPv4 addresses of the TAP these.
async fn addresses(handle: &Handle, tap: u32, wanted: &[Ipv4Addr]) -> Result<(), rtnetlink::Error> {
    let mut have = Vec::new();
    let mut listed = Box::pin(handle.address().get().set_link_index_filter(tap).execute());
    while let Some(address) = listed.try_next().await? {
        let local = address.attributes.iter().find_map(|a| match a {
            AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
            _ => None,
        });
        let Some(ip) = local else { continue };
        if wanted.contains(&ip) {
            have.push(ip);
        } else {
            handle.address().del(address).execute().await?;
        }
    }
    for ip in wanted.iter().filter(|ip| !have.contains(ip)) {
        handle.address().add(tap, (*ip).into(), 32).execute().await?;
    }
    Ok(())
}
