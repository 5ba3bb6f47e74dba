//! Rows of HTTP listeners.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::show::print::{Columns, age};

/// An HTTP listener, or one of its backends, as its proxy counts. A listener whose proxy has never run has a row without
/// counters. They begin anew with each configuration of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRow {
    /// The listener, as configured.
    pub listener: String,
    /// The VPC router.
    pub vpc: String,
    /// The group that a rule names; null for backends that serve the rest.
    pub group: Option<String>,
    /// Address and port of the backend; null for the listener itself.
    pub backend: Option<String>,
    /// `up`, `down`, or of a backend `draining`, `unchecked`, or on the way as in `UP 1/3`.
    pub state: String,
    /// Since how many seconds a backend is so.
    pub since_s: Option<u64>,
    /// What the last check found, or why the proxy does not run as configured, and how often it died.
    pub reason: String,
    /// Connections of the listener, or requests of the backend, at the moment.
    pub current: u64,
    /// All of them.
    pub total: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Answers by the class of their status: `1xx` to `5xx`, `other`.
    pub answers: BTreeMap<String, u64>,
    /// Connections to the backend that failed, and answers that broke off.
    pub errors: u64,
}

impl Columns for HttpRow {
    const HEAD: &'static [&'static str] = &[
        "listener", "vpc", "group", "backend", "state", "since", "reason", "current", "total", "in", "out",
        "5xx", "errors",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.listener.clone(),
            self.vpc.clone(),
            self.group.clone().unwrap_or_default(),
            self.backend.clone().unwrap_or_default(),
            self.state.clone(),
            self.since_s.map(|s| age(s.saturating_mul(1_000))).unwrap_or_default(),
            self.reason.clone(),
            self.current.to_string(),
            self.total.to_string(),
            self.bytes_in.to_string(),
            self.bytes_out.to_string(),
            self.answers.get("5xx").copied().unwrap_or(0).to_string(),
            self.errors.to_string(),
        ]
    }
}
