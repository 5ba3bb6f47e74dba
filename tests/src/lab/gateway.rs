//! The gateway process, and what it says of itself.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Lab, Netns,
    netns::{self, output},
    process::Running,
    wait_for,
};

/// Its configuration, in its folder.
const CONFIG: &str = "gateway.yaml";

/// Locked by whoever runs a gateway in a lab.
const TURN: &str = "/run/tidegate-lab.lock";

/// A running `tidegate run` in a namespace of its own, with its files in a folder of its own.
#[derive(Debug)]
pub struct Gateway {
    process: Running,
    netns: Netns,
    dir: TempDir,
    binary: PathBuf,
    /// The namespaces of VPCs have fixed names, so gateways of different runs take turns on one machine.
    _turn: File,
}

impl Gateway {
    /// Starts it and waits until its control socket answers. In `config`, `{dir}` stands for its folder.
    ///
    /// # Errors
    /// When it ends or does not answer, with what it wrote.
    pub fn start(lab: &Lab, config: &str) -> Result<Gateway> {
        Gateway::start_in(lab, lab.netns("gateway")?, config)
    }

    /// The same in a namespace that holds the interfaces of its ports.
    ///
    /// # Errors
    /// See [`Gateway::start`].
    pub fn start_in(lab: &Lab, netns: Netns, config: &str) -> Result<Gateway> {
        let dir = tempfile::Builder::new().prefix(&lab.unique("tidegate")).tempdir()?;
        let turn = File::create(TURN)?;
        turn.lock()?;
        let binary = binary()?;
        let file = write_config(dir.path(), config)?;
        let process = run(&netns, &binary, &file, &[])?;
        let mut gateway = Gateway { process, netns, dir, binary, _turn: turn };
        gateway.ready()?;
        Ok(gateway)
    }

    /// Its namespace; its TAPs appear here.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its folder: configuration, control socket, state.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where `tidegate show` finds it.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// The process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.process
    }

    /// Runs the same binary with a subcommand, against this gateway, and returns what it printed.
    ///
    /// # Errors
    /// What it wrote to standard error when it exits with another code than 0.
    pub fn tidegate(&self, words: &str) -> Result<String> {
        let mut command = self.netns.command(&self.binary.display().to_string());
        output(command.args(words.split_whitespace()).arg("--socket").arg(self.socket()))
    }

    /// `tidegate show WHAT`, as people see it.
    ///
    /// # Errors
    /// See [`Gateway::tidegate`].
    pub fn show(&self, what: &str) -> Result<String> {
        self.tidegate(&format!("show {what}"))
    }

    /// `tidegate show WHAT --json`.
    ///
    /// # Errors
    /// See [`Gateway::tidegate`].
    pub fn json(&self, what: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.tidegate(&format!("show {what} --json"))?)?)
    }

    /// Writes a new configuration and has it read; returns when it is in force.
    ///
    /// # Errors
    /// What the gateway found wrong with it.
    pub fn reload(&self, config: &str) -> Result<String> {
        self.write_config(config)?;
        self.tidegate("reload")
    }

    /// Writes a new configuration and tells nobody.
    ///
    /// # Errors
    /// From the file system.
    pub fn write_config(&self, config: &str) -> Result<()> {
        write_config(self.dir.path(), config).map(drop)
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it does not end, or not with code 0.
    pub fn stop(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        let status = self.process.wait()?;
        ensure!(status.success(), "the gateway ended with {status}:\n{}", self.process.text());
        Ok(())
    }

    /// SIGKILL, and waits for the end. Nothing is cleaned up.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait().map(drop)
    }

    /// Starts one that has ended again, with the same configuration and further options, and waits until it answers. Its
    /// TAPs are new.
    ///
    /// # Errors
    /// See [`Gateway::start`].
    pub fn start_again(&mut self, options: &[&str]) -> Result<()> {
        self.process = run(&self.netns, &self.binary, &self.dir.path().join(CONFIG), options)?;
        self.ready()
    }

    /// What a gateway that has ended left on the machine: VPC namespaces, TAPs, its socket, hugepage files.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let mut left: Vec<String> =
            netns::list()?.into_iter().filter(|name| name.starts_with("tg-")).collect();
        let links = self.netns.run("ip -o link show")?;
        let names = links.lines().filter_map(|line| line.split(": ").nth(1)).filter(|name| *name != "lo");
        left.extend(names.map(str::to_owned));
        left.extend(self.socket().exists().then(|| self.socket().display().to_string()));
        let pages = fs::read_dir("/dev/hugepages").into_iter().flatten().flatten();
        left.extend(pages.map(|entry| entry.path().display().to_string()));
        Ok(left)
    }

    /// Removes its flow table, which one that was killed leaves for the next.
    fn forget_flows(&self) {
        let Some(own) = self.dir.path().file_name() else { return };
        // As the gateway names it, after its control socket.
        let own = own.to_string_lossy().replace('-', "%2d");
        for file in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            let name = file.file_name();
            if name.to_string_lossy().contains(&own) {
                // Nobody is there to be told.
                let _ = fs::remove_file(file.path());
            }
        }
    }

    fn ready(&mut self) -> Result<()> {
        let mut ended = None;
        let up = wait_for("the gateway to answer", || {
            ended = self.process.ended().ok().flatten();
            (ended.is_some() || self.json("ports").is_ok()).then_some(())
        });
        match (up, ended) {
            (Ok(()), None) => Ok(()),
            (_, Some(status)) => bail!("the gateway ended with {status}:\n{}", self.process.text()),
            (Err(late), None) => Err(late.context(self.process.text())),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if matches!(self.process.ended(), Ok(None)) {
            // A test that cares has stopped it itself.
            let _ = self.stop();
        }
        self.forget_flows();
    }
}

/// The binary under test: what `TIDEGATE` names. Not one that happens to lie near, which may be built without DPDK.
///
/// # Errors
/// When it is not set.
pub fn binary() -> Result<PathBuf> {
    let path =
        env::var_os("TIDEGATE").context("TIDEGATE does not name a gateway binary; see `make test-lab`")?;
    Ok(path.into())
}

fn run(netns: &Netns, binary: &Path, config: &Path, options: &[&str]) -> Result<Running> {
    let mut command = netns.command(&binary.display().to_string());
    command.args(["run", "--config"]).arg(config).args(options);
    Running::start(command)
}

fn write_config(dir: &Path, config: &str) -> Result<PathBuf> {
    let file = dir.join(CONFIG);
    fs::write(&file, config.replace("{dir}", &dir.display().to_string()))?;
    Ok(file)
}
