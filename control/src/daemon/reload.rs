//! Putting a plan into force: all of it, or nothing. What was not kept does not come into force.

use std::{io, time::Duration};

use thiserror::Error;
use tidegate_fastpath::types::Mtu;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{port::Ports, shared::Shared};
use crate::{
    config::{Cause, Config, Port, Problem, Problems},
    desired::{By, Plan, Refused, Source},
    gateway::restart_problems,
    rest::Reloaded,
};

/// How long workers may take to use a new configuration before the reply goes out anyway.
const LIVE_WAIT: Duration = Duration::from_secs(5);
/// Between two looks.
const LIVE_LOOK: Duration = Duration::from_millis(1);

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
    /// What is wrong with what it writes, or why it cannot be kept.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The gateway ends, or its control thread failed.
    #[error("{0}")]
    Gone(&'static str),
}

impl From<Problems> for ReloadError {
    fn from(problems: Problems) -> ReloadError {
        Refused::from(problems).into()
    }
}

/// A plan on its way into force.
#[derive(Debug)]
pub(super) struct Publish {
    pub(super) plan: Plan,
    pub(super) by: By,
    /// Of the objects of the configuration file.
    pub(super) file_sum: Option<String>,
}

/// Keeps a plan and puts it into force. Returns when all workers use it.
///
/// # Errors
/// [`ReloadError`]; what is in force stays.
pub(super) async fn publish(
    shared: &Shared,
    ports: &impl Ports,
    what: Publish,
) -> Result<Reloaded, ReloadError> {
    let result = replace(shared, ports, &what).await;
    match &result {
        Ok(Reloaded { generation, live: true }) => {
            info!(generation, who = what.by.who, "the new configuration is live")
        }
        Ok(Reloaded { generation, .. }) => warn!(generation, "published, but not yet used by all workers"),
        Err(error) => warn!(who = what.by.who, "nothing has changed: {error}"),
    }
    result
}

async fn replace(
    shared: &Shared,
    ports: &impl Ports,
    Publish { plan, by, file_sum }: &Publish,
) -> Result<Reloaded, ReloadError> {
    let generation = {
        let mut gateway = shared.gateway();
        let present = gateway.desired().shared_config().clone();
        let config = plan.config();
        let refused = restart_problems(&present, config);
        if !refused.is_empty() {
            return Err(Problems(refused).into());
        }
        let changes = mtu_changes(&present, config);
        set_mtus(ports, &changes)?;
        let generation = shared.store().commit(plan, by, file_sum.clone()).inspect_err(|_| {
            take_back(ports, &changes);
        })?;
        // The file may name other files (certificates) that have changed.
        if !plan.changes.is_empty() || by.source == Source::File {
            gateway.apply(config.clone(), shared.now())?;
        }
        generation
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
            take_back(ports, &changes[..done]);
            return Err(Problems(vec![Problem {
                path: format!("gateway.ports[{i}].mtu"),
                id: Some(port.id.to_string()),
                value: Some(port.mtu.to_string()),
                what: format!("was refused: {why}"),
                way_out: "put the old value back, or restart the gateway".to_owned(),
                cause: Cause::Itself,
            }]));
        }
    }
    Ok(())
}

/// Gives ports the MTUs that they had.
fn take_back(ports: &impl Ports, changes: &[(usize, &Port, Mtu)]) {
    for (_, port, old) in changes {
        if let Err(why) = ports.set_mtu(port, *old) {
            warn!(port = %port.id, "the old MTU does not come back: {why}");
        }
    }
}
