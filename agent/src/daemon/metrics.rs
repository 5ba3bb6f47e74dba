//! Metrics for Prometheus, on a loopback address.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use prometheus::{Encoder, GaugeVec, IntCounter, IntGauge, Opts, Registry, TextEncoder};
use tokio::{net::TcpListener, sync::mpsc};

use super::{
    snapshot::Snapshot,
    status::{Ask, snapshot},
};

/// Serves `/metrics`.
///
/// # Errors
/// When the address is taken, or is not of the loopback: the numbers are not for everybody.
pub(super) async fn serve(address: SocketAddr, asks: mpsc::Sender<Ask>) -> Result<()> {
    ensure!(address.ip().is_loopback(), "metrics are served on a loopback address only, not on {address}");
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("metrics cannot listen on {address}"))?;
    let app = Router::new().route("/metrics", get(scrape)).with_state(asks);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(())
}

async fn scrape(State(asks): State<mpsc::Sender<Ask>>) -> Result<String, StatusCode> {
    let snapshot = snapshot(&asks).await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    render(&snapshot).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

fn render(snapshot: &Snapshot) -> Result<String> {
    let registry = Registry::new();
    let gauge = |name: &str, help: &str, value: i64| -> Result<()> {
        let gauge = IntGauge::new(format!("tidegate_agent_{name}"), help)?;
        gauge.set(value);
        Ok(registry.register(Box::new(gauge))?)
    };
    gauge("shortcuts", "Shortcuts in force.", i64::try_from(snapshot.shortcuts.len())?)?;
    gauge("gateways", "Gateways that were heard.", i64::try_from(snapshot.gateways.len())?)?;
    let attached = snapshot.devices.iter().filter(|row| row.vni.is_some()).count();
    gauge("devices", "Devices with a program.", i64::try_from(attached)?)?;
    for (name, count) in &snapshot.counters {
        let counter = IntCounter::new(
            format!("tidegate_agent_{name}_total"),
            format!("Counter `{name}`, see docs/agent.md."),
        )?;
        counter.inc_by(*count);
        registry.register(Box::new(counter))?;
    }
    let path = |name: &str, help: &str| -> Result<GaugeVec> {
        let gauges = GaugeVec::new(Opts::new(format!("tidegate_agent_path_{name}"), help), &["vtep"])?;
        registry.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    };
    let up = path("up", "Whether a host answers PROBEs: 1 or 0.")?;
    let rtt = path("rtt_seconds", "Smoothed round trip to a host.")?;
    let jitter = path("jitter_seconds", "Mean deviation of the round trip.")?;
    let loss = path("loss_ratio", "PROBEs lost, of the last 1000.")?;
    for row in &snapshot.paths {
        let vtep = row.vtep.to_string();
        let label = &[vtep.as_str()];
        up.with_label_values(label).set(if row.state == "up" { 1.0 } else { 0.0 });
        rtt.with_label_values(label).set(f64::from(row.rtt_us) / 1e6);
        jitter.with_label_values(label).set(f64::from(row.jitter_us) / 1e6);
        loss.with_label_values(label).set(f64::from(row.loss_permille) / 1e3);
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(String::from_utf8(text)?)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        fs,
        io::Write,
        net::Ipv4Addr,
        process::{Command, Stdio},
    };

    use tidegate_zsnp::{Keyring, Sender, SenderId};

    use super::*;
    use crate::{
        bpf::Count,
        core::{Agent, Limits, Settings},
        daemon::{PathRow, snapshot::counters},
    };

    const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/prometheus/tidegate-agent.rules.yml");

    /// What an agent serves that has just found another host.
    fn scraped() -> String {
        let keys = Keyring::parse(&format!("7 {}", "ab".repeat(32))).unwrap();
        let limits = Limits { shortcuts_max: 1, per_vpc_max: 1, per_vm_max: 1 };
        let agent = Agent::new(Settings { keys, limits, grace_ns: 0 }, Sender::new(SenderId(1), 1));
        let vtep = Ipv4Addr::new(10, 172, 11, 12);
        let state = "up".to_owned();
        let path =
            PathRow { vtep, state, since_s: 1, rtt_us: 90, jitter_us: 9, loss_permille: 1, shortcuts: 0 };
        let counters = counters(&agent, |_| Count::default(), |_| Count::default(), 0);
        let snapshot = Snapshot { enabled: true, paths: vec![path], counters, ..Snapshot::default() };
        render(&snapshot).unwrap()
    }

    #[test]
    fn alert_rules_name_metrics_that_exist() {
        let text = scraped();
        let has: HashSet<&str> = text.lines().filter_map(|line| line.split([' ', '{']).next()).collect();
        let rules = fs::read_to_string(RULES).unwrap();
        let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let used: Vec<_> = words.filter(|word| word.starts_with("tidegate_agent_")).collect();
        assert!(!used.is_empty());
        let missing: Vec<_> = used.iter().filter(|name| !has.contains(*name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn promtool_has_no_complaint() {
        let tool = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn();
        let Ok(mut tool) = tool else { return eprintln!("skipped: promtool is not installed") };
        tool.stdin.take().unwrap().write_all(scraped().as_bytes()).unwrap();
        assert!(tool.wait().unwrap().success());
        assert!(Command::new("promtool").args(["check", "rules", RULES]).status().unwrap().success());
    }
}
