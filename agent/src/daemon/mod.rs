//! The rim: sockets, the kernel's maps and the clock on one side, [`core`](crate::core) on the other.

mod attach;
mod frame;
mod local;
mod metrics;
mod privilege;
mod raw;
mod ready;
mod rim;
mod snapshot;
mod status;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub(crate) use self::snapshot::planned;
pub use self::{
    rim::run,
    snapshot::{DeviceRow, PathRow, ShortcutRow, Snapshot},
    status::ask,
};
use crate::{bpf::Attach, core::Limits};

/// What the agent is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The shared keys.
    pub key_file: PathBuf,
    /// The interface whose address is the tunnel end, for VXLAN devices that say neither.
    pub underlay: Option<String>,
    /// IP protocol number of ZSNP.
    pub protocol: u8,
    /// How programs are attached.
    pub attach: Attach,
    /// How many shortcuts.
    pub limits: Limits,
    /// How long shortcuts in use outlive a silent gateway.
    pub grace: Duration,
    /// Where the sender id is kept.
    pub state: PathBuf,
    /// Where `tidegate-agent show` finds it.
    pub socket: PathBuf,
    /// Where metrics are served; nowhere if `None`.
    pub metrics: Option<SocketAddr>,
    /// Where the local API is served; nowhere if `None`.
    pub local_api: Option<SocketAddr>,
}
