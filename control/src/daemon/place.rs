//! What a running gateway holds on this machine: its lock, its control socket, its metrics address. Taken before anything
//! else starts, so that a second gateway finds out at once.

use std::{
    fs::{self, File, OpenOptions},
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
};

use anyhow::{Context, Result, bail};

use super::{rest, zstack};
use crate::config::Config;

/// Rights of the control socket: its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// Held until the gateway ends.
#[derive(Debug)]
pub(super) struct Place {
    /// The control socket, which also names the gateway to others.
    pub(super) socket: PathBuf,
    pub(super) control: UnixListener,
    pub(super) metrics: Option<TcpListener>,
    /// Of the REST API.
    pub(super) api: Option<rest::Api>,
    /// One for each router agent, in their order.
    pub(super) agents: Vec<TcpListener>,
    lock: PathBuf,
    _locked: File,
}

impl Place {
    /// Takes lock, control socket and metrics address.
    pub(super) fn take(config: &Config) -> Result<Place> {
        let socket = config.gateway.control_socket.clone();
        let dir = socket.parent().context("gateway.control_socket: give a path of a file in a directory")?;
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}; run as root", dir.display()))?;
        let lock = socket.with_extension("lock");
        let locked = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .with_context(|| format!("cannot open {}; run as root", lock.display()))?;
        if locked.try_lock().is_err() {
            bail!(
                "another gateway uses {}; stop it, or give this one another gateway.control_socket",
                socket.display()
            );
        }
        // We hold the lock: whoever made this socket is gone.
        let _ = fs::remove_file(&socket);
        let control =
            UnixListener::bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(SOCKET_MODE))?;
        control.set_nonblocking(true)?;
        let mut place =
            Place { socket, control, metrics: None, api: None, agents: Vec::new(), lock, _locked: locked };
        if let Some(address) = config.gateway.metrics {
            let listener = TcpListener::bind(address).with_context(|| {
                format!(
                    "cannot serve metrics on {address}; give another gateway.metrics.listen, or leave it out"
                )
            })?;
            listener.set_nonblocking(true)?;
            place.metrics = Some(listener);
        }
        place.api = rest::prepare(config)?;
        place.agents = zstack::listen(config)?;
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.socket);
        let _ = fs::remove_file(&self.lock);
    }
}
