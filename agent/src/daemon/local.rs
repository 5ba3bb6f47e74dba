//! The local HTTP of a host, as far as it is public of ZStack's agent: `/`, `/conn`, `/enable`, `/disable`. Whoever can reach a loopback
//! address of the host may say these; that is why it is off unless it is asked for.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use axum::{Json, Router, extract::State, http::StatusCode, routing::any};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

use super::{
    snapshot::ShortcutRow,
    status::{Ask, snapshot, switch},
};

type Asks = State<mpsc::Sender<Ask>>;

/// Serves it.
///
/// # Errors
/// When the address is taken, or is not of the loopback.
pub(super) async fn serve(address: SocketAddr, asks: mpsc::Sender<Ask>) -> Result<()> {
    ensure!(
        address.ip().is_loopback(),
        "the local API is served on a loopback address only, not on {address}"
    );
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("the local API cannot listen on {address}"))?;
    // By which method these are asked is not public.
    let app = Router::new()
        .route("/", any(state))
        .route("/conn", any(connections))
        .route("/enable", any(enable))
        .route("/disable", any(disable))
        .with_state(asks);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(())
}

/// The one name that is public; its value is a word.
fn switched(on: bool) -> Value {
    json!({ "DistributedRouting": if on { "true" } else { "false" } })
}

async fn state(State(asks): Asks) -> Result<Json<Value>, StatusCode> {
    let snapshot = snapshot(&asks).await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let mut state = switched(snapshot.enabled);
    state["shortcuts"] = json!(snapshot.shortcuts.len());
    state["gateways"] = json!(snapshot.gateways);
    state["paths"] = json!(snapshot.paths);
    Ok(Json(state))
}

async fn connections(State(asks): Asks) -> Result<Json<Vec<ShortcutRow>>, StatusCode> {
    Ok(Json(snapshot(&asks).await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?.shortcuts))
}

async fn enable(State(asks): Asks) -> Result<Json<Value>, StatusCode> {
    turn(&asks, true).await
}

async fn disable(State(asks): Asks) -> Result<Json<Value>, StatusCode> {
    turn(&asks, false).await
}

async fn turn(asks: &mpsc::Sender<Ask>, on: bool) -> Result<Json<Value>, StatusCode> {
    switch(asks, on).await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(Json(switched(on)))
}
