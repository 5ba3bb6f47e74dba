//! Putting a plan into force: all of it, or nothing. What was not kept does not come into force.

use std::{io, sync::Arc, time::Duration};

use thiserror::Error;
use tidegate_fastpath::types::Mtu;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{port::Ports, shared::Shared};
use crate::{
    config::{Cause, Config, Port, Problem, Problems},
    desired::{By, Plan, Refused},
    gateway::{Prepared, Replaced},
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
    pub(super) plan: Arc<Plan>,
    pub(super) by: By,
    /// Of the objects of the configuration file.
    pub(super) file_sum: Option<String>,
    /// Its generation, where it has been kept already.
    pub(super) kept: Option<u64>,
    pub(super) prepared: Prepared,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Published {
    /// It is in force.
    Installed(Reloaded, Replaced),
    /// Something else changed since it was prepared.
    PrepareAgain(Box<Publish>),
}

/// Whether any step of a change needs ports, which belong to the control thread.
pub(super) fn concerns_ports(old: &Config, new: &Config) -> bool {
    !mtu_changes(old, new).is_empty()
}

/// Keeps a plan and puts it into force. Returns when all workers use it.
///
/// # Errors
/// [`ReloadError`]; what is in force stays.
pub(super) async fn publish(
    shared: &Shared,
    ports: &impl Ports,
    what: Box<Publish>,
) -> Result<Published, ReloadError> {
    let who = what.by.who.name.clone();
    let result = replace(shared, ports, what).await;
    match &result {
        Ok(Published::Installed(Reloaded { generation, live: true }, _)) => {
            info!(generation, who, "the new configuration is live")
        }
        Ok(Published::Installed(Reloaded { generation, .. }, _)) => {
            warn!(generation, "published, but not yet used by all workers")
        }
        Ok(Published::PrepareAgain(_)) => {}
        Err(error) => warn!(who, "nothing has changed: {error}"),
    }
    result
}

async fn replace(shared: &Shared, ports: &impl Ports, what: Box<Publish>) -> Result<Published, ReloadError> {
    let (generation, replaced) = {
        let mut gateway = shared.gateway();
        if !gateway.takes(&what.prepared) {
            return Ok(Published::PrepareAgain(what));
        }
        let Publish { plan, by, file_sum, kept, prepared } = *what;
        let present = gateway.desired().shared_config().clone();
        let changes = mtu_changes(&present, plan.config());
        set_mtus(ports, &changes)?;
        let keep = || shared.store().commit(&plan, &by, file_sum);
        let generation = kept.map_or_else(keep, Ok).inspect_err(|_| take_back(ports, &changes))?;
        let installed = gateway.install(prepared, shared.now());
        (generation, installed.map_err(|_| ReloadError::Gone("the gateway changed meanwhile; try again"))?)
    };
    let end = Instant::now() + LIVE_WAIT;
    while !shared.gateway().is_live() {
        if Instant::now() > end {
            return Ok(Published::Installed(Reloaded { generation, live: false }, replaced));
        }
        sleep(LIVE_LOOK).await;
    }
    Ok(Published::Installed(Reloaded { generation, live: true }, replaced))
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
