//! Text of the manager to checked types. What is wrong is told to its operator, with the key and the value.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use tidegate_fastpath::types::MacAddr;

use crate::config::Id;

/// An IPv4 address.
pub(super) fn address(key: &str, text: &str) -> Result<Ipv4Addr, String> {
    text.trim().parse().map_err(|_| format!("{key}: {} is no IPv4 address", shown(text)))
}

/// A network of an address and a dotted mask.
pub(super) fn network(key: &str, ip: Ipv4Addr, mask: &str) -> Result<Ipv4Net, String> {
    let wrong = || format!("{key}: {} is no netmask", shown(mask));
    let mask = mask.trim().parse().map_err(|_| wrong())?;
    Ipv4Net::with_netmask(ip, mask).map(|net| net.trunc()).map_err(|_| wrong())
}

/// A CIDR; host bits mean nothing. A bare address is a /32.
pub(super) fn cidr(key: &str, text: &str) -> Result<Ipv4Net, String> {
    let text = text.trim();
    let net = text.parse::<Ipv4Net>().or_else(|_| text.parse::<Ipv4Addr>().map(Ipv4Net::from));
    net.map(|net| net.trunc()).map_err(|_| format!("{key}: {} is no IPv4 CIDR", shown(text)))
}

/// A MAC, as one text for all its spellings.
pub(super) fn mac(key: &str, text: &str) -> Result<String, String> {
    let mac: Result<MacAddr, _> = text.trim().parse();
    mac.map(|mac| mac.to_string()).map_err(|_| format!("{key}: {} is no MAC", shown(text)))
}

/// The same where it may be left out, or unreadable: then it names no NIC.
pub(super) fn mac_or_none(text: &str) -> String {
    mac("", text).unwrap_or_default()
}

/// A name that the manager chose: fit for an id of ours.
pub(super) fn name(key: &str, text: &str) -> Result<String, String> {
    let fits = text.len() <= 40;
    let id = Id::new(text).filter(|_| fits);
    id.map(|id| id.to_string()).ok_or_else(|| {
        format!(
            "{key}: {} is no name; at most 40 letters, digits, `.`, `_` and `-` are possible",
            shown(text)
        )
    })
}

/// A TCP or UDP port.
pub(super) fn port(key: &str, number: i64) -> Result<u16, String> {
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("{key}: {number} is no port"))
}

/// Ports as they stand in documents.
pub(super) fn ports(first: u16, last: u16) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// A value in an error, of bounded length and without control characters.
pub(super) fn shown(text: &str) -> String {
    crate::config::problem::shown(text)
}
