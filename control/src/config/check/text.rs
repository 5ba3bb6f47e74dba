//! Texts to addresses, subnets, ranges and ids: one value, one complaint.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::Ipv4Net;
use tidegate_fastpath::types::{MacAddr, Vni};

use crate::config::{Id, VniRange, nat::PortRange};

/// Why a text does not mean what its key wants.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) way_out: String,
}

/// A reader of one text.
pub(super) type Read<T> = fn(&str) -> Result<T, Wrong>;

pub(super) fn wrong<T>(what: impl Into<String>, way_out: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { what: what.into(), way_out: way_out.into() })
}

/// Addresses that no host, subnet or route here may have (RFC 1122 §3.2.1.3, RFC 3927, RFC 5771, RFC 1112 §4).
const MARTIANS: [(Ipv4Net, &str); 5] = [
    (Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8), "\"this network\""),
    (Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8), "loopback"),
    (Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16), "link-local"),
    (Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4), "multicast"),
    (Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4), "reserved (class E)"),
];

pub(super) fn id(text: &str) -> Result<Id, Wrong> {
    match Id::new(text) {
        Some(id) => Ok(id),
        None => wrong(
            "is no id",
            format!("use 1 to {} letters, digits, `.`, `_`, `-`, not beginning with `.` or `-`", Id::LEN_MAX),
        ),
    }
}

/// A unicast address that a host can have.
pub(super) fn address(text: &str) -> Result<Ipv4Addr, Wrong> {
    let Ok(ip) = text.parse::<Ipv4Addr>() else {
        return wrong("is no IPv4 address", "give four numbers, as in 192.0.2.1");
    };
    match MARTIANS.iter().find(|(martian, _)| martian.contains(&ip)) {
        Some((martian, name)) => wrong(format!("is a {name} address ({martian})"), "give a unicast address"),
        None => Ok(ip),
    }
}

fn prefix(text: &str) -> Result<Ipv4Net, Wrong> {
    match text.parse::<Ipv4Net>() {
        Ok(net) => Ok(net),
        Err(_) => wrong("is no address with prefix length", "give both, as in 192.0.2.0/24"),
    }
}

/// A subnet that hosts live in.
pub(super) fn subnet(text: &str) -> Result<Ipv4Net, Wrong> {
    let net = prefix(text)?;
    if net != net.trunc() {
        return wrong("has host bits set", format!("give {}", net.trunc()));
    }
    hosts(net)
}

/// One of our addresses and the subnet it is in.
pub(super) fn address_in_subnet(text: &str) -> Result<(Ipv4Addr, Ipv4Net), Wrong> {
    let net = prefix(text)?;
    let subnet = hosts(net.trunc())?;
    if super::is_subnet_address(subnet, net.addr()) {
        return wrong(
            format!("is the network or broadcast address of {subnet}"),
            format!("give a host address of {subnet}"),
        );
    }
    Ok((net.addr(), subnet))
}

fn hosts(net: Ipv4Net) -> Result<Ipv4Net, Wrong> {
    if let Some((martian, name)) = MARTIANS.iter().find(|(m, _)| m.contains(&net) || net.contains(m)) {
        return wrong(format!("is or contains {name} addresses ({martian})"), "give a unicast subnet");
    }
    match net.prefix_len() {
        32 => wrong("has no room for a second host", "give a prefix length of 31 or less"),
        _ => Ok(net),
    }
}

/// A destination of a route; host bits mean nothing.
pub(super) fn destination(text: &str) -> Result<Ipv4Net, Wrong> {
    let net = prefix(text)?.trunc();
    match MARTIANS.iter().find(|(m, _)| m.contains(&net)) {
        // The default route lies in 0/8 by its address only.
        Some((martian, name)) if net.prefix_len() >= martian.prefix_len() => {
            wrong(format!("is in the {name} range {martian}, which is never forwarded"), "remove the route")
        }
        _ => Ok(net),
    }
}

