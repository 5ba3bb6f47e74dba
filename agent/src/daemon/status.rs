//! The status socket: whoever connects gets one JSON document, the [`Snapshot`].

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
};

use super::snapshot::Snapshot;

/// A question to the loop.
#[derive(Debug)]
pub(super) enum Ask {
    /// What there is.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Whether shortcuts are wanted on this host.
    Switch(bool, oneshot::Sender<()>),
}

/// Asks the loop.
pub(super) async fn snapshot(asks: &mpsc::Sender<Ask>) -> Option<Snapshot> {
    let (ask, answer) = oneshot::channel();
    asks.send(Ask::Snapshot(ask)).await.ok()?;
    answer.await.ok()
}

/// Has the loop take shortcuts, or no longer; returns when it is so.
pub(super) async fn switch(asks: &mpsc::Sender<Ask>, on: bool) -> Option<()> {
    let (ask, answer) = oneshot::channel();
    asks.send(Ask::Switch(on, ask)).await.ok()?;
    answer.await.ok()
}

/// Listens; readable and writable for the owner only.
pub(super) fn serve(path: &Path, asks: mpsc::Sender<Ask>) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    // What a killed agent left.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(|| format!("no socket {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let asks = asks.clone();
            tokio::spawn(async move { tell(stream, &asks).await });
        }
    });
    Ok(())
}

async fn tell(mut stream: UnixStream, asks: &mpsc::Sender<Ask>) {
    let Some(snapshot) = snapshot(asks).await else { return };
    if let Ok(text) = serde_json::to_vec(&snapshot) {
        // Who asked may have hung up.
        let _ = stream.write_all(&text).await;
    }
}

/// Asks a running agent.
///
/// # Errors
/// When none listens there.
pub async fn ask(path: &Path) -> Result<Snapshot> {
    let absent = || format!("no agent answers at {}", path.display());
    let mut stream = UnixStream::connect(path).await.with_context(absent)?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.with_context(absent)?;
    serde_json::from_slice(&text).with_context(absent)
}
