//! Somebody on a network: a VM, a host, a router upstream. Knows which headers its packets have on the gateway's port.

use std::net::Ipv4Addr;

use tidegate_fastpath::{
    table::{Link, Tables},
    types::{MacAddr, NetId, PortId},
};

use crate::packet;

/// A station.
#[derive(Clone, Debug)]
pub struct Station {
    /// Its network.
    pub id: NetId,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its MAC.
    pub mac: MacAddr,
    /// The port of the gateway that it is behind.
    pub port: PortId,
    /// Our MAC on its network.
    pub us: MacAddr,
    vlan: Option<u16>,
    tunnel: Option<Tunnel>,
    /// Words for the outer header of what it sends.
    outer: String,
    /// `type=` of what it sends, where the text does not tell.
    ether_type: String,
}

#[derive(Clone, Debug)]
struct Tunnel {
    vni: u32,
    /// Our tunnel end.
    ours: Ipv4Addr,
    udp_port: u16,
    /// The station's host.
    host: Ipv4Addr,
    /// Our MAC on the underlay.
    us: MacAddr,
    /// The MAC of the underlay next hop towards the host.
    next: MacAddr,
}

/// The MAC of whoever has an address; so stations with one address have one MAC, in every VPC.
pub(super) fn mac_of(ip: Ipv4Addr) -> MacAddr {
    let [a, b, c, d] = ip.octets();
    MacAddr::new([2, 1, a, b, c, d])
}

impl Station {
    pub(super) fn new(tables: &Tables, id: NetId, ip: Ipv4Addr, host: Option<Ipv4Addr>) -> Station {
        let net = tables.net(id).expect("a live network");
        let tunnel = |vni| {
            let vtep = tables.vtep_of(net).expect("a tunnel end");
            let host = host.expect("a station of a VXLAN network has a host");
            let underlay = tables.net(vtep.underlay).expect("an underlay");
            let (ours, udp_port) = (vtep.address, vtep.udp_port);
            Tunnel { vni, ours, udp_port, host, us: underlay.mac, next: mac_of(host) }
        };
        let (port, vlan, tunnel) = match net.link {
            Link::Port { port, vlan } => (port, vlan.map(|vid| vid.get()), None),
            Link::Vxlan { vtep, vni } => {
                let underlay = tables.net(tables.vteps[vtep.index()].underlay).expect("an underlay");
                let Link::Port { port, vlan } = underlay.link else { panic!("tunnel in tunnel") };
                (port, vlan.map(|vid| vid.get()), Some(tunnel(vni.get())))
            }
        };
        Station {
            id,
            ip,
            mac: mac_of(ip),
            port,
            us: net.mac,
            vlan,
            tunnel,
            outer: String::new(),
            ether_type: String::new(),
        }
    }

    /// The same station behind another VTEP.
    pub fn at(&self, host: &str) -> Station {
        let host: Ipv4Addr = host.parse().expect("an address");
        let tunnel = self.tunnel.clone().map(|tunnel| Tunnel { host, next: mac_of(host), ..tunnel });
        Station { tunnel, ..self.clone() }
    }

    /// The same station with its host reached by this underlay router.
    pub fn through(&self, router: &str) -> Station {
        let next = mac_of(router.parse().expect("an address"));
        let tunnel = self.tunnel.clone().map(|tunnel| Tunnel { next, ..tunnel });
        Station { tunnel, ..self.clone() }
    }

    /// The same station with other words in the outer IPv4, UDP and VXLAN headers of what it sends and gets.
    pub fn outer(&self, words: &str) -> Station {
        Station { outer: words.to_owned(), ..self.clone() }
    }

    /// The same station sending frames of this EtherType (hexadecimal), for bytes that are no header.
    pub fn typed(&self, ether_type: &str) -> Station {
        Station { ether_type: format!("type={ether_type} "), ..self.clone() }
    }

    /// The same station with another MAC.
    pub fn with_mac(&self, mac: &str) -> Station {
        Station { mac: mac.parse().expect("a MAC"), ..self.clone() }
    }

    /// The whole frame of a packet that it sends to the gateway.
    pub fn sends(&self, inner: &str) -> String {
        self.sends_to(self.us, inner)
    }

