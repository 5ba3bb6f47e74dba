//! What control knows of address translation beyond the configuration: who uses how much of which public address, and the
//! log of who had it.

mod census;
pub mod log;

use tidegate_fastpath::flow::session::Service;

pub use self::{
    census::{Census, PORTS, Pool, pools},
    log::LogEvent,
};

/// A protocol as an operator reads it: a word where there is one, else the number.
pub fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => other.to_string(),
    }
}

/// The inverse of [`protocol_name`].
pub fn protocol_of(name: &str) -> Option<u8> {
    match name {
        "icmp" => Some(1),
        "tcp" => Some(6),
        "udp" => Some(17),
        number => number.parse().ok(),
    }
}

/// What a session is for, as in `show vips`.
pub const fn service_name(service: Service) -> &'static str {
    match service {
        Service::Eip => "eip",
        Service::Snat => "snat",
        Service::Forward => "port_forward",
        Service::Fragment => "fragment",
        Service::Balanced | Service::FullNat => "listener",
        Service::Masked => "full_nat",
    }
}
