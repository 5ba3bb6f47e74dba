//! Text to bytes.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    str::FromStr,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use etherparse::{
    EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpFragOffset, IpNumber, Ipv4Header,
    Ipv4Options, SingleVlanHeader, TcpHeader, TcpOptionElement, UdpHeader, VlanId, VlanPcp,
    icmpv4::{DestUnreachableHeader, TimeExceededCode},
};
use tidegate_fastpath::types::MacAddr;

use super::layers;

/// The bytes of a packet in words; see the [module](super).
///
/// # Errors
/// Names the header that cannot be read.
pub fn frame(text: &str) -> Result<Vec<u8>> {
    let mut packet = Vec::new();
    let mut inner = Inner::Nothing;
    for words in layers(text).into_iter().rev() {
        let mut header = Header { rest: words.clone(), kind: words.first().copied().unwrap_or_default() };
        (packet, inner) = header.emit(packet, inner).with_context(|| format!("in `{}`", words.join(" ")))?;
        ensure!(header.rest.is_empty(), "unknown words `{}` in `{}`", header.rest.join(" "), words.join(" "));
    }
    Ok(packet)
}

/// What the bytes made so far are.
#[derive(Clone, Copy, PartialEq)]
enum Inner {
    Nothing,
    Frame,
    Of(EtherType),
}

/// One header; words leave `rest` as they are understood.
struct Header<'a> {
    kind: &'a str,
    rest: Vec<&'a str>,
}

impl<'a> Header<'a> {
    fn emit(&mut self, payload: Vec<u8>, inner: Inner) -> Result<(Vec<u8>, Inner)> {
        self.take(0)?;
        match self.kind {
            "eth" => Ok((self.eth(&payload, inner)?, Inner::Frame)),
            "vlan" => Ok((self.vlan(&payload, inner)?, Inner::Of(EtherType::VLAN_TAGGED_FRAME))),
            "arp" => Ok((self.arp()?, Inner::Of(EtherType::ARP))),
            "hex" => Ok((hex(self.take(0)?)?, Inner::Nothing)),
            _ => Ok((self.ipv4(payload)?, Inner::Of(EtherType::IPV4))),
        }
    }

    fn eth(&mut self, payload: &[u8], inner: Inner) -> Result<Vec<u8>> {
        let (source, destination) = self.pair::<MacAddr>()?;
        let ether_type = self.ether_type(inner)?;
        let header =
            Ethernet2Header { source: source.octets(), destination: destination.octets(), ether_type };
        Ok([&header.to_bytes(), payload].concat())
    }

    fn vlan(&mut self, payload: &[u8], inner: Inner) -> Result<Vec<u8>> {
        let header = SingleVlanHeader {
            vlan_id: VlanId::try_new(self.take(0)?.parse()?)?,
            pcp: VlanPcp::try_new(self.value("pcp")?.unwrap_or(0))?,
            drop_eligible_indicator: false,
            ether_type: self.ether_type(inner)?,
        };
        Ok([&header.to_bytes(), payload].concat())
    }

    fn ether_type(&mut self, inner: Inner) -> Result<EtherType> {
        let stated: Option<String> = self.value("type")?;
        match (stated, inner) {
            (Some(hex), _) => Ok(EtherType(u16::from_str_radix(hex.trim_start_matches("0x"), 16)?)),
            (None, Inner::Of(ether_type)) => Ok(ether_type),
            (None, _) => bail!("state `type=`; what follows does not tell"),
        }
    }

    fn arp(&mut self) -> Result<Vec<u8>> {
        let (operation, sender, target): (u8, (Ipv4Addr, MacAddr), (Ipv4Addr, MacAddr)) =
            match self.take(0)? {
                "ask" => {
                    let target = self.take(0)?.parse()?;
                    self.word("from")?;
                    let sender = (self.take(0)?.parse()?, self.take(0)?.parse()?);
                    (1, sender, (target, self.value("to")?.unwrap_or_default()))
                }
                "tell" => {
                    let sender = (self.take(0)?.parse()?, self.take(0)?.parse()?);
                    self.word("to")?;
                    (2, sender, (self.take(0)?.parse()?, self.take(0)?.parse()?))
                }
                other => bail!("arp asks or tells, it does not `{other}`"),
            };
        let fixed = [0, 1, 8, 0, 6, 4, 0, operation];
        let pair = |(ip, mac): (Ipv4Addr, MacAddr)| [&mac.octets()[..], &ip.octets()].concat();
        Ok([&fixed[..], &pair(sender), &pair(target)].concat())
    }

