//! From what somebody wants to what is in force. One way for all of them: the file, the tools, a generation that was not
//! confirmed. Planning needs no gateway and takes the time that a large configuration takes, so it has a thread of its own; the
//! control loop goes on meanwhile. Changes wait for each other.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::{OwnedMutexGuard, oneshot},
    task::spawn_blocking,
};
use tracing::{error, info, warn};

use super::{
    reload::{Publish, Published, ReloadError, concerns_ports},
    shared::{Command, Shared},
};
use crate::{
    config::{self, Problems},
    desired::{self, By, Plan, Refused, Source, Step, Transaction, Who},
    gateway::{Prepared, restart_problems},
    rest::{How, Outcome, Reloaded, Shown},
};

/// Held by whoever makes a change, from the first look to the end.
type Turn = OwnedMutexGuard<()>;

/// Applies the configuration file, as the host's operator left it: all of it must hold.
pub(super) async fn reload(shared: &Arc<Shared>, file: &Path, who: Who) -> Result<Reloaded, ReloadError> {
    // Whether or not it holds: the file of the log may have been renamed.
    let _ = shared.commands.send(Command::OpenLog).await;
    let turn = Arc::clone(&shared.turn).lock_owned().await;
    let said = |error: &ReloadError| warn!("nothing has changed: {error}");
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|source| ReloadError::Read { file: file.display().to_string(), source });
    let text = text.inspect_err(said)?;
    let basis = shared.store().basis().clone();
    let planned = off_thread(move || {
        let (mut raw, _) = config::parse_file(&text)?;
        let host = raw.gateway.take().unwrap_or_default();
        let objects = desired::documents(raw)?;
        let sum = desired::sum(&objects);
        Ok((basis.plan_file(&host, objects)?, sum))
    });
    let (plan, sum) = planned.await.inspect_err(said)?;
    plan.warnings.iter().for_each(|warning| warn!("{warning}"));
    let who = Who { source: Source::File, ..who };
    send(shared, turn, plan, by(who, How::default()), Some(sum)).await
}

/// Applies a file that somebody sends: its objects, and not what it says of the host.
pub(super) async fn apply(
    shared: &Arc<Shared>,
    text: String,
    merge: bool,
    strict: bool,
    how: How,
    who: Who,
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
    who: Who,
) -> Result<Outcome, ReloadError> {
    let turn = Arc::clone(&shared.turn).lock_owned().await;
    let basis = shared.store().basis().clone();
    let plan = off_thread(move || Ok(basis.plan(&transaction)?)).await?;
    finish(shared, turn, plan, how, who).await
}

/// Goes back to an earlier generation, as a new one.
pub(super) async fn roll_back(
    shared: &Arc<Shared>,
    to: u64,
    how: How,
    who: Who,
) -> Result<Outcome, ReloadError> {
    let turn = Arc::clone(&shared.turn).lock_owned().await;
    let of = Arc::clone(shared);
    let plan = off_thread(move || {
        // The store is free again before files are read.
        let past = of.store().past(to)?;
        Ok(past.present().plan_documents(&past.documents()?)?)
    });
    let plan = plan.await?;
    finish(shared, turn, plan, how, who).await
}

async fn finish(
    shared: &Arc<Shared>,
    turn: Turn,
    plan: Plan,
    how: How,
    who: Who,
) -> Result<Outcome, ReloadError> {
    let (plan, changes) = off_thread(move || {
        let changes = plan.changes.iter().map(Shown::of).collect();
        Ok((plan, changes))
    })
    .await?;
    let warnings = plan.warnings.clone();
    if how.dry_run {
        let (generation, live) = (plan.generation, plan.changes.is_empty());
        return Ok(Outcome { generation, live, dry_run: true, changes, warnings, confirm_within_s: None });
    }
    let confirm_within_s = how.confirm_within_s.filter(|_| !plan.changes.is_empty());
    let how = How { confirm_within_s, ..how };
    let Reloaded { generation, live } = send(shared, turn, plan, by(who, how), None).await?;
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
    let Ok(turn) = Arc::clone(&shared.turn).try_lock_owned() else { return };
    let due = shared.store().fall_back(now_ms());
    match due {
        Ok(None) => {}
        Ok(Some(plan)) => {
            warn!(generation = plan.generation, "was not confirmed in time and falls back");
            let by = by(Who::new("nobody confirmed", Source::Fallback), How::default());
            drop(send(&shared, turn, plan, by, None).await);
        }
        Err(why) => error!("a generation was not confirmed in time and cannot fall back: {why}"),
    }
}

