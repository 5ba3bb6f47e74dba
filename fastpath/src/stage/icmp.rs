//! Does a refused packet deserve an ICMP error, and which? Turns the packet into the error.

use std::net::Ipv4Addr;

use crate::{
    buffer::Buffer,
    reason::DropReason,
    types::Mtu,
    wire::{
        icmp::{self, ERROR_HEADERS, ERROR_MAX, IcmpError},
        ipv4::Ipv4,
    },
};

/// The error that tells the sender about a drop; most drops are silent. `egress` is the MTU of the network it did not fit.
pub fn error_for(reason: DropReason, egress: Option<Mtu>) -> Option<IcmpError> {
    match reason {
        DropReason::TtlExceeded => Some(IcmpError::TimeExceeded),
        DropReason::NoRoute | DropReason::NotTranslated => Some(IcmpError::NetUnreachable),
        // RFC 1122 §3.2.2.1. TCP gets a reset instead.
        DropReason::NoBackend => Some(IcmpError::PortUnreachable),
        DropReason::NeighbourUnresolved => Some(IcmpError::HostUnreachable),
        // RFC 5508 REQ-8: a new flow that cannot have a session.
        DropReason::PortsExhausted
        | DropReason::AddressAmbiguous
        | DropReason::SessionTableFull
        | DropReason::VmsFull
        | DropReason::VmSessions
        | DropReason::VmSessionRate
        | DropReason::VpcSessions
        | DropReason::VpcSessionRate => Some(IcmpError::Prohibited),
        DropReason::NeedsFragmentation => egress.map(|mtu| IcmpError::FragmentationNeeded(mtu.get())),
        _ => None,
    }
}

/// Whether RFC 1122 §3.2.2 allows an error about this packet.
pub fn is_allowed<B: Buffer>(ip: &Ipv4, packet: &B) -> bool {
    let payload = packet.bytes().get(usize::from(ip.header_len())..).unwrap_or(&[]);
    icmp::may_cause_error(ip, payload)
}

/// Turns `packet` into an ICMP error about itself, from `us` to its sender. False, with the packet cut short, when there is
/// no room for the headers.
pub fn become_error<B: Buffer>(packet: &mut B, ip: &Ipv4, error: IcmpError, us: Ipv4Addr, id: u16) -> bool {
    packet.truncate(ERROR_MAX - ERROR_HEADERS);
    let Some(bytes) = packet.prepend(ERROR_HEADERS) else { return false };
    icmp::emit_error(bytes, error, us, ip.source(), id);
    true
}