    fn ipv4(&mut self, payload: Vec<u8>) -> Result<Vec<u8>> {
        let filler = self.value::<usize>("len")?.unwrap_or(0);
        let payload = if payload.is_empty() { (0..filler).map(|i| i as u8).collect() } else { payload };
        let mut ip = self.ipv4_words()?;
        let body = match self.kind {
            "tcp" => self.tcp(&mut ip, &payload)?,
            "udp" => self.udp(&mut ip, &payload)?,
            "vxlan" => self.vxlan(&mut ip, &payload)?,
            "icmp" => self.icmp(&mut ip, &payload)?,
            "ip" => self.bare(&mut ip, payload)?,
            other => bail!("no header is called `{other}`"),
        };
        ip.set_payload_len(body.len())?;
        ip.header_checksum = ip.calc_header_checksum() ^ u16::from(self.flag("badsum"));
        Ok([&ip.to_bytes()[..], &body].concat())
    }

    fn ipv4_words(&mut self) -> Result<Ipv4Header> {
        let tos: u8 = self.value("tos")?.unwrap_or(0);
        let options = match self.value::<String>("opt")? {
            Some(text) => Ipv4Options::try_from(&hex(&text)?[..])?,
            None => Ipv4Options::new(),
        };
        Ok(Ipv4Header {
            dscp: (tos >> 2).try_into()?,
            ecn: (tos & 3).try_into()?,
            identification: self.value("ipid")?.unwrap_or(0),
            dont_fragment: self.flag("df"),
            more_fragments: self.flag("mf"),
            fragment_offset: IpFragOffset::try_new(self.value::<u16>("off")?.unwrap_or(0) / 8)?,
            time_to_live: self.value("ttl")?.unwrap_or(64),
            options,
            ..Ipv4Header::default()
        })
    }

    fn tcp(&mut self, ip: &mut Ipv4Header, payload: &[u8]) -> Result<Vec<u8>> {
        let (source, destination) = self.sockets(ip, IpNumber::TCP)?;
        let mut tcp = TcpHeader::new(source, destination, self.value("seq")?.unwrap_or(0), 65535);
        tcp.acknowledgment_number = self.value("ack")?.unwrap_or(0);
        if let Some(mss) = self.value("mss")? {
            tcp.set_options(&[TcpOptionElement::MaximumSegmentSize(mss)]).map_err(|e| anyhow!("{e:?}"))?;
        }
        if let Some(flags) = self.rest.iter().position(|w| w.chars().all(|c| "SAFRPU.".contains(c))) {
            let flags = self.take(flags)?;
            let has = |c| flags.contains(c);
            (tcp.syn, tcp.ack, tcp.fin) = (has('S'), has('A'), has('F'));
            (tcp.rst, tcp.psh, tcp.urg) = (has('R'), has('P'), has('U'));
        }
        tcp.checksum = tcp.calc_checksum_ipv4(ip, payload)? ^ u16::from(self.flag("badl4sum"));
        Ok([&tcp.to_bytes()[..], payload].concat())
    }

    fn udp(&mut self, ip: &mut Ipv4Header, payload: &[u8]) -> Result<Vec<u8>> {
        let (source, destination) = self.sockets(ip, IpNumber::UDP)?;
        let mut udp = UdpHeader::with_ipv4_checksum(source, destination, ip, payload)?;
        udp.checksum ^= u16::from(self.flag("badl4sum"));
        if self.flag("nosum") {
            udp.checksum = 0;
        }
        Ok([&udp.to_bytes()[..], payload].concat())
    }

    fn vxlan(&mut self, ip: &mut Ipv4Header, payload: &[u8]) -> Result<Vec<u8>> {
        let vni: u32 = self.take(0)?.parse()?;
        self.addresses(ip, IpNumber::UDP)?;
        let ports = (self.value("sport")?.unwrap_or(49152), self.value("dport")?.unwrap_or(8472));
        let flags: u8 = self.value("flags")?.unwrap_or(8);
        let reserved: u8 = self.value("reserved")?.unwrap_or(0);
        let header = [u32::from(flags) << 24, vni << 8 | u32::from(reserved)].map(u32::to_be_bytes).concat();
        let body = [&header[..], payload].concat();
        let udp = if self.flag("sum") {
            UdpHeader::with_ipv4_checksum(ports.0, ports.1, ip, &body)?
        } else {
            UdpHeader::without_ipv4_checksum(ports.0, ports.1, body.len())?
        };
        Ok([&udp.to_bytes()[..], &body].concat())
    }