pub(super) fn mac(text: &str) -> Result<MacAddr, Wrong> {
    match text.parse::<MacAddr>() {
        Err(_) => wrong("is no MAC address", "write six hexadecimal pairs, as in 02:00:00:00:00:01"),
        Ok(mac) if mac.is_group() || mac == MacAddr::default() => {
            wrong("is no MAC that a port can have", "give a unicast MAC, as in 02:00:00:00:00:01")
        }
        Ok(mac) => Ok(mac),
    }
}

pub(super) fn vni_range(text: &str) -> Result<VniRange, Wrong> {
    let way_out = "give the first and the last VNI of 1 to 16777215, as in 200-2500";
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let vni = |text: &str| text.trim().parse().ok().and_then(|raw| Vni::new(raw).ok());
    match (vni(first), vni(last)) {
        (Some(first), Some(last)) if first <= last => Ok(VniRange { first, last }),
        (Some(_), Some(_)) => wrong("is empty: its first VNI is above its last", way_out),
        _ => wrong("is no range of VNIs", way_out),
    }
}

/// Ports of TCP or UDP; 0 is none.
pub(super) fn ports(text: &str) -> Result<PortRange, Wrong> {
    let way_out = "give a port of 1 to 65535, or the first and the last as in 2222-2224";
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(PortRange { first, last }),
        (Some(_), Some(_)) => wrong("is empty: its first port is above its last", way_out),
        _ => wrong("is no port or range of ports", way_out),
    }
}