/// Who, how and now.
pub(super) fn by(who: Who, how: How) -> By {
    let confirm_within_ms = how.confirm_within_s.map(|s| s.saturating_mul(1000));
    By { who, now_ms: now_ms(), confirm_within_ms }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Carries out a plan. Whoever asked may go away: what was kept comes into force all the same, before the next one's turn.
async fn send(
    shared: &Arc<Shared>,
    turn: Turn,
    plan: Plan,
    by: By,
    file_sum: Option<String>,
) -> Result<Reloaded, ReloadError> {
    let shared = Arc::clone(shared);
    let sent = tokio::spawn(async move {
        let result = carry_out(&shared, plan, by, file_sum).await;
        drop(turn);
        result
    });
    sent.await.unwrap_or(Err(ReloadError::Gone("the change failed; see the log")))
}

/// Prepares and keeps a plan, both beside the control loop, and hands it over to be put into force.
async fn carry_out(
    shared: &Arc<Shared>,
    plan: Plan,
    by: By,
    file_sum: Option<String>,
) -> Result<Reloaded, ReloadError> {
    let plan = Arc::new(plan);
    let present = shared.gateway().desired().shared_config().clone();
    let refused = restart_problems(&present, plan.config());
    if !refused.is_empty() {
        return Err(Problems(refused).into());
    }
    // The file may name other files (certificates) that have changed.
    if plan.changes.is_empty() && by.who.source != Source::File {
        let generation = shared.store().commit(&plan, &by, file_sum)?;
        return Ok(Reloaded { generation, live: shared.gateway().is_live() });
    }
    let mut prepared = prepare(shared, &plan).await?;
    // Where ports may refuse, they are asked before anything is kept.
    let kept = match concerns_ports(&present, plan.config()) {
        true => None,
        false => Some(keep(shared, &plan, &by, file_sum.clone()).await?),
    };
    let (mut by, mut file_sum) = (by, file_sum);
    loop {
        let publish = Box::new(Publish { plan: Arc::clone(&plan), by, file_sum, kept, prepared });
        match hand_over(shared, publish).await? {
            Published::Installed(reloaded, replaced) => {
                let of = Arc::clone(shared);
                // Nobody waits for either.
                drop(spawn_blocking(move || {
                    drop(replaced);
                    tidy(&of);
                }));
                return Ok(reloaded);
            }
            Published::PrepareAgain(again) => {
                (by, file_sum) = (again.by, again.file_sum);
                prepared = prepare(shared, &plan).await?;
            }
        }
    }
}

async fn prepare(shared: &Shared, plan: &Plan) -> Result<Prepared, ReloadError> {
    let (moment, config) = (shared.gateway().moment(), Arc::clone(plan.config()));
    off_thread(move || Ok(moment.prepare(config))).await
}

async fn keep(
    shared: &Shared,
    plan: &Arc<Plan>,
    by: &By,
    file_sum: Option<String>,
) -> Result<u64, ReloadError> {
    let writing = shared.store().begin(plan, by, file_sum)?;
    let written = off_thread(move || writing.write().map(|()| writing).map_err(ReloadError::from)).await?;
    Ok(shared.store().finish(written)?)
}

fn tidy(shared: &Shared) {
    let due = shared.store().tidying();
    if let Some(tidying) = due {
        let whole = tidying.tidy();
        shared.store().tidied(whole);
    }
}

async fn hand_over(shared: &Shared, publish: Box<Publish>) -> Result<Published, ReloadError> {
    let (reply, answer) = oneshot::channel();
    let sent = shared.commands.send(Command::Publish(publish, reply)).await.is_ok();
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
