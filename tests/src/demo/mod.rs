//! The demo: the site of the seed article, what is tried on it with programs that people use, and a table of what was expected and seen.

mod checks;
pub mod environment;
pub mod pushes;

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

pub use self::checks::look;
use crate::lab::{Vm, probe::ping, site::config_with_services};

/// One row of the table.
#[derive(Clone, Debug)]
struct Row {
    what: String,
    expected: String,
    seen: String,
    ok: bool,
}

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Table(Vec<Row>);

impl Table {
    fn row(
        &mut self,
        what: impl Into<String>,
        expected: impl Into<String>,
        seen: impl Into<String>,
        ok: bool,
    ) {
        self.0.push(Row { what: what.into(), expected: expected.into(), seen: seen.into(), ok });
    }

    /// Pings and expects every answer, with this TTL.
    fn reaches(&mut self, from: &Vm, whom: &str, address: &str, ttl: u8) -> Result<()> {
        let pings = ping(from.netns(), address, "-c 3 -i 0.1")?;
        let rtt = pings.rtt_ms.map_or(String::new(), |ms| format!(", {ms:.2} ms"));
        let seen_ttl = pings.ttl.map_or("none".to_owned(), |ttl| ttl.to_string());
        self.row(
            format!("{} pings {whom} {address}", from.name()),
            format!("3 replies, TTL {ttl}"),
            format!("{} replies, TTL {seen_ttl}{rtt}", pings.received),
            pings.all_answered() && pings.ttl == Some(ttl),
        );
        Ok(())
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether everything that was tried came as it must.
    pub fn held(&self) -> bool {
        self.0.iter().all(|row| row.ok)
    }

    /// Prints it.
    pub fn print(&self) {
        let width = |of: fn(&Row) -> &str| self.0.iter().map(|row| of(row).len()).max().unwrap_or(0);
        let [what, expected, seen] = [width(|r| &r.what), width(|r| &r.expected), width(|r| &r.seen)];
        println!("\n  {:what$}  {:expected$}  {:seen$}", "what", "expected", "seen");
        println!("  {}  {}  {}  --", "-".repeat(what), "-".repeat(expected), "-".repeat(seen));
        for row in &self.0 {
            let verdict = if row.ok { "ok" } else { "NO" };
            println!("  {:what$}  {:expected$}  {:seen$}  {verdict}", row.what, row.expected, row.seen);
        }
    }
}

/// The configuration of the site with a load balancer and rate limits on the shared address, and distributed routing in vpc-2, whose hosts
/// and gateway have these keys.
pub fn config(keys: &Path) -> Value {
    let mut config = config_with_services();
    config["gateway"]["zsnp"] = json!({ "keys": keys });
    config["vpc_routers"][1]["distributed_routing"] = json!(true);
    let listener = |id: &str, port: u16, to: u16| {
        let backends = ["192.168.20.154", "192.168.21.10", "192.168.22.10"];
        let backends = backends.map(|address| json!({"vpc": "vpc-1", "address": address, "port": to}));
        json!({"id": id, "protocol": "tcp", "port": port, "backends": backends})
    };
    let mut web = listener("web", 8000, 80);
    web["health_check"] =
        json!({"kind": "tcp", "interval_s": 1, "timeout_s": 1, "healthy": 1, "unhealthy": 1});
    config["load_balancers"] =
        json!([{"id": "lb", "vip": "shared", "listeners": [listener("nc", 2300, 23), web]}]);
    let forwards = ["tcp", "udp"].map(|protocol| {
        json!({"id": format!("iperf-{protocol}"), "vip": "shared", "protocol": protocol, "ports": 5201, "vpc": "vpc-1",
            "address": "192.168.20.154"})
    });
    config["port_forwards"].as_array_mut().into_iter().for_each(|all| all.extend(forwards.clone()));
    config["qos"] = json!([
        {"id": "vip", "vip": "shared", "inbound": "40Mbit/s", "outbound": "40Mbit/s"},
        {"id": "udp", "vip": "shared", "port": 5201, "protocol": "udp", "inbound": "10Mbit/s"},
    ]);
    config
}