/// Bits per second.
pub(super) fn rate(text: &str) -> Result<u64, Wrong> {
    let units = [("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000), ("bit/s", 1)];
    match with_unit(text, &units) {
        Some(rate) => Ok(rate),
        None => wrong("is no rate", "give a number and bit/s, kbit/s, Mbit/s or Gbit/s, as in 100Mbit/s"),
    }
}

/// Bytes.
pub(super) fn size(text: &str) -> Result<u64, Wrong> {
    let units = [("MiB", 1 << 20), ("KiB", 1 << 10), ("MB", 1_000_000), ("kB", 1_000), ("B", 1)];
    match with_unit(text, &units) {
        Some(size) => Ok(size),
        None => wrong("is no size", "give a number and B, kB, MB, KiB or MiB, as in 256KiB"),
    }
}

/// A number, perhaps with a fraction, and perhaps one of `units`; whole in the end.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let unit = units.iter().find_map(|(unit, worth)| Some((text.strip_suffix(unit)?, *worth)));
    let (number, worth) = unit.unwrap_or((text, 1));
    let (whole, fraction) = number.trim().split_once('.').unwrap_or((number.trim(), ""));
    let digits = |text: &str| text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let units: u128 = format!("{whole}{fraction}").parse().ok()?;
    let total = units * u128::from(worth);
    if total.is_multiple_of(scale) { u64::try_from(total / scale).ok() } else { None }
}

/// From where a service may be used; host bits mean nothing.
pub(super) fn allowed(text: &str) -> Result<Ipv4Net, Wrong> {
    prefix(text).map(|net| net.trunc())
}

pub(super) fn ip_range(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), Wrong> {
    let way_out = "give the first and the last address, as in 192.0.2.10-192.0.2.99";
    let range = text.split_once('-').map(|(first, last)| (first.trim().parse(), last.trim().parse()));
    match range {
        Some((Ok(first), Ok(last))) if first <= last => Ok((first, last)),
        Some((Ok(_), Ok(_))) => wrong("is empty: its first address is above its last", way_out),
        _ => wrong("is no range of addresses", way_out),
    }
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, Wrong> {
    match text.parse::<SocketAddr>() {
        Ok(listen) if listen.port() != 0 => Ok(listen),
        Ok(_) => wrong("has no port", "give a TCP port above 0"),
        Err(_) => wrong("is no address and port", "give both, as in 127.0.0.1:9472"),
    }
}

pub(super) fn collector(text: &str) -> Result<SocketAddr, Wrong> {
    match text.parse::<SocketAddr>() {
        Ok(to) if to.port() != 0 && !to.ip().is_unspecified() => Ok(to),
        Ok(_) => wrong("is nobody's address and port", "give those of the collector"),
        Err(_) => wrong("is no address and port", "give both, as in 192.0.2.7:4739"),
    }
}

/// A version as ZStack managers read it.
pub(super) fn four_numbers(text: &str) -> Result<String, Wrong> {
    let number = |part: &str| (1..=9).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if text.split('.').count() == 4 && text.split('.').all(number) {
        return Ok(text.to_owned());
    }
    wrong("is no version", "give four numbers, as in 5.2.0.0")
}

/// An address of this host in the kernel's own network.
pub(super) fn own_address(text: &str) -> Result<IpAddr, Wrong> {
    text.parse().or_else(|_| wrong("is no IP address", "give one of this host, or remove the key"))
}

pub(super) fn path(text: &str) -> Result<PathBuf, Wrong> {
    if text.contains('\0') || !text.starts_with('/') {
        return wrong("is no absolute path", "begin with /");
    }
    Ok(PathBuf::from(text))
}

/// A Unix socket; Linux keeps 108 bytes for its name and ends it with a zero (unix(7)).
pub(super) fn socket_path(text: &str) -> Result<PathBuf, Wrong> {
    const BYTES_MAX: usize = 107;
    if text.len() > BYTES_MAX {
        return wrong("is too long for a Unix socket", format!("give at most {BYTES_MAX} bytes"));
    }
    path(text)
}

/// A device as DPDK takes it on its command line.
pub(super) fn device(text: &str) -> Result<String, Wrong> {
    let way_out = "give a PCI address as in 0000:3b:00.0 or a virtual device as in net_tap0,iface=tg0";
    if text.is_empty() {
        return wrong("is empty", way_out);
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) || text.starts_with(['-', ',']) {
        return wrong("is no DPDK device", way_out);
    }
    Ok(text.to_owned())
}

/// The path of a URL as it is sent.
pub(super) fn url_path(text: &str) -> Result<String, Wrong> {
    let is_path = text.parse::<hyper::http::uri::PathAndQuery>().is_ok_and(|path| path.as_str() == text);
    if text.len() > 1024 {
        return wrong("is longer than 1024 bytes", "shorten it");
    }
    if !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()) || !is_path {
        return wrong("is no path of a URL", "begin with /, and write other than visible ASCII as %XX");
    }
    Ok(text.to_owned())
}

/// The name of a cookie.
pub(super) fn cookie_name(text: &str) -> Result<String, Wrong> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !(1..=64).contains(&text.len()) || !text.bytes().all(legal) {
        return wrong("is no name of a cookie", "give up to 64 letters, digits, _ and -");
    }
    Ok(text.to_owned())
}

/// A host of a rule, in lower case: a name or address, or `*.` and a domain.
pub(super) fn rule_host(text: &str) -> Result<String, Wrong> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if name.is_empty() || name.len() > 253 || name.starts_with(['.', '-']) || !name.bytes().all(legal) {
        return wrong("is no host", "give a name without a port, as in www.example.com or *.example.com");
    }
    Ok(text.to_ascii_lowercase())
}

/// What a `Host` header says.
pub(super) fn http_host(text: &str) -> Result<String, Wrong> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if text.is_empty() || !text.bytes().all(legal) {
        return wrong("is no host name", "give a name or an address, with a port where that is needed");
    }
    Ok(text.to_owned())
}

/// HTTP status codes: one, a range, or a class.
pub(super) fn status_codes(text: &str) -> Result<(u16, u16), Wrong> {
    let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
    let code = |text: &str| text.trim().parse::<u16>().ok().filter(|code| (100..600).contains(code));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (class, code(first), code(last)) {
        (Some(class @ 1..=5), ..) => Ok((class * 100, class * 100 + 99)),
        (None, Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => {
            wrong("is no HTTP status code", "give one as in 204, a range as in 200-299 or a class as in 2xx")
        }
    }
}
