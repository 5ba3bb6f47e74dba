//! A Prometheus that scrapes what is in its namespace, with the alert rules that the project ships.

use std::{fs, net::TcpStream, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Netns, netns::output, process::Running, wait_for};

const LISTEN: &str = "127.0.0.1:9090";

/// A running `prometheus` (Debian) on 127.0.0.1:9090, which scrapes its targets twice a second.
#[derive(Debug)]
pub struct Prometheus<'a> {
    process: Running,
    netns: &'a Netns,
    _dir: TempDir,
}

impl Prometheus<'_> {
    /// Starts it with targets (address and port, `/metrics`) and a file of `deploy/prometheus`; it has scraped each of them twice
    /// when this returns.
    ///
    /// # Errors
    /// When it does not start, does not take the rules, or cannot read a target.
    pub fn start<'a>(netns: &'a Netns, targets: &[&str], rules: &str) -> Result<Prometheus<'a>> {
        let dir = tempfile::tempdir()?;
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus").join(rules);
        let config = json!({
            "global": { "scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms" },
            "rule_files": [rules],
            "scrape_configs": [{ "job_name": "lab", "static_configs": [{ "targets": targets }] }],
        });
        // A JSON document is a YAML document.
        let file = dir.path().join("prometheus.yml");
        fs::write(&file, config.to_string())?;
        let mut command = netns.command("prometheus");
        command.arg(format!("--web.listen-address={LISTEN}"));
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        let process = Running::start(command)?;
        let prometheus = Prometheus { process, netns, _dir: dir };
        let is_open = || netns.enter(|| TcpStream::connect(LISTEN)).ok()?.ok();
        wait_for("Prometheus to listen", is_open).with_context(|| prometheus.process.text())?;
        let seen = |target: &&str| {
            let scrapes = format!("count_over_time(up{{instance=\"{target}\"}}[1m])");
            prometheus.value(&scrapes).is_ok_and(|count| count >= 2.0)
        };
        wait_for("scrapes", || targets.iter().all(&seen).then_some(()))
            .with_context(|| prometheus.process.text())?;
        Ok(prometheus)
    }

    /// The data of an answer of its API (`/api/v1/…`).
    ///
    /// # Errors
    /// When it does not answer, or says that something failed.
    pub fn api(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let mut command = self.netns.command("curl");
        command.args(["-sS", "--get", &format!("http://{LISTEN}/api/v1/{path}")]);
        for (key, value) in query {
            command.args(["--data-urlencode", &format!("{key}={value}")]);
        }
        let mut answer: Value = serde_json::from_str(&output(&mut command)?)?;
        ensure!(answer["status"] == "success", "{answer}");
        Ok(answer["data"].take())
    }

    /// The value of an expression that has one sample.
    ///
    /// # Errors
    /// When it has none or several, or see [`Prometheus::api`].
    pub fn value(&self, expression: &str) -> Result<f64> {
        let data = self.api("query", &[("query", expression)])?;
        let samples = data["result"].as_array().context("a vector")?;
        ensure!(samples.len() == 1, "{expression}: {data}");
        Ok(samples[0]["value"][1].as_str().context("a sample")?.parse()?)
    }
}
