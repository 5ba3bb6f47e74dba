//! Values as the check reads them, for who needs one without its complaint.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::text;
use crate::config::nat::PortRange;

/// An IPv4 address.
pub(crate) fn address(text: &str) -> Option<Ipv4Addr> {
    text::address(text).ok()
}

/// A subnet without host bits.
pub(crate) fn subnet(text: &str) -> Option<Ipv4Net> {
    text::subnet(text).ok()
}

/// Where a route leads to.
pub(crate) fn destination(text: &str) -> Option<Ipv4Net> {
    text::destination(text).ok()
}

/// A port, or the first and the last.
pub(crate) fn ports(text: &str) -> Option<PortRange> {
    text::ports(text).ok()
}
