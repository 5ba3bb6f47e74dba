//! Facts from the kernel, by netlink: all of them at the start, each change as it happens. It only asks.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use futures_util::{Stream, StreamExt, TryStreamExt};
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder, new_multicast_connection,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::{AddressAttribute, AddressMessage},
        link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
        route::RouteAttribute,
        tc::TcHandle,
    },
};
use tidegate_zsnp::Mac;

use super::inventory::{Change, Kind, Link, Vxlan};

/// A connection to the kernel.
pub struct Netlink {
    handle: Handle,
    messages: Box<dyn Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Unpin + Send>,
}

impl Netlink {
    /// Connects and subscribes; changes from now on wait in [`Netlink::next`]. Needs a tokio runtime.
    ///
    /// # Errors
    /// When there is no socket.
    pub fn open() -> Result<Netlink> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv4Route,
        ];
        let (connection, handle, messages) =
            new_multicast_connection(&groups).context("no netlink socket")?;
        tokio::spawn(connection);
        Ok(Netlink { handle, messages: Box::new(messages.map(|(message, _)| message)) })
    }

    /// All facts, in an order in which each finds what it refers to.
    ///
    /// # Errors
    /// What the kernel said.
    pub async fn dump(&self) -> Result<Vec<Change>> {
        let links: Vec<_> = self.handle.link().get().execute().try_collect().await?;
        let addresses: Vec<_> = self.handle.address().get().execute().try_collect().await?;
        let neighbours = self.handle.neighbours().get().set_address_family(AddressFamily::Bridge);
        let neighbours: Vec<_> = neighbours.execute().try_collect().await?;
        let mut facts: Vec<Change> = links.iter().filter_map(link).map(Change::Link).collect();
        facts.extend(addresses.iter().filter_map(|m| address(m).map(|(index, a)| Change::Address(index, a))));
        facts.extend(neighbours.iter().filter_map(neighbour));
        Ok(facts)
    }

    /// The next change; `None` when the kernel hung up. Messages that are of no interest are passed over.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            let NetlinkPayload::InnerMessage(message) = self.messages.next().await?.payload else { continue };
            if let Some(change) = change(&message) {
                return Some(change);
            }
        }
    }

    /// The index of the interface that leads to an address, if one does.
    pub async fn route(&self, to: Ipv4Addr) -> Option<u32> {
        let ask = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, 32).build();
        let mut answers = Box::pin(self.handle.route().get(ask).execute());
        let route = answers.next().await?.ok()?;
        route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })
    }
}

/// Takes the `clsact` qdisc off a device.
///
/// # Errors
/// When there is none, or the device is gone.
pub async fn remove_clsact(netlink: &Netlink, index: u32) -> Result<()> {
    let mut remove = netlink.handle.qdisc().del(i32::try_from(index)?);
    remove.message_mut().header.parent = TcHandle::CLSACT;
    remove.message_mut().header.handle = TcHandle { major: 0xffff, minor: 0 };
    Ok(remove.execute().await?)
}

fn change(message: &RouteNetlinkMessage) -> Option<Change> {
    use RouteNetlinkMessage as M;
    match message {
        M::NewLink(it) => link(it).map(Change::Link),
        // The other family says that the device is no longer a port of a bridge; a NewLink says so, too.
        M::DelLink(it) if it.header.interface_family != AddressFamily::Bridge => {
            Some(Change::LinkGone(it.header.index))
        }
        M::NewAddress(it) => address(it).map(|(index, address)| Change::Address(index, address)),
        M::DelAddress(it) => address(it).map(|(index, address)| Change::AddressGone(index, address)),
        M::NewNeighbour(it) => neighbour(it),
        M::NewRoute(_) | M::DelRoute(_) => Some(Change::Routes),
        _ => None,
    }
}

fn link(message: &LinkMessage) -> Option<Link> {
    if message.header.interface_family == AddressFamily::Bridge {
        return None;
    }
    let index = message.header.index;
    let mut link = Link { index, name: String::new(), kind: Kind::Other, bridge: None, mtu: 0 };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(bridge) => link.bridge = (*bridge != 0).then_some(*bridge),
            LinkAttribute::LinkInfo(info) => {
                if let Some(kind) = kind(info) {
                    link.kind = kind;
                }
            }
            _ => {}
        }
    }
    Some(link)
}

fn kind(info: &[LinkInfo]) -> Option<Kind> {
    let mut found = None;
    for info in info {
        match info {
            LinkInfo::Kind(InfoKind::Bridge) => found = Some(Kind::Bridge),
            LinkInfo::Kind(InfoKind::Other(kind)) if kind == "openvswitch" => found = Some(Kind::OpenVswitch),
            LinkInfo::Kind(InfoKind::Veth | InfoKind::Tun) => found = Some(Kind::Vm),
            LinkInfo::Data(InfoData::Vxlan(data)) => found = Some(Kind::Vxlan(vxlan(data))),
            _ => {}
        }
    }
    found
}

fn vxlan(data: &[InfoVxlan]) -> Vxlan {
    let mut vxlan = Vxlan { udp_port: 8472, ..Vxlan::default() };
    for datum in data {
        match datum {
            InfoVxlan::Id(vni) => vxlan.vni = *vni,
            InfoVxlan::Local(local) => vxlan.local = Some(*local),
            InfoVxlan::Link(index) => vxlan.underlay = (*index != 0).then_some(*index),
            InfoVxlan::Port(port) => vxlan.udp_port = *port,
            _ => {}
        }
    }
    if data.contains(&InfoVxlan::CollectMetadata(true)) {
        vxlan.vni = 0;
    }
    vxlan
}

fn address(message: &AddressMessage) -> Option<(u32, Ipv4Addr)> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some((message.header.index, *address)),
        _ => None,
    })
}

/// An entry of a bridge's or of a VXLAN device's forwarding table.
fn neighbour(message: &NeighbourMessage) -> Option<Change> {
    if message.header.family != AddressFamily::Bridge {
        return None;
    }
    let (mut mac, mut vtep, mut on_bridge) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok().map(Mac),
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => vtep = Some(*address),
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                vtep = <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from);
            }
            NeighbourAttribute::Controller(_) => on_bridge = true,
            _ => {}
        }
    }
    let (mac, port) = (mac?, message.header.ifindex);
    match vtep {
        Some(vtep) if mac != Mac::default() => Some(Change::Behind { device: port, mac, vtep }),
        // Permanent entries are the MACs of the ports themselves.
        None if on_bridge && message.header.state != NeighbourState::Permanent => {
            Some(Change::Seen { port, mac })
        }
        _ => None,
    }
}