    fn icmp(&mut self, ip: &mut Ipv4Header, payload: &[u8]) -> Result<Vec<u8>> {
        use DestUnreachableHeader as Unreachable;
        let kind = self.take(0)?;
        self.addresses(ip, IpNumber::ICMP)?;
        let echo =
            IcmpEchoHeader { id: self.value("id")?.unwrap_or(0), seq: self.value("seq")?.unwrap_or(0) };
        let icmp = match kind {
            "echo" => Icmpv4Type::EchoRequest(echo),
            "echo-reply" => Icmpv4Type::EchoReply(echo),
            "ttl-exceeded" => Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit),
            "no-net" => Icmpv4Type::DestinationUnreachable(Unreachable::Network),
            "no-host" => Icmpv4Type::DestinationUnreachable(Unreachable::Host),
            "no-protocol" => Icmpv4Type::DestinationUnreachable(Unreachable::Protocol),
            "no-port" => Icmpv4Type::DestinationUnreachable(Unreachable::Port),
            "prohibited" => Icmpv4Type::DestinationUnreachable(Unreachable::FilterProhibited),
            "frag-needed" => {
                let next_hop_mtu = self.value("mtu")?.context("`frag-needed` has an `mtu=`")?;
                Icmpv4Type::DestinationUnreachable(Unreachable::FragmentationNeeded { next_hop_mtu })
            }
            other => bail!("no ICMP message is called `{other}`"),
        };
        let mut header = Icmpv4Header::with_checksum(icmp, payload);
        header.checksum ^= u16::from(self.flag("badl4sum"));
        Ok([&header.to_bytes()[..], payload].concat())
    }

    fn bare(&mut self, ip: &mut Ipv4Header, payload: Vec<u8>) -> Result<Vec<u8>> {
        let protocol = self.value("proto")?.unwrap_or(253);
        self.addresses(ip, IpNumber(protocol))?;
        Ok(payload)
    }

    fn sockets(&mut self, ip: &mut Ipv4Header, protocol: IpNumber) -> Result<(u16, u16)> {
        let (source, destination) = self.pair::<SocketAddrV4>()?;
        (ip.source, ip.destination) = (source.ip().octets(), destination.ip().octets());
        ip.protocol = protocol;
        Ok((source.port(), destination.port()))
    }

    fn addresses(&mut self, ip: &mut Ipv4Header, protocol: IpNumber) -> Result<()> {
        let (source, destination) = self.pair::<Ipv4Addr>()?;
        (ip.source, ip.destination) = (source.octets(), destination.octets());
        ip.protocol = protocol;
        Ok(())
    }

    /// `source > destination`.
    fn pair<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(&mut self) -> Result<(T, T)> {
        let source = self.take(0)?.parse()?;
        self.word(">")?;
        Ok((source, self.take(0)?.parse()?))
    }

    fn word(&mut self, word: &str) -> Result<()> {
        ensure!(self.take(0)? == word, "`{word}` is missing");
        Ok(())
    }

    fn take(&mut self, place: usize) -> Result<&'a str> {
        ensure!(place < self.rest.len(), "something is missing at the end");
        Ok(self.rest.remove(place))
    }

    fn flag(&mut self, word: &str) -> bool {
        let place = self.rest.iter().position(|w| *w == word);
        place.map(|place| self.rest.remove(place)).is_some()
    }

    fn value<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>> {
        let is = |w: &&str| w.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        let Some(place) = self.rest.iter().position(is) else { return Ok(None) };
        let word = self.rest.remove(place);
        Ok(Some(word[name.len() + 1..].parse().with_context(|| format!("in `{word}`"))?))
    }
}

/// Bytes of hexadecimal pairs.
fn hex(text: &str) -> Result<Vec<u8>> {
    ensure!(text.len().is_multiple_of(2) && text.is_ascii(), "`{text}` is not pairs of hexadecimal digits");
    (0..text.len()).step_by(2).map(|at| Ok(u8::from_str_radix(&text[at..at + 2], 16)?)).collect()
}
