//! Reading the configuration again: all of it comes into force, or nothing does.

use std::{io, path::Path, time::Duration};

use serde::Serialize;
use thiserror::Error;
use tidegate_fastpath::types::Mtu;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{port::Ports, shared::Shared};
use crate::{
    config::{self, Config, Port, Problem, Problems},
    gateway::restart_problems,
};

/// How long workers may take to use a new configuration before the reply goes out anyway.
const LIVE_WAIT: Duration = Duration::from_secs(5);
/// Between two looks.
const LIVE_LOOK: Duration = Duration::from_millis(1);

/// A configuration that came into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Its generation.
    pub generation: u64,
    /// Whether all workers use it; if not, they had not said so in time.
    pub live: bool,
}

/// Why nothing has changed.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// What is wrong with it, or needs a restart.
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// Reads `file` and puts it into force. Returns when all workers use it.
///
/// # Errors
/// [`ReloadError`]; the configuration in force stays.
pub(super) async fn reload(
    shared: &Shared,
    ports: &impl Ports,
    file: &Path,
) -> Result<Reloaded, ReloadError> {
    let result = replace(shared, ports, file).await;
    match &result {
        Ok(Reloaded { generation, live: true }) => info!(generation, "the new configuration is live"),
        Ok(Reloaded { generation, .. }) => warn!(generation, "published, but not yet used by all workers"),
        Err(error) => warn!("nothing has changed: {error}"),
    }
    result
}

async fn replace(shared: &Shared, ports: &impl Ports, file: &Path) -> Result<Reloaded, ReloadError> {
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|source| ReloadError::Read { file: file.display().to_string(), source })?;
    let config = config::parse(&text)?;
    let generation = {
        let mut gateway = shared.gateway();
        let present = gateway.desired().config();
        let refused = restart_problems(present, &config);
        if !refused.is_empty() {
            return Err(Problems(refused).into());
        }
        set_mtus(ports, &mtu_changes(present, &config))?;
        gateway.apply(config, shared.now())?
    };
    let end = Instant::now() + LIVE_WAIT;
    while !shared.gateway().is_live() {
        if Instant::now() > end {
            return Ok(Reloaded { generation, live: false });
        }
        sleep(LIVE_LOOK).await;
    }
    Ok(Reloaded { generation, live: true })
}

/// Ports whose MTU changes: the port, its place, the old MTU.
fn mtu_changes<'a>(old: &Config, new: &'a Config) -> Vec<(usize, &'a Port, Mtu)> {
    let before = |port: &Port| old.gateway.ports.iter().find(|p| p.id == port.id).map(|p| p.mtu);
    let ports = new.gateway.ports.iter().enumerate();
    ports.filter_map(|(i, p)| before(p).filter(|mtu| *mtu != p.mtu).map(|mtu| (i, p, mtu))).collect()
}

/// Changes all MTUs, or none.
fn set_mtus(ports: &impl Ports, changes: &[(usize, &Port, Mtu)]) -> Result<(), Problems> {
    for (done, (i, port, _)) in changes.iter().enumerate() {
        if let Err(why) = ports.set_mtu(port, port.mtu) {
            for (_, port, old) in &changes[..done] {
                if let Err(why) = ports.set_mtu(port, *old) {
                    warn!(port = %port.id, "the old MTU does not come back: {why}");
                }
            }
            return Err(Problems(vec![Problem {
                path: format!("gateway.ports[{i}].mtu"),
                id: Some(port.id.to_string()),
                value: Some(port.mtu.to_string()),
                what: format!("was refused: {why}"),
                way_out: "put the old value back, or restart the gateway".to_owned(),
            }]));
        }
    }
    Ok(())
}
