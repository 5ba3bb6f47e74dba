//! Router agents that a ZStack manager drives.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use super::Id;

/// A router agent. What it names besides ports may come later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZstackAgent {
    /// Its name; no dot in it, at most 16 characters.
    pub id: Id,
    /// The VPC router that it drives; its own.
    pub vpc: Id,
    /// Where it listens; its own.
    pub listen: SocketAddr,
    /// The pool of its VXLAN networks.
    pub vxlan_pool: Option<Id>,
    /// The public networks that it may use.
    pub public_networks: Vec<Id>,
    /// Ports by interface of hosts.
    pub interfaces: BTreeMap<String, Id>,
    /// The file of its first NICs.
    pub bootstrap: Option<PathBuf>,
    /// Four dotted numbers.
    pub version: String,
    /// See [`Settings::quiet`](crate::zstack::Settings::quiet).
    pub quiet: Duration,
}

impl fmt::Display for ZstackAgent {
    /// All of it, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ZstackAgent {
            id,
            vpc,
            listen,
            vxlan_pool,
            public_networks,
            interfaces,
            bootstrap,
            version,
            quiet,
        } = self;
        write!(f, "{id} (vpc {vpc}, listen {listen}, version {version}, quiet_s {}", quiet.as_secs())?;
        vxlan_pool.iter().try_for_each(|pool| write!(f, ", vxlan_pool {pool}"))?;
        public_networks.iter().try_for_each(|network| write!(f, ", public network {network}"))?;
        interfaces.iter().try_for_each(|(name, port)| write!(f, ", interface {name} on {port}"))?;
        bootstrap.iter().try_for_each(|file| write!(f, ", bootstrap {}", file.display()))?;
        f.write_str(")")
    }
}
