//! The management network of a gateway, from which managers speak REST over TCP, with TLS and a token.

use std::{fs, future::Future, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Builder;

use super::{Netns, Site, gateway, netns::output};
use crate::rest::{self, Client};

/// The gateway on the management network.
pub const GATEWAY: [u8; 4] = [192, 0, 2, 1];
/// Where its API listens.
pub const PORT: u16 = 8443;
/// A manager there.
pub const MANAGER: &str = "192.0.2.2";

/// What a gateway and a manager know each other by.
#[derive(Debug)]
pub struct Keys {
    files: TempDir,
    token: String,
}

impl Keys {
    /// New ones: certificates and the token `manager`.
    ///
    /// # Errors
    /// What `tidegate token` said.
    pub fn new() -> Result<Keys> {
        let files = TempDir::new()?;
        rest::certificates(files.path(), &[&address().ip().to_string()]);
        let file = files.path().join("tokens").display().to_string();
        let mut tidegate = std::process::Command::new(gateway::binary()?);
        let made = output(tidegate.args(["token", "manager", "--role", "write", "--file", &file]))?;
        let token = made.trim().to_owned();
        fs::write(files.path().join("token"), &token)?;
        Ok(Keys { files, token })
    }

    /// Has the gateway of a configuration serve its API to whoever has them.
    pub fn allow(&self, config: &mut Value) {
        config["gateway"]["api"] = json!({
            "listen": [format!("0.0.0.0:{PORT}")],
            "tls": { "certificate": self.path("gateway.pem"), "key": self.path("gateway.key") },
            "tokens": self.path("tokens"),
            "limits": { "requests_per_second": 10_000 },
        });
    }

    /// A file: `ca.pem`, `token`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// A management network with a manager.
#[derive(Debug)]
pub struct Management {
    netns: Netns,
    keys: Keys,
}

impl Management {
    /// Connects one to a site whose gateway [allows](Keys::allow) it.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn connect(site: &Site, keys: Keys) -> Result<Management> {
        let netns = site.lab.netns("management")?;
        let gateway = site.gateway.netns();
        netns.ip(&format!("link add mgmt type veth peer name mgmt netns {}", gateway.name()))?;
        gateway.ip(&format!("address add {}/24 dev mgmt\nlink set mgmt up", address().ip()))?;
        netns.ip(&format!("address add {MANAGER}/24 dev mgmt\nlink set mgmt up"))?;
        Ok(Management { netns, keys })
    }

    /// Takes it away from the gateway again; at once, which the end of a namespace is not.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn disconnect(self) -> Result<()> {
        self.netns.ip("link delete mgmt")
    }

    /// Where the manager is.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// What it knows.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Lets the manager talk to the gateway.
    ///
    /// # Errors
    /// When its namespace cannot be entered.
    pub fn talk<F: Future<Output = T>, T: Send>(&self, work: impl FnOnce(Client) -> F + Send) -> Result<T> {
        let client =
            Client::new(address()).with_tls(&self.keys.path("ca.pem"), None).with_token(&self.keys.token);
        let talk = || {
            let runtime = Builder::new_current_thread().enable_all().build().context("a runtime")?;
            Ok(runtime.block_on(work(client)))
        };
        self.netns.enter(talk)?
    }
}

/// Where the API is, for managers.
pub fn address() -> SocketAddr {
    SocketAddr::from((GATEWAY, PORT))
}
