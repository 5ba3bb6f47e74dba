//! From what somebody wants to what is in force. One way for all of them: the file, the tools, a generation that was not
//! confirmed. Planning needs no gateway and takes the time that a large configuration takes, so it has a thread of its own; the
//! control loop goes on meanwhile. Changes wait for each other.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::oneshot, task::spawn_blocking};
use tracing::{error, info, warn};

use super::{
    reload::{Publish, ReloadError},
    shared::{Command, Shared},
};
use crate::{
    config,
    desired::{self, By, Documents, Plan, Refused, Source, Step, Transaction},
    rest::{How, Outcome, Reloaded, Shown},
};

/// Applies the configuration file, as the host's operator left it: all of it must hold.
pub(super) async fn reload(shared: &Arc<Shared>, file: &Path, who: String) -> Result<Reloaded, ReloadError> {
    // Whether or not it holds: the file of the log may have been renamed.
    let _ = shared.commands.send(Command::OpenLog).await;
    let _turn = shared.turn.lock().await;
    let said = |error: &ReloadError| warn!("nothing has changed: {error}");
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|source| ReloadError::Read { file: file.display().to_string(), source });
    let text = text.inspect_err(said)?;
    let basis = shared.store().basis().clone();
    let planned = off_thread(move || {
        let (mut raw, _) = config::parse_file(&text)?;
        let host = raw.gateway.take().unwrap_or_default();
        let objects = desired::documents(raw)?;
        let sum = Documents::from_iter(objects.iter().cloned()).sum();
        Ok((basis.plan_file(&host, objects)?, sum))
    });
    let (plan, sum) = planned.await.inspect_err(said)?;
    plan.warnings.iter().for_each(|warning| warn!("{warning}"));
    send(shared, Publish { plan, by: by(who, Source::File, How::default()), file_sum: Some(sum) }).await
}

/// Applies a file that somebody sends: its objects, and not what it says of the host.
pub(super) async fn apply(
    shared: &Arc<Shared>,
    text: String,
    merge: bool,
    strict: bool,
    how: How,
    who: String,
) -> Result<Outcome, ReloadError> {
    let read = off_thread(move || {
        let mut file = config::read_tree(&text)?;
        let host = file.as_object_mut().and_then(|file| file.remove("gateway")).is_some();
        Ok((file, host))
    });
    let (file, host) = read.await?;
    let step = if merge { Step::Merge { file } } else { Step::Replace { file } };
    let transaction = Transaction { steps: vec![step], expect: None, strict };
    let mut outcome = transact(shared, transaction, how, who).await?;
    if host {
        let text = "the file's section `gateway` was passed over: it belongs to the host's own file";
        outcome.warnings.push(text.to_owned());
    }
    Ok(outcome)
}

/// Does what a transaction says.
pub(super) async fn transact(
    shared: &Arc<Shared>,
    transaction: Transaction,
    how: How,
    who: String,
) -> Result<Outcome, ReloadError> {
    let _turn = shared.turn.lock().await;
    let basis = shared.store().basis().clone();
    let plan = off_thread(move || Ok(basis.plan(&transaction)?)).await?;
    finish(shared, plan, how, who).await
}

/// Goes back to an earlier generation, as a new one.
pub(super) async fn roll_back(
    shared: &Arc<Shared>,
    to: u64,
    how: How,
    who: String,
) -> Result<Outcome, ReloadError> {
    let _turn = shared.turn.lock().await;
    let of = Arc::clone(shared);
    let plan = off_thread(move || {
        let (basis, wanted) = {
            let store = of.store();
            (store.basis().clone(), store.documents_of(to)?)
        };
        Ok(basis.plan_documents(&wanted)?)
    });
    let plan = plan.await?;
    finish(shared, plan, how, who).await
}

async fn finish(shared: &Arc<Shared>, plan: Plan, how: How, who: String) -> Result<Outcome, ReloadError> {
    let changes = plan.changes.iter().map(Shown::of).collect();
    let warnings = plan.warnings.clone();
    if how.dry_run {
        let (generation, live) = (plan.generation, plan.changes.is_empty());
        return Ok(Outcome { generation, live, dry_run: true, changes, warnings, confirm_within_s: None });
    }
    let confirm_within_s = how.confirm_within_s.filter(|_| !plan.changes.is_empty());
    let how = How { confirm_within_s, ..how };
    let Reloaded { generation, live } =
        send(shared, Publish { plan, by: by(who, Source::Socket, how), file_sum: None }).await?;
    Ok(Outcome { generation, live, dry_run: false, changes, warnings, confirm_within_s })
}

/// Lets the present generation stay.
pub(super) async fn confirm(shared: &Arc<Shared>, who: &str) -> Result<Option<u64>, Refused> {
    let _turn = shared.turn.lock().await;
    let confirmed = shared.store().confirm()?;
    if let Some(generation) = confirmed {
        info!(generation, who, "confirmed");
    }
    Ok(confirmed)
}

/// Falls back where a generation was not confirmed in time.
pub(super) async fn fall_back(shared: Arc<Shared>) {
    let Ok(_turn) = shared.turn.try_lock() else { return };
    let due = shared.store().fall_back(now_ms());
    match due {
        Ok(None) => {}
        Ok(Some(plan)) => {
            warn!(generation = plan.generation, "was not confirmed in time and falls back");
            let by = by("nobody confirmed".to_owned(), Source::Fallback, How::default());
            drop(send(&shared, Publish { plan, by, file_sum: None }).await);
        }
        Err(why) => error!("a generation was not confirmed in time and cannot fall back: {why}"),
    }
}

/// Who, how and now.
pub(super) fn by(who: String, source: Source, how: How) -> By {
    let confirm_within_ms = how.confirm_within_s.map(|s| s.saturating_mul(1000));
    By { who, source, now_ms: now_ms(), confirm_within_ms }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Hands a plan to the control loop.
async fn send(shared: &Shared, publish: Publish) -> Result<Reloaded, ReloadError> {
    let (reply, answer) = oneshot::channel();
    let sent = shared.commands.send(Command::Publish(Box::new(publish), reply)).await.is_ok();
    match answer.await {
        Ok(result) => result,
        Err(_) if sent => Err(ReloadError::Gone("the change failed; see the log")),
        Err(_) => Err(ReloadError::Gone("the gateway is stopping")),
    }
}

/// Does what takes long on another thread.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReloadError> + Send + 'static,
) -> Result<T, ReloadError> {
    spawn_blocking(work).await.unwrap_or(Err(ReloadError::Gone("the change failed; see the log")))
}
