//! Health checks: does a backend answer?
//!
//! Two halves. The *decision* ([`Monitor`], [`backend`]) is pure: targets, the time and outcomes go in; probes to start and
//! states come out. It runs on the control thread, inside the [`Gateway`](crate::gateway::Gateway). The *probes*
//! ([`Prober`]) run on a thread of their own, whose sockets are opened inside the VPC router's namespace: a probe leaves
//! from the gateway's address in the backend's network and crosses the data plane as a client's packet does.
//!
//! | state | new connections | leaves by |
//! |---|---|---|
//! | unknown | yes: a gateway that starts must not refuse everybody | one success: up; `unhealthy` failures in a row: down |
//! | up | yes | `unhealthy` failures in a row: down |
//! | down | no | `healthy` successes in a row, more of them after flapping: up |
//!
//! A check that could not be made (no namespace yet, no free port of ours) is no failure of the backend and changes nothing.

pub mod backend;
pub mod checks;
mod monitor;
mod probe;
mod prober;
#[cfg(test)]
mod tests;

use std::{fmt, net::Ipv4Addr, sync::Arc, time::Duration};

pub use self::{
    backend::{State, Status},
    checks::Checks,
    monitor::{Monitor, Probe, ProbeId},
    prober::{Gone, Job, Prober},
};
use crate::config::Id;

tidegate_fastpath::reasons! {
    /// What health checks count.
    HealthEvent {
        /// Checks that the backend passed.
        Passed = "passed",
        /// Checks that the backend failed.
        Failed = "failed",
        /// Checks that could not be made; the log says why.
        NotTried = "not_tried",
        /// Checks that began more than a second late, because too many were under way.
        Late = "late",
        /// Backends that came up.
        Up = "up",
        /// Backends that went down.
        Down = "down",
        /// Backends that went down soon after they came up, and need more successes for that now.
        Flap = "flap",
    }
}

/// How a backend is checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// What is asked.
    pub kind: Kind,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Successes in a row after which a backend is up; at least 1.
    pub healthy: u32,
    /// Failures in a row after which it is down; at least 1.
    pub unhealthy: u32,
}

impl Check {
    /// The longest time from the death of a backend to its being down: it dies just after a check, and then each one fails
    /// as slowly as it may.
    pub fn detection(&self) -> Duration {
        self.interval.max(self.timeout) * self.unhealthy + self.timeout
    }
}

/// What is asked of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// That it accepts a connection; which is then reset, so that neither side keeps anything.
    Tcp,
    /// That it answers a request.
    Http(Http),
    /// That it does not refuse a datagram.
    Udp(Udp),
}

/// An HTTP/1.1 request and its right answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Http {
    /// `GET` or `HEAD`.
    pub method: Method,
    /// Path and query, with the leading slash.
    pub path: String,
    /// The `Host` header; the backend's address and port where there is none.
    pub host: Option<String>,
    /// Right answers.
    pub expected: Codes,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// With the body, which is not read.
    Get,
    /// Without.
    Head,
}

/// Status codes: ranges, both ends included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Codes(pub Box<[(u16, u16)]>);

impl Codes {
    /// Whether a code is among them.
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&code))
    }
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

/// A datagram and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Udp {
    /// What is sent; may be empty.
    pub send: Box<[u8]>,
    /// How the answer must begin. Without it no answer is needed, and only a refusal (ICMP unreachable) or a backend that
    /// nobody finds (ARP) is a failure.
    pub expect: Option<Box<[u8]>>,
}

/// Whom a check asks, and how. Backends of several listeners that agree in all of this are asked once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The VPC router.
    pub vpc: Id,
    /// The gateway's address in the backend's network, from which probes come.
    pub source: Ipv4Addr,
    /// The backend.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// How it is checked.
    pub check: Arc<Check>,
}

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As expected.
    Passed,
    /// UDP: nothing came, and nothing had to. Who knows whether the backend is there at all decides.
    Silent,
    /// Not as expected.
    Failed(Failure),
    /// It could not be asked, for a reason of ours.
    NotTried(String),
}

/// How a backend failed a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// TCP reset, or ICMP port unreachable.
    Refused,
    /// ICMP unreachable, or nobody answers ARP for it.
    Unreachable,
    /// Nothing in time.
    Timeout,
    /// It closed the connection, or broke it off.
    Closed,
    /// Another status code than expected.
    Status(u16),
    /// What it says is not HTTP, or not the expected answer.
    Answer,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused => f.write_str("refused"),
            Failure::Unreachable => f.write_str("unreachable"),
            Failure::Timeout => f.write_str("no answer in time"),
            Failure::Closed => f.write_str("connection closed"),
            Failure::Status(code) => write!(f, "status {code}"),
            Failure::Answer => f.write_str("wrong answer"),
        }
    }
}