    /// The whole frame of a packet that it sends to this MAC.
    pub fn sends_to(&self, destination: MacAddr, inner: &str) -> String {
        let link = format!("eth {} > {destination} ", self.mac);
        match &self.tunnel {
            None if self.vlan.is_some() => format!("{link}| {}{}| {inner}", self.tag(), self.ether_type),
            None => format!("{link}{}| {inner}", self.ether_type),
            Some(t) => format!(
                "eth {} > {} {}| vxlan {} {} > {} dport={} {} | {link}{}| {inner}",
                t.next,
                t.us,
                self.outer_tag(),
                t.vni,
                t.host,
                t.ours,
                t.udp_port,
                self.outer,
                self.ether_type
            ),
        }
    }

    /// The whole frame of a packet that it gets from the gateway.
    pub fn gets(&self, inner: &str) -> String {
        self.gets_as(self.mac, inner)
    }

    /// The whole frame of a packet that comes past it for this MAC.
    pub fn gets_as(&self, destination: MacAddr, inner: &str) -> String {
        let link = format!("eth {} > {destination} ", self.us);
        match &self.tunnel {
            None if self.vlan.is_some() => format!("{link}| {}| {inner}", self.tag()),
            None => format!("{link}| {inner}"),
            Some(t) => format!(
                "eth {} > {} {}| vxlan {} {} > {} dport={} ttl=64 df {} | {link}| {inner}",
                t.us,
                t.next,
                self.outer_tag(),
                t.vni,
                t.ours,
                t.host,
                t.udp_port,
                self.outer
            ),
        }
    }

    fn tag(&self) -> String {
        self.vlan.map(|vid| format!("vlan {vid} ")).unwrap_or_default()
    }

    /// The tag of the underlay.
    fn outer_tag(&self) -> String {
        self.vlan.map(|vid| format!("| vlan {vid} ")).unwrap_or_default()
    }

    /// The gratuitous ARP of this station, as the inside of a frame.
    pub fn gratuitous(&self) -> String {
        format!("arp ask {} from {} {}", self.ip, self.ip, self.mac)
    }

    /// "I have my address", to our address `us`.
    pub fn tells(&self, us: &str) -> String {
        format!("arp tell {} {} to {us} {}", self.ip, self.mac, self.us)
    }

    /// The reply to an ARP request that reached this station.
    pub(super) fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (sender, target_mac) = asked(frame, self.ip)?;
        let to_us = target_mac == MacAddr::BROADCAST || target_mac == self.mac;
        let here = self.gets_as(target_mac, "arp ask");
        let described = packet::describe(frame);
        let reached = to_us && described.starts_with(headers(&here)) && self.same_tunnel(&described);
        reached.then(|| super::frame(&self.sends(&self.tells(&sender.to_string()))))
    }

    /// Whether the frame asks for this station's address, on this station's network.
    pub(super) fn is_asked(&self, frame: &[u8]) -> bool {
        let described = packet::describe(frame);
        let same = match &self.tunnel {
            Some(t) => described.contains(&format!("vxlan {} {} > ", t.vni, t.ours)),
            None => described.starts_with(headers(&self.gets_as(MacAddr::BROADCAST, "arp ask"))),
        };
        same && asked(frame, self.ip).is_some()
    }

    fn same_tunnel(&self, described: &str) -> bool {
        match &self.tunnel {
            None => !described.contains("vxlan"),
            Some(t) => {
                described.contains(&format!("vxlan {} {} > {} ", t.vni, t.ours, t.host))
                    && described.contains(&format!("dport={} ", t.udp_port))
            }
        }
    }
}

/// The Ethernet header and tag of a frame in words.
fn headers(text: &str) -> &str {
    let end = text.find("| vxlan").or_else(|| text.find("| arp")).unwrap_or(text.len());
    &text[..end]
}

/// Who asks for `ip` with this frame, and which MAC the frame is for.
fn asked(frame: &[u8], ip: Ipv4Addr) -> Option<(Ipv4Addr, MacAddr)> {
    let text = packet::describe(frame);
    let (before, arp) = text.split_once(&format!("| arp ask {ip} from "))?;
    let sender = arp.split_whitespace().next()?.parse().ok()?;
    let last = before.rsplit("eth ").next()?;
    let mac = last.split_whitespace().nth(2)?.parse().ok()?;
    (sender != ip).then_some((sender, mac))
}
